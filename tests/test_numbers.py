"""Outputs are compared as numbers: within what a cell declares, and never so loosely that the opposite would pass."""

from pathlib import Path

import nbformat
import pytest

from tests.notebooks import CHAPTERS, code_cells, tags
from tools import robust
from tools.numbers import NUMBER, Tolerance, changed_lines, too_wide
from tools.outputs import IGNORED


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("layer 3: 0.95, -0.2", ["3", "0.95", "-0.2"]),
        ("d_k = 64, x2, 3x, 1.25x, R₃, v1.2.3", ["64"]),
        ("1e-12 and 2.5E+3", ["1e-12", "2.5E+3"]),
        ("tensor([8., -9.]) of 8.", ["8.", "-9.", "8"]),
        ("3-5, 12,345.6 words (−0.5)", ["3", "5", "12,345.6", "−0.5"]),
        ("47 % [1, 2] 0.1±0.02", ["47", "1", "2", "0.1", "0.02"]),
    ],
)
def test_numbers_are_found_in_texts(text: str, numbers: list[str]) -> None:
    assert NUMBER.findall(text) == numbers


@pytest.mark.parametrize(
    ("tolerance", "stored", "computed", "same"),
    [
        ({"absolute": 0.05}, "accuracy 0.95", "accuracy 0.90", True),
        ({"absolute": 0.05}, "accuracy 0.95", "accuracy 0.89", False),
        ({"absolute": 0.05}, "accuracy 0.95", "Accuracy 0.95", False),
        ({"absolute": 0.05}, "loss  0.03", "loss -0.02", True),  # a sign moves the columns
        ({"relative": 0.1}, "12,000.0 words", "12,900.0 words", True),
        ({"relative": 0.1}, "12,000.0 words", "13,300.0 words", False),
        ({"relative": 0.1}, "a 1e-07", "a 1.05e-07", True),
        ({"absolute": 9.0}, "7 of 8", "6 of 8", False),  # counts have a tolerance of their own
        ({"whole": 1}, "7 of 8", "6 of 8", True),
        ({"whole": 1}, "7 of 8", "5 of 8", False),
        ({"whole": 1}, "7 of 8", "7.0 of 8", False),
        ({"absolute": 0.1}, "loss nan", "loss 0.1", False),
        ({"absolute": 0.1}, "0.5", "0.5\n0.5", False),
        ({}, "a  0.5", "a 0.5", False),
    ],
)
def test_texts_are_compared_exactly_and_numbers_within_the_tolerance(
    tolerance: dict[str, float], stored: str, computed: str, same: bool
) -> None:
    assert (Tolerance.of({"tolerance": tolerance}).within(stored, computed) == stored) is same


def test_what_is_beyond_the_tolerance_stays_and_is_shown() -> None:
    tolerance = Tolerance(absolute=0.05)
    stored, computed = ({"text": text} for text in ("a 0.50\nb 0.50 0.60\n", "a 0.52\nb 0.51 0.70\n"))
    changed = changed_lines([stored], tolerance.outputs_within([stored], [computed]))
    assert changed == [("b 0.50 0.60", "b 0.50 0.70")]


@pytest.mark.parametrize(
    "declared",
    [{"tight": 0.1}, {"absolute": -0.1}, {"absolute": True}, {"whole": 0.5}, {"relative": float("inf")}, 0.1],
)
def test_what_is_no_tolerance_is_refused(declared: object) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance.of({"tolerance": declared})


@pytest.mark.parametrize(
    ("text", "tolerance", "wide"),
    [
        ("with 0.95, without 0.60", Tolerance(absolute=0.1), False),
        ("with 0.95, without 0.60", Tolerance(absolute=0.4), True),  # without 0.95, with 0.60 would pass
        ("4.1, 4.2, 4.0 words", Tolerance(absolute=0.3), True),
        ("4.1, 4.2, 4.0 words", Tolerance(absolute=0.3, alike=True), False),
        ("4.1, 4.2, 4.0 words", Tolerance(absolute=2.5, alike=True), True),
        ("accuracy 0.9", Tolerance(absolute=0.1), False),
        ("accuracy 0.9", Tolerance(relative=0.6), True),
        ("a change of 0.0", Tolerance(absolute=0.6), True),
        ("7 of 8", Tolerance(whole=1), True),
        ("3 of 8", Tolerance(whole=2), False),
        ("no number", Tolerance(absolute=0.1), True),
    ],
)
def test_a_tolerance_too_wide_is_noticed(text: str, tolerance: Tolerance, wide: bool) -> None:
    assert bool(too_wide(text, tolerance)) is wide


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_tolerance_lets_the_opposite_claim_pass(path: Path) -> None:
    for number, cell in enumerate(code_cells(path), start=1):
        tolerance = Tolerance.of(cell.metadata)
        if tolerance == Tolerance():
            continue
        assert IGNORED not in tags(cell), f"cell [{number}] declares a tolerance and is not compared"
        text = "\n".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
        )
        assert not too_wide(text, tolerance), f"cell [{number}]: {too_wide(text, tolerance)}\n{text}"
        assert tolerance.picture <= 0.1, f"cell [{number}]: another picture would pass"


TRAINED = """
import torch
torch.manual_seed(0)
layer = torch.nn.Linear(3, 1)
before = layer.weight.detach().clone()
torch.optim.SGD(layer.parameters(), lr=0.1)
change = (layer.weight.detach() / before - 1).abs().max().item()
print(f"disturbed: {0 < change < 1e-4}, {change:.1e}")
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in (TRAINED, "print(torch.get_num_threads())")]
    for count, (cell, text) in enumerate(zip(cells, ("disturbed: False, 0.0e+00\n", "1\n"), strict=True), start=1):
        cell.execution_count, cell.outputs = count, [nbformat.v4.new_output("stream", name="stdout", text=text)]
    path = tmp_path / "toy.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_run_disturbs_the_weights_and_says_what_changed(notebook: Path) -> None:
    assert robust.run(notebook, robust.Machine("default", 1, 0), disturbed=0.0) == []
    changes = robust.run(notebook, robust.Machine("this one", 2, 0))
    assert [change.cell for change in changes] == [1, 2]
    assert changes[0].computed.startswith("disturbed: True")
    assert (changes[1].stored, changes[1].computed) == ("1", "2")


def test_the_machines_differ_soon() -> None:
    first = list(robust.machines(20))
    assert {(machine.processor, machine.threads) for machine in first[:6]} == {
        (processor, threads) for processor in robust.PROCESSORS for threads in (1, 2)
    }
    assert len(set(first)) == 20


def test_a_chapter_comes_out_the_same_on_another_machine() -> None:
    """A sample; `python -m tools.robust` runs every chapter twenty times."""
    for path, machine in zip(CHAPTERS[:2], list(robust.machines(6))[4:], strict=True):
        assert robust.run(path, machine) == [], f"python -m tools.robust {path.relative_to(path.parent.parent)}"
