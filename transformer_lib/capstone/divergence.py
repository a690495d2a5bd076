"""Where two models with the same weights and inputs first part: in which module, and how."""

import contextlib
import inspect
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.attention import causal_mask
from transformer_lib.texts import text

#: Numbers are alike up to this, absolute and relative: the angles of positions may have been computed in float32.
TOLERANCE = 1e-5


@dataclass
class Call:
    """One call of a submodule.

    Attributes:
        key: its name, empty for the model itself, and how many calls of it came before.
        inputs: by the name of the argument; causality that is asked for is part of ``mask``.
        output: what came back; ``None`` where it raised.
    """

    key: tuple[str, int]
    inputs: Mapping[str, Any]
    output: Any = None


def first_divergence(yours: nn.Module, books: nn.Module, *inputs: Tensor, **named: Tensor) -> str:
    """Run a model beside the book's, and tell the first module whose output differs.

    Modules are compared by name, in the order in which the book's run; those that only one model has are passed over.

    Args:
        yours: the model in question, with the weights of the other.
        books: the model that is right.
        *inputs: of both; each gets copies.
        **named: likewise.

    Returns:
        A few sentences: the module, whether it is given something else or makes something else of the same, and by how
        much. Empty where all that both have gives the same.
    """
    mine = {call.key: call for begins, call in recorded(yours, *inputs, **named) if begins}
    shared = {name for name, _ in yours.named_modules()}
    events = recorded(books, *inputs, **named)
    called = {call.key[0] for _, call in events}
    unused = ""

    def quoted(name: str) -> str:
        return f"`{name or type(yours).__name__}`"

    for begins, book in events:
        name = book.key[0]
        if name not in shared:
            continue
        own = mine.get(book.key)
        if own is None:
            unused = unused or name
            continue
        how = text("is missing: it raises an exception") if own.output is None else _output(book.output, own.output)
        if not how:
            continue
        says = [text("{module}. Its output {how}.", module=quoted(name), how=how)]
        if begins:
            given = (
                (one, _input(one, value, own.inputs[one])) for one, value in book.inputs.items() if one in own.inputs
            )
            argument, other = next(((one, other) for one, other in given if other), ("", ""))
            if not other:
                continue
            owner = max((one for one in called if _holds(one, name)), key=len, default="")
            says += [
                text("Already its argument `{argument}` {how}.", argument=argument, how=other),
                text("All before it is equal: look at what {module} does until it calls it.", module=quoted(owner)),
            ]
        elif any(_holds(name, other) for other in called & shared) and not unused and own.output is not None:
            says.append(
                text(
                    "It gets what the book's gets, and so do the modules inside it: the fault is in what it does "
                    "itself."
                )
            )
        else:
            says.append(text("It gets what the book's gets: the fault is in what it does itself."))
        if unused and own.output is not None:
            says.append(text("Your {module} is never called.", module=quoted(unused)))
        return " ".join(says)
    return ""


def recorded(model: nn.Module, *inputs: Tensor, **named: Tensor) -> list[tuple[bool, Call]]:
    """Run a model, and list its submodules' calls as they begin (``True``) and end. One that raises does not end."""
    events: list[tuple[bool, Call]] = []
    running: list[Call] = []
    before: Counter[str] = Counter()

    def enter(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            running.append(Call((name, before[name]), _bound(module, args, kwargs)))
            events.append((True, running[-1]))
            before[name] += 1

        return hook

    def leave(_module: nn.Module, _args: Any, output: Any) -> None:
        running[-1].output = output
        events.append((False, running.pop()))

    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        with torch.no_grad(), contextlib.suppress(Exception):
            model(*(one.clone() for one in inputs), **{name: one.clone() for name, one in named.items()})
    return events


def _bound(module: nn.Module, args: Any, kwargs: Any) -> Mapping[str, Any]:
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    found = {
        name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in bound.arguments.items()
    }
    if found.get("causal"):
        past = causal_mask(found["x"].size(1), found["x"].size(1))
        found["mask"] = past if found["mask"] is None else past & found["mask"]
    return found


def _input(name: str, book: Any, own: Any) -> str:
    """What one argument does that the book's does not; empty where it is equal, or means the same."""
    if not name.endswith("mask"):
        return text("is missing") if own is None and isinstance(book, Tensor) else _output(book, own)
    right, given = (torch.tensor(True) if one is None else one for one in (book, own))
    if not isinstance(given, Tensor) or given.dtype != torch.bool:
        sort = given.dtype if isinstance(given, Tensor) else type(given).__name__
        return text("is {sort}, no boolean tensor", sort=sort)
    try:
        right, given = torch.broadcast_tensors(right, given)
    except RuntimeError:
        return _shapes(right, given)
    if bool((right == given).all()):
        return ""
    if own is None:
        return text("is missing, so that nothing is hidden")
    shown, hidden = int((given & ~right).sum()), int((right & ~given).sum())
    if shown and hidden:
        both = {"shown": shown, "hidden": hidden}
        return text("shows {shown} that should be hidden, and hides {hidden} that should be seen", **both)
    if shown:
        return text("shows {shown} that should be hidden", shown=shown)
    return text("hides {hidden} that should be seen", hidden=hidden)


def _shapes(book: Tensor, own: Tensor) -> str:
    return text("has the shape {own}, the book's {book}", own=tuple(own.shape), book=tuple(book.shape))


def _output(book: Any, own: Any) -> str:
    """What a result does that the book's does not; empty where it is equal, or nothing to compare."""
    if isinstance(book, tuple) and isinstance(own, tuple):
        return next(filter(None, map(_output, book, own)), "")
    if not isinstance(book, Tensor):
        return ""
    if not isinstance(own, Tensor):
        return text("is of the type {sort}, no tensor", sort=type(own).__name__)
    if book.shape != own.shape:
        return _shapes(book, own)
    book, own = book.double(), own.double()
    if own.isnan().any() and not book.isnan().any():
        return text("holds nan, “not a number”")
    same = torch.isclose(own, book, rtol=TOLERANCE, atol=TOLERANCE)
    if bool(same.all()):
        return ""
    if factor := _factor(book, own):
        return text("is {factor} times the book's", factor=factor)
    by = float((own - book).abs().max())
    wrong = (~same).any(-1) if same.ndim == 3 else same
    if bool(wrong.all()):
        return text("differs by up to {by:.3g}, everywhere", by=by)
    where = {"by": by, "n": int(wrong.sum()), "total": wrong.numel(), "first": wrong.nonzero()[0].tolist()}
    if same.ndim == 3:
        return text("differs by up to {by:.3g}, in {n} of {total} tokens, first at {first}", **where)
    return text("differs by up to {by:.3g}, in {n} of {total} places, first at {first}", **where)


def _factor(book: Tensor, own: Tensor) -> str:
    """The one factor between two tensors, with its name where it has to do with their width."""
    large = book.abs() > 1e-6
    if int(large.sum()) < 2 or bool((own[~large].abs() > TOLERANCE).any()):
        return ""
    ratios = own[large] / book[large]
    factor = float(ratios.median())
    if abs(factor) < 1e-9 or bool(((ratios - factor).abs() > 1e-4 * abs(factor)).any()):
        return ""
    width = book.size(-1)
    for name, value in (
        (text("√width"), math.sqrt(width)),
        (text("1/√width"), 1 / math.sqrt(width)),
        (text("width"), width),
        (text("1/width"), 1 / width),
    ):
        if math.isclose(value, factor, rel_tol=1e-3):
            return text("{factor:.4g} ({name}, {width} wide)", factor=factor, name=name, width=width)
    return f"{factor:.4g}"


def _holds(outer: str, inner: str) -> bool:
    return outer != inner and (not outer or inner.startswith(f"{outer}."))
