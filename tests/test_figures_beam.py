"""Beam search in the page: the same candidates, texts and scores as the library's, and a figure that anyone can use."""

import math
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser
from torch import Tensor

from tests.browsing import AXE
from tests.figure_page import FigurePage, in_page
from transformer_lib.data import BOS_ID, EOS_ID
from transformer_lib.decoder import DecoderCache
from transformer_lib.generation import Candidate, beam_search, length_penalty
from transformer_lib.translator import Translator
from transformer_lib.widgets import BeamFigure

SENTENCES = ("I talk about them.", "Sleep at the hospital!", "The book that you gave me was interesting.")


class Bigram:
    """A language model that looks at the last token only. Token 9 is padding."""

    pad_id = 9

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logs = (1.5 * torch.randn(10, 10, generator=generator)).log_softmax(-1)

    def new_cache(self, source_ids: Tensor | None = None) -> DecoderCache:
        return DecoderCache(1)

    def step(
        self, token_ids: Tensor, cache: DecoderCache, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        return self.logs[token_ids[:, -1]]


def bigram_figure(**changes: Any) -> BeamFigure:
    arguments: dict[str, Any] = {
        "prompt": 0,
        "eos_id": 8,
        "words": lambda token: f" w{token}",
        "max_new_tokens": 6,
        "widths": (1, 2, 3, 5),
        "beams": 2,
        "forbidden": (7,),
    }
    return BeamFigure(Bigram(), {"nothing": None}, **(arguments | changes))


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load()


def translator_figure(translator: Translator, sentences: tuple[str, ...], **changes: Any) -> BeamFigure:
    def spelled(token: int) -> str:
        return str(translator.tokenizer.id_to_token(token)).replace("▁", " ")

    sources = {sentence: translator.encode([sentence]) for sentence in sentences}
    arguments: dict[str, Any] = {"prompt": BOS_ID, "eos_id": EOS_ID, "words": spelled, "max_new_tokens": 14}
    return BeamFigure(translator.model, sources, **(arguments | {"forbidden": (1, 3)} | changes))


@pytest.fixture(scope="module")
def figure(translator: Translator) -> BeamFigure:
    return translator_figure(translator, SENTENCES)


# ---- In Python.


def test_finds_what_the_library_finds(figure: BeamFigure, translator: Translator) -> None:
    for text, sentence in enumerate(SENTENCES):
        for beams, penalty in ((1, 0), (3, 2), (5, 4)):
            figure.text, figure.beams, figure.penalty = text, beams, penalty
            name, alpha = figure.penalties[penalty]
            options = {"eos_id": EOS_ID, "max_new_tokens": 14, "beams": beams, "n_best": beams, "forbidden": (1, 3)}
            (found,) = beam_search(
                translator.model, BOS_ID, translator.encode([sentence]), penalty=name, alpha=alpha, **options
            )
            assert [tuple(tokens) for tokens, _, _ in figure.finished] == [one.tokens for one in found]
            for (_, total, score), one in zip(figure.finished, found, strict=True):
                assert (total, score) == pytest.approx((one.log_probability, one.score), abs=1e-3)
    figure.text, figure.beams, figure.penalty = 0, 3, 0


def test_the_chapters_claims_about_one_sentence(figure: BeamFigure) -> None:
    # Two beams find a better text than one, and a length penalty prefers the longer text again.
    best = {}
    for beams in figure.widths:
        for penalty in range(len(figure.penalties)):
            figure.beams, figure.penalty = beams, penalty
            best[beams, penalty] = figure._spelled(figure.finished[0][0])
    figure.beams, figure.penalty = 3, 0
    assert {best[beams, 0] for beams in (2, 3, 4, 5)} == {"Eu falo sobre eles."}
    assert {text for (beams, penalty), text in best.items() if beams == 1 or penalty} == {"Eu falei sobre eles."}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"beams": 4}, "beams must be one of the widths"),
        ({"widths": (0, 2)}, "beams must be one of the widths, each at least 1"),
        ({"widths": ()}, "beams must be one of the widths"),
        ({"penalties": ()}, "penalties must hold at least one"),
        ({"penalties": (("square", 1.0),)}, "penalty must be one of"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bigram_figure(**changes)


def test_sources_that_do_not_fit() -> None:
    options: dict[str, Any] = {"prompt": 0, "eos_id": 8, "words": str, "max_new_tokens": 3}
    with pytest.raises(ValueError, match="sources must hold at least one text"):
        BeamFigure(Bigram(), {}, **options)
    with pytest.raises(ValueError, match=r"each source must have shape \(1, key\); got \(2, 3\) for 'two'"):
        BeamFigure(Bigram(), {"two": torch.ones(2, 3, dtype=torch.long)}, **options)


def test_a_figure_has_a_name_and_a_still_picture(figure: BeamFigure) -> None:
    assert repr(figure) == "BeamFigure(3 texts, widths 1, 2, 3, 4, 5)"
    small = bigram_figure()
    bundle = small._repr_mimebundle_()[0]
    assert bundle["text/plain"] == "BeamFigure(1 text, widths 1, 2, 3, 5)"
    assert bigram_figure()._repr_mimebundle_()[0]["image/png"] == bundle["image/png"]
    for step in (0, 1, 99):
        small.step = step
        assert small._repr_mimebundle_()[0]["image/png"].startswith(b"\x89PNG")


def test_state_is_small(figure: BeamFigure) -> None:
    assert len(str([figure.tables, figure.words])) < 60_000


# ---- The search, in the browser.


@pytest.mark.browser
def test_length_penalties(browser: Browser) -> None:
    page = browser.new_page()
    for name, alpha in (("none", 1.0), ("gnmt", 0.6), ("power", 0.6), ("power", 1.0), ("gnmt", 0.0)):
        computed = in_page(page, "beam", "[1, 2, 7, 40].map(n => m.lengthPenalty(n, ...x))", [name, alpha])
        assert computed == pytest.approx([length_penalty(n, name, alpha) for n in (1, 2, 7, 40)], abs=1e-12)  # type: ignore[arg-type]
    page.close()


def same_search(found: dict[str, Any], trace: list[Candidate], finished: list[list[Any]]) -> None:
    """Whether the page has weighed the same candidates in the same order, and found the same texts."""
    weighed = [(step, one) for step, now in enumerate(found["steps"], 1) for one in now["candidates"]]
    assert len(weighed) == len(trace)
    for (step, one), other in zip(weighed, trace, strict=True):
        given = (step, one["parent"], one["token"], one["beam"], one["finished"])
        assert given == (other.step, other.parent, other.token, other.beam, other.finished)
        assert one["total"] == pytest.approx(other.total, abs=1e-4)
        assert one["log"] == pytest.approx(other.log_probability, abs=1e-4)
    assert [one["tokens"] for one in found["finished"]] == [tokens for tokens, _, _ in finished]
    for one, (_, total, score) in zip(found["finished"], finished, strict=True):
        assert (one["total"], one["score"]) == pytest.approx((total, score), abs=1e-4)


def every_setting(page: Any, figure: BeamFigure) -> int:
    """Compare every search that the figure offers; how many there are."""
    settings = [
        (text, beams, penalty)
        for text in range(len(figure.tables))
        for beams in figure.widths
        for penalty in range(len(figure.penalties))
    ]
    options = [
        {
            "beams": beams,
            "penalty": figure.penalties[penalty][0],
            "alpha": figure.penalties[penalty][1],
            "end": figure.eos_id,
            "longest": figure.max_new_tokens,
        }
        for _, beams, penalty in settings
    ]
    tables = [figure.tables[text] for text, _, _ in settings]
    searches = in_page(page, "beam", "x[0].map((table, i) => m.beamSearch(table, x[1][i]))", [tables, options])
    for setting, found in zip(settings, searches, strict=True):
        same_search(found, *figure._search(*setting))
    return len(searches)


@pytest.mark.browser
def test_the_page_searches_as_the_library_does(browser: Browser, figure: BeamFigure) -> None:
    page = browser.new_page()
    assert every_setting(page, figure) == 3 * 5 * 5
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_page_searches_a_made_up_language(browser: Browser, seed: int) -> None:
    page = browser.new_page()
    model = Bigram(seed)
    penalties = (("none", 1.0), ("gnmt", 0.6), ("power", 1.0), ("power", 2.0))
    made = BeamFigure(
        model,
        {"nothing": None},
        prompt=0,
        eos_id=8,
        words=str,
        max_new_tokens=7,
        penalties=penalties,  # type: ignore[arg-type]
        forbidden=(7,),
    )
    # Against a search that asks the model itself, too.
    for beams in made.widths:
        (found,) = beam_search(
            model, torch.tensor([[0]]), eos_id=8, max_new_tokens=7, beams=beams, n_best=beams, forbidden=(7,)
        )
        assert made._search(0, beams, 0)[1] == [
            [list(one.tokens), pytest.approx(one.score, abs=1e-4), pytest.approx(one.score, abs=1e-4)] for one in found
        ]
    assert every_setting(page, made) == 20
    page.close()


# ---- The figure, on a page.


@pytest.mark.browser
def test_by_keyboard_and_mouse(browser: Browser, figure: BeamFigure) -> None:
    figure.text, figure.beams, figure.penalty = 0, 1, 0
    figure.step = 99
    with FigurePage(browser, figure) as visit:
        place, press = visit.figure(), visit.page.keyboard.press
        text = lambda: place.locator(".lf-ranked tbody tr").first.inner_text().split("\t")  # noqa: E731

        def agrees() -> None:
            state = place.evaluate("place => place.model.state")
            _, finished = figure._search(state["text"], state["beams"], state["penalty"])
            assert [tokens for tokens, _, _ in state["finished"]] == [tokens for tokens, _, _ in finished]
            assert [x for _, *pair in state["finished"] for x in pair] == pytest.approx(
                [x for _, *pair in finished for x in pair], abs=1e-4
            )
            shown = place.locator(".lf-ranked tbody tr td:last-child").all_inner_texts()
            assert [float(one.replace("−", "-")) for one in shown] == pytest.approx([s for *_, s in finished], abs=6e-4)

        agrees()
        assert "Eu falei sobre eles." in text()[1]
        place.get_by_role("slider", name="beams").focus()
        press("ArrowRight")
        agrees()
        assert "Eu falo sobre eles." in text()[1]
        place.get_by_role("slider", name="length penalty").focus()
        press("ArrowRight")
        agrees()
        assert "Eu falei sobre eles." in text()[1]
        press("Home")
        agrees()

        # Step by step.
        status = place.locator("[role=status]")
        place.get_by_role("button", name="Start").focus()
        press("Enter")
        assert place.evaluate("place => place.model.state.step") == 0
        assert place.locator(".lf-chip").count() == 0
        place.get_by_role("button", name="Next").focus()
        press("Space")
        press("Space")
        assert status.inner_text().startswith("Step 2 of")
        # Two beams kept and two dropped in each row; an end that is dropped is no chip.
        assert place.locator(".lf-chip.lf-kept").count() == 4
        trace, _ = figure._search(0, 2, 0)
        ends = sum(one.token == EOS_ID for one in trace if one.step <= 2)
        assert place.locator(".lf-chip.lf-dropped").count() == 4 - ends
        assert place.locator(".lf-weighed tbody tr").count() == 4
        place.get_by_role("button", name="Back").click()
        assert status.inner_text().startswith("Step 1 of")
        place.get_by_role("button", name="End").click()
        assert "The search ends" in status.inner_text()
        press("Enter")  # already there
        agrees()

        # Another finished text, another marked path.
        marked = lambda: place.locator(".lf-chip.lf-on text").all_text_contents()  # noqa: E731
        assert "".join(marked()) == "Eufalosobreeles."
        place.get_by_role("button", name="Eu falei sobre eles.").click()
        assert "".join(marked()) == "Eufaleisobreeles."
        assert place.locator(".lf-found[aria-pressed=true]").all_inner_texts() == ["Eu falei sobre eles."]

        # Another sentence.
        place.get_by_label("translate").select_option(index=1)
        agrees()
        assert visit.faults == []


@pytest.mark.browser
def test_play_and_pause(browser: Browser) -> None:
    with FigurePage(browser, bigram_figure()) as visit:
        place, play = visit.figure(), visit.figure().get_by_role("button", name="Play")
        steps = place.evaluate("place => place.model.state.step")
        play.click()
        assert place.evaluate("place => place.model.state.step") == 0
        place.get_by_role("button", name="Pause").wait_for()
        place.get_by_text("Step 2 of").wait_for(timeout=10_000)
        place.get_by_role("button", name="Pause").click()
        visit.page.wait_for_timeout(1500)
        assert place.evaluate("place => place.model.state.step") == 2
        assert steps > 2
        play.click()
        place.get_by_text(f"Step {steps} of").wait_for(timeout=15_000)
        play.wait_for()


@pytest.mark.browser
def test_nothing_moves_by_itself_for_those_who_do_not_want_it(browser: Browser) -> None:
    with FigurePage(browser, bigram_figure(), motion="reduce") as visit:
        assert visit.figure().get_by_role("button", name="Play").count() == 0
        visit.figure().get_by_role("button", name="Back").click()


@pytest.mark.browser
def test_a_search_that_reaches_the_longest_text(browser: Browser) -> None:
    made = bigram_figure(max_new_tokens=2, widths=(3,), beams=3, penalties=(("power", 2.0),))
    with FigurePage(browser, made) as visit:
        place = visit.figure()
        assert "no text may be longer" in place.locator("[role=status]").inner_text()
        assert place.locator(".lf-flag").count() == 3
        scores = [float(x.replace("−", "-")) for x in place.locator(".lf-ranked td:last-child").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        assert all(math.isfinite(x) for x in scores)
        assert visit.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("first", [1, 3, 5])
@pytest.mark.parametrize(("width", "which"), [(1280, 0), (390, 1)])
def test_room(browser: Browser, translator: Translator, width: int, which: int, first: int) -> None:
    figure = translator_figure(translator, SENTENCES[:1], beams=first)
    with FigurePage(browser, figure, width=width) as visit:
        used = visit.figure().evaluate("p => p.firstElementChild.offsetHeight")
        assert 0.8 * figure.heights[which] <= used <= figure.heights[which] + 8
        for beams in (5, 1):
            visit.figure().evaluate("(p, n) => p.model.set('beams', n)", beams)
            assert visit.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible(browser: Browser, figure: BeamFigure, theme: str, width: int) -> None:
    with FigurePage(browser, figure, theme=theme, width=width) as visit:
        visit.page.evaluate(AXE)
        for name in ("Back", "Start"):
            visit.figure().get_by_role("button", name=name).click()
            visit.page.wait_for_timeout(400)
            found = visit.page.evaluate("axe.run('.live-figure', {resultTypes: ['violations']})")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
