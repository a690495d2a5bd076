"""Foreign code harms nobody, and ends: in a forked process, in a fresh one, and as far as possible in a thread."""

import contextlib
import io
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F

from transformer_lib.exercises import examine, find
from transformer_lib.exercises.engine import isolation, processes
from transformer_lib.exercises.engine.exercise import Case, Draw, Explore, Goal, Implement, Stage, case
from transformer_lib.exercises.engine.processes import Budget, NotCarried
from transformer_lib.exercises.engine.report import Report

no_fork = pytest.mark.skipif(not isolation.can_fork(), reason="no fork here")
ways = pytest.mark.parametrize("fork", [pytest.param(True, marks=no_fork), False], ids=["forked", "fresh"])


def _cases(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3))


DOUBLE = Implement(
    id="double", chapter="scaled", title="Twice", level="easy", minutes=1, task="", hints=("a", "b"),
    reference=lambda x: 2 * x, stages=(Stage("for a matrix", _cases),),
)  # fmt: skip


def checked(answer: Any, fork: bool | None = None, seconds: float = 3.0, exercise: Implement = DOUBLE) -> Report:
    return examine(replace(exercise, seconds=seconds), answer, fork=fork)


def session(source: str) -> dict[str, Any]:
    """What a notebook's session holds after its cells: names of ``__main__`` that no file defines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


# ---- No harm.


def _state() -> list[Any]:
    return [
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.random.get_rng_state().sum(),
        torch.softmax, F.softmax, torch.Tensor.sum, np.geterr(), np.random.get_state()[1].sum(), random.getstate(),  # type: ignore[index]  # noqa: NPY002
        os.getcwd(), dict(os.environ), list(sys.path), sys.getrecursionlimit(), print,
    ]  # fmt: skip


@ways
def test_nothing_that_an_answer_does_survives(fork: bool) -> None:
    def answer(x: Any) -> Any:
        import builtins

        doubled = 2 * x
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        os.chdir("/")
        os.environ["HOME"] = "/nowhere"
        sys.path.insert(0, "/nowhere")
        sys.setrecursionlimit(500)
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        builtins.print = None  # type: ignore[assignment]
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        torch.softmax = F.softmax = torch.Tensor.sum = None  # type: ignore[assignment]
        return doubled

    before = _state()
    assert checked(answer, fork).verdict == "seed"
    assert _state() == before


@ways
def test_the_end_of_the_process_is_the_childs(fork: bool) -> None:
    assert checked(lambda x: os._exit(3), fork).verdict == "crashed"


@no_fork
@pytest.mark.parametrize("error", [SystemExit("enough"), KeyboardInterrupt("enough"), GeneratorExit("enough")])
def test_exits_are_told_by_name(error: BaseException) -> None:
    report = checked(lambda x: (_ for _ in ()).throw(error), True)
    assert (report.verdict, f"{type(error).__name__}: enough" in report.says[0]) == ("crashed", True)


@ways
def test_what_is_written_to_the_descriptors_mixes_with_nothing(fork: bool, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(lambda x: (os.write(1, b"\x00" * 99), 2 * x)[1], fork).verdict == "passed"


# ---- What is carried into a fresh process.


def test_a_session_is_carried_into_a_fresh_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    held = session(
        "import torch\nimport math as m\nfrom torch import nn\nfrom beside import double\n"
        "factor = torch.full((1,), 4.0, dtype=torch.float64)\n"
        "class Base:\n    half = 0.5\n    def scale(self):\n        return factor * self.half\n"
        "class Scale(Base):\n    def scale(self):\n        return super().scale()\n"
        "def helper(x):\n    return x * Scale().scale().to(x.dtype)\n"
        "def by_globals(x):\n    return helper(x) if m.pi > 3 else answer\n"
        "def maker(n):\n    def inner(x):\n        return n * x\n    return inner\n"
        "by_closure = maker(2)\n"
        "by_module = lambda x: double(x)\n"
        "def recursive(x, n=2):\n    return x if n == 1 else x + recursive(x, n - 1)\n"
        "model = nn.Linear(3, 3, bias=False).double()\n"
        "with torch.no_grad():\n    model.weight.copy_(2 * torch.eye(3))\n"
        "def by_model(x):\n    return model(x.double()).to(x.dtype).detach()\n"
        "class Trained(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.inner = nn.Linear(2, 2)\n"
        "    def forward(self, x):\n        return self.inner(x)\n"
        "trained = Trained()\n"
    )
    held["all"] = [held[name] for name in ("by_globals", "by_closure", "by_module", "recursive", "by_model")]
    lines = [
        "def answer(x):",
        "    assert len({tuple(one(x)[0].tolist()) for one in all}) == 1",
        "    return by_model(x)",
    ]
    exec("\n".join(lines), held)
    report = checked(held["answer"], fork=False)
    assert (report.verdict, report.note) == ("passed", "")
    # The model itself, as an experiment hands it in.
    weight = held["trained"].inner.weight.sum().item()
    explore = Explore(
        id="e", chapter="why", title="", level="easy", minutes=1, task="", hints=("a", "b"), expects="a model",
        measure=lambda answer, draw: {"sum": answer.inner.weight.sum().item()},
        goals=(
            Goal(
                "the same",
                lambda found: math.isclose(found["sum"], weight, rel_tol=1e-6),
                "",
                "scaled-roles",
                lambda: 1,
            ),
        ),
    )  # fmt: skip
    report = examine(explore, held["trained"], fork=False)
    assert (report.verdict, report.note) == ("passed", "")


def test_a_fresh_process_has_the_sessions_default_dtype_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_SETTING", "2")
    (tmp_path / "factor").write_text("2")
    torch.set_default_dtype(torch.float64)
    try:
        report = checked(
            lambda x: (
                x * torch.ones(1).to(x.dtype) * int(Path("factor").read_text()) * int(os.environ["A_SETTING"]) / 2
                if torch.get_default_dtype() == torch.float64
                else None
            ),
            fork=False,
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert report.verdict == "passed"


def test_a_line_of_a_cell_is_shown_from_a_fresh_process() -> None:
    import linecache

    source = "def answer(x):\n    return x @ x  # fails\n"
    linecache.cache["<cell 7>"] = (len(source), None, source.splitlines(keepends=True), "<cell 7>")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell 7>", "exec"), namespace)
    assert "`return x @ x  # fails`" in checked(namespace["answer"], fork=False).says[0]


@pytest.mark.parametrize("thing", [threading.Lock(), (n for n in range(3))], ids=["a lock", "a generator"])
def test_what_cannot_be_carried_is_checked_in_the_session_which_is_said(thing: Any) -> None:
    report = checked(lambda x: 2 * x if thing else x, fork=False)
    assert report.verdict == "passed"
    assert "checked within your session" in report.note
    assert "cannot pickle" in report.note
    assert report.note in repr(report)
    assert "within your session" in report._repr_html_()


@pytest.mark.parametrize("program", [None, "/nowhere/python"])
def test_where_no_process_can_be_begun_the_check_goes_on(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    processes._dismiss()
    monkeypatch.setattr(sys, "executable", program)
    report = checked(lambda x: 2 * x, fork=False)
    assert (report.verdict, "no fresh process" in report.note) == ("passed", True)


def test_a_fresh_process_that_breaks_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            return int, ("no number",)  # can be pickled, and not be read

    odd = Odd()
    report = checked(lambda x: 2 * x if odd else x, fork=False)
    assert (report.verdict, "ValueError" in report.note) == ("passed", True)


# ---- The end.


def _loop(x: Any) -> Any:
    while True:
        pass


def _loop_that_swallows(x: Any) -> Any:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.001)


def _loop_in_c(x: Any) -> Any:
    return any(iter(int, 1))


def _sleep(x: Any) -> Any:
    time.sleep(1e9)


def _no_signals(x: Any) -> Any:
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    threading.Event().wait()


@pytest.mark.parametrize(
    ("answer", "fork"),
    [(_loop, True), (_loop_that_swallows, True), (_loop_in_c, True), (_sleep, True), (_no_signals, True),
     (_loop_in_c, False), (_sleep, False)],
)  # fmt: skip
def test_everything_ends(answer: Callable[[Any], Any], fork: bool) -> None:
    if fork and not isolation.can_fork():
        pytest.skip("no fork here")
    report = checked(answer, fork, seconds=0.4)
    assert report.verdict == "endless"
    assert "0.4 seconds" in report.says[0]


def test_a_check_has_three_seconds_unless_more_is_declared() -> None:
    from transformer_lib.exercises import exercises

    assert [name for name, one in exercises().items() if one.seconds != 3.0] == ["translator-minute"]


def _compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_an_answer_may_take_several_times_as_long_as_the_books_code() -> None:
    def slow(x: Any) -> Any:
        _compute(0.1)
        return 2 * x

    assert checked(slow, seconds=0.01, exercise=replace(DOUBLE, reference=slow)).verdict == "passed"
    assert checked(slow, seconds=0.01).verdict == "endless"


def test_a_busy_machine_takes_little_from_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    budget = Budget(3.0)
    budget.charge(100.0)  # what was used before the step
    now[0] = 8.0
    budget.charge(100.1)
    assert budget.spent == 2.0  # it waited for a processor most of the time: a quarter counts
    now[0] = 9.0
    budget.charge(101.1)
    assert budget.spent == pytest.approx(3.0)  # computing counts whole, however many processors do it
    assert not budget.exhausted
    budget.renew(3.0)
    budget.charge(101.1)
    now[0] = 12.5
    budget.charge(101.1, asleep=True)
    assert budget.exhausted  # sleep is no load
    budget.renew(3.0)
    now[0] = 16.0
    budget.charge(None)
    assert budget.exhausted  # and where nothing is known, the clock decides


@no_fork
def test_what_an_answer_has_begun_ends_with_it(tmp_path: Path) -> None:
    def answer(x: Any) -> Any:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (tmp_path / f"{child.pid}").touch()
        return 2 * x

    report = checked(answer, True)
    assert report.verdict == "passed"
    assert list(tmp_path.iterdir())
    _gone([int(path.name) for path in tmp_path.iterdir()])


@no_fork
def test_what_detaches_itself_ends_too(tmp_path: Path) -> None:
    def answer(x: Any) -> Any:
        if not list(tmp_path.iterdir()) and os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                (tmp_path / f"{os.getpid()}").touch()
                time.sleep(120)
            os._exit(0)
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        return 2 * x

    assert checked(answer, True).verdict == "passed"
    _gone([int(path.name) for path in tmp_path.iterdir()])


@no_fork
def test_an_answer_that_forks_returns_once() -> None:
    forked: list[int] = []

    def answer(x: Any) -> Any:
        if not forked:
            forked.append(os.fork())
        return 2 * x

    assert checked(answer, True).verdict == "passed"


@no_fork
def test_a_swarm_of_processes_ends(tmp_path: Path) -> None:
    def answer(x: Any) -> Any:
        for _ in range(7):
            os.fork()
        (tmp_path / f"{os.getpid()}").touch()
        time.sleep(60)

    report = checked(answer, True, seconds=20.0)
    assert (report.verdict, "one process after another" in report.says[0]) == ("crashed", True)
    _gone([int(path.name) for path in tmp_path.iterdir()])


@no_fork
def test_a_process_that_leaves_a_child_behind_has_crashed() -> None:
    def answer(x: Any) -> Any:
        if os.fork():
            os._exit(1)  # the child holds the pipe open
        time.sleep(60)

    assert checked(answer, True, seconds=20.0).verdict == "crashed"


def _gone(pids: list[int]) -> None:
    def alive(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in pids if alive(pid)]


@no_fork
def test_memory_is_limited_where_the_system_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_limit_memory", lambda: None)
    monkeypatch.setattr(processes, "MEMORY", 100 * 2**20)

    def answer(x: Any) -> Any:
        kept = b"x" * (300 * 2**20)
        time.sleep(60)
        return kept

    assert checked(answer, True, seconds=20.0).verdict == "memory"


@no_fork
def test_an_interrupt_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def interrupted(process: psutil.Process) -> Any:
        begun.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_usage", interrupted)
    with pytest.raises(KeyboardInterrupt):
        isolation.run(lambda mark: time.sleep(60), 60, fork=True)
    assert not psutil.pid_exists(begun[0])


@no_fork
def test_an_orphan_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, time, pathlib\nfrom transformer_lib.exercises.engine import isolation\n"
        f"def work(mark):\n    pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()\n    time.sleep(600)\n"
        "isolation.run(work, 600, fork=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        while not list(tmp_path.iterdir()):
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    _gone([int(path.name) for path in tmp_path.iterdir()])


# ---- The thread.


def test_a_thread_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise NotCarried("for the test")

    monkeypatch.setattr(isolation.processes, "run_fresh", refuse)
    assert checked(_loop, False, seconds=0.4).verdict == "endless"
    report = checked(lambda x: sys.exit(), False)
    assert (report.verdict, "SystemExit" in report.says[0]) == ("crashed", True)
    before, stop = set(threading.enumerate()), threading.Event()

    def stubborn(x: Any) -> Any:
        while not stop.is_set():
            try:  # noqa: SIM105
                time.sleep(0.01)
            except:  # noqa: E722
                pass

    report = checked(stubborn, False, seconds=0.4)
    assert report.verdict == "endless"
    assert "restart the kernel" in report.says[0]
    assert "for the test" in report.note
    # When it ends at last, it takes nothing from who came after it.
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    stop.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert sys.stdout is stream


def test_the_examples_of_the_book_are_carried() -> None:
    # A declaration with all of its mistakes goes with the answer.
    exercise = find("scaled-window")
    mistake = exercise.mistakes[0]
    report = examine(exercise, mistake.wrong, fork=False)
    assert (report.mistake, report.note) == (mistake.name, "")
