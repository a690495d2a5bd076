"""Exercises of the chapter "Feed-forward, residuals, normalization"."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib import layers
from transformer_lib.exercises.engine.exercise import (
    Case,
    Debug,
    Draw,
    Exercise,
    Implement,
    Mistake,
    Predict,
    Stage,
    case,
    with_weights,
)

# ---- A gate.


class GatedFeedForward(nn.Module):
    """SwiGLU, with one choice to be made wrong."""

    fault = ""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        bias = self.fault == "bias"
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Any:
        """The gated part."""
        gate, up = self.gate_proj(x), self.up_proj(x)
        fault = self.fault
        if fault == "exchanged":
            hidden = gate * F.silu(up)
        elif fault == "sigmoid":
            hidden = torch.sigmoid(gate) * up
        elif fault == "relu":
            hidden = F.relu(gate) * up
        elif fault == "both":
            hidden = F.silu(gate) * F.silu(up)
        elif fault == "product":
            hidden = F.silu(gate * up)
        elif fault == "sum":
            hidden = F.silu(gate) + up
        else:
            hidden = F.silu(gate) * up
        return self.down_proj(hidden)


def _gated(name: str) -> type[GatedFeedForward]:
    return type("GatedFeedForward", (GatedFeedForward,), {"fault": name})


def _run_gated(answer: Any, d_ff: int, x: Tensor) -> Any:
    return with_weights(answer, GatedFeedForward, x.size(-1), d_ff, dtype=x.dtype)(x)


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(2, draw.normal(1, 3))
    yield case(5, draw.normal(2, 4, 6))


SWIGLU = Implement(
    id="layers-swiglu",
    chapter="layers",
    title="A gate in the feed-forward part",
    level="easy",
    minutes=10,
    task="Write a class GatedFeedForward(d_model, d_ff): the feed-forward part with a gate, without biases.",
    hints=(
        "Three matrices in the formula, three `nn.Linear` in the class. Which of them widen, and which one narrows?",
        "`F.silu` acts on one of the two wide results only. The formula says on which.",
        "Numbers that are multiplied one by one need the same shape: both have the width `d_ff`.",
    ),
    reference=GatedFeedForward,
    probe=_run_gated,
    ready_made=(layers.FeedForward,),
    stages=(Stage("for tokens one by one", _tokens, gradients=True),),
    mistakes=(
        Mistake("exchanged", _gated("exchanged"), "You exchanged two matrices: the activation bends what `up_proj` "
                "makes, and `gate_proj` stays as it is.", "The feed-forward part"),
        Mistake("sigmoid", _gated("sigmoid"), "Your gate is the sigmoid alone. The function of this gate also "
                "multiplies by its own input.", "The feed-forward part"),
        Mistake("relu", _gated("relu"), "You bent the gate with the ReLU, as in the ungated part.",
                "The feed-forward part"),
        Mistake("both", _gated("both"), "You bent both wide results. One of them only opens and closes the other.",
                "The feed-forward part"),
        Mistake("product", _gated("product"), "You multiplied first and bent the product. The gate is bent before it "
                "meets the other.", "The feed-forward part"),
        Mistake("sum", _gated("sum"), "You added gate and content. A gate that is shut should let nothing through.",
                "The feed-forward part"),
        Mistake("bias", _gated("bias"), "Your layers have biases, and the task says that there are none.",
                "The feed-forward part"),
    ),
)  # fmt: skip


# ---- Layer normalization, from memory.


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5, **fault: Any) -> Tensor:
    """Layer normalization; ``fault`` makes one choice wrong."""
    axes = fault.get("axes", -1)
    mean = 0.0 if fault.get("no_mean") else x.mean(axes, keepdim=True)
    centered = x - mean
    variance = (centered**2).mean(axes, keepdim=True)
    if fault.get("unbiased"):
        variance = variance * x.size(-1) / (x.size(-1) - 1)
    if fault.get("outside"):
        unit = centered / (variance.sqrt() + eps)
    elif fault.get("variance"):
        unit = centered / (variance + eps)
    elif fault.get("no_eps"):
        unit = centered / variance.sqrt()
    else:
        unit = centered / torch.sqrt(variance + eps)
    if fault.get("shift_first"):
        return weight * (unit + bias)
    if fault.get("unit_only"):
        return unit
    return unit * weight + bias


def _learned(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(3), draw.normal(3))
    yield case(2.0 + 3.0 * draw.normal(2, 4, 5), draw.normal(5), draw.normal(5))


def _small(draw: Draw) -> Iterator[Case]:
    yield case(0.01 * draw.normal(1, 2, 4), draw.normal(4), draw.normal(4))


def _constant(draw: Draw) -> Iterator[Case]:
    yield case(torch.full((1, 2, 3), 0.5, dtype=draw.dtype), draw.normal(3), draw.normal(3))


def _norm(name: str, says: str, see: str, **fault: Any) -> Mistake:
    def wrong(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        return layer_norm(x, weight, bias, eps, **fault)

    return Mistake(name, wrong, says, see)


_LN, _AXIS, _EPS = "Layer normalization", "Break it: the wrong axis", "Break it: the epsilon and the deviation"

LAYER_NORM = Implement(
    id="layers-layer-norm",
    chapter="layers",
    title="Layer normalization, from memory",
    level="medium",
    minutes=10,
    task="Write layer_norm(x, weight, bias, eps=1e-5), with means and square roots only.",
    hints=(
        "Four steps for each token: its mean, its variance, the division, and the learned scale and shift.",
        "`keepdim=True` keeps the axis, so that the mean can be subtracted from every number.",
        "Try a token whose numbers are tiny. Where does epsilon stand, and by how much is the variance divided?",
    ),
    reference=layer_norm,
    ready_made=(F.layer_norm, F.rms_norm, nn.LayerNorm, nn.RMSNorm, layers.LayerNorm, layers.RMSNorm),
    stages=(
        Stage("with a learned scale and shift", _learned, gradients=True),
        Stage("for tiny numbers", _small),
        Stage("for a token of equal numbers", _constant),
    ),
    mistakes=(
        _norm("over-tokens", "Your means run over the tokens too. Then a token depends on its neighbors.", _AXIS,
              axes=(-2, -1)),
        _norm("along-tokens", "Your means run along the sequence, and not over the numbers of one token.", _AXIS,
              axes=-2),
        _norm("mean-kept", "You did not subtract the mean.", _LN, no_mean=True),
        _norm("unbiased", "Your variance divides by one less than the width, as `torch.std` and `torch.var` do unless "
              "told otherwise.", _EPS, unbiased=True),
        _norm("outside", "Your epsilon stands outside the root. It shows for tokens that are nearly constant.", _EPS,
              outside=True),
        _norm("variance", "You divided by the variance. That has the square of the unit that you want to get rid of.",
              _LN, variance=True),
        _norm("no-eps", "Without epsilon, a token of equal numbers is divided by zero.", _LN, no_eps=True),
        _norm("shift-first", "You shifted before you scaled, so the scale multiplies the shift too.", _LN,
              shift_first=True),
        _norm("unit-only", "You left out the learned scale and shift. In a new layer this goes unseen.", _LN,
              unit_only=True),
    ),
)  # fmt: skip


# ---- Three faults.


def _faulty(axes: Any = -1, unbiased: bool = False, inside: bool = False) -> Any:
    def code(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
        mean = x.mean(dim=axes, keepdim=True)
        variance = x.var(dim=-1, correction=int(unbiased), keepdim=True)
        unit = (x - mean) / torch.sqrt(variance + eps)
        return weight * (unit + bias) if inside else weight * unit + bias

    return code


DEBUG = Debug(
    id="layers-debug",
    chapter="layers",
    title="Three faults",
    level="medium",
    minutes=15,
    task="Find the three faults of a layer normalization, and mend them.",
    hints=(
        "A token that is written alone is a sequence of one token. Which line sees the other tokens?",
        "Compare the formula with the last line. What is multiplied by the scale?",
        "`torch.var` has an argument `correction`.",
    ),
    reference=lambda x, weight, bias: layer_norm(x, weight, bias),
    given=_faulty((-2, -1), True, True),
    ready_made=LAYER_NORM.ready_made,
    stages=(
        Stage("for a single token", lambda draw: [case(draw.normal(1, 1, 4), draw.normal(4), draw.normal(4))]),
        Stage("for several tokens", _learned),
    ),
    mistakes=(
        Mistake("axes-left", _faulty((-2, -1)), "Two faults are mended. Now write one token alone, and the same one "
                "among others.", _AXIS),
        Mistake("variance-left", _faulty(unbiased=True), "Two faults are mended. The third hides in wide models: try "
                "a token of three numbers.", _EPS),
        Mistake("shift-left", _faulty(inside=True), "Two faults are mended. The third hides as long as the shift is "
                "0.", _LN),
        Mistake("only-axes", _faulty(unbiased=True, inside=True), "One fault is mended: the mean. Two are left.", _LN),
        Mistake("only-variance", _faulty((-2, -1), inside=True), "One fault is mended: the variance. Two are left.",
                _LN),
        Mistake("only-shift", _faulty((-2, -1), True), "One fault is mended: the shift. Two are left.", _LN),
    ),
)  # fmt: skip


# ---- The residual sublayer.


def residual(x: Tensor, sublayer: Any, norm: Any, pre_norm: bool) -> Any:
    """Pre-norm or post-norm."""
    return x + sublayer(norm(x)) if pre_norm else norm(x + sublayer(x))


def _around(answer: Any, matrix: Tensor, x: Tensor, pre_norm: bool) -> Any:
    def sublayer(z: Tensor) -> Tensor:
        return torch.tanh(z @ matrix)

    def norm(z: Tensor) -> Tensor:
        return F.layer_norm(z, z.shape[-1:])

    return answer(x, sublayer, norm, pre_norm)


def _pre(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 3), draw.normal(1, 2, 3), True)
    yield case(draw.normal(5, 5), 2.0 + draw.normal(2, 4, 5), True)


def _post(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 3), draw.normal(1, 2, 3), False)
    yield case(draw.normal(5, 5), 2.0 + draw.normal(2, 4, 5), False)


_SUB = "The residual sublayer: pre and post"

RESIDUAL = Implement(
    id="layers-residual",
    chapter="layers",
    title="Before or after",
    level="easy",
    minutes=10,
    task="Write residual(x, sublayer, norm, pre_norm): the sublayer with its residual connection and its norm.",
    hints=(
        "Both forms add what the sublayer makes to the token itself.",
        "In pre-norm, the stream itself is never normalized. In post-norm, everything that leaves is.",
    ),
    reference=residual,
    probe=_around,
    stages=(
        Stage("before the sublayer (pre-norm)", _pre, gradients=True),
        Stage("after the addition (post-norm)", _post, gradients=True),
    ),
    mistakes=(
        Mistake(
            "no-stream",
            lambda x, sublayer, norm, pre_norm: sublayer(norm(x)) if pre_norm else norm(sublayer(x)),
            "You left out the token itself: there is no residual connection.",
            _SUB,
        ),
        Mistake(
            "exchanged",
            lambda x, sublayer, norm, pre_norm: residual(x, sublayer, norm, not pre_norm),
            "You exchanged pre-norm and post-norm.",
            _SUB,
        ),
        Mistake(
            "normed-stream",
            lambda x, sublayer, norm, pre_norm: (
                norm(x) + sublayer(norm(x)) if pre_norm else residual(x, sublayer, norm, False)
            ),
            "In pre-norm you add to the normalized token. The stream loses its size at every layer.",
            _SUB,
        ),
        Mistake(
            "norm-of-change",
            lambda x, sublayer, norm, pre_norm: (
                residual(x, sublayer, norm, True) if pre_norm else x + norm(sublayer(x))
            ),
            "In post-norm you normalize what the sublayer makes, and then add. The sum is what should be normalized.",
            _SUB,
        ),
        Mistake(
            "both",
            lambda x, sublayer, norm, pre_norm: norm(x + sublayer(norm(x))),
            "You normalize before and after, whatever is asked for.",
            _SUB,
        ),
    ),
)


# ---- Two norms in a row.


def _twice() -> list[bool]:
    """Whether a second, new norm changes what a first one gives, in the three cases."""
    torch.manual_seed(0)
    x = torch.randn(8, 16, dtype=torch.float64)
    changed = []
    for scales in ([1.0] * 16, [3.0] * 16, [10.0] + [1.0] * 15):
        once = F.layer_norm(x, (16,), torch.tensor(scales, dtype=torch.float64))
        changed.append(not torch.allclose(F.layer_norm(once, (16,)), once, atol=1e-3))
    return changed


TWICE = Predict(
    id="layers-twice",
    chapter="layers",
    title="Two norms in a row",
    level="medium",
    minutes=10,
    task="Say in which of three cases a second norm changes what the first one gives.",
    hints=(
        "What are mean and variance of a token that has just been normalized, before scale and shift?",
        "A scale of 3 for all numbers makes the token three times as large. What does a norm do to a token's size?",
        "In (c), think of the size of the *other* 15 numbers, before and after the second norm.",
    ),
    reference=_twice,
    expects="a list of three answers, True or False, for the cases a, b and c",
    mistakes=(
        Mistake(
            "never",
            [False, False, False],
            "A norm undoes every change of a token's size, a learned one too. Where has one been learned?",
            _LN,
        ),
        Mistake(
            "always",
            [True, True, True],
            "A token that has mean 0 and variance 1 already is left as it is. In which case is it so?",
            _LN,
        ),
        Mistake(
            "only-c",
            [False, False, True],
            "You think that a common scale passes through. The second norm gives the token variance 1 again.",
            _LN,
        ),
        Mistake(
            "only-b",
            [False, True, False],
            "One large number raises the variance of its whole token. The second norm divides all of them by it.",
            _LN,
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (SWIGLU, LAYER_NORM, DEBUG, RESIDUAL, TWICE)
