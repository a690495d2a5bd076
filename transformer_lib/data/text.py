"""The one way in which text is written before it becomes tokens, in training and in use.

What looks alike is read alike. Phones and word processors write ``’`` where a keyboard writes ``'``, and a text copied
from a page brings blanks and signs that nobody sees. :func:`normalized` writes each in the form that the training
texts have, in this order:

1. Half a surrogate pair, which is no character, becomes U+FFFD.
2. Signs without a width vanish: the soft hyphen, zero-width spaces and joiners, marks of direction, variation
   selectors, tags, and control characters that are no blanks.
3. Accents join their letters (Unicode's form NFC): *e* and a combining acute become *é*.
4. Quotes, ``“ ” „ « » ″`` and U+201F, become ``"``; apostrophes, single quotes and accents that stand alone,
   ``‘ ’ ‚ ‛ ´ ` ′ ‹ ›``, U+02BB and U+02BC, become ``'``; hyphens, dashes, the minus sign and a menu's arrows,
   ``‐ ‑ ‒ – — ― − → ▸``, become ``-``; ``…`` becomes ``...``; and joined letters such as U+FB01 become two.
5. Blanks of any kind, among them tabs, ends of lines, no-break and thin spaces, become one space between words and none
   at the ends. So does ``▁``, by which the tokenizer marks where a word begins.

All else stays, and what the tokenizer has no token for is reported by whoever reads it. The page's figures keep the
same rule in ``widgets/translator.js``; a test compares the two, character by character.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Set

_UNSEEN = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_BLANKS = re.compile("[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\u2581]+")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛ʻʼ´`′‹›", "'"),
        **dict.fromkeys("‐‑‒–—―−→▸", "-"),
        "…": "...",
        **{"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"},
    }
)


def normalized(text: str) -> str:
    """Write a text in the one way; a text that is written so already stays as it is.

    Args:
        text: of any language.

    Returns:
        The text; empty if there is nothing to be seen in it.
    """
    text = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", text)).translate(_PLAIN)
    return _BLANKS.sub(" ", text).strip(" ")


def checked_texts(texts: Iterable[str], name: str = "texts") -> list[str]:
    """The members of a list, tuple or generator of strings, each a string indeed.

    Args:
        texts: what a caller handed in.
        name: what the caller knows it as, for the messages.

    Raises:
        TypeError: a single string, something without an order, or a member that is no string.
    """
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a list of strings; got a single string, {texts!r}")
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | bytearray | Mapping | Set):
        raise TypeError(f"{name} must be a list of strings; got {type(texts).__name__}")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{name} must hold strings only; got {type(text).__name__} at place {place}")
    return found
