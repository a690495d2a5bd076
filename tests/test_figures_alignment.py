"""The figure of a translation being written: its lines are the model's weights, word by word."""

import copy

import pytest
import torch
from playwright.sync_api import Browser

from tests.figure_page import FigurePage, in_page
from tests.figure_values import state_of
from tests.texts import LONG
from transformer_lib.data import BOS_ID, EOS_ID
from transformer_lib.plots import record_attention
from transformer_lib.translator import Translator
from transformer_lib.widgets import AlignmentFigure


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load()


@pytest.fixture(scope="module")
def figure(translator: Translator) -> AlignmentFigure:
    return AlignmentFigure(translator)


def test_words_and_weights(translator: Translator, figure: AlignmentFigure) -> None:
    assert figure.read == ["The", "book", "that", "you", "gave", "me", "was", "interesting", ".", "■"]
    assert figure.written == ["O", "livro", "que", "você", "me", "deu", "era", "interessante", "."]
    assert repr(figure) == "AlignmentFigure('O livro que você me deu era interessante.')"
    assert figure.written[figure.place] == "interessante"
    # Once more, token by token; caderno is written in two pieces.
    english = "The notebook that you gave me was interesting."
    portuguese = "O caderno que você me deu era interessante."
    figure = AlignmentFigure(translator, english)
    target = torch.tensor([[BOS_ID, *translator.tokenizer.encode(portuguese).ids]])
    pieces = [translator.tokenizer.id_to_token(token) for token in target[0, 1:].tolist()]
    assert pieces[1:3] == ["▁cader", "no"]
    with torch.no_grad(), record_attention(translator.model) as record:
        translator.model(translator.encode([english]), target[:, :-1])
    layers = [record[f"decoder.layers.{i}.cross_attention"][0][0] for i in range(2)]
    by_token = (layers[0].mean(0) + layers[1].mean(0)) / 2
    expected = torch.cat([by_token[:1], by_token[1:3].mean(0, keepdim=True), by_token[3:]])
    assert torch.allclose(torch.tensor(figure.weights), expected, atol=1e-4)


def test_pieces_that_are_read_are_added(translator: Translator) -> None:
    figure = AlignmentFigure(translator, "The unbelievable grandmothers were happy.")
    assert figure.read == ["The", "unbelievable", "grandmothers", "were", "happy", ".", "■"]
    assert torch.tensor(figure.weights).sum(1) == pytest.approx(1, abs=1e-3)


def test_bad_input(translator: Translator) -> None:
    with pytest.raises(ValueError, match="no empty one"):
        AlignmentFigure(translator, " ")
    with pytest.raises(TypeError, match="sentences must hold strings only; got NoneType at place 0"):
        AlignmentFigure(translator, None)  # type: ignore[arg-type]


def test_signs_without_a_token_and_long_sentences(translator: Translator, figure: AlignmentFigure) -> None:
    assert figure.notes == []
    assert AlignmentFigure(translator, " The book\u00a0that you gave\tme was interesting.").weights == figure.weights
    figure = AlignmentFigure(translator, "The 😀 naïve girl read 42 books.")
    assert figure.read == ["The", "😀", "naïve", "girl", "read", "4", "2", "books", ".", "■"]
    assert figure.notes == ["No token stands for “😀”, “ï”: read as unknown."]
    assert torch.tensor(figure.weights).sum(1) == pytest.approx(1, abs=1e-3)
    figure = AlignmentFigure(translator, LONG[0])
    assert figure.notes == list(translator.translate([LONG[0]]).notes[0])
    assert figure.notes[0].startswith("Of a sentence at most 80 tokens are read. Not read: “")
    assert (LONG[0].split()[: len(figure.read) - 1], figure.read[-1]) == (figure.read[:-1], "■")
    assert torch.tensor(figure.weights).sum(1) == pytest.approx(1, abs=1e-2)


def test_a_translation_of_nothing(translator: Translator) -> None:
    """A model that ends at once has a figure too."""
    silent = Translator(copy.deepcopy(translator.model), translator.tokenizer, {})
    with torch.no_grad():
        silent.model.decoder.final_norm.weight.zero_()
        silent.model.decoder.final_norm.bias.copy_(10 * silent.model.embedding.weight[EOS_ID])
    assert silent.translate(["The book."]) == [""]
    figure = AlignmentFigure(silent, "The book.")
    assert figure.written == ["■"]
    assert torch.tensor(figure.weights).sum(1) == pytest.approx(1, abs=1e-3)


@pytest.mark.browser
def test_what_is_not_read_is_on_the_page(browser: Browser, translator: Translator) -> None:
    figure = AlignmentFigure(translator, "The 😀 book.")
    with FigurePage(browser, figure, AlignmentFigure(translator, "The book."), width=360) as opened:
        assert opened.figure().locator(".lf-warnings p").all_inner_texts() == figure.notes
        assert opened.figure(1).locator(".lf-warnings p").count() == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth <= 360")
    assert opened.faults == []


@pytest.mark.browser
def test_in_words(browser: Browser) -> None:
    page = browser.new_page()
    assert in_page(page, "alignment", "m.looked([0.2, 0.7, 0.04, 0.06], ['a', 'b', 'c', 'd'])") == "b 0.70, a 0.20"
    assert in_page(page, "alignment", "m.looked([0.96, 0.04], ['a', 'b'])") == "a 0.96"
    page.close()


@pytest.mark.browser
def test_nothing_moves_by_itself_for_those_who_do_not_want_it(browser: Browser, figure: AlignmentFigure) -> None:
    with FigurePage(browser, figure, motion="reduce") as opened:
        assert opened.figure().get_by_role("button").count() == 0
        opened.figure().get_by_label("me", exact=True).check()
        assert state_of(opened.figure())["place"] == 4
    assert opened.faults == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_operated(browser: Browser, figure: AlignmentFigure, width: int) -> None:
    with FigurePage(browser, figure, width=width) as opened:
        place = opened.figure()
        status = place.locator("[role=status]")
        middles = place.locator(".lf-sentence").evaluate_all(
            """rows => rows.map(row => [...row.children].map(e => e.getBoundingClientRect())
                  .map(box => box.left + box.width / 2))"""
        )
        left = place.locator("svg").evaluate("svg => svg.getBoundingClientRect().left")

        def agrees() -> int:
            now = int(state_of(place)["place"])
            best = max(range(10), key=lambda j: figure.weights[now][j])
            assert f"“{figure.written[now]}” looked at: {figure.read[best]} {figure.weights[now][best]:.2f}" in (
                status.inner_text()
            )
            # The thickest line runs from the word written to the word that got most.
            thickest = place.locator("path.now").evaluate_all(
                """all => all.sort((a, b) => b.getAttribute('stroke-width') - a.getAttribute('stroke-width'))[0]
                  .getAttribute('d')"""
            )
            numbers = [float(part) for part in thickest.replace("M", "").replace("C", " ").split()]
            assert numbers[0] == pytest.approx(middles[1][now] - left, abs=1)
            assert numbers[-2] == pytest.approx(middles[0][best] - left, abs=1)
            return now

        assert figure.written[agrees()] == "interessante"
        # By keyboard: one group of radio buttons.
        place.get_by_label("me", exact=True).focus()
        opened.page.keyboard.press("Space")
        assert agrees() == 4
        opened.page.keyboard.press("ArrowRight")
        assert agrees() == 5
        # By mouse.
        place.locator(".lf-written label").nth(6).hover()
        assert "era" in status.inner_text()
        assert state_of(place)["place"] == 5
        place.locator(".lf-written label").nth(3).click()
        assert agrees() == 3
        # Word by word.
        opened.page.mouse.move(0, 0)
        opened.page.clock.install()
        place.get_by_role("button", name="Play").click()
        assert agrees() == 0
        opened.page.clock.run_for(1000)
        assert agrees() == 1
        place.get_by_role("button", name="Stop").click()
        opened.page.clock.run_for(3000)
        assert agrees() == 1
        place.get_by_role("button", name="Play").click()
        opened.page.clock.run_for(12_000)
        assert agrees() == 8
        assert place.get_by_role("button", name="Play").is_visible()
        used = place.evaluate("place => place.firstElementChild.offsetHeight")
        room = figure.heights[width < 600]
        assert 0.8 * room <= used <= room + 8
        assert place.evaluate("place => place.scrollWidth <= place.clientWidth")
    assert opened.faults == []
