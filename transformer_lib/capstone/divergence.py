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

#: Numbers are alike up to this, absolute and relative: tables of positions are rounded to float32.
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
        how = "is missing: it raises an exception" if own.output is None else _output(book.output, own.output)
        if not how:
            continue
        skipped = f" Your {quoted(unused)} is never called." if unused and own.output is not None else ""
        if begins:
            for argument, value in book.inputs.items():
                if argument in own.inputs and (other := _input(argument, value, own.inputs[argument])):
                    owner = max((one for one in called if _holds(one, name)), key=len, default="")
                    return (
                        f"{quoted(name)}. Its output {how}. Already its argument `{argument}` {other}. All before it "
                        f"is equal: look at what {quoted(owner)} does until it calls it.{skipped}"
                    )
            continue
        inside = any(_holds(name, other) for other in called & shared)
        equal = ", and so do the modules inside it" if inside and not unused and own.output is not None else ""
        return (
            f"{quoted(name)}. Its output {how}. It gets what the book's gets{equal}: the fault is in what it does "
            f"itself.{skipped}"
        )
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
        return "is missing" if own is None and isinstance(book, Tensor) else _output(book, own)
    right, given = (torch.tensor(True) if one is None else one for one in (book, own))
    if not isinstance(given, Tensor) or given.dtype != torch.bool:
        return f"is {given.dtype if isinstance(given, Tensor) else type(given).__name__}, no boolean tensor"
    try:
        right, given = torch.broadcast_tensors(right, given)
    except RuntimeError:
        return f"has the shape {tuple(given.shape)}, the book's {tuple(right.shape)}"
    if bool((right == given).all()):
        return ""
    if own is None:
        return "is missing, so that nothing is hidden"
    shown, hidden = int((given & ~right).sum()), int((right & ~given).sum())
    told = {f"shows {shown} that should be hidden": shown, f"hides {hidden} that should be seen": hidden}
    return ", and ".join(words for words, number in told.items() if number)


def _output(book: Any, own: Any) -> str:
    """What a result does that the book's does not; empty where it is equal, or nothing to compare."""
    if isinstance(book, tuple) and isinstance(own, tuple):
        return next(filter(None, map(_output, book, own)), "")
    if not isinstance(book, Tensor):
        return ""
    if not isinstance(own, Tensor):
        return f"is of the type {type(own).__name__}, no tensor"
    if book.shape != own.shape:
        return f"has the shape {tuple(own.shape)}, the book's {tuple(book.shape)}"
    book, own = book.double(), own.double()
    if own.isnan().any() and not book.isnan().any():
        return "holds nan, “not a number”"
    same = torch.isclose(own, book, rtol=TOLERANCE, atol=TOLERANCE)
    if bool(same.all()):
        return ""
    if factor := _factor(book, own):
        return f"is {factor} times the book's"
    differs = f"differs by up to {float((own - book).abs().max()):.3g}"
    wrong = (~same).any(-1) if same.ndim == 3 else same
    if bool(wrong.all()):
        return f"{differs}, everywhere"
    what = "tokens" if same.ndim == 3 else "places"
    return f"{differs}, in {int(wrong.sum())} of {wrong.numel()} {what}, first at {wrong.nonzero()[0].tolist()}"


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
    named = {"√width": math.sqrt(width), "1/√width": 1 / math.sqrt(width), "width": width, "1/width": 1 / width}
    meant = [f" ({name}, {width} wide)" for name, value in named.items() if math.isclose(value, factor, rel_tol=1e-3)]
    return f"{factor:.4g}{meant[0] if meant else ''}"


def _holds(outer: str, inner: str) -> bool:
    return outer != inner and (not outer or inner.startswith(f"{outer}."))
