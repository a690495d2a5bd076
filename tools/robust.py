"""Run chapters as other machines would, and list each compared line that comes out beyond its tolerance.

    python -m tools.robust chapters/04_self_attention.ipynb             # 20 runs
    python -m tools.robust --runs 3 --jobs 2 chapters/0[1-4]*.ipynb     # three of each, two at a time

The runs go through PyTorch's kernels for a processor without AVX, with AVX2 and with all that this one has, with one
thread and with two. In each, the weights that an optimizer is given are first multiplied by 1 + 1e-6 z, z being normal:
that is what is left of the differences between processors that are not at hand, and sums in another order.
"""

import argparse
import itertools
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.numbers import Tolerance, changed_lines
from tools.outputs import IGNORED, ROOT, execute, normalise

DISTURBED = 1e-6
# MKL and oneDNN choose their kernels by themselves, so they are told too.
PROCESSORS: Mapping[str, Mapping[str, str]] = {
    "this one": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "default": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
SET_UP = """
import torch as _torch

def _disturbed(construct):
    def construct_disturbed(optimizer, *args, **kwargs):
        construct(optimizer, *args, **kwargs)
        generator = _torch.Generator().manual_seed({seed})  # anew: two equal models stay equal
        with _torch.no_grad():
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    noise = _torch.randn(weight.shape, generator=generator, dtype=_torch.float64)
                    weight.mul_((1 + {size} * noise).to(weight))
    return construct_disturbed

_torch.optim.Optimizer.__init__ = _disturbed(_torch.optim.Optimizer.__init__)
"""


@dataclass(frozen=True)
class Machine:
    """What one run differs in."""

    processor: str
    threads: int
    seed: int

    def __str__(self) -> str:
        return f"{self.processor}, {self.threads} thread{'s' * (self.threads > 1)}, seed {self.seed}"


@dataclass(frozen=True)
class Change:
    """A line that came out beyond its tolerance."""

    cell: int  # code cells count from 1, as on the page
    stored: str
    computed: str


def machines(runs: int) -> Iterator[Machine]:
    """The first so many of an endless list that soon has every processor with each number of threads."""
    kinds = itertools.cycle(itertools.product((1, 2), PROCESSORS))
    for seed, (threads, processor) in zip(range(runs), kinds, strict=False):
        yield Machine(processor, threads, seed)


def run(path: Path, machine: Machine, *, disturbed: float = DISTURBED) -> list[Change]:
    """Execute a notebook as another machine would; where it differs from what is stored."""
    stored = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SET_UP.format(seed=machine.seed, size=disturbed)))
    threads = str(machine.threads)
    settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **PROCESSORS[machine.processor]}
    failed = []
    try:
        execute(notebook, path, environment=os.environ | settings, timeout=1200)
    except CellExecutionError as error:
        failed = [Change(0, "a cell failed", str(error).strip().splitlines()[-1])]
    del notebook.cells[0]
    return failed or differences(stored, normalise(notebook))


def differences(stored: NotebookNode, computed: NotebookNode) -> list[Change]:
    """Each compared line of two runs of a notebook that differs beyond its cell's tolerance."""
    pairs = zip(
        *([cell for cell in book.cells if cell.cell_type == "code"] for book in (stored, computed)), strict=True
    )
    return [
        Change(number, *lines)
        for number, (old, new) in enumerate(pairs, start=1)
        if IGNORED not in old.metadata.get("tags", [])
        for lines in changed_lines(old.outputs, Tolerance.of(old.metadata).outputs_within(old.outputs, new.outputs))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="every chapter unless given")
    parser.add_argument("--runs", type=int, default=20, help="of each notebook (default: 20)")
    parser.add_argument("--first", type=int, default=0, help="skip so many machines of the list (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--disturbed", type=float, default=DISTURBED, help="relative size; 0 for none (default: 1e-6)")
    arguments = parser.parse_args()
    fragile = 0
    for path in arguments.notebooks or sorted((ROOT / "chapters").glob("*.ipynb")):
        start = time.perf_counter()
        chosen = list(machines(arguments.first + arguments.runs))[arguments.first :]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            results = list(pool.map(partial(run, path, disturbed=arguments.disturbed), chosen))
        fragile += sum(map(bool, results))
        _report(path, dict(zip(chosen, results, strict=True)), time.perf_counter() - start)
    sys.exit(bool(fragile))


def _report(path: Path, results: Mapping[Machine, list[Change]], seconds: float) -> None:
    passed = sum(not changes for changes in results.values())
    print(f"{path.name}: {passed} of {len(results)} runs came out as stored ({seconds:.0f} s)", flush=True)
    seen: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    where: defaultdict[tuple[int, str], list[Machine]] = defaultdict(list)
    for machine, changes in results.items():
        for change in changes:
            seen[change.cell, change.stored][change.computed] += 1
            where[change.cell, change.stored].append(machine)
    for (cell, line), computed in sorted(seen.items(), key=lambda item: item[0][0]):
        print(f"  cell [{cell}], {computed.total()} times, e.g. on {where[cell, line][0]}")
        print(f"    stored    {line.strip()}")
        for other, times in computed.most_common(4):
            print(f"    computed  {other.strip()}  ({times} times)")


if __name__ == "__main__":
    main()
