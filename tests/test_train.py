"""Long training: the loss and the schedules by formula, checkpoints that survive, resuming, several processes."""

import errno
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from transformer_lib import StackConfig, Transformer
from transformer_lib.training import (
    History,
    Recipe,
    load_checkpoint,
    smoothed_cross_entropy,
    train,
    write_atomically,
)

RECIPE = Recipe(steps=6, peak_rate=3e-3, warmup=2, seed=5)


def batches(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources of 3 to 6 tokens, and the same tokens in the other order as targets; the number decides."""
    generator = torch.Generator().manual_seed(number)
    length = 3 + number % 4
    source = torch.randint(3, 20, (5, length), generator=generator)
    source[0, -1] = 0
    target = torch.cat([torch.full((5, 1), 1), source.flip(1), torch.full((5, 1), 2)], dim=1)
    target[target == 0] = 7
    target[1, -1] = 0  # padding at the end
    return source, target


def model(dropout: float = 0.1) -> Transformer:
    torch.manual_seed(3)
    # No biases: the gradient of a key's bias is zero but for rounding, and Adam would make steps of the rounding.
    config = StackConfig(d_model=16, n_heads=2, n_layers=2, d_ff=24, dropout=dropout, pre_norm=True, bias=False)
    return Transformer(20, config)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


# The loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_smoothed_loss_is_the_cross_entropy_with_the_smoothed_targets(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 9, dtype=torch.float64)
    targets = torch.randint(1, 9, (4, 5))
    targets[0, 2:] = 0
    q = torch.zeros(4, 5, 9, dtype=torch.float64)
    q[..., 1:] = smoothing / 8  # all but the padding can occur
    q.scatter_add_(-1, targets[..., None], torch.full((4, 5, 1), 1.0 - smoothing, dtype=torch.float64))
    expected = -(q * logits.log_softmax(-1)).sum(-1)[targets != 0].sum()
    found = smoothed_cross_entropy(logits, targets, smoothing=smoothing, pad_id=0)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)  # float64 as it is
    if smoothing:
        native = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), label_smoothing=smoothing, ignore_index=0, reduction="sum"
        )
        assert abs(native - expected) > 1e-3  # PyTorch's spreads over the padding too


def test_the_smoothed_loss_has_the_gradient_of_the_definition():
    torch.manual_seed(0)
    logits = torch.randn(6, 9, requires_grad=True)
    targets = torch.tensor([1, 2, 0, 8, 5, 0])
    (gradient,) = torch.autograd.grad(smoothed_cross_entropy(logits, targets, smoothing=0.2), logits)
    q = torch.full((6, 9), 0.2 / 8)
    q[:, 0] = 0
    q[torch.arange(6), targets] += 0.8
    expected = (logits.detach().softmax(-1) - q) * (targets != 0)[:, None]
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_a_loss_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="logits must have the targets' shape"):
        smoothed_cross_entropy(torch.randn(2, 3, 5), torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\); got 1.0"):
        smoothed_cross_entropy(torch.randn(2, 5), torch.ones(2, dtype=torch.long), smoothing=1.0)


@pytest.mark.parametrize("pad_id", [0, 3, None])
def test_the_smoothed_loss_has_right_gradients_in_float64(pad_id):
    torch.manual_seed(0)
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 3, -100, 0, 6])
    loss = partial(smoothed_cross_entropy, targets=targets, smoothing=0.2, pad_id=pad_id)
    assert torch.autograd.gradcheck(loss, (logits,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_smoothed_loss_of_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    targets = torch.arange(50) % 9
    found = smoothed_cross_entropy(logits, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, smoothed_cross_entropy(logits.double(), targets).float(), atol=1e-4, rtol=1e-6)


def test_without_padding_the_smoothed_loss_is_pytorchs_and_minus_100_never_counts():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([1, 0, -100, 8, 0, -100])
    native = F.cross_entropy(logits, targets, label_smoothing=0.3, reduction="sum")
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets, smoothing=0.3, pad_id=None), native)
    left = smoothed_cross_entropy(logits[targets >= 0], targets[targets >= 0], smoothing=0.3)
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets.int(), smoothing=0.3), left)


@pytest.mark.parametrize(
    ("targets", "choices", "message"),
    [
        ([1, 5], {}, "targets must be classes, 0 to 4, or -100 to be ignored; got 5"),
        ([1, -1], {}, "targets must be classes, 0 to 4, or -100 to be ignored; got -1"),
        ([1.0, 2.0], {}, "logits must be real and targets whole numbers; got torch.float32 and torch.float32"),
        ([True, True], {}, "targets whole numbers; got torch.float32 and torch.bool"),
        ([1, 2], {"pad_id": -1}, "pad_id must be a token, 0 to 4, or None; got -1"),
        ([1, 2], {"pad_id": 5}, "pad_id must be a token, 0 to 4, or None; got 5"),
        ([1, 2], {"smoothing": math.nan}, "smoothing must be finite; got nan"),
    ],
)
def test_targets_and_padding_outside_the_vocabulary_are_refused(targets, choices, message):
    with pytest.raises(ValueError, match=message):
        smoothed_cross_entropy(torch.randn(2, 5), torch.tensor(targets), **choices)
    with pytest.raises(ValueError, match="a token besides the padding; got 1 in all"):
        smoothed_cross_entropy(torch.randn(2, 1), torch.zeros(2).long())


# The recipe


def test_noam_is_the_papers_formula():
    d_model, warmup = 512, 40
    recipe = Recipe(steps=200, peak_rate=(d_model * warmup) ** -0.5, schedule="noam", warmup=warmup)
    for step in range(1, 201):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert recipe.rate(step - 1) == pytest.approx(paper)


def test_cosine_warms_up_and_would_reach_zero_one_update_after_the_last():
    recipe = Recipe(steps=109, peak_rate=2.0, warmup=10)
    assert [recipe.rate(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert recipe.rate(59) == pytest.approx(1.0)  # halfway down
    for n in range(10, 110):
        assert recipe.rate(n - 1) == pytest.approx(1.0 + math.cos(math.pi * (n - 10) / 100), abs=1e-12)
    rates = [recipe.rate(step) for step in range(9, 109)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["noam", "cosine", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (5, 1), (5, 5), (1, 0), (10**9, 0)])
def test_every_update_has_a_positive_rate(schedule, steps, warmup):
    if schedule == "noam" and not warmup:
        return
    recipe = Recipe(steps=steps, peak_rate=0.5, schedule=schedule, warmup=warmup)
    assert all(0.0 < recipe.rate(step) <= 0.5 for step in (0, steps // 2, steps - 1))
    for step in (-1, steps, 0.5):
        with pytest.raises(ValueError, match="step must be"):
            recipe.rate(step)


def test_constant_stays():
    recipe = Recipe(steps=9, peak_rate=0.5, schedule="constant", warmup=2)
    assert [recipe.rate(step) for step in range(4)] == [0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"warmup": -1}, "warmup must be at least 0; got -1"),
        ({"accumulate": 0}, "accumulate must be at least 1; got 0"),
        ({"peak_rate": 0.0}, "peak_rate must be positive; got 0.0"),
        ({"clip": 0.0}, "clip must be positive, or None; got 0.0"),
        ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\); got 1.0"),
        ({"schedule": "linear"}, "schedule must be one of noam, cosine, constant; got 'linear'"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16; got 'fp8'"),
        ({"schedule": "noam", "warmup": 0}, "'noam' needs a warm-up"),
        ({"steps": 2.5}, "steps must be a whole number; got 2.5"),
        ({"steps": True}, "steps must be a whole number; got True"),
        ({"warmup": 1.0}, "warmup must be a whole number; got 1.0"),
        ({"warmup": 7}, "warmup must be at most the 6 steps; got 7"),
        ({"accumulate": "2"}, "accumulate must be a whole number; got '2'"),
        ({"seed": None}, "seed must be a whole number; got None"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"peak_rate": math.nan}, "peak_rate must be finite; got nan"),
        ({"peak_rate": True}, "peak_rate must be a number; got True"),
        ({"clip": math.inf}, "clip must be finite; got inf"),
        ({"smoothing": math.nan}, "smoothing must be finite; got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0; got -1.0"),
        ({"weight_decay": math.nan}, "weight_decay must be finite; got nan"),
        ({"betas": (2, -1)}, r"each of betas must be in \[0, 1\); got \(2.0, -1.0\)"),
        ({"betas": (0.9, 1.0)}, r"each of betas must be in \[0, 1\); got \(0.9, 1.0\)"),
        ({"betas": (0.9, math.nan)}, "each of betas must be finite; got nan"),
        ({"betas": (0.9,)}, r"betas must be two numbers; got \(0.9,\)"),
        ({"betas": 0.9}, "betas must be two numbers; got 0.9"),
        ({"compile": 1}, "compile must be True or False; got 1"),
    ],
)
def test_wrong_recipes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)


def test_a_recipe_comes_back_from_its_record():
    numpys = replace(RECIPE, steps=np.int64(6), peak_rate=np.float32(0.5), betas=[np.float64(0.9), 0.98])
    for recipe in (RECIPE, numpys):
        assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


# The loop


def test_training_is_adamw_on_the_mean_over_tokens():
    trained, copy = model(dropout=0.0), model(dropout=0.0)
    recipe = replace(RECIPE, steps=3, clip=0.5, weight_decay=0.1, smoothing=0.0)
    history = train(trained, batches, recipe)
    matrices = [p for p in copy.parameters() if p.ndim > 1]
    vectors = [p for p in copy.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    for step in range(3):
        source, target = batches(step)
        loss = F.cross_entropy(copy(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)
        assert history.losses[step] == pytest.approx(loss.item(), abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in copy.parameters()]).norm()
        for p in copy.parameters():
            p.grad *= min(1.0, 0.5 / (norm + 1e-6))
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        optimizer.step()
    for one, other in zip(trained.parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert history.tokens == sum(int((batches(step)[1][:, 1:] != 0).sum()) for step in range(3))
    assert not trained.training


def test_accumulated_batches_are_one_batch():
    def halves(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        source, target = batches(number // 2)
        rows = slice(0, 2) if number % 2 == 0 else slice(2, 5)
        return source[rows], target[rows]

    whole, parts = model(dropout=0.0), model(dropout=0.0)
    one = train(whole, batches, replace(RECIPE, steps=4))
    two = train(parts, halves, replace(RECIPE, steps=4, accumulate=2))
    assert one.losses == pytest.approx(two.losses, abs=1e-5)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_a_resumed_run_ends_at_the_same_bits(tmp_path):
    straight, stopped = model(), model()
    evaluate = lambda model: {"noise": float(torch.rand(()))}  # noqa: E731 - uses chance, and must not disturb it
    whole = train(straight, batches, RECIPE, evaluate=evaluate, evaluate_every=2)

    def until_four(number: int):
        if number == 4:
            raise KeyboardInterrupt
        return batches(number)

    path = tmp_path / "run" / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(stopped, until_four, RECIPE, checkpoint=path, save_every=3, evaluate=evaluate, evaluate_every=2)
    fresh = model()
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()  # nothing of it may matter
    resumed = train(fresh, batches, RECIPE, checkpoint=path, save_every=3, evaluate=evaluate, evaluate_every=2)
    assert resumed.losses == whole.losses
    assert [list(found) for found in resumed.evaluations] == [list(found) for found in whole.evaluations]
    for one, other in zip(straight.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)


def test_evaluation_leaves_no_trace_in_training():
    plain, evaluated = model(), model()
    train(plain, batches, RECIPE)
    train(evaluated, batches, RECIPE, evaluate=lambda model: {"x": float(torch.rand(()))}, evaluate_every=1)
    for one, other in zip(plain.parameters(), evaluated.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_follows_the_full_one(precision):
    exact, rounded = model(dropout=0.0), model(dropout=0.0)
    one = train(exact, batches, replace(RECIPE, steps=12))
    two = train(rounded, batches, replace(RECIPE, steps=12, precision=precision))
    assert one.losses == pytest.approx(two.losses, abs=0.05)
    assert one.losses != two.losses
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    broken = model()
    nn.init.constant_(broken.embedding.weight, math.nan)
    with pytest.raises(FloatingPointError, match="the loss of step 0 is nan"):
        train(broken, batches, RECIPE, checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_of_padding_alone_is_named(accumulate):
    def padding(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        source, target = batches(number)
        return source, target if number < 2 else torch.zeros_like(target)

    trained, message = model(), "has nothing to learn from: its batch holds no target that counts"
    with pytest.raises(ValueError, match=f"step {2 // accumulate} {message}"):
        train(trained, padding, replace(RECIPE, accumulate=accumulate))


def test_sources_and_targets_must_be_as_many():
    with pytest.raises(ValueError, match="all tensors of a batch must have as many rows; step 0 has 5 and 4"):
        train(model(), lambda number: (batches(number)[0], batches(number)[1][:4]), RECIPE)


def test_targets_of_minus_100_count_no_more_than_padding():
    def ignoring(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        source, target = batches(number)
        target = target.clone()
        target[1, -1] = -100  # the padding at the end, which is a target only
        return source, target

    one, other = model(), model()
    first, second = train(one, batches, RECIPE), train(other, ignoring, RECIPE)
    assert (first.losses, first.tokens) == (second.losses, second.tokens)
    everything = train(model(), batches, RECIPE, pad_id=None)
    assert everything.tokens == sum(batches(step)[1][:, 1:].numel() for step in range(6))


@pytest.mark.parametrize("name", ["save_every", "evaluate_every"])
def test_intervals_below_one_are_refused_before_the_first_step(name, tmp_path):
    for value, message in ((0, "at least 1; got 0"), (2.5, "a whole number; got 2.5")):
        with pytest.raises(ValueError, match=f"{name} must be {message}"):
            train(model(), never, RECIPE, checkpoint=tmp_path / "c", evaluate=lambda model: {}, **{name: value})


# Checkpoints


def never(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    raise AssertionError("a step was begun")


class Tied(nn.Module):
    """A model whose way out is its way in, and which keeps a slice of it too: they share memory."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.way_in = nn.Embedding(20, 8)
        self.way_out = nn.Linear(8, 20, bias=False)
        self.way_out.weight = self.way_in.weight
        self.register_buffer("slice", self.way_in.weight.detach()[3:5])

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.way_out(F.dropout(self.way_in(target), 0.1, self.training))


def test_tied_weights_are_saved_and_come_back_tied(tmp_path):
    path, whole, stopped, fresh = tmp_path / "c.safetensors", Tied(), Tied(), Tied()
    wanted = train(whole, batches, RECIPE)

    def until_four(number: int):
        if number == 4:
            raise KeyboardInterrupt
        return batches(number)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, until_four, RECIPE, checkpoint=path, save_every=2)
    assert train(fresh, batches, RECIPE, checkpoint=path).losses == wanted.losses
    assert fresh.way_out.weight is fresh.way_in.weight
    assert torch.equal(fresh.way_in.weight, whole.way_in.weight)
    assert load_checkpoint(path, Tied()).step == 6


def test_weights_that_differ_are_not_loaded_into_one(tmp_path):
    path, untied = tmp_path / "c.safetensors", Tied()
    untied.way_out.weight = nn.Parameter(torch.randn(20, 8))
    train(untied, batches, RECIPE, checkpoint=path)
    tied = Tied()
    before = weights(tied)
    with pytest.raises(ValueError, match=r"it ties way_in\.weight and way_out\.weight, which differ there"):
        load_checkpoint(path, tied)
    assert torch.equal(tied.way_in.weight, before[0])


def test_what_makes_the_first_save_impossible_is_found_before_the_first_step(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("no folder")
    for path in (file / "c.safetensors", tmp_path, tmp_path / ("long" * 63)):
        with pytest.raises(OSError, match="no checkpoint can be written to "):
            train(model(), never, RECIPE, checkpoint=path)

    class Peculiar(Transformer):
        def get_extra_state(self) -> str:
            return "no tensor"

        def set_extra_state(self, state: object) -> None:
            """Nothing."""

    config = StackConfig(d_model=16, n_heads=2, n_layers=1, d_ff=24)
    with pytest.raises(TypeError, match=r"a checkpoint holds tensors only; model\._extra_state is a str"):
        train(Peculiar(20, config), never, RECIPE, checkpoint=tmp_path / "c.safetensors")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
    with pytest.raises(OSError, match=r"no checkpoint can be written to .*c\.safetensors: disk full"):
        train(model(), never, RECIPE, checkpoint=tmp_path / "c.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_rehearsal_needs_as_much_room_as_the_first_save(tmp_path, monkeypatch):
    sizes = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (sizes.append(os.fstat(file).st_size), fsync(file)))
    train(model(), batches, replace(RECIPE, steps=2), checkpoint=tmp_path / "c.safetensors")
    rehearsed, saved = sizes
    assert 0.8 * saved < rehearsed <= 1.1 * saved


def test_a_finished_run_needs_no_place_to_write(checkpoint, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("read-only")))
    assert train(model(), never, RECIPE, checkpoint=checkpoint).step == 6


def test_evaluations_may_be_any_real_numbers(tmp_path):
    path = tmp_path / "c.safetensors"
    evaluate = lambda model: {"tensor": torch.tensor(0.5), "numpy": np.float32(0.25)}  # noqa: E731
    history = train(model(), batches, RECIPE, checkpoint=path, evaluate=evaluate)
    assert history.evaluations == [{"step": 6.0, "tensor": 0.5, "numpy": 0.25}]
    assert load_checkpoint(path, model()).evaluations == history.evaluations


def test_checkpoints_of_the_first_format_still_load(checkpoint, tmp_path):
    with safe_open(checkpoint, framework="pt") as file:
        record = file.metadata()["record"]
    old = tmp_path / "old.safetensors"
    tensors = load_file(checkpoint) | {"random.cpu": torch.get_rng_state()}
    save_file(tensors, old, {"record": record, "format": "transformer_lib.training.1"})
    one, other = model(), model()
    assert train(one, never, RECIPE, checkpoint=old) == train(other, never, RECIPE, checkpoint=checkpoint)
    assert all(torch.equal(mine, yours) for mine, yours in zip(weights(one), weights(other), strict=True))


def test_moments_of_another_optimizer_are_refused_and_change_nothing(checkpoint):
    untouched = model()
    before = weights(untouched)
    reversed_parameters = torch.optim.AdamW(list(untouched.parameters())[::-1])
    with pytest.raises(ValueError, match="does not hold this optimizer's moments"):
        load_checkpoint(checkpoint, untouched, reversed_parameters)
    assert all(torch.equal(one, other) for one, other in zip(before, weights(untouched), strict=True))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "training.safetensors"
    train(model(), batches, RECIPE, checkpoint=path)
    return path


def test_a_checkpoint_gives_back_what_was_saved(checkpoint):
    trained, read = model(), model()
    history = train(trained, batches, RECIPE)
    found = load_checkpoint(checkpoint, read)
    assert isinstance(found, History)
    assert found.losses == history.losses
    for one, other in zip(trained.parameters(), read.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped header"])
def test_damaged_checkpoints_are_refused_and_change_nothing(checkpoint, damage):
    content = checkpoint.read_bytes()
    damaged = {
        "cut": content[:-100],
        "empty": b"",
        "text": b"not a checkpoint",
        "flipped header": b"\xff" + content[1:],
    }
    checkpoint.write_bytes(damaged[damage])
    untouched = model()
    before = weights(untouched)
    with pytest.raises(ValueError, match="is damaged, or no checkpoint"):
        load_checkpoint(checkpoint, untouched)
    assert all(torch.equal(one, other) for one, other in zip(before, weights(untouched), strict=True))


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"is no checkpoint of transformer_lib\.training"):
        load_checkpoint(path, model())
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "missing.safetensors", model())
    with pytest.raises(ValueError, match="is a folder, and no checkpoint"):
        load_checkpoint(tmp_path, model())


def test_another_model_or_recipe_is_refused(checkpoint):
    wider = Transformer(20, StackConfig(d_model=32, n_heads=2, n_layers=2, d_ff=24, pre_norm=True))
    with pytest.raises(ValueError, match=r"does not hold this model's weights: .*expected \(.*32.*\), found \(.*16"):
        load_checkpoint(checkpoint, wider)
    with pytest.raises(ValueError, match=r"another recipe: peak_rate 0\.003 there and 0\.1 here"):
        train(model(), batches, replace(RECIPE, peak_rate=0.1), checkpoint=checkpoint)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("disk full")], ids=["full", "interrupted"])
def test_writing_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch, error):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(error))
    with pytest.raises(type(error), match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_killed_run_leaves_a_loadable_checkpoint_and_goes_on(tmp_path):
    path = tmp_path / "training.safetensors"
    program = (
        "from tests.test_train import *\n"
        f"train(model(), batches, replace(RECIPE, steps=100_000), checkpoint={str(path)!r}, save_every=1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    read = model()
    history = load_checkpoint(path, read)
    assert history.step >= 1
    steps = history.step + 2
    again = train(read, batches, replace(RECIPE, steps=steps))
    assert again.step == steps


# Several processes


def _masks(trained: nn.Module) -> list[torch.Tensor]:
    """What the first dropout lets through, at each of its calls."""
    seen: list[torch.Tensor] = []
    trained.encoder.dropout.register_forward_hook(lambda _, inputs, output: seen.append(output != 0))
    return seen


def _worker(rank: int, world: int, folder: str) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        found = {}
        for accumulate in (1, 2):
            trained = model(dropout=0.0)
            recipe = replace(RECIPE, steps=5, accumulate=accumulate)
            history = train(trained, batches, recipe, checkpoint=f"{folder}/{accumulate}.safetensors")
            found[accumulate] = history.losses, weights(trained)

        straight, stopped, resumed = model(), model(), model()
        masks = _masks(straight), _masks(stopped), _masks(resumed)
        losses = train(straight, batches, RECIPE).losses
        path = f"{folder}/stopped.safetensors"
        with pytest.raises(KeyboardInterrupt):
            train(stopped, _until_three, RECIPE, checkpoint=path, save_every=3)
        dist.barrier()
        if rank == 0:
            shutil.copy(path, f"{folder}/three.safetensors")
        found["resumed"] = losses, train(resumed, batches, RECIPE, checkpoint=path).losses
        found["weights"], found["masks"] = (weights(straight), weights(resumed)), masks

        missing = Path(folder) / ("stopped.safetensors" if rank == 0 else "nowhere")
        with pytest.raises(ValueError, match=r"every process must find the same checkpoint .* at steps \[6, 0\]"):
            train(model(), never, RECIPE, checkpoint=missing)
        with pytest.raises(OSError if rank == 0 else RuntimeError, match="no checkpoint can be written"):
            train(model(), never, RECIPE, checkpoint=folder)
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def _until_three(number: int):
    if number == 3:
        raise KeyboardInterrupt
    return batches(number)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, list[dict]]:
    """What two processes did, each one's findings; and their folder."""
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(_worker, (2, str(folder)), nprocs=2)
    return folder, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_train_as_one(two, accumulate):
    folder, found = two
    alone = model(dropout=0.0)
    history = train(alone, batches, replace(RECIPE, steps=5, accumulate=accumulate))
    for rank in range(2):
        losses, theirs = found[rank][accumulate]
        assert losses == pytest.approx(history.losses, abs=1e-5)
        for one, other in zip(weights(alone), theirs, strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert load_checkpoint(folder / f"{accumulate}.safetensors", alone).step == 5


def test_two_processes_that_resume_end_at_the_same_bits_and_share_no_dropout(two):
    _, found = two
    for rank in range(2):
        straight, resumed = found[rank]["resumed"]
        assert straight == resumed
        assert all(torch.equal(one, other) for one, other in zip(*found[rank]["weights"], strict=True))
        straight, stopped, resumed = found[rank]["masks"]
        assert len(straight) == 6
        assert all(torch.equal(one, other) for one, other in zip(straight, stopped + resumed, strict=True))
    for mine, theirs in zip(found[0]["masks"][2], found[1]["masks"][2], strict=True):
        rows = min(len(mine), len(theirs))
        assert not torch.equal(mine[:rows], theirs[:rows])


def test_another_number_of_processes_draws_what_it_would_have_drawn_from_the_start(two):
    folder, _ = two
    alone, resumed = model(), model()
    straight, later = _masks(alone), _masks(resumed)
    train(alone, batches, RECIPE)
    history = train(resumed, batches, RECIPE, checkpoint=folder / "three.safetensors")
    assert (history.step, len(later)) == (6, 3)
    assert all(torch.equal(one, other) for one, other in zip(straight[3:], later, strict=True))


def test_no_two_steps_share_their_dropout():
    trained = model()
    masks = _masks(trained)
    train(trained, lambda number: batches(0), RECIPE)
    train(trained, lambda number: batches(0), replace(RECIPE, seed=6))
    assert len(masks) == 12
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(masks, 2))
