"""Exercises whose checks say which mistake it is.

In a notebook, ``check("id", answer)`` shows a panel; in a terminal it prints the same. ``hint("id")`` shows one hint at
a time. ``python -m transformer_lib.exercises`` lists all and checks the answers in your notebooks.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises.engine import progress
from transformer_lib.exercises.engine.exercise import Exercise
from transformer_lib.exercises.engine.judging import examine
from transformer_lib.exercises.engine.printing import say
from transformer_lib.exercises.engine.report import Report, as_text, marked_up, panel
from transformer_lib.texts import text, translated

__all__ = ["check", "examine", "exercises", "find", "hint", "of_chapter"]

_hints_shown: dict[str, int] = {}


@functools.cache
def exercises() -> Mapping[str, Exercise]:
    """All exercises by id, in the book's order."""
    found: dict[str, Exercise] = {}
    for chapter in CHAPTERS:
        name = f"{__name__}.chapters.{chapter}"
        if importlib.util.find_spec(name) is None:
            continue  # a chapter may have none
        for exercise in importlib.import_module(name).EXERCISES:
            if exercise.id in found:
                raise ValueError(f"two exercises are called {exercise.id!r}")
            found[exercise.id] = exercise
    return found


def of_chapter(key: str) -> list[Exercise]:
    """The exercises of a chapter, in its order; none where it has none, or where there is no such chapter."""
    return [exercise for exercise in exercises().values() if exercise.chapter == key]


def find(name: str) -> Exercise:
    """The exercise of that id.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    import difflib

    known = exercises()
    if not isinstance(name, str):
        raise ValueError(
            text('the exercise\'s name comes first, as text: check("…", …); got {given}', given=type(name).__name__)
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        if not near:
            raise ValueError(text("there is no exercise {name!r}", name=name))
        near_ones = text(" or ").join(near)
        raise ValueError(text("there is no exercise {name!r}; did you mean {near}?", name=name, near=near_ones))
    return known[name]


def check(name: str, answer: Any) -> None:
    """Check an answer, and show what it proves or which mistake it makes.

    Args:
        name: the exercise's id.
        answer: the function or class itself; for a prediction its value; for an experiment what the task says.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = find(name)
    _show(progress.record(examine(exercise, answer)))


def hint(name: str) -> None:
    """Show the exercise's next hint; after the last, all of them again.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = find(name)
    number = _hints_shown.get(name, 0) % len(exercise.hints)
    _hints_shown[name] = number + 1
    head = text("Hint {number} of {total}", number=number + 1, total=len(exercise.hints))
    _show(Hint(head, as_text(translated(exercise.hints[number]))))


class Hint:
    """One hint, as a panel or as text."""

    def __init__(self, head: str, body: str):
        self.head, self.body = head, body

    def __repr__(self) -> str:
        return f"{self.head}: {self.body}"

    def _repr_html_(self) -> str:
        return panel(f"<strong>{self.head}</strong><br>{marked_up(self.body)}", "#0067a3")


def _show(thing: Report | Hint) -> None:
    """Display in a notebook, print elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        say(thing)
        return
    if get_ipython() is None:
        say(thing)
    else:
        display(thing)  # type: ignore[no-untyped-call]
