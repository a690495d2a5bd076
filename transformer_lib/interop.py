"""Weights to and from PyTorch's own modules, so that either can be proved equal to the other."""

import torch
from torch import nn

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
