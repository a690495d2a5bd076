"""A wrong answer is told which property it breaks, and never one that it keeps."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_lib.exercises import examine
from transformer_lib.exercises.engine.exercise import Case, Draw, Implement, Mistake, Stage, case, with_weights


def exercise(reference: Any, cases: Callable[[Draw], Iterator[Case]], *mistakes: Mistake, **more: Any) -> Implement:
    return Implement(
        id="toy", chapter="scaled", title="A toy", level="easy", minutes=1, task="", hints=("a", "b"),
        reference=reference, stages=(Stage("at all", cases),), dtypes=(torch.float64,), mistakes=mistakes, **more,
    )  # fmt: skip


def weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = query @ key.mT / math.sqrt(query.size(-1))
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)


def _pairs(draw: Draw) -> Iterator[Case]:
    for length, width in ((3, 2), (4, 5)):
        yield case(draw.normal(length, width), draw.normal(length + 1, width), draw.mask(length, length + 1))


def causal(x: Tensor) -> Tensor:
    return x.cumsum(-2) / torch.arange(1, x.size(-2) + 1).unsqueeze(-1)


def _sequences(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 2))
    yield case(draw.normal(2, 5, 3))


def both(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.sin(), x.cos()


def window(length: int, width: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - width)


def _windows(draw: Draw) -> Iterator[Case]:
    for sizes in ((4, 2), (6, 3)):
        yield case(*sizes)


def normed(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)


class Layer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.second(self.first(x).tanh()))


class Forgetful(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.first(x).tanh() + x)


def _used(answer: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(with_weights(answer, Layer, x.size(-1), dtype=x.dtype)(x))


WEIGHTS = exercise(weights, _pairs)
MEANS = exercise(causal, _sequences)
BOTH = exercise(both, _sequences)
WINDOW = exercise(window, _windows)
NORMED = exercise(normed, _sequences)
RANGE = exercise(lambda x: x.sin() * x.sin() + x.cos().square() * x.square(), _sequences)
BATCH = exercise(lambda x: x.sin(), lambda draw: iter([case(draw.normal(3, 4, 2))]))
SHIFTED = exercise(lambda x, by: normed(x) + by, lambda draw: iter([case(draw.normal(3, 4), draw.normal(4))]))
LAYER = exercise(Layer, _sequences, probe=_used)
LENGTHS = exercise(lambda x, width: x.sum(-1) * width, lambda draw: iter([case(draw.normal(3, 4), 5)]))
SIZES = ((3, 5, 2), (4, 7, 3), (6, 2, 4), (5, 3, 1))
COUNT = exercise(
    lambda n_in, n_out, layers: layers * (n_in + n_out) * n_out,
    lambda draw: (case(*sizes) for sizes in SIZES),
)


NOISY = exercise(lambda x: x.sin().cumsum(-2) + x.square().mean(-1, keepdim=True), _sequences)


def _noisy(x: Tensor) -> Tensor:
    """Wrong everywhere, in no way that has a name."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    return torch.as_tensor(NOISY.reference(x) + noise * x.cos().cumsum(-2))


#: A toy, an answer that breaks a law, the law, and a part of what is said.
BROKEN = [
    (WEIGHTS, lambda q, k, m: weights(q, k, m) * 1.5, "factor", "1.5 times the right one, everywhere"),
    (
        WEIGHTS,
        lambda q, k, m: weights(q, k, m) * q.size(-1) ** 0.5,
        "factor",
        "the square root of 2, the size of `query`",
    ),
    (WEIGHTS, lambda q, k, m: -weights(q, k, m), "factor", "the wrong sign"),
    (WEIGHTS, lambda q, k, m: weights(q, k, m) + 0.25, "offset", "everywhere 0.25 more"),
    (WEIGHTS, lambda q, k, m: weights(q, k, m).flip(-1), "rearranged", "in the opposite order along axis -1"),
    (WEIGHTS, lambda q, k, m: weights(q, k, m).square(), "function", "the square of the right one"),
    (WEIGHTS, lambda q, k, m: weights(q, k * math.sqrt(q.size(-1)), m), "temperature", "the square root of 2"),
    (WEIGHTS, lambda q, k, m: weights(3 * q, k, m), "temperature", "3 times the right ones."),
    (WEIGHTS, lambda q, k, m: weights(q, k, m).exp(), "function", "the exponential function"),
    (
        WEIGHTS,
        lambda q, k, m: weights(q, k, m) / weights(q, k, m).sum(-2, keepdim=True),
        "sums",
        "They do along axis -2",
    ),
    (WEIGHTS, lambda q, k, m: weights(q, k, m).float().double(), "rounded", "nearly right"),
    (WEIGHTS, lambda q, k, m: weights(q * 0, k * 0, None), "shape_of_rows", "all numbers of your result are equal"),
    (WEIGHTS, lambda q, k, m: weights(q, k, ~m), "right_for", "the opposite of `mask`"),
    (WEIGHTS, lambda q, k, m: weights(q, k, None), "right_for", "True everywhere"),
    (
        WEIGHTS,
        lambda q, k, m: weights(q.sin(), k.sin(), None),
        "insensitive",
        "does not change when `mask` changes",
    ),
    (WEIGHTS, lambda q, k, m: weights(q, k, m) / 0, "not_finite", "infinity or nan at 12 of 12 places"),
    (MEANS, lambda x: x.mean(-2, keepdim=True).expand_as(x) + 0 * x, "shape_of_rows", "Along axis -2"),
    (
        MEANS,
        lambda x: causal(x.flip(-2)).flip(-2),
        "leaks",
        "Your `result[0]` changes when `x[1]` changes. It must not: that comes later.",
    ),
    (MEANS, lambda x: causal(x) + x.roll(-1, -2).sin(), "leaks", "It must not: that comes later"),
    (BATCH, lambda x: x.sin() + x.sin().mean(0), "leaks", "element of the batch"),
    (
        MEANS,
        lambda x: causal(x.square()),
        "invariance",
        "With twice as large numbers in `x`, the right result doubles; yours quadruples",
    ),
    (MEANS, lambda x: torch.cat([causal(x)[..., :-1, :], causal(x)[..., -1:, :].sin()], -2), "invariance", ""),
    (MEANS, lambda x: causal(x) + x, "beside_inputs", "with `x` in it 1 times too much"),
    (MEANS, lambda x: x - (causal(x) - x), "beside_inputs", "What you add to `x` is -1 times what"),
    (MEANS, lambda x: x, "beside_inputs", "`x` itself"),
    (MEANS, lambda x: causal(x) * x, "beside_inputs", "the right one times `x`"),
    (
        SHIFTED,
        lambda x, by: x - x.mean(-1, keepdim=True) + by,
        "beside_inputs",
        "in each row, the right thing times",
    ),
    (SHIFTED, lambda x, by: normed(x) + x[:, :1] * by, "beside_inputs", "off by a multiple of `by`"),
    (BOTH, lambda x: both(x)[::-1], "exchanged", "in another order"),
    (BOTH, lambda x: (x.sin(), x.cos() * 2), "factor", "Your `result[1]` is 2 times"),
    (RANGE, lambda x: x.sin() + x.cos(), "range", "holds negative numbers, down to"),
    (NORMED, lambda x: normed(x) + x.mean(-1, keepdim=True), "sums", "mean of your result should be 0"),
    (NORMED, lambda x: x - x.mean(-1, keepdim=True), "sums", "root mean square"),
    (WINDOW, lambda n, w: ~window(n, w), "truth", "the opposite"),
    (
        WINDOW,
        lambda n, w: window(n, w + 1),
        "truth",
        "True at 2 of 16 places where it should not be, all of them below",
    ),
    (WINDOW, lambda n, w: window(n, w).tril(-1), "truth", "all of them on the diagonal, and never"),
    (WINDOW, lambda n, w: window(n, w).flip(0), "rearranged", "opposite order along axis -2"),
    (LAYER, Forgetful, "insensitive", "the weights `second.weight` change"),
    (LENGTHS, lambda x, width: x.sum(-1) * (width + 1), "factor", "1.2 times"),
    (LENGTHS, lambda x, width: x.sum(-1).square() * 3, "insensitive", "when `width` changes"),
    (
        COUNT,
        lambda n_in, n_out, layers: layers * n_in * n_out,
        "off_by",
        "50 too small. By how much changes with `n_out`, `layers`; not with `n_in`.",
    ),
]


@pytest.mark.parametrize(("toy", "answer", "law", "says"), BROKEN)
def test_a_broken_law_is_told(toy: Implement, answer: Any, law: str, says: str) -> None:
    report = examine(toy, answer, isolated=False)
    assert (report.law, report.tier) == (law, "law"), report
    assert says in report.says[1]
    assert examine(toy, toy.reference, isolated=False).verdict == "passed"


def test_a_partial_agreement_looks_like_a_mistake() -> None:
    flipped = Mistake("flipped", lambda x: causal(x.flip(-2)), "You turned it.", "scaled-one-query")
    toy = exercise(causal, _sequences, flipped)
    assert examine(toy, flipped.wrong, isolated=False).says == ("You turned it.",)

    def only_in_batches(x: Tensor) -> Any:
        return flipped.wrong(x) if x.ndim > 2 else causal(x)

    report = examine(toy, only_in_batches, isolated=False)
    assert (report.verdict, report.mistake, report.tier) == ("mistake", "flipped", "named")
    assert report.says[0] == "This looks like: You turned it."


def test_numbers_lists_and_arrays_are_recognized_too() -> None:
    def counted(text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def cases(draw: Draw) -> Iterator[Case]:
        yield case("one two")
        yield case("three and four more")
        yield case("a")

    off = Mistake("off", lambda text: [n - 1 for n in counted(text)], "One less.", "scaled-one-query")
    toy = exercise(counted, cases, off)

    def almost(text: str) -> list[int]:
        return counted(text) if text == "a" else [n - 1 for n in counted(text)]

    assert examine(toy, almost, isolated=False).says[0] == "This looks like: One less."
    report = examine(toy, lambda text: [2, 2], isolated=False)
    assert (report.law, report.says[1]) == ("constant", "Your result is [2, 2] in all 3 calls, whatever the input.")
    assert examine(toy, lambda text: [n + 2 for n in counted(text)], isolated=False).law == "offset"


def test_nothing_is_told_that_is_not_so() -> None:
    report = examine(NOISY, _noisy, isolated=False)
    assert (report.verdict, report.law, report.tier) == ("differs", "", "input"), report
