"""The Transformer: embeddings, encoder, decoder, and the logits of the next token.

Source: Vaswani et al. (2017), sections 3.1 and 3.4.
"""

import math

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.attention import padding_mask
from transformer_lib.config import StackConfig
from transformer_lib.decoder import Decoder, DecoderCache
from transformer_lib.encoder import Encoder


class Transformer(nn.Module):
    """Encoder and decoder over one shared vocabulary, whose embedding is also the output's projection.

    The embedding is drawn with the deviation ``d_model ** -0.5``, and multiplied by ``sqrt(d_model)`` on the way in
    only, so tokens enter with numbers of size 1, and logits start out small (section 3.4).

    Args:
        vocab_size: tokens of the vocabulary.
        config: sizes and choices of both stacks.
        decoder: those of the decoder, where they differ; ``d_model`` must agree.
        pad_id: the number that stands for "no token here"; it is never attended to. ``None`` where there is none, and
            all sources of a batch are equally long.

    Raises:
        ValueError: sizes that do not fit.
    """

    def __init__(
        self, vocab_size: int, config: StackConfig, *, decoder: StackConfig | None = None, pad_id: int | None = 0
    ) -> None:
        super().__init__()
        decoder = config if decoder is None else decoder
        if decoder.d_model != config.d_model:
            raise ValueError(f"encoder and decoder must share d_model; got {config.d_model} and {decoder.d_model}")
        if pad_id is not None and not 0 <= pad_id < vocab_size:
            raise ValueError(f"pad_id must be a token, 0 to {vocab_size - 1}, or None; got {pad_id}")
        self.pad_id = pad_id
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.encoder = Encoder(config)
        self.decoder = Decoder(decoder)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)

    def embed(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """Look the tokens up, and scale them.

        Args:
            token_ids: ``(batch, seq)``.

        Raises:
            ValueError: not of rank 2, or empty.
        """
        if token_ids.ndim != 2 or not token_ids.numel():
            raise ValueError(f"token_ids must have shape (batch, seq), not empty; got {tuple(token_ids.shape)}")
        result: Tensor = self.embedding(token_ids) * math.sqrt(self.embedding.embedding_dim)
        return result

    def encode(
        self, source_ids: Int[Tensor, "batch key"]
    ) -> tuple[Float[Tensor, "batch key d_model"], Bool[Tensor, "batch 1 1 key"] | None]:
        """Read the source.

        Args:
            source_ids: ``(batch, key)``, padded with ``pad_id``, at either end.

        Returns:
            The memory ``(batch, key, d_model)``, and the mask of its padding, both with the padding moved to the end.
            Without a ``pad_id`` there is no mask.
        """
        if self.pad_id is None:
            return self.encoder(self.embed(source_ids)), None
        # A stable sort by "is padding" moves the tokens to the front, in their order: the first is at position 0.
        order = (source_ids == self.pad_id).sort(dim=1, stable=True).indices
        source_ids = source_ids.gather(1, order)
        mask = padding_mask(source_ids, self.pad_id)
        return self.encoder(self.embed(source_ids), mask), mask

    def new_cache(self, source_ids: Int[Tensor, "batch key"] | None = None) -> DecoderCache:
        """Read the source, and be ready to write: see :class:`~transformer_lib.generation.LanguageModel`.

        Args:
            source_ids: ``(batch, key)``, padded with ``pad_id``.

        Raises:
            ValueError: no source, or one without any token.
        """
        if source_ids is None:
            raise ValueError("a Transformer writes about a source; got none")
        memory, mask = self.encode(source_ids)
        if mask is not None and not mask.any(dim=-1).all():
            raise ValueError("each source must have a token; got one of padding alone")
        return self.decoder.new_cache(memory, None if mask is None or mask.all() else mask)

    def step(
        self,
        token_ids: Int[Tensor, "batch query"],
        cache: DecoderCache,
        *,
        mask: Bool[Tensor, "batch 1 1 key"] | None = None,
        positions: Int[Tensor, "batch query"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Give the logits of the token after the last one: see :class:`~transformer_lib.generation.LanguageModel`.

        Args:
            token_ids: ``(batch, query)``, the tokens that are new.
            cache: from :meth:`new_cache`; it is extended by them.
            mask: ``True`` = may attend, over all tokens so far.
            positions: of the new tokens; they continue the cache unless given.

        Returns:
            ``(batch, vocab)``.
        """
        x = self.decoder(self.embed(token_ids), mask=mask, positions=positions, cache=cache)
        return F.linear(x[:, -1], self.embedding.weight)  # (batch, d_model) @ (d_model, vocab)

    def decode(
        self,
        target_ids: Int[Tensor, "batch query"],
        memory: Float[Tensor, "batch key d_model"],
        memory_mask: Bool[Tensor, "batch 1 1 key"] | None = None,
        *,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "batch query vocab"]:
        """Give the logits of each next token of the target.

        Padding at a target's end needs no mask: causality already hides it from the tokens before.

        Args:
            target_ids: ``(batch, query)``; with a cache, the tokens that are new.
            memory: from :meth:`encode`.
            memory_mask: from :meth:`encode`.
            cache: from ``self.decoder.new_cache()``, for decoding step by step.

        Returns:
            ``(batch, query, vocab)``.
        """
        x = self.decoder(self.embed(target_ids), memory, memory_mask=memory_mask, cache=cache)
        return F.linear(x, self.embedding.weight)  # (batch, query, d_model) @ (d_model, vocab)

    def forward(
        self, source_ids: Int[Tensor, "batch key"], target_ids: Int[Tensor, "batch query"]
    ) -> Float[Tensor, "batch query vocab"]:
        """Give the logits of each next token of the target, all at once, as in training.

        Args:
            source_ids: ``(batch, key)``, padded with ``pad_id``.
            target_ids: ``(batch, query)``, the tokens so far; those behind a position are hidden from it.

        Returns:
            ``(batch, query, vocab)``.
        """
        memory, memory_mask = self.encode(source_ids)
        return self.decode(target_ids, memory, memory_mask)
