"""Which property a wrong answer breaks, found by trying it beside the reference: no exercise declares anything.

Each law is a small function that returns a whole sentence, or ``None`` where it does not hold for certain. First come
those that say what the result *is* (the right one times √3, turned, for the opposite mask), then those that say what it
depends on, last those that say where it is wrong.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transformer_lib.exercises.engine.exercise import TAMPERING, Implement
from transformer_lib.exercises.engine.probing import (
    Changes,
    Part,
    Scene,
    Spent,
    Trial,
    at,
    disturbed,
    equal,
    instead,
    numbers,
    parts,
)
from transformer_lib.exercises.engine.running import Outcome
from transformer_lib.texts import text, translated


@dataclass(frozen=True)
class Broken:
    """A law that an answer breaks.

    Attributes:
        law: its name.
        says: what is wrong, in a sentence.
    """

    law: str
    says: str


def broken(exercise: Implement, answer: Any, trials: Sequence[Trial], every: Sequence[Trial] = ()) -> Broken | None:
    """The first law that an answer certainly breaks.

    Args:
        exercise: its declaration.
        answer: the learner's function or class.
        trials: calls of one stage in which it fails without an exception, the smallest first.
        every: all calls of the exercise, also those in which it does not fail.
    """
    scene = Scene(exercise, answer, trials, every or trials)
    wrong = [scene.wrong_parts(trial) for trial in trials]
    try:
        for law in OF_NUMBERS if scene.comparable else ():
            for part in wrong[0]:
                alike = [other for one in wrong for other in one if other.name == part.name]
                if says := law(scene, alike):
                    return Broken(law.__name__.strip("_"), says)
        behavior = OF_BEHAVIOR if scene.comparable else OF_FORM
        for of_behavior in behavior:
            if says := of_behavior(scene):
                return Broken(of_behavior.__name__.strip("_"), says)
    except Spent:
        pass
    for law in OF_PLACES:
        for part in wrong[0]:
            if says := law(scene, [part]):
                return Broken(law.__name__.strip("_"), says)
    return None


# ---- What the result is.


def _not_finite(scene: Scene, found: list[Part]) -> str | None:
    """Infinity, or what is no number, where there should be numbers; or the other way round."""
    part = found[0]
    if part.sort != "float":
        return None
    total = part.given.numel()
    bad, missing = ~part.given.isfinite() & part.expected.isfinite(), part.given.isfinite() & ~part.expected.isfinite()
    if bad.any():
        nan, low = part.given[bad].isnan(), (part.given[bad] < 0).all()
        word = text("infinity or nan") if nan.any() and not nan.all() else _not_a_number(bool(nan.any()), bool(low))
        says = text(
            "Your {name} holds {word} at {n} of {total} places where a number should be.",
            name=part.name,
            word=word,
            n=int(bad.sum()),
            total=total,
        )
        inputs = [numbers(one) for one in scene.arguments()]
        largest = max((float(one[1].double().abs().max()) for one in inputs if one and one[1].numel()), default=0.0)
        if 80 < largest < math.inf and not missing.any():
            return f"{says} {text('An input is as large as {largest:.4g}: what overflows?', largest=largest)}"
        return says
    if missing.any():
        word = _not_a_number(bool(part.expected[missing].isnan().any()), bool((part.expected[missing] < 0).all()))
        return text(
            "Your {name} holds a number at {n} of {total} places where {word} should be.",
            name=part.name,
            n=int(missing.sum()),
            total=total,
            word=word,
        )
    return None


def _not_a_number(nan: bool, negative: bool) -> str:
    return "nan" if nan else text("−infinity") if negative else text("infinity")


def _factor(scene: Scene, found: list[Part]) -> str | None:
    """A constant times the right result; where it can be told, which one."""
    factors = []
    for part in found:
        squares = float((part.expected * part.expected).sum()) if part.sort == "float" else 0.0
        if not squares or not math.isfinite(squares):
            return None
        factors.append(float((part.given * part.expected).sum()) / squares)
        if not equal(part.expected * factors[-1], part.given, part.atol) or factors[-1] == 0.0:
            return None
    single = all(part.expected.numel() == 1 for part in found)
    constant = max(factors) - min(factors) <= 1e-6 * abs(factors[0])
    if single and (len(factors) < 2 or not (constant or _which(scene, found, factors))):
        return None
    name, factor = found[0].name, factors[0]
    if constant and abs(factor + 1) < 1e-6:
        return text("Your {name} has the wrong sign everywhere.", name=name)
    if which := _which(scene, found, factors):
        return text("Your {name} is {factor:.4g} times the right one: {which}.", name=name, factor=factor, which=which)
    if constant:
        return text("Your {name} is {factor:.4g} times the right one, everywhere.", name=name, factor=factor)
    return text("Your {name} is {factor:.4g} times the right one in this call, everywhere.", name=name, factor=factor)


def _which(scene: Scene, found: list[Part], factors: Sequence[float]) -> str:
    """What a factor is, if it is the same function of the same size in several calls."""
    if len(found) != len(scene.trials) or max(factors) - min(factors) <= 1e-6 * abs(factors[0]):
        return ""
    sizes = [dict(_sizes(scene, trial)) for trial in scene.trials]
    for size in sizes[0]:
        holes = {"value": sizes[0][size], "size": size}
        for power, says in (
            (1.0, text("{value:g}, {size}", **holes)),
            (0.5, text("the square root of {value:g}, {size}", **holes)),
            (-1.0, text("one over {value:g}, {size}", **holes)),
            (-0.5, text("one over the square root of {value:g}, {size}", **holes)),
            (2.0, text("the square of {value:g}, {size}", **holes)),
        ):
            if all(size in one and one[size] > 0 and math.isclose(one[size] ** power, factor, rel_tol=1e-5)
                   for one, factor in zip(sizes, factors, strict=True)):  # fmt: skip
                return says
    return ""


def _sizes(scene: Scene, trial: Trial) -> Iterator[tuple[str, float]]:
    """The sizes in a call that a learner knows, by a name."""
    for name, value in zip(scene.names, scene.arguments(trial), strict=False):
        if isinstance(value, Tensor | np.ndarray):
            for axis in range(-1, -1 - min(value.ndim, 3), -1):
                yield text("the size of `{name}` along axis {axis}", name=name, axis=axis), value.shape[axis]
        elif type(value) in (int, float):
            yield text("the value of `{name}`", name=name), float(value)
        elif isinstance(value, list):
            yield text("the length of `{name}`", name=name), len(value)


def _offset(scene: Scene, found: list[Part]) -> str | None:
    by = [(part.given - part.expected).flatten() for part in found if part.sort != "bool"]
    if len(by) < len(found) or sum(one.numel() for one in by) < 2 or (len(found) < 2 and found[0].expected.numel() < 3):
        return None
    every = torch.cat(by)
    if not equal(every, every[:1].expand_as(every), 10 * found[0].atol) or not every.isfinite().all():
        return None
    holes = {"name": found[0].name, "by": abs(float(every[0]))}
    if every[0] > 0:
        return text("Your {name} is everywhere {by:.4g} more than it should be.", **holes)
    return text("Your {name} is everywhere {by:.4g} less than it should be.", **holes)


def _rearranged(scene: Scene, found: list[Part]) -> str | None:
    """The right numbers in another order."""
    name = found[0].name
    if sum(part.expected.numel() * (1 + (part.sort == "float")) for part in found) < 8:
        return None  # chance
    for words, moved in _orders(found[0].expected):
        if not all(_fits(part, moved) for part in found):
            continue
        return text("Your {name} holds the right numbers, but {words}.", name=name, words=words)
    if all(part.expected.numel() > 3 and part.expected.unique().numel() > 3 for part in found) and all(
        equal(part.expected.flatten().sort()[0], part.given.flatten().sort()[0], part.atol) for part in found
    ):
        return text("Your {name} holds the right numbers, but in another order.", name=name)
    return None


def _fits(part: Part, moved: Callable[[Tensor], Tensor]) -> bool:
    try:
        other = moved(part.expected)
    except (RuntimeError, IndexError):
        return False
    return equal(other, part.given, part.atol)


def _orders(expected: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    if expected.ndim >= 2:
        yield text("its last two axes are exchanged"), lambda t: t.mT
    for axis in range(-1, -1 - expected.ndim, -1):
        yield text("in the opposite order along axis {axis}", axis=axis), partial(torch.flip, dims=(axis,))
        yield text("moved by one place along axis {axis}", axis=axis), partial(torch.roll, shifts=1, dims=axis)
        yield text("moved back by one place along axis {axis}", axis=axis), partial(torch.roll, shifts=-1, dims=axis)
    for one, other in itertools.combinations(range(expected.ndim), 2):
        yield (
            text("its axes {one} and {other} are exchanged", one=one, other=other),
            partial(torch.transpose, dim0=one, dim1=other),
        )


_FUNCTIONS: Sequence[tuple[str, Callable[[Tensor], Tensor]]] = (
    ("the logarithm of the right one", torch.log),
    ("the exponential function of the right one", torch.exp),
    ("the square of the right one", torch.square),
    ("the square root of the right one", torch.sqrt),
    ("one over the right one", torch.reciprocal),
    ("1 minus the right one", lambda t: 1 - t),
    ("the right one without its signs", torch.abs),
    ("the right one with 0 in place of negative numbers", torch.relu),
    ("the right one, and a softmax too many", lambda t: t.softmax(-1)),
)  # fmt: skip


def _function(scene: Scene, found: list[Part]) -> str | None:
    """Some function of the right result, number by number."""
    if any(part.sort != "float" for part in found) or sum(part.expected.numel() for part in found) < 2:
        return None
    for words, function in _FUNCTIONS:
        if all(
            not (words.endswith("many") and not part.expected.ndim)
            and equal(function(part.expected), part.given, part.atol)
            and part.given.unique().numel() > min(3, part.given.numel() - 1)
            for part in found
        ):
            return text("Your {name} is {words}.", name=found[0].name, words=translated(words))
    return None


def _sums(scene: Scene, found: list[Part]) -> str | None:
    """Rows that should sum to 1, or have mean 0 or spread 1, and do not."""
    for part in found:
        expected, given = part.expected, part.given
        if part.sort != "float" or not expected.ndim or not given.isfinite().all():
            continue
        for axis in range(-1, -1 - expected.ndim, -1):
            if expected.shape[axis] < 2:
                continue
            for words, property_, wanted, loose in _PROPERTIES:
                right, yours = property_(expected, axis), property_(given, axis)
                kept = (right - wanted).abs() <= loose
                blind = (expected == 0).all(axis) if wanted == 1.0 else torch.zeros_like(kept)
                if not (kept | blind).all() or not kept.any() or (wanted != 1.0 and right.numel() < 2):
                    continue
                off = ((yours - right).abs() > 10 * loose + 1e-6).nonzero()
                if not len(off):
                    continue
                first = tuple(off[0].tolist())
                wanted_here, here = round(float(right[first])), float(yours[first])
                holes = {
                    "axis": axis,
                    "what": translated(words),
                    "name": part.name,
                    "wanted": wanted_here,
                    "here": here,
                }
                if first:
                    says = text(
                        "Along axis {axis} the {what} of your {name} should be {wanted}; yours is {here:.4g} at "
                        "{place}.",
                        place=list(first),
                        **holes,
                    )
                else:
                    says = text(
                        "Along axis {axis} the {what} of your {name} should be {wanted}; yours is {here:.4g}.", **holes
                    )
                for other in range(-1, -1 - expected.ndim, -1):
                    along = property_(given, other)
                    if other != axis and ((along - wanted).abs() <= loose).all():
                        return f"{says} {text('They do along axis {axis}.', axis=other)}"
                return says
    return None


_PROPERTIES: Sequence[tuple[str, Callable[[Tensor, int], Tensor], float, float]] = (
    ("sum", lambda t, axis: t.sum(axis), 1.0, 1e-5),
    ("mean", lambda t, axis: t.mean(axis), 0.0, 1e-6),
    ("root mean square", lambda t, axis: t.square().mean(axis).sqrt(), 1.0, 1e-3),
    ("length (norm)", lambda t, axis: t.norm(dim=axis), 1.0, 1e-5),
)


def _temperature(scene: Scene, found: list[Part]) -> str | None:
    """The softmax of scores that are a constant times the right ones."""
    factors = []
    for part in found:
        if part.sort != "float" or not part.expected.ndim or (part.expected < 0).any() or (part.given < 0).any():
            return None
        right, yours = part.expected.flatten(0, -2), part.given.flatten(0, -2)
        if part.expected.ndim == 1:
            right, yours = part.expected[None], part.given[None]
        if not equal(right.sum(-1).round(), right.sum(-1), 1e-6) or not equal(yours.sum(-1), right.sum(-1), 1e-6):
            return None
        seen = (right > 1e-12) & (yours > 1e-12)
        if ((right > 1e-6) & (yours == 0)).any() or ((yours > 1e-6) & (right == 0)).any():
            return None
        logs = [torch.where(seen, one.clamp_min(1e-300).log(), 0.0) for one in (right, yours)]
        logs = [torch.where(seen, one - one.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True), 0.0) for one in logs]
        if int(seen.sum()) < 4 or float(logs[0].square().sum()) < 1e-6:
            return None
        factors.append(float((logs[0] * logs[1]).sum() / logs[0].square().sum()))
        if not equal(logs[0] * factors[-1], logs[1], 1e-5):
            return None
    factor, constant = factors[0], max(factors) - min(factors) <= 1e-5 * abs(factors[0])
    if abs(factor) < 1e-6:
        return None
    holes = {"name": found[0].name, "factor": factor}
    if which := _which(scene, found, factors):
        return text(
            "Your {name} is the softmax of scores that are {factor:.4g} times the right ones: {which}.",
            which=which,
            **holes,
        )
    if constant:
        return text("Your {name} is the softmax of scores that are {factor:.4g} times the right ones.", **holes)
    return text(
        "Your {name} is the softmax of scores that are {factor:.4g} times the right ones in this call.", **holes
    )


def _shape_of_rows(scene: Scene, found: list[Part]) -> str | None:
    """All equal, one takes all, no row differs from another: where the right result is otherwise."""
    part = found[0]
    if part.sort != "float" or not part.expected.ndim or part.expected.shape[-1] < 2:
        return None
    if not part.given.isfinite().all():
        return None
    if (part.given == 0).all() and part.given.numel() > 1:
        return text("Your {name} is 0 everywhere.", name=part.name)
    for axis in range(-1, -1 - part.expected.ndim, -1):
        if part.expected.shape[axis] < 2:
            continue
        spread = [float((one.amax(axis) - one.amin(axis)).min()) for one in (part.expected, part.given)]
        widest = float((part.given.amax(axis) - part.given.amin(axis)).max())
        if widest <= 1e-9 and spread[0] > 1e-3:
            return text(
                "Along axis {axis} all numbers of your {name} are equal; they should differ.", axis=axis, name=part.name
            )
    one_hot = ((part.given == 0) | (part.given == 1)).all() and (part.given.sum(-1) == 1).all()
    if one_hot and not ((part.expected == 0) | (part.expected == 1)).any():
        return text(
            "In each row of your {name} one place takes all. The right result is smooth: every place gets some.",
            name=part.name,
        )
    return None


def _same_direction(scene: Scene, found: list[Part]) -> str | None:
    """Right but for a factor, or a summand, of each row or column."""
    part = found[0]
    if part.sort != "float" or part.expected.ndim < 2 or not part.given.isfinite().all():
        return None
    for axis in (-1, -2):
        if part.expected.shape[axis] < 3 or not all(
            one.expected.ndim >= 2 and one.expected.shape[axis] >= 2 and one.sort == "float" for one in found
        ):
            continue
        holes = {"line": text("row") if axis == -1 else text("column"), "name": part.name}
        if all(_proportional(one, axis) for one in found):
            ratio = ((part.given * part.expected).sum(axis) / part.expected.square().sum(axis)).flatten()
            ratio = ratio[ratio.isfinite()]
            low, high = float(ratio.min()), float(ratio.max())
            return text(
                "Each {line} of your {name} is the right one times a number of its own, between {low:.3g} and "
                "{high:.3g}.",
                **(holes | {"low": low, "high": high}),
            )
        if all(_shifted(one, axis) for one in found):
            by = (part.given - part.expected).mean(axis)
            low, high = float(by.min()), float(by.max())
            return text(
                "Each {line} of your {name} is the right one plus a number of its own, between {low:.3g} and "
                "{high:.3g}.",
                **(holes | {"low": low, "high": high}),
            )
    return None


def _proportional(part: Part, axis: int) -> bool:
    square = part.expected.square().sum(axis, keepdim=True)
    ratio = (part.given * part.expected).sum(axis, keepdim=True) / square.clamp_min(1e-30)
    return bool((ratio.abs() > 1e-9).all()) and equal(part.expected * ratio, part.given, 1e2 * part.atol)


def _shifted(part: Part, axis: int) -> bool:
    by = (part.given - part.expected).mean(axis, keepdim=True)
    return equal(part.expected + by, part.given, 1e2 * part.atol)


def _truth(scene: Scene, found: list[Part]) -> str | None:
    """A mask that hides too much, or too little, and where."""
    if any(part.sort != "bool" for part in found):
        return None
    name = found[0].name
    if all(bool((part.given != part.expected).all()) for part in found) and found[0].expected.numel() > 2:
        return text(
            "Your {name} is the opposite of the right one: True where it should be False, and False for True.",
            name=name,
        )
    more = [part.given & ~part.expected for part in found]
    less = [part.expected & ~part.given for part in found]
    for which, other, truth in ((more, less, True), (less, more, False)):
        if not any(bool(one.any()) for one in other) and found[0].expected.ndim:
            holes = {"name": name, "truth": truth, "n": int(which[0].sum()), "total": which[0].numel()}
            where = _diagonal(which)
            return text(
                "Your {name} is {truth} at {n} of {total} places where it should not be{where}, and never the other "
                "way round.",
                where=where,
                **holes,
            )
    above, below = _diagonal(more), _diagonal(less)
    if above or below:
        return text(
            "Your {name} is True where it should be False{above}, and False where it should be True{below}.",
            name=name,
            above=above,
            below=below,
        )
    return None


def _diagonal(which: Sequence[Tensor]) -> str:
    if any(one.ndim < 2 or one.shape[-1] < 2 or one.shape[-2] < 2 for one in which):
        return ""
    for where, first, last in (
        (text(", all of them above the diagonal"), 1, 99),
        (text(", all of them below the diagonal"), -99, -1),
        (text(", all of them on the diagonal"), 0, 0),
    ):
        if all(torch.equal(one.triu(first).tril(last), one) for one in which):
            return where
    return ""


def _range(scene: Scene, found: list[Part]) -> str | None:
    """Negative numbers where none should be; more than 1 where that is the most."""
    name = found[0].name
    every = [parts(one.right.result, one.right.result, 0.0) or () for one in scene.every if one.right.error is None]
    right = [part.expected.double() for each in every for part in each if part.name == name and part.sort != "bool"]
    if sum(one.numel() for one in right) < 24:
        return None
    low, high = min(float(one.min()) for one in right), max(float(one.max()) for one in right)
    least, most = min(float(one.given.min()) for one in found), max(float(one.given.max()) for one in found)
    if low >= 0 and least < -1e-6:
        return text(
            "Your {name} holds negative numbers, down to {least:.4g}. There should be none.", name=name, least=least
        )
    if low >= 0 and high <= 1 and most > 1 + 1e-6:
        return text("Your {name} holds numbers up to {most:.4g}. None should be more than 1.", name=name, most=most)
    return None


def _beside_inputs(scene: Scene, found: list[Part]) -> str | None:
    """An input is in it too often or too seldom, or what is added to one is too much, too little, or negative."""
    if len(found) != len(scene.trials) or any(part.sort != "float" for part in found):
        return None
    name = found[0].name
    for number, argument in enumerate(scene.names):
        inputs = [numbers(scene.arguments(trial)[number]) for trial in scene.trials]
        pairs = [
            (part, _fitting(one[1], part)) for part, one in zip(found, inputs, strict=True) if one and one[0] == "float"
        ]
        if len(pairs) < len(found) or any(value is None for _, value in pairs):
            continue
        extra = _multiple([(part.given - part.expected, value, part) for part, value in pairs if value is not None])
        if extra and abs(2 * extra - round(2 * extra)) < 1e-6:
            holes = {"name": name, "argument": argument, "times": abs(extra)}
            if extra > 0:
                return text("Your {name} is the right one with `{argument}` in it {times:.4g} times too much.", **holes)
            return text("Your {name} is the right one with `{argument}` in it {times:.4g} times too little.", **holes)
        change = _multiple([(p.given - value, p.expected - value, p) for p, value in pairs if value is not None])
        if change == 0:
            return text("Your {name} is `{argument}` itself: nothing was done to it.", name=name, argument=argument)
        if change:
            return text(
                "What you add to `{argument}` is {change:.4g} times what should be added.",
                argument=argument,
                change=change,
            )
        rows = [(p, p.given - value, p.expected - value) for p, value in pairs if value is not None]
        if all(_row_multiples(p, whole, base) for p, whole, base in rows):
            return text(
                "What you add to `{argument}` is, in each row, the right thing times a number of its own.",
                argument=argument,
            )
        rows = [(p, p.given - p.expected, value) for p, value in pairs if value is not None]
        if all(_row_multiples(p, whole, base) for p, whole, base in rows):
            return text("Each row of your {name} is off by a multiple of `{argument}`.", name=name, argument=argument)
        times = [
            value for part, value in pairs if value is not None and equal(part.expected * value, part.given, part.atol)
        ]
        if len(times) == len(pairs):
            return text("Your {name} is the right one times `{argument}`.", name=name, argument=argument)
    return None


def _fitting(value: Tensor, part: Part) -> Tensor | None:
    """An input as large as a part; ``None`` where it cannot be, or holds one number."""
    try:
        return value.expand_as(part.expected) if value.numel() > 1 else None
    except RuntimeError:
        return None


def _row_multiples(part: Part, whole: Tensor, base: Tensor) -> bool:
    """Whether each row of the first is a multiple of that row of the second, and there are rows enough to tell."""
    squares = base.square().sum(-1, keepdim=True)
    if base.ndim < 2 or base.shape[-1] < 3 or not bool((squares > 1e-12).all()):
        return False
    factors = (whole * base).sum(-1, keepdim=True) / squares
    return equal(part.expected + factors * base, part.expected + whole, 10 * part.atol)


def _multiple(pairs: Sequence[tuple[Tensor, Tensor, Part]]) -> float | None:
    """The number by which all the first are multiples of the second."""
    squares = sum(float(base.square().sum()) for _, base, _ in pairs)
    if not squares > 1e-12 or not math.isfinite(squares):
        return None
    factor = sum(float((whole * base).sum()) for whole, base, _ in pairs) / squares
    fits = all(
        equal(part.expected + factor * base, part.expected + whole, 10 * part.atol) for whole, base, part in pairs
    )
    return (0.0 if abs(factor) < 1e-9 else factor) if fits else None


def _rounded(scene: Scene, found: list[Part]) -> str | None:
    """Right but for rounding in a narrower type."""
    if scene.first.call.dtype != torch.float64 or any(part.sort != "float" for part in found):
        return None
    largest = 0.0
    for part in found:
        if not (part.given.isfinite().all() and part.expected.isfinite().all()):
            return None
        scale = float(part.expected.abs().max())
        largest = max(largest, float((part.given - part.expected).abs().max()) / max(scale, 1e-300))
    if largest > 1e-4:
        return None
    return text(
        "Your {name} is nearly right, but off by {largest:.1e} of its largest number: more than rounding in float64. "
        "Is something rounded, or turned into another type?",
        name=found[0].name,
        largest=largest,
    )


def _exchanged(scene: Scene) -> str | None:
    """The parts of the result in another order."""
    for trial in scene.trials:
        expected, given = trial.right.result, trial.given.result
        if not (isinstance(expected, tuple) and isinstance(given, tuple | list) and len(expected) == len(given) > 1):
            return None
        found = parts(list(expected[::-1]), list(given), scene.atol(trial))
        if not found or any(part.wrong for part in found):
            return None
    return text("You return the right results in another order.")


# ---- What it depends on.


def _right_for(scene: Scene) -> str | None:
    """The right result, but for other inputs than those that were given."""
    if not _telling(scene):
        return None
    wide = [*_constants(), *_roots(scene, scene.first)]
    values = scene.arguments()
    for number, (name, value) in enumerate(zip(scene.names, values, strict=True)):
        for order, (words, _) in enumerate(instead(name, value, wide)):
            if all(_same_for(scene, trial, number, name, order) for trial in scene.trials[:3]):
                return text("Your result is the right one for {words}.", words=words)
    for one, other in itertools.combinations(range(len(values)), 2):
        alike = type(values[one]) is type(values[other]) and isinstance(values[one], Tensor | np.ndarray | int)
        if alike and all(_same_exchanged(scene, trial, one, other) for trial in scene.trials[:3]):
            return text(
                "Your result is the right one if `{one}` and `{other}` are exchanged.",
                one=scene.names[one],
                other=scene.names[other],
            )
    return None


def _telling(scene: Scene) -> bool:
    """Whether agreement cannot be chance: the failing calls have several numbers, or there are several calls."""
    found = [parts(trial.right.result, trial.right.result, 0.0) or () for trial in scene.trials]
    weights = {"float": 4, "int": 2, "bool": 1}
    return len(scene.trials) > 2 or sum(weights[p.sort] * p.expected.numel() for one in found for p in one) >= 6


def _constants() -> list[tuple[str, float]]:
    """Factors that often get lost, in words."""
    return [(text("twice as large"), 2.0), (text("half as large"), 0.5)]


def _roots(scene: Scene, trial: Trial) -> list[tuple[str, float]]:
    """Powers of the sizes in a call, as factors with their words; always in the same order."""
    return [
        (says, value**power if value > 0 else math.nan)
        for name, value in itertools.islice(_sizes(scene, trial), 6)
        for says, power in (
            (text("√{value:g} times as large ({value:g} is {size})", value=value, size=name), 0.5),
            (text("1/√{value:g} times as large ({value:g} is {size})", value=value, size=name), -0.5),
            (text("1/{value:g} times as large ({value:g} is {size})", value=value, size=name), -1.0),
            (text("{value:g} times as large ({value:g} is {size})", value=value, size=name), 1.0),
        )
    ]


def _same_for(scene: Scene, trial: Trial, number: int, name: str, order: int) -> bool:
    value = scene.arguments(trial)[number]
    for n, (_, other) in enumerate(instead(name, value, [*_constants(), *_roots(scene, trial)])):
        if n == order:
            return scene.same(scene.right(Changes((number, n), {number: other}), trial), trial.given)
    return False


def _same_exchanged(scene: Scene, trial: Trial, one: int, other: int) -> bool:
    values = scene.arguments(trial)
    changes = Changes(("exchanged", one, other), {one: values[other], other: values[one]})
    return scene.same(scene.right(changes, trial), trial.given)


def _scaled_input(scene: Scene) -> str | None:
    """The right result for an input that is some number times as large; the number is searched for."""
    if not _smooth(scene) or len(scene.wrong_parts(scene.first)) == 0:
        return None
    for number, (name, value) in enumerate(zip(scene.names, scene.arguments(), strict=True)):
        found = numbers(value)
        if found is None or found[0] != "float" or not isinstance(value, Tensor | np.ndarray):
            continue
        factors = [_solved(scene, trial, number) for trial in scene.trials[:2]]
        known = [one for one in factors if one is not None]
        if len(known) < len(factors):
            continue
        single = scene.wrong_parts(scene.first)[0].expected.numel() < 2  # which some factor always fits
        if single and (len(known) < 2 or not math.isclose(known[0], known[1], rel_tol=1e-6)):
            continue
        return text(
            "Your result is the right one for a `{name}` that is {factor:.4g} times as large.",
            name=name,
            factor=known[0],
        )
    return None


def _solved(scene: Scene, trial: Trial, number: int) -> float | None:
    """The factor on an argument with which the reference gives the answer's result, by Gauss and Newton."""

    def result(factor: float) -> Tensor | None:
        value = scene.arguments(trial)[number]
        outcome = scene.right(Changes(("factor", number, factor), {number: value * factor}), trial)
        found = parts(outcome.result, trial.given.result, 0.0) if outcome.error is None else None
        if not found or any(part.sort != "float" for part in found):
            return None
        return torch.cat([(part.expected - part.given).flatten() for part in found])

    for begin in (1.0, 0.25, 4.0):
        factor = begin
        for _ in range(12):
            here, beside = result(factor), result(factor * (1 + 1e-5))
            if here is None or beside is None or not (here.isfinite().all() and beside.isfinite().all()):
                break
            if float(here.abs().max()) <= 10 * scene.atol(trial):
                return factor if abs(factor - 1) > 1e-4 and abs(factor) > 1e-6 else None
            slope = (beside - here) / (factor * 1e-5)
            if not (slope.square().sum() > 1e-20):
                break
            factor -= float((slope * here).sum() / slope.square().sum())
            if not 1e-6 < abs(factor) < 1e6:
                break
    return None


def _constant(scene: Scene) -> str | None:
    """The same result in all calls; an error on one side only, where the result is True or False."""
    every = [one for one in scene.every if one.given.error is None and one.right.error is None]
    first = every[0]
    plain = (bool, int, float, str, list)
    if len(every) < 3 or not all(type(one.given.result) in plain for one in every):
        return None
    given, right = [one.given.result for one in every], [one.right.result for one in every]
    if all(one == first.given.result for one in given) and any(one != first.right.result for one in right):
        return text(
            "Your result is {result!r} in all {n} calls, whatever the input.", result=first.given.result, n=len(every)
        )
    failing = [one for one in every if one.given.result != one.right.result]
    if len(failing) > 1 and all(type(one.given.result) is bool for one in every):
        says = {one.given.result for one in failing}
        if len(says) == 1:
            yours = says.pop()
            return text(
                "Where your code is wrong it says {yours}, and should say {other}; never the other way round.",
                yours=yours,
                other=not yours,
            )
    return None


def _insensitive(scene: Scene) -> str | None:
    """A result that does not change with an argument, or with a layer's weight, and should; or the other way round."""
    base_right, base_given = scene.first.right, scene.first.given
    for number, (name, value) in enumerate(zip(scene.names, scene.arguments(), strict=True)):
        changes = [Changes(("disturbed", number, seed), {number: disturbed(value, seed)}) for seed in range(4)]
        if changes[0].values[number] is None:
            continue
        moved = [
            (_moves(scene, base_right, scene.right(one)), _moves(scene, base_given, scene.given(one)))
            for one in changes
        ]
        if any(one is None or other is None for one, other in moved):
            continue
        right, yours = [one for one, _ in moved], [other for _, other in moved]
        if sum(map(bool, right)) >= (2 if _smooth(scene) else 3) and not any(yours):
            return text("In the call below, your result does not change when `{name}` changes. It should.", name=name)
        if not any(right) and sum(map(bool, yours)) >= 2:
            return text("In the call below, your result changes when `{name}` changes. It should not.", name=name)
    TAMPERING.names.clear()
    scene.right(Changes("as it is", {}))
    for parameter in list(TAMPERING.names):
        right_moved = _moves(scene, base_right, scene.tampered(scene.exercise.reference, parameter))
        if right_moved and _moves(scene, base_given, scene.tampered(scene.answer, parameter)) is False:
            return text(
                "In the call below, your result does not change when the weights `{parameter}` change. It should.",
                parameter=parameter,
            )
    return None


def _off_by(scene: Scene) -> str | None:
    """A single number, whose distance from the right one depends on some of the numbers given, and not on others."""

    def distance(right: Outcome, given: Outcome) -> float | None:
        if right.error is not None or given.error is not None:
            return None
        found = parts(right.result, given.result, 0.0)
        if not found or len(found) > 1 or found[0].sort == "bool" or found[0].expected.numel() != 1:
            return None
        return float(found[0].given - found[0].expected)

    here = distance(scene.first.right, scene.first.given)
    if not here or not math.isfinite(here):
        return None
    moves: list[str] = []
    stays: list[str] = []
    for name, number, others in _numbers_given(scene):
        changes = [Changes((name, order), {number: other}) for order, other in enumerate(others)]
        tried = [distance(scene.right(one), scene.given(one)) for one in changes]
        known = [one for one in tried if one is not None]
        if known:
            same = all(math.isclose(one, here, rel_tol=1e-6, abs_tol=scene.atol(scene.first)) for one in known)
            (stays if same else moves).append(f"`{name}`")
    if not moves or not stays:
        return None
    holes = {"by": abs(here), "moves": ", ".join(moves), "stays": ", ".join(stays)}
    if here > 0:
        return text(
            "In the call below, your result is {by:.9g} too large. By how much changes with {moves}; not with {stays}.",
            **holes,
        )
    return text(
        "In the call below, your result is {by:.9g} too small. By how much changes with {moves}; not with {stays}.",
        **holes,
    )


def _numbers_given(scene: Scene) -> Iterator[tuple[str, int, list[Any]]]:
    """The numbers that the exercise varies, also in the fields of a configuration: name, argument, other arguments."""
    every = [scene.arguments(trial) for trial in scene.every]
    for number, (name, value) in enumerate(zip(scene.names, scene.arguments(), strict=True)):
        alike = [one[number] for one in every if number < len(one) and type(one[number]) is type(value)]
        if len(set(map(repr, alike))) > 1 and type(value) in (bool, int, float):
            yield name, number, [disturbed(value, seed) for seed in range(4)]
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in (one.name for one in dataclasses.fields(value)):
                now = getattr(value, field)
                if type(now) in (bool, int, float) and len({getattr(one, field) for one in alike}) > 1:
                    others = [disturbed(now, seed) for seed in range(4)]
                    yield f"{name}.{field}", number, list(_replaced(value, field, others))


def _replaced(configuration: Any, field: str, others: Sequence[Any]) -> Iterator[Any]:
    for other in others:
        with contextlib.suppress(ValueError, TypeError):  # no such configuration can be
            yield dataclasses.replace(configuration, **{field: other})


def _smooth(scene: Scene, only: bool = False) -> bool:
    """Whether a result holds real numbers; or nothing else."""
    found = parts(scene.first.right.result, scene.first.right.result, 0.0) or ()
    smooth = [part.sort == "float" for part in found]
    return (
        bool(smooth) and all(smooth) and len(smooth) == len(_plain(scene.first.right.result)) if only else any(smooth)
    )


def _plain(result: Any) -> list[Any]:
    """The leaves of a result, a list of numbers as one."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple) and numbers(result) is None:
        return [leaf for part in result for leaf in _plain(part)]
    return [result]


def _moves(scene: Scene, before: Outcome, after: Outcome) -> bool | None:
    """Whether a result changes; ``None`` where there is none to compare."""
    if before.error is not None or after.error is not None:
        return None
    return not scene.same(Outcome(before.result), Outcome(after.result))


def _leaks(scene: Scene) -> str | None:
    """A place of the result that depends on a place of an input, and must not; or should, and does not."""
    found = list(_dependences(scene))
    for over in (True, False):
        for one in found:
            if (says := one.told(over)) is not None:
                return says
    return None


@dataclass(frozen=True)
class _Dependence:
    """How a part of the result moves when one place of an input does: in the right result, and in the answer's."""

    place: str  # "`x[:, 3]`", without its ticks
    part: Part
    axis: int  # of the input
    position: int
    size: int  # of that axis
    kind: Literal["sequence", "batch", ""]
    right: Tensor
    given: Tensor
    still: float
    moves: float

    def told(self, over: bool) -> str | None:
        """That it moves and must not; or that it does not and should."""
        more, less = (self.given, self.right) if over else (self.right, self.given)
        wrong = (more > self.moves) & (less <= self.still)
        if not wrong.any():
            return None
        first = wrong.nonzero()[0].tolist()
        index = ", ".join(map(str, first[:-1] or first))
        holes = {"result": f"{self.part.name.strip('`')}[{index}]", "input": self.place}
        if not over:
            return text("Your `{result}` does not change when `{input}` changes. It should.", **holes)
        match self._crossed(wrong):
            case "sequence":
                return text("Your `{result}` changes when `{input}` changes. It must not: that comes later.", **holes)
            case "batch":
                return text(
                    "Your `{result}` changes when `{input}` changes. It must not: that belongs to another element of "
                    "the batch.",
                    **holes,
                )
            case _:
                return text("Your `{result}` changes when `{input}` changes. It must not.", **holes)

    def _crossed(self, wrong: Tensor) -> Literal["sequence", "batch", ""]:
        """The axis whose border was crossed: from a later token to an earlier one, or between elements of a batch."""
        for along in range(wrong.ndim):
            places = wrong.nonzero()[:, along]
            if wrong.shape[along] != self.size or along < self.axis:
                continue
            if self.kind == "sequence" and bool((places < self.position).all()):
                return "sequence"
            if self.kind == "batch" and along == 0 and bool((places != self.position).all()):
                return "batch"
        return ""


def _dependences(scene: Scene) -> Iterator[_Dependence]:
    atol = scene.atol(scene.first)
    still, moves = (1e-12, 1e-6) if atol < 1e-6 else (1e-6, 1e-3)
    for number, (name, value) in enumerate(zip(scene.names, scene.arguments(), strict=True)):
        if not isinstance(value, Tensor) or not value.ndim or not value.numel() or value.is_complex():
            continue
        last = value.ndim - 1 - (value.is_floating_point() and value.ndim > 1)  # the axis along which tokens stand
        for axis, position in ((a, p) for a in range(last + 1) for p in range(min(value.shape[a], 5))):
            other = at(value, axis, position, position) if value.shape[axis] > 1 else None
            if other is None:
                continue
            changes = Changes(("at", number, axis, position), {number: other})
            right, given = scene.right(changes), scene.given(changes)
            if right.error is not None or given.error is not None:
                continue
            pairs = [
                parts(scene.first.right.result, right.result, atol),
                parts(scene.first.given.result, given.result, atol),
            ]
            if not pairs[0] or not pairs[1] or len(pairs[0]) != len(pairs[1]):
                continue
            place = f"{name}[{', '.join([':'] * axis + [str(position)])}]"
            kind: Literal["sequence", "batch", ""] = "sequence" if axis == last else "batch" if axis == 0 else ""
            for one, yours in zip(pairs[0], pairs[1], strict=True):
                fits = one.sort == "float" and one.expected.shape == yours.expected.shape and one.expected.ndim
                if fits and one.given.isfinite().all() and yours.given.isfinite().all():
                    by, mine = ((part.given - part.expected).abs().nan_to_num(0.0, 0.0) for part in (one, yours))
                    yield _Dependence(place, one, axis, position, value.shape[axis], kind, by, mine, still, moves)


def _invariance(scene: Scene) -> str | None:
    """The right result stays, doubles or moves along with an input, and yours does not."""
    if not _smooth(scene, only=True):
        return None
    for number, (name, value) in enumerate(zip(scene.names, scene.arguments(), strict=True)):
        sort = numbers(value)
        if sort is None or sort[0] != "float" or not isinstance(value, Tensor | np.ndarray) or not sort[1].numel():
            continue
        tries = [("twice", text("With twice as large numbers in `{name}`", name=name), value * 2),
                 ("plus", text("With 1 added to every number of `{name}`", name=name), value + 1)]  # fmt: skip
        for key, words, other in tries:
            changes = Changes((key, number), {number: other})
            right, given = scene.right(changes), scene.given(changes)
            effect = _effect(scene, scene.first.right, right), _effect(scene, scene.first.given, given)
            if effect[0] is not None and effect[1] is not None and effect[0] != effect[1] and effect[0] != _OTHERWISE:
                holes = {"changes": words, "right": translated(effect[0]), "yours": translated(effect[1])}
                return text("{changes}, the right result {right}; yours {yours}.", **holes)
    return None


def _effect(scene: Scene, before: Outcome, after: Outcome) -> str | None:
    if before.error is not None or after.error is not None:
        return None
    found = parts(before.result, after.result, 1e-9 if scene.first.call.dtype == torch.float64 else 1e-5)
    found = [part for part in found or () if part.sort == "float"]
    if not found or any(not (p.given.isfinite().all() and p.expected.isfinite().all()) for p in found):
        return None
    if all(float(part.expected.abs().max()) < 1e-9 for part in found):
        return None
    for words, function in _EFFECTS:
        if all(equal(function(part.expected), part.given, 10 * part.atol) for part in found):
            return words
    return _OTHERWISE


_OTHERWISE = "changes otherwise"
_EFFECTS: Sequence[tuple[str, Callable[[Tensor], Tensor]]] = (
    ("does not change", lambda t: t),
    ("doubles", lambda t: 2 * t),
    ("quadruples", lambda t: 4 * t),
    ("halves", lambda t: t / 2),
    ("grows by 1", lambda t: t + 1),
)


# ---- Where it is wrong.


def _masked_places(scene: Scene, found: list[Part]) -> str | None:
    part = found[0]
    wrong = _wrong(part)
    for name, value in zip(scene.names, scene.arguments(), strict=True):
        if not isinstance(value, Tensor) or value.dtype != torch.bool or not wrong.ndim or not value.ndim:
            continue
        try:
            mask = value.expand_as(wrong)
        except RuntimeError:
            continue
        if mask.all() or not mask.any():
            continue
        for inside, truth in ((mask, "True"), (~mask, "False")):
            if (not (wrong & ~inside).any() and not (wrong & inside).all()) or torch.equal(wrong, inside):
                return text(
                    "In the call below, your {name} is wrong only where `{mask}` is {truth}.",
                    name=part.name,
                    mask=name,
                    truth=truth,
                )
    return None


def _wrong(part: Part) -> Tensor:
    if part.sort == "float":
        return ~torch.isclose(part.given, part.expected, rtol=part.atol, atol=part.atol, equal_nan=True)
    return part.given != part.expected


def _places(scene: Scene, found: list[Part]) -> str | None:
    """Only some positions are wrong."""
    part = found[0]
    wrong = _wrong(part)
    if not wrong.ndim or wrong.all():
        return None
    for axis in range(wrong.ndim - 1, -1, -1) if wrong.ndim == 1 else [*range(wrong.ndim - 2, -1, -1), wrong.ndim - 1]:
        n = wrong.shape[axis]
        others = [other for other in range(wrong.ndim) if other != axis]
        bad = wrong.any(dim=others) if others else wrong
        places = bad.nonzero().flatten().tolist()
        if n < 2 or len(places) == n:
            continue
        along = text(" along axis {axis}", axis=axis) if wrong.ndim > 1 else ""
        if len(places) == 1:
            if places[0] in (0, n - 1):
                which = text("the last") if places[0] else text("the first")
            else:
                which = text("number {number}", number=places[0])
            return text(
                "In the call below, your {name} is wrong at one position only, {which}{along}.",
                name=part.name,
                which=which,
                along=along,
            )
        if places == list(range(places[0], n)):
            return text(
                "In the call below, your {name} is right up to position {position}{along}, then wrong.",
                name=part.name,
                position=places[0] - 1,
                along=along,
            )
        if places == list(range(places[-1] + 1)):
            return text(
                "In the call below, your {name} is wrong up to position {position}{along}, then right.",
                name=part.name,
                position=places[-1],
                along=along,
            )
        if n > 3 and places == list(range(0, n, 2)):
            return text(
                "In the call below, your {name} is wrong at the even positions{along} only.",
                name=part.name,
                along=along,
            )
        if n > 3 and places == list(range(1, n, 2)):
            return text(
                "In the call below, your {name} is wrong at the odd positions{along} only.", name=part.name, along=along
            )
    where = _diagonal([wrong])
    if where:
        return text(
            "In the call below, your {name} is wrong at {n} places{where}.",
            name=part.name,
            n=int(wrong.sum()),
            where=where,
        )
    return None


OF_NUMBERS: Sequence[Callable[[Scene, list[Part]], str | None]] = (
    _not_finite, _rounded, _factor, _offset, _rearranged, _function, _temperature, _sums, _truth, _beside_inputs,
    _shape_of_rows, _same_direction,
)  # fmt: skip
#: Of results that are not even built like the right ones.
OF_FORM: Sequence[Callable[[Scene], str | None]] = (_exchanged, _right_for)
OF_BEHAVIOR: Sequence[Callable[[Scene], str | None]] = (
    *OF_FORM, _constant, _insensitive, _scaled_input, _leaks, _invariance, _off_by,
)  # fmt: skip
OF_PLACES: Sequence[Callable[[Scene, list[Part]], str | None]] = (_range, _masked_places, _places)
