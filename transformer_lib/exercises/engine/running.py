"""Run an answer on the calls of its exercise, and keep what each gives."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer_lib.exercises.engine.comparing import Difference, difference
from transformer_lib.exercises.engine.exercise import Case, Draw, Implement, call
from transformer_lib.texts import text


@dataclass(frozen=True)
class Call:
    """One case, with its place."""

    stage: str
    gradients: bool
    dtype: torch.dtype
    case: Case


@dataclass
class Outcome:
    """What a call gave: a result with its gradients, or an exception."""

    result: Any = None
    gradients: dict[str, Any] | None = None
    error: Exception | None = None
    changed: str = ""  # the name of an input that was changed

    def versus(self, other: "Outcome", atol: float) -> Difference | None:
        """The first difference of another outcome from this one."""
        if self.error is not None or other.error is not None:
            same = _signature(self.error) == _signature(other.error)
            return None if same else Difference("type", text("one of the two raises an exception"))
        found = difference(self.result, other.result, atol)
        if found is None and self.gradients is not None:
            for name, gradient in self.gradients.items():
                given = (other.gradients or {}).get(name)
                if given is None and gradient is not None:
                    says = text("no gradient reaches `{name}`; the result is cut off from it", name=name)
                    return Difference("type", says)
                # Sums of many rounded products: a little looser than the results themselves.
                found = found or difference(gradient, given, 10 * atol, text("the gradient of {name}", name=name))
        return found


def text_of(error: Exception | None) -> str:
    """What an exception says; nothing where its own ``__str__`` is wrong, too."""
    try:
        return str(error)
    except Exception:
        return ""


def _signature(error: Exception | None) -> tuple[Any, str]:
    """What two exceptions must share to count as the same: their type, and their text without numbers."""
    return type(error), re.sub(r"\d+", "#", text_of(error)) if error is not None else ""


def is_memory(error: Exception | None) -> bool:
    """Whether memory ran out: Python's error, or PyTorch's, which is told by its text."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and re.search("can't allocate memory|not enough memory", text_of(error)) is not None
    )


def calls_of(exercise: Implement, seed: int) -> Iterator[Call]:
    """All calls of an exercise, drawn from a seed: every stage in every type."""
    for dtype in exercise.dtypes:
        for number, stage in enumerate(exercise.stages):
            for one in stage.cases(Draw(1000 * seed + number, dtype)):
                yield Call(stage.name, stage.gradients, dtype, one)


def mapped(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to every tensor in nested lists, tuples and dictionaries."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, list):
        return [mapped(function, part) for part in tree]
    if isinstance(tree, tuple) and type(tree) is tuple:
        return tuple(mapped(function, part) for part in tree)
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, np.ndarray):
        return tree.copy()
    return tree


def leaves(tree: Any) -> list[Any]:
    """What nested lists, tuples and dictionaries hold, in order."""
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]


def outcome_of(exercise: Implement, answer: Any, one: Call) -> Outcome:
    """Use an answer on fresh copies of a case's arguments."""

    def fresh(tensor: Tensor) -> Tensor:
        copy = tensor.detach().clone()
        return copy.requires_grad_() if one.gradients and copy.is_floating_point() else copy

    args, kwargs = mapped(fresh, one.case.args), mapped(fresh, one.case.kwargs)
    # Leaves that need gradients refuse changes in place, so the answer gets a stand-in.
    stand_in = (lambda t: t.clone() if t.requires_grad else t) if one.gradients else (lambda t: t)
    lent_args, lent_kwargs = mapped(stand_in, args), mapped(stand_in, kwargs)
    names = names_of(exercise, one.case)
    try:
        result = exercise.probe(answer, *lent_args, **lent_kwargs)
        outcome = Outcome(result)
        if one.gradients:
            outcome.gradients = _gradients(result, [*args, *kwargs.values()], names)
    except Exception as error:
        outcome = Outcome(error=error)
    pairs = zip(names, [*lent_args, *lent_kwargs.values()], [*one.case.args, *one.case.kwargs.values()], strict=True)
    for name, lent, kept in pairs:
        if not outcome.changed and not _unchanged(lent, kept):
            outcome.changed = name
    return outcome


def _unchanged(lent: Any, kept: Any) -> bool:
    """Whether an argument still holds what it held: tensors, arrays, lists and dictionaries; not other objects."""
    if isinstance(kept, Tensor):
        return lent.shape == kept.shape and torch.equal(_bits(lent), _bits(kept))
    if isinstance(kept, np.ndarray):
        return np.array_equal(lent, kept, equal_nan=kept.dtype.kind in "fc")
    if isinstance(kept, list | tuple):
        return len(lent) == len(kept) and all(map(_unchanged, lent, kept))
    if isinstance(kept, dict):
        return list(lent) == list(kept) and all(_unchanged(lent[key], kept[key]) for key in kept)
    return bool(lent == kept) if type(kept) in (int, str, bool) else True


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().nan_to_num(nan=12345.678) if tensor.is_floating_point() else tensor.detach()


def names_of(exercise: Implement, one: Case) -> list[str]:
    """The arguments' names as the task knows them."""
    source = exercise.reference if exercise.probe is call else exercise.probe
    try:
        parameters = list(inspect.signature(source).parameters)
    except (TypeError, ValueError):
        parameters = []
    if exercise.probe is not call:
        parameters = parameters[1:]
    numbered = [*parameters, *(text("argument {n}", n=i + 1) for i in range(len(parameters), len(one.args)))]
    return [*numbered[: len(one.args)], *one.kwargs]


def _gradients(result: Any, arguments: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Of a weighted sum of everything in the result, with regard to each argument."""
    total: Any = 0.0
    for number, leaf in enumerate(leaves(result)):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not leaf.is_meta:
            weights = Draw(number, torch.float64).normal(*leaf.shape).to(leaf.dtype)
            total = total + torch.where(leaf.isfinite(), leaf * weights, 0.0).sum()
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    return {
        name: argument.grad
        for name, argument in zip(names, arguments, strict=True)
        if isinstance(argument, Tensor) and argument.is_floating_point()
    }


def size(one: Case) -> int:
    """How many numbers a case holds: the fewer, the easier it is read."""
    return sum(leaf.numel() if isinstance(leaf, Tensor) else 1 for leaf in leaves([one.args, one.kwargs]))
