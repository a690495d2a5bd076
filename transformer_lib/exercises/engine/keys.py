"""Single keys from a terminal, without waiting for Enter."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator

#: Waits at most so many seconds for a key, and returns it; empty where none came.
Keys = Callable[[float], str]


@contextlib.contextmanager
def keys() -> Iterator[Keys | None]:
    """Take keys as they are pressed. Yields ``None`` where there is no terminal to take them from."""
    if sys.stdin is None or sys.stdout is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield None
        return
    if sys.platform == "win32":
        import msvcrt

        def pressed(seconds: float) -> str:
            end = time.monotonic() + seconds
            while not msvcrt.kbhit():
                if time.monotonic() >= end:
                    return ""
                time.sleep(0.05)
            return msvcrt.getwch()

        yield pressed
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read(seconds: float) -> str:
        # Not by sys.stdin: its buffer would hide what comes after the first key.
        return os.read(terminal, 1).decode("ascii", "ignore") if select.select([terminal], [], [], seconds)[0] else ""

    try:
        tty.setcbreak(terminal)  # Ctrl+C still interrupts
        yield read
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
