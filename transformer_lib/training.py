"""Training: the loop that the book's experiments share, and the one that trains a translator for hours.

Sources: Vaswani et al. (2017), section 5.3; Loshchilov and Hutter (2017) (cosine); Pascanu et al. (2013) (clipping).
"""

import contextlib
import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from transformer_lib.checks import check_real, check_whole
from transformer_lib.objectives import IGNORED, Batch, Objective, counted, sequence_to_sequence
from transformer_lib.objectives import smoothed_cross_entropy as smoothed_cross_entropy  # readers find it here too
from transformer_lib.precision import widened

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
        ValueError: ``steps`` below 1, an ``lr`` that is not positive and finite, logits that do not fit the targets,
            targets that are no classes, or a batch of which no target counts.
    """
    check_whole("steps", steps, 1)
    check_real("lr", lr)
    if lr <= 0.0:
        raise ValueError(f"lr must be positive; got {lr}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    losses = []
    for _ in range(steps):
        *inputs, targets = sample(generator)
        logits = model(*inputs)
        _some_counted(logits, targets)
        loss = F.cross_entropy(widened(logits).flatten(0, -2), targets.flatten().long(), ignore_index=IGNORED)
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
        ValueError: logits that do not fit the targets, targets that are no classes, or none that counts.
    """
    *inputs, targets = sample(torch.Generator().manual_seed(seed))
    training = model.training
    model.eval()
    try:
        logits = model(*inputs)
    finally:
        model.train(training)
    counts = _some_counted(logits, targets)
    return float((logits.argmax(-1) == targets)[counts].float().mean())


def _some_counted(logits: Tensor, targets: Tensor) -> Tensor:
    """Which targets count, ``(*batch,)``: at least one."""
    counts = counted(logits, targets, None)
    if not counts.any():
        raise ValueError(f"no target counts: all of the batch's are {IGNORED}, or it has none")
    return counts


Schedule = Literal["noam", "cosine", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: everything that is chosen before, and that a checkpoint's record repeats.

    Update n of N (n = 1, …, N) with a warm-up of w updates has the rate

    - ``peak_rate * n / w`` in the warm-up, that is for n up to w; then
    - ``"noam"``: ``peak_rate * sqrt(w / n)`` (Vaswani et al., 2017, equation 3, which sets the peak to
      ``(d_model * w) ** -0.5``);
    - ``"cosine"``: ``peak_rate / 2 * (1 + cos(pi * (n - w) / (N - w + 1)))``, half a cosine that would reach zero one
      update after the last, so that no update is without effect;
    - ``"constant"``: ``peak_rate``.

    So with a warm-up the first update has ``peak_rate / w``; the last always has a rate above zero.

    Args:
        steps: updates of the weights.
        peak_rate: the learning rate at its highest.
        schedule: how the rate falls after the warm-up.
        warmup: updates until the peak, at most ``steps``; 0 for none.
        smoothing: of the labels.
        clip: the most that the gradient's norm may be; ``None`` for no bound.
        accumulate: batches added up for one update.
        weight_decay: of AdamW, on matrices only.
        betas: of AdamW, each in [0, 1).
        precision: ``"fp32"``, or mixed precision with ``"bf16"`` or ``"fp16"``.
        compile: whether to compile the model with ``torch.compile``.
        seed: of the dropout, at least 0.

    Raises:
        ValueError: a field of another type or outside its bounds; the message names it.
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
        # What is right is stored in Python's own types, as the record of a checkpoint gives it back.
        for name, least in (("steps", 1), ("warmup", 0), ("accumulate", 1), ("seed", 0)):
            object.__setattr__(self, name, check_whole(name, getattr(self, name), least))
        for name in ("peak_rate", "smoothing", "weight_decay", "clip"):
            if name != "clip" or self.clip is not None:
                object.__setattr__(self, name, check_real(name, getattr(self, name)))
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers; got {self.betas!r}")
        object.__setattr__(self, "betas", tuple(check_real("each of betas", beta) for beta in self.betas))
        if self.warmup > self.steps:
            raise ValueError(f"warmup must be at most the {self.steps} steps; got {self.warmup}")
        if self.peak_rate <= 0.0:
            raise ValueError(f"peak_rate must be positive; got {self.peak_rate}")
        if self.clip is not None and self.clip <= 0.0:
            raise ValueError(f"clip must be positive, or None; got {self.clip}")
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be in [0, 1); got {self.smoothing}")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay must be at least 0; got {self.weight_decay}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"each of betas must be in [0, 1); got {self.betas}")
        if not isinstance(self.compile, bool):
            raise ValueError(f"compile must be True or False; got {self.compile!r}")
        for name, names in (("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(names):
                raise ValueError(f"{name} must be one of {', '.join(get_args(names))}; got {getattr(self, name)!r}")
        if self.schedule == "noam" and not self.warmup:
            raise ValueError("the schedule 'noam' needs a warm-up; got warmup 0")

    def rate(self, step: int) -> float:
        """The learning rate of an update.

        Args:
            step: counted from 0, so that it is update ``n = step + 1``.

        Raises:
            ValueError: ``step`` is none of the recipe's.
        """
        check_whole("step", step, 0)
        if step >= self.steps:
            raise ValueError(f"step must be below the {self.steps} steps; got {step}")
        done = step + 1
        if done <= self.warmup:
            return self.peak_rate * done / self.warmup
        match self.schedule:
            case "noam":
                return self.peak_rate * math.sqrt(self.warmup / done)
            case "cosine":
                left = (self.steps + 1 - done) / (self.steps + 1 - self.warmup)  # of the way down, from 1 to 0
                return self.peak_rate * math.sin(0.5 * math.pi * left) ** 2  # (1 + cos) / 2, exact near zero too
            case "constant":
                return self.peak_rate
            case _:
                assert_never(self.schedule)


@dataclass
class History:
    """What training has seen.

    Args:
        losses: of each step, in nats a target, smoothed labels included.
        evaluations: of some steps: what ``evaluate`` returned, with ``"step"``.
        seconds: spent, over all runs.
        tokens: targets seen.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)


@dataclass
class TrainingState:
    """All that training changes, and needs to go on: what a checkpoint holds.

    Args:
        model: its weights; those that are tied are written under each of their names.
        optimizer: its moments.
        recipe: repeated in the file, so that another cannot go on from it by mistake.
        scaler: of ``"fp16"``.
        history: its steps and losses.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    scaler: torch.amp.GradScaler
    history: History = field(default_factory=History)


Batches = Callable[[int], Batch]
"""Gives batch number n, on the CPU: what the objective takes, such as source ``(batch, key)`` and target."""


def train(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    objective: Objective | None = None,
    pad_id: int | None = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 500,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    evaluate_every: int = 500,
    progress: bool = False,
) -> History:
    """Train a model by an objective: an encoder–decoder to continue each target, unless another is given.

    With a ``checkpoint`` that exists, training goes on from it, and on a CPU ends at the very bits that it would have
    reached without the pause. Where ``torch.distributed`` is initialized, each process takes its share of each batch,
    and the weights go the way they would go in one process, but for the dropout. The dropout of a step depends on the
    recipe's seed, the process's rank and the step alone. So no two processes share it, a resumed run repeats that of a
    run without a pause, and a checkpoint may be continued by any number of processes: from then on each draws what it
    would have drawn, had there been as many from the start.

    All that would make the first checkpoint impossible (a folder that cannot be written to, a full disk, a model whose
    state is no tensors) is found before the first step, by writing one beside the file and removing it.

    Args:
        model: what the objective computes on, on the device to train on.
        batches: gives each batch by its number, on the CPU, the same in every process and every run.
        recipe: how.
        objective: what to lower, of :mod:`transformer_lib.objectives`; it gets the recipe's smoothing.
            :func:`~transformer_lib.objectives.sequence_to_sequence` with ``pad_id`` unless given.
        pad_id: the padding where no objective is given, which is not counted; ``None`` where no token is padding.
            Targets of -100 never count.
        checkpoint: a file to write every ``save_every`` steps and at the end, and to go on from.
        save_every: steps between checkpoints.
        evaluate: called with the model, in evaluation mode, every ``evaluate_every`` steps and at the end; gives
            numbers by their names.
        evaluate_every: steps between evaluations.
        progress: whether to show a bar.

    Returns:
        The losses and the evaluations, from the first step on, earlier runs included.

    Raises:
        OSError: no checkpoint can be written.
        TypeError: the model's state holds something else than tensors, which a checkpoint cannot.
        ValueError: the checkpoint is damaged, or belongs to another model or recipe, or not every process finds it;
            ``save_every`` or ``evaluate_every`` is below 1; a step has no target that counts; a batch whose tensors
            differ in their rows, or that the objective refuses.
        RuntimeError: another process cannot begin.
        FloatingPointError: the loss is not a number.
    """
    check_whole("save_every", save_every, 1)
    check_whole("evaluate_every", evaluate_every, 1)
    objective = partial(sequence_to_sequence, pad_id=pad_id) if objective is None else objective
    device = next(model.parameters()).device
    rank, world = (dist.get_rank(), dist.get_world_size()) if _distributed() else (0, 1)
    optimizer = _optimizer(model, recipe, device)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    state = TrainingState(model, optimizer, recipe, scaler)
    _begin(state, checkpoint, rank, world)
    history = state.history
    runner = _compiled(model) if recipe.compile else model
    if world > 1:
        runner = DistributedDataParallel(runner, device_ids=[device.index] if device.type == "cuda" else None)

    begin, before = time.perf_counter(), history.seconds
    bar = tqdm(total=recipe.steps, initial=history.step, disable=not progress or rank > 0, unit="step", smoothing=0.05)
    model.train()
    while history.step < recipe.steps:
        step = history.step
        torch.manual_seed(_seed(recipe.seed, rank, step))
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        optimizer.zero_grad(set_to_none=True)  # also of what a step that failed has left
        loss, n_targets = _accumulate(state, runner, batches, objective, rank, world)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of step {step} is {loss}; a lower peak_rate or more warm-up may help")
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        history.losses.append(loss)
        history.tokens += n_targets
        bar.update()
        last = history.step == recipe.steps
        if evaluate is not None and (last or history.step % evaluate_every == 0):
            model.eval()
            with torch.no_grad():  # every process evaluates, or none could wait for the others
                found = {name: float(value) for name, value in evaluate(model).items()}
            history.evaluations.append({"step": float(history.step), **found})
            model.train()
            bar.set_postfix({name: f"{value:.3f}" for name, value in history.evaluations[-1].items() if name != "step"})
        history.seconds = before + time.perf_counter() - begin
        if checkpoint is not None and rank == 0 and (last or history.step % save_every == 0):
            save_checkpoint(checkpoint, state)
    bar.close()
    optimizer.zero_grad(set_to_none=True)
    model.eval()
    return history


def _seed(seed: int, rank: int, step: int) -> int:
    """A number that looks random, and differs for each process and step."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0])


def _begin(state: TrainingState, checkpoint: str | Path | None, rank: int, world: int) -> None:
    """Go on from the checkpoint where there is one, and make sure that the next can be written.

    Where one process fails all do, or the others would wait for it.
    """
    error = None
    try:
        if checkpoint is not None and Path(checkpoint).is_file():
            state.history = load_checkpoint(checkpoint, state.model, state.optimizer, state.recipe, state.scaler)
        if checkpoint is not None and rank == 0 and state.history.step < state.recipe.steps:
            _rehearse(Path(checkpoint), state)
    except Exception as caught:
        error = caught
    if world > 1:
        found: list[Any] = [None] * world
        dist.all_gather_object(found, (state.history.step, None if error is None else str(error)))
        failed = [message for _, message in found if message is not None]
        steps = [step for step, _ in found]
        if failed and error is None:
            error = RuntimeError(f"another process cannot begin: {failed[0]}")
        if not failed and len(set(steps)) > 1:
            error = ValueError(f"every process must find the same checkpoint {checkpoint}; they are at steps {steps}")
    if error is not None:
        raise error


def _rehearse(path: Path, state: TrainingState) -> None:
    """Write a checkpoint beside the file and remove it again, so that what is impossible is known before it matters."""
    content = _checkpoint(state)
    if not state.optimizer.state_dict()["state"]:  # Adam makes its two moments at the first step; keep their place
        parameters = (parameter for group in state.optimizer.param_groups for parameter in group["params"])
        content += bytes(2 * sum(parameter.nbytes for parameter in parameters))
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with _written_beside(path, content):
            pass
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO, f"no checkpoint can be written to {path}: {error.strerror or error}"
        ) from error


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
    state: TrainingState, runner: nn.Module, batches: Batches, objective: Objective, rank: int, world: int
) -> tuple[float, int]:
    """Add up the gradients of one step; return its loss a target, and its targets, over all processes."""
    recipe, step = state.recipe, state.history.step
    device = next(state.model.parameters()).device
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision]
    micro = [batches(step * recipe.accumulate + index) for index in range(recipe.accumulate)]
    # How many targets count is known only when all is computed. Until then the sum is divided by about as many, in all
    # processes alike, for the sake of float16; and by a power of two, which rounds nothing.
    unit = 2.0 ** sum(batch[-1].numel() for batch in micro).bit_length()
    total, n_targets = torch.zeros((), device=device), 0
    for index, batch in enumerate(micro):
        n_rows = len(batch[0])
        if any(len(tensor) != n_rows for tensor in batch):
            found = " and ".join(str(len(tensor)) for tensor in batch)
            raise ValueError(f"all tensors of a batch must have as many rows; step {step} has {found}")
        rows = torch.arange(rank, n_rows, world)
        # A process without a row computes one that does not count, or the others would wait for its gradients.
        share = 1 if len(rows) else 0
        rows = rows if len(rows) else torch.zeros(1, dtype=torch.long)
        wait = isinstance(runner, DistributedDataParallel) and index < len(micro) - 1
        with runner.no_sync() if wait else contextlib.nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                loss, count = objective(runner, tuple(tensor[rows] for tensor in batch), smoothing=recipe.smoothing)
            state.scaler.scale(share * loss / unit).backward()
        total += share * loss.detach()
        n_targets += share * count
    if world > 1:
        counts = torch.tensor(n_targets, device=device)
        dist.all_reduce(total)
        dist.all_reduce(counts)
        n_targets = int(counts)
    if not n_targets:
        raise ValueError(f"step {step} has nothing to learn from: its batch holds no target that counts")
    state.scaler.unscale_(state.optimizer)
    # The mean is over all targets of the step, wherever they are computed: not a mean of means. Of the processes'
    # gradients a mean was made where a sum is meant.
    for parameter in state.model.parameters():
        if parameter.grad is not None:
            parameter.grad *= unit * world / n_targets
    return float(total) / n_targets, n_targets


def save_checkpoint(path: str | Path, state: TrainingState) -> None:
    """Write all that training needs to go on into one file, at once: a reader finds the old file or the new one.

    Args:
        path: of the file, in the format of ``safetensors``.
        state: of the training.

    Raises:
        OSError: the file cannot be written; an older one is as it was.
        TypeError: the model's state holds something else than tensors.
    """
    write_atomically(path, _checkpoint(state))


def _checkpoint(state: TrainingState) -> bytes:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"a checkpoint holds tensors only; {name} is a {type(tensor).__name__}")
    record = {"recipe": asdict(state.recipe), "history": asdict(state.history), "scaler": state.scaler.state_dict()}
    metadata = {"record": json.dumps(record), "format": "transformer_lib.training.2"}
    # Copies, because a file of safetensors holds no tensors that share memory, as tied weights do.
    copies = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return bytes(serialize(copies, metadata))


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
        optimizer: takes the moments.
        recipe: must be the file's.
        scaler: of ``"fp16"``.

    Returns:
        The history up to the checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no checkpoint, or is of another model or recipe. Nothing is changed then.
    """
    tensors, record = _read_checkpoint(Path(path))
    history = History(**record["history"])
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
    if optimizer is not None:
        _check_moments(path, states, optimizer)
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler is not None and record["scaler"]:
        scaler.load_state_dict(record["scaler"])
    return history


def _check_moments(path: str | Path, states: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, state in states.items():
        for name, tensor in state.items():
            if number >= len(parameters) or tensor.shape not in ((), parameters[number].shape):
                raise ValueError(f"{path} does not hold this optimizer's moments: {name} {number} fits no parameter")


def check_weights(path: str | Path, weights: dict[str, Tensor], model: nn.Module) -> None:
    """Check that weights from a file are those of a model, name by name and shape by shape.

    Where the model ties weights, that is, has one under several names, the file must hold the same under all of them.

    Args:
        path: of the file, for the message.
        weights: from the file.
        model: to take them.

    Raises:
        ValueError: a weight is missing, unknown, or of another shape, or two that the model ties differ; the message
            names the first ones.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
             for name in sorted(expected.keys() | found.keys())
             if expected.get(name) != found.get(name)]  # fmt: skip
    if wrong:
        raise ValueError(f"{path} does not hold this model's weights: {'; '.join(wrong[:3])} ({len(wrong)} in all)")
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        twin = first.setdefault(place, name) if tensor.data_ptr() else name
        same = twin == name or torch.allclose(weights[twin], weights[name], rtol=0.0, atol=0.0, equal_nan=True)
        if not same:
            raise ValueError(
                f"{path} does not hold this model's weights: it ties {twin} and {name}, which differ there"
            )


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file that is complete or not there: first beside it, then renamed over it.

    Args:
        path: of the file; its folder is made where it is missing.
        content: all of it.

    Raises:
        OSError: it cannot be written; an older file is as it was.
    """
    with _written_beside(Path(path), content) as beside:
        beside.replace(path)


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A file with the content, in the same folder; it is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and no checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: {error}") from error
    # Files of format 1 hold the random numbers' state of one process too, which is not needed.
    if metadata.get("format") not in ("transformer_lib.training.1", "transformer_lib.training.2"):
        raise ValueError(f"{path} is no checkpoint of transformer_lib.training")
    return tensors, json.loads(metadata["record"])
