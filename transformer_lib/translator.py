"""A translator: a trained model, its tokenizer, and the record of how it came to be.

The library comes with one, trained by ``python -m transformer_lib.train translation``; chapter 10 reads its record.
"""

import json
from collections.abc import Sequence
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
from transformer_lib.data.tokens import BOS_ID, EOS_ID, PAD_ID, UNKNOWN_ID, encode_texts, load_tokenizer, pad_rows
from transformer_lib.generation import beam_search, greedy
from transformer_lib.training import check_weights, write_atomically
from transformer_lib.transformer import Transformer

#: The translator that comes with the library.
TRANSLATOR = Path(__file__).parent / "checkpoints" / "translator"


@dataclass(frozen=True)
class Translator:
    """A model and its tokenizer.

    Args:
        model: maps English tokens and the Portuguese so far to logits.
        tokenizer: of both languages.
        record: how it was trained, and how well it translates; empty if unknown.
    """

    model: Transformer
    tokenizer: Tokenizer
    record: dict[str, Any]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Turn English sentences into the model's source tokens.

        Args:
            sentences: at least one, none empty.

        Returns:
            ``(batch, key)``, padded at the end, on the model's device.

        Raises:
            TypeError: a single string.
            ValueError: no sentences, an empty one, or one that is longer than the model was made for.
        """
        if isinstance(sentences, str):
            raise TypeError("sentences must be a list of sentences; got a single string")
        if not sentences or not all(sentence.strip() for sentence in sentences):
            raise ValueError(f"sentences must hold at least one, and no empty one; got {list(sentences)!r}")
        rows = encode_texts(self.tokenizer, sentences)
        longest, room = max(map(len, rows)), self.model.encoder.config.max_len
        if longest > room:
            raise ValueError(f"a sentence has {longest} tokens; this model reads at most {room}")
        return pad_rows(rows).to(self.model.embedding.weight.device)

    def translate(self, sentences: Sequence[str], *, beams: int = 1, max_new_tokens: int = 80) -> list[str]:
        """Translate English sentences.

        Args:
            sentences: at least one, none empty.
            beams: 1 for greedy decoding, more for beam search.
            max_new_tokens: most tokens of a translation; never more than the model has positions.

        Returns:
            One translation for each sentence.

        Raises:
            ValueError: as :meth:`encode`, or fewer than one beam.
        """
        source = self.encode(sentences)
        max_new_tokens = min(max_new_tokens, self.model.decoder.config.max_len)
        never = (BOS_ID, UNKNOWN_ID)
        if beams == 1:
            written = greedy(self.model, BOS_ID, source, eos_id=EOS_ID, max_new_tokens=max_new_tokens, forbidden=never)
            return [self.decode(row) for row in written.tolist()]
        found = beam_search(
            self.model,
            BOS_ID,
            source,
            eos_id=EOS_ID,
            max_new_tokens=max_new_tokens,
            beams=beams,
            penalty="gnmt",
            alpha=0.6,
            forbidden=never,
        )
        return [self.decode(best.tokens) for best, *_ in found]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Turn tokens into text, leaving out those that stand for no text.

        Args:
            token_ids: numbers of tokens.
        """
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def save(self, folder: str | Path) -> None:
        """Write the weights (as float16), the tokenizer, and the record.

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
        write_atomically(folder / "record.json", _json(self.record))

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: torch.device | str = "cpu") -> "Translator":
        """Read what :meth:`save` wrote.

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
            pad_id=PAD_ID,
        )
        try:
            weights = deserialize((folder / "model.safetensors").read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{folder / 'model.safetensors'} is damaged: {error}") from error
        check_weights(folder / "model.safetensors", weights, model)
        model.load_state_dict(weights)
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return cls(model.to(device).eval(), tokenizer, record)


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
