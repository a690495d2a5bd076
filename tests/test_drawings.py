"""The drawings: that all is drawn, in its place and readable, in whichever font; and what is refused."""

import importlib.util
import itertools
from collections.abc import Iterator

import matplotlib as mpl
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from transformer_lib import drawings, fonts
from transformer_lib.chapters import CHAPTERS
from transformer_lib.drawings import alt_text, architecture, flow
from transformer_lib.plots import book_style
from transformer_lib.texts import spoken

mpl.use("Agg")
import matplotlib.pyplot as plt

KINDS = tuple(drawings._KINDS)
ALL = (*KINDS, "architecture")
WIDEST = 7.6  # inches; what is wider could not be read on a phone


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture(params=["Book Sans", "DejaVu Sans"])
def font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The book's look, where its typeface is and where it is missing."""
    if request.param == "DejaVu Sans":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    fonts.label_families.cache_clear()
    book_style()
    assert mpl.rcParams["font.family"][0] == request.param
    yield
    fonts.label_families.cache_clear()


def table(kind: str) -> drawings._Drawing:
    return drawings._whole() if kind == "architecture" else drawings._KINDS[kind]()


def drawn(kind: str, *, marked: bool = False) -> Figure:
    """A drawing, with all its parts marked or none."""
    if kind == "architecture":
        return architecture(CHAPTERS if marked else None)
    return flow(kind, table(kind).parts if marked else None)


def written(figure: Figure) -> list[tuple[str, Bbox]]:
    """What is written, and where, in inches."""
    figure.draw_without_rendering()
    inches = figure.dpi_scale_trans.inverted()
    texts = [words for words in figure.axes[0].texts if words.get_text()]
    return [(words.get_text(), words.get_window_extent().transformed(inches)) for words in texts]


def outline(part: drawings._Part) -> Bbox:
    return Bbox.from_bounds(part.x - part.width / 2, part.y - part.height / 2, part.width, part.height)


def within(inner: Bbox, outer: Bbox, space: float = 0.01) -> bool:
    low, high = inner.min - outer.min, outer.max - inner.max
    return bool(min(*low, *high) >= space)


# ---- What is seen.


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_all_words_can_be_read(kind: str, marked: bool) -> None:
    figure = drawn(kind, marked=marked)
    size = figure.get_size_inches()
    assert size[0] <= WIDEST
    words = written(figure)
    for one, box in words:
        assert within(box, Bbox([(0, 0), size])), one
    for (one, a), (other, b) in itertools.combinations(words, 2):
        assert not Bbox.intersection(a, b), f"{one} over {other}"
    boxes = {key: outline(part) for key, part in table(kind).parts.items() if not part.frames}
    for (key, box), (one, place) in itertools.product(boxes.items(), words):
        assert within(place, box) or not Bbox.intersection(place, box), f"{one} at the edge of {key}"


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("kind", ALL)
def test_parts_hold_their_words_and_stand_apart(kind: str) -> None:
    drawing, words = table(kind), written(drawn(kind))
    whole = Bbox([(0, 0), (drawing.width, drawing.height)])
    for key, part in drawing.parts.items():
        assert within(outline(part), whole), key
        inside = [one for one, box in words if within(box, outline(part))]
        for name in (part.name, part.note):
            assert not name or name == "+" or name in inside, key
    boxes = {key: outline(part) for key, part in drawing.parts.items() if not part.frames}
    for one, other in itertools.combinations(boxes, 2):
        assert not Bbox.intersection(boxes[one], boxes[other]), (one, other)


def pieces(drawing: drawings._Drawing) -> list[list[Bbox]]:
    """Each arrow's straight pieces."""
    return [
        [Bbox([start, end]) for start, end in itertools.pairwise(drawings._route(arrow, drawing.parts))]
        for arrow in drawing.arrows
    ]


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize("kind", ALL)
def test_arrows_join_the_parts_and_cross_nothing(kind: str) -> None:
    drawing = table(kind)
    boxes = {key: part for key, part in drawing.parts.items() if not part.frames}
    joined = {stop for arrow in drawing.arrows for stop in arrow.stops if isinstance(stop, str)}
    assert set(boxes) - joined == ({"residual", "training"} if kind == "architecture" else set())
    arrows = pieces(drawing)
    words = written(drawn(kind, marked=True))
    for piece in itertools.chain(*arrows):
        assert min(abs(piece.width), abs(piece.height)) < 1e-6, "an arrow is not straight"
        for key, part in boxes.items():
            assert not Bbox.intersection(piece, outline(part).padded(-0.02)), f"an arrow through {key}"
        for one, box in words:
            assert not Bbox.intersection(piece, box.padded(-0.02)), f"an arrow through {one}"
    for one, other in itertools.combinations(arrows, 2):
        for a, b in itertools.product(one, other):
            across, up = (a, b) if abs(a.width) > abs(a.height) else (b, a)
            through = across.xmin + 0.01 < up.x0 < across.xmax - 0.01 and up.ymin + 0.01 < across.y0 < up.ymax - 0.01
            assert not (through and abs(across.width) > 1e-6 and abs(up.height) > 1e-6), "two arrows cross"


@pytest.mark.parametrize("kind", ALL)
def test_words_stand_out_from_their_ground(kind: str) -> None:
    def luminance(color: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
        return sum(share * channel for share, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for part in table(kind).parts.values():
        ground = to_rgb("#f6f6f6") if part.frames else drawings._tint(part.color)
        assert (luminance(ground) + 0.05) / (luminance(to_rgb(part.color)) + 0.05) >= 4.5, part


def test_a_part_is_marked_and_no_other() -> None:
    def faces(figure: Figure) -> list[tuple[float, ...]]:
        return [patch.get_facecolor() for patch in figure.axes[0].patches]

    plain, marked = flow("self"), flow("self", "scores")
    changed = [one for one, other in zip(faces(marked), faces(plain), strict=True) if one != other]
    assert changed == [(*to_rgb(drawings.INK), 1.0)]
    assert [one for one, _ in written(marked)].count("you are here") == 1
    edges = {patch.get_linewidth() for patch in flow("heads", "head").axes[0].patches}
    assert edges - {patch.get_linewidth() for patch in flow("heads").axes[0].patches}, "a frame has a border of its own"
    assert "you are here" not in dict(written(plain))
    for here in (["x", "weights"], ("x", "weights"), {"x": 1, "weights": 2}):
        assert [one for one, _ in written(flow("self", here))].count("you are here") == 2


def test_shapes_stand_beside_the_arrows() -> None:
    words = [
        one for one, _ in written(flow("self", shapes={"x": torch.zeros(8, 16).shape, "query": "8 × 4", "key": ""}))
    ]
    assert "(8, 16)" in words
    assert "8 × 4" in words
    assert words.count("(seq, d_head)") == 2, "those of value and output"
    assert "(seq, d_model)" not in words
    symbols = {one for kind in KINDS for one, _ in written(flow(kind)) if one.startswith("(")}
    axes = {axis for shape in symbols for axis in shape.strip("()").split(", ")}
    assert axes == {"seq", "query", "key", "heads", "d_model", "d_head", "d_value"}, "the axes of the notation"


def test_chapters_are_those_of_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(drawings._BUILT) == list(CHAPTERS)
    parts = table("architecture").parts
    assert {part for built in drawings._BUILT.values() for part in built} == {
        key for key in parts if not key.endswith("_sum")
    }
    assert f"chapter {CHAPTERS['positions'].number}" in dict(written(architecture()))
    later = {
        key: chapter.__class__(**(vars(chapter) | {"number": chapter.number + 1})) for key, chapter in CHAPTERS.items()
    }
    monkeypatch.setattr(drawings, "CHAPTERS", later)
    assert f"chapter {later['decoding'].number}" in dict(written(architecture()))
    assert architecture("decoding").axes[0].texts


def test_letters_are_as_large_as_the_room_allows() -> None:
    alone = flow("attention")
    figure, axes = plt.subplots(1, 2, figsize=(5.1, 4.4))
    axes[0].set_position((0, 0, 0.5, 1))
    assert flow("attention", ax=axes[0]) is figure
    sizes = [{words.get_text(): words.get_size() for words in ax.texts} for ax in (alone.axes[0], axes[0])]
    assert sizes[1]["query"] == pytest.approx(sizes[0]["query"] / 2)
    assert not axes[1].texts
    assert len(plt.get_fignums()) == 2


# ---- What is said.


@pytest.mark.parametrize("kind", ALL)
def test_each_drawing_has_a_description(kind: str) -> None:
    plain = alt_text(kind)
    assert 100 < len(plain) < 700
    here = "positions" if kind == "architecture" else "output"
    names = "positions" if kind == "architecture" else "output"
    assert alt_text(kind, here) == f"{plain} Marked “you are here”: {names}."


def test_words_are_in_the_readers_language() -> None:
    with spoken({"query": "consulta", "you are here": "você está aqui", "chapter {number}": "capítulo {number}"}):
        words = dict(written(flow("self", "key"))) | dict(written(architecture()))
    assert {"consulta", "você está aqui", f"capítulo {CHAPTERS['positions'].number}"} <= set(words)
    assert "query" not in words


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("slef",), "kind must be one of attention, self, heads, cross, encoder, decoder; got 'slef'"),
        (("attention", "x"), "here must name parts of attention: query, key, value, scores, weights, output; got 'x'"),
        (("cross", ["x", "y"]), "here must name parts of cross: x, memory, query, .*; got 'y'"),
        (("self", None, {"w": "(1, 2)"}), "shapes must name parts of self: x, query, .*; got 'w'"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments: tuple[object, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        flow(*arguments)
    assert not plt.get_fignums()


def test_what_is_no_chapter_is_named() -> None:
    with pytest.raises(ValueError, match=r"here must name chapters of the book: why, scaled, .*; got 'loss'"):
        architecture("loss")
    with pytest.raises(ValueError, match=r"kind must be one of .*decoder, architecture; got 'all'"):
        alt_text("all")
    assert not plt.get_fignums()
