"""The live figures: how they are stored, their mathematics, and *Attention, live* on its page."""

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbformat import v4
from playwright.sync_api import Browser

from tests.browsing import LUMINANCE, SITE, Visit, chapter_page
from tests.figure_page import in_page
from tests.figure_values import by_library, shown_weights, state_of
from tests.notebooks import CHAPTERS, live_figures, read
from tools.outputs import STATE, VIEW, normalise, renew
from transformer_lib import widgets
from transformer_lib.widgets import AttentionFigure
from transformer_lib.widgets.figure import LiveFigure, source, style, translations

CHAPTER_2 = chapter_page("scaled")


def live_figure() -> AttentionFigure:
    generator = np.random.default_rng(3)
    key, value = generator.normal(size=(3, 4)).round(1), generator.random((3, 2)).round(1)
    return AttentionFigure(["a", "b", "c"], [1.0, -0.5, 0.0, 2.0], key, value, widths=(4, 8))


# ---- In Python.


def test_python_computes_what_the_library_does() -> None:
    figure = live_figure()
    for change in ({}, {"d_k": 8}, {"scaled": False}, {"temperature": 0.5}, {"visible": [True, False, True]}):
        for name, value in change.items():
            setattr(figure, name, value)
        weights, output = by_library(figure.get_state())
        assert figure.weights == pytest.approx(weights)
        assert figure.output == pytest.approx(output)
    figure.visible = [False] * 3
    assert figure.weights == [0.0] * 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": np.ones((2, 4))}, r"key must have shape \(3, d\)"),
        ({"value": np.ones(3)}, r"value must have shape \(3, d_value\)"),
        ({"query": [1.0]}, r"query must have shape \(4,\)"),
        ({"widths": (2, 8)}, "widths must be at least the 4 numbers"),
    ],
)
def test_sizes_that_do_not_fit(arguments: dict[str, Any], says: str) -> None:
    right = {"query": np.ones(4), "key": np.ones((3, 4)), "value": np.ones((3, 2))}
    with pytest.raises(ValueError, match=says):
        AttentionFigure(["a", "b", "c"], **(right | arguments))


def test_a_figure_has_a_name_and_a_still_picture() -> None:
    bundle = live_figure()._repr_mimebundle_()[0]
    assert bundle["text/plain"] == "AttentionFigure(3 keys)"
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert live_figure()._repr_mimebundle_()[0]["image/png"] == bundle["image/png"]


def test_normalising_numbers_the_figures() -> None:
    def run(*ids: str) -> str:
        cells = [
            v4.new_code_cell("f", outputs=[v4.new_output("display_data", data={VIEW: {"model_id": name}})])
            for name in ids
        ]
        state = {name: {"state": {"layout": f"IPY_MODEL_layout{name}", "n": i}} for i, name in enumerate(ids)}
        state |= {f"layout{name}": {"state": {}} for name in ids} | {"forgotten": {"state": {}}}
        notebook = v4.new_notebook(cells=cells, metadata={"widgets": {STATE: {"state": state}}})
        return nbformat.writes(normalise(notebook))

    assert run("x9", "a3") == run("b1", "z7")
    assert "forgotten" not in run("a")
    assert '"layout": "IPY_MODEL_figure-3"' in run("a", "b")


# ---- As stored.


def test_stored_figures_have_the_present_code() -> None:
    # A page runs the JavaScript that its notebook stored.
    found = [(path, state) for path in CHAPTERS for state in live_figures(read(path))]
    assert found
    for path, state in found:
        kind = getattr(widgets, state["_anywidget_id"].rsplit(".", 1)[-1])
        assert issubclass(kind, LiveFigure)
        assert state["_esm"] == kind._esm, f"run `python -m tools.outputs --figures chapters/{path.name}`"
        assert state["texts"] == translations(kind._esm)
        assert kind._css == style()
        assert "_css" not in state, "the site has the style sheet once, for all figures"


def test_stored_code_can_be_renewed(tmp_path: Path) -> None:
    chapter = CHAPTERS[1]
    stored, old = chapter.read_text(encoding="utf-8"), read(chapter)
    for state in live_figures(old):
        state |= {"_esm": "// of yesterday", "_css": ""}
    path = tmp_path / "chapter.ipynb"
    nbformat.write(old, path)
    assert renew(path)
    assert path.read_text(encoding="utf-8") == stored
    assert not renew(path)


# ---- The mathematics, in the browser.


@pytest.mark.browser
def test_mathematics(browser: Browser) -> None:
    page = browser.new_page()
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(7, generator=generator, dtype=torch.float64) * 30
    weights = scores.softmax(0)
    assert in_page(page, "attention", "m.softmax(x)", scores.tolist()) == pytest.approx(weights.tolist(), abs=1e-12)
    jacobian = torch.diag(weights) - weights[:, None] * weights
    assert in_page(page, "attention", "m.reaction(x)", weights.tolist()) == pytest.approx(jacobian.norm().item())
    assert in_page(page, "attention", "m.softmax([1000, 999, -1000])") == pytest.approx(
        [0.731059, 0.268941, 0], abs=1e-6
    )
    assert in_page(page, "attention", "m.softmax([1, 2], [false, false])") == [0, 0]
    assert in_page(page, "attention", "m.number(-0.001)") == "0.00"
    assert in_page(page, "attention", "m.number(-1.5, 1)") == "−1.5"
    figure = live_figure()
    for change in ({}, {"d_k": 8, "scaled": False}, {"temperature": 0.2}, {"visible": [False, True, True]}):
        for name, value in change.items():
            setattr(figure, name, value)
        state = {
            name: getattr(figure, name) for name in ("query", "key", "value", "d_k", "scaled", "temperature", "visible")
        }
        computed = in_page(page, "attention", "m.attend(x)", state)
        assert computed["weights"] == pytest.approx(figure.weights, abs=1e-12)
        assert computed["output"] == pytest.approx(figure.output, abs=1e-12)
    page.close()


# ---- On the page.


@pytest.mark.browser
@pytest.mark.parametrize("from_disk", [False, True], ids=["http", "disk"])
def test_attention_figure(browser: Browser, address: str, from_disk: bool) -> None:
    url = (SITE / CHAPTER_2).as_uri() if from_disk else f"{address}/{CHAPTER_2}"
    with Visit(browser, url) as visit:
        figure = visit.page.locator(".figure-place.awake").first
        figure.wait_for()
        figure.scroll_into_view_if_needed()
        assert max(shown_weights(figure)) == 0.84  # as the chapter computes by hand

        def agrees() -> dict[str, Any]:
            state = state_of(figure)
            weights, output = by_library(state)
            assert shown_weights(figure) == pytest.approx(weights, abs=0.0051)
            assert state["weights"] == pytest.approx(weights, abs=1e-9)
            assert state["output"] == pytest.approx(output, abs=1e-9)
            return state

        # By keyboard.
        width = figure.get_by_label("width d_k")
        width.focus()
        for _ in range(3):
            visit.page.keyboard.press("ArrowRight")
        assert agrees()["d_k"] == 256
        figure.get_by_label("divide by √d_k").focus()
        visit.page.keyboard.press("Space")
        assert agrees()["scaled"] is False
        assert max(shown_weights(figure)) > 0.9
        assert "nearly zero" in figure.locator("[role=status]").inner_text()
        figure.get_by_label("livro may be seen").focus()
        visit.page.keyboard.press("Space")
        assert agrees()["visible"][1] is False
        assert shown_weights(figure)[1] == 0
        # By mouse.
        before = agrees()["query"]
        box = figure.locator("svg").bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["width"])
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["width"], steps=3)
        visit.page.mouse.up()
        after = agrees()["query"]
        assert after[:2] == pytest.approx([0.0, 5.0], abs=0.11)
        assert after[2:] == before[2:]
    assert visit.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_are_readable(browser: Browser, address: str, theme: str) -> None:
    with Visit(browser, f"{address}/{CHAPTER_2}", theme=theme) as visit:
        visit.page.locator(".figure-place.awake").first.wait_for()
        visit.page.add_script_tag(content=LUMINANCE)
        weak = visit.page.evaluate(
            """() => [...document.querySelectorAll('.live-figure :is(span, th, td, output, p)')]
              .filter(e => e.innerText.trim() && contrast(e) < 4.5).map(e => e.outerHTML.slice(0, 90))"""
        )
    assert weak == []
