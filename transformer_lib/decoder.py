"""The decoder: causal self-attention, attention to a memory, and the stack; without memory it is a GPT.

Source: Vaswani et al. (2017), section 3.1.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import StackConfig
from transformer_lib.layers import FeedForward, Residual, StackPositions, make_attention, make_norm
from transformer_lib.multihead import KVCache
from transformer_lib.positions import Rotation


class DecoderCache:
    """What a decoder has already computed: each layer's own past, and its projections of the memory.

    It belongs to the caller. It is for inference, and for one memory: start a new one for new sentences.

    Args:
        n_layers: layers of the decoder.
        max_len: most positions that the decoder can place; ``None`` where there is no such limit.

    Attributes:
        beams: rows that share each memory, one behind the other; 1 until :meth:`reorder` says otherwise.
    """

    def __init__(self, n_layers: int, max_len: int | None = None) -> None:
        self.past = [KVCache() for _ in range(n_layers)]
        self.memory: list[tuple[Tensor, Tensor] | None] = [None] * n_layers
        self.memory_mask: Tensor | None = None
        self.source: Tensor | None = None  # the memory before its projection
        self.positions: Tensor | None = None  # (rows, length), where the caller gave any
        self.max_len = max_len
        self.beams = 1

    @property
    def length(self) -> int:
        """Positions decoded so far."""
        return self.past[0].length

    @property
    def room(self) -> int | None:
        """Positions that can still be decoded; ``None`` where there is no limit."""
        return None if self.max_len is None else self.max_len - self.length

    def project(self, layers: Iterable[nn.Module], memory: Tensor) -> None:
        """Keep the keys and values of ``memory`` in each of the layers; computed at the first call.

        Raises:
            ValueError: the cache holds another memory.
        """
        if self.source is None:
            projected: list[tuple[Tensor, Tensor] | None] = []
            for layer in layers:
                assert isinstance(layer, DecoderLayer)
                assert layer.cross_attention is not None
                projected.append(layer.cross_attention.project(memory))
            self.memory, self.source = projected, memory
        elif memory is not self.source and not (memory.shape == self.source.shape and torch.equal(memory, self.source)):
            raise ValueError("the cache holds another memory; start a new cache for a new one")

    def place(
        self, positions: Int[Tensor, "..."] | None, x: Float[Tensor, "batch query d_model"]
    ) -> tuple[Int[Tensor, "batch query"] | None, Int[Tensor, "batch key"] | None]:
        """Note where new tokens stand, and say where all of them do: where none ever was given, in their order.

        Args:
            positions: of the new tokens, ``(query,)`` or ``(batch, query)``; they continue the cache unless given.
            x: the new tokens, ``(batch, query, d_model)``.

        Returns:
            The positions of the new tokens, and of all, old and new; ``None`` for both where none ever was given.
        """
        if positions is None and self.positions is None:
            return None, None
        rows, q_len, _ = x.shape
        count = torch.arange(self.length + q_len, device=x.device)
        positions = (count[self.length :] if positions is None else positions).expand(rows, -1)
        past = (count[: self.length] if self.positions is None else self.positions).expand(rows, -1)
        self.positions = torch.cat([past, positions], dim=1)
        return positions, self.positions

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what the block has changed in any layer if it does not come to its end, whatever ends it."""
        length, kept = self.length, (self.memory, self.memory_mask, self.source, self.positions)
        try:
            yield
        except BaseException:
            self.crop(length)
            self.memory, self.memory_mask, self.source, self.positions = kept
            raise

    def crop(self, length: int) -> None:
        """Forget the positions from ``length`` on, in every layer; the memory stays.

        Args:
            length: positions to keep.

        Raises:
            ValueError: ``length`` outside what is stored.
        """
        for cache in self.past:
            cache.crop(length)
        if self.positions is not None:
            self.positions = self.positions[:, :length] if length else None

    def reorder(self, index: Int[Tensor, "sentences *beams"], memories: Int[Tensor, "sentences"] | None = None) -> None:
        """Keep the sequences that ``index`` names, in its order.

        The memory stays unless ``memories`` is given: a beam search moves beams within one sentence, whose memory they
        share, and it is never copied for them.

        Args:
            index: positions along the batch axis, which may repeat: ``(sentences,)``, or ``(sentences, beams)`` where
                each sentence has several sequences.
            memories: ``(sentences,)``, the memories to keep; all of them unless given.

        Raises:
            ValueError: not as many sentences as memories.
        """
        if index.ndim not in (1, 2) or not index.shape[1:].numel():
            raise ValueError(f"index must have shape (sentences,) or (sentences, beams); got {tuple(index.shape)}")
        if self.source is not None:
            sentences = self.source.size(0) if memories is None else memories.size(0)
            if index.size(0) != sentences:
                raise ValueError(
                    f"index must have shape ({sentences},) or ({sentences}, beams), as there are memories; "
                    f"got {tuple(index.shape)}"
                )
        # Everything is made anew before anything is replaced, so that no layer is left behind.
        rows = index.flatten()
        past = [copy.copy(cache) for cache in self.past]
        for cache in past:
            cache.reorder(rows)
        positions = None if self.positions is None else self.positions[rows]
        memory, mask, source = self.memory, self.memory_mask, self.source
        if memories is not None:
            memory = [None if stored is None else (stored[0][memories], stored[1][memories]) for stored in memory]
            mask = None if mask is None else mask[memories]
            source = None if source is None else source[memories]
        self.past, self.positions, self.beams = past, positions, index.shape[1:].numel()
        self.memory, self.memory_mask, self.source = memory, mask, source


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory where there is one, then the feed-forward part.

    Args:
        config: sizes and choices.
        rotary: turns queries and keys of the self-attention, where the stack's positions are rotary.
        cross_attention: whether there is a memory.
    """

    def __init__(self, config: StackConfig, rotary: Rotation | None = None, *, cross_attention: bool = True) -> None:
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
        beams: int = 1,
    ) -> Float[Tensor, "batch query d_model"]:
        """Return the layer's tokens; arguments as those of :class:`Decoder`.

        ``memory`` may also be its keys and values, already projected by this layer's ``cross_attention.project``.
        ``beams`` rows of ``x``, one behind the other, share each row of it.
        """
        x = self.self_attention_residual(
            x,
            lambda x: self.self_attention(x, mask=mask, bias=bias, causal=True, positions=positions, cache=past),
        )
        if self.cross_attention is not None and self.cross_attention_residual is not None:
            x = self.cross_attention_residual(x, lambda x: self._ask(x, memory, memory_mask, beams))
        result: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return result

    def _ask(self, x: Tensor, memory: Tensor | tuple[Tensor, Tensor] | None, mask: Tensor | None, beams: int) -> Tensor:
        assert self.cross_attention is not None
        known = memory[0] if isinstance(memory, tuple) else memory
        if known is not None and x.size(0) != beams * known.size(0):
            raise ValueError(
                f"each of the {known.size(0)} memories must serve {beams} of the rows; got x of shape {tuple(x.shape)}"
            )
        # The memory knows no order, so beams can ask as so many queries of one sequence, and it is never copied:
        # (sentences * beams, query, d_model) -> (sentences, beams * query, d_model)
        asked = x.reshape(x.size(0) // beams, beams * x.size(1), x.size(2))
        answers: Tensor = self.cross_attention(asked, memory, mask=mask)
        return answers.view(x.shape)


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

        Raises:
            ValueError: a memory of another width, or for a decoder that attends to none.
        """
        cache = DecoderCache(len(self.layers), self.positions.limit)
        if memory is not None:
            if not self.has_memory:
                raise ValueError("this decoder attends to no memory; got one")
            cache.project(self.layers, memory)
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
            cache: the past; it is extended by ``x``, in all layers, or in none if the call does not come to its end.

        Returns:
            ``(batch, query, d_model)``.

        Raises:
            ValueError: shapes that do not fit, such as rows that are not the cache's beams of its memories; a memory
                where the decoder attends to none, or none where it does, or another than the cache's; a sequence longer
                than ``max_len`` with a position table.
        """
        with nullcontext() if cache is None else cache.all_or_nothing():
            return self._forward(x, memory, mask, memory_mask, positions, cache)

    def _forward(
        self,
        x: Tensor,
        memory: Tensor | None,
        mask: Tensor | None,
        memory_mask: Tensor | None,
        positions: Tensor | None,
        cache: DecoderCache | None,
    ) -> Tensor:
        if cache is not None and len(cache.past) != len(self.layers):
            raise ValueError(f"the cache must have {len(self.layers)} layers, as the decoder; got {len(cache.past)}")
        known = cache is not None and cache.source is not None
        if (memory is not None or known) != self.has_memory:
            expected, given = ("a", "none") if self.has_memory else ("no", "one")
            raise ValueError(f"this decoder attends to {expected} memory; got {given}")
        start = 0 if cache is None else cache.length
        if cache is not None:
            if memory is not None:
                cache.project(self.layers, memory)
            memory_mask = cache.memory_mask if memory_mask is None else memory_mask
        x = self.dropout(self.positions.add_to(x, positions, start=start))
        q_len = x.size(1)
        queries, keys = (positions, positions) if cache is None else cache.place(positions, x)
        bias = self.positions.scores(q_len, start + q_len, queries, keys)
        for index, layer in enumerate(self.layers):
            source = memory if cache is None or not self.has_memory else cache.memory[index]
            past, beams = (None, 1) if cache is None else (cache.past[index], cache.beams)
            x = layer(x, source, mask, memory_mask, bias=bias, positions=positions, past=past, beams=beams)
        result: Tensor = self.final_norm(x)
        return result
