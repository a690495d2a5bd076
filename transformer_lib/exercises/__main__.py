"""List the exercises and check the answers in your notebooks and modules.

    python -m transformer_lib.exercises                     all exercises with their state; checks what has changed
    python -m transformer_lib.exercises scaled              the full reports of a chapter, or of one exercise: its id
    python -m transformer_lib.exercises --watch             check again whenever a file is saved
    python -m transformer_lib.exercises --show one-query    its task, its cell and how to begin; --show scaled: the ids
    python -m transformer_lib.exercises --hint one-query    a hint; --hint one-query 2 for the next

Answers are found where `check("id", answer)` stands. Save your notebook first. Your files are only read.
"""

import argparse
import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformer_lib.chapters import CHAPTERS, Chapter, chapter_named
from transformer_lib.exercises import exercises, find, of_chapter
from transformer_lib.exercises.engine import checking, isolation, progress, reading
from transformer_lib.exercises.engine.exercise import Exercise
from transformer_lib.exercises.engine.printing import say
from transformer_lib.exercises.engine.reading import Answer
from transformer_lib.exercises.engine.report import Report
from transformer_lib.exercises.engine.watching import Watch

#: How long the cells that an answer depends on may run, in seconds: as long as a whole chapter.
LOADING = 60.0
#: How long an answer's own cell may run at least, in seconds.
CELL = 10.0
#: How often --watch looks at the files, in seconds.
PERIOD = 0.5

_COLORS = {"✓": "32", "→": "33", "✗": "31", "○": "90"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a check that was asked for did not pass, 2 for a wrong call."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer_lib.exercises",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="ID", help="exercises or chapters to check and report on; or: all")
    parser.add_argument(
        "--in",
        dest="places",
        action="append",
        metavar="PATH",
        help="a folder, notebook or module with your answers; may be repeated; chapters/ or this folder unless given",
    )
    parser.add_argument("--watch", action="store_true", help="stay, and check again on every save")
    parser.add_argument("--show", metavar="ID", help="an exercise's task and how to begin, or a chapter's exercises")
    parser.add_argument("--hint", nargs="+", metavar=("ID", "NUMBER"), help="a hint")
    chosen = parser.parse_args(arguments)
    try:
        status = _run(chosen)
        if sys.stdout is not None:  # which it is where the shell has closed it
            sys.stdout.flush()  # here, and not at the interpreter's end, a reader that has gone is noticed
        return status
    except BrokenPipeError:  # the reader, for instance `head`, has seen enough
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush
        return 141
    except (ValueError, OSError) as error:
        say(error, error=True)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(chosen: argparse.Namespace) -> int:
    places = chosen.places or (["chapters"] if Path("chapters").is_dir() else ["."])
    if chosen.show:
        chapter = _chapter(chosen.show)
        return _show_chapter(chapter) if chapter else _show(find(chosen.show), places)
    if chosen.hint:
        return _hint(find(chosen.hint[0]), chosen.hint[1:])
    names = _names(chosen.what)
    if chosen.watch:
        return _watch(places, names)
    return _check(places, names) if names else _list(places)


def _names(what: Sequence[str]) -> list[str]:
    """The ids that were asked for; a chapter stands for all of its exercises."""
    names: list[str] = []
    for word in what:
        if word == "all":
            names += exercises()
        elif chapter := _chapter(word):
            names += [exercise.id for exercise in of_chapter(chapter.key)]
        else:
            names.append(find(word).id)
    return list(dict.fromkeys(names))


def _chapter(word: str) -> Chapter | None:
    """The chapter of a key or a number; ``None`` if the word can only be an exercise's id."""
    return chapter_named(word) if word in CHAPTERS or word.isdecimal() else None


def collect(places: Sequence[str]) -> dict[str, list[Answer]]:
    """The answers in some places by exercise. A file that cannot be read is named on stderr and passed over."""
    found: dict[str, list[Answer]] = {name: [] for name in exercises()}
    for path in reading.find_files(places):
        try:
            for answer in reading.answers(path):
                if answer.exercise in found:
                    found[answer.exercise].append(answer)
                elif not answer.exercise:
                    say(f"{answer.path}: {answer.place}: {answer.problem}", error=True)
                else:
                    say(f"{answer.place}: there is no exercise {answer.exercise!r}", error=True)
        except (ValueError, OSError) as error:
            say(error, error=True)
    return found


def judge(exercise: Exercise, answer: Answer, fork: bool | None = None) -> Report:
    """Run what an answer depends on, then check it; both in one isolated process."""
    if answer.problem:
        return Report(exercise.id, exercise.title, "raised", (f"{answer.place}: {answer.problem}",))

    def work(mark: isolation.Mark) -> Report:
        os.environ.setdefault("MPLBACKEND", "Agg")
        mark("your other cells", LOADING)
        watch = Watch((), ())
        try:
            with watch.watching():
                value = answer.load(lambda: mark("the cell of your answer", max(exercise.seconds, CELL)))
        except Exception as error:
            if isinstance(error, NotImplementedError) and not error.args:
                return checking.not_finished(exercise, error, None)
            says = f"the code before the check stops with {checking.told_error(error)}"
            return Report(exercise.id, exercise.title, "raised", (says,))
        return checking.judged(exercise, value, mark)

    ended = isolation.run(work, LOADING, fork=fork)
    report = ended.value if ended.value is not None else checking.stopped(exercise, ended)
    if report.verdict in ("raised", "endless", "crashed", "memory"):
        report = replace(report, says=(f"{answer.place}: {report.says[0]}", *report.says[1:]))
    return report


def _best(
    exercise: Exercise, found: Sequence[Answer], known: Mapping[str, progress.State], fresh: bool
) -> Report | None:
    """The report on the best of several answers to one exercise; ``None`` where nothing new was to be checked."""
    if not found:
        return Report(exercise.id, exercise.title, "todo", ("Not attempted yet.",))
    state = known.get(exercise.id)
    if not fresh and state is not None and len(found) == 1 and state.answer == found[0].fingerprint:
        return None
    best: Report | None = None
    for answer in found:
        report = judge(exercise, answer)
        report = progress.record(report, answer.fingerprint)
        if best is None or best.verdict == "todo" or report.verdict == "passed":
            best = report
    return best


def _check(places: Sequence[str], names: Sequence[str]) -> int:
    found, status = collect(places), 0
    for name in names:
        report = _best(find(name), found[name], {}, fresh=True)
        assert report is not None
        status = max(status, int(report.verdict != "passed"))
        say(_colored(report.mark, repr(report)))
    return status


def _list(places: Sequence[str]) -> int:
    found, known = collect(places), progress.states()
    marks: dict[str, str] = {}
    notes: dict[str, None] = {}
    for number, (name, exercise) in enumerate(exercises().items(), 1):
        _note(f"checking {number} of {len(exercises())}: {name}")
        report = _best(exercise, found[name], known, fresh=False)
        if report is not None and report.note:
            notes[report.note] = None
        marks[name] = report.mark if report is not None else Report(name, "", known[name].verdict, ()).mark
    _note("")
    states = progress.states()
    passed = sum(mark == "✓" for mark in marks.values())
    say(f"{passed} of {len(marks)} exercises passed  {_bar(passed, len(marks))}")
    for chapter in CHAPTERS.values():
        inside = of_chapter(chapter.key)
        if not inside:
            continue
        done = sum(marks[exercise.id] == "✓" for exercise in inside)
        say(f"\n{chapter.number}. {chapter.title} ({chapter.key})  {done}/{len(inside)}")
        for exercise in inside:
            mark = marks[exercise.id]
            before = "  passed before" if mark != "✓" and (s := states.get(exercise.id)) and s.passed else ""
            line = f"  {mark} {exercise.id:30} {exercise.kind:10} {exercise.level:7} {exercise.minutes:3} min{before}"
            say(_colored(mark, line))
    say("\n✓ passed   → a mistake with a name   ✗ not right   ○ not attempted")
    for note in notes:
        say(note, error=True)
    say("An id or a chapter after the command shows the full reports; --help shows more.")
    return 0


def _watch(places: Sequence[str], names: Sequence[str]) -> int:
    seen: dict[Path, float] = {}
    last: dict[str, str] = {}
    first = True
    say("Watching. Save a notebook, and what has changed in it is checked. Ctrl+C ends it.", flush=True)
    for changed in _changes(places, seen):
        for name, found in collect([str(path) for path in changed]).items():
            for answer in found:
                if (names and name not in names) or last.get(name) == answer.fingerprint:
                    continue
                last[name] = answer.fingerprint
                if first:
                    continue  # as it was when the watch began
                report = judge(find(name), answer)
                report = progress.record(report, answer.fingerprint)
                say(_colored(report.mark, f"{time.strftime('%H:%M:%S')} {report!r}"), flush=True)
        first = False
    return 0


def _changes(places: Sequence[str], seen: dict[Path, float]) -> Iterator[list[Path]]:
    """Again and again, the files that have been saved since the last look; all of them at first."""
    while True:
        times: dict[Path, float] = {}
        for path in reading.find_files(places):
            with contextlib.suppress(OSError):
                times[path] = path.stat().st_mtime
        changed = [path for path, when in times.items() if seen.get(path) != when]
        seen.update(times)
        if changed:
            yield changed
        time.sleep(PERIOD)


def _show(exercise: Exercise, places: Sequence[str]) -> int:
    say(f"{exercise.title} ({exercise.kind}, {exercise.level}, about {exercise.minutes} minutes)")
    say(exercise.task)
    name = f"{CHAPTERS[exercise.chapter].file}.ipynb"
    book = next((path for path in reading.find_files(places) if path.name == name), None)
    if book is not None:
        try:
            place, stub = reading.cell(exercise.id, book)
            say(f"\n{place}:\n\n{textwrap.indent(stub, '    ')}")
        except (ValueError, OSError) as error:
            say(error, error=True)
    say(f"\nOpen {book or f'chapters/{name}'}, or write your answer in a file, with these lines around it:")
    say(f'\n    from transformer_lib.exercises import check\n    check("{exercise.id}", …)')
    say(f"\nThen run: python -m transformer_lib.exercises --in FILE.py {exercise.id}")
    say(f"There are {len(exercise.hints)} hints: --hint {exercise.id}")
    return 0


def _show_chapter(chapter: Chapter) -> int:
    say(f"{chapter.number}. {chapter.title} ({chapter.key})")
    for exercise in of_chapter(chapter.key):
        say(f"  {exercise.id:30} {exercise.title}")
    return 0


def _hint(exercise: Exercise, number: Sequence[str]) -> int:
    wanted = number[0] if number else "1"
    if len(number) > 1 or not wanted.isdigit() or not 1 <= int(wanted) <= len(exercise.hints):
        raise ValueError(f"{exercise.id} has the hints 1 to {len(exercise.hints)}; you asked for {' '.join(number)}")
    say(f"Hint {wanted} of {len(exercise.hints)}: {exercise.hints[int(wanted) - 1]}")
    return 0


def _bar(done: int, total: int, width: int = 30) -> str:
    full = width * done // max(total, 1)
    return f"[{'█' * full}{'·' * (width - full)}]"


def _colored(mark: str, text: str) -> str:
    plain = sys.stdout is None or not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain or mark not in _COLORS else f"\x1b[{_COLORS[mark]}m{text}\x1b[0m"


def _note(text: str) -> None:
    """A line that the next one overwrites; nothing where the output is kept in a file."""
    if sys.stderr is not None and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        say(f"\r{text[:width]:<{width}}\r", error=True, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
