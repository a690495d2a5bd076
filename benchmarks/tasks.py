"""What is measured: each task builds a model, and returns what to run again and again."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers import LAYERS, MODELS, Peer, Sizes, batch_of

Run = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """Where and how a task runs: on a GPU with bfloat16 and the compiler, on a CPU in float32 without."""

    sizes: Sizes
    device: torch.device
    compiled: bool

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else contextlib.nullcontext()

    def ready(self, model: nn.Module) -> Callable[..., Tensor]:
        return torch.compile(model) if self.compiled else model


def _built(name: str, peers: dict[str, Peer], setting: Setting) -> nn.Module:
    torch.manual_seed(0)
    return peers[name].build(setting.sizes).to(setting.device)


def model_training(name: str, setting: Setting) -> Run:
    """Forward, backward and a step of AdamW."""
    model = _built(name, MODELS, setting).train()
    batch, call = batch_of(setting.sizes, setting.device), setting.ready(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        with setting.precision():
            logits = call(batch.source, batch.target)
            loss = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def model_forward(name: str, setting: Setting) -> Run:
    """One pass in evaluation, without gradients."""
    model = _built(name, MODELS, setting).eval()
    batch, call = batch_of(setting.sizes, setting.device), setting.ready(model)

    def run() -> None:
        with torch.no_grad(), setting.precision():
            call(batch.source, batch.target)

    return run


def _tokens_of_layer(setting: Setting) -> tuple[Tensor, Tensor]:
    ids = batch_of(setting.sizes, setting.device).source
    return torch.randn(*ids.shape, setting.sizes.d_model, device=setting.device), ids


def layer_training(name: str, setting: Setting) -> Run:
    """Forward and backward of self-attention alone, its input's gradient included."""
    model = _built(name, LAYERS, setting).train()
    call = setting.ready(model)
    x, ids = _tokens_of_layer(setting)
    x.requires_grad_()

    def run() -> None:
        with setting.precision():
            output = call(x, ids)
        output.float().square().mean().backward()
        model.zero_grad()
        x.grad = None

    return run


def layer_forward(name: str, setting: Setting) -> Run:
    """One pass of self-attention alone in evaluation, without gradients."""
    model = _built(name, LAYERS, setting).eval()
    call = setting.ready(model)
    x, ids = _tokens_of_layer(setting)

    def run() -> None:
        with torch.no_grad(), setting.precision():
            call(x, ids)

    return run


TASKS: dict[str, Callable[[str, Setting], Run]] = {
    "model training": model_training,
    "model forward": model_forward,
    "layer training": layer_training,
    "layer forward": layer_forward,
}


def peers_of(task: str) -> dict[str, Peer]:
    return MODELS if task.startswith("model") else LAYERS
