"""The translator of chapter 10: what it learns from, its sizes and recipe, and how well it translates."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from transformer_lib.checks import check_whole
from transformer_lib.config import StackConfig
from transformer_lib.data.everyday import everyday_pairs
from transformer_lib.data.fragment import FragmentSplit, fragment_pairs
from transformer_lib.data.libreoffice import libreoffice_corpus
from transformer_lib.data.pairs import Pair, careless, joined
from transformer_lib.data.seen import SeenWords
from transformer_lib.data.text import checked_texts
from transformer_lib.data.tokens import PairBatches, special_tokens, train_tokenizer
from transformer_lib.objectives import sequence_to_sequence
from transformer_lib.positions import Rotary
from transformer_lib.tasks import Task
from transformer_lib.training import Recipe
from transformer_lib.transformer import Transformer
from transformer_lib.translator import Translator

VOCAB_SIZE = 5000
SHAPE: dict[str, Any] = {
    "d_model": 192,
    "n_heads": 6,
    "d_ff": 768,
    "pre_norm": True,
    "dropout": 0.1,
    "positions": Rotary(),
    "max_len": 256,
}
ENCODER = StackConfig(n_layers=4, **SHAPE)
DECODER = StackConfig(n_layers=2, **SHAPE)
RECIPE = Recipe(steps=4200, peak_rate=2.5e-3, schedule="cosine", warmup=300)
# A grammar writes as many sentences as one likes; the real text counts five times, so as not to drown in them.
N_FRAGMENT = 200_000
N_EVERYDAY = 200_000
REAL_COPIES = 5
CARELESS = 0.15  # of the everyday sentences, typed in small letters or without a period
JOINED = 0.4  # of all sentences, two in a row
MAX_TOKENS = 2048  # of a batch
MAX_LEN = 48  # of a sentence, in training
FRAGMENT_TESTS: tuple[FragmentSplit, ...] = ("combinations", "longer", "deeper")


class Translation(Task):
    """The translator of chapter 10, from English to Brazilian Portuguese."""

    recipe = RECIPE

    @classmethod
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add the options on the real text, and on what chapter 10 compares."""
        parser.add_argument("--fragment-only", action="store_true", help="leave the real text out")
        parser.add_argument("--help-folder", type=Path, help="the unpacked help of LibreOffice; else apt fetches it")
        parser.add_argument("--positions", default=ENCODER.positions.name, help="scheme of both stacks, by its name")
        parser.add_argument("--joined", type=float, default=JOINED, help="share of the pairs that stand two in a row")

    def __init__(self, options: Namespace) -> None:
        generator = torch.Generator().manual_seed(0)
        everyday = careless(everyday_pairs(N_EVERYDAY, generator), CARELESS, generator)
        pairs = fragment_pairs(N_FRAGMENT, generator) + everyday
        valid = fragment_pairs(500, torch.Generator().manual_seed(1), split="combinations")
        self.corpus = None if options.fragment_only else libreoffice_corpus(options.help_folder)
        if self.corpus:
            pairs += self.corpus.train * REAL_COPIES
            valid += self.corpus.valid
        pairs = joined(pairs, options.joined, generator)
        self.tokenizer = train_tokenizer((text for pair in pairs for text in pair), VOCAB_SIZE)
        pad_id = special_tokens(self.tokenizer).pad
        self.batches = PairBatches(pairs, self.tokenizer, max_tokens=MAX_TOKENS, max_len=MAX_LEN)
        self.seen = SeenWords.of(pair.english for pair in self.batches.pairs)
        unseen = PairBatches(valid, self.tokenizer, max_tokens=MAX_TOKENS)
        self.valid = [unseen(number) for number in range(len(unseen))]
        self.objective = partial(sequence_to_sequence, pad_id=pad_id)
        torch.manual_seed(0)
        encoder, decoder = (replace(stack, positions=options.positions) for stack in (ENCODER, DECODER))
        self.model: Transformer = Transformer(self.tokenizer.get_vocab_size(), encoder, decoder=decoder, pad_id=pad_id)
        self.about = {
            "max_tokens": MAX_TOKENS,
            "corpora": {
                "fragment": N_FRAGMENT,
                "everyday": N_EVERYDAY,
                "real text": len(self.corpus.train) if self.corpus else 0,
                "real copies": REAL_COPIES if self.corpus else 0,
                "joined": options.joined,
                "fingerprint": self.corpus.fingerprint if self.corpus else None,
                "used": len(self.batches.rows),
            },
            "epochs": options.steps * RECIPE.accumulate / len(self.batches),
        }

    def save(self, folder: Path, record: dict[str, Any], device: torch.device) -> None:
        """Write the translator, and measure what is stored, in float16.

        Args:
            folder: of the run.
            record: how it was trained.
            device: to measure on.
        """
        Translator(self.model, self.tokenizer, record, self.seen).save(folder)
        rounded = Translator.load(folder, device=device)
        record["results"] = evaluate_translator(rounded, self.corpus.test if self.corpus else ())
        Translator(self.model, self.tokenizer, record, self.seen).save(folder)


def evaluate_translator(translator: Translator, real_test: Sequence[Pair], *, n_fragment: int = 1000) -> dict[str, Any]:
    """Measure a translator on sentences that training has not seen.

    Args:
        translator: to measure; it decodes greedily, and on the real text with four beams too.
        real_test: held-out real pairs; none to leave them out.
        n_fragment: sentences of each split of the fragment, at least 1.

    Returns:
        The share of translations that are exactly right for each split of the fragment, and BLEU and chrF of the real
        text by ``sacrebleu``, with its signatures.

    Raises:
        ValueError: ``n_fragment`` below 1.
    """
    check_whole("n_fragment", n_fragment, 1)
    exact = {}
    for seed, split in enumerate(FRAGMENT_TESTS):
        pairs = fragment_pairs(n_fragment, torch.Generator().manual_seed(100 + seed), split=split)
        found = translate_all(translator, [pair.english for pair in pairs])
        exact[split] = sum(text == pair.portuguese for text, pair in zip(found, pairs, strict=True)) / n_fragment
    results: dict[str, Any] = {"exact": exact, "n_fragment": n_fragment}
    if real_test:
        references = [[pair.portuguese for pair in real_test]]
        results["n_real"] = len(real_test)
        for name, beams in (("greedy", 1), ("beam 4", 4)):
            found = translate_all(translator, [pair.english for pair in real_test], beams=beams)
            bleu, chrf = BLEU(), CHRF()
            results[name] = {
                "bleu": round(bleu.corpus_score(found, references).score, 2),
                "chrf": round(chrf.corpus_score(found, references).score, 2),
                "bleu signature": str(bleu.get_signature()),
                "chrf signature": str(chrf.get_signature()),
            }
    return results


def translate_all(translator: Translator, sentences: Iterable[str], *, beams: int = 1, batch: int = 64) -> list[str]:
    """Translate many sentences in batches of about the same length, and return them in their own order.

    Args:
        translator: the translator.
        sentences: in English.
        beams: as in :meth:`~transformer_lib.translator.Translator.translate`.
        batch: sentences at once, at least 1.

    Raises:
        TypeError: sentences that are no strings, or a single string.
        ValueError: an empty sentence, or ``batch`` below 1.
    """
    check_whole("batch", batch, 1)
    sentences = checked_texts(sentences, "sentences")
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    found = [""] * len(sentences)
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch]
        translations = translator.translate([sentences[number] for number in numbers], beams=beams)
        for number, text in zip(numbers, translations, strict=True):
            found[number] = text
    return found
