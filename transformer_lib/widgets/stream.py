"""The size of stream and gradient over depth, live: pre-norm, post-norm and no norm."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from transformer_lib.plots import KEY, QUERY, VALUE
from transformer_lib.texts import text
from transformer_lib.widgets.figure import LiveFigure, source

#: A stack's name, color and line.
KINDS = (("pre", QUERY, "-"), ("post", KEY, "--"), ("none", VALUE, ":"))
DEPTH, WIDTH, HIDDEN, TOKENS = 64, 32, 128, 8


def random_numbers(seed: int, start: int, *shape: int) -> Tensor:
    """Numbers of an endless random list, the same in Python and on the page: mean 0, variance 1, float64.

    Args:
        seed: which list.
        start: the first number to take.
        shape: of the result.
    """
    index = np.arange(start + 1, start + 1 + int(np.prod(shape)), dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = (np.uint64(seed) * np.uint64(0x9E3779B1) + index * np.uint64(0x6D2B79F5)).astype(np.uint32)
        bits = (bits ^ (bits >> 15)) * (bits | 1)
        bits = bits ^ (bits + (bits ^ (bits >> 7)) * (bits | 61))
    uniform = ((bits ^ (bits >> 14)).astype(np.float64) + 0.5) / 2**31 - 1
    return torch.tensor(uniform * 3**0.5).reshape(shape)


def measure(depth: int, branch: float, seed: int, kind: str) -> tuple[list[float], list[float]]:
    """Run a stack of random branches forwards and backwards.

    A branch is a feed-forward part, ReLU between two matrices. What comes out, after the final norm in pre-norm, is
    multiplied by a random target and averaged over the tokens.

    Args:
        depth: number of branches.
        branch: the average size of what a branch gives, relative to what it gets.
        seed: of all random numbers.
        kind: ``"pre"``, ``"post"`` or ``"none"``.

    Returns:
        The root mean square of the stream before the first branch and after each; the norm of the gradient of each
        branch's second matrix.
    """

    def norm(x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,))

    x = norm(random_numbers(seed, 0, TOKENS, WIDTH))
    target = random_numbers(seed, TOKENS * WIDTH, TOKENS, WIDTH) / WIDTH**0.5
    start, size = 2 * TOKENS * WIDTH, WIDTH * HIDDEN
    sizes, matrices = [x.square().mean().sqrt().item()], []
    for _ in range(depth):
        up = random_numbers(seed, start, HIDDEN, WIDTH) / WIDTH**0.5  # a row for each hidden unit
        down = random_numbers(seed, start + size, HIDDEN, WIDTH) * branch * (2 / HIDDEN) ** 0.5
        matrices.append(down.requires_grad_())
        x = x + F.relu((norm(x) if kind == "pre" else x) @ up.T) @ down
        x = norm(x) if kind == "post" else x
        sizes.append(x.detach().square().mean().sqrt().item())
        start += 2 * size
    ((norm(x) if kind == "pre" else x) * target).sum(-1).mean().backward()
    return sizes, [matrix.grad.norm().item() for matrix in matrices if matrix.grad is not None]


class StreamFigure(LiveFigure):
    """How large the residual stream and the gradients are over depth, with a norm before, after, or nowhere.

    The stack has 8 tokens of 32 numbers; its branches are random feed-forward parts with 128 hidden numbers.

    Args:
        depth: number of branches, 1 to 64.
        branch: how large a branch is on the average, relative to what enters it: 0.01 to 1.
        seed: of the random weights.
        shown: which stacks are drawn, of ``"pre"``, ``"post"`` and ``"none"``.

    Attributes:
        sizes: for each stack, the root mean square of the stream before the first branch and after each.
        gradients: for each stack, the norm of the gradient of each branch's second matrix.

    Raises:
        ValueError: a number out of its range, or a stack of another name.
    """

    _esm = source("stream")
    depth = traitlets.Int().tag(sync=True)
    branch = traitlets.Float().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # The page computes these for itself.
    sizes = traitlets.Dict()
    gradients = traitlets.Dict()

    def __init__(
        self,
        depth: int = 32,
        branch: float = 0.5,
        *,
        seed: int = 0,
        shown: Sequence[str] = ("pre", "post", "none"),
    ):
        super().__init__(depth=depth, branch=branch, seed=seed, shown=list(shown), heights=(470, 860))
        self._compute()
        self.observe(self._compute, ["depth", "branch", "seed"])

    @traitlets.validate("depth", "branch", "seed")
    def _in_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"depth": (1, DEPTH), "branch": (0.01, 1.0), "seed": (0, 999)}[name]
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low} and {high}; got {value}")
        return value

    @traitlets.validate("shown")
    def _known(self, proposal: Any) -> Any:
        unknown = set(proposal["value"]) - {kind for kind, *_ in KINDS}
        if unknown:
            raise ValueError(f"shown may hold pre, post and none; got {', '.join(sorted(unknown))}")
        return proposal["value"]

    def _compute(self, change: object = None) -> None:
        """Sizes and gradients by PyTorch; the page computes the same in JavaScript."""
        runs = {kind: measure(self.depth, self.branch, self.seed, kind) for kind, *_ in KINDS}
        self.sizes = {kind: sizes for kind, (sizes, _) in runs.items()}
        self.gradients = {kind: gradients for kind, (_, gradients) in runs.items()}

    def picture(self) -> Picture:
        """The stream's size and each branch's gradient."""
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3))
        labels = {"pre": text("pre-norm"), "post": text("post-norm"), "none": text("no norm")}
        for kind, color, line in KINDS:
            if kind in self.shown:
                axes[0].semilogy(self.sizes[kind], line, color=color, label=labels[kind])
                axes[1].semilogy(range(1, self.depth + 1), self.gradients[kind], line, color=color)
        axes[0].set(xlabel=text("branch"), title=text("Size of the stream"))
        axes[1].set(xlabel=text("branch"), title=text("Gradient of each branch"))
        if self.shown:
            axes[0].legend()
        return figure

    def __repr__(self) -> str:
        return f"StreamFigure({self.depth} branches of size {self.branch:g})"
