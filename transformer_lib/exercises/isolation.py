"""Run foreign code so that nothing that it does can harm the caller: a time limit, a memory limit, an end in any case.

On Linux the code runs in a forked child process, which has everything that the caller has and can be killed. Elsewhere,
and where a GPU's driver forbids forks, it runs in a thread, which can be interrupted in Python code and be abandoned.
"""

import contextlib
import ctypes
import os
import pickle
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch

T = TypeVar("T")
#: Called with a text before each step, so that the caller knows where it ended.
Mark = Callable[[str], None]

#: How much more memory a check may take than its process already has, in bytes.
MEMORY = 3 * 2**30
#: How long an interrupted thread may take to end, in seconds.
PATIENCE = 1.0


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How a run ended.

    Attributes:
        how: ``"returned"``; ``"endless"``, stopped at the time limit; or ``"crashed"``, the process died.
        value: what was returned.
        reached: the last mark.
        abandoned: a thread could not be stopped, and goes on in the background.
    """

    how: Literal["returned", "endless", "crashed"]
    value: T | None = None
    reached: str = ""
    abandoned: bool = False


class Interrupted(BaseException):
    """Thrown into a thread whose time is up; not an ``Exception``, so that code that catches those lets it through."""


def can_fork() -> bool:
    """Whether a forked child can compute: on Linux, without a GPU in use."""
    return sys.platform == "linux" and not torch.cuda.is_available()


def run(function: Callable[[Mark], T], seconds: float, *, fork: bool | None = None) -> Ended[T]:
    """Call a function in isolation.

    Args:
        function: gets a function that marks its progress. What it returns must be picklable, and it must catch its own
            exceptions.
        seconds: its time limit.
        fork: in a child process (``True``) or a thread (``False``); what the machine allows unless given.

    Returns:
        How it ended.
    """
    fork = can_fork() if fork is None else fork
    return _in_process(function, seconds) if fork else _in_thread(function, seconds)


def _in_process(function: Callable[[Mark], T], seconds: float) -> Ended[T]:
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks with threads; see _child
        child = os.fork()
    if child == 0:
        os.close(read)
        _child(function, write)
    os.close(write)
    messages, late = b"", False
    reached, value, returned = "", None, False
    deadline = time.monotonic() + seconds
    try:
        with os.fdopen(read, "rb", buffering=0) as stream:
            while not returned:
                left = deadline - time.monotonic()
                late = left <= 0 or not select.select([stream], [], [], left)[0]
                chunk = b"" if late else stream.read(1 << 16)
                if not chunk:
                    break
                messages += chunk
                reached, value, returned = _read(messages)
    finally:  # also where the caller was interrupted
        if not returned:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if returned:
        return Ended("returned", value, reached)
    return Ended("endless" if late else "crashed", reached=reached)


def _child(function: Callable[[Mark], Any], write: int) -> None:
    """Run in the child, and leave without any of the parent's clean-up."""

    def send(kind: str, content: Any) -> None:
        body = pickle.dumps((kind, content))
        message = len(body).to_bytes(8, "big") + body
        while message:
            message = message[os.write(write, message) :]

    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The parent's pool of threads does not exist here: one thread, or the first large product waits forever.
        torch.set_num_threads(1)
        _limit_memory()
        send("value", function(lambda text: send("mark", text)))
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _limit_memory() -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(messages: bytes) -> tuple[str, Any, bool]:
    reached, value, returned = "", None, False
    while len(messages) >= 8:
        size = int.from_bytes(messages[:8], "big")
        body, messages = messages[8 : 8 + size], messages[8 + size :]
        if len(body) < size:
            break
        kind, content = pickle.loads(body)
        if kind == "mark":
            reached = content
        else:
            value, returned = content, True
    return reached, value, returned


def _in_thread(function: Callable[[Mark], T], seconds: float) -> Ended[T]:
    marks: list[str] = [""]
    values: list[T] = []

    def work() -> None:
        with contextlib.suppress(BaseException):  # Interrupted, or an exit of the foreign code
            values.append(function(marks.append))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        end = time.monotonic() + PATIENCE
        while thread.is_alive() and time.monotonic() < end:  # again and again: a bare `except:` swallows it
            assert thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted))
            thread.join(0.05)
        return Ended("endless", reached=marks[-1], abandoned=thread.is_alive())
    return Ended("returned", values[0], marks[-1]) if values else Ended("crashed", reached=marks[-1])
