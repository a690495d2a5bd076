"""Training small models: the loop that the book's experiments share."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sampler = Callable[[torch.Generator], tuple[Tensor, ...]]
"""Draws a batch: the model's inputs, and last the targets. All its randomness comes from the generator."""


def fit(model: nn.Module, sample: Sampler, *, steps: int, lr: float = 3e-3, seed: int = 0) -> list[float]:
    """Train ``model`` on fresh batches, by Adam on the cross-entropy of its logits.

    Args:
        model: maps the batch's inputs to logits ``(..., classes)``.
        sample: draws a batch ``(*inputs, targets)``, the targets ``(...)`` being class numbers; -100 is ignored.
        steps: number of batches.
        lr: Adam's step size.
        seed: of the batches. The model's first weights are the caller's, from ``torch.manual_seed``.

    Returns:
        The loss at each step, in nats.

    Raises:
        ValueError: ``steps`` below 1, or logits that do not fit the targets.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    losses = []
    for _ in range(steps):
        *inputs, targets = sample(generator)
        logits = model(*inputs)
        _check_logits(logits, targets)
        loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def accuracy(model: nn.Module, sample: Sampler, *, seed: int = 1_000) -> float:
    """The fraction of targets that ``model`` ranks first, on a batch that training has not seen.

    Args:
        model: maps the batch's inputs to logits ``(..., classes)``.
        sample: as in :func:`fit`.
        seed: of the batch; one that training did not use.

    Returns:
        A fraction between 0 and 1; targets of -100 do not count.

    Raises:
        ValueError: logits that do not fit the targets.
    """
    *inputs, targets = sample(torch.Generator().manual_seed(seed))
    training = model.training
    model.eval()
    try:
        logits = model(*inputs)
    finally:
        model.train(training)
    _check_logits(logits, targets)
    counted = targets != -100
    return float((logits.argmax(-1) == targets)[counted].float().mean())


def _check_logits(logits: Tensor, targets: Tensor) -> None:
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits must have the targets' shape and one axis for the classes; got {tuple(logits.shape)} "
            f"for targets {tuple(targets.shape)}"
        )
