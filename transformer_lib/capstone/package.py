"""The learner's package: written empty, read again, each part by itself."""

import ast
import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from transformer_lib.capstone.parts import FILES, PARTS, uses
from transformer_lib.texts import text

#: Under which name the package is imported here, whatever its folder is called.
_NAME = "your_transformer"
#: The code of every part, as the book has it.
SOLUTIONS = {part.id: part.solution for part in PARTS if part.solution}
_START = (
    '''"""A Transformer of my own; `python -m transformer_lib.capstone check` in this folder says how far it is."""\n'''
)


@dataclass(frozen=True)
class Piece:
    """What a learner has of one part.

    Attributes:
        begun: whether it is another than the empty one.
        value: the function or class; ``None`` where there is none.
        problem: why there is none, if it is begun.
    """

    begun: bool
    value: Any = None
    problem: str = ""


def write(folder: Path, definitions: Mapping[str, str] | None = None) -> None:
    """Write a package.

    Args:
        folder: made where it is missing.
        definitions: the code of each part; what it leaves out is written empty: a signature and its contract.

    Raises:
        FileExistsError: there is something already.
        OSError: it cannot be written; then nothing is left behind.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(text("{folder} is there already, and not empty; name a new folder", folder=folder))
    contents = {"__init__.py": _START} | {file: _content(file, definitions or {}) for file in FILES}
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            written.append(folder / name)
            with open(folder / name, "x", encoding="utf-8", newline="\n") as stream:
                stream.write(content)
    except BaseException:
        with contextlib.suppress(OSError):
            for path in written:
                path.unlink(missing_ok=True)
            for one in new:
                one.rmdir()
        raise


def _content(file: str, definitions: Mapping[str, str]) -> str:
    """A file's imports and its parts."""
    names = FILES[file]
    others = [name for part in PARTS if part.id in names for name in uses(part) if name not in names]
    imports = [
        f"from .{source.removesuffix('.py')} import {', '.join(name for name in inside if name in others)}\n"
        for source, inside in FILES.items()
        if set(inside) & set(others)
    ]
    heads = ["import math\n", "\nimport torch\nfrom torch import nn\n", "\n" if imports else "", *imports]
    return "".join(heads) + "".join(f"\n\n{definitions.get(name, emptied(SOLUTIONS[name]))}" for name in names)


def emptied(source: str) -> str:
    """Code whose functions have kept their contracts and lost their insides."""
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in reversed(functions):  # so that the lines above keep their numbers
        kept = int(bool(ast.get_docstring(node)) or ast.unparse(node.body[0]) == "super().__init__()")
        first, last = node.body[kept].lineno - 1, node.end_lineno
        lines[first:last] = [f"{' ' * node.body[0].col_offset}raise NotImplementedError"]
    return "\n".join(lines) + "\n"


def load(folder: Path) -> dict[str, Piece]:
    """Read a learner's package, its files as they are now.

    Raises:
        ValueError: none of the files is there.
    """
    if not any((folder / file).is_file() for file in FILES):
        raise ValueError(
            text(
                "{folder} holds no package of yours; write one: {command}",
                folder=folder,
                command="python -m transformer_lib.capstone new FOLDER",
            )
        )
    found: dict[str, Piece] = {}
    with _imported(folder):
        for file, names in FILES.items():
            path = folder / file
            try:
                source = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError) as error:
                found |= {
                    name: Piece(True, None, text("{file} cannot be read: {error}", file=file, error=_said(error)))
                    for name in names
                }
                continue
            written = {getattr(node, "name", ""): ast.unparse(node) for node in source.body}  # without comments
            try:
                module = importlib.import_module(f"{_NAME}.{path.stem}")
                problem = ""
            except (Exception, SystemExit) as error:
                module, problem = (
                    types.ModuleType(""),
                    text("{file} cannot be imported: {error}", file=file, error=_said(error)),
                )
            for name in names:
                empty = ast.unparse(ast.parse(emptied(SOLUTIONS[name])))
                value = getattr(module, name, None)
                missing = "" if value is not None else text("{file} has no {name}", file=file, name=name)
                found[name] = Piece(written.get(name) != empty, value, problem or missing)
    return found


@contextlib.contextmanager
def _imported(folder: Path) -> Iterator[None]:
    """A package of that folder, new, which leaves no compiled files there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
        del sys.modules[name]
    importlib.invalidate_caches()
    package = types.ModuleType(_NAME)
    package.__path__ = [str(folder.resolve())]
    sys.modules[_NAME] = package
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
    # Where a check runs in a fresh process, the learner's code travels with it.
    cloudpickle.register_pickle_by_value(package)


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        said = f"{type(error).__name__}: {error.msg}"
        return text("{error}, line {number}", error=said, number=error.lineno)
    return f"{type(error).__name__}: {error}"
