"""Run every task side by side, print a table, and store all samples and ratios.

`benchmarks/results/<device>.json` holds:

- `device`, `cpu`, `threads`, `versions`, `date`, `precision`, `compiled`: where and how it ran;
- `peers`: in words how each differs from ours, and the number of its parameters;
- `tasks`: for each task its `sizes`, `unit` (of the samples: seconds or bytes), `work` (tokens of one sample; none for
  memory), every one of the `samples`, the `rates` (tokens per second), and the `ratios` to ours (above 1, ours is
  better): median, quartiles and extremes over the rounds; for grouped heads `differs` says what the others are;
  a task that was put in later, by `--only TASK --merge`, has where and how it `ran`.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoding import decoders
from benchmarks.grouped import DIFFERS, steps
from benchmarks.measure import alternate, peak_bytes, rates, ratios
from benchmarks.peers import LAYERS, MODELS, OURS, SIZES, batch_of, parameters_of
from benchmarks.tasks import TASKS, Setting, peers_of

RESULTS = Path(__file__).parent / "results"
GROUPED = (4, 1)  # key heads
DECODING = [(batch, beams) for batch in (1, 32) for beams in (1, 4)]


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak:
        print(_own_peak(options))
        return

    report = measured(options)
    for name, peer in report["peers"].items():
        print(f"\n{name} ({_counts(peer['parameters'])}): {peer['differs']}")
    path = RESULTS / f"{_slug(options)}.json"
    if options.merge:
        report = merged(json.loads(path.read_text()), report)
    if options.store or options.merge:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\nStored in {path}")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run all tasks that are wanted, showing each; return what is to be stored."""
    tasks: dict[str, Any] = {}

    def run(task: str, measure: Callable[[], dict[str, Any]]) -> None:
        if options.only in task:
            tasks[task] = measure()
            _show(task, tasks[task])

    for task in TASKS:
        run(task, partial(_timed, task, options))
    for heads in GROUPED:
        run(grouped_task(heads), partial(_grouped, heads, options))
    for batch, beams in DECODING:
        name = "greedy" if beams == 1 else f"beam {beams}"
        run(f"decoding, batch {batch}, {name}", partial(_decoded, batch, beams, options))
    for task in ("layer training",) if options.quick else ("model training", "layer training"):
        run(f"{task}, memory", partial(_memory, task, options))
    return _about(options) | {"tasks": tasks}


def merged(stored: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """The stored results with the tasks of ``report`` put in; these say themselves where and how they ran."""
    ran = {key: report[key] for key in ("date", "cpu", "cores", "threads", "versions")}
    return stored | {"tasks": stored["tasks"] | {name: task | {"ran": ran} for name, task in report["tasks"].items()}}


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch on the CPU; its default unless given")
    parser.add_argument("--rounds", type=int, default=0, help="samples of each peer")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, and nothing stored: does it run?")
    parser.add_argument("--only", default="", help="tasks whose names contain this")
    parser.add_argument("--merge", action="store_true", help="with --only: put these tasks into what is stored")
    parser.add_argument("--no-store", dest="store", action="store_false")
    parser.add_argument("--peak", nargs=2, metavar=("TASK", "PEER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.store &= not options.quick and not options.only
    if options.merge and (options.quick or not options.only):
        parser.error("--merge needs --only, and real sizes")
    return options


def _setting(task: str, options: argparse.Namespace) -> Setting:
    preset = "quick" if options.quick else "gpu" if options.device == "cuda" else "cpu"
    sizes = SIZES[preset]["layer" if task.startswith("layer") else "model"]
    return Setting(sizes, torch.device(options.device), compiled=options.device == "cuda")


def _run(task: str, peer: str, setting: Setting) -> Callable[[], Any]:
    """What to time, once warmed up; without the compiler where it fails."""
    run = TASKS[task](peer, setting)
    try:
        run()
    except Exception as error:
        if not setting.compiled:
            raise
        print(f"{peer} does not compile ({type(error).__name__}); it runs without", file=sys.stderr)
        run = TASKS[task](peer, replace(setting, compiled=False))
        run()
    return run


def _timed(task: str, options: argparse.Namespace) -> dict[str, Any]:
    setting = _setting(task, options)
    runs = {peer: _run(task, peer, setting) for peer in peers_of(task)}
    samples = alternate(runs, options.rounds or (3 if options.quick else 12), wait=_waiter(options))
    batch = batch_of(setting.sizes, setting.device)
    work = int((batch.source != 0).sum()) if task.startswith("layer") else batch.tokens
    return _result(setting, samples, work)


def _decoded(batch: int, beams: int, options: argparse.Namespace) -> dict[str, Any]:
    setting = _setting("model", options)
    setting = replace(setting, sizes=replace(setting.sizes, batch=batch))
    runs, same = decoders(setting, beams)
    rounds = options.rounds or (3 if options.quick else 8)
    samples = alternate(runs, rounds, wait=_waiter(options))
    return _result(setting, samples, batch * setting.sizes.new_tokens) | {"beams": beams, "same_sentences": same}


def grouped_task(n_kv_heads: int) -> str:
    return f"grouped heads, {n_kv_heads} key {'head' if n_kv_heads == 1 else 'heads'}"


def _grouped(n_kv_heads: int, options: argparse.Namespace) -> dict[str, Any]:
    sizes = SIZES["quick" if options.quick else "cpu"]["cache"]
    setting = Setting(sizes, torch.device(options.device), compiled=False)
    rounds = options.rounds or (3 if options.quick else 12)
    samples = alternate(steps(setting, n_kv_heads), rounds, wait=_waiter(options))
    work = sizes.batch * sizes.new_tokens
    return _result(setting, samples, work) | {"n_kv_heads": n_kv_heads, "differs": DIFFERS}


def _memory(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Each peak in a process of its own, so that none can reuse what another has freed."""
    samples: dict[str, list[float]] = {peer: [] for peer in peers_of(task)}
    for _ in range(options.rounds or (1 if options.quick or options.device == "cuda" else 3)):
        for peer in samples:
            command = [sys.executable, "-m", "benchmarks", "--peak", task, peer, "--device", options.device]
            command += ["--threads", str(torch.get_num_threads())] + ["--quick"] * options.quick
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{task} of {peer}: {done.stderr}")
            samples[peer].append(int(done.stdout.split()[-1]))
    return _result(_setting(task, options), samples, None)


def _own_peak(options: argparse.Namespace) -> int:
    task, peer = options.peak
    setting = _setting(task, options)

    def prepare() -> Callable[[], Any]:
        run = TASKS[task](peer, setting)
        return lambda: [run() for _ in range(2)]  # the second has the optimizer's state from its beginning

    tiny = Setting(SIZES["quick"][task.split()[0]], setting.device, compiled=False)
    TASKS[task](peer, tiny)()  # imports what it needs, and starts threads and kernels: no model's own memory
    return peak_bytes(prepare, setting.device)


def _result(setting: Setting, samples: dict[str, list[float]], work: int | None) -> dict[str, Any]:
    return {
        "sizes": asdict(setting.sizes),
        "unit": "bytes" if work is None else "seconds",
        "work": work,
        "samples": samples,
        "rates": None if work is None else rates(samples, work),
        "ratios": ratios(samples, OURS),
    }


def _about(options: argparse.Namespace) -> dict[str, Any]:
    setting, layer = _setting("model", options), _setting("layer", options)
    peers: dict[str, dict[str, Any]] = {}
    for kind, sizes, group in (("model", setting.sizes, MODELS), ("layer", layer.sizes, LAYERS)):
        for name, peer in group.items():
            entry = peers.setdefault(name, {"differs": peer.differs, "parameters": {}})
            entry["parameters"][kind] = parameters_of(peer.build(sizes))
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if options.device == "cuda" else "float32",
        "compiled": setting.compiled,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "x-transformers")},
        "peers": peers,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*: (.+)", info.read_text())
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _slug(options: argparse.Namespace) -> str:
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _waiter(options: argparse.Namespace) -> Callable[[], object]:
    return torch.cuda.synchronize if options.device == "cuda" else lambda: None


def _counts(parameters: dict[str, int]) -> str:
    return ", ".join(f"{count:,} parameters as a {kind}" for kind, count in parameters.items())


def _show(task: str, result: dict[str, Any]) -> None:
    rounds = len(result["samples"][OURS])
    print(f"\n{task} ({rounds} rounds; ratio above 1: ours is {'smaller' if result['rates'] is None else 'faster'})")
    if "same_sentences" in result:
        print(f"  the same sentences as ours: {result['same_sentences']}")
    for name, samples in result["samples"].items():
        if result["rates"] is None:
            size = f"{sorted(samples)[len(samples) // 2] / 2**20:10.1f} MiB"
        else:
            size = f"{result['rates'][name]['median']:10,.0f} tokens/s"
        line = f"  {name:30} {size}"
        if name != OURS:
            ratio = result["ratios"][name]
            line += "   ×{median:5.2f}   quartiles {quartile_1:5.2f}–{quartile_3:5.2f}".format(**ratio)
        print(line, flush=True)


if __name__ == "__main__":
    main()
