"""The book's fonts: that they are whole, that pages and figures are set in them, and that nothing moves for them."""

import importlib.util
import logging
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from playwright.sync_api import Browser

from tests.browsing import OBSERVER, ROOT, SITE, Quiet, chapter_page, fonts_of, serving
from transformer_lib import fonts as library_fonts
from transformer_lib.plots import book_style

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.append(str(ROOT / "_ext"))
import fonts

CHAPTER = chapter_page("scaled")
BUNDLED = Path(mpl.get_data_path()) / "fonts" / "ttf"  # DejaVu's, in every copy of Matplotlib
ACCENTS = "ãõçêáéíóúâôàüÃÕÇÊÁÉÍÓÚÂÔÀ“”‘’–—…"


def served(name: str) -> TTFont:
    return TTFont(SITE / "_static" / "fonts" / f"{name}.woff2")


# ---- The files.


@pytest.mark.parametrize("face", fonts.FACES, ids=lambda face: face.file)
def test_a_font_is_small_whole_and_named_by_its_license(face: fonts.Face) -> None:
    font = served(face.file)
    assert set(map(ord, ACCENTS + "→−×·√≤≥∞0123456789")) <= set(font.getBestCmap())
    names = font["name"]
    assert names.getDebugName(1) == face.family
    assert "Source" not in names.getDebugName(4), "a reserved name"
    assert re.match("Copyright|©", names.getDebugName(0))
    assert "Open Font License" in names.getDebugName(13)
    axes = {axis.axisTag: (axis.minValue, axis.maxValue) for axis in font["fvar"].axes} if "fvar" in font else {}
    assert axes == {tag: limits for tag, limits in face.axes.items() if isinstance(limits, tuple)}
    assert "calt" not in {record.FeatureTag for record in font["GSUB"].table.FeatureList.FeatureRecord}
    assert (SITE / "_static" / "fonts" / f"{face.file}.woff2").stat().st_size < 60_000


def test_their_license_comes_with_them() -> None:
    for face in fonts.FACES:
        text = (SITE / "_static" / "fonts" / f"{face.family.replace(' ', '-')}-LICENSE.txt").read_text(encoding="utf-8")
        assert "SIL OPEN FONT LICENSE Version 1.1" in text
        assert text.startswith("Copyright")
    credits = (SITE / "data_card.html").read_text(encoding="utf-8")
    for name in ("Source Serif", "Source Sans", "JetBrains Mono", "SIL Open Font License"):
        assert name in credits


def test_no_font_lies_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert [name for name in listed if Path(name).suffix in (".ttf", ".otf", ".woff", ".woff2")] == []


def test_a_second_build_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "_build" / "fonts"
    digest = fonts.make_fonts(folder)
    monkeypatch.setattr(fonts, "ProcessPoolExecutor", None)
    assert fonts.make_fonts(folder) == digest


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fonts.ExtensionError, match=r"fontpkg-source-serif-4.*is missing; see requirements\.txt"):
        fonts.make_fonts(tmp_path / "fonts")
    assert not (tmp_path / "fonts").exists()


@pytest.mark.parametrize(
    ("family", "local", "styles"),
    [
        ("Book Serif", "DejaVu Serif", ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic")),
        ("Book Sans", "DejaVu Sans", ("DejaVuSans", "DejaVuSans-Bold")),
        ("Book Mono", "Courier", ("DejaVuSansMono",)),
    ],
)
def test_what_stands_in_is_as_wide(family: str, local: str, styles: tuple[str, ...]) -> None:
    widths = [fonts.mean_width(TTFont(BUNDLED / f"{style}.ttf")) for style in styles]
    assert fonts.LOCAL[family][local][1] == pytest.approx(widths, abs=0.001)


# ---- Figures.


@pytest.fixture
def fresh() -> Iterator[None]:
    """Matplotlib as it was, and nothing remembered of the fonts that were found."""
    library_fonts.label_families.cache_clear()
    with mpl.rc_context():
        yield
    plt.close("all")
    library_fonts.label_families.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_labels_are_in_the_typeface_of_the_page() -> None:
    assert library_fonts.label_families() == ("Book Sans", "DejaVu Sans")
    book_style()
    assert mpl.rcParams["font.family"] == ["Book Sans", "DejaVu Sans"]
    dejavu = TTFont(BUNDLED / "DejaVuSans.ttf")
    for style, query in {"Regular": "Book Sans", "Bold": "Book Sans:bold", "Italic": "Book Sans:italic"}.items():
        path = Path(font_manager.findfont(query, fallback_to_default=False))
        assert path.stem == style
        font = TTFont(path)
        heights = [one["glyf"]["x"].yMax / one["head"].unitsPerEm for one in (font, dejavu)]
        assert heights[0] == pytest.approx(heights[1], abs=0.01), "labels of one size are as tall in both"
        assert set(map(ord, ACCENTS)) <= set(font.getBestCmap())


SIGNS = "ção √n → ∞ ✓ ✗ ⊤ ∈ ℝ ▁livro ■ ○ x₁ x² ᵀ ␣"


def draw_everything() -> None:
    book_style()
    figure, ax = plt.subplots()
    ax.loglog([1, 100], [1, 0.1], label=r"$1/\sqrt{n}$, $\mathcal{V}$, $\mathbf{x}$, $\mathtt{x}$")
    ax.legend()
    ax.set_title(SIGNS)
    ax.set_xlabel(SIGNS, style="italic")
    ax.text(1, 0.5, SIGNS, weight="bold")
    figure.canvas.draw()


def without_a_package(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    patch.setattr(importlib.util, "find_spec", lambda name: None)


def without_a_cache(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    patch.setattr(mpl, "get_cachedir", lambda: str(tmp_path / "file"))


def with_a_damaged_font(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_text("no font")
    patch.setattr(mpl, "get_cachedir", lambda: str(tmp_path))
    patch.setattr(library_fonts, "variable_font", lambda *_, **__: tmp_path / "font.ttf")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("spoil", [None, without_a_package, without_a_cache, with_a_damaged_font])
def test_figures_are_drawn_without_a_word(
    spoil: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if spoil is not None:
        spoil(monkeypatch, tmp_path)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")  # a sign that no font has is a warning
        draw_everything()
    assert library_fonts.label_families() == (("DejaVu Sans",) if spoil else ("Book Sans", "DejaVu Sans"))
    assert caplog.records == []


# ---- Pages.


@pytest.mark.browser
def test_they_are_there_at_once_and_all_that_is_preloaded_is_used(browser: Browser, address: str) -> None:
    """As served, unlike in `Visit`. A font may be late on a busy machine, so this takes the best of three visits."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("warning", "error") else None)
    for _ in range(3):
        page.goto(f"{address}/{CHAPTER}")
        drawn = fonts_of(page, ".bd-article h1 + p") | fonts_of(page, ".bd-links a") | fonts_of(page, "code .pre")
        if not [name for name, ours in drawn if not ours]:
            break
    assert drawn == {("Book Serif", True), ("Book Sans", True), ("Book Mono", True)}
    links = page.locator("link[rel=preload][as=font]")
    assert links.count() == len(fonts.FACES)
    assert set(links.evaluate_all("all => all.map(one => one.crossOrigin)")) == {"anonymous"}
    page.wait_for_timeout(5000)  # so long Chromium waits before it says that a preloaded font has not been used
    context.close()
    assert said == []


@pytest.mark.browser
def test_from_disk_too(browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("warning", "error") else None)
    page.on("requestfailed", lambda request: said.append(request.url))
    for name in ("intro.html", CHAPTER):
        page.goto((SITE / name).as_uri())
        assert fonts_of(page, ".bd-article section > p:not(.part-of-book)") == {("Book Serif", True)}
        assert fonts_of(page, ".bd-links a") == {("Book Sans", True)}
    context.close()
    assert said == []


class Late(Quiet):
    """A server from which fonts come long after the text."""

    def do_GET(self) -> None:
        if "/_static/fonts/" in self.path:
            time.sleep(6)
        super().do_GET()


@pytest.mark.browser
def test_nothing_moves_when_they_come_late(browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1300, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(OBSERVER)
    come: list[str] = []
    page.on("requestfinished", lambda request: come.append(request.url) if "/_static/fonts/" in request.url else None)
    with serving(Late) as url:
        page.goto(f"{url}/{CHAPTER}", wait_until="domcontentloaded")
        page.evaluate("() => window.MathJax?.startup?.promise?.then(() => null)")
        page.locator(".figure-place.awake").first.wait_for()
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        early = len(come)
        page.evaluate("shifts.length = 0")
        page.wait_for_load_state("networkidle")
        assert len(come) == len(fonts.FACES)
        page.wait_for_timeout(300)
        moved = page.evaluate("shifts")
        drawn = fonts_of(page, ".bd-article h1 + p")
    context.close()
    assert early == 0, "the text waited for its fonts"
    assert drawn != {("Book Serif", True)}
    assert moved == []
