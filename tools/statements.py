"""Write into the notebooks what the exercises' declarations say, and for the reports where the book has which passage.

    python -m tools.statements                 # every chapter
    python -m tools.statements chapters/02*    # one

An exercise is declared once, in ``transformer_lib/exercises/chapters/``. Its statement on the page and the code of its
solution are copies, which this renews. An exercise that a notebook does not have yet is put behind the one that is
declared before it; move it to where it belongs. What a solution shows, and what a stub gives beside the signature, is
the notebook's own and stays. The chapter's card says how long it takes (see ``tools/times.py``). Where code has
changed, run ``python -m tools.outputs`` next.

Reports point to passages of the book by labels. Which heading has which label is kept in
``transformer_lib/exercises/engine/passages.json``.
"""

import argparse
import ast
import json
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.outputs import ROOT, normalise, written
from tools.times import timed
from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import of_chapter
from transformer_lib.exercises.engine.declared import last_name
from transformer_lib.exercises.engine.exercise import Debug, Exercise, Predict
from transformer_lib.exercises.engine.passages import FILE as PASSAGES

CARD = ":class: chapter-card"
START = "```{{solution-start}} ex-{}\n"
END = "```{solution-end}\n```"
_LABELED = re.compile(r"^\(sec:(.+)\)=\n#+ (.+?)(?: · \*\w+\*)?$", re.M)  # a level may stand behind a heading


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="every chapter unless given")
    chosen = {path.resolve() for path in parser.parse_args().notebooks}
    for chapter in CHAPTERS.values():
        path = ROOT / "chapters" / f"{chapter.file}.ipynb"
        if not chosen or path in chosen:
            print(f"{path.name}: {'written' if renew(path, of_chapter(chapter.key)) else 'unchanged'}")
    lines = [f"{json.dumps(label)}: {json.dumps(found, ensure_ascii=False)}" for label, found in passages().items()]
    table = "{\n" + ",\n".join(lines) + "\n}\n"
    if table != PASSAGES.read_text(encoding="utf-8"):
        PASSAGES.write_text(table, encoding="utf-8")
        print(f"{PASSAGES.name}: written")


def passages() -> dict[str, tuple[str, str]]:
    """Each label of a section, without ``sec:``, with its chapter's key and its heading.

    Raises:
        ValueError: two headings have one label.
    """
    found: dict[str, tuple[str, str]] = {}
    for chapter in CHAPTERS.values():
        for cell in nbformat.read(ROOT / "chapters" / f"{chapter.file}.ipynb", as_version=4).cells:
            for label, heading in _LABELED.findall(cell.source) if cell.cell_type == "markdown" else ():
                if label in found:
                    raise ValueError(f"two headings have the label sec:{label}: {found[label][1]!r} and {heading!r}")
                found[label] = chapter.key, heading
    return found


def renew(path: Path, exercises: list[Exercise]) -> bool:
    """Write a chapter's declarations into its notebook; whether the file changed."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    cells = notebook.cells
    behind = len(cells)
    for exercise in exercises:
        label, start = f":label: ex-{exercise.id}\n", START.format(exercise.id)
        at = next((number for number, cell in enumerate(cells) if label in cell.source), None)
        if at is None:
            cells[behind:behind] = new_cells(exercise)
            behind += 5
            continue
        first = next(number for number, cell in enumerate(cells) if start in cell.source)
        behind = next(number for number, cell in enumerate(cells) if number > first and END in cell.source) + 1
        [old] = re.findall(rf"````\{{exercise\}} [^\n]*\n{label}.*?\n````", cells[at].source, re.S)
        cells[at].source = cells[at].source.replace(old, statement(exercise))
        for cell in cells[first:behind]:
            if cell.cell_type == "code" and exercise.solution:
                cell.source = solved(cell.source, exercise.solution.strip())
    for cell in cells:
        if CARD in cell.source:
            cell.source = timed(cell.source, cells, exercises)
    return written(path, before, normalise(notebook, nbformat.reads(before, as_version=4)))


def statement(exercise: Exercise) -> str:
    """What the page asks."""
    options = exercise.options if isinstance(exercise, Predict) else {}
    choices = "".join(f"\n- **{letter}** {text}" for letter, text in options.items())
    star, core = (":class: core\n", " · core") if exercise.core else ("", "")
    return f"""````{{exercise}} {exercise.title}
:label: ex-{exercise.id}
{star}*{exercise.kind.capitalize()} · {exercise.level} · about {exercise.minutes} minutes{core}.* {exercise.task}
{choices and choices + chr(10)}
```{{hints}} {exercise.id}
Stuck? `hint("{exercise.id}")` shows one hint at a time.
```
````"""


def new_cells(exercise: Exercise) -> list[NotebookNode]:
    """What a notebook gets of an exercise that is new: statement, stub, and the solution folded away."""
    return [
        new_markdown_cell(statement(exercise)),
        new_code_cell(stub(exercise)),
        new_markdown_cell(f"{START.format(exercise.id)}:class: dropdown\n```"),
        new_code_cell(exercise.solution.strip(), metadata={"jupyter": {"source_hidden": True}}),
        new_markdown_cell(END),
    ]


def stub(exercise: Exercise) -> str:
    """Where a learner begins: the signature with its docstring, or what is to be assigned."""
    if isinstance(exercise, Debug):
        name = last_name(ast.parse(exercise.given_code).body[-1])
        return f'{exercise.given_code.strip()}\n\n\ncheck("{exercise.id}", {name})'
    if not exercise.solution:
        return f'answer = ...  # your turn\n\ncheck("{exercise.id}", answer)'
    tree = ast.parse(exercise.solution)
    name, last = last_name(tree.body[-1]), tree.body[-1]
    functions = [node for node in ast.walk(last) if isinstance(node, ast.FunctionDef)]
    if not functions:
        return f'{name} = ...  # your turn\n\ncheck("{exercise.id}", {name})'
    lines = exercise.solution.splitlines()
    kept: list[str] = []
    for number, line in enumerate(lines[last.lineno - 1 : last.end_lineno], start=last.lineno):
        bodies = [(_body(function), function) for function in functions]
        inside = next((one for one in bodies if one[0] <= number <= (one[1].end_lineno or 0)), None)
        if inside is None:
            kept.append(line)
        elif number == inside[0]:
            kept.append(" " * (inside[1].col_offset + 4) + "raise NotImplementedError  # your turn")
    return "\n".join(kept) + f'\n\n\ncheck("{exercise.id}", {name})'


def _body(function: ast.FunctionDef) -> int:
    """The line where a function's body begins, behind its docstring."""
    first = function.body[0]
    told = ast.get_docstring(function, clean=False) is not None
    return (first.end_lineno or 0) + 1 if told else first.lineno


def solved(source: str, solution: str) -> str:
    """A cell that begins with a solution, with the solution as it is declared now; what the cell shows of it stays."""
    name = last_name(ast.parse(solution).body[-1])
    times = sum(last_name(node) == name for node in ast.parse(solution).body)
    ends = [node.end_lineno or 0 for node in ast.parse(source).body if last_name(node) == name]
    if len(ends) < times:
        return source
    lines = source.splitlines(keepends=True)
    end = ends[times - 1]
    return solution + ("\n" if lines[end - 1].endswith("\n") else "") + "".join(lines[end:])


if __name__ == "__main__":
    main()
