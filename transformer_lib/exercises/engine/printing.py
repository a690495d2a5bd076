"""Print on any stream: signs that its encoding lacks are written with others that it has."""

import codecs
import sys
from typing import Any, TextIO

_PLAIN = {
    "✓": "+", "→": ">", "✗": "x", "○": "o", "█": "#", "·": ".", "◀": "<", "×": "x", "−": "-", "–": "-", "—": "-",
    "“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "√": "sqrt", "≤": "<=", "≥": ">=", "\u00a0": " ",
}  # fmt: skip


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: a stand-in for what cannot be encoded."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error("transformer_lib.plainly", _plainly)


def fitting(text: str, stream: TextIO | None) -> str:
    """A text as a stream can write it."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, "transformer_lib.plainly").decode(encoding)
    except (LookupError, UnicodeError):
        return text.encode("ascii", "transformer_lib.plainly").decode("ascii")


def say(thing: Any, *, error: bool = False, **options: Any) -> None:
    """Print what can be printed, on the standard output or the standard error."""
    stream = sys.stderr if error else sys.stdout
    print(fitting(str(thing), stream), file=stream, **options)
