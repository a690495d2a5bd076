"""A small page with live figures alone: what a chapter's page has of them, without its article."""

import functools
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from playwright.sync_api import Browser, Locator, Page

from transformer_lib.widgets.figure import LiveFigure, source, style

sys.path.append(str(Path(__file__).parent.parent / "_ext"))
from fonts import ON_DISK, make_fonts

ROOT = Path(__file__).parent.parent
LOADER = ROOT / "_static" / "figures.js"
STATE = "application/vnd.jupyter.widget-state+json"
# The colors that the book's theme gives its pages.
THEMES = {
    "light": "--pst-color-text-base:#222832;--pst-color-text-muted:#48566b;--pst-color-border:#d1d5da;"
    "--pst-color-background:#ffffff",
    "dark": "--pst-color-text-base:#ced6dd;--pst-color-text-muted:#9ca4af;--pst-color-border:#48566b;"
    "--pst-color-background:#121212",
}


@functools.cache
def typefaces() -> str:
    """The style sheets of the book's fonts, which hold the fonts themselves, so that no machine's own are seen."""
    folder = ROOT / "_build" / "fonts"
    make_fonts(folder)
    served, whole = ((folder / name).read_text(encoding="utf-8") for name in ("fonts.css", ON_DISK))
    return "\n".join([line for line in served.splitlines() if "url(" not in line] + [whole])


def html(*figures: LiveFigure, theme: str = "light", width: int = 736) -> str:
    """The text of the page. ``width`` is the article's, on a page wide enough for it."""
    states = {f"figure-{i}": {"state": figure.get_state()} for i, figure in enumerate(figures, 1)}
    places = "".join(f'<div class="figure-place" data-model="{name}"></div>' for name in states)
    stored = json.dumps({"state": states}, default=lambda widget: f"IPY_MODEL_{widget.model_id}").replace(
        "<", "\\u003c"
    )
    return (
        f'<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Figures</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style()}</style><style>{typefaces()}'
        "*,::before,::after{box-sizing:border-box}"
        f"html{{{THEMES[theme]};background:var(--pst-color-background);color:var(--pst-color-text-base);"
        "font-family:var(--book-serif);font-size:16px;line-height:1.65}body{margin:0}"
        f"main{{max-width:{width + 32}px;margin:0 auto;padding:16px}}</style></head><body><main><h1>Figures</h1>"
        f'{places}</main><script type="{STATE}">{stored}</script><script>{LOADER.read_text(encoding="utf-8")}</script>'
        "</body></html>"
    )


class FigurePage:
    """A page of figures, opened, with all that went wrong on the way.

    Attributes:
        page: as Playwright has it.
        faults: errors and warnings of the console, and requests; the page needs none.
    """

    def __init__(
        self,
        browser: Browser,
        *figures: LiveFigure,
        theme: str = "light",
        width: int = 1280,
        motion: Literal["reduce", "no-preference"] = "no-preference",
    ) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion=motion)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.set_content(html(*figures, theme=theme))
        for i in range(len(figures)):
            self.figure(i).wait_for()
        self.page.evaluate("() => document.fonts.ready.then(() => null)")

    def figure(self, index: int = 0) -> Locator:
        """The place of a figure that is awake."""
        return self.page.locator(".figure-place.awake").nth(index)

    def __enter__(self) -> "FigurePage":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.context.close()

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith(("blob:", "data:", "about:")):
            self.faults.append(f"request: {url}")


def in_page(page: Page, name: str, expression: str, argument: Any = None) -> Any:
    """Evaluate an expression with what a figure's module exports as `m`."""
    script = f"""async ([code, x]) => {{
        const m = await import(URL.createObjectURL(new Blob([code], {{type: "text/javascript"}})));
        return {expression};
    }}"""
    return page.evaluate(script, [source(name), argument])
