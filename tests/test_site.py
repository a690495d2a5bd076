"""The built site in headless Chromium, as readers meet it: over http, and opened from disk.

Needs the pages in _build/html, which `make test` builds first.
"""

import functools
import importlib.util
import io
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from playwright.sync_api import Browser

from tests.browsing import (
    AXE,
    CHAPTERS,
    FETCH_PICTURES,
    LUMINANCE,
    PAGES,
    ROOT,
    SITE,
    Visit,
    chapter_page,
    fonts_of,
    in_theme,
)
from transformer_lib.exercises import exercises
from transformer_lib.exercises import find as find_exercise

# Pages that Sphinx makes by itself, without an article's frame; index.html only leads to intro.html.
BARE = ("index.html", "genindex.html", "py-modindex.html", "search.html")
every_page = pytest.mark.parametrize("page_name", PAGES)
every_chapter = pytest.mark.parametrize("page_name", CHAPTERS)


def test_the_site_is_built() -> None:
    assert {"intro.html", "library.html", "glossary.html", "search.html"} <= set(PAGES), "run `make book` first"
    assert len(CHAPTERS) == len(list((ROOT / "chapters").glob("*.ipynb")))


@pytest.fixture(scope="module", params=PAGES)
def visited(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[tuple[str, Visit]]:
    """A page, opened once for all that is asked of it, with its figures awake and its pictures there."""
    with Visit(browser, f"{address}/{request.param}") as visit:
        for place in visit.page.locator(".figure-place").all():
            place.and_(visit.page.locator(".awake")).wait_for()
        visit.page.evaluate(FETCH_PICTURES)
        visit.page.add_script_tag(content=LUMINANCE)
        yield request.param, visit


@pytest.mark.browser
def test_page_is_whole(visited: tuple[str, Visit]) -> None:
    page_name, visit = visited
    page = visit.page
    images = page.eval_on_selector_all(
        "img", "all => all.map(i => ({src: i.src, alt: i.alt, loaded: i.complete && i.naturalWidth > 0}))"
    )
    # The theme's logo stands beside the book's name, so its alternative text may be empty.
    silent = page.eval_on_selector_all(".bd-article img", "all => all.filter(i => !i.alt.trim()).map(i => i.src)")
    headings = page.locator(".bd-article h1").count()
    text = page.locator("main").inner_text()
    # MathJax shows a formula that it cannot read as an error, and a command that it does not know in red.
    broken_maths = page.locator("mjx-merror, [data-mjx-error], mjx-container [style*='color: red']").count()
    unset = page.eval_on_selector_all(".math", "all => all.filter(m => !m.querySelector('mjx-container')).length")
    # A formula that may scroll is cut at its edge.
    cut = page.eval_on_selector_all(
        ".bd-article mjx-container[display=true]",
        """all => all.filter(m => m.checkVisibility() && [...m.querySelectorAll("mjx-c")].some(
          (sign) => sign.getBoundingClientRect().top < m.getBoundingClientRect().top + 2)).length""",
    )
    assert visit.faults == []
    assert [image["src"] for image in images if not image["loaded"]] == []
    assert silent == []
    if page_name not in BARE:
        assert headings == 1
    assert broken_maths == 0
    assert unset == 0
    assert cut == 0
    assert "$$" not in text
    assert not re.search(r"\{(ref|cite|doc|math|term)[:}]", text), "a role was not understood"


@pytest.mark.browser
@every_page
def test_page_fits_a_phone(browser: Browser, address: str, page_name: str) -> None:
    with Visit(browser, f"{address}/{page_name}", width=360) as visit:
        page = visit.page
        width = page.evaluate("document.documentElement.scrollWidth")
        if page_name == "index.html":
            return
        cut = page.eval_on_selector_all(
            ".bd-article img, .bd-article p, .bd-article h1, .bd-article h2",
            "all => all.filter(e => e.getBoundingClientRect().right > 361"
            " && !e.closest('.wide, .pst-scrollable-table-container, table')).map(e => e.outerHTML.slice(0, 80))",
        )
        size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('main')).fontSize)")
    assert width <= 360
    assert cut == []
    assert size >= 15


@pytest.mark.browser
def test_page_is_readable(visited: tuple[str, Visit]) -> None:
    page_name, visit = visited
    if page_name == "index.html":
        pytest.skip("it only leads to intro.html")
    weak = []
    for theme in ("dark", "light"):
        in_theme(visit.page, theme)
        weak += visit.page.evaluate(
            """theme => [...document.querySelectorAll('.bd-article *')]
              .filter(e => e.matches('h1, h2, h3, p, li, td, a, code, pre span, pre, summary, .admonition-title'))
              .filter(e => e.innerText.trim() && e.offsetParent && contrast(e) < 4.5)
              .map(e => theme + ' ' + contrast(e).toFixed(2) + ' ' + e.outerHTML.slice(0, 90))""",
            theme,
        )
    assert sorted(set(weak))[:10] == []


# axe looks for what lies behind each word by itself, half a minute on a long page of code. Words that are set alike,
# within the same elements of the same classes, have the same colors, so one of them is enough.
ONE_OF_EACH = """() => {
  const name = (e) => [e.tagName, e.closest(".bd-article") ? "" : e.id, e.className, e.getAttribute("style")].join();
  const way = (e) => (e ? `${way(e.parentElement)} ${name(e)}` : "");
  const text = (e) => [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const all = [...document.body.querySelectorAll("*")].filter((e) => text(e) && e.checkVisibility());
  return [...new Map(all.map((e) => [way(e), e])).values()];
}"""
COLORS = ["color-contrast", "link-in-text-block"]


@pytest.mark.browser
def test_page_is_made_for_everyone(visited: tuple[str, Visit]) -> None:
    page_name, visit = visited
    if page_name == "index.html":
        pytest.skip("it only leads to intro.html")
    page = visit.page
    page.evaluate(AXE)
    # A theme changes colors alone.
    rest = {rule: {"enabled": False} for rule in COLORS}
    results = [page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], rules})", rest)]
    for theme in ("dark", "light"):
        in_theme(page, theme)
        run = f"rules => axe.run({{include: ({ONE_OF_EACH})()}}, {{resultTypes: ['violations'], runOnly: rules}})"
        results.append(page.evaluate(run, COLORS))
    found = [
        (one["id"], one["nodes"][0]["html"][:120], one["help"]) for result in results for one in result["violations"]
    ]
    assert found == []


# Of each way in which text is set: an element, and the signs that stand so somewhere on the page.
WAYS = """() => {
  const ways = new Map(), aside = "mjx-container, script, style, noscript";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, text = walk.currentNode.textContent;
    if (!text.trim() || !element.checkVisibility() || element.closest(aside)) continue;
    const { fontFamily, fontStyle, fontWeight } = getComputedStyle(element);
    const key = [fontFamily.split(",")[0].replaceAll('"', ""), fontStyle, fontWeight].join("|");
    if (!ways.has(key)) {
      element.dataset.way = ways.size;
      ways.set(key, { number: ways.size, signs: new Set(), sample: element.outerHTML.slice(0, 90) });
    }
    for (const sign of text) ways.get(key).signs.add(sign);
  }
  return [...ways].map(([key, { number, signs, sample }]) => [key, number, [...signs].join(""), sample]);
}"""


@pytest.mark.browser
def test_all_text_is_in_the_book_s_fonts(visited: tuple[str, Visit]) -> None:
    page_name, visit = visited
    if page_name == "index.html":
        pytest.skip("it only leads to intro.html")
    served = [TTFont(path) for path in sorted((SITE / "_static" / "fonts").glob("*.woff2"))]
    families = {font["name"].getDebugName(1) for font in served}
    signs_of_all = set().union(*(font.getBestCmap() for font in served))
    ways = visit.page.evaluate(WAYS)
    assert {key.split("|")[0] for key, *_ in ways} <= families
    for key, number, signs, sample in ways:
        assert {sign for sign in signs if not sign.isspace() and ord(sign) not in signs_of_all} == set(), sample
        drawn = fonts_of(visit.page, f'[data-way="{number}"]')
        assert drawn <= {(family, True) for family in families}, sample
        assert (key.split("|")[0], True) in drawn, sample
    icons = visit.page.evaluate(
        """() => [...document.querySelectorAll("body *")].flatMap((e) => ["::before", "::after"].map(
            (which) => getComputedStyle(e, which)).filter((s) => s.fontFamily.includes("Awesome"))
            .map((s) => s.content.replaceAll('"', ""))).filter((sign) => sign && sign !== "none")"""
    )
    [path] = SITE.glob("_static/vendor/fontawesome/*/webfonts/fa-solid-900.woff2")
    assert set(map(ord, "".join(icons))) <= set(TTFont(path).getBestCmap())
    assert path.stat().st_size < 10_000, "the icons that no page shows are left out"


@pytest.mark.browser
@every_chapter
def test_figures_blend_with_a_dark_page(browser: Browser, address: str, page_name: str) -> None:
    with Visit(browser, f"{address}/{page_name}", theme="dark") as visit:
        for place in visit.page.locator(".figure-place").all():  # their pictures go when they wake
            place.and_(visit.page.locator(".awake")).wait_for()
        visit.page.evaluate(FETCH_PICTURES)
        figures = visit.page.locator("div.cell_output img")
        assert figures.count() > 0
        picture = Image.open(io.BytesIO(figures.first.screenshot())).convert("L")
        visit.page.add_script_tag(content=LUMINANCE)
        page_ground = visit.page.evaluate(
            "() => ground(document.querySelector('.bd-article')).match(/[\\d.]+/g).slice(0, 3).map(Number)"
        )
    # Two places near each corner: the picture's own ground, whether or not the theme puts a margin around it.
    corners = [
        picture.getpixel((x, y))
        for inset in (2, 7)  # a title may begin soon after
        for x in (inset, picture.width - 1 - inset)
        for y in (inset, picture.height - 1 - inset)
    ]
    average = sum(page_ground) / 3
    assert all(abs(corner - average) < 8 for corner in corners)
    assert picture.getextrema()[1] > 150, "nothing is bright, so nothing can be read"


@pytest.mark.browser
@pytest.mark.parametrize("page_name", ["intro.html", *CHAPTERS[:2]])
def test_page_works_from_disk(browser: Browser, page_name: str) -> None:
    with Visit(browser, (SITE / page_name).as_uri()) as visit:
        visit.page.evaluate(FETCH_PICTURES)
        loaded = visit.page.eval_on_selector_all("img", "all => all.every(i => i.complete && i.naturalWidth > 0)")
        maths = visit.page.locator("mjx-container").count()
        icons = visit.page.locator("svg.svg-inline--fa, i.fa-solid, i.fas").count()
    assert visit.faults == []
    assert loaded
    assert icons > 0
    if page_name in CHAPTERS:
        assert maths > 0


@pytest.mark.browser
@pytest.mark.parametrize("from_disk", [False, True], ids=["http", "disk"])
def test_search_finds_a_chapter(browser: Browser, address: str, from_disk: bool) -> None:
    url = (SITE / "search.html").as_uri() if from_disk else f"{address}/search.html"
    with Visit(browser, f"{url}?q=temperature") as visit:
        visit.page.locator("#search-results li a").first.wait_for(timeout=10_000)
        found = visit.page.locator("#search-results").inner_text()
    assert "Scaled dot-product attention" in found


@pytest.mark.browser
def test_folded_code_opens_by_keyboard(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/{chapter_page('scaled')}") as visit:
        folded = visit.page.locator("details.hide").first
        assert folded.get_attribute("open") is None
        folded.locator("summary").focus()
        visit.page.keyboard.press("Enter")
        assert folded.get_attribute("open") is not None


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_exercise_on_its_page(browser: Browser, address: str, theme: str) -> None:
    exercise = find_exercise("scaled-window")
    with Visit(browser, f"{address}/{chapter_page('scaled')}", theme=theme) as visit:
        page = visit.page
        box = page.locator("#ex-scaled-window")
        hints = box.locator("details.sd-dropdown")
        assert hints.count() == len(exercise.hints)
        hints.nth(1).locator("summary").click()
        assert exercise.hints[1].replace("`", "") in hints.nth(1).inner_text()
        assert exercise.hints[2].replace("`", "") not in hints.nth(2).inner_text()
        panel = page.locator(".exercise-report", has_text=exercise.title)
        assert "Not attempted yet" in panel.inner_text()
        page.add_script_tag(content=LUMINANCE)
        assert panel.evaluate("contrast") > 4.5
        grounds = panel.evaluate("panel => [ground(panel), ground(document.body)].map(luminance)")
        assert abs(grounds[0] - grounds[1]) < 0.3, "the panel keeps the page's ground"


@pytest.mark.browser
def test_all_exercises_are_listed(browser: Browser, address: str) -> None:
    with Visit(browser, f"{address}/exercises.html") as visit:
        rows = visit.page.locator(".bd-article tbody tr")
        assert rows.count() == len(exercises())
        core = rows.filter(has=visit.page.locator("span.core")).locator("a").all_inner_texts()
        assert core == [exercise.title for exercise in exercises().values() if exercise.core]
        rows.nth(len(exercises()) // 2).locator("a").click()
        visit.page.wait_for_load_state("networkidle")
        assert urldefrag(visit.page.url).fragment.startswith("ex-")
        assert visit.page.locator(f"#{urldefrag(visit.page.url).fragment}").is_visible()


class Links(HTMLParser):
    """A page's anchors, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids |= {value for name in ("id", "name") if (value := values.get(name))}
        for name in ("href", "src"):
            value = values.get(name)
            if value and tag in ("a", "img", "script", "link"):
                self.targets.append(value)


@functools.cache
def links(path: Path) -> Links:
    parser = Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


@every_page
def test_links_lead_somewhere(page_name: str) -> None:
    page = SITE / page_name
    broken = []
    for target in links(page).targets:
        if urlsplit(target).scheme or target.startswith("//"):
            continue
        name, fragment = urldefrag(target)
        path = (page.parent / unquote(urlsplit(name).path)).resolve() if name else page
        if not path.is_file() or (fragment and path.suffix == ".html" and unquote(fragment) not in links(path).ids):
            broken.append(target)
    assert [target for target in broken if target != "#"] == []


def test_docstrings_are_read_as_meant() -> None:
    # A colon in the first line of what a function returns, or of a property, turns the line into a type.
    page = re.sub(r"<[^>]*>", "", (SITE / "library.html").read_text(encoding="utf-8"))
    assert "Parameters:" in page
    assert re.findall(r"^(?:Return type|Type):\n.*", page, re.M) == []
    assert "jaxtyping" not in page


@every_chapter
def test_without_an_address_there_are_no_launch_buttons(page_name: str) -> None:
    if os.environ.get("BOOK_REPOSITORY"):
        pytest.skip("BOOK_REPOSITORY is set")
    page = (SITE / page_name).read_text(encoding="utf-8")
    assert "mybinder.org" not in page
    assert "colab.research" not in page


def extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location("book_extension", ROOT / "_ext" / "book.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_address_yields_launch_buttons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/someone/attention.git")
    config = SimpleNamespace(html_theme_options={"use_download_button": True})
    extension().set_repository(None, config)
    options = config.html_theme_options
    assert options["repository_url"] == "https://github.com/someone/attention"
    assert options["use_repository_button"] is True
    assert options["use_download_button"] is True
    assert {"colab_url", "binderhub_url"} <= set(options["launch_buttons"])


def test_no_address_leaves_the_options_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    config = SimpleNamespace(html_theme_options={"use_download_button": True})
    extension().set_repository(None, config)
    assert config.html_theme_options == {"use_download_button": True}


@pytest.mark.parametrize("address", ["github.com/someone/attention", "https://github.com/someone"])
def test_a_wrong_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY", address)
    with pytest.raises(ValueError, match="must look like https://"):
        extension().set_repository(None, SimpleNamespace(html_theme_options={}))
