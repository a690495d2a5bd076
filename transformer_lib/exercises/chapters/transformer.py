"""Exercises of the chapter "The Transformer"."""

import math
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises.engine.exercise import (
    Case,
    Debug,
    Draw,
    Exercise,
    Explore,
    Goal,
    Implement,
    Mistake,
    Predict,
    Stage,
    case,
    with_weights,
)

PAD = 0

_made = lru_cache(maxsize=128)(with_weights)  # building a model takes longer than using it


# ---- One matrix, both ways.


class TiedEmbedding(nn.Module):
    """An embedding that is also the output's projection."""

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """From (batch, seq) to (batch, seq, d_model)."""
        embedded: Tensor = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        return embedded

    def logits(self, x: Tensor) -> Tensor:
        """From (batch, seq, d_model) to (batch, seq, vocab)."""
        logits: Tensor = x @ self.embedding.weight.T
        return logits


def _tied(into: float = 0.5, out: float = 0.0, of: str = "width", cut: bool = False, drawn: float = -0.5) -> Any:
    """The two-way embedding with one choice wrong: powers of the width."""

    class Wrong(TiedEmbedding):
        def __init__(self, vocab_size: int, d_model: int):
            super().__init__(vocab_size, d_model)
            nn.init.normal_(self.embedding.weight, std=d_model**drawn)

        def forward(self, ids: Tensor) -> Tensor:
            rows, width = self.embedding.weight.shape
            size: int = width if of == "width" else rows
            embedded: Tensor = self.embedding(ids) * size**into
            return embedded

        def logits(self, x: Tensor) -> Tensor:
            weight = self.embedding.weight.detach() if cut else self.embedding.weight
            logits: Tensor = x @ weight.T * x.size(-1) ** out
            return logits

    return Wrong


def _both_ways(
    answer: Any, vocab_size: int, d_model: int, ids: Tensor | None = None, x: Tensor | None = None
) -> Mapping[str, Any]:
    if ids is None or x is None:
        ratio = answer(vocab_size, d_model).embedding.weight.std().item() * math.sqrt(d_model)
        return {"the rows' size": "as the task says" if 0.8 < ratio < 1.25 else "larger" if ratio > 1 else "smaller"}
    built: Any = _made(answer, TiedEmbedding, vocab_size, d_model, dtype=x.dtype)
    embedded, logits = built(ids), built.logits(x)
    total = embedded.sin().sum() + logits.cos().sum()
    (gradient,) = torch.autograd.grad(total, built.get_parameter("embedding.weight"), allow_unused=True)
    return {"embedded": embedded, "logits": logits, "gradient of the matrix": gradient}


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(3, 4, ids=torch.tensor([[2, 0]]), x=draw.normal(1, 1, 4))
    yield case(7, 6, ids=draw.integers(2, 5, high=7), x=draw.normal(3, 4, 6))


def _fresh(draw: Draw) -> Iterator[Case]:
    yield case(300, 48)


TIED = Implement(
    id="transformer-tied",
    chapter="transformer",
    title="One matrix, two sizes",
    level="easy",
    minutes=10,
    task="Write the class TiedEmbedding(vocab_size, d_model), with forward(ids) and logits(x), over one matrix.",
    hints=(
        "An `nn.Embedding(vocab_size, d_model)` holds the matrix as its `weight`, with a row for each token.",
        "The rows are drawn small, so that logits begin small. On which of the two ways do they have to be as large as "
        "the positions?",
        "A token's logit is the dot product with its row. Use the parameter itself, and no copy of it, so that both "
        "ways teach it.",
    ),
    probe=_both_ways,
    reference=TiedEmbedding,
    stages=(Stage("with given rows", _tokens), Stage("as its rows are drawn", _fresh)),
    mistakes=(
        Mistake(
            "no-factor",
            _tied(into=0.0),
            "You look the rows up and leave them as they are. Added to the positions, they would drown.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-by-width",
            _tied(into=1.0),
            "You multiplied by d_model itself. Then the positions drown in the tokens.",
            "The factor on the way in",
        ),
        Mistake(
            "divided",
            _tied(into=-0.5),
            "You divided where the paper multiplies. The rows were small already.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-by-vocabulary",
            _tied(of="vocabulary"),
            "Your factor counts the tokens of the vocabulary. The size of a row depends on how many numbers it has.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-both-ways",
            _tied(out=0.5),
            "You put the factor on the way out too. Such a model begins with loud opinions about nothing.",
            "The same matrix on the way out",
        ),
        Mistake(
            "factor-out-only",
            _tied(into=0.0, out=0.5),
            "You put the factor on the wrong way: tokens enter too small, and logits come out too large.",
            "The same matrix on the way out",
        ),
        Mistake(
            "divided-out",
            _tied(out=-0.5),
            "You divided the logits by the factor, as some models with other rows do. With these rows the logits have "
            "the right size as they are.",
            "The same matrix on the way out",
        ),
        Mistake(
            "cut-off",
            _tied(cut=True),
            "All numbers are right, but no gradient reaches the matrix from the logits: you used its data, and not the "
            "parameter. What the model learns when it writes is lost.",
            "The same matrix on the way out",
        ),
        Mistake(
            "drawn-as-usual",
            _tied(drawn=0.0),
            "The two ways are right. But the rows are drawn with entries of size 1, as PyTorch does it, and so the "
            "logits begin far too large.",
            "The same matrix on the way out",
        ),
        Mistake(
            "drawn-too-small",
            _tied(drawn=-1.0),
            "The two ways are right. But the rows are drawn with the deviation 1 / d_model, and even the factor does "
            "not bring them to size 1.",
            "The factor on the way in",
        ),
    ),
)


# ---- Two vocabularies.


class TwoVocabularies(nn.Module):
    """A Transformer whose languages have a vocabulary each; the output is tied to the target's embedding."""

    def __init__(self, source_size: int, target_size: int, config: lib.StackConfig):
        super().__init__()
        self.source_embedding = nn.Embedding(source_size, config.d_model)
        self.target_embedding = nn.Embedding(target_size, config.d_model)
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=config.d_model**-0.5)
        self.encoder, self.decoder = lib.Encoder(config), lib.Decoder(config)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """The logits (batch, query, target_size); the sources are padded with 0."""
        factor = math.sqrt(self.source_embedding.embedding_dim)
        mask = lib.padding_mask(source, PAD)
        memory = self.encoder(self.source_embedding(source) * factor, mask)
        x = self.decoder(self.target_embedding(target) * factor, memory, memory_mask=mask)
        logits: Tensor = x @ self.target_embedding.weight.T
        return logits


def _two(
    source_power: float = 0.5,
    target_power: float = 0.5,
    masked: tuple[str, ...] = ("encoder", "decoder"),
    visible: bool = True,
    read: str = "memory",
    tables: tuple[str, str] = ("target", "target"),
    end: str = "",
) -> Any:
    """The model with one choice wrong."""

    class Wrong(TwoVocabularies):
        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            table = {"source": self.source_embedding, "target": self.target_embedding}
            width = self.source_embedding.embedding_dim
            mask = lib.padding_mask(source, PAD) == visible
            x = self.source_embedding(source) * width**source_power
            y = table[tables[0]](target) * width**target_power
            memory = x if read == "source" else self.encoder(x, mask if "encoder" in masked else None)
            shown = mask if "decoder" in masked else None
            y = self.decoder(memory, y) if read == "exchanged" else self.decoder(y, memory, memory_mask=shown)
            logits: Tensor = y @ table[tables[1]].weight.T
            if end == "softmax":
                return logits.softmax(-1)
            return logits * width**0.5 if end == "factor" else logits

    return Wrong


def _translated(answer: Any, source: Tensor, target: Tensor, dtype: torch.dtype, pre_norm: bool = False) -> Any:
    config = lib.StackConfig(d_model=6, n_heads=2, n_layers=1, d_ff=10, dropout=0.1, pre_norm=pre_norm, max_len=10)
    return _made(answer, TwoVocabularies, 11, 7, config, dtype=dtype)(source, target)


def _ids(draw: Draw, batch: int, source: int, target: int) -> tuple[Tensor, Tensor]:
    return draw.integers(batch, source, low=1, high=7), draw.integers(batch, target, low=1, high=7)


def _full(draw: Draw) -> Iterator[Case]:
    yield case(*_ids(draw, 1, 3, 2), dtype=draw.dtype)
    yield case(*_ids(draw, 3, 4, 5), dtype=draw.dtype)


def _padded(draw: Draw) -> Iterator[Case]:
    source, target = _ids(draw, 1, 4, 2)
    source[:, 2:] = PAD
    yield case(source, target, dtype=draw.dtype)
    source, target = _ids(draw, 3, 6, 4)
    source[1, 4:], source[2, 2:] = PAD, PAD
    yield case(source, target, dtype=draw.dtype)


def _pre_norm(draw: Draw) -> Iterator[Case]:
    yield case(*_ids(draw, 2, 4, 3), dtype=draw.dtype, pre_norm=True)


MODEL = Implement(
    id="transformer-two-vocabularies",
    chapter="transformer",
    title="Two vocabularies",
    level="medium",
    minutes=20,
    task="Write the class TwoVocabularies(source_size, target_size, config): a Transformer with an embedding for each "
    "language.",
    hints=(
        "Take the twenty lines, and ask of each use of the embedding which language it belongs to. There are three "
        "such uses.",
        "What the model writes are words of the target's language. Whose rows make its logits?",
        "`lib.padding_mask(source, 0)` is needed in two places. Which two attentions have the source's words as keys?",
    ),
    probe=_translated,
    reference=TwoVocabularies,
    stages=(
        Stage("for sources without padding", _full),
        Stage("for sources with padding", _padded),
        Stage("for a pre-norm stack", _pre_norm),
    ),
    allowed=(lib.Encoder, lib.Decoder),
    mistakes=(
        Mistake(
            "no-factor",
            _two(0.0, 0.0),
            "Your tokens enter without the factor, smaller than their positions.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-on-source-only",
            _two(0.5, 0.0),
            "You scaled the source's tokens and forgot the target's.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-on-target-only",
            _two(0.0, 0.5),
            "You scaled the target's tokens and forgot the source's.",
            "The factor on the way in",
        ),
        Mistake(
            "factor-on-logits",
            _two(end="factor"),
            "You scaled the logits too. One matrix has two sizes: large on the way in, small on the way out.",
            "The same matrix on the way out",
        ),
        Mistake(
            "probabilities",
            _two(end="softmax"),
            "You return probabilities. The loss of PyTorch expects logits, and would take the softmax a second time.",
            "The same matrix on the way out",
        ),
        Mistake(
            "source-tied",
            _two(tables=("target", "source")),
            "Your output is tied to the source's embedding, so your model writes in the language that it reads.",
            "The same matrix on the way out",
        ),
        Mistake(
            "one-table-in",
            _two(tables=("source", "target")),
            "You looked the target's tokens up in the source's embedding. Number 5 is another word there.",
            "Words become numbers",
        ),
        Mistake(
            "encoder-skipped",
            _two(read="source"),
            "Your decoder reads the embedded source. The encoder has no say.",
            "Twenty lines",
        ),
        Mistake(
            "exchanged",
            _two(read="exchanged"),
            "Your decoder is given its two inputs in the wrong order, so that it makes a vector for each word of the "
            "source.",
            "decoder: A layer in a dozen lines",
        ),
        Mistake(
            "no-mask",
            _two(masked=()),
            "Your model has no mask for the padding, neither where the source reads itself nor where the target reads "
            "it.",
            "encoder: Break it: forget the mask",
        ),
        Mistake(
            "decoder-unmasked",
            _two(masked=("encoder",)),
            "Your encoder does not see the padding, but your decoder does: it reads what the encoder has made of it.",
            "decoder: Two lengths",
        ),
        Mistake(
            "encoder-unmasked",
            _two(masked=("decoder",)),
            "Your decoder does not see the padding, but in your encoder the words have already mixed with it.",
            "encoder: Break it: forget the mask",
        ),
        Mistake(
            "mask-inverted",
            _two(visible=False),
            "Your mask shows the padding and hides the words.",
            "scaled: Masks: what may be seen",
        ),
    ),
)


# ---- Twice as wide.


def _parts(**sizes: Any) -> list[int]:
    """Parameters of embedding, attention, feed-forward parts and norms."""
    with torch.device("meta"):
        model = lib.Transformer(37_000, lib.StackConfig(n_layers=1, **sizes))
    found = [0, 0, 0, 0]
    for name, parameter in model.named_parameters():
        kinds = ("embedding" in name, "_attention." in name or ".attention." in name, "feed_forward." in name)
        found[kinds.index(True) if any(kinds) else 3] += parameter.numel()
    return found


@cache
def _factors() -> tuple[int, ...]:
    base, wide, heads = _parts(), _parts(d_model=1024, d_ff=4096), _parts(n_heads=16)
    factors = [round(after / before) for before, after in zip(base, wide, strict=True)]
    return (*factors, round(heads[1] / base[1]))


DOUBLE = Predict(
    id="transformer-double",
    chapter="transformer",
    title="Twice as wide",
    level="easy",
    minutes=5,
    task="Say by which factors the parts of the model grow if both widths double, and the attention if only the number "
    "of heads does.",
    hints=(
        "A matrix with both sides doubled is four times as large. Which matrices have only one side that doubles?",
        "What does a norm hold: matrices, or vectors?",
        "A head's width is `d_model / n_heads`. Does a projection of all heads together know how many there are?",
    ),
    reference=_factors,
    expects="five whole numbers: for embedding, attention, feed-forward and norms, and for attention with more heads",
    mistakes=(
        *(
            Mistake(
                name,
                (*factors, heads),
                says,
                "Counting parameters" if heads == 1 else "multihead: What it costs",
            )
            for name, factors, heads, says in (
                (
                    "all-four",
                    (4, 4, 4, 4),
                    1,
                    "Not all of these parts are matrices with two sides that grow. What are the sides of the "
                    "embedding? And what does a norm hold?",
                ),
                ("all-two", (2, 2, 2, 2), 1, "Your matrices grow along one side only. Which of their sides double?"),
                (
                    "embedding-four",
                    (4, 4, 4, 2),
                    1,
                    "One side of the embedding is the vocabulary. Does that get larger with the model?",
                ),
                ("norms-four", (2, 4, 4, 4), 1, "A norm has no matrix. Count the numbers of its scale."),
                (
                    "vocabulary-alone",
                    (1, 4, 4, 2),
                    1,
                    "The vocabulary stays as it is, but how many numbers does a row of the embedding have?",
                ),
                (
                    "feed-forward-two",
                    (2, 4, 2, 2),
                    1,
                    "In the feed-forward part you let one width grow. Its matrices lead from one of the two widths to "
                    "the other.",
                ),
                (
                    "feed-forward-eight",
                    (2, 4, 8, 2),
                    1,
                    "You doubled once too often in the feed-forward part. Each of its matrices has two sides.",
                ),
                (
                    "attention-two",
                    (2, 2, 4, 2),
                    1,
                    "You let the attention's matrices grow along one side. How long is what goes into a projection, "
                    "and what comes out of all heads together?",
                ),
                (
                    "more-heads",
                    (2, 4, 4, 2),
                    2,
                    "The first four are right. With twice as many heads, how wide is each of them?",
                ),
                (
                    "more-heads-four",
                    (2, 4, 4, 2),
                    4,
                    "The first four are right. Do more heads make the projections larger, if the width of the model "
                    "stays?",
                ),
            )
        ),
    ),
)


# ---- Count any stack.


def _count(
    biases: bool = True,
    shift: str = "layer",
    gate: str = "widens",
    last: str = "both",
    head: bool = True,
    shared: bool = True,
    attentions: int = 3,
    norms: int = 5,
    tables: int = 1,
    out: str = "heads",
) -> Any:
    """The formula, with one choice wrong."""

    def count(vocab_size: int, config: lib.StackConfig) -> int:
        d, n, b = config.d_model, config.n_layers, int(config.bias or not biases)
        d_head = (config.d_head if head else None) or d // config.n_heads
        queries = d_head * config.n_heads
        keys = d_head * ((config.n_kv_heads if shared else None) or config.n_heads)

        def linear(rows: int, columns: int) -> int:
            return rows * columns + b * columns

        attention = linear(d, queries) + 2 * linear(d, keys) + linear(queries if out == "heads" else d, d)
        gates = {way: int(config.gated and gate == way) for way in ("widens", "narrows")}
        feed_forward = (1 + gates["widens"]) * linear(d, config.d_ff) + (1 + gates["narrows"]) * linear(config.d_ff, d)
        shifts = {"layer": config.bias and config.norm == "layer", "always": True, "any": config.bias, "never": False}
        shifts["kept"] = config.norm == "layer"
        norm = d * (1 + int(shifts[shift]))
        stacks = {"both": 2 * config.pre_norm, "one": int(config.pre_norm), "none": 0, "always": 2}[last]
        return tables * vocab_size * d + n * (attentions * attention + 2 * feed_forward + norms * norm) + stacks * norm

    return count


def _configs(*changes: Mapping[str, Any]) -> Any:
    def cases(draw: Draw) -> Iterator[Case]:
        for number, change in enumerate(changes):
            sizes = {"d_model": 12, "n_heads": 3, "n_layers": 2 + number, "d_ff": 20, **change}
            yield case(18, lib.StackConfig(**sizes))

    return cases


COUNT = Implement(
    id="transformer-count",
    chapter="transformer",
    title="Count any stack",
    level="hard",
    minutes=20,
    task="Write count(vocab_size, config): the number of parameters of a Transformer, by formula.",
    hints=(
        "Begin with `formula` of this chapter. A little function `linear(rows, columns)`, which counts the bias only "
        "if there is one, makes it shorter.",
        'With `bias=False`, projections have no bias, and a `"layer"` norm has no shift. An `"rms"` norm never has '
        "one. A gated feed-forward part has a third projection, as wide as the first.",
        "`d_head` and `n_kv_heads` may be `None`. All queries together have `n_heads * d_head` numbers; for keys and "
        "values, other heads count. In pre-norm, something stands behind each stack.",
    ),
    reference=_count(),
    stages=(
        Stage("for the paper's kind of model", _configs({}, {"n_heads": 2, "d_ff": 31})),
        Stage("without biases", _configs({"bias": False}, {"bias": False, "norm": "rms"})),
        Stage("with RMS norms", _configs({"norm": "rms"})),
        Stage("in pre-norm", _configs({"pre_norm": True}, {"pre_norm": True, "norm": "rms", "positions": "rotary"})),
        Stage("with gates", _configs({"gated": True}, {"gated": True, "bias": False})),
        Stage("with heads of another width", _configs({"d_head": 10}, {"d_head": 5, "n_heads": 4})),
        Stage("with shared keys and values", _configs({"n_heads": 4, "n_kv_heads": 2}, {"d_head": 7, "n_kv_heads": 1})),
    ),
    ready_made=(nn.Module.parameters, nn.Module.named_parameters, nn.Module.state_dict, nn.Module.children),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "one-attention-in-decoder",
            _count(attentions=2),
            "You counted one attention in each layer of the decoder.",
            "decoder: A layer in a dozen lines",
        ),
        Mistake(
            "norms-of-encoder",
            _count(norms=4),
            "You counted as many norms in a layer of the decoder as in one of the encoder. Each part has its own.",
            "decoder: A layer in a dozen lines",
        ),
        Mistake(
            "output-counted",
            _count(tables=2),
            "You counted a matrix for the output. It is the embedding once more, and the same parameter.",
            "The same matrix on the way out",
        ),
        Mistake(
            "three-tables",
            _count(tables=3),
            "You counted the embedding for the source, for the target and for the output. In this model all three are "
            "one parameter.",
            "The same matrix on the way out",
        ),
        Mistake(
            "biases-always",
            _count(biases=False, shift="kept"),
            "You count biases even where `config.bias` is false.",
            "Counting parameters",
        ),
        Mistake(
            "projections-always",
            _count(biases=False),
            "Without biases, your norms lose their shift, but your projections keep their biases.",
            "Counting parameters",
        ),
        Mistake(
            "shift-kept",
            _count(shift="kept"),
            "Without biases, your projections are right, but your norms keep their shift, which is a bias as well.",
            "Counting parameters",
        ),
        Mistake(
            "rms-with-shift",
            _count(shift="any"),
            "You count a shift for RMS norms too. They subtract no mean and add nothing.",
            "layers: Leave out the mean",
        ),
        Mistake(
            "shift-always",
            _count(shift="always"),
            "All your norms have a shift, also those without a bias, and those that only divide by a root mean square.",
            "layers: Leave out the mean",
        ),
        Mistake(
            "no-last-norm",
            _count(last="none"),
            "In pre-norm you forgot what stands behind the stacks.",
            "encoder: The stack",
        ),
        Mistake(
            "one-last-norm",
            _count(last="one"),
            "In pre-norm you counted one last norm. How many stacks are there?",
            "encoder: The stack",
        ),
        Mistake(
            "last-norm-always",
            _count(last="always"),
            "You count the norms behind the stacks in post-norm as well. There each layer ends in one already.",
            "encoder: The stack",
        ),
        Mistake(
            "gate-ignored",
            _count(gate=""),
            "Your feed-forward part has no gate.",
            "layers: Where the parameters are",
        ),
        Mistake(
            "gate-doubles-out",
            _count(gate="narrows"),
            "You put a second projection in the place where the feed-forward part narrows. The gate multiplies what "
            "is wide.",
            "layers: Where the parameters are",
        ),
        Mistake(
            "head-width-ignored",
            _count(head=False),
            "Your heads always share `d_model` out among them. Their width may be given.",
            "multihead: One product for all heads",
        ),
        Mistake(
            "output-projection-square",
            _count(out="square"),
            "Your last projection of attention leads from `d_model` numbers to `d_model`. What it gets is what all "
            "heads bring together.",
            "multihead: The layer",
        ),
        Mistake(
            "heads-not-shared",
            _count(shared=False),
            "You gave each query head keys and values of its own.",
            "multihead: Sharing keys and values",
        ),
    ),
)


# ---- Read the panel.


def _colleague(axis: int | None = 1, masked: str = "") -> Any:
    """The colleague's model, with its faults or others."""

    class Colleague(lib.Transformer):
        def embed(self, token_ids: Tensor) -> Any:
            x = self.embedding(token_ids)
            return x if axis is None else x * math.sqrt(x.size(axis))

        def decode(
            self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor | None = None, *, cache: Any = None
        ) -> Any:
            masks = {"": {}, "memory": {"memory_mask": memory_mask}, "self": {"mask": memory_mask}}[masked]
            x = self.decoder(self.embed(target_ids), memory, **masks, cache=cache)
            return F.linear(x, self.embedding.weight)

    return Colleague


def _with_shared(answer: Any, source: Tensor, target: Tensor, dtype: torch.dtype) -> Any:
    config = lib.StackConfig(d_model=6, n_heads=2, n_layers=1, d_ff=10, dropout=0.1, max_len=10)
    return _made(answer, lib.Transformer, 9, config, dtype=dtype)(source, target)


MYSTERY = Debug(
    id="transformer-mystery",
    chapter="transformer",
    title="Read the panel",
    level="medium",
    minutes=15,
    task="Find the two faults of a colleague's model with the help of the panel, and mend them.",
    hints=(
        "Run the panel on the colleague's model. Which red lines can one fault explain, and which need not be the same "
        "fault's work?",
        "Which checks compare two calls whose sequences differ in length? What in `embed` knows the length?",
        "Mend `embed`, and run the panel again. What is still red has to do with the other method. What is it given "
        "that it does not use?",
    ),
    probe=_with_shared,
    reference=lib.Transformer,
    given=_colleague(),
    stages=(
        Stage("for sources without padding", _full),
        Stage("for sources with padding", _padded),
    ),
    allowed=(lib.Encoder, lib.Decoder),
    mistakes=(
        Mistake(
            "factor-left",
            _colleague(1, "memory"),
            "One fault is mended: nobody reads the padding any more. But the factor still depends on something that "
            "is no property of the model.",
            "The factor on the way in",
        ),
        Mistake(
            "mask-left",
            _colleague(2, ""),
            "One fault is mended: the factor is right. But is `padding` green now?",
            "A panel of invariants",
        ),
        Mistake(
            "factor-of-batch",
            _colleague(0, "memory"),
            "The mask is right. But your factor is now the root of the number of sentences, and only `one_by_one` "
            "would notice.",
            "A panel of invariants",
        ),
        Mistake(
            "factor-gone",
            _colleague(None, "memory"),
            "The mask is right. But you took the factor away, and no check of the panel asks for it.",
            "The factor on the way in",
        ),
        Mistake(
            "mask-on-self",
            _colleague(2, "self"),
            "The factor is right. But the mask now goes to the decoder's attention to itself: it counts the words of "
            "the source.",
            "decoder: Two lengths",
        ),
    ),
)


# ---- A blind spot.

_SOURCE = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10], [3, 4, 9, 10, 0, 0, 0, 0]])
_TARGET = torch.tensor([[1, 11, 12, 13, 14, 15, 7, 16, 17], [1, 11, 12, 16, 17, 0, 0, 0, 0]])


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-9)


def _panel(model: Any) -> dict[str, bool]:
    """The chapter's eight checks."""
    source, target = _SOURCE, _TARGET
    right = model(source, target)
    later = target.clone()
    later[:, 3:] = target[:, 3:].flip(1)
    alone = [model(s[None], t[None]) for s, t in zip(source, target, strict=True)]
    moved = (model(source.roll(1, dims=0), target) - right).abs().amax(dim=-1)
    holds = {
        "causality": _equal(model(source, later)[:, :3], right[:, :3]),
        "padding": _equal(model(F.pad(source, (0, 3)), target), right),
        "memory_matters": bool((moved > 1e-6).all()),
        "one_by_one": _equal(torch.cat(alone), right),
        "no_dropout": _equal(model(source, target), right),
    }
    (right * torch.linspace(-1, 2, right.size(-1))).sin().sum().backward()
    learned = [weight.grad for name, weight in model.named_parameters() if "k_proj.bias" not in name]
    holds["gradients"] = all(gradient is not None and bool(gradient.abs().max() > 1e-9) for gradient in learned)
    with torch.no_grad():
        memory, mask = model.encode(source)
        past = model.decoder.new_cache()
        steps = [model.decode(ids, memory, mask, cache=past) for ids in target.split(1, dim=1)]
        holds["cache"] = _equal(torch.cat(steps, dim=1), right)
        model.embedding.weight[2] *= 2
        changed = (model(source, target) - right).abs() > 1e-9
        model.embedding.weight[2] /= 2
        holds["tied"] = bool(changed[..., 2].all()) and int(changed.sum()) == changed[..., 2].numel()
    return holds


def _unseen(answer: Any, draw: Draw) -> Mapping[str, Any]:
    """How far the logits are from those of the correct model with the same weights, and what the panel says."""
    config = lib.StackConfig(d_model=12, n_heads=3, n_layers=2, d_ff=20, dropout=0.1, max_len=20)
    right, broken = (
        with_weights(kind, lib.Transformer, 18, config, dtype=torch.float64) for kind in (lib.Transformer, answer)
    )
    with torch.no_grad():
        change = float((right(_SOURCE, _TARGET) - broken(_SOURCE, _TARGET)).abs().max())
    holds = _panel(broken)
    red = [name for name, one in holds.items() if not one]
    return {
        "largest change of a logit": change,
        "checks that hold": sum(holds.values()),
        "red": ", ".join(red) or "none",
    }


class _Unpadded(lib.Transformer):
    def encode(self, source_ids: Tensor) -> Any:
        mask = torch.ones_like(source_ids, dtype=torch.bool)[:, None, None]
        return self.encoder(self.embed(source_ids), mask), mask


BLIND = Explore(
    id="transformer-blind-spot",
    chapter="transformer",
    title="A blind spot",
    level="hard",
    minutes=20,
    task="Write a subclass of Transformer that is wrong, though all eight checks of the panel hold.",
    hints=(
        "The panel compares a model with itself: with other lengths, with other tokens, step by step. It never asks "
        "what the right numbers are.",
        "So the mistake should be the same in every call, in training and in use. Go through this chapter's own lines, "
        "and ask of each what would happen without it.",
        "Leave masks, caches and gradients alone. The panel's line `tied` looks at how the logits are made: so look at "
        "the other end of the model.",
    ),
    expects="a class, built with `vocab_size` and `config` as `Transformer` is, with parameters of the same names",
    measure=_unseen,
    goals=(
        Goal(
            "other logits than the correct model's",
            lambda measured: measured["largest change of a logit"] > 1e-3,
            "With the same weights your model gives the same logits as the correct one. It is not wrong.",
            "Twenty lines",
            lambda: lib.Transformer,
        ),
        Goal(
            "all eight checks hold",
            lambda measured: measured["checks that hold"] == 8,
            "The panel sees your mistake. What do its red lines have in common with what you changed?",
            "A panel of invariants",
            lambda: _Unpadded,
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (TIED, MODEL, DOUBLE, COUNT, MYSTERY, BLIND)
