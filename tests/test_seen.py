"""The words that training has seen: gathered, kept and refused; told in a text, and used to read capitals."""

import string
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.texts import CAPITALS, CAPITALS_STAY, RULE, UNSEEN
from transformer_lib.data import Pair, PairBatches, SeenWords, fragment_pairs, read_texts, train_tokenizer
from transformer_lib.translator import Translator

TEXTS = [
    "The man's house isn't old. Open it!",
    "Choose Open, or open the PDF on Monday.",
    "I know the IF function, and if not, I ask.",
    "The pdf is new. It is iffy.",
]
WORDS = "a and ask choose function house I if iffy is isn't it know man Monday new not old on open or PDF see the"


@pytest.fixture(scope="module")
def seen() -> SeenWords:
    return SeenWords.of([*TEXTS, "See the PDF, a PDF."])


def test_words_are_gathered_in_their_usual_form(seen: SeenWords) -> None:
    assert list(seen) == WORDS.replace("if ", "if IF ").split(" ")
    assert len(seen) == len(set(map(str.lower, seen))) == len(list(seen)) - 1
    assert list(SeenWords.of(iter(["“It’s the man’s”"]))) == ["it", "man", "the"]  # written in the one way first
    assert list(SeenWords.of(["x I", "I i", "I i"])) == ["i", "x"]  # what begins a sentence does not count
    assert list(SeenWords.of(["A5 b_c ½ 1º x² a-b"])) == ["a", "b", "c", "x", "º"]


@given(st.lists(st.text(st.sampled_from("abAB'. é!")), min_size=1))
def test_what_was_gathered_is_known_and_reads_as_it_stands(texts: list[str]) -> None:
    if not any(sign.isalpha() for text in texts for sign in text):
        with pytest.raises(ValueError, match="at least one word"):
            SeenWords.of(texts)
        return
    seen = SeenWords.of(texts)
    assert list(SeenWords(seen)) == list(seen)
    for text in texts:
        assert seen.unseen(text) == ()
        if text != text.upper():  # else it may be loud
            assert seen.recased(text) == text
        assert seen.recased(seen.recased(text)) == seen.recased(text)


def test_words_that_were_never_seen(seen: SeenWords) -> None:
    assert seen.unseen("The MAN'S Giraffe isn't the man's giraffes'") == ("Giraffe", "giraffes")
    assert seen.unseen("we'll, can't; giraffe's GIRAFFE") == ("we'll", "can't", "giraffe")
    assert seen.unseen("42 + 7!") == ()
    assert [word in seen for word in ("House", "house's", "houses", "HOUSE", 7)] == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I KNOW THE OLD HOUSE", "I know the old house"),
        ("OPEN THE PDF ON MONDAY", "Open the PDF on Monday"),
        ("IS IT NEW? IT ISN'T. (IT IS)", "Is it new? It isn't. (It is)"),
        ("I ASK IF IT IS 'OLD'", "I ask if it is 'old'"),
        ("IT'LL ASK THE MAN'S DOG", "It'll ask the man's dog"),
        ("3 HOUSES, THE HOUSE", "3 Houses, the house"),
        ("The OLD house, the OLD'S", "The old house, the old's"),
        ("HOUSE", "House"),
        ("NOT, Or", "Not, Or"),
        ("the IF function, OR NASA", "the IF function, or NASA"),
        ("IF, PDF", "IF, PDF"),
        ("NASA UFO", "NASA UFO"),
        ("the fax4HOUSE, HOUSE2 or HOUSE_a", "the fax4HOUSE, HOUSE2 or HOUSE_a"),
        ("OLD HOUSE2 HOUSE_A", "Old house2 house_a"),
        ("PDF NASA", "PDF NASA"),
        ("A", "A"),
        ("42", "42"),
        ("", ""),
        ("the house", "the house"),
    ],
)
def test_capitals_are_read_as_training_wrote_them(seen: SeenWords, text: str, expected: str) -> None:
    assert seen.recased(text) == expected


def test_a_reading_tells(seen: SeenWords) -> None:
    tokenizer = train_tokenizer([string.ascii_letters * 2, " ".join(string.ascii_letters), *TEXTS], 120)
    told, other = read_texts(tokenizer, ["THE HOUSE ISN’T X 漢A", "The house"], 80, seen)
    assert (told.text, told.recased, told.unseen) == ("The house isn't x 漢a", True, ("x",))
    assert told.notes == (
        "Words in capitals are read as training mostly wrote them: “The house isn't x 漢a”.",
        "No token stands for “漢”: read as unknown.",
        "Never seen in training, so translated by guesswork: “x”.",
    )
    assert (other.text, other.recased, other.unseen, other.notes) == ("The house", False, (), ())
    [plain] = read_texts(tokenizer, ["THE HOUSE X"], 80)
    assert (plain.text, plain.recased, plain.unseen, plain.notes) == ("THE HOUSE X", False, (), ())
    [many] = read_texts(tokenizer, [" ".join(string.ascii_lowercase[1:]) + " " + "q" * 70], 200, seen)
    assert many.notes[0].endswith("guesswork: “b”, “c”, “d”, “e”, “f”, “g”, “h”, “j” and 17 more.")
    [wide] = read_texts(tokenizer, ["q" * 70], 200, seen)
    assert wide.notes == (f"Never seen in training, so translated by guesswork: “{'q' * 59}…”.",)
    # Nothing is told of what is not read.
    [short] = read_texts(tokenizer, ["the house and ASK giraffe"], 5, seen)
    assert short.unread
    assert (short.recased, short.unseen) == (False, ())


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ([], "at least one word; got none"),
        ([""], "forms must hold words, without a final 's; got ''"),
        (["two words"], "got 'two words'"),
        (["man's"], 'got "man\'s"'),
        (["don’t"], "got 'don’t'"),
        (["x2"], "got 'x2'"),
        (["cafe\u0301"], "forms must hold words"),
        (["a", "A", "a"], "forms must hold each form once; got 'a' again"),
    ],
)
def test_what_is_no_list_of_words(forms: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        SeenWords(forms)
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{form}\n" for form in forms), encoding="utf-8")
    with pytest.raises(ValueError, match=r"words\.txt: forms must hold"):
        SeenWords.load(path)


def test_files(seen: SeenWords, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(seen.to_text().encode())
    assert list(SeenWords.load(path)) == list(seen)
    for damaged in (b"\xff\n", b"the\r\nman\r\n", b"the\n\nman\n", b"\xef\xbb\xbfthe\n"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"words\.txt: "):
            SeenWords.load(path)
    with pytest.raises(FileNotFoundError):
        SeenWords.load(tmp_path / "missing")
    with pytest.raises(TypeError, match="forms must be a list of strings; got a single string"):
        SeenWords("the")
    with pytest.raises(TypeError, match="texts must be a list of strings; got a single string"):
        SeenWords.of("the")


def test_what_training_leaves_out_is_not_seen() -> None:
    pairs = [Pair("a b", "a b"), Pair("c " * 9, "a"), Pair("d", "a " * 9)]
    tokenizer = train_tokenizer([text for pair in pairs for text in pair], 40)
    batches = PairBatches(pairs, tokenizer, max_tokens=20, max_len=6)
    assert batches.pairs == pairs[:1]
    assert len(batches.rows) == 1


# ---- The stored translator's.


def test_the_stored_translator_knows_its_words() -> None:
    translator = Translator.load()
    assert translator.seen is not None
    for pair in fragment_pairs(2000, torch.Generator().manual_seed(9)):
        [reading] = translator.read([pair.english])
        assert (reading.text, reading.notes) == (pair.english, ())
    for text, _ in RULE[-2:]:
        assert not translator.read([text])[0].recased
    assert [reading.unseen[:1] for reading in translator.read(UNSEEN)] == [
        ("zookeepers",),
        ("zookeepers",),
        ("Xa",),
        (translator.read(UNSEEN[3:])[0].text,),
    ]
    assert all(reading.recased for reading in translator.read(CAPITALS))
    assert [reading.text for reading in translator.read(CAPITALS_STAY)] == CAPITALS_STAY


def test_the_stored_translator_understands_capitals() -> None:
    translator = Translator.load()
    plain = "The girl bought the old house."
    found = translator.translate([plain, plain.upper(), "The girl BOUGHT the old HOUSE."])
    assert found == [found[0]] * 3
    assert found.notes == [(), *[(f"Words in capitals are read as training mostly wrote them: “{plain}”.",)] * 2]
