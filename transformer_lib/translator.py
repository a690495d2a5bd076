"""A translator: a trained model, its tokenizer, and the record of how it came to be.

The library comes with one, trained by ``python -m transformer_lib.train translation``; chapter 10 reads its record.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from tokenizers import Tokenizer
from torch import Tensor

from transformer_lib.config import StackConfig
from transformer_lib.data.seen import SeenWords
from transformer_lib.data.text import checked_texts
from transformer_lib.data.tokens import Reading, load_tokenizer, pad_rows, read_texts, special_tokens, unfinished
from transformer_lib.generation import beam_search, greedy
from transformer_lib.training import check_weights, write_atomically
from transformer_lib.transformer import Transformer

#: The translator that comes with the library.
TRANSLATOR = Path(__file__).parent / "checkpoints" / "translator"


#: Most tokens of a sentence that are read, its end included, and of a translation that are written, here and in the
#: page. Training saw sentences of at most 64.
LONGEST = 80

#: The file with the words of the training, in a translator's folder.
WORDS = "words.txt"


class Translations(list[str]):
    """The translations of some sentences: a list of strings, with an account of how the sentences were read.

    Args:
        texts: the translations.
        readings: what was read of each sentence.
        notes: what to know of each translation, in words: capitals that were read as small letters, signs that no token
            stands for, words that training never showed, the part of a sentence that was not read, an end that was not
            reached. Empty where there is nothing to say.
    """

    def __init__(self, texts: Iterable[str], readings: Sequence[Reading], notes: Sequence[tuple[str, ...]]) -> None:
        super().__init__(texts)
        self.readings, self.notes = list(readings), list(notes)

    def __repr__(self) -> str:
        return f"{super().__repr__()}, notes: {self.notes}" if any(self.notes) else super().__repr__()


@dataclass(frozen=True)
class Translator:
    """A model and its tokenizer.

    Args:
        model: maps English tokens and the Portuguese so far to logits.
        tokenizer: of both languages.
        record: how it was trained, and how well it translates; empty if unknown.
        seen: the English words of its training; without them no word is told to be new, and capitals stay.
    """

    model: Transformer
    tokenizer: Tokenizer
    record: dict[str, Any]
    seen: SeenWords | None = None

    @property
    def longest(self) -> int:
        """How many tokens of a sentence are read at most, its end included."""
        return min(LONGEST, self.model.encoder.config.max_len)

    def read(self, sentences: Iterable[str]) -> list[Reading]:
        """Judge English sentences as they come from a user: what is read of each, and what is not.

        Everything that a user writes enters here. It is written in one way
        (:func:`transformer_lib.data.text.normalized`), its capitals are read as :mod:`transformer_lib.data.seen` says,
        and it is read up to :attr:`longest` tokens.

        Args:
            sentences: a list, tuple or generator of at least one, none empty.

        Raises:
            TypeError: sentences that are no strings, or a single string.
            ValueError: no sentences, or one in which there is nothing to see.
        """
        sentences = checked_texts(sentences, "sentences")
        readings = read_texts(self.tokenizer, sentences, self.longest, self.seen)
        if not readings or not all(reading.text for reading in readings):
            raise ValueError(f"sentences must hold at least one, and no empty one; got {sentences!r}")
        return readings

    def encode(self, sentences: Iterable[str]) -> Tensor:
        """Turn English sentences into the model's source tokens.

        A sign that no token stands for becomes ``<unk>``; :meth:`read` names it.

        Args:
            sentences: at least one, none empty.

        Returns:
            ``(batch, key)``, padded at the end, on the model's device.

        Raises:
            TypeError: as :meth:`read`.
            ValueError: as :meth:`read`, or a sentence of more than :attr:`longest` tokens.
        """
        readings = self.read(sentences)
        for reading in readings:
            if reading.unread:
                raise ValueError(
                    f"a sentence must have at most the {self.longest} tokens that this model reads; "
                    f"got one that is longer by {reading.unread!r}"
                )
        return self._source(readings)

    def _source(self, readings: Sequence[Reading]) -> Tensor:
        rows = [reading.token_ids for reading in readings]
        return pad_rows(rows, special_tokens(self.tokenizer).pad).to(self.model.embedding.weight.device)

    def translate(self, sentences: Iterable[str], *, beams: int = 1, max_new_tokens: int = LONGEST) -> Translations:
        """Translate English sentences.

        Args:
            sentences: at least one, none empty. Of one with more than :attr:`longest` tokens the beginning is
                translated, and the notes say so.
            beams: 1 for greedy decoding, more for beam search.
            max_new_tokens: most tokens of a translation; never more than the model has positions.

        Returns:
            One translation for each sentence, and notes on those that could not be read or written whole.

        Raises:
            TypeError: as :meth:`read`.
            ValueError: as :meth:`read`, or fewer than one beam.
        """
        readings = self.read(sentences)
        source = self._source(readings)
        max_new_tokens = min(max_new_tokens, self.model.decoder.config.max_len)
        special = special_tokens(self.tokenizer)
        options: dict[str, Any] = {
            "eos_id": special.eos,
            "max_new_tokens": max_new_tokens,
            "forbidden": (special.bos, special.unk),
        }
        if beams == 1:
            rows = greedy(self.model, special.bos, source, **options).tolist()
        else:
            found = beam_search(self.model, special.bos, source, beams=beams, penalty="gnmt", alpha=0.6, **options)
            rows = [best.tokens for best, *_ in found]
        notes = [
            reading.notes if special.eos in row else (*reading.notes, unfinished(max_new_tokens))
            for reading, row in zip(readings, rows, strict=True)
        ]
        return Translations(map(self.decode, rows), readings, notes)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Turn tokens into text, leaving out those that stand for no text.

        Args:
            token_ids: numbers of tokens.
        """
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def save(self, folder: str | Path) -> None:
        """Write the weights (as float16), the tokenizer, the record, and the words of the training if they are known.

        Args:
            folder: made where it is missing.
        """
        folder = Path(folder)
        config = {
            "vocab_size": self.model.embedding.num_embeddings,
            "encoder": asdict(self.model.encoder.config),
            "decoder": asdict(self.model.decoder.config),
        }
        weights = {name: tensor.half().contiguous().cpu() for name, tensor in self.model.state_dict().items()}
        write_atomically(folder / "model.safetensors", serialize(weights))
        write_atomically(folder / "tokenizer.json", self.tokenizer.to_str().encode())
        write_atomically(folder / "config.json", _json(config))
        if self.seen is None:
            (folder / WORDS).unlink(missing_ok=True)  # another translator's
        else:
            write_atomically(folder / WORDS, self.seen.to_text().encode())
        write_atomically(folder / "record.json", _json(self.record))

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: torch.device | str = "cpu") -> "Translator":
        """Read what :meth:`save` wrote. The words of the training may be missing.

        Args:
            folder: that holds it; the library's own translator unless given.
            device: where the model shall compute, in float32.

        Returns:
            The translator, in evaluation mode.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or the files do not belong together.
        """
        folder = TRANSLATOR if folder is None else Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = load_tokenizer(folder / "tokenizer.json")
        if tokenizer.get_vocab_size() != config["vocab_size"]:
            raise ValueError(
                f"{folder}: the model has {config['vocab_size']} tokens, the tokenizer {tokenizer.get_vocab_size()}"
            )
        model = Transformer(
            config["vocab_size"],
            StackConfig(**config["encoder"]),
            decoder=StackConfig(**config["decoder"]),
            pad_id=special_tokens(tokenizer).pad,
        )
        try:
            weights = deserialize((folder / "model.safetensors").read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{folder / 'model.safetensors'} is damaged: {error}") from error
        check_weights(folder / "model.safetensors", weights, model)
        model.load_state_dict(weights)
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        seen = SeenWords.load(folder / WORDS) if (folder / WORDS).exists() else None
        return cls(model.to(device).eval(), tokenizer, record, seen)


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
