"""The built site in headless Chromium: serving it, opening its pages, and what is asked of them."""

import functools
import http.server
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route

from transformer_lib import chapters

ROOT = Path(__file__).parent.parent


SITE = Path(os.environ.get("BOOK_SITE", ROOT / "_build" / "html"))


PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)


CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]


def chapter_page(key: str) -> str:
    return f"chapters/{chapters.CHAPTERS[key].file}.html"


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[Quiet]) -> Iterator[str]:
    """The address of a server of the built site, on a free port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# Pictures below the first screen are fetched when they are near. This fetches all of them.
FETCH_PICTURES = """() => Promise.all([...document.images].map((image) => {
  image.loading = "eager";
  return image.decode().catch(() => null);
}))"""


def wait_for_fonts(route: Route) -> None:
    """Let a page wait for its fonts however busy the machine is; as served, it would do without a font that is late."""
    text = (SITE / "_static" / "fonts.css").read_text(encoding="utf-8")
    route.fulfill(body=text.replace("font-display: optional", "font-display: block"), content_type="text/css")


class Visit:
    """A page, opened, with all that went wrong on the way."""

    def __init__(self, browser: Browser, url: str, *, width: int = 1300, theme: str = "light") -> None:
        self.faults: list[str] = []
        self.home = urlsplit(url)
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page: Page = self.context.new_page()
        self.page.route("**/*", self._only_from_here)
        self.page.route("**/_static/fonts.css*", wait_for_fonts)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(f"error on the page: {error}"))
        self.page.on("requestfailed", lambda request: self.faults.append(f"request failed: {request.url}"))
        self.page.on("response", self._answered)
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("() => document.fonts.ready.then(() => null)")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _only_from_here(self, route) -> None:  # type: ignore[no-untyped-def]
        target = urlsplit(route.request.url)
        if target.scheme in ("data", "blob") or (target.scheme, target.netloc) == (self.home.scheme, self.home.netloc):
            route.continue_()
        else:
            self.faults.append(f"outside request: {route.request.url}")
            route.abort()

    def _hear(self, message) -> None:  # type: ignore[no-untyped-def]
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _answered(self, response) -> None:  # type: ignore[no-untyped-def]
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")


# Colors fade over when the theme changes. What ends by itself is brought to its end, which may set off another fading.
FADED = """() => {
  for (let round = 0; round < 100; round++) {
    const fading = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime < Infinity);
    if (!fading.length) break;
    for (const one of fading) one.finish();
  }
}"""


def in_theme(page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
    page.evaluate(FADED)


LUMINANCE = """
function parts(color) {
  const [r, g, b, a] = color.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a ?? 1];
}
function luminance(color) {
  const [r, g, b] = parts(color).slice(0, 3).map(v => {
    v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {  // what lies behind an element, with translucent layers laid over each other
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const layer = parts(getComputedStyle(e).backgroundColor);
    if (layer[3] > 0) layers.push(layer);
    if (layer[3] === 1) break;
  }
  const color = layers.reverse().reduce(
    (under, [r, g, b, a]) => [r, g, b].map((over, i) => a * over + (1 - a) * under[i]), [255, 255, 255]);
  return `rgb(${color.join(', ')})`;
}
function contrast(element) {
  const [a, b] = [getComputedStyle(element).color, ground(element)].map(luminance);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
"""


AXE = (Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js").read_text(encoding="utf-8")  # type: ignore[union-attr,arg-type]


def fonts_of(page: Page, selector: str) -> set[tuple[str, bool]]:
    """The fonts that an element's text is drawn in, and whether the page brought them."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
    drawn = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    session.detach()
    return {(font["familyName"], font["isCustomFont"]) for font in drawn}


OBSERVER = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries())
    if (!hadRecentInput) shifts.push({ value, moved: sources.map(({ node }) => (node?.outerHTML ?? "").slice(0, 80)) });
}).observe({ type: "layout-shift", buffered: true });
"""
