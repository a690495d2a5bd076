"""What surrounds attention in every layer: normalization, the feed-forward part, and the residual connection.

Sources: Ba et al. (2016), *Layer Normalization*; Zhang and Sennrich (2019), *Root Mean Square Layer Normalization*;
Shazeer (2020), *GLU Variants Improve Transformer*; Xiong et al. (2020), *On Layer Normalization in the Transformer
Architecture*.
"""

from collections.abc import Callable
from typing import assert_never

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import Activation, StackConfig
from transformer_lib.multihead import MultiHeadAttention
from transformer_lib.positions import AddedPositions, PositionBias, Rotation, positions_for


def gelu_tanh(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """GPT-2's approximation of GELU (Hendrycks and Gimpel, 2016), of the same shape."""
    return F.gelu(x, approximate="tanh")


def make_activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """The function that ``name`` names."""
    match name:
        case "relu":
            return F.relu
        case "gelu":
            return F.gelu
        case "gelu_tanh":
            return gelu_tanh
        case "silu":
            return F.silu
        case _:
            assert_never(name)


class LayerNorm(nn.Module):
    r"""Give every token mean 0 and variance 1, then a learned scale and shift.

    .. math:: y = \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}} \odot g + b

    The variance is the biased one, over ``d_model`` numbers, and epsilon stands under the root.

    Args:
        d_model: width of a token.
        eps: keeps a constant token from dividing by zero.
        bias: whether to learn a shift.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Return the normalized tokens, of the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    r"""Divide every token by its root mean square, then a learned scale: no mean is subtracted.

    .. math:: y = \frac{x}{\sqrt{\mathrm{mean}(x^2) + \epsilon}} \odot g

    Args:
        d_model: width of a token.
        eps: keeps a zero token from dividing by zero.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Return the normalized tokens, of the same shape."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def make_norm(config: StackConfig) -> nn.Module:
    """The normalization that ``config`` names."""
    match config.norm:
        case "layer":
            return LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)
        case "rms":
            return RMSNorm(config.d_model, eps=config.norm_eps)
        case _:
            assert_never(config.norm)


class FeedForward(nn.Module):
    r"""The same small network for every token: widen, bend, narrow (Vaswani et al., 2017, section 3.3, equation 2).

    .. math:: y = f(x W_1 + b_1)\, W_2 + b_2 \qquad\text{or, gated,}\qquad y = (f(x W_1) \odot x W_3)\, W_2

    Args:
        config: gives ``d_model``, ``d_ff``, ``activation``, ``gated``, ``bias`` and ``dropout``.
    """

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.activation = make_activation(config.activation)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=config.bias) if config.gated else None
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Return the transformed tokens, of the same shape."""
        if self.gate_proj is None:
            hidden = self.activation(self.up_proj(x))  # (*batch, d_ff)
        else:
            hidden = self.activation(self.gate_proj(x)) * self.up_proj(x)
        result: Tensor = self.down_proj(self.dropout(hidden))
        return result


class Residual(nn.Module):
    """Add what a sublayer makes of a token to the token itself, normalizing before it or after.

    Args:
        config: gives ``d_model``, ``norm``, ``pre_norm`` and ``dropout``.
    """

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.pre_norm = config.pre_norm
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        sublayer: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return ``x + sublayer(norm(x))``, or in post-norm ``norm(x + sublayer(x))``.

        Args:
            x: ``(batch, seq, d_model)``.
            sublayer: attention or feed-forward, from and to this shape.
        """
        change: Tensor = self.dropout(sublayer(self.norm(x) if self.pre_norm else x))
        result: Tensor = x + change if self.pre_norm else self.norm(x + change)
        return result


class StackPositions(nn.Module):
    """The positions of a stack, acting where its scheme acts: on tokens, on scores, or on queries and keys.

    Args:
        config: gives ``positions`` and the sizes.
        bidirectional: whether queries also see later keys.
    """

    def __init__(self, config: StackConfig, *, bidirectional: bool) -> None:
        super().__init__()
        scheme = config.positions
        self.added: AddedPositions | None = scheme.added(config.d_model, config.max_len)
        self.bias: PositionBias | None = scheme.bias(config.n_heads, bidirectional=bidirectional)
        self.rotary: Rotation | None = scheme.rotary(config.head_width)
        self.limit = scheme.limit(config.max_len)

    def add_to(
        self, x: Float[Tensor, "batch seq d_model"], positions: Int[Tensor, "..."] | None, *, start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the tokens, with their positions (from ``start`` unless given) added where the scheme does that."""
        if self.added is None:
            positions_for(positions, x.size(0), x.size(1), x.device)  # refuses what does not fit
            return x
        return self.added(x, positions, start=start)

    def scores(
        self,
        q_len: int,
        k_len: int,
        queries: Int[Tensor, "*batch {q_len}"] | None = None,
        keys: Int[Tensor, "*batch {k_len}"] | None = None,
    ) -> Float[Tensor, "rows heads {q_len} {k_len}"] | None:
        """Return what the scheme adds to the scores, ``(1 or batch, heads, query, key)``, or ``None``.

        Args:
            q_len: number of queries.
            k_len: number of keys.
            queries: their positions, ``(query,)`` or ``(batch, query)``; the last ones of the keys unless given.
            keys: their positions likewise; 0, 1, 2, … unless given.
        """
        if self.bias is None:
            return None
        if queries is None or keys is None:
            return self.bias(q_len, k_len)
        distances = keys[..., None, :] - queries[..., :, None]  # (query, key) or (batch, query, key)
        return self.bias.at(distances if distances.ndim == 3 else distances[None])


def make_attention(config: StackConfig, rotary: Rotation | None = None) -> MultiHeadAttention:
    """The attention that ``config`` describes."""
    return MultiHeadAttention(
        config.d_model,
        config.n_heads,
        d_head=config.d_head,
        n_kv_heads=config.n_kv_heads,
        bias=config.bias,
        dropout=config.dropout,
        scale=config.attention_scale,
        rotary=rotary,
        qk_norm_eps=config.norm_eps if config.qk_norm else None,
    )
