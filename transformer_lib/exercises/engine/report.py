"""What the checker says: as text in a terminal, as a compact panel in a notebook."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from transformer_lib.chapters import CHAPTERS
from transformer_lib.texts import text, translated

Verdict = Literal[
    "todo",  # not attempted yet
    "unfinished",  # begun, with a part that is missing
    "passed",
    "mistake",  # a known misconception
    "differs",  # another result than expected
    "raised",  # an exception
    "signature",  # cannot be called, or is no function
    "type",
    "length",
    "shape",
    "dtype",
    "nan",
    "input",  # changes its inputs
    "seed",  # sets the seed of everybody's random numbers
    "random",  # two results for one input
    "ready-made",  # calls what it should build
    "endless",
    "recursion",
    "memory",
    "crashed",
    "goal",  # an open experiment that is not there yet
]
#: What a failing check tells: the mistake; the property that is broken; an exception, a wrong type or shape, or how the
#: code behaves; the smallest input on which it fails, and no more.
Tier = Literal["named", "law", "form", "input"]

_LOOKS: dict[str, tuple[str, str]] = {"todo": ("○", "#7f7f7f"), "passed": ("✓", "#2b8a57"), "mistake": ("→", "#b9770e")}
_FAILED = ("✗", "#c0392b")


@dataclass(frozen=True)
class Report:
    """The result of one check.

    Attributes:
        exercise: its id.
        title: its title.
        verdict: what happened.
        says: one or more paragraphs; code in backticks.
        see: the passage of the book that helps, or empty.
        shown: input, expected and given, in lines; or empty.
        printed: what the answer printed while it was checked.
        mistake: the name of the misconception, where one was recognized.
        note: what else is to be known, about the check and not about the answer.
        law: the name of the property that the answer breaks, where one was found; see :mod:`laws`.
        measured: what an experiment achieved, by name.
    """

    exercise: str
    title: str
    verdict: Verdict
    says: tuple[str, ...]
    see: str = ""
    shown: str = ""
    printed: str = ""
    mistake: str = ""
    note: str = ""
    law: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """How much a check that failed tells."""
        if self.mistake:
            return "named"
        if self.law:
            return "law"
        return "input" if self.verdict == "differs" else "form"

    @property
    def mark(self) -> str:
        """One sign for the verdict."""
        return _LOOKS.get(self.verdict, _FAILED)[0]

    def __repr__(self) -> str:
        lines = [f"{self.mark} {self.title}", *self.says]
        if self.see:
            lines.append(text("See {passage}.", passage=self.see))
        if self.shown:
            lines += ["", *self.shown.splitlines()]
        if self.printed:
            lines += ["", text("Your code printed:"), *self.printed.splitlines()]
        if self.note:
            lines += ["", self.note]
        return "\n".join([lines[0], *(f"  {line}".rstrip() for line in lines[1:])])

    def _repr_html_(self) -> str:
        color = _LOOKS.get(self.verdict, _FAILED)[1]
        says = [*self.says, *([text("See {passage}.", passage=self.see)] if self.see else [])]
        head = f"<strong>{self.mark} {html.escape(self.title)}</strong>"
        if self.verdict == "todo" and not self.note:
            return panel(f"{head} · {marked_up(' '.join(self.says))}", color)
        pieces = [head]
        pieces += [f'<p style="margin:.2rem 0">{marked_up(paragraph)}</p>' for paragraph in says]
        for head, lines in (("", self.shown), (text("Your code printed:"), self.printed)):
            if lines:
                pieces.append(f"<p style='margin:.2rem 0'>{head}</p>" if head else "")
                pieces.append(
                    '<pre style="margin:.3rem 0;padding:.3rem .5rem;overflow-x:auto;background:transparent;'
                    f'color:inherit" tabindex="0">{html.escape(lines)}</pre>'
                )
        if self.note:
            pieces.append(f'<p style="margin:.2rem 0"><small>{html.escape(self.note)}</small></p>')
        return panel("".join(pieces), color)


def panel(content: str, color: str) -> str:
    """A box with an edge of a hexadecimal color; the text keeps the page's own, so it reads on light and dark."""
    style = (
        f"border-left:.3rem solid {color};background:{color}1a;padding:.4rem .8rem;margin:.2rem 0;border-radius:.2rem"
    )
    return f'<div class="exercise-report" role="status" style="{style}">{content}</div>'


def as_text(source: str) -> str:
    """What a page's source says where nothing typesets it: without references, citations and the signs of formulas."""
    plain = re.sub(r" ?\{cite:p\}`[^`]*`", "", source)
    plain = re.sub(r"\{\w+(?::\w+)?\}`([^`<]+?) ?<[^`]*>`", r"\1", plain)
    plain = re.sub(r"\{ref\}`chap:(\w+)`", lambda found: f"“{translated(CHAPTERS[found[1]].title)}”", plain)
    pieces = re.split(r"(`[^`]*`)", plain)  # every other one is code
    pieces[::2] = (re.sub(r"\$([^$\\]+)\$", lambda formula: re.sub("[{}]", "", formula[1]), one) for one in pieces[::2])
    return "".join(pieces)


def marked_up(plain: str) -> str:
    """Plain text as HTML, its `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(plain, quote=False))
