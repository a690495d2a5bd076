"""Weights to and from PyTorch's own modules, and from Hugging Face's Marian, so that all can be proved equal."""

from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.layers import FeedForward
from transformer_lib.multihead import MultiHeadAttention
from transformer_lib.positions import sinusoidal_table
from transformer_lib.transformer import Transformer

# What Marian calls the parts of a layer. Those of the first group read a token's channels, by their columns; those of
# the second write them, by their rows and biases.
MARIAN_READS = {
    "attention.q_proj": "self_attn.q_proj",
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "feed_forward.up_proj": "fc1",
}
MARIAN_WRITES = {
    "attention.o_proj": "self_attn.out_proj",
    "attention_residual.norm": "self_attn_layer_norm",
    "feed_forward.down_proj": "fc2",
    "feed_forward_residual.norm": "final_layer_norm",
}
MARIAN_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "swish": "silu", "silu": "silu"}


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
def copy_from_marian(ours: Transformer, theirs: nn.Module) -> None:
    """Copy the weights of a Hugging Face ``MarianMTModel`` into our Transformer, which then computes the same logits.

    Marian's position table holds all sines, then all cosines, where ours puts the sine and the cosine of a wave side by
    side. A model does not care how its channels are ordered as long as every part orders them alike. So the channels
    are reordered in every weight that reads or writes them, and both compute the same numbers.

    In training there is one difference: Hugging Face's embedding gives no gradient to the padding token where it is
    looked up, though every target starts with it; ours does.

    Args:
        ours: overwritten; post-norm, sinusoidal positions, and Marian's sizes, activation and padding token.
        theirs: the source, whose embeddings are all one, scaled on the way in.

    Raises:
        ValueError: the two differ in structure or sizes, or a weight of one is missing in the other. Then ours is
            as it was.
    """
    _check_marian(ours, theirs)
    weights: dict[str, Tensor] = dict(theirs.state_dict())

    def take(name: str) -> Tensor:
        if name not in weights:
            raise ValueError(f"theirs has no weight {name}")
        return weights.pop(name)

    d_model = ours.embedding.embedding_dim
    # Channel 2i of ours is channel i of theirs, the sine; 2i + 1 is d_model / 2 + i, the cosine.
    order = torch.arange(d_model).view(2, -1).T.flatten()

    if take("final_logits_bias").any():
        raise ValueError("theirs adds a final_logits_bias that is not zero; our logits have no bias")
    embedding = take("model.shared.weight")
    for tied in ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"):
        if not torch.equal(take(tied), embedding):
            raise ValueError(f"theirs must use one matrix for all embeddings and the logits; {tied} is another")
    for stack in ("encoder", "decoder"):
        table = take(f"model.{stack}.embed_positions.weight")[:, order]
        rounding = max(1e-6, torch.finfo(table.dtype).eps)
        if not torch.allclose(table, sinusoidal_table(len(table), d_model).to(table), rtol=0.0, atol=rounding):
            raise ValueError(f"their {stack}'s positions are not Marian's sines and cosines")

    copies: list[tuple[Tensor, Tensor]] = [(ours.embedding.weight, embedding[:, order])]
    for name, parameter in ours.named_parameters():
        if name != "embedding.weight":
            their_name, reads = _marian_name(name)
            weight = take(their_name)
            if not reads:
                weight = weight[order]
            elif weight.ndim == 2:
                weight = weight[:, order]
            copies.append((parameter, weight))
    if weights:
        raise ValueError(f"theirs has weights that ours has not: {', '.join(weights)}")
    for target, weight in copies:
        target.copy_(weight)


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


def _marian_name(name: str) -> tuple[str, bool]:
    """Marian's name of one of our parameters, and whether it reads a token's channels rather than writes them."""
    stack, _, number, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    part, attends_memory = part.removeprefix("self_").removeprefix("cross_"), part.startswith("cross_")
    reads = part in MARIAN_READS
    part = MARIAN_READS[part] if reads else MARIAN_WRITES[part]
    if attends_memory:
        part = part.replace("self_attn", "encoder_attn")
    return f"model.{stack}.layers.{number}.{part}.{kind}", reads


def _check_marian(ours: Transformer, theirs: Any) -> None:
    config = theirs.config
    pairs: dict[str, tuple[Any, Any]] = {
        "vocab_size": (ours.embedding.num_embeddings, config.vocab_size),
        "pad_id": (ours.pad_id, config.pad_token_id),
    }
    for stack, mine in (("encoder", ours.encoder.config), ("decoder", ours.decoder.config)):
        if mine.pre_norm or mine.norm != "layer" or mine.gated or not mine.bias or mine.positions != "sinusoidal":
            raise ValueError(
                f"our {stack} must be post-norm, with LayerNorm, biases and sinusoidal positions, and without a gate"
            )
        d_head = config.d_model // getattr(config, f"{stack}_attention_heads")
        pairs |= {
            "d_model": (mine.d_model, config.d_model),
            f"{stack} n_layers": (mine.n_layers, getattr(config, f"{stack}_layers")),
            f"{stack} n_heads": (mine.n_heads, getattr(config, f"{stack}_attention_heads")),
            f"{stack} n_kv_heads": (mine.n_kv_heads or mine.n_heads, getattr(config, f"{stack}_attention_heads")),
            f"{stack} d_head": (mine.d_head or mine.d_model // mine.n_heads, d_head),
            f"{stack} d_ff": (mine.d_ff, getattr(config, f"{stack}_ffn_dim")),
            f"{stack} attention_scale": (mine.attention_scale or d_head**-0.5, d_head**-0.5),
            f"{stack} norm_eps": (mine.norm_eps, 1e-5),
            f"{stack} activation": (mine.activation, MARIAN_ACTIVATIONS.get(config.activation_function)),
        }
    for name, (one, other) in pairs.items():
        if one != other:
            raise ValueError(f"{name} must agree; ours has {one!r}, theirs {other!r}")
    if not (config.scale_embedding and config.share_encoder_decoder_embeddings and config.tie_word_embeddings):
        raise ValueError("theirs must scale its embeddings, and share one matrix between encoder, decoder and logits")
