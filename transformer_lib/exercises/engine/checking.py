"""The checker: compare an answer with the reference, and say which mistake it is."""

import contextlib
import inspect
import linecache
import re
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises.engine import isolation
from transformer_lib.exercises.engine.comparing import SHOWN, Difference, difference, kind
from transformer_lib.exercises.engine.exercise import (
    Case,
    Complaint,
    Debug,
    Draw,
    Exercise,
    Explore,
    Implement,
    Mistake,
    Predict,
    call,
)
from transformer_lib.exercises.engine.report import Report, Verdict
from transformer_lib.exercises.engine.watching import READY_MADE, Watch

_LIBRARY = Path(__file__).parents[2]
_TORCH = Path(torch.__file__).parent
NOT_YET = "Not attempted yet."
#: How many times as long as the book's code an answer may run, beside the exercise's own least time.
TIMES = 10
#: How long the book's own code may take for a check, in seconds; only a machine that stands still takes so long.
OWN = 120.0


def examine(
    exercise: Exercise, answer: Any, *, seed: int = 0, fork: bool | None = None, isolated: bool = True
) -> Report:
    """Check an answer.

    Args:
        exercise: its declaration.
        answer: the learner's function, class, value or model.
        seed: of the inputs. Learners always get the same.
        fork: see :func:`isolation.run`.
        isolated: ``False`` runs the check in place: for answers that are trusted.

    Returns:
        What is to be said.
    """
    if not isolated:
        return judged(exercise, answer, lambda step, seconds=None: None, seed)
    if answer is None or answer is ... or (isinstance(exercise, Predict) and _is_data(answer)):
        return judged(exercise, answer, lambda step, seconds=None: None)  # nothing of the learner's runs
    ended = isolation.run(lambda mark: judged(exercise, answer, mark, seed), OWN, fork=fork)
    report = ended.value if ended.value is not None else stopped(exercise, ended)
    if not ended.within:
        return report
    note = (
        "This was checked within your session, because it could not be carried into a process of its own "
        f"({_shortened(ended.within)}). What your code changes there stays changed."
    )
    return replace(report, note=note)


def _is_data(answer: Any, depth: int = 4) -> bool:
    """Whether a prediction is small and plain, so that looking at it runs no code of the learner's."""
    if type(answer) in (list, tuple, torch.Size):
        return depth > 0 and len(answer) <= 100 and all(_is_data(part, depth - 1) for part in answer)
    if type(answer) in (Tensor, np.ndarray):
        return bool(answer.nbytes <= 10_000)
    return type(answer) in (bool, int, float, complex, str)


def judged(exercise: Exercise, answer: Any, mark: isolation.Mark, seed: int = 0) -> Report:
    """Check an answer in place. See :func:`examine`; ``mark`` is called before each step."""
    if answer is None or answer is ...:
        return _report(exercise, "todo", NOT_YET)
    with _plain_surroundings():
        try:
            if isinstance(exercise, Predict):
                return _predict(exercise, answer)
            judge = _explore if isinstance(exercise, Explore) else _implement
            return judge(exercise, answer, seed, mark)  # type: ignore[arg-type]
        except MemoryError:
            return _memory(exercise)
        except Exception as error:  # for instance of a result whose == raises
            return _report(exercise, "type", f"What you give cannot be compared: {told_error(error)}")


@contextlib.contextmanager
def _plain_surroundings() -> Iterator[None]:
    """The same for every check, whatever the learner's session or cell has switched on."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # wrong code, the misconceptions too, may well overflow
        stack.enter_context(np.errstate(all="warn"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(torch.device("cpu"))
        yield


def stopped(exercise: Exercise, ended: isolation.Ended[Any]) -> Report:
    """What is to be said of code that did not return."""
    while_ = f" while this was checked: {ended.reached}" if ended.reached else ""
    if ended.how == "endless":
        after = f"after {ended.limit:.3g} seconds of running time"
        says = [f"Your code was stopped {after}{while_}. Is there a loop without end?"]
        if ended.abandoned:
            says.append("It could not be stopped, and goes on in the background: restart the kernel.")
        return _report(exercise, "endless", *says)
    if ended.how == "memory":
        return _memory(exercise)
    if ended.how == "swarm":
        return _report(exercise, "crashed", f"Your code begins one process after another{while_}.")
    with_ = f", with {_shortened(ended.reason)}" if ended.reason else ""
    says = [f"Your code ended the whole process{while_}{with_}. Did it take too much memory, or call exit?"]
    return _report(exercise, "crashed", *says)


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def passage(exercise: Exercise, see: str) -> str:
    """A pointer of a declaration in words: “Why the square root”, with its chapter where that is another."""
    chapter, _, heading = see.partition(": ")
    if chapter in CHAPTERS and chapter != exercise.chapter:
        return f"“{heading}” in the chapter “{CHAPTERS[chapter].title}”"
    return f"“{heading if chapter in CHAPTERS else see}”"


def _report(exercise: Exercise, verdict: Verdict, *says: str, **more: str) -> Report:
    return Report(exercise.id, exercise.title, verdict, tuple(says), **more)


def _named(exercise: Exercise, mistake: Mistake, **more: str) -> Report:
    see = passage(exercise, mistake.see)
    return _report(exercise, "mistake", mistake.says, see=see, mistake=mistake.name, **more)


def _is_memory(error: Exception | None) -> bool:
    """Whether memory ran out: Python's error, or PyTorch's, which is told by its text."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and re.search("can't allocate memory|not enough memory", _text(error)) is not None
    )


def _memory(exercise: Exercise) -> Report:
    return _report(
        exercise, "memory", "Your code asks for more memory than a check may take. Which tensor is so large, and why?"
    )


def not_finished(exercise: Exercise, error: NotImplementedError, answer: Any, stage: str = "") -> Report:
    """What is to be said where a stub's NotImplementedError is left: nothing was attempted, or what is missing.

    Args:
        exercise: its declaration.
        error: what was raised.
        answer: what was handed in.
        stage: what failed, where other calls have returned before.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if not _is_ours(frame.f_code.co_filename)]
    if not frames:
        return _report(exercise, "todo", NOT_YET)
    raising = frames[-1].f_code
    if inspect.isclass(answer):
        codes = [part.__code__ for part in vars(answer).values() if inspect.isfunction(part)]
    else:
        codes = [frames[0].f_code]
    begun = raising not in codes or any(not _is_stub(code) for code in codes)
    if not begun and not stage:
        return _report(exercise, "todo", NOT_YET)
    name = raising.co_qualname.rpartition("<locals>.")[2]
    after = f", {stage}" if stage else ""
    says = f"You have begun. What is still missing: `{name}` raises NotImplementedError{after}."
    return _report(exercise, "unfinished", says)


def _is_stub(code: CodeType) -> bool:
    """Whether a function does nothing but what stubs do."""
    return set(code.co_names) <= {"super", "__init__", "NotImplementedError"}


def _is_ours(file: str) -> bool:
    """Whether a file belongs to the library or to PyTorch."""
    parents = Path(file).parents
    return _LIBRARY in parents or _TORCH in parents


# ---- Predict.


def _predict(exercise: Predict, answer: Any) -> Report:
    expected, given = _plain(exercise.reference()), _plain(answer)
    if exercise.options and (not isinstance(given, str) or given not in exercise.options):
        letters = ", ".join(f'"{letter}"' for letter in exercise.options)
        return _report(exercise, "type", f"Answer with one of {letters}; you gave {_told(answer)}.")
    if _alike(expected, given, exercise.atol):
        return _report(exercise, "passed", "Right. The book computed the same.")
    for mistake in exercise.mistakes:
        wrong = mistake.wrong() if callable(mistake.wrong) else mistake.wrong
        if _alike(_plain(wrong), given, exercise.atol):
            return _named(exercise, mistake)
    found = difference(expected, given, exercise.atol, "your answer")
    if found is not None and found.what in ("type", "length", "dtype", "shape"):
        return _report(exercise, "type", f"Answer with {exercise.expects}; you gave {_told(answer)}.")
    says = f'Not this: you gave {_told(answer)}. `hint("{exercise.id}")` helps.'
    return _report(exercise, "differs", says)


def _plain(value: Any) -> Any:
    """Tensors, arrays and shapes as lists of numbers; words without case."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, str):
        return value.strip().casefold()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _alike(expected: Any, given: Any, atol: float) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(given, list)
            and len(given) == len(expected)
            and all(_alike(one, other, atol) for one, other in zip(expected, given, strict=True))
        )
    if isinstance(expected, float) and isinstance(given, int | float) and not isinstance(given, bool):
        return abs(expected - given) <= atol
    if isinstance(expected, int) and not isinstance(expected, bool) and isinstance(given, int | float):
        return not isinstance(given, bool) and abs(expected - given) <= min(atol, 0.5)
    return type(expected) is type(given) and bool(expected == given)


def _told(answer: Any) -> str:
    text = repr(answer)
    return f"`{text}`" if len(text) <= 60 and "\n" not in text else kind(answer)


# ---- Explore.


def _explore(exercise: Explore, answer: Any, seed: int, mark: isolation.Mark) -> Report:
    mark("what your answer achieves", exercise.seconds)
    watch = Watch((), ())
    try:
        with watch.watching():
            measured = exercise.measure(answer, Draw(seed))
    except NotImplementedError as error:
        return _raised(exercise, error, watch.printed) if error.args else not_finished(exercise, error, answer)
    except Complaint as complaint:
        return _report(exercise, "type", f"Answer with {exercise.expects}: {complaint}.", printed=watch.printed)
    except Exception as error:
        if _is_memory(error):
            return _memory(exercise)
        return _raised(exercise, error, watch.printed)
    reached = [bool(goal.met(measured)) for goal in exercise.goals]
    shown = "\n".join(
        [
            *(f"{'✓' if met else '✗'} {goal.text}" for met, goal in zip(reached, exercise.goals, strict=True)),
            "measured: " + ", ".join(f"{name} {_measure(value)}" for name, value in measured.items()),
        ]
    )
    for number, (met, goal) in enumerate(zip(reached, exercise.goals, strict=True)):
        if not met:
            see = passage(exercise, goal.see)
            more = {"see": see, "shown": shown, "printed": watch.printed, "mistake": f"goal {number + 1}"}
            return _report(exercise, "goal", goal.says, **more)
    return _report(exercise, "passed", "Every goal is reached.", shown=shown, printed=watch.printed)


def _measure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


# ---- Implement and debug.


@dataclass(frozen=True)
class _Call:
    """One case, with its place."""

    stage: str
    gradients: bool
    dtype: torch.dtype
    case: Case


@dataclass
class _Outcome:
    """What a call gave: a result with its gradients, or an exception."""

    result: Any = None
    gradients: dict[str, Any] | None = None
    error: Exception | None = None
    changed: str = ""  # the name of an input that was changed

    def versus(self, other: "_Outcome", atol: float) -> Difference | None:
        """The first difference of another outcome from this one."""
        if self.error is not None or other.error is not None:
            same = _signature(self.error) == _signature(other.error)
            return None if same else Difference("type", "one of the two raises an exception")
        found = difference(self.result, other.result, atol)
        if found is None and self.gradients is not None:
            for name, gradient in self.gradients.items():
                given = (other.gradients or {}).get(name)
                if given is None and gradient is not None:
                    return Difference("type", f"no gradient reaches `{name}`; the result is cut off from it")
                # Sums of many rounded products: a little looser than the results themselves.
                found = found or difference(gradient, given, 10 * atol, f"the gradient of {name}")
        return found


def _text(error: Exception | None) -> str:
    """What an exception says; nothing where its own ``__str__`` is wrong, too."""
    try:
        return str(error)
    except Exception:
        return ""


def _signature(error: Exception | None) -> tuple[Any, str]:
    """What two exceptions must share to count as the same: their type, and their text without numbers."""
    return type(error), re.sub(r"\d+", "#", _text(error)) if error is not None else ""


def _implement(exercise: Implement, answer: Any, seed: int, mark: isolation.Mark) -> Report:
    if not callable(answer) or isinstance(answer, nn.Module):
        wanted = "the class itself" if isinstance(exercise.reference, type) else "the function itself"
        return _report(exercise, "signature", f"Hand in {wanted}, not what it returns; you gave {kind(answer)}.")
    if misfit := _misfit(exercise, answer):
        return _report(exercise, "signature", misfit)

    watch = Watch((*READY_MADE, *exercise.ready_made), exercise.allowed)
    calls = list(_calls(exercise, seed))
    start = time.process_time()
    right = [_outcome(exercise, exercise.reference, one) for one in calls]
    limit = max(exercise.seconds, TIMES * (time.process_time() - start))
    given: list[_Outcome] = []
    mark("", limit)
    with watch.watching():
        for one in calls:
            mark(one.stage)
            given.append(_outcome(exercise, answer, one))
            error = given[-1].error
            if isinstance(error, NotImplementedError) and not error.args:
                return not_finished(exercise, error, answer, one.stage if len(given) > 1 else "")
            if isinstance(error, RecursionError) or _is_memory(error):
                break  # it would be so in every further call, and take long
        again = _outcome(exercise, answer, calls[0])
    mark("", OWN)  # from here on it is the book's code that runs
    found = [r.versus(g, exercise.atol) for r, g in zip(right, given, strict=False)]
    wrong = [number for number, different in enumerate(found) if different is not None]
    printed = watch.printed

    if isinstance(exercise, Debug):
        as_given = [_outcome(exercise, exercise.given, one) for one in calls]
        if len(given) == len(calls) and all(
            a.versus(g, exercise.atol) is None for a, g in zip(as_given, given, strict=True)
        ):
            return _report(exercise, "todo", f"{NOT_YET} The code still does what it did when it was given to you.")
    if wrong:
        mistake = _recognize(exercise, calls, right, given, wrong)
        if mistake is not None:
            return _named(exercise, mistake, printed=printed)
    if _is_memory(given[-1].error):
        return _memory(exercise)
    if isinstance(given[-1].error, RecursionError):
        says = "Your code calls itself without end. Where should it stop?"
        return _report(exercise, "recursion", says, printed=printed)
    if watch.ready_made:
        names = ", ".join(f"`{name}`" for name in watch.ready_made)
        return _report(exercise, "ready-made", f"Your code calls {names}. Here you build that yourself.")
    right_kind = found[0] is None or found[0].what == "value"
    if right_kind and given[0].error is None and given[0].versus(again, exercise.atol) is not None:
        says = "Called twice with the same input, your code gives two different results."
        return _report(exercise, "random", says, printed=printed)
    for outcome in given:
        if outcome.changed and "inplace operation" in _text(outcome.error):  # the gradient found out first
            says = f"Your code changes its input `{outcome.changed}`, which the gradient still needs."
            return _report(exercise, "input", says, printed=printed)
    if wrong:
        return _unknown(exercise, calls, right, given, wrong, found, printed)
    if changed := next((outcome.changed for outcome in given if outcome.changed), ""):
        says = f"The result is right, but your code changes its input `{changed}`, which its caller may still need."
        return _report(exercise, "input", says, printed=printed)
    if watch.seeds:
        says = (
            f"The result is right, but your code touches the global random numbers of {', '.join(watch.seeds)}. Every "
            "later random number of the program depends on that. Use a generator of your own."
        )
        return _report(exercise, "seed", says, printed=printed)
    mark("its time", 4 * limit)
    return _report(exercise, "passed", *_proved(exercise, calls, answer), printed=printed)


def _misfit(exercise: Implement, answer: Any) -> str:
    """What is wrong with the answer's arguments, if it can be seen without a call."""
    if exercise.probe is not call:
        return ""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        return ""
    for one in _calls(exercise, 0):
        try:
            signature.bind(*one.case.args, **one.case.kwargs)
        except TypeError as error:
            names = ", ".join(_names(exercise, one.case))
            return f"Your function cannot be called as the task says, with ({names}): {error}."
    return ""


def _calls(exercise: Implement, seed: int) -> Iterator[_Call]:
    for dtype in exercise.dtypes:
        for number, stage in enumerate(exercise.stages):
            for one in stage.cases(Draw(1000 * seed + number, dtype)):
                yield _Call(stage.name, stage.gradients, dtype, one)


def _map(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to every tensor in nested lists, tuples and dictionaries."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, list):
        return [_map(function, part) for part in tree]
    if isinstance(tree, tuple) and type(tree) is tuple:
        return tuple(_map(function, part) for part in tree)
    if isinstance(tree, dict):
        return {key: _map(function, part) for key, part in tree.items()}
    if isinstance(tree, np.ndarray):
        return tree.copy()
    return tree


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    return [tree]


def _outcome(exercise: Implement, answer: Any, one: _Call) -> _Outcome:
    """Use an answer on fresh copies of a case's arguments."""

    def fresh(tensor: Tensor) -> Tensor:
        copy = tensor.detach().clone()
        return copy.requires_grad_() if one.gradients and copy.is_floating_point() else copy

    args, kwargs = _map(fresh, one.case.args), _map(fresh, one.case.kwargs)
    # Leaves that need gradients refuse changes in place, so the answer gets a stand-in.
    stand_in = (lambda t: t.clone() if t.requires_grad else t) if one.gradients else (lambda t: t)
    lent_args, lent_kwargs = _map(stand_in, args), _map(stand_in, kwargs)
    names = _names(exercise, one.case)
    try:
        result = exercise.probe(answer, *lent_args, **lent_kwargs)
        outcome = _Outcome(result)
        if one.gradients:
            outcome.gradients = _gradients(result, [*args, *kwargs.values()], names)
    except Exception as error:
        outcome = _Outcome(error=error)
    pairs = zip(names, [*lent_args, *lent_kwargs.values()], [*one.case.args, *one.case.kwargs.values()], strict=True)
    for name, lent, kept in pairs:
        for one_lent, one_kept in zip(_leaves(lent), _leaves(kept), strict=False):
            if (isinstance(one_kept, Tensor) and not torch.equal(_bits(one_lent), _bits(one_kept))) or (
                isinstance(one_kept, np.ndarray) and not np.array_equal(one_lent, one_kept, equal_nan=True)
            ):
                outcome.changed = outcome.changed or name
        if len(_leaves(lent)) != len(_leaves(kept)):
            outcome.changed = outcome.changed or name
    return outcome


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().nan_to_num(nan=12345.678) if tensor.is_floating_point() else tensor.detach()


def _names(exercise: Implement, one: Case) -> list[str]:
    """The arguments' names as the task knows them."""
    source = exercise.reference if exercise.probe is call else exercise.probe
    try:
        parameters = list(inspect.signature(source).parameters)
    except (TypeError, ValueError):
        parameters = []
    if exercise.probe is not call:
        parameters = parameters[1:]
    numbered = [*parameters, *(f"argument {i + 1}" for i in range(len(parameters), len(one.args)))]
    return [*numbered[: len(one.args)], *one.kwargs]


def _gradients(result: Any, arguments: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Of a weighted sum of everything in the result, with regard to each argument."""
    total: Any = 0.0
    for number, leaf in enumerate(_leaves(result)):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            weights = Draw(number, torch.float64).normal(*leaf.shape).to(leaf.dtype)
            total = total + torch.where(leaf.isfinite(), leaf * weights, 0.0).sum()
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    return {
        name: argument.grad
        for name, argument in zip(names, arguments, strict=True)
        if isinstance(argument, Tensor) and argument.is_floating_point()
    }


def _recognize(
    exercise: Implement, calls: list[_Call], right: list[_Outcome], given: list[_Outcome], wrong: list[int]
) -> Mistake | None:
    """The misconception that gives the same results; best in every call, else up to the stage that fails."""
    first = wrong[0]
    reached = [n for n, one in enumerate(calls) if (one.stage, one.dtype) == (calls[first].stage, calls[first].dtype)]
    telling = any(
        isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 1
        for leaf in _leaves(given[first].result)
    )
    best: tuple[int, Mistake] | None = None
    for mistake in exercise.mistakes:
        outcomes = [_outcome(exercise, mistake.wrong, one) for one in calls[: len(given)]]
        same = [o.versus(g, exercise.atol) is None for o, g in zip(outcomes, given, strict=True)]
        if all(same) and len(given) == len(calls):
            return mistake
        # A second mistake may hide behind the first: it is enough to be the same up to the end of the failing stage.
        differs = outcomes[first].versus(right[first], exercise.atol) is not None
        if telling and differs and all(same[: reached[-1] + 1]) and (best is None or sum(same) > best[0]):
            best = sum(same), mistake
    return best[1] if best else None


def _unknown(
    exercise: Implement,
    calls: list[_Call],
    right: list[_Outcome],
    given: list[_Outcome],
    wrong: list[int],
    found: list[Difference | None],
    printed: str,
) -> Report:
    """A mistake without a name: the stage that fails, and the smallest input that shows it."""
    stage = calls[wrong[0]].stage
    number = min((n for n in wrong if calls[n].stage == stage), key=lambda n: (_size(calls[n].case), n))
    one, different, error = calls[number], found[number], given[number].error
    assert different is not None
    at = f"It fails {stage}" + ("" if wrong[0] < len(calls) // len(exercise.dtypes) else f", in {one.dtype}")
    shown = _shown_input(exercise, one.case)
    if isinstance(error, Complaint):
        return _report(exercise, "shape", f"{str(error)[0].upper()}{str(error)[1:]}.", printed=printed)
    if error is not None:
        return replace(_raised(exercise, error, printed), says=(f"{at}: {told_error(error)}",), shown=shown)
    if right[number].error is not None:
        wanted = right[number].error
        says = f"{at}: a {type(wanted).__name__} should be raised, and your code returns {kind(given[number].result)}."
        return _report(exercise, "type", says, shown=shown, printed=printed)
    shown = "\n".join(filter(None, [shown, different.shown]))
    if different.what == "value" and one.dtype == torch.float64 and right[number].versus(given[number], 1e-4) is None:
        says = f"{at}: nearly right, but off by more than rounding. Is something rounded, or turned into another type?"
        return _report(exercise, "differs", says, shown=shown, printed=printed)
    verdict: Verdict = "differs" if different.what == "value" else different.what
    return _report(exercise, verdict, f"{at}: {different.says}.", shown=shown, printed=printed)


def _size(one: Case) -> int:
    return sum(leaf.numel() if isinstance(leaf, Tensor) else 1 for leaf in _leaves([one.args, one.kwargs]))


def _shown_input(exercise: Implement, one: Case) -> str:
    lines = []
    for name, argument in zip(_names(exercise, one), [*one.args, *one.kwargs.values()], strict=True):
        if isinstance(argument, Tensor | np.ndarray):
            numbers = torch.as_tensor(argument)
            if numbers.numel() <= SHOWN // 2:
                text = str([[round(x, 2) if isinstance(x, float) else x for x in row] if isinstance(row, list) else row
                            for row in numbers.tolist()] if numbers.ndim else numbers.item())  # fmt: skip
                text = text if numbers.dtype != torch.bool else text.replace("True", "T").replace("False", "·")
            else:
                text = f"shape {tuple(numbers.shape)}"
        else:
            text = repr(argument)[:100]
        lines.append(f"{name} = {text}")
    return "\n".join(lines)


def told_error(error: Exception) -> str:
    """An exception with the learner's line that it passed last."""
    text = f"{type(error).__name__}: {_text(error).strip().partition(chr(10))[0][:300]}".removesuffix(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_ours(frame.filename):
            line = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{text} (line {frame.lineno}: `{line}`)" if line else f"{text} (line {frame.lineno})"
    return text


def _raised(exercise: Exercise, error: Exception, printed: str) -> Report:
    return _report(exercise, "raised", told_error(error), printed=printed)


def _proved(exercise: Implement, calls: list[_Call], answer: Any) -> list[str]:
    """What a right answer has shown, and how its time compares."""
    dtypes = " and ".join(str(dtype).removeprefix("torch.") for dtype in exercise.dtypes)
    stages = "; ".join(dict.fromkeys(stage.name for stage in exercise.stages))
    gradients = ", gradients too" if any(stage.gradients for stage in exercise.stages) else ""
    typed = f" in {dtypes}" if any(isinstance(x, Tensor) and x.is_floating_point() for one in calls
                                   for x in _leaves([one.case.args, one.case.kwargs])) else ""  # fmt: skip
    says = [f"Equal to the book's code on {len(calls)} inputs{typed}{gradients}: {stages}."]

    def seconds(function: Any) -> float:
        start = time.perf_counter()
        for one in calls:
            _outcome(exercise, function, one)
        return time.perf_counter() - start

    with Watch((), ()).watching():
        times = [(seconds(answer), seconds(exercise.reference)) for _ in range(3)]
    ours, books = (min(pair[i] for pair in times) for i in (0, 1))
    says.append(f"It took {ours / books:.1f} times as long as the book's ({1000 * ours:.0f} ms).")
    return says
