"""Which mistake it is: the misconception whose results an answer gives."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformer_lib.exercises.engine.exercise import Implement, Mistake
from transformer_lib.exercises.engine.probing import numbers
from transformer_lib.exercises.engine.running import Call, Outcome, leaves, outcome_of

#: How much agreement is no chance: two real numbers, four whole ones, eight yes or no.
TELLING = 8
_WEIGHTS = {"float": 4, "int": 2, "bool": 1}


@dataclass(frozen=True)
class Recognition:
    """A misconception that an answer agrees with.

    Attributes:
        mistake: the misconception.
        sure: whether they agree in every call, and not only in those that fail, or up to the stage that fails first.
    """

    mistake: Mistake
    sure: bool


def recognized(
    exercise: Implement, calls: list[Call], right: list[Outcome], given: list[Outcome], wrong: list[int]
) -> Recognition | None:
    """The misconception that gives the same results: in every call, else in all that fail, else in the first stage."""
    first = wrong[0]
    place = calls[first].stage, calls[first].dtype
    reached = max(n for n, one in enumerate(calls[: len(given)]) if (one.stage, one.dtype) == place)
    everywhere = _telling([given[n] for n in wrong])
    in_stage = _telling([given[n] for n in wrong if n <= reached])
    best: tuple[tuple[bool, int], Mistake] | None = None
    for mistake in exercise.mistakes:
        outcomes = [outcome_of(exercise, mistake.wrong, one) for one in calls[: len(given)]]
        same = [o.versus(g, exercise.atol) is None for o, g in zip(outcomes, given, strict=True)]
        if all(same) and len(given) == len(calls):
            return Recognition(mistake, sure=True)
        fails = everywhere and all(same[n] for n in wrong)
        # A second mistake may hide behind the first: it is enough to be the same up to the end of the failing stage.
        if not fails and not (in_stage and all(same[: reached + 1])):
            continue
        rank = fails, sum(same)
        if outcomes[first].versus(right[first], exercise.atol) is not None and (best is None or rank > best[0]):
            best = rank, mistake
    return Recognition(best[1], sure=False) if best else None


def _telling(outcomes: Sequence[Outcome]) -> bool:
    """Whether agreement in some results cannot be chance."""
    weight = 0
    for outcome in outcomes:
        for leaf in leaves(outcome.result):
            found = numbers(leaf)
            if found is not None:
                weight += _WEIGHTS[found[0]] * found[1].numel()
            elif isinstance(leaf, str):
                weight += len(leaf)
    return weight >= TELLING
