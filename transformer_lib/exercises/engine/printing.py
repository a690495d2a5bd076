"""Print on any stream: signs that its encoding lacks are written with others that it has."""

import codecs
import contextlib
import os
import sys
from collections.abc import Callable
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


def command(run: Callable[[], int]) -> int:
    """Run a command, and return its exit status: 2 with a message where it is not understood, never a traceback."""
    try:
        status = run()
        if sys.stdout is not None:  # which it is where the shell has closed it
            sys.stdout.flush()  # here, and not at the interpreter's end, a reader that has gone is noticed
        return status
    except BrokenPipeError:  # the reader, for instance `head`, has seen enough
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush
        return 141
    except (ValueError, OSError) as error:
        say(error, error=True)
        return 2
    except KeyboardInterrupt:
        return 130
