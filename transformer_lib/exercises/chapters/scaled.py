"""Exercises of the chapter "Scaled dot-product attention"."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import transformer_lib as lib
from transformer_lib.exercises.engine.exercise import (
    Case,
    Debug,
    Draw,
    Exercise,
    Explore,
    Goal,
    Implement,
    Mistake,
    Predict,
    Stage,
    case,
)

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


# ---- One query.


def attend_one(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The output for one query (d_k,), with keys (key, d_k) and values (key, d_v)."""
    scores = key @ query / math.sqrt(len(query))
    exponentials = np.exp(scores - scores.max())
    output: np.ndarray = exponentials / exponentials.sum() @ value
    return output


def _one(scale: float = 0.5, temperature: float = 1.0, normalized: bool = True, keys: bool = False) -> Any:
    def wrong(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        exponentials = np.exp(key @ query / len(query) ** scale)
        weights = exponentials / exponentials.sum() if normalized else exponentials
        output: np.ndarray = weights @ (key if keys else value)
        return output

    return wrong


def _without_exponential(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    scores = key @ query / math.sqrt(len(query))
    output: np.ndarray = scores / scores.sum() @ value
    return output


def _one_query(draw: Draw) -> Iterator[Case]:
    for keys, d_k, d_v in ((2, 3, 1), (5, 3, 2), (4, 9, 6)):
        yield case(*(draw.normal(*shape).double().numpy() for shape in ((d_k,), (keys, d_k), (keys, d_v))))


def _large_scores(draw: Draw) -> Iterator[Case]:
    query, value = (draw.uniform(*shape, low=1.0, high=2.0).double().numpy() for shape in ((4,), (3, 2)))
    key = np.array([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 0.5]])
    yield case(1000.0 * query, key, value)
    yield case(-1000.0 * query, key, value)


ONE_QUERY = Implement(
    id="one-query",
    chapter="scaled",
    title="One query, as a function",
    level="easy",
    minutes=10,
    task="Write attend_one(query, key, value): the output of attention for a single query, in NumPy.",
    hints=(
        "Four steps: compare, scale, softmax, blend. Each is one line of this chapter, and one of yours.",
        "`key @ query` gives one score for each key. How many numbers does the query have?",
        "For scores in the thousands, `np.exp` overflows. The section on the softmax shows what to subtract first.",
    ),
    reference=attend_one,
    stages=(Stage("for one query", _one_query), Stage("with very large scores", _large_scores)),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "no-scaling",
            _one(scale=0.0),
            "You did not scale the scores. They go into the softmax too large, the more so the wider the key.",
            "One query, by hand",
        ),
        Mistake(
            "by-width",
            _one(scale=1.0),
            "You divided the scores by the width of the key itself. That makes wide keys look alike.",
            "One query, by hand",
        ),
        Mistake(
            "no-sum",
            _one(normalized=False),
            "Your weights do not sum to 1, so the output is no average of the values. Half of the softmax is missing.",
            "One query, by hand",
        ),
        Mistake(
            "keys-blended",
            _one(keys=True),
            "You blended the keys. A key is what a word is found by; what it gives is another vector.",
            "Three roles for every word",
        ),
        Mistake(
            "no-exponential",
            _without_exponential,
            "You divided the scores by their sum. Scores may be negative, and then so are such weights; the softmax "
            "makes them positive first.",
            "One query, by hand",
        ),
        Mistake(
            "overflow",
            _one(),
            "It works until the scores are large: then the exponentials overflow, and infinity divided by infinity is "
            "not a number.",
            "Softmax, and its temperature",
        ),
    ),
)


# ---- The temperature.

_SCORES = np.array([0.8, 5.8, 0.8, 0.0, 0.0, 0.0, 0.0, 1.6]) * 1.2 / 2  # of "interessante", scaled


def _weight_at(temperature: Any, draw: Draw) -> Mapping[str, Any]:
    exponentials = np.exp((_SCORES - _SCORES.max()) / float(temperature))
    return {"weight of livro": float(exponentials[1] / exponentials.sum())}


TEMPERATURE = Explore(
    id="scaled-temperature",
    chapter="scaled",
    title="A temperature for a purpose",
    level="easy",
    minutes=10,
    task="Find the temperature, to two decimals, at which livro gets half of the weight.",
    hints=(
        "The weight of the winner falls as the temperature rises. At 1.0 it is 0.77.",
        "Cut an interval in half again and again: look whether the weight in the middle is above or below 0.5, and "
        "keep the half in which it crosses.",
    ),
    expects="a temperature, a positive number",
    measure=_weight_at,
    goals=(
        Goal(
            "at most 0.502",
            lambda measured: measured["weight of livro"] <= 0.502,
            "At this temperature *livro* still gets more than half. Should it be warmer or colder?",
            "Softmax, and its temperature",
            lambda: 1.0,
        ),
        Goal(
            "at least 0.498",
            lambda measured: measured["weight of livro"] >= 0.498,
            "At this temperature *livro* gets less than half. Should it be warmer or colder?",
            "Softmax, and its temperature",
            lambda: 4.0,
        ),
    ),
)


# ---- Shapes.


def _shapes() -> tuple[tuple[int, ...], tuple[int, ...]]:
    output, weights = lib.attention(torch.zeros(3, 4, 7, 16), torch.zeros(3, 4, 9, 16), torch.zeros(3, 4, 9, 10))
    return tuple(weights.shape), tuple(output.shape)


SHAPES = Predict(
    id="attention-shapes",
    chapter="scaled",
    title="Two shapes",
    level="easy",
    minutes=5,
    task="Say which shapes the weights and the output have.",
    hints=(
        "Each query has a row of weights, with one weight for each key. The axes before those two stay as they are.",
        "The output has one vector for each query. It is an average of values, so it is as wide as a value.",
    ),
    reference=_shapes,
    expects="two tuples of four sizes each: the weights' shape, then the output's",
    mistakes=(
        Mistake(
            "exchanged",
            lambda: tuple(reversed(_shapes())),
            "These are the two shapes, in the other order: the weights come first.",
            "All queries, by a loop",
        ),
        Mistake(
            "keys-first",
            ((3, 4, 9, 7), (3, 4, 7, 10)),
            "Your weights have a row for each key. A row belongs to the one who asks.",
            "All queries, by a loop",
        ),
        Mistake(
            "width-of-key",
            ((3, 4, 7, 9), (3, 4, 7, 16)),
            "Your output is as wide as a key. But keys are only compared; something else is blended.",
            "Three roles for every word",
        ),
        Mistake(
            "output-per-key",
            ((3, 4, 7, 9), (3, 4, 9, 10)),
            "Your output has a vector for each key. Who gets an answer: those who ask, or those who are asked?",
            "All queries, by a loop",
        ),
    ),
)


# ---- Attention.


def _attention(power: float = 0.5, width_of: str = "query", axis: int = -1, blind: str = "zero") -> Any:
    """Attention with one choice wrong."""

    def wrong(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        width = {"query": query.size(-1), "value": value.size(-1), "keys": key.size(-2)}[width_of]
        scores = query @ key.transpose(-2, -1) / width**power
        if mask is None or blind == "ignored":
            weights = scores.softmax(axis)
        elif blind == "late":
            weights = scores.softmax(axis) * mask
        elif blind == "renormalized":
            weights = scores.softmax(axis) * mask
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
        elif blind == "inverted":
            weights = scores.masked_fill(mask, torch.finfo(scores.dtype).min).softmax(axis).masked_fill(mask, 0.0)
        elif blind == "added":
            weights = (scores + mask.to(scores.dtype)).softmax(axis)
        elif blind == "zero-scores":
            weights = (scores * mask).softmax(axis)
        elif blind == "nan":
            weights = scores.masked_fill(~mask, -math.inf).softmax(axis)
        else:
            weights = scores.masked_fill(~mask, -1e9).softmax(axis)
            weights = weights if blind == "uniform" else weights.masked_fill(~mask, 0.0)
        return weights @ value, weights

    return wrong


def _plain(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3), draw.normal(2, 3), draw.normal(2, 1))
    yield case(draw.normal(3, 8), draw.normal(5, 8), draw.normal(5, 4))


def _batches(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7))


def _masked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3), draw.normal(3, 2), draw.mask(2, 3))
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7), draw.mask(2, 1, 1, 5))


def _blind(draw: Draw) -> Iterator[Case]:
    mask = draw.mask(3, 4)
    mask[1] = False
    yield case(draw.normal(3, 2), draw.normal(4, 2), draw.normal(4, 3), mask)


ATTENTION = Implement(
    id="scaled-dot-product-attention",
    chapter="scaled",
    title="Attention, from memory",
    level="medium",
    minutes=20,
    task="Write attention(query, key, value, mask=None), which returns the output and the weights, for any number of "
    "axes before the last two.",
    hints=(
        "Without a mask it is three lines: scores, weights, output.",
        "`key.transpose(-2, -1)` exchanges the last two axes and leaves all others alone.",
        "Hide the scores before the softmax with a number that stays finite. Then look at what a query gets that may "
        "see nothing, and remove it.",
    ),
    reference=lib.attention,
    stages=(
        Stage("without a mask", _plain, gradients=True),
        Stage("for batches and heads", _batches),
        Stage("with a mask", _masked, gradients=True),
        Stage("for a query that may see nothing", _blind, gradients=True),
    ),
    mistakes=(
        Mistake(
            "no-scaling",
            _attention(power=0.0),
            "You did not scale the scores. The wider the key, the larger they get, and the softmax soon has one winner "
            "and no gradient.",
            "Why the square root",
        ),
        Mistake(
            "by-width",
            _attention(power=1.0),
            "You divided by d_k, not by √d_k. Then wide keys get scores near zero, and all weights are alike.",
            "Why the square root",
        ),
        Mistake(
            "width-of-value",
            _attention(width_of="value"),
            "You took the width of the values. The scores are sums over the numbers of a query and a key.",
            "Why the square root",
        ),
        Mistake(
            "number-of-keys",
            _attention(width_of="keys"),
            "You took the square root of the number of keys. The scale belongs to the width of a key.",
            "Why the square root",
        ),
        Mistake(
            "over-queries",
            _attention(axis=-2),
            "Your softmax runs over the queries: the columns sum to 1, and the rows do not.",
            "All queries, by a loop",
        ),
        Mistake(
            "mask-ignored",
            _attention(blind="ignored"),
            "Your code does not use the mask.",
            "Masks: what may be seen",
        ),
        Mistake(
            "mask-inverted",
            _attention(blind="inverted"),
            "Your mask hides what should be seen and shows what should be hidden. In this book `True` means *may "
            "attend*.",
            "Masks: what may be seen",
        ),
        Mistake(
            "mask-added",
            _attention(blind="added"),
            "You added the mask to the scores, as zeros and ones. That hides nothing.",
            "Masks: what may be seen",
        ),
        Mistake(
            "mask-times-scores",
            _attention(blind="zero-scores"),
            "You multiplied the scores by the mask. A score of zero is not hidden: the exponential of zero is 1.",
            "Masks: what may be seen",
        ),
        Mistake(
            "mask-too-late",
            _attention(blind="late"),
            "You masked after the softmax. The hidden keys have already taken their share, and the rows no longer sum "
            "to 1.",
            "Masks: what may be seen",
        ),
        Mistake(
            "blind-nan",
            _attention(blind="nan"),
            "It is right as long as every query sees a key. A row of only -∞ becomes nan.",
            "A query with nothing to look at",
        ),
        Mistake(
            "blind-uniform",
            _attention(blind="uniform"),
            "It is right as long as every query sees a key. A query that may see nothing gets an average of all the "
            "values that are hidden from it.",
            "A query with nothing to look at",
        ),
    ),
)


# ---- A window.


def window_mask(length: int, width: int) -> Tensor:
    """Each query sees itself and the ``width - 1`` keys before it."""
    return lib.causal_mask(length, length).triu(1 - width)


def _windows(draw: Draw) -> Iterator[Case]:
    for length, width in ((3, 2), (5, 1), (6, 4), (4, 4), (3, 7)):
        yield case(length, width)


def _tril_only(length: int, width: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def _ones(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool)


WINDOW = Implement(
    id="scaled-window",
    chapter="scaled",
    title="A sliding window",
    level="medium",
    minutes=10,
    task="Write window_mask(length, width): each query sees itself and the width - 1 keys just before it.",
    hints=(
        "It is the causal mask with something cut off.",
        "`torch.tril` and `torch.triu` take a second argument that moves the diagonal.",
        "Write the rows of `window_mask(4, 2)` on paper, and count the entries of the last one.",
    ),
    reference=window_mask,
    stages=(Stage("for lengths and widths", _windows),),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "one-too-many",
            lambda length, width: _tril_only(length, width).triu(-width),
            "Your window is one key too wide: `width` counts the query's own position too.",
            "Masks: what may be seen",
        ),
        Mistake(
            "without-itself",
            lambda length, width: _ones(length).tril(-1).triu(-width),
            "Your window leaves out the query's own position, and so the first query sees nothing.",
            "Masks: what may be seen",
        ),
        Mistake(
            "causal-only",
            _tril_only,
            "This is the causal mask: every query sees the whole past, however narrow the window is.",
            "Masks: what may be seen",
        ),
        Mistake(
            "both-sides",
            lambda length, width: _ones(length).triu(1 - width).tril(width - 1),
            "Your window looks to both sides. A query must not see the keys after it.",
            "Masks: what may be seen",
        ),
        Mistake(
            "forward",
            lambda length, width: _ones(length).triu().tril(width - 1),
            "Your window looks ahead, at the keys after the query.",
            "Masks: what may be seen",
        ),
        Mistake(
            "hidden-true",
            lambda length, width: ~window_mask(length, width),
            "Your mask is `True` where a key is hidden. In this book `True` means *may attend*.",
            "Masks: what may be seen",
        ),
        Mistake(
            "numbers",
            lambda length, width: window_mask(length, width).float(),
            "The pattern is right, but your mask holds numbers. PyTorch would add them to the scores, and hide "
            "nothing. A mask is boolean.",
            "Masks: what may be seen",
        ),
    ),
)


# ---- Mend the code.


def _mixed_up(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Any:
    scores = query @ key.transpose(-2, -1) / query.size(-1) ** 0.5
    weights = scores.softmax(dim=-2)
    weights = weights.masked_fill(~mask, 0.0)
    return weights @ value


def _mended(axis: int = -1, early: bool = True) -> Any:
    def code(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Any:
        scores = query @ key.transpose(-2, -1) / query.size(-1) ** 0.5
        if early:
            return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(axis) @ value
        return scores.softmax(axis).masked_fill(~mask, 0.0) @ value

    return code


def _square_masks(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3), draw.normal(3, 2), torch.tensor([[True] * 3, [True, True, False]]))
    yield case(draw.normal(2, 4, 6), draw.normal(2, 5, 6), draw.normal(2, 5, 3), draw.mask(2, 4, 5))


AXIS = Debug(
    id="scaled-axis",
    chapter="scaled",
    title="Two faults",
    level="medium",
    minutes=10,
    task="Find the two faults of a colleague's function and mend them.",
    hints=(
        "Print the sums of the weights, along the rows and along the columns, before the mask is used.",
        "`dim=-2` runs over the queries.",
        "Then compare the order of the last three lines with that of this chapter's function.",
    ),
    reference=lambda query, key, value, mask: F.scaled_dot_product_attention(query, key, value, mask),
    given=_mixed_up,
    stages=(Stage("with a mask", _square_masks, gradients=True),),
    mistakes=(
        Mistake(
            "axis-left",
            _mended(axis=-2),
            "One fault is mended: the mask now works before the softmax. Now look which sums are 1.",
            "All queries, by a loop",
        ),
        Mistake(
            "late-left",
            _mended(early=False),
            "One fault is mended: the softmax now runs over the keys. But the rows no longer sum to 1 under a mask.",
            "Masks: what may be seen",
        ),
        Mistake(
            "no-mask",
            lambda query, key, value, mask: F.scaled_dot_product_attention(query, key, value),
            "Your code does not use the mask any more.",
            "Masks: what may be seen",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (ONE_QUERY, TEMPERATURE, SHAPES, WINDOW, AXIS, ATTENTION)
