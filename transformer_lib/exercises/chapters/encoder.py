"""What is not text in the exercises of the chapter "The encoder"; the rest stands in encoder.md."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import layers
from transformer_lib.encoder import EncoderLayer
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Draw, Stage, case, with_weights


class PlainEncoderLayer(nn.Module):
    """The layer that the exercises name, made of the library's."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int) -> None:
        super().__init__()
        config = lib.StackConfig(d_model=d_model, n_heads=n_heads, d_ff=d_ff, pre_norm=True, dropout=0.0)
        layer = EncoderLayer(config)
        self.norm_1, self.norm_2 = layer.attention_residual.norm, layer.feed_forward_residual.norm
        self.attention = layer.attention
        self.up_proj, self.down_proj = layer.feed_forward.up_proj, layer.feed_forward.down_proj
        self.whole = (layer,)  # in a tuple, so that its weights are not found under their own names too

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.whole[0](x, mask)


def _run(answer: Any, n_heads: int, d_ff: int, x: Tensor, mask: Tensor | None = None) -> Any:
    return with_weights(answer, PlainEncoderLayer, x.size(-1), n_heads, d_ff, dtype=x.dtype)(x, mask)


def _try(answer: Any, n_heads: int, d_ff: int, x: Tensor, mask: Tensor | None = None) -> Any:
    """A ``forward`` is tried on a layer; so is that of a whole class."""
    layer = with_weights(PlainEncoderLayer, PlainEncoderLayer, x.size(-1), n_heads, d_ff, dtype=x.dtype)
    return getattr(answer, "forward", answer)(layer, x, mask)


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(1, 3, draw.normal(1, 2, 4))
    yield case(2, 5, 1.0 + draw.normal(3, 5, 6))


def _padded(draw: Draw) -> Iterator[Case]:
    yield case(1, 3, draw.normal(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])[:, None, None])


def _partly(draw: Draw) -> Iterator[Case]:
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])[:, None, None]
    yield case(2, 3, draw.normal(2, 4, 4), mask)


def _each_alone(x: Tensor, mask: Tensor) -> Tensor:
    """PyTorch's mean of each sentence without its padding; a sentence without words gets zeros."""
    sentences = zip(x, mask[:, 0, 0], strict=True)
    return torch.stack([one[words].mean(0) if words.any() else one.new_zeros(one.size(1)) for one, words in sentences])


def _words(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 2), torch.tensor([[True, True, False], [True, False, False]])[:, None, None])
    yield case(draw.normal(3, 5, 4), (torch.arange(5) < torch.tensor([5, 2, 3])[:, None])[:, None, None])


def _nothing(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 2), torch.tensor([[True, False, True], [False] * 3])[:, None, None])


def _mirror() -> list[str]:
    """The schemes whose output for a turned sentence is the turned output."""
    torch.manual_seed(0)
    found = []
    for scheme in map(lib.PositionScheme.of, ("none", "sinusoidal", "learned", "relative", "rotary", "alibi")):
        config = lib.StackConfig(
            d_model=12, n_heads=2, d_ff=16, n_layers=2, pre_norm=True, dropout=0.0, positions=scheme, max_len=8
        )
        encoder = lib.Encoder(config).double().eval()
        x = torch.randn(1, 7, 12, dtype=torch.float64)
        with torch.no_grad():
            for parameter in encoder.parameters():
                nn.init.normal_(parameter, std=0.5)
            if torch.allclose(encoder(x.flip(1)), encoder(x).flip(1), atol=1e-9):
                found.append(scheme.name)
    return found


def _one_sentence(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 2), torch.tensor([[True, True, False]])[:, None, None])
    yield case(draw.normal(1, 1, 2), torch.tensor([[True]])[:, None, None])


_PARTS = {
    "allowed": (lib.MultiHeadAttention, layers.FeedForward, layers.LayerNorm, layers.Residual),
    "ready_made": (EncoderLayer,),
}

EXERCISES = read(
    "encoder",
    {
        "encoder-layer": {
            "reference": PlainEncoderLayer,
            "probe": _run,
            "stages": (
                Stage("for whole sentences", _tokens, gradients=True),
                Stage("with a padding mask", _padded),
            ),
            **_PARTS,
        },
        "encoder-debug": {
            "reference": PlainEncoderLayer.forward,
            "probe": _try,
            "stages": (Stage("without a mask", _tokens, gradients=True), Stage("with a padding mask", _partly)),
            **_PARTS,
        },
        "encoder-pooling": {
            "reference": _each_alone,
            "stages": (
                Stage("for sentences of different lengths", _words, gradients=True),
                Stage("for a sentence of padding only", _nothing, gradients=True),
                Stage("for a single sentence", _one_sentence),
            ),
        },
        "encoder-mirror": {"reference": _mirror},
    },
    names={"LayerNorm": layers.LayerNorm},
)
