"""Drawings of what the book builds: how data flow through attention and through a layer, and the whole architecture.

Each drawing is a small table of parts and of arrows between them, in inches; one function draws them all. Like the
book's other figures they have a white ground, and a dark page inverts their lightness and keeps their hues.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from transformer_lib.chapters import CHAPTERS
from transformer_lib.plots import INK, KEY, MUTED, OUTPUT, QUERY, VALUE
from transformer_lib.texts import text


class _Part(NamedTuple):
    """A box with a name and a note below it, or a gray frame around boxes; what leaves it has a shape."""

    name: str
    color: str
    x: float  # of its middle
    y: float
    width: float
    height: float
    note: str = ""
    shape: str = ""
    frames: int = 0  # 0: a box; else so many frames, one behind the other
    side: str = "right"  # on which a frame's name stands


_Stop = str | tuple[float, float]  # of an arrow: a part, or a corner


class _Arrow(NamedTuple):
    stops: Sequence[_Stop]
    color: str = ""  # that of the part it leaves, unless given
    dashed: bool = False


class _Word(NamedTuple):
    words: str
    color: str
    x: float
    y: float
    side: str = "center"
    size: float = 8.5


class _Drawing(NamedTuple):
    width: float
    height: float
    parts: Mapping[str, _Part]
    arrows: Sequence[_Arrow]
    alt: str
    words: Sequence[_Word] = ()


_NAME, _NOTE, _TAB = 10.0, 8.5, 7.5  # sizes of letters, in points
_TALL, _FLAT, _ROUND = 0.52, 0.3, 0.24  # heights of a box with a note, of one without, and of a sum
_GAP = 0.5  # between boxes: for an arrow, the shape beside its foot, and a mark beside its head
_MARGIN = 0.28


# ---- Attention: rows of boxes over the lanes of query, key and value.

_LANES, _PITCH, _LANE, _WIDTH = (0.9, 2.4, 3.9), 1.5, 1.3, 5.1  # the lanes' middles, their distance, a box, the drawing


def _over(first: int, last: int, name: str, color: str, note: str = "", shape: str = "") -> _Part:
    """A box over the lanes from the first to the last, not yet in its row."""
    x, width = (_LANES[first] + _LANES[last]) / 2, _LANE + (last - first) * _PITCH
    return _Part(name, color, x, 0, width, _TALL if note else _FLAT, note, shape)


def _rows(*rows: Mapping[str, _Part]) -> tuple[dict[str, _Part], float]:
    """The boxes in their rows, from bottom to top, and where an arrow from the last ends."""
    placed: dict[str, _Part] = {}
    bottom = _MARGIN
    for row in rows:
        height = max(box.height for box in row.values())
        placed |= {key: box._replace(y=bottom + height / 2) for key, box in row.items()}
        bottom += height + _GAP
    return placed, bottom - 0.05


def _arrows(*pairs: str) -> list[_Arrow]:
    return [_Arrow(pair.split()) for pair in pairs]


def _out(key: str, top: float) -> _Arrow:
    return _Arrow((key, (_LANES[1], top)))


def _tokens() -> dict[str, _Part]:
    return {"x": _over(0, 2, "x", INK, text("the tokens"), "(seq, d_model)")}


def _query_key_value(notes: Sequence[str], shapes: Sequence[str]) -> dict[str, _Part]:
    return {
        "query": _over(0, 0, text("query"), QUERY, notes[0], shapes[0]),
        "key": _over(1, 1, text("key"), KEY, notes[1], shapes[1]),
        "value": _over(2, 2, text("value"), VALUE, notes[2], shapes[2]),
    }


def _scores_to_output(pairs: str, found: str) -> tuple[dict[str, _Part], ...]:
    formula = r"$QK^\top\!/\sqrt{d_\mathrm{head}}$"
    return (
        {"scores": _over(0, 1, text("scores"), INK, formula, pairs)},
        {"weights": _over(0, 1, text("weights"), QUERY, text("softmax of each row"), pairs)},
        {"output": _over(0, 2, text("output"), OUTPUT, text("average of the values"), found)},
    )


_PROJECTED = (r"$x\,W^Q$", r"$x\,W^K$", r"$x\,W^V$")
_PROJECTION = _arrows("x query", "x key", "x value")
_CORE = _arrows("query scores", "key scores", "scores weights", "weights output", "value output")


def _attention() -> _Drawing:
    notes = text("what it seeks"), text("what it offers"), text("what it gives")
    shapes = "(query, d_head)", "(key, d_head)", "(key, d_value)"
    parts, top = _rows(_query_key_value(notes, shapes), *_scores_to_output("(query, key)", "(query, d_value)"))
    alt = text(
        "Attention, from bottom to top. Query and key meet in the scores. The softmax of each row of the scores gives "
        "the weights. The weights and the values give the output."
    )
    return _Drawing(_WIDTH, top, parts, [*_CORE, _out("output", top)], alt)


def _self() -> _Drawing:
    boxes = _query_key_value(_PROJECTED, ["(seq, d_head)"] * 3)
    parts, top = _rows(_tokens(), boxes, *_scores_to_output("(query, key)", "(seq, d_head)"))
    alt = text(
        "Self-attention, from bottom to top. Three projections make query, key and value of the same tokens x. Query "
        "and key meet in the scores. The softmax of each row of the scores gives the weights. The weights and the "
        "values give the output."
    )
    return _Drawing(_WIDTH, top, parts, [*_PROJECTION, *_CORE, _out("output", top)], alt)


def _cross() -> _Drawing:
    sequences = {
        "x": _over(0, 0, "x", INK, text("those that ask"), "(query, d_model)"),
        "memory": _over(1, 2, text("memory"), INK, text("those that are asked"), "(key, d_model)"),
    }
    notes = r"$x\,W^Q$", r"$m\,W^K$", r"$m\,W^V$"
    boxes = _query_key_value(notes, ("(query, d_head)", "(key, d_head)", "(key, d_head)"))
    parts, top = _rows(sequences, boxes, *_scores_to_output("(query, key)", "(query, d_head)"))
    projection = _arrows("x query", "memory key", "memory value")
    alt = text(
        "Cross-attention, from bottom to top. The query is made of the tokens x; key and value are made of another "
        "sequence, the memory. Query and key meet in the scores. The softmax of each row of the scores gives the "
        "weights. The weights and the values give the output."
    )
    return _Drawing(_WIDTH, top, parts, [*projection, *_CORE, _out("output", top)], alt)


def _heads() -> _Drawing:
    scores, weights, output = _scores_to_output("(heads, query, key)", "(heads, seq, d_head)")
    found = output["output"]._replace(name=text("output of the head"))
    joined = text("projected by {matrix}", matrix="$W^O$")
    parts, top = _rows(
        _tokens(),
        _query_key_value(_PROJECTED, ["(seq, d_model)"] * 3),
        {"split": _over(0, 2, text("split into heads"), MUTED, shape="(heads, seq, d_head)")},
        scores,
        weights,
        {"found": found},
        {"merge": _over(0, 2, text("merge the heads"), MUTED, shape="(seq, d_model)")},
        {"output": _over(0, 2, text("output"), OUTPUT, joined, "(seq, d_model)")},
    )
    bottom, above = parts["scores"].y - _TALL / 2 - 0.24, parts["found"].y + _TALL / 2 + 0.29
    frame = _Part(text("each head"), MUTED, _LANES[1], (bottom + above) / 2, 4.54, above - bottom, frames=3)
    lanes = zip(_LANES, ("query", "key", "value"), ("scores", "scores", "found"), strict=True)
    arrows = [
        *_PROJECTION,
        *_arrows("query split", "key split", "value split"),
        *(_Arrow(("split", (lane, bottom), end), parts[key].color) for lane, key, end in lanes),
        *_arrows("scores weights", "weights found", "found merge", "merge output"),
        _out("output", top),
    ]
    alt = text(
        "Multi-head attention, from bottom to top. Query, key and value are projected from the tokens x and split into "
        "heads. Each head, one of several cards, has scores, weights and an output of its own. These are merged, and "
        "one more projection gives the output."
    )
    return _Drawing(_WIDTH, top, {"head": frame} | parts, arrows, alt)


# ---- Layers: a straight road, from which each sublayer branches off, and to which it adds what it found.


class _Road:
    """A road upwards, which grows: boxes on it, and sublayers beside it."""

    def __init__(self, x: float, aside: float, width: float, *, y: float = _MARGIN, pace: float = 0.8) -> None:
        self.x, self.aside, self.width, self.y, self.pace = x, aside, width, y, pace
        self.gap = _GAP if pace > 0.7 else 0.3
        self.parts: dict[str, _Part] = {}
        self.arrows: list[_Arrow] = []
        self._last = ""

    def through(self, key: str, name: str, color: str, note: str, shape: str = "", *, x: float, width: float) -> None:
        """The road leads through a box."""
        self._go(key, _Part(name, color, x, self.y + _TALL / 2, width, _TALL, note, shape))
        self.y += _TALL + self.gap

    def beside(self, key: str, name: str, color: str, note: str, shape: str = "", *, norm: str = "") -> None:
        """A sublayer branches off, behind its norm if it has one, and what it found is added to the road."""
        start = (self.x, self.y), (self.aside, self.y)
        self.y += 0.4 * self.pace
        if norm:
            self.parts[norm] = _Part(text("norm"), MUTED, self.aside, self.y + _FLAT / 2, self.width, _FLAT)
            self.arrows.append(_Arrow((norm, key)))
            self.y += _FLAT + 0.3 * self.pace
        self.parts[key] = _Part(name, color, self.aside, self.y + _TALL / 2, self.width, _TALL, note, shape)
        self.y += _TALL + 0.36 * self.pace
        total = f"{key}_sum"
        self.arrows += [_Arrow((*start, norm or key)), _Arrow((key, (self.aside, self.y), total))]
        self._go(total, _Part("+", INK, self.x, self.y, _ROUND, _ROUND))
        self.y += _ROUND / 2 + 0.28 * self.pace

    def _go(self, key: str, part: _Part) -> None:
        self.parts[key] = part
        if self._last:
            self.arrows.append(_Arrow((self._last, (self.x, part.y - part.height / 2 - 0.1), key)))
        self._last = key


def _residuals(road: _Road, side: str) -> list[_Word]:
    """The word at each piece of road that a sublayer goes around."""
    space = 0.08 if side == "left" else -0.08
    names = [key.removesuffix("_sum") for key in road.parts if key.endswith("_sum")]
    return [_Word(text("residual"), MUTED, road.x + space, road.parts[name].y - 0.26, side) for name in names]


def _encoder() -> _Drawing:
    road = _Road(0.95, 3.05, 2.1)
    road.through("x", "x", INK, text("the tokens"), "(seq, d_model)", x=0.95, width=_LANE)
    bottom = road.y - 0.1
    road.beside("self_attention", text("self-attention"), QUERY, text("each looks at all"), norm="self_norm")
    road.beside("feed_forward", text("feed-forward"), VALUE, text("each by itself"), norm="feed_norm")
    frame = _Part(text("encoder layer"), MUTED, 2.3, (bottom + road.y) / 2, 4.2, road.y - bottom, frames=1)
    road.y += 0.28
    road.through("output", text("output"), OUTPUT, text("in context"), "(seq, d_model)", x=0.95, width=_LANE)
    top = road.y - 0.05
    alt = text(
        "An encoder layer, from bottom to top: a straight road from the tokens x to the output. Twice a branch leaves "
        "it, goes through a norm and a sublayer, and is added to the road again: first self-attention, then the "
        "feed-forward part."
    )
    arrows = [*road.arrows, _Arrow(("output", (road.x, top)))]
    return _Drawing(4.6, top, {"layer": frame} | road.parts, arrows, alt, _residuals(road, "left"))


def _decoder() -> _Drawing:
    road = _Road(4.4, 2.55, 1.8)
    road.through("x", "x", INK, text("written so far"), "", x=4.4, width=_LANE)
    memory = road.parts["x"]._replace(
        name=text("memory"), note=text("of the encoder"), color=KEY, x=0.85, shape="(key, d_model)"
    )
    road.parts["x"] = road.parts["x"]._replace(shape="(query, d_model)")
    bottom = road.y - 0.1
    road.beside("self_attention", text("self-attention"), QUERY, text("each looks back"), norm="self_norm")
    road.beside("cross_attention", text("cross-attention"), KEY, text("each asks the memory"), norm="cross_norm")
    road.beside("feed_forward", text("feed-forward"), VALUE, text("each by itself"), norm="feed_norm")
    frame = _Part(text("decoder layer"), MUTED, 3.2, (bottom + road.y) / 2, 3.4, road.y - bottom, frames=1, side="left")
    road.y += 0.28
    road.through("output", text("output"), OUTPUT, text("knows both"), "(query, d_model)", x=4.4, width=_LANE)
    top = road.y - 0.05
    alt = text(
        "A decoder layer, from bottom to top: a straight road from the tokens x, those written so far, to the output. "
        "Three times a branch leaves it, goes through a norm and a sublayer, and is added to the road again: "
        "self-attention that looks back, cross-attention, to which an arrow leads from the memory, and the "
        "feed-forward part."
    )
    arrows = [
        *road.arrows,
        _Arrow(("memory", (0.85, road.parts["cross_attention"].y), "cross_attention")),
        _Arrow(("output", (road.x, top))),
    ]
    return _Drawing(5.25, top, {"layer": frame, "memory": memory} | road.parts, arrows, alt, _residuals(road, "right"))


_KINDS: Mapping[str, Callable[[], _Drawing]] = {
    "attention": _attention,
    "self": _self,
    "heads": _heads,
    "cross": _cross,
    "encoder": _encoder,
    "decoder": _decoder,
}


# ---- The whole, with the chapters that build its parts.

#: Which parts of the architecture a chapter builds, by its key.
_BUILT = {
    "why": ("source_embedding", "target_embedding"),
    "scaled": ("encoder_attention", "decoder_attention", "cross_attention"),
    "multihead": ("encoder_attention", "decoder_attention", "cross_attention"),
    "self": ("encoder_attention", "decoder_attention", "cross_attention"),
    "positions": ("source_positions", "target_positions"),
    "layers": ("residual", "encoder_feed_forward", "decoder_feed_forward"),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "transformer": ("source_embedding", "target_embedding", "probabilities"),
    "translator": ("training",),
    "decoding": ("next_word",),
}


def _by(part: str) -> str:
    """The chapters that build a part, in words."""
    numbers = [CHAPTERS[key].number for key, parts in _BUILT.items() if part in parts]
    if len(numbers) == 1:
        return text("chapter {number}", number=numbers[0])
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return text("chapters {first} to {last}", first=numbers[0], last=numbers[-1])
    return text("chapters {first} and {last}", first=numbers[0], last=numbers[-1])


def _whole() -> _Drawing:
    reading, writing = _Road(0.5, 1.5, 1.6, y=0.82, pace=0.65), _Road(4.95, 3.95, 1.6, y=0.82, pace=0.65)
    bottom = 0.0
    for road, which, x in ((reading, "source", 1.35), (writing, "target", 4.1)):
        for name, key in ((text("embedding"), f"{which}_embedding"), (text("positions"), f"{which}_positions")):
            road.through(key, name, INK, _by(key), x=x, width=2.3)
        bottom = road.y - 0.04
        road.y += 0.12
    self_attention, feed_forward = text("self-attention"), text("feed-forward")
    reading.beside("encoder_attention", self_attention, QUERY, _by("encoder_attention"))
    reading.beside("encoder_feed_forward", feed_forward, VALUE, _by("encoder_feed_forward"))
    writing.beside("decoder_attention", self_attention, QUERY, _by("decoder_attention"))
    writing.beside("cross_attention", text("cross-attention"), KEY, _by("cross_attention"))
    writing.beside("decoder_feed_forward", feed_forward, VALUE, _by("decoder_feed_forward"))
    frames = {}
    for road, key, name, x, side in (
        (reading, "encoder", text("encoder layer × N"), 1.35, "right"),
        (writing, "decoder", text("decoder layer × N"), 4.1, "left"),
    ):
        road.y += 0.2
        frames[key] = _Part(name, MUTED, x, (bottom + road.y) / 2, 2.3, road.y - bottom, _by(key), frames=3, side=side)
        road.y += 0.36
    writing.through("probabilities", text("probabilities"), INK, _by("probabilities"), x=4.1, width=2.3)
    writing.through("next_word", text("next word"), OUTPUT, _by("next_word"), x=4.1, width=2.3)
    for key, name, beside in (
        ("residual", text("⊕ residuals and norms"), "probabilities"),
        ("training", text("training"), "next_word"),
    ):
        frames[key] = writing.parts[beside]._replace(name=name, color=MUTED, note=_by(key), x=1.35)
    cross, top = writing.parts["cross_attention"], writing.y
    arrows = [
        *reading.arrows,
        *writing.arrows,
        _Arrow(
            ("encoder_feed_forward_sum", (0.5, reading.y), (2.78, reading.y), (2.78, cross.y), "cross_attention"), KEY
        ),
        _Arrow(((0.5, 0.56), "source_embedding")),
        _Arrow(((4.95, 0.56), "target_embedding")),
        _Arrow(("next_word", (4.95, top))),
        _Arrow(((5.2, top + 0.16), (5.53, top + 0.16), (5.53, 0.32), (5.2, 0.32)), OUTPUT, dashed=True),
    ]
    words = [
        _Word("The book that you gave me", INK, 0.2, 0.41, "left", 9),
        _Word("was interesting", INK, 0.2, 0.2, "left", 9),
        _Word("<bos> O livro que você", INK, 5.15, 0.32, "right", 9),
        _Word("me", OUTPUT, 4.95, top + 0.16, "center", 10),
        _Word(text("memory"), KEY, 2.7, reading.y + 0.12, "right"),
    ]
    alt = text(
        "The whole Transformer, from bottom to top, each part with the chapter that builds it. On the left the encoder "
        "reads the source: embedding, positions, then N layers of self-attention and a feed-forward part. On the right "
        "the decoder reads what has been written: embedding, positions, then N layers of self-attention, "
        "cross-attention, to which an arrow leads from the encoder, and a feed-forward part. Above it, probabilities "
        "give the next word, and a dashed arrow leads it back to the decoder's input."
    )
    return _Drawing(5.7, top + 0.28, frames | reading.parts | writing.parts, arrows, alt, words)


# ---- What draws them.


def flow(
    kind: str,
    here: str | Iterable[str] | None = None,
    shapes: Mapping[str, object] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw how data flow from the tokens to the output, from bottom to top.

    The kinds and their parts:

    - ``"attention"``: ``query``, ``key``, ``value``, ``scores``, ``weights``, ``output``;
    - ``"self"``: self-attention with its projections, which has ``x`` too;
    - ``"heads"``: multi-head attention, which also has ``split``, ``head`` (the frame), ``found`` and ``merge``;
    - ``"cross"``: as ``"self"``, and ``memory``, of which keys and values are made;
    - ``"encoder"``: an encoder layer in pre-norm, with ``x``, ``layer`` (the frame), ``self_norm``,
      ``self_attention``, ``feed_norm``, ``feed_forward``, ``output``, and the sums ``self_attention_sum`` and
      ``feed_forward_sum``;
    - ``"decoder"``: a decoder layer, which also has ``memory``, ``cross_norm``, ``cross_attention`` and
      ``cross_attention_sum``.

    Args:
        kind: one of these.
        here: a part, or several, marked "you are here".
        shapes: for some of the parts, the shape of what leaves them: a text, or a tensor's ``shape``. It stands beside
            the arrow, in place of the names of the axes; an empty text leaves it away.
        ax: where to draw; a new figure unless given. The letters are as large as the room allows.

    Returns:
        The figure.

    Raises:
        ValueError: there is no such kind, or it has no such part; the message lists those that there are.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}; got {kind!r}")
    drawing = _KINDS[kind]()
    _parts("shapes", kind, drawing, shapes)
    return _draw(drawing, _parts("here", kind, drawing, here), shapes or {}, ax)


def architecture(here: str | Iterable[str] | None = None, ax: Axes | None = None) -> Figure:
    """Draw the whole Transformer, each part with the number of the chapter that builds it.

    Args:
        here: key of a chapter, such as ``"positions"``, or several; the parts that it builds are marked "you are here".
        ax: where to draw; a new figure unless given.

    Returns:
        The figure.

    Raises:
        ValueError: there is no such chapter; the message lists those that there are.
    """
    return _draw(_whole(), _built(here), {}, ax)


def alt_text(kind: str, here: str | Iterable[str] | None = None) -> str:
    """Say what a drawing shows, for those who do not see it.

    Args:
        kind: of :func:`flow`, or ``"architecture"``.
        here: as the drawing has it.

    Raises:
        ValueError: as the drawing's.
    """
    if kind == "architecture":
        drawing, marked = _whole(), tuple(_built(here))
    elif kind in _KINDS:
        drawing = _KINDS[kind]()
        marked = _parts("here", kind, drawing, here)
    else:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, architecture; got {kind!r}")
    if not marked:
        return drawing.alt
    names = ", ".join(dict.fromkeys(drawing.parts[key].name for key in marked))
    return drawing.alt + " " + text("Marked “you are here”: {names}.", names=names)


def _parts(argument: str, kind: str, drawing: _Drawing, keys: str | Iterable[str] | None) -> tuple[str, ...]:
    return _known(f"{argument} must name parts of {kind}", drawing.parts, keys)


def _built(here: str | Iterable[str] | None) -> list[str]:
    """The parts that these chapters build, each once."""
    keys = _known("here must name chapters of the book", _BUILT, here)
    return list(dict.fromkeys(part for key in keys for part in _BUILT[key]))


def _known(rule: str, known: Iterable[str], keys: str | Iterable[str] | None) -> tuple[str, ...]:
    """The keys that were given, if all are known."""
    given = (keys,) if isinstance(keys, str) else tuple(keys or ())
    for key in given:
        if key not in known:
            raise ValueError(f"{rule}: {', '.join(known)}; got {key!r}")
    return given


def _draw(drawing: _Drawing, here: Iterable[str], shapes: Mapping[str, object], ax: Axes | None) -> Figure:
    if ax is None:
        figure = plt.figure(figsize=(drawing.width, drawing.height), layout="none")
        ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, drawing.width), ylim=(0, drawing.height), aspect="equal")
    ax.set_axis_off()
    pen = _Pen(ax, drawing)
    for arrow in drawing.arrows:
        pen.arrow(arrow)
    for key, part in drawing.parts.items():
        if part.frames:
            pen.frame(part, marked=key in here)
        elif part.height == part.width:
            pen.total(part, marked=key in here)
        else:
            pen.box(part, marked=key in here)
    for key in here:
        pen.mark(drawing.parts[key], pen.heads.get(key))
    for key, part in drawing.parts.items():
        pen.shape(shapes.get(key, part.shape), pen.feet.get(key))
    for word in drawing.words:
        weight = "bold" if word.size == _NAME else "normal"
        pen.write(word.words, word.x, word.y, word.size, word.color, ha=word.side, weight=weight)
    return cast(Figure, ax.get_figure(root=True))


class _Pen:
    """What draws on the axes, its letters and lines as large as the room allows."""

    def __init__(self, ax: Axes, drawing: _Drawing) -> None:
        self.ax, self.parts, self.width = ax, drawing.parts, drawing.width
        room = ax.get_window_extent()
        dpi = cast(Figure, ax.get_figure(root=True)).dpi
        self.scale = min(room.width / drawing.width, room.height / drawing.height) / dpi
        self.feet: dict[str, tuple[float, float]] = {}  # where the first arrow leaves a part
        self.heads: dict[str, tuple[float, float]] = {}  # and where the first one enters it

    def write(self, words: str, x: float, y: float, size: float, color: str, **style: Any) -> None:
        style = {"ha": "center", "va": "center_baseline", "zorder": 4, **style}
        self.ax.text(x, y, words, size=size * self.scale, color=color, **style)

    def arrow(self, arrow: _Arrow) -> None:
        points = _route(arrow, self.parts)
        first, last = arrow.stops[0], arrow.stops[-1]
        if isinstance(first, str):
            self.feet.setdefault(first, points[0])
        if isinstance(last, str):
            self.heads.setdefault(last, points[-1])
        color = arrow.color or (self.parts[first].color if isinstance(first, str) else INK)
        line: dict[str, Any] = {
            "color": color,
            "linewidth": 1.3 * self.scale,
            "linestyle": "--" if arrow.dashed else "-",
            "zorder": 2,
        }
        *start, end = points
        self.ax.plot(*zip(*start, strict=True), solid_joinstyle="round", **line)
        head: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.22,head_length=0.45", "shrinkA": 0, "shrinkB": 0}
        self.ax.add_patch(FancyArrowPatch(start[-1], end, mutation_scale=10 * self.scale, **head, **line))

    def frame(self, part: _Part, *, marked: bool) -> None:
        for back in range(part.frames):
            edge, line = (INK, 1.8) if marked and not back else ("#c8c8c8", 1.0)
            self._fill(part, "#f6f6f6", edge, line, 1 - 0.1 * back, 0.06 * back)
        sign = 1 if part.side == "right" else -1
        x, y = part.x + sign * (part.width / 2 - 0.1), part.y + part.height / 2 - 0.15
        self.write(part.name, x, y, _NOTE, MUTED, ha=part.side, weight="bold" if part.note else "normal")
        self.write(part.note, x, y - 0.19, _NOTE, MUTED, ha=part.side)

    def box(self, part: _Part, *, marked: bool) -> None:
        self._fill(part, part.color if marked else _tint(part.color), part.color, 1.4, 3)
        self.write(
            part.name,
            part.x,
            part.y + (0.115 if part.note else 0.015),
            _NAME,
            "white" if marked else part.color,
            weight="bold",
        )
        self.write(part.note, part.x, part.y - 0.11, _NOTE, "white" if marked else INK)

    def total(self, part: _Part, *, marked: bool) -> None:
        line, size = 1.4 * self.scale, 7 * self.scale
        face = part.color if marked else "white"
        self.ax.add_patch(Circle((part.x, part.y), part.width / 2, fc=face, ec=part.color, lw=line, zorder=3))
        self.ax.plot([part.x], [part.y], "+", ms=size, mew=line, color="white" if marked else part.color, zorder=4)

    def mark(self, part: _Part, head: tuple[float, float] | None) -> None:
        """A flag at the part's foot, beside the arrow that enters there."""
        if part.frames or head is None:
            x = part.x + (0.31 * part.width if part.side == "right" else 0)
        else:
            x = head[0] - 0.07
        left = x < 0.8
        flag = {"boxstyle": "round,pad=0.18", "fc": INK, "ec": "none"}
        self.write(
            text("you are here"),
            x + 0.18 if left else x - 0.04,
            part.y - part.height / 2 - (0.07 if part.width == _ROUND else 0.12),
            _TAB,
            "white",
            weight="bold",
            ha="left" if left else "right",
            bbox=flag,
            zorder=5,
        )

    def shape(self, shape: object, foot: tuple[float, float] | None) -> None:
        if foot is None or not shape:
            return
        words = shape if isinstance(shape, str) else str(tuple(cast(Iterable[int], shape)))
        room = foot[0] + 1.1 < self.width
        self.write(
            words, foot[0] + (0.07 if room else -0.07), foot[1] + 0.15, _NOTE, MUTED, ha="left" if room else "right"
        )

    def _fill(self, part: _Part, face: Any, edge: str, line: float, zorder: float, shift: float = 0) -> None:
        corner = part.x - part.width / 2 + shift, part.y - part.height / 2 + shift
        box = FancyBboxPatch(corner, part.width, part.height, boxstyle="round,pad=0,rounding_size=0.06")
        box.set(facecolor=face, edgecolor=edge, linewidth=line * self.scale, zorder=zorder)
        self.ax.add_patch(box)


def _tint(color: str) -> tuple[float, ...]:
    return tuple(1 - 0.08 * (1 - channel) for channel in to_rgb(color))


def _route(arrow: _Arrow, parts: Mapping[str, _Part]) -> list[tuple[float, float]]:
    """The corners of an arrow, from edge to edge of what it joins."""
    stops = [parts[stop] if isinstance(stop, str) else stop for stop in arrow.stops]
    near = [stops[1], *stops[1:-1], stops[-2]]
    return [_touch(stop, other) if isinstance(stop, _Part) else stop for stop, other in zip(stops, near, strict=True)]


def _touch(part: _Part, near: _Part | tuple[float, float]) -> tuple[float, float]:
    """Where an arrow between a part and its next stop touches the part."""
    if isinstance(near, _Part):  # the middle of what both cover
        sides = sorted(
            (part.x - part.width / 2, part.x + part.width / 2, near.x - near.width / 2, near.x + near.width / 2)
        )
        x, y = (sides[1] + sides[2]) / 2, near.y
    else:
        x, y = near
    if abs(x - part.x) <= part.width / 2:
        return x, part.y + (part.height if y > part.y else -part.height) / 2
    return part.x + (part.width if x > part.x else -part.width) / 2, part.y
