"""Train the book's models outside its notebooks: ``python -m transformer_lib.train translation``.

On a CPU, on a GPU, or in several processes: ``torchrun --nproc-per-node 2 -m transformer_lib.train translation``. A run
that was stopped goes on where its last checkpoint was written. At its end stands a folder with the weights, the
tokenizer, and a record: the recipe, the machine, the curve, and how well the model translates what it has not seen.
"""

import argparse
import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from tokenizers import Tokenizer
from torch import nn

from transformer_lib.checks import check_whole
from transformer_lib.config import StackConfig
from transformer_lib.data.fragment import FragmentSplit, fragment_pairs
from transformer_lib.data.libreoffice import libreoffice_corpus
from transformer_lib.data.pairs import Pair
from transformer_lib.data.text import checked_texts
from transformer_lib.data.tokens import PAD_ID, PairBatches, train_tokenizer
from transformer_lib.device import best_device
from transformer_lib.training import Precision, Recipe, smoothed_cross_entropy, train
from transformer_lib.transformer import Transformer
from transformer_lib.translator import Translator

VOCAB_SIZE = 5000
SHAPE: dict[str, Any] = {"d_model": 192, "n_heads": 6, "d_ff": 768, "pre_norm": True, "dropout": 0.1, "max_len": 256}
ENCODER = StackConfig(n_layers=4, **SHAPE)
DECODER = StackConfig(n_layers=2, **SHAPE)
RECIPE = Recipe(steps=5000, peak_rate=2.5e-3, schedule="cosine", warmup=300)
N_FRAGMENT = 30_000
MAX_TOKENS = 2048  # of a batch
MAX_LEN = 48  # of a sentence, in training
FRAGMENT_TESTS: tuple[FragmentSplit, ...] = ("combinations", "longer", "deeper")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(prog="python -m transformer_lib.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("task", choices=["translation"])
    parser.add_argument("--out", type=Path, default=Path("runs/translation"), help="folder of the run")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="compile the model (pays on a GPU)")
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's choice unless given")
    parser.add_argument("--fragment-only", action="store_true", help="leave the real text out")
    parser.add_argument("--help-folder", type=Path, help="the unpacked help of LibreOffice; else apt fetches it")
    options = parser.parse_args(arguments)
    _keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = best_device()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
    try:
        translation(
            options.out,
            device,
            steps=options.steps,
            precision=options.precision,
            compile=options.compile,
            real_text=not options.fragment_only,
            help_folder=options.help_folder,
        )
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def translation(
    folder: Path,
    device: torch.device,
    *,
    steps: int = RECIPE.steps,
    precision: Precision = "fp32",
    compile: bool = False,
    real_text: bool = True,
    help_folder: Path | None = None,
) -> Translator:
    """Train the translator of chapter 10, and write it to a folder.

    Args:
        folder: for the checkpoint ``training.safetensors`` and the finished translator.
        device: where to train.
        steps: of the recipe, whose warm-up is no longer than they.
        precision: of the recipe.
        compile: of the recipe.
        real_text: whether to train on the LibreOffice help too, or on the fragment only.
        help_folder: where the help is; fetched unless given.

    Returns:
        The translator.

    Raises:
        ValueError: the folder holds the checkpoint of another recipe.
    """
    recipe = replace(RECIPE, steps=steps, warmup=min(RECIPE.warmup, steps), precision=precision, compile=compile)
    corpus, pairs = None, fragment_pairs(N_FRAGMENT, torch.Generator().manual_seed(0))
    valid = fragment_pairs(500, torch.Generator().manual_seed(1), split="combinations")
    if real_text:
        corpus = libreoffice_corpus(help_folder)
        pairs += corpus.train
        valid += corpus.valid
    tokenizer = train_tokenizer((text for pair in pairs for text in pair), VOCAB_SIZE)
    batches = PairBatches(pairs, tokenizer, max_tokens=MAX_TOKENS, max_len=MAX_LEN)
    torch.manual_seed(0)
    model = Transformer(tokenizer.get_vocab_size(), ENCODER, decoder=DECODER, pad_id=PAD_ID).to(device)
    history = train(
        model,
        batches,
        recipe,
        pad_id=PAD_ID,
        checkpoint=folder / "training.safetensors",
        save_every=250,
        evaluate=_evaluation(valid, tokenizer, device),
        evaluate_every=250,
        progress=True,
    )
    translator = Translator(model, tokenizer, {})
    record = {
        "recipe": asdict(recipe),
        "max_tokens": MAX_TOKENS,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "corpora": {
            "fragment": N_FRAGMENT,
            "real text": len(corpus.train) if corpus else 0,
            "fingerprint": corpus.fingerprint if corpus else None,
            "used": len(batches.rows),
        },
        "epochs": recipe.steps * recipe.accumulate / len(batches),
        "machine": _machine(device),
        "seconds": history.seconds,
        "tokens": history.tokens,
        "losses": [round(loss, 4) for loss in history.losses],
        "evaluations": history.evaluations,
    }
    if not dist.is_initialized() or dist.get_rank() == 0:
        Translator(model, tokenizer, record).save(folder)
        rounded = Translator.load(folder, device=device)  # what is measured is what is stored, in float16
        record["results"] = evaluate_translator(rounded, corpus.test if corpus else ())
        Translator(model, tokenizer, record).save(folder)
    return translator


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


def _evaluation(
    valid: Sequence[Pair], tokenizer: Tokenizer, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    batches = PairBatches(valid, tokenizer, max_tokens=MAX_TOKENS)

    def evaluate(model: nn.Module) -> dict[str, float]:
        loss, n_tokens = 0.0, 0
        for number in range(len(batches)):
            source, target = (tensor.to(device) for tensor in batches(number))
            logits = model(source, target[:, :-1])
            loss += float(smoothed_cross_entropy(logits, target[:, 1:], smoothing=0.0, pad_id=PAD_ID))
            n_tokens += int((target[:, 1:] != PAD_ID).sum())
        return {"valid": loss / n_tokens}

    return evaluate


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    threads = str(torch.get_num_threads()) if device.type == "cpu" else ""
    return {"device": name, "threads": threads, "torch": torch.__version__, "python": platform.python_version()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one; getting it anew costs a third of the time on a CPU."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: do not hand memory back
    mallopt(-2, 2**28)  # M_TOP_PAD: ask for more at once


if __name__ == "__main__":
    main()
