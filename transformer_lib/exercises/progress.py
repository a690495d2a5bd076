"""What a learner has done: one line of JSON an event, appended to a plain file that no update of the book touches."""

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from transformer_lib.exercises.report import Report

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
    """

    verdict: str
    passed: bool
    attempts: int
    answer: str = ""


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


def record(report: Report, answer: str = "") -> None:
    """Note a check, unless nothing was attempted. A folder that cannot be written to is no reason to fail."""
    if report.verdict == "todo":
        return
    event = {
        "exercise": report.exercise,
        "verdict": report.verdict,
        "mistake": report.mistake,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "answer": answer,
    }
    with contextlib.suppress(OSError):
        path().parent.mkdir(parents=True, exist_ok=True)
        with path().open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def states() -> dict[str, State]:
    """The state of every exercise that was checked. A damaged line is passed over."""
    found: dict[str, State] = {}
    try:
        lines = path().read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            event = json.loads(line)
            name, verdict, answer = event["exercise"], event["verdict"], event.get("answer", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        before = found.get(name, State("todo", False, 0))
        found[name] = State(verdict, before.passed or verdict == "passed", before.attempts + 1, answer)
    return found
