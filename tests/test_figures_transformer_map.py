"""The map of the Transformer: its counts and shapes are those of the library's model, and anyone can use it."""

import itertools
import pydoc
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Locator

from tests.browsing import AXE
from tests.figure_page import FigurePage, in_page
from tests.figure_values import built, count, state_of
from transformer_lib import StackConfig, Transformer
from transformer_lib.chapters import CHAPTERS
from transformer_lib.plots import record_attention
from transformer_lib.widgets import TransformerMap
from transformer_lib.widgets.transformer_map import BLOCKS, CHOICES, SIZES, WALK

ROOT = Path(__file__).parent.parent
SOURCE = ["O", "livro", "que", "você", "me", "deu", "era", "interessante"]
TARGET = ["<bos>", "The", "book", "that", "you", "gave", "me", "was", "interesting"]
SMALL = {"d_model": (12, 24), "n_heads": (3, 4), "d_ff": (20,), "n_layers": (2,), "vocab_size": (31,)}
SETTINGS = [
    {"d_model": 512, "n_heads": 8, "d_ff": 2048, "n_layers": 6, "vocab_size": 37_000},
    {"d_model": 1024, "n_heads": 16, "d_ff": 4096, "n_layers": 6, "vocab_size": 37_000},
    {"d_model": 64, "n_heads": 1, "d_ff": 128, "n_layers": 1, "vocab_size": 1_000},
    {"d_model": 768, "n_heads": 32, "d_ff": 3072, "n_layers": 12, "vocab_size": 50_000},
    {"d_model": 128, "n_heads": 2, "d_ff": 1536, "n_layers": 3, "vocab_size": 5_000},
]
PARTS = {"embedding": "embedding", "attention": "attention.", "feed-forward": "feed_forward.", "norms": "residual."}


def the_map(**sizes: int) -> TransformerMap:
    return TransformerMap(SOURCE, TARGET, **sizes)


# ---- In Python.


@pytest.mark.parametrize("sizes", SETTINGS)
def test_python_counts_the_librarys_model(sizes: dict[str, int]) -> None:
    figure = the_map()
    figure.set_trait("n_layers", 1)
    for name, size in sizes.items():
        setattr(figure, name, size)
    assert figure.parameters == count(built(sizes)) == the_map(**sizes).parameters


def test_every_size_that_is_offered_exists() -> None:
    for d_model, n_heads in itertools.product(CHOICES["d_model"], CHOICES["n_heads"]):
        assert d_model % n_heads == 0


def test_shapes_are_those_of_a_running_model() -> None:
    sizes = {"d_model": 12, "n_heads": 3, "d_ff": 20, "n_layers": 2, "vocab_size": 31}
    model = Transformer(31, StackConfig(d_model=12, n_heads=3, d_ff=20, n_layers=2)).eval()
    known = {**sizes, "source": 8, "target": 9}
    seen: dict[str, list[tuple[Any, ...]]] = {}

    def watch(name: str, module: torch.nn.Module) -> None:
        def hook(_: torch.nn.Module, entered: tuple[Any, ...], left: torch.Tensor) -> None:
            seen.setdefault(name, []).append((tuple(entered[0].shape[1:]), tuple(left.shape[1:])))

        module.register_forward_hook(hook)

    for name, module in model.named_modules():
        if name in {block.path for block in BLOCKS} or name.endswith(".up_proj"):
            watch(name, module)
    with record_attention(model) as record:
        logits = model(torch.randint(1, 31, (2, 8)), torch.randint(1, 31, (2, 9)))
    for block in BLOCKS:
        enters, leaves = (tuple(known[name] for name in names) for names in (block.enters, block.leaves))
        if block.id == "projection":
            assert (enters, leaves) == ((9, 12), tuple(logits.shape[1:]))
        elif block.path == "embedding":
            assert (enters, leaves) in seen["embedding"]
        elif block.path:
            assert (enters, leaves) == seen[block.path][0]
        if block.inside:
            inside = tuple(known[name] for name in block.inside[1:])
            if block.inside[0] == "weights":
                assert inside == tuple(record[block.path][0].shape[1:])
            else:
                assert inside == seen[block.path + ".up_proj"][0][1]


def test_what_the_map_names_exists() -> None:
    for block in BLOCKS:
        assert pydoc.locate(block.source) is not None, block.source
        assert block.chapter in CHAPTERS
    assert len(WALK) == 16
    assert [block.id for block in BLOCKS[:16]] == list(WALK)
    model = built(SETTINGS[0])
    for block in BLOCKS:
        if block.path and block.source[-1].islower() is False and "Transformer." not in block.source:
            assert type(model.get_submodule(block.path)).__name__ == block.source.rsplit(".", 1)[1]


def test_the_step_chooses_its_block() -> None:
    figure = the_map()
    for step, block in enumerate(WALK, 1):
        figure.step = step
        assert figure.chosen == block
    figure.step = 0
    assert figure.chosen == WALK[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"follow": (8, 1)}, "follow must name a place of the source, 0 to 7, .* 0 to 7; got"),
        ({"follow": (1, 8)}, "follow must name a place"),
        ({"d_model": 100}, "d_model must be one of 64, 128, .*; got 100"),
        ({"depth": 3}, "sizes must be of d_model, .*; got depth"),
        ({"choices": {"d_model": (8,)}}, "choices must offer values of d_model, n_heads"),
        ({"choices": CHOICES | {"n_heads": (8, 3)}}, "d_model must be divisible by n_heads"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TransformerMap(SOURCE, TARGET, **arguments)


def test_a_figure_has_a_name_and_a_still_picture() -> None:
    figure = the_map()
    bundle = figure._repr_mimebundle_()[0]
    assert bundle["text/plain"] == ("TransformerMap(d_model=512, n_heads=8, d_ff=2048, n_layers=6, vocab_size=37000)")
    assert the_map()._repr_mimebundle_()[0]["image/png"] == bundle["image/png"]


# ---- The mathematics, in the browser.


@pytest.mark.browser
@pytest.mark.parametrize("sizes", SETTINGS)
def test_counts(browser: Browser, sizes: dict[str, int]) -> None:
    page, model = browser.new_page(), built(sizes)
    found = in_page(page, "transformer_map", "m.census(x)", sizes)
    assert found["total"] == count(model)
    for part, mark in PARTS.items():
        assert found["parts"][part] == sum(p.numel() for name, p in model.named_parameters() if mark in name)
    expression = "Object.fromEntries(x[0].map(([id, kind]) => [id, m.learned(kind, x[1])]))"
    kinds = [[block.id, block.kind] for block in BLOCKS]
    learned = in_page(page, "transformer_map", expression, [kinds, sizes])
    for block in BLOCKS:
        each = learned[block.id]
        if block.kind == "tied":
            assert each == 0
        else:
            assert each == (count(model.get_submodule(block.path)) if block.path else 0), block.id
    page.close()


# ---- The figure, on a page.


def facts(place: Locator) -> dict[str, str]:
    names = place.locator(".lf-facts dt").all_inner_texts()
    return dict(zip(names, place.locator(".lf-facts dd").all_inner_texts(), strict=True))


@pytest.mark.browser
def test_by_keyboard_and_mouse(browser: Browser) -> None:
    with FigurePage(browser, the_map()) as visit:
        place, press = visit.figure(), visit.page.keyboard.press
        assert place.locator("button.lf-block").count() == len(BLOCKS)

        def agrees() -> dict[str, Any]:
            state: dict[str, Any] = place.evaluate("place => place.model.state")
            model = built({name: state[name] for name in SIZES})
            assert place.locator(".lf-total").inner_text() == f"{count(model):,}"
            assert state["parameters"] == count(model)
            block = next(block for block in BLOCKS if block.id == state["chosen"])
            each = count(model.get_submodule(block.path)) if block.path and block.kind != "tied" else 0
            told = facts(place)["parameters"].split("\n")[0]
            many = block.layered and state["n_layers"] > 1 and each
            assert told == (f"{each:,} × {state['n_layers']} = {each * state['n_layers']:,}" if many else f"{each:,}")
            return state

        agrees()
        # Sizes, by keyboard.
        for name in SIZES:
            place.get_by_label(name).focus()
            press("ArrowRight")
            agrees()
            press("Home")
            agrees()
        for name, size in SETTINGS[0].items():
            place.evaluate("(p, [name, size]) => p.model.set(name, size)", [name, size])
        assert agrees()["parameters"] == 63_082_496
        # Heads change no count.
        place.get_by_label("n_heads").focus()
        press("ArrowRight")
        assert agrees()["parameters"] == 63_082_496
        press("ArrowLeft")

        # Every block, by keyboard or mouse.
        for number, button in enumerate(place.locator("button.lf-block").all()):
            if number % 2:
                button.focus()
                press("Space" if number % 4 == 1 else "Enter")
            else:
                button.click()
            assert button.get_attribute("aria-pressed") == "true"
            assert place.locator("[aria-pressed=true]").count() == 1
            chosen = next(block for block in BLOCKS if block.id == agrees()["chosen"])
            assert place.locator(".lf-title").inner_text() == chosen.title
            told = facts(place)
            known = {"source": "8", "target": "9", "d_model": "512", "vocab_size": "37,000"}
            assert told["in"].startswith(f"({', '.join(known[name] for name in chosen.enters)}")
            assert told["out"].startswith(f"({', '.join(known[name] for name in chosen.leaves)}")
            link = place.locator(".lf-facts a")
            assert link.get_attribute("href") == f"{CHAPTERS[chosen.chapter].file}.html"
            assert CHAPTERS[chosen.chapter].title in link.inner_text()

        # Tab reaches one block, the arrow keys all: upwards as a token goes.
        place.get_by_role("button", name="encoder: embedding").click()
        press("Shift+Tab")
        press("Tab")
        for key, focused in {
            "ArrowUp": "encoder: + positions",
            "ArrowDown": "encoder: embedding",
            "ArrowLeft": "encoder: embedding",  # there is none before it
            "End": "decoder × 6 layers",
            "Home": "encoder: embedding",
        }.items():
            press(key)
            assert visit.page.evaluate("document.activeElement.getAttribute('aria-label')") == focused
        assert state_of(place)["chosen"] == "source-embedding"  # to walk is not to choose
        press("Tab")
        assert visit.page.evaluate("document.activeElement.innerText") in ("Next step", "Start")
        press("Shift+Tab")

        # The walk.
        status = place.locator("[role=status]")
        place.get_by_role("button", name="Next step").focus()
        for step, block in enumerate(WALK, 1):
            press("Enter")
            assert agrees()["chosen"] == block
            assert status.inner_text().startswith(f"Step {step} of 16, {'encoder' if step <= 6 else 'decoder'}, ")
            assert "{" not in status.inner_text()
            assert place.locator(".lf-now").count() == 1
            walker = place.locator(".lf-walker").inner_text()
            assert walker == ("livro" if step <= 6 else "book" if step == 16 else "The")
        press("Enter")  # there is no more
        assert agrees()["step"] == 16
        place.get_by_role("button", name="Back").click()
        assert agrees()["step"] == 15
        place.get_by_role("button", name="Start").click()
        assert agrees()["step"] == 0
        assert not place.locator(".lf-walker").is_visible()
        assert visit.faults == []


@pytest.mark.browser
def test_made_up_sizes_and_words(browser: Browser) -> None:
    made = TransformerMap(
        ["a", "b", "c"],
        ["x", "y"],
        follow=(2, 0),
        choices=SMALL,
        d_model=12,
        n_heads=3,
        d_ff=20,
        n_layers=2,
        vocab_size=31,
    )
    with FigurePage(browser, made) as visit:
        place = visit.figure()
        assert facts(place)["inside"].startswith("(3, 3, 3)")
        place.get_by_role("button", name="cross-attention").click()
        assert facts(place)["inside"].startswith("(3, 2, 3)")
        assert place.locator(".lf-said").inner_text() == "y"
        assert "… b c" in place.locator(".lf-map").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "which"), [(1280, 0), (390, 1), (320, 1)])
def test_room(browser: Browser, width: int, which: int) -> None:
    figure = the_map()
    with FigurePage(browser, figure, width=width) as visit:
        place = visit.figure()
        for block in BLOCKS:
            place.evaluate("(p, id) => p.model.set('chosen', id)", block.id)
            used = place.evaluate("p => p.firstElementChild.offsetHeight")
            assert 0.8 * figure.heights[which] <= used <= figure.heights[which] + 8, block.id
            assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        small = place.locator("button").evaluate_all(
            "all => all.filter(b => b.offsetHeight < 24 || b.scrollWidth > b.clientWidth + 1).map(b => b.innerText)"
        )
        assert small == [] or width < 390


@pytest.mark.browser
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_the_token_jumps_where_nothing_shall_move(browser: Browser, motion: str) -> None:
    with FigurePage(browser, the_map()) as visit:
        visit.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        visit.figure().get_by_role("button", name="Next step").click()
        moves = visit.figure().locator(".lf-walker").evaluate("e => getComputedStyle(e).transitionDuration")
        assert set(moves.split(", ")) == ({"0s"} if motion == "reduce" else {"0.35s"})


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible(browser: Browser, theme: str, width: int) -> None:
    with FigurePage(browser, the_map(), theme=theme, width=width) as visit:
        visit.page.evaluate(AXE)
        for name in ("Next step", "cross-attention"):
            visit.figure().get_by_role("button", name=name).click()
            visit.page.wait_for_timeout(400)
            found = visit.page.evaluate("axe.run('.live-figure', {resultTypes: ['violations']})")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
