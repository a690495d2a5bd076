"""The passages of the book that reports point to, by their labels.

A heading of a chapter has a label above it, ``(sec:scaled-one-query)=``; exercises name it without ``sec:``. The
notebooks are not there wherever the library is installed, so what a report needs of them is kept in ``passages.json``,
which ``python -m tools.statements`` writes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("passages.json")


@dataclass(frozen=True)
class Passage:
    """A passage of the book.

    Attributes:
        chapter: its key.
        heading: as the page shows it.
    """

    chapter: str
    heading: str


#: By label, in the order of the book.
PASSAGES: Mapping[str, Passage] = {
    label: Passage(*found) for label, found in json.loads(FILE.read_text(encoding="utf-8")).items()
}
