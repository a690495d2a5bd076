"""A sample of the campaign of `python -m tools.mutations`: small changes of the solutions are noticed."""

import ast

import pytest

from tools import mutations
from transformer_lib.exercises import exercises, find
from transformer_lib.exercises.engine.exercise import Implement

CODE = [exercise for exercise in exercises().values() if isinstance(exercise, Implement)]
#: Of each solution; the same ones every time.
SAMPLE = 12


@pytest.mark.parametrize("exercise", CODE, ids=lambda exercise: f"{exercise.chapter}-{exercise.id}")
def test_a_changed_solution_is_not_accepted(exercise: Implement) -> None:
    verdicts = mutations.campaign(exercise, at_most=SAMPLE)
    assert len(verdicts) >= 4
    missed = [one.mutant.change for one in verdicts if one.missed]
    assert not missed, missed
    assert sum(one.how != "passed" for one in verdicts) >= len(verdicts) / 2, "hardly any mutant was noticed"


def test_what_is_told_is_counted() -> None:
    verdicts = mutations.campaign(find("scaled-window"))
    tiers = {one.tier for one in verdicts if one.how not in ("passed", "todo")}
    assert {"named", "law"} <= tiers
    untold = [one.mutant.change for one in verdicts if one.how == "differs" and one.tier == "input"]
    assert not untold, untold


def test_mutants_differ_from_the_original() -> None:
    source = "def f(x, y):\n    if x > 1:\n        x = -x + 2 * y\n    return x, g(y, k=3)[1:]"
    node = ast.parse(source).body[0]
    made = {ast.unparse(mutant.node) for mutant in mutations.mutants(node)}
    assert len(made) >= 15
    assert ast.unparse(node) not in made
    for piece in (
        "x >= 1",
        "x + 2 * y",
        "-x - 2 * y",
        "3 * y",
        "return (g(y, k=3)[1:], x)",
        "g(y)[1:]",
        "g(y, k=3)[:]",
        "pass",
    ):
        assert any(piece in one for one in made), piece
