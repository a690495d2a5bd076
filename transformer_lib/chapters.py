"""The book's chapters, in order: the one list that everything else reads.

Only file names hold a number, and that number is a chapter's place in this list. To put a chapter in the middle, add
its line here and rename the files behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        key: names it everywhere: its label is ``chap:`` and this, and its exercises are declared under it.
        subject: its file's name, without the number in front.
        title: as the page shows it.
        part: a Roman numeral and a title; chapters of a part stand together.
        number: its place, from 1.
    """

    key: str
    subject: str
    title: str
    part: str
    number: int

    @property
    def file(self) -> str:
        """The name of its notebook and of its page, without an ending: ``02_scaled_dot_product``."""
        return f"{self.number:02}_{self.subject}"


_PARTS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "I. Attention": (
        ("why", "why_attention", "Why attention"),
        ("scaled", "scaled_dot_product", "Scaled dot-product attention"),
        ("multihead", "multi_head", "Multi-head attention"),
        ("self", "self_attention", "Self-attention"),
        ("positions", "positions", "Positions"),
    ),
    "II. The stack": (
        ("layers", "layers", "Feed-forward, residuals, normalization"),
        ("encoder", "encoder", "The encoder"),
        ("decoder", "decoder", "The decoder"),
        ("transformer", "transformer", "The Transformer"),
        ("translator", "translator", "Training a translator"),
        ("decoding", "decoding", "Decoding"),
    ),
}

_LINES = [(*line, part) for part, lines in _PARTS.items() for line in lines]
#: By key, in the book's order.
CHAPTERS: Mapping[str, Chapter] = {line[0]: Chapter(*line, number) for number, line in enumerate(_LINES, start=1)}


def chapter_named(name: str) -> Chapter:
    """The chapter of a key, or of a number as text.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    for chapter in CHAPTERS.values():
        if name in (chapter.key, str(chapter.number), f"{chapter.number:02}"):
            return chapter
    known = ", ".join(f"{chapter.number} {chapter.key}" for chapter in CHAPTERS.values())
    raise ValueError(f"there is no chapter {name!r}; the book has {known}")
