"""The entrance of text: one rule; names of special tokens are text; nothing is lost in silence."""

import sys
import unicodedata
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.texts import LONG, RULE, SPECIAL, UNKNOWN
from transformer_lib.data import (
    EOS_ID,
    UNKNOWN_ID,
    Pair,
    PairBatches,
    encode_texts,
    fragment_pairs,
    normalized,
    read_texts,
    train_tokenizer,
)
from transformer_lib.data.text import checked_texts
from transformer_lib.translator import TRANSLATOR, Translator


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Translator.load().tokenizer


@pytest.mark.parametrize(("text", "expected"), RULE)
def test_the_rule(text: str, expected: str) -> None:
    assert normalized(text) == expected


@given(st.text(st.characters() | st.sampled_from("e\u0301\u00ad\u200b ▁’…ﬁ<\u0338\ud800")))
def test_what_is_written_in_the_one_way_stays(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


def test_no_blank_of_unicode_is_missed() -> None:
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if sign.isspace() or unicodedata.category(sign) in ("Zs", "Zl", "Zp"):
            assert normalized(f"a{sign}b") == "a b", hex(number)
        elif unicodedata.category(sign) == "Cc":
            assert normalized(f"a{sign}b") == "ab", hex(number)


def test_the_fragment_is_written_in_the_one_way() -> None:
    for pair in fragment_pairs(800, torch.Generator().manual_seed(8)):  # the other splits have the same words
        assert tuple(map(normalized, pair)) == pair


def test_training_reads_by_the_rule() -> None:
    plain = [Pair("The man's café", 'O "café" - é'), Pair("it's it's", "o o o")]
    typed = [Pair("The\u00a0man’s  cafe\u0301", "O “café” – e\u0301 "), Pair("it’s it‘s", "\to o\u200b o")]
    tokenizers = [train_tokenizer([text for pair in pairs for text in pair], 60) for pairs in (plain, typed)]
    assert tokenizers[0].to_str() == tokenizers[1].to_str()
    rows = [PairBatches(pairs, tokenizers[0], max_tokens=100).rows for pairs in (plain, typed)]
    assert rows[0] == rows[1]


# ---- Names of special tokens.


@pytest.mark.parametrize("text", SPECIAL)
def test_names_of_special_tokens_are_text(tokenizer: Tokenizer, text: str) -> None:
    raw = Tokenizer.from_file(str(TRANSLATOR / "tokenizer.json"))  # that takes them for control
    for one in (tokenizer, raw):
        [row] = encode_texts(one, [text])
        assert row[-1] == EOS_ID
        assert min(row[:-1]) > UNKNOWN_ID
        assert one.decode(row) == normalized(text)
        [reading] = read_texts(one, [text], 80)
        assert list(reading.token_ids) == row
        assert reading.notes == ()
    assert not raw.encode_special_tokens  # it is left as it was
    assert min(tokenizer.encode(normalized(text)).ids) > UNKNOWN_ID


def test_names_of_special_tokens_are_text_to_a_new_tokenizer() -> None:
    tokenizer = train_tokenizer(["<pad> <bos> <eos> <unk>"] * 3, 80)
    [row] = encode_texts(tokenizer, ["<eos><pad>"])
    assert tokenizer.decode(row) == "<eos><pad>"
    assert min(tokenizer.encode("<eos>").ids) > UNKNOWN_ID


# ---- What is read, and what is not.


@pytest.mark.parametrize("text", [*UNKNOWN, *LONG, *(text for text, _ in RULE)])
@pytest.mark.parametrize("longest", [3, 80])
def test_nothing_is_lost(tokenizer: Tokenizer, text: str, longest: int) -> None:
    """What is read and what is not are the whole text, and the pieces are what is read."""
    [reading] = read_texts(tokenizer, [text], longest)
    whole = normalized(text)
    assert whole in (reading.text + reading.unread, f"{reading.text} {reading.unread}")
    assert "".join(reading.pieces[:-1]).replace("▁", " ").removeprefix(" ") == reading.text
    assert len(reading.pieces) == len(reading.token_ids) <= longest
    assert reading.token_ids[-1] == EOS_ID
    # Judged once more, without the reading's own account: signs that are no token of the vocabulary.
    known = tokenizer.get_vocab()
    assert reading.unknown == tuple(dict.fromkeys(s for s in reading.text if s not in known and s != " "))
    [row] = encode_texts(tokenizer, [text])
    assert bool(reading.unread) == (len(row) > longest)
    assert list(reading.token_ids[:-1]) == row[: len(reading.token_ids) - 1]
    assert bool(reading.notes) == bool(reading.unknown or reading.unread)


def test_a_long_text_is_read_to_the_end_of_a_word(tokenizer: Tokenizer) -> None:
    [reading] = read_texts(tokenizer, ["An unbelievable grandmother"], 6)
    tokens = tokenizer.encode("An unbelievable grandmother").tokens
    assert [place for place, token in enumerate(tokens) if token.startswith("▁")] == [0, 1, 7]
    assert (reading.text, reading.unread) == ("An", "unbelievable grandmother")
    [reading] = read_texts(tokenizer, ["unbelievable"], 4)
    assert (reading.text, reading.unread) == ("".join(tokens[1:4])[1:], "".join(tokens[4:7]))


def test_the_notes(tokenizer: Tokenizer) -> None:
    readings = read_texts(tokenizer, ["A naïve 漢字 book: 漢!", "a " * 99, "♥♦♣♠★☆☀☁☂☃", "The man’s book"], 80)
    assert [reading.notes for reading in readings] == [
        ("No token stands for “ï”, “漢”, “字”: read as unknown.",),
        ("Of a sentence at most 80 tokens are read. Not read: “a a a a a a a a a a a a a a a a a a a a”.",),
        ("No token stands for “♥”, “♦”, “♣”, “♠”, “★”, “☆”, “☀”, “☁” and 2 more: read as unknown.",),
        (),
    ]
    [reading] = read_texts(tokenizer, [LONG[0]], 80)
    assert reading.notes[0].endswith("…”.")
    assert len(reading.notes[0]) < 140 < len(reading.unread)


# ---- What is no list of strings.


def generator(*texts: object) -> Iterator[object]:
    yield from texts


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("abc", "texts must be a list of strings; got a single string, 'abc'"),
        (b"abc", "texts must be a list of strings; got bytes"),
        (None, "texts must be a list of strings; got NoneType"),
        (5, "texts must be a list of strings; got int"),
        ({"a": "b"}, "texts must be a list of strings; got dict"),
        ({"a", "b"}, "texts must be a list of strings; got set"),
        ([None], "texts must hold strings only; got NoneType at place 0"),
        (["a", b"b"], "texts must hold strings only; got bytes at place 1"),
        (["a", 2], "texts must hold strings only; got int at place 1"),
        ([["a"]], "texts must hold strings only; got list at place 0"),
        ([("a", "b")], "texts must hold strings only; got tuple at place 0"),
        (generator("a", None), "texts must hold strings only; got NoneType at place 1"),
        (torch.zeros(2), "texts must hold strings only; got Tensor at place 0"),
    ],
)
def test_what_is_no_list_of_strings(tokenizer: Tokenizer, texts: object, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        checked_texts(texts)  # type: ignore[arg-type]
    if not isinstance(texts, Iterator):
        for call in (lambda: encode_texts(tokenizer, texts), lambda: train_tokenizer(texts, 50)):  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=message):
                call()


def test_a_generator_and_strings_of_numpy_will_do(tokenizer: Tokenizer) -> None:
    import numpy as np

    expected = encode_texts(tokenizer, ["The book", "x"])
    assert encode_texts(tokenizer, generator("The book", "x")) == expected  # type: ignore[arg-type]
    assert encode_texts(tokenizer, ("The book", "x")) == expected
    assert encode_texts(tokenizer, np.array(["The book", "x"])) == expected
    with pytest.raises(ValueError, match="longest must be at least 3; got 2"):
        read_texts(tokenizer, ["x"], 2)
