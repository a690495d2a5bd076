"""Live figures on the page: where a notebook shows one, the page has its still picture, and room for it to wake.

The loader (``_static/figures.js``) replaces the picture by the figure. Without JavaScript the picture stays.

A page of text shows a figure of a chapter, the first one, by a directive whose content is a caption::

    ```{live-figure} chapters/01_why_attention
    *The book that you gave me was interesting.*
    ```
"""

import base64
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from transformer_lib.translator import TRANSLATOR, Translator
from transformer_lib.widgets.figure import STYLE
from transformer_lib.widgets.translator import write_scripts

VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"


class PlaceFigures(SphinxPostTransform):
    """Keep a live figure's view and its still picture; MyST-NB would keep the view alone."""

    default_priority = 3  # before MyST-NB selects one of an output's forms

    def run(self, **_: Any) -> None:
        def is_live(node: nodes.Node) -> bool:
            return (
                isinstance(node, nodes.container)
                and node.get("nb_element") == "mime_bundle"
                and any(child["mime_type"] == VIEW for child in node.children)
            )

        for bundle in list(self.document.findall(is_live)):
            forms = {child["mime_type"]: child.children for child in bundle.children}
            if self.app.builder.format != "html" or "image/png" not in forms:
                continue
            model = json.loads(forms[VIEW][0].astext().split(">", 1)[1].rsplit("<", 1)[0])["model_id"]
            path = Path(self.env.doc2path(self.env.docname))
            stored = stored_model(path, read(path), model)
            bundle.replace_self(place(model, stored, forms["image/png"]))


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def stored_model(path: Path, notebook: dict[str, Any], model: str) -> dict[str, Any]:
    """What a notebook stored of a figure."""
    states: dict[str, dict[str, Any]] = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    if model not in states:
        raise ValueError(f"{path.name}: a live figure has no stored state; run `make outputs`")
    return states[model]


def place(model: str, stored: dict[str, Any], still: list[nodes.Node]) -> list[nodes.Node]:
    """A figure's still picture, in a place of its own that the loader finds."""
    wide, phone = stored["state"]["heights"]
    start = f'<div class="figure-place" data-model="{model}" style="--wide:{wide}px;--phone:{phone}px">'
    return [nodes.raw("", start, format="html"), *still, nodes.raw("", "</div>", format="html")]


class ShowFigure(SphinxDirective):
    """Show the first live figure of a chapter on a page of text."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / f"{self.arguments[0]}.ipynb"
        self.env.note_dependency(str(path))
        notebook = read(path)
        shown = (
            (cell["metadata"]["mystnb"]["image"]["alt"], output["data"])
            for cell in notebook["cells"]
            for output in cell.get("outputs", [])
            if VIEW in output.get("data", {})
        )
        alt, data = next(shown, (None, None))
        if data is None:
            raise self.error(f"{path.name} shows no live figure")
        model = data[VIEW]["model_id"]
        stored = stored_model(path, notebook, model)
        picture = Path(self.env.srcdir) / "_build" / "live-figures" / f"{path.stem}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(base64.b64decode(data["image/png"]))
        still = nodes.image(uri=f"/{picture.relative_to(self.env.srcdir).as_posix()}", alt=alt, classes=["drawing"])
        caption = nodes.container("", *self.parse_content_to_nodes(), classes=["live-caption"])
        # "<" would end the script too early, were it followed by "/script".
        text = json.dumps({"state": {model: stored}}, ensure_ascii=False).replace("<", "\\u003c")
        script = nodes.raw("", f'<script type="{STATE}">{text}</script>', format="html")
        return [*place(model, stored, [still]), caption, script]


def add_style(app: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(STYLE))


def use_style(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Bring the figures' style sheet to the pages that have one: one file, which their notebooks need not store."""
    if 'class="figure-place"' in context.get("body", ""):
        app.add_css_file(STYLE.name, priority=900)  # after the book's


def write_translator(app: Sphinx, error: Exception | None) -> None:
    """Put the translator where its figure looks for it, after Sphinx has copied the static files."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static" / "translator"
    made_from = [*TRANSLATOR.iterdir(), Path(write_scripts.__code__.co_filename)]
    header = folder / "header.js"
    if not header.exists() or header.stat().st_mtime < max(path.stat().st_mtime for path in made_from):
        write_scripts(folder, Translator.load())


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(PlaceFigures)
    app.add_directive("live-figure", ShowFigure)
    app.connect("config-inited", add_style)
    app.connect("html-page-context", use_style)
    app.connect("build-finished", write_translator)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
