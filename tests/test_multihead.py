"""Multi-head attention and its cache: against the oracle, itself without the cache, and the invariants."""

import copy
import doctest
import pickle
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import oracle
from tests.cases import DTYPES, assert_all_near, assert_near, differ, distance, exact, gradients, randn
from transformer_lib import (
    ALiBi,
    KVCache,
    MultiHeadAttention,
    RelativeBias,
    RotaryPositions,
    SinusoidalPositions,
    fused_attention,
    merge_heads,
    multihead,
    padding_mask,
    split_heads,
)
from transformer_lib.plots import record_attention

D_MODEL = 12
LAYERS: dict[str, Callable[[], MultiHeadAttention]] = {
    "plain": lambda: MultiHeadAttention(D_MODEL, 3),
    "one head": lambda: MultiHeadAttention(D_MODEL, 1),
    "no bias": lambda: MultiHeadAttention(D_MODEL, 3, bias=False),
    "wide heads": lambda: MultiHeadAttention(D_MODEL, 3, d_head=7),
    "indivisible": lambda: MultiHeadAttention(D_MODEL, 5, d_head=2),
    "scale 1": lambda: MultiHeadAttention(D_MODEL, 3, d_head=2, scale=1.0),
    "grouped": lambda: MultiHeadAttention(D_MODEL, 6, n_kv_heads=2, d_head=4),
    "one key head": lambda: MultiHeadAttention(D_MODEL, 4, n_kv_heads=1),
    "normalized, grouped": lambda: MultiHeadAttention(D_MODEL, 6, n_kv_heads=2, d_head=4, qk_norm_eps=0.01),
}
ROTARY_LAYERS: dict[str, Callable[[], MultiHeadAttention]] = {
    "rotary": lambda: MultiHeadAttention(D_MODEL, 3, rotary=RotaryPositions(4)),
    "rotary, grouped": lambda: MultiHeadAttention(D_MODEL, 6, n_kv_heads=3, d_head=4, rotary=RotaryPositions(4)),
    "rotary, half-split, one key head": lambda: MultiHeadAttention(
        D_MODEL, 4, n_kv_heads=1, d_head=6, rotary=RotaryPositions(6, interleaved=False, base=100.0)
    ),
    "rotary, normalized": lambda: MultiHeadAttention(D_MODEL, 3, rotary=RotaryPositions(4), qk_norm_eps=0.01),
}
ALL_LAYERS = LAYERS | ROTARY_LAYERS
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def make(name: str, dtype: torch.dtype = torch.float64) -> MultiHeadAttention:
    """One of the layers above, in evaluation, with random biases too."""
    layer = ALL_LAYERS[name]()
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = randn(*parameter.shape, seed=100 + number) / D_MODEL**0.5
    return layer.to(dtype).eval()


def computed_by_the_oracle(
    layer: MultiHeadAttention, x: Tensor, memory: Tensor | None = None, **options: Any
) -> tuple[Any, Any]:
    rotate = None
    if isinstance(layer.rotary, RotaryPositions):
        base, interleaved = layer.rotary.base, layer.rotary.interleaved

        def rotate(rows: Any) -> Any:
            return oracle.rotary(rows, np.arange(len(rows)), base=base, interleaved=interleaved)

    return oracle.multi_head(
        exact(x),
        exact(x if memory is None else memory),
        {name: exact(parameter) for name, parameter in layer.named_parameters()},
        n_heads=layer.n_heads,
        n_kv_heads=layer.n_kv_heads,
        scale=layer.scale,
        rotate=rotate,
        qk_norm_eps=None if layer.q_norm is None else layer.q_norm.eps,
        **{name: exact(given) if isinstance(given, Tensor) else given for name, given in options.items()},
    )


def check(layer: MultiHeadAttention, x: Tensor, memory: Tensor | None = None, **options: Any) -> None:
    """Both paths of a layer against the oracle and each other, the gradients of everything too."""
    wanted, wanted_weights = computed_by_the_oracle(layer, x, memory, **options)
    leaves = [x.requires_grad_(), *([] if memory is None else [memory.requires_grad_()]), *layer.parameters()]
    fused = layer(x, memory, **options)
    with record_attention(layer) as record:
        explicit = layer(x, memory, **options)
    assert_near(fused, wanted)
    assert_near(explicit, wanted)
    assert_near(record[""][0], wanted_weights)
    assert_all_near(gradients(fused, leaves), gradients(explicit, leaves))


# ---- The oracle.


@every_dtype
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("name", ALL_LAYERS)
def test_self_attention_equals_the_oracle(name: str, causal: bool, dtype: torch.dtype) -> None:
    layer = make(name, dtype)
    x = randn(2, 5, D_MODEL, dtype=dtype)
    check(layer, x, causal=causal)
    mask = torch.rand(2, layer.n_heads, 5, 5, generator=torch.Generator().manual_seed(3)) < 0.6
    mask[0, -1, 2] = False
    check(layer, x, causal=causal, mask=mask, bias=randn(1, layer.n_heads, 5, 5, seed=4, dtype=dtype))


@every_dtype
@pytest.mark.parametrize("name", LAYERS)
def test_cross_attention_equals_the_oracle(name: str, dtype: torch.dtype) -> None:
    layer = make(name, dtype)
    x, memory = randn(2, 4, D_MODEL, dtype=dtype), randn(2, 7, D_MODEL, seed=1, dtype=dtype)
    check(layer, x, memory)
    lengths = torch.tensor([3, 7])
    padding = (torch.arange(7) < lengths[:, None])[:, None, None]
    check(layer, x, memory, mask=padding, bias=randn(4, 7, seed=4, dtype=dtype))


@given(
    n_kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    d_head=st.integers(1, 4),
    batch=st.integers(1, 3),
    q_len=st.integers(1, 4),
    k_len=st.integers(1, 4),
    bias=st.booleans(),
    scale=st.sampled_from([None, 1.0]),
    seed=st.integers(0, 1000),
)
def test_any_sizes_equal_the_oracle(
    n_kv_heads: int,
    group: int,
    d_head: int,
    batch: int,
    q_len: int,
    k_len: int,
    bias: bool,
    scale: float | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer = MultiHeadAttention(
        5, n_kv_heads * group, n_kv_heads=n_kv_heads, d_head=d_head, bias=bias, scale=scale
    ).double()
    mask = torch.rand(batch, 1, q_len, k_len) < 0.7
    check(layer, randn(batch, q_len, 5, seed=seed), randn(batch, k_len, 5, seed=seed + 1), mask=mask)


@pytest.mark.parametrize("name", ["grouped", "rotary, grouped"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    layer = make(name)
    names = [name for name, _ in layer.named_parameters()]
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    mask[..., 1, :] = False

    def run(x: Tensor, *parameters: Tensor) -> Any:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (x,), {"mask": mask, "causal": True})

    assert torch.autograd.gradcheck(run, (randn(1, 3, D_MODEL).requires_grad_(), *layer.parameters()), fast_mode=True)


# ---- Splitting and merging.


@pytest.mark.parametrize(("batch", "seq", "heads", "d_head"), [(2, 5, 3, 4), (3, 3, 3, 3), (1, 1, 1, 1), (2, 4, 1, 6)])
def test_trap_17_heads_are_split_and_merged_token_by_token(batch: int, seq: int, heads: int, d_head: int) -> None:
    x = randn(batch, seq, heads * d_head)
    pieces = split_heads(x, heads)
    assert pieces.shape == (batch, heads, seq, d_head)
    for b, h, s, d in np.ndindex(batch, heads, seq, d_head):
        assert pieces[b, h, s, d] == x[b, s, h * d_head + d]
    heads_results = randn(batch, heads, seq, d_head, seed=1)
    merged = merge_heads(heads_results)
    assert merged.shape == (batch, seq, heads * d_head)
    for b, h, s, d in np.ndindex(batch, heads, seq, d_head):
        assert merged[b, s, h * d_head + d] == heads_results[b, h, s, d]


def test_trap_17_a_token_stays_in_its_place() -> None:
    # Each token may see itself alone: changing one changes its own output, and no other.
    layer, x = make("plain"), randn(2, 5, D_MODEL)
    alone = torch.eye(5, dtype=torch.bool)
    output = layer(x, mask=alone)
    for token in range(5):
        changed = x.clone()
        changed[:, token] += 1.0
        moved = [differ(layer(changed, mask=alone)[:, i], output[:, i]) for i in range(5)]
        assert moved == [i == token for i in range(5)]


@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 5, 12)])
def test_split_heads_names_the_wrong_rank(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(batch, seq, width\); got {re.escape(str(shape))}"):
        split_heads(torch.zeros(shape), 3)


@pytest.mark.parametrize("n_heads", [5, 0, -3])
def test_split_heads_names_the_wrong_number(n_heads: int) -> None:
    with pytest.raises(ValueError, match=f"divisible by n_heads; got width 12 and n_heads {n_heads}"):
        split_heads(torch.zeros(2, 5, 12), n_heads)


@pytest.mark.parametrize("shape", [(2, 5, 12), (1, 2, 3, 5, 12)])
def test_merge_heads_names_the_wrong_rank(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(batch, heads, seq, d_head\); got {re.escape(str(shape))}"):
        merge_heads(torch.zeros(shape))


# ---- The traps.


def test_trap_05_a_mask_without_the_heads_axis_is_refused_where_batch_equals_heads() -> None:
    layer, x = make("plain"), randn(3, 5, D_MODEL)
    mask = torch.ones(3, 5, 5, dtype=torch.bool).tril()
    with pytest.raises(ValueError, match=r"rank 2 .* got shape \(3, 5, 5\)"):
        layer(x, mask=mask)
    assert_near(layer(x, mask=mask[:, None]), layer(x, causal=True))


def test_trap_06_dropout_is_off_in_evaluation() -> None:
    layer, x = make("plain"), randn(2, 5, D_MODEL)
    dropping = copy.deepcopy(layer)
    dropping.dropout = 0.5
    assert torch.equal(dropping(x), layer(x))
    with record_attention(dropping):
        assert_near(dropping(x), layer(x))
    dropping.train()
    assert differ(dropping(x), layer(x))
    with record_attention(dropping):
        assert differ(dropping(x), layer(x))
    assert MultiHeadAttention(12, 3, dropout=0.25).dropout == 0.25


def test_trap_07_recorded_weights_sum_to_one_in_training_too() -> None:
    layer, x = make("plain"), randn(2, 5, D_MODEL)
    with record_attention(layer) as record:
        layer(x)
        layer.dropout = 0.5
        layer.train()
        layer(x)
    evaluated, trained = record[""]
    assert_near(trained, evaluated)
    assert_near(trained.sum(-1), torch.ones(2, 3, 5))


def test_trap_08_the_scale_is_that_of_the_head() -> None:
    x = randn(2, 5, D_MODEL)
    for name, scale in (("wide heads", 7**-0.5), ("indivisible", 2**-0.5), ("grouped", 0.5)):
        layer = make(name)
        default = layer(x)
        layer.scale = scale
        assert_near(layer(x), default)
        layer.scale = (D_MODEL / layer.n_heads) ** -0.5
        assert differ(layer(x), default)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(6, 2), (6, 3), (4, 1)])
def test_trap_12_neighbouring_query_heads_share_a_key_head(n_heads: int, n_kv_heads: int) -> None:
    # A grouped layer is the full one whose key and value heads are written out once for each query head.
    grouped = MultiHeadAttention(D_MODEL, n_heads, n_kv_heads=n_kv_heads, d_head=4).double()
    full = MultiHeadAttention(D_MODEL, n_heads, d_head=4).double()
    group = n_heads // n_kv_heads
    full.load_state_dict(
        {
            name: torch.cat([piece for piece in parameter.split(4) for _ in range(group)])
            if name[0] in "kv"
            else parameter
            for name, parameter in grouped.state_dict().items()
        }
    )
    x = randn(2, 5, D_MODEL)
    assert_near(grouped(x, causal=True), full(x, causal=True))


def run_in_chunks(layer: MultiHeadAttention, x: Tensor, chunks: list[int], **options: Any) -> list[Tensor]:
    """The outputs of ``layer`` fed by chunks through a cache. ``bias`` may be a function of the two lengths."""
    cache, start, outputs = KVCache(), 0, []
    with torch.no_grad():
        for size in chunks:
            end = start + size
            now = {
                name: option(size, end) if callable(option) else option[..., :end] for name, option in options.items()
            }
            outputs.append(layer(x[:, start:end], causal=True, cache=cache, **now))
            assert cache.length == end
            start = end
    return outputs


@given(
    name=st.sampled_from(sorted(ALL_LAYERS)),
    chunks=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    kind=st.sampled_from(["none", "relative", "alibi"]),
    padded=st.booleans(),
    recorded=st.booleans(),
)
def test_trap_13_a_cache_changes_nothing_at_any_step(
    name: str, chunks: list[int], kind: str, padded: bool, recorded: bool
) -> None:
    layer, seq = make(name), sum(chunks)
    x = randn(2, seq, D_MODEL)
    options: dict[str, Any] = {}
    if padded:
        options["mask"] = torch.rand(2, 1, 1, seq, generator=torch.Generator().manual_seed(1)) < 0.8
    if kind == "relative":
        options["bias"] = relative = RelativeBias(layer.n_heads, bidirectional=False, n_buckets=8, max_distance=12)
        relative.double().table.data = randn(8, layer.n_heads, seed=8)
    if kind == "alibi":
        options["bias"] = ALiBi(layer.n_heads).double()
    whole = {name: option(seq, seq) if callable(option) else option for name, option in options.items()}
    wanted = layer(x, causal=True, **whole)
    if recorded:
        with record_attention(layer):
            outputs = run_in_chunks(layer, x, chunks, **options)
    else:
        outputs = run_in_chunks(layer, x, chunks, **options)
    for output, expected in zip(outputs, wanted.split(chunks, dim=1), strict=True):
        assert_near(output, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["plain", "rotary, grouped"])
def test_trap_13_a_cache_changes_nothing_in_lower_precision(name: str, dtype: torch.dtype) -> None:
    layer, x = make(name, dtype), randn(2, 9, D_MODEL, dtype=dtype)
    outputs = run_in_chunks(layer, x, [4, 1, 1, 3])
    assert_near(torch.cat(outputs, dim=1), layer(x, causal=True))


def left_padded(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens padded on the left, their mask, and positions counted from each sequence's own first token."""
    longest = max(lengths)
    tokens = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths])
    positions = ((tokens != 0).cumsum(-1) - 1).clamp(min=0)
    return randn(len(lengths), longest, D_MODEL), padding_mask(tokens, 0), positions


@pytest.mark.parametrize("name", ROTARY_LAYERS)
def test_trap_13_left_padding_with_positions_from_the_mask(name: str) -> None:
    layer, lengths = make(name), [3, 6, 1]
    x, mask, positions = left_padded(lengths)
    output = layer(x, mask=mask, causal=True, positions=positions)
    cache, steps = KVCache(), []
    with torch.no_grad():
        for start, end in ((0, 4), (4, 5), (5, 6)):
            now = {"mask": mask[..., :end], "positions": positions[:, start:end]}
            steps.append(layer(x[:, start:end], causal=True, cache=cache, **now))
    for b, length in enumerate(lengths):
        alone = layer(x[b : b + 1, -length:], causal=True)[0]
        assert_near(output[b, -length:], alone)
        assert_near(torch.cat(steps, dim=1)[b, -length:], alone)


def test_trap_13_left_padding_of_added_positions() -> None:
    layer, table = make("plain"), SinusoidalPositions(D_MODEL).double()
    x, mask, positions = left_padded([3, 6])
    output = layer(table(x, positions), mask=mask, causal=True)
    alone = layer(table(x[:1, -3:]), causal=True)
    assert_near(output[:1, -3:], alone)


# ---- Invariants.


@pytest.mark.parametrize("recorded", [False, True], ids=["fused", "explicit"])
@pytest.mark.parametrize("name", ALL_LAYERS)
def test_a_causal_layer_does_not_see_the_future(name: str, recorded: bool) -> None:
    layer, x = make(name), randn(2, 6, D_MODEL)

    def run(x: Tensor) -> Tensor:
        if not recorded:
            return layer(x, causal=True)
        with record_attention(layer):
            return layer(x, causal=True)

    output = run(x)
    for changed_at in range(6):
        changed = x.clone()
        changed[:, changed_at] += 1.0
        moved = [differ(run(changed)[:, i], output[:, i]) for i in range(6)]
        assert moved == [i >= changed_at for i in range(6)]


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_padding_does_not_matter(name: str) -> None:
    layer, lengths = make(name), [4, 1, 6]
    x = randn(3, 6, D_MODEL)
    tokens = (torch.arange(6) < torch.tensor(lengths)[:, None]).long()
    mask = padding_mask(tokens, 0)
    other = torch.where(mask[:, 0, 0, :, None], x, 1e3 * randn(3, 6, D_MODEL, seed=1))
    output, dirty = layer(x, mask=mask), layer(other, mask=mask)
    for b, length in enumerate(lengths):
        assert_near(output[b, :length], layer(x[b : b + 1, :length])[0])
        assert_near(dirty[b, :length], output[b, :length])


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_a_batch_equals_its_sequences_one_by_one(name: str) -> None:
    layer, x = make(name), randn(3, 5, D_MODEL)
    output = layer(x, causal=True)
    for b in range(3):
        assert_near(layer(x[b : b + 1], causal=True), output[b : b + 1])


@pytest.mark.parametrize("name", LAYERS)
def test_without_positions_the_order_of_tokens_only_orders_the_output(name: str) -> None:
    layer, x, order = make(name), randn(2, 6, D_MODEL), torch.tensor([3, 0, 5, 1, 4, 2])
    assert_near(layer(x[:, order]), layer(x)[:, order])
    memory = randn(2, 6, D_MODEL, seed=1)
    assert_near(layer(x, memory[:, order]), layer(x, memory))
    assert differ(layer(x[:, order], causal=True), layer(x, causal=True)[:, order])


@pytest.mark.parametrize("name", ROTARY_LAYERS)
def test_with_rotary_positions_order_matters_and_only_distance_counts(name: str) -> None:
    layer, x, order = make(name), randn(2, 6, D_MODEL), torch.tensor([3, 0, 5, 1, 4, 2])
    output = layer(x)
    assert differ(layer(x[:, order]), output[:, order])
    assert_near(layer(x[:, order], positions=order), output[:, order])
    assert_near(layer(x, positions=torch.arange(6)), output)
    shifted = layer(x, positions=torch.arange(6) + 700)
    assert distance(shifted, output) < 1e-9
    assert differ(layer(x, positions=2 * torch.arange(6)), output)


def test_any_function_may_turn_queries_and_keys() -> None:
    turned: list[tuple[tuple[int, ...], Tensor]] = []

    def rotary(x: Tensor, positions: Tensor | None = None) -> Tensor:
        assert positions is not None
        turned.append((tuple(x.shape), positions))
        return -x

    layer = make("grouped")
    x = randn(2, 5, D_MODEL)
    plain = layer(x)
    layer.rotary = rotary
    assert_near(layer(x), plain)  # both signs turn, so the products stay
    assert [shape for shape, _ in turned] == [(2, 6, 5, 4), (2, 2, 5, 4)]  # queries, and keys before they are shared
    assert all(torch.equal(positions, torch.arange(5)) for _, positions in turned)


# ---- The two paths, and what a layer keeps.


def test_the_explicit_path_is_taken_only_when_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = make("plain"), randn(2, 5, D_MODEL)

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the wrong path")

    with monkeypatch.context() as patch:
        patch.setattr(multihead, "attention", forbidden)
        layer(x)
    with monkeypatch.context() as patch, record_attention(layer):
        patch.setattr(multihead, "fused_attention", forbidden)
        layer(x)
    assert multihead.fused_attention is fused_attention


def tensors_kept(module: nn.Module) -> dict[str, int]:
    """Every attribute of every part of a module, and the tensors among its parameters and buffers."""
    kept = {f"{name}.{key}": id(value) for name, part in module.named_modules() for key, value in vars(part).items()}
    return kept | {f"{name} (tensor)": id(tensor) for name, tensor in module.state_dict(keep_vars=True).items()}


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_a_layer_keeps_nothing_of_its_input(name: str) -> None:
    layer, x = make(name).train(), randn(2, 5, D_MODEL)
    before = tensors_kept(layer)
    layer(x, causal=True)
    with record_attention(layer):
        layer(x, causal=True)
    with torch.no_grad():
        layer(x, causal=True, cache=KVCache())
    assert tensors_kept(layer) == before
    names = {f"{p}_proj.{kind}" for p in "qkvo" for kind in (["weight"] if name == "no bias" else ["weight", "bias"])}
    names |= {"q_norm.weight", "k_norm.weight"} if "normalized" in name else set()
    assert set(layer.state_dict()) == names


def test_the_first_weights_are_xaviers_and_the_biases_zero() -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(64, 4, n_kv_heads=2)
    for projection, out in ((layer.q_proj, 64), (layer.k_proj, 32), (layer.v_proj, 32), (layer.o_proj, 64)):
        assert projection.weight.shape == (out, 64)
        bound = (6 / (64 + out)) ** 0.5
        assert 0.98 * bound < float(projection.weight.detach().abs().max()) <= bound
        assert float(projection.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not projection.bias.any()


def test_normalized_heads_keep_their_type_and_their_first_gains_are_one() -> None:
    layer, x = MultiHeadAttention(D_MODEL, 3, qk_norm_eps=1e-6), randn(2, 5, D_MODEL, dtype=torch.float32)
    assert layer.q_norm is not None
    assert torch.equal(layer.q_norm.weight, torch.ones(4))
    with torch.no_grad():
        layer.q_norm.weight.fill_(3.0)
        layer.reset_parameters()
        assert torch.equal(layer.q_norm.weight, torch.ones(4))
        wanted, cache = layer(x, causal=True), KVCache()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = torch.cat(
                [layer(x[:, :3], causal=True, cache=cache), layer(x[:, 3:], causal=True, cache=cache)], 1
            )
        assert output.dtype == torch.bfloat16
    assert distance(output.float(), wanted) < 0.02
    louder = copy.deepcopy(layer)
    louder.q_proj.weight.data *= 1000.0  # the scores stay as they are
    assert distance(louder(x), layer(x)) < 1e-5


@pytest.mark.parametrize("eps", [0.0, -1e-6, float("nan"), True])
def test_an_epsilon_that_makes_no_sense_is_named(eps: float) -> None:
    with pytest.raises(ValueError, match="qk_norm_eps must be "):
        MultiHeadAttention(D_MODEL, 3, qk_norm_eps=eps)


def test_the_representation_names_the_sizes() -> None:
    assert "d_model=12, n_heads=6, n_kv_heads=2, d_head=4" in repr(make("grouped"))


# ---- Editing the weights.


def only_head(number: int) -> Callable[[Tensor], Tensor]:
    return lambda weights: weights * (torch.arange(weights.size(1)) == number)[:, None, None]


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_what_an_observer_returns_takes_effect(name: str) -> None:
    layer, x = make(name), randn(2, 5, D_MODEL)
    parameters = [layer.q_proj.weight, layer.v_proj.weight]
    with layer.tap.observe(only_head(0)), record_attention(layer) as record:
        output = layer(x, causal=True)
    found = gradients(output, parameters)
    assert record[""][0][:, 0].any()
    assert not record[""][0][:, 1:].any()  # what met the values
    alone = make(name)
    alone.o_proj.weight.data[:, layer.d_head :] = 0.0  # the other heads' outputs are not read
    wanted = alone(x, causal=True)
    assert_near(output, wanted)
    wanted_gradients = gradients(wanted, [alone.q_proj.weight, alone.v_proj.weight])
    for one, other in zip(found, wanted_gradients, strict=True):
        assert_near(one, other)
    if layer.n_heads > 1:
        assert differ(layer(x, causal=True), output)


def test_observers_see_what_those_before_them_left_and_leave_in_any_order() -> None:
    layer, x, seen = make("plain"), randn(2, 5, D_MODEL), list[Tensor]()
    first, second = layer.tap.observe(only_head(1)), layer.tap.observe(seen.append)
    first.__enter__()
    second.__enter__()
    wanted = layer(x)
    assert not seen[0][:, [0, 2]].any()
    first.__exit__(None, None, None)
    assert layer.tap.observed
    layer(x)
    assert seen[1][:, [0, 2]].all()
    second.__exit__(None, None, None)
    assert not layer.tap.observed

    def in_place(weights: Tensor) -> None:
        weights[:, [0, 2]] = 0.0

    with torch.no_grad(), layer.tap.observe(in_place):
        assert_near(layer(x), wanted)


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
def test_a_copy_is_not_observed(how: Callable[[Any], Any]) -> None:
    layer, x = make("plain"), randn(2, 5, D_MODEL)
    with layer.tap.observe(only_head(1)):
        twin = how(layer)
    assert not twin.tap.observed
    assert_near(twin(x), layer(x))


@pytest.mark.parametrize(
    ("returned", "given_as"),
    [(torch.ones(2, 3, 5, 4), r"shape \(2, 3, 5, 4\)"), ([1.0], "list")],
    ids=["shape", "list"],
)
def test_an_observer_that_returns_no_weights_is_named(returned: Any, given_as: str) -> None:
    layer = make("plain")
    message = rf"must return weights of shape \(2, 3, 5, 5\), or None; got {given_as}"
    with layer.tap.observe(lambda _: returned), pytest.raises(ValueError, match=message):
        layer(randn(2, 5, D_MODEL))


def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(multihead, extraglobs={"torch": torch})
    assert result.attempted >= 3
    assert not result.failed


def test_projected_keys_of_another_layer_are_refused() -> None:
    grouped, x = make("grouped"), randn(2, 5, D_MODEL)
    keys, values = MultiHeadAttention(D_MODEL, 3, d_head=4).double().project(x)  # 3 heads would divide 6
    with pytest.raises(ValueError, match=r"\(batch, kv_heads=2, key, d_head\); got \(2, 3, 5, 4\) and \(2, 3, 5, 4\)"):
        grouped(x, (keys, values))


def test_grouped_heads_are_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = make("grouped"), randn(2, 5, D_MODEL)
    wanted = layer(x, causal=True)
    monkeypatch.setattr(Tensor, "repeat_interleave", interrupt)
    with torch.no_grad():
        assert_near(torch.cat(run_in_chunks(layer, x, [3, 1, 1]), dim=1), wanted)
        with record_attention(layer):
            assert_near(layer(x, causal=True), wanted)


# ---- Half precision.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ALL_LAYERS)
def test_under_autocast_a_layer_gives_the_float32_result_rounded(name: str, dtype: torch.dtype) -> None:
    layer, x = make(name, torch.float32), randn(2, 6, D_MODEL, dtype=torch.float32)
    bias = ALiBi(layer.n_heads)(6, 6)
    wanted = layer(x, causal=True, bias=bias)
    with torch.autocast("cpu", dtype):
        fused = layer(x, causal=True, bias=bias)
        with record_attention(layer) as record:
            explicit = layer(x, causal=True, bias=bias)
        with torch.no_grad():
            cache = KVCache()
            chunks = [
                layer(x[:, start:end], causal=True, bias=bias[:, :, start:end, :end], cache=cache)
                for start, end in ((0, 3), (3, 4), (4, 6))
            ]
    for output in (fused, explicit, torch.cat(chunks, dim=1)):
        assert output.dtype == dtype
        assert_near(output, wanted)
    assert_near(record[""][0].sum(-1), torch.ones(2, layer.n_heads, 6))
    for gradient, parameter in zip(gradients(fused, list(layer.parameters())), layer.parameters(), strict=True):
        assert gradient.isfinite().all()
        assert gradient.dtype == parameter.dtype == torch.float32


def test_a_rotary_layer_in_bfloat16_stays_accurate_at_late_positions() -> None:
    # Positions above 256 have no exact bfloat16: rounded angles would be wrong by whole radians.
    layer = make("rotary", torch.bfloat16)
    accurate = copy.deepcopy(layer).double()
    x, positions = randn(2, 6, D_MODEL, dtype=torch.bfloat16), torch.arange(6) + 3001
    assert_near(layer(x, positions=positions, causal=True), accurate(x.double(), positions=positions, causal=True))


# ---- The cache by itself.


def new_positions(new: int, seed: int = 0, batch: int = 2, heads: int = 3, d_head: int = 4) -> tuple[Tensor, Tensor]:
    return randn(batch, heads, new, d_head, seed=seed), randn(batch, heads, new, d_head, seed=seed + 1)


@given(chunks=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_the_cache_returns_all_that_was_appended(chunks: list[int]) -> None:
    cache = KVCache()
    keys, values = zip(*(new_positions(new, seed=10 * i) for i, new in enumerate(chunks)), strict=True)
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        all_keys, all_values = cache.append(key, value)
        assert torch.equal(all_keys, torch.cat(keys[: i + 1], dim=2))
        assert torch.equal(all_values, torch.cat(values[: i + 1], dim=2))
        assert cache.length == sum(chunks[: i + 1])
        assert repr(cache) == f"KVCache(length={cache.length})"


def test_the_cache_copies_each_position_a_few_times_at_most() -> None:
    cache, rooms = KVCache(), set()
    for step in range(200):
        keys, _ = cache.append(*new_positions(1, seed=step))
        rooms.add(keys.data_ptr())
    assert len(rooms) <= 9  # 1, 2, 4, …, 256


def test_the_cache_holds_copies() -> None:
    cache, (keys, values) = KVCache(), new_positions(3)
    kept_keys, kept_values = (tensor.clone() for tensor in cache.append(keys, values))
    keys.zero_()
    values.zero_()
    all_keys, all_values = cache.append(*new_positions(0))
    assert torch.equal(all_keys, kept_keys)
    assert torch.equal(all_values, kept_values)


@pytest.mark.parametrize("index", [[1, 0], [1, 1], [0], [1, 0, 0, 1]], ids=str)
@pytest.mark.parametrize("name", ["grouped", "rotary"])
def test_reorder_continues_the_chosen_sequences(name: str, index: list[int]) -> None:
    layer, x = make(name), randn(2, 5, D_MODEL)
    new, later = randn(len(index), 2, D_MODEL, seed=7), randn(len(index), 1, D_MODEL, seed=8)
    cache = KVCache()
    with torch.no_grad():
        layer(x[:, :3], causal=True, cache=cache)
        layer(x[:, 3:], causal=True, cache=cache)
        cache.reorder(torch.tensor(index))
        outputs = [layer(tokens, causal=True, cache=cache) for tokens in (new, later)]
    assert cache.length == 8
    wanted = layer(torch.cat([x[index], new, later], dim=1), causal=True)
    assert_near(torch.cat(outputs, dim=1), wanted[:, 5:])


def test_reorder_of_an_empty_cache_does_nothing() -> None:
    cache = KVCache()
    cache.reorder(torch.tensor([1, 0]))
    assert cache.length == 0
    assert torch.equal(cache.append(*new_positions(2))[0], new_positions(2)[0])


def test_two_caches_share_nothing() -> None:
    one, other = KVCache(), KVCache()
    one.append(*new_positions(3))
    assert other.length == 0
    assert other.append(*new_positions(2, seed=5))[0].size(2) == 2


@pytest.mark.parametrize("n_kv_heads", [3, 1])
def test_a_projected_memory_gives_the_same(n_kv_heads: int) -> None:
    layer = MultiHeadAttention(12, 3, n_kv_heads=n_kv_heads).double()
    x, memory = torch.randn(2, 4, 12, dtype=torch.float64), torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x, layer.project(memory)), layer(x, memory), atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"memory must have shape \(batch, seq, d_model=12\); got \(2, 7, 6\)"):
        layer.project(memory[..., :6])


def test_a_refused_call_leaves_the_cache_as_it_was() -> None:
    layer = MultiHeadAttention(12, 3, n_kv_heads=1, rotary=RotaryPositions(4)).double()
    x, cache = torch.randn(2, 6, 12, dtype=torch.float64), KVCache()
    with torch.no_grad():
        expected = layer(x, causal=True)
        layer(x[:, :4], causal=True, cache=cache)
        with pytest.raises(ValueError, match="mask must be broadcastable"):
            layer(x[:, 4:], causal=True, mask=torch.ones(2, 5, dtype=torch.bool), cache=cache)
        assert cache.length == 4
        torch.testing.assert_close(layer(x[:, 4:], causal=True, cache=cache), expected[:, 4:])


class Deliberate(BaseException):
    """Like KeyboardInterrupt, no Exception."""


def interrupt(*_: Any) -> None:
    raise Deliberate


@pytest.mark.parametrize("part", ["q_proj", "k_proj", "o_proj", "tap"])  # each a moment of the call
@pytest.mark.parametrize("name", ["plain", "rotary, grouped"])
def test_an_interrupted_call_leaves_the_cache_as_it_was(name: str, part: str) -> None:
    layer, x, cache = make(name), randn(2, 6, D_MODEL), KVCache()
    with torch.no_grad():
        for start, end in ((0, 4), (4, 6)):
            kept = dict(vars(cache))
            with ExitStack() as contexts:
                if part == "tap":
                    contexts.enter_context(layer.tap.observe(interrupt))
                else:
                    contexts.callback(layer.get_submodule(part).register_forward_hook(interrupt).remove)
                with pytest.raises(Deliberate):
                    layer(x[:, start:end], causal=True, cache=cache)
            assert vars(cache) == kept  # the same tensors, and the length
            output = layer(x[:, start:end], causal=True, cache=cache)
            assert_near(output, layer(x, causal=True)[:, start:end])


def test_an_append_that_runs_out_of_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, (keys, values), grown = KVCache(), new_positions(3), KVCache._grown
    cache.append(keys, values)

    def refuse_the_second(self: KVCache, old: Tensor, needed: int) -> Tensor:
        monkeypatch.setattr(KVCache, "_grown", interrupt)
        return grown(self, old, needed)

    with monkeypatch.context():
        monkeypatch.setattr(KVCache, "_grown", refuse_the_second)
        with pytest.raises(Deliberate):
            cache.append(*new_positions(4, seed=7))
        monkeypatch.setattr(KVCache, "_grown", grown)
    assert cache.length == 3
    all_keys, all_values = cache.append(*new_positions(4, seed=5))
    assert torch.equal(all_keys, torch.cat([keys, new_positions(4, seed=5)[0]], dim=2))
    assert torch.equal(all_values, torch.cat([values, new_positions(4, seed=5)[1]], dim=2))


def test_a_refused_first_call_leaves_room_for_other_sequences() -> None:
    layer, cache = make("plain"), KVCache()
    with torch.no_grad():
        with pytest.raises(ValueError, match="mask must be broadcastable"):
            layer(randn(2, 3, D_MODEL), mask=torch.ones(2, 5, dtype=torch.bool), cache=cache)
        x = randn(5, 3, D_MODEL)
        assert_near(layer(x, causal=True, cache=cache), layer(x, causal=True))


def test_a_cropped_cache_forgets_what_came_after() -> None:
    layer = MultiHeadAttention(12, 3).double()
    x, cache = torch.randn(2, 6, 12, dtype=torch.float64), KVCache()
    with torch.no_grad():
        layer(torch.cat([x[:, :4], torch.ones(2, 3, 12, dtype=torch.float64)], dim=1), causal=True, cache=cache)
        cache.crop(4)
        torch.testing.assert_close(layer(x[:, 4:], causal=True, cache=cache), layer(x, causal=True)[:, 4:])
    with pytest.raises(ValueError, match="from 0 to the 6 positions stored; got 7"):
        cache.crop(7)


def test_a_cache_refuses_gradients() -> None:
    layer, cache = make("plain"), KVCache()
    with pytest.raises(RuntimeError, match=r"for inference; call the model under torch\.no_grad\(\)"):
        layer(randn(2, 5, D_MODEL), cache=cache)
    with pytest.raises(RuntimeError, match="for inference"):
        cache.append(new_positions(2)[0], new_positions(2)[1].requires_grad_())
    assert cache.length == 0


@pytest.mark.parametrize(("keys", "values"), [((2, 3, 1, 4), (2, 3, 1, 5)), ((2, 3, 4), (2, 3, 4))])
def test_a_cache_names_the_wrong_shapes(keys: tuple[int, ...], values: tuple[int, ...]) -> None:
    message = rf"both have shape \(batch, heads, new, d_head\); got {re.escape(str(keys))} and {re.escape(str(values))}"
    with pytest.raises(ValueError, match=message):
        KVCache().append(torch.zeros(keys), torch.zeros(values))


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (2, 2, 1, 4), (2, 3, 1, 5)])
def test_a_cache_names_what_does_not_continue_it(shape: tuple[int, ...]) -> None:
    cache = KVCache()
    cache.append(*new_positions(2))
    given_as = re.escape(str((*shape[:2], shape[3])))
    with pytest.raises(ValueError, match=rf"holds \(batch, heads, d_head\) = \(2, 3, 4\); got keys for {given_as}"):
        cache.append(torch.zeros(shape), torch.zeros(shape))
    assert cache.length == 2


# ---- Error messages.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 0, "n_heads": 3}, "d_model must be at least 1; got 0"),
        ({"d_model": 12, "n_heads": 0}, "n_heads must be at least 1; got 0"),
        ({"d_model": 12, "n_heads": 3, "n_kv_heads": 0}, "n_kv_heads must be at least 1; got 0"),
        ({"d_model": 12, "n_heads": 5}, "d_model must be divisible by n_heads unless d_head is given; got 12 and 5"),
        ({"d_model": 12, "n_heads": 3, "d_head": 0}, "d_head must be at least 1; got 0"),
        ({"d_model": 12, "n_heads": 4, "n_kv_heads": 3}, "n_heads must be divisible by n_kv_heads; got 4 and 3"),
        ({"d_model": 12, "n_heads": 2, "n_kv_heads": 4}, "n_heads must be divisible by n_kv_heads; got 2 and 4"),
        ({"d_model": 12, "n_heads": 3, "dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        ({"d_model": 12, "n_heads": 3, "dropout": -0.5}, r"dropout must be in \[0, 1\); got -0.5"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(**arguments)


@pytest.mark.parametrize(
    ("x", "memory", "message"),
    [
        ((5, 12), None, r"x must have shape \(batch, seq, d_model=12\); got \(5, 12\)"),
        ((2, 5, 11), None, r"x must have shape \(batch, seq, d_model=12\); got \(2, 5, 11\)"),
        ((2, 5, 12), (2, 7, 11), r"memory must have shape \(batch, seq, d_model=12\); got \(2, 7, 11\)"),
        ((2, 5, 12), (7, 12), r"memory must have shape \(batch, seq, d_model=12\); got \(7, 12\)"),
        ((2, 5, 12), (3, 7, 12), r"all axes but the last two; got \(2, 3, 5, 4\), \(3, 3, 7, 4\)"),
    ],
)
def test_tokens_that_do_not_fit_are_named(x: tuple[int, ...], memory: tuple[int, ...] | None, message: str) -> None:
    layer = MultiHeadAttention(12, 3)
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(x), None if memory is None else torch.zeros(memory))


@pytest.mark.parametrize("name", ["plain", "rotary"])
def test_a_memory_excludes_what_orders_one_sequence(name: str) -> None:
    layer, x = make(name), randn(2, 5, D_MODEL)
    orders: list[dict[str, Any]] = [{}] if name == "rotary" else [{"causal": True}, {"cache": KVCache()}]
    for options in orders:
        with pytest.raises(ValueError, match=r"a cache, causal=True and rotary positions .* exclude a memory"):
            layer(x, x, **options)
