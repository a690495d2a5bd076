"""The translator in the page: its tokens, logits and texts are those of the library, and it can be used by anyone."""

import base64
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from playwright.sync_api import Browser, Page

from tests.browsing import AXE
from tests.figure_page import THEMES
from tests.texts import CAPITALS, CAPITALS_STAY, LONG, RULE, SPECIAL, UNKNOWN, UNSEEN
from transformer_lib import StackConfig, Transformer
from transformer_lib.data import EOS_ID, UNKNOWN_ID, fragment_pairs, normalized, read_texts
from transformer_lib.positions import PositionScheme, Rotary, Sinusoidal
from transformer_lib.translator import Translator
from transformer_lib.widgets import TranslatorFigure
from transformer_lib.widgets.figure import source, style
from transformer_lib.widgets.translator import PIECE, packed, write_scripts

SENTENCES = [
    "The book that you gave me was interesting.",
    "Click the button to open the file (or press F5).",
    "She doesn't like 42 old houses!",
    "  two  spaces, and ⅓ of a naïve 漢字 – “quoted”; a+b=c $5 ~x",
    "x",
]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load()


@pytest.fixture(scope="module")
def page(browser: Browser, translator: Translator) -> Iterator[Page]:
    """A page with the figure's module as `m`, and the stored translator as `T`."""
    opened = browser.new_page()
    header, weights = packed(translator)
    opened.evaluate(
        """async ([code, header, text]) => {
          window.m = await import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})));
          const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
          window.T = m.assemble(header, bytes.buffer);
        }""",
        [source("translator"), header, base64.b64encode(weights).decode()],
    )
    yield opened
    opened.close()


@pytest.mark.browser
def test_tokens(page: Page, translator: Translator) -> None:
    pairs = fragment_pairs(40, torch.Generator().manual_seed(5))
    for sentence in [*SENTENCES, *(pair.english for pair in pairs), *(pair.portuguese for pair in pairs)]:
        encoded = translator.tokenizer.encode(sentence).ids
        assert page.evaluate("text => T.tokenizer.encode(text)", sentence) == encoded, sentence
        assert page.evaluate("ids => T.tokenizer.decode(ids)", encoded) == translator.decode(encoded), sentence


@pytest.mark.browser
def test_the_rule_for_text_is_that_of_python(page: Page) -> None:
    """Over every character there is, over what people type, and over random mixtures."""
    changed = {}
    for number in range(0x110000):
        if normalized(f"a{chr(number)}b") != f"a{chr(number)}b":
            changed[number] = normalized(f"a{chr(number)}b")
    found = page.evaluate(
        """() => Array.from({length: 0x110000}, (_, number) => number).flatMap(number => {
          const text = `a${String.fromCodePoint(number)}b`, other = m.normalized(text);
          return text === other ? [] : [[number, other]]; })"""
    )
    assert dict(found) == changed
    assert len(changed) > 1000  # most are letters that are written in another form
    generator = Random(0)
    signs = [
        *(chr(number) for number in changed if not 0xD800 <= number < 0xE000),
        *"abcdefghij eiou<>=",
        *("\u0301\u0327\u0338" * 20),
    ]
    mixed = ["".join(generator.choices(signs, k=12)) for _ in range(500)]
    texts = [*(text for text, _ in RULE), *SPECIAL, *UNKNOWN, *LONG, *mixed]
    # As JSON, since half a surrogate pair does not travel to the page as it is.
    expected = [normalized(text) for text in texts]
    assert page.evaluate("texts => JSON.parse(texts).map(m.normalized)", json.dumps(texts)) == expected


@pytest.mark.browser
@pytest.mark.parametrize("longest", [3, 12, 80])
def test_what_is_read_and_what_is_said_is_that_of_python(page: Page, translator: Translator, longest: int) -> None:
    texts = [*(text for text, _ in RULE), *SPECIAL, *UNKNOWN, *LONG, *SENTENCES, *CAPITALS, *CAPITALS_STAY, *UNSEEN]
    pairs = fragment_pairs(100, torch.Generator().manual_seed(7))
    generator = Random(1)
    mixed = [" ".join(generator.sample(" ".join(texts[:200]).split(" "), 9)) for _ in range(100)]
    loud = [pair.english.upper() for pair in pairs] + [text.upper() for text in mixed]
    portuguese = [pair.portuguese for pair in pairs]  # mostly words that no English sentence has
    texts += [*loud, *portuguese, *mixed, "".join(generator.choices("abcABC' .!?\"()é½ß", k=400))]
    for seen in (translator.seen, None):
        found = page.evaluate(
            "([texts, longest, seen]) => JSON.parse(texts).map("
            "text => m.readText(T.tokenizer, text, longest, seen ? T.seen : null))",
            [json.dumps(texts), longest, seen is not None],
        )
        for text, one, reading in zip(
            texts, found, read_texts(translator.tokenizer, texts, longest, seen), strict=True
        ):
            guessed = one.pop("guessed")
            expected = {"text": reading.text, "ids": list(reading.token_ids), "pieces": list(reading.pieces)}
            expected |= {"unread": reading.unread, "unknown": list(reading.unknown), "notes": list(reading.notes)}
            expected |= {"recased": reading.recased, "unseen": list(reading.unseen)}
            assert one == expected, text
            # What is marked: the pieces of these words, which no other word shares.
            marked = "".join(reading.pieces[place] for place in guessed).replace("▁", " ").lower()
            assert bool(guessed) == bool(reading.unseen)
            assert all(word.lower() in marked for word in reading.unseen)


@pytest.mark.browser
def test_letters_are_those_of_python(page: Page) -> None:
    """Of all characters that this Python knows; a browser may know newer ones."""
    known = [number for number in range(0x110000) if unicodedata.category(chr(number)) not in ("Cn", "Cs")]
    found = page.evaluate(
        "known => known.map(number => m.words(`a${String.fromCodePoint(number)}a`).length === 1)", known
    )
    assert [number for number, letter in zip(known, found, strict=True) if letter != chr(number).isalpha()] == [39]


@pytest.mark.browser
def test_names_of_special_tokens_are_text_in_the_page(page: Page) -> None:
    for text in SPECIAL:
        ids = page.evaluate("text => m.readText(T.tokenizer, text, 80).ids", text)
        assert ids[-1] == EOS_ID
        assert min(ids[:-1]) > UNKNOWN_ID


@pytest.mark.browser
def test_half_precision_numbers(page: Page) -> None:
    bits = torch.arange(0, 65536, dtype=torch.int32).to(torch.uint16)
    numbers = bits.view(torch.float16).float()
    widened = page.evaluate("() => Array.from(m.widen(Uint16Array.from({length: 65536}, (_, i) => i)), String)")
    for number, text in zip(numbers.tolist(), widened, strict=True):
        assert (number != number and text == "NaN") or float(text.replace("Infinity", "inf")) == number


@pytest.mark.browser
@pytest.mark.parametrize("sentence", SENTENCES)
def test_logits_and_looks(page: Page, translator: Translator, sentence: str) -> None:
    from transformer_lib.plots import record_attention

    source_ids = translator.encode([sentence])
    target = [1, 400, 77, 2500, 18]
    steps = page.evaluate(
        """([source, target]) => {
          const past = T.model.start(T.model.encode(source));
          return target.map(id => { const {logits, looks} = T.model.step(past, id);
            return {logits: Array.from(logits), looks}; });
        }""",
        [source_ids[0].tolist(), target],
    )
    with torch.inference_mode(), record_attention(translator.model) as record:
        logits = translator.model(source_ids, torch.tensor([target]))[0]
    torch.testing.assert_close(torch.tensor([step["logits"] for step in steps]), logits, atol=1e-3, rtol=0)
    cross = torch.stack([calls[0][0] for name, calls in record.items() if "cross" in name])  # (layer, head, query, key)
    looks = torch.tensor([step["looks"] for step in steps])  # (query, layer, head, key)
    torch.testing.assert_close(looks.permute(1, 2, 0, 3), cross, atol=1e-4, rtol=0)


@pytest.mark.browser
@pytest.mark.parametrize("positions", [Sinusoidal(), Rotary(), Rotary(base=50.0)], ids=repr)
def test_positions_of_either_kind(page: Page, translator: Translator, positions: PositionScheme) -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": 24, "n_heads": 3, "d_ff": 16, "pre_norm": True, "positions": positions}
    size = translator.tokenizer.get_vocab_size()
    model = Transformer(size, StackConfig(n_layers=2, **shape), decoder=StackConfig(n_layers=2, **shape))
    for weight in model.parameters():  # not small, so that attention is sharp and the order matters
        weight.data = (weight.data + 0.3 * torch.randn_like(weight)).half().float()
    header, weights = packed(Translator(model.eval(), translator.tokenizer, {}))
    source, target = [7, 400, 9, 31, 2], [1, 400, 77, 2500, 400, 18]
    found = page.evaluate(
        """([header, text, source, target]) => {
          const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
          const { model } = m.assemble(header, bytes.buffer), past = model.start(model.encode(source));
          return target.map(id => Array.from(model.step(past, id).logits));
        }""",
        [header, base64.b64encode(weights).decode(), source, target],
    )
    with torch.inference_mode():
        logits = model(torch.tensor([source]), torch.tensor([target]))[0]
    torch.testing.assert_close(torch.tensor(found), logits, atol=1e-3, rtol=1e-4)


@pytest.mark.browser
@pytest.mark.parametrize("beams", [1, 4])
def test_texts(page: Page, translator: Translator, beams: int) -> None:
    pairs = fragment_pairs(12, torch.Generator().manual_seed(6))
    for sentence in [*SENTENCES[:3], *(pair.english for pair in pairs)]:
        written = page.evaluate(
            """([ids, beams]) => { let text;
              for (text of m.write(T.model, T.model.encode(ids), beams, 80));
              return T.tokenizer.decode(text.map(token => token.id)); }""",
            [translator.encode([sentence])[0].tolist(), beams],
        )
        assert [written] == translator.translate([sentence], beams=beams)


@pytest.mark.browser
def test_a_text_grows_token_by_token(page: Page, translator: Translator) -> None:
    lengths = page.evaluate(
        "ids => [...m.write(T.model, T.model.encode(ids), 1, 80)].map(text => text.length)",
        translator.encode(SENTENCES[:1])[0].tolist(),
    )
    assert lengths == list(range(1, len(lengths) + 1))
    cut = page.evaluate(
        "ids => [...m.write(T.model, T.model.encode(ids), 4, 3)].at(-1).length",
        translator.encode(SENTENCES[:1])[0].tolist(),
    )
    assert cut == 3


# ---- The figure.


def bare_page(folder: Path, figure: TranslatorFigure) -> Path:
    """A page with nothing but the figure, as the book's pages hold it."""
    hidden = ("layout", "tabbable", "tooltip", "comm")
    state = {name: value for name, value in figure.get_state().items() if name not in hidden}
    stored = json.dumps({"state": {"figure-1": {"state": state}}})
    loader = (Path(__file__).parent.parent / "_static" / "figures.js").read_text(encoding="utf-8")
    path = folder / "page.html"
    path.write_text(
        f"""<!doctype html><html lang="en" data-content_root="./"><meta charset="utf-8"><title>A figure</title>
        <style>{style()}</style>
        <div class="figure-place" data-model="figure-1"></div>
        <script type="application/vnd.jupyter.widget-state+json">{stored}</script><script>{loader}</script></html>""",
        encoding="utf-8",
    )
    return path


@pytest.mark.browser
def test_used_by_keyboard_from_disk(browser: Browser, translator: Translator, tmp_path: Path) -> None:
    write_scripts(tmp_path / "_static" / "translator", translator)
    figure = TranslatorFigure(translator, examples=["You gave me a good book."])
    opened = browser.new_page(viewport={"width": 800, "height": 900}, reduced_motion="reduce")
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request", lambda request: None if request.url.startswith(("file:", "blob:")) else faults.append(request.url)
    )
    opened.goto(bare_page(tmp_path, figure).as_uri())
    opened.get_by_role("button", name="Load the translator").focus()
    opened.keyboard.press("Enter")
    field = opened.get_by_label("English")
    field.wait_for()
    status = opened.locator(".lf-whole")
    notes = opened.get_by_role("status", name="What is not read")

    def state() -> dict[str, Any]:
        return dict(opened.locator(".figure-place").evaluate("place => place.model.state"))

    def expect(sentence: str, beams: int, done: int) -> None:
        opened.wait_for_function("done => document.querySelector('.figure-place').model.state.done === done", arg=done)
        [expected] = translator.translate([sentence], beams=beams)
        assert status.inner_text() == expected
        assert notes.inner_text() == ""
        assert (state()["translation"], state()["sentence"], state()["beams"]) == (expected, sentence, beams)

    expect(SENTENCES[0], 1, done=1)
    field.fill("The girl reads the small letter.")
    opened.keyboard.press("Enter")
    expect("The girl reads the small letter.", 1, done=2)
    opened.get_by_label("search").select_option("four beams")
    expect("The girl reads the small letter.", 4, done=3)
    opened.get_by_label("or an example").select_option("You gave me a good book.")
    expect("You gave me a good book.", 4, done=4)

    # Typed as a phone does, with what nobody sees: the translation is that of the plain text, and so is what is kept.
    field.fill(" The man’s\u00a0bo\u00adok\u200b was “good” ")
    opened.keyboard.press("Enter")
    expect('The man\'s book was "good"', 4, done=5)
    field.fill("You gave me a good book.")
    opened.keyboard.press("Enter")
    expect("You gave me a good book.", 4, done=6)

    tokens = opened.get_by_role("toolbar", name="Translation, token by token").get_by_role("button")
    tokens.nth(2).focus()
    assert tokens.nth(2).get_attribute("aria-pressed") == "true"
    weights = [float(text) for text in opened.locator(".lf-tokens small").all_inner_texts()]
    assert sum(weights) == pytest.approx(1.0, abs=0.05)
    assert len(weights) == translator.encode(["You gave me a good book."]).size(1)
    assert opened.locator(".lf-rivals li").count() == 5
    opened.keyboard.press("ArrowRight")
    assert [token.get_attribute("aria-pressed") for token in tokens.all()[2:4]] == ["false", "true"]
    opened.evaluate(AXE)
    found = opened.evaluate("axe.run('.live-figure', {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert faults == []
    opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_not_read_is_said(
    browser: Browser,
    translator: Translator,
    tmp_path: Path,
    theme: str,
) -> None:
    write_scripts(tmp_path / "_static" / "translator", translator)
    opened = browser.new_page(viewport={"width": 360, "height": 900}, reduced_motion="reduce")
    opened.goto(bare_page(tmp_path, TranslatorFigure(translator)).as_uri())
    opened.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
    colors = f"html{{{THEMES[theme]};background:var(--pst-color-background);color:var(--pst-color-text-base)}}"
    opened.add_style_tag(content=colors)
    opened.get_by_role("button", name="Load the translator").click()
    field, notes = opened.get_by_label("English"), opened.get_by_role("status", name="What is not read")
    field.wait_for()
    done = 1

    def translate(text: str) -> None:
        nonlocal done
        done += 1
        opened.wait_for_function(
            "done => document.querySelector('.figure-place').model.state.done === done", arg=done - 1
        )
        field.fill(text)
        field.press("Enter")

    texts = [LONG[2], "The <eos> book", CAPITALS[0], LONG[0], UNKNOWN[0], "THE zookeeper's 😀 naïve HOUSE"]
    for text in texts if theme == "light" else texts[4:]:
        translate(text)
        opened.wait_for_function("done => document.querySelector('.figure-place').model.state.done === done", arg=done)
        assert field.input_value() == text  # nothing is cut from what was typed or pasted
        expected = translator.translate([text])
        [reading] = expected.readings
        assert notes.locator("p").all_inner_texts() == list(expected.notes[0])
        assert opened.locator(".lf-whole").inner_text() == expected[0]
        tokens = opened.locator(".lf-tokens[lang=en] > .lf-token").evaluate_all(
            "all => all.map(token => token.firstChild.textContent)"
        )
        assert len(tokens) == len(reading.token_ids) <= 80
        assert [token for token in tokens if "unknown" in token] == [
            f"{piece} (unknown)"
            for piece, number in zip(reading.pieces, reading.token_ids, strict=True)
            if number == UNKNOWN_ID
        ]
        heard = opened.locator(".lf-tokens .lf-heard")
        assert sorted(set(heard.all_text_contents())) == ["(never seen in training)"] * bool(reading.unseen)
        assert heard.count() == opened.locator(".lf-tokens .lf-token > u").count()
        assert opened.locator(".lf-cut").all_inner_texts() == ["not read from here"] * bool(reading.unread)
        weights = [float(shown) for shown in opened.locator(".lf-tokens small").all_inner_texts()]
        assert sum(weights) == pytest.approx(1.0, abs=0.4)  # eighty numbers, each rounded to hundredths
        assert opened.evaluate("document.documentElement.scrollWidth <= 360")
    # What was never seen is underlined by dots in the color of the text, as wide as the number below it at least.
    marked = opened.locator(".lf-tokens .lf-token > u")
    assert "".join(marked.all_inner_texts()) == "·zookeeper"
    for mark in marked.all():
        line, same, missing = mark.evaluate("""mark => {
          const {borderBottomStyle, borderBottomWidth, borderBottomColor, color} = getComputedStyle(mark);
          return [`${borderBottomWidth} ${borderBottomStyle}`, borderBottomColor === color,
            mark.parentElement.querySelector("small").offsetWidth - mark.offsetWidth]; }""")
        assert (line, same) == ("2px dotted", True)
        assert missing <= 0
    heights = {
        round(height)
        for height in opened.locator(".lf-tokens[lang=en] > .lf-token").evaluate_all(
            "all => all.map(token => token.getBoundingClientRect().height)"
        )
    }
    assert len(heights) == 1
    opened.evaluate(AXE)
    found = opened.evaluate("axe.run('.live-figure', {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    for text in ("", " ", "\u200b\t"):
        field.fill(text)
        field.press("Enter")
        assert notes.inner_text() == "There is nothing to translate: the sentence is empty."
        assert opened.locator(".lf-token").count() == 0
        assert opened.locator(".lf-whole").inner_text() == ""
    opened.close()


@pytest.mark.browser
def test_missing_weights_are_told(browser: Browser, translator: Translator, tmp_path: Path) -> None:
    opened = browser.new_page()
    opened.goto(bare_page(tmp_path, TranslatorFigure(translator)).as_uri())
    opened.get_by_role("button", name="Load the translator").click()
    opened.get_by_role("button", name="are not where the page expects them").wait_for()
    opened.close()


# ---- In Python.


def test_the_kernel_sends_the_weights(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = TranslatorFigure(translator)
    sent: list[Any] = []
    monkeypatch.setattr(figure, "send", lambda content, buffers: sent.append((content, buffers)))
    figure._answer(figure, {"want": "something else"}, [])
    figure._answer(figure, {"want": "weights"}, [])
    [(header, [weights])] = sent
    last = header["tensors"][-1]
    assert last["start"] + 2 * last["count"] == len(weights) == 2 * sum(t["count"] for t in header["tensors"])
    assert header["pieces"] == -(-len(weights) // PIECE)


def test_a_model_that_the_page_cannot_run(translator: Translator) -> None:
    for changes in ({"positions": "alibi"}, {"positions": Rotary(interleaved=False)}, {"qk_norm": True}):
        config = StackConfig(d_model=12, n_heads=2, n_layers=1, d_ff=8, pre_norm=True, **changes)  # type: ignore[arg-type]
        other = Translator(Transformer(5000, config), translator.tokenizer, {})
        with pytest.raises(ValueError, match="pre-norm layers with ReLU, rotary or sinusoidal positions"):
            TranslatorFigure(other)
    with pytest.raises(ValueError, match="beams must be 1 or 4"):
        TranslatorFigure(translator, beams=3)


def test_sentences_and_examples_are_judged(translator: Translator) -> None:
    with pytest.raises(ValueError, match="no empty one"):
        TranslatorFigure(translator, sentence="\u200b ")
    with pytest.raises(ValueError, match="no empty one"):
        TranslatorFigure(translator, examples=["The book.", ""])
    with pytest.raises(TypeError, match="examples must be a list of strings; got a single string"):
        TranslatorFigure(translator, examples="The book.")
    with pytest.raises(TypeError, match="got NoneType at place 0"):
        TranslatorFigure(translator, examples=(text for text in [None]))  # type: ignore[misc]
    figure = TranslatorFigure(translator, examples=(text for text in ["The book.", "The book."]))
    assert figure.examples == [figure.sentence, "The book."]
    assert figure.longest == translator.longest


def test_its_still_picture_tells_what_is_not_read(translator: Translator) -> None:
    def labels(sentence: str) -> tuple[list[str], str]:
        picture = TranslatorFigure(translator, sentence=sentence).picture()
        [ax] = [ax for ax in picture.axes if ax.get_title()]
        found = [label.get_text() for label in ax.get_xticklabels()], ax.get_title()
        plt.close(picture)
        return found

    columns, title = labels("The 😀 book")
    assert columns == ["·The", "·", "unknown", "·book", "end"]
    assert "beginning" not in title
    columns, title = labels(LONG[0])
    assert columns[-1] == "end"
    assert len(columns) <= 80
    assert title.endswith("\n(only the beginning of the sentence is read)")


def test_its_still_picture_and_name(translator: Translator) -> None:
    bundle = TranslatorFigure(translator)._repr_mimebundle_()[0]
    assert bundle["text/plain"] == "TranslatorFigure('The book that you gave me was interesting.')"
    assert bundle["image/png"].startswith(b"\x89PNG")
