"""What the chapters build is what readers import: each definition equals the library's, beyond the chapter's inputs."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import transformer_lib as lib
import transformer_lib.training
from tests.notebooks import definitions, notebook
from transformer_lib import generation, layers
from transformer_lib.positions import relative_position_bucket

DTYPES = [torch.float64, torch.float32]
SHAPES = [(1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 8, 4), (3, 3, 6, 2, 5, 9), (1, 4, 2, 6, 3, 3)]


def chapter(key: str, *names: str) -> dict[str, Any]:
    return definitions(notebook(key), *names)


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
def test_scaled_attention(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    theirs: Callable[..., tuple[Tensor, Tensor]] = chapter("scaled", "attention")["attention"]
    qkv = inputs(shape, dtype)
    for mask in masks(shape):
        for built, imported in zip(theirs(*qkv, mask), lib.attention(*qkv, mask), strict=True):
            torch.testing.assert_close(built, imported)


@pytest.mark.parametrize("name", ["attention_loop", "attention_numpy"])
def test_scaled_attention_in_numpy(name: str) -> None:
    function = chapter("scaled", name)[name]
    query, key, value = (tensor[0, 0] for tensor in inputs((1, 1, 5, 7, 8, 4), torch.float64))
    expected = lib.attention(query, key, value)
    for built, imported in zip(function(query.numpy(), key.numpy(), value.numpy()), expected, strict=True):
        np.testing.assert_allclose(built, imported.numpy(), atol=1e-12)


def test_scaled_softmax() -> None:
    softmax = chapter("scaled", "softmax")["softmax"]
    scores = np.random.default_rng(0).normal(0, 50, (4, 6))
    for temperature in (0.1, 1.0, 7.0):
        expected = torch.from_numpy(scores / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(softmax(scores, temperature), expected, atol=1e-12)


def test_scaled_window_mask() -> None:
    window_mask = chapter("scaled", "window_mask")["window_mask"]
    for length, width in ((5, 2), (7, 7), (4, 1)):
        rows, columns = np.indices((length, length))
        np.testing.assert_array_equal(window_mask(length, width), (rows - columns >= 0) & (rows - columns < width))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d_model", [1, 6, 9])
def test_scaled_self_attention(d_model: int, dtype: torch.dtype) -> None:
    built = chapter("scaled", "SelfAttention", "self_attention")
    layer = built["SelfAttention"](d_model, d_model).to(dtype)
    imported = lib.MultiHeadAttention(d_model, 1, bias=False).to(dtype)
    imported.load_state_dict(layer.state_dict() | {"o_proj.weight": torch.eye(d_model)})
    x = torch.randn(2, 5, d_model, dtype=dtype)
    torch.testing.assert_close(layer(x)[0], imported(x))
    narrow = built["SelfAttention"](d_model, 4).to(dtype)
    matrices = [projection.weight.T for projection in (narrow.q_proj, narrow.k_proj, narrow.v_proj)]
    output, weights = lib.attention(*(x @ matrix for matrix in matrices))
    torch.testing.assert_close(narrow(x), (output, weights))
    torch.testing.assert_close(built["self_attention"](x, *matrices), output)


def test_why_training_loop() -> None:
    fit = chapter("why", "fit")["fit"]

    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(9, 4, generator=generator)
        return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()

    losses = []
    for loop in (fit, lib.training.fit):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3))
        losses.append(loop(model, sample, steps=20, lr=0.03, seed=5))
    assert losses[0] == losses[1]


def test_multihead_split_and_merge() -> None:
    built = chapter("multihead", "split_heads", "merge_heads")
    x = torch.randn(2, 5, 12)
    for n_heads in (1, 3, 4, 12):
        heads = built["split_heads"](x, n_heads)
        torch.testing.assert_close(heads, lib.split_heads(x, n_heads), atol=0, rtol=0)
        torch.testing.assert_close(built["merge_heads"](heads), lib.merge_heads(heads), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("d_model", "n_heads"), [(12, 3), (8, 1), (10, 5)])
def test_multihead_multi_head_attention(d_model: int, n_heads: int, dtype: torch.dtype) -> None:
    built = chapter("multihead", "MultiHeadAttention")["MultiHeadAttention"](d_model, n_heads).to(dtype)
    imported = lib.MultiHeadAttention(d_model, n_heads).to(dtype)
    imported.load_state_dict(built.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, memory = (torch.randn(2, seq, d_model, generator=generator, dtype=dtype) for seq in (6, 4))
    for source in (None, memory):
        k_len = 6 if source is None else 4
        for mask in masks((2, n_heads, 6, k_len)):
            torch.testing.assert_close(built(x, source, mask)[0], imported(x, source, mask=mask))


def test_multihead_stacked_heads() -> None:
    built = chapter("multihead", "SelfAttention", "StackedHeads")["StackedHeads"](12, 3, 4).double()
    x = torch.randn(5, 12).double()
    together = [
        torch.cat([getattr(head, name).weight for head in built.heads]) for name in ("q_proj", "k_proj", "v_proj")
    ]
    query, key, value = (lib.split_heads((x @ weight.T)[None], 3) for weight in together)
    torch.testing.assert_close(built(x), lib.merge_heads(lib.attention(query, key, value)[0])[0])


def test_self_self_attention() -> None:
    built = chapter("self", "SingleHead")
    layer = built["SingleHead"](8).double()
    imported = lib.MultiHeadAttention(8, 1, bias=False).double()
    imported.load_state_dict(layer.state_dict())
    x, memory = torch.randn(6, 8).double(), torch.randn(4, 8).double()
    torch.testing.assert_close(layer(x)[0], imported(x[None])[0])
    torch.testing.assert_close(layer(x, memory)[0], imported(x[None], memory[None])[0])
    torch.testing.assert_close(layer(x, causal=True)[0], imported(x[None], causal=True)[0])


def test_positions_waves() -> None:
    built = chapter("positions", "waves", "waves_loop")
    for length, d_model in ((1, 2), (7, 10), (300, 64)):
        table = lib.sinusoidal_table(length, d_model)
        torch.testing.assert_close(built["waves"](length, d_model), table, atol=0, rtol=0)
        np.testing.assert_allclose(built["waves_loop"](length, d_model), table.numpy(), atol=1e-6)


@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20), (16, 1000)])
def test_positions_buckets(n_buckets: int, max_distance: int) -> None:
    bucket = chapter("positions", "bucket")["bucket"]
    distances = torch.arange(3 * max_distance)
    imported = relative_position_bucket(-distances, bidirectional=False, n_buckets=n_buckets, max_distance=max_distance)
    assert [bucket(distance, n_buckets, max_distance) for distance in distances.tolist()] == imported.tolist()


def test_positions_biases() -> None:
    built = chapter("positions", "RelativeBias", "alibi")
    relative, imported = built["RelativeBias"](3), lib.RelativeBias(3, bidirectional=False)
    nn.init.normal_(relative.table)
    imported.load_state_dict(relative.state_dict())
    for length in (1, 9, 150):
        torch.testing.assert_close(relative(length), imported(length, length), atol=0, rtol=0)
        for n_heads in (1, 2, 8):
            torch.testing.assert_close(built["alibi"](n_heads, length), lib.ALiBi(n_heads)(length, length))


def test_positions_rotations() -> None:
    built = chapter("positions", "rotate", "turn_one")
    for d_head, start in ((2, 0), (8, 5), (64, 1000)):
        x, positions = torch.randn(2, 3, 7, d_head).double(), torch.arange(start, start + 7)
        imported = lib.RotaryPositions(d_head)(x, positions)
        torch.testing.assert_close(built["rotate"](x, positions), imported)
        np.testing.assert_allclose(built["turn_one"](x[1, 2, 4].numpy(), start + 4), imported[1, 2, 4], atol=1e-9)


def test_positions_learned_positions() -> None:
    learned = chapter("positions", "LearnedPositions")["LearnedPositions"](6, 9)
    imported = lib.LearnedPositions(6, 9)
    imported.load_state_dict(learned.state_dict())
    x = torch.randn(2, 7, 6)
    torch.testing.assert_close(learned(x), imported(x), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("d_model", "d_ff"), [(6, 10), (8, 8), (5, 1)])
def test_layers_feed_forward(d_model: int, d_ff: int, dtype: torch.dtype) -> None:
    built = chapter("layers", "feed_forward_loop", "FeedForward", "GatedFeedForward")
    x = torch.randn(2, 7, d_model, dtype=dtype)
    options: dict[str, Any] = {"d_model": d_model, "n_heads": 1, "d_ff": d_ff, "dropout": 0.0}
    plain = built["FeedForward"](d_model, d_ff).to(dtype)
    imported = layers.FeedForward(lib.StackConfig(**options)).to(dtype)
    imported.load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain(x), imported(x))
    gated = built["GatedFeedForward"](d_model, d_ff).to(dtype)
    imported = layers.FeedForward(lib.StackConfig(gated=True, activation="silu", bias=False, **options)).to(dtype)
    imported.load_state_dict(gated.state_dict())
    torch.testing.assert_close(gated(x), imported(x))
    up, down = plain.up_proj, plain.down_proj
    arrays = [t.detach().double().numpy() for t in (x[0], up.weight.T, up.bias, down.weight.T, down.bias)]
    np.testing.assert_allclose(built["feed_forward_loop"](*arrays), plain(x[0]).detach().double(), atol=1e-5)


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_layers_norms(eps: float) -> None:
    built = chapter("layers", "layer_norm_loop", "LayerNorm", "RMSNorm")
    x = 3 * torch.randn(2, 5, 7).double() + 1
    x[0, 0] = 2.0  # a constant token
    for ours, imported in (
        (built["LayerNorm"](7, eps), layers.LayerNorm(7, eps=eps)),
        (built["RMSNorm"](7, eps), layers.RMSNorm(7, eps=eps)),
    ):
        for parameter in ours.parameters():
            nn.init.normal_(parameter)
        imported.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours.double()(x), imported.double()(x), atol=1e-6, rtol=1e-6)
    scale, shift = torch.randn(2, 7).double()
    expected = nn.functional.layer_norm(x[1], (7,), scale, shift, eps)
    np.testing.assert_allclose(
        built["layer_norm_loop"](*(t.numpy() for t in (x[1], scale, shift)), eps), expected, atol=1e-9
    )


@pytest.mark.parametrize("pre_norm", [True, False])
def test_layers_residual(pre_norm: bool) -> None:
    built = chapter("layers", "Residual", "dropout")
    ours = built["Residual"](6, pre_norm, p=0.3)
    imported = layers.Residual(lib.StackConfig(d_model=6, n_heads=1, pre_norm=pre_norm, dropout=0.3))
    nn.init.normal_(ours.norm.weight)
    imported.load_state_dict(ours.state_dict())
    x, sublayer = torch.randn(2, 5, 6), nn.Linear(6, 6)
    results = []
    for residual in (ours, imported):
        torch.manual_seed(0)
        results.append(residual(x, sublayer))
    torch.testing.assert_close(*results)
    torch.manual_seed(0)
    theirs = nn.functional.dropout(x, 0.3)
    torch.testing.assert_close(built["dropout"](x, 0.3, theirs != 0), theirs)


def test_decoding_filters() -> None:
    built = chapter("decoding", "top_k_by_hand", "top_p_by_hand", "min_p_filter", "penalty_by_hand")
    torch.manual_seed(0)
    for logits in 3 * torch.randn(30, 12):
        for k in (1, 3, 12):
            torch.testing.assert_close(built["top_k_by_hand"](logits, k), generation.top_k_filter(logits, k))
        for p in (0.1, 0.5, 0.95):
            torch.testing.assert_close(built["top_p_by_hand"](logits, p), generation.top_p_filter(logits, p))
        probabilities = logits.softmax(-1)
        kept = built["min_p_filter"](logits, 0.2).isfinite()
        assert torch.equal(kept, probabilities >= 0.2 * probabilities.max())
    for name in ("none", "power", "gnmt"):
        for length in (1, 9, 100):
            assert built["penalty_by_hand"](length, name, 0.7) == generation.length_penalty(length, name, 0.7)


class Wandering:
    """A language model that depends on all tokens so far, by a random table of each; it counts them in its cache."""

    pad_id = 11

    def __init__(self) -> None:
        self.table = torch.randn(12, 12)
        self.table[:, self.pad_id] = -torch.inf

    def logits(self, tokens: list[int]) -> Tensor:
        return sum((self.table[token] for token in tokens), torch.zeros(12)) / len(tokens) ** 0.5

    def new_cache(self, source_ids: Tensor | None = None) -> lib.DecoderCache:
        return lib.DecoderCache(1)

    def step(self, token_ids: Tensor, cache: lib.DecoderCache, **_: Any) -> Tensor:
        seen = nn.functional.one_hot(token_ids, 12).float().cumsum(1)[:, None]  # (rows, 1, new, 12)
        if cache.length:
            seen = seen + cache.past[0]._keys[:, :, cache.length - 1 : cache.length]  # type: ignore[index]
        cache.past[0].append(seen, seen)
        counts = seen[:, 0, -1]
        return (counts[:, :, None] * self.table.masked_fill(self.table.isinf(), -1e9)).sum(1) / counts.sum(
            1, keepdim=True
        ) ** 0.5


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_decoding_searches(beams: int) -> None:
    built = chapter("decoding", "greedy_by_hand", "beam_search_by_hand")
    for seed in range(8):
        torch.manual_seed(seed)
        model = Wandering()
        prompt = torch.tensor([[1]])  # the beginning, as in the chapter; 2 is the end
        total, tokens = built["beam_search_by_hand"](model.logits, beams, 6)
        found = generation.beam_search(model, prompt, eos_id=2, max_new_tokens=6, beams=beams)[0][0]
        assert total == pytest.approx(found.log_probability, abs=1e-4)
        assert tuple(tokens[1:]) == found.tokens
        if beams == 1:
            written = generation.greedy(model, prompt, eos_id=2, max_new_tokens=6)[0].tolist()
            assert built["greedy_by_hand"](model.logits, 6) == written


def test_decoding_cache() -> None:
    attend = chapter("decoding", "attend_with_memory")["attend_with_memory"]
    layer, cache = lib.MultiHeadAttention(12, 3).eval(), lib.KVCache()
    kept: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for _ in range(5):
            x = torch.randn(2, 1, 12)
            torch.testing.assert_close(attend(layer, x, kept), layer(x, causal=True, cache=cache))


def stack_config(pre_norm: bool, dropout: float = 0.0) -> lib.StackConfig:
    return lib.StackConfig(d_model=12, n_heads=3, n_layers=2, d_ff=20, pre_norm=pre_norm, dropout=dropout)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_encoder_encoder(pre_norm: bool, dropout: float) -> None:
    built = chapter("encoder", "EncoderLayer", "Encoder", "mean_pool")
    ours, imported = built["Encoder"](stack_config(pre_norm, dropout)), lib.Encoder(stack_config(pre_norm, dropout))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    imported.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 12)
    for mask in (None, torch.arange(7) < torch.tensor([[[[7]]], [[[4]]]])):
        outputs = []
        for encoder in (ours, imported):
            torch.manual_seed(0)  # the same dropout
            outputs.append(encoder(x, mask))
        torch.testing.assert_close(*outputs)
        with_layer = built["EncoderLayer"](stack_config(pre_norm))
        theirs = lib.Encoder(stack_config(pre_norm)).layers[0]
        theirs.load_state_dict(with_layer.state_dict())
        torch.testing.assert_close(with_layer(x, mask), theirs(x, mask))


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_decoder_decoder(pre_norm: bool, dropout: float) -> None:
    built = chapter("decoder", "DecoderLayer", "Decoder", "shift_right")
    ours, imported = built["Decoder"](stack_config(pre_norm, dropout)), lib.Decoder(stack_config(pre_norm, dropout))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    imported.load_state_dict(ours.state_dict())
    x, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    for mask in (None, torch.arange(7) < torch.tensor([[[[7]]], [[[4]]]])):
        outputs = []
        for decoder, options in ((ours, {}), (imported, {})):
            torch.manual_seed(0)
            outputs.append(decoder(x, memory, memory_mask=mask, **options))
        torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_transformer_transformer(pre_norm: bool) -> None:
    built = chapter("transformer", "Transformer", "count")
    ours, imported = built["Transformer"](17, stack_config(pre_norm)), lib.Transformer(17, stack_config(pre_norm))
    imported.load_state_dict(ours.state_dict())
    source, target = torch.randint(1, 17, (3, 6)), torch.randint(1, 17, (3, 4))
    source[1, 4:] = 0
    torch.testing.assert_close(ours(source, target), imported(source, target))
    assert built["count"](17, stack_config(pre_norm)) == sum(p.numel() for p in imported.parameters())


def test_translator_tokens_and_loss() -> None:
    built = chapter("translator", "most_frequent_pair", "merge", "smoothed_loss_by_hand", "noam", "cosine")
    assert built["merge"](tuple("abcabab"), ("a", "b")) == ("ab", "c", "ab", "ab")
    assert built["most_frequent_pair"]({("a", "b", "c"): 2, ("b", "c"): 3}) == ("b", "c")
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 7).double(), torch.tensor([1, 0, 6, 2, 2, 0, 5, 3, 1])
    for smoothing in (0.0, 0.1, 0.5):
        library = lib.training.smoothed_cross_entropy(logits, targets, smoothing=smoothing)
        assert built["smoothed_loss_by_hand"](logits, targets, smoothing) == pytest.approx(float(library), abs=1e-4)
    for warmup in (1, 7, 30):
        noam, cosine = (
            lib.training.Recipe(steps=40, peak_rate=0.3, schedule=name, warmup=warmup) for name in ("noam", "cosine")
        )
        for step in range(1, 41):
            assert built["noam"](step, 0.3, warmup) == pytest.approx(noam.rate(step - 1))
            assert built["cosine"](step, 0.3, warmup, 40) == pytest.approx(cosine.rate(step - 1), abs=1e-12)
