"""How to measure: alternating turns, ratios of paired samples, and peaks of memory."""

import contextlib
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Samples = dict[str, list[float]]


def alternate(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[], object] = lambda: None,
) -> Samples:
    """Time each task once a round, in an order that changes, so that a slow moment of the machine strikes all alike.

    Every second round runs backwards, and each pair of rounds begins one task later than the pair before.

    Args:
        tasks: what to run, by name.
        rounds: samples of each.
        warmup: untimed runs of each before.
        clock: gives the time in seconds.
        wait: returns when the device has done all it was told.

    Returns:
        Seconds, by name, one a round.
    """
    names = list(tasks)
    samples: Samples = {name: [] for name in names}
    for name in names:
        for _ in range(warmup):
            tasks[name]()
    gc.collect()
    gc.freeze()  # what lives now need not be looked at again and again
    try:
        for number in range(rounds):
            first = number // 2 % len(names)
            order = names[first:] + names[:first]
            for name in order if number % 2 == 0 else reversed(order):
                gc.collect()
                wait()
                start = clock()
                tasks[name]()
                wait()
                samples[name].append(clock() - start)
    finally:
        gc.unfreeze()
    return samples


def ratios(samples: Samples, ours: str) -> dict[str, dict[str, float]]:
    """How many times each peer's cost is ours, round by round: above 1 we are better.

    Args:
        samples: costs (seconds or bytes), by name; those of one round stand at the same place.
        ours: the name of ours.

    Returns:
        For each peer the median of its rounds' ratios, the quartiles, and the extremes.
    """
    found = {}
    for name, theirs in samples.items():
        if name != ours:
            each = sorted(one / other for one, other in zip(theirs, samples[ours], strict=True))
            low, _, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
            found[name] = {
                "median": statistics.median(each),
                "quartile_1": low,
                "quartile_3": high,
                "min": each[0],
                "max": each[-1],
            }
    return found


def peak_bytes(prepare: Callable[[], Callable[[], object]], device: torch.device) -> int:
    """The most memory that building a model and running it adds; to be called once, in a process of its own.

    Args:
        prepare: builds the model, and returns what to run.
        device: on CUDA, what PyTorch's allocator held; on the CPU, the process's resident memory.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run = prepare()
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    _wake_up()
    gc.collect()
    before = _resident()
    _forget_peak()
    run = prepare()
    run()
    return _peak() - before


def _wake_up() -> None:
    """Start PyTorch's threads and kernels, whose own memory is no model's."""
    x = torch.randn(64, 64, requires_grad=True)
    layer = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(x).softmax(-1).sum().backward()
    optimizer.step()
    if sys.platform == "linux":  # give back what imports have freed, so that no model can hide in it
        ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in path.read_text().splitlines() if line.startswith(key))


def _resident() -> int:
    now = _status("VmRSS:")
    return _peak() if now is None else now


def _forget_peak() -> None:
    """Let Linux count the peak anew, so that what was held and freed before is not in it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    peak = _status("VmHWM:")
    if peak is not None:
        return peak
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def rates(samples: Samples, work: float) -> dict[str, dict[str, Any]]:
    """Median and spread of ``work`` per second."""
    result = {}
    for name, seconds in samples.items():
        each = sorted(work / second for second in seconds)
        result[name] = {"median": statistics.median(each), "min": each[0], "max": each[-1]}
    return result
