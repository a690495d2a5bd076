"""Weights to and from PyTorch's own modules, so that either can be proved equal to the other."""

from typing import Any

import torch
from torch import nn

from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.layers import FeedForward
from transformer_lib.multihead import MultiHeadAttention


@torch.no_grad()
def copy_from_torch(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy the weights of PyTorch's module into ours.

    Args:
        ours: overwritten.
        theirs: the source; PyTorch stacks the projections of query, key and value in one matrix, in this order.

    Raises:
        ValueError: the two modules differ in sizes or biases, or one has parts that the other has not.
    """
    _check_same(ours, theirs)
    q_weight, k_weight, v_weight = theirs.in_proj_weight.chunk(3)  # (3 * d_model, d_model) -> 3 of (d_model, d_model)
    pairs = [(ours.q_proj.weight, q_weight), (ours.k_proj.weight, k_weight), (ours.v_proj.weight, v_weight)]
    pairs.append((ours.o_proj.weight, theirs.out_proj.weight))
    if theirs.in_proj_bias is not None:
        biases = [*theirs.in_proj_bias.chunk(3), theirs.out_proj.bias]
        pairs += zip((ours.q_proj.bias, ours.k_proj.bias, ours.v_proj.bias, ours.o_proj.bias), biases, strict=True)
    for target, source in pairs:
        target.copy_(source)


def copy_encoder_from_torch(ours: Encoder, theirs: nn.TransformerEncoder) -> None:
    """Copy the weights of PyTorch's encoder into ours; positions are no part of theirs.

    Args:
        ours: overwritten.
        theirs: the source. In post-norm it must have no norm of its own after the last layer.

    Raises:
        ValueError: the two differ in structure or sizes.
    """
    _check_stacks(ours, theirs)
    our_layer: Any  # nn.ModuleList does not tell what it holds
    their_layer: Any
    for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
        copy_from_torch(our_layer.attention, their_layer.self_attn)
        _copy_feed_forward(our_layer.feed_forward, their_layer)
        our_layer.attention_residual.norm.load_state_dict(their_layer.norm1.state_dict())
        our_layer.feed_forward_residual.norm.load_state_dict(their_layer.norm2.state_dict())


def copy_decoder_from_torch(ours: Decoder, theirs: nn.TransformerDecoder) -> None:
    """Copy the weights of PyTorch's decoder into ours; positions are no part of theirs.

    Args:
        ours: overwritten; it must attend to a memory.
        theirs: the source. In post-norm it must have no norm of its own after the last layer.

    Raises:
        ValueError: the two differ in structure or sizes.
    """
    _check_stacks(ours, theirs)
    if not ours.has_memory:
        raise ValueError("ours must attend to a memory, as PyTorch's decoder does")
    our_layer: Any  # nn.ModuleList does not tell what it holds
    their_layer: Any
    for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
        copy_from_torch(our_layer.self_attention, their_layer.self_attn)
        copy_from_torch(our_layer.cross_attention, their_layer.multihead_attn)
        _copy_feed_forward(our_layer.feed_forward, their_layer)
        our_layer.self_attention_residual.norm.load_state_dict(their_layer.norm1.state_dict())
        our_layer.cross_attention_residual.norm.load_state_dict(their_layer.norm2.state_dict())
        our_layer.feed_forward_residual.norm.load_state_dict(their_layer.norm3.state_dict())


@torch.no_grad()
def copy_to_torch(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy our weights into PyTorch's module: the inverse of :func:`copy_from_torch`.

    Args:
        ours: the source.
        theirs: overwritten.

    Raises:
        ValueError: the two modules differ in sizes or biases, or one has parts that the other has not.
    """
    _check_same(ours, theirs)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
    theirs.out_proj.weight.copy_(ours.o_proj.weight)
    if theirs.in_proj_bias is not None:
        theirs.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
        theirs.out_proj.bias.copy_(ours.o_proj.bias)


def _check_same(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    if theirs.in_proj_weight is None or theirs.bias_k is not None or theirs.add_zero_attn:
        raise ValueError("theirs must not use kdim, vdim, add_bias_kv or add_zero_attn: our module has no such parts")
    if ours.n_kv_heads != ours.n_heads or ours.d_head * ours.n_heads != ours.d_model or ours.rotary is not None:
        raise ValueError("ours must have n_kv_heads = n_heads, d_head = d_model / n_heads and no rotary positions")
    mine = (ours.d_model, ours.n_heads, ours.q_proj.bias is not None)
    yours = (theirs.embed_dim, theirs.num_heads, theirs.in_proj_bias is not None)
    if mine != yours:
        raise ValueError(f"(d_model, n_heads, bias) must agree; ours has {mine}, theirs {yours}")


def _check_stacks(ours: Encoder | Decoder, theirs: nn.TransformerEncoder | nn.TransformerDecoder) -> None:
    if len(ours.layers) != len(theirs.layers):
        raise ValueError(f"the numbers of layers must agree; ours has {len(ours.layers)}, theirs {len(theirs.layers)}")
    pre_norm = bool(theirs.layers[0].norm_first)
    if ours.config.pre_norm != pre_norm or (theirs.norm is not None) != pre_norm:
        raise ValueError(
            f"both must be pre-norm with a final norm, or post-norm without one; ours has pre_norm="
            f"{ours.config.pre_norm}, theirs norm_first={pre_norm} and {'a' if theirs.norm is not None else 'no'} norm"
        )
    if ours.config.gated or ours.config.norm != "layer":
        raise ValueError("ours must have LayerNorm and no gate: PyTorch's layers know no other")
    if theirs.norm is not None:
        ours.final_norm.load_state_dict(theirs.norm.state_dict())


def _copy_feed_forward(ours: FeedForward, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    ours.up_proj.load_state_dict(theirs.linear1.state_dict())
    ours.down_proj.load_state_dict(theirs.linear2.state_dict())
