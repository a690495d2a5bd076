"""Build a Transformer alone: a package of your own, checked part by part, until it translates.

    python -m transformer_lib.capstone new FOLDER             write the empty package: signatures and contracts
    python -m transformer_lib.capstone check [FOLDER]         check every part that you have begun; says what is next
    python -m transformer_lib.capstone check [FOLDER] PART    check one part: attention, Encoder, translation
    python -m transformer_lib.capstone hint PART [NUMBER]     a hint

FOLDER is this folder unless given. Your files are only read.
The exit status is 0 if all parts that were asked for pass, 1 if one does not or is not begun, 2 for a wrong call.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from transformer_lib.capstone import package
from transformer_lib.capstone.package import Piece
from transformer_lib.capstone.parts import ENGLISH, FILES, PARTS, PORTUGUESE, diverging, uses
from transformer_lib.chapters import CHAPTERS
from transformer_lib.exercises import examine
from transformer_lib.exercises.engine import isolation, wording
from transformer_lib.exercises.engine.exercise import Exercise
from transformer_lib.exercises.engine.printing import command, say
from transformer_lib.exercises.engine.report import Report
from transformer_lib.texts import text, translated

#: How long the learner's files may take to be imported, and a model to be run beside the book's, in seconds.
LOADING, BESIDE = 20.0, 20.0
#: Where nothing has gone wrong that has a place in the stack.
_PLACELESS = (
    "todo",
    "unfinished",
    "passed",
    "endless",
    "recursion",
    "memory",
    "crashed",
    "ready-made",
    "seed",
    "random",
)
_FILE = {name: file for file, names in FILES.items() for name in names}
_IDS = [part.id for part in PARTS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer_lib.capstone",
        description=translated(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help=text("write the empty package"))
    new.add_argument("folder", metavar="FOLDER", help=text("where there is nothing yet"))
    check = commands.add_parser("check", help=text("check the parts that you have begun, or one"))
    check.add_argument("what", nargs="*", metavar="FOLDER, PART", help=text("your package's folder; one of its parts"))
    hint = commands.add_parser("hint", help=text("a hint"))
    hint.add_argument("part", metavar="PART")
    hint.add_argument("number", nargs="?", type=int, default=1, metavar="NUMBER")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)  # all that is computed is small
    return command(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    if chosen.command == "new":
        return _new(Path(chosen.folder))
    if chosen.command == "hint":
        return _hint(_part(chosen.part), chosen.number)
    return _check(*_asked(chosen.what))


def _part(name: str) -> Exercise:
    if name not in _IDS:
        raise ValueError(text("there is no part {name!r}; the parts are {parts}", name=name, parts=", ".join(_IDS)))
    return PARTS[_IDS.index(name)]


def _asked(what: Sequence[str]) -> tuple[Path, Exercise | None]:
    """The folder and the part, each of which may be left out."""
    if len(what) > 2:
        raise ValueError(text("check takes a folder and a part; got {what}", what=" ".join(what)))
    if len(what) == 1 and what[0] in _IDS and not Path(what[0]).is_dir():
        return Path(), _part(what[0])
    return Path(what[0] if what else "."), _part(what[1]) if len(what) == 2 else None


def _new(folder: Path) -> int:
    package.write(folder)
    first = PARTS[0].id
    sizes = {"folder": folder, "n_files": len(FILES), "n_parts": len(_FILE)}
    say(text("{folder} holds {n_files} files with {n_parts} empty parts.", **sizes), end=" ")
    say(text("Begin with {part}, in {file}.", part=first, file=_FILE[first]))
    say(text("Then: {command}", command=f'python -m transformer_lib.capstone check "{folder}"'))
    return 0


def _hint(part: Exercise, number: int) -> int:
    if not 1 <= number <= len(part.hints):
        asked = {"name": part.id, "n": len(part.hints), "asked": number}
        raise ValueError(text("{name} has the hints 1 to {n}; you asked for {asked}", **asked))
    head = text("Hint {number} of {total}", number=number, total=len(part.hints))
    say(f"{head}: {translated(part.hints[number - 1])}")
    return 0


def _check(folder: Path, one: Exercise | None) -> int:
    pieces = _loaded(folder)
    if one is not None:
        report = _report(one, pieces)
        say(report)
        if one.id == PARTS[-1].id and report.verdict == "passed":
            _built()
        return int(report.verdict != "passed")
    passed: list[str] = []
    reports: list[Report] = []
    for part in PARTS:
        file = _FILE.get(part.id, "")
        waits = [name for name in uses(part) if name not in passed]
        piece = pieces.get(part.id)
        if piece and not piece.begun:
            mark, note = "○", text("not begun")
        elif waits and not (piece and piece.problem):
            mark, note = "·", text("waits for {parts}", parts=", ".join(waits))
        else:
            report = _report(part, pieces)
            mark, note = report.mark, text("not begun") if report.verdict == "todo" else ""
            if report.verdict == "passed":
                passed.append(part.id)
            elif report.verdict != "todo" and report not in reports:  # a file's fault stands before each of its parts
                reports.append(report)
        say(f"{mark} {part.id:20}{file:18}{note}".rstrip(), flush=True)
    for report in reports:
        say(f"\n{report}")
    if len(passed) == len(PARTS):
        _built()
        return 0
    following = next(part for part in PARTS if part.id not in passed and set(uses(part)) <= set(passed))
    chapter = CHAPTERS[following.chapter]
    holes = {"part": following.id, "number": chapter.number, "chapter": translated(chapter.title)}
    say("\n" + text("{n} of {total} parts pass.", n=len(passed), total=len(PARTS)), end=" ")
    if following.id in _FILE:
        say(text("Next: {part}, in {file} (chapter {number}, {chapter}).", file=_FILE[following.id], **holes))
    else:
        say(text("Next: {part} (chapter {number}, {chapter}).", **holes))
    say(translated(following.task))
    say(text("A hint: {command}", command=f"python -m transformer_lib.capstone hint {following.id}"))
    return 1


def _built() -> None:
    say("\n" + text("Your own classes, with the book's weights, read: {english}", english=ENGLISH))
    say(text("They wrote: {portuguese}", portuguese=PORTUGUESE))
    say(text("You have built a Transformer."))


def _loaded(folder: Path) -> dict[str, Piece]:
    """The learner's package; first on trial, so that a loop without end is stopped."""
    ended = isolation.run(lambda mark: _trial(folder), LOADING)
    if ended.value is None:
        if ended.how == "endless":
            raise ValueError(text("your files in {folder} cannot be imported: the import has no end", folder=folder))
        raise ValueError(
            text("your files in {folder} cannot be imported: the import ends the whole process", folder=folder)
        )
    if ended.value:
        raise ValueError(ended.value)
    return package.load(folder)


def _trial(folder: Path) -> str:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            package.load(folder)
        except ValueError as error:
            return str(error)
    return ""


def _report(part: Exercise, pieces: dict[str, Piece]) -> Report:
    if part.id in pieces:
        piece = pieces[part.id]
        if piece.problem:
            return Report(_FILE[part.id], _FILE[part.id], "raised", (piece.problem,))
        answer = piece.value
    else:
        answer = tuple(pieces[name].value for name in uses(part))
    report = examine(part, answer)
    pointers = [one.see for one in (*getattr(part, "mistakes", ()), *getattr(part, "goals", ()))]
    with_chapter = {wording.passage(one, part.chapter): wording.passage(one) for one in pointers}
    note = report.note
    if report.verdict not in _PLACELESS:
        found = isolation.run(lambda mark: diverging(part, answer), BESIDE).value
        note = "\n".join(filter(None, [found, note]))
    return replace(
        report,
        title=f"{part.id} ({_FILE.get(part.id, translated(part.title))})",
        see=with_chapter.get(report.see, report.see),
        note=note,
    )


if __name__ == "__main__":
    sys.exit(main())
