"""Recording attention, which must leave nothing behind, and the figures: what they show, read back from Matplotlib."""

import copy
import doctest
import pickle
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from tests import oracle
from tests.cases import assert_near, exact, gradients, randn
from transformer_lib import MultiHeadAttention, plots
from transformer_lib.multihead import AttentionTap
from transformer_lib.plots import AttentionRecord, book_style, heads_grid, heatmap, record_attention

mpl.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    with mpl.rc_context():
        yield
    plt.close("all")


class TwoLayers(nn.Module):
    """Self-attention, then cross-attention to the input; the first is run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MultiHeadAttention(12, 3)
        self.blocks = nn.ModuleList([nn.ModuleDict({"cross": MultiHeadAttention(12, 2)})])

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.first(x, causal=True))
        result: Tensor = self.blocks[0]["cross"](y[:, :4], x)
        return result


def two_layers() -> TwoLayers:
    torch.manual_seed(0)
    return TwoLayers().double().eval()


# ---- Recording.


def test_every_call_of_every_layer_is_recorded() -> None:
    model, x = two_layers(), randn(2, 5, 12)
    with record_attention(model) as record:
        model(x)
    assert isinstance(record, AttentionRecord)
    assert {name: [tuple(w.shape) for w in weights] for name, weights in record.items()} == {
        "first": [(2, 3, 5, 5), (2, 3, 5, 5)],
        "blocks.0.cross": [(2, 2, 4, 5)],
    }
    first = model.first
    parameters = {name: exact(parameter) for name, parameter in first.named_parameters()}
    y, once = oracle.multi_head(exact(x), exact(x), parameters, n_heads=3, n_kv_heads=3, causal=True)
    _, twice = oracle.multi_head(y, y, parameters, n_heads=3, n_kv_heads=3)
    assert_near(record["first"][0], once)
    assert_near(record["first"][1], twice)
    assert repr(record) == "AttentionRecord(first: 2, blocks.0.cross: 1)"


def test_a_layer_by_itself_has_the_empty_name() -> None:
    layer = MultiHeadAttention(12, 3)
    with record_attention(layer) as record:
        assert repr(record) == "AttentionRecord((the layer itself): 0)"
        layer(torch.zeros(2, 5, 12))
        layer(torch.zeros(2, 5, 12))
    assert list(record) == [""]
    assert len(record[""]) == 2


def test_recorded_weights_are_detached() -> None:
    layer = MultiHeadAttention(12, 3)
    with record_attention(layer) as record:
        output = layer(randn(2, 5, 12, dtype=torch.float32))
    assert output.requires_grad
    assert not record[""][0].requires_grad
    assert record[""][0].device.type == "cpu"


def test_recording_changes_neither_outputs_nor_gradients() -> None:
    model, x = two_layers(), randn(2, 5, 12)
    plain = model(x)
    with record_attention(model):
        recorded = model(x)
    assert_near(recorded, plain)
    for one, other in zip(
        gradients(recorded, list(model.parameters())), gradients(plain, list(model.parameters())), strict=True
    ):
        assert_near(one, other)


def state(model: nn.Module) -> dict[str, Any]:
    """All that a module and its parts hold: their attributes, and what is in their taps and dictionaries of hooks."""
    return {
        f"{name}.{key}": dict(vars(value) if isinstance(value, AttentionTap) else value)
        if isinstance(value, dict | AttentionTap)
        else value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
    }


class Deliberate(Exception):
    pass


def test_no_state_is_left_behind() -> None:
    model, x = two_layers(), randn(2, 5, 12)
    before = state(model)
    with record_attention(model) as record:
        model(x)
        assert model.first.tap.observed
        assert state(model) != before
    assert state(model) == before
    assert not model.first.tap.observed
    model(x)
    assert len(record["first"]) == 2, "recorded after the context was closed"


@pytest.mark.parametrize("how", ["torch.compile", "module.compile"])
def test_a_compiled_model_is_recorded(how: str) -> None:
    model, x = two_layers(), randn(2, 5, 12)
    with record_attention(model) as wanted:
        output = model(x)
    if how == "torch.compile":
        compiled: Any = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
        compiled = model
    assert_near(compiled(x), output)
    with record_attention(compiled) as record:
        assert_near(compiled(x), output)
    assert repr(record) == "AttentionRecord(first: 2, blocks.0.cross: 1)"
    for name, weights in wanted.items():
        for one, other in zip(record[name], weights, strict=True):
            assert_near(one, other)
    assert_near(compiled(x), output)
    assert len(record["first"]) == 2, "recorded after the context was closed"


def test_an_observer_that_saw_nothing_says_so() -> None:
    with pytest.warns(UserWarning, match="no attention was recorded: the model did not run"):  # noqa: SIM117
        with record_attention(two_layers()):
            pass
    with pytest.raises(Deliberate), record_attention(two_layers()):
        raise Deliberate  # without a warning on top


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_made_while_recording_is_not_recorded(how: str) -> None:
    model, x = two_layers(), randn(2, 5, 12)
    with record_attention(model) as record:
        twin = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
        twin(x)
        assert not record["first"]
        model(x)
    assert len(record["first"]) == 2
    assert not twin.blocks[0]["cross"].tap.observed
    assert not twin.first.tap.observed


def test_no_state_is_left_behind_by_an_error_in_the_context() -> None:
    model, x = two_layers(), randn(2, 5, 12)
    before = state(model)
    recorded = []

    def look_and_fail() -> None:
        with record_attention(model) as record:
            model(x)
            recorded.extend(record["first"])
            raise Deliberate

    with pytest.raises(Deliberate):
        look_and_fail()
    assert state(model) == before
    assert len(recorded) == 2


def test_no_state_is_left_behind_by_an_error_in_the_model() -> None:
    model = two_layers()
    before = state(model)
    with pytest.raises(ValueError, match="d_model"), record_attention(model):
        model(randn(2, 5, 11))
    assert state(model) == before


def test_no_state_is_left_behind_by_an_error_while_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers()

    def refuse(*_: Any) -> None:
        raise Deliberate

    last = model.blocks[0]["cross"].tap
    monkeypatch.setattr(last, "observe", refuse, raising=False)
    before = state(model)
    with pytest.raises(Deliberate), record_attention(model):
        pass
    assert state(model) == before


def test_recordings_may_be_nested() -> None:
    model, x = two_layers(), randn(2, 5, 12)
    before = state(model)
    with record_attention(model) as outer:
        model(x)
        with record_attention(model.first) as inner:
            model(x)
        assert model.first.tap.observed
        model(x)
    assert len(outer["first"]) == 6
    assert len(inner[""]) == 2
    assert state(model) == before


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no attention layer to record"), record_attention(nn.Linear(2, 2)):
        pass


def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(plots)
    assert result.attempted >= 4
    assert not result.failed


# ---- Figures.


@pytest.mark.parametrize(("draw", "shape"), [(heatmap, (0, 3)), (heatmap, (3, 0)), (heads_grid, (0, 3, 3))])
def test_nothing_cannot_be_drawn(draw: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"weights must not be empty; got shape {re.escape(str(shape))}"):
        draw(np.zeros(shape))


WORDS = ["O", "livro", "que"]
MATRIX = [[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.125, 0.375]]


def labels(ax: Any) -> tuple[list[str], list[str]]:
    return [t.get_text() for t in ax.get_yticklabels()], [t.get_text() for t in ax.get_xticklabels()]


@pytest.mark.parametrize("matrix", [MATRIX, np.array(MATRIX), torch.tensor(MATRIX, requires_grad=True)])
def test_a_heat_map_shows_queries_in_rows_and_keys_in_columns(matrix: Any) -> None:
    ax = heatmap(matrix, WORDS, title="who looks where")
    ax.figure.canvas.draw()
    image = ax.images[0]
    np.testing.assert_array_equal(np.asarray(image.get_array()), MATRIX)
    assert image.get_clim() == (0.0, 1.0)
    assert image.origin == "upper"
    assert labels(ax) == (WORDS, WORDS)
    assert ax.get_title(loc="left") + ax.get_title() == "who looks where"
    written = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts}
    assert written == {(0, 0): "1", (1, 0): ".25", (1, 1): ".75", (2, 0): ".50", (2, 1): ".12", (2, 2): ".38"}


def test_a_heat_map_of_low_precision_weights() -> None:
    ax = heatmap(torch.tensor(MATRIX, dtype=torch.bfloat16))
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), MATRIX)
    assert labels(ax) == (["0", "1", "2"], ["0", "1", "2"])


def test_a_heat_map_that_is_not_square_keeps_its_labels_apart() -> None:
    ax = heatmap(np.zeros((2, 3)), ["a", "b"], WORDS)
    assert labels(ax) == (["a", "b"], WORDS)
    assert labels(heatmap(np.zeros((2, 3)), ["a", "b"])) == (["a", "b"], ["0", "1", "2"])


def test_a_heat_map_is_annotated_where_there_is_room() -> None:
    assert len(heatmap(np.full((8, 8), 0.125)).texts) == 64
    assert not heatmap(np.full((8, 9), 0.125)).texts
    assert len(heatmap(np.full((8, 9), 0.125), annotate=True).texts) == 72
    assert not heatmap(np.full((2, 2), 0.5), annotate=False).texts
    assert not heatmap(np.zeros((2, 2)), annotate=True).texts, "an empty cell says 0 by itself"


def test_numbers_are_written_to_be_read_on_their_ground() -> None:
    ax = heatmap([[0.125, 1.0]])
    light, dark = (text.get_color() for text in ax.texts)
    assert to_rgb(light) == to_rgb(plots.INK)
    assert to_rgb(dark) == to_rgb("white")


def test_a_heat_map_may_show_other_numbers() -> None:
    ax = heatmap([[-3.0, 0.5], [4.0, 2.0]], limits=None, cmap="RdBu")
    assert ax.images[0].get_clim() == (-3.0, 4.0)
    assert ax.images[0].get_cmap().name == "RdBu"
    assert [text.get_text() for text in ax.texts] == ["-3", ".50", "4", "2"]
    assert heatmap([[2.0]], limits=(-5.0, 5.0)).images[0].get_clim() == (-5.0, 5.0)


def test_a_heat_map_draws_where_it_is_asked_to() -> None:
    _, axes = plt.subplots(1, 2)
    assert heatmap(MATRIX, ax=axes[1]) is axes[1]
    assert axes[1].images
    assert not axes[0].images
    assert len(plt.get_fignums()) == 1


def test_the_heads_stand_side_by_side() -> None:
    weights = torch.softmax(randn(5, 2, 3), dim=-1)
    figure = heads_grid(weights, ["a", "b"], WORDS)
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") + ax.get_title() for ax in shown] == [f"head {i}" for i in range(5)]
    for ax, head in zip(shown, weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), head.numpy())
        assert labels(ax)[1] == WORDS
        assert not ax.texts
    assert labels(shown[0])[0] == labels(shown[4])[0] == ["a", "b"]
    assert not any(ax.axison for ax in figure.axes if not ax.images)
    titled = heads_grid(weights[:2], titles=["nouns", "verbs"])
    assert [ax.get_title(loc="left") + ax.get_title() for ax in titled.axes] == ["nouns", "verbs"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: heatmap(np.zeros(3)), r"weights must have shape \(query, key\); got \(3,\)"),
        (lambda: heatmap(torch.zeros(1, 2, 3)), r"weights must have shape \(query, key\); got \(1, 2, 3\)"),
        (lambda: heatmap(np.zeros((2, 3)), WORDS), "rows must name 2 positions; got 3 labels"),
        (lambda: heatmap(np.zeros((3, 2)), WORDS, WORDS), "columns must name 2 positions; got 3 labels"),
        (lambda: heads_grid(np.zeros((2, 3))), r"weights must have shape \(heads, query, key\); got \(2, 3\)"),
        (lambda: heads_grid(torch.zeros(2, 3, 3), titles=["one"]), "titles must name 2 heads; got 1"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_style_of_the_book() -> None:
    book_style()
    assert mpl.rcParams["image.cmap"] == "weights"
    assert [color["color"] for color in mpl.rcParams["axes.prop_cycle"]][:4] == [
        plots.QUERY,
        plots.KEY,
        plots.VALUE,
        plots.OUTPUT,
    ]
    assert to_rgb(mpl.rcParams["figure.facecolor"]) == (1.0, 1.0, 1.0)
    assert plots.WEIGHTS(0.0)[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("color", ["QUERY", "KEY", "VALUE", "OUTPUT", "INK", "MUTED"])
def test_the_colors_stand_out_from_white(color: str) -> None:
    # WCAG 2.2: contrast of relative luminances, at least 4.5 for text.
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(getattr(plots, color))]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], channels))
    assert 1.05 / (luminance + 0.05) >= 4.5
