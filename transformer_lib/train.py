"""Train the book's models outside its notebooks: ``python -m transformer_lib.train translation``.

On a CPU, on a GPU, or in several processes: ``torchrun --nproc-per-node 2 -m transformer_lib.train translation``. A run
that was stopped goes on where its last checkpoint was written. At its end stands a folder with what the task saves:
weights, tokenizer, and a record of the recipe, the machine, the curve, and how well the model does on what it has not
seen. The tasks are the files of :mod:`transformer_lib.tasks`.
"""

import argparse
import ctypes
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist

from transformer_lib.device import best_device
from transformer_lib.tasks import Task, tasks
from transformer_lib.training import Precision, Recipe, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(prog="python -m transformer_lib.train", description=__doc__.split("\n\n")[0])
    known = tasks()
    commands = parser.add_subparsers(dest="task", required=True, metavar="TASK", help=", ".join(known))
    for name, task in known.items():
        command = commands.add_parser(name, description=(task.__doc__ or "").split("\n\n")[0])
        command.add_argument("--out", type=Path, default=Path("runs", name), help="folder of the run")
        command.add_argument("--steps", type=int, default=task.recipe.steps)
        command.add_argument("--precision", choices=get_args(Precision), default=task.recipe.precision)
        command.add_argument("--compile", action="store_true", help="compile the model (pays on a GPU)")
        command.add_argument("--threads", type=int, help="of the CPU; PyTorch's choice unless given")
        task.add_options(command)
    options = parser.parse_args(arguments)
    chosen = known[options.task]
    recipe = replace(
        chosen.recipe,
        steps=options.steps,
        warmup=min(chosen.recipe.warmup, options.steps),
        precision=options.precision,
        compile=options.compile,
    )
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
        run(chosen(options), recipe, options.out, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def run(task: Task, recipe: Recipe, folder: Path, device: torch.device) -> None:
    """Train what a task asks for, and write it to a folder.

    Args:
        task: what to learn.
        recipe: how.
        folder: for the checkpoint ``training.safetensors``, from which a run goes on, and for what the task saves.
        device: where to train.

    Raises:
        ValueError: the folder holds the checkpoint of another recipe.
    """
    model = task.model.to(device)
    history = train(
        model,
        task.batches,
        recipe,
        objective=task.objective,
        checkpoint=folder / "training.safetensors",
        save_every=250,
        evaluate=task.evaluate,
        evaluate_every=250,
        progress=True,
    )
    record: dict[str, Any] = {
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **task.about,
        "machine": _machine(device),
        "seconds": history.seconds,
        "tokens": history.tokens,
        "losses": [round(loss, 4) for loss in history.losses],
        "evaluations": history.evaluations,
    }
    if not dist.is_initialized() or dist.get_rank() == 0:
        task.save(folder, record, device)


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
