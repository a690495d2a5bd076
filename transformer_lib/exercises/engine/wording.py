"""What is said of an answer: whole sentences, the input that fails, exceptions with the learner's line."""

import inspect
import linecache
import math
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises.engine import isolation
from transformer_lib.exercises.engine.comparing import SHOWN, Difference, kind
from transformer_lib.exercises.engine.exercise import Bound, Case, Complaint, Exercise, Implement
from transformer_lib.exercises.engine.laws import Broken
from transformer_lib.exercises.engine.passages import PASSAGES
from transformer_lib.exercises.engine.recognizing import Recognition
from transformer_lib.exercises.engine.report import Report, Verdict, as_text
from transformer_lib.exercises.engine.running import Call, Outcome, names_of, size, text_of
from transformer_lib.texts import text, translated

_LIBRARY = Path(__file__).parents[2]


_TORCH = Path(torch.__file__).parent


def not_yet(exercise: Exercise) -> Report:
    """The report where nothing was attempted."""
    return report(exercise, "todo", text("Not attempted yet."))


def passage(see: str, chapter: str = "") -> str:
    """A pointer of a declaration in words: “Why the square root”, with its chapter unless it is this one."""
    found = PASSAGES[see]
    if found.chapter != chapter:
        titles = {"heading": translated(found.heading), "title": translated(CHAPTERS[found.chapter].title)}
        return text("“{heading}” in the chapter “{title}”", **titles)
    return text("“{heading}”", heading=translated(found.heading))


def report(exercise: Exercise, verdict: Verdict, *says: str, **more: Any) -> Report:
    """The report on an answer to this exercise."""
    return Report(exercise.id, translated(exercise.title), verdict, tuple(says), **more)


def named(exercise: Exercise, found: Recognition, law: Broken | None = None, printed: str = "") -> Report:
    """The report on a misconception, as certain as it is."""
    see = passage(found.mistake.see, exercise.chapter)
    says = as_text(translated(found.mistake.says))
    says = says if found.sure else text("This looks like: {mistake}", mistake=says)
    more = {"printed": printed, "law": law.law if law else ""}
    return report(exercise, "mistake", says, *([law.says] if law else []), see=see, mistake=found.mistake.name, **more)


def memory(exercise: Exercise) -> Report:
    """The report where memory ran out."""
    says = text("Your code asks for more memory than a check may take. Which tensor is so large, and why?")
    return report(exercise, "memory", says)


def stopped(exercise: Exercise, ended: isolation.Ended[Any]) -> Report:
    """What is to be said of code that did not return."""
    if ended.how == "memory":
        return memory(exercise)
    if ended.how == "endless":
        says = [text("Your code was stopped after {n:.3g} seconds of running time.", n=ended.limit)]
        says.append(text("Is there a loop without end?"))
        if ended.abandoned:
            says.append(text("It could not be stopped, and goes on in the background: restart the kernel."))
    elif ended.how == "swarm":
        says = [text("Your code begins one process after another.")]
    elif ended.reason:
        says = [text("Your code ended the whole process, with {reason}.", reason=shortened(ended.reason))]
        says.append(text("Did it take too much memory, or call exit?"))
    else:
        says = [text("Your code ended the whole process. Did it take too much memory, or call exit?")]
    if ended.reached:
        says.append(text("This was being checked: {stage}.", stage=ended.reached))
    return report(exercise, "endless" if ended.how == "endless" else "crashed", " ".join(says))


def shortened(words: str) -> str:
    """At most 200 signs of a text."""
    return words if len(words) <= 200 else f"{words[:200]}…"


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
        return not_yet(exercise)
    raising = frames[-1].f_code
    if inspect.isclass(answer):
        codes = [part.__code__ for part in vars(answer).values() if inspect.isfunction(part)]
    else:
        codes = [frames[0].f_code]
    begun = raising not in codes or any(not _is_stub(code) for code in codes)
    if not begun and not stage:
        return not_yet(exercise)
    name = raising.co_qualname.rpartition("<locals>.")[2]
    if not stage:
        return report(
            exercise,
            "unfinished",
            text("You have begun. What is still missing: `{name}` raises NotImplementedError.", name=name),
        )
    says = text(
        "You have begun. What is still missing: `{name}` raises NotImplementedError, {stage}.",
        name=name,
        stage=translated(stage),
    )
    return report(exercise, "unfinished", says)


def _is_stub(code: CodeType) -> bool:
    """Whether a function does nothing but what stubs do."""
    return set(code.co_names) <= {"super", "__init__", "NotImplementedError"}


def _is_ours(file: str) -> bool:
    """Whether a file belongs to the library or to PyTorch."""
    parents = Path(file).parents
    return _LIBRARY in parents or _TORCH in parents


def told_error(error: Exception) -> str:
    """An exception with the learner's line that it passed last."""
    says = f"{type(error).__name__}: {text_of(error).strip().partition(chr(10))[0][:300]}".removesuffix(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_ours(frame.filename):
            line = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
            if line:
                return text("{error} (line {number}: `{line}`)", error=says, number=frame.lineno, line=line)
            return text("{error} (line {number})", error=says, number=frame.lineno)
    return says


def raised(exercise: Exercise, error: Exception, printed: str) -> Report:
    """The report on an exception."""
    return report(exercise, "raised", told_error(error), printed=printed)


def unknown(
    exercise: Implement,
    calls: list[Call],
    right: list[Outcome],
    given: list[Outcome],
    wrong: list[int],
    found: list[Difference | None],
    law: Broken | None,
    printed: str,
) -> Report:
    """A mistake without a name: the stage that fails, and the smallest input that shows it."""
    stage = calls[wrong[0]].stage
    number = min((n for n in wrong if calls[n].stage == stage), key=lambda n: (size(calls[n].case), n))
    one, different, error = calls[number], found[number], given[number].error
    assert different is not None
    if wrong[0] < len(calls) // len(exercise.dtypes):
        at = text("It fails {stage}", stage=translated(stage))
    else:
        at = text("It fails {stage}, in {dtype}", stage=translated(stage), dtype=one.dtype)
    shown = shown_input(exercise, one.case)
    if isinstance(error, Complaint):
        return report(exercise, "shape", f"{str(error)[0].upper()}{str(error)[1:]}.", printed=printed)
    if error is not None:
        return replace(
            raised(exercise, error, printed), says=(text("{at}: {error}", at=at, error=told_error(error)),), shown=shown
        )
    if right[number].error is not None:
        wanted = right[number].error
        says = text(
            "{at}: a {wanted} should be raised, and your code returns {given}.",
            at=at,
            wanted=type(wanted).__name__,
            given=kind(given[number].result),
        )
        return report(exercise, "type", says, shown=shown, printed=printed)
    shown = "\n".join(filter(None, [shown, different.shown]))
    verdict: Verdict = "differs" if different.what == "value" else different.what
    more = [law.says] if law else []
    return report(
        exercise,
        verdict,
        text("{at}: {what}.", at=at, what=different.says),
        *more,
        shown=shown,
        printed=printed,
        law=law.law if law else "",
    )


def shown_input(exercise: Implement, one: Case) -> str:
    """The arguments of a call, a line each: small ones whole, others by their shape."""
    lines = []
    for name, argument in zip(names_of(exercise, one), [*one.args, *one.kwargs.values()], strict=True):
        if isinstance(argument, Tensor | np.ndarray):
            numbers = torch.as_tensor(argument)
            if numbers.numel() <= SHOWN // 2:
                value = str([[round(x, 2) if isinstance(x, float) else x for x in row] if isinstance(row, list) else row
                            for row in numbers.tolist()] if numbers.ndim else numbers.item())  # fmt: skip
                value = value if numbers.dtype != torch.bool else value.replace("True", "T").replace("False", "·")
            else:
                value = text("shape {shape}", shape=tuple(numbers.shape))
        else:
            value = repr(argument)[:100]
        lines.append(f"{name} = {value}")
    return "\n".join(lines)


def told(answer: Any) -> str:
    """A prediction as it is repeated to who gave it."""
    written = repr(answer)
    return f"`{written}`" if len(written) <= 60 and "\n" not in written else kind(answer)


def distance(bound: Bound, measured: Mapping[str, Any]) -> str:
    """How far a goal is."""
    holes = {"name": translated(bound.name), "value": measured_value(measured[bound.name])}
    says = text("Measured: {name} is {value}.", **holes) + " " + _wanted(bound)
    away = bound.away(measured)
    return f"{says} {text('That is {far} away.', far=measured_value(away))}" if math.isfinite(away) else says


def _wanted(bound: Bound) -> str:
    match bound.relation:
        case "<=":
            return text("It should be at most {value:,.12g}.", value=bound.value)
        case ">=":
            return text("It should be at least {value:,.12g}.", value=bound.value)
        case "<":
            return text("It should be less than {value:,.12g}.", value=bound.value)
        case ">":
            return text("It should be more than {value:,.12g}.", value=bound.value)
        case _:
            return text("It should be exactly {value:,.12g}.", value=bound.value)


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What changed from one experiment to the next; empty where there was none before."""
    both = {name: (before[name], value) for name, value in now.items() if name in before}
    if not both:
        return ""
    changes = [
        f"{translated(name)} {measured_value(a)} → {measured_value(b)}" for name, (a, b) in both.items() if a != b
    ]
    if not changes:
        return text("Nothing has moved since your last try.")
    return text("Since your last try: {changes}.", changes=", ".join(changes))


def measured_value(value: Any) -> str:
    """A measured value in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
