"""The book's own Sphinx extension: what its pages need beyond Jupyter Book.

* The site serves MathJax itself; only the parts that pages load are copied.
* The repository's address, known at deploy only, yields the launch buttons. Without it there are none.
* Pages leave out the scripts of features that the book does not use. What the theme's own templates would write is
  changed in ``_templates/``.
* Pictures are fetched when they are near, and nothing moves when they come.
"""

import importlib.util
import os
import re
import struct
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.fileutil import copy_asset
from sphinx.writers.html5 import HTML5Translator

# Set at deploy, e.g. to https://github.com/OWNER/NAME. The notebooks with their set-up cells lie on LAUNCH_BRANCH of
# that repository, put there by `python -m tools.publish`.
ADDRESS_VARIABLE = "BOOK_REPOSITORY"
LAUNCH_BRANCH = "notebooks"

# tex-chtml.js and what it may fetch: its fonts, and extensions of TeX that a formula asks for.
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions")
UNUSED_SCRIPTS = ("sphinx-thebe.js",)
FIGURE_DPI, CSS_PIXELS_PER_INCH = 144, 100  # the former as in transformer_lib.plots.book_style
WIDE = 9  # inches; from here on a picture's words could not be read on a phone, were it as wide


def set_repository(app: Sphinx, config: Config) -> None:
    """Turn the launch buttons on where the repository's address is known."""
    address = os.environ.get(ADDRESS_VARIABLE, "").rstrip("/").removesuffix(".git")
    if not address:
        return
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", address):
        raise ValueError(f"{ADDRESS_VARIABLE} must look like https://github.com/OWNER/NAME; got {address!r}")
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": LAUNCH_BRANCH,
        "path_to_docs": ".",
        "use_repository_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }


def set_mathjax(app: Sphinx, config: Config) -> None:
    config.mathjax_path = "mathjax/tex-chtml.js"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package sphinx-mathjax-offline is missing; see requirements.txt")
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        if not (target / part).exists():
            destination = target / part if (source / part).is_dir() else (target / part).parent
            copy_asset(source / part, destination)


def size_pictures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Keep each picture's room free from the start, and fetch those after the first only when they are near.

    Each figure of a notebook is shown at the size that it was drawn for; its pixels are there for sharp screens.
    """
    seen = False
    for picture in doctree.findall(nodes.image):
        path = Path(app.srcdir) / picture["uri"]
        if path.suffix != ".png":
            continue
        width, height = struct.unpack(">II", path.read_bytes()[16:24])  # in a PNG's header
        if "jupyter_execute" in path.parts and "width" not in picture:
            picture["width"] = f"{width * CSS_PIXELS_PER_INCH / FIGURE_DPI:.0f}px"
        if width > WIDE * FIGURE_DPI:
            picture["classes"].append("wide")
        if seen:
            picture["loading"] = "lazy"
        picture["shape"] = f"{width} / {height}"
        seen = True


class BookTranslator(HTML5Translator):
    """Sphinx's writer of HTML, with what it leaves out.

    A picture has its shape before it is there. For those who do not see the page, a list of sources holds list items,
    and the arguments of a function, one a line, are no definitions of terms.
    """

    def starttag(self, node: Any, tagname: str, *args: Any, **attributes: Any) -> str:
        if tagname == "img" and "shape" in node:
            attributes["style"] = f"aspect-ratio: auto {node['shape']}; {attributes.get('style', '')}".strip()
        if isinstance(node, nodes.citation):
            attributes["role"] = "listitem"
        if isinstance(node, addnodes.desc_parameterlist):
            tagname, attributes["CLASS"] = "div", "sig-params"
        if isinstance(node, addnodes.desc_parameter) and tagname == "dd":
            tagname = "div"
        return str(super().starttag(node, tagname, *args, **attributes))

    def depart_desc_parameter(self, node: Any) -> None:
        super().depart_desc_parameter(node)
        if self.body[-1] == "</dd>\n":
            self.body[-1] = "</div>\n"

    def depart_desc_parameterlist(self, node: Any) -> None:
        at = len(self.body)
        super().depart_desc_parameterlist(node)
        self.body[at:] = ["</div>" if part.strip() == "</dl>" else part for part in self.body[at:]]


def drop_unused_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    def used(script: object) -> bool:
        name, body = str(getattr(script, "filename", script) or ""), str(getattr(script, "attributes", {}).get("body"))
        return not any(unused in name for unused in UNUSED_SCRIPTS) and "thebe" not in body.lower()

    if "script_files" in context:
        context["script_files"] = [script for script in context["script_files"] if used(script)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", set_repository, priority=100)
    app.connect("config-inited", set_mathjax, priority=900)
    app.connect("doctree-resolved", size_pictures)
    app.set_translator("html", BookTranslator)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
