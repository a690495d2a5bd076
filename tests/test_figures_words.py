"""The words of the live figures: whole sentences with named holes, which a table says in another language."""

import ast
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text
from playwright.sync_api import Browser, Locator

from tests.figure_page import FigurePage, in_page
from tests.figures_made import MADE, made, translator
from transformer_lib import texts, widgets
from transformer_lib.chapters import CHAPTERS
from transformer_lib.texts import holes, spoken
from transformer_lib.widgets import AttentionFigure, PositionsFigure, TransformerMap, TranslatorFigure
from transformer_lib.widgets.figure import LiveFigure, sentences, source
from transformer_lib.widgets.transformer_map import BLOCKS
from transformer_lib.widgets.translator import write_scripts

LIBRARY = Path(texts.__file__).parent
SCRIPTS = sorted(Path(widgets.__file__).parent.glob("*.js"))


# ---- What is said.


def calls(script: str) -> Iterator[str]:
    """What stands between the brackets of every call of `say` and `spread`."""
    for found in re.finditer(r"(?<!function )\b(?:say|spread)\(", script):
        depth, quoted, end = 1, False, found.end()
        while depth:
            if script[end] == '"' and script[end - 1] != "\\":
                quoted = not quoted
            elif not quoted:
                depth += (script[end] in "([{") - (script[end] in ")]}")
            end += 1
        yield script[found.end() : end - 1]


def names(objects: str) -> set[str]:
    """The names that an object literal gives."""
    inner, depth = "", 0
    for sign in objects.strip()[1:-1]:
        depth += (sign in "([{") - (sign in ")]}")
        inner += sign if not depth else ""
    return {part.split(":")[0].strip() for part in inner.split(",") if part.strip()}


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_every_sentence_can_be_collected(path: Path) -> None:
    """A sentence is a literal, and the call fills its holes by name: else no translator would see it whole."""
    script = path.read_text(encoding="utf-8")
    collected = sentences(script)
    for call in calls(script):
        found = re.fullmatch(r'("(?:[^"\\]|\\.)*")(?:, (.*))?', call.strip(), re.DOTALL)
        assert found, call
        sentence = json.loads(found[1])
        assert sentence in collected
        given = found[2] or ""
        if re.fullmatch(r"\w+", given):  # the holes have a name, and stand before the call
            [given] = re.findall(rf"\b{given} = (\{{.*?\}});\n", script[: script.index(call)], re.DOTALL)[-1:]
        assert names(given) >= holes(sentence), call
        assert re.sub(r"\{\w+\}", "", sentence).count("{") == 0, "a hole of a figure has no format"


def in_python() -> Iterator[str]:
    """What the Python of the figures says, and of what they use."""
    for path in [*LIBRARY.joinpath("widgets").glob("*.py"), LIBRARY / "data" / "tokens.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "text":
                yield ast.literal_eval(node.args[0])
    for block in BLOCKS:
        yield from (block.label, block.title, block.does, block.walk)
        yield CHAPTERS[block.chapter].title


def another_language() -> dict[str, str]:
    """A table in which every sentence stands in brackets."""
    said = {sentence for path in SCRIPTS for sentence in sentences(path.read_text(encoding="utf-8"))} | {*in_python()}
    return {sentence: f"⟦{sentence}⟧" for sentence in said if sentence}


def test_a_figure_brings_what_it_says_and_no_more() -> None:
    assert PositionsFigure().texts == {}
    with spoken({"position": "posição", "Wrong.": "Errado."}):
        figure = PositionsFigure()
        assert figure.get_state()["texts"] == {"position": "posição"}
        assert AttentionFigure(["a"], [1, 0], [[1, 0]], [[1]]).texts == {}
    assert figure.texts == {"position": "posição"}
    with spoken(another_language()):
        assert set(PositionsFigure().texts) == sentences(source("positions"))


@pytest.mark.browser
def test_say(browser: Browser) -> None:
    page = browser.new_page()
    assert in_page(page, "stream", "m.say('{n} of {all}: {n}', {n: 2, all: '5'})") == "2 of 5: 2"
    assert in_page(page, "stream", "m.spread('a {one} b{two}', {one: 1, two: 2})") == ["a ", 1, " b", 2]
    place = "{model: {get: () => ({'{n} rows': 'linhas: {n}'})}}"
    in_it = f"m.figure(() => [m.say('{{n}} rows', {{n: 3}}), m.say('{{n}} x', {{n: 3}})]).render({place})"
    assert in_page(page, "stream", in_it) == ["linhas: 3", "3 x"]
    page.close()


# ---- A figure in another language.

# What is no word of a language: names in code and in formulas, and what is translated.
DATA = {
    "alignment": ["The", "book", "was", "good", "O", "livro", "era", "bom", "ideia", "😀"],
    "attention": ["d_k"],
    "beam": ["log p", "α", "gnmt", "power", "I talk about them."],
    "positions": ["q", "k"],
    "transformer_map": ["d_model", "n_heads", "d_ff", "n_layers", "vocab_size", "d_head"],
}
READ = """place => {
  const told = [], walker = document.createTreeWalker(place, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement, split = /⟦[^⟧]*$|^[^⟦]*⟧/.test(node.textContent); // elements fill its holes
      if (!parent.closest("code, .lf-fact-class")) told.push((split ? parent : node).textContent);
    } else {
      const said = ["aria-label", "aria-valuetext", "title", "placeholder", "alt"];
      told.push(...said.map(name => node.getAttribute(name) ?? ""));
    }
  }
  return told;
}"""


def outside(told: str, data: list[str]) -> str:
    """The letters of a text that no sentence of the table has said."""
    while told != (inner := re.sub(r"⟦[^⟦⟧]*⟧", "", told)):
        told = inner
    for word in sorted(data, key=len, reverse=True):
        told = re.sub(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])", "", told)
    return "".join(filter(str.isalpha, told))


def listen(figure: Locator, name: str, more: list[str] | None = None) -> None:
    for told in figure.evaluate(READ):
        assert not outside(told, [*DATA.get(name, []), *(more or [])]), told


# Where a figure says something else.
STATES = {
    "alignment": [{"place": 1}],
    "attention": [{"visible": [False] * 3}, {"visible": [True] * 3, "scaled": False, "temperature": 0.1}],
    "beam": [*({"step": step} for step in range(6)), {"beams": 1, "penalty": 3}],
    "heads": [{"query": 1}, {"query": None, "key": 2}, {"layer": 1}],
    "positions": [{"position": 1}, {"by_distance": True}, {"part": "rotary"}, {"query_at": 13, "key_at": 8}],
    "stream": [{"depth": 2}],
    "transformer_map": [
        *({"step": step, "chosen": block.id} for step, block in enumerate(BLOCKS[:16], 1)),
        *({"chosen": block.id} for block in BLOCKS[16:]),
        {"step": 0},
    ],
}


@pytest.mark.browser
@pytest.mark.parametrize("name", MADE)
def test_no_word_stays_english(browser: Browser, name: str) -> None:
    with spoken(another_language()):
        figure = made(name)
    with FigurePage(browser, figure) as visit:
        place = visit.figure()
        more = [figure.sentence] if isinstance(figure, TranslatorFigure) else []
        listen(place, name, more)
        for values in STATES.get(name, []):
            place.evaluate("(place, values) => place.model.set(values)", values)
            listen(place, name, more)
        for play in place.get_by_role("button", name="Play").all():
            play.click()
            listen(place, name)
    assert visit.faults == []


@pytest.mark.browser
def test_no_word_stays_english_in_a_translator_that_runs(browser: Browser, tmp_path: Path) -> None:
    from tests.test_figures_translator import bare_page

    write_scripts(tmp_path / "_static" / "translator", translator())
    signs = "αβγδεζηθικ"
    with spoken(another_language()):
        path = bare_page(tmp_path, TranslatorFigure(translator(), sentence=f"A {signs} book" + " of it" * 50))
    opened = browser.new_page(reduced_motion="reduce")
    opened.goto(path.as_uri())
    opened.get_by_role("button", name="Load the translator").click()
    opened.wait_for_function("() => document.querySelector('.figure-place').model?.state.done === 1")
    place = opened.locator(".figure-place")
    told = [one for one in place.evaluate(READ) if "⟦" in one]
    assert len(told) > 20
    # Tokens are parts of words of two languages; all else is said.
    tokens = place.locator(".lf-token, .lf-rivals span, .lf-whole, option").evaluate_all(
        "all => all.map(one => one.firstChild?.textContent)"
    )
    assert "⟦end⟧" in tokens
    assert "⟦α (unknown)⟧" in tokens
    assert "⟦not read from here⟧" in told
    quoted = re.findall(r"“([^”]+)”", " ".join(told))
    for one in place.evaluate(READ):
        if one not in tokens:
            assert not outside(one, quoted), one
    opened.get_by_label("English", exact=False).first.fill(" ")
    opened.keyboard.press("Enter")
    assert "⟦There is nothing to translate: the sentence is empty.⟧" in place.inner_text()
    opened.close()


@pytest.mark.parametrize("name", MADE)
def test_no_word_of_a_still_picture_stays_english(name: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(spoken(another_language()))
        figures: list[LiveFigure] = [made(name)]
        if name == "positions":
            figures += [PositionsFigure(part="rotary"), PositionsFigure(by_distance=True)]
        for figure in figures:
            picture = figure.picture()
            if not isinstance(figure, TranslatorFigure):  # its picture is of tokens
                for drawn in picture.findobj(Text):
                    assert isinstance(drawn, Text)
                    assert not outside(drawn.get_text(), DATA.get(name, [])), drawn.get_text()
            plt.close(picture)
    assert isinstance(figures[0], LiveFigure)
    assert not isinstance(figures[0], TransformerMap) or figures[0].blocks[0]["title"] == "⟦Embedding of the source⟧"
