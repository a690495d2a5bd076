"""Which words training has seen, and how it wrote them.

Subword tokens hide what a model has never met: every word has tokens, so it always gets a translation. Of a word that
was in no training sentence this is a guess from parts of other words. :class:`SeenWords` tells them apart.

A *word* is a run of letters, with apostrophes inside (*don't*). A final *'s* is no part of it, since it may follow any
noun, and capitals make no other word.

They make other tokens, though, and a model that has read *house* knows little of *HOUSE*. So of each word its usual
form inside sentences is kept (*the*, *PDF*, *Monday*, *I*), and whether it was seen in capitals (*IF*, a function of
spreadsheets). A text is *recased* by two rules:

1. In a text that is all in capitals and has two words beside each other, all words get their usual form, or small
   letters where they were not seen: *OPEN THE PDF FILE* is read as *Open the PDF file*.
2. In other texts this holds for a word in capitals that was seen, but never in capitals: *my HOUSE* is read as *my
   house*, and *the IF function* stays. So does what is joined to digits or ``_``, mostly a name: *fax4HOUSE*.

Source: Lita et al. (2003), *tRuEcasIng*, whose baseline is the most frequent form of each word. The page's figures keep
the same rules in ``widgets/translator.js``; a test compares the two.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from transformer_lib.data.text import checked_texts, normalized

_RUNS = re.compile("a+(?:'a+)*")
_NEIGHBORS = re.compile("a a")
_BEFORE_SENTENCE = re.compile("[.!?][\"')]? [\"'(]?$")


class SeenWords:
    """The words that training has seen.

    Args:
        forms: each word in its usual form; behind it, where it was seen in capitals too, these.

    Raises:
        TypeError: forms that are no strings, or a single string.
        ValueError: none, something that is no word (see the module), or a form that stands there twice.
    """

    def __init__(self, forms: Iterable[str]) -> None:
        self._usual: dict[str, str] = {}
        self._forms: dict[str, None] = {}
        for form in checked_texts(forms, "forms"):
            if form != normalized(form) or _spans(form) != [(0, len(form))] or _key(form) != form.lower():
                raise ValueError(f"forms must hold words, without a final 's; got {form!r}")
            if form in self._forms:
                raise ValueError(f"forms must hold each form once; got {form!r} again")
            self._forms[form] = None
            self._usual.setdefault(_key(form), form)
        if not self._forms:
            raise ValueError("forms must hold at least one word; got none")

    @classmethod
    def of(cls, texts: Iterable[str]) -> "SeenWords":
        """The words of some texts.

        The usual form is the most frequent one inside sentences. Titles and menus write words with a capital there, so
        that form is passed over where the word is also written in small letters.

        Args:
            texts: what training reads; :func:`~transformer_lib.data.text.normalized` first.

        Raises:
            TypeError: texts that are no strings, or a single string.
            ValueError: there is no word in them.
        """
        inside: defaultdict[str, Counter[str]] = defaultdict(Counter)
        first: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for text in map(normalized, checked_texts(texts)):
            for place, (start, end) in enumerate(_spans(text)):
                key = _key(text[start:end])
                where = first if _begins(text, start, place) else inside
                where[key][text[start : start + len(key)]] += 1
        forms = []
        for key in sorted({*inside, *first}):
            counts, capitals = inside[key] or first[key], key.upper()
            usual = max(counts, key=lambda form: (counts[form], form))
            if len(key) > 1 and usual == key.capitalize() and (key in counts or not inside[key]):
                usual = key
            forms.append(usual)
            if len(key) > 1 and usual != capitals and (capitals in inside[key] or capitals in first[key]):
                forms.append(capitals)
        return cls(forms)

    @classmethod
    def load(cls, path: str | Path) -> "SeenWords":
        """Read what :meth:`to_text` wrote.

        Args:
            path: of a file in UTF-8, one form a line.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds something else; the message names the file.
        """
        path = Path(path)
        content = path.read_bytes()
        try:
            return cls(content.decode("utf-8").removesuffix("\n").split("\n"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_text(self) -> str:
        """One form a line."""
        return "".join(f"{form}\n" for form in self)

    def __iter__(self) -> Iterator[str]:
        """The forms, as they were given."""
        return iter(self._forms)

    def __len__(self) -> int:
        """How many words there are."""
        return len(self._usual)

    def __contains__(self, word: object) -> bool:
        """Whether the word was seen, whatever its capitals, with or without a final *'s*."""
        return isinstance(word, str) and _key(word) in self._usual

    def unseen(self, text: str) -> tuple[str, ...]:
        """The words of a text that are not among these, each once, as they stand there first.

        Args:
            text: in the form of :func:`~transformer_lib.data.text.normalized`.
        """
        found: dict[str, str] = {}
        for start, end in _spans(text):
            key = _key(text[start:end])
            if key not in self._usual:
                found.setdefault(key, text[start : start + len(key)])
        return tuple(found.values())

    def recased(self, text: str) -> str:
        """A text whose words in capitals are written as training wrote them, by the rules of the module.

        What was in capitals keeps one where a sentence begins.

        Args:
            text: in the form of :func:`~transformer_lib.data.text.normalized`.
        """
        spans = _spans(text)
        loud = _capitals(text) and _NEIGHBORS.search(_marked(text)) is not None
        usual = [self._usual.get(_key(text[start:end]), "") for start, end in spans]
        loud = loud and not all(map(_capitals, filter(None, usual)))
        parts, done = [], 0
        for place, (start, end) in enumerate(spans):
            word = text[start:end]
            joined = any(sign == "_" or sign.isnumeric() for sign in text[start - 1 : start] + text[end : end + 1])
            if loud or (not joined and self._strange(word)):
                form = self._form(word)
                parts += [text[done:start], form[0].upper() + form[1:] if _begins(text, start, place) else form]
                done = end
        return "".join([*parts, text[done:]])

    def _known(self, word: str) -> str:
        """The word, or else what stands before its apostrophe (*we* in *we'll*), in small letters; empty if unseen."""
        return next((part for part in (_key(word), word.lower().partition("'")[0]) if part in self._usual), "")

    def _strange(self, word: str) -> bool:
        """Whether a word in capitals was seen, but never in capitals."""
        known = self._known(word)
        return len(word) > 1 and _capitals(word) and known != "" and word[: len(known)] not in self._forms

    def _form(self, word: str) -> str:
        known = self._known(word)
        return self._usual.get(known, "") + word.lower()[len(known) :]


def _capitals(text: str) -> bool:
    return text == text.upper() != text.lower()


def _marked(text: str) -> str:
    """The text with each letter as *a*, and each sign but blanks and apostrophes as a point."""
    return "".join("a" if sign.isalpha() else sign if sign in "' " else "." for sign in text)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where each word begins and ends."""
    return [found.span() for found in _RUNS.finditer(_marked(text))]


def _key(word: str) -> str:
    return word.lower().removesuffix("'s")


def _begins(text: str, start: int, place: int) -> bool:
    """Whether a word, which is number ``place`` of its text, begins a sentence."""
    return place == 0 or _BEFORE_SENTENCE.search(text[max(0, start - 4) : start]) is not None
