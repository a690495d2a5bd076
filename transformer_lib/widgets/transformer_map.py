"""The whole Transformer as a map: every block can be opened, and a token walks through all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from matplotlib.patches import FancyBboxPatch, Rectangle

from transformer_lib.chapters import CHAPTERS
from transformer_lib.config import StackConfig
from transformer_lib.plots import INK, KEY, MUTED, OUTPUT, QUERY, VALUE
from transformer_lib.texts import text, translated
from transformer_lib.transformer import Transformer
from transformer_lib.widgets.figure import LiveFigure, source

SIZES = ("d_model", "n_heads", "d_ff", "n_layers", "vocab_size")

#: What the sliders offer.
CHOICES: dict[str, tuple[int, ...]] = {
    "d_model": (64, 128, 256, 512, 768, 1024),
    "n_heads": (1, 2, 4, 8, 16, 32),
    "d_ff": (128, 256, 512, 1024, 1536, 2048, 3072, 4096),
    "n_layers": (1, 2, 3, 4, 6, 8, 12),
    "vocab_size": (1_000, 5_000, 10_000, 20_000, 37_000, 50_000),
}

_WIDTH, _HEIGHT = 348, 514
_ENCODER, _DECODER = 86, 262  # the middles of the two columns


@dataclass(frozen=True)
class _Block:
    """A block of the map. Its sentences hold sizes and words in braces."""

    id: str
    label: str
    title: str
    box: tuple[int, int, int, int]  # left, top, width, height
    kind: str  # how its parameters are counted
    layered: bool  # whether every layer has one
    enters: tuple[str, ...]
    leaves: tuple[str, ...]
    inside: tuple[str, ...]  # a name, then a shape
    does: str
    walk: str  # what happens to the token that is followed
    source: str  # the class, method or function in the library
    path: str  # of the module in the model
    chapter: str  # that builds it, by its key

    def words(self) -> dict[str, str]:
        """Its sentences in the reader's language, their holes open."""
        return {name: translated(getattr(self, name)) for name in ("label", "title", "does", "walk")}


def _at(middle: int, top: int, height: int = 26) -> tuple[int, int, int, int]:
    return (middle - 66, top, 132, height)


_S, _T = ("source", "d_model"), ("target", "d_model")
_ATTENTION = "transformer_lib.multihead.MultiHeadAttention"
_ADD = "What a sublayer computes is added to what entered it, and the sum is normalized, token by token."
_FEED = "A small network, the same for every token and for each token alone: widen, cut off below zero, narrow."
_FED = "Now alone: its {d_model} numbers are widened to {d_ff}, cut off below zero, and narrowed again."

#: In the order in which a token passes them; the two layers as wholes come last.
BLOCKS = (
    _Block(
        "source-embedding",
        "embedding",
        "Embedding of the source",
        _at(_ENCODER, 458),
        "embedding",
        False,
        ("source",),
        _S,
        (),
        "Each token's number selects a row of one matrix, which is multiplied by √d_model.",
        "“{word}” becomes its row of the embedding: {d_model} numbers, multiplied by √{d_model}.",
        "transformer_lib.transformer.Transformer.embed",
        "embedding",
        "transformer",
    ),
    _Block(
        "source-positions",
        "+ positions",
        "Positions of the source",
        _at(_ENCODER, 418),
        "none",
        False,
        _S,
        _S,
        (),
        "A fixed pattern of sines and cosines is added, another one for each place. Nothing is learned here.",
        "The pattern of its place is added. Without it, the order of the words would be lost.",
        "transformer_lib.positions.SinusoidalPositions",
        "encoder.positions.added",
        "positions",
    ),
    _Block(
        "encoder-attention",
        "self-attention",
        "Self-attention of the encoder",
        _at(_ENCODER, 360, 30),
        "attention",
        True,
        _S,
        _S,
        ("weights", "n_heads", "source", "source"),
        "Every token of the source looks at every other, in {n_heads} heads of {d_head} numbers each.",
        "It asks all {source} words, itself included, and gathers a weighted mean of their values in each head.",
        _ATTENTION,
        "encoder.layers.0.attention",
        "multihead",
    ),
    _Block(
        "encoder-norm-1",
        "add & norm",
        "Add and normalize",
        _at(_ENCODER, 322),
        "norm",
        True,
        _S,
        _S,
        (),
        _ADD,
        "What it gathered is added to what it was, and the sum is normalized.",
        "transformer_lib.layers.Residual",
        "encoder.layers.0.attention_residual",
        "layers",
    ),
    _Block(
        "encoder-feed-forward",
        "feed-forward",
        "Feed-forward part of the encoder",
        _at(_ENCODER, 266, 30),
        "feed-forward",
        True,
        _S,
        _S,
        ("hidden", "source", "d_ff"),
        _FEED,
        _FED,
        "transformer_lib.layers.FeedForward",
        "encoder.layers.0.feed_forward",
        "layers",
    ),
    _Block(
        "encoder-norm-2",
        "add & norm",
        "Add and normalize",
        _at(_ENCODER, 228),
        "norm",
        True,
        _S,
        _S,
        (),
        "Added to what entered, then normalized. What leaves the last layer is the memory.",
        "Added and normalized again. After {n_layers} such layers it is part of the memory. The encoder is done.",
        "transformer_lib.layers.Residual",
        "encoder.layers.0.feed_forward_residual",
        "layers",
    ),
    _Block(
        "target-embedding",
        "embedding",
        "Embedding of the target",
        _at(_DECODER, 458),
        "tied",
        False,
        ("target",),
        _T,
        (),
        "What is written so far selects its rows of the same matrix as the source.",
        "Now the decoder. “{given}” becomes its row of the same embedding, multiplied by √{d_model}.",
        "transformer_lib.transformer.Transformer.embed",
        "embedding",
        "transformer",
    ),
    _Block(
        "target-positions",
        "+ positions",
        "Positions of the target",
        _at(_DECODER, 418),
        "none",
        False,
        _T,
        _T,
        (),
        "The same fixed patterns as in the encoder, counted from the beginning of the target.",
        "The pattern of its place in the target is added.",
        "transformer_lib.positions.SinusoidalPositions",
        "decoder.positions.added",
        "positions",
    ),
    _Block(
        "decoder-attention",
        "causal self-attention",
        "Causal self-attention",
        _at(_DECODER, 360, 30),
        "attention",
        True,
        _T,
        _T,
        ("weights", "n_heads", "target", "target"),
        "Every token of the target looks at itself and at those before it. All later weights are zero.",
        "It asks itself and what stands before it, never what comes after.",
        _ATTENTION,
        "decoder.layers.0.self_attention",
        "decoder",
    ),
    _Block(
        "decoder-norm-1",
        "add & norm",
        "Add and normalize",
        _at(_DECODER, 322),
        "norm",
        True,
        _T,
        _T,
        (),
        _ADD,
        "What it gathered is added to what it was, and the sum is normalized.",
        "transformer_lib.layers.Residual",
        "decoder.layers.0.self_attention_residual",
        "layers",
    ),
    _Block(
        "cross-attention",
        "cross-attention",
        "Cross-attention",
        _at(_DECODER, 266, 30),
        "attention",
        True,
        _T,
        _T,
        ("weights", "n_heads", "target", "source"),
        "Queries come from the target, keys and values from the memory: here the source enters the decoder.",
        "Its queries meet the keys of the memory: {source} words of the source, “{word}” among them.",
        _ATTENTION,
        "decoder.layers.0.cross_attention",
        "decoder",
    ),
    _Block(
        "decoder-norm-2",
        "add & norm",
        "Add and normalize",
        _at(_DECODER, 228),
        "norm",
        True,
        _T,
        _T,
        (),
        _ADD,
        "What came from the memory is added, and the sum is normalized.",
        "transformer_lib.layers.Residual",
        "decoder.layers.0.cross_attention_residual",
        "layers",
    ),
    _Block(
        "decoder-feed-forward",
        "feed-forward",
        "Feed-forward part of the decoder",
        _at(_DECODER, 172, 30),
        "feed-forward",
        True,
        _T,
        _T,
        ("hidden", "target", "d_ff"),
        _FEED,
        _FED,
        "transformer_lib.layers.FeedForward",
        "decoder.layers.0.feed_forward",
        "layers",
    ),
    _Block(
        "decoder-norm-3",
        "add & norm",
        "Add and normalize",
        _at(_DECODER, 134),
        "norm",
        True,
        _T,
        _T,
        (),
        _ADD,
        "Added and normalized for the last time in this layer. There are {n_layers} such layers.",
        "transformer_lib.layers.Residual",
        "decoder.layers.0.feed_forward_residual",
        "layers",
    ),
    _Block(
        "projection",
        "output projection",
        "Output projection",
        _at(_DECODER, 66),
        "tied",
        False,
        _T,
        ("target", "vocab_size"),
        (),
        "The dot product with each row of the embedding gives a logit for each token of the vocabulary.",
        "Its dot products with the {vocab_size} rows of the embedding are {vocab_size} logits.",
        "transformer_lib.transformer.Transformer.decode",
        "embedding",
        "transformer",
    ),
    _Block(
        "softmax",
        "softmax",
        "Softmax",
        _at(_DECODER, 26),
        "none",
        False,
        ("target", "vocab_size"),
        ("target", "vocab_size"),
        (),
        "Logits become probabilities of the next token, at every place of the target.",
        "Logits become probabilities. A trained model gives the largest one to the next word, “{next}”.",
        "transformer_lib.generation.sample",
        "",
        "scaled",
    ),
    _Block(
        "encoder-layer",
        "encoder × {n_layers}",
        "A layer of the encoder",
        (2, 190, 80, 26),
        "encoder",
        True,
        _S,
        _S,
        (),
        "Self-attention and feed-forward, each with add and norm. All layers have this form, and own numbers.",
        "",
        "transformer_lib.encoder.EncoderLayer",
        "encoder.layers.0",
        "encoder",
    ),
    _Block(
        "decoder-layer",
        "decoder × {n_layers}",
        "A layer of the decoder",
        (268, 97, 80, 26),
        "decoder",
        True,
        _T,
        _T,
        (),
        "An encoder's layer with one attention more: the one that reads the memory.",
        "",
        "transformer_lib.decoder.DecoderLayer",
        "decoder.layers.0",
        "decoder",
    ),
)
WALK = tuple(block.id for block in BLOCKS if block.walk)
COLORS = {"attention": QUERY, "feed-forward": VALUE}


def _paths() -> list[dict[str, Any]]:
    """The arrows: where they run, and the block that they enter."""
    paths: list[dict[str, Any]] = []

    def up(middle: int, low: int, high: int, into: str) -> None:
        paths.append({"points": [[middle, low], [middle, high]], "into": into, "kind": "flow"})

    boxes = {block.id: block.box for block in BLOCKS}
    for middle, stack in ((_ENCODER, BLOCKS[:6]), (_DECODER, BLOCKS[6:16])):
        up(middle, 492, boxes[stack[0].id][1] + 26, stack[0].id)
        for below, above in pairwise(stack):
            top = boxes[above.id]
            up(middle, boxes[below.id][1], top[1] + top[3], above.id)
            if above.kind == "norm":
                # Around the sublayer: from below it to the side of its normalization.
                start, outside = boxes[below.id], middle + (-76 if middle == _ENCODER else 76)
                bend = start[1] + start[3] + 8
                end = [middle + (-66 if middle == _ENCODER else 66), top[1] + 13]
                points = [[middle, bend], [outside, bend], [outside, end[1]], end]
                paths.append({"points": points, "into": above.id, "kind": "residual"})
    memory = [[_ENCODER, 228], [_ENCODER, 206], [174, 206], [174, 281], [_DECODER - 66, 281]]
    paths.append({"points": memory, "into": "cross-attention", "kind": "memory"})
    up(_DECODER, 26, 18, "")
    return paths


class TransformerMap(LiveFigure):
    """Figure 1 of the paper, with every block to be opened, and a token to be followed.

    A block shows what enters and leaves it, how many parameters it has, its class in the library, and the chapter that
    builds it. Parameters are counted anew when a size changes.

    Args:
        source: the words that the encoder reads.
        target: what the decoder has read and written, from its first token.
        follow: the places of the source's word and of the target's word that walk; one more word follows the latter.
        choices: the values of each slider, under ``d_model``, ``n_heads``, ``d_ff``, ``n_layers``, ``vocab_size``.
        language: of the source, as an HTML code.
        target_language: of the target.
        **sizes: the sizes at first; the paper's base model unless given.

    Attributes:
        d_model: as it is now; so are ``n_heads``, ``d_ff``, ``n_layers`` and ``vocab_size``, the block ``chosen`` and
            the ``step`` of the walk, 0 before it begins. Setting one of them moves the figure.
        parameters: of the whole model.

    Raises:
        ValueError: places that do not exist, or sizes that are not offered or do not fit together.
    """

    _esm = source("transformer_map")
    blocks = traitlets.List(traitlets.Dict()).tag(sync=True)
    paths = traitlets.List(traitlets.Dict()).tag(sync=True)
    chapters = traitlets.Dict().tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    source_tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    target_tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    follow = traitlets.List(traitlets.Int()).tag(sync=True)
    language = traitlets.Unicode("pt-BR").tag(sync=True)
    target_language = traitlets.Unicode("en").tag(sync=True)
    d_model = traitlets.Int(512).tag(sync=True)
    n_heads = traitlets.Int(8).tag(sync=True)
    d_ff = traitlets.Int(2048).tag(sync=True)
    n_layers = traitlets.Int(6).tag(sync=True)
    vocab_size = traitlets.Int(37_000).tag(sync=True)
    chosen = traitlets.Enum([block.id for block in BLOCKS], "encoder-attention").tag(sync=True)
    step = traitlets.Int(0, min=0, max=len(WALK)).tag(sync=True)
    parameters = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        source: Sequence[str],
        target: Sequence[str],
        *,
        follow: tuple[int, int] = (1, 1),
        choices: Mapping[str, Sequence[int]] = CHOICES,
        language: str = "pt-BR",
        target_language: str = "en",
        **sizes: int,
    ):
        if not (0 <= follow[0] < len(source) and 0 <= follow[1] < len(target) - 1):
            raise ValueError(
                f"follow must name a place of the source, 0 to {len(source) - 1}, and one of the target before its "
                f"last, 0 to {len(target) - 2}; got {follow}"
            )
        if set(choices) != set(SIZES) or not all(choices.values()):
            raise ValueError(f"choices must offer values of {', '.join(SIZES)}; got {', '.join(choices)}")
        if unknown := set(sizes) - set(SIZES):
            raise ValueError(f"sizes must be of {', '.join(SIZES)}; got {', '.join(sorted(unknown))}")
        base = {"d_model": 512, "n_heads": 8, "d_ff": 2048, "n_layers": 6, "vocab_size": 37_000} | sizes
        for name, size in base.items():
            if size not in choices[name]:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices[name]))}; got {size}")
        for d_model in choices["d_model"]:
            for n_heads in choices["n_heads"]:
                StackConfig(d_model=d_model, n_heads=n_heads)
        super().__init__(
            blocks=[asdict(block) | block.words() | {"box": list(block.box)} for block in BLOCKS],
            paths=_paths(),
            chapters={
                key: [CHAPTERS[key].number, CHAPTERS[key].file, translated(CHAPTERS[key].title)]
                for key in sorted({block.chapter for block in BLOCKS})
            },
            choices={name: list(choices[name]) for name in SIZES},
            source_tokens=list(source),
            target_tokens=list(target),
            follow=list(follow),
            language=language,
            target_language=target_language,
            heights=(568, 1230),
            **base,
        )
        self._compute()
        self.observe(self._compute, list(SIZES))
        self.observe(self._walk, "step")

    def _compute(self, change: object = None) -> None:
        """Count the parameters of the library's model; the page computes the same in JavaScript."""
        self.parameters = sum(parameter.numel() for parameter in self.model().parameters())

    def _walk(self, change: object = None) -> None:
        if self.step:
            self.chosen = WALK[self.step - 1]

    def model(self) -> Transformer:
        """The library's Transformer of these sizes, with shapes but without memory (on the device ``meta``)."""
        config = StackConfig(
            d_model=self.d_model,
            n_heads=self.n_heads,
            d_ff=self.d_ff,
            n_layers=self.n_layers,
            max_len=max(len(self.source_tokens), len(self.target_tokens)),
        )
        with torch.device("meta"):
            return Transformer(self.vocab_size, config)

    def picture(self) -> Picture:
        """The map, the chosen block marked."""
        figure, ax = plt.subplots(figsize=(6.2, 6.2 * _HEIGHT / _WIDTH * 0.92))
        for left, top in ((4, 218), (180, 126)):
            ax.add_patch(Rectangle((left, top), 164, 406 - top, facecolor="#f4f4f4", edgecolor="#cccccc"))
        for path in self.paths:
            color = {"flow": INK, "residual": MUTED, "memory": KEY}[path["kind"]]
            *start, end = path["points"]
            ax.plot(*zip(*start, strict=True), color=color, lw=1.2) if len(start) > 1 else None
            style = {"arrowstyle": "-|>", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", end, start[-1], arrowprops=style)
        for block in BLOCKS:
            left, top, width, height = block.box
            if block.id.endswith("layer"):
                label = translated(block.label).format(n_layers=self.n_layers)
                ax.text(left + width / 2, top + height / 2, label, ha="center", va="center", size=9)
                continue
            shape = FancyBboxPatch((left, top), width, height, boxstyle="round,pad=0,rounding_size=4")
            color = KEY if block.id == "cross-attention" else COLORS.get(block.kind, MUTED)
            shape.set(facecolor="white", edgecolor=color, linewidth=3 if block.id == self.chosen else 1.5)
            ax.add_patch(shape)
            ax.text(left + width / 2, top + height / 2, translated(block.label), ha="center", va="center", size=9)
        ax.text(170, 201, text("memory"), color=KEY, size=9, ha="right")
        ax.text(4, 30, f"{self.parameters:,}\n{text('parameters')}", va="center", weight="bold", size=10)
        ax.text(_ENCODER, 504, _short(self.source_tokens, self.follow[0]), ha="center", va="center", size=9)
        ax.text(_DECODER, 504, _short(self.target_tokens, self.follow[1]), ha="center", va="center", size=9)
        ax.text(_DECODER, 9, self.target_tokens[self.follow[1] + 1], ha="center", va="center", size=9, color=OUTPUT)
        ax.set(xlim=(0, _WIDTH), ylim=(_HEIGHT, 0), aspect="equal")
        ax.axis("off")
        return figure

    def __repr__(self) -> str:
        return f"TransformerMap({', '.join(f'{name}={getattr(self, name)}' for name in SIZES)})"


def _short(tokens: Sequence[str], place: int) -> str:
    """The token at a place, with its neighbors."""
    first = max(0, place - 1)
    near = tokens[first : place + 2]
    return ("… " if first else "") + " ".join(near) + (" …" if place + 2 < len(tokens) else "")
