"""What a learner has done: one line of JSON an event, appended to a plain file that no update of the book touches."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from transformer_lib.exercises.engine.report import Report, Verdict
from transformer_lib.exercises.engine.wording import moved
from transformer_lib.texts import text

#: Names another folder for the file, for instance one that several machines share.
FOLDER_VARIABLE = "TRANSFORMER_LIB_HOME"


@dataclass(frozen=True)
class State:
    """Where a learner stands with one exercise.

    Attributes:
        verdict: of the last check.
        passed: whether it was ever passed.
        attempts: how many checks there were.
        answer: what identifies the answer that was checked last, see :mod:`reading`; empty for checks in a notebook.
        measured: what the last experiment achieved, by name.
    """

    verdict: Verdict
    passed: bool
    attempts: int
    answer: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)


def path() -> Path:
    """Where the file is: ``progress.jsonl`` in ``$TRANSFORMER_LIB_HOME``, or in the user's folder of programs' data."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder).expanduser() / "progress.jsonl"
    if sys.platform == "win32":
        data = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "transformer_lib" / "progress.jsonl"


def record(report: Report, answer: str = "") -> Report:
    """Note a check, unless nothing was attempted.

    Returns:
        The report; of an experiment with what has moved since the last one. Where it cannot be kept, the report says
        so: a check never fails for that.
    """
    if report.verdict == "todo":
        return report
    if (
        report.measured
        and (before := states().get(report.exercise))
        and (since := moved(before.measured, report.measured))
    ):
        report = replace(report, says=(*report.says, since))
    event = {
        "exercise": report.exercise,
        "verdict": report.verdict,
        "mistake": report.mistake,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "answer": answer,
        **({"measured": dict(report.measured)} if report.measured else {}),
    }
    try:
        _append(json.dumps(event).encode("ascii") + b"\n")
    except (OSError, RuntimeError, ValueError) as error:  # no place to write; no home; a name that is no path
        note = text("Your progress could not be kept: {error}.", error=error)
        return replace(report, note=f"{report.note} {note}".strip())
    return report


def _append(line: bytes) -> None:
    where = path()
    where.parent.mkdir(parents=True, exist_ok=True)
    if where.exists() and not where.is_file():
        raise OSError(text("{path} is no file", path=where))
    with where.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that was cut off must not swallow this one
                line = b"\n" + line
        file.write(line)


def states() -> dict[str, State]:
    """The state of every exercise that was checked. A damaged line is passed over."""
    found: dict[str, State] = {}
    try:
        content = path().read_bytes() if path().is_file() else b""
    except (OSError, RuntimeError, ValueError):
        return found
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
            name, verdict, answer = event["exercise"], event["verdict"], event.get("answer", "")
            measured = {key: value for key, value in event.get("measured", {}).items() if type(value) in (int, float)}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if not (isinstance(name, str) and isinstance(answer, str) and verdict in get_args(Verdict)):
            continue
        before = found.get(name, State("todo", False, 0))
        passed = before.passed or verdict == "passed"
        found[name] = State(verdict, passed, before.attempts + 1, answer, measured or before.measured)
    return found
