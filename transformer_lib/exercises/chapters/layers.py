"""What is not text in the exercises of "Feed-forward, residuals, normalization"; the rest stands in layers.md."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import layers
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Draw, Stage, case, with_weights


class _Gated(layers.FeedForward):
    """The library's, built as the task says."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(
            lib.StackConfig(
                d_model=d_model, n_heads=1, d_ff=d_ff, gated=True, activation="silu", bias=False, dropout=0.0
            )
        )


def _run_gated(answer: Any, d_ff: int, x: Tensor) -> Any:
    return with_weights(answer, _Gated, x.size(-1), d_ff, dtype=x.dtype)(x)


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(2, draw.normal(1, 3))
    yield case(5, draw.normal(2, 4, 6))


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """PyTorch's, called as the tasks say."""
    return F.layer_norm(x, weight.shape, weight, bias, eps)


_NORMS = (F.layer_norm, F.rms_norm, nn.LayerNorm, nn.RMSNorm, layers.LayerNorm, layers.RMSNorm)


def _learned(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(3), draw.normal(3))
    yield case(2.0 + 3.0 * draw.normal(2, 4, 5), draw.normal(5), draw.normal(5))


def _small(draw: Draw) -> Iterator[Case]:
    yield case(0.01 * draw.normal(1, 2, 4), draw.normal(4), draw.normal(4))


def _constant(draw: Draw) -> Iterator[Case]:
    yield case(torch.full((1, 2, 3), 0.5, dtype=draw.dtype), draw.normal(3), draw.normal(3))


def _other_epsilon(draw: Draw) -> Iterator[Case]:
    yield case(0.1 * draw.normal(1, 2, 3), draw.normal(3), draw.normal(3), 0.01)


def _single(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 1, 4), draw.normal(4), draw.normal(4))


def _around(answer: Any, matrix: Tensor, x: Tensor, pre_norm: bool) -> Any:
    norm = nn.LayerNorm(x.size(-1), elementwise_affine=False)
    return answer(x, lambda z: torch.tanh(z @ matrix), norm, pre_norm)


def _residual(x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module, pre_norm: bool) -> Any:
    """The library's, with the norm that is given."""
    around = layers.Residual(lib.StackConfig(d_model=x.size(-1), n_heads=1, d_ff=1, pre_norm=pre_norm, dropout=0.0))
    around.norm = norm
    return around(x, sublayer)


def _pre(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 3), draw.normal(1, 2, 3), True)
    yield case(draw.normal(5, 5), 2.0 + draw.normal(2, 4, 5), True)


def _post(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 3), draw.normal(1, 2, 3), False)
    yield case(draw.normal(5, 5), 2.0 + draw.normal(2, 4, 5), False)


def _twice() -> list[bool]:
    """Whether a second, new norm changes what a first one gives, in the three cases."""
    torch.manual_seed(0)
    x = torch.randn(8, 16, dtype=torch.float64)
    changed = []
    for scales in ([1.0] * 16, [3.0] * 16, [10.0] + [1.0] * 15):
        once = F.layer_norm(x, (16,), torch.tensor(scales, dtype=torch.float64))
        changed.append(not torch.allclose(F.layer_norm(once, (16,)), once, atol=1e-3))
    return changed


EXERCISES = read(
    "layers",
    {
        "layers-swiglu": {
            "reference": _Gated,
            "probe": _run_gated,
            "ready_made": (layers.FeedForward,),
            "stages": (Stage("for tokens one by one", _tokens, gradients=True),),
        },
        "layers-layer-norm": {
            "reference": _layer_norm,
            "ready_made": _NORMS,
            "stages": (
                Stage("with a learned scale and shift", _learned, gradients=True),
                Stage("for tiny numbers", _small),
                Stage("for a token of equal numbers", _constant),
                Stage("for another epsilon", _other_epsilon),
            ),
        },
        "layers-debug": {
            "reference": _layer_norm,
            "ready_made": _NORMS,
            "stages": (Stage("for a single token", _single), Stage("for several tokens", _learned)),
        },
        "layers-residual": {
            "reference": _residual,
            "probe": _around,
            "stages": (
                Stage("before the sublayer (pre-norm)", _pre, gradients=True),
                Stage("after the addition (post-norm)", _post, gradients=True),
            ),
        },
        "layers-twice": {"reference": _twice},
    },
)
