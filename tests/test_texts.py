"""What the library says in another language."""

import ast
import json
from pathlib import Path

import pytest

from transformer_lib import texts
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
