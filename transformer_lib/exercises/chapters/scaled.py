"""What is not text in the exercises of the chapter "Scaled dot-product attention"; the rest stands in scaled.md."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Draw, Goal, Stage, case


def _one_query(draw: Draw) -> Iterator[Case]:
    for keys, d_k, d_v in ((1, 5, 2), (2, 3, 1), (5, 3, 2), (4, 8, 6)):
        yield case(*(draw.normal(*shape).double().numpy() for shape in ((d_k,), (keys, d_k), (keys, d_v))))


def _large_scores(draw: Draw) -> Iterator[Case]:
    query, value = (draw.uniform(*shape, low=1.0, high=2.0).double().numpy() for shape in ((4,), (3, 2)))
    key = np.array([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 0.5]])
    yield case(1000.0 * query, key, value)
    yield case(-1000.0 * query, key, value)
    yield case(-1000.0 * query, abs(key), value)  # no score is positive


_SCORES = np.array([1.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # of "bonit_", scaled


def _weight_at(temperature: Any, draw: Draw) -> Mapping[str, Any]:
    exponentials = np.exp((_SCORES - _SCORES.max()) / float(temperature))
    return {"weight of livro": float(exponentials[1] / exponentials.sum())}


def _plain(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3), draw.normal(2, 3), draw.normal(2, 1))
    yield case(draw.normal(3, 8), draw.normal(5, 8), draw.normal(5, 5))


def _batches(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7))
    yield case(draw.normal(1, 2, 1, 3), draw.normal(1, 2, 1, 3), draw.normal(1, 2, 1, 2))


def _projected(draw: Draw, seq: tuple[int, ...], d_model: int, d_k: int, d_v: int, scale: float = 1.0) -> Case:
    widths, spread = (d_k, d_k, d_v), scale * d_model**-0.5
    return case(scale * draw.normal(*seq, d_model), *(draw.normal(d_model, width, scale=spread) for width in widths))


def _sentences(draw: Draw) -> Iterator[Case]:
    yield _projected(draw, (3,), 5, 2, 4)
    yield _projected(draw, (4,), 6, 8, 2)


def _batches_of_sentences(draw: Draw) -> Iterator[Case]:
    yield _projected(draw, (2, 3, 5), 6, 4, 7)
    yield _projected(draw, (3, 2), 5, 3, 3)


def _extreme_sentences(draw: Draw) -> Iterator[Case]:
    yield _projected(draw, (5,), 7, 3, 4, 30.0)


def _masked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3), draw.normal(3, 2), draw.mask(2, 3))
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7), draw.mask(2, 1, 1, 5))


def _large(draw: Draw) -> Iterator[Case]:
    """Scores far apart, so that rounding does not count: hidden keys have the largest, those that are seen far less."""
    key = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, -1.0, -0.5], [1.0, 1.0, 1.0], [0.0, 0.0, 0.5]], dtype=draw.dtype)
    query, mask = 500.0 * draw.uniform(2, 3, low=1.0, high=2.0), torch.tensor([[True, True, False, False]] * 2)
    mask[1, 0] = False
    yield case(query, key, draw.normal(4, 2), mask)
    yield case(-query, key, draw.normal(4, 2), mask)


def _blind(draw: Draw) -> Iterator[Case]:
    mask = draw.mask(3, 4)
    mask[1] = False
    yield case(draw.normal(3, 2), draw.normal(4, 2), draw.normal(4, 3), mask)


def _windows(draw: Draw) -> Iterator[Case]:
    for length, width in ((3, 2), (5, 1), (6, 4), (4, 4), (3, 7), (1, 1)):
        yield case(length, width)


def _square_masks(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3), draw.normal(3, 2), torch.tensor([[True] * 3, [True, True, False]]))
    yield case(draw.normal(2, 4, 6), draw.normal(2, 5, 6), draw.normal(2, 5, 3), draw.mask(2, 4, 5))


EXERCISES = read(
    "scaled",
    {
        "one-query": {
            "stages": (Stage("for one query", _one_query), Stage("with very large scores", _large_scores)),
            "dtypes": (torch.float64,),
        },
        "scaled-temperature": {
            "measure": _weight_at,
            "goals": (
                Goal(
                    "at most 0.502",
                    "weight of livro <= 0.502",
                    "At this temperature *livro* still gets more than half. Should it be warmer or colder?",
                    "temperature",
                    lambda: 1.0,
                ),
                Goal(
                    "at least 0.498",
                    "weight of livro >= 0.498",
                    "At this temperature *livro* gets less than half. Should it be warmer or colder?",
                    "temperature",
                    lambda: 4.0,
                ),
            ),
        },
        "scaled-self-attention": {
            "stages": (
                Stage("for one sentence", _sentences, gradients=True),
                Stage("for batches", _batches_of_sentences),
                Stage("with very large scores", _extreme_sentences),
            ),
        },
        "scaled-window": {"stages": (Stage("for lengths and widths", _windows),), "dtypes": (torch.float64,)},
        "scaled-axis": {
            "reference": lambda query, key, value, mask: F.scaled_dot_product_attention(query, key, value, mask),
            "stages": (
                Stage("with a mask", _square_masks, gradients=True),
                Stage("with very large scores under a mask", _large),
            ),
        },
        "scaled-dot-product-attention": {
            "reference": lib.attention,
            "stages": (
                Stage("without a mask", _plain, gradients=True),
                Stage("for batches and heads", _batches),
                Stage("with a mask", _masked, gradients=True),
                Stage("with very large scores under a mask", _large),
                Stage("for a query that may see nothing", _blind, gradients=True),
            ),
            "atol": 1e-6,  # the root of a tensor of one whole number is float32
        },
    },
    names={"attention": lib.attention},
)
