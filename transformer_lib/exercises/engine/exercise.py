"""What an exercise is: a declaration that the checker, the command line, the pages and the tests read."""

import contextlib
import operator
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from transformer_lib.chapters import CHAPTERS
from transformer_lib.texts import text

Kind = Literal["implement", "predict", "debug", "explore"]
Level = Literal["easy", "medium", "hard"]


class Complaint(Exception):
    """What a probe says about an answer that it cannot even run, for instance a class without the named weights."""


class Draw:
    """Small random inputs that show a mistake: no symmetry, no equal sizes, scores outside the softmax's saturation.

    Every number is rounded to two decimals, so that a failing input can be read. The same seed draws the same numbers
    in every dtype.
    """

    def __init__(self, seed: int, dtype: torch.dtype = torch.float64):
        self.generator = torch.Generator().manual_seed(seed)
        self.python = random.Random(seed)
        self.dtype = dtype

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal numbers of the given shape, in the draw's dtype."""
        numbers = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
        return numbers.mul(100).round().div(100).to(self.dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Evenly spread numbers of the given shape, in the draw's dtype."""
        numbers = low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return numbers.mul(100).round().div(100).to(self.dtype)

    def integers(self, *shape: int, low: int = 0, high: int) -> Tensor:
        """Whole numbers from ``low`` to ``high - 1``, as ``int64``."""
        return torch.randint(low, high, shape, generator=self.generator)

    def mask(self, *shape: int, keep: float = 0.6) -> Tensor:
        """A boolean mask whose every row, along the last axis, has a ``True`` and, if it can, a ``False``."""
        mask = torch.rand(shape, generator=self.generator) < keep
        if shape[-1] > 1:
            rows = mask.reshape(-1, shape[-1])
            for row in rows:
                first, second = torch.randperm(shape[-1], generator=self.generator)[:2]
                row[first], row[second] = True, False
        else:
            mask[...] = True
        return mask

    def permutation(self, n: int) -> Tensor:
        """The numbers from 0 to ``n - 1`` in a random order."""
        return torch.randperm(n, generator=self.generator)


@dataclass(frozen=True)
class Case:
    """One call of the answer: its arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def case(*args: Any, **kwargs: Any) -> Case:
    """Write a call as it would be written in code: ``case(query, key, value, mask=mask)``."""
    return Case(args, kwargs)


@dataclass(frozen=True)
class Stage:
    """One thing that is checked, by a few calls from the smallest to the largest.

    Attributes:
        name: what is looked at, to follow "It fails" and "proved": ``"with a mask"``, ``"for a single query"``.
        cases: draws the calls. The first should be as small as shows the point: it is what a learner sees.
        gradients: also compare the gradients of every floating-point argument.
    """

    name: str
    cases: Callable[[Draw], Iterable[Case]]
    gradients: bool = False


@dataclass(frozen=True)
class Mistake:
    """A misconception that can be run.

    Attributes:
        name: a short slug, unique within its exercise.
        wrong: the wrong answer: a function or class as a learner would write it, or a value for *predict*.
        says: what the learner did and why it misleads, in the second person, without the right answer.
        see: the label of the passage that clears it up, in this chapter or an earlier one; without ``sec:``.
    """

    name: str
    wrong: Any
    says: str
    see: str


#: How a measured value and a number may be related.
_RELATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq,
}  # fmt: skip
_BOUND = re.compile(r"(.+?) (<=|>=|==|<|>) (-?\d+(?:\.\d+)?(?:e-?\d+)?)")


@dataclass(frozen=True)
class Bound:
    """A measured value that must be at most, at least or exactly so large."""

    name: str
    relation: str
    value: float

    def away(self, measured: Mapping[str, Any]) -> float:
        """How far the measured value is from the bound; 0 where it is reached."""
        value = measured[self.name]
        return 0.0 if _RELATIONS[self.relation](value, self.value) else abs(float(value) - self.value)


@dataclass(frozen=True)
class Goal:
    """One thing that an open experiment must reach.

    Attributes:
        text: the goal in a few words: "at most 2,000 parameters".
        met: what :attr:`Explore.measure` must find, as ``"name <= 0.5"``: one of the measured names, a relation, a
            number. Then the report says how far the goal is. Where that does not say it, a function of all that was
            measured.
        says: what to think about if it is missed.
        see: as in :class:`Mistake`.
        wrong: an answer that misses this goal; the tests try it. A function without arguments that makes it.
    """

    text: str
    met: str | Callable[[Mapping[str, Any]], bool]
    says: str
    see: str
    wrong: Callable[[], Any]

    def __post_init__(self) -> None:
        if isinstance(self.met, str) and _BOUND.fullmatch(self.met) is None:
            raise ValueError(f"a goal is a name, one of {', '.join(_RELATIONS)}, and a number; got {self.met!r}")

    @property
    def bound(self) -> "Bound | None":
        """The goal as data; ``None`` where it is a function."""
        if not isinstance(self.met, str):
            return None
        found = _BOUND.fullmatch(self.met)
        assert found is not None
        return Bound(found[1], found[2], float(found[3]))

    def reached(self, measured: Mapping[str, Any]) -> bool:
        """Whether what was measured reaches it."""
        if (bound := self.bound) is not None:
            found = bound.name in measured  # what went too far is not measured any more
            return found and bool(_RELATIONS[bound.relation](measured[bound.name], bound.value))
        assert callable(self.met)
        return bool(self.met(measured))


def call(answer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the answer: the probe of every exercise that asks for a function."""
    return answer(*args, **kwargs)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What all four kinds share.

    Attributes:
        id: names the exercise in ``check("…")``; its label in the book is ``ex-`` and this.
        chapter: a key of :data:`transformer_lib.chapters.CHAPTERS`.
        title: as in the book.
        level: how hard.
        minutes: about how long.
        task: what to do, as the page asks it.
        hints: at least two, from a nudge to nearly the way, never the answer.
        mistakes: the misconceptions.
        core: whether it is one of the two of its chapter that every reader should do.
        seconds: how long the answer may run in a check at least; more where the book's own code takes long.
        solution: the code that the page folds away, without what it shows of it; empty where it is declared in Python.
    """

    id: str
    chapter: str
    title: str
    level: Level
    minutes: int
    task: str
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()
    core: bool = False
    seconds: float = 3.0
    solution: str = ""

    @property
    def kind(self) -> Kind:
        """Which of the four kinds it is."""
        kind: Kind = type(self).__name__.lower()  # type: ignore[assignment]
        return kind

    def __post_init__(self) -> None:
        if self.chapter not in CHAPTERS:
            raise ValueError(f"{self.id}: chapter must be one of {list(CHAPTERS)}; got {self.chapter!r}")
        if self.level not in get_args(Level):
            raise ValueError(f"{self.id}: level must be one of {get_args(Level)}; got {self.level!r}")
        if len(self.hints) < 2:
            raise ValueError(f"{self.id}: at least two hints are needed; got {len(self.hints)}")
        names = [mistake.name for mistake in self.mistakes]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.id}: the mistakes' names repeat: {names}")


@dataclass(frozen=True, kw_only=True)
class Implement(Exercise):
    """Write a function or a class.

    Attributes:
        reference: the right answer, best the library's own function or class.
        stages: what is checked, in order.
        probe: how an answer is used: ``probe(answer, *args, **kwargs)`` with a case's arguments returns the result to
            be compared: tensors, numbers, strings, or lists, tuples and dicts of them. It calls the answer unless
            given.
        ready_made: functions, and classes of layers, that the answer may not use. ``None`` stands for PyTorch's and
            the library's ready-made attention.
        allowed: what of the standard list of ready-made parts this answer may use after all.
        dtypes: the types that the answer must work in.
        atol: how far a float64 result may be off; float32 is judged by 1e-5 and at least this.
    """

    reference: Any
    stages: tuple[Stage, ...]
    probe: Callable[..., Any] = call
    ready_made: tuple[Any, ...] = ()
    allowed: tuple[Any, ...] = ()
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)
    atol: float = 1e-9


@dataclass(frozen=True, kw_only=True)
class Debug(Implement):
    """Mend given code.

    Attributes:
        given: what the broken code defines. An answer that still behaves so counts as not attempted.
        given_code: the broken code, as the chapter prints it.
    """

    given: Any = None
    given_code: str = ""


@dataclass(frozen=True, kw_only=True)
class Predict(Exercise):
    """Say what comes out before it is run.

    Attributes:
        reference: a function without arguments that computes the answer: a number, a string (the letter of a choice),
            a shape, or nested lists of numbers.
        atol: how far a number may be off.
        expects: what kind of thing to answer, to follow "Answer with": ``"a tuple of three sizes"``.
        options: the letters of a multiple choice with their texts; each wrong one needs a :class:`Mistake`.
    """

    reference: Callable[[], Any]
    expects: str
    atol: float = 1e-6
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Explore(Exercise):
    """Reach a measurable goal by experiment.

    Attributes:
        measure: what the answer achieves, from the answer and a draw of fresh data.
        goals: what must be reached, in order.
        expects: what to hand in, to follow "Answer with": ``"a trained model"``.
    """

    measure: Callable[[Any, Draw], Mapping[str, Any]]
    goals: tuple[Goal, ...]
    expects: str


class _Tampering:
    """What is changed in the weights that :func:`with_weights` copies in, to see whether a layer uses them.

    Attributes:
        names: of the parameters of the layers that were built last.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._changed = ""

    @contextlib.contextmanager
    def tampering(self, parameter: str) -> Iterator[None]:
        """Every layer that is built inside has other numbers in this parameter."""
        self._changed = parameter
        try:
            yield
        finally:
            self._changed = ""

    def weight(self, name: str, drawn: Tensor) -> Tensor:
        """What a parameter gets instead of what was drawn for it."""
        self.names[name] = None
        return drawn + Draw(1, drawn.dtype).normal(*drawn.shape) if name == self._changed else drawn


TAMPERING = _Tampering()


def with_weights(
    answer: Any, reference: Any, *args: Any, dtype: torch.dtype, seed: int = 0, **kwargs: Any
) -> nn.Module:
    """Build a learner's layer with the same random weights as the reference's.

    Args:
        answer: the learner's class.
        reference: the right class, whose parameters' names and shapes the exercise states.
        *args: what both are built with.
        dtype: of the weights.
        seed: of the weights.
        **kwargs: what both are built with, too.

    Returns:
        The learner's layer, in evaluation mode.

    Raises:
        Complaint: the answer is not a module, or its parameters' names or shapes are others.
    """
    right = reference(*args, **kwargs).to(dtype)
    draw = Draw(seed, dtype)
    drawn = {name: draw.normal(*tensor.shape, scale=0.5) for name, tensor in right.named_parameters()}
    weights = {name: TAMPERING.weight(name, tensor) for name, tensor in drawn.items()}
    built = answer(*args, **kwargs)
    if not isinstance(built, nn.Module):
        raise Complaint(text("an nn.Module is expected; got {given}", given=type(built).__name__))
    found = {name: tuple(tensor.shape) for name, tensor in built.named_parameters()}
    wanted = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if missing := [name for name in wanted if name not in found]:
        raise Complaint(
            text(
                "your layer has no parameter named {missing}; it has {found}",
                missing=_listed(missing),
                found=_listed(found),
            )
        )
    if extra := [name for name in found if name not in wanted]:
        raise Complaint(text("your layer has parameters that the task does not name: {extra}", extra=_listed(extra)))
    for name, shape in wanted.items():
        if found[name] != shape:
            raise Complaint(
                text(
                    "the parameter {name} should have the shape {shape}; yours has {given}",
                    name=name,
                    shape=shape,
                    given=found[name],
                )
            )
    built = built.to(dtype)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.copy_(weights[name])
    return built.eval()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or text("none")
