"""Judge an answer: run it beside the reference, compare, and say which mistake it is."""

import contextlib
import inspect
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_lib.exercises.engine import isolation, wording
from transformer_lib.exercises.engine.comparing import difference, kind
from transformer_lib.exercises.engine.exercise import (
    Complaint,
    Debug,
    Draw,
    Exercise,
    Explore,
    Implement,
    Predict,
    call,
)
from transformer_lib.exercises.engine.laws import Broken, broken
from transformer_lib.exercises.engine.probing import Trial
from transformer_lib.exercises.engine.recognizing import Recognition, recognized
from transformer_lib.exercises.engine.report import Report
from transformer_lib.exercises.engine.running import (
    Call,
    Outcome,
    calls_of,
    is_memory,
    leaves,
    names_of,
    outcome_of,
    size,
    text_of,
)
from transformer_lib.exercises.engine.watching import READY_MADE, Watch

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
    found = ended.value if ended.value is not None else wording.stopped(exercise, ended)
    if not ended.within:
        return found
    note = (
        "This was checked within your session, because it could not be carried into a process of its own "
        f"({wording.shortened(ended.within)}). What your code changes there stays changed."
    )
    return replace(found, note=note)


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
        return wording.report(exercise, "todo", wording.NOT_YET)
    with _plain_surroundings():
        try:
            if isinstance(exercise, Predict):
                return _predict(exercise, answer)
            judge = _explore if isinstance(exercise, Explore) else _implement
            return judge(exercise, answer, seed, mark)  # type: ignore[arg-type]
        except MemoryError:
            return wording.memory(exercise)
        except Exception as error:  # for instance of a result whose == raises
            return wording.report(exercise, "type", f"What you give cannot be compared: {wording.told_error(error)}")


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


def _predict(exercise: Predict, answer: Any) -> Report:
    expected, given = _plain(exercise.reference()), _plain(answer)
    if exercise.options and (not isinstance(given, str) or given not in exercise.options):
        letters = ", ".join(f'"{letter}"' for letter in exercise.options)
        return wording.report(exercise, "type", f"Answer with one of {letters}; you gave {wording.told(answer)}.")
    if _alike(expected, given, exercise.atol):
        return wording.report(exercise, "passed", "Right. The book computed the same.")
    for mistake in exercise.mistakes:
        wrong = mistake.wrong() if callable(mistake.wrong) else mistake.wrong
        if _alike(_plain(wrong), given, exercise.atol):
            return wording.named(exercise, Recognition(mistake, sure=True))
    found = difference(expected, given, exercise.atol, "your answer")
    if found is not None and found.what in ("type", "length", "dtype", "shape"):
        return wording.report(exercise, "type", f"Answer with {exercise.expects}; you gave {wording.told(answer)}.")
    says = f'Not this: you gave {wording.told(answer)}. `hint("{exercise.id}")` helps.'
    return wording.report(exercise, "differs", says)


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


def _explore(exercise: Explore, answer: Any, seed: int, mark: isolation.Mark) -> Report:
    mark("what your answer achieves", exercise.seconds)
    watch = Watch((), ())
    try:
        with watch.watching():
            measured = exercise.measure(answer, Draw(seed))
    except NotImplementedError as error:
        if not error.args:
            return wording.not_finished(exercise, error, answer)
        return wording.raised(exercise, error, watch.printed)
    except Complaint as complaint:
        return wording.report(exercise, "type", f"Answer with {exercise.expects}: {complaint}.", printed=watch.printed)
    except Exception as error:
        if is_memory(error):
            return wording.memory(exercise)
        return wording.raised(exercise, error, watch.printed)
    found = {name: value for name, value in measured.items() if isinstance(value, int | float)}
    reached = [goal.reached(measured) for goal in exercise.goals]
    shown = "\n".join(
        [
            *(f"{'✓' if met else '✗'} {goal.text}" for met, goal in zip(reached, exercise.goals, strict=True)),
            "measured: " + ", ".join(f"{name} {wording.measured_value(value)}" for name, value in measured.items()),
        ]
    )
    for number, (met, goal) in enumerate(zip(reached, exercise.goals, strict=True)):
        if not met:
            see = wording.passage(exercise, goal.see)
            far = [wording.distance(goal.bound, measured)] if goal.bound else []
            more = {"see": see, "shown": shown, "printed": watch.printed, "mistake": f"goal {number + 1}"}
            return replace(wording.report(exercise, "goal", goal.says, *far, **more), measured=found)
    says = "Every goal is reached."
    return replace(wording.report(exercise, "passed", says, shown=shown, printed=watch.printed), measured=found)


def _implement(exercise: Implement, answer: Any, seed: int, mark: isolation.Mark) -> Report:
    if not callable(answer) or isinstance(answer, nn.Module):
        wanted = "the class itself" if isinstance(exercise.reference, type) else "the function itself"
        return wording.report(exercise, "signature", f"Hand in {wanted}, not what it returns; you gave {kind(answer)}.")
    if misfit := _misfit(exercise, answer):
        return wording.report(exercise, "signature", misfit)

    watch = Watch((*READY_MADE, *exercise.ready_made), exercise.allowed)
    calls = list(calls_of(exercise, seed))
    start = time.process_time()
    right = [outcome_of(exercise, exercise.reference, one) for one in calls]
    limit = max(exercise.seconds, TIMES * (time.process_time() - start))
    given: list[Outcome] = []
    mark("", limit)
    with watch.watching():
        for one in calls:
            mark(one.stage)
            given.append(outcome_of(exercise, answer, one))
            error = given[-1].error
            if isinstance(error, NotImplementedError) and not error.args:
                return wording.not_finished(exercise, error, answer, one.stage if len(given) > 1 else "")
            if isinstance(error, RecursionError) or is_memory(error):
                break  # it would be so in every further call, and take long
        again = _again(exercise, answer, calls, given)
    mark("", OWN)  # from here on it is the book's code that runs
    found = [r.versus(g, exercise.atol) for r, g in zip(right, given, strict=False)]
    wrong = [number for number, different in enumerate(found) if different is not None]
    printed = watch.printed

    if isinstance(exercise, Debug):
        as_given = [outcome_of(exercise, exercise.given, one) for one in calls]
        if len(given) == len(calls) and all(
            a.versus(g, exercise.atol) is None for a, g in zip(as_given, given, strict=True)
        ):
            says = f"{wording.NOT_YET} The code still does what it did when it was given to you."
            return wording.report(exercise, "todo", says)
    mistake = recognized(exercise, calls, right, given, wrong) if wrong else None
    if mistake is not None:
        law = None if mistake.sure else _law(exercise, answer, calls, right, given, wrong)
        return wording.named(exercise, mistake, law, printed)
    if is_memory(given[-1].error):
        return wording.memory(exercise)
    if isinstance(given[-1].error, RecursionError):
        says = "Your code calls itself without end. Where should it stop?"
        return wording.report(exercise, "recursion", says, printed=printed)
    if watch.ready_made:
        names = ", ".join(f"`{name}`" for name in watch.ready_made)
        return wording.report(exercise, "ready-made", f"Your code calls {names}. Here you build that yourself.")
    if again and all(one is None or one.what in ("value", "nan") for one in found[:1]):
        return wording.report(exercise, "random", again, printed=printed)
    for r, outcome in zip(right, given, strict=False):
        # The gradient found out first, or is wrong for that alone.
        late = outcome.error is None and difference(r.result, outcome.result, exercise.atol) is None
        late = late and r.versus(outcome, exercise.atol) is not None
        if outcome.changed and ("inplace operation" in text_of(outcome.error) or late):
            says = f"Your code changes its input `{outcome.changed}`, which the gradient still needs."
            return wording.report(exercise, "input", says, printed=printed)
    if wrong:
        law = _law(exercise, answer, calls, right, given, wrong)
        return wording.unknown(exercise, calls, right, given, wrong, found, law, printed)
    if changed := next((g.changed for g, r in zip(given, right, strict=True) if g.changed and not r.changed), ""):
        says = f"The result is right, but your code changes its input `{changed}`, which its caller may still need."
        return wording.report(exercise, "input", says, printed=printed)
    if watch.seeds:
        says = (
            f"The result is right, but your code touches the global random numbers of {', '.join(watch.seeds)}. Every "
            "later random number of the program depends on that. Use a generator of your own."
        )
        return wording.report(exercise, "seed", says, printed=printed)
    mark("its time", 4 * limit)
    return wording.report(exercise, "passed", *_proved(exercise, calls, answer), printed=printed)


def _again(exercise: Implement, answer: Any, calls: list[Call], given: list[Outcome]) -> str:
    """What is said of code whose result changes when a call is made again; the first of each stage is."""
    stages = {(one.stage, one.dtype): number for number, one in reversed(list(enumerate(calls[: len(given)])))}
    for number in sorted(stages.values()):
        before, later = given[number], outcome_of(exercise, answer, calls[number])
        if before.error is not None or before.versus(later, exercise.atol) is None:
            continue
        if later.versus(outcome_of(exercise, answer, calls[number]), exercise.atol) is None:
            return (
                "Called again with the same input later, your code gives another result. It keeps something "
                "from one call to the next."
            )
        return "Called twice with the same input, your code gives two different results."
    return ""


def _law(
    exercise: Implement, answer: Any, calls: list[Call], right: list[Outcome], given: list[Outcome], wrong: list[int]
) -> Broken | None:
    """The property that an answer breaks in the stage that fails first."""
    stage, dtype = calls[wrong[0]].stage, calls[wrong[0]].dtype
    trials = [Trial(calls[n], right[n], given[n]) for n in wrong if (calls[n].stage, calls[n].dtype) == (stage, dtype)]
    trials.sort(key=lambda trial: size(trial.call.case))
    if trials[0].right.error or trials[0].given.error:
        return None
    every = [Trial(*one) for one in zip(calls, right, given, strict=False)]
    with Watch((), ()).watching():
        return broken(exercise, answer, [one for one in trials if not (one.right.error or one.given.error)], every)


def _misfit(exercise: Implement, answer: Any) -> str:
    """What is wrong with the answer's arguments, if it can be seen without a call."""
    if exercise.probe is not call:
        return ""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        return ""
    for one in calls_of(exercise, 0):
        try:
            signature.bind(*one.case.args, **one.case.kwargs)
        except TypeError as error:
            names = ", ".join(names_of(exercise, one.case))
            return f"Your function cannot be called as the task says, with ({names}): {error}."
    return ""


def _proved(exercise: Implement, calls: list[Call], answer: Any) -> list[str]:
    """What a right answer has shown, and how its time compares."""
    dtypes = " and ".join(str(dtype).removeprefix("torch.") for dtype in exercise.dtypes)
    stages = "; ".join(dict.fromkeys(stage.name for stage in exercise.stages))
    gradients = ", gradients too" if any(stage.gradients for stage in exercise.stages) else ""
    typed = f" in {dtypes}" if any(isinstance(x, Tensor) and x.is_floating_point() for one in calls
                                   for x in leaves([one.case.args, one.case.kwargs])) else ""  # fmt: skip
    says = [f"Equal to the book's code on {len(calls)} inputs{typed}{gradients}: {stages}."]

    def seconds(function: Any) -> float:
        start = time.perf_counter()
        for one in calls:
            outcome_of(exercise, function, one)
        return time.perf_counter() - start

    with Watch((), ()).watching():
        times = [(seconds(answer), seconds(exercise.reference)) for _ in range(3)]
    ours, books = (min(pair[i] for pair in times) for i in (0, 1))
    says.append(f"It took {ours / books:.1f} times as long as the book's ({1000 * ours:.0f} ms).")
    return says
