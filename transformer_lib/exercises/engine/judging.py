"""Judge an answer: run it beside the reference, compare, and say which mistake it is."""

import contextlib
import functools
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
from transformer_lib.texts import text, translated

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
    note = text(
        "This was checked within your session, because it could not be carried into a process of its own ({why}). "
        "What your code changes there stays changed.",
        why=wording.shortened(ended.within),
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
        return wording.not_yet(exercise)
    with _plain_surroundings():
        try:
            if isinstance(exercise, Predict):
                return _predict(exercise, answer)
            judge = _explore if isinstance(exercise, Explore) else _implement
            return judge(exercise, answer, seed, mark)  # type: ignore[arg-type]
        except MemoryError:
            return wording.memory(exercise)
        except Exception as error:  # for instance of a result whose == raises
            says = text("What you give cannot be compared: {error}", error=wording.told_error(error))
            return wording.report(exercise, "type", says)


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
        says = text("Answer with one of {letters}; you gave {answer}.", letters=letters, answer=wording.told(answer))
        return wording.report(exercise, "type", says)
    if _alike(expected, given, exercise.atol):
        return wording.report(exercise, "passed", text("Right. The book computed the same."))
    for mistake in exercise.mistakes:
        wrong = mistake.wrong() if callable(mistake.wrong) else mistake.wrong
        if _alike(_plain(wrong), given, exercise.atol):
            return wording.named(exercise, Recognition(mistake, sure=True))
    found = difference(expected, given, exercise.atol, text("your answer"))
    if found is not None and found.what in ("type", "length", "dtype", "shape"):
        holes = {"expects": translated(exercise.expects), "answer": wording.told(answer)}
        return wording.report(exercise, "type", text("Answer with {expects}; you gave {answer}.", **holes))
    says = text('Not this: you gave {answer}. `hint("{id}")` helps.', answer=wording.told(answer), id=exercise.id)
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
    mark(text("what your answer achieves"), exercise.seconds)
    watch = Watch((), ())
    try:
        with watch.watching():
            measured = exercise.measure(answer, Draw(seed))
    except NotImplementedError as error:
        if not error.args:
            return wording.not_finished(exercise, error, answer)
        return wording.raised(exercise, error, watch.printed)
    except Complaint as complaint:
        says = text("Answer with {expects}: {complaint}.", expects=translated(exercise.expects), complaint=complaint)
        return wording.report(exercise, "type", says, printed=watch.printed)
    except Exception as error:
        if is_memory(error):
            return wording.memory(exercise)
        return wording.raised(exercise, error, watch.printed)
    found = {name: value for name, value in measured.items() if isinstance(value, int | float)}
    reached = [goal.reached(measured) for goal in exercise.goals]
    values = ", ".join(f"{translated(name)} {wording.measured_value(value)}" for name, value in measured.items())
    shown = "\n".join(
        [
            *(
                f"{'✓' if met else '✗'} {translated(goal.text)}"
                for met, goal in zip(reached, exercise.goals, strict=True)
            ),
            text("measured: {values}", values=values),
        ]
    )
    for number, (met, goal) in enumerate(zip(reached, exercise.goals, strict=True)):
        if not met:
            see = wording.passage(goal.see, exercise.chapter)
            far = [wording.distance(goal.bound, measured)] if goal.bound else []
            more = {"see": see, "shown": shown, "printed": watch.printed, "mistake": f"goal {number + 1}"}
            return replace(wording.report(exercise, "goal", translated(goal.says), *far, **more), measured=found)
    says = text("Every goal is reached.")
    return replace(wording.report(exercise, "passed", says, shown=shown, printed=watch.printed), measured=found)


def _implement(exercise: Implement, answer: Any, seed: int, mark: isolation.Mark) -> Report:
    if not callable(answer) or isinstance(answer, nn.Module):
        if isinstance(exercise.reference, type):
            says = text("Hand in the class itself, not what it returns; you gave {answer}.", answer=kind(answer))
        else:
            says = text("Hand in the function itself, not what it returns; you gave {answer}.", answer=kind(answer))
        return wording.report(exercise, "signature", says)
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
            mark(translated(one.stage))
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
            says = text("Not attempted yet. The code still does what it did when it was given to you.")
            return wording.report(exercise, "todo", says)
    mistake = recognized(exercise, calls, right, given, wrong) if wrong else None
    if mistake is not None:
        law = None if mistake.sure else _law(exercise, answer, calls, right, given, wrong)
        return wording.named(exercise, mistake, law, printed)
    if is_memory(given[-1].error):
        return wording.memory(exercise)
    if isinstance(given[-1].error, RecursionError):
        says = text("Your code calls itself without end. Where should it stop?")
        return wording.report(exercise, "recursion", says, printed=printed)
    if watch.ready_made:
        names = ", ".join(f"`{name}`" for name in watch.ready_made)
        says = text("Your code calls {names}. Here you build that yourself.", names=names)
        return wording.report(exercise, "ready-made", says)
    if again and all(one is None or one.what in ("value", "nan") for one in found[:1]):
        return wording.report(exercise, "random", again, printed=printed)
    for r, outcome in zip(right, given, strict=False):
        # The gradient found out first, or is wrong for that alone.
        late = outcome.error is None and difference(r.result, outcome.result, exercise.atol) is None
        late = late and r.versus(outcome, exercise.atol) is not None
        if outcome.changed and ("inplace operation" in text_of(outcome.error) or late):
            says = text("Your code changes its input `{name}`, which the gradient still needs.", name=outcome.changed)
            return wording.report(exercise, "input", says, printed=printed)
    if wrong:
        law = _law(exercise, answer, calls, right, given, wrong)
        return wording.unknown(exercise, calls, right, given, wrong, found, law, printed)
    if changed := next((g.changed for g, r in zip(given, right, strict=True) if g.changed and not r.changed), ""):
        says = text(
            "The result is right, but your code changes its input `{name}`, which its caller may still need.",
            name=changed,
        )
        return wording.report(exercise, "input", says, printed=printed)
    if watch.seeds:
        says = text(
            "The result is right, but your code touches the global random numbers of {whose}. Every later random "
            "number of the program depends on that. Use a generator of your own.",
            whose=", ".join(watch.seeds),
        )
        return wording.report(exercise, "seed", says, printed=printed)
    mark(text("its time"), 4 * limit)
    return wording.report(exercise, "passed", *_proved(exercise, calls, answer), printed=printed)


def _again(exercise: Implement, answer: Any, calls: list[Call], given: list[Outcome]) -> str:
    """What is said of code whose result changes when a call is made again; the first of each stage is."""
    stages = {(one.stage, one.dtype): number for number, one in reversed(list(enumerate(calls[: len(given)])))}
    for number in sorted(stages.values()):
        before, later = given[number], outcome_of(exercise, answer, calls[number])
        if before.error is not None or before.versus(later, exercise.atol) is None:
            continue
        if later.versus(outcome_of(exercise, answer, calls[number]), exercise.atol) is None:
            return text(
                "Called again with the same input later, your code gives another result. It keeps something "
                "from one call to the next."
            )
        return text("Called twice with the same input, your code gives two different results.")
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
            return text(
                "Your function cannot be called as the task says, with ({names}): {error}.", names=names, error=error
            )
    return ""


def _proved(exercise: Implement, calls: list[Call], answer: Any) -> list[str]:
    """What a right answer has shown, and how its time compares."""
    holes = {
        "n": len(calls),
        "stages": "; ".join(dict.fromkeys(translated(stage.name) for stage in exercise.stages)),
        "dtypes": functools.reduce(
            lambda one, other: text("{one} and {other}", one=one, other=other),
            (str(dtype).removeprefix("torch.") for dtype in exercise.dtypes),
        ),
    }
    inputs = (x for one in calls for x in leaves([one.case.args, one.case.kwargs]))
    if not any(isinstance(x, Tensor) and x.is_floating_point() for x in inputs):
        says = [text("Equal to the book's code on {n} inputs: {stages}.", n=holes["n"], stages=holes["stages"])]
    elif any(stage.gradients for stage in exercise.stages):
        says = [text("Equal to the book's code on {n} inputs in {dtypes}, gradients too: {stages}.", **holes)]
    else:
        says = [text("Equal to the book's code on {n} inputs in {dtypes}: {stages}.", **holes)]

    def seconds(function: Any) -> float:
        start = time.perf_counter()
        for one in calls:
            outcome_of(exercise, function, one)
        return time.perf_counter() - start

    with Watch((), ()).watching():
        times = [(seconds(answer), seconds(exercise.reference)) for _ in range(3)]
    ours, books = (min(pair[i] for pair in times) for i in (0, 1))
    times_as_long = {"times": ours / books, "ms": 1000 * ours}
    return [*says, text("It took {times:.1f} times as long as the book's ({ms:.0f} ms).", **times_as_long)]
