"""Whether two results are equal, and if not, where they first differ and how to show it."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from transformer_lib.texts import text

What = Literal["type", "length", "shape", "dtype", "nan", "value"]
#: Tensors of up to this many numbers are shown whole.
SHOWN = 40


@dataclass(frozen=True)
class Difference:
    """The first difference between what was expected and what was given.

    Attributes:
        what: of which sort it is.
        says: the difference in a sentence.
        shown: expected beside given, in lines, or empty.
    """

    what: What
    says: str
    shown: str = ""


def difference(expected: Any, given: Any, atol: float = 1e-9, name: str | None = None) -> Difference | None:
    """The first difference between two results, or ``None`` where they are equal.

    Lists and tuples count as alike, and so do Python's and PyTorch's single numbers. A tensor must have the same shape
    and dtype; its numbers may be off by ``atol`` in float64 and by 1e-5 in narrower types, relative or absolute.
    """
    name = name or text("the result")
    if isinstance(expected, Tensor):
        return _tensors(expected, given, atol, name)
    if isinstance(expected, np.ndarray):
        if not isinstance(given, np.ndarray):
            return Difference(
                "type", text("{name} should be a NumPy array; yours is {given}", name=name, given=kind(given))
            )
        return _tensors(torch.from_numpy(expected), torch.from_numpy(np.ascontiguousarray(given)), atol, name)
    if isinstance(expected, Mapping):
        if not isinstance(given, Mapping):
            return Difference(
                "type", text("{name} should be a dictionary; yours is {given}", name=name, given=kind(given))
            )
        if set(expected) != set(given):
            keys = {"wanted": sorted(map(str, expected)), "given": sorted(map(str, given))}
            says = text("{name} should have the keys {wanted}; yours has {given}", name=name, **keys)
            return Difference("length", says)
        pairs = ((_part(name, key), expected[key], given[key]) for key in expected)
        return _first(pairs, atol)
    if isinstance(expected, list | tuple):
        if not isinstance(given, list | tuple):
            return Difference("type", _kinds(expected, given, name))
        if len(expected) != len(given):
            says = text(
                "{name} should have {wanted} parts; yours has {given}",
                name=name,
                wanted=len(expected),
                given=len(given),
            )
            return Difference("length", says, _beside(repr(expected), repr(given)))
        pairs = ((_part(name, i), *pair) for i, pair in enumerate(zip(expected, given, strict=True)))
        return _first(pairs, atol)
    if isinstance(expected, bool | np.bool_):
        single = given.item() if isinstance(given, Tensor) and given.ndim == 0 else given
        if not isinstance(single, bool | np.bool_):
            return Difference(
                "type", text("{name} should be True or False; yours is {given}", name=name, given=kind(given))
            )
        return None if bool(expected) == bool(single) else _plain(expected, single, name)
    if isinstance(expected, numbers.Number):
        single = given.item() if isinstance(given, Tensor | np.generic) and given.ndim == 0 else given
        if isinstance(single, bool) or not isinstance(single, numbers.Number):
            return Difference("type", text("{name} should be a number; yours is {given}", name=name, given=kind(given)))
        pair = torch.tensor([expected, single], dtype=torch.float64)
        if pair[1].isnan() and not pair[0].isnan():
            return Difference(
                "nan", text("{name} is nan, “not a number”", name=name), _beside(f"{expected:.6g}", "nan")
            )
        # A single number may have passed through float32.
        loose = max(atol, 1e-5 if isinstance(given, Tensor) and given.dtype != torch.float64 else atol)
        same = torch.isclose(pair[1], pair[0], rtol=loose, atol=loose, equal_nan=True)
        return None if same else _plain(expected, single, name)
    if type(expected) is not type(given) and not (expected is None or isinstance(expected, type(given))):
        return Difference("type", _kinds(expected, given, name))
    if expected is None and given is not None:
        return Difference("type", text("{name} should be None; yours is {given}", name=name, given=kind(given)))
    return None if expected == given else _plain(expected, given, name)


def kind(thing: Any) -> str:
    """What a thing is, in words: "a tensor of shape (3, 4)", "a tuple of 2"."""
    if thing is None:
        return "None"
    if isinstance(thing, Tensor):
        return text("a tensor of shape {shape}", shape=tuple(thing.shape))
    if isinstance(thing, np.ndarray):
        return text("a NumPy array of shape {shape}", shape=thing.shape)
    if isinstance(thing, list | tuple):
        if isinstance(thing, list):
            return text("a list of {n}", n=len(thing))
        return text("a tuple of {n}", n=len(thing))
    if isinstance(thing, nn.Module):
        return text("a module, {name}", name=type(thing).__name__)
    if callable(thing):
        return text("a class") if isinstance(thing, type) else text("a function")
    name = type(thing).__name__
    return text("an {name}", name=name) if name[0] in "aeiou" else text("a {name}", name=name)


def _kinds(expected: Any, given: Any, name: str) -> str:
    return text("{name} should be {wanted}; yours is {given}", name=name, wanted=kind(expected), given=kind(given))


def _first(pairs: Any, atol: float) -> Difference | None:
    for name, expected, given in pairs:
        found = difference(expected, given, atol, name)
        if found is not None:
            return found
    return None


def _part(name: str, key: object) -> str:
    return f"{text('result') if name == text('the result') else name}[{key!r}]"


def _plain(expected: Any, given: Any, name: str) -> Difference:
    return Difference("value", text("{name} differs", name=name), _beside(_short(expected), _short(given)))


def _short(thing: Any) -> str:
    return f"{thing:.6g}" if isinstance(thing, float) else repr(thing)


def _beside(expected: str, given: str) -> str:
    return _lines((text("expected:"), expected[:400]), (text("given:"), given[:400]))


def _lines(*pairs: tuple[str, str]) -> str:
    """A line a pair, what follows in one column."""
    width = max(len(head) for head, _ in pairs)
    return "\n".join(f"{head:<{width}} {what}" for head, what in pairs)


def _tensors(expected: Tensor, given: Any, atol: float, name: str) -> Difference | None:
    if not isinstance(given, Tensor):
        return Difference("type", text("{name} should be a tensor; yours is {given}", name=name, given=kind(given)))
    if expected.shape != given.shape:
        shapes = {"wanted": tuple(expected.shape), "given": tuple(given.shape)}
        says = text("{name} should have the shape {wanted}; yours has {given}", name=name, **shapes)
        return Difference("shape", says)
    if expected.dtype != given.dtype:
        dtypes = {"wanted": expected.dtype, "given": given.dtype}
        return Difference("dtype", text("{name} should be of type {wanted}; yours is {given}", name=name, **dtypes))
    expected, given = expected.detach().cpu(), given.detach().cpu()
    if given.is_floating_point():
        wrong_nan = given.isnan() & ~expected.isnan()
        if wrong_nan.any():
            says = text("{name} holds nan, “not a number”", name=name)
            return Difference("nan", says, _table(expected, given, wrong_nan))
        loose = atol if expected.dtype == torch.float64 else max(atol, 1e-5)
        same = torch.isclose(given, expected, rtol=loose, atol=loose, equal_nan=True)
    else:
        same = given == expected
    return (
        None
        if bool(same.all())
        else Difference("value", text("{name} differs", name=name), _table(expected, given, ~same))
    )


def _table(expected: Tensor, given: Tensor, wrong: Tensor) -> str:
    """Expected beside given, with the first differing element in brackets."""
    if expected.ndim == 0:
        return _beside(_number(expected), _number(given))
    first = tuple(int(i) for i in wrong.nonzero()[0])
    lead = first[:-2]
    rows_expected = expected[lead].reshape(-1, expected.shape[-1])
    rows_given = given[lead].reshape(-1, expected.shape[-1])
    row, column = (first[-2] if len(first) > 1 else 0), first[-1]
    rows = range(len(rows_expected)) if rows_expected.numel() <= SHOWN else range(row, row + 1)
    columns = slice(None) if rows_expected.shape[1] <= 8 else slice(max(0, column - 3), column + 4)
    # More digits where the difference would be rounded away.
    pair = rows_expected[row, column], rows_given[row, column]
    digits = 3 if _number(pair[0]) != _number(pair[1]) else 9
    left = [[_number(x, digits) for x in rows_expected[i][columns]] for i in rows]
    right = [[_number(x, digits) for x in rows_given[i][columns]] for i in rows]
    width = max(len(cell) for line in left + right for cell in line)
    marked = column - (columns.start or 0)

    def line(cells: list[str], here: bool) -> str:
        return "".join(
            f"[{cell:>{width}}]" if here and j == marked else f" {cell:>{width}} " for j, cell in enumerate(cells)
        )

    place = f"[{', '.join(map(str, first))}]"
    wide = max(len(line(left[0], False)), len(text("expected")))
    head = f"{text('expected'):<{wide}}   {text('given')}        {text('first difference at {place}', place=place)}"
    body = [
        f"{line(left[n], i == row):<{wide}}   {line(right[n], i == row)}{'   ◀' if i == row else ''}"
        for n, i in enumerate(rows)
    ]
    return "\n".join([head, *body])


def _number(x: Tensor, digits: int = 3) -> str:
    value = x.item()
    if isinstance(value, bool):
        return "T" if value else "·"
    if isinstance(value, int):
        return str(value)
    assert isinstance(value, float)
    plain = 1e-3 <= abs(value) < 1e4 or value == 0
    return f"{value:.{digits}f}" if plain else f"{value:.{digits - 1}e}"
