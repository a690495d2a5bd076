"""Run foreign code so that nothing that it does can harm the caller: a time limit, a memory limit, an end in any case.

On Linux the code runs in a forked child process, which has everything that the caller has and can be killed. Elsewhere,
and where a GPU's driver forbids forks, it is carried into a fresh process. What cannot be carried there runs in a
thread, which can be interrupted in Python code and be abandoned; the result then says so.
"""

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from transformer_lib.exercises.engine import processes
from transformer_lib.exercises.engine.processes import POLL, Budget, Ended, Mark, NotCarried

__all__ = ["Ended", "Mark", "can_fork", "run"]

T = TypeVar("T")
#: How long an interrupted thread may take to end, in seconds.
PATIENCE = 1.0


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
        seconds: how long it may run: time of computing, and time of waiting, but not time in which a busy machine
            does something else. A mark may begin a step that has its own limit.
        fork: in a forked process (``True``) or a fresh one (``False``); what the machine allows unless given.

    Returns:
        How it ended.
    """
    if can_fork() if fork is None else fork:
        return processes.run_forked(function, seconds)
    try:
        return processes.run_fresh(function, seconds)
    except NotCarried as reason:
        return _in_thread(function, seconds, str(reason))


def _in_thread(function: Callable[[Mark], T], seconds: float, why: str) -> Ended[T]:
    budget = Budget(seconds)
    marks: list[str] = [""]
    values: list[T] = []
    left: list[str] = [""]

    def mark(step: str, limit: float | None = None) -> None:
        marks.append(step)
        if limit is not None:
            budget.renew(limit)

    def work() -> None:
        try:
            values.append(function(mark))
        except Interrupted:
            pass
        except BaseException as error:  # an exit of the foreign code
            left.append(type(error).__name__)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive() and not budget.exhausted:
        thread.join(POLL)
        budget.charge(_thread_time(thread))
    if thread.is_alive():
        end = time.monotonic() + PATIENCE
        while thread.is_alive() and time.monotonic() < end:  # again and again: a bare `except:` swallows it
            assert thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted))
            thread.join(0.05)
        return Ended("endless", None, marks[-1], budget.limit, abandoned=thread.is_alive(), within=why)
    if values:
        return Ended("returned", values[0], marks[-1], budget.limit, within=why)
    return Ended("crashed", None, marks[-1], budget.limit, reason=left[-1], within=why)


def _thread_time(thread: threading.Thread) -> float | None:
    """The CPU time of a thread, where the system tells."""
    if sys.platform == "win32" or thread.ident is None:
        return None
    with contextlib.suppress(OSError, AttributeError):
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return None
