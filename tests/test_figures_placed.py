"""Each live figure where readers meet it: on its page, over http and from disk, and in a live JupyterLab.

A figure is used in the same way in all three, by keyboard and by mouse, and what it shows is compared with the library.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import nbformat
import pytest
import torch
from nbformat import v4
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browsing import SITE, Visit, chapter_page
from tests.figure_values import (
    NAMES,
    as_number,
    built,
    by_library,
    count,
    exact_score,
    exact_table,
    number_in,
    numbers,
    shown_weights,
)
from tests.notebooks import CHAPTERS, live_figures, read
from transformer_lib import widgets
from transformer_lib.data import BOS_ID, EOS_ID
from transformer_lib.generation import beam_search
from transformer_lib.translator import Translator
from transformer_lib.widgets.figure import LiveFigure
from transformer_lib.widgets.stream import measure
from transformer_lib.widgets.transformer_map import SIZES

ROOT = Path(__file__).parent.parent
State = dict[str, Any]
translator = cache(Translator.load)


# ---- How each figure is used. Returned is what a kernel should know afterwards.


def use_alignment(figure: Locator, page: Page, state: State) -> State:
    def looks(place: int) -> str:
        weight, word = max(zip(state["weights"][place], state["read"], strict=True))
        return f"“{state['written'][place]}” looked at: {word} {weight:.2f}"

    assert state["written"][4:6] == ["me", "deu"]
    figure.get_by_label("me", exact=True).focus()
    page.keyboard.press("Space")
    expect(figure.get_by_role("status")).to_contain_text(looks(4))
    figure.locator(".lf-written label").nth(5).click()
    expect(figure.get_by_role("status")).to_contain_text(looks(5))
    return {"place": 5}


def use_attention(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_label("width d_k").focus()
    page.keyboard.press("ArrowRight")
    figure.get_by_label("divide by √d_k").click()
    changed = {"d_k": state["widths"][1], "scaled": False}
    weights, _ = by_library(state | changed)
    assert shown_weights(figure) == pytest.approx(weights, abs=0.0051)
    return changed


def use_heads(figure: Locator, page: Page, state: State) -> State:
    last = len(state["layers"]) - 1
    layer = state["layers"][last]
    weights = torch.tensor(layer["weights"][0])
    figure.get_by_label(f"{layer['name']}: head 0").click()
    figure.get_by_label(f"query {layer['queries'][-1]}").last.focus()
    page.keyboard.press("Space")
    assert numbers(figure, "key") == pytest.approx(weights[-1].tolist(), abs=0.0052)
    figure.locator(".lf-side-key").first.click()
    page.mouse.move(0, 0)
    assert numbers(figure, "query") == pytest.approx(weights[:, 0].tolist(), abs=0.0052)
    return {"layer": last, "head": 0, "query": None, "key": 0}


def use_waves(figure: Locator, page: Page, state: State) -> State:
    def says(place: int) -> None:
        table = exact_table(state["length"], state["d_model"])
        products = table[[place, place - 3, place - 10]] @ table[place]
        assert figure.locator("[role=status]:visible").inner_text() == (
            f"Row {place} with itself: {products[0]:.2f}. With rows {place - 3} and {place + 3}, 3 places away: "
            f"{products[1]:.2f}. With rows {place - 10} and {place + 10}, 10 places away: {products[2]:.2f}."
        )

    slider = figure.get_by_role("slider", name="position")
    slider.focus()
    page.keyboard.press("ArrowRight")
    says(state["position"] + 1)
    figure.locator(".lf-waves").click()
    place = int(slider.input_value())
    assert 20 <= place <= 35
    says(place)
    return {"position": place}


def use_rotary(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_role("slider", name="query at").focus()
    page.keyboard.press("ArrowLeft")
    score = figure.locator(".lf-score strong")
    moved = {"query_at": state["query_at"] - 1}
    assert number_in(score.inner_text()) == pytest.approx(exact_score(state | moved), abs=0.0051)
    figure.get_by_label("move both together").click()
    figure.get_by_role("slider", name="key at").focus()
    page.keyboard.press("ArrowRight")
    assert number_in(score.inner_text()) == pytest.approx(exact_score(state | moved), abs=0.0051)
    return {"query_at": state["query_at"], "key_at": state["key_at"] + 1}


def use_stream(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_role("slider", name="branches").focus()
    page.keyboard.press("ArrowRight")
    figure.get_by_role("button", name="other random weights").click()
    changed = {"depth": state["depth"] + 1, "seed": state["seed"] + 1}
    for name, row in zip(NAMES, figure.locator("tbody tr").all(), strict=True):
        sizes, gradients = measure(changed["depth"], state["branch"], changed["seed"], name)
        told = [as_number(text) for text in row.locator("td").all_inner_texts()]
        assert told == pytest.approx([sizes[-1], gradients[0], gradients[-1]], rel=0.06)
    return changed


def use_map(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_label("d_ff").focus()
    page.keyboard.press("Home")
    smallest = state["choices"]["d_ff"][0]
    total = count(built({name: state[name] for name in SIZES} | {"d_ff": smallest}))
    assert figure.locator(".lf-total").inner_text() == f"{total:,}"
    figure.get_by_role("button", name="cross-attention").click()
    expect(figure.locator(".lf-title")).to_contain_text("ross-attention")
    return {"d_ff": smallest, "parameters": total}


def use_beam(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_role("slider", name="beams").focus()
    page.keyboard.press("ArrowRight")
    first = figure.locator(".lf-ranked tbody tr").first
    [[best]] = beam_search(
        translator().model,
        torch.tensor([[BOS_ID]]),
        translator().encode(["I talk about them."]),
        eos_id=EOS_ID,
        max_new_tokens=14,
        beams=2,
        penalty="none",
    )
    assert translator().decode(list(best.tokens)) in first.inner_text().replace("▁", " ")
    assert number_in(first.locator("td").last.inner_text()) == pytest.approx(best.log_probability, abs=6e-4)
    figure.get_by_role("button", name="Start").click()
    expect(figure.locator(".lf-chip")).to_have_count(0)
    return {"beams": 2, "step": 0}


def use_translator(figure: Locator, page: Page, state: State) -> State:
    figure.get_by_role("button", name="Load the translator").focus()
    page.keyboard.press("Enter")
    expected = translator().translate([state["sentence"], state["examples"][1]])
    expect(figure.locator(".lf-whole")).to_have_text(expected[0], timeout=60_000)
    figure.get_by_label("or an example").select_option(state["examples"][1])
    expect(figure.locator(".lf-whole")).to_have_text(expected[1], timeout=60_000)
    page.wait_for_timeout(500)  # what is written last is told last
    return {"translation": expected[1]}


def _at(key: str) -> str:
    return chapter_page(key).removesuffix(".html")


Use = Callable[[Locator, Page, State], State]
# The page, the figure's class, how it is used. A chapter's figures stand in the order of its page.
PLACES: list[tuple[str, str, Use]] = [
    ("intro", "AlignmentFigure", use_alignment),
    (_at("why"), "AlignmentFigure", use_alignment),
    (_at("scaled"), "AttentionFigure", use_attention),
    (_at("multihead"), "HeadView", use_heads),
    (_at("self"), "HeadView", use_heads),
    (_at("positions"), "PositionsFigure", use_waves),
    (_at("positions"), "PositionsFigure", use_rotary),
    (_at("layers"), "StreamFigure", use_stream),
    (_at("transformer"), "TransformerMap", use_map),
    (_at("transformer"), "HeadView", use_heads),
    (_at("translator"), "TranslatorFigure", use_translator),
    (_at("decoding"), "BeamFigure", use_beam),
]


def stored(page_name: str) -> list[State]:
    """The figures of a page as their notebook stored them; the title page shows the first one of chapter 1."""
    return live_figures(read(ROOT / f"{_at('why') if page_name == 'intro' else page_name}.ipynb"))


def test_every_figure_is_listed() -> None:
    found = [
        (f"chapters/{path.stem}", state["_anywidget_id"].rsplit(".", 1)[-1])
        for path in CHAPTERS
        for state in stored(f"chapters/{path.stem}")
    ]
    assert found == [place[:2] for place in PLACES[1:]]


def test_every_figure_is_exported_and_stands_in_the_book() -> None:
    modules = [import_module(f"{widgets.__name__}.{one.name}") for one in iter_modules(widgets.__path__)]
    made = {
        name
        for module in modules
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, LiveFigure) and one is not LiveFigure
    }
    assert made == set(widgets.__all__), "transformer_lib/widgets/__init__.py forgets one"
    assert made == {place[1] for place in PLACES}, "no page shows it, or PLACES forgets it"


@pytest.mark.browser
@pytest.mark.parametrize("from_disk", [False, True], ids=["http", "disk"])
@pytest.mark.parametrize("number", range(len(PLACES)), ids=[f"{page}-{kind}" for page, kind, _ in PLACES])
def test_on_its_page(browser: Browser, address: str, number: int, from_disk: bool) -> None:
    name, _, use = PLACES[number]
    nth = [place[0] for place in PLACES[:number]].count(name)
    with Visit(browser, (SITE / f"{name}.html").as_uri() if from_disk else f"{address}/{name}.html") as visit:
        figure = visit.page.locator(".figure-place.awake").nth(nth)
        figure.wait_for()
        figure.scroll_into_view_if_needed()
        use(figure, visit.page, stored(name)[nth])
    assert visit.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_moves_when_a_figure_wakes(browser: Browser, address: str, width: int) -> None:
    for name in dict.fromkeys(place[0] for place in PLACES):
        with Visit(browser, f"{address}/{name}.html", width=width) as visit:
            visit.page.locator(".figure-place.awake").first.wait_for()
            for place in visit.page.locator(".figure-place.awake").all():
                room, used = place.evaluate(
                    "p => [parseFloat(getComputedStyle(p).minHeight), p.firstElementChild.offsetHeight]"
                )
                assert used <= room + 8, f"{name}: the figure needs more room than `heights` keeps free"
                assert used >= 0.8 * room, f"{name}: `heights` keeps too much room free"


@pytest.mark.browser
def test_without_javascript_there_are_pictures(browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in dict.fromkeys(place[0] for place in PLACES):
        page.goto((SITE / f"{name}.html").as_uri())
        pictures = page.locator(".figure-place img").all()
        assert len(pictures) == [place[0] for place in PLACES].count(name)
        for picture in pictures:
            assert picture.is_visible()
            assert len(picture.get_attribute("alt") or "") > 40
    context.close()


# ---- In a live JupyterLab, where figures talk to Python.

MADE = {
    use_alignment: "AlignmentFigure()",
    use_attention: (
        "AttentionFigure(['a', 'b', 'c'], [1, 0], [[2, 0], [0, 1], [-1, 1]], [[1], [0], [0]], widths=(2, 8))"
    ),
    use_heads: (
        "HeadView({'first': [torch.arange(24.0).reshape(1, 2, 3, 4).softmax(-1)], "
        "'second': [torch.arange(12.0).reshape(1, 1, 4, 3).sin().softmax(-1)]})"
    ),
    use_waves: "PositionsFigure(tabs=False)",
    use_rotary: "PositionsFigure(part='rotary')",
    use_stream: "StreamFigure(depth=8)",
    use_map: "TransformerMap(['a', 'b'], ['x', 'y', 'z'])",
    use_beam: (
        "BeamFigure(translator.model, {'I talk about them.': translator.encode(['I talk about them.'])}, "
        "prompt=BOS_ID, eos_id=EOS_ID, words=translator.tokenizer.id_to_token, max_new_tokens=14, beams=1)"
    ),
    use_translator: "TranslatorFigure(translator, examples=['You gave me a good book.'])",
}
SETUP = """import json
import torch
from transformer_lib.data import BOS_ID, EOS_ID
from transformer_lib.translator import Translator
from transformer_lib.widgets import *
translator = Translator.load()
"""


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A notebook in JupyterLab that has run its first cell; then each figure has a cell, and one that tells of it."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [SETUP]
    for made in MADE.values():
        cells += [f"figure = {made}\nfigure", "print(json.dumps({name: getattr(figure, name) for name in told}))"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, folder / "figures.ipynb")
    # Cells outside of the window are to be there, too.
    settings = folder / ".settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_DATA_DIR": str(folder / ".data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.token=", "--ServerApp.password=", f"--notebook-dir={folder}", "--LabApp.news_url=None"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/lab", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            page = browser.new_page(viewport={"width": 1400, "height": 1400})
            page.goto(f"http://127.0.0.1:{port}/lab/tree/figures.ipynb")
            page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.wait_for(timeout=60_000)
            page.get_by_text("| Idle").first.wait_for(timeout=60_000)
            page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
            page.keyboard.press("Control+Enter")
            expect(page.locator(".jp-Notebook .jp-InputPrompt").first).to_have_text("[1]:", timeout=120_000)
            yield page
            page.close()
        finally:
            server.terminate()


@pytest.mark.browser
@pytest.mark.parametrize("use", MADE, ids=[use.__name__.removeprefix("use_") for use in MADE])
def test_in_jupyterlab(lab: Page, use: Use) -> None:
    made: dict[str, Any] = {}
    exec(f"{SETUP}figure = {MADE[use]}", made)
    number = 1 + 2 * list(MADE).index(use)
    shown, told = (lab.locator(".jp-Notebook .jp-CodeCell").nth(number + i) for i in range(2))
    shown.locator(".cm-content").click()
    lab.keyboard.press("Control+Enter")
    figure = shown.locator(".live-figure")
    figure.wait_for(timeout=60_000)
    changed = use(figure, lab, made["figure"].get_state())
    told.locator(".cm-content").click()
    lab.keyboard.press("Control+Home")
    lab.keyboard.type(f"told = {list(changed)}; ")
    output = told.locator(".jp-OutputArea-output")
    for _ in range(20):  # until the kernel has heard of it
        lab.keyboard.press("Control+Enter")
        lab.wait_for_timeout(500)
        heard = json.loads(output.inner_text()) if output.count() else None
        if heard == changed:
            break
    assert heard == changed
