"""What is not text in the exercises of the chapter "Training a translator"; the rest stands in translator.md."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise, takewhile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.data import PAD_ID, PairBatches, fragment_pairs, train_tokenizer
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case
from transformer_lib.texts import text
from transformer_lib.training import Recipe, smoothed_cross_entropy, train

Pieces = tuple[str, ...]
Pair = tuple[str, str]

# ---- A new word.


def merge(pieces: Pieces, pair: Pair) -> Pieces:
    """The chapter's: join a pair wherever it stands, from the left."""
    merged, i = list[str](), 0
    while i < len(pieces):
        both = pieces[i : i + 2] == pair
        merged.append("".join(pair) if both else pieces[i])
        i += 2 if both else 1
    return tuple(merged)


def _by_pattern(word: str, merges: Sequence[Pair]) -> Pieces:
    """The same in text with bars between the pieces, of which only whole ones are joined."""
    text = f"|{'|'.join(word)}|"
    for first, second in merges:
        text = re.sub(rf"(?<=\|){first}\|{second}(?=\|)", first + second, text)
    return tuple(text.strip("|").split("|"))


def _words(draw: Draw) -> Iterator[Case]:
    merges = [("o", "v"), ("n", "ov"), ("▁", "nov"), ("a", "s")]
    yield case("▁novas", merges)
    for length in (6, 8, 9, 10, 11, 12):
        corpus = {tuple(draw.python.choices("abc", k=6)): 1 for _ in range(8)}
        merges = []
        for _ in range(6):
            counts: dict[Pair, int] = {}
            for pieces in corpus:
                for pair in pairwise(pieces):
                    counts[pair] = counts.get(pair, 0) + 1
            if not counts:
                break
            best = max(counts, key=lambda pair: (counts[pair], pair))
            merges.append(best)
            corpus = {merge(pieces, best): 1 for pieces in corpus}
        yield case("".join(draw.python.choices("abc", k=length)), merges)
    yield case("abc", [("b", "c"), ("a", "b")])
    yield case("abcd", [("b", "c"), ("a", "b"), ("c", "d"), ("a", "bc")])


def _runs(draw: Draw) -> Iterator[Case]:
    yield case("baaa", [("a", "a")])
    yield case("aaaaab", [("a", "a"), ("aa", "b"), ("aa", "aa")])
    yield case("cabcab", [("c", "a"), ("a", "b"), ("ca", "b")])
    yield case("aab", [("a", "b"), ("c", "a"), ("a", "ab")])


# ---- Batches.


def _fullest(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """The most of the shortest sentences that fit, and the same again with the rest."""
    order = np.argsort(lengths, kind="stable").tolist()
    batches = []
    while order:
        fit = [n for n in range(1, len(order) + 1) if n * lengths[order[n - 1]] <= max_tokens]
        size = max(fit, default=1)
        batches.append(order[:size])
        order = order[size:]
    return batches


def _lengths(draw: Draw) -> Iterator[Case]:
    yield case([5, 2, 4, 2, 3], 8)
    for n, room in ((9, 12), (17, 24), (30, 40)):
        yield case(draw.integers(n, low=1, high=11).tolist(), room)


def _too_long(draw: Draw) -> Iterator[Case]:
    yield case([12, 9], 8)
    yield case([3, 12, 2, 9], 8)


# ---- The loss.


def _wanted(logits: Tensor, targets: Tensor, epsilon: float, pad_id: int) -> Tensor:
    """PyTorch's cross-entropy with what is wanted of each token."""
    counted, n_tokens = targets != pad_id, logits.size(-1)
    wanted = (1 - epsilon) * F.one_hot(targets[counted], n_tokens).to(logits.dtype) + epsilon / (n_tokens - 1)
    wanted[:, pad_id] = 0.0
    return F.cross_entropy(logits[counted], wanted)


def _unpadded(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), torch.tensor([[2, 1]]), 0.1, 0)
    yield case(draw.normal(3, 2, 5), draw.integers(3, 2, low=1, high=5), 0.3, 0)


def _padded(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), torch.tensor([[3, 1, 0]]), 0.1, 0)
    yield case(draw.normal(2, 4, 7), torch.tensor([[5, 2, 6, 3], [4, 0, 0, 0]]), 0.2, 0)


def _other_padding(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 6), torch.tensor([[5, 0, 3], [1, 4, 4]]), 0.1, 4)


def _certain(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 5), torch.tensor([[3, 1, 0], [4, 0, 0]]), 0.0, 0)


def _large(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 5, scale=1000.0), torch.tensor([[3, 1, 0], [4, 2, 1]]), 0.1, 0)


# ---- A mean of means.


def _parts(draw: Draw) -> Iterator[Case]:
    yield case(draw.uniform(2, 3, low=1.0, high=5.0), torch.tensor([[4, 2, 3], [5, 0, 0]]), 2)
    targets = draw.integers(6, 7, low=1, high=9)
    for row, end in zip(targets, (7, 6, 6, 3, 2, 1), strict=True):
        row[end:] = PAD_ID
    losses = draw.uniform(6, 7, low=1.0, high=5.0)
    yield case(losses, targets, 3)
    yield case(losses[:5], targets[:5], 2)


# ---- The schedule.


def _between_corners(step: int, peak: float, warmup: int, steps: int, decay: int) -> float:
    """The lower of two lines, each drawn between its corners."""
    rise, fall = np.interp(step, [0, warmup], [0, peak]), np.interp(step, [steps - decay, steps], [peak, 0])
    return float(min(rise, fall))


def _schedules(draw: Draw) -> Iterator[Case]:
    for step in (1, 4, 7, 8, 9, 20):
        yield case(step, 0.003, 8, 20, 5)


def _whole(draw: Draw) -> Iterator[Case]:
    for step in range(1, 13, 2):
        yield case(step, 0.01, 3, 12, 4)
    for step in (10, 15, 16, 17, 19):
        yield case(step, 0.003, 8, 20, 5)


def _peak_of_paper() -> tuple[int, float]:
    rates = {s: 512**-0.5 * min(s**-0.5, s * 4000**-1.5) for s in range(1, 20_001)}
    step = max(rates, key=lambda s: rates[s])
    return step, 1000 * rates[step]


# ---- A better recipe.


@cache
def _short_run() -> Callable[[Recipe, int], float]:
    """What the chapter's ``short_run`` does, with the same data."""
    pairs = fragment_pairs(1000, torch.Generator().manual_seed(0))
    tokenizer = train_tokenizer([text for pair in pairs for text in pair], 400)
    batches = PairBatches(pairs, tokenizer, max_tokens=300)
    fresh = fragment_pairs(60, torch.Generator().manual_seed(77))
    source, target = PairBatches(fresh, tokenizer, max_tokens=4000)(0)
    config = lib.StackConfig(d_model=32, n_heads=4, n_layers=1, d_ff=64, dropout=0.0, pre_norm=True)

    def run(recipe: Recipe, seed: int) -> float:
        torch.manual_seed(seed)
        model = lib.Transformer(tokenizer.get_vocab_size(), config)
        train(model, batches, recipe)
        with torch.no_grad():
            logits = model(source, target[:, :-1])
        wanted = target[:, 1:]
        return float(smoothed_cross_entropy(logits, wanted, smoothing=0.0) / (wanted != PAD_ID).sum())

    return run


def _measure_recipe(recipe: Any, draw: Draw) -> Mapping[str, Any]:
    if not isinstance(recipe, Recipe):
        raise Complaint(text("a Recipe is expected; got {given}", given=type(recipe).__name__))
    batches = recipe.steps * recipe.accumulate
    if batches > 100:
        return {"batches": batches}
    recipe = replace(recipe, compile=False, precision="fp32")
    try:
        loss = _short_run()(recipe, 5)  # not the chapter's seed
    except FloatingPointError:
        loss = math.inf
    return {"batches": batches, "loss": loss}


EXERCISES = read(
    "translator",
    {
        "translator-segment": {
            "reference": _by_pattern,
            "stages": (Stage("for words and merges", _words), Stage("for runs of one letter", _runs)),
            "dtypes": (torch.float64,),
        },
        "translator-batches": {
            "reference": _fullest,
            "stages": (
                Stage("for sentences of different lengths", _lengths),
                Stage("for sentences longer than a batch", _too_long),
                Stage("for no sentences", lambda draw: [case([], 10)]),
            ),
            "dtypes": (torch.float64,),
        },
        "translator-smoothing": {
            "reference": _wanted,
            "ready_made": (F.cross_entropy, nn.CrossEntropyLoss, smoothed_cross_entropy),
            "stages": (
                Stage("without padding", _unpadded, gradients=True),
                Stage("with padding", _padded, gradients=True),
                Stage("with another number for the padding", _other_padding),
                Stage("without smoothing", _certain),
                Stage("for logits in the thousands", _large, gradients=True),
            ),
        },
        "translator-mean": {
            "reference": lambda losses, targets, parts: losses[targets != PAD_ID].mean(),
            "stages": (Stage("for parts with different numbers of tokens", _parts, gradients=True),),
        },
        "translator-trapezoid": {
            "reference": _between_corners,
            "stages": (
                Stage("up to the peak and at the end", _schedules),
                Stage("on the whole way", _whole),
                Stage("without a warm-up", lambda draw: [case(step, 0.002, 0, 6, 3) for step in (1, 2, 5)]),
                Stage("after the last step", lambda draw: [case(9, 0.002, 2, 7, 3)]),
            ),
            "dtypes": (torch.float64,),
        },
        "translator-noam": {"reference": _peak_of_paper, "atol": 1e-4},
        "translator-minute": {
            "measure": _measure_recipe,
            "seconds": 120.0,
            "goals": (
                Goal(
                    "at most 100 batches",
                    "batches <= 100",
                    "Anybody can do better with more batches; `accumulate` counts too. Here the budget is fixed.",
                    "translator-first-training",
                    lambda: Recipe(steps=200, peak_rate=1e-3, warmup=50),
                ),
                Goal(
                    "at most 5 nats a token on new sentences",
                    "loss <= 5.0",
                    "The model has learned hardly anything. With steps too small it gets nowhere, with steps too large "
                    "it is thrown about. Look at both sides.",
                    "translator-schedule",
                    lambda: Recipe(steps=100, peak_rate=1e-3, warmup=50),
                ),
                Goal(
                    "at most 4.1 nats a token on new sentences",
                    "loss <= 4.1",
                    "That is already much better than the first recipe. There are more fields than one: the peak, the "
                    "schedule, the warm-up, the smoothing.",
                    "translator-schedule",
                    lambda: Recipe(steps=100, peak_rate=1e-2, warmup=10),
                ),
            ),
        },
    },
    names={"PAD_ID": PAD_ID, "merge": merge, "pairwise": pairwise, "takewhile": takewhile},
)
