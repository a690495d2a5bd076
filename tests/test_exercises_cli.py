"""Learners' files are found, read and never written to; the command line says where they stand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import ROOT
from transformer_lib.exercises import __main__ as cli
from transformer_lib.exercises import examine, exercises, find, progress, reading

RIGHT = """
def window_mask(length, width):
    return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - width)


check("scaled-window", window_mask)
"""
WRONG = RIGHT.replace("1 - width", "-width")
STUB = RIGHT.replace(
    "return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - width)", "raise NotImplementedError"
)
IMPORTS = "import torch\nfrom transformer_lib.exercises import check"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(progress.FOLDER_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "home"


def notebook(path: Path, *cells: str) -> Path:
    """Cells that start with # %% are markdown."""
    kinds = [("markdown" if cell.startswith("# %%") else "code", cell.removeprefix("# %%")) for cell in cells]
    made = [
        {"cell_type": kind, "source": text.splitlines(keepends=True), "metadata": {}, "outputs": []}
        for kind, text in kinds
    ]
    path.write_text(json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


# ---- Reading.


def loaded(path: Path) -> Any:
    [answer] = reading.answers(path)
    return answer.load()


def test_only_what_an_answer_needs_is_run(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "raise RuntimeError('not needed')",
        "%matplotlib inline\nstart = [1]\nother = unknown_name",
        "def helper():\n    return start[0] + late",
        "start[0] = 10",
        "late = 5\nlate += 2",
        "def answer():\n    start = 'its own'\n    return helper()\n\ncheck('x', answer)",
        "late = 100",
    )
    assert loaded(path)() == 17


def test_a_model_that_another_cell_has_trained(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "import random\ndef fit(model):\n    model.append(random.random())",
        "for seed in range(3):\n    random.seed(seed)\n    raise RuntimeError('not needed')",
        "def make():\n    return [random.random()]\nmodel = make()",
        "losses = fit(model)",
        "def use(model):\n    raise RuntimeError\nprint(len([model]))",
        "check('x', model)",
    )
    assert len(loaded(path)) == 2


def test_the_latest_meaning_counts(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "def f():\n    return 1",
        "def f():\n    return 2",
        "check('x', f)",
        "def f():\n    return 3",
    )
    assert loaded(path)() == 2


def test_the_whole_cell_of_the_check_is_run(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "import math",
        "total = []\nfor i in range(3):\n    total.append(math.sqrt(i))\ncheck('x', total)",
    )
    assert len(loaded(path)) == 3


def test_modules_are_read_as_notebooks_are(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from other import base\nraised = 1\n\ndef f():\n    return base + raised\n\nex.check('x', answer=f)\n"
    )
    (tmp_path / "other.py").write_text("base = 41\n")
    assert loaded(tmp_path / "mine.py")() == 42


def test_published_solutions_are_not_the_learners(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "def f():\n    raise NotImplementedError\n\ncheck('x', f)",
        "# %%```{solution-start} ex-x\n```",
        "def f():\n    return 'solution'",
        "# %%```{solution-end}\n```",
        "def g():\n    return f()\n\ncheck('y', g)",
    )
    first, second = reading.answers(path)
    with pytest.raises(NotImplementedError):
        first.load()()
    with pytest.raises(NotImplementedError):
        second.load()()
    [solution] = reading.solutions(path)
    assert solution.load()() == "solution"


def test_a_fingerprint_follows_what_matters(tmp_path: Path) -> None:
    def of(*cells: str) -> str:
        [answer] = reading.answers(notebook(tmp_path / "a.ipynb", *cells))
        return answer.fingerprint

    base = of("a = 1", "b = 2", "def f():\n    return a\ncheck('x', f)")
    assert base == of("a = 1  # why", "b = 3", "\ndef f():\n    return  a\n\ncheck('x', f)")
    assert base != of("a = 2", "b = 2", "def f():\n    return a\ncheck('x', f)")
    assert base != of("a = 1", "b = 2", "def f():\n    return -a\ncheck('x', f)")


def test_syntax_errors_belong_to_their_exercise(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb", "def f(:\n    return 1\ncheck('x', f)", "def g():\n    return 1\ncheck('y', g)"
    )
    broken, fine = reading.answers(path)
    assert (broken.exercise, "SyntaxError" in broken.problem, "`def f(:`" in broken.problem) == ("x", True, True)
    assert fine.load()() == 1


def test_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    kept = notebook(tmp_path / "deep" / "a.ipynb", 'check("scaled-window", 1)')
    notebook(tmp_path / ".ipynb_checkpoints" / "a.ipynb", 'check("scaled-window", 1)')
    notebook(tmp_path / "none.ipynb", "print(1)")
    assert reading.find_files([tmp_path]) == [kept.resolve()]
    with pytest.raises(FileNotFoundError, match=r"no file .*absent.ipynb"):
        reading.find_files([tmp_path / "absent.ipynb"])
    (tmp_path / "broken.ipynb").write_text('{"cells": check("scaled-window"')
    with pytest.raises(ValueError, match="is not a notebook"):
        reading.answers(tmp_path / "broken.ipynb")


# ---- The command line.


def test_an_answer_is_checked_and_the_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = notebook(tmp_path / "mine.ipynb", IMPORTS, WRONG)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert run("--in", str(tmp_path), "scaled-window") == 1
    assert "one key too wide" in capsys.readouterr().out
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert set(tmp_path.iterdir()) == {path, tmp_path / "home"}
    notebook(path, IMPORTS, RIGHT)
    assert run("--in", str(path), "scaled-window") == 0
    assert "Equal to the book's code" in capsys.readouterr().out


def test_the_list_follows_the_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def line() -> str:
        assert run("--in", str(tmp_path)) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"{shown.count('  ✓ ')} of {len(exercises())} exercises passed  [")
        [found] = [one for one in shown.splitlines() if " scaled-window " in one]
        return found

    path = notebook(tmp_path / "mine.ipynb", IMPORTS, STUB)
    assert line().startswith("  ○")
    notebook(path, IMPORTS, WRONG)
    assert line().startswith("  →")
    notebook(path, IMPORTS, RIGHT)
    assert line().startswith("  ✓")
    attempts = progress.states()["scaled-window"].attempts
    assert line().startswith("  ✓")
    assert progress.states()["scaled-window"].attempts == attempts  # nothing had changed
    notebook(path, IMPORTS, STUB)
    assert line().startswith("  ○")
    assert line().endswith("passed before")


def test_the_best_of_several_answers_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "a.ipynb", IMPORTS, STUB)
    (tmp_path / "b.py").write_text(IMPORTS + "\n" + RIGHT)
    notebook(tmp_path / "c.ipynb", IMPORTS, STUB)
    assert run("--in", str(tmp_path), "scaled-window") == 0


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x = 1 / 0\n" + RIGHT, "the code before the check stops with ZeroDivisionError"),
        ("import os\nos._exit(1)\n" + RIGHT, "the process ended"),
        ("def window_mask(:\n" + RIGHT, "SyntaxError"),
    ],
)
def test_cells_that_cannot_run(tmp_path: Path, cell: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "mine.ipynb", IMPORTS, cell)
    assert run("--in", str(tmp_path), "scaled-window") == 1
    assert says in capsys.readouterr().out


def test_cells_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "LOADING", -19.0)  # with the exercise's own 20 seconds: one in all
    [answer] = reading.answers(notebook(tmp_path / "mine.ipynb", IMPORTS, "while True: pass\n" + RIGHT))
    assert cli.judge(find("scaled-window"), answer).verdict == "endless"


def test_a_chapter_stands_for_its_exercises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run("--in", str(tmp_path / "empty"), "scaled") == 1
    inside = [one for one in exercises().values() if one.chapter == "scaled"]
    assert capsys.readouterr().out.count("Not attempted yet") == len(inside) > 0


def test_show_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show", "scaled-window") == 0
    assert find("scaled-window").task in capsys.readouterr().out
    assert run("--hint", "scaled-window", "2") == 0
    assert capsys.readouterr().out.strip().endswith(find("scaled-window").hints[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scaled-windov"], "did you mean scaled-window"),
        (["--hint", "scaled-window", "9"], "has the hints 1 to"),
        (["--hint", "scaled-window", "x"], "has the hints 1 to"),
        (["--in", "absent.ipynb"], "there is no file absent.ipynb"),
        (["--in", "absent"], "absent is no folder"),
    ],
)
def test_wrong_calls_are_explained(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert says in capsys.readouterr().err


def test_unknown_exercises_and_broken_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "a.ipynb", "check('scaled-windov', 1)")
    (tmp_path / "b.ipynb").write_text('{"cells": check("scaled-window"')
    notebook(tmp_path / "c.ipynb", IMPORTS, RIGHT)
    assert run("--in", str(tmp_path), "scaled-window") == 0
    told = capsys.readouterr().err
    assert "no exercise 'scaled-windov'" in told
    assert "b.ipynb is not a notebook" in told


def test_watch_checks_on_save(tmp_path: Path) -> None:
    path = notebook(tmp_path / "mine.ipynb", IMPORTS, STUB)
    command = [sys.executable, "-u", "-m", "transformer_lib.exercises", "--watch", "--in", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            assert "Watching" in process.stdout.readline()
            time.sleep(2 * cli.PERIOD)
            notebook(path, IMPORTS, WRONG)
            os.utime(path, (1, 1))  # another time, whatever the file system's resolution
            assert "→ A sliding window" in process.stdout.readline()
            assert "one key too wide" in process.stdout.readline()
            process.stdout.readline()
            notebook(path, IMPORTS, RIGHT)
            assert "✓ A sliding window" in process.stdout.readline()
        finally:
            process.terminate()


def test_the_book_itself_is_not_attempted(capsys: pytest.CaptureFixture[str]) -> None:
    # As a new clone is: every stub of every chapter.
    assert run("--in", str(ROOT / "chapters")) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"0 of {len(exercises())} exercises passed")
    assert shown.count("\n  ○ ") == len(exercises())


def test_a_notebook_kernel_gets_a_panel() -> None:
    from nbclient import NotebookClient
    from nbformat import v4

    cells = [
        v4.new_code_cell(text)
        for text in (IMPORTS, WRONG, RIGHT, "import transformer_lib.exercises as ex\nex.hint('scaled-window')")
    ]
    client = NotebookClient(v4.new_notebook(cells=cells), timeout=60, kernel_name="python3")
    client.execute()
    for cell, words in zip(cells[1:], ("one key too wide", "times as long as the book", "Hint 1 of"), strict=True):
        [output] = cell.outputs
        assert words in output.data["text/html"]
        assert "exercise-report" in output.data["text/html"]
        assert words in output.data["text/plain"]


def test_examine_is_what_a_page_can_use() -> None:
    assert examine(find("attention-shapes"), ...).verdict == "todo"
