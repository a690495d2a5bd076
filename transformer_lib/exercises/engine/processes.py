"""Child processes that compute one result: begun by a fork or afresh, followed, and ended with all that they began."""

import atexit
import contextlib
import ctypes
import linecache
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import cloudpickle
import psutil
import torch

T = TypeVar("T")

#: How much more memory a check may take than its process already has, in bytes.
MEMORY = 3 * 2**30
#: How many further processes a check may begin.
PROCESSES = 50
#: How often a child's use of the machine is looked at, in seconds.
POLL = 0.1
#: How long the last words of a dead child are waited for, in seconds: what it left behind may hold its pipe open.
LAST = 1.0
#: The share of the time on the clock that counts in any case, even where a busy machine lets the child wait.
SHARE = 0.25
#: How long a fresh process may take until it has understood what to do, in seconds.
START = 60.0


class Mark(Protocol):
    """Called before each step, so that the caller knows where the work ended."""

    def __call__(self, step: str, seconds: float | None = None, /) -> None:
        """Name a step; with ``seconds``, a new time limit begins here."""


class NotCarried(Exception):
    """A function cannot run in a fresh process; the text says why."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """How a run ended.

    Attributes:
        how: ``"returned"``; ``"endless"``, stopped at the time limit; ``"memory"``, stopped for what it took;
            ``"swarm"``, stopped for the processes that it began; or ``"crashed"``, the process died.
        value: what was returned.
        reached: the last step.
        limit: the time limit of the last step, in seconds.
        reason: of a crash, where it is known.
        abandoned: a thread could not be stopped, and goes on in the background.
        within: why it ran within the caller's own process; empty where it had one of its own.
    """

    how: Literal["returned", "endless", "memory", "swarm", "crashed"]
    value: T | None = None
    reached: str = ""
    limit: float = 0.0
    reason: str = ""
    abandoned: bool = False
    within: str = ""


class Budget:
    """The running time that is left: CPU time and sleep count, waiting for a busy machine counts for a part only."""

    def __init__(self, seconds: float):
        self.renew(seconds)

    def renew(self, seconds: float) -> None:
        """A new step begins."""
        self.limit, self.spent = seconds, 0.0
        self._clock = time.monotonic()
        self._used: float | None = None  # what was used before this step is known at the next look

    def charge(self, used: float | None, asleep: bool = False) -> None:
        """Count what has passed since the last call.

        Args:
            used: CPU time since the child began, in seconds; ``None`` where it is unknown.
            asleep: whether the child waits for something else than the machine.
        """
        now = time.monotonic()
        passed, self._clock = now - self._clock, now
        if used is None:
            self.spent += passed
            return
        before = used if self._used is None else self._used
        computed, self._used = max(0.0, used - before), max(used, before)
        idle = asleep and computed < passed / 10
        self.spent += passed if idle else max(computed, passed * SHARE)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.spent > self.limit


# ---- The caller's side.


class _Process(Protocol):
    """What a forked and a fresh child have in common, as in :class:`subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


class _Forked:
    """A forked child."""

    def __init__(self, pid: int):
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status

    def wait(self) -> int:
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        return self._status


def run_forked(function: Callable[[Mark], T], seconds: float) -> Ended[T]:
    """Call a function in a forked child. See :func:`isolation.run`."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks with threads; see serve
        pid = os.fork()
    if pid == 0:
        os.close(read)
        serve(lambda: function, write, seconds)
    os.close(write)
    return _follow(_Forked(pid), read, seconds)


def run_fresh(function: Callable[[Mark], T], seconds: float) -> Ended[T]:
    """Call a function in a fresh process, together with what it refers to. See :func:`isolation.run`.

    Raises:
        NotCarried: something that it refers to cannot be carried over, or no process can be begun.
    """
    try:
        carried = cloudpickle.dumps(function)
    except Exception as error:
        raise NotCarried(f"{type(error).__name__}: {error}") from error
    request = {
        "path": sys.path,
        "folder": _folder(),
        "environment": dict(os.environ),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "lines": {name: entry for name, entry in linecache.cache.items() if len(entry) == 4 and entry[1] is None},
        "seconds": seconds,
        "function": carried,
    }
    worker = _take_worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        with worker.stdin as stream:
            stream.write(framed(request))
    except BaseException as error:
        _end(worker)
        worker.stdout.close()
        if isinstance(error, OSError):
            raise NotCarried("a fresh process did not start") from error
        raise
    ended: Ended[T] = _follow(worker, os.dup(worker.stdout.fileno()), START)
    worker.stdout.close()
    if not _waiting:  # the next one gets ready while nobody waits
        with contextlib.suppress(NotCarried):
            _waiting.append(_begin_worker())
    if ended.how != "returned" and not ended.limit:  # the function has not begun
        raise NotCarried(ended.reason or "a fresh process did not start")
    return ended


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


_waiting: list[subprocess.Popen[bytes]] = []


def _take_worker() -> subprocess.Popen[bytes]:
    """A fresh process that has imported what a check needs, or is about to."""
    while _waiting:
        worker = _waiting.pop()
        if worker.poll() is None:
            return worker
    return _begin_worker()


def _begin_worker() -> subprocess.Popen[bytes]:
    library = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH", "")]))
    code = "from transformer_lib.exercises.engine.worker import main; main()"
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, TypeError, ValueError) as error:
        raise NotCarried(f"no fresh process can be begun here: {error}") from error


@atexit.register
def _dismiss() -> None:
    """End the process that waits."""
    while _waiting:
        worker = _waiting.pop()
        for stream in (worker.stdin, worker.stdout):
            if stream is not None:
                stream.close()
        _end(worker)


def _follow(child: _Process, stream: int, seconds: float) -> Ended[Any]:
    """Read a child's messages until it has returned, has died, or has used up its time; then end it in any case."""
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(stream, arrived), daemon=True).start()
    budget = Budget(seconds)
    messages, looked, dead = b"", time.monotonic(), False
    ended: Ended[Any] = Ended("crashed")

    def become(**changes: Any) -> Ended[Any]:
        return Ended(**{**vars(ended), **changes})

    try:
        process = psutil.Process(child.pid)  # not waited for yet, so it has its number still
        size = _size(process)
        while True:
            try:
                chunk = arrived.get(timeout=LAST if dead else POLL)
            except queue.Empty:
                if dead:
                    return ended
                chunk = None
            if chunk == b"":
                return ended
            messages += chunk or b""
            while (message := _first(messages)) is not None:
                messages, (kind, content) = message
                if kind == "returned":
                    return become(how="returned", value=content)
                if kind == "left":
                    ended = become(reason=content)
                else:
                    step, limit = content
                    ended = become(reached=step, limit=ended.limit if limit is None else limit)
                    if limit is not None:
                        budget.renew(limit)
            if time.monotonic() - looked >= POLL:
                looked = time.monotonic()
                used, asleep, count = _usage(process)
                budget.charge(used, asleep)
                if budget.exhausted:
                    return become(how="endless")
                if count > PROCESSES:
                    return become(how="swarm")
                if _size(process) > size + MEMORY:
                    return become(how="memory")
            dead = child.poll() is not None
    finally:  # also where the caller was interrupted
        _end(child)


def _read(stream: int, arrived: "queue.SimpleQueue[bytes]") -> None:
    with contextlib.suppress(OSError):
        while chunk := os.read(stream, 1 << 16):
            arrived.put(chunk)
    os.close(stream)
    arrived.put(b"")


def framed(content: Any) -> bytes:
    """A message: its length in eight bytes, and itself."""
    body = pickle.dumps(content)
    return len(body).to_bytes(8, "big") + body


def _first(messages: bytes) -> tuple[bytes, Any] | None:
    """The bytes after the first message, and its content; ``None`` where it is not complete."""
    size = int.from_bytes(messages[:8], "big")
    if len(messages) < 8 + size or len(messages) < 8:
        return None
    return messages[8 + size :], pickle.loads(messages[8 : 8 + size])


def _usage(process: psutil.Process) -> tuple[float, bool, int]:
    """The CPU time of a process and of what it began; whether all of them sleep; how many others it began."""
    used, asleep = 0.0, True
    others: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        others = process.children(recursive=True)
    for one in [process, *others]:
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            used += times.user + times.system
            used += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            asleep &= one.status() in (psutil.STATUS_SLEEPING, psutil.STATUS_IDLE, psutil.STATUS_STOPPED)
    return used, asleep, len(others)


def _size(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _end(child: _Process) -> None:
    """Kill a child with everything that it began."""
    family: list[psutil.Process] = []
    if child.poll() is None:  # else its number may be another's by now
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(child.pid)
            family = [process, *process.children(recursive=True)]
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # the group outlives its leader
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()
    child.wait()


# ---- The child's side.


def serve(prepare: Callable[[], Callable[[Mark], Any]], write: int, seconds: float) -> None:
    """In the child: call a function, send its marks and its result, and leave without any clean-up.

    Args:
        prepare: returns the function.
        write: the file descriptor for the messages.
        seconds: as in :func:`isolation.run`.
    """
    own, lock = os.getpid(), threading.Lock()

    def send(kind: str, content: Any) -> None:
        if os.getpid() != own:  # the foreign code has forked
            os._exit(0)
        message = framed((kind, content))
        with lock:
            while message:
                message = message[os.write(write, message) :]

    def mark(step: str, limit: float | None = None) -> None:
        send("mark", (step, limit))

    code = 1
    try:
        _settle()
        function = prepare()
        _limit_memory()
        mark("", seconds)
        send("returned", function(mark))
        code = 0
        time.sleep(START)  # the parent ends this process, and with it what it has begun: while it lives, they are known
    except BaseException as error:
        with contextlib.suppress(BaseException):
            says = str(error).strip().partition("\n")[0][:300]
            send("left", f"{type(error).__name__}: {says}" if says else type(error).__name__)
    finally:
        os._exit(code)


def _settle() -> None:
    """Make the child independent of its parent's terminal and threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32" and os.getpgid(0) != os.getpid():
        os.setsid()
    if sys.platform == "linux":
        death = 1  # PR_SET_PDEATHSIG: nobody would stop an orphan
        system = ctypes.CDLL(None)
        system.prctl(death, signal.SIGKILL)
        adoption = 36  # PR_SET_CHILD_SUBREAPER: what detaches itself stays in the family, and is found
        system.prctl(adoption, 1)
    # The parent's pool of threads does not exist in a fork: one thread, or the first large product waits forever.
    torch.set_num_threads(1)


def _limit_memory() -> None:
    if sys.platform != "linux":
        return  # the parent looks at what is taken
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
