"""Live figures on the page: where a notebook shows one, the page has its still picture, and room for it to wake.

The loader (``_static/figures.js``) replaces the picture by the figure. Without JavaScript the picture stays.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from transformer_lib.translator import TRANSLATOR, Translator
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
            wide, phone = self._heights(model)
            start = f'<div class="figure-place" data-model="{model}" style="--wide:{wide}px;--phone:{phone}px">'
            bundle.replace_self(
                [nodes.raw("", start, format="html"), *forms["image/png"], nodes.raw("", "</div>", format="html")]
            )

    def _heights(self, model: str) -> tuple[int, int]:
        path = Path(self.env.doc2path(self.env.docname))
        widgets = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("widgets", {})
        if model not in widgets.get(STATE, {}).get("state", {}):
            raise ValueError(f"{path.name}: a live figure has no stored state; run `make outputs`")
        wide, phone = widgets[STATE]["state"][model]["state"]["heights"]
        return wide, phone


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
    app.connect("build-finished", write_translator)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
