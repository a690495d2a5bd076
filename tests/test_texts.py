"""What the library says in another language."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_laws import BROKEN
from transformer_lib import texts
from transformer_lib.exercises import examine, exercises
from transformer_lib.exercises.engine.exercise import Implement
from transformer_lib.texts import holes, languages, speak, spoken, text

LIBRARY = Path(texts.__file__).parent


def calls() -> list[tuple[str, ast.Call]]:
    """Every call of ``text`` in the library, with where it is."""
    return [
        (f"{path.name}:{node.lineno}", node)
        for path in sorted(LIBRARY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "text"
    ]


def test_holes_are_filled_in_every_language() -> None:
    sentence = "Your {name} is {factor:.2f} times the right one."
    assert text(sentence, name="output", factor=2) == "Your output is 2.00 times the right one."
    with spoken({sentence: "{factor:.1f} vezes o certo: {name}."}):
        assert text(sentence, name="output", factor=2) == "2.0 vezes o certo: output."
        assert text("Not {this}.", this="one") == "Not one."  # what a table lacks stays English
    assert text(sentence, name="output", factor=2) == "Your output is 2.00 times the right one."
    with pytest.raises(KeyError, match="name"):
        text(sentence, factor=2)


def test_a_table_is_judged_whole() -> None:
    with spoken({"One {a}.": "Um {a}."}):
        with pytest.raises(ValueError, match=r"'Dois \{b\}\.' must have the holes of 'Two \{a\}\.': a"):
            texts.use({"Three.": "Três.", "Two {a}.": "Dois {b}."})
        assert texts.table() == {"One {a}.": "Um {a}."}
    with pytest.raises(ValueError, match=r"language must be one of en.*; got 'tlh'"):
        speak("tlh")


def test_languages_are_the_tables_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pt_BR.json").write_text(json.dumps({"Yes.": "Sim."}), encoding="utf-8")
    monkeypatch.setattr(texts, "_FOLDER", tmp_path)
    assert languages() == ("en", "pt_BR")
    try:
        speak("pt_BR")
        assert text("Yes.") == "Sim."
    finally:
        speak("en")
    assert text("Yes.") == "Yes."


def test_every_sentence_can_be_collected() -> None:
    """A sentence is a literal, and the call fills its holes by name: else no translator would see it whole."""
    for place, call in calls():
        [sentence] = call.args
        assert isinstance(sentence, ast.Constant), place
        assert isinstance(sentence.value, str), place
        given = {keyword.arg for keyword in call.keywords}
        assert None in given or holes(sentence.value) == given, place


class _Bracketed(dict[str, str]):
    """A language of which every sentence is the English one in ⟦brackets⟧."""

    def get(self, sentence: str, default: Any = None) -> str:  # type: ignore[override]
        return f"⟦{sentence}⟧"


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_table", _Bracketed())


def outside(said: str) -> str:
    """What of a text stands in no brackets, without code, numbers and signs."""
    while "⟦" in said:
        said, before = re.sub("⟦[^⟦⟧]*⟧", "", said), said
        assert said != before, before
    return " ".join(re.findall(r"[^\W\d_]{2,}", re.sub("`[^`]*`", "", said)))


def test_what_no_table_has_is_seen(bracketed: None) -> None:
    assert outside(f"{text('The {name}.', name=text('result'))} Mixed in 3 `code`") == "Mixed in"


@pytest.mark.usefixtures("bracketed")
@pytest.mark.parametrize(("toy", "answer"), [one[:2] for one in BROKEN])
def test_a_law_is_told_in_the_readers_language(toy: Implement, answer: Any) -> None:
    report = examine(toy, answer, isolated=False)
    assert report.tier == "law"
    assert [outside(line) for line in report.says] == [""] * len(report.says), report.says


@pytest.mark.usefixtures("bracketed")
@pytest.mark.parametrize("name", exercises())
def test_a_report_is_told_in_the_readers_language(name: str) -> None:
    """What is no answer at all, and what calls nothing right: the sentences that every exercise shares."""
    for answer in (..., "nonsense", lambda *args, **kwargs: None):
        report = examine(exercises()[name], answer, isolated=False)
        said = () if report.verdict == "raised" else report.says  # an exception is Python's, or PyTorch's
        told = [report.title, *said, report.see]
        assert [outside(line) for line in told] == [""] * len(told), told
