"""The benchmark: equal work for all peers, turns that alternate, ratios that are right, and results that are whole."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.__main__ import GROUPED, RESULTS, _options, grouped_task, measured, merged
from benchmarks.decoding import decoders
from benchmarks.grouped import FULL, REPEATED, steps
from benchmarks.measure import alternate, rates, ratios
from benchmarks.peers import LAYERS, MODELS, OURS, PAD, SIZES, batch_of, expected_difference, parameters_of
from benchmarks.tasks import TASKS, Setting, peers_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),  # PyTorch's fast path for inference
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # on importing x-transformers
]
SMALL = SIZES["quick"]["model"]


# ---- The peers do equal work.


@pytest.mark.parametrize("preset", ["quick", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_models_have_as_many_parameters_as_ours_but_for_what_is_said(name: str, preset: str) -> None:
    sizes = SIZES[preset]["model"]
    ours, theirs = (parameters_of(MODELS[each].build(sizes)) for each in (OURS, name))
    assert theirs - ours == expected_difference(name, sizes)
    assert abs(theirs - ours) < 0.01 * ours


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_as_many_parameters_as_ours(name: str) -> None:
    sizes = SIZES["cpu"]["layer"]
    assert parameters_of(LAYERS[name].build(sizes)) == parameters_of(LAYERS[OURS].build(sizes))


@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_a_causal_translator_that_ignores_padding(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name].build(SMALL).double().eval()
    batch = batch_of(SMALL, torch.device("cpu"))
    source, target = batch.source, batch.target
    with torch.no_grad():
        logits = model(source, target)
        assert logits.shape == (*target.shape, SMALL.vocab)
        changed = target.clone()
        changed[:, 5:] = 7
        torch.testing.assert_close(model(source, changed)[:, :5], logits[:, :5])
        longer = torch.cat([source, torch.full((len(source), 3), PAD)], dim=1)
        torch.testing.assert_close(model(longer, target), logits)
        other = source.clone()
        other[:, 0] = 7
        assert (model(other, target) - logits).abs().amax(dim=(1, 2)).min() > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_each_model_drops_out_as_ours_does(name: str) -> None:
    """Training twice differs, evaluation does not; and every dropout has the same probability or none."""
    model = MODELS[name].build(SMALL)
    batch = batch_of(SMALL, torch.device("cpu"))
    given = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    for module in model.modules():  # Marian's are numbers, by these names
        given |= {getattr(module, key) for key in ("dropout", "activation_dropout") if key in vars(module)}
    assert {p for p in given if isinstance(p, float)} - {0.0} == {SMALL.dropout}
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            same = torch.equal(model(batch.source, batch.target), model(batch.source, batch.target))
        assert same != training


def test_tokens_are_counted_without_padding() -> None:
    batch = batch_of(SMALL, torch.device("cpu"))
    assert batch.tokens == int((batch.source != PAD).sum() + (batch.labels != -100).sum())
    assert batch.tokens < batch.source.numel() + batch.labels.numel()
    counted = batch.labels[:, :-1] != -100
    assert torch.equal(batch.target[:, 1:][counted], batch.labels[:, :-1][counted])  # what was predicted is read next


# ---- Measuring.


class FakeClock:
    """A clock that moves only when a task works."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


def test_turns_alternate_and_every_task_is_timed_once_a_round() -> None:
    clock = FakeClock()
    tasks = {name: clock.task(name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    samples = alternate(tasks, 6, warmup=2, clock=clock)
    assert samples == {"a": [1.0] * 6, "b": [2.0] * 6, "c": [4.0] * 6}
    assert "".join(clock.calls) == "aabbcc" + "abc" + "cba" + "bca" + "acb" + "cab" + "bac"
    timed = clock.calls[6:]
    for name in tasks:  # in six rounds each task was each of first, second and third twice
        assert sorted(timed.index(name, 3 * i, 3 * i + 3) - 3 * i for i in range(6)) == [0, 0, 1, 1, 2, 2]


def test_the_device_is_waited_for_before_and_after_each_task() -> None:
    clock, log = FakeClock(), []
    alternate({"a": lambda: log.append("run")}, 2, warmup=0, clock=clock, wait=lambda: log.append("wait"))
    assert log == ["wait", "run", "wait"] * 2


def test_ratios_are_taken_round_by_round() -> None:
    # The machine is ten times slower in the last two rounds, which changes no ratio.
    samples = {"ours": [1.0, 2.0, 10.0, 20.0, 1.0], "theirs": [2.0, 3.0, 20.0, 60.0, 0.5]}
    expected = {"median": 2.0, "quartile_1": 1.5, "quartile_3": 2.0, "min": 0.5, "max": 3.0}
    assert ratios(samples, "ours") == {"theirs": expected}
    assert set(ratios({"ours": [2], "theirs": [3]}, "ours")["theirs"].values()) == {1.5}
    with pytest.raises(ValueError, match="longer"):
        ratios({"ours": [1.0, 2.0], "theirs": [1.0]}, "ours")


def test_rates_are_work_per_second() -> None:
    assert rates({"a": [1.0, 2.0, 4.0]}, 100) == {"a": {"median": 50.0, "min": 25.0, "max": 100.0}}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak exactly")
def test_peak_memory_counts_what_is_held_and_freed_again() -> None:
    # A process of its own, as the benchmark takes: the tests' own peak may be higher.
    code = "import torch; from benchmarks.measure import peak_bytes;" + (
        "print(peak_bytes(lambda: lambda: torch.ones(25 * 2**20), torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 99 < int(done.stdout) / 2**20 < 120


# ---- What is stored.


def check(report: dict[str, Any]) -> None:
    """Every part is there, and the ratios follow from the samples."""
    assert {type(report[key]) for key in ("date", "device", "cpu", "precision")} == {str}
    assert report["threads"] >= 1
    assert set(report["versions"]) == {"python", "torch", "transformers", "x-transformers"}
    assert set(report["peers"]) == {*MODELS, *LAYERS}
    for name, peer in report["peers"].items():
        assert peer["differs"], name
        assert all(count > 0 for count in peer["parameters"].values())
    assert report["tasks"]
    for task, result in report["tasks"].items():
        samples = result["samples"]
        assert len({len(each) for each in samples.values()}) == 1, task
        assert set(result["ratios"]) == set(samples) - {OURS}
        assert result["sizes"]["d_model"] > 0
        assert (result["unit"], result["work"] is None) in (("bytes", True), ("seconds", False))
        for name, ratio in result["ratios"].items():
            each = [one / other for one, other in zip(samples[name], samples[OURS], strict=True)]
            assert ratio["median"] == pytest.approx(statistics.median(each))
            assert ratio["min"] <= ratio["quartile_1"] <= ratio["median"] <= ratio["quartile_3"] <= ratio["max"]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_stored_results_are_whole(path: Path) -> None:
    report = json.loads(path.read_text())
    check(report)
    decoding = {f"decoding, batch {batch}, {how}" for batch in (1, 32) for how in ("greedy", "beam 4")}
    memory = {"model training, memory", "layer training, memory"}
    grouped = {grouped_task(heads) for heads in GROUPED}
    assert set(report["tasks"]) == {*TASKS, *memory, *decoding, *grouped}
    for task in grouped:
        assert set(report["tasks"][task]["ratios"]) == set(report["tasks"][task]["differs"]) == {FULL, REPEATED}
    for task in TASKS:
        assert set(report["tasks"][task]["samples"]) == set(peers_of(task))


def test_a_small_run_gives_a_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    options = _options(["--quick", "--rounds", "2", "--only", "layer forward", "--device", "cpu"])
    assert not options.store
    report = measured(options)
    check(report)
    assert json.loads(json.dumps(report)) == report
    shown = capsys.readouterr().out
    assert "layer forward (2 rounds; ratio above 1: ours is faster)" in shown
    assert all(name in shown for name in LAYERS)


def test_a_task_can_be_put_into_what_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((RESULTS / "cpu.json").read_text())
    before = json.dumps(stored)
    report = measured(_options(["--quick", "--rounds", "2", "--only", "1 key head", "--device", "cpu"]))
    after = merged(stored, report | {"cpu": "another", "date": "2030-01-01"})
    assert json.dumps(stored) == before
    task = after["tasks"].pop(grouped_task(1))
    assert task["ran"]["cpu"] == "another"
    assert task["samples"] == report["tasks"][grouped_task(1)]["samples"]
    stored["tasks"].pop(grouped_task(1), None)
    assert after == stored  # all else as it was
    for wrong in (["--merge"], ["--merge", "--only", "key", "--quick"]):
        with pytest.raises(SystemExit):
            _options(wrong)
    assert "--merge needs --only" in capsys.readouterr().err


@pytest.mark.parametrize("task", TASKS)
def test_every_peer_runs_every_task(task: str) -> None:
    setting = Setting(SIZES["quick"][task.split()[0]], torch.device("cpu"), compiled=False)
    for name in peers_of(task):
        TASKS[task](name, setting)()


@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_grouped_heads_and_repeated_keys_do_the_same_work(n_kv_heads: int) -> None:
    setting = Setting(SIZES["quick"]["cache"], torch.device("cpu"), compiled=False)
    runs = steps(setting, n_kv_heads)
    torch.testing.assert_close(runs[OURS](), runs[REPEATED]())
    torch.testing.assert_close(runs[OURS](), runs[OURS]())  # the cache is as long as before
    assert runs[FULL]().shape == runs[OURS]().shape


def test_grouped_heads_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    report = measured(_options(["--quick", "--rounds", "2", "--only", "grouped", "--device", "cpu"]))
    check(report)
    assert set(report["tasks"]) == {grouped_task(heads) for heads in GROUPED}
    assert "grouped heads, 1 key head (2 rounds" in capsys.readouterr().out


@pytest.mark.parametrize("beams", [1, 4])
def test_decoders_write_the_same_sentences(beams: int) -> None:
    setting = Setting(replace(SMALL, batch=3), torch.device("cpu"), compiled=False)
    runs, same = decoders(setting, beams)
    assert set(runs) == {OURS, "Marian, eager", "Marian, SDPA"}
    assert set(same.values()) == {1.0}
