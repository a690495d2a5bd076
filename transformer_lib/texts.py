"""What the library says to a reader, in the reader's language.

Every sentence is written where it is said, in English, whole and with named holes:

    text("Your {name} is {factor:.4g} times the right one.", name="output", factor=2.0)

The English sentence is its key, as in gettext: another language is a table of sentences, ``texts/LANGUAGE.json`` beside
this file, and what it lacks stays English. The figures' JavaScript looks its sentences up in the same table.
"""

import json
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_FOLDER = Path(__file__).with_name("texts")
_table: dict[str, str] = {}


def text(sentence: str, /, **holes: object) -> str:
    """A sentence in the reader's language, its holes filled.

    Args:
        sentence: in English, with holes such as ``{name}`` or ``{share:.0%}``; a brace is written twice.
        holes: what fills them, by name.

    Raises:
        KeyError: a hole is not filled.
    """
    return _table.get(sentence, sentence).format(**holes)


def translated(sentence: str) -> str:
    """A sentence that is kept as data, such as a heading or a hint, in the reader's language; holes stay open."""
    return _table.get(sentence, sentence)


def table() -> Mapping[str, str]:
    """The sentences of the language that is spoken now, by their English ones; empty for English."""
    return dict(_table)


def languages() -> tuple[str, ...]:
    """The languages that there are: English, and each that has a table."""
    return ("en", *sorted(path.stem for path in _FOLDER.glob("*.json")))


def speak(language: str) -> None:
    """Say everything in this language from now on.

    Raises:
        ValueError: it has no table; the message lists the languages that there are.
    """
    if language not in languages():
        raise ValueError(f"language must be one of {', '.join(languages())}; got {language!r}")
    use({} if language == "en" else json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def use(sentences: Mapping[str, str]) -> None:
    """Say everything by this table from now on.

    Raises:
        ValueError: a sentence has other holes than the English one.
    """
    for english, other in sentences.items():
        if holes(other) != holes(english):
            wanted = ", ".join(sorted(holes(english))) or "none"
            raise ValueError(f"{other!r} must have the holes of {english!r}: {wanted}")
    _table.clear()
    _table.update(sentences)


@contextmanager
def spoken(sentences: Mapping[str, str]) -> Iterator[None]:
    """Say everything by this table while the block is open."""
    before = table()
    use(sentences)
    try:
        yield
    finally:
        use(before)


def holes(sentence: str) -> set[str]:
    """The names of a sentence's holes."""
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}
