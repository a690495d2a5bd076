"""The encoder: a layer in which every token looks at every other, and the stack of such layers.

Source: Vaswani et al. (2017), section 3.1.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import StackConfig
from transformer_lib.layers import FeedForward, Residual, StackPositions, make_attention, make_norm
from transformer_lib.positions import Rotation


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward part, each with its residual connection.

    Args:
        config: sizes and choices.
        rotary: turns queries and keys, where the stack's positions are rotary.
    """

    def __init__(self, config: StackConfig, rotary: Rotation | None = None) -> None:
        super().__init__()
        self.attention = make_attention(config, rotary)
        self.attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        *,
        bias: Float[Tensor, "..."] | None = None,
        positions: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the layer's tokens; arguments as those of :class:`Encoder`, ``bias`` added to the scores."""
        x = self.attention_residual(x, lambda x: self.attention(x, mask=mask, bias=bias, positions=positions))
        result: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return result


class Encoder(nn.Module):
    """Positions, then ``n_layers`` encoder layers, and in pre-norm a last normalization.

    Post-norm layers end with a normalization already; pre-norm layers would leave the sum of all residuals as it is.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.positions = StackPositions(config, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config, self.positions.rotary) for _ in range(config.n_layers))
        self.final_norm = make_norm(config) if config.pre_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        *,
        positions: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Turn embedded tokens into tokens that know their context.

        Args:
            x: ``(batch, seq, d_model)``.
            mask: boolean, ``True`` = may attend, e.g. a padding mask ``(batch, 1, 1, seq)``.
            positions: ``(seq,)`` or ``(batch, seq)``; 0, 1, 2, … unless given.

        Returns:
            ``(batch, seq, d_model)``.

        Raises:
            ValueError: shapes that do not fit, or a sequence longer than ``max_len`` with a position table.
        """
        x = self.dropout(self.positions.add_to(x, positions))
        bias = self.positions.scores(x.size(1), x.size(1), positions, positions)
        for layer in self.layers:
            x = layer(x, mask, bias=bias, positions=positions)
        result: Tensor = self.final_norm(x)
        return result
