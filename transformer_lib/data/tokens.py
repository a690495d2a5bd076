"""From sentences to numbers and batches: subword tokens, and batches of sentences of about the same length.

Source: Sennrich et al. (2016), *Neural Machine Translation of Rare Words with Subword Units*; batches as in Vaswani et
al. (2017), section 5.1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from tokenizers import Encoding, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from transformer_lib.data.pairs import Pair
from transformer_lib.data.seen import SeenWords
from transformer_lib.data.text import checked_texts, normalized
from transformer_lib.texts import text

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
PAD_ID, BOS_ID, EOS_ID, UNKNOWN_ID = range(4)  # in a tokenizer of `train_tokenizer`; of another, ask `special_tokens`


class SpecialTokens(NamedTuple):
    """The numbers of the tokens that stand for no text.

    Args:
        pad: fills short rows up.
        bos: begins a sentence.
        eos: ends it.
        unk: stands for a sign that has no token.
    """

    pad: int
    bos: int
    eos: int
    unk: int


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """Which numbers a tokenizer gives to its special tokens.

    Args:
        tokenizer: that knows ``<pad>``, ``<bos>``, ``<eos>`` and ``<unk>``, at whatever numbers.

    Raises:
        ValueError: it lacks some of them; the message names them.
    """
    names = (PAD, BOS, EOS, UNKNOWN)
    found = {name: number for name in names if (number := tokenizer.token_to_id(name)) is not None}
    if len(found) < len(names):
        missing = ", ".join(name for name in names if name not in found)
        raise ValueError(f"a tokenizer must have the tokens {', '.join(names)}; this one lacks {missing}")
    return SpecialTokens(*found.values())


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn subword tokens by byte-pair encoding: begin with characters, and join what stands together most often.

    Tokens 0 to 3 are padding, the beginning and the end of a sentence, and the unknown. Words begin with ``▁``;
    punctuation and digits stand alone.

    Args:
        texts: sentences, of all languages that shall share the vocabulary;
            :func:`~transformer_lib.data.text.normalized` before anything is counted.
        vocab_size: how many tokens at most.

    Returns:
        A tokenizer of Hugging Face's ``tokenizers``.

    Raises:
        TypeError: texts that are no strings, or a single one.
        ValueError: no room for the special tokens, or no texts.
    """
    texts = list(map(normalized, checked_texts(texts)))
    if not texts:
        raise ValueError("texts must hold at least one sentence; got none")
    if vocab_size <= UNKNOWN_ID + 1:
        raise ValueError(f"vocab_size must be more than the {UNKNOWN_ID + 1} special tokens; got {vocab_size}")
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PAD, BOS, EOS, UNKNOWN], show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True  # "<eos>" in a text is text
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer that was saved by ``tokenizer.save(path)``.

    Args:
        path: of the JSON file.

    Raises:
        ValueError: the file is no tokenizer, or lacks a special token.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower class
        raise ValueError(f"{path} holds no tokenizer: {error}") from error
    try:
        special_tokens(tokenizer)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    tokenizer.encode_special_tokens = True  # "<eos>" in a text is text; the file does not keep this
    return tokenizer


def encode_texts(tokenizer: Tokenizer, texts: Iterable[str]) -> list[list[int]]:
    """Turn sentences into token numbers, each with ``<eos>`` at its end.

    Args:
        tokenizer: from :func:`train_tokenizer`.
        texts: sentences; :func:`~transformer_lib.data.text.normalized` first. The name of a special token in them is
            text like any other.

    Raises:
        TypeError: texts that are no strings, or a single one.
        ValueError: the tokenizer lacks a special token.
    """
    eos = special_tokens(tokenizer).eos
    return [[*encoding.ids, eos] for encoding in _encodings(tokenizer, map(normalized, checked_texts(texts)))]


def _encodings(tokenizer: Tokenizer, texts: Iterable[str]) -> list[Encoding]:
    """As text alone, whatever a tokenizer from elsewhere does with the names of special tokens."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        return list(tokenizer.encode_batch(list(texts)))
    finally:
        tokenizer.encode_special_tokens = before


def unfinished(count: int) -> str:
    """What a reader is told of a translation that was stopped after so many tokens."""
    return text("The translation was stopped after {count} tokens, before its end.", count=count)


_SIGNS, _QUOTED = 8, 60  # how many signs a note names, and how many characters of a text it quotes


@dataclass(frozen=True)
class Reading:
    """What a model reads of a text.

    Args:
        text: in the one way of :func:`~transformer_lib.data.text.normalized`, as far as it is read; and recased.
        token_ids: its tokens, and ``<eos>``.
        pieces: what each token stands for; the unknown ones stand for a sign of the text, which is named here.
        unknown: the signs that no token stands for, each once.
        unread: the rest of the text.
        longest: how many tokens are read at most, ``<eos>`` included.
        recased: whether capitals are read as small letters, see :mod:`transformer_lib.data.seen`.
        unseen: the words that are read and were never seen in training, each once. Those with an unknown sign are not
            among them.
    """

    text: str
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    unknown: tuple[str, ...]
    unread: str
    longest: int
    recased: bool = False
    unseen: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is read otherwise, unknown, never seen or not read, in words; empty if there is no such thing."""
        notes = []
        if self.recased:
            notes.append(
                text("Words in capitals are read as training mostly wrote them: “{quoted}”.", quoted=_quoted(self.text))
            )
        if self.unknown:
            signs = ", ".join(f"“{sign}”" for sign in self.unknown[:_SIGNS])
            more = len(self.unknown) - _SIGNS
            if more > 0:
                notes.append(
                    text("No token stands for {signs} and {more} more: read as unknown.", signs=signs, more=more)
                )
            else:
                notes.append(text("No token stands for {signs}: read as unknown.", signs=signs))
        if self.unseen:
            words = ", ".join(f"“{_quoted(word)}”" for word in self.unseen[:_SIGNS])
            more = len(self.unseen) - _SIGNS
            if more > 0:
                notes.append(
                    text(
                        "Never seen in training, so translated by guesswork: {words} and {more} more.",
                        words=words,
                        more=more,
                    )
                )
            else:
                notes.append(text("Never seen in training, so translated by guesswork: {words}.", words=words))
        if self.unread:
            said = {"longest": self.longest, "quoted": _quoted(self.unread)}
            notes.append(text("Of a sentence at most {longest} tokens are read. Not read: “{quoted}”.", **said))
        return tuple(notes)


def _quoted(text: str) -> str:
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"


def read_texts(
    tokenizer: Tokenizer, texts: Iterable[str], longest: int, seen: SeenWords | None = None
) -> list[Reading]:
    """Read sentences up to a number of tokens, and keep account of what was not read as it was written.

    A sentence that is too long is read up to the end of a word; a first word that is too long, up to a token.

    Args:
        tokenizer: from :func:`train_tokenizer`.
        texts: sentences, as in :func:`encode_texts`.
        longest: most tokens of a sentence, its ``<eos>`` included.
        seen: the words of the training, by which capitals are read, and other words are told; neither unless given.

    Raises:
        TypeError: texts that are no strings, or a single one.
        ValueError: no room for the beginning of a word, a sign and ``<eos>``, or a tokenizer without a special token.
    """
    if longest < 3:
        raise ValueError(f"longest must be at least 3; got {longest}")
    special = special_tokens(tokenizer)
    texts = list(map(normalized, checked_texts(texts)))
    wholes = list(map(seen.recased, texts)) if seen else texts
    readings = []
    for written, whole, encoding in zip(texts, wholes, _encodings(tokenizer, wholes), strict=True):
        tokens, end = encoding.tokens, len(encoding.ids)
        if end >= longest:
            starts = (place for place in range(longest - 1, 0, -1) if tokens[place].startswith("▁"))
            end = next(starts, longest - 1)
        ids = encoding.ids[:end]
        pieces = [
            whole[slice(*encoding.offsets[place])] if number == special.unk else tokens[place]
            for place, number in enumerate(ids)
        ]
        read = "".join(pieces).replace("▁", " ").removeprefix(" ")
        unknown = dict.fromkeys(piece for number, piece in zip(ids, pieces, strict=True) if number == special.unk)
        unread = whole[len(read) :].lstrip(" ")
        # What is said of a sign need not be said of its word once more.
        unseen = [word for word in (seen.unseen(read) if seen else ()) if unknown.keys().isdisjoint(word)]
        readings.append(
            Reading(
                read,
                (*ids, special.eos),
                (*pieces, EOS),
                tuple(unknown),
                unread,
                longest,
                recased=whole[: len(read)] != written[: len(read)],
                unseen=tuple(unseen),
            )
        )
    return readings


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int = PAD_ID) -> Int[Tensor, "batch seq"]:
    """Put rows of different lengths into one tensor, the short ones padded at their end.

    Args:
        rows: at least one, not all empty.
        pad_id: what to fill with.

    Returns:
        ``(batch, longest)``.

    Raises:
        ValueError: no rows, or only empty ones.
    """
    if not rows or not max(map(len, rows)):
        raise ValueError("rows must hold at least one token; got none")
    padded = torch.full((len(rows), max(map(len, rows))), pad_id)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.tensor(row)
    return padded


class PairBatches:
    """Batches of sentence pairs, those of about the same length together, so that little is spent on padding.

    A batch depends on its number alone, not on what was asked before, so training can stop and go on at any step.
    Every epoch shuffles anew; then pairs of one length stand in random order, and so do the batches.

    Args:
        pairs: the corpus.
        tokenizer: of both languages; its special tokens fill, begin and end the rows.
        max_tokens: most tokens of a batch, source or target, padding included.
        max_len: pairs with more tokens than this in either language are left out.
        seed: of the shuffling.

    Attributes:
        pairs: those that are short enough.
        rows: their tokens.

    Raises:
        ValueError: no pair is short enough, a single pair could exceed ``max_tokens``, or the tokenizer lacks a special
            token.
    """

    def __init__(
        self, pairs: Sequence[Pair], tokenizer: Tokenizer, *, max_tokens: int, max_len: int = 64, seed: int = 0
    ) -> None:
        if max_len > max_tokens:
            raise ValueError(f"max_tokens must be at least max_len; got {max_tokens} and {max_len}")
        self.special = special_tokens(tokenizer)
        english = encode_texts(tokenizer, [pair.english for pair in pairs])
        portuguese = encode_texts(tokenizer, [pair.portuguese for pair in pairs])
        kept = [
            (pair, (source, target))
            for pair, source, target in zip(pairs, english, portuguese, strict=True)
            if max(len(source), len(target) + 1) <= max_len
        ]
        self.pairs, self.rows = [pair for pair, _ in kept], [row for _, row in kept]
        if not self.rows:
            raise ValueError(f"no pair has at most max_len = {max_len} tokens; got {len(pairs)} pairs")
        self.max_tokens, self.seed = max_tokens, seed
        self._epoch, self._order = -1, list[list[int]]()
        # Lengths do not change, so every epoch has about as many batches; the shortest count serves all of them.
        self.n_batches = len(self._batches(0))

    def __len__(self) -> int:
        return self.n_batches

    def __call__(self, number: int) -> tuple[Int[Tensor, "batch key"], Int[Tensor, "batch query"]]:
        """Return batch ``number``, counted through all epochs: source, and target with ``<bos>`` and ``<eos>``."""
        epoch, place = divmod(number, self.n_batches)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._batches(epoch)
        rows = [self.rows[index] for index in self._order[place]]
        source = pad_rows([source for source, _ in rows], self.special.pad)
        return source, pad_rows([[self.special.bos, *target] for _, target in rows], self.special.pad)

    def _batches(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        shuffled = torch.randperm(len(self.rows), generator=generator).tolist()
        # The sort is stable: within one length the order stays random.
        shuffled.sort(key=lambda index: (len(self.rows[index][1]), len(self.rows[index][0])))
        batches: list[list[int]] = []
        batch: list[int] = []
        widest = 0
        for index in shuffled:
            width = max(len(self.rows[index][0]), len(self.rows[index][1]) + 1)
            if batch and max(widest, width) * (len(batch) + 1) > self.max_tokens:
                batches.append(batch)
                batch, widest = [], 0
            batch.append(index)
            widest = max(widest, width)
        batches.append(batch)
        order = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[place] for place in order]
