"""The checker survives anything that a learner writes, and says what it was."""

import io
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises import check, examine, find, hint
from transformer_lib.exercises.engine import isolation, processes, progress
from transformer_lib.exercises.engine.comparing import difference
from transformer_lib.exercises.engine.exercise import (
    Case,
    Complaint,
    Draw,
    Explore,
    Goal,
    Implement,
    Mistake,
    Predict,
    Stage,
    call,
    case,
    with_weights,
)
from transformer_lib.exercises.engine.printing import say
from transformer_lib.exercises.engine.report import Report

EXERCISE = find("scaled-dot-product-attention")
sdpa = F.scaled_dot_product_attention  # an alias, as a learner's `from … import … as …` would make

no_fork = pytest.mark.skipif(not isolation.can_fork(), reason="no fork here")
ways = pytest.mark.parametrize("fork", [pytest.param(True, marks=no_fork), False], ids=["process", "thread"])


def right(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value, weights


def then(change: Callable[..., Any]) -> Callable[..., Any]:
    """The right answer, and something beside it."""

    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        output, weights = right(query, key, value, mask)
        return change(query, output, weights)

    return answer


def verdict(answer: Any, fork: bool | None = None, exercise: Implement | None = None) -> Report:
    if fork is not False:
        return examine(exercise or EXERCISE, answer, fork=fork)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run_fresh", _refuse)
        report = examine(exercise or EXERCISE, answer, fork=False)
    assert "within your session" in report.note
    return report


def _refuse(*_: Any) -> Any:
    raise processes.NotCarried("for the test")


@ways
def test_a_right_answer_passes_with_what_was_proved(fork: bool) -> None:
    report = verdict(right, fork)
    assert report.verdict == "passed"
    assert "float64 and float32, gradients too" in report.says[0]
    assert "times as long as the book's" in report.says[1]


@pytest.mark.parametrize("answer", [..., None])
def test_dots_are_not_attempted(answer: Any) -> None:
    assert verdict(answer).verdict == "todo"


@ways
def test_a_stub_is_not_attempted(fork: bool) -> None:
    def stub(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> None:
        raise NotImplementedError  # your turn

    assert verdict(stub, fork).verdict == "todo"


def test_what_is_missing_of_a_begun_answer_is_said() -> None:
    def partly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        if mask is not None:
            raise NotImplementedError
        return right(query, key, value)

    def helper(query: Tensor) -> Tensor:
        raise NotImplementedError

    def leaning(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        return helper(query), None

    def unfinished(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        scores = query @ key.transpose(-2, -1)
        raise NotImplementedError(*scores[:0].tolist())

    for answer, says in (
        (partly, "`partly` raises NotImplementedError, with a mask"),
        (leaning, "`helper` raises NotImplementedError"),
        (unfinished, "`unfinished` raises NotImplementedError"),
    ):
        report = verdict(answer)
        assert report.verdict == "unfinished"
        assert says in report.says[0]
        assert report.mark == "✗"


def test_an_error_with_a_text_is_an_attempt() -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> None:
        raise NotImplementedError("'softmax' not implemented for 'Half'")

    assert verdict(answer).verdict == "raised"


@ways
def test_deep_recursion(fork: bool) -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        return answer(query, key, value, mask)

    assert verdict(answer, fork).verdict == "recursion"


@ways
@pytest.mark.parametrize("make", [lambda: torch.zeros(10**13), lambda: np.zeros(10**14)], ids=["torch", "numpy"])
def test_giant_allocation(make: Callable[[], Any], fork: bool) -> None:
    assert verdict(then(lambda q, o, w: make()), fork).verdict == "memory"


@no_fork  # a thread has no limit of its own
def test_allocation_beyond_the_limit() -> None:
    # Lazy memory: without the limit this would succeed, and fill the machine once it is written to.
    assert verdict(then(lambda q, o, w: bytearray(2 * processes.MEMORY)), True).verdict == "memory"


@ways
def test_exception_with_the_line(fork: bool) -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        return query @ key  # no transpose

    report = verdict(answer, fork)
    assert report.verdict == "raised"
    assert "without a mask: RuntimeError" in report.says[0]
    assert "`return query @ key  # no transpose`" in report.says[0]
    assert "query = [[" in report.shown


def test_input_is_refused() -> None:
    assert "input()" in verdict(then(lambda q, o, w: input("?"))).says[0]


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda q, o, w: None, "type", "the result should be a tuple of 2; yours is None"),
        (lambda q, o, w: o, "type", "a tensor of shape (1, 1)"),
        (lambda q, o, w: (o, w, w), "length", "2 parts; yours has 3"),
        (lambda q, o, w: (o.detach().numpy(), w), "type", "result[0] should be a tensor; yours is a NumPy array"),
        (lambda q, o, w: (o.float(), w), "dtype", "torch.float64; yours is torch.float32"),
        (lambda q, o, w: (o[None], w), "shape", "should have the shape (1, 1); yours has (1, 1, 1)"),
        (lambda q, o, w: (o * math.nan, w), "nan", "not a number"),
        (lambda q, o, w: ((o * 1e5).floor() / 1e5, w), "differs", "Is something rounded"),
        (lambda q, o, w: (o.detach(), w.detach()), "type", "no gradient reaches `query`"),
        (lambda q, o, w: (o, w.detach()), "differs", "the gradient of query"),
        (lambda q, o, w: (o + 0.25, w), "differs", "result[0] differs"),
        (lambda q, o, w: (o + torch.rand_like(o), w), "random", "two different results"),
    ],
)
def test_wrong_results(change: Any, kind: str, says: str) -> None:
    report = verdict(then(change))
    assert report.verdict == kind, report
    assert says in " ".join(report.says)


def test_the_smallest_failing_input_and_the_first_difference() -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        output, weights = right(query, key, value, mask)
        return (
            output if mask is None else output * torch.tensor([1.0, 1.5]) if output.size(-1) == 2 else output
        ), weights

    report = verdict(answer)
    assert report.verdict in ("differs", "dtype")
    assert report.says[0].startswith("It fails with a mask")
    if report.verdict == "differs":
        assert "mask = [[" in report.shown
        assert "first difference at [0, 1]" in report.shown
        assert "◀" in report.shown


def test_only_in_float32() -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        output, weights = right(query, key, value, mask)
        return (output if query.dtype == torch.float64 else output + 1, weights)

    assert "in torch.float32" in verdict(answer).says[0]


@ways
def test_changed_input(fork: bool) -> None:
    def change(query: Tensor, output: Tensor, weights: Tensor) -> Any:
        with torch.no_grad():
            query += 1
        return output, weights

    report = verdict(then(change), fork)
    assert (report.verdict, "`query`" in report.says[0]) == ("input", True)


@ways
def test_printing_is_shown_apart(fork: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def change(query: Tensor, output: Tensor, weights: Tensor) -> Any:
        print("query", tuple(query.shape))
        return output, weights

    report = verdict(then(change), fork)
    assert report.verdict == "passed"
    assert report.printed.startswith("query (1, 3)")
    assert "lines more" in report.printed
    assert capsys.readouterr().out == ""


@ways
@pytest.mark.parametrize(
    ("seed", "name"),
    [
        (lambda: torch.manual_seed(0), "torch"),
        (lambda: np.random.seed(0), "numpy"),  # noqa: NPY002
        (lambda: random.seed(0), "random"),
    ],
)
def test_global_seeds(seed: Callable[[], None], name: str, fork: bool) -> None:
    before = torch.get_rng_state(), random.getstate()

    def change(query: Tensor, output: Tensor, weights: Tensor) -> Any:
        seed()
        return output, weights

    report = verdict(then(change), fork)
    assert (report.verdict, name in report.says[0]) == ("seed", True)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


@ways
@pytest.mark.parametrize(
    "answer",
    [
        lambda query, key, value, mask=None: (sdpa(query, key, value, mask), right(query, key, value, mask)[1]),
        lib.attention,
        lambda query, key, value, mask=None: lib.attention(query, key, value, mask),
    ],
    ids=["torch's, by another name", "the library's itself", "the library's, wrapped"],
)
def test_ready_made(answer: Any, fork: bool) -> None:
    assert verdict(answer, fork).verdict == "ready-made"


@pytest.mark.parametrize("answer", [3, right(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3)), nn.Linear(2, 2)])
def test_no_function(answer: Any) -> None:
    report = verdict(answer)
    assert (report.verdict, "the function itself" in report.says[0]) == ("signature", True)


def test_wrong_arguments() -> None:
    report = verdict(lambda query, key: query)
    assert (report.verdict, "(query, key, value)" in report.says[0]) == ("signature", True)


def test_two_mistakes_at_once_name_the_first() -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        scores = query @ key.transpose(-2, -1) / query.size(-1)
        weights = scores.softmax(-1) if mask is None else scores.softmax(-1) * mask
        return weights @ value, weights

    assert verdict(answer).mistake == "by-width"


@pytest.mark.parametrize(
    "surroundings",
    [
        torch.no_grad(),
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.device("meta"),
        np.errstate(all="raise"),
    ],
    ids=["no_grad", "inference", "autocast", "device", "errstate"],
)
def test_the_surroundings_of_the_call_do_not_matter(surroundings: Any) -> None:
    with surroundings:
        assert verdict(right).verdict == "passed"
        assert (
            verdict(then(lambda q, o, w: (o.detach(), w.detach()))).says[0].endswith("the result is cut off from it.")
        )


class Hostile:
    """Whatever is done with it fails."""

    def __eq__(self, other: object) -> bool:
        raise KeyError("no")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise KeyError("no")


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def _speechless(query: Tensor, output: Tensor, weights: Tensor) -> Any:
    raise Speechless


async def _later(*_: Any) -> Any:
    return None


_ENDLESS: list[Any] = []
_ENDLESS.append(_ENDLESS)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda q, o, w: (Hostile(), w), {"type"}),
        (lambda q, o, w: Hostile(), {"type"}),
        (_speechless, {"raised"}),
        (lambda q, o, w: (10**400, w), {"type"}),
        (lambda q, o, w: (o.to_sparse(), w), {"type"}),
        (lambda q, o, w: (o.to("meta"), w), {"type"}),
        (lambda q, o, w: (np.array([None]), w), {"type"}),
        (lambda q, o, w: _ENDLESS, {"type", "length", "recursion"}),
        (lambda q, o, w: (n for n in (o, w)), {"type"}),
        (lambda q, o, w: _later().close() or _later, {"type"}),
        (lambda q, o, w: os.closerange(3, 1000), {"crashed"}),
        (lambda q, o, w: (sys.stdout.close(), (o, w))[1], {"passed"}),
        (lambda q, o, w: setattr(torch, "equal", None) or (o, w), {"type", "passed"}),
    ],
)
def test_nothing_raises_out_of_a_check(change: Any, kinds: set[str]) -> None:
    report = verdict(then(change))
    assert report.verdict in kinds, report
    assert repr(report)


@pytest.mark.parametrize("answer", [_ENDLESS, {}, object(), Hostile(), 10**400, (10**400, 1), math.nan, right, b"x",
                                    np.array([None]), torch.zeros(2, device="meta"), 1 + 2j, "1" * 10_000])  # fmt: skip
def test_nothing_raises_out_of_a_prediction(answer: Any) -> None:
    for name in ("attention-shapes", "decoding-greedy"):
        assert examine(find(name), answer).verdict in ("type", "differs", "length")


def test_the_parent_may_have_used_threads_and_gradients() -> None:
    # A forked child has none of its parent's threads; a check that needs them would never end.
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        weight = torch.randn(400, 400, requires_grad=True)
        (weight @ weight).sum().backward()
        assert verdict(right).verdict == "passed"
    finally:
        torch.set_num_threads(threads)


# ---- Classes.


class Scaled(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.inner(x) * self.scale)


class Unscaled(Scaled):
    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.inner(x))


def _run(answer: Any, x: Tensor) -> Tensor:
    layer = with_weights(answer, Scaled, x.size(-1), dtype=x.dtype)
    return torch.as_tensor(layer(x))


def _inputs(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3))


LAYER = Implement(
    id="layer", chapter="scaled", title="A layer", level="easy", minutes=1, task="", hints=("a", "b"), reference=Scaled,
    probe=_run, stages=(Stage("for two tokens", _inputs, gradients=True),),
    mistakes=(Mistake("unscaled", Unscaled, "You forgot the scale.", "scaled-one-query"),),
)  # fmt: skip


def test_a_class_is_checked_with_weights_copied_in() -> None:
    class Mine(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(width))
            self.inner = nn.Linear(width, width)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.scale * F.linear(x, self.inner.weight, self.inner.bias))

    class Renamed(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.scale, self.outer = nn.Parameter(torch.zeros(width)), nn.Linear(width, width)

    class Narrow(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.zeros(1)), nn.Linear(width, width)

    class More(Scaled):
        def __init__(self, width: int):
            super().__init__(width)
            self.more = nn.Linear(1, 1)

    class Untouched(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            raise NotImplementedError

        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError

    class Half(Scaled):
        def __init__(self, width: int):
            super().__init__(width)
            self.scale = nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError  # your turn

    assert examine(LAYER, Untouched).verdict == "todo"
    half = examine(LAYER, Half)
    assert (half.verdict, "`Half.forward` raises NotImplementedError" in half.says[0]) == ("unfinished", True)
    assert examine(LAYER, Mine).verdict == "passed"
    assert examine(LAYER, Unscaled).mistake == "unscaled"
    assert "no parameter named inner.weight, inner.bias" in examine(LAYER, Renamed).says[0]
    assert "scale should have the shape (3,); yours has (1,)" in examine(LAYER, Narrow).says[0]
    assert "more.weight" in examine(LAYER, More).says[0]
    assert "an nn.Module is expected" in examine(LAYER, lambda width: 3).says[0].replace("An", "an")
    assert examine(LAYER, Mine(3)).verdict == "signature"


# ---- What no right answer does.


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.layer_norm(x, x.shape[-1:]),
        lambda x: torch.native_layer_norm(x, x.shape[-1:], None, None, 1e-5)[0],
        lambda x: torch.ops.aten.native_layer_norm.default(x, x.shape[-1:], None, None, 1e-5)[0],
        lambda x: torch.instance_norm(x[None], None, None, None, None, True, 0.1, 1e-5, False)[0],
        lambda x: torch.rms_norm(x, x.shape[-1:]),
    ],
    ids=["torch", "native", "aten", "instance", "rms"],
)
def test_ready_made_norms_by_any_name(function: Callable[[Tensor], Tensor]) -> None:
    unwanted = (F.layer_norm, F.rms_norm, nn.LayerNorm, nn.RMSNorm)
    plain = replace(LAYER, probe=lambda answer, x: answer(x), ready_made=unwanted, reference=lambda x: x + 1)
    report = examine(plain, lambda x: x + 1 + 0 * function(x), isolated=False)
    assert report.verdict == "ready-made"


def test_ready_made_attention_by_an_inner_name() -> None:
    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        torch._scaled_dot_product_attention_math(query, key, value)
        return right(query, key, value, mask)

    assert verdict(answer).verdict == "ready-made"


def _lists(draw: Draw) -> Iterator[Case]:
    yield case([3, 1, 2], {"a": 1})
    yield case([5, 4], {"b": 2})


LISTS = replace(LAYER, probe=call, reference=lambda numbers, counts: sorted(numbers),
                stages=(Stage("for lists", _lists),), mistakes=())  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda numbers, counts: numbers.sort() or numbers, "numbers"),
        (lambda numbers, counts: [sorted(numbers), numbers.append(1)][0], "numbers"),
        (lambda numbers, counts: [sorted(numbers), counts.update(a=7)][0], "counts"),
        (lambda numbers, counts: [sorted(numbers), counts.clear()][0], "counts"),
    ],
)
def test_lists_and_dictionaries_are_not_to_be_changed(answer: Any, name: str) -> None:
    report = examine(LISTS, answer, isolated=False)
    assert (report.verdict, name in report.says[0]) == ("input", True), report
    assert examine(LISTS, LISTS.reference, isolated=False).verdict == "passed"
    assert examine(replace(LISTS, reference=answer), answer, isolated=False).verdict == "passed"  # as the book's does


def test_changes_by_data_are_noticed() -> None:
    def change(query: Tensor, output: Tensor, weights: Tensor) -> Any:
        query.data.add_(1)
        return output, weights

    assert verdict(then(change)).verdict == "input"


def test_what_is_kept_from_call_to_call_is_noticed() -> None:
    kept: dict[str, int] = {}

    def answer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        kept["calls"] = kept.get("calls", 0) + (mask is not None)
        output, weights = right(query, key, value, mask)
        return (output + 1 if kept["calls"] and mask is None else output), weights

    report = verdict(answer)
    assert report.verdict == "random"
    assert "keeps something from one call to the next" in report.says[0]


# ---- Predict and explore.


def test_predictions() -> None:
    shape = Predict(id="p", chapter="why", title="", level="easy", minutes=1, task="", hints=("a", "b"),
                    reference=lambda: torch.zeros(2, 5).shape, expects="a tuple of two sizes",
                    mistakes=(Mistake("turned", (5, 2), "Turned.", "scaled-masks"),))  # fmt: skip
    assert examine(shape, (2, 5)).verdict == "passed"
    assert examine(shape, torch.Size([2, 5])).verdict == "passed"
    assert examine(shape, [2, 5]).verdict == "passed"
    assert examine(shape, torch.tensor([5, 2])).mistake == "turned"
    assert examine(shape, (3, 5)).verdict == "differs"
    for wrong in (7, "2, 5", (2, 5, 1), ("2", "5"), (True, 5)):
        report = examine(shape, wrong)
        assert report.verdict in ("type", "differs")
        assert "(2, 5)" not in report.says[0].replace(repr(wrong), "")
    number = replace(shape, reference=lambda: 0.5, expects="a number", atol=0.01, mistakes=())
    assert [examine(number, x).verdict for x in (0.5, 0.505, 0.52, np.float32(0.5), torch.tensor(0.5))] == [
        "passed", "passed", "differs", "passed", "passed"]  # fmt: skip
    letter = replace(
        shape, reference=lambda: "b", options={"a": "x", "b": "y"}, mistakes=(Mistake("a", "a", "No.", "scaled-masks"),)
    )
    assert [examine(letter, x).verdict for x in ("b", " B ", "a", "c", 2)] == [
        "passed",
        "passed",
        "mistake",
        "type",
        "type",
    ]


def test_goals() -> None:
    def measure(answer: Any, draw: Draw) -> dict[str, Any]:
        if not isinstance(answer, int):
            raise Complaint("it is no whole number")
        return {"size": answer, "score": answer / 7}

    goals = (Goal("at most 9", "size <= 9", "Too large.", "scaled-masks", lambda: 10),
             Goal("above 0.5", lambda m: m["score"] > 0.5, "Too low.", "scaled-masks", lambda: 1))  # fmt: skip
    explore = Explore(id="e", chapter="why", title="", level="easy", minutes=1, task="", hints=("a", "b"),
                      measure=measure, goals=goals, expects="a whole number", seconds=1.0)  # fmt: skip
    assert examine(explore, 5).verdict == "passed"
    assert examine(explore, 12).says == ("Too large.", "Measured: size is 12. It should be at most 9. That is 3 away.")
    assert examine(explore, 2).shown == "✓ at most 9\n✗ above 0.5\nmeasured: size 2, score 0.2857"
    assert examine(explore, "five").says == ("Answer with a whole number: it is no whole number.",)
    assert examine(explore, ...).verdict == "todo"
    slow = replace(explore, measure=lambda answer, draw: time.sleep(30) or {})
    assert examine(slow, 1).verdict == "endless"


def test_an_experiment_is_told_what_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.FOLDER_VARIABLE, str(tmp_path))
    first, second, third = (
        progress.record(Report("e", "", "goal", ("No.",), measured=measured))
        for measured in ({"loss": 4.5, "steps": 10}, {"loss": 4.25, "steps": 10}, {"loss": 4.25, "steps": 10})
    )
    assert first.says == ("No.",)
    assert second.says == ("No.", "Since your last try: loss 4.5 → 4.25.")
    assert third.says == ("No.", "Nothing has moved since your last try.")
    progress.record(Report("e", "", "raised", ("An error between.",)))
    assert progress.record(Report("e", "", "passed", (), measured={"loss": 1.0})).says[0].endswith("loss 4.25 → 1.")
    assert progress.states()["e"].measured == {"loss": 1.0}


@pytest.mark.parametrize("met", ["loss", "loss < much", "<= 3", "loss =< 3"])
def test_a_goal_that_is_none_is_refused(met: str) -> None:
    with pytest.raises(ValueError, match="a goal is a name, one of <=, >="):
        Goal("", met, "", "scaled-masks", lambda: 1)


@pytest.mark.parametrize(
    ("met", "value", "reached", "away"),
    [("a b <= 0.5", 0.5, True, 0.0), ("a b < 0.5", 0.5, False, 0.0), ("a b >= -1e-3", -1.0, False, 0.999),
     ("a b > 1000", 2000, True, 0.0), ("a b == 4", 3, False, 1.0)],
)  # fmt: skip
def test_goals_as_data(met: str, value: float, reached: bool, away: float) -> None:
    goal = Goal("", met, "", "scaled-masks", lambda: 1)
    assert goal.reached({"a b": value}) == reached
    assert goal.bound is not None
    assert goal.bound.away({"a b": value}) == pytest.approx(away)


# ---- Comparing.


@pytest.mark.parametrize(
    ("expected", "given", "what"),
    [
        (torch.ones(2), torch.ones(2), None),
        (torch.ones(2), torch.ones(2) + 1e-7, None),
        (torch.ones(2).double(), torch.ones(2).double() + 1e-7, "value"),
        (torch.tensor([0.0, -math.inf]), torch.tensor([0.0, -math.inf]), None),
        (torch.tensor([0.0, -math.inf]), torch.tensor([0.0, -1e9]), "value"),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), None),
        (torch.tensor([True]), torch.tensor([1]), "dtype"),
        ((1, 2), [1, 2], None),
        ((1, 2), (1, 2, 3), "length"),
        ([1, [2, 3]], [1, [2, 4]], "value"),
        ({"a": 1}, {"b": 1}, "length"),
        ({"a": 1}, [1], "type"),
        (1.5, torch.tensor(1.5), None),
        (1, True, "type"),
        (True, 1, "type"),
        (True, torch.tensor(False), "value"),
        (True, np.bool_(True), None),
        (2, 2.0, None),
        (1.0, math.nan, "nan"),
        ("a", "b", "value"),
        ("a", 1, "type"),
        (None, None, None),
        (None, 1, "type"),
        (np.ones(2), np.ones(2), None),
        (np.ones(2), torch.ones(2), "type"),
        (np.ones((2, 1)), np.ones((1, 2)), "shape"),
    ],
)
def test_differences(expected: Any, given: Any, what: str | None) -> None:
    found = difference(expected, given)
    assert (found.what if found else None) == what


def test_a_difference_that_rounding_would_hide_is_shown() -> None:
    found = difference(torch.tensor([[0.25, 0.5]]).double(), torch.tensor([[0.25, 0.5 + 1e-6]]).double())
    assert found is not None
    assert "0.500001" in found.shown


# ---- What is shown.


def test_reports_as_text_and_as_a_panel() -> None:
    report = Report("a", "A <title>", "differs", ("It fails with `x`.",), "“There”", "x = 1 < 2", "printed & kept")
    text, panel = repr(report), report._repr_html_()
    assert text.splitlines()[:3] == ["✗ A <title>", "  It fails with `x`.", "  See “There”."]
    assert "  x = 1 < 2" in text
    assert "<title>" not in panel
    assert "<code>x</code>" in panel
    assert "printed &amp; kept" in panel


def test_check_prints_and_keeps_progress(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv(progress.FOLDER_VARIABLE, str(tmp_path / "new"))
    check("scaled-dot-product-attention", ...)
    assert not (tmp_path / "new").exists()
    check("scaled-dot-product-attention", lambda q, k, v, m=None: (v, v))
    check("scaled-dot-product-attention", right)
    assert capsys.readouterr().out.count("Attention, from memory") == 3
    state = progress.states()["scaled-dot-product-attention"]
    assert (state.verdict, state.passed, state.attempts) == ("passed", True, 2)
    with progress.path().open("a") as file:
        file.write('{"exercise": "scaled-window"\n[1]\nnull\n')
    check("scaled-dot-product-attention", lambda q, k, v, m=None: (v, v))
    assert progress.states()["scaled-dot-product-attention"].passed
    assert list(progress.states()) == ["scaled-dot-product-attention"]


@pytest.mark.parametrize("home", ["a file", "/dev/null", "~nobody-at-all", "a folder in its place", "a pipe", "\0"])
def test_a_check_is_judged_though_progress_cannot_be_kept(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    if home == "a file":
        folder.rmdir()
        folder.write_text("")
    elif home == "a folder in its place":
        (folder / "progress.jsonl").mkdir()
    elif sys.platform == "win32":
        pytest.skip("no such things here")
    elif home == "a pipe":
        os.mkfifo(folder / "progress.jsonl")
    else:
        folder = Path(home)
    monkeypatch.setattr(progress.os, "environ", {**os.environ, progress.FOLDER_VARIABLE: str(folder)})
    check("attention-shapes", (3, 4))
    shown = capsys.readouterr().out
    assert "Two shapes" in shown
    assert "Your progress could not be kept: " in shown
    assert progress.states() == {}
    check("attention-shapes", ...)  # nothing was to be kept
    assert "progress" not in capsys.readouterr().out


def test_a_full_disk_and_a_missing_home_fail_no_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress, "_append", full)
    check("attention-shapes", (3, 4))
    assert "could not be kept: [Errno 28] No space left on device" in capsys.readouterr().out
    monkeypatch.undo()
    for name in (progress.FOLDER_VARIABLE, "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    check("attention-shapes", (3, 4))
    assert "could not be kept: Could not determine home directory." in capsys.readouterr().out
    assert progress.states() == {}


def test_damaged_progress_loses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.FOLDER_VARIABLE, str(tmp_path))
    progress.record(Report("a", "A", "passed", ()))
    with progress.path().open("ab") as file:
        file.write(b'\xff\xfe\x00\n{"exercise": ["a"], "verdict": "passed"}\n{"exercise": "c", "verdict": [1]}\n')
        file.write(b"[" * 100_000 + b'\n{"exercise": "d", "verdict": "best"}\n{"exercise": "cut o')
    progress.record(Report("b", "B", "differs", (), mistake="\udc80"))
    assert {name: state.verdict for name, state in progress.states().items()} == {"a": "passed", "b": "differs"}
    assert progress.path().read_bytes().endswith(b"\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", None, "no-such-encoding"])
def test_a_report_is_printed_in_every_encoding(encoding: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if encoding not in (None, "no-such-encoding"):
                text.encode(encoding)  # as a pipe does
            return super().write(text)

    Stream.encoding = encoding  # type: ignore[assignment]
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    say(Report("a", "√d × 2", "passed", ("“Right” – it is…", "ação")))
    assert stream.getvalue().startswith({"utf-8": "✓ √d × 2", None: "✓ √d × 2", "cp1252": "+ sqrtd × 2",
                                         "latin-1": "+ sqrtd × 2"}.get(encoding, "+ sqrtd x 2"))  # fmt: skip
    if encoding == "ascii":
        assert '"Right" - it is...' in stream.getvalue()
    monkeypatch.setattr(sys, "stdout", None)
    say("nobody hears")


@pytest.mark.parametrize("name", [3, ["scaled-window"], right, None])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name comes first"):
        check(name, right)


def test_hints_come_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = find("scaled-window")
    for text in [*exercise.hints, exercise.hints[0]]:
        hint("scaled-window")
        shown = capsys.readouterr().out
        assert text in shown
        assert sum(other in shown for other in exercise.hints) == 1


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean scaled-window"):
        check("scaled-windows", right)
