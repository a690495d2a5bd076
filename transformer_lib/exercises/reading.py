"""Find the answers in a learner's notebooks and modules, and run just the code that each depends on.

An answer is what stands in a call ``check("id", answer)``. Nothing is ever written to the learner's files.
"""

import ast
import contextlib
import hashlib
import json
import linecache
import os
import re
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CALL = re.compile(r"""\bcheck\(\s*["']([\w-]+)["']""")
_START = re.compile(r"\{solution-start\}\s*ex-([\w-]+)")
_END = re.compile(r"\{solution-end\}")


@dataclass(frozen=True)
class _Statement:
    """One top-level statement, with its place."""

    node: ast.stmt
    file: str  # what a traceback calls its cell
    bound: frozenset[str]  # names that it gives a meaning to, or changes
    defined: frozenset[str]  # those whose earlier meaning no longer matters
    needed: frozenset[str]
    late: frozenset[str]  # those of them that its functions look up when they are called
    handed: frozenset[str]  # names that it hands to a call, which may change them: `fit(model, …)`


@dataclass(frozen=True)
class Answer:
    """An answer in a learner's file, with the statements that it depends on.

    Attributes:
        exercise: the id in the call.
        path: the file.
        place: the cell or line, for people.
        problem: why it cannot be run, for instance a syntax error; else empty.
        fingerprint: changes if any of its statements does.
    """

    exercise: str
    path: Path
    place: str
    statements: tuple[_Statement, ...]
    expression: ast.expr | None
    problem: str = ""

    @property
    def fingerprint(self) -> str:
        nodes = [*(one.node for one in self.statements), *([self.expression] if self.expression else [])]
        text = "\n".join([self.exercise, self.problem, *(ast.dump(node) for node in nodes)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def load(self) -> Any:
        """Run the statements and return the answer. Exceptions of the learner's code pass through."""
        assert self.expression is not None
        namespace: dict[str, Any] = {"__name__": "__main__"}
        sys.path.insert(0, str(self.path.parent))
        try:
            with contextlib.chdir(self.path.parent or "."):
                for one in self.statements:
                    exec(compile(ast.Module([one.node], []), one.file, "exec"), namespace)
                return eval(compile(ast.Expression(self.expression), self.place, "eval"), namespace)
        finally:
            sys.path.remove(str(self.path.parent))


def find_files(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The notebooks and modules in the given files and folders that call ``check``."""
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = [*place.rglob("*.ipynb"), *place.rglob("*.py")]
            found += sorted(
                path for path in inside if not any(p[0] in "._" for p in path.relative_to(place).parts[:-1])
            )
        elif place.suffix in (".ipynb", ".py"):
            if not place.exists():
                raise FileNotFoundError(f"there is no file {place}")
            found.append(place)
        else:
            raise FileNotFoundError(f"{place} is no folder, notebook or module")

    def calls(path: Path) -> bool:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it may be gone again by now
            return False
        return _CALL.search(text.replace('\\"', '"')) is not None

    return [path.resolve() for path in found if calls(path)]


def answers(path: Path) -> list[Answer]:
    """A learner's answers in one notebook or module, in its order.

    Raises:
        ValueError: the file is no notebook; the message says why.
    """
    return list(_answers(path, _cells(path, {})))


def solutions(path: Path) -> list[Answer]:
    """The published solutions of a chapter: each exercise's solution cells in the place of its stub."""
    names = dict.fromkeys(name for name, _, _ in _cells(path, None) if name)
    found = []
    for name in names:
        cells = list(_cells(path, {name: None}))
        found += [answer for answer in _answers(path, cells) if answer.exercise == name]
    return found


def _cells(path: Path, kept: dict[str, None] | None) -> Iterator[tuple[str, str, str]]:
    """The code cells as (solution of which exercise or "", place, source).

    Args:
        path: a notebook or module.
        kept: the exercises whose solutions are kept, and then stand before their stub's ``check``; ``None``: all, in
            their own places.
    """
    if path.suffix == ".py":
        yield "", path.name, path.read_text(encoding="utf-8")
        return
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        parsed = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook of version 4: {type(error).__name__}: {error}") from error
    inside, count, waiting = "", 0, None
    for kind, source in parsed:
        if kind == "markdown":
            if start := _START.search(source):
                inside = start[1]
            if _END.search(source):
                if waiting is not None and kept and inside in kept:
                    yield waiting  # the stub's check, after the solution
                    waiting = None
                inside = ""
        elif kind == "code":
            count += 1
            if inside and kept is not None and inside not in kept:
                continue
            cell = (inside, f"{path.name}, cell {count}", source)
            named = _CALL.search(source)
            if not inside and kept and named and named[1] in kept:
                waiting = (cell[0], cell[1], _only_checks(source))
            else:
                yield cell


def _only_checks(source: str) -> str:
    """Of a stub's cell, the call of ``check`` alone."""
    calls = [node for node in ast.parse(source).body if _checked(node)]
    return "\n".join(ast.unparse(node) for node in calls)


def _answers(path: Path, cells: Iterable[tuple[str, str, str]]) -> Iterator[Answer]:
    before: list[_Statement] = []
    imported: set[str] = set()
    for _, place, source in cells:
        source = _plain(source)
        file = f"<{place}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        try:
            nodes = ast.parse(source).body
        except SyntaxError as error:
            line = (error.text or "").strip()
            problem = f"SyntaxError: {error.msg} (line {error.lineno}: `{line}`)"
            for name in _CALL.findall(source):
                yield Answer(name, path, place, (), None, problem)
            continue
        here: list[_Statement] = []
        for node in nodes:
            if (found := _checked(node)) is not None:
                name, expression = found
                where = place if path.suffix == ".ipynb" else f"{place}, line {node.lineno}"
                yield Answer(name, path, where, _slice(before, here, expression, path), expression)
            else:
                here.append(_statement(node, file, imported))
                if isinstance(node, ast.Import | ast.ImportFrom):
                    imported |= here[-1].defined
        before += here


def _plain(source: str) -> str:
    """Source without the lines that only IPython understands."""
    return "\n".join("" if re.match(r"\s*[%!?]", line) else line for line in source.splitlines())


def _checked(node: ast.stmt) -> tuple[str, ast.expr] | None:
    """The exercise and the answer in a statement ``check("id", answer)``."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return None
    function, arguments = node.value.func, list(node.value.args)
    arguments += [keyword.value for keyword in node.value.keywords if keyword.arg == "answer"]
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    if name != "check" or len(arguments) != 2:
        return None
    first = arguments[0]
    return (first.value, arguments[1]) if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _statement(node: ast.stmt, file: str, imported: set[str]) -> _Statement:
    table = symtable.symtable(ast.unparse(node), file, "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    late = set(_globals(table))
    needed = {s.get_name() for s in table.get_symbols() if s.is_referenced()} | late
    changed = set(_changed(node))
    if isinstance(node, ast.For | ast.While | ast.With | ast.If | ast.Try):
        # `torch.set_num_threads(1)` sets something up; `torch.manual_seed(n)` within a loop serves the loop.
        changed -= imported
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    handed = {argument.id for call in calls for argument in call.args if isinstance(argument, ast.Name)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        handed = set()
    # Only what replaces a name for certain hides its earlier meaning.
    certain = isinstance(
        node,
        ast.FunctionDef
        | ast.ClassDef
        | ast.AsyncFunctionDef
        | ast.Import
        | ast.ImportFrom
        | ast.Assign
        | ast.AnnAssign,
    )
    hidden = defined - changed if certain else set()
    return _Statement(
        node,
        file,
        bound=frozenset(defined | changed),
        defined=frozenset(hidden),
        needed=frozenset(needed | changed),
        late=frozenset(late),
        handed=frozenset(handed),
    )


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that inner functions and classes take from the module."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from _globals(child)


def _changed(node: ast.AST) -> Iterator[str]:
    """Names of objects that a statement changes: ``layer.scale = 2``, ``weights[0] = 1``, ``model.eval()``."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        yield from _root(node)
    if isinstance(node, ast.AugAssign):
        yield from _root(node.target)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield from _root(node.value.func) if isinstance(node.value.func, ast.Attribute) else ()
    for child in ast.iter_child_nodes(node):
        yield from _changed(child)


def _root(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


def _slice(
    before: list[_Statement], here: list[_Statement], expression: ast.expr, path: Path
) -> tuple[_Statement, ...]:
    """The statements that an answer depends on: those of its cell, and of earlier cells those that they need."""
    table = symtable.symtable(ast.unparse(expression), "<answer>", "eval")
    wanted = {symbol.get_name() for symbol in table.get_symbols()} | set(_globals(table))
    # A module has no cells: there, only what is needed is run.
    own = here if path.suffix == ".ipynb" else []
    earlier = [*before, *([] if path.suffix == ".ipynb" else here)]
    # What is handed in may be a model that an earlier cell has trained.
    handed = {expression.id} if isinstance(expression, ast.Name) else set()
    chosen: list[_Statement] = []
    while True:
        needed = set(wanted)
        for one in reversed(own):
            needed = (needed - one.defined) | one.needed
        found: list[_Statement] = []
        for one in reversed(earlier):
            if one.bound & needed or one.handed & handed & needed:
                found.append(one)
                needed = (needed - one.defined) | one.needed
        if len(found) == len(chosen):
            return (*reversed(chosen), *own)
        chosen = found
        # A function looks its names up when it is called, so what comes after its definition counts too.
        wanted |= {name for one in (*chosen, *own) for name in one.late}
