"""See what an answer does besides returning a result: ready-made calls, printing, seeds."""

import builtins
import contextlib
import io
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import transformer_lib as lib
from transformer_lib import decoder, encoder
from transformer_lib.texts import text

#: What an answer may not call unless its exercise allows it: PyTorch's attention and stacks, and the library's.
READY_MADE: tuple[Any, ...] = (
    F.scaled_dot_product_attention,
    F.multi_head_attention_forward,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerEncoder,
    nn.TransformerDecoderLayer,
    nn.TransformerDecoder,
    nn.Transformer,
    lib.attention,
    lib.fused_attention,
    lib.MultiHeadAttention,
    encoder.EncoderLayer,
    lib.Encoder,
    decoder.DecoderLayer,
    lib.Decoder,
    lib.Transformer,
)

#: What PyTorch's functions are called further inside: who may not call the one may not call the others.
_INSIDE: dict[str, tuple[str, ...]] = {
    "scaled_dot_product_attention": ("_scaled_dot_product_", "_flash_attention_", "_efficient_attention_"),
    "multi_head_attention_forward": ("_native_multi_head_attention",),
    "TransformerEncoderLayer": ("_transformer_encoder_layer_fwd",),
    "layer_norm": (
        "native_layer_norm",
        "instance_norm",
        "group_norm",
        "native_group_norm",
        "batch_norm",
        "native_batch_",
    ),
    "rms_norm": ("_fused_rms_norm",),
}

_SENTINEL = 0x5EED


class Watch:
    """A context in which calls of ready-made parts, printed text and seeds are noticed.

    Attributes:
        ready_made: the names of the ready-made parts that were called.
        seeds: which global random numbers were set or used: ``"torch"``, ``"numpy"``, ``"random"``.
    """

    def __init__(self, ready_made: Iterable[Any], allowed: Iterable[Any]):
        allowed = tuple(allowed)
        unwanted = [part for part in ready_made if not any(part is other for other in allowed)]
        self._codes = {code: _name(part) for part in unwanted if (code := _code(part)) is not None}
        torchs = {_name(part) for part in unwanted if _code(part) is None or _of_torch(part)}
        self._torch = tuple(inner for name in torchs for inner in (f"{name}$", *_INSIDE.get(name, ())))
        self._allowed = {code for part in allowed if (code := _code(part)) is not None}
        self.ready_made: list[str] = []
        self.seeds: list[str] = []
        self._output = io.StringIO()

    @property
    def printed(self) -> str:
        """What was printed, shortened."""
        lines = self._output.getvalue().splitlines()
        cut = [line[:200] for line in lines[:10]]
        return "\n".join([*cut, text("… and {n} lines more", n=len(lines) - 10)] if len(lines) > 10 else cut)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is done inside."""
        torch_state, python_state = torch.get_rng_state(), random.getstate()
        numpy_state = np.random.get_state()  # noqa: NPY002 (what learners may disturb)
        torch.default_generator.manual_seed(_SENTINEL)  # the CPU's alone
        before = _states()
        allowed_depth = 0

        def profile(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal allowed_depth
            if event == "call":
                if frame.f_code in self._allowed:
                    allowed_depth += 1
                elif not allowed_depth and (name := self._codes.get(frame.f_code)):
                    self._note(self.ready_made, name)
            elif event == "return" and frame.f_code in self._allowed:
                allowed_depth -= 1

        def no_input(prompt: object = "") -> str:
            raise RuntimeError(text("a check cannot answer input()"))

        watch, old_input = self, builtins.input

        class Mode(TorchFunctionMode):
            def __torch_function__(
                self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                name = getattr(func, "__name__", "").partition(".")[0]  # of aten's: native_layer_norm.default
                if not allowed_depth and f"{name}$".startswith(watch._torch):
                    watch._note(watch.ready_made, name)
                return func(*args, **(kwargs or {}))

        old_profile = sys.getprofile()
        builtins.input = no_input
        try:
            with _own_output(self._output), Mode():
                sys.setprofile(profile)
                try:
                    yield
                finally:
                    sys.setprofile(old_profile)
        finally:
            if builtins.input is no_input:
                builtins.input = old_input
            after = _states()
            for name, old in before.items():
                if after[name] != old:
                    self._note(self.seeds, name)
            torch.set_rng_state(torch_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)

    @staticmethod
    def _note(where: list[str], name: str) -> None:
        if name not in where:
            where.append(name)


def _code(part: Any) -> CodeType | None:
    """The code that runs when a part is used: a function's own, a layer's ``forward``."""
    function = part
    if isinstance(part, type):
        function = part.forward if issubclass(part, nn.Module) else vars(part).get("__init__")
    # jaxtyping and decorators wrap; the innermost function is what runs in any case.
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return getattr(function, "__code__", None)


def _of_torch(part: Any) -> bool:
    return str(getattr(part, "__module__", "")).startswith("torch.")


def _name(part: Any) -> str:
    return str(getattr(part, "__name__", part))


def _states() -> dict[str, Any]:
    """The states of the global random numbers. PyTorch's may be used, for instance by new layers, but not be set."""
    numpy_state = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.initial_seed(),
        "numpy": (bytes(numpy_state[1]), numpy_state[2]),  # type: ignore[index]
        "random": random.getstate(),
    }


class _Split(io.TextIOBase):
    """A stream that keeps one thread's text, and passes on everybody else's."""

    def __init__(self, kept: io.StringIO, other: Any):
        self.kept, self.other, self.thread = kept, other, threading.get_ident()

    def write(self, text: str) -> int:
        mine = threading.get_ident() == self.thread
        if mine and self.kept.tell() > 100_000:
            return len(text)
        return int((self.kept if mine else self.other).write(text))


@contextlib.contextmanager
def _own_output(kept: io.StringIO) -> Iterator[None]:
    """Keep what this thread prints. An abandoned thread that ends late takes nothing from whoever came after it."""
    old = sys.stdout, sys.stderr
    own = _Split(kept, sys.stdout), _Split(kept, sys.stderr)
    sys.stdout, sys.stderr = own
    try:
        yield
    finally:
        if sys.stdout is own[0]:
            sys.stdout = old[0]
        if sys.stderr is own[1]:
            sys.stderr = old[1]
