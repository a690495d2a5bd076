"""A model's sizes and choices, in one frozen object that is right or does not exist."""

from dataclasses import dataclass
from typing import Literal, get_args

from transformer_lib.checks import check_heads, check_whole
from transformer_lib.positions import PositionScheme, Sinusoidal

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
Norm = Literal["layer", "rms"]


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """The sizes and choices of a stack of encoder or decoder layers.

    The defaults are the paper's base model (Vaswani et al., 2017, table 3).

    Args:
        d_model: width of a token between the layers.
        n_heads: attention heads of each layer.
        n_layers: layers of the stack.
        d_ff: width inside the feed-forward part.
        d_head: width of a head; ``d_model / n_heads`` unless given.
        n_kv_heads: key and value heads; ``n_heads`` unless given.
        dropout: probability in training, on the attention weights, inside the feed-forward part, and on each sublayer's
            output.
        pre_norm: normalize what enters a sublayer, and once more after the stack; else what leaves it, as in the paper.
        norm: ``"layer"`` or ``"rms"``.
        norm_eps: added to the variance.
        activation: of the feed-forward part; ``"gelu"`` is exact, ``"gelu_tanh"`` GPT-2's approximation.
        gated: whether the activation multiplies a second projection (Shazeer, 2020).
        bias: whether projections add one.
        attention_scale: of the scores; ``1 / sqrt(d_head)`` unless given.
        qk_norm: whether queries and keys are normalized, each head by itself, by their root mean square (as in Qwen3).
        positions: how the stack knows the order of its tokens: a scheme, such as ``Rotary(base=500_000.0)``. Its name
            will do for its defaults (``"rotary"``; ``None`` or ``"none"`` for no positions), and so will what
            ``dataclasses.asdict`` made of it; both become the scheme.
        max_len: longest sequence, for position tables.

    Raises:
        TypeError: ``positions`` is nothing of that kind.
        ValueError: a size, probability or name outside its bounds; the message names it.
    """

    d_model: int = 512
    n_heads: int = 8
    n_layers: int = 6
    d_ff: int = 2048
    d_head: int | None = None
    n_kv_heads: int | None = None
    dropout: float = 0.1
    pre_norm: bool = False
    norm: Norm = "layer"
    norm_eps: float = 1e-5
    activation: Activation = "relu"
    gated: bool = False
    bias: bool = True
    attention_scale: float | None = None
    qk_norm: bool = False
    positions: PositionScheme = Sinusoidal()  # noqa: RUF009  (it is frozen)
    max_len: int = 1024

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "positions", PositionScheme.of(self.positions))
        check_heads(self.d_model, self.n_heads, self.d_head, self.n_kv_heads, self.dropout)
        for name in ("n_layers", "d_ff", "max_len"):
            check_whole(name, getattr(self, name), 1)
        if not self.norm_eps > 0.0:
            raise ValueError(f"norm_eps must be positive; got {self.norm_eps}")
        for name, names in (("norm", Norm), ("activation", Activation)):
            if getattr(self, name) not in get_args(names):
                raise ValueError(f"{name} must be one of {', '.join(get_args(names))}; got {getattr(self, name)!r}")

    @property
    def head_width(self) -> int:
        """The width of a head, ``d_head`` or what follows for it."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head
