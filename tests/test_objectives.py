"""The objectives: each loss against PyTorch in float64, and toy families that the one loop trains and resumes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from transformer_lib import Decoder, Encoder, StackConfig, Transformer
from transformer_lib.objectives import (
    Batch,
    Objective,
    causal,
    classes,
    masked,
    mean_loss,
    sequence_to_sequence,
    smoothed_cross_entropy,
)
from transformer_lib.training import Recipe, train

VOCAB, PAD, GAP = 12, 7, 11  # a padding that is not 0
CONFIG = StackConfig(d_model=16, n_heads=2, n_layers=1, d_ff=24, dropout=0.1, pre_norm=True, bias=False)
RECIPE = Recipe(steps=6, peak_rate=3e-3, warmup=2, seed=5, smoothing=0.0)


class Toy(nn.Module):
    """Tokens in, logits out: a family in a dozen lines, causal or seeing both sides; or one answer for each text."""

    def __init__(self, stack: nn.Module, n_out: int = VOCAB, *, pooled: bool = False) -> None:
        super().__init__()
        self.embedding, self.stack, self.pooled = nn.Embedding(VOCAB, CONFIG.d_model), stack, pooled
        self.out = nn.Linear(CONFIG.d_model, n_out, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.stack(self.embedding(tokens))
        logits: Tensor = self.out(x.mean(1) if self.pooled else x)
        return logits


def tokens_of(number: int) -> Tensor:
    """Texts that count up from a random start, so that there is something to learn."""
    start = torch.randint(0, 6, (5, 1), generator=torch.Generator().manual_seed(number))
    return (start + torch.arange(4 + number % 3)) % 6


def texts(number: int) -> Batch:
    tokens = tokens_of(number)
    tokens[1, -1] = PAD
    return (tokens,)


def pairs(number: int) -> Batch:
    [tokens] = texts(number)
    return tokens.flip(1), tokens


def gaps(number: int) -> Batch:
    tokens = tokens_of(number)
    gap = torch.zeros_like(tokens, dtype=torch.bool)
    gap[torch.arange(5), torch.arange(5) % tokens.size(1)] = True
    return tokens.masked_fill(gap, GAP), tokens.masked_fill(~gap, -100)


def labelled(number: int) -> Batch:
    tokens = tokens_of(number)
    return tokens, (tokens[:, 0] > 2).long()


def families(dropout: float = 0.1) -> dict[str, tuple[nn.Module, Callable[[int], Batch], Objective]]:
    torch.manual_seed(3)
    config = replace(CONFIG, dropout=dropout)
    return {
        "sequence to sequence": (
            Transformer(VOCAB, config, pad_id=PAD),
            pairs,
            partial(sequence_to_sequence, pad_id=PAD),
        ),
        "causal": (Toy(Decoder(config, cross_attention=False)), texts, partial(causal, pad_id=PAD)),
        "masked": (Toy(Encoder(config)), gaps, masked),
        "classes": (Toy(Encoder(config), 2, pooled=True), labelled, classes),
    }


FAMILIES = list(families())


def by_hand(name: str, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The logits, and the targets with -100 where none counts, written out."""
    if name == "sequence to sequence":
        return model(batch[0], batch[1][:, :-1]), torch.where(batch[1] == PAD, -100, batch[1])[:, 1:]
    if name == "causal":
        return model(batch[0][:, :-1]), torch.where(batch[0] == PAD, -100, batch[0])[:, 1:]
    return model(batch[0]), batch[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_loss_is_pytorchs_cross_entropy_in_float64(name: str) -> None:
    model, batches, objective = families()[name]
    model.double().eval()
    logits, targets = by_hand(name, model, batches(2))
    loss, count = objective(model, batches(2))
    wanted = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-100, reduction="sum")
    torch.testing.assert_close(loss, wanted, atol=1e-12, rtol=1e-12)
    assert count == int((targets != -100).sum()) > 0
    assert (count < targets.numel()) == (name != "classes")
    smooth, same = objective(model, batches(2), smoothing=0.3)
    pad_id = PAD if name in ("sequence to sequence", "causal") else None
    torch.testing.assert_close(smooth, smoothed_cross_entropy(logits, targets, smoothing=0.3, pad_id=pad_id))
    assert same == count
    both = [objective(model, batches(number)) for number in (0, 1)]
    mean = sum(loss.item() for loss, _ in both) / sum(count for _, count in both)
    assert mean_loss(model, [batches(0), batches(1)], objective) == pytest.approx(mean)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_one_loop_trains_every_family(name: str) -> None:
    model, batches, objective = families()[name]
    history = train(model, lambda n: batches(n % 3), replace(RECIPE, steps=120, peak_rate=2e-2), objective=objective)
    assert sum(history.losses[-20:]) / 20 < 0.5 * sum(history.losses[:5]) / 5
    assert history.tokens == sum(int((by_hand(name, model, batches(n % 3))[1] != -100).sum()) for n in range(120))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_follows_the_mean_over_targets_of_all_its_batches(name: str) -> None:
    (model, batches, objective), (copy, *_) = (families(dropout=0.0)[name] for _ in range(2))
    seen: list[list[Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()])

    hook = register_optimizer_step_pre_hook(note)
    try:
        recipe = replace(RECIPE, steps=1, warmup=0, clip=None, accumulate=3)
        history = train(model, batches, recipe, objective=objective)
    finally:
        hook.remove()
    found = [by_hand(name, copy, batches(number)) for number in range(3)]
    logits = torch.cat([logits.flatten(0, -2) for logits, _ in found])
    targets = torch.cat([targets.flatten() for _, targets in found])
    loss = F.cross_entropy(logits, targets, ignore_index=-100)
    assert history.losses == pytest.approx([loss.item()], abs=1e-5)
    wanted = torch.autograd.grad(loss, list(copy.parameters()))
    [gradients] = seen
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_resumed_run_ends_at_the_same_bits(name: str, tmp_path: Path) -> None:
    (straight, batches, objective), (stopped, *_), (fresh, *_) = (families()[name] for _ in range(3))
    recipe = replace(RECIPE, smoothing=0.1)
    whole = train(straight, batches, recipe, objective=objective)
    again, *_ = families()[name]
    assert train(again, batches, recipe, objective=objective).losses == whole.losses

    def until_four(number: int) -> Batch:
        if number == 4:
            raise KeyboardInterrupt
        return batches(number)

    path = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(stopped, until_four, recipe, objective=objective, checkpoint=path, save_every=3)
    resumed = train(fresh, batches, recipe, objective=objective, checkpoint=path)
    assert resumed.losses == whole.losses
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), fresh.parameters(), strict=True))


def test_what_a_failed_step_left_does_not_enter_the_next() -> None:
    (one, batches, objective), (other, *_) = (families()["causal"] for _ in range(2))

    def fails(number: int) -> Batch:
        return batches(number) if number == 0 else (torch.tensor([[3, 4, VOCAB]]),)

    with pytest.raises(ValueError, match="targets must be classes"):  # in the second batch of the first step
        train(one, fails, replace(RECIPE, accumulate=2), objective=objective)
    assert (
        train(one, batches, RECIPE, objective=objective).losses
        == train(other, batches, RECIPE, objective=objective).losses
    )


class Unread(nn.Module):
    """Logits whose numbers cannot be read: whoever waits for the device fails."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Embedding(VOCAB, VOCAB, device="meta")

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.logits(tokens)
        return logits


def test_targets_are_checked_without_waiting_for_the_device() -> None:
    for smoothing in (0.0, 0.1):
        loss, count = causal(Unread(), texts(0), smoothing=smoothing, pad_id=PAD)
        assert (loss.device.type, count) == ("meta", 14)
    with pytest.raises(ValueError, match=f"targets must be classes, 0 to {VOCAB - 1}, or -100 to be ignored; got 12"):
        causal(Unread(), (torch.full((2, 3), VOCAB),), pad_id=PAD)


def test_a_batch_that_does_not_fit_the_objective_is_named() -> None:
    one, three = (torch.ones(2, 3).long(),), (torch.ones(2, 3).long(),) * 3
    for objective, batch, message in (
        (sequence_to_sequence, one, "source and target; got 1 tensors"),
        (sequence_to_sequence, three, "source and target; got 3 tensors"),
        (causal, three, "tokens; got 3 tensors"),
        (masked, one, "tokens and labels; got 1 tensors"),
        (classes, one, "inputs and labels; got 1 tensors"),
    ):
        with pytest.raises(ValueError, match=f"a batch must hold {message}"):
            objective(Unread(), batch)
    with pytest.raises(ValueError, match="no target of the batches counts"):
        mean_loss(Unread(), [], causal)
