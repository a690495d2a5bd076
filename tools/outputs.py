"""Run the notebooks and store their outputs, so normalised that an unchanged notebook gives an empty diff.

    python -m tools.outputs                       # every chapter
    python -m tools.outputs chapters/02*.ipynb    # one
    python -m tools.outputs --fresh …             # measure again what depends on the machine
    python -m tools.outputs --figures             # give stored figures the present JavaScript; run nothing

What is normalised: cell numbers count 1, 2, …; cell ids follow from the cells' contents; metadata of editors and
machines is dropped; pieces of one output stream are joined. A text or picture that counts as the same as the stored
one (see `tools.numbers`) stays as it is. An output that depends on the machine (tag `nbval-ignore-output`) stays too,
as long as no code cell of its notebook has changed.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode, from_dict

from tools.numbers import Tolerance

ROOT = Path(__file__).parent.parent
KEPT_METADATA = ("tags", "mystnb", "jupyter", "tolerance")  # of a cell; the rest belongs to editors
IGNORED = "nbval-ignore-output"
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="every chapter unless given")
    parser.add_argument("--fresh", action="store_true", help="store machine-dependent outputs anew")
    parser.add_argument("--figures", action="store_true", help="only renew the code of the live figures; run nothing")
    arguments = parser.parse_args()
    # One thread, as in the tests: sums then come out in one order.
    os.environ["OMP_NUM_THREADS"] = "1"
    for path in arguments.notebooks or sorted((ROOT / "chapters").glob("*.ipynb")):
        start = time.perf_counter()
        try:
            changed = renew(path) if arguments.figures else store(path, fresh=arguments.fresh)
        except CellExecutionError as error:
            sys.exit(f"{path}: a cell failed, nothing was stored\n{error}")
        print(f"{path.name}: {'stored' if changed else 'unchanged'} ({time.perf_counter() - start:.0f} s)")


def store(path: Path, *, fresh: bool = False) -> bool:
    """Run a notebook and write it back with its outputs; whether the file changed."""
    before = path.read_text(encoding="utf-8")
    stored = nbformat.reads(before, as_version=4)
    notebook = nbformat.reads(before, as_version=4)
    execute(notebook, path)
    return written(path, before, normalise(notebook, None if fresh else stored))


def execute(
    notebook: NotebookNode, path: Path, *, environment: Mapping[str, str] | None = None, timeout: int = 600
) -> None:
    """Run a notebook in place, in the folder of its file.

    Args:
        notebook: gets the outputs, and the states of its widgets.
        path: of its file.
        environment: of its kernel; this process's unless given.
        timeout: of a cell, in seconds.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=True,
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute(env=dict(os.environ if environment is None else environment))


def renew(path: Path) -> bool:
    """Give the stored figures of a notebook the present code and words of their classes; whether the file changed.

    What they show stays: run the notebook where a figure's Python has changed.
    """
    # With it PyTorch, which running a notebook does not need here.
    from transformer_lib import widgets
    from transformer_lib.widgets.figure import translations

    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    for model in notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {}).values():
        state = model["state"]
        if "_anywidget_id" in state:
            kind = getattr(widgets, state["_anywidget_id"].rsplit(".", 1)[-1])
            state |= {"_esm": kind._esm, "texts": translations(kind._esm)}
            state.pop("_css", None)
    return written(path, before, notebook)


def written(path: Path, before: str, notebook: NotebookNode) -> bool:
    """Write a notebook if it differs from what its file held; whether it did."""
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return False
    temporary = path.with_suffix(".tmp")
    temporary.write_text(after, encoding="utf-8")
    temporary.replace(path)
    return True


def normalise(notebook: NotebookNode, stored: NotebookNode | None = None) -> NotebookNode:
    """Drop what differs between two runs of the same notebook.

    Args:
        notebook: executed; changed in place.
        stored: the same notebook as it was before, whose equal outputs are kept.

    Returns:
        The notebook.
    """
    same_code = stored is not None and _code(notebook) == stored.metadata.get("book", {}).get("code")
    widgets = _numbered(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        # The code that the stored outputs belong to.
        "book": {"code": _code(notebook)},
    }
    if widgets:
        notebook.metadata["widgets"] = widgets
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    old = {cell.source: cell for cell in stored.cells if cell.cell_type == "code"} if stored else {}
    count = 0
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        number = seen[cell.source] = seen.get(cell.source, 0) + 1
        cell.id = hashlib.sha256(f"{number} {cell.cell_type} {cell.source}".encode()).hexdigest()[:12]
        cell.metadata = {key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)}
        if cell.cell_type != "code":
            cell.pop("attachments", None)
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type == "execute_result":
                output.execution_count = count
            if "metadata" in output:
                output.metadata = {}
        previous = old.get(cell.source)
        if previous is None:
            continue
        if same_code and IGNORED in cell.metadata.get("tags", []) and previous.outputs:
            cell.outputs = previous.outputs
        else:
            cell.outputs = from_dict(Tolerance.of(cell.metadata).outputs_within(previous.outputs, cell.outputs))
    return notebook


def _numbered(notebook: NotebookNode) -> dict[str, Any] | None:
    """The states of the shown widgets, whose random names become numbers in the order of the page."""
    stored = notebook.metadata.get("widgets", {}).get(STATE)
    if not stored:
        return None
    shown = [
        output.data[VIEW]["model_id"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if VIEW in output.get("data", {})
    ]
    names: dict[str, str] = {}
    waiting = list(dict.fromkeys(shown))
    while waiting:  # what is shown, and what that refers to
        name = waiting.pop(0)
        if name not in names and name in stored["state"]:
            names[name] = f"figure-{len(names) + 1}"
            waiting += re.findall(r"IPY_MODEL_([\w-]+)", json.dumps(stored["state"][name]))
    text = json.dumps({new: stored["state"][old] for old, new in names.items()}, ensure_ascii=False, sort_keys=True)
    for old, new in names.items():
        text = text.replace(f"IPY_MODEL_{old}", f"IPY_MODEL_{new}")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if VIEW in output.get("data", {}):
                view = output.data[VIEW]
                view["model_id"] = names.get(view["model_id"], view["model_id"])
    states = json.loads(text)
    for model in states.values():
        model["state"].pop("_css", None)  # one for all figures, which the site has once and a kernel brings along
    return {STATE: {"state": states, "version_major": 2, "version_minor": 0}}


def _code(notebook: NotebookNode) -> str:
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: how a print is cut into pieces depends on the moment."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    main()
