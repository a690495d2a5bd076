"""Inputs for the tests: tensors, the kinds of masks and biases, and how near two results have to be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# The distance allowed between two results of one precision, by the size of the largest number among those expected.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 6e-3, torch.bfloat16: 4e-2}
DTYPES = list(TOLERANCE)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    """Normal numbers, the same on every device: drawn on the CPU in float64, then rounded."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def exact(tensor: Tensor) -> Any:
    """As a float64 (or boolean) NumPy array."""
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.bool else tensor.double()).numpy()


def assert_near(
    actual: Tensor, expected: Tensor | np.ndarray[Any, Any], dtype: torch.dtype | None = None, *, size: float = 1.0
) -> None:
    """Assert that ``actual`` is ``expected`` up to rounding.

    Args:
        actual: the result.
        expected: what it should be.
        dtype: the precision of the computation; that of ``actual`` unless given.
        size: of the numbers that cancel in the result, where they are larger than it.
    """
    given, wanted = exact(actual), exact(expected) if isinstance(expected, Tensor) else np.asarray(expected)
    assert given.shape == wanted.shape, f"shape {given.shape}, expected {wanted.shape}"
    assert np.isfinite(given).all(), "not finite"
    if given.size:
        room = TOLERANCE[dtype or actual.dtype] * max(size, float(np.abs(wanted).max()))
        worst = float(np.abs(given - wanted).max())
        assert worst <= room, f"differs by {worst:.3g}, more than {room:.3g}"


def assert_all_near(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Assert it of gradients, which cancel: that of the keys' bias is zero but for rounding."""
    size = max(float(gradient.abs().max()) for gradient in expected)
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, size=max(size, 1.0))


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference of two results."""
    return float(np.abs(exact(one) - exact(other)).max())


def differ(one: Tensor, other: Tensor) -> bool:
    """Whether two results are apart by far more than any rounding."""
    return distance(one, other) > 1e-3


def gradients(output: Tensor, inputs: Sequence[Tensor], seed: int = 99) -> tuple[Tensor, ...]:
    """Gradients of a random projection of ``output``: every number of it counts, each differently."""
    upstream = randn(*output.shape, seed=seed, dtype=output.dtype, device=str(output.device))
    return torch.autograd.grad(output, inputs, upstream)


def upstream_of(output: Tensor, seed: int = 99) -> Any:
    """The projection that :func:`gradients` uses, for the oracle."""
    return exact(randn(*output.shape, seed=seed, dtype=output.dtype))


# (batch, heads, query, key) and widths: no two sizes are equal, so that no two axes can be confused unseen.
BATCH, HEADS, D_HEAD, D_VALUE = 2, 3, 8, 6
LENGTHS = {"query < key": (4, 7), "query = key": (5, 5), "query > key": (7, 4), "one query": (1, 7)}
MASKS = ["none", "(query, key)", "padding", "per head", "full", "some rows empty", "all rows empty"]
BIASES = ["none", "(query, key)", "per head", "full"]


def make_mask(kind: str, q_len: int, k_len: int, device: str = "cpu") -> Tensor | None:
    """A mask of one of ``MASKS``."""
    shape = {
        "none": None,
        "(query, key)": (q_len, k_len),
        "padding": (BATCH, 1, 1, k_len),
        "per head": (1, HEADS, q_len, k_len),
        "full": (BATCH, HEADS, q_len, k_len),
        "some rows empty": (BATCH, HEADS, q_len, k_len),
        "all rows empty": (BATCH, 1, 1, 1),
    }[kind]
    if shape is None:
        return None
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.6
    if kind == "all rows empty":
        return torch.zeros_like(mask).to(device)
    mask[..., 0] = True  # no empty row by chance
    if kind == "some rows empty":
        mask[0, 1, 0] = False
        mask[1, :, -1] = False
    return mask.to(device)


def make_bias(kind: str, q_len: int, k_len: int, dtype: torch.dtype, device: str = "cpu") -> Tensor | None:
    """A bias of one of ``BIASES``."""
    shape = {
        "none": None,
        "(query, key)": (q_len, k_len),
        "per head": (1, HEADS, q_len, k_len),
        "full": (BATCH, HEADS, q_len, k_len),
    }[kind]
    return None if shape is None else randn(*shape, seed=6, dtype=dtype, device=device)
