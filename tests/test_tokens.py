"""Tokens and batches: nothing is lost, little is padded, and each batch depends on its number alone."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models

from transformer_lib import StackConfig, Transformer
from transformer_lib.data import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNKNOWN_ID,
    Pair,
    PairBatches,
    SpecialTokens,
    encode_texts,
    fragment_pairs,
    load_tokenizer,
    pad_rows,
    read_texts,
    special_tokens,
    train_tokenizer,
)
from transformer_lib.training import Recipe, train


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return fragment_pairs(600, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokenizer(pairs):
    return train_tokenizer([text for pair in pairs for text in pair], 700)


def test_special_tokens_come_first(tokenizer):
    assert [tokenizer.id_to_token(number) for number in range(4)] == ["<pad>", "<bos>", "<eos>", "<unk>"]
    assert (PAD_ID, BOS_ID, EOS_ID, UNKNOWN_ID) == (0, 1, 2, 3)


@pytest.fixture(scope="module")
def moved(tokenizer):
    """The same tokenizer, whose special tokens have exchanged numbers with others: pad 7, bos 9, eos 4 and unk 0."""
    stored = json.loads(tokenizer.to_str())
    vocabulary = stored["model"]["vocab"]
    spelled = {number: token for token, number in vocabulary.items()}
    for name, number in (("<pad>", 7), ("<bos>", 9), ("<eos>", 4), ("<unk>", 0)):
        other, before = spelled[number], vocabulary[name]
        vocabulary[name], vocabulary[other] = number, before
        spelled[number], spelled[before] = name, other
    for token in stored["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    stored["added_tokens"].sort(key=lambda token: token["id"])
    return Tokenizer.from_str(json.dumps(stored))


def test_the_special_tokens_are_asked_of_the_tokenizer(tokenizer, moved, pairs, tmp_path):
    assert special_tokens(tokenizer) == (PAD_ID, BOS_ID, EOS_ID, UNKNOWN_ID)
    special = special_tokens(moved)
    assert special == SpecialTokens(pad=7, bos=9, eos=4, unk=0)
    moved.save(str(tmp_path / "tokenizer.json"))
    assert special_tokens(load_tokenizer(tmp_path / "tokenizer.json")) == special
    with pytest.raises(ValueError, match="tokens <pad>, <bos>, <eos>, <unk>; this one lacks <bos>, <unk>"):
        special_tokens(Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "a": 2})))

    # The same texts, token by token, under other numbers.
    texts = [pairs[0].english, "本 is a book."]
    for mine, theirs in zip(encode_texts(moved, texts), encode_texts(tokenizer, texts), strict=True):
        assert [moved.id_to_token(number) for number in mine] == [tokenizer.id_to_token(number) for number in theirs]
    for longest in (4, 80):
        for mine, theirs in zip(read_texts(moved, texts, longest), read_texts(tokenizer, texts, longest), strict=True):
            assert (mine.pieces, mine.unknown, mine.notes) == (theirs.pieces, theirs.unknown, theirs.notes)
            assert mine.token_ids[-1] == special.eos
    assert read_texts(moved, texts, 80)[1].unknown == ("本",)


def test_batches_and_training_know_no_number_of_a_special_token(tokenizer, moved, pairs):
    """With other numbers for the tokens, and the embedding's rows exchanged likewise, all is the same."""
    losses = []
    for one in (tokenizer, moved):
        batches = PairBatches(pairs, one, max_tokens=300, max_len=40)
        special = special_tokens(one)
        source, target = batches(0)
        assert (target[:, 0] == special.bos).all()
        assert ((target == special.eos).sum(1) == 1).all()
        assert (source == special.eos).any(1).all()
        torch.manual_seed(0)
        config = StackConfig(d_model=16, n_heads=2, n_layers=1, d_ff=24, dropout=0.0, pre_norm=True, bias=False)
        model = Transformer(one.get_vocab_size(), config, pad_id=special.pad)
        order = [tokenizer.token_to_id(one.id_to_token(number)) for number in range(one.get_vocab_size())]
        with torch.no_grad():
            model.embedding.weight.copy_(model.embedding.weight[order])
        losses.append(train(model, batches, Recipe(steps=4), pad_id=special.pad).losses)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_decoding_gives_the_text_back(tokenizer, pairs):
    texts = [text for pair in pairs for text in pair]
    texts += ["The book (that you gave me) was, well, interesting!", "Há 15 livros."]
    for text, row in zip(texts, encode_texts(tokenizer, texts), strict=True):
        assert row[-1] == EOS_ID
        if UNKNOWN_ID not in row:
            assert tokenizer.decode(row) == text
    assert UNKNOWN_ID not in encode_texts(tokenizer, [pairs[0].english])[0]


def test_digits_and_punctuation_stand_alone():
    tokenizer = train_tokenizer(["10 10 10 20 20.", "20. 10. 10. 20. (10)"] * 9, 60)
    assert tokenizer.encode("10 20.").tokens == ["▁", "1", "0", "▁", "2", "0", "."]


def test_unknown_characters_become_the_unknown_token(tokenizer):
    assert UNKNOWN_ID in encode_texts(tokenizer, ["本"])[0]


def test_pad_rows():
    assert pad_rows([[5, 6], [7]]).tolist() == [[5, 6], [7, PAD_ID]]
    with pytest.raises(ValueError, match="rows must hold at least one token; got none"):
        pad_rows([[]])


def test_an_epoch_holds_every_pair_once(tokenizer, pairs):
    batches = PairBatches(pairs, tokenizer, max_tokens=200)
    rows = sorted(map(tuple, encode_texts(tokenizer, [pair.portuguese for pair in pairs])))
    for epoch in range(2):
        found = []
        for number in range(len(batches)):
            source, target = batches(epoch * len(batches) + number)
            assert source.numel() <= 200
            assert target.numel() <= 200
            assert (target[:, 0] == BOS_ID).all()
            found += [tuple(token for token in row if token != PAD_ID)[1:] for row in target.tolist()]
        assert sorted(found) == rows


def test_a_batch_depends_on_its_number_alone(tokenizer, pairs):
    one, other = (PairBatches(pairs, tokenizer, max_tokens=200, seed=3) for _ in range(2))
    numbers = [0, 5, len(one) + 2, 3 * len(one) + 1]
    forward = [one(number) for number in numbers]
    backward = [other(number) for number in reversed(numbers)][::-1]
    for (s1, t1), (s2, t2) in zip(forward, backward, strict=True):
        assert torch.equal(s1, s2)
        assert torch.equal(t1, t2)
    assert [one(n)[1].tolist() for n in range(3)] != [one(len(one) + n)[1].tolist() for n in range(3)]


def test_little_is_padding(tokenizer, pairs):
    batches = PairBatches(pairs, tokenizer, max_tokens=400)
    tokens = [target for number in range(len(batches)) for target in [batches(number)[1]]]
    padded = sum(int((target == PAD_ID).sum()) for target in tokens) / sum(target.numel() for target in tokens)
    assert padded < 0.05


def test_long_pairs_are_left_out(tokenizer, pairs):
    batches = PairBatches(pairs, tokenizer, max_tokens=400, max_len=8)
    assert 0 < len(batches.rows) < len(pairs)
    assert max(max(len(source), len(target) + 1) for source, target in batches.rows) <= 8


def test_wrong_arguments_are_refused(tokenizer, pairs, tmp_path):
    with pytest.raises(ValueError, match="max_tokens must be at least max_len; got 10 and 64"):
        PairBatches(pairs, tokenizer, max_tokens=10)
    with pytest.raises(ValueError, match="no pair has at most max_len = 2 tokens; got 600 pairs"):
        PairBatches(pairs, tokenizer, max_tokens=10, max_len=2)
    with pytest.raises(ValueError, match="texts must hold at least one sentence"):
        train_tokenizer([], 100)
    with pytest.raises(ValueError, match="vocab_size must be more than the 4 special tokens; got 4"):
        train_tokenizer(["a"], 4)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")
    foreign = train_tokenizer(["a b c"], 20)
    foreign.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").encode("a b").ids == foreign.encode("a b").ids
    text = (tmp_path / "tokenizer.json").read_text().replace('"<eos>"', '"<end>"')
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer\.json: a tokenizer must have .*; this one lacks <eos>"):
        load_tokenizer(tmp_path / "tokenizer.json")
