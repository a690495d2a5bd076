"""Long training: the loss and the schedules by formula, checkpoints that survive, resuming, several processes."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
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
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-6)
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


# The recipe


def test_noam_is_the_papers_formula():
    d_model, warmup = 512, 40
    recipe = Recipe(steps=200, peak_rate=(d_model * warmup) ** -0.5, schedule="noam", warmup=warmup)
    for step in range(1, 201):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert recipe.rate(step - 1) == pytest.approx(paper)


def test_cosine_warms_up_and_ends_at_zero():
    recipe = Recipe(steps=110, peak_rate=2.0, warmup=10)
    assert [recipe.rate(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert recipe.rate(59) == pytest.approx(1.0)  # halfway down
    assert recipe.rate(109) == pytest.approx(0.0)
    rates = [recipe.rate(step) for step in range(9, 110)]
    assert rates == sorted(rates, reverse=True)


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
    ],
)
def test_wrong_recipes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)


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


# Checkpoints


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


def test_another_model_or_recipe_is_refused(checkpoint):
    wider = Transformer(20, StackConfig(d_model=32, n_heads=2, n_layers=2, d_ff=24, pre_norm=True))
    with pytest.raises(ValueError, match=r"does not hold this model's weights: .*expected \(.*32.*\), found \(.*16"):
        load_checkpoint(checkpoint, wider)
    with pytest.raises(ValueError, match=r"another recipe: peak_rate 0\.003 there and 0\.1 here"):
        train(model(), batches, replace(RECIPE, peak_rate=0.1), checkpoint=checkpoint)


def test_writing_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
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
    assert set(load_file(path)) > {"random.cpu"}


# Several processes


def _worker(rank: int, world: int, folder: str, accumulate: int) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        trained = model(dropout=0.0)
        recipe = replace(RECIPE, steps=5, accumulate=accumulate)
        history = train(trained, batches, recipe, checkpoint=f"{folder}/shared.safetensors")
        torch.save((history.losses, weights(trained)), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_train_as_one(tmp_path, accumulate):
    torch.multiprocessing.spawn(_worker, (2, str(tmp_path), accumulate), nprocs=2)
    alone = model(dropout=0.0)
    history = train(alone, batches, replace(RECIPE, steps=5, accumulate=accumulate))
    for rank in range(2):
        losses, found = torch.load(tmp_path / f"{rank}.pt")
        assert losses == pytest.approx(history.losses, abs=1e-5)
        for one, other in zip(weights(alone), found, strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert load_checkpoint(tmp_path / "shared.safetensors", alone).step == 5
