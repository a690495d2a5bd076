"""Find the answers in a learner's notebooks and modules, and run just the code that each depends on.

An answer is what stands in a call ``check("id", answer)``. Nothing is ever written to the learner's files.
"""

import __future__

import ast
import asyncio
import contextlib
import hashlib
import inspect
import linecache
import os
import re
import symtable
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformer_lib.exercises.engine.calls import CAPTURE, Call, Names
from transformer_lib.exercises.engine.sources import parse, read_cells
from transformer_lib.texts import text

#: A call in code that cannot be parsed, and thus be read by its words alone.
_CALL = re.compile(r"""\bcheck\(\s*(?:name\s*=\s*)?["']([\w-]+)["']""")
_START = re.compile(r"\{solution-start\}\s*ex-([\w-]+)")
_END = re.compile(r"\{solution-end\}")
#: A comment that marks a call of ``check`` as an example of the book's, which is no learner's answer.
_EXAMPLE = "# wrong on purpose"
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


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
    flags: int  # of the compiler, from __future__
    own: bool = False  # of the answer's own cell


class _Reached(BaseException):
    """Thrown where the call of ``check`` stands that is looked for, to go no further."""


@dataclass(frozen=True)
class Answer:
    """An answer in a learner's file, with the statements that it depends on.

    Attributes:
        exercise: the id in the call; empty where a call is not understood, and then ``problem`` says why.
        path: the file.
        place: the cell or line, for people.
        statements: to be run first.
        expression: then gives the answer. Without one, the last statement holds the call of ``check``.
        problem: why it cannot be run, for instance a syntax error; else empty.
        fingerprint: changes if any of its statements does.
    """

    exercise: str
    path: Path
    place: str
    statements: tuple[_Statement, ...] = ()
    expression: ast.expr | None = None
    problem: str = ""

    @property
    def fingerprint(self) -> str:
        nodes = [*(one.node for one in self.statements), *([self.expression] if self.expression else [])]
        content = "\n".join([self.exercise, self.problem, *(ast.dump(node) for node in nodes)])
        return hashlib.sha256(content.encode(errors="replace")).hexdigest()[:16]

    def load(self, own: Callable[[], None] = lambda: None) -> Any:
        """Run the statements and return the answer. Exceptions of the learner's code pass through.

        Args:
            own: called once, before the first statement of the answer's own cell.

        Raises:
            ValueError: the code ended without a call of ``check`` for this exercise.
        """
        module = types.ModuleType("__main__")
        module.__file__ = str(self.path)
        found: list[Any] = []

        def capture(name: object = "", answer: object = None) -> None:
            if name == self.exercise:
                found.append(answer)
                raise _Reached

        setattr(module, CAPTURE, capture)
        before, folder = sys.modules["__main__"], str(self.path.parent)
        sys.path.insert(0, folder)
        sys.modules["__main__"] = module
        try:
            with contextlib.chdir(folder), contextlib.suppress(_Reached):
                waiting = True
                for one in self.statements:
                    if waiting and one.own:
                        own()
                        waiting = False
                    _run(one, vars(module))
                if self.expression is not None:
                    code = compile(ast.Expression(self.expression), self.place, "eval", dont_inherit=True)
                    return eval(code, vars(module))
        finally:
            sys.modules["__main__"] = before
            with contextlib.suppress(ValueError):  # the learner may have removed it
                sys.path.remove(folder)
        if not found:
            raise ValueError(text('check("{name}", …) was not reached', name=self.exercise))
        return found[0]


def _run(one: _Statement, namespace: dict[str, Any]) -> None:
    flags = one.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(ast.Module([one.node], []), one.file, "exec", flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)


def list_files(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The notebooks and modules in the given files and folders, but not in hidden folders, by their names alone.

    Raises:
        FileNotFoundError: a place that is no folder, notebook or module.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            for folder, inside, files in os.walk(place):
                inside[:] = [name for name in inside if name[0] not in "._"]
                found += sorted(Path(folder, name) for name in files if name.endswith((".ipynb", ".py")))
        elif place.suffix in (".ipynb", ".py"):
            if not place.exists():
                raise FileNotFoundError(f"there is no file {place}")
            found.append(place)
        else:
            raise FileNotFoundError(f"{place} is no folder, notebook or module")
    return sorted(path.resolve() for path in found)


def find_files(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Those of :func:`list_files` that call ``check``."""

    def calls(path: Path) -> bool:
        try:
            content = path.read_bytes()
        except OSError:  # it may be gone again by now
            return False
        return b"check" in content.replace(b"\0", b"")  # in UTF-16 there are zeros between

    return [path for path in list_files(places) if calls(path)]


def answers(path: Path) -> list[Answer]:
    """A learner's answers in one notebook or module, in its order.

    Raises:
        ValueError: the file cannot be read; the message says why.
    """
    return list(_answers(path, _cells(path, {})))


def cell(name: str, path: Path) -> tuple[str, str]:
    """Where an exercise is answered in a notebook: the place and the source of the cell.

    Raises:
        ValueError: the notebook cannot be read, or has no such cell.
    """
    cells = list(_cells(path, {}))
    sources = {place: source for _, place, source in cells}
    for answer in _answers(path, cells):
        if answer.exercise == name and answer.place in sources:
            return answer.place, sources[answer.place].strip()
    raise ValueError(text('{path} has no check("{name}", …)', path=path, name=name))


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
    inside, count, waiting = "", 0, None
    for kind, source in read_cells(path):
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
            cell = (inside, _place(path, count), source)
            named = _CALL.search(source)
            if not inside and kept and named and named[1] in kept:
                waiting = (cell[0], cell[1], _only_checks(source))
            else:
                yield cell


def _place(path: Path, count: int) -> str:
    return path.name if path.suffix == ".py" else f"{path.name}, cell {count}"


def _only_checks(source: str) -> str:
    """Of a stub's cell, the call of ``check`` alone."""
    tree, _ = parse(source)
    return "\n".join(ast.unparse(node) for node in tree.body if any(Names().calls(node)))


def _answers(path: Path, cells: Iterable[tuple[str, str, str]]) -> Iterator[Answer]:
    notebook = path.suffix == ".ipynb"
    before: list[_Statement] = []
    imported: set[str] = set()
    names = Names()
    flags = 0
    defined: dict[str, _Waiting] = {}  # the functions in which `check` is called
    for _, place, source in cells:
        file = f"<{place}>"
        try:
            tree, code = parse(source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            problem = text(
                "SyntaxError: {error} (line {number}: `{line}`)", error=error.msg, number=error.lineno, line=line
            )
            found = _CALL.findall(source)
            if not found and "check(" in source:
                found = [""]
            for name in found:
                yield Answer(name, path, place, problem=problem)
            continue
        lines = code.splitlines(keepends=True) or [""]
        linecache.cache[file] = (len(code), None, lines, file)
        here: list[_Statement] = []
        for node in tree.body:
            if isinstance(node, ast.Pass):
                continue  # or what was a magic
            names.learn(node)
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    flags |= getattr(__future__, alias.name).compiler_flag
            calls = [call for call in names.calls(node) if _EXAMPLE not in lines[(call.node.end_lineno or 1) - 1]]
            where = place if notebook else f"{place}, line {node.lineno}"
            understood = [call for call in calls if call.exercise and call.answer is not None]
            for call in calls:
                if call not in understood:
                    problem = text("this call of check is not understood: `{call}`", call=ast.unparse(call.node))
                    yield Answer("", path, where, problem=problem)
            direct = isinstance(node, ast.Expr) and any(node.value is call.node for call in calls)
            if direct and understood:
                [call] = understood
                yield _direct(call, before, here, path, where)
                continue
            one = _statement(names.captured(node) if calls else node, file, imported, flags)
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported |= one.defined
            if isinstance(node, _DEFINITIONS):
                if understood or one.late & set(defined):  # a function that calls such a function
                    wanted = understood + [call for name in one.late & set(defined) for call in defined[name].calls]
                    defined[node.name] = _Waiting(node, where, wanted)
            else:
                for name in one.needed & set(defined):
                    understood += defined[name].calls
                for name in one.needed & set(defined):
                    _settle(defined, defined[name].calls)
                for call in understood:
                    yield _enclosed(call, one, before, here, path, where)
            here.append(one)
        before += here
    for waiting in list(defined.values()):
        yield from _never_called(waiting, before, path, flags)


@dataclass(frozen=True)
class _Waiting:
    """A definition that calls ``check``, as long as nothing that calls it is found."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    place: str
    calls: list[Call]


def _settle(defined: dict[str, _Waiting], calls: list[Call]) -> None:
    for name in [name for name, one in defined.items() if any(call in calls for call in one.calls)]:
        del defined[name]


def _direct(call: Call, before: list[_Statement], here: list[_Statement], path: Path, place: str) -> Answer:
    """``check("id", answer)`` as a statement of its own."""
    expression = call.answer
    assert expression is not None
    table = symtable.symtable(ast.unparse(expression), "<answer>", "eval")
    wanted = {symbol.get_name() for symbol in table.get_symbols()} | set(_globals(table))
    # What is handed in may be a model that an earlier cell has trained.
    handed = {expression.id} if isinstance(expression, ast.Name) else set()
    return Answer(call.exercise, path, place, _slice(before, here, wanted, handed, path), expression)


def _enclosed(
    call: Call, one: _Statement, before: list[_Statement], here: list[_Statement], path: Path, place: str
) -> Answer:
    """A call within a larger statement, which is run up to the call."""
    first = _slice(before, here, set(one.needed), set(one.handed), path)
    return Answer(call.exercise, path, place, (*first, replace(one, own=path.suffix == ".ipynb")))


def _never_called(waiting: _Waiting, before: list[_Statement], path: Path, flags: int) -> Iterator[Answer]:
    """The calls in a function that the file defines and does not call: it is called as it is, as a test would be."""
    node = waiting.node
    if isinstance(node, ast.FunctionDef) and not _required(node.args):
        call = ast.parse(f"{node.name}()").body[0]
        one = _statement(call, waiting.place, set(), flags)
        for check in waiting.calls:
            yield _enclosed(check, one, before, [], path, waiting.place)
        return
    for check in waiting.calls:
        where = {"function": node.name, "number": check.node.lineno}
        problem = text("check is called in `{function}`, and nothing here calls that (line {number})", **where)
        yield Answer(check.exercise, path, waiting.place, problem=problem)


def _required(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args) > len(arguments.defaults)
    return positional or any(default is None for default in arguments.kw_defaults)


def _statement(node: ast.stmt, file: str, imported: set[str], flags: int) -> _Statement:
    table = symtable.symtable(ast.unparse(node), file, "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    if any(isinstance(part, ast.ImportFrom) and part.names[0].name == "*" for part in ast.walk(node)):
        defined.add("*")  # whatever is needed may come from there
    late = set(_globals(table))
    needed = {s.get_name() for s in table.get_symbols() if s.is_referenced()} | late
    changed = set(_changed(node))
    if isinstance(node, ast.For | ast.While | ast.With | ast.If | ast.Try):
        # `torch.set_num_threads(1)` sets something up; `torch.manual_seed(n)` within a loop serves the loop.
        changed -= imported
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    handed = {argument.id for call in calls for argument in call.args if isinstance(argument, ast.Name)}
    if isinstance(node, _DEFINITIONS):
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
    hidden = defined - changed - {"*"} if certain else set()
    return _Statement(
        node,
        file,
        bound=frozenset(defined | changed),
        defined=frozenset(hidden),
        needed=frozenset(needed | changed),
        late=frozenset(late),
        handed=frozenset(handed),
        flags=flags,
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
    before: list[_Statement], here: list[_Statement], wanted: set[str], handed: set[str], path: Path
) -> tuple[_Statement, ...]:
    """The statements that an answer depends on: those of its cell, and of earlier cells those that they need.

    Args:
        before: the statements of earlier cells.
        here: those of the same cell.
        wanted: the names that the answer needs.
        handed: those of them whose objects earlier statements may have changed by a call.
        path: the file.
    """
    # A module has no cells: there, only what is needed is run.
    own = [replace(one, own=True) for one in here] if path.suffix == ".ipynb" else []
    earlier = [*before, *([] if path.suffix == ".ipynb" else here)]
    wanted = {*wanted, "*"}
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
