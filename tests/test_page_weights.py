"""What a page costs its reader: bytes, the wait for the first text, and things that move while one reads.

The pages come over http from a server that compresses text, as every real one does. Also tested here is the moving
picture that the README shows.
"""

import functools
import gzip
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request

from tests.browsing import CHAPTERS, OBSERVER, ROOT, Quiet, serving, wait_for_fonts
from tests.test_figures_placed import PLACES
from tools import moving_picture

READ = ["intro.html", *CHAPTERS]
MOST_BYTES, MOST_TIMES, MOST_SHIFT = 1_000_000, 12, 0.005
WEIGHTS = "/_static/translator/"  # ten megabytes, fetched when the reader asks for a translation
# Hold the figures back until the test says `wake()`.
HOLD = """
const listen = document.addEventListener;
document.addEventListener = function (type, listener, ...options) {
  if (document.currentScript?.src.includes("_static/figures.js")) window.wake = listener;
  else listen.call(this, type, listener, ...options);
};
"""
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Past all of the page; pictures come when they are near.
SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let top = 0; top < document.documentElement.scrollHeight; top += 800) {
    window.scrollTo({ top, behavior: "instant" });
    await frame();
  }
  await Promise.all([...document.querySelectorAll(".bd-article img")].map((image) => image.decode()));
  await frame();
  await frame();
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of the built site that compresses text."""

    @functools.cache
    def packed(path: Path) -> bytes:
        return gzip.compress(path.read_bytes(), 6)

    class Packing(Quiet):
        def do_GET(self) -> None:
            path, kind = Path(self.translate_path(self.path)), self.guess_type(self.path.split("?")[0])
            if not path.is_file():
                return self.send_error(404)
            if kind.startswith("image/"):
                time.sleep(0.4)  # after the text, as from afar: what has no room then moves
            text = kind.startswith("text/") or any(word in kind for word in ("javascript", "json", "xml"))
            body = packed(path) if text else path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if text:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)
            return None

    with serving(Packing) as url:
        yield url


@contextmanager
def opened(
    browser: Browser,
    url: str,
    script: str,
    *,
    steady: bool = False,
) -> Iterator[tuple[Page, list[Request]]]:
    """A page with nothing in the cache, its formulas set, and the requests that have been answered.

    A steady page has the book's fonts even where they are late.
    """
    context = browser.new_context(viewport={"width": 1300, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(script)
    requests: list[Request] = []
    page.on("requestfinished", lambda request: requests.append(request))
    if steady:
        page.route("**/_static/fonts.css*", wait_for_fonts)
    page.goto(url)
    page.evaluate("() => window.MathJax?.startup?.promise?.then(() => document.fonts.ready).then(() => null)")
    yield page, requests
    context.close()


def pictures(page: Page) -> dict[str, int]:
    """The height of each picture of the article that no figure has replaced."""
    seen = page.eval_on_selector_all(".bd-article img", "all => all.map(i => [i.src, i.offsetHeight])")
    return {source.rsplit("/", 1)[-1]: height for source, height in seen}


@pytest.mark.browser
@pytest.mark.parametrize("page_name", READ)
def test_a_page_is_light_and_still(browser: Browser, server: str, page_name: str) -> None:
    with opened(browser, f"{server}/{page_name}", OBSERVER) as (page, requests):
        for place in page.locator(".figure-place").all():
            place.and_(page.locator(".awake")).wait_for()
        page.wait_for_load_state("networkidle")
        fetched = {
            one.url.removeprefix(server): sum(one.sizes()[part] for part in ("responseBodySize", "responseHeadersSize"))
            for one in list(requests)
            if one.url.startswith(server)
        }
        rooms = pictures(page)
        page.evaluate(SCROLL)
        shifts, after = page.evaluate("shifts"), pictures(page)
    heaviest = sorted(fetched.items(), key=lambda item: -item[1])[:5]
    assert any(url.split("?")[0].endswith(".css") for url in fetched)
    assert sum(fetched.values()) < MOST_BYTES, f"{sum(fetched.values())} bytes at first; the heaviest: {heaviest}"
    assert not [url for url in fetched if WEIGHTS in url], "the translator's weights are fetched before they are wanted"
    assert sum(shift["value"] for shift in shifts) < MOST_SHIFT, shifts
    assert rooms == pytest.approx(after, abs=1), "a picture does not keep its room free until it comes"


@pytest.mark.browser
@pytest.mark.parametrize("number", range(len(PLACES)), ids=[f"{page}-{kind}" for page, kind, _ in PLACES])
def test_a_figure_wakes_in_its_room(browser: Browser, server: str, number: int) -> None:
    """Nothing at all moves when a figure takes its picture's place before the reader's eyes.

    Figures wake as soon as the page is read, most of them below the window, where nobody sees what moves. So this holds
    them back until the figure and what follows it are in the window. What a figure that needs more than its room moves
    is what stands behind it, so every shift counts, not only those of the figure's own place.
    """
    name = PLACES[number][0]
    nth = [place[0] for place in PLACES[:number]].count(name)
    with opened(browser, f"{server}/{name}.html", OBSERVER + HOLD, steady=True) as (page, _):
        place = page.locator(".figure-place").nth(nth)
        bottom = place.evaluate("p => p.getBoundingClientRect().bottom + scrollY")
        page.evaluate("top => window.scrollTo({ top, behavior: 'instant' })", bottom - 700)
        page.evaluate("() => Promise.all([...document.images].filter(i => i.loading !== 'lazy').map(i => i.decode()))")
        page.evaluate(SETTLED)
        page.evaluate("shifts.length = 0")
        page.evaluate("wake()")
        place.and_(page.locator(".awake")).wait_for()
        page.evaluate(SETTLED)
        shifts = page.evaluate("shifts")
    assert shifts == []


@pytest.mark.browser
@pytest.mark.parametrize("page_name", ["intro.html", CHAPTERS[1], CHAPTERS[-1]])
def test_text_comes_at_once(browser: Browser, server: str, page_name: str) -> None:
    """First paint soon, beside a page of plain text: what the page's own work costs, without a network's delay.

    Both wait alike where the machine is busy, so this is a ratio: of the best of some loads in turn, each with an empty
    cache. It is 4 to 7 on two cores, idle or busy.
    """
    best = {page_name: float("inf"), "_static/fonts/Book-Sans-LICENSE.txt": float("inf")}
    for _ in range(6):
        for name in best:
            with opened(browser, f"{server}/{name}", "") as (page, _):
                page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
                painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            best[name] = min(best[name], painted)
        page_takes, text_takes = best.values()
        ratio = page_takes / text_takes
        if ratio < MOST_TIMES:
            break
    assert ratio < MOST_TIMES


# ---- The README's picture.


def test_the_readme_shows_a_live_figure() -> None:
    with Image.open(moving_picture.OUTPUT) as film:
        assert film.format == "WEBP"
        assert film.n_frames > 30
        assert film.info["loop"] == 0, "it must start again"
        assert 700 <= film.width <= 800
    assert moving_picture.OUTPUT.stat().st_size < 2_000_000
    name = moving_picture.OUTPUT.relative_to(ROOT).as_posix()
    alternative = re.search(rf"!\[([^\]]*)\]\({name}\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert alternative is not None
    assert len(alternative[1]) > 40


def test_the_hand_passes_all_its_points() -> None:
    points = [(0.0, 0.0), (1.0, 2.0), (3.0, -1.0), (0.0, 0.0)]
    assert [moving_picture._between(points, float(at)) for at in range(4)] == points
