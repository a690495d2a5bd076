"""The library that the book *Attention, Step by Step* builds, chapter by chapter.

Each module is the subject of a chapter, and imports only the modules of the chapters before it. One legend of
shapes serves them all:

===========  ==================================================================
``batch``    sequences computed side by side
``heads``    attention heads of one layer
``query``    positions that ask (the length of the sequence that looks)
``key``      positions that are looked at (the length of the sequence seen)
``d_model``  numbers per token between the layers
``d_head``   numbers per token inside one head
===========  ==================================================================

One convention for masks holds everywhere: boolean, ``True`` = may attend.
"""

from transformer_lib.attention import attention, causal_mask, fused_attention, padding_mask
from transformer_lib.config import StackConfig
from transformer_lib.decoder import Decoder, DecoderCache
from transformer_lib.device import best_device
from transformer_lib.encoder import Encoder
from transformer_lib.generation import (
    BeamState,
    Cache,
    Candidate,
    Hypothesis,
    LanguageModel,
    LengthPenalty,
    beam_search,
    greedy,
    length_penalty,
    likeliest,
    sample,
    sampler,
    stream,
    top_k_filter,
    top_p_filter,
)
from transformer_lib.multihead import KVCache, MultiHeadAttention, merge_heads, split_heads
from transformer_lib.positions import (
    ALiBi,
    Alibi,
    Learned,
    LearnedPositions,
    NoPositions,
    PositionScheme,
    Relative,
    RelativeBias,
    Rotary,
    RotaryPositions,
    Sinusoidal,
    SinusoidalPositions,
    sinusoidal_table,
)
from transformer_lib.transformer import Transformer

__all__ = [
    "ALiBi",
    "Alibi",
    "BeamState",
    "Cache",
    "Candidate",
    "Decoder",
    "DecoderCache",
    "Encoder",
    "Hypothesis",
    "KVCache",
    "LanguageModel",
    "Learned",
    "LearnedPositions",
    "LengthPenalty",
    "MultiHeadAttention",
    "NoPositions",
    "PositionScheme",
    "Relative",
    "RelativeBias",
    "Rotary",
    "RotaryPositions",
    "Sinusoidal",
    "SinusoidalPositions",
    "StackConfig",
    "Transformer",
    "attention",
    "beam_search",
    "best_device",
    "causal_mask",
    "fused_attention",
    "greedy",
    "length_penalty",
    "likeliest",
    "merge_heads",
    "padding_mask",
    "sample",
    "sampler",
    "sinusoidal_table",
    "split_heads",
    "stream",
    "top_k_filter",
    "top_p_filter",
]

__version__ = "0.1.0"
