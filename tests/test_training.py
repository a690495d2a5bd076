"""The training loop and the accuracy, against loops written out here; and the choice of a device."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_lib import best_device
from transformer_lib.training import accuracy, fit


def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which of four numbers is the largest, at each of three places."""
    x = torch.randn(8, 3, 4, generator=generator)
    return x, x.argmax(-1)


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))


class Watched(nn.Module):
    """Notes in which mode it was called, and whether gradients were on."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.logits, self.calls = logits, []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.logits(x) + self.weight


def test_fit_is_adam_on_the_mean_negative_log_likelihood() -> None:
    trained, copy = model(), model()
    losses = fit(trained, sample, steps=5, lr=0.01, seed=7)

    generator, wanted = torch.Generator().manual_seed(7), []
    first = [torch.zeros_like(p) for p in copy.parameters()]
    second = [torch.zeros_like(p) for p in copy.parameters()]
    for step in range(1, 6):
        x, targets = sample(generator)
        picked = copy(x).log_softmax(-1).gather(-1, targets[..., None])
        loss = -picked.mean()
        wanted.append(float(loss.detach()))
        with torch.no_grad():  # Kingma and Ba (2015), algorithm 1
            for p, g, m, v in zip(
                copy.parameters(), torch.autograd.grad(loss, list(copy.parameters())), first, second, strict=True
            ):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                p -= 0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    assert losses == pytest.approx(wanted, abs=1e-5)
    for one, other in zip(trained.parameters(), copy.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_fit_learns() -> None:
    trained = model()
    before = accuracy(trained, sample)
    losses = fit(trained, sample, steps=300, lr=0.02)
    assert len(losses) == 300
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert accuracy(trained, sample) > max(0.8, before + 0.2)


def test_the_seed_decides_the_batches() -> None:
    first, again, other = (fit(model(), sample, steps=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_fit_does_not_touch_the_callers_random_numbers() -> None:
    trained = model()
    torch.manual_seed(5)
    wanted = torch.randn(3)
    torch.manual_seed(5)
    fit(trained, sample, steps=3)
    accuracy(trained, sample)
    assert torch.equal(torch.randn(3), wanted)


def test_fit_trains_in_training_mode_and_leaves_evaluation() -> None:
    watched = Watched(lambda x: x).eval()
    fit(watched, sample, steps=2)
    assert watched.calls == [(True, True)] * 2
    assert not watched.training


def test_several_inputs_are_passed_on() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            logits: Tensor = self.linear(one + 2 * other)
            return logits

    def two(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        one, other = torch.randn(2, 8, 4, generator=generator)
        return one, other, (one + 2 * other).argmax(-1)

    torch.manual_seed(0)
    summed = Sum()
    fit(summed, two, steps=200, lr=0.05)
    assert accuracy(summed, two) > 0.7


def ignoring(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x, targets = sample(generator)
    targets[:, 1:] = -100
    return x, targets


def test_targets_of_minus_100_do_not_count() -> None:
    def first_place(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, targets = sample(generator)
        return x[:, :1], targets[:, :1]

    assert fit(model(), ignoring, steps=4) == pytest.approx(fit(model(), first_place, steps=4), abs=1e-6)
    # The right logits at the first place, wrong ones at the others.
    half_right = Watched(lambda x: torch.where(torch.arange(3)[:, None] == 0, x, -x))
    assert accuracy(half_right, ignoring) == 1.0
    assert accuracy(half_right, sample) == pytest.approx(1 / 3)


@pytest.mark.parametrize("training", [True, False])
def test_accuracy_computes_in_evaluation_and_restores_the_mode(training: bool) -> None:
    watched = Watched(lambda x: x).train(training)
    assert accuracy(watched, sample) == 1.0
    assert watched.calls == [(False, False)]
    assert watched.training is training
    assert watched.weight.grad is None


def test_accuracy_is_the_share_of_right_answers_on_the_batch_of_its_seed() -> None:
    untrained = model()
    for seed in (1_000, 3):
        x, targets = sample(torch.Generator().manual_seed(seed))
        right = sum(int(untrained(x)[b, place].argmax() == targets[b, place]) for b in range(8) for place in range(3))
        assert accuracy(untrained, sample, seed=seed) == pytest.approx(right / 24)
    assert accuracy(untrained, sample) == accuracy(untrained, sample, seed=1_000)


@pytest.mark.parametrize("steps", [0, -1])
def test_too_few_steps_are_named(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps must be at least 1; got {steps}"):
        fit(model(), sample, steps=steps)


def test_logits_that_do_not_fit_the_targets_are_named() -> None:
    def transposed(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, targets = sample(generator)
        return x, targets.T  # as many, in another order: the loss would be computed without complaint

    message = r"logits must have the targets' shape .* got \(8, 3, 4\) for targets \(3, 8\)"
    with pytest.raises(ValueError, match=message):
        fit(model(), transposed, steps=1)
    with pytest.raises(ValueError, match=message):
        accuracy(model(), transposed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 2.0}, "steps must be a whole number; got 2.0"),
        ({"steps": True}, "steps must be a whole number; got True"),
        ({"lr": math.nan}, "lr must be finite; got nan"),
        ({"lr": math.inf}, "lr must be finite; got inf"),
        ({"lr": 0.0}, "lr must be positive; got 0.0"),
        ({"lr": "fast"}, "lr must be a number; got 'fast'"),
    ],
)
def test_a_loop_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(model(), sample, **({"steps": 2} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets: torch.full_like(targets, -100), "no target counts: all of the batch's are -100"),
        (lambda targets: targets + 1, "targets must be classes, 0 to 3, or -100 to be ignored; got 4"),
        (lambda targets: targets - 1, "targets must be classes, 0 to 3, or -100 to be ignored; got -1"),
        (lambda targets: targets.double(), "targets whole numbers; got torch.float32 and torch.float64"),
    ],
)
def test_targets_that_cannot_be_learned_are_named_and_the_weights_stay(
    change: Callable[[Tensor], Tensor], message: str
) -> None:
    def spoiled(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, targets = sample(generator)
        return x, change(targets)

    untrained = model()
    before = [parameter.detach().clone() for parameter in untrained.parameters()]
    with pytest.raises(ValueError, match=message):
        fit(untrained, spoiled, steps=1)
    with pytest.raises(ValueError, match=message):
        accuracy(untrained, spoiled)
    assert all(torch.equal(one, other) for one, other in zip(untrained.parameters(), before, strict=True))


def test_the_loss_is_computed_in_float32_at_least() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        logits = x.to(dtype)
        watched = Watched(lambda _, logits=logits: logits).to(dtype)
        [loss] = fit(watched, lambda _: (x, torch.ones(64, dtype=torch.int32)), steps=1)
        wanted = -logits.double().log_softmax(-1)[:, 1].mean()
        assert loss == pytest.approx(float(wanted), rel=1e-12 if dtype == torch.float64 else 1e-6)


# ---- The device.


def test_the_best_device_is_one_that_works() -> None:
    device = best_device()
    assert torch.ones(2, device=device).sum().item() == 2.0
    assert (device.type == "cpu") == (not torch.accelerator.is_available())


@pytest.mark.parametrize(
    ("available", "accelerator", "wanted"),
    [(True, torch.device("cuda", 1), "cuda:1"), (True, None, "cpu"), (False, torch.device("cuda"), "cpu")],
)
def test_the_best_device_is_the_accelerator_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, available: bool, accelerator: torch.device | None, wanted: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: accelerator)
    assert best_device() == torch.device(wanted)
