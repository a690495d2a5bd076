"""Which mistake it is: the misconception whose results an answer gives."""

from torch import Tensor

from transformer_lib.exercises.engine.exercise import Implement, Mistake
from transformer_lib.exercises.engine.running import Call, Outcome, leaves, outcome_of


def recognized(
    exercise: Implement, calls: list[Call], right: list[Outcome], given: list[Outcome], wrong: list[int]
) -> Mistake | None:
    """The misconception that gives the same results; best in every call, else up to the stage that fails."""
    first = wrong[0]
    reached = [n for n, one in enumerate(calls) if (one.stage, one.dtype) == (calls[first].stage, calls[first].dtype)]
    telling = any(
        isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 1
        for leaf in leaves(given[first].result)
    )
    best: tuple[int, Mistake] | None = None
    for mistake in exercise.mistakes:
        outcomes = [outcome_of(exercise, mistake.wrong, one) for one in calls[: len(given)]]
        same = [o.versus(g, exercise.atol) is None for o, g in zip(outcomes, given, strict=True)]
        if all(same) and len(given) == len(calls):
            return mistake
        # A second mistake may hide behind the first: it is enough to be the same up to the end of the failing stage.
        differs = outcomes[first].versus(right[first], exercise.atol) is not None
        if telling and differs and all(same[: reached[-1] + 1]) and (best is None or sum(same) > best[0]):
            best = sum(same), mistake
    return best[1] if best else None
