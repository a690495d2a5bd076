"""Every exercise: its solution passes, its stub is not attempted, and each mistake is named as itself."""

import ast
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.notebooks import CHAPTERS as NOTEBOOKS
from tests.notebooks import ROOT, read
from tests.notebooks import notebook as of_chapter
from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import examine, exercises
from transformer_lib.exercises.__main__ import main
from transformer_lib.exercises.engine import reading
from transformer_lib.exercises.engine.exercise import Debug, Exercise, Explore, Implement, Predict
from transformer_lib.exercises.engine.passages import PASSAGES

ALL = list(exercises().values())
each = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: f"{exercise.chapter}-{exercise.id}")
MISTAKES = [(exercise, mistake.name) for exercise in ALL for mistake in exercise.mistakes]
each_mistake = pytest.mark.parametrize(
    ("exercise", "name"), MISTAKES, ids=[f"{one.chapter}-{one.id}-{name}" for one, name in MISTAKES]
)
SEEDS = range(3)


def notebook(exercise: Exercise) -> Path:
    return of_chapter(exercise.chapter)


@cache
def stubs(path: Path) -> dict[str, list[reading.Answer]]:
    found: dict[str, list[reading.Answer]] = {}
    for answer in reading.answers(path):
        found.setdefault(answer.exercise, []).append(answer)
    return found


@cache
def solutions(path: Path) -> dict[str, reading.Answer]:
    return {answer.exercise: answer for answer in reading.solutions(path)}


def text(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def statement(exercise: Exercise) -> str:
    found = re.search(
        rf"````\{{exercise\}} ([^\n]*)\n:label: ex-{exercise.id}\n.*?````", text(notebook(exercise)), re.S
    )
    assert found, f"no exercise labelled ex-{exercise.id} in {notebook(exercise).name}"
    return found[0]


def wrong_answer(exercise: Exercise, name: str) -> Any:
    wrong = next(mistake.wrong for mistake in exercise.mistakes if mistake.name == name)
    return wrong() if isinstance(exercise, Predict) and callable(wrong) else wrong


# ---- The collection.


def test_there_are_enough_of_every_kind() -> None:
    assert len(ALL) >= 60
    for kind in (Implement, Predict, Debug, Explore):
        assert sum(type(exercise) is kind for exercise in ALL) >= 6, kind
    for chapter in CHAPTERS:
        assert sum(exercise.chapter == chapter for exercise in ALL) >= 5, chapter


@each
def test_declaration_is_complete(exercise: Exercise) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", exercise.id)
    assert 2 <= len(exercise.hints) <= 5
    if isinstance(exercise, Implement):
        assert len(exercise.mistakes) >= 3
    if isinstance(exercise, Predict):
        assert exercise.mistakes
        if exercise.options:
            wrong = {wrong_answer(exercise, mistake.name) for mistake in exercise.mistakes}
            assert wrong | {exercise.reference()} == set(exercise.options)
    if isinstance(exercise, Explore):
        assert exercise.goals


@each
def test_pointers_lead_to_what_was_read_before(exercise: Exercise) -> None:
    for see in [mistake.see for mistake in exercise.mistakes] + [goal.see for goal in getattr(exercise, "goals", ())]:
        assert see in PASSAGES, f"no heading has the label sec:{see}"
        chapter, order = PASSAGES[see].chapter, list(CHAPTERS)
        assert order.index(chapter) <= order.index(exercise.chapter)
        if chapter == exercise.chapter:
            whole = text(NOTEBOOKS[order.index(chapter)])
            at = whole.index(f"(sec:{see})=\n")
            assert at < whole.index(f":label: ex-{exercise.id}\n"), f"{see!r} comes after the exercise"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_two_exercises_of_a_chapter_are_core(chapter: str) -> None:
    inside = [exercise for exercise in ALL if exercise.chapter == chapter]
    assert sum(exercise.core for exercise in inside) == 2 or len(inside) < 2


# ---- The pages.


@each
def test_page_says_what_is_declared(exercise: Exercise) -> None:
    shown = statement(exercise)
    assert shown.startswith(f"````{{exercise}} {exercise.title}\n")
    kind = exercise.kind.capitalize()
    assert f"*{kind} · {exercise.level} · about {exercise.minutes} minutes{' · core' * exercise.core}.*" in shown
    assert f'```{{hints}} {exercise.id}\nStuck? `hint("{exercise.id}")`' in shown
    assert (":class: core\n" in shown) == exercise.core
    if isinstance(exercise, Predict):
        for letter in exercise.options:
            assert f"- **{letter}**" in shown


def test_every_exercise_of_the_pages_is_declared() -> None:
    for path in NOTEBOOKS:
        labels = re.findall(r":label: ex-(\S+)", text(path))
        assert labels == [exercise.id for exercise in ALL if notebook(exercise) == path]
        assert set(stubs(path)) == set(solutions(path)) == set(labels)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_hides_the_checker(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                names = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
                names |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
                assert not names & {"check", "hint"}, cell.source


# ---- Answers.


@each
def test_stub_is_not_attempted(exercise: Exercise) -> None:
    stub = stubs(notebook(exercise))[exercise.id][0]
    assert not stub.problem
    report = examine(exercise, stub.load(), isolated=False)
    assert report.verdict == "todo", report


@each
def test_published_solution_passes(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    answer = solutions(notebook(exercise))[exercise.id].load()
    for seed in (0, 1):
        report = examine(exercise, answer, seed=seed, isolated=False)
        assert report.verdict == "passed", report


@each
def test_solution_is_typed_once(exercise: Exercise) -> None:
    # What the page folds away begins with what is declared; what the page shows of it comes after.
    if exercise.solution:
        cells = [cell.source for cell in read(notebook(exercise)).cells if cell.cell_type == "code"]
        assert any(cell.startswith(exercise.solution.strip()) for cell in cells), exercise.solution


@each_mistake
def test_mistake_is_named_as_itself(exercise: Exercise, name: str) -> None:
    wrong = wrong_answer(exercise, name)
    alone = [replace(exercise, dtypes=(dtype,)) for dtype in exercise.dtypes] if isinstance(exercise, Implement) else []
    for version in [exercise, *alone]:
        for seed in SEEDS if version is exercise else (7,):
            report = examine(version, wrong, seed=seed, isolated=False)
            assert (report.verdict, report.mistake) == ("mistake", name), f"seed {seed}\n{report}"
            if isinstance(exercise, Predict):
                break  # nothing is drawn


@each
def test_missed_goals_are_named(exercise: Exercise) -> None:
    if isinstance(exercise, Explore):
        for number, goal in enumerate(exercise.goals, 1):
            report = examine(exercise, goal.wrong(), isolated=False)
            assert (report.verdict, report.mistake) == ("goal", f"goal {number}"), report


@each
def test_prediction_is_not_given_away(exercise: Exercise) -> None:
    if isinstance(exercise, Predict) and len(repr(exercise.reference())) >= 4:
        told = [*exercise.hints, exercise.task, exercise.expects, *(mistake.says for mistake in exercise.mistakes)]
        assert not any(repr(exercise.reference()) in words for words in told)


@each
def test_checks_are_quick(exercise: Exercise) -> None:
    # By a count, not by a clock: a check makes few and small calls.
    if isinstance(exercise, Implement):
        from transformer_lib.exercises.engine.running import calls_of, size

        calls = list(calls_of(exercise, 0))
        assert len(calls) <= 60
        assert max(size(call.case) for call in calls) <= 20_000
        if torch.float64 in exercise.dtypes:
            assert min(size(call.case) for call in calls) <= 60, "no case is small enough to be read"


def test_what_tutors_are_told_exists(capsys: pytest.CaptureFixture[str]) -> None:
    told = (ROOT / "TUTORS.md").read_text(encoding="utf-8")
    hints = re.findall(r"`python -m transformer_lib\.exercises (--hint [^`]+)`", told)
    assert hints
    for line in hints:
        assert main(line.split()) == 0
        assert "Hint 2 of" in capsys.readouterr().out
    for name in re.findall(r"(?:check|hint)\(\"([\w-]+)\"", told):
        assert name in exercises()
    for path in re.findall(r"`(transformer_lib/[^`]+)`", told):
        assert (ROOT / path).exists()
