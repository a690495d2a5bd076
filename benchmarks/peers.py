"""The models that are measured side by side: the same sizes, vocabulary, positions, dropout and loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib import MultiHeadAttention, StackConfig, Transformer, padding_mask
from transformer_lib.positions import SinusoidalPositions

PAD, EOS = 0, 1


@dataclass(frozen=True)
class Sizes:
    """What every peer is built with, and the batch it works on."""

    vocab: int = 4000
    d_model: int = 256
    n_heads: int = 4
    n_layers: int = 3  # of the encoder, and of the decoder
    d_ff: int = 1024
    dropout: float = 0.1
    batch: int = 32
    length: int = 32  # of the longest sentence
    new_tokens: int = 32  # that decoding adds

    @property
    def max_len(self) -> int:
        return max(self.length, self.new_tokens) + 8

    def config(self) -> StackConfig:
        return StackConfig(
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_layers=self.n_layers,
            d_ff=self.d_ff,
            dropout=self.dropout,
            max_len=self.max_len,
        )


# By what is measured: a whole model, one layer of attention over longer sentences, or its steps over a filled cache.
SIZES = {
    "quick": {
        "model": Sizes(vocab=500, d_model=64, n_layers=1, d_ff=128, batch=8, length=16, new_tokens=8),
        "layer": Sizes(d_model=64, batch=2, length=64),
        "cache": Sizes(d_model=64, batch=2, length=64, new_tokens=2),
    },
    "cpu": {
        "model": Sizes(),
        "layer": Sizes(batch=8, length=512),
        "cache": Sizes(d_model=1024, n_heads=16, n_layers=1, batch=8, length=1024, new_tokens=4),
    },
    # The paper's base model, on batches of about its size.
    "gpu": {
        "model": Sizes(vocab=32_000, d_model=512, n_heads=8, n_layers=6, d_ff=2048, batch=256, length=64),
        "layer": Sizes(d_model=512, n_heads=8, batch=16, length=2048),
    },
}


@dataclass(frozen=True)
class Batch:
    """Sentences of different lengths, padded, as training sees them."""

    source: Tensor
    target: Tensor  # what the decoder reads
    labels: Tensor  # what it must predict; -100 where there is nothing to predict
    tokens: int  # read by the encoder and the decoder, padding not counted


def batch_of(sizes: Sizes, device: torch.device, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def sentences() -> Tensor:
        ids = torch.randint(2, sizes.vocab, (sizes.batch, sizes.length), generator=generator)
        lengths = torch.randint(sizes.length // 2, sizes.length + 1, (sizes.batch, 1), generator=generator)
        lengths[0] = sizes.length
        return ids.masked_fill(torch.arange(sizes.length) >= lengths, PAD)

    source, labels = sentences(), sentences()
    target = torch.cat([torch.full((sizes.batch, 1), PAD), labels[:, :-1]], dim=1)
    tokens = int((source != PAD).sum() + (labels != PAD).sum())
    labels = labels.masked_fill(labels == PAD, -100)
    return Batch(source.to(device), target.to(device), labels.to(device), tokens)


class OverTorch(nn.Module):
    """``nn.Transformer`` with what it lacks: our embedding, positions and tied logits."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocab, sizes.d_model)
        nn.init.normal_(self.embedding.weight, std=sizes.d_model**-0.5)
        self.positions = SinusoidalPositions(sizes.d_model, sizes.max_len)
        self.dropout = nn.Dropout(sizes.dropout)
        self.transformer = nn.Transformer(
            sizes.d_model,
            sizes.n_heads,
            sizes.n_layers,
            sizes.n_layers,
            sizes.d_ff,
            sizes.dropout,
            batch_first=True,
        )
        # It normalizes once more after each post-norm stack, which nobody else does.
        self.transformer.encoder.norm = self.transformer.decoder.norm = None

    def embed(self, ids: Tensor) -> Tensor:
        scaled = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(self.positions(scaled))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        padding = source == PAD
        future = torch.ones(target.size(1), target.size(1), dtype=torch.bool, device=target.device).triu(1)
        x = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(x, self.embedding.weight)


class OverXTransformers(nn.Module):
    """What ``XTransformer`` is made of. Its own class has no way to tie the logits to the embedding."""

    def __init__(self, sizes: Sizes, *, flash: bool) -> None:
        super().__init__()
        from x_transformers import Decoder, Encoder, TransformerWrapper

        p = sizes.dropout
        layers: dict[str, Any] = {
            "dim": sizes.d_model,
            "depth": sizes.n_layers,
            "heads": sizes.n_heads,
            "attn_dim_head": sizes.d_model // sizes.n_heads,
            "attn_flash": flash,
            "attn_dropout": p,
            "attn_sublayer_dropout": p,
            "ff_mult": sizes.d_ff / sizes.d_model,
            "ff_custom_activation": nn.ReLU(),
            "ff_dropout": p,
            "ff_sublayer_dropout": p,
            "pre_norm": False,
            "verbose": False,
        }
        both: dict[str, Any] = {
            "num_tokens": sizes.vocab,
            "max_seq_len": sizes.max_len,
            "emb_dropout": p,
            "scaled_sinu_pos_emb": True,
        }
        self.encoder = TransformerWrapper(attn_layers=Encoder(**layers), return_only_embed=True, **both)
        self.decoder = TransformerWrapper(attn_layers=Decoder(**layers, cross_attend=True), tie_embedding=True, **both)
        self.decoder.token_emb = self.encoder.token_emb

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        seen = source != PAD
        memory = self.encoder(source, mask=seen, return_embeddings=True)
        return self.decoder(target, context=memory, context_mask=seen)


class OverMarian(nn.Module):
    """Hugging Face's Marian."""

    def __init__(self, sizes: Sizes, *, attention: str) -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        config = MarianConfig(
            vocab_size=sizes.vocab,
            d_model=sizes.d_model,
            encoder_layers=sizes.n_layers,
            decoder_layers=sizes.n_layers,
            encoder_attention_heads=sizes.n_heads,
            decoder_attention_heads=sizes.n_heads,
            encoder_ffn_dim=sizes.d_ff,
            decoder_ffn_dim=sizes.d_ff,
            max_position_embeddings=sizes.max_len,
            activation_function="relu",
            scale_embedding=True,
            dropout=sizes.dropout,
            attention_dropout=sizes.dropout,
            activation_dropout=sizes.dropout,
            pad_token_id=PAD,
            decoder_start_token_id=PAD,
            eos_token_id=EOS,
            forced_eos_token_id=None,
        )
        config._attn_implementation = attention
        self.model = MarianMTModel(config)
        nn.init.normal_(self.model.model.shared.weight, std=sizes.d_model**-0.5)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.model(
            input_ids=source, attention_mask=source != PAD, decoder_input_ids=target, use_cache=False
        ).logits


@dataclass(frozen=True)
class Peer:
    """A model to be measured, and in words how it differs from ours."""

    build: Callable[[Sizes], nn.Module]
    differs: str


OURS = "ours"
MODELS = {
    OURS: Peer(lambda sizes: Transformer(sizes.vocab, sizes.config(), pad_id=PAD), "transformer_lib.Transformer"),
    "nn.Transformer": Peer(
        OverTorch,
        "It has no embedding, positions or logits: it is given ours. Its norm after each stack, which post-norm "
        "does not have, is taken out. Its encoder's fast path serves inference.",
    ),
    "Marian, eager": Peer(
        lambda sizes: OverMarian(sizes, attention="eager"),
        "Hugging Face's MarianMTModel, attention written out. It gives its padding token no gradient.",
    ),
    "Marian, SDPA": Peer(
        lambda sizes: OverMarian(sizes, attention="sdpa"),
        "The same, attention through PyTorch's fused kernels.",
    ),
    "x-transformers": Peer(
        lambda sizes: OverXTransformers(sizes, flash=False),
        "Encoder and decoder wrappers as in XTransformer, post-norm, logits tied. Its attention and its norms have no "
        "biases; its sinusoidal positions have one learned scale each, and are computed anew in every pass.",
    ),
    "x-transformers, flash": Peer(
        lambda sizes: OverXTransformers(sizes, flash=True),
        "The same, attention through PyTorch's fused kernels.",
    ),
}


class OurLayer(nn.Module):
    """Self-attention over padded sentences."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(sizes.d_model, sizes.n_heads, dropout=sizes.dropout)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.attention(x, mask=padding_mask(ids, PAD))


class TorchLayer(nn.Module):
    """The same with PyTorch's module."""

    def __init__(self, sizes: Sizes, *, weights: bool) -> None:
        super().__init__()
        self.weights = weights
        self.attention = nn.MultiheadAttention(sizes.d_model, sizes.n_heads, dropout=sizes.dropout, batch_first=True)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.attention(x, x, x, key_padding_mask=ids == PAD, need_weights=self.weights)[0]


LAYERS = {
    OURS: Peer(OurLayer, "transformer_lib.MultiHeadAttention"),
    "nn.MultiheadAttention": Peer(
        lambda sizes: TorchLayer(sizes, weights=False),
        "With need_weights=False, which lets it use the fused kernels. Query, key and value are one packed matrix.",
    ),
    "nn.MultiheadAttention, weights": Peer(
        lambda sizes: TorchLayer(sizes, weights=True),
        "As it is by default: it returns the weights too, averaged over the heads.",
    ),
}


def parameters_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def expected_difference(name: str, sizes: Sizes) -> int:
    """How many parameters a peer has more (or fewer) than ours, by what its ``differs`` says."""
    if name.startswith("x-transformers"):
        attentions, norms = 3 * sizes.n_layers, 5 * sizes.n_layers
        return 2 - attentions * 4 * sizes.d_model - norms * sizes.d_model
    return 0
