"""List the exercises and check the answers in your notebooks and modules.

    python -m transformer_lib.exercises                     all exercises with their state; checks what has changed
    python -m transformer_lib.exercises scaled              the full reports of a chapter, or of one exercise: its id
    python -m transformer_lib.exercises --watch             check again on every save; keys for hints and more
    python -m transformer_lib.exercises --show one-query    its task, its cell and how to begin; --show scaled: the ids
    python -m transformer_lib.exercises --hint one-query    a hint; --hint one-query 2 for the next

Answers are found where `check("id", answer)` stands. Save your notebook first. Your files are only read.

Exit status: 0 if all that was asked for passed, 1 if anything did not or is not attempted, 2 if the command is not
understood. The list, --show and --hint ask for no check: 0.
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
from transformer_lib.exercises.engine import isolation, judging, progress, reading, wording
from transformer_lib.exercises.engine.exercise import Exercise
from transformer_lib.exercises.engine.keys import keys
from transformer_lib.exercises.engine.printing import command, say
from transformer_lib.exercises.engine.reading import Answer
from transformer_lib.exercises.engine.report import Report, as_text
from transformer_lib.exercises.engine.watching import Watch
from transformer_lib.texts import text, translated

#: How long the cells that an answer depends on may run, in seconds: as long as a whole chapter.
LOADING = 60.0
#: How long an answer's own cell may run at least, in seconds.
CELL = 10.0
#: How often --watch looks at the files, in seconds.
PERIOD = 0.5
#: The columns that the list takes with everything in it; a narrower terminal gets the marks and the ids.
WIDE = 80
CORE = "★"

_COLORS = {"✓": "32", "→": "33", "✗": "31", "○": "90"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status, which --help explains."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer_lib.exercises",
        description=translated(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="*", metavar="ID", help=text("exercises or chapters to check and report on; or: all")
    )
    parser.add_argument(
        "--in",
        dest="places",
        action="append",
        metavar="PATH",
        help=text(
            "a folder, notebook or module with your answers; may be repeated; chapters/ or this folder unless given"
        ),
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--watch", action="store_true", help=text("stay, and check again on every save"))
    instead.add_argument(
        "--show", metavar="ID", help=text("an exercise's task and how to begin, or a chapter's exercises")
    )
    instead.add_argument("--hint", nargs="+", metavar=("ID", "NUMBER"), help=text("a hint"))
    chosen = parser.parse_args(arguments)
    if chosen.what and (chosen.show or chosen.hint):
        parser.error(text("--show and --hint check nothing: leave out {what}", what=" ".join(chosen.what)))
    return command(lambda: _run(chosen))


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
                    missing = text("there is no exercise {name!r}", name=answer.exercise)
                    say(f"{answer.place}: {missing}", error=True)
        except (ValueError, OSError) as error:
            say(error, error=True)
    return found


def judge(exercise: Exercise, answer: Answer, fork: bool | None = None) -> Report:
    """Run what an answer depends on, then check it; both in one isolated process."""
    if answer.problem:
        return wording.report(exercise, "raised", f"{answer.place}: {answer.problem}")

    def work(mark: isolation.Mark) -> Report:
        os.environ.setdefault("MPLBACKEND", "Agg")
        mark(text("your other cells"), LOADING)
        watch = Watch((), ())
        try:
            with watch.watching():
                value = answer.load(lambda: mark(text("the cell of your answer"), max(exercise.seconds, CELL)))
        except Exception as error:
            if isinstance(error, NotImplementedError) and not error.args:
                return wording.not_finished(exercise, error, None)
            says = text("the code before the check stops with {error}", error=wording.told_error(error))
            return wording.report(exercise, "raised", says)
        return judging.judged(exercise, value, mark)

    ended = isolation.run(work, LOADING, fork=fork)
    report = ended.value if ended.value is not None else wording.stopped(exercise, ended)
    if report.verdict in ("raised", "endless", "crashed", "memory"):
        report = replace(report, says=(f"{answer.place}: {report.says[0]}", *report.says[1:]))
    return report


def _best(
    exercise: Exercise, found: Sequence[Answer], known: Mapping[str, progress.State], fresh: bool
) -> Report | None:
    """The report on the best of several answers to one exercise; ``None`` where nothing new was to be checked."""
    if not found:
        return wording.not_yet(exercise)
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
        _note(text("checking {number} of {total}: {name}", number=number, total=len(exercises()), name=name))
        report = _best(exercise, found[name], known, fresh=False)
        if report is not None and report.note:
            notes[report.note] = None
        marks[name] = report.mark if report is not None else Report(name, "", known[name].verdict, ()).mark
    _note("")
    states = progress.states()
    passed = sum(mark == "✓" for mark in marks.values())
    columns = shutil.get_terminal_size().columns
    wide = columns >= WIDE
    bar = _bar(passed, len(marks))
    say(text("{n} of {total} exercises passed", n=passed, total=len(marks)), end="  " if wide else "\n")
    say(bar)
    for chapter in CHAPTERS.values():
        inside = of_chapter(chapter.key)
        if not inside:
            continue
        done = sum(marks[exercise.id] == "✓" for exercise in inside)
        say("\n" + textwrap.fill(f"{_titled(chapter)}  {done}/{len(inside)}", columns))
        for exercise in inside:
            mark = marks[exercise.id]
            before = text("passed before") if mark != "✓" and (s := states.get(exercise.id)) and s.passed else ""
            line = f"  {mark} {exercise.id}" + f" {CORE}" * exercise.core
            if wide:
                time_taken = text("{n:3} min", n=exercise.minutes)
                line = f"{line:34} {translated(exercise.kind):10} {translated(exercise.level):7} {time_taken}  {before}"
                line = line.rstrip()
            say(_colored(mark, line))
    legend = [text("✓ passed"), text("→ a mistake with a name"), text("✗ not right"), text("○ not attempted")]
    legend.append(f"{CORE} {text('core')}")
    say("\n" + ("   " if wide else "\n").join(legend))
    for note in notes:
        say(note, error=True)
    more = text("An id or a chapter after the command shows the full reports; --help shows more.")
    say(textwrap.fill(more, columns))
    return 0


def _watch(places: Sequence[str], names: Sequence[str]) -> int:
    chosen = [exercise for exercise in exercises().values() if not names or exercise.id in names]
    last = {name: [answer.fingerprint for answer in found] for name, found in collect(places).items()}
    seen = _times(places)
    current: Exercise | None = None
    hints: dict[str, int] = {}
    with keys() as pressed:
        say(text("Watching. Save a notebook, and what has changed in it is checked. Ctrl+C ends it."), flush=True)
        if pressed is not None:
            say(text("Keys: h a hint   n what is next   l the list   q quit"), flush=True)
        while True:
            times = _times(places)
            changed = [path for path, when in times.items() if seen.get(path) != when]
            seen = times
            if changed:
                for exercise, answer in _new(changed, chosen, last):
                    report = _interruptible(exercise, answer)
                    say(_colored(report.mark, f"{time.strftime('%H:%M:%S')} {report!r}"), flush=True)
                    current = exercise
                    if report.verdict == "passed":
                        current = _next(chosen)
                        say(_whats_next(current), flush=True)
            if pressed is None:
                time.sleep(PERIOD)
                continue
            key = pressed(PERIOD).lower()
            if key == "q":
                return 0
            if key == "h":
                current = current or _next(chosen)
                if current is not None:
                    number = hints.get(current.id, 0) % len(current.hints) + 1
                    hints[current.id] = number
                    say(f"{translated(current.title)}. ", end="")
                    _hint(current, [str(number)])
            elif key == "n":
                current = _next(chosen)
                say(_whats_next(current), flush=True)
            elif key == "l":
                _list(places)


def _new(
    changed: Sequence[Path], chosen: Sequence[Exercise], last: dict[str, list[str]]
) -> Iterator[tuple[Exercise, Answer]]:
    """The answers in saved files that are not as they were when they were last looked at."""
    try:
        found = collect([str(path) for path in changed])
    except FileNotFoundError:  # gone again; it will be saved once more
        return
    for exercise in chosen:
        for answer in found[exercise.id]:
            if answer.fingerprint not in last[exercise.id]:
                yield exercise, answer
        if found[exercise.id]:
            last[exercise.id] = [answer.fingerprint for answer in found[exercise.id]]


def _interruptible(exercise: Exercise, answer: Answer) -> Report:
    """Check; Ctrl+C ends the check and not the watch, as it does in a notebook."""
    try:
        _note(text("checking {name}; Ctrl+C stops the check", name=exercise.id))
        return progress.record(judge(exercise, answer), answer.fingerprint)
    except KeyboardInterrupt:
        return wording.report(exercise, "endless", f"{answer.place}: {text('you stopped the check.')}")
    finally:
        _note("")


def _next(chosen: Sequence[Exercise]) -> Exercise | None:
    """The first exercise that was never passed."""
    states = progress.states()
    return next((one for one in chosen if one.id not in states or not states[one.id].passed), None)


def _whats_next(exercise: Exercise | None) -> str:
    if exercise is None:
        return text("Every exercise is passed.")
    titles = {"title": translated(exercise.title), "chapter": translated(CHAPTERS[exercise.chapter].title)}
    return text("Next: {title}, in the chapter “{chapter}”: --show {name}", name=exercise.id, **titles)


def _times(places: Sequence[str]) -> dict[Path, int]:
    """When each file was saved."""
    times: dict[Path, int] = {}
    for place in places:
        with contextlib.suppress(OSError):  # some editors remove a file for a moment when they save it
            times |= {path: path.stat().st_mtime_ns for path in reading.list_files([place])}
    return times


def _show(exercise: Exercise, places: Sequence[str]) -> int:
    about = {"kind": translated(exercise.kind), "level": translated(exercise.level), "n": exercise.minutes}
    title = translated(exercise.title)
    if exercise.core:
        say(text("{title} ({kind}, {level}, about {n} minutes, core)", title=title, **about))
    else:
        say(text("{title} ({kind}, {level}, about {n} minutes)", title=title, **about))
    say(as_text(translated(exercise.task)))
    name = f"{CHAPTERS[exercise.chapter].file}.ipynb"
    book = next((path for path in reading.find_files(places) if path.name == name), None)
    if book is not None:
        try:
            place, stub = reading.cell(exercise.id, book)
            say(f"\n{place}:\n\n{textwrap.indent(stub, '    ')}")
        except (ValueError, OSError) as error:
            say(error, error=True)
    where = book or f"chapters/{name}"
    say("\n" + text("Open {file}, or write your answer in a file, with these lines around it:", file=where))
    say(f'\n    from transformer_lib.exercises import check\n    check("{exercise.id}", …)')
    again = f"python -m transformer_lib.exercises --in FILE.py {exercise.id}"
    say("\n" + text("Then run: {command}", command=again))
    say(text("There are {n} hints: --hint {name}", n=len(exercise.hints), name=exercise.id))
    return 0


def _show_chapter(chapter: Chapter) -> int:
    say(_titled(chapter))
    for exercise in of_chapter(chapter.key):
        say(f"  {exercise.id:30} {translated(exercise.title)}")
    return 0


def _hint(exercise: Exercise, number: Sequence[str]) -> int:
    wanted = number[0] if number else "1"
    if len(number) > 1 or not wanted.isdigit() or not 1 <= int(wanted) <= len(exercise.hints):
        asked = {"name": exercise.id, "n": len(exercise.hints), "asked": " ".join(number)}
        raise ValueError(text("{name} has the hints 1 to {n}; you asked for {asked}", **asked))
    head = text("Hint {number} of {total}", number=wanted, total=len(exercise.hints))
    say(f"{head}: {as_text(translated(exercise.hints[int(wanted) - 1]))}")
    return 0


def _titled(chapter: Chapter) -> str:
    return f"{chapter.number}. {translated(chapter.title)} ({chapter.key})"


def _bar(done: int, total: int, width: int = 30) -> str:
    full = width * done // max(total, 1)
    return f"[{'█' * full}{'·' * (width - full)}]"


def _colored(mark: str, line: str) -> str:
    plain = sys.stdout is None or not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return line if plain or mark not in _COLORS else f"\x1b[{_COLORS[mark]}m{line}\x1b[0m"


def _note(line: str) -> None:
    """A line that the next one overwrites; nothing where the output is kept in a file."""
    if sys.stderr is not None and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        say(f"\r{line[:width]:<{width}}\r", error=True, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
