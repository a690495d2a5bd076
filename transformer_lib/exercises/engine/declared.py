"""Read exercises that are written as text: a task, hints, the solution, and each mistake as an edit of the solution.

A chapter's file ``chapters/KEY.md`` looks like this::

    # scaled-window: A sliding window
    implement · medium · 10 minutes
    The task, in one sentence.

    ? A hint.
    ? Another hint.

    ```python
    def window_mask(length, width):
        return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - width)
    ```

    ## one-too-many (scaled-masks)
    - `triu(1 - width)` → `triu(-width)`
    Your window is one key too wide: `width` counts the query's own position too.

Two exercises a chapter are *core*, for every reader; their second line ends in ``10 minutes · core``.

A mistake's heading names it, and then the label of the passage that clears it up. Where edits would be hard to read,
its whole code stands in a block of its own. A prediction's solution computes it and keeps it under the last name that
it assigns; its mistake may also be the value alone, ``= `(2, 3)` ``. What it expects stands in a line that begins with
``=``; the choices of a multiple choice stand in lines of their own, ``a) text``. The code that is given in *debug*
stands like a mistake, under ``## given``. What must be Python, such as inputs, probes and experiments, stands in
``chapters/KEY.py``.
"""

import ast
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import transformer_lib as lib
from transformer_lib.exercises.engine.exercise import Debug, Exercise, Explore, Implement, Mistake, Predict

_FOLDER = Path(__file__).parents[1] / "chapters"
_KINDS: Mapping[str, type[Exercise]] = {one.__name__.lower(): one for one in (Implement, Predict, Debug, Explore)}
_HEAD = re.compile(
    r"# (?P<id>\S+): (?P<title>.+)\n(?P<kind>\w+) · (?P<level>\w+) · (?P<minutes>\d+) minutes(?P<core> · core)?\n"
    r"(?P<rest>.*)",
    re.S,
)
_MISTAKE = re.compile(r"(?P<name>\S+)(?: \((?P<see>[^\n]+)\))?\n(?P<rest>.*)", re.S)
_CODE = re.compile(r"```python\n(.*?)```\n?", re.S)
_EDIT = re.compile(r"^- `(?P<old>[^`]+)` → `(?P<new>[^`]*)`\n", re.M)
_VALUE = re.compile(r"^= `(.+)`\n", re.M)
_CHOICE = re.compile(r"^(\w)\) (.+)\n", re.M)
#: What solutions may use without saying so: the names that every chapter imports.
_NAMES: Mapping[str, Any] = {"math": math, "np": np, "torch": torch, "F": F, "nn": nn, "lib": lib}


def read(
    chapter: str,
    parts: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    joined: bool = False,
) -> tuple[Exercise, ...]:
    """The exercises of ``chapters/KEY.md``, in its order.

    Args:
        chapter: the key, for all exercises whose ``parts`` name no other.
        parts: for each exercise what is not text: fields of its class, such as ``stages``.
        names: what the solutions and mistakes use of the chapter, beside what every chapter imports.
        file: the text, where it is not the chapter's.
        joined: whether the exercises build on each other: each may use what the solutions before it define.

    Raises:
        ValueError: the text is not of the form above, an edit fits nowhere, or text and parts do not tell of the same
            exercises; the message names the exercise.
    """
    text = (file or _FOLDER / f"{chapter}.md").read_text(encoding="utf-8")
    known = {**_NAMES, **(names or {})}
    found = []
    for piece in _sections(text, "# "):
        exercise = _exercise(chapter, piece, parts, known)
        found.append(exercise)
        if joined and exercise.solution:
            exec(compile(exercise.solution, f"<{exercise.id}/solution>", "exec"), known)
    names_found = [exercise.id for exercise in found]
    if twice := {name for name in names_found if names_found.count(name) > 1}:
        raise ValueError(f"{chapter}.md: two exercises are called {', '.join(map(repr, sorted(twice)))}")
    if missing := set(parts) - set(names_found):
        raise ValueError(f"{chapter}.md does not tell of {', '.join(sorted(missing))}")
    return tuple(found)


def edited(source: str, edits: list[tuple[str, str]], where: str) -> str:
    """Code with each edit made wherever it fits.

    Raises:
        ValueError: one fits nowhere.
    """
    for old, new in edits:
        if old not in source:
            raise ValueError(f"{where}: the solution has no {old!r}")
        source = source.replace(old, new)
    return source


def _exercise(chapter: str, text: str, parts: Mapping[str, Mapping[str, Any]], names: Mapping[str, Any]) -> Exercise:
    head, *sections = _sections(text, "## ")
    found = _HEAD.fullmatch(head)
    if found is None or found["kind"] not in _KINDS:
        begins = "“# id: Title” and “kind · level · n minutes”, then “ · core” or nothing"
        raise ValueError(f"{chapter}.md: an exercise begins with {begins}; got {head[:60]!r}")
    name, kind, rest = found["id"], _KINDS[found["kind"]], found["rest"]
    fields: dict[str, Any] = {}
    source = ""
    if block := _CODE.search(rest):
        source, rest = block[1], rest[: block.start()] + rest[block.end() :]
        fields["solution"] = source
        fields["reference"] = _made(source, names, f"{name}/solution", kind)
    if expects := re.search(r"^= (.+)\n", rest, re.M):
        fields["expects"], rest = expects[1], rest.replace(expects[0], "")
    if choices := dict(_CHOICE.findall(rest)):
        fields["options"], rest = choices, _CHOICE.sub("", rest)
    task, *hints = (" ".join(piece.split()) for piece in re.split(r"(?m)^\? ", rest))
    mistakes = []
    for section in sections:
        wrong, code = _mistake(section.removeprefix("## "), source, names, name, kind)
        if wrong.name == "given":
            fields["given"], fields["given_code"] = wrong.wrong, code
        else:
            mistakes.append(wrong)
    return kind(
        id=name,
        title=found["title"],
        level=found["level"],  # type: ignore[arg-type]
        minutes=int(found["minutes"]),
        core=found["core"] is not None,
        task=task,
        hints=tuple(hints),
        mistakes=tuple(mistakes),
        **({"chapter": chapter} | fields | dict(parts.get(name, {}))),
    )


def _mistake(
    text: str, source: str, names: Mapping[str, Any], exercise: str, kind: type[Exercise]
) -> tuple[Mistake, str]:
    """A mistake, and its code; empty where only its value is told."""
    found = _MISTAKE.fullmatch(text)
    if found is None or not (found["see"] or found["name"] == "given"):
        raise ValueError(f"{exercise}: a mistake begins “## name (passage)”; got {text[:60]!r}")
    name, rest = found["name"], found["rest"]
    where = f"{exercise}/{name}"
    code = ""
    if value := _VALUE.search(rest):
        wrong, rest = eval(value[1], dict(names)), _VALUE.sub("", rest)
    else:
        blocks, edits = _CODE.findall(rest), [(edit["old"], edit["new"]) for edit in _EDIT.finditer(rest)]
        if bool(blocks) == bool(edits):
            raise ValueError(f"{where}: a mistake is edits, or a block of code")
        code = blocks[0] if blocks else edited(source, edits, where)
        wrong = _made(code, names, where, kind)
        rest = _EDIT.sub("", _CODE.sub("", rest))
    return Mistake(name, wrong, " ".join(rest.split()), found["see"] or ""), code


def _made(source: str, names: Mapping[str, Any], where: str, kind: type[Exercise]) -> Any:
    """What code defines last, as its caller will have it; for a prediction a function that computes it."""
    last = ast.parse(source, f"<{where}>").body[-1]
    name = last_name(last)
    if name is None:
        raise ValueError(f"{where}: the code must end with a definition or an assignment; got {ast.unparse(last)}")
    code = compile(source, f"<{where}>", "exec")

    def run() -> Any:
        namespace = dict(names)
        exec(code, namespace)
        return namespace[name]

    return run if kind is Predict else run()


def last_name(statement: ast.stmt) -> str | None:
    """The name that a statement gives last: of a definition, or of an assignment, also within a loop or a ``with``."""
    while isinstance(statement, ast.With | ast.For):
        statement = statement.body[-1]
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", statement)
    return getattr(target, "name", None) or getattr(target, "id", None)


def _sections(text: str, mark: str) -> list[str]:
    """A text cut before each line that begins with a mark, except in code."""
    cuts, code = [0], False
    for line in re.finditer(r"^.*\n?", text, re.M):
        code ^= line[0].startswith("```")
        if not code and line[0].startswith(mark) and line.start():
            cuts.append(line.start())
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
