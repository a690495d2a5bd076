"""Training: the loop that the book's experiments share, and the one that trains a translator for hours.

Sources: Vaswani et al. (2017), sections 5.3 and 5.4; Szegedy et al. (2016), section 7 (label smoothing); Loshchilov and
Hutter (2017) (cosine); Pascanu et al. (2013) (clipping).
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

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


def smoothed_cross_entropy(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"], *, smoothing: float = 0.1, pad_id: int = 0
) -> Float[Tensor, ""]:
    """The summed cross-entropy against targets that keep some doubt.

    A share ``smoothing`` of each target's probability is spread evenly over the tokens that can occur: over the whole
    vocabulary except the padding. (PyTorch's ``label_smoothing`` spreads it over the padding too.)

    Args:
        logits: ``(*batch, vocab)``.
        targets: ``(*batch,)``; where they are ``pad_id``, nothing is counted.
        smoothing: in [0, 1).
        pad_id: the padding.

    Returns:
        The sum over all targets that count, in nats; divide by their number for the mean.

    Raises:
        ValueError: shapes that do not fit, or a smoothing outside its bounds.
    """
    _check_logits(logits, targets)
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be in [0, 1); got {smoothing}")
    log_probabilities = logits.flatten(0, -2).float().log_softmax(-1)  # (n, vocab)
    targets = targets.flatten()
    losses = F.nll_loss(log_probabilities, targets, reduction="none")
    if smoothing:
        others = (log_probabilities.sum(-1) - log_probabilities[:, pad_id]) / (logits.size(-1) - 1)
        losses = (1.0 - smoothing) * losses - smoothing * others
    return losses.masked_fill(targets == pad_id, 0.0).sum()


Schedule = Literal["noam", "cosine", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: everything that is chosen before, and that a checkpoint's record repeats.

    Args:
        steps: updates of the weights.
        peak_rate: the learning rate at its highest.
        schedule: after a linear warm-up to the peak, ``"noam"`` falls as one over the square root of the step (Vaswani
            et al., 2017, equation 3, which sets the peak to ``(d_model * warmup) ** -0.5``), ``"cosine"`` falls along a
            half cosine to zero at the last step, and ``"constant"`` stays.
        warmup: steps until the peak; 0 for none.
        smoothing: of the labels.
        clip: the most that the gradient's norm may be; ``None`` for no bound.
        accumulate: batches added up for one update.
        weight_decay: of AdamW, on matrices only.
        betas: of AdamW.
        precision: ``"fp32"``, or mixed precision with ``"bf16"`` or ``"fp16"``.
        compile: whether to compile the model with ``torch.compile``.
        seed: of the dropout.

    Raises:
        ValueError: a number or name outside its bounds; the message names it.
    """

    steps: int
    peak_rate: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: int = 0
    smoothing: float = 0.1
    clip: float | None = 1.0
    accumulate: int = 1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    precision: Precision = "fp32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        for name, least in (("steps", 1), ("warmup", 0), ("accumulate", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if self.peak_rate <= 0.0:
            raise ValueError(f"peak_rate must be positive; got {self.peak_rate}")
        if self.clip is not None and self.clip <= 0.0:
            raise ValueError(f"clip must be positive, or None; got {self.clip}")
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1); got {self.smoothing}")
        if self.schedule == "noam" and not self.warmup:
            raise ValueError("the schedule 'noam' needs a warm-up; got warmup 0")
        for name, names in (("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(names):
                raise ValueError(f"{name} must be one of {', '.join(get_args(names))}; got {getattr(self, name)!r}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        done = step + 1
        if done <= self.warmup:
            return self.peak_rate * done / self.warmup
        if self.schedule == "noam":
            return self.peak_rate * math.sqrt(self.warmup / done)
        if self.schedule == "cosine":
            left = max(1, self.steps - self.warmup)
            return self.peak_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (done - self.warmup) / left)))
        return self.peak_rate


@dataclass
class History:
    """What training has seen.

    Args:
        losses: of each step, in nats a token, smoothed labels included.
        evaluations: of some steps: what ``evaluate`` returned, with ``"step"``.
        seconds: spent, over all runs.
        tokens: target tokens seen.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


Batches = Callable[[int], tuple[Tensor, Tensor]]
"""Gives batch number n: source ``(batch, key)`` and target ``(batch, query)``, from ``<bos>`` to ``<eos>``."""


def train(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    pad_id: int = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 500,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    evaluate_every: int = 500,
    progress: bool = False,
) -> History:
    """Train an encoder–decoder model to continue each target, given its source and what came before.

    With a ``checkpoint`` that exists, training goes on from it, and on one CPU ends at the very bits it would have
    reached without the pause. Where ``torch.distributed`` is initialized, each process takes its share of each batch,
    and the weights go the way they would go in one process.

    Args:
        model: maps source and target tokens to logits, on the device to train on.
        batches: gives each batch by its number, the same in every process and every run.
        recipe: how.
        pad_id: the padding.
        checkpoint: a file to write every ``save_every`` steps and at the end, and to go on from.
        save_every: steps between checkpoints.
        evaluate: called with the model, in evaluation mode, every ``evaluate_every`` steps and at the end.
        evaluate_every: steps between evaluations.
        progress: whether to show a bar.

    Returns:
        The losses and the evaluations, from the first step on, earlier runs included.

    Raises:
        ValueError: the checkpoint is damaged, or belongs to another model or recipe.
        FloatingPointError: the loss is not a number.
    """
    device = next(model.parameters()).device
    rank, world = (dist.get_rank(), dist.get_world_size()) if _distributed() else (0, 1)
    optimizer = _optimizer(model, recipe, device)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    history = History()
    torch.manual_seed(recipe.seed + rank)
    if checkpoint is not None and Path(checkpoint).exists():
        history = load_checkpoint(checkpoint, model, optimizer, recipe, scaler)
    runner = _compiled(model) if recipe.compile else model
    if world > 1:
        runner = DistributedDataParallel(runner, device_ids=[device.index] if device.type == "cuda" else None)

    begin, before = time.perf_counter(), history.seconds
    bar = tqdm(total=recipe.steps, initial=history.step, disable=not progress or rank > 0, unit="step", smoothing=0.05)
    model.train()
    while history.step < recipe.steps:
        step = history.step
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        loss, n_tokens = _accumulate(runner, batches, step, recipe, scaler, pad_id, device, rank, world)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of step {step} is {loss}; a lower peak_rate or more warm-up may help")
        scaler.unscale_(optimizer)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        history.losses.append(loss)
        history.tokens += n_tokens
        bar.update()
        last = history.step == recipe.steps
        if evaluate is not None and (last or history.step % evaluate_every == 0):
            model.eval()
            # Every process evaluates, or none could wait for the others; the state of chance is as before.
            with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                history.evaluations.append({"step": float(history.step), **evaluate(model)})
            model.train()
            bar.set_postfix({name: f"{value:.3f}" for name, value in history.evaluations[-1].items() if name != "step"})
        history.seconds = before + time.perf_counter() - begin
        if checkpoint is not None and rank == 0 and (last or history.step % save_every == 0):
            save_checkpoint(checkpoint, model, optimizer, recipe, scaler, history)
    bar.close()
    model.eval()
    return history


def _compiled(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, dynamic=True)  # type: ignore[assignment]  # sentences differ in length
    return compiled


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=recipe.betas, eps=1e-9, fused=device.type == "cuda")


def _accumulate(
    runner: nn.Module,
    batches: Batches,
    step: int,
    recipe: Recipe,
    scaler: torch.amp.GradScaler,
    pad_id: int,
    device: torch.device,
    rank: int,
    world: int,
) -> tuple[float, int]:
    """Add up the gradients of one step; return its loss a token, and its tokens, over all processes."""
    micro = [batches(step * recipe.accumulate + index) for index in range(recipe.accumulate)]
    # The mean is over all tokens of the step, wherever they are computed: not a mean of means.
    n_tokens = sum(int((target[:, 1:] != pad_id).sum()) for _, target in micro)
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision]
    total = torch.zeros((), device=device)
    for index, (source, target) in enumerate(micro):
        rows = torch.arange(rank, len(source), world)
        # A process without a row computes one that does not count, or the others would wait for its gradients.
        share = 1.0 if len(rows) else 0.0
        rows = rows if len(rows) else torch.zeros(1, dtype=torch.long)
        source, target = source[rows].to(device), target[rows].to(device)
        wait = isinstance(runner, DistributedDataParallel) and index < len(micro) - 1
        with runner.no_sync() if wait else contextlib.nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                logits = runner(source, target[:, :-1])
            loss = (
                share
                * smoothed_cross_entropy(logits, target[:, 1:], smoothing=recipe.smoothing, pad_id=pad_id)
                / n_tokens
            )
            # The processes' gradients are averaged, but the loss is a sum over them.
            scaler.scale(loss * world).backward()
        total += loss.detach()
    if world > 1:
        dist.all_reduce(total)
    return float(total), n_tokens


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    scaler: torch.amp.GradScaler,
    history: History,
) -> None:
    """Write all that training needs to go on into one file, at once: a reader finds the old file or the new one.

    Args:
        path: of the file, in the format of ``safetensors``.
        model: its weights.
        optimizer: its moments.
        recipe: repeated in the file, so that another cannot go on from it by mistake.
        scaler: of ``"fp16"``.
        history: its steps and losses.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    device = next(model.parameters()).device
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    record = {"recipe": asdict(recipe), "history": asdict(history), "scaler": scaler.state_dict()}
    metadata = {"record": json.dumps(record), "format": "transformer_lib.training.1"}
    write_atomically(path, serialize({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, metadata))


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    recipe: Recipe | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> History:
    """Read what :func:`save_checkpoint` wrote; what is not given is not restored.

    Args:
        path: of the file.
        model: takes the weights.
        optimizer: takes the moments, and with them the random numbers go on.
        recipe: must be the file's.
        scaler: of ``"fp16"``.

    Returns:
        The history up to the checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no checkpoint, or is of another model or recipe. Nothing is changed then.
    """
    tensors, record = _read_checkpoint(Path(path))
    if recipe is not None and record["recipe"] != json.loads(json.dumps(asdict(recipe))):
        ours = json.loads(json.dumps(asdict(recipe)))
        names = ", ".join(
            f"{name} {record['recipe'].get(name)!r} there and {value!r} here"
            for name, value in ours.items()
            if record["recipe"].get(name) != value
        )
        raise ValueError(f"{path} was trained by another recipe: {names}")
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    check_weights(path, weights, model)
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            states.setdefault(int(number), {})[key] = tensor
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random.cpu"])
        device = next(model.parameters()).device
        if device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
    if scaler is not None and record["scaler"]:
        scaler.load_state_dict(record["scaler"])
    return History(**record["history"])


def check_weights(path: str | Path, weights: dict[str, Tensor], model: nn.Module) -> None:
    """Check that weights from a file are those of a model, name by name and shape by shape.

    Args:
        path: of the file, for the message.
        weights: from the file.
        model: to take them.

    Raises:
        ValueError: a weight is missing, unknown, or of another shape; the message names the first ones.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
             for name in sorted(expected.keys() | found.keys())
             if expected.get(name) != found.get(name)]  # fmt: skip
    if wrong:
        raise ValueError(f"{path} does not hold this model's weights: {'; '.join(wrong[:3])} ({len(wrong)} in all)")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file that is complete or not there: first beside it, then renamed over it.

    Args:
        path: of the file; its folder is made where it is missing.
        content: all of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: {error}") from error
    if metadata.get("format") != "transformer_lib.training.1":
        raise ValueError(f"{path} is no checkpoint of transformer_lib.training")
    return tensors, json.loads(metadata["record"])
