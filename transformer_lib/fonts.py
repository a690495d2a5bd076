"""The book's typefaces: found in the packages that bring them, cut to the signs that are used, and given to Matplotlib.

Nothing of them lies in the repository. They come from PyPI, as variable fonts under the SIL Open Font License, which
asks that a changed font has another name: a cut is called *Book Serif*, *Book Sans* or *Book Mono*.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import matplotlib as mpl
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer
from matplotlib import font_manager

#: What a cut holds, as ranges of code points: Latin with its accents, Greek, punctuation, raised and lowered digits,
#: arrows, signs of mathematics and of logic, lines and blocks, ticks and crosses.
SIGNS = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x218, 0x21B), (0x237, 0x237), (0x2C6, 0x2DD), (0x300, 0x304), (0x327, 0x327),
    (0x391, 0x3C9), (0x1D40, 0x1D40), (0x2010, 0x2026), (0x2030, 0x203A), (0x2044, 0x2044), (0x2070, 0x2094),
    (0x20AC, 0x20AC), (0x211D, 0x211D), (0x2122, 0x2122), (0x2190, 0x2194), (0x21D2, 0x21D4), (0x2200, 0x226F),
    (0x2295, 0x2299), (0x22A4, 0x22A5), (0x22C5, 0x22C5), (0x2423, 0x2423), (0x2500, 0x259F), (0x25A0, 0x25CF),
    (0x2713, 0x2717), (0x27E8, 0x27E9),
)  # fmt: skip
# Ligatures of code (!= as ≠) hide what is to be typed; no cut has them.
_FEATURES = ["ccmp", "kern", "liga", "lnum", "locl", "mark", "mkmk", "pnum", "tnum"]
_LICENSE = "This Font Software is licensed under the SIL Open Font License, Version 1.1."
# The x-height of DejaVu Sans, Matplotlib's own typeface: at the same size labels are as large in both.
_LABEL_X_HEIGHT = 0.547
_LABELS = {  # style: whether in the italic file, its weight, and the weight that Matplotlib knows it by
    "Regular": (False, 400, 400),
    "Bold": (False, 600, 700),
    "Italic": (True, 400, 400),
}
_FALLBACK = "DejaVu Sans"  # comes with Matplotlib, and has nearly every sign


def variable_font(package: str, *, italic: bool = False) -> Path:
    """The variable font that an installed package holds.

    Args:
        package: as pip names it, such as ``fontpkg-source-sans-3``.
        italic: whether the italic is wanted.

    Returns:
        Path of a TrueType file.

    Raises:
        ModuleNotFoundError: the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folder = Path(spec.origin).parent / "files" if spec is not None and spec.origin else None
    found = [path for path in folder.glob("*.ttf") if ("-Italic[" in path.name) == italic] if folder else []
    if len(found) != 1:
        raise ModuleNotFoundError(f"the package {package}, which brings a typeface, is missing; see requirements.txt")
    return found[0]


def cut(path: Path, name: str, axes: Mapping[str, float | tuple[float, float]], style: str = "Regular") -> TTFont:
    """A font of the signs in :data:`SIGNS` alone, within limits of its axes, under a name of the book's.

    Args:
        path: of a variable TrueType font.
        name: of the family.
        axes: for each of the font's axes a value or a range, such as ``{"wght": (400, 700)}``.
        style: ``Regular``, ``Bold`` or ``Italic``; also part of the name.

    Returns:
        The font, not saved yet. Its copyright and its licence stay named in it.
    """
    font = TTFont(path, recalcTimestamp=False)  # the same input gives the same bytes
    options = subset.Options(layout_features=_FEATURES, hinting=False, notdef_outline=True)
    options.drop_tables += ["DSIG", "STAT"]  # the latter names styles that a cut no longer has
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[point for first, last in SIGNS for point in range(first, last + 1)])
    subsetter.subset(font)
    font = instancer.instantiateVariableFont(font, dict(axes), inplace=True)
    postscript = f"{name}-{style}".replace(" ", "")
    names = {0: font["name"].getDebugName(0), 13: _LICENSE, 14: "https://openfontlicense.org"}
    names |= {1: name, 2: style, 3: postscript, 4: f"{name} {style}", 6: postscript}
    font["name"].names = []
    for number, text in names.items():
        font["name"].setName(text, number, 3, 1, 0x409)
    return font


@cache
def label_families() -> tuple[str, ...]:
    """The families that Matplotlib is to draw labels in, by preference; signs that one lacks come from the next.

    *Book Sans* where the package ``fontpkg-source-sans-3`` is installed, then Matplotlib's own DejaVu Sans. Its cuts
    are kept in Matplotlib's cache. Where they can be neither made nor kept, labels are in DejaVu Sans, without a word.
    """
    try:
        for path in _label_files():
            font_manager.fontManager.addfont(path)
    except Exception:  # whatever is wrong with a typeface, a figure in another one is better than none
        return (_FALLBACK,)
    return ("Book Sans", _FALLBACK)


def _label_files() -> list[Path]:
    sources = {italic: variable_font("fontpkg-source-sans-3", italic=italic) for italic in (False, True)}
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for source in sources.values():
        digest.update(source.read_bytes())
    folder = Path(mpl.get_cachedir()) / f"book-sans-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for style, (italic, weight, known_as) in _LABELS.items():
        path = folder / f"{style}.ttf"
        if not path.exists():
            font = cut(sources[italic], "Book Sans", {"wght": weight}, style)
            font["OS/2"].usWeightClass = known_as
            font["head"].unitsPerEm = round(font["OS/2"].sxHeight / _LABEL_X_HEIGHT)
            unfinished = folder / f"{style}.{os.getpid()}"
            font.save(unfinished)
            unfinished.replace(path)  # at once, since other processes may be at it too
        files.append(path)
    return files
