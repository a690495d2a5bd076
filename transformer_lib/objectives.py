"""What training lowers: the loss of a batch, and the number of targets that it is the sum over.

One signature serves every family, ``objective(model, batch) -> (loss, count)``: sequence to sequence, causal, masked,
and classes. Sums and counts can be added up over batches and processes; a mean of means would weigh short batches too
much.

Sources: Szegedy et al. (2016), section 7, and Vaswani et al. (2017), section 5.4 (label smoothing); Devlin et al.
(2019), section 3.1 (masked tokens).
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.checks import check_real
from transformer_lib.precision import widened

IGNORED = -100
"""A target that does not count, as in PyTorch."""

# What an objective takes: tensors that all have as many rows. The last one holds the targets.
Batch = tuple[Tensor, ...]


@runtime_checkable
class Objective(Protocol):
    """What :func:`transformer_lib.training.train` lowers: one of this module's functions, or one of your own.

    With a padding of its own it is bound by ``functools.partial(causal, pad_id=7)``.
    """

    def __call__(self, model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> tuple[Float[Tensor, ""], int]:
        """Compute the loss of a batch.

        Args:
            model: to compute on; inputs are moved to its device.
            batch: on the CPU, where checking the targets waits for no accelerator.
            smoothing: of the labels: that of the recipe in training, none in evaluation.

        Returns:
            The summed loss, in nats, on the model's device; and the number of targets that count.
        """
        ...


def sequence_to_sequence(
    model: nn.Module, batch: Batch, *, smoothing: float = 0.0, pad_id: int | None = 0
) -> tuple[Float[Tensor, ""], int]:
    """Continue each target, given its source and what came before.

    Args:
        model: maps source ``(batch, key)`` and target ``(batch, query)`` to logits ``(batch, query, vocab)``.
        batch: source ``(batch, key)`` and target ``(batch, query + 1)``, from ``<bos>`` to ``<eos>``.
        smoothing: of the labels, in [0, 1).
        pad_id: the padding, which is no target; ``None`` where no token is padding.

    Returns:
        The summed loss, in nats, and the number of targets that count.

    Raises:
        ValueError: another number of tensors, or what :func:`smoothed_cross_entropy` refuses.
    """
    source, target = _of(batch, "source", "target")
    return _cross_entropy(model, (source, target[:, :-1]), target[:, 1:], smoothing, pad_id)


def causal(
    model: nn.Module, batch: Batch, *, smoothing: float = 0.0, pad_id: int | None = 0
) -> tuple[Float[Tensor, ""], int]:
    """Continue each text, given what came before.

    Args:
        model: maps tokens ``(batch, query)`` to logits ``(batch, query, vocab)``, each place seeing only those before.
        batch: tokens ``(batch, query + 1)``, padded at their end.
        smoothing: of the labels, in [0, 1).
        pad_id: the padding, which is no target; ``None`` where no token is padding.

    Returns:
        The summed loss, in nats, and the number of targets that count.

    Raises:
        ValueError: another number of tensors, or what :func:`smoothed_cross_entropy` refuses.
    """
    [tokens] = _of(batch, "tokens")
    return _cross_entropy(model, (tokens[:, :-1],), tokens[:, 1:], smoothing, pad_id)


def masked(
    model: nn.Module, batch: Batch, *, smoothing: float = 0.0, pad_id: int | None = None
) -> tuple[Float[Tensor, ""], int]:
    """Fill gaps in each text, given what stands on both sides.

    Args:
        model: maps the batch's inputs to logits ``(batch, seq, vocab)``.
        batch: the inputs, first of all the tokens ``(batch, seq)`` with their gaps; and last the labels
            ``(batch, seq)``: what was in the gap, and -100 wherever there is none.
        smoothing: of the labels, in [0, 1).
        pad_id: the padding, which is no label; ``None`` where labels leave it out by -100.

    Returns:
        The summed loss, in nats, and the number of gaps.

    Raises:
        ValueError: fewer than two tensors, or what :func:`smoothed_cross_entropy` refuses.
    """
    *inputs, labels = _of(batch, "tokens", "labels", more=True)
    return _cross_entropy(model, inputs, labels, smoothing, pad_id)


def classes(model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> tuple[Float[Tensor, ""], int]:
    """Name the class of each row, or of each place.

    Args:
        model: maps the batch's inputs to logits ``(*batch, classes)``.
        batch: the inputs, and last the labels ``(*batch,)``; -100 does not count.
        smoothing: of the labels, in [0, 1).

    Returns:
        The summed loss, in nats, and the number of labels that count.

    Raises:
        ValueError: fewer than two tensors, or what :func:`smoothed_cross_entropy` refuses.
    """
    *inputs, labels = _of(batch, "inputs", "labels", more=True)
    return _cross_entropy(model, inputs, labels, smoothing, None)


def _of(batch: Batch, *names: str, more: bool = False) -> Batch:
    """The batch, if it holds what the names say; or more inputs besides."""
    if len(batch) < len(names) or (len(batch) > len(names) and not more):
        raise ValueError(f"a batch must hold {' and '.join(names)}; got {len(batch)} tensors")
    return batch


def _cross_entropy(
    model: nn.Module, inputs: Iterable[Tensor], targets: Tensor, smoothing: float, pad_id: int | None
) -> tuple[Tensor, int]:
    device = next(model.parameters()).device
    logits = model(*(_moved(tensor, device) for tensor in inputs))
    counts = counted(logits, targets, pad_id)
    return _summed(logits, targets, counts, smoothing, pad_id), int(counts.sum())


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device, non_blocking=device.type != "cpu")  # what comes to the CPU has to be waited for


@torch.no_grad()
def mean_loss(model: nn.Module, batches: Iterable[Batch], objective: Objective) -> float:
    """The mean loss over all targets of some batches, without smoothing, in the mode in which the model is.

    Args:
        model: to measure.
        batches: that training has not seen.
        objective: what to measure.

    Raises:
        ValueError: no target counts, or what the objective refuses.
    """
    total, n_targets = 0.0, 0
    for batch in batches:
        loss, count = objective(model, batch)
        total += float(loss)
        n_targets += count
    if not n_targets:
        raise ValueError("no target of the batches counts")
    return total / n_targets


def counted(logits: Tensor, targets: Tensor, pad_id: int | None) -> Tensor:
    """Which targets count, after a check that each of them is a class of the logits.

    Args:
        logits: ``(*batch, classes)``.
        targets: ``(*batch,)``; the check is made on their device, and waits for no other.
        pad_id: a class that does not count, beside -100; ``None`` for none.

    Returns:
        ``(*batch,)``, ``True`` = counts.

    Raises:
        ValueError: shapes or types that do not fit, or a target that is no class.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits must have the targets' shape and one axis for the classes; got {tuple(logits.shape)} "
            f"for targets {tuple(targets.shape)}"
        )
    if not logits.is_floating_point() or targets.is_floating_point() or targets.dtype == torch.bool:
        raise ValueError(f"logits must be real and targets whole numbers; got {logits.dtype} and {targets.dtype}")
    counts = targets != IGNORED if pad_id is None else (targets != IGNORED) & (targets != pad_id)
    wrong = targets[counts & ((targets < 0) | (targets >= logits.size(-1)))]
    if len(wrong):
        raise ValueError(
            f"targets must be classes, 0 to {logits.size(-1) - 1}, or {IGNORED} to be ignored; got {int(wrong[0])}"
        )
    return counts


def smoothed_cross_entropy(
    logits: Float[Tensor, "*batch vocab"],
    targets: Int[Tensor, "*batch"],
    *,
    smoothing: float = 0.1,
    pad_id: int | None = 0,
) -> Float[Tensor, ""]:
    """The summed cross-entropy against targets that keep some doubt.

    A share ``smoothing`` of each target's probability is spread evenly over the tokens that can occur: over the whole
    vocabulary except the padding. (PyTorch's ``label_smoothing`` spreads it over the padding too.)

    Args:
        logits: ``(*batch, vocab)``; float16 and bfloat16 are computed in float32, wider types as they are.
        targets: ``(*batch,)``; where they are ``pad_id``, or -100 as in PyTorch, nothing is counted. On the CPU they
            are checked without waiting for the logits.
        smoothing: in [0, 1).
        pad_id: the padding; ``None`` where no token is padding. Where padding and end of sentence are one token, as in
            GPT-2, hand ``None``, and -100 for the targets that are padding: else no end would be learned.

    Returns:
        The sum over all targets that count, in nats; divide by their number for the mean.

    Raises:
        ValueError: shapes or types that do not fit, a target or padding outside the vocabulary, a vocabulary of padding
            alone, or a smoothing outside its bounds.
    """
    return _summed(logits, targets, counted(logits, targets, pad_id), smoothing, pad_id)


def _summed(logits: Tensor, targets: Tensor, counts: Tensor, smoothing: float, pad_id: int | None) -> Tensor:
    """The smoothed cross-entropy of the targets that count, after a check of what is not theirs."""
    check_real("smoothing", smoothing)
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be in [0, 1); got {smoothing}")
    n_tokens = logits.size(-1) - (pad_id is not None)  # those that can occur
    if pad_id is not None and not 0 <= pad_id < logits.size(-1):
        raise ValueError(f"pad_id must be a token, 0 to {logits.size(-1) - 1}, or None; got {pad_id}")
    if n_tokens < 1:
        raise ValueError(f"the vocabulary must hold a token besides the padding; got {logits.size(-1)} in all")
    log_probabilities = widened(logits).flatten(0, -2).log_softmax(-1)  # (n, vocab)
    counts = _moved(counts, logits.device).flatten()
    targets = _moved(targets, logits.device).flatten().long().masked_fill(~counts, 0)
    losses = F.nll_loss(log_probabilities, targets, reduction="none")
    if smoothing:
        others = log_probabilities.sum(-1)
        if pad_id is not None:
            others = others - log_probabilities[:, pad_id]
        losses = (1.0 - smoothing) * losses - smoothing * (others / n_tokens)
    return losses.masked_fill(~counts, 0.0).sum()
