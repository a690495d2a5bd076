"""Predictions on the built pages: answered without a kernel, by what the exercises' declarations compute."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, Locator

from tests.browsing import AXE, Visit, chapter_page, in_theme
from tests.test_exercises import wrong_answer
from transformer_lib.exercises import examine, exercises, find
from transformer_lib.exercises.engine.exercise import Predict

PREDICTIONS = [exercise for exercise in exercises().values() if isinstance(exercise, Predict)]
RIGHT, KIND, OTHER = "Right.", "Answer with", "Not this."
pytestmark = pytest.mark.browser
each = pytest.mark.parametrize("exercise", PREDICTIONS, ids=lambda exercise: exercise.id)


@pytest.fixture(scope="module")
def visits(browser: Browser, address: str) -> Iterator[dict[str, Visit]]:
    """The chapters' pages, each opened once."""
    chapters = dict.fromkeys(exercise.chapter for exercise in PREDICTIONS)
    opened = {key: Visit(browser, f"{address}/{chapter_page(key)}") for key in chapters}
    yield opened
    for visit in opened.values():
        visit.__exit__()


def form_of(visit: Visit, name: str) -> Locator:
    return visit.page.locator(f"#ex-{name} form.prediction")


def answer(form: Locator, given: object) -> str:
    """What the page says of an answer; a text is typed as it is, or chosen."""
    if form.locator("fieldset").count():
        form.locator("input").and_(form.page.locator(f"[value='{json.dumps(given)}']")).check()
    else:
        form.locator("input").fill(given if isinstance(given, str) else repr(given))
    form.locator("button").click()
    return said(form)


def said(form: Locator) -> str:
    """What the page says, with a dollar for each formula, once it is set."""
    status = form.locator("[role=status]")
    status.locator(".math:not(:has(mjx-container))").wait_for(state="detached")
    status.locator(".math").evaluate_all("all => all.forEach((formula) => (formula.textContent = '$'))")
    return status.inner_text()


def straight(text: str) -> str:
    """A text without its marks, line breaks and typographic signs, and with a dollar for each formula."""
    signs = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})
    return re.sub(r"\s+", " ", re.sub("[`*]", "", re.sub(r"\$[^$]+\$", "$", text))).strip().translate(signs)


@each
def test_each_answer_is_told_what_it_is(visits: dict[str, Visit], exercise: Predict) -> None:
    visit = visits[exercise.chapter]
    form = form_of(visit, exercise.id)
    for mistake in exercise.mistakes:
        wrong = wrong_answer(exercise, mistake.name)
        passage = examine(exercise, wrong, isolated=False).see
        assert straight(answer(form, wrong)) == straight(f"{mistake.says} See {passage}."), mistake.name
        assert not form.locator(".solved").is_visible()
        address = urljoin(visit.page.url, form.locator("[role=status] a").last.get_attribute("href") or "")
        page, fragment = urldefrag(address)
        target = next(one.page for one in visits.values() if urldefrag(one.page.url).url == page)
        heading = target.evaluate(
            "id => document.getElementById(id).closest('section').querySelector('h2, h3, h4').firstChild.data", fragment
        )
        assert passage.startswith(f"“{heading}”")
    assert answer(form, exercise.reference()).startswith(RIGHT)
    assert form.locator(".solved").is_visible()
    assert visit.faults == []


@pytest.mark.parametrize(
    ("name", "typed", "told"),
    [
        ("attention-shapes", "torch.Size([3, 4, 7, 9]), torch.Size([3, 4, 7, 10])", RIGHT),
        ("attention-shapes", "[[3, 4, 7, 9.0], (3, 4, 7, +10,),]", RIGHT),
        ("encoder-mirror", "“None”, ‘alibi’", RIGHT),
        ("encoder-mirror", "none, alibi", RIGHT),
        ("layers-twice", "false, TRUE, True", RIGHT),
        ("translator-noam", "4_000, 6.98771e-1", RIGHT),
        ("why-nothing-fits", "140.04", RIGHT),
        ("why-nothing-fits", "(140)", RIGHT),
        ("why-nothing-fits", "140.06", OTHER),
        ("why-nothing-fits", "−140", OTHER),
        ("layers-twice", "True, False, False", OTHER),
        ("layers-twice", "0, 1, 1", KIND),
        ("attention-shapes", "(3, 4, 7, 9)", KIND),
        *(
            ("why-nothing-fits", typed, KIND)
            for typed in ("140 grams", "140,", "[140", "140)", "1 4", "True", "'", " ")
        ),
    ],
)
def test_an_answer_may_be_written_in_many_ways(visits: dict[str, Visit], name: str, typed: str, told: str) -> None:
    assert answer(form_of(visits[find(name).chapter], name), typed).startswith(told)


def test_the_keyboard_is_enough(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/{chapter_page('decoding')}") as visit:
        form, keyboard = form_of(visit, "decoding-greedy"), visit.page.keyboard
        form.locator("input").first.focus()
        keyboard.press("ArrowDown")
        keyboard.press("Tab")
        assert form.locator("button").evaluate("button => button === document.activeElement")
        keyboard.press("Enter")
        mistake = next(one for one in find("decoding-greedy").mistakes if one.wrong == "b")
        assert straight(mistake.says) in straight(said(form))


def test_a_form_is_made_for_everyone(visits: dict[str, Visit]) -> None:
    for name, wrong in (("positions-shift", "b"), ("self-twice", "8, 0")):
        visit = visits[find(name).chapter]
        visit.page.set_viewport_size({"width": 390, "height": 900})
        answer(form_of(visit, name), wrong)
        visit.page.evaluate(AXE)
        for theme in ("dark", "light"):
            in_theme(visit.page, theme)
            found = visit.page.evaluate("id => axe.run(document.getElementById(id))", f"ex-{name}")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_javascript_the_solution_is_open(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in ("positions-shift", "self-twice"):
        page.goto(f"{address}/{chapter_page(find(name).chapter)}")
        box = page.locator(f"#ex-{name}")
        assert box.locator("input:visible, button:visible, .solved:visible, [role=status] *").count() == 0
        assert page.locator(".solution", has=page.locator(f"a[href$='#ex-{name}']")).locator("p").last.is_visible()
    choices = find("positions-shift").options  # type: ignore[attr-defined]
    page.goto(f"{address}/{chapter_page('positions')}")
    shown = page.locator("#ex-positions-shift label").all_inner_texts()
    assert [text.split(maxsplit=1) for text in shown] == [[letter, text] for letter, text in choices.items()]
    page.goto(f"{address}/exercises.html")
    assert not page.locator(".progress-here").is_visible()
    context.close()


def test_what_is_solved_is_remembered_and_can_be_forgotten(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/{chapter_page('why')}") as visit:
        page = visit.page
        form = form_of(visit, "why-nothing-fits")
        answer(form, "100")
        page.reload()
        assert not form.locator(".solved").is_visible()
        answer(form, "140")
        answer(form, "100")
        page.reload()
        assert form.locator(".solved").is_visible()
        page.goto(f"{address}/exercises.html")
        progress, marks = page.locator(".progress-here"), page.locator("td .solved")
        assert f"1 of {len(PREDICTIONS)}" in progress.inner_text()
        assert marks.count() == 1
        assert find("why-nothing-fits").title in marks.locator("..").inner_text()
        progress.locator("button").click()
        assert "none" in progress.inner_text()
        assert marks.count() == 0
        page.goto(f"{address}/{chapter_page('why')}")
        assert not form.locator(".solved").is_visible()
        assert visit.faults == []


def test_a_browser_that_keeps_nothing_judges_all_the_same(visits: dict[str, Visit], address: str) -> None:
    visit = visits["why"]
    page = visit.context.new_page()
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('refused'); }})"
    )
    # The theme reads its storage unguarded, so only what the form says is asked for.
    page.goto(f"{address}/{chapter_page('why')}")
    assert answer(page.locator("#ex-why-nothing-fits form.prediction"), "140").startswith(RIGHT)
    page.close()
