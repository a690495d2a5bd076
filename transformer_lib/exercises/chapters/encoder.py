"""Exercises of the chapter "The encoder"."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import layers
from transformer_lib.encoder import EncoderLayer
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

_ALLOWED = (lib.MultiHeadAttention, layers.FeedForward, layers.LayerNorm, layers.Residual)
_LAYER, _PADDING = "A layer in a dozen lines", "Sentences of different lengths"


# ---- A layer, from memory.


class PlainEncoderLayer(nn.Module):
    """A pre-norm encoder layer without helpers, with one choice to be made wrong."""

    fault = ""

    def __init__(self, d_model: int, n_heads: int, d_ff: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = layers.LayerNorm(d_model), layers.LayerNorm(d_model)
        self.attention = lib.MultiHeadAttention(d_model, n_heads)
        self.up_proj, self.down_proj = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Any:
        if self.fault == "mask-inverted" and mask is not None:
            mask = ~mask
        return self.attention(x, mask=None if self.fault == "mask-forgotten" else mask)

    def _widen(self, x: Tensor) -> Any:
        hidden = self.up_proj(x)
        return self.down_proj(hidden if self.fault == "no-relu" else hidden.relu())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        """The layer."""
        fault = self.fault
        if fault == "post-norm":
            x = self.norm_1(x + self._attend(x, mask))
            return self.norm_2(x + self._widen(x))
        if fault == "norm-on-stream":
            x = self.norm_1(x)
            x = x + self._attend(x, mask)
        elif fault == "no-residual":
            x = self._attend(self.norm_1(x), mask)
        else:
            first = x
            x = x + self._attend(self.norm_1(x), mask)
            if fault == "old-token":
                return x + self._widen(self.norm_2(first))
            if fault == "parallel":
                return first + self._widen(self.norm_2(x))
        norm = self.norm_1 if fault == "one-norm" else self.norm_2
        return x + self._widen(x if fault == "second-norm-forgotten" else norm(x))


def _with(name: str) -> type[PlainEncoderLayer]:
    return type("PlainEncoderLayer", (PlainEncoderLayer,), {"fault": name})


def _run(answer: Any, n_heads: int, d_ff: int, x: Tensor, mask: Tensor | None = None) -> Any:
    return with_weights(answer, PlainEncoderLayer, x.size(-1), n_heads, d_ff, dtype=x.dtype)(x, mask)


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(1, 3, draw.normal(1, 2, 4))
    yield case(2, 5, 1.0 + draw.normal(3, 5, 6))


def _padded(draw: Draw) -> Iterator[Case]:
    yield case(1, 3, draw.normal(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])[:, None, None])


def _fault(name: str, says: str, see: str = _LAYER) -> Mistake:
    return Mistake(name, _with(name), says, see)


LAYER = Implement(
    id="encoder-layer",
    chapter="encoder",
    title="A layer without helpers",
    level="medium",
    minutes=20,
    task="Write a pre-norm encoder layer as a class PlainEncoderLayer(d_model, n_heads, d_ff), with the residual "
    "connections written out.",
    hints=(
        "Two lines of `forward` do the work: one for attention, one for the feed-forward part.",
        "Each line adds something to `x`. What is added is computed from a normalized `x`; the `x` that it is added to "
        "is not normalized.",
        "The second line works with the `x` that the first line made.",
    ),
    reference=PlainEncoderLayer,
    probe=_run,
    allowed=_ALLOWED,
    ready_made=(EncoderLayer,),
    stages=(
        Stage("for whole sentences", _tokens, gradients=True),
        Stage("with a padding mask", _padded),
    ),
    mistakes=(
        _fault("post-norm", "This is post-norm: you normalize the sums. The task asks for pre-norm.",
               "layers: The residual sublayer: pre and post"),
        _fault("no-residual", "The result of attention replaces the tokens, where it should be added to them.",
               "layers: The residual connection"),
        _fault("norm-on-stream", "You normalize the stream itself, and add to the normalized tokens.",
               "layers: The residual sublayer: pre and post"),
        _fault("old-token", "Your feed-forward part reads the tokens as they were before attention."),
        _fault("parallel", "What attention added is lost: your last sum starts from the old tokens."),
        _fault("one-norm", "You used the first norm twice. The second has a scale and a shift of its own."),
        _fault("second-norm-forgotten", "The feed-forward part gets tokens that are not normalized."),
        _fault("no-relu", "Nothing bends between the two matrices of your feed-forward part.",
               "layers: Take away the activation"),
        _fault("mask-forgotten", "Your layer does not hand the mask to its attention.", _LAYER),
        _fault("mask-inverted", "You turned the mask round. `True` means *may attend*.",
               "scaled: Masks: what may be seen"),
    ),
)  # fmt: skip


# ---- Two faults in a forward.


def _faulty(normed: bool = True, inverted: bool = True) -> type[PlainEncoderLayer]:
    class Layer(PlainEncoderLayer):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
            mask = ~mask if inverted and mask is not None else mask
            x = self.norm_1(x) if normed else x
            x = x + self.attention(x if normed else self.norm_1(x), mask=mask)
            return x + self.down_proj(self.up_proj(self.norm_2(x)).relu())

    return Layer


def _without_norm(self: PlainEncoderLayer, x: Tensor, mask: Tensor | None = None) -> Any:
    x = x + self.attention(x, mask=mask)
    return x + self.down_proj(self.up_proj(self.norm_2(x)).relu())


def _try(answer: Any, n_heads: int, d_ff: int, x: Tensor, mask: Tensor | None = None) -> Any:
    """A ``forward`` is tried on a layer; so is that of a whole class."""
    layer = with_weights(PlainEncoderLayer, PlainEncoderLayer, x.size(-1), n_heads, d_ff, dtype=x.dtype)
    return getattr(answer, "forward", answer)(layer, x, mask)


def _partly(draw: Draw) -> Iterator[Case]:
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])[:, None, None]
    yield case(2, 3, draw.normal(2, 4, 4), mask)


DEBUG = Debug(
    id="encoder-debug",
    chapter="encoder",
    title="Which test catches it?",
    level="medium",
    minutes=15,
    task="Find the two faults in the forward method of a pre-norm layer, and mend them.",
    hints=(
        "Set `o_proj` and `down_proj` to zero. What should a layer return that has nothing to add?",
        "Change one number of a masked token. Which outputs may change?",
        "One fault is in the first line, one in the second.",
    ),
    reference=PlainEncoderLayer.forward,
    given=_faulty().forward,
    probe=_try,
    allowed=_ALLOWED,
    ready_made=(EncoderLayer,),
    stages=(Stage("without a mask", _tokens, gradients=True), Stage("with a padding mask", _partly)),
    mistakes=(
        Mistake("stream-left", _faulty(inverted=False).forward, "One fault is mended: the mask. Now give the layer "
                "nothing to add, and see whether it returns its input.", "layers: The residual connection"),
        Mistake("mask-left", _faulty(normed=False).forward, "One fault is mended: the stream. Now look which tokens "
                "the mask hides.", "scaled: Masks: what may be seen"),
        Mistake("no-norm", _without_norm,
                "You took the norm away altogether. Attention should still read normalized tokens.",
                "layers: The residual sublayer: pre and post"),
    ),
)  # fmt: skip


# ---- One vector for a sentence.


def mean_pool(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over the words of each sentence; zeros where there is no word."""
    words = mask[:, 0, 0, :, None]
    return x.masked_fill(~words, 0.0).sum(1) / words.sum(1).clamp(min=1)


def _pool(name: str) -> Any:
    def wrong(x: Tensor, mask: Tensor) -> Tensor:
        words = mask[:, 0, 0, :, None]
        total = (x * words).sum(1)
        if name == "plain":
            return x.mean(1)
        if name == "full-length":
            return total / x.size(1)
        if name == "sum":
            return total
        if name == "inverted":
            return mean_pool(x, ~mask)
        if name == "nan":
            return total / words.sum(1)
        if name == "largest":
            return x.masked_fill(~words, float("-inf")).amax(1).nan_to_num(neginf=0.0)
        assert name == "over-batch"
        return (total / words.sum().clamp(min=1)).to(x.dtype)

    return wrong


def _words(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 2), torch.tensor([[True, True, False], [True, False, False]])[:, None, None])
    yield case(draw.normal(3, 5, 4), (torch.arange(5) < torch.tensor([5, 2, 3])[:, None])[:, None, None])


def _nothing(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 2), torch.tensor([[True, False, True], [False] * 3])[:, None, None])


POOLING = Implement(
    id="encoder-pooling",
    chapter="encoder",
    title="One vector for a sentence",
    level="easy",
    minutes=10,
    task="Write mean_pool(x, mask): the mean over the words of each sentence, without its padding.",
    hints=(
        "`mask[:, 0, 0, :, None]` has the shape `(batch, seq, 1)`.",
        "Padding should add nothing to the sum, and should not be counted either.",
        "A sentence of padding only has no words. By what would you divide?",
    ),
    reference=mean_pool,
    stages=(
        Stage("for sentences of different lengths", _words, gradients=True),
        Stage("for a sentence of padding only", _nothing, gradients=True),
    ),
    mistakes=(
        Mistake("plain", _pool("plain"), "Your mean counts the padding as words.", _PADDING),
        Mistake("full-length", _pool("full-length"), "You left the padding out of the sum, but divided by the full "
                "length.", _PADDING),
        Mistake("sum", _pool("sum"), "This is the sum. Long sentences get long vectors.", _PADDING),
        Mistake("inverted", _pool("inverted"), "You took the mean over the padding. `True` means a word.", _PADDING),
        Mistake("nan", _pool("nan"), "It is right as long as every sentence has a word. Nothing divided by nothing is "
                "nan.", "scaled: A query with nothing to look at"),
        Mistake("largest", _pool("largest"), "You took the largest number of each column, not the mean.", _PADDING),
        Mistake("over-batch", _pool("over-batch"), "You divided by the number of words in the whole batch.", _PADDING),
    ),
)  # fmt: skip


# ---- Near and far.

LONGER = Predict(
    id="encoder-longer",
    chapter="encoder",
    title="Near and far",
    level="medium",
    minutes=15,
    task="Say which positions keep which gaps in sentences that are longer than in training.",
    hints=(
        "*The noun to my right* is the same distance everywhere. *The noun at the beginning* is the same place "
        "everywhere.",
        "Which of the two schemes knows distances only, and which knows places?",
        "A place that was never seen in training has a vector that no weight was trained with.",
    ),
    reference=lambda: "b",
    expects="one letter",
    options={
        "a": "Sinusoidal keeps both.",
        "b": "Rotary keeps the near gaps, sinusoidal the far one.",
        "c": "Sinusoidal keeps the near gaps, rotary the far one.",
        "d": "Rotary keeps both.",
        "e": "Both schemes lose both.",
    },
    mistakes=(
        Mistake("a", "a", "A noun that is next to its gap stands, in these sentences, at places that training has "
                "hardly seen. What does a scheme of places know there?", "positions: Five schemes on trial"),
        Mistake("c", "c", "Think again which scheme knows distances. *The next word* is a distance.",
                "positions: Five schemes on trial"),
        Mistake("d", "d", "The far noun is further away than any noun in training. What does a scheme of distances "
                "know there?", "positions: Five schemes on trial"),
        Mistake("e", "e", "Each scheme has one thing that stays the same in longer sentences.",
                "positions: Five schemes on trial"),
    ),
)  # fmt: skip


# ---- In the mirror.


def _mirror() -> list[str]:
    """The schemes whose output for a turned sentence is the turned output."""
    torch.manual_seed(0)
    found = []
    for scheme in ("none", "sinusoidal", "learned", "relative", "rotary", "alibi"):
        config = lib.StackConfig(
            d_model=12, n_heads=2, d_ff=16, n_layers=2, pre_norm=True, dropout=0.0, positions=scheme, max_len=8
        )
        encoder = lib.Encoder(config).double().eval()
        x = torch.randn(1, 7, 12, dtype=torch.float64)
        with torch.no_grad():
            for parameter in encoder.parameters():
                nn.init.normal_(parameter, std=0.5)
            if torch.allclose(encoder(x.flip(1)), encoder(x).flip(1), atol=1e-9):
                found.append(scheme)
    return found


MIRROR = Predict(
    id="encoder-mirror",
    chapter="encoder",
    title="In the mirror",
    level="hard",
    minutes=10,
    task="Name the position schemes with which an encoder cannot tell a sentence from its mirror image.",
    hints=(
        "What does ALiBi subtract from the score of two tokens at places i and j? And after turning around, when they "
        "stand at n-1-i and n-1-j?",
        "Some schemes know the distance with its sign: two to the left is not two to the right.",
        "`make_encoder(encoder=lib.Encoder, positions=…)` makes one. The relative bias starts with a table of zeros, "
        "which would fool you: give all parameters random values first.",
    ),
    reference=_mirror,
    expects='a list of names in the order of the statement, such as ["none", "rotary"]',
    mistakes=(
        Mistake("none-only", ["none"], "Without positions, yes. But a distance without its sign is the same in the "
                "mirror, too.", "positions: ALiBi: distance costs"),
        Mistake("all-distances", ["none", "relative", "rotary", "alibi"], "All of these know distances and no places. "
                "But some of them know on which side a token stands.", "positions: Relative bias: a number for each "
                "distance"),
        Mistake("with-rotary", ["none", "rotary", "alibi"], "Rotary turns by the distance with its sign: the angle of "
                "two to the left is not that of two to the right.", "positions: Rotary: turn the query and the key"),
        Mistake("with-relative", ["none", "relative", "alibi"], "An encoder's relative bias has buckets of its own for "
                "the keys to the right.", "positions: Relative bias: a number for each distance"),
        Mistake("alibi-only", ["alibi"], "ALiBi, yes. And what does an encoder know that has no positions at all?",
                "self: Order is invisible"),
    ),
)  # fmt: skip

EXERCISES: tuple[Exercise, ...] = (LAYER, DEBUG, POOLING, LONGER, MIRROR)
