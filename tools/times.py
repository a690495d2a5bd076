"""How long a chapter takes: the line of its card, from what stands on its page.

The reader that is meant is new to all of it, follows the code line by line, and stops at the figures: about half as
fast as adults read prose that asks nothing of them. The exercises' minutes are declared with them.
"""

import re
from collections.abc import Iterable, Iterator

from nbformat import NotebookNode

from transformer_lib.exercises.engine.exercise import Exercise

# A minute's worth of each.
WORDS, LINES, FIGURES, FORMULAS = 120, 10, 1, 2
ROUNDED = 5  # minutes; the sums are no finer than this
_PICTURES = {"image/png", "application/vnd.jupyter.widget-view+json"}
_FORMULA = re.compile(r"\$\$.+?\$\$", re.S)
_MARKUP = re.compile(r"^(?:```|:::|:\w+:|\(\w+:).*$", re.M)  # what no reader sees
_CARD = re.compile(r"\*\*Time\*\* about .*?(\d+ seconds to run)\.")


def timed(source: str, cells: Iterable[NotebookNode], exercises: Iterable[Exercise]) -> str:
    """A cell with the card's line of time as it is now; how long the chapter runs is the author's to say."""
    line = f"**Time** about {reading(cells)} minutes to read; {practice(exercises)}"
    return _CARD.sub(lambda found: f"{line}{found[1]}.", source)


def practice(exercises: Iterable[Exercise]) -> str:
    """The minutes of the core exercises and those of all; nothing where a chapter has no exercises."""
    minutes = [(one.minutes, one.core) for one in exercises]
    core, whole = sum(time for time, is_core in minutes if is_core), sum(time for time, _ in minutes)
    return f"{core} for the two core exercises, {whole} for all; " if core else ""


def reading(cells: Iterable[NotebookNode]) -> int:
    """Minutes to read a chapter, without its exercises and without code that is folded away."""
    minutes = 0.0
    for cell, source in without_exercises(cells):
        if cell.cell_type == "markdown":
            formulas = len(_FORMULA.findall(source))
            minutes += len(_MARKUP.sub("", _FORMULA.sub("", source)).split()) / WORDS + formulas / FORMULAS
        elif cell.cell_type == "code":
            if "hide-input" not in cell.metadata.get("tags", ()):
                minutes += sum(bool(line.strip()) for line in source.splitlines()) / LINES
            minutes += any(_PICTURES & set(output.get("data", ())) for output in cell.outputs) / FIGURES
    return ROUNDED * round(minutes / ROUNDED)


def without_exercises(cells: Iterable[NotebookNode]) -> Iterator[tuple[NotebookNode, str]]:
    """The cells of a chapter with what they say outside of exercises: of a statement to the end of its solution."""
    inside = False
    for cell in cells:
        before, statement, _ = cell.source.partition("````{exercise}")
        inside = inside or bool(statement)
        if before if statement else not inside:
            yield cell, before
        if cell.cell_type == "markdown" and "{solution-end}" in cell.source:
            inside = False
