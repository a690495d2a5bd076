"""Weights to and from PyTorch's own modules, and from Hugging Face's Marian, so that all can be proved equal."""

import math
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


# A weight's name, ours and theirs; `None` where one has no such weight.
Pair = tuple[str, Tensor | None, Tensor | None]


def copy_from_torch(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy the weights of PyTorch's module into ours.

    Args:
        ours: overwritten.
        theirs: the source; PyTorch stacks the projections of query, key and value in one matrix, in this order.

    Raises:
        TypeError: one of the modules is of another class.
        ValueError: the two would not compute the same: they differ in sizes, biases, dtype or the scores' scale, one
            has parts that the other has not, or both are in training mode and differ in dropout; or weights are on the
            meta device. Then ours is as it was.
    """
    _copy_all(_attention_pairs(ours, theirs), to_theirs=False)


def copy_encoder_from_torch(ours: Encoder, theirs: nn.TransformerEncoder) -> None:
    """Copy the weights of PyTorch's encoder into ours; positions, and the dropout after them, are no part of theirs.

    Args:
        ours: overwritten.
        theirs: the source. In post-norm it must have no norm of its own after the last layer.

    Raises:
        TypeError: one of the modules, or a layer of theirs, is of another class.
        ValueError: the two would not compute the same: they differ in structure, sizes, epsilon, activation, biases or
            dtype, or both are in training mode and differ in dropout; or weights are on the meta device. Then ours is
            as it was.
    """
    _check_class(ours, Encoder, "ours")
    _check_class(theirs, nn.TransformerEncoder, "theirs")
    parts = {"attention": ("self_attn", "norm1", "dropout1"), "feed_forward": ("", "norm2", "dropout2")}
    _copy_all(_stack_pairs(ours, theirs, nn.TransformerEncoderLayer, parts), to_theirs=False)


def copy_decoder_from_torch(ours: Decoder, theirs: nn.TransformerDecoder) -> None:
    """Copy the weights of PyTorch's decoder into ours; positions, and the dropout after them, are no part of theirs.

    Args:
        ours: overwritten; it must attend to a memory.
        theirs: the source. In post-norm it must have no norm of its own after the last layer.

    Raises:
        TypeError: one of the modules, or a layer of theirs, is of another class.
        ValueError: as :func:`copy_encoder_from_torch`. Then ours is as it was.
    """
    _check_class(ours, Decoder, "ours")
    _check_class(theirs, nn.TransformerDecoder, "theirs")
    if not ours.has_memory:
        raise ValueError("ours must attend to a memory, as PyTorch's decoder does")
    parts = {
        "self_attention": ("self_attn", "norm1", "dropout1"),
        "cross_attention": ("multihead_attn", "norm2", "dropout2"),
        "feed_forward": ("", "norm3", "dropout3"),
    }
    _copy_all(_stack_pairs(ours, theirs, nn.TransformerDecoderLayer, parts), to_theirs=False)


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
        TypeError: one of the models is of another class.
        ValueError: the two would not compute the same: they differ in structure, sizes, epsilon, activation or dtype,
            a weight of one is missing in the other, or both are in training mode and differ in dropout; or weights are
            on the meta device. Then ours is as it was.
    """
    _check_class(ours, Transformer, "ours")
    if getattr(getattr(theirs, "config", None), "model_type", None) != "marian":
        raise TypeError(f"theirs must be a MarianMTModel; got {type(theirs).__name__}")
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

    pairs: list[Pair] = [("embedding.weight", ours.embedding.weight, embedding[:, order])]
    for name, parameter in ours.named_parameters():
        if name != "embedding.weight":
            their_name, reads = _marian_name(name)
            weight = take(their_name)
            if not reads:
                weight = weight[order]
            elif weight.ndim == 2:
                weight = weight[:, order]
            pairs.append((name, parameter, weight))
    if weights:
        raise ValueError(f"theirs has weights that ours has not: {', '.join(weights)}")
    _copy_all(pairs, to_theirs=False)


def copy_to_torch(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy our weights into PyTorch's module: the inverse of :func:`copy_from_torch`.

    Args:
        ours: the source.
        theirs: overwritten.

    Raises:
        TypeError: one of the modules is of another class.
        ValueError: as :func:`copy_from_torch`. Then theirs is as it was.
    """
    _copy_all(_attention_pairs(ours, theirs), to_theirs=True)


@torch.no_grad()
def _copy_all(pairs: list[Pair], *, to_theirs: bool) -> None:
    """Copy one side of every pair into the other, or raise and copy none."""
    copies: list[tuple[Tensor, Tensor]] = []
    for name, mine, yours in pairs:
        if mine is None and yours is None:
            continue
        if mine is None or yours is None:
            raise ValueError(f"{name}: {'theirs' if mine is None else 'ours'} has this weight, the other has not")
        for what, one, other in (("shape", tuple(mine.shape), tuple(yours.shape)), ("dtype", mine.dtype, yours.dtype)):
            if one != other:
                raise ValueError(f"{name}: the {what} must agree; ours has {one}, theirs {other}")
        if mine.is_meta or yours.is_meta:
            raise ValueError(f"{name}: {'ours' if mine.is_meta else 'theirs'} is on the meta device, without numbers")
        copies.append((yours, mine) if to_theirs else (mine, yours))
    for target, source in copies:
        target.copy_(source)


def _check_class(module: object, wanted: type, name: str) -> None:
    if not isinstance(module, wanted):
        raise TypeError(f"{name} must be of class {wanted.__name__}; got {type(module).__name__}")


def _check_equal(name: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise ValueError(f"{name} must agree; ours has {ours!r}, theirs {theirs!r}")


@torch.no_grad()  # its views of stacked weights may be written to
def _attention_pairs(ours: MultiHeadAttention, theirs: nn.MultiheadAttention, prefix: str = "") -> list[Pair]:
    _check_class(ours, MultiHeadAttention, "ours")
    _check_class(theirs, nn.MultiheadAttention, "theirs")
    if theirs.in_proj_weight is None or theirs.bias_k is not None or theirs.add_zero_attn:
        raise ValueError("theirs must not use kdim, vdim, add_bias_kv or add_zero_attn: our module has no such parts")
    if ours.n_kv_heads != ours.n_heads or ours.d_head * ours.n_heads != ours.d_model or ours.rotary is not None:
        raise ValueError("ours must have n_kv_heads = n_heads, d_head = d_model / n_heads and no rotary positions")
    _check_equal(
        "(d_model, n_heads, bias)",
        (ours.d_model, ours.n_heads, ours.q_proj.bias is not None),
        (theirs.embed_dim, theirs.num_heads, theirs.in_proj_bias is not None),
    )
    usual = ours.d_head**-0.5
    if ours.scale is not None and not math.isclose(ours.scale, usual):
        raise ValueError(f"the scores' scale must agree; ours has {ours.scale}, theirs 1 / sqrt(d_head) = {usual}")
    if ours.training and theirs.training:
        _check_equal(f"{prefix}dropout", ours.dropout, theirs.dropout)
    # (3 * d_model, d_model) -> 3 of (d_model, d_model), and likewise the biases
    weights = theirs.in_proj_weight.chunk(3)
    biases = (None,) * 3 if theirs.in_proj_bias is None else theirs.in_proj_bias.chunk(3)
    pairs: list[Pair] = []
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
        projection = getattr(ours, name)
        pairs.append((f"{prefix}{name}.weight", projection.weight, weight))
        pairs.append((f"{prefix}{name}.bias", projection.bias, bias))
    return pairs + _affine_pairs(ours.o_proj, theirs.out_proj, f"{prefix}o_proj.")


def _affine_pairs(ours: nn.Module, theirs: nn.Module, prefix: str) -> list[Pair]:
    """The weight and the bias of a linear map, or of a normalization."""
    return [(f"{prefix}{name}", getattr(ours, name, None), getattr(theirs, name, None)) for name in ("weight", "bias")]


def _norm_pairs(ours: Any, theirs: nn.Module, prefix: str) -> list[Pair]:
    if not isinstance(theirs, nn.LayerNorm):
        raise ValueError(f"{prefix[:-1]}: theirs must be a LayerNorm; got {type(theirs).__name__}")
    _check_equal(f"{prefix}eps", ours.eps, theirs.eps)
    return _affine_pairs(ours, theirs, prefix)


def _stack_pairs(
    ours: Encoder | Decoder,
    theirs: nn.TransformerEncoder | nn.TransformerDecoder,
    layer_class: type[nn.Module],
    parts: dict[str, tuple[str, str, str]],
) -> list[Pair]:
    """All weights of two stacks; ``parts`` tells what theirs calls each sublayer of ours, its norm and its dropout."""
    if len(ours.layers) != len(theirs.layers):
        raise ValueError(f"the numbers of layers must agree; ours has {len(ours.layers)}, theirs {len(theirs.layers)}")
    for layer in theirs.layers:
        _check_class(layer, layer_class, "each layer of theirs")
        pre_norm = bool(layer.norm_first)
        if ours.config.pre_norm != pre_norm or (theirs.norm is not None) != pre_norm:
            raise ValueError(
                f"both must be pre-norm with a final norm, or post-norm without one; ours has pre_norm="
                f"{ours.config.pre_norm}, theirs norm_first={pre_norm} and {'a' if theirs.norm is not None else 'no'} "
                "norm"
            )
    if ours.config.gated or ours.config.norm != "layer":
        raise ValueError("ours must have LayerNorm and no gate: PyTorch's layers know no other")
    if ours.config.positions in ("relative", "alibi"):
        raise ValueError(f"ours must add nothing to the scores, as theirs; got positions {ours.config.positions!r}")

    pairs: list[Pair] = []
    our_layer: Any  # nn.ModuleList does not tell what it holds
    their_layer: Any
    for number, (our_layer, their_layer) in enumerate(zip(ours.layers, theirs.layers, strict=True)):
        for part, (attention, norm, dropout) in parts.items():
            prefix, residual = f"layers.{number}.{part}.", getattr(our_layer, f"{part}_residual")
            if attention:
                pairs += _attention_pairs(getattr(our_layer, part), getattr(their_layer, attention), prefix)
            else:
                pairs += _feed_forward_pairs(our_layer.feed_forward, their_layer, prefix)
            pairs += _norm_pairs(residual.norm, getattr(their_layer, norm), f"{prefix}norm.")
            if ours.training and theirs.training:
                _check_equal(f"{prefix}dropout", residual.dropout.p, getattr(their_layer, dropout).p)
    if theirs.norm is not None:
        pairs += _norm_pairs(ours.final_norm, theirs.norm, "final_norm.")
    return pairs


def _feed_forward_pairs(ours: FeedForward, theirs: Any, prefix: str) -> list[Pair]:
    # Theirs may be any function, so what it computes is compared: the two kinds of GELU differ by up to 4.7e-4.
    x = torch.linspace(-8.0, 8.0, 1001, dtype=torch.float64)
    with torch.no_grad():
        if not torch.allclose(ours.activation(x), theirs.activation(x), rtol=0.0, atol=1e-9):
            raise ValueError(f"{prefix}activation must agree: theirs, {theirs.activation}, computes other numbers")
    if ours.training and theirs.training:
        _check_equal(f"{prefix}dropout", ours.dropout.p, theirs.dropout.p)
    up = _affine_pairs(ours.up_proj, theirs.linear1, f"{prefix}up_proj.")
    return up + _affine_pairs(ours.down_proj, theirs.linear2, f"{prefix}down_proj.")


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
            f"{stack} norm_eps": (mine.norm_eps, _other_eps(getattr(theirs.model, stack), mine.norm_eps)),
            f"{stack} activation": (mine.activation, MARIAN_ACTIVATIONS.get(config.activation_function)),
        }
        if ours.training and theirs.training:
            for name in ("dropout", "attention_dropout", "activation_dropout"):
                pairs[f"{stack} {name}"] = (mine.dropout, getattr(config, name))
    for name, (one, other) in pairs.items():
        _check_equal(name, one, other)
    if not (config.scale_embedding and config.share_encoder_decoder_embeddings and config.tie_word_embeddings):
        raise ValueError("theirs must scale its embeddings, and share one matrix between encoder, decoder and logits")


def _other_eps(stack: nn.Module, expected: float) -> float:
    """The epsilon of a normalization of ``stack`` that has another than ``expected``; else ``expected``."""
    found = (module.eps for module in stack.modules() if isinstance(module, nn.LayerNorm))
    return next((eps for eps in found if eps != expected), expected)
