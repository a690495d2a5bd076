"""What the chapters build is what readers import: each definition equals the library's, beyond the chapter's inputs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import transformer_lib as lib
from tests.notebooks import ROOT, definitions

CHAPTERS = ROOT / "chapters"
DTYPES = [torch.float64, torch.float32]
SHAPES = [(1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 8, 4), (3, 3, 6, 2, 5, 9), (1, 4, 2, 6, 3, 3)]


def chapter(name: str, *names: str) -> dict[str, Any]:
    return definitions(CHAPTERS / f"{name}.ipynb", *names)


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    batch, heads, q_len, k_len, d_head, d_value = shape
    generator = torch.Generator().manual_seed(sum(shape))
    sizes = (batch, heads, q_len, d_head), (batch, heads, k_len, d_head), (batch, heads, k_len, d_value)
    query, key, value = (torch.randn(size, generator=generator, dtype=dtype) for size in sizes)
    return query, key, value


def masks(shape: tuple[int, ...]) -> Iterator[Tensor | None]:
    batch, heads, q_len, k_len, *_ = shape
    generator = torch.Generator().manual_seed(1)
    yield None
    yield lib.causal_mask(q_len, k_len)
    yield torch.rand(batch, 1, 1, k_len, generator=generator) > 0.5
    yield torch.rand(batch, heads, q_len, k_len, generator=generator) > 0.5
    yield torch.zeros(q_len, k_len, dtype=torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_chapter_2_attention(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    theirs: Callable[..., tuple[Tensor, Tensor]] = chapter("02_scaled_dot_product", "attention")["attention"]
    qkv = inputs(shape, dtype)
    for mask in masks(shape):
        for built, imported in zip(theirs(*qkv, mask), lib.attention(*qkv, mask), strict=True):
            torch.testing.assert_close(built, imported)


@pytest.mark.parametrize("name", ["attention_loop", "attention_numpy"])
def test_chapter_2_attention_in_numpy(name: str) -> None:
    function = chapter("02_scaled_dot_product", name)[name]
    query, key, value = (tensor[0, 0] for tensor in inputs((1, 1, 5, 7, 8, 4), torch.float64))
    expected = lib.attention(query, key, value)
    for built, imported in zip(function(query.numpy(), key.numpy(), value.numpy()), expected, strict=True):
        np.testing.assert_allclose(built, imported.numpy(), atol=1e-12)


def test_chapter_2_softmax() -> None:
    softmax = chapter("02_scaled_dot_product", "softmax")["softmax"]
    scores = np.random.default_rng(0).normal(0, 50, (4, 6))
    for temperature in (0.1, 1.0, 7.0):
        expected = torch.from_numpy(scores / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(softmax(scores, temperature), expected, atol=1e-12)


def test_chapter_2_window_mask() -> None:
    window_mask = chapter("02_scaled_dot_product", "window_mask")["window_mask"]
    for length, width in ((5, 2), (7, 7), (4, 1)):
        rows, columns = np.indices((length, length))
        np.testing.assert_array_equal(window_mask(length, width), (rows - columns >= 0) & (rows - columns < width))
