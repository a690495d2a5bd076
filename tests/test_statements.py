"""What a notebook says of its exercises is what is declared, and the tool that writes it there."""

import ast
import shutil
from dataclasses import astuple, replace
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import ROOT, notebook
from tools import statements, times
from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import of_chapter
from transformer_lib.exercises.engine import reading
from transformer_lib.exercises.engine.exercise import Debug, Exercise, Predict
from transformer_lib.exercises.engine.passages import PASSAGES

WRITTEN = [key for key in CHAPTERS if (ROOT / f"transformer_lib/exercises/chapters/{key}.md").exists()]


@pytest.mark.parametrize("chapter", WRITTEN)
def test_a_notebook_says_what_is_declared(chapter: str, tmp_path: Path) -> None:
    copy = Path(shutil.copy(notebook(chapter), tmp_path))
    assert not statements.renew(copy, of_chapter(chapter)), "run python -m tools.statements"


def test_passages_are_those_of_the_book() -> None:
    assert {label: astuple(found) for label, found in PASSAGES.items()} == statements.passages(), (
        "run python -m tools.statements"
    )


def test_a_label_names_one_heading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "chapters", tmp_path / "chapters")
    monkeypatch.setattr(statements, "ROOT", tmp_path)
    path = tmp_path / "chapters" / notebook("self").name
    cells = nbformat.read(path, 4)
    cells.cells.append(nbformat.v4.new_markdown_cell("(sec:scaled-masks)=\n## Another heading · *deeper*"))
    nbformat.write(cells, path)
    with pytest.raises(ValueError, match="sec:scaled-masks: 'Masks: what may be seen' and 'Another heading'"):
        statements.passages()


@pytest.mark.parametrize("chapter", WRITTEN)
def test_stubs_begin_as_solutions_do(chapter: str) -> None:
    for exercise in of_chapter(chapter):
        _, stub = reading.cell(exercise.id, notebook(chapter))
        if isinstance(exercise, Debug):
            assert exercise.given_code.strip() in stub, exercise.id
        elif exercise.solution and not isinstance(exercise, Predict):
            given, wanted = _signatures(ast.parse(stub)), _signatures(ast.parse(exercise.solution))
            both = given.keys() & wanted.keys()
            assert both, exercise.id
            assert {name: given[name] for name in both} == {name: wanted[name] for name in both}, exercise.id


def _signatures(tree: ast.AST) -> dict[str, str]:
    return {node.name: ast.unparse(node.args) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def page(tmp_path: Path) -> tuple[Path, list[Exercise]]:
    return Path(shutil.copy(notebook("scaled"), tmp_path)), of_chapter("scaled")


def sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells]


def test_what_is_declared_anew_is_written(page: tuple[Path, list[Exercise]]) -> None:
    path, [first, *others] = page
    changed = replace(
        first, title="A new title", task="A task with \\1 in it.", solution="ROOT = 2\n\n\n" + first.solution
    )
    before = sources(path)
    assert statements.renew(path, [changed, *others])
    after = sources(path)
    differ = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    (old_statement, new_statement), (old_solution, new_solution) = differ
    assert new_statement == statements.statement(changed) != old_statement
    assert "A task with \\1 in it." in new_statement
    assert new_solution == "ROOT = 2\n\n\n" + old_solution


def test_a_new_exercise_is_put_behind_the_one_before_it(page: tuple[Path, list[Exercise]]) -> None:
    path, [first, second, *others] = page
    new = replace(first, id="another", minutes=0, core=False)
    before = sources(path)
    assert statements.renew(path, [first, new, second, *others])
    after = sources(path)
    start = before.index(statements.END) + 1
    assert after[:start] + after[start + 5 :] == before
    statement, stub, begins, solution, end = after[start : start + 5]
    assert statement == statements.statement(new)
    assert stub == before[before.index(statements.statement(first)) + 1].replace("one-query", "another")
    assert begins == "```{solution-start} ex-another\n:class: dropdown\n```"
    assert (solution, end) == (first.solution.strip(), statements.END)
    assert not statements.renew(path, [first, new, second, *others])


def test_stubs_keep_signatures_and_docstrings(page: tuple[Path, list[Exercise]]) -> None:
    _, [first, *_] = page
    made = replace(
        first,
        id="layer",
        solution='class Layer(nn.Module):\n    """It adds."""\n\n    def __init__(self):\n        self.n = 1\n\n'
        '    def forward(self, x):\n        """Shapes.\n\n        Two."""\n        return x + self.n\n',
    )
    assert statements.stub(made) == (
        'class Layer(nn.Module):\n    """It adds."""\n\n    def __init__(self):\n'
        "        raise NotImplementedError  # your turn\n\n"
        '    def forward(self, x):\n        """Shapes.\n\n        Two."""\n'
        '        raise NotImplementedError  # your turn\n\n\ncheck("layer", Layer)'
    )


def test_a_chapter_says_how_long_it_takes() -> None:
    drawn = [nbformat.v4.new_output("display_data", {"image/png": ""})]
    prose = "(sec:here)=\n" + "word " * (2 * times.WORDS)
    chapter = [
        nbformat.v4.new_markdown_cell(prose + "\n$$\nx\n$$\n$$\ny\n$$\n"),
        nbformat.v4.new_code_cell("x\n\n" * 5 * times.LINES, outputs=drawn),
        nbformat.v4.new_code_cell("x\n" * 999, outputs=drawn, metadata={"tags": ["hide-input"]}),
        nbformat.v4.new_markdown_cell("word " * 5 * times.WORDS + "\n````{exercise} A title\n" + "word " * 999),
        nbformat.v4.new_code_cell("x\n" * 999, outputs=drawn),
        nbformat.v4.new_markdown_cell("```{solution-end}\n```"),
    ]
    assert times.reading(chapter) == 2 + 1 + 5 + 1 + 1 + 5
    exercises = of_chapter("scaled")[:3]
    core, whole = sum(one.minutes for one in exercises if one.core), sum(one.minutes for one in exercises)
    assert 0 < core < whole
    card = "**Time** about 1 minute, 7 seconds to run.\n:::"
    said = f"{core} for the two core exercises, {whole} for all"
    assert times.timed(card, chapter, exercises) == f"**Time** about 15 minutes to read; {said}; 7 seconds to run.\n:::"
    assert times.timed(card, chapter, []) == "**Time** about 15 minutes to read; 7 seconds to run.\n:::"


def test_what_a_cell_shows_of_a_solution_stays() -> None:
    cell = "total = 0\nfor n in (1, 2):\n    total += n\nprint(total)"
    assert statements.solved(cell, "total = 1\nfor n in (3,):\n    total += n") == (
        "total = 1\nfor n in (3,):\n    total += n\nprint(total)"
    )
    assert statements.solved("other = 1", "total = 1") == "other = 1"
