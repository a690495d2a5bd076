"""Weights of other models, copied into ours: one strict engine, and a table for each family.

A table says, entry by entry, which weight of ours comes from which of theirs. Nothing is guessed: a weight of ours that
nothing fills, and a weight of theirs that no entry names, are errors, and then ours stays as it was.

.. code-block:: python

    GPT2 = (
        Copy("embedding.weight", "wte.weight"),
        Copy(
            "decoder.layers.{i}.self_attention.{q|k|v}_proj.{kind}",
            "h.{i}.attn.c_attn.{kind}",
            transpose,
            split(3),
        ),
        Tied("lm_head.weight", "wte.weight"),
        Skip("h.{i}.attn.bias"),
    )

A hole such as ``{i}`` stands for any one part of a name, the same on both sides. Alternatives such as ``{q|k|v}`` stand
for several entries: with as many names on both sides, they are paired in their order; where ours are more, each of
theirs is split among so many of ours; where theirs are more, they are joined.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.layers import FeedForward, LayerNorm, RMSNorm
from transformer_lib.multihead import MultiHeadAttention
from transformer_lib.positions import Sinusoidal, sinusoidal_table
from transformer_lib.transformer import Transformer

# ---- What a table is made of.

HOLE = re.compile(r"\{(\w+)\}")
ALTERNATIVES = re.compile(r"\{([^{}]*\|[^{}]*)\}")

Step = Callable[..., Any]


@dataclass(frozen=True, init=False)
class Copy:
    """Our weight is theirs, after some steps.

    Args:
        ours: the name of our weight, with its holes and alternatives.
        theirs: the name of theirs. It has no hole that ours has not.
        steps: what becomes of the weight, in this order, each a function of a tensor. Where weights of theirs are
            joined, the first step gets all of them; where one is split, the last returns as many parts as ours are.

    Raises:
        ValueError: a hole of theirs is none of ours; the numbers of alternatives do not divide each other; or they
            differ, and no step splits or joins.
    """

    ours: str
    theirs: str
    steps: tuple[Step, ...]

    def __init__(self, ours: str, theirs: str, *steps: Step) -> None:
        for name, value in (("ours", ours), ("theirs", theirs), ("steps", steps)):
            object.__setattr__(self, name, value)
        if unknown := set(HOLE.findall(theirs)) - set(HOLE.findall(ours)):
            raise ValueError(f"{theirs} has holes that {ours} has not: {', '.join(sorted(unknown))}")
        mine, yours = len(_alternatives(ours)), len(_alternatives(theirs))
        if (mine % yours and yours % mine) or (mine != yours and not steps):
            raise ValueError(
                f"as many names must stand on both sides, or multiples and a step that splits or joins them; {ours} "
                f"are {mine}, {theirs} {yours}, with {len(steps)} steps"
            )


@dataclass(frozen=True)
class Tied:
    """Their weight, where they have it, must be equal to another of theirs, which is copied.

    Args:
        theirs: the name of the weight.
        to: the name of the other; it has no hole that the first has not, and no alternatives.
    """

    theirs: str
    to: str


@dataclass(frozen=True)
class Skip:
    """Their weight, where they have it, is known, and not copied.

    Args:
        theirs: the name of the weight; ``*`` stands for any part of it, points included.
        holds: what must be true of it, so that ours needs no such weight.
        rule: the same in words, for the message: ``"must be …"``.
    """

    theirs: str
    holds: Callable[[Tensor], bool] | None = None
    rule: str = ""


@dataclass(frozen=True)
class Keep:
    """Our weight is no part of theirs, and stays as it is.

    Args:
        ours: the name of the weight; ``*`` stands for any part of it, points included.
    """

    ours: str


Entry = Copy | Tied | Skip | Keep


def within(ours: str, theirs: str, *entries: Entry) -> tuple[Entry, ...]:
    """The entries of a part, as they are inside a larger model.

    Args:
        ours: what stands before each of our names, e.g. ``"layers.{i}."``.
        theirs: what stands before each of theirs.
        entries: of the part.
    """

    def moved(entry: Entry) -> Entry:
        match entry:
            case Copy():
                return Copy(ours + entry.ours, theirs + entry.theirs, *entry.steps)
            case Tied():
                return Tied(theirs + entry.theirs, theirs + entry.to)
            case Skip():
                return replace(entry, theirs=theirs + entry.theirs)
            case Keep():
                return Keep(ours + entry.ours)

    return tuple(map(moved, entries))


def transpose(weight: Tensor) -> Tensor:
    """The step for GPT-2's ``Conv1D``: its matrix is ``(in, out)``, a linear map's ``(out, in)``. A vector stays."""
    return weight.t()


def split(parts: int) -> Step:
    """The step that cuts a weight along its first axis, the outputs, into equal parts."""
    return lambda weight: weight.unflatten(0, (parts, -1)).unbind()


def pairs_from_halves(width: int | None = None, *, axis: int = 0) -> Step:
    """The step that puts side by side what stands in two halves: ``a a b b`` becomes ``a b a b``.

    Llama's rotary heads pair the first half of their channels with the second, where the paper pairs neighbors; and
    Marian's waves are all sines, then all cosines, where the paper's alternate.

    Args:
        width: of each piece that has two halves, e.g. that of a head; the whole axis unless given.
        axis: 0, the outputs of a linear map, or 1, its inputs.
    """

    def step(weight: Tensor) -> Tensor:
        halves: Tensor = weight.unflatten(axis, (-1, 2, (width or weight.size(axis)) // 2))
        return halves.transpose(axis + 1, axis + 2).flatten(axis, axis + 2)

    return step


# ---- The engine.


def copy_weights(ours: nn.Module, theirs: nn.Module | Mapping[str, Any], table: Sequence[Entry]) -> None:
    """Copy weights as a table says: all of them, or none.

    Args:
        ours: overwritten: its parameters, and the buffers that a checkpoint holds.
        theirs: a model, whose dtypes must be ours; or a checkpoint's weights by their names, tensors or NumPy's arrays,
            whose numbers ours must be able to hold: half precision fills float32, not the reverse.
        table: of the family.

    Raises:
        TypeError: a weight is neither a tensor nor an array of numbers.
        ValueError: a weight is missing on a side, or left over; shapes or dtypes do not fit; a normalization of a model
            has another epsilon; what the table says of a weight does not hold; or weights are on the meta device. The
            message names them, and ours is as it was.
    """
    _copy_all(_matched(ours, theirs, table))


@torch.no_grad()
def _matched(
    ours: nn.Module, theirs: nn.Module | Mapping[str, Any], table: Sequence[Entry]
) -> list[tuple[Tensor, Tensor]]:
    """Each weight of ours, and its numbers: views of theirs, where the steps only split and transpose."""
    model = theirs if isinstance(theirs, nn.Module) else None
    weights = _tensors(model.state_dict() if model else theirs, "theirs")  # type: ignore[arg-type]
    lines = [line for entry in table if isinstance(entry, Copy | Keep) for line in _lines(entry)]
    names_of: dict[Tensor, list[str]] = {}  # more than one where ours are tied; tensors are hashed by identity
    for name, weight in _tensors(ours.state_dict(keep_vars=True), "ours").items():
        names_of.setdefault(weight, []).append(name)

    pairs: list[tuple[Tensor, Tensor]] = []
    unknown: list[str] = []
    taken: list[str] = []
    for mine, names in names_of.items():
        found = [(name, line, holes) for name in names for line in lines if (holes := line.ours.fullmatch(name))]
        if len(found) > 1:
            raise ValueError(f"the table has {len(found)} entries for our {' = '.join(names)}")
        if not found:
            unknown += names
            continue
        name, line, holes = found[0]
        sources = [source.format_map(holes.groupdict()) for source in line.theirs]
        taken += sources
        if sources and all(source in weights for source in sources):
            yours = _after_steps(line, {source: weights[source] for source in sources})
            _check_pair(name, mine, ", ".join(sources), yours, same_dtype=model is not None)
            if model:
                _check_norm(_owner(ours, name), _owner(model, sources[0]), name.rpartition(".")[0])
            pairs.append((mine, yours))

    problems = {
        "the table does not name our": unknown,
        "theirs has no weight": [name for name in dict.fromkeys(taken) if name not in weights],
        "theirs has weights that ours has not:": [
            name for name in weights if name not in taken and not _is_known(name, weights, table)
        ],
    }
    if any(problems.values()):
        raise ValueError("; ".join(f"{text} {_listed(names)}" for text, names in problems.items() if names))
    return pairs


@torch.no_grad()
def _copy_all(copies: list[tuple[Tensor, Tensor]]) -> None:
    """Copy the second of each pair into the first, also where some are views of the same numbers."""
    written = {target.untyped_storage().data_ptr() for target, _ in copies}
    sources = [x.clone() if x.untyped_storage().data_ptr() in written else x for _, x in copies]
    for (target, _), source in zip(copies, sources, strict=True):
        target.copy_(source)


def _tensors(weights: Mapping[str, Any], whose: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if isinstance(weight, np.ndarray):
            # PyTorch knows no other byte order than the machine's, and no negative strides.
            weight = torch.from_numpy(np.array(weight, weight.dtype.newbyteorder("=")))
        if not isinstance(weight, Tensor):
            raise TypeError(f"{name} must be a tensor or an array; got {type(weight).__name__}")
        if weight.is_meta:
            raise ValueError(f"{name}: {whose} is on the meta device, without numbers")
        found[name] = weight
    return found


class _Line(NamedTuple):
    """An entry for one of our names: one of its alternatives."""

    ours: re.Pattern[str]
    theirs: list[str]
    steps: tuple[Step, ...] = ()
    part: int = 0  # of what the last step returns
    parts: int = 1


def _lines(entry: Copy | Keep) -> list[_Line]:
    if isinstance(entry, Keep):
        return [_Line(_pattern(entry.ours), [])]
    ours, theirs = _alternatives(entry.ours), _alternatives(entry.theirs)
    parts, joined = max(1, len(ours) // len(theirs)), max(1, len(theirs) // len(ours))
    lines: list[_Line] = []
    for number, name in enumerate(ours):
        first = number // parts * joined
        lines.append(_Line(_pattern(name), theirs[first : first + joined], entry.steps, number % parts, parts))
    return lines


def _alternatives(name: str) -> list[str]:
    """The names that ``name`` stands for, its holes left open."""
    found = ALTERNATIVES.search(name)
    if found is None:
        return [name]
    before, after = name[: found.start()], name[found.end() :]
    return [whole for choice in found[1].split("|") for whole in _alternatives(before + choice + after)]


def _pattern(name: str) -> re.Pattern[str]:
    text = name.replace(".", r"\.").replace("*", ".+")
    return re.compile(HOLE.sub(r"(?P<\1>[^.]+)", ALTERNATIVES.sub(r"(?:\1)", text)))


def _after_steps(line: _Line, weights: dict[str, Tensor]) -> Tensor:
    shapes = ", ".join(f"{name} of shape {tuple(weight.shape)}" for name, weight in weights.items())
    values: tuple[Any, ...] = tuple(weights.values())
    try:
        for step in line.steps:
            values = (step(*values),)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"{shapes} cannot be cut or turned as the table says: {error}") from error
    parts = values[0] if line.parts > 1 else values
    if len(parts) != line.parts:
        raise ValueError(f"{shapes} must be split in {line.parts}; the table's steps return {len(parts)}")
    part: Tensor = parts[line.part]
    return part


def _check_pair(name: str, mine: Tensor, source: str, yours: Tensor, *, same_dtype: bool) -> None:
    if mine.shape != yours.shape:
        raise ValueError(
            f"{name}: the shape must agree; ours has {tuple(mine.shape)}, theirs {tuple(yours.shape)}, from {source}"
        )
    if mine.dtype != yours.dtype and (same_dtype or not _holds(mine.dtype, yours.dtype)):
        rule = "agree" if same_dtype else "be as wide as theirs"
        raise ValueError(f"{name}: the dtype must {rule}; ours has {mine.dtype}, theirs {yours.dtype}, from {source}")


def _holds(one: torch.dtype, other: torch.dtype) -> bool:
    """Whether the first has every number of the second."""
    if not (one.is_floating_point and other.is_floating_point):
        return False
    wide, narrow = torch.finfo(one), torch.finfo(other)
    return wide.eps <= narrow.eps and wide.tiny <= narrow.tiny


def _owner(model: nn.Module, weight: str) -> nn.Module:
    return model.get_submodule(weight.rpartition(".")[0])


def _check_norm(mine: nn.Module, yours: nn.Module, name: str) -> None:
    if isinstance(mine, LayerNorm) and not isinstance(yours, nn.LayerNorm):
        raise ValueError(f"{name}: theirs must be a LayerNorm; got {type(yours).__name__}")
    if isinstance(mine, LayerNorm | RMSNorm):
        # Hugging Face's RMSNorms call it by another name.
        _check_equal(f"{name}.eps", mine.eps, getattr(yours, "variance_epsilon", getattr(yours, "eps", None)))


def _is_known(name: str, weights: dict[str, Tensor], table: Sequence[Entry]) -> bool:
    """Whether the table says why this weight of theirs is not copied; what it says must be true."""
    for entry in table:
        if not isinstance(entry, Tied | Skip) or not (holes := _pattern(entry.theirs).fullmatch(name)):
            continue
        if isinstance(entry, Tied):
            other = entry.to.format_map(holes.groupdict())
            if other not in weights:
                return False
            if weights[other].dtype != weights[name].dtype or not torch.equal(weights[name], weights[other]):
                raise ValueError(f"their {name} must be equal to {other}; it is another")
        elif entry.holds is not None and not entry.holds(weights[name]):
            raise ValueError(f"their {name} {entry.rule}")
        return True
    return False


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def _check_class(module: object, wanted: type, name: str) -> None:
    if not isinstance(module, wanted):
        raise TypeError(f"{name} must be of class {wanted.__name__}; got {type(module).__name__}")


def _check_equal(name: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise ValueError(f"{name} must agree; ours has {ours!r}, theirs {theirs!r}")


# ---- PyTorch's own modules.

TORCH_ATTENTION: tuple[Entry, ...] = (
    Copy("{q|k|v}_proj.{kind}", "in_proj_{kind}", split(3)),
    Copy("o_proj.{kind}", "out_proj.{kind}"),
)
TORCH_FEED_FORWARD: tuple[Entry, ...] = (Copy("feed_forward.{up|down}_proj.{kind}", "linear{1|2}.{kind}"),)
TORCH_ENDS: tuple[Entry, ...] = (Keep("positions.*"), Copy("final_norm.{kind}", "norm.{kind}"))
TORCH_ENCODER: tuple[Entry, ...] = (
    *TORCH_ENDS,
    *within("layers.{i}.attention.", "layers.{i}.self_attn.", *TORCH_ATTENTION),
    *within("layers.{i}.", "layers.{i}.", *TORCH_FEED_FORWARD),
    Copy("layers.{i}.{attention|feed_forward}_residual.norm.{kind}", "layers.{i}.norm{1|2}.{kind}"),
)
TORCH_DECODER: tuple[Entry, ...] = (
    *TORCH_ENDS,
    *within("layers.{i}.{self|cross}_attention.", "layers.{i}.{self|multihead}_attn.", *TORCH_ATTENTION),
    *within("layers.{i}.", "layers.{i}.", *TORCH_FEED_FORWARD),
    Copy(
        "layers.{i}.{self_attention|cross_attention|feed_forward}_residual.norm.{kind}",
        "layers.{i}.norm{1|2|3}.{kind}",
    ),
)


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
    _check_torch_attention(ours, theirs)
    copy_weights(ours, theirs, TORCH_ATTENTION)


def copy_to_torch(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Copy our weights into PyTorch's module: the inverse of :func:`copy_from_torch`.

    Args:
        ours: the source.
        theirs: overwritten.

    Raises:
        TypeError: one of the modules is of another class.
        ValueError: as :func:`copy_from_torch`. Then theirs is as it was.
    """
    _check_torch_attention(ours, theirs)
    # The steps only split, so what is written to the parts is written to theirs.
    _copy_all([(yours, mine) for mine, yours in _matched(ours, theirs, TORCH_ATTENTION)])


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
    _check_torch_stack(ours, theirs, nn.TransformerEncoderLayer, {"attention": "self_attn"})
    copy_weights(ours, theirs, TORCH_ENCODER)


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
    attentions = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    _check_torch_stack(ours, theirs, nn.TransformerDecoderLayer, attentions)
    copy_weights(ours, theirs, TORCH_DECODER)


def _check_torch_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention, name: str = "") -> None:
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
        _check_equal(f"{name}dropout", ours.dropout, theirs.dropout)


def _check_torch_stack(
    ours: Encoder | Decoder,
    theirs: nn.TransformerEncoder | nn.TransformerDecoder,
    layer_class: type[nn.Module],
    attentions: dict[str, str],
) -> None:
    """Check what the weights do not tell; ``attentions`` says what theirs calls each attention of our layers."""
    if len(ours.layers) != len(theirs.layers):
        raise ValueError(f"the numbers of layers must agree; ours has {len(ours.layers)}, theirs {len(theirs.layers)}")
    if ours.config.gated or ours.config.norm != "layer":
        raise ValueError("ours must have LayerNorm and no gate: PyTorch's layers know no other")
    if ours.positions.bias is not None:
        raise ValueError(f"ours must add nothing to the scores, as theirs; got {ours.config.positions!r}")
    mine: Any  # nn.ModuleList does not tell what it holds
    yours: Any
    for number, (mine, yours) in enumerate(zip(ours.layers, theirs.layers, strict=True)):
        _check_class(yours, layer_class, "each layer of theirs")
        pre_norm = bool(yours.norm_first)
        if ours.config.pre_norm != pre_norm or (theirs.norm is not None) != pre_norm:
            raise ValueError(
                f"both must be pre-norm with a final norm, or post-norm without one; ours has pre_norm="
                f"{ours.config.pre_norm}, theirs norm_first={pre_norm} and {'a' if theirs.norm is not None else 'no'} "
                "norm"
            )
        for part, their_part in attentions.items():
            attention = getattr(yours, their_part)
            _check_torch_attention(getattr(mine, part), attention, f"layers.{number}.{part}.")
        _check_torch_feed_forward(mine.feed_forward, yours, f"layers.{number}.feed_forward.")
        if ours.training and theirs.training:
            for place, part in enumerate((*attentions, "feed_forward"), start=1):
                dropouts = getattr(mine, f"{part}_residual").dropout.p, getattr(yours, f"dropout{place}").p
                _check_equal(f"layers.{number}.{part}_residual.dropout", *dropouts)


def _check_torch_feed_forward(ours: FeedForward, theirs: Any, name: str) -> None:
    # Theirs may be any function, so what it computes is compared: the two kinds of GELU differ by up to 4.7e-4.
    x = torch.linspace(-8.0, 8.0, 1001, dtype=torch.float64)
    with torch.no_grad():
        if not torch.allclose(ours.activation(x), theirs.activation(x), rtol=0.0, atol=1e-9):
            raise ValueError(f"{name}activation must agree: theirs, {theirs.activation}, computes other numbers")
    if ours.training and theirs.training:
        _check_equal(f"{name}dropout", ours.dropout.p, theirs.dropout.p)


# ---- Marian.


def _are_marians_waves(table: Tensor) -> bool:
    """Whether a position table holds the paper's waves, in Marian's order."""
    found = pairs_from_halves(axis=1)(table)
    rounding = max(1e-6, torch.finfo(table.dtype).eps)
    return torch.allclose(found, sinusoidal_table(*table.shape).to(found), rtol=0.0, atol=rounding)


# A model does not care how its channels are ordered, as long as every part orders them alike. So Marian's are put in
# our order wherever a weight reads them, by its columns, or writes them, by its rows and bias.
READS, WRITES = pairs_from_halves(axis=1), pairs_from_halves(axis=0)
MARIAN: tuple[Entry, ...] = (
    Copy("embedding.weight", "model.shared.weight", READS),
    Tied("{model.encoder.embed_tokens|model.decoder.embed_tokens|lm_head}.weight", "model.shared.weight"),
    Skip("model.{stack}.embed_positions.weight", _are_marians_waves, "must hold all sines, then all cosines"),
    Skip("final_logits_bias", lambda bias: not bias.any(), "must be zero: our logits have no bias"),
    *within(
        "{stack}.layers.{i}.",
        "model.{stack}.layers.{i}.",
        Copy("{|self_|cross_}attention.{q|k|v}_proj.weight", "{self|self|encoder}_attn.{q|k|v}_proj.weight", READS),
        Copy("{|self_|cross_}attention.{q|k|v}_proj.bias", "{self|self|encoder}_attn.{q|k|v}_proj.bias"),
        Copy("{|self_|cross_}attention.o_proj.{kind}", "{self|self|encoder}_attn.out_proj.{kind}", WRITES),
        Copy("{|self_|cross_}attention_residual.norm.{kind}", "{self|self|encoder}_attn_layer_norm.{kind}", WRITES),
        Copy("feed_forward.up_proj.weight", "fc1.weight", READS),
        Copy("feed_forward.up_proj.bias", "fc1.bias"),
        Copy("feed_forward.down_proj.{kind}", "fc2.{kind}", WRITES),
        Copy("feed_forward_residual.norm.{kind}", "final_layer_norm.{kind}", WRITES),
    ),
)
MARIAN_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "swish": "silu", "silu": "silu"}


def copy_from_marian(ours: Transformer, theirs: nn.Module) -> None:
    """Copy the weights of a Hugging Face ``MarianMTModel`` into our Transformer, which then computes the same logits.

    Marian's position table holds all sines, then all cosines, where ours puts the sine and the cosine of a wave side by
    side. So the channels are put in our order in every weight that reads or writes them.

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
    copy_weights(ours, theirs, MARIAN)


def _check_marian(ours: Transformer, theirs: Any) -> None:
    """Check what the weights do not tell."""
    config = theirs.config
    pairs: dict[str, tuple[Any, Any]] = {
        "vocab_size": (ours.embedding.num_embeddings, config.vocab_size),
        "pad_id": (ours.pad_id, config.pad_token_id),
    }
    for stack, mine in (("encoder", ours.encoder.config), ("decoder", ours.decoder.config)):
        if mine.pre_norm or mine.norm != "layer" or mine.gated or not mine.bias or mine.positions != Sinusoidal():
            raise ValueError(
                f"our {stack} must be post-norm, with LayerNorm, biases and sinusoidal positions, and without a gate"
            )
        heads = getattr(config, f"{stack}_attention_heads")
        d_head = config.d_model // heads
        pairs |= {
            "d_model": (mine.d_model, config.d_model),
            f"{stack} n_layers": (mine.n_layers, getattr(config, f"{stack}_layers")),
            f"{stack} n_heads": (mine.n_heads, heads),
            f"{stack} n_kv_heads": (mine.n_kv_heads or mine.n_heads, heads),
            f"{stack} d_head": (mine.head_width, d_head),
            f"{stack} qk_norm": (mine.qk_norm, False),
            f"{stack} d_ff": (mine.d_ff, getattr(config, f"{stack}_ffn_dim")),
            f"{stack} attention_scale": (mine.attention_scale or d_head**-0.5, d_head**-0.5),
            f"{stack} activation": (mine.activation, MARIAN_ACTIVATIONS.get(config.activation_function)),
        }
        if ours.training and theirs.training:
            for name in ("dropout", "attention_dropout", "activation_dropout"):
                pairs[f"{stack} {name}"] = (mine.dropout, getattr(config, name))
    for name, (one, other) in pairs.items():
        _check_equal(name, one, other)
    if not (config.scale_embedding and config.share_encoder_decoder_embeddings and config.tie_word_embeddings):
        raise ValueError("theirs must scale its embeddings, and share one matrix between encoder, decoder and logits")
