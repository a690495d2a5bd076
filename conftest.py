"""What the notebooks' tests add to nbval: figures are compared too, and each notebook's cost is recorded."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nbformat import NotebookNode, from_dict
from nbval.plugin import IPyNbCell

from tools.numbers import PICTURES, Tolerance

COSTS = Path(__file__).parent / "_build" / "notebook-costs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    if not isinstance(item, IPyNbCell):
        return (yield)
    _compare_within(item, Tolerance.of(item.cell.metadata))
    start = time.perf_counter()
    result = yield
    _record_cost(item, time.perf_counter() - start)
    return result


def _compare_within(item: IPyNbCell, tolerance: Tolerance) -> None:
    """Let nbval compare what is left when the stored numbers stand for those that they admit, and pictures too."""
    exactly = item.compare_outputs
    everything = tuple(key for key in item.parent.skip_compare if key not in PICTURES)

    def compare_outputs(computed: list[NotebookNode], stored: list[NotebookNode]) -> bool:
        return exactly(from_dict(tolerance.outputs_within(stored, computed)), stored, everything)

    item.compare_outputs = compare_outputs


def _record_cost(item: IPyNbCell, seconds: float) -> None:
    """Add a cell's time to its notebook's, and note the most memory that its kernel has held so far."""
    kernel = psutil.Process(item.parent.kernel.km.provisioner.pid)
    total = getattr(item.parent, "seconds", 0.0) + seconds
    item.parent.seconds = total
    status = Path(f"/proc/{kernel.pid}/status")  # Linux knows the peak; elsewhere the present size has to do
    peak = (
        next((int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")), 0)
        if status.exists()
        else kernel.memory_info().rss // 1024
    )
    COSTS.mkdir(parents=True, exist_ok=True)
    cost = {"notebook": item.parent.name, "seconds": round(total, 1), "peak_MB": round(peak / 1024)}
    (COSTS / f"{Path(item.parent.name).stem}.json").write_text(json.dumps(cost))


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # once, and not in each parallel process
        for path in COSTS.glob("*.json"):
            path.unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    costs = [json.loads(path.read_text()) for path in sorted(COSTS.glob("*.json"))]
    if costs:
        terminalreporter.section("cost of each notebook")
    for cost in costs:
        terminalreporter.line(f"{cost['notebook']:36} {cost['seconds']:6.1f} s  {cost['peak_MB']:6d} MB at most")
