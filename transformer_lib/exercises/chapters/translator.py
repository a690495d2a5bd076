"""Exercises of the chapter "Training a translator"."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.data import PAD_ID, PairBatches, fragment_pairs, train_tokenizer
from transformer_lib.exercises.engine.exercise import (
    Case,
    Complaint,
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
from transformer_lib.training import Recipe, smoothed_cross_entropy, train

Pieces = tuple[str, ...]
Pair = tuple[str, str]

# ---- A new word.


def _joined(pieces: Pieces, pair: Pair, most: int = 10**6) -> Pieces:
    """Join a pair wherever it stands, from the left."""
    found: list[str] = []
    i = 0
    while i < len(pieces):
        both = pieces[i : i + 2] == pair and most > 0
        found.append("".join(pair) if both else pieces[i])
        most -= both
        i += 2 if both else 1
    return tuple(found)


def segment(word: str, merges: Sequence[Pair]) -> Pieces:
    """Cut a word into the subwords that the merges make of it, in the order in which they were learned."""
    pieces = tuple(word)
    for pair in merges:
        pieces = _joined(pieces, pair)
    return pieces


def _first_place_only(word: str, merges: Sequence[Pair]) -> Pieces:
    pieces = tuple(word)
    for pair in merges:
        pieces = _joined(pieces, pair, most=1)
    return pieces


def _until_one_misses(word: str, merges: Sequence[Pair]) -> Pieces:
    pieces = tuple(word)
    for pair in merges:
        if pair not in pairwise(pieces):
            break
        pieces = _joined(pieces, pair)
    return pieces


def _leftmost_first(word: str, merges: Sequence[Pair]) -> Pieces:
    pieces = tuple(word)
    while found := [pair for pair in pairwise(pieces) if pair in merges]:
        pieces = _joined(pieces, found[0], most=1)
    return pieces


def _longest_first(word: str, merges: Sequence[Pair]) -> Pieces:
    known, pieces = {a + b for a, b in merges}, []
    while word:
        end = next((n for n in range(len(word), 1, -1) if word[:n] in known), 1)
        pieces.append(word[:end])
        word = word[end:]
    return tuple(pieces)


def _in_text(word: str, merges: Sequence[Pair]) -> Pieces:
    text = " ".join(word)
    for pair in merges:
        text = text.replace(" ".join(pair), "".join(pair))
    return tuple(text.split(" "))


def _not_skipped(word: str, merges: Sequence[Pair]) -> Pieces:
    pieces = tuple(word)
    for pair in merges:
        pieces = tuple("".join(pair) if pieces[i : i + 2] == pair else pieces[i] for i in range(len(pieces)))
    return pieces


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
            corpus = {_joined(pieces, best): 1 for pieces in corpus}
        yield case("".join(draw.python.choices("abc", k=length)), merges)
    yield case("abc", [("b", "c"), ("a", "b")])
    yield case("abcd", [("b", "c"), ("a", "b"), ("c", "d"), ("a", "bc")])


def _runs(draw: Draw) -> Iterator[Case]:
    yield case("baaa", [("a", "a")])
    yield case("aaaaab", [("a", "a"), ("aa", "b"), ("aa", "aa")])
    yield case("cabcab", [("c", "a"), ("a", "b"), ("ca", "b")])
    yield case("aab", [("a", "b"), ("c", "a"), ("a", "ab")])


def _from_the_right(word: str, merges: Sequence[Pair]) -> Pieces:
    pieces = segment(word[::-1], [(b[::-1], a[::-1]) for a, b in merges])
    return tuple(piece[::-1] for piece in reversed(pieces))


SEGMENT = Implement(
    id="translator-segment",
    chapter="translator",
    title="A new word",
    level="easy",
    minutes=10,
    task="Write segment(word, merges): cut a word by merges that were learned before, given in the order of learning.",
    hints=(
        "Begin as the learning did: with single characters.",
        "Then do to this word what was done to every word of the corpus, step by step. `merge` in this chapter does "
        "one step.",
        "`merge` compares a slice of the pieces with the pair, so the pieces must be of the same type as the pair.",
    ),
    reference=segment,
    stages=(Stage("for words and merges", _words), Stage("for runs of one letter", _runs)),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "first-place-only",
            _first_place_only,
            "Each merge joins its pair only where the pair stands first. In the corpus it was joined everywhere.",
            "Tokens",
        ),
        Mistake(
            "until-one-misses",
            _until_one_misses,
            "Your code stops at the first merge that finds nothing in this word. A later one may still find something.",
            "Tokens",
        ),
        Mistake(
            "leftmost-first",
            _leftmost_first,
            "You join whichever pair stands farthest to the left. So a rare pair can take away a letter that a "
            "frequent pair, learned earlier, needs.",
            "Tokens",
        ),
        Mistake(
            "longest-first",
            _longest_first,
            "You look for the longest known piece. Other tokenizers do that, but then a word is not cut as it was cut "
            "in the corpus from which the pieces were learned.",
            "Tokens",
        ),
        Mistake(
            "latest-first",
            lambda word, merges: segment(word, merges[::-1]),
            "You begin with the merge that was learned last. It joins pieces that do not exist yet.",
            "Tokens",
        ),
        Mistake(
            "in-text",
            _in_text,
            "You join pairs by replacing text, with blanks between the pieces. Then the end of one piece and the "
            "beginning of another can pass for a pair.",
            "Tokens",
        ),
        Mistake(
            "not-skipped",
            _not_skipped,
            "After a pair is joined, its second half is still there: your pieces together are longer than the word.",
            "Tokens",
        ),
        Mistake(
            "from-the-right",
            _from_the_right,
            "In a run of equal letters your code joins the last two first. This chapter's `merge` walks the other way.",
            "Tokens",
        ),
    ),
)


# ---- Batches.


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Numbers of sentences in batches, the short ones first, of at most ``max_tokens`` with the padding."""
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if not batches or (len(batches[-1]) + 1) * lengths[number] > max_tokens:
            batches.append([])
        batches[-1].append(number)
    return batches


def _batches(
    order: str = "up", count: str = "widest", strict: bool = False, drop: str = "", late: bool = False
) -> Callable[[Sequence[int], int], list[list[int]]]:
    """Batches by length with one choice wrong."""

    def wrong(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        numbers = list(range(len(lengths)))
        if order != "none":
            numbers.sort(key=lambda number: lengths[number], reverse=order == "down")
        batches: list[list[int]] = []
        batch: list[int] = []
        for number in numbers:
            grown = [lengths[n] for n in (batch if late else [*batch, number])]
            tokens = {
                "widest": len(grown) * max(grown, default=0),
                "sum": sum(grown),
                "first": len(grown) * (grown or [0])[0],
            }[count]
            full = tokens >= max_tokens if strict or late else tokens > max_tokens
            if batch and full:
                batches.append(batch)
                batch = []
                if drop == "border":
                    continue
            batch.append(number)
        if drop != "last" and (batch or drop == "none"):
            batches.append(batch)
        return [[lengths[n] for n in part] for part in batches] if drop == "numbers" else batches

    return wrong


def _lengths(draw: Draw) -> Iterator[Case]:
    yield case([5, 2, 4, 2, 3], 8)
    for n, room in ((9, 12), (17, 24), (30, 40)):
        yield case(draw.integers(n, low=1, high=11).tolist(), room)


BATCHES = Implement(
    id="translator-batches",
    chapter="translator",
    title="Cut a sorted list",
    level="medium",
    minutes=15,
    task="Write batches_by_length(lengths, max_tokens): lists of sentence numbers, short sentences first, each batch "
    "as full as max_tokens allows with its padding.",
    hints=(
        "Sort the numbers of the sentences, not the lengths: `sorted` takes a `key`.",
        "Walk along the sorted numbers with one open batch. Each sentence either still fits, or opens a new one.",
        "How many tokens would the open batch have, padded, with this sentence in it? Which of its sentences is the "
        "longest?",
    ),
    reference=batches_by_length,
    stages=(
        Stage("for sentences of different lengths", _lengths),
        Stage("for no sentences", lambda draw: [case([], 10)]),
    ),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "unsorted",
            _batches(order="none"),
            "Your batches are small enough, but they hold short and long sentences side by side.",
            "Batches by length",
        ),
        Mistake(
            "long-first",
            _batches(order="down"),
            "Your batches begin with the longest sentences. That saves as much padding, but the task asks for the "
            "other order.",
            "Batches by length",
        ),
        Mistake(
            "padding-forgotten",
            _batches(count="sum"),
            "You add up the sentences' lengths. A batch is a rectangle: its padding takes room too.",
            "Batches by length",
        ),
        Mistake(
            "first-length",
            _batches(count="first"),
            "You measure a batch by the length of the sentence that opened it. Those that join it later are longer.",
            "Batches by length",
        ),
        Mistake(
            "one-too-many",
            _batches(late=True),
            "You look whether a batch is full before the sentence is in it, and so the sentence that comes in can "
            "make it too large.",
            "Batches by length",
        ),
        Mistake(
            "never-full",
            _batches(strict=True),
            "Your batches never hold exactly `max_tokens`, though that many are allowed.",
            "Batches by length",
        ),
        Mistake(
            "border-lost",
            _batches(drop="border"),
            "The sentence that does not fit any more is in no batch at all.",
            "Batches by length",
        ),
        Mistake(
            "last-lost",
            _batches(drop="last"),
            "The last batch is missing: no sentence came after it that would have closed it.",
            "Batches by length",
        ),
        Mistake(
            "lengths-returned",
            _batches(drop="numbers"),
            "Your batches hold lengths. With those nobody can find the sentences.",
            "Batches by length",
        ),
        Mistake(
            "empty-batch",
            _batches(drop="none"),
            "It is right as long as there are sentences. Without any, you return a batch with nothing in it.",
            "Batches by length",
        ),
    ),
)


# ---- The loss.


def _loss(
    doubt: str = "all but padding", right: str = "1 - e", padding: str = "out", mean: str = "tokens", axis: int = -1
) -> Callable[..., Tensor]:
    """The smoothed loss, with at most one choice wrong."""

    def loss(logits: Tensor, targets: Tensor, epsilon: float, pad_id: int) -> Tensor:
        pad = 0 if padding == "zero" else pad_id
        logs = logits.log_softmax(axis)
        chosen = logs.gather(-1, targets[..., None])[..., 0]
        others = logs.sum(-1) - logs[..., pad]
        n = logits.size(-1)
        if doubt == "padding too":
            spread = logs.mean(-1)
        elif doubt == "others only":
            spread = (others - chosen) / (n - 2)
        else:
            spread = {"all but padding": others / (n - 1), "undivided": others, "none": chosen}[doubt]
        losses = -(1.0 if right == "1" else 1.0 - epsilon) * chosen - epsilon * spread
        counted = targets != pad if padding != "in" else torch.ones_like(targets, dtype=torch.bool)
        kept = losses.masked_fill(~counted, 0.0)
        if mean == "sentences":
            return (kept.sum(-1) / counted.sum(-1)).mean()
        sign = -1.0 if mean == "negative" else 1.0
        return sign * kept.sum() / {"sum": 1, "places": targets.numel()}.get(mean, counted.sum())

    return loss


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


LOSS = Implement(
    id="translator-smoothing",
    chapter="translator",
    title="The smoothed loss, without loops",
    level="medium",
    minutes=20,
    task="Write smoothed_loss(logits, targets, epsilon, pad_id): the mean over all tokens that are no padding.",
    hints=(
        "For each position, the loss is a sum over the vocabulary of *wanted* times *minus log-probability*. Split it "
        "into the certain part and the doubt.",
        "`logs.gather(-1, targets[..., None])` picks the targets' log-probabilities. For the doubt you need the sum of "
        "a whole row of `logs`, and one number less.",
        "At the end there is one number for each position. Which of them count, and how many are those in all?",
    ),
    reference=_loss(),
    stages=(
        Stage("without padding", _unpadded, gradients=True),
        Stage("with padding", _padded, gradients=True),
        Stage("with another number for the padding", _other_padding),
        Stage("without smoothing", _certain),
    ),
    ready_made=(F.cross_entropy, nn.CrossEntropyLoss, smoothed_cross_entropy),
    mistakes=(
        Mistake(
            "doubt-on-padding",
            _loss(doubt="padding too"),
            "You spread the doubt over the padding too, as PyTorch does. So the model learns to write padding.",
            "The loss",
        ),
        Mistake(
            "target-left-out",
            _loss(doubt="others only"),
            "You spread the doubt over the wrong tokens alone. Here the right one has its part of it too, as in the "
            "loop of this chapter.",
            "The loss",
        ),
        Mistake(
            "undivided",
            _loss(doubt="undivided"),
            "Every token gets the whole share of doubt, so what is wanted sums to far more than 1.",
            "The loss",
        ),
        Mistake(
            "no-doubt",
            _loss(doubt="none"),
            "Your loss does not depend on `epsilon`: it is the plain cross-entropy.",
            "The loss",
        ),
        Mistake(
            "more-than-one",
            _loss(right="1"),
            "You add the doubt, but leave the target as certain as before. What is wanted then sums to more than 1.",
            "The loss",
        ),
        Mistake(
            "padding-counts",
            _loss(padding="in"),
            "Where the target is padding, you still count a loss. What is computed there is thrown away anyway.",
            "The loss",
        ),
        Mistake(
            "padding-divides",
            _loss(mean="places"),
            "Padding adds nothing to your sum, but you divide by the number of all places. So the loss looks lower, "
            "the more padding there is.",
            "The loss",
        ),
        Mistake(
            "mean-of-sentences",
            _loss(mean="sentences"),
            "You average over each sentence, and then over the sentences. A token of a short sentence then counts more "
            "than one of a long sentence.",
            "The loss",
        ),
        Mistake(
            "not-a-mean",
            _loss(mean="sum"),
            "This is the sum, as this chapter's loop returns it. The task asks for the mean.",
            "The loss",
        ),
        Mistake(
            "sign",
            _loss(mean="negative"),
            "Your loss is negative: training would make the right tokens less likely.",
            "The loss",
        ),
        Mistake(
            "padding-is-zero",
            _loss(padding="zero"),
            "It is right as long as the padding is token 0. Your code does not use `pad_id`.",
            "The loss",
        ),
        Mistake(
            "over-positions",
            _loss(axis=-2),
            "Your softmax runs over the positions of a sentence. But it is the tokens of the vocabulary that compete.",
            "scaled: Softmax, and its temperature",
        ),
    ),
)


# ---- A mean of means.


def _mean_of_means(losses: Tensor, targets: Tensor, parts: int) -> Any:
    total: Any = 0.0
    for loss, target in zip(losses.chunk(parts), targets.chunk(parts), strict=True):
        counted = loss * (target != PAD_ID)
        total = total + counted.mean()
    return total / parts


def _mean(by: str = "tokens", part: str = "sum") -> Callable[[Tensor, Tensor, int], Any]:
    def code(losses: Tensor, targets: Tensor, parts: int) -> Any:
        total: Any = 0.0
        for loss, target in zip(losses.chunk(parts), targets.chunk(parts), strict=True):
            counted = loss * (target != PAD_ID)
            if part == "mean":
                total = total + counted.sum() / (target != PAD_ID).sum()
            elif part == "last":
                total = counted.sum()
            else:
                total = total + (counted.sum().item() if part == "number" else counted.sum())
        n = int((targets != PAD_ID).sum())
        return total / {"tokens": n, "parts": parts, "places": targets.numel(), "sentences": len(targets)}[by]

    return code


def _parts(draw: Draw) -> Iterator[Case]:
    yield case(draw.uniform(2, 3, low=1.0, high=5.0), torch.tensor([[4, 2, 3], [5, 0, 0]]), 2)
    targets = draw.integers(6, 7, low=1, high=9)
    for row, end in zip(targets, (7, 6, 6, 3, 2, 1), strict=True):
        row[end:] = PAD_ID
    losses = draw.uniform(6, 7, low=1.0, high=5.0)
    yield case(losses, targets, 3)
    yield case(losses[:5], targets[:5], 2)


MEAN = Debug(
    id="translator-mean",
    chapter="translator",
    title="The mean of means",
    level="medium",
    minutes=10,
    task="Find the two faults of mean_loss and mend them, so that it is the mean over all tokens of the batch.",
    hints=(
        "Take two parts, with losses 2, 2, 2 and 5, and no padding. What is the mean over the four tokens? What does "
        "the code return?",
        "Then give one part some padding. Its losses are multiplied by zero. What does `mean` divide by?",
        "Two things can be added up over the parts. Where does the division belong: inside the loop or after it?",
    ),
    reference=_mean(),
    given=_mean_of_means,
    stages=(Stage("for parts with different numbers of tokens", _parts, gradients=True),),
    mistakes=(
        Mistake(
            "means-left",
            _mean(part="mean", by="parts"),
            "One fault is mended: padding no longer counts. But a token in a part with few tokens still counts more "
            "than one in a part with many.",
            "The loss",
        ),
        Mistake(
            "padding-left",
            _mean(by="places"),
            "One fault is mended: every token counts alike. But you divide by the number of all places, and some of "
            "them hold no token.",
            "The loss",
        ),
        Mistake(
            "by-parts",
            _mean(by="parts"),
            "You add up the losses of all tokens and divide by the number of parts. That is no mean over tokens.",
            "The loss",
        ),
        Mistake(
            "by-sentences",
            _mean(by="sentences"),
            "You divide by the number of sentences, so a batch of long sentences has a large loss. Here the mean is "
            "over something smaller.",
            "The loss",
        ),
        Mistake(
            "last-part",
            _mean(part="last"),
            "Only the last part is in your sum; each part overwrites the one before.",
            "The loss",
        ),
        Mistake(
            "cut-off",
            _mean(part="number"),
            "The number is right, but it is a plain number: no gradient can flow from it to the weights.",
            "The loss",
        ),
    ),
)


# ---- The schedule.


def trapezoid_rate(step: int, peak: float, warmup: int, steps: int, decay: int) -> float:
    """Up in a line over ``warmup`` steps, level, and down in a line to zero over the last ``decay`` steps."""
    rise = step / warmup if warmup else 1.0
    return peak * max(0.0, min(rise, 1.0, (steps - step) / decay))


def _trapezoid(
    first: int = 0, end: int = 0, fall: str = "last", floor: float = 0.0, guard: bool = True, peaked: bool = True
) -> Callable[[int, float, int, int, int], float]:
    """The schedule with one choice wrong."""

    def wrong(step: int, peak: float, warmup: int, steps: int, decay: int) -> float:
        rise = (step - first) / warmup if warmup or not guard else 1.0
        down = {
            "last": lambda: (steps + end - step) / decay,
            "at once": lambda: (steps - step) / (steps - warmup),
            "from": lambda: (steps - step) / (steps - decay),
            "never": lambda: 1.0,
            "root": lambda: math.sqrt(max(warmup, 1) / step),
        }[fall]()
        return (peak if peaked else 1.0) * max(floor, min(rise, 1.0, down))

    return wrong


def _schedules(draw: Draw) -> Iterator[Case]:
    for step in (1, 4, 7, 8, 9, 20):
        yield case(step, 0.003, 8, 20, 5)


def _whole(draw: Draw) -> Iterator[Case]:
    for step in range(1, 13, 2):
        yield case(step, 0.01, 3, 12, 4)
    for step in (10, 15, 16, 17, 19):
        yield case(step, 0.003, 8, 20, 5)


TRAPEZOID = Implement(
    id="translator-trapezoid",
    chapter="translator",
    title="Up, level, down",
    level="easy",
    minutes=10,
    task="Write trapezoid_rate(step, peak, warmup, steps, decay), the learning rate of a step, counted from 1.",
    hints=(
        "Draw it: three straight lines. At which steps do they meet?",
        "Write each line as a share of the peak. The rise is `step / warmup`; the fall is zero at `step = steps`, and "
        "1 a number of steps before that.",
        "Where two lines cross, the lower one counts. And a share is never below zero, nor above 1.",
    ),
    reference=trapezoid_rate,
    stages=(
        Stage("up to the peak and at the end", _schedules),
        Stage("on the whole way", _whole),
        Stage("without a warm-up", lambda draw: [case(step, 0.002, 0, 6, 3) for step in (1, 2, 5)]),
        Stage("after the last step", lambda draw: [case(9, 0.002, 2, 7, 3)]),
    ),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "from-zero",
            _trapezoid(first=1),
            "Your first step has the rate zero, so a batch is computed for nothing, and the peak comes a step late. "
            "Steps are counted from 1.",
            "The schedule",
        ),
        Mistake(
            "end-above-zero",
            _trapezoid(end=1),
            "Your fall ends one step too late: the last step should have the rate zero.",
            "The schedule",
        ),
        Mistake(
            "no-level",
            _trapezoid(fall="at once"),
            "Your rate begins to fall right after the warm-up. It should stay level until the last `decay` steps.",
            "The schedule",
        ),
        Mistake(
            "decay-as-step",
            _trapezoid(fall="from"),
            "You took `decay` for the step at which the fall begins. It says how many steps the fall takes.",
            "The schedule",
        ),
        Mistake(
            "never-falls",
            _trapezoid(fall="never"),
            "Your rate never falls. The third part of the trapezoid is missing.",
            "The schedule",
        ),
        Mistake(
            "root",
            _trapezoid(fall="root"),
            "Your rate falls with the square root of the step, as the paper's does. Here it is three straight lines.",
            "The schedule",
        ),
        Mistake(
            "peak-forgotten",
            _trapezoid(peaked=False),
            "You return the share of the peak, not the rate itself. Training with it would take far too large steps.",
            "The schedule",
        ),
        Mistake(
            "warm-up-divides",
            _trapezoid(guard=False),
            "Without a warm-up, your code divides by zero.",
            "The schedule",
        ),
        Mistake(
            "below-zero",
            _trapezoid(floor=-math.inf),
            "After the last step, your rate is negative: training would go uphill.",
            "The schedule",
        ),
    ),
)


# ---- The paper's constant.


def _peak(of: Callable[[float, float], float]) -> tuple[int, float]:
    return 4000, 1000 * of(512.0, 4000.0)


def _peak_of_paper() -> tuple[int, float]:
    rates = {s: 512**-0.5 * min(s**-0.5, s * 4000**-1.5) for s in range(1, 20_001)}
    step = max(rates, key=lambda s: rates[s])
    return step, 1000 * rates[step]


NOAM = Predict(
    id="translator-noam",
    chapter="translator",
    title="The paper's constant",
    level="easy",
    minutes=5,
    task="Say at which step the paper's rate is highest, and how high it is there, in thousandths.",
    hints=(
        "The two terms are equal where the rise meets the fall.",
        "Put $s = w$ into either term: both give the same.",
        "Then there is one more factor in front. Give the result times 1,000, with four decimals.",
    ),
    reference=_peak_of_paper,
    expects="a step, a whole number, and the rate at this step times 1,000",
    atol=1e-4,
    mistakes=(
        Mistake(
            "no-width",
            lambda: _peak(lambda d, w: w**-0.5),
            "The step is right. But you left out the factor in front: the wider the model, the smaller the steps.",
            "The schedule",
        ),
        Mistake(
            "only-width",
            lambda: _peak(lambda d, w: d**-0.5),
            "The step is right. But you took the factor in front alone; at the peak, the minimum is not 1.",
            "The schedule",
        ),
        Mistake(
            "no-root",
            lambda: _peak(lambda d, w: 1 / (d * w)),
            "The step is right, but your rate is far too small. Look at the exponents again: which of them are roots?",
            "The schedule",
        ),
        Mistake(
            "not-thousandths",
            lambda: (4000, _peak_of_paper()[1] / 1000),
            "Step and rate are right, but the rate should be given in thousandths, so that its digits are seen.",
            "The schedule",
        ),
        Mistake(
            "root-of-width",
            lambda: _peak(lambda d, w: (w / d) ** -0.5),
            "The step is right. But your rate grows with the width of the model. What does a negative exponent do?",
            "The schedule",
        ),
        Mistake(
            "first-step",
            lambda: (1, 1000 * 512**-0.5),
            "At the first step the other term of the minimum is much smaller: the warm-up has just begun.",
            "The schedule",
        ),
    ),
)


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
        raise Complaint(f"a Recipe is expected; got {type(recipe).__name__}")
    batches = recipe.steps * recipe.accumulate
    if batches > 100:
        return {"batches": batches}
    recipe = replace(recipe, compile=False, precision="fp32")
    try:
        loss = _short_run()(recipe, 5)  # not the chapter's seed
    except FloatingPointError:
        loss = math.inf
    return {"batches": batches, "loss": loss}


def _loss_of(measured: Mapping[str, Any]) -> float:
    return float(measured.get("loss", math.inf))


RECIPE = Explore(
    id="translator-minute",
    chapter="translator",
    title="A better recipe",
    level="medium",
    minutes=20,
    task="Find a Recipe of at most 100 batches with which the short run reaches 4.1 nats a token on new sentences.",
    hints=(
        "Change one thing at a time, by factors rather than by small sums, and note what you get.",
        "A small model can take larger steps than a large one. Try the peak rate at both ends, until it gets worse "
        "again.",
        "The run is far from its end when it stops. Which schedules still take large steps then? And does it help a "
        "beginner to be told to doubt?",
    ),
    expects="a Recipe",
    measure=_measure_recipe,
    seconds=120.0,
    goals=(
        Goal(
            "at most 100 batches",
            lambda measured: measured["batches"] <= 100,
            "Anybody can do better with more batches; `accumulate` counts too. Here the budget is fixed.",
            "Less than a minute",
            lambda: Recipe(steps=200, peak_rate=1e-3, warmup=50),
        ),
        Goal(
            "at most 5 nats a token on new sentences",
            lambda measured: _loss_of(measured) <= 5.0,
            "The model has learned hardly anything. With steps too small it gets nowhere, with steps too large it is "
            "thrown about. Look at both sides.",
            "The schedule",
            lambda: Recipe(steps=100, peak_rate=1e-3, warmup=50),
        ),
        Goal(
            "at most 4.1 nats a token on new sentences",
            lambda measured: _loss_of(measured) <= 4.1,
            "That is already much better than the first recipe. There are more fields than one: the peak, the "
            "schedule, the warm-up, the smoothing.",
            "The schedule",
            lambda: Recipe(steps=100, peak_rate=1e-2, warmup=10),
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (SEGMENT, BATCHES, LOSS, MEAN, TRAPEZOID, NOAM, RECIPE)
