"""The view of a model's heads: it takes any record, leaves padding out, and shows the recorded weights."""

import re

import pytest
import torch
from playwright.sync_api import Browser

import transformer_lib as lib
from tests.figure_page import FigurePage, in_page
from tests.figure_values import numbers, state_of
from transformer_lib.plots import AttentionRecord, record_attention
from transformer_lib.widgets import HeadView

SOURCE, TARGET = ["uma", "frase", "curta", "<eos>"], ["<bos>", "a", "short", "sentence", "<eos>"]


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    """Of a model with sharp weights; the second source has one word of padding."""
    torch.manual_seed(0)
    model = lib.Transformer(20, lib.StackConfig(d_model=24, n_heads=3, n_layers=2, d_ff=48, dropout=0.0))
    for name, parameter in model.named_parameters():
        if "weight" in name and parameter.ndim == 2:
            parameter.data *= 2
    source = torch.tensor([[4, 5, 6, 7, 2], [6, 5, 4, 2, 0]])
    with torch.no_grad(), record_attention(model) as found:
        model(source, torch.randint(3, 20, (2, 5)))
    return found


def test_every_layer_has_its_tokens(record: AttentionRecord) -> None:
    figure = HeadView(record, TARGET, SOURCE, sample=1)
    assert repr(figure) == "HeadView(6 layers, 18 heads)"
    expected = {
        "encoder, layer 1": (SOURCE, SOURCE),
        "encoder, layer 2": (SOURCE, SOURCE),
        "decoder, layer 1, self": (TARGET, TARGET),
        "decoder, layer 1, cross": (TARGET, SOURCE),
        "decoder, layer 2, self": (TARGET, TARGET),
        "decoder, layer 2, cross": (TARGET, SOURCE),
    }
    assert {one["name"]: (one["queries"], one["keys"]) for one in figure.layers} == expected
    for number, (path, one) in enumerate(zip(record, figure.layers, strict=True)):
        recorded = record[path][0][1, :, : len(one["queries"]), : len(one["keys"])]
        assert torch.allclose(torch.tensor(one["weights"]), recorded, atol=5.1e-5)
        for head in range(3):
            figure.layer, figure.head = number, head
            assert torch.equal(figure.weights, recorded[head].double())
    # Padding got no weight, so nothing is lost.
    assert torch.tensor(figure.layers[0]["weights"]).sum(-1) == pytest.approx(1, abs=1e-3)


def test_one_choice_at_a_time(record: AttentionRecord) -> None:
    figure = HeadView(record, TARGET, SOURCE, sample=1)
    figure.query = 2
    figure.key = 1
    assert (figure.query, figure.key) == (None, 1)
    figure.query = 0
    assert (figure.query, figure.key) == (0, None)


def test_takes_what_people_have() -> None:
    weights = torch.rand(2, 3, 4).softmax(-1)
    assert HeadView(weights).layers[0]["keys"] == ["0", "1", "2", "3"]
    assert HeadView(weights, ["a", "b", "c"], ["v", "w", "x", "y"]).layers[0]["name"] == "the layer"
    # Padding on the left, or within.
    figure = HeadView(weights, [None, "b", "c"], [None, None, "x", "y"])
    assert torch.equal(figure.weights, weights[0, 1:, 2:].double())
    calls = {"layers.1.attention": [weights[None], weights[None].flip(1)]}
    assert HeadView(calls).layers[0]["name"] == "layer 2"
    assert torch.equal(HeadView(calls, call=0, head=1).weights, weights[1].double())
    assert torch.equal(HeadView(calls).weights, weights[1].double())
    assert HeadView(torch.ones(1, 1, 1, 1)).heights[0] < HeadView(torch.ones(1, 9, 9)).heights[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"record": {}}, "no weights"),
        ({"record": {"a": []}}, "no weights"),
        ({"record": torch.ones(3, 3)}, r"\(batch, heads, query, key\); got \(3, 3\)"),
        ({"sample": 2}, "one of the 1 sequences"),
        ({"call": 1}, "one of the 1 calls"),
        ({"layer": 1}, "layer must be a number from 0 to 0; got 1"),
        ({"head": -1}, "head must be a number from 0 to 1; got -1"),
        ({"queries": ["a"] * 4}, "queries must name at most the 3 positions.* got 4"),
        ({"queries": ["a"] * 3, "keys": [None]}, "keys must hold at least one token"),
        ({"queries": "abc"}, "got a single string"),
    ],
)
def test_bad_input(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HeadView(**{"record": torch.ones(2, 3, 4), **arguments})


def test_what_is_no_record() -> None:
    with pytest.raises(TypeError, match="record must come from record_attention, or be a tensor; got list"):
        HeadView([[1.0]])  # type: ignore[arg-type]


@pytest.mark.browser
def test_mathematics(browser: Browser) -> None:
    page = browser.new_page()
    weights = torch.rand(4, 3, dtype=torch.float64)
    for chosen, expected in (({"query": 2, "key": None}, weights[2]), ({"query": None, "key": 0}, weights[:, 0])):
        got = in_page(page, "heads", "m.given(...x)", [weights.tolist(), chosen])
        assert got == expected.tolist()
    assert in_page(page, "heads", "m.given(...x)", [weights.tolist(), {"query": None, "key": None}]) is None
    assert in_page(page, "heads", "m.largest([0.2, 0.5, 0.001, 0.5], 3)") == [1, 3, 0]
    assert in_page(page, "heads", "m.largest([0, 0.5, 0.001], 3)") == [1]
    page.close()


@pytest.mark.browser
def test_by_keyboard_and_by_mouse(browser: Browser, record: AttentionRecord) -> None:
    view = HeadView(record, TARGET, SOURCE, sample=1)
    with FigurePage(browser, view) as opened:
        figure, keyboard = opened.figure(), opened.page.keyboard
        expected = record["encoder.layers.0.attention"][0][1]
        assert figure.locator("canvas").count() == 18
        assert not any(numbers(figure, "key"))
        # By keyboard: the tokens are one group of radio buttons, and the heads another.
        figure.get_by_label("query uma").focus()
        keyboard.press("Space")
        keyboard.press("ArrowDown")
        assert state_of(figure)["query"] == 1
        assert numbers(figure, "key") == pytest.approx(expected[0, 1, :4].tolist(), abs=0.0052)
        best = SOURCE[int(expected[0, 1].argmax())]
        assert re.match(f"“frase” looks at: {best} [01]", figure.locator("[role=status]").inner_text())
        figure.get_by_label("encoder, layer 1: head 0").focus()
        keyboard.press("ArrowRight")
        assert (state_of(figure)["head"], state_of(figure)["query"]) == (1, 1)  # the word stays chosen
        assert numbers(figure, "key") == pytest.approx(expected[1, 1, :4].tolist(), abs=0.0052)
        figure.get_by_label("key curta").focus()
        keyboard.press("Space")
        assert (state_of(figure)["query"], state_of(figure)["key"]) == (None, 2)
        assert numbers(figure, "query") == pytest.approx(expected[1, :4, 2].tolist(), abs=0.0052)
        figure.get_by_role("button", name="all words").focus()
        keyboard.press("Enter")
        assert not any(numbers(figure, "query"))
        # By mouse: another layer has other tokens; to point at one is enough, a click makes it stay.
        figure.get_by_label("decoder, layer 2, cross: head 2").check()
        cross = record["decoder.layers.1.cross_attention"][0][1, 2, :, :4]
        assert figure.locator(".lf-side-query .lf-word").all_inner_texts() == TARGET
        figure.locator(".lf-side-query").nth(3).hover()
        assert numbers(figure, "key") == pytest.approx(cross[3].tolist(), abs=0.0052)
        assert state_of(figure)["query"] is None
        figure.locator(".lf-side-query").nth(3).click()
        opened.page.mouse.move(0, 0)
        assert numbers(figure, "key") == pytest.approx(cross[3].tolist(), abs=0.0052)
        figure.locator(".lf-side-query").nth(3).click()
        opened.page.mouse.move(0, 0)
        assert state_of(figure)["query"] is None
        assert not any(numbers(figure, "key"))
        widths = [
            float(w or 0)
            for w in figure.locator("path").evaluate_all("all => all.map(p => p.getAttribute('stroke-width'))")
        ]
        assert [w > 0 for w in widths] == [w >= 0.005 for w in cross.flatten().tolist()]
        assert widths.index(max(widths)) == int(cross.argmax())
        # From outside, as a kernel does it.
        figure.evaluate("place => { place.model.set('layer', 2); place.model.set('query', 4); }")
        own = record["decoder.layers.0.self_attention"][0][1, 2, 4]
        assert numbers(figure, "key") == pytest.approx(own.tolist(), abs=0.0052)
    assert opened.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_room(browser: Browser, record: AttentionRecord, width: int) -> None:
    views = [HeadView(record, TARGET, SOURCE, sample=1), HeadView(torch.eye(12).repeat(2, 1, 1))]
    with FigurePage(browser, *views, width=width) as opened:
        for i, view in enumerate(views):
            used = opened.figure(i).evaluate("place => place.firstElementChild.offsetHeight")
            room = view.heights[width < 600]
            assert 0.8 * room <= used <= room + 8
            assert opened.figure(i).evaluate("place => place.scrollWidth <= place.clientWidth")
