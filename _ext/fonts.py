"""The book brings its fonts: the site serves them itself, and nothing moves when they come.

The text and its headings are in a serif, Source Serif 4, for long reading. What is small or stands alone (navigation,
labels of figures, tables of numbers in them) is in its sister Source Sans 3, whose letters stay clear at 12 pixels and
need less room. Code is in JetBrains Mono: its letters are tall, so that they can be small enough for 88 in a line. At
the build each is cut to the signs that the book uses (see ``transformer_lib/fonts.py``), compressed as WOFF2, and kept
in ``_build/fonts``.

``font-display: optional`` means that a page is never set a second time: where a font is late, as on a first visit by a
slow line, this page keeps the reader's own typeface, stretched to the measures of the book's, and the next one has the
book's. From disk browsers preload nothing, so there a page gets a style sheet that holds the fonts themselves.

The theme's icons come from a font of 1,400; the site's copy of it is cut to those that the pages show.
"""

import base64
import hashlib
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydata_sphinx_theme
from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

import transformer_lib.fonts
from transformer_lib.fonts import cut, variable_font


@dataclass(frozen=True)
class Face:
    """A font of the site: from which package, and what of it."""

    package: str
    family: str
    file: str
    axes: dict[str, float | tuple[float, float]]
    italic: bool = False


ON_DISK = "fonts-on-disk.css"
WEIGHTS = (400, 700)
FACES = (
    Face("fontpkg-source-serif-4", "Book Serif", "serif", {"wght": WEIGHTS, "opsz": 18}),
    Face("fontpkg-source-serif-4", "Book Serif", "serif-italic", {"wght": 400, "opsz": 18}, italic=True),
    Face("fontpkg-source-sans-3", "Book Sans", "sans", {"wght": WEIGHTS}),
    Face("fontpkg-jetbrains-mono", "Book Mono", "mono", {"wght": WEIGHTS}),
)

# What readers have: names of one typeface and of those with the same widths, then for regular, bold and italic the mean
# width of a letter of English, in em, by LETTERS. Georgia's are those of Gelasio, made to its measures; Times New
# Roman's and Arial's, of Liberation.
LOCAL: dict[str, dict[str, tuple[tuple[str, ...], tuple[float, ...]]]] = {
    "Book Serif": {
        "Georgia": (("Georgia", "Gelasio"), (0.4342, 0.5060, 0.4428)),
        "Times": (("Times New Roman", "Liberation Serif", "Tinos", "Times"), (0.3954, 0.4205, 0.3970)),
        "Noto Serif": (("Noto Serif",), (0.4724, 0.5019, 0.4587)),
        "DejaVu Serif": (("DejaVu Serif",), (0.5063, 0.5594, 0.5063)),
    },
    "Book Sans": {
        "Arial": (("Arial", "Liberation Sans", "Arimo", "Helvetica"), (0.4364, 0.4715)),
        "Roboto": (("Roboto",), (0.4369, 0.4437)),
        "DejaVu Sans": (("DejaVu Sans",), (0.5011, 0.5664)),
    },
    "Book Mono": {
        "Consolas": (("Consolas",), (0.5498,)),
        "Courier": (("Menlo", "DejaVu Sans Mono", "Liberation Mono", "Cousine", "Courier New"), (0.6015,)),
    },
}
STYLES = (("Regular", 400, False), ("Bold", 700, False), ("Italic", 400, True))
# How often each comes in a thousand letters of English.
LETTERS = {
    " ": 183, "e": 102, "t": 75, "a": 65, "o": 62, "n": 57, "i": 57, "s": 53, "r": 50, "h": 50, "l": 33, "d": 33,
    "u": 23, "c": 22, "m": 20, "f": 20, "w": 17, "g": 16, "p": 15, "y": 14, "b": 13, ",": 10, ".": 10, "v": 8, "k": 6,
    "x": 2,
}  # fmt: skip


def mean_width(font: TTFont, weight: int = 400) -> float:
    """Of a letter of English, in em."""
    widths = font.getGlyphSet(location={"wght": weight} if "fvar" in font else None)
    names = font.getBestCmap()
    total = sum(often * widths[names[ord(letter)]].width for letter, often in LETTERS.items())
    return float(total / sum(LETTERS.values()) / font["head"].unitsPerEm)


def write_face(face: Face, folder: Path) -> None:
    """Cut a font and write it as WOFF2."""
    style = "Italic" if face.italic else "Regular"
    font = cut(variable_font(face.package, italic=face.italic), face.family, face.axes, style)
    font.flavor = "woff2"
    font.save(folder / f"{face.file}.woff2")


def style_sheet(folder: Path, digest: str) -> str:
    """The ``@font-face`` rules of the fonts in a folder, and of what stands in for them."""
    rules: list[str] = []
    ranges: dict[str, str] = {}
    for face in FACES:
        font = TTFont(folder / f"{face.file}.woff2")
        points = sorted(font.getBestCmap())
        ranges.setdefault(face.family, _ranges(points))
        weights = f"{WEIGHTS[0]} {WEIGHTS[1]}" if "fvar" in font else "400"
        rules.append(
            f'@font-face {{ font-family: "{face.family}"; font-style: {"italic" if face.italic else "normal"}; '
            f"font-weight: {weights}; font-display: optional; "
            f'src: url("fonts/{face.file}.woff2?v={digest}") format("woff2"); }}'
        )
        line = font["hhea"]
        for local, (names, means) in LOCAL[face.family].items():
            for (style, weight, italic), theirs in zip(STYLES, means, strict=False):
                if italic != face.italic:
                    continue
                size = mean_width(font, weight) / theirs
                em = font["head"].unitsPerEm * size
                source = ", ".join(f'local("{name}{"" if style == "Regular" else f" {style}"}")' for name in names)
                rules.append(
                    f'@font-face {{ font-family: "{face.family} as {local}"; '
                    f"font-style: {'italic' if italic else 'normal'}; font-weight: {weight}; src: {source}; "
                    f"size-adjust: {size:.2%}; ascent-override: {line.ascent / em:.2%}; "
                    f"descent-override: {-line.descent / em:.2%}; line-gap-override: {line.lineGap / em:.2%}; "
                    f"unicode-range: {ranges[face.family]}; }}"
                )
    # Signs that a typeface lacks come from the book's other ones, before any of the reader's.
    generic = {"Book Serif": "serif", "Book Sans": "sans-serif", "Book Mono": "monospace"}
    variables = []
    for family, last in generic.items():
        chain = [family, *(f"{family} as {local}" for local in LOCAL[family])]
        chain += [other for other in ("Book Sans", "Book Mono", "Book Serif") if other != family]
        quoted = ", ".join(f'"{name}"' for name in chain)
        variables.append(f"  --{family.lower().replace(' ', '-')}: {quoted}, {last};")
    # Widths that are not rounded to a screen's pixels: then lines break alike, whatever a machine does to show letters.
    return "\n".join([*rules, "html {", *variables, "  text-rendering: geometricPrecision;", "}", ""])


def _ranges(points: list[int]) -> str:
    found: list[list[int]] = []
    for point in points:
        if found and point == found[-1][1] + 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return ", ".join(f"U+{first:X}" if first == last else f"U+{first:X}-{last:X}" for first, last in found)


def make_fonts(target: Path) -> str:
    """Write the fonts, their licences and their style sheet, unless they are there.

    Args:
        target: the folder; what it held before is deleted where it is out of date.

    Returns:
        A digest of all that they are made from.

    Raises:
        ExtensionError: a package is missing.
    """
    try:
        sources = [variable_font(face.package, italic=face.italic) for face in FACES]
    except ModuleNotFoundError as error:
        raise ExtensionError(str(error)) from error
    made_from = [Path(__file__), Path(transformer_lib.fonts.__file__), *sources]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()[:16]
    done = target / "fonts" / "digest"
    if done.exists() and done.read_text() == digest:
        return digest
    shutil.rmtree(target, ignore_errors=True)
    done.parent.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_face, FACES, [done.parent] * len(FACES)))
    for face, source in zip(FACES, sources, strict=True):
        shutil.copyfile(source.parent.parent / "LICENSE", done.parent / f"{face.family.replace(' ', '-')}-LICENSE.txt")
    text = style_sheet(done.parent, digest)
    (target / "fonts.css").write_text(text, encoding="utf-8")
    (target / ON_DISK).write_text(on_disk(text, target), encoding="utf-8")
    done.write_text(digest)
    return digest


def on_disk(text: str, folder: Path) -> str:
    """The rules of a style sheet that name fonts in a folder, with the fonts in them."""

    def held(found: re.Match[str]) -> str:
        font = base64.b64encode((folder / found[1]).read_bytes()).decode()
        return f'url("data:font/woff2;base64,{font}")'

    rules = "".join(line for line in text.splitlines(keepends=True) if "url(" in line)
    return re.sub(r'url\("([^"?]+)\?[^"]*"\)', held, rules).replace("font-display: optional", "font-display: block")


def add_fonts(app: Sphinx, config: Config) -> None:
    folder = Path(app.srcdir) / "_build" / "fonts"
    app.fonts_digest = make_fonts(folder)  # type: ignore[attr-defined]
    config.html_static_path.append(str(folder))
    app.add_css_file("fonts.css", priority=100)
    app.add_js_file(None, body=FROM_DISK, priority=100)


# `write` holds the first painting of a page back until the style sheet has been read.
FROM_DISK = f"""
if (location.protocol === "file:")
  document.write(`<link rel="stylesheet" href="${{document.documentElement.dataset.content_root}}_static/{ON_DISK}">`);
"""
# Browsers that read a page from disk refuse to preload, and say so in the console.
HEAD = """
<script>
  if (location.protocol !== "file:")
    for (const name of [{names}]) {{
      const link = Object.assign(document.createElement("link"), {{ rel: "preload", as: "font", type: "font/woff2" }});
      link.crossOrigin = "";
      link.href = `${{document.documentElement.dataset.content_root}}_static/fonts/${{name}}.woff2?v={digest}`;
      document.head.append(link);
    }}
</script>"""


def preload(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Ask for the fonts that a page needs before its style sheets are read."""
    body = context.get("body", "")
    names = ["serif", "sans"]
    names += ["serif-italic"] * ("<em" in body) + ["mono"] * ("<pre" in body or "<code" in body)
    head = HEAD.format(
        names=", ".join(f'"{name}"' for name in names),
        digest=app.fonts_digest,  # type: ignore[attr-defined]
    )
    context["metatags"] = context.get("metatags", "") + head


ICONS = "vendor/fontawesome"


def cut_icons(app: Sphinx, error: Exception | None) -> None:
    """Leave in the fonts of icons those that a page, a script or a style sheet of the site names."""
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    whole = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static" / ICONS
    texts = [*Path(app.outdir).rglob("*.html"), *static.rglob("*.js"), *static.rglob("*.css")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in texts if "vendor" not in path.parts)
    names = set(re.findall(r"\bfa-([a-z0-9-]+)", text))
    points = {int(point, 16) for point in re.findall(r"""["']\\(f[0-9a-f]{3})["']""", text)}
    points |= set(map(ord, re.findall("[\ue000-\uf8ff]", text)))  # private use, as all icons are
    for sheet in whole.rglob("all.min.css"):
        for rule in re.finditer(r'([^{}]*):before\{content:"\\([0-9a-f]+)"\}', sheet.read_text(encoding="utf-8")):
            if names.intersection(re.findall(r"\.fa-([a-z0-9-]+)", rule[1])):
                points.add(int(rule[2], 16))
    for path in whole.rglob("*.woff2"):
        font = TTFont(path, recalcTimestamp=False)
        subsetter = subset.Subsetter(subset.Options(notdef_outline=True))
        subsetter.populate(unicodes=points)
        subsetter.subset(font)
        font.save(static / ICONS / path.relative_to(whole))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", add_fonts)
    app.connect("html-page-context", preload)
    app.connect("build-finished", cut_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
