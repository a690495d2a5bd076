"""The Portuguese fragment: agreement always holds, the splits are apart, the same seed gives the same sentences."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from transformer_lib.data import (
    ADJECTIVES,
    NOUNS,
    VERBS,
    VOCABULARY,
    Adjunct,
    Sentence,
    Split,
    agreement_sentences,
    encode,
    split_of,
)

NOUN = {noun.pt: noun for noun in NOUNS}
VERB = {verb.pt: verb for verb in VERBS}
ADJECTIVE = {adjective.masculine: adjective for adjective in ADJECTIVES}
SPLITS: tuple[Split, ...] = ("train", "test")
# Written here again, so that the sentences are judged by something other than the code that made them.
DETERMINERS = {"m": {"o", "no", "do", "cada"}, "f": {"a", "na", "da", "cada"}}


def draw(n: int = 300, seed: int = 0, **options: Any) -> list[Sentence]:
    return agreement_sentences(n, torch.Generator().manual_seed(seed), **options)


def book() -> Sentence:
    return Sentence(NOUN["menina"], VERB["me deu"], NOUN["livro"], head="object", adjective=ADJECTIVE["bonito"])


@pytest.fixture(scope="module")
def corpus() -> list[Sentence]:
    return [sentence for split in SPLITS for sentence in draw(1_000, split=split, n_adjuncts=(0, 1, 2, 3))]


# ---- The language.


def test_the_lexicon_is_large_balanced_and_without_repetition() -> None:
    for words in (NOUNS, ADJECTIVES, VERBS):
        first = [word.masculine if hasattr(word, "masculine") else word.pt for word in words]
        assert len(set(first)) == len(first)
    assert Counter(noun.gender for noun in NOUNS) == {"m": 30, "f": 30}
    assert len(ADJECTIVES) == 20
    assert all(word.en for words in (NOUNS, ADJECTIVES, VERBS) for word in words)


def test_a_counterpart_has_the_kind_and_not_the_gender() -> None:
    assert NOUN["menino"].counterpart == NOUN["menina"]
    assert NOUN["carta"].counterpart == NOUN["livro"]
    for noun in NOUNS:
        other = noun.counterpart
        assert (other.kind, other.pair, other.counterpart) == (noun.kind, noun.pair, noun)
        assert other.gender != noun.gender


def test_adjectives_hide_their_ending() -> None:
    assert [ADJECTIVE[word].stem for word in ("bonito", "encantador")] == ["bonit_", "encantador_"]
    assert ADJECTIVE["encantador"].form("f") == "encantadora"
    for adjective in ADJECTIVES:
        assert adjective.feminine.endswith("a")
        assert adjective.masculine.startswith(adjective.stem[:-1])
        assert adjective.feminine.startswith(adjective.stem[:-1])
        assert adjective.form("m") == adjective.masculine != adjective.form("f") == adjective.feminine


def test_a_sentence_as_it_is_written() -> None:
    sentence = book()
    assert str(sentence) == "O livro que a menina me deu era bonito."
    assert sentence.english == "The book that the girl gave me was beautiful."
    assert sentence.tokens == ("o", "livro", "que", "a", "menina", "me", "deu", "era", "bonit_")
    assert str(sentence.twin) == "A menina que me deu o livro era bonita."
    assert sentence.twin.english == "The girl who gave me the book was beautiful."
    assert str(sentence.with_other_head) == "A carta que a menina me deu era bonita."
    assert str(sentence.with_other_distractor) == "O livro que o menino me deu era bonito."


def test_every_part_of_a_long_sentence_has_its_role() -> None:
    adjuncts = Adjunct("com", NOUN["professor"]), Adjunct("em", NOUN["praça"]), Adjunct("perto de", NOUN["museu"])
    sentence = replace(book(), verb=VERB["perdeu"], neutral="object", adjuncts=adjuncts, copula="parecia")
    expected = "Cada livro que a menina perdeu com o professor na praça perto do museu parecia bonito."
    assert str(sentence) == expected
    assert sentence.neutral_head
    assert not sentence.twin.neutral_head
    assert sentence.english == (
        "Each book that the girl lost with the teacher at the square near the museum seemed beautiful."
    )
    assert sentence.roles == (
        *("determiner", "head", "que", "distractor's determiner", "distractor", "verb"),
        *(["adjunct"] * 8),
        *("copula", "adjective"),
    )


def test_the_adjective_agrees_with_the_first_noun_and_determiners_with_theirs(corpus: list[Sentence]) -> None:
    endings = {form: gender for a in ADJECTIVES for form, gender in ((a.masculine, "m"), (a.feminine, "f"))}
    for sentence in corpus:
        words = re.findall(r"[\w-]+", str(sentence).lower())
        nouns = [place for place, word in enumerate(words) if word in NOUN]
        assert endings[words[-1]] == NOUN[words[nouns[0]]].gender == sentence.gender
        assert len(nouns) == 2 + len(sentence.adjuncts)
        for place in nouns:
            assert words[place - 1] in DETERMINERS[NOUN[words[place]].gender], str(sentence)


def test_roles_name_the_words_they_stand_for(corpus: list[Sentence]) -> None:
    for sentence in corpus:
        assert len(sentence.roles) == len(sentence.tokens)
        by_role = dict(zip(sentence.roles, sentence.tokens, strict=True))
        assert by_role["head"] == sentence.head_noun.pt == sentence.tokens[1]
        assert by_role["distractor"] == sentence.distractor.pt
        assert by_role["que"] == "que"
        assert sentence.roles.index("que") < sentence.roles.index("distractor")
        assert by_role["adjective"] == sentence.tokens[-1] == sentence.adjective.stem
        assert (by_role["determiner"] == "cada") == sentence.neutral_head


def test_no_noun_occurs_twice_nor_beside_its_counterpart(corpus: list[Sentence]) -> None:
    for sentence in corpus:
        pairs = [NOUN[token].pair for token in sentence.tokens if token in NOUN]
        assert len(set(pairs)) == len(pairs), str(sentence)


# ---- The questions that are asked of a model.


def test_twins_have_the_same_words_and_other_heads(corpus: list[Sentence]) -> None:
    for sentence in corpus:
        twin = sentence.twin
        assert sorted(twin.tokens) == sorted(sentence.tokens)
        assert twin.tokens != sentence.tokens
        assert (twin.head_noun, twin.distractor) == (sentence.distractor, sentence.head_noun)
        assert twin.twin == sentence


def test_another_head_changes_the_answer_and_another_distractor_does_not(corpus: list[Sentence]) -> None:
    for sentence in corpus:
        other_head, other_distractor = sentence.with_other_head, sentence.with_other_distractor
        assert other_head.gender != sentence.gender == other_distractor.gender
        assert other_head.distractor == sentence.distractor
        assert other_distractor.head_noun == sentence.head_noun
        for changed, role in ((other_head, "head"), (other_distractor, "distractor")):
            differing = {
                place
                for place, words in enumerate(zip(sentence.tokens, changed.tokens, strict=True))
                if len({*words}) > 1
            }
            noun = sentence.roles.index(role)
            assert noun in differing
            assert differing <= {noun - 1, noun}


@pytest.mark.parametrize("conflict", [True, False])
def test_conflict_decides_whether_the_genders_differ(conflict: bool) -> None:
    assert all((s.gender != s.distractor.gender) == conflict for s in draw(conflict=conflict))


@pytest.mark.parametrize("split", SPLITS)
def test_no_guess_beats_half(split: Split) -> None:
    sentences = draw(2_000, split=split)
    shares = {
        "feminine": sum(s.gender == "f" for s in sentences),
        "conflict": sum(s.gender != s.distractor.gender for s in sentences),
        "subject is head": sum(s.head == "subject" for s in sentences),
        "cada": sum(s.neutral is not None for s in sentences),
    }
    for name, count in shares.items():
        assert 0.45 < count / len(sentences) < 0.55, name
    heads = {s.head_noun for s in sentences}
    assert heads == {s.distractor for s in sentences} == set(NOUNS), "every noun is head and distractor"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_number_of_adjuncts_is_the_one_asked_for(number: int) -> None:
    assert {len(s.adjuncts) for s in draw(n_adjuncts=(number,))} == {number}
    assert {len(s.adjuncts) for s in draw(n_adjuncts=(0, number))} == {0, number}


# ---- Splits and seeds.


def test_splits_never_overlap() -> None:
    train, test = ({s.tokens for s in draw(3_000, split=split, n_adjuncts=(0,))} for split in SPLITS)
    assert len(train) > 2_000
    assert len(test) > 2_000
    assert not train & test
    train_pairs, test_pairs = (
        {frozenset((s.subject.pt, s.object.pt)) for s in draw(3_000, split=split)} for split in SPLITS
    )
    assert not train_pairs & test_pairs


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_made_from_a_sentence_stays_in_its_split(split: Split) -> None:
    for sentence in draw(split=split, n_adjuncts=(0, 3)):
        relatives = (sentence, sentence.twin, sentence.with_other_head, sentence.with_other_distractor)
        assert {split_of(relative) for relative in relatives} == {split}


def test_the_same_seed_gives_the_same_sentences_whatever_else_is_drawn() -> None:
    first = draw(50, seed=3)
    torch.manual_seed(99)
    assert draw(50, seed=3) == first
    assert draw(50, seed=4) != first


# ---- Numbers.


def test_encoding_can_be_read_back(corpus: list[Sentence]) -> None:
    token_ids, answers = encode(corpus)
    assert token_ids.shape == (len(corpus), max(len(s.tokens) for s in corpus))
    for sentence, row, answer in zip(corpus, token_ids.tolist(), answers.tolist(), strict=True):
        padding = len(row) - len(sentence.tokens)
        assert row[:padding] == [0] * padding
        assert tuple(VOCABULARY[number] for number in row[padding:]) == sentence.tokens
        assert "mf"[answer] == sentence.gender


def test_the_vocabulary_has_each_word_once_and_no_word_for_nothing(corpus: list[Sentence]) -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert set(VOCABULARY[1:]) == {token for sentence in corpus for token in sentence.tokens}


# ---- Errors name what was given.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be at least 1; got 0"),
        ({"split": "dev"}, "split must be 'train' or 'test'; got 'dev'"),
        ({"n_adjuncts": (1, 4)}, "n_adjuncts must hold numbers from 0 to 3; got (1, 4)"),
        ({"n_adjuncts": (-1,)}, "n_adjuncts must hold numbers from 0 to 3; got (-1,)"),
        ({"n_adjuncts": ()}, "n_adjuncts must hold numbers from 0 to 3; got ()"),
    ],
)
def test_a_wrong_request_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(**options)


def test_no_sentences_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="got none"):
        encode([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": NOUN["carta"]}, "the subject must be a person; got 'carta', a thing"),
        ({"object": NOUN["praça"]}, "the object of 'me deu' must be a thing; got 'praça'"),
        ({"verb": VERB["viu"], "object": NOUN["menino"]}, "two pairs; got 'menina' and 'menino'"),
    ],
)
def test_a_sentence_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(book(), **change)
