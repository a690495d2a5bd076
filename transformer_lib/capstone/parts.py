"""The parts in their order: what is checked of each. Contracts, solutions and mistakes stand in parts.md.

Each part is compared with the library's own; its solution is written without the library.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import decoder, encoder, layers
from transformer_lib.capstone.divergence import first_divergence
from transformer_lib.config import StackConfig
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Exercise, Goal, Stage, case, with_weights
from transformer_lib.positions import Rotary, RotaryPositions
from transformer_lib.texts import text
from transformer_lib.translator import Translator

#: What the shipped translator is given in the last part, and what it has to write.
ENGLISH, PORTUGUESE = "The book that you gave me was interesting.", "O livro que você me deu era interessante."

#: The files of the learner's package, each with its parts, which build on those before them.
FILES: Mapping[str, tuple[str, ...]] = {
    "attention.py": ("attention", "padding_mask", "causal_mask"),
    "positions.py": ("rotate",),
    "multihead.py": ("MultiHeadAttention",),
    "layers.py": ("LayerNorm", "FeedForward", "Residual"),
    "encoder.py": ("EncoderLayer", "Encoder"),
    "decoder.py": ("DecoderLayer", "Decoder"),
    "transformer.py": ("Transformer",),
    "generation.py": ("generate",),
}


# ---- The library's own, with the arguments that the contracts give.


def _config(d_model: int, n_heads: int = 1, d_ff: int = 1, n_layers: int = 1) -> StackConfig:
    """What the shipped translator is, at another size."""
    return StackConfig(
        d_model=d_model,
        n_heads=n_heads,
        d_ff=d_ff,
        n_layers=n_layers,
        positions=Rotary(),
        pre_norm=True,
        dropout=0.0,
        max_len=80,
    )


def _causal(length: int) -> Tensor:
    return lib.causal_mask(length, length)


def _rotated(x: Tensor) -> Tensor:
    turned: Tensor = RotaryPositions(x.size(-1))(x)
    return turned


def _multihead(d_model: int, n_heads: int, rotary: bool = False) -> nn.Module:
    return lib.MultiHeadAttention(d_model, n_heads, rotary=RotaryPositions(d_model // n_heads) if rotary else None)


def _feed_forward(d_model: int, d_ff: int) -> nn.Module:
    return layers.FeedForward(_config(d_model, d_ff=d_ff))


def _residual(d_model: int) -> nn.Module:
    return layers.Residual(_config(d_model))


def _encoder_layer(d_model: int, n_heads: int, d_ff: int) -> nn.Module:
    return encoder.EncoderLayer(_config(d_model, n_heads, d_ff), RotaryPositions(d_model // n_heads))


def _encoder(d_model: int, n_heads: int, n_layers: int, d_ff: int) -> nn.Module:
    return lib.Encoder(_config(d_model, n_heads, d_ff, n_layers))


def _decoder_layer(d_model: int, n_heads: int, d_ff: int) -> nn.Module:
    return decoder.DecoderLayer(_config(d_model, n_heads, d_ff), RotaryPositions(d_model // n_heads))


def _decoder(d_model: int, n_heads: int, n_layers: int, d_ff: int) -> nn.Module:
    return lib.Decoder(_config(d_model, n_heads, d_ff, n_layers))


def _transformer(
    vocab_size: int, d_model: int, n_heads: int, d_ff: int, encoder_layers: int, decoder_layers: int, pad_id: int = 0
) -> lib.Transformer:
    read, write = (_config(d_model, n_heads, d_ff, n) for n in (encoder_layers, decoder_layers))
    return lib.Transformer(vocab_size, read, decoder=write, pad_id=pad_id)


# ---- A layer beside the library's, with the same weights.


def _built(reference: Callable[..., nn.Module], answer: Any, sizes: tuple[int, ...], dtype: torch.dtype) -> nn.Module:
    layer = with_weights(answer, reference, *sizes, dtype=dtype)
    if left := sorted(set(layer.state_dict()) - {name for name, _ in layer.named_parameters()}):
        raise Complaint(text("your layer stores what the contract does not name: {names}", names=", ".join(left)))
    return layer


def _run(
    reference: Callable[..., nn.Module],
    answer: Any,
    sizes: tuple[int, ...],
    *inputs: Tensor,
    dtype: torch.dtype,
    **named: Tensor,
) -> Any:
    return _built(reference, answer, sizes, dtype)(*inputs, **named)


def _around(answer: Any, sizes: tuple[int, ...], x: Tensor, matrix: Tensor) -> Any:
    return _built(_residual, answer, sizes, x.dtype)(x, lambda t: t @ matrix)


def diverging(exercise: Exercise, answer: Any) -> str:
    """Where a stack first differs from the library's, on the inputs of its stages; empty where nothing can be said."""
    reference = STACKS.get(exercise.id)
    if reference is None:
        return ""
    for number, stage in enumerate(exercise.stages):  # type: ignore[attr-defined]
        for one in stage.cases(Draw(number)):
            sizes, *inputs = one.args
            named = {name: value for name, value in one.kwargs.items() if name != "dtype"}
            try:
                yours, books = (_built(reference, kind, sizes, torch.float64) for kind in (answer, reference))
            except Exception:  # the check has told
                return ""
            if found := first_divergence(yours, books, *inputs, **named):
                return f"First divergence, {stage.name}: {found}"
    return ""


# ---- Inputs.


def _plain(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3), draw.normal(2, 3), draw.normal(2, 1))
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7))


def _masked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3), draw.normal(3, 2), draw.mask(2, 3))
    yield case(draw.normal(2, 3, 4, 6), draw.normal(2, 3, 5, 6), draw.normal(2, 3, 5, 7), draw.mask(2, 1, 1, 5))


def _large(draw: Draw) -> Iterator[Case]:
    """What may be seen has scores far below any number that somebody might take for minus infinity by eye."""
    key = draw.uniform(4, 3, low=1.0, high=2.0)
    yield case(-3000.0 * draw.uniform(2, 3, low=1.0, high=2.0), key, draw.normal(4, 2), draw.mask(2, 4))


def _blind(draw: Draw) -> Iterator[Case]:
    mask = draw.mask(3, 4)
    mask[1] = False
    yield case(draw.normal(3, 2), draw.normal(4, 2), draw.normal(4, 3), mask)


def _ids(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([[7, 3, 0]]), 0)
    yield case(draw.integers(3, 5, high=4), 2)


def _lengths(draw: Draw) -> Iterator[Case]:
    yield from map(case, (3, 1, 6))


def _heads(draw: Draw) -> Iterator[Case]:
    yield from (case(draw.normal(*shape)) for shape in ((1, 1, 2, 2), (2, 3, 5, 4), (1, 2, 70, 6)))


def _self(draw: Draw) -> Iterator[Case]:
    yield case((4, 2), draw.normal(1, 2, 4), dtype=draw.dtype)
    yield case((6, 3), draw.normal(2, 5, 6), dtype=draw.dtype)


def _turned(draw: Draw) -> Iterator[Case]:
    yield case((4, 2, True), draw.normal(1, 3, 4), dtype=draw.dtype)
    yield case((8, 2, True), draw.normal(2, 5, 8), dtype=draw.dtype)


def _memory(draw: Draw) -> Iterator[Case]:
    yield case((6, 3), draw.normal(2, 4, 6), draw.normal(2, 5, 6), dtype=draw.dtype)


def _memory_masked(draw: Draw) -> Iterator[Case]:
    yield case((6, 3), draw.normal(2, 4, 6), draw.normal(2, 5, 6), mask=draw.mask(2, 1, 1, 5), dtype=draw.dtype)


def _tokens(*sizes: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        yield case(sizes, draw.normal(1, 2, sizes[0]), dtype=draw.dtype)
        yield case(sizes, 1.0 + 2.0 * draw.normal(3, 5, sizes[0]), dtype=draw.dtype)

    return cases


def _alike(draw: Draw) -> Iterator[Case]:
    yield case((4,), torch.full((1, 1, 4), 2.0, dtype=draw.dtype), dtype=draw.dtype)
    yield case((4,), 0.003 * draw.normal(2, 3, 4), dtype=draw.dtype)


def _sublayers(draw: Draw) -> Iterator[Case]:
    yield case((4,), draw.normal(1, 2, 4), draw.normal(4, 4))
    yield case((6,), draw.normal(2, 5, 6), draw.normal(6, 6))


def _padded(*sizes: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        mask = torch.tensor([[True, True, False], [True, False, False]])[:, None, None]
        yield case(sizes, draw.normal(2, 3, sizes[0]), mask=mask, dtype=draw.dtype)

    return cases


def _asking(*sizes: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        yield case(sizes, draw.normal(1, 2, sizes[0]), draw.normal(1, 3, sizes[0]), dtype=draw.dtype)
        yield case(sizes, draw.normal(3, 5, sizes[0]), draw.normal(3, 4, sizes[0]), dtype=draw.dtype)

    return cases


def _asking_masked(*sizes: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        x, memory = draw.normal(2, 3, sizes[0]), draw.normal(2, 4, sizes[0])
        yield case(sizes, x, memory, memory_mask=draw.mask(2, 1, 1, 4), dtype=draw.dtype)

    return cases


_SIZES = (11, 6, 3, 5, 2, 1)


def _sentences(draw: Draw) -> Iterator[Case]:
    yield case(_SIZES, draw.integers(1, 2, low=1, high=11), draw.integers(1, 3, low=1, high=11), dtype=draw.dtype)


def _padded_sentences(draw: Draw) -> Iterator[Case]:
    source = draw.integers(2, 5, low=0, high=10)
    source[0, 3:] = 10
    yield case((*_SIZES, 10), source, draw.integers(2, 4, low=0, high=10), dtype=draw.dtype)


# ---- Writing.


def _write_greedily(model: Any, source_ids: Tensor, bos_id: int, eos_id: int, max_new_tokens: int) -> Tensor:
    return lib.greedy(model, bos_id, source_ids, eos_id=eos_id, max_new_tokens=max_new_tokens)


def _written(answer: Any, model: int, source_ids: Tensor, eos_id: int, max_new_tokens: int) -> Any:
    """With the library's Transformer; ``model`` numbers its random weights."""
    with torch.no_grad():
        return answer(_random(model), source_ids, 1, eos_id, max_new_tokens)


@cache
def _random(number: int) -> lib.Transformer:
    model, draw = _transformer(9, 8, 2, 12, 1, 2), Draw(number)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(draw.normal(*parameter.shape))
    return model.eval()


def _texts(draw: Draw) -> Iterator[Case]:
    """Of models that were looked for: their rows differ, end at different places, and depend on the padding's mask."""
    for model, rows, eos_id in ((31, 3, 4), (14, 3, 5)):
        source = Draw(model).integers(3, 6, low=2, high=9)
        source[-1, 2:] = 0
        yield case(model, source[:rows], eos_id, 7)


# ---- The sentence.


def _translated(answer: Any, draw: Draw) -> Mapping[str, Any]:
    kind, generate = answer
    shipped = Translator.load()
    book = shipped.model
    config, writes = book.encoder.config, book.decoder.config
    sizes = (config.d_model, config.n_heads, config.d_ff, config.n_layers, writes.n_layers)
    model = kind(book.embedding.num_embeddings, *sizes, book.pad_id)
    wanted, found = ({name: tuple(tensor.shape) for name, tensor in one.state_dict().items()} for one in (book, model))
    if wrong := [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]:
        name = wrong[0]
        told = [f"of shape {shape}" if shape else "missing" for shape in (wanted.get(name), found.get(name))]
        raise Complaint(
            text(
                "the weights do not fit: {name} is {wanted} in the checkpoint, and {given} in your model",
                name=name,
                wanted=told[0],
                given=told[1],
            )
        )
    model.load_state_dict(book.state_dict())
    model.eval()
    source = shipped.encode([ENGLISH])
    bos, eos = (shipped.tokenizer.token_to_id(token) for token in ("<bos>", "<eos>"))
    with torch.no_grad():
        rows = generate(model, source, bos, eos, 20)
    target = torch.tensor([[bos, *shipped.tokenizer.encode(PORTUGUESE).ids]])
    where = first_divergence(model.double(), book.double(), source, target)
    return {"your model writes": shipped.decode(rows[0].tolist()), "first divergence": where or "none"}


_PASSAGE = "translator-try-it"
_SENTENCE = Goal(
    PORTUGUESE,
    lambda measured: measured["your model writes"] == PORTUGUESE,
    "With the same weights the book's Transformer writes another sentence. If there is no divergence below, the fault "
    "is in `generate`.",
    _PASSAGE,
    lambda: (_transformer, lambda model, source_ids, *_: source_ids),
)


# ---- All of them.

#: The parts that hold other parts: where a difference has a place.
STACKS: Mapping[str, Callable[..., nn.Module]] = {
    "MultiHeadAttention": _multihead,
    "EncoderLayer": _encoder_layer,
    "Encoder": _encoder,
    "DecoderLayer": _decoder_layer,
    "Decoder": _decoder,
    "Transformer": _transformer,
}


def _layer(chapter: str, reference: Callable[..., nn.Module], *stages: Stage, **more: Any) -> Mapping[str, Any]:
    probe = partial(_run, reference)
    return {"chapter": chapter, "reference": reference, "probe": probe, "stages": stages, **more}


#: Whoever computes the angles in float32 is right too, so a stack is judged by what float32 can tell.
_ROUNDED: Mapping[str, Any] = {"atol": 1e-5, "dtypes": (torch.float64,)}

PARTS: tuple[Exercise, ...] = read(
    "translator",
    {
        "attention": {
            "chapter": "scaled",
            "reference": lib.attention,
            "stages": (
                Stage("without a mask", _plain, gradients=True),
                Stage("with a mask", _masked, gradients=True),
                Stage("with scores in the thousands", _large),
                Stage("for a query that may see nothing", _blind, gradients=True),
            ),
        },
        "padding_mask": {
            "chapter": "encoder",
            "reference": lib.padding_mask,
            "stages": (Stage("for a batch", _ids),),
            "dtypes": (torch.float64,),
        },
        "causal_mask": {
            "chapter": "self",
            "reference": _causal,
            "stages": (Stage("for some lengths", _lengths),),
            "dtypes": (torch.float64,),
        },
        "rotate": {
            "chapter": "positions",
            "reference": _rotated,
            "stages": (Stage("for some sizes", _heads, gradients=True),),
        },
        "MultiHeadAttention": _layer(
            "multihead",
            _multihead,
            Stage("in self-attention", _self, gradients=True),
            Stage("with a memory", _memory, gradients=True),
            Stage("with a mask", _memory_masked),
            Stage("with rotary=True", _turned, gradients=True),
        ),
        "LayerNorm": _layer(
            "layers",
            layers.LayerNorm,
            Stage("for a few tokens", _tokens(4), gradients=True),
            Stage("for numbers that are nearly alike", _alike, gradients=True),
            ready_made=(nn.LayerNorm, torch.nn.functional.layer_norm, torch.layer_norm, torch.native_layer_norm),
        ),
        "FeedForward": _layer("layers", _feed_forward, Stage("for a few tokens", _tokens(4, 7), gradients=True)),
        "Residual": {
            "chapter": "layers",
            "reference": _residual,
            "probe": _around,
            "stages": (Stage("around a sublayer", _sublayers, gradients=True),),
        },
        "EncoderLayer": _layer(
            "encoder",
            _encoder_layer,
            Stage("for whole sentences", _tokens(8, 2, 7), gradients=True),
            Stage("with a padding mask", _padded(6, 3, 5)),
            dtypes=(torch.float64,),
        ),
        "Encoder": _layer(
            "encoder",
            _encoder,
            Stage("for whole sentences", _tokens(8, 2, 2, 7), gradients=True),
            Stage("with a padding mask", _padded(6, 3, 2, 5)),
            **_ROUNDED,
        ),
        "DecoderLayer": _layer(
            "decoder",
            _decoder_layer,
            Stage("with a memory", _asking(8, 2, 7), gradients=True),
            Stage("with a mask of the memory", _asking_masked(6, 3, 5)),
            dtypes=(torch.float64,),
        ),
        "Decoder": _layer(
            "decoder",
            _decoder,
            Stage("with a memory", _asking(8, 2, 2, 7), gradients=True),
            Stage("with a mask of the memory", _asking_masked(6, 3, 2, 5)),
            **_ROUNDED,
        ),
        "Transformer": _layer(
            "transformer",
            _transformer,
            Stage("for whole sentences", _sentences),
            Stage("for padded sentences", _padded_sentences),
            **_ROUNDED,
        ),
        "generate": {
            "chapter": "decoding",
            "reference": _write_greedily,
            "probe": _written,
            "stages": (Stage("for texts that end at different places", _texts),),
            "dtypes": (torch.float64,),
            "allowed": (lib.Transformer, lib.Encoder, lib.Decoder),
            "ready_made": (lib.greedy, lib.sample, lib.beam_search),
        },
        "translation": {"chapter": "translator", "measure": _translated, "goals": (_SENTENCE,), "seconds": 60.0},
    },
    file=Path(__file__).with_suffix(".md"),
    joined=True,
)


def uses(part: Exercise) -> tuple[str, ...]:
    """The parts that a part's solution builds on, in order; for the last one what it runs."""
    if not part.solution:
        return ("Transformer", "generate")
    named = {node.id for node in ast.walk(ast.parse(part.solution)) if isinstance(node, ast.Name)}
    return tuple(other.id for other in PARTS if other.id in named and other.id != part.id)
