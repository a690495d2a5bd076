"""The Python code in a learner's files: notebooks of every version, and modules, in whatever encoding they are."""

import ast
import io
import json
import tokenize
from pathlib import Path
from typing import Any

from transformer_lib.texts import text

#: IPython's cell magics whose cell is Python code that defines names as any other.
_TRANSPARENT = {"time", "capture", "prun", "memit"}


def read_cells(path: Path) -> list[tuple[str, str]]:
    """The cells of a notebook as (kind, source); a module is one code cell.

    Raises:
        ValueError: the file cannot be read as what its name says; the message names it.
    """
    content = path.read_bytes()
    if path.suffix == ".py":
        return [("code", _decoded(path, content))]
    try:
        notebook = json.loads(content)  # finds UTF-8, 16 and 32 by itself, with or without their marks
        sheets = notebook.get("worksheets") or [notebook]  # version 3 has sheets
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        return [(cell["cell_type"], "".join(cell.get("source", cell.get("input", "")))) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            text("{path} is not a notebook: {error}", path=path, error=f"{type(error).__name__}: {error}")
        ) from error


def _decoded(path: Path, content: bytes) -> str:
    """A module's text, by its mark, its declared encoding, or UTF-8."""
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as PowerShell writes
            source = content.decode("utf-16")
        else:
            source = content.decode(tokenize.detect_encoding(io.BytesIO(content).readline)[0])
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise ValueError(text("{path} cannot be read: {error}. Save it as UTF-8.", path=path, error=error)) from error
    return source.replace("\r\n", "\n").replace("\r", "\n")


def parse(source: str) -> tuple[ast.Module, str]:
    """The tree of a cell without what only IPython can run, and the source that its line numbers refer to.

    Magics, commands of the shell and questions do nothing, and where their value is kept it is ``None``. ``%time`` and
    its like run what they time.

    Raises:
        SyntaxError: it is no code, for IPython neither.
    """
    try:
        return _tree(source), source
    except SyntaxError as first:
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            # IPython would drop the blank line that stands for a cell magic.
            blank = "\n" if source.startswith("\n") else ""
            code = blank + TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
            tree = _tree(code)
            if len(tree.body) == 1 and isinstance(only := tree.body[0], ast.Expr):
                how, words = _magic(only.value) or ("", [""])
                if how == "run_cell_magic" and words[0] in _TRANSPARENT:
                    return parse("\n" + words[2])  # so the magic's own line keeps its number
            return _Neutral().visit(tree), code
        except SyntaxError:
            raise first from None


def _tree(source: str) -> ast.Module:
    try:
        tree = compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or brackets without end
        raise SyntaxError(str(error) or type(error).__name__) from error
    assert isinstance(tree, ast.Module)
    return tree


class _Neutral(ast.NodeTransformer):
    """Take the calls out that IPython has made of magics."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        magic = _magic(node.value)
        if magic is None:
            return self.generic_visit(node)
        how, words = magic
        if how == "run_line_magic" and words[0] in _TRANSPARENT:
            inner: ast.Module = self.visit(_tree(words[1]))
            return [_moved(one, node) for one in inner.body]
        return ast.copy_location(ast.Pass(), node)

    def visit_Call(self, node: ast.Call) -> Any:
        magic = _magic(node)
        if magic is None:
            return self.generic_visit(node)
        how, words = magic
        if how == "run_line_magic" and words[0] in _TRANSPARENT:
            body = _tree(words[1]).body
            if body and isinstance(body[0], ast.Expr):
                return _moved(body[0].value, node)
        return ast.copy_location(ast.List([], ast.Load()) if how == "getoutput" else ast.Constant(None), node)


def _magic(node: ast.expr) -> tuple[str, list[str]] | None:
    """Of ``get_ipython().how("word", …)``, what is called and with which words."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return None
    shell = node.func.value
    if not (isinstance(shell, ast.Call) and isinstance(shell.func, ast.Name) and shell.func.id == "get_ipython"):
        return None
    words = [one.value if isinstance(one, ast.Constant) else "" for one in node.args]
    return node.func.attr, [*map(str, words), "", "", ""]


def _moved(node: Any, to: ast.AST) -> Any:
    """A node with all of its parts on another node's line."""
    for part in ast.walk(node):
        if "lineno" in part._attributes:
            ast.copy_location(part, to)
    return node
