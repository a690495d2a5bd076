"""Reading the chapters: their cells, and the definitions that they build."""

import ast
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from tools.outputs import STATE
from transformer_lib import chapters

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


def notebook(key: str) -> Path:
    return ROOT / "chapters" / f"{chapters.CHAPTERS[key].file}.ipynb"


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def live_figures(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What a notebook stored of its live figures, in the order of the page."""
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    figures = {name: model["state"] for name, model in models.items() if "_esm" in model["state"]}
    return [figures[name] for name in sorted(figures, key=lambda name: int(name.split("-")[1]))]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def definitions(path: Path, *names: str) -> dict[str, Any]:
    """The functions and classes that a notebook defines, made anew from its imports and definitions alone.

    Args:
        path: the notebook.
        names: what must be among them.

    Returns:
        The namespace. A name that is defined twice has its last meaning, as in the notebook.
    """
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    body = [node for cell in code_cells(path) for node in ast.parse(cell.source).body if isinstance(node, kinds)]
    namespace: dict[str, Any] = {"__name__": path.stem}
    exec(compile(ast.Module(body, type_ignores=[]), str(path), "exec"), namespace)
    missing = [name for name in names if name not in namespace]
    if missing:
        raise KeyError(f"{path.name} does not define {', '.join(missing)}")
    return namespace
