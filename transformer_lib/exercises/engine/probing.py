"""Try an answer beside the reference on changed inputs, to find out which property it breaks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transformer_lib.exercises.engine.exercise import TAMPERING, Case, Implement
from transformer_lib.exercises.engine.running import Call, Outcome, names_of, outcome_of
from transformer_lib.texts import text

#: How many calls are tried on changed inputs where the book's own code is quick, and the time they may take in all.
CALLS, SECONDS = 400, 3.0

Sort = Literal["float", "int", "bool"]


@dataclass(frozen=True)
class Part:
    """One array of numbers in the result of one call: as it should be, and as it is.

    Attributes:
        name: "result", "`result[0]`" or "gradient of `x`", to follow "your".
        expected: in float64, or bool.
        given: likewise; of the same shape.
        sort: what kind of numbers it holds.
        atol: how far they may be off.
    """

    name: str
    expected: Tensor
    given: Tensor
    sort: Sort
    atol: float

    @property
    def wrong(self) -> bool:
        return not equal(self.expected, self.given, self.atol)


@dataclass(frozen=True)
class Trial:
    """A call, what it should give, and what it gives."""

    call: Call
    right: Outcome
    given: Outcome


class Spent(Exception):
    """No more calls are to be tried."""


@dataclass
class Scene:
    """An answer that fails, and the calls that show it.

    Attributes:
        exercise: its declaration.
        answer: the learner's function or class.
        trials: calls of the stage that fails, those that fail, the smallest first.
        every: all calls.
    """

    exercise: Implement
    answer: Any
    trials: Sequence[Trial]
    every: Sequence[Trial]
    names: list[str] = field(init=False)
    _left: int = field(init=False, default=CALLS)
    _begin: float = field(init=False, default_factory=time.process_time)
    _known: dict[Any, Outcome] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.names = names_of(self.exercise, self.first.call.case)

    @property
    def first(self) -> Trial:
        return self.trials[0]

    @property
    def comparable(self) -> bool:
        """Whether what fails first has the form of the right result, and other values."""
        found = self.first.right.versus(self.first.given, self.exercise.atol)
        return found is not None and found.what in ("value", "nan", "length")

    def arguments(self, trial: Trial | None = None) -> list[Any]:
        one = (trial or self.first).call.case
        return [*one.args, *one.kwargs.values()]

    def right(self, changes: "Changes", trial: Trial | None = None) -> Outcome:
        """What the reference gives with some arguments changed."""
        return self._tried(self.exercise.reference, "right", changes, trial or self.first)

    def given(self, changes: "Changes", trial: Trial | None = None) -> Outcome:
        """What the answer gives with some arguments changed."""
        return self._tried(self.answer, "given", changes, trial or self.first)

    def tampered(self, answer: Any, parameter: str) -> Outcome:
        """What a layer gives when one of its weights is another."""
        with TAMPERING.tampering(parameter):
            return self._run(answer, self.first.call)

    def _tried(self, answer: Any, which: str, changes: "Changes", trial: Trial) -> Outcome:
        key = (which, id(trial), changes.key)
        if key not in self._known:
            one = trial.call
            values = self.arguments(trial)
            for number, value in changes.values.items():
                values[number] = value
            n = len(one.case.args)
            case = Case(tuple(values[:n]), dict(zip(one.case.kwargs, values[n:], strict=True)))
            self._known[key] = self._run(answer, replace(one, gradients=False, case=case))
        return self._known[key]

    def _run(self, answer: Any, one: Call) -> Outcome:
        if self._left <= 0 or time.process_time() - self._begin > SECONDS:
            raise Spent
        self._left -= 1
        return outcome_of(self.exercise, answer, replace(one, gradients=False))

    def same(self, one: Outcome, other: Outcome) -> bool:
        """Whether two outcomes are the same result."""
        return one.error is None and one.versus(replace(other, gradients=None), self.exercise.atol) is None

    def wrong_parts(self, trial: Trial) -> list[Part]:
        """The parts of a call's result that are wrong; its gradients, where the result itself is right."""
        atol = self.atol(trial)
        found = [part for part in parts(trial.right.result, trial.given.result, atol) or () if part.wrong]
        if not found and trial.right.gradients and trial.given.gradients:
            for name, gradient in trial.right.gradients.items():
                other = trial.given.gradients.get(name)
                pair = (
                    parts(gradient, other, 10 * atol, text("gradient of `{name}`", name=name))
                    if gradient is not None
                    else None
                )
                found += [part for part in pair or () if part.wrong]
        return found

    def atol(self, trial: Trial) -> float:
        narrow = trial.call.dtype != torch.float64
        return max(self.exercise.atol, 1e-5) if narrow else self.exercise.atol


@dataclass(frozen=True)
class Changes:
    """Other values for some arguments, by number; the key names them."""

    key: Any
    values: dict[int, Any]


def equal(one: Tensor, other: Tensor, atol: float) -> bool:
    """Whether two arrays hold the same numbers."""
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=atol, atol=atol, equal_nan=True
    )


def parts(expected: Any, given: Any, atol: float, name: str | None = None) -> list[Part] | None:
    """The arrays of numbers in a result; ``None`` if the two are not built alike."""
    name = name or text("result")
    one, other = numbers(expected), numbers(given)
    if one is not None and other is not None:
        sort, value = one
        if other[0] != sort or value.shape != other[1].shape or not value.numel():
            return None
        return [Part(name, value, other[1], sort, atol)]
    inside = name.strip("`")
    if isinstance(expected, dict) and isinstance(given, dict) and set(expected) == set(given):
        pairs = [(f"`{inside}[{key!r}]`", value, given[key]) for key, value in expected.items()]
    elif isinstance(expected, list | tuple) and isinstance(given, list | tuple) and len(expected) == len(given):
        both = zip(expected, given, strict=True)
        pairs = [(f"`{inside}[{n}]`", value, other_value) for n, (value, other_value) in enumerate(both)]
    else:
        return [] if type(expected) is type(given) else None
    found = [parts(value, other_value, atol, part) for part, value, other_value in pairs]
    return None if any(one is None for one in found) else [part for one in found if one for part in one]


def numbers(thing: Any) -> tuple[Sort, Tensor] | None:
    """A tensor, array, number or list of numbers as one tensor, or ``None``."""
    if isinstance(thing, list | tuple) and thing and all(type(one) in (int, float, bool) for one in thing):
        thing = torch.tensor(thing, dtype=torch.float64 if any(type(one) is float for one in thing) else None)
    if isinstance(thing, np.ndarray | np.generic):
        thing = torch.from_numpy(np.array(thing)) if np.asarray(thing).dtype.kind in "fiub" else None
    if type(thing) in (int, float, bool):
        thing = torch.tensor(thing, dtype=torch.float64 if type(thing) is float else None)
    if not isinstance(thing, Tensor) or thing.layout != torch.strided or thing.device.type != "cpu":
        return None
    value = thing.detach()
    if value.dtype == torch.bool:
        return "bool", value
    if value.is_complex():
        return None
    return "float" if value.is_floating_point() else "int", value.double()


# ---- Other values for an argument.


def disturbed(value: Any, seed: int) -> Any:
    """Another value of the same kind, drawn at random; ``None`` where none is known."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(value, Tensor) and value.numel():
        if value.dtype == torch.bool:
            return value ^ (torch.rand(value.shape, generator=generator) < 0.5)
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            return torch.where(value.isfinite(), value + noise.to(value.dtype), value)
        flat = value.flatten()
        return flat[torch.randint(flat.numel(), flat.shape, generator=generator)].reshape(value.shape)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
        return value + torch.randn(value.shape, generator=generator, dtype=torch.float64).numpy()
    if type(value) is bool:
        return not value
    if type(value) is float:
        return value * (1.25, 0.8, 1.1, 0.9)[seed % 4]
    if type(value) is int:
        return value + (1, -1, 2, 3)[seed % 4] if value > 1 else value + 1 + seed
    if isinstance(value, list) and len(value) > 1:
        order = torch.randperm(len(value), generator=generator).tolist()
        return [value[n] for n in order]
    return None


def at(value: Tensor, axis: int, position: int, seed: int) -> Tensor | None:
    """A tensor with other numbers at one position of an axis; ``None`` where there are no others."""
    generator = torch.Generator().manual_seed(seed)
    changed = value.detach().clone()
    row = changed.select(axis, position)
    if value.dtype == torch.bool:
        row.logical_not_()
    elif value.is_floating_point():
        row += torch.randn(row.shape, generator=generator, dtype=torch.float64).to(row.dtype)
    else:
        low, high = int(value.min()), int(value.max())
        if low == high:
            return None
        row.copy_(low + (row - low + 1) % (high - low + 1))
    return changed


def instead(name: str, value: Any, wide: Sequence[tuple[str, float]]) -> Iterator[tuple[str, Any]]:
    """Other values of an argument that a mistake may amount to, in words that follow "the right one for …"."""
    if isinstance(value, Tensor | np.ndarray):
        yield from _other_arrays(name, value, wide)
    elif type(value) is bool:
        yield f"`{name}={not value}`", not value
    elif type(value) in (int, float):
        yield text("a `{name}` of {value:.4g}, one more", name=name, value=value + 1), value + 1
        yield text("a `{name}` of {value:.4g}, one less", name=name, value=value - 1), value - 1
        for words, factor in wide:
            if (factor > 0 and float(value) * factor == round(float(value) * factor)) or type(value) is float:
                yield text("a `{name}` that is {words}", name=name, words=words), type(value)(value * factor)
        if type(value) is float and value > 0:
            yield text("the square of `{name}`", name=name), value**2
            yield text("the square root of `{name}`", name=name), value**0.5
            yield text("one over `{name}`", name=name), 1 / value
            yield text("1 − `{name}`", name=name), 1 - value
        yield text("a `{name}` of 0", name=name), type(value)(0)
        yield text("a `{name}` of 1", name=name), type(value)(1)
    elif isinstance(value, list) and len(value) > 1:
        yield text("`{name}` backwards", name=name), value[::-1]
        yield text("`{name}` without its last element", name=name), value[:-1]
        yield text("`{name}` without its first element", name=name), value[1:]


def _other_arrays(
    name: str, value: Tensor | np.ndarray, wide: Sequence[tuple[str, float]]
) -> Iterator[tuple[str, Any]]:
    flip: Callable[..., Any] = torch.flip if isinstance(value, Tensor) else np.flip
    sort = numbers(value)
    if sort is None or not sort[1].numel():
        return
    if sort[0] == "bool":
        yield text("the opposite of `{name}`, with True and False exchanged", name=name), ~value
        yield text("a `{name}` that is True everywhere", name=name), value | True
        yield text("a `{name}` that is False everywhere", name=name), value & False
    elif sort[0] == "float":
        yield text("a `{name}` that is 0 everywhere", name=name), value * 0
        yield text("a `{name}` of the opposite sign", name=name), -value
        for words, factor in wide:
            yield text("a `{name}` that is {words}", name=name, words=words), value * factor
        centered = (
            value - (value.mean(-1, keepdim=True) if isinstance(value, Tensor) else value.mean(-1, keepdims=True))
            if value.ndim
            else value
        )
        yield text("a `{name}` whose mean was subtracted", name=name), centered
    else:
        yield text("a `{name}` whose numbers are all one larger", name=name), value + 1
        yield text("a `{name}` whose numbers are all one smaller", name=name), value - 1
    if value.ndim >= 2:
        turned = value.mT if isinstance(value, Tensor) else value.swapaxes(-1, -2)
        yield text("a `{name}` with its last two axes exchanged", name=name), turned
        if isinstance(value, Tensor) and value.shape[-1] == value.shape[-2] and sort[0] == "bool":
            yield text("a `{name}` without what lies above the diagonal", name=name), value.tril()
            yield text("a `{name}` without what lies below the diagonal", name=name), value.triu()
    for axis in range(-1, -1 - min(value.ndim, 3), -1):
        if value.shape[axis] > 1:
            yield text("a `{name}` that is reversed along axis {axis}", name=name, axis=axis), flip(value, (axis,))
            rolled = value.roll if isinstance(value, Tensor) else lambda by, axis, v=value: np.roll(v, by, axis)
            yield text("a `{name}` that is moved by one along axis {axis}", name=name, axis=axis), rolled(1, axis)
            yield text("a `{name}` that is moved back by one along axis {axis}", name=name, axis=axis), rolled(-1, axis)
