"""The decoder: causal self-attention, attention to a memory, and the stack; without memory it is a GPT.

Source: Vaswani et al. (2017), section 3.1.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import StackConfig
from transformer_lib.layers import FeedForward, Residual, StackPositions, make_attention, make_norm
from transformer_lib.multihead import KVCache
from transformer_lib.positions import RotaryPositions


class DecoderCache:
    """What a decoder has already computed: each layer's own past, and its projections of the memory.

    It belongs to the caller. It is for inference, and for one memory: start a new one for new sentences.

    Args:
        n_layers: layers of the decoder.
        max_len: most positions that the decoder can place; ``None`` where there is no such limit.
    """

    def __init__(self, n_layers: int, max_len: int | None = None) -> None:
        self.past = [KVCache() for _ in range(n_layers)]
        self.memory: list[tuple[Tensor, Tensor] | None] = [None] * n_layers
        self.memory_mask: Tensor | None = None
        self.max_len = max_len

    @property
    def length(self) -> int:
        """Positions decoded so far."""
        return self.past[0].length

    def project(self, index: int, layer: "DecoderLayer", memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of ``memory`` in layer number ``index``, computed at the first call."""
        stored = self.memory[index]
        if stored is None:
            if layer.cross_attention is None:
                raise ValueError("this layer attends to no memory")
            stored = self.memory[index] = layer.cross_attention.project(memory)
        return stored

    def reorder(self, index: Int[Tensor, "beams"], memories: Int[Tensor, "sentences"] | None = None) -> None:
        """Keep the sequences that ``index`` names, in its order.

        The memory stays unless ``memories`` is given: a beam search moves beams within one sentence, whose memory they
        share. Where sequences outnumber memories, as many of them in a row belong to each.

        Args:
            index: ``(beams,)``, positions along the batch axis; they may repeat.
            memories: ``(sentences,)``, the memories to keep; all of them unless given.
        """
        for cache in self.past:
            cache.reorder(index)
        if memories is not None:
            for layer, stored in enumerate(self.memory):
                if stored is not None:
                    self.memory[layer] = (stored[0][memories], stored[1][memories])
            if self.memory_mask is not None:
                self.memory_mask = self.memory_mask[memories]


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory where there is one, then the feed-forward part.

    Args:
        config: sizes and choices.
        rotary: turns queries and keys of the self-attention, where the stack's positions are rotary.
        cross_attention: whether there is a memory.
    """

    def __init__(
        self, config: StackConfig, rotary: RotaryPositions | None = None, *, cross_attention: bool = True
    ) -> None:
        super().__init__()
        self.self_attention = make_attention(config, rotary)
        self.self_attention_residual = Residual(config)
        self.cross_attention = make_attention(config) if cross_attention else None
        self.cross_attention_residual = Residual(config) if cross_attention else None
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        memory: Float[Tensor, "batch key d_model"] | tuple[Tensor, Tensor] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        *,
        bias: Float[Tensor, "..."] | None = None,
        positions: Int[Tensor, "..."] | None = None,
        past: KVCache | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Return the layer's tokens; arguments as those of :class:`Decoder`.

        ``memory`` may also be its keys and values, already projected by this layer's ``cross_attention.project``. Of
        these there may be fewer than sequences, which then share them in equal parts, as the beams of a sentence do.
        """
        x = self.self_attention_residual(
            x,
            lambda x: self.self_attention(x, mask=mask, bias=bias, causal=True, positions=positions, cache=past),
        )
        if self.cross_attention is not None and self.cross_attention_residual is not None:
            x = self.cross_attention_residual(x, lambda x: self._ask(x, memory, memory_mask))
        result: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return result

    def _ask(self, x: Tensor, memory: Tensor | tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        assert self.cross_attention is not None
        if isinstance(memory, tuple) and x.size(0) > memory[0].size(0) and x.size(0) % memory[0].size(0) == 0:
            # The memory knows no order, so beams can ask as so many queries of one sequence, and it is never copied:
            # (sentences * beams, query, d_model) -> (sentences, beams * query, d_model)
            shape, x = x.shape, x.reshape(memory[0].size(0), -1, x.size(-1))
            answers: Tensor = self.cross_attention(x, memory, mask=mask)
            return answers.view(shape)
        result: Tensor = self.cross_attention(x, memory, mask=mask)
        return result


class Decoder(nn.Module):
    """Positions, then ``n_layers`` decoder layers, and in pre-norm a last normalization.

    Args:
        config: sizes and choices.
        cross_attention: whether the layers attend to a memory; without it the stack is that of a GPT.
    """

    def __init__(self, config: StackConfig, *, cross_attention: bool = True) -> None:
        super().__init__()
        self.config, self.has_memory = config, cross_attention
        self.positions = StackPositions(config, bidirectional=False)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(config, self.positions.rotary, cross_attention=cross_attention) for _ in range(config.n_layers)
        )
        self.final_norm = make_norm(config) if config.pre_norm else nn.Identity()

    def new_cache(
        self,
        memory: Float[Tensor, "batch key d_model"] | None = None,
        memory_mask: Bool[Tensor, "batch 1 1 key"] | None = None,
    ) -> DecoderCache:
        """An empty cache, for decoding step by step.

        Args:
            memory: projected at once for every layer if given; :meth:`forward` then needs it no more.
            memory_mask: the memory's padding, kept likewise.
        """
        max_len = None if self.positions.added is None else self.config.max_len
        cache = DecoderCache(len(self.layers), max_len)
        if memory is not None:
            for index, layer in enumerate(self.layers):
                assert isinstance(layer, DecoderLayer)
                cache.project(index, layer, memory)
            cache.memory_mask = memory_mask
        return cache

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        memory: Float[Tensor, "batch key d_model"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        *,
        positions: Int[Tensor, "..."] | None = None,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Turn embedded tokens into tokens that know what came before them, and the memory.

        Args:
            x: ``(batch, query, d_model)``; with a cache, the tokens that are new.
            memory: what the encoder made of the source, ``(batch, key, d_model)``; a cache may know it already.
            mask: boolean, ``True`` = may attend, for the self-attention; it joins the causal mask by *and*. With a
                cache, its keys count the cached tokens too.
            memory_mask: boolean, for the attention to the memory, e.g. the source's padding mask.
            positions: of ``x``, ``(query,)`` or ``(batch, query)``; they continue the cache unless given.
            cache: the past; it is extended by ``x``.

        Returns:
            ``(batch, query, d_model)``.

        Raises:
            ValueError: shapes that do not fit; a memory where the decoder attends to none, or none where it does; a
                sequence longer than ``max_len`` with a position table.
        """
        known = cache is not None and cache.memory[0] is not None
        if (memory is not None or known) != self.has_memory:
            expected, given = ("a", "none") if self.has_memory else ("no", "one")
            raise ValueError(f"this decoder attends to {expected} memory; got {given}")
        if memory_mask is None and cache is not None:
            memory_mask = cache.memory_mask
        start = 0 if cache is None else cache.length
        if positions is None and start:
            positions = torch.arange(start, start + x.size(1), device=x.device)
        x = self.dropout(self.positions.add_to(x, positions))
        bias = self.positions.scores(x.size(1), start + x.size(1))
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            source: Tensor | tuple[Tensor, Tensor] | None = memory
            if cache is not None and self.has_memory:
                source = cache.memory[index] if memory is None else cache.project(index, layer, memory)
            past = None if cache is None else cache.past[index]
            x = layer(x, source, mask, memory_mask, bias=bias, positions=positions, past=past)
        result: Tensor = self.final_norm(x)
        return result
