"""Below an output whose numbers may differ a little from machine to machine, the page says by how much."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).parent.parent))  # Sphinx adds this folder alone

from tools.numbers import Tolerance


def show_tolerances(app: Sphinx, doctree: nodes.document) -> None:
    for cell in list(doctree.findall(nodes.container)):
        words = Tolerance.of(cell.get("cell_metadata", {})).in_words()
        output = next((part for part in cell.children if part.get("nb_element") == "cell_code_output"), None)
        if words and output is not None:
            output += nodes.container("", nodes.inline("", f"tested: {words}"), classes=["tolerance"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", show_tolerances)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
