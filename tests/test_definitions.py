"""What the chapters build is what readers import: each definition equals the library's, beyond the chapter's inputs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import transformer_lib as lib
import transformer_lib.training
from tests.notebooks import ROOT, definitions
from transformer_lib.positions import relative_position_bucket

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


def test_chapter_1_training_loop() -> None:
    fit = chapter("01_why_attention", "fit")["fit"]

    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(9, 4, generator=generator)
        return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()

    losses = []
    for loop in (fit, lib.training.fit):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3))
        losses.append(loop(model, sample, steps=20, lr=0.03, seed=5))
    assert losses[0] == losses[1]


def test_chapter_3_split_and_merge() -> None:
    built = chapter("03_multi_head", "split_heads", "merge_heads")
    x = torch.randn(2, 5, 12)
    for n_heads in (1, 3, 4, 12):
        heads = built["split_heads"](x, n_heads)
        torch.testing.assert_close(heads, lib.split_heads(x, n_heads), atol=0, rtol=0)
        torch.testing.assert_close(built["merge_heads"](heads), lib.merge_heads(heads), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("d_model", "n_heads"), [(12, 3), (8, 1), (10, 5)])
def test_chapter_3_multi_head_attention(d_model: int, n_heads: int, dtype: torch.dtype) -> None:
    built = chapter("03_multi_head", "MultiHeadAttention")["MultiHeadAttention"](d_model, n_heads).to(dtype)
    imported = lib.MultiHeadAttention(d_model, n_heads).to(dtype)
    imported.load_state_dict(built.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, memory = (torch.randn(2, seq, d_model, generator=generator, dtype=dtype) for seq in (6, 4))
    for source in (None, memory):
        k_len = 6 if source is None else 4
        for mask in masks((2, n_heads, 6, k_len)):
            torch.testing.assert_close(built(x, source, mask)[0], imported(x, source, mask=mask))


def test_chapter_3_heads_by_loop() -> None:
    by_loop = chapter("03_multi_head", "heads_by_loop")["heads_by_loop"]
    x, *weights = torch.randn(5, 12).double(), *torch.randn(3, 3, 12, 4).double()
    heads = [x @ torch.cat(list(weight), dim=-1) for weight in weights]
    query, key, value = (lib.split_heads(head[None], 3) for head in heads)
    torch.testing.assert_close(by_loop(x, *weights), lib.merge_heads(lib.attention(query, key, value)[0])[0])


def test_chapter_4_self_attention() -> None:
    built = chapter("04_self_attention", "self_attention_loop", "SingleHead")
    layer = built["SingleHead"](8).double()
    imported = lib.MultiHeadAttention(8, 1, bias=False).double()
    imported.load_state_dict(layer.state_dict())
    x, memory = torch.randn(6, 8).double(), torch.randn(4, 8).double()
    torch.testing.assert_close(layer(x)[0], imported(x[None])[0])
    torch.testing.assert_close(layer(x, memory)[0], imported(x[None], memory[None])[0])
    torch.testing.assert_close(layer(x, causal=True)[0], imported(x[None], causal=True)[0])
    matrices = [projection.weight.T for projection in (layer.q_proj, layer.k_proj, layer.v_proj)]
    torch.testing.assert_close(layer.o_proj(built["self_attention_loop"](x, *matrices)), layer(x)[0])


def test_chapter_5_waves() -> None:
    built = chapter("05_positions", "waves", "waves_loop")
    for length, d_model in ((1, 2), (7, 10), (300, 64)):
        table = lib.sinusoidal_table(length, d_model)
        torch.testing.assert_close(built["waves"](length, d_model), table, atol=0, rtol=0)
        np.testing.assert_allclose(built["waves_loop"](length, d_model), table.numpy(), atol=1e-6)


@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20), (16, 1000)])
def test_chapter_5_buckets(n_buckets: int, max_distance: int) -> None:
    bucket = chapter("05_positions", "bucket")["bucket"]
    distances = torch.arange(3 * max_distance)
    imported = relative_position_bucket(-distances, bidirectional=False, n_buckets=n_buckets, max_distance=max_distance)
    assert [bucket(distance, n_buckets, max_distance) for distance in distances.tolist()] == imported.tolist()


def test_chapter_5_biases() -> None:
    built = chapter("05_positions", "Relative", "alibi")
    relative, imported = built["Relative"](3), lib.RelativeBias(3, bidirectional=False)
    nn.init.normal_(relative.table)
    imported.load_state_dict(relative.state_dict())
    for length in (1, 9, 150):
        torch.testing.assert_close(relative(length), imported(length, length), atol=0, rtol=0)
        for n_heads in (1, 2, 8):
            torch.testing.assert_close(built["alibi"](n_heads, length), lib.ALiBi(n_heads)(length, length))


def test_chapter_5_rotations() -> None:
    built = chapter("05_positions", "rotate", "turn_one")
    for d_head, start in ((2, 0), (8, 5), (64, 1000)):
        x, positions = torch.randn(2, 3, 7, d_head).double(), torch.arange(start, start + 7)
        imported = lib.RotaryPositions(d_head)(x, positions)
        torch.testing.assert_close(built["rotate"](x, positions), imported)
        np.testing.assert_allclose(built["turn_one"](x[1, 2, 4].numpy(), start + 4), imported[1, 2, 4], atol=1e-9)


def test_chapter_5_learned_positions() -> None:
    learned = chapter("05_positions", "Learned")["Learned"](6, 9)
    imported = lib.LearnedPositions(6, 9)
    imported.load_state_dict(learned.state_dict())
    x = torch.randn(2, 7, 6)
    torch.testing.assert_close(learned(x), imported(x), atol=0, rtol=0)
