"""Learners' files are found, read and never written to; the command line says where they stand."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import ROOT
from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import __main__ as cli
from transformer_lib.exercises import examine, exercises, find
from transformer_lib.exercises.engine import progress, reading
from transformer_lib.exercises.engine.report import as_text

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


# ---- What only IPython understands.


def test_a_continuation_line_that_begins_with_a_percent_sign_is_kept(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "n = (17\n% 5)\ncheck('x', n)")
    assert loaded(path) == 2
    assert loaded(
        notebook(tmp_path / "a.ipynb", "t = '''\n%d of\n!x\n?''' \\\n% 3\n%matplotlib inline\ncheck('x', t)")
    ) == ("\n3 of\n!x\n?")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x = !ls", "x == []"),
        ("t = %timeit -o -n1 f()", "t is None"),
        ("f?", "True"),
        ("?f", "True"),
        ("f??", "True"),
        ("%matplotlib inline", "True"),
        ("!pip install something", "True"),
        ("for i in range(2):\n    %timeit f()\n    done = i", "done == 1"),
        ("%time y = f() + 1", "y == 8"),
        ("y = %time f()", "y == 7"),
        ("%load_ext autoreload\n%autoreload 2", "True"),
        ("get_ipython().run_line_magic('matplotlib', 'inline')", "True"),
        ("%config A.b = \\\n    'c'", "True"),
        ("    z = 1", "z == 1"),
    ],
)
def test_a_magic_drops_nothing_but_itself(tmp_path: Path, line: str, value: str) -> None:
    path = notebook(tmp_path / "a.ipynb", "def f():\n    return 7", f"{line}\nok = {value}", "check('x', (f(), ok))")
    if line.startswith("    "):
        path = notebook(
            tmp_path / "a.ipynb", "def f():\n    return 7", f"{line}\n    ok = {value}", "check('x', (f(), ok))"
        )
    assert loaded(path) == (7, True)


def test_magics_of_whole_cells(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "%%time\nmodel = 5",
        "%%capture out\nmodel += 1\nprint(model)",
        "%%timeit\nmodel = 100",
        "%%bash\nrm -r model",
        "%%time\ndef f():\n    return model / zero\ncheck('x', f)",
    )
    [answer] = reading.answers(path)
    f = answer.load()
    assert f.__globals__["model"] == 6
    with pytest.raises(NameError) as caught:
        f()
    assert caught.traceback[-1].lineno + 1 == 3  # as in the cell
    assert len(reading.answers(notebook(tmp_path / "a.ipynb", "%%html\n<b>check(</b>", "check('x', 1)"))) == 1


def test_future_imports_are_applied(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "from __future__ import annotations",
        "def f(x: Unknown) -> 1 / 0:\n    return x",
        "check('x', f)",
    )
    assert loaded(path).__annotations__ == {"x": "Unknown", "return": "1 / 0"}
    (tmp_path / "b.py").write_text(
        "from __future__ import annotations\ndef f(x: Unknown):\n    return x\ncheck('x', f)\n"
    )
    assert loaded(tmp_path / "b.py")(1) == 1
    path = notebook(tmp_path / "a.ipynb", "def f(x: unknown):\n    return x\ncheck('x', f)")
    with pytest.raises(NameError):
        loaded(path)  # not everybody's


def test_cells_that_wait(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb", "import asyncio\nasync def g():\n    return 3\nx = await g()", "check('x', x)"
    )
    assert loaded(path) == 3


def test_dataclasses_and_hints_find_their_module(tmp_path: Path) -> None:
    path = notebook(
        tmp_path / "a.ipynb",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import *",
        "@dataclass\nclass A:\n    x: B\n    y: ClassVar[int] = 3\nclass B:\n    pass",
        "check('x', get_type_hints(A)['x'] is B)",
    )
    assert loaded(path) is True


# ---- Every call is found.

F = "def f():\n    return 7\n"


@pytest.mark.parametrize(
    "call",
    [
        "check('x', f)",
        "check(name='x', answer=f)",
        "check(answer=f, name='x')",
        "check('x', answer=f)",
        "check(\n    'x',\n    f,\n)",
        "check(\n    name='x',  # why\n    answer=f)",
        "NAME = 'x'\ncheck(NAME, f)",
        "_ = check('x', f)",
        "if __name__ == '__main__':\n    check('x', f)",
        "if __name__ == '__main__':\n    g = f\n    check('x', g)",
        "import contextlib\nwith contextlib.nullcontext(f) as g:\n    check('x', g)",
        "try:\n    check('x', f)\nexcept BaseException:\n    pass",
        "for g in [f]:\n    check('x', g)",
        "def main():\n    check('x', f)\nmain()",
        "def main():\n    check('x', f)\ndef run():\n    main()\nif __name__ == '__main__':\n    run()",
        "def main(g):\n    check('x', g)\nmain(f)",
        "def test_x():\n    check('x', f)",
        "class T:\n    def test_x(self):\n        check('x', f)\nT().test_x()",
        "c = check\nc('x', f)",
        "print(check('x', f))",
        "check('y', 1)\ncheck('x', f)",
        "if True:\n    check('y', 1)\n    check('x', f)",
        "from transformer_lib.exercises import check as proof\nproof('x', f)",
        "import transformer_lib.exercises\ntransformer_lib.exercises.check('x', f)",
        "import transformer_lib.exercises as te\nte.check('x', f)",
        "from transformer_lib import exercises\nexercises.check('x', f)",
        "import transformer_lib as tl\ntl.exercises.check('x', f)",
        "def main():\n    from transformer_lib.exercises import check as proof\n    proof('x', f)\nmain()",
    ],
)
@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_every_way_of_calling_is_found(tmp_path: Path, call: str, suffix: str) -> None:
    head = "" if "transformer_lib" in call else "from transformer_lib.exercises import check\n"
    path = tmp_path / f"a{suffix}"
    if suffix == ".py":
        path.write_text(f"{head}{F}{call}\n")
    else:
        notebook(path, head, F, call)
    assert reading.find_files([tmp_path]) == [path.resolve()]
    found = [answer for answer in reading.answers(path) if answer.exercise == "x"]
    assert [answer.problem for answer in found] == [""]
    assert found[0].load()() == 7


@pytest.mark.parametrize(
    "call",
    [
        "for name in ['x', 'y']:\n    check(name, f)",
        "check(*['x', f])",
        "check(**{'name': 'x', 'answer': f})",
        "check('x')",
        "check(f'{1}', f)",
        "check('x', f, 3)",
    ],
)
def test_a_call_that_is_not_understood_is_named(tmp_path: Path, call: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = notebook(tmp_path / "a.ipynb", "from transformer_lib.exercises import check", F, call)
    cli.collect([str(tmp_path)])
    told = capsys.readouterr().err
    assert f"{path.resolve()}: a.ipynb, cell 3: this call of check is not understood" in told
    assert "check(" in told


def test_other_peoples_check_is_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("def check(name, answer):\n    return name\n\ncheck('x', 1)\n")
    (tmp_path / "b.py").write_text(
        "class A:\n    def run(self):\n        self.check(1, 2)\n        spell.check('word')\n"
    )
    assert [answer.exercise for path in sorted(tmp_path.glob("*.py")) for answer in reading.answers(path)] == []


def test_a_check_that_is_not_reached_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "a.ipynb", IMPORTS, "if False:\n    check('scaled-window', 1)")
    assert run("--in", str(tmp_path), "scaled-window") == 1
    assert "was not reached" in capsys.readouterr().out
    notebook(tmp_path / "a.ipynb", IMPORTS, "def main(a):\n    check('scaled-window', a)")
    assert run("--in", str(tmp_path), "scaled-window") == 1
    assert "nothing here calls that" in capsys.readouterr().out


def test_the_books_own_example_is_no_answer(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "n = 'x'\ncheck(n, 1)  # wrong on purpose", "check('x', 2)")
    assert loaded(path) == 2


SOURCE = "from transformer_lib.exercises import check\nword = 'ã'\ncheck('x', word)\n"


@pytest.mark.parametrize(
    "content",
    [
        SOURCE.encode(),
        SOURCE.encode("utf-8-sig"),
        SOURCE.replace("\n", "\r\n").encode(),
        SOURCE.replace("\n", "\r").encode(),
        SOURCE.encode("utf-16"),
        ("# -*- coding: latin-1 -*-\n" + SOURCE).encode("latin-1"),
        ("# %%\n" + SOURCE.replace("word", "# %%\n%matplotlib inline\nword", 1)).encode(),
    ],
    ids=["utf-8", "mark", "crlf", "cr", "utf-16", "declared", "percent"],
)
def test_modules_in_every_encoding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.py").write_bytes(content)
    assert [loaded(path) for path in reading.find_files([tmp_path])] == ["ã"]


def test_notebooks_of_every_form(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": SOURCE}, {"cell_type": "markdown", "source": "é"}]
    old = [{"cell_type": "code", "input": SOURCE.splitlines(keepends=True), "language": "python"}]
    whole = json.dumps({"cells": cells, "nbformat": 4}, ensure_ascii=False)
    for number, content in enumerate(
        [
            whole.encode(),
            whole.encode("utf-8-sig"),
            whole.encode("utf-16"),
            json.dumps({"cells": cells}, indent=1).replace("\n", "\r\n").encode(),
            json.dumps({"worksheets": [{"cells": old}], "nbformat": 3}).encode(),
        ]
    ):
        (tmp_path / f"{number}.ipynb").write_bytes(content)
    found = reading.find_files([tmp_path])
    assert [loaded(path) for path in found] == ["ã"] * 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", SOURCE.encode("latin-1")),
        ("a.py", b"# coding: klingon\ncheck('x', 1)"),
        (
            "a.ipynb",
            json.dumps({"cells": [{"cell_type": "code", "source": SOURCE}]}, ensure_ascii=False).encode("latin-1"),
        ),
        ("a.ipynb", b'["check"]'),
        ("a.ipynb", b'{"cells": [{"cell_type": "code", "source": 3}], "x": "check"}'),
        ("a.ipynb", b'{"check": ' + b"[" * 100_000),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.py").write_text(IMPORTS + "\n" + RIGHT)
    assert len(cli.collect([str(tmp_path)])["scaled-window"]) == 1
    assert str(tmp_path / name) in capsys.readouterr().err


@pytest.mark.parametrize("source", ["check('x', '\0')", "(" * 2000 + "\ncheck('x', 1)"], ids=["nul", "deep"])
def test_sources_that_no_parser_takes(tmp_path: Path, source: str) -> None:
    (tmp_path / "a.py").write_text(source)
    [answer] = reading.answers(tmp_path / "a.py")
    assert (answer.exercise, "SyntaxError" in answer.problem) == ("x", True)


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


@pytest.mark.parametrize("columns", [40, 120])
def test_the_list_fits_the_terminal(
    tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = notebook(tmp_path / "mine.ipynb", IMPORTS, RIGHT)
    assert run("--in", str(tmp_path)) == 0
    notebook(path, IMPORTS, STUB)
    capsys.readouterr()
    assert run("--in", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    for name, exercise in exercises().items():
        [line] = [line for line in lines if line[2:].split()[:2] == ["○", name]]
        assert (f" {exercise.minutes} min" in line) == (columns > 40)
        assert ("★" in line) == exercise.core
    assert sum("passed before" in line for line in lines) == (columns > 40)
    for text in (
        f"0 of {len(exercises())} exercises passed",
        f"{CHAPTERS['layers'].title} (layers)",
        "→ a mistake with a name",
        "--help shows more.",
    ):
        assert text in " ".join(" ".join(lines).split())  # nothing else is lost


def test_the_best_of_several_answers_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "a.ipynb", IMPORTS, STUB)
    (tmp_path / "b.py").write_text(IMPORTS + "\n" + RIGHT)
    notebook(tmp_path / "c.ipynb", IMPORTS, STUB)
    assert run("--in", str(tmp_path), "scaled-window") == 0


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x = 1 / 0\n" + RIGHT, "the code before the check stops with ZeroDivisionError"),
        ("import os\nos._exit(1)\n" + RIGHT, "ended the whole process"),
        ("def window_mask(:\n" + RIGHT, "SyntaxError"),
    ],
)
def test_cells_that_cannot_run(tmp_path: Path, cell: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "mine.ipynb", IMPORTS, cell)
    assert run("--in", str(tmp_path), "scaled-window") == 1
    assert says in capsys.readouterr().out


def test_cells_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "LOADING", 0.3)
    path = notebook(tmp_path / "mine.ipynb", IMPORTS, "n = 0\nwhile True: n += 1", RIGHT.replace("1 -", "n -"))
    [answer] = reading.answers(path)
    report = cli.judge(find("scaled-window"), answer)
    assert (report.verdict, "your other cells" in report.says[0]) == ("endless", True)


def test_an_answer_in_a_file_is_carried_into_a_fresh_process(tmp_path: Path) -> None:
    cells = (IMPORTS, "from __future__ import annotations\none = 1", RIGHT.replace("1 - width", "one - width"))
    [answer] = reading.answers(notebook(tmp_path / "mine.ipynb", *cells))
    report = cli.judge(find("scaled-window"), answer, fork=False)
    assert (report.verdict, report.note) == ("passed", "")


def test_the_answers_own_cell_may_not_run_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "CELL", 0.3)
    exercise = replace(find("scaled-window"), seconds=0.3)
    for cell, where in (
        (f"while True: pass\n{RIGHT}", "the cell of your answer"),
        (RIGHT.replace("return", "while True: pass\n    return"), "mine.ipynb, cell 2: "),
    ):
        [answer] = reading.answers(notebook(tmp_path / "mine.ipynb", IMPORTS, cell))
        report = cli.judge(exercise, answer)
        assert (report.verdict, where in report.says[0]) == ("endless", True)
        assert "after 0.3 seconds" in report.says[0]


def test_a_chapter_stands_for_its_exercises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run("--in", str(tmp_path / "empty"), "scaled") == 1
    inside = [one for one in exercises().values() if one.chapter == "scaled"]
    assert capsys.readouterr().out.count("Not attempted yet") == len(inside) > 0


def test_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--hint", "scaled-window", "2") == 0
    assert capsys.readouterr().out.strip().endswith(find("scaled-window").hints[1])


def test_show_gives_the_task_the_stub_and_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{CHAPTERS['scaled'].file}.ipynb"
    (tmp_path / "other.py").write_text(f"{IMPORTS}\n{RIGHT}")  # no chapter's notebook, so no stub
    solution = "# %%```{solution-start} ex-scaled-window\n```", RIGHT, "# %%```{solution-end}\n```"
    path = notebook(tmp_path / name, IMPORTS, STUB, *solution)
    assert run("--show", "scaled-window", "--in", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert find("scaled-window").task in shown
    stub = "\n".join(f"    {line}".rstrip() for line in STUB.strip().splitlines())
    assert f"\n{name}, cell 2:\n\n{stub}\n\n" in shown
    assert "triu" not in shown  # the solution stays folded
    assert f"Open {path.resolve()}, or write " in shown
    assert "python -m transformer_lib.exercises --in FILE.py scaled-window" in shown
    assert run("--show", "scaled-window", "--in", str(tmp_path / "other.py")) == 0
    assert "triu" not in (shown := capsys.readouterr().out)
    assert f"Open chapters/{name}, or write " in shown
    path.write_text('{"cells": check')
    assert run("--show", "scaled-window", "--in", str(tmp_path)) == 0  # the task is known all the same
    told = capsys.readouterr()
    assert (find("scaled-window").task in told.out, "is not a notebook" in told.err) == (True, True)


@pytest.mark.parametrize("word", ["scaled", str(CHAPTERS["scaled"].number)])
def test_show_lists_a_chapter(tmp_path: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show", word) == 0
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert head == f"{CHAPTERS['scaled'].number}. {CHAPTERS['scaled'].title} (scaled)"
    inside = [one for one in exercises().values() if one.chapter == "scaled"]
    assert [line.split()[0] for line in lines] == [one.id for one in inside]
    assert all(line.endswith(one.title) for line, one in zip(lines, inside, strict=True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scaled-windov"], "did you mean scaled-window"),
        (["--show", "scaled-windov"], "did you mean scaled-window"),
        (["--show", "99"], "there is no chapter '99'"),
        (["--hint", "scaled-window", "9"], "has the hints 1 to"),
        (["--hint", "scaled-window", "x"], "has the hints 1 to"),
        (["--in", "absent.ipynb"], "there is no file absent.ipynb"),
        (["--in", "absent"], "absent is no folder"),
    ],
)
def test_wrong_calls_are_explained(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--watch", "--show", "scaled-window"],
        ["--hint", "scaled-window", "--show", "scaled-window"],
        ["scaled", "--show", "scaled-window"],
        ["scaled", "--in", ".", "--hint", "scaled-window"],
        ["--shows"],
    ],
)
def test_nothing_that_was_asked_for_is_dropped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_scripts_can_tell_by_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "Exit status: 0 if all that was asked for passed, 1 if anything did not" in shown
    assert "2 if the command is not understood" in shown
    for cell, status in (STUB, 1), (WRONG, 1), (RIGHT, 0):
        path = notebook(tmp_path / "mine.ipynb", IMPORTS, cell)
        assert run("--in", str(path), "scaled-window") == status
    assert run("--in", str(path), "scaled-window", "scaled-axis") == 1  # one passed, and one is not attempted
    assert run("--in", str(path)) == 0  # the list asks for none


def test_unknown_exercises_and_broken_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook(tmp_path / "a.ipynb", "check('scaled-windov', 1)")
    (tmp_path / "b.ipynb").write_text('{"cells": check("scaled-window"')
    notebook(tmp_path / "c.ipynb", IMPORTS, RIGHT)
    assert run("--in", str(tmp_path), "scaled-window") == 0
    told = capsys.readouterr().err
    assert "no exercise 'scaled-windov'" in told
    assert "b.ipynb is not a notebook" in told


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "cp1252:strict", "HOME": "/dev/null", progress.FOLDER_VARIABLE: "~nobody-at-all"},
    ],
    ids=["ascii", "cp1252, homeless"],
)
def test_the_command_prints_everywhere(tmp_path: Path, settings: dict[str, str]) -> None:
    folder = tmp_path / "ação ✓"
    folder.mkdir()
    notebook(folder / "à.ipynb", IMPORTS, RIGHT)
    (folder / "broken ✓.ipynb").write_text('{"cells": "check"')
    for what in ([], ["scaled-window"]):
        command = [sys.executable, "-m", "transformer_lib.exercises", "--in", str(folder), *what]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | settings
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert b"+ " in done.stdout
        assert b"is not a notebook" in done.stderr
        if progress.FOLDER_VARIABLE in settings:
            assert b"progress could not be kept" in done.stdout + done.stderr


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "transformer_lib.exercises", "--in", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_output_that_is_closed(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m transformer_lib.exercises --in "{tmp_path}" >&-'
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, "")


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


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal to type into")
def test_watch_takes_keys_and_an_endless_check_can_be_stopped(tmp_path: Path) -> None:
    import pty

    path = notebook(tmp_path / "mine.ipynb", IMPORTS, STUB)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-u", "-m", "transformer_lib.exercises", "--watch", "--in", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TRANSFORMER_LIB_HOME": str(tmp_path), "NO_COLOR": "1"}
    session: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    # Ctrl+C is the terminal's to send, so this must be the terminal that rules the process.
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, *command], env=environment, cwd=tmp_path, **session
    ) as process:
        os.close(theirs)
        shown = ""

        def until(text: str) -> None:
            nonlocal shown
            while text not in shown:
                assert select.select([ours], [], [], 120)[0], f"no {text!r} in {shown!r}"
                shown += os.read(ours, 10_000).decode()
            shown = shown.partition(text)[2]

        try:
            until("q quit")
            first = next(iter(exercises().values()))
            os.write(ours, b"n")
            until(f"Next: {first.title}")
            os.write(ours, b"hh")
            until(f"{first.title}. Hint 1 of")
            until("Hint 2 of")
            notebook(path, IMPORTS, "while True:\n    pass\ncheck('scaled-window', 1)")
            os.utime(path, (1, 1))
            until("Ctrl+C stops the check")
            time.sleep(1)  # Python drops an interrupt that comes just while it forks
            os.write(ours, b"\x03")
            until("you stopped the check")
            os.write(ours, b"l")
            until("exercises passed")
            until("--help shows more.")
            os.write(ours, b"q")
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(ours)


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
        for text in (
            IMPORTS,
            WRONG,
            RIGHT,
            "import transformer_lib.exercises as ex\nfrom transformer_lib.exercises.engine import isolation\n"
            "ex.hint('scaled-window')",
            # The same where nothing can be forked: what the answer refers to goes with it.
            "isolation.can_fork = lambda: False\ntorch.set_default_dtype(torch.float64)\noffset = 1\n"
            "class Late:\n    def of(self, width):\n        return offset - width",
            "import os\ndef window_mask(length, width):\n    torch.set_default_dtype(torch.float16)\n"
            "    return torch.ones(length, length, dtype=torch.bool).tril().triu(Late().of(width))\n"
            "ex.check('scaled-window', window_mask)",
            "ex.check('scaled-window', lambda length, width: window_mask(length, width) @ offset  # fails\n)",
            "ex.check('scaled-window', lambda length, width: os._exit(1))",
            "assert torch.get_default_dtype() == torch.float64",
        )
    ]
    client = NotebookClient(v4.new_notebook(cells=cells), timeout=60, kernel_name="python3")
    client.execute()
    said = ("one key too wide", "times as long as the book", "Hint 1 of")
    elsewhere = ("times as long as the book", "# fails", "ended the whole process")
    assert not cells[4].outputs
    for cell, words in zip([*cells[1:4], *cells[5:8]], said + elsewhere, strict=True):
        [output] = cell.outputs
        assert words in output.data["text/html"]
        assert "exercise-report" in output.data["text/html"]
        assert words in output.data["text/plain"]
        assert "within your session" not in output.data["text/plain"]


def test_examine_is_what_a_page_can_use() -> None:
    assert examine(find("attention-shapes"), ...).verdict == "todo"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "Use {ref}`the wave <sec:waves>` {cite:p}`vaswani2017attention`, see {ref}`chap:positions`.",
            "Use the wave, see “Positions”.",
        ),
        ("At $r = 0$, or $10^{43}$: `cost $5$`.", "At r = 0, or 10^43: `cost $5$`."),
        ("Divide by $\\sqrt{d}$.", "Divide by $\\sqrt{d}$."),
        ('`{"bias": False}`, `x`', '`{"bias": False}`, `x`'),
    ],
)
def test_what_a_page_typesets_is_plain_in_a_terminal(source: str, shown: str) -> None:
    assert as_text(source) == shown
