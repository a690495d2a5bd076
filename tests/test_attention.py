"""Scaled dot-product attention: the definition and the fused path, against the oracle, PyTorch and each other."""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests import oracle
from tests.cases import (
    BATCH,
    BIASES,
    D_HEAD,
    D_VALUE,
    DTYPES,
    HEADS,
    LENGTHS,
    MASKS,
    assert_near,
    differ,
    distance,
    exact,
    gradients,
    make_bias,
    make_mask,
    randn,
    upstream_of,
)
from transformer_lib import attention, causal_mask, fused_attention, padding_mask


def explicit(*args: Any, **kwargs: Any) -> Tensor:
    return attention(*args, **kwargs)[0]


PATHS: dict[str, Callable[..., Tensor]] = {"explicit": explicit, "fused": fused_attention}
both_paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
both_functions = pytest.mark.parametrize("function", [attention, fused_attention], ids=["attention", "fused_attention"])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def inputs(q_len: int = 4, k_len: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return (
        randn(BATCH, HEADS, q_len, D_HEAD, seed=1, dtype=dtype),
        randn(BATCH, HEADS, k_len, D_HEAD, seed=2, dtype=dtype),
        randn(BATCH, HEADS, k_len, D_VALUE, seed=3, dtype=dtype),
    )


def arrays(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else exact(tensor) for tensor in tensors]


# ---- Outputs and gradients of both paths, for every dtype, mask and bias.


@every_dtype
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("mask_kind", MASKS)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_both_paths_equal_the_oracle_and_each_other(
    lengths: tuple[int, int], mask_kind: str, causal: bool, dtype: torch.dtype
) -> None:
    for bias_kind in BIASES:
        mask, bias = make_mask(mask_kind, *lengths), make_bias(bias_kind, *lengths, dtype)
        leaves = [*inputs(*lengths, dtype=dtype), *([] if bias is None else [bias])]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        query, key, value = leaves[:3]
        wanted, wanted_weights = oracle.attention(*arrays(query, key, value, mask, bias), causal=causal)

        output, weights = attention(query, key, value, mask, bias, causal=causal)
        fused = fused_attention(query, key, value, mask, bias, causal=causal)
        assert output.dtype == fused.dtype == weights.dtype == dtype
        assert_near(output, wanted)
        assert_near(fused, wanted)
        assert_near(weights, wanted_weights)
        assert_near(fused, output)

        wanted_gradients = oracle.attention_gradients(
            upstream_of(output), *arrays(query, key, value, mask, bias), causal=causal
        )
        explicit_gradients, fused_gradients = gradients(output, leaves), gradients(fused, leaves)
        for one, other, expected in zip(explicit_gradients, fused_gradients, wanted_gradients, strict=False):
            assert expected is not None
            assert_near(one, expected)
            assert_near(other, expected)
            assert_near(other, one)


@dataclass
class Case:
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    bias: Tensor | None
    causal: bool
    scale: float | None

    def arguments(self) -> tuple[list[Tensor | None], dict[str, Any]]:
        tensors = [self.query, self.key, self.value, self.mask, self.bias]
        return tensors, {"causal": self.causal, "scale": self.scale}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    batch = draw(st.lists(st.integers(1, 3), min_size=0, max_size=3))
    q_len, k_len, d_head, d_value = (draw(st.integers(1, 5)) for _ in range(4))
    seed = draw(st.integers(0, 10_000))
    full = (*batch, q_len, k_len)

    def scores_like() -> tuple[int, ...] | None:
        kind = draw(st.sampled_from(["none", "square", "shared", "full"]))
        if kind == "none":
            return None
        if kind == "square":
            return full[-2:]
        return tuple(draw(st.sampled_from([1, size])) if kind == "shared" else size for size in full)

    mask_shape, bias_shape = scores_like(), scores_like()
    density = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    generator = torch.Generator().manual_seed(seed)
    return Case(
        query=randn(*batch, q_len, d_head, seed=seed),
        key=randn(*batch, k_len, d_head, seed=seed + 1),
        value=randn(*batch, k_len, d_value, seed=seed + 2),
        mask=None if mask_shape is None else torch.rand(mask_shape, generator=generator) < density,
        bias=None if bias_shape is None else randn(*bias_shape, seed=seed + 3),
        causal=draw(st.booleans()),
        scale=draw(st.sampled_from([None, 1.0, 0.3, 0.0])),
    )


@given(case=cases())
def test_any_shape_equals_the_oracle(case: Case) -> None:
    tensors, options = case.arguments()
    wanted, wanted_weights = oracle.attention(*arrays(*tensors), **options)
    before = [None if tensor is None else tensor.clone() for tensor in tensors]
    output, weights = attention(*tensors, **options)
    assert_near(output, wanted)
    assert_near(weights, wanted_weights)
    assert_near(fused_attention(*tensors, **options), wanted)
    for old, new in zip(before, tensors, strict=True):
        assert old is None or torch.equal(old, new), "an input was changed in place"


@given(case=cases())
def test_any_shape_has_the_gradients_of_the_oracle(case: Case) -> None:
    tensors, options = case.arguments()
    leaves = [t.requires_grad_() for t in tensors if t is not None and t.is_floating_point()]
    for path in PATHS.values():
        output = path(*tensors, **options)
        wanted = oracle.attention_gradients(upstream_of(output), *arrays(*tensors), **options)
        for gradient, expected in zip(gradients(output, leaves), wanted, strict=False):
            assert expected is not None
            assert_near(gradient, expected)


@given(case=cases())
def test_every_row_of_weights_sums_to_one_or_to_zero(case: Case) -> None:
    tensors, options = case.arguments()
    _, weights = attention(*tensors, **options)
    sees = oracle.allowed(tuple(weights.shape), *arrays(case.mask), causal=case.causal)
    np.testing.assert_allclose(weights.sum(-1).numpy(), sees.any(-1).astype(float), atol=1e-12)
    assert (weights.numpy()[~sees] == 0.0).all()
    assert (weights >= 0).all()


@given(case=cases())
def test_a_batch_equals_its_sequences_one_by_one(case: Case) -> None:
    tensors, options = case.arguments()
    batch = case.query.shape[:-2]
    scores = (*batch, case.query.size(-2), case.key.size(-2))
    together = [path(*tensors, **options) for path in PATHS.values()]
    alone = [None if t is None else t.expand(scores) for t in tensors[3:]]
    for index in np.ndindex(*batch):
        picked = [*(t[index] for t in tensors[:3]), *(None if t is None else t[index] for t in alone)]
        for path, output in zip(PATHS.values(), together, strict=True):
            assert_near(path(*picked, **options), output[index])


def test_gradients_through_the_weights_are_those_of_finite_differences() -> None:
    query, key, value = (tensor.requires_grad_() for tensor in inputs(3, 4))
    mask, bias = make_mask("some rows empty", 3, 4), make_bias("per head", 3, 4, torch.float64)
    assert bias is not None
    bias.requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: attention(*args[:3], mask, args[3]), (query, key, value, bias))


# ---- Any bias, however large, and of any dtype.


def extreme_bias(kind: str, dtype: torch.dtype) -> Tensor | None:
    """A bias (2, 3, 4, 7) of one of ``EXTREMES``, or ``None`` where the dtype has no such numbers."""
    some, finfo = torch.rand(2, 3, 4, 7, generator=torch.Generator().manual_seed(7)) < 0.5, torch.finfo(dtype)
    normal = randn(2, 3, 4, 7, seed=6)
    bias = {
        "smallest here and there": normal.masked_fill(some, finfo.min),
        "smallest everywhere": torch.full_like(normal, finfo.min),
        "largest here and there": normal.masked_fill(some, finfo.max),
        "smallest and largest": torch.full_like(normal, finfo.max).masked_fill(some, finfo.min),
        "-1e5 everywhere": torch.full_like(normal, -1e5),
        "about -1e9": normal - 1e9,
        "wide": 50 * normal,
        "-inf here and there": normal.masked_fill(some, -math.inf),
        "-inf in rows": normal.masked_fill(torch.arange(4)[:, None] % 2 == 0, -math.inf),
        "-inf everywhere": torch.full_like(normal, -math.inf),
    }[kind]
    return None if "1e" in kind and finfo.max < 1e10 else bias.to(dtype)


EXTREMES = [
    "smallest here and there",
    "smallest everywhere",
    "largest here and there",
    "smallest and largest",
    "-1e5 everywhere",
    "about -1e9",
    "wide",
    "-inf here and there",
    "-inf in rows",
    "-inf everywhere",
]


@every_dtype
@pytest.mark.parametrize("kind", EXTREMES)
def test_both_paths_are_right_for_every_bias(kind: str, dtype: torch.dtype) -> None:
    for bias_dtype, (mask_kind, causal) in itertools.product(
        {dtype, torch.float32, torch.float64, torch.bfloat16},
        [("none", False), ("none", True), ("full", False), ("some rows empty", True)],
    ):
        bias, mask = extreme_bias(kind, bias_dtype), make_mask(mask_kind, 4, 7)
        if bias is None:
            continue
        leaves = [leaf.requires_grad_() for leaf in (*inputs(dtype=dtype), bias)]
        given, options = arrays(*leaves[:3], mask, bias), {"causal": causal}
        wanted, wanted_weights = oracle.attention(*given, **options)
        output, weights = attention(*leaves[:3], mask, bias, **options)
        fused = fused_attention(*leaves[:3], mask, bias, **options)
        assert output.dtype == fused.dtype == dtype
        assert_near(weights, wanted_weights)
        assert_near(output, wanted)
        assert_near(fused, wanted)
        assert_near(fused, output)
        wanted_gradients = oracle.attention_gradients(upstream_of(output), *given, **options)
        for result in (output, fused):
            for gradient, expected in zip(gradients(result, leaves), wanted_gradients, strict=True):
                assert expected is not None
                coarser = max((dtype, gradient.dtype), key=lambda each: torch.finfo(each).eps)
                assert_near(gradient, expected, coarser)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast_a_finite_bias_stays_finite(dtype: torch.dtype) -> None:
    query, key, value = inputs(dtype=torch.float32)
    for bias in (torch.full((4, 7), -1e5), torch.full((4, 7), torch.finfo(torch.float32).min)):
        wanted, _ = oracle.attention(*arrays(query, key, value))
        for path in PATHS.values():
            with torch.autocast("cpu", dtype):
                assert_near(path(query, key, value, None, bias), wanted)


@both_paths
@every_dtype
@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_bias_of_infinity_or_nan_is_seen_in_its_row_alone(
    path: Callable[..., Tensor], dtype: torch.dtype, number: float
) -> None:
    query, key, value = inputs(dtype=dtype)
    bias = randn(4, 7, seed=6, dtype=dtype)
    wanted = path(query, key, value, None, bias)
    bias[1, 2] = number
    output = path(query, key, value, None, bias)
    assert output[:, :, 1].isnan().all()
    assert_near(output[:, :, [0, 2, 3]], wanted[:, :, [0, 2, 3]])
    hidden = torch.arange(7) != 2
    mask = hidden.expand(4, 7)
    assert_near(path(query, key, value, mask, bias), path(query, key, value, mask, randn(4, 7, seed=6, dtype=dtype)))


# ---- Heads that share keys and values.


def repeated(tensor: Tensor, group: int) -> Tensor:
    return tensor.repeat_interleave(group, dim=-3)


@both_paths
@every_dtype
@pytest.mark.parametrize("n_kv_heads", [3, 2, 1])
def test_grouped_heads_equal_repeated_keys_and_values(
    path: Callable[..., Tensor], n_kv_heads: int, dtype: torch.dtype
) -> None:
    for (q_len, k_len), batch in zip(LENGTHS.values(), [(2,), (), (2, 5), (2,)], strict=True):
        query = randn(*batch, 6, q_len, D_HEAD, seed=1, dtype=dtype).requires_grad_()
        key = randn(*batch, n_kv_heads, k_len, D_HEAD, seed=2, dtype=dtype).requires_grad_()
        value = randn(*batch, n_kv_heads, k_len, D_VALUE, seed=3, dtype=dtype).requires_grad_()
        full = (*batch, 6, q_len, k_len)
        masks = [None, torch.rand(full, generator=torch.Generator().manual_seed(5)) < 0.6]
        biases = [None, randn(*full, seed=6, dtype=dtype), randn(*[1] * len(batch), 6, 1, k_len, seed=6)]
        for mask, bias, causal in itertools.product(masks, biases, [False, True]):
            group = 6 // n_kv_heads
            output = path(query, key, value, mask, bias, causal=causal, grouped=True)
            wanted = path(query, repeated(key, group), repeated(value, group), mask, bias, causal=causal)
            assert_near(output, wanted)
            leaves = (query, key, value)
            for one, other in zip(gradients(output, leaves), gradients(wanted, leaves), strict=True):
                assert_near(one, other)


@both_paths
@pytest.mark.parametrize("q_len", [1, 3])
def test_grouped_heads_do_not_copy_the_keys(path: Callable[..., Tensor], q_len: int) -> None:
    largest: list[int] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
            largest.append(max((each.untyped_storage().nbytes() // each.element_size() for each in made), default=0))
            return result

    query, room = randn(1, 8, q_len, 16, dtype=torch.float32), randn(1, 2, 1000, 16, dtype=torch.float32)
    kept = room[:, :, :600]  # as a cache gives them: a view into its room
    with torch.no_grad(), Watching():
        path(query, kept, kept, causal=True, grouped=True)
    assert largest
    assert max(largest) <= room.numel()  # repeated keys would be 8 * 600 * 16


@both_functions
def test_grouped_heads_that_do_not_fit_are_named(function: Callable[..., Any]) -> None:
    query, key, value = torch.zeros(2, 6, 4, 8), torch.zeros(2, 3, 7, 8), torch.zeros(2, 3, 7, 6)
    with pytest.raises(ValueError, match=r"agree in all axes but the last two; got \(2, 6, 4, 8\), \(2, 3, 7, 8\)"):
        function(query, key, value)
    for heads in (4, 0):
        with pytest.raises(ValueError, match=f"divisible by those of key; got 6 and {heads}"):
            function(query, torch.zeros(2, heads, 7, 8), torch.zeros(2, heads, 7, 6), grouped=True)
    for wrong in (torch.zeros(2, 2, 7, 6), torch.zeros(1, 3, 7, 6), torch.zeros(3, 7, 6)):
        with pytest.raises(ValueError, match="agree in all axes but the last two"):
            function(query, key, wrong, grouped=True)


# ---- Nothing at all.


@both_paths
@every_dtype
@pytest.mark.parametrize(
    ("q_len", "k_len", "batch"), [(0, 0, 2), (0, 5, 2), (4, 0, 2), (4, 7, 0)], ids=lambda size: str(size)
)
def test_without_queries_keys_or_sequences_the_result_is_empty_or_zero(
    path: Callable[..., Tensor], q_len: int, k_len: int, batch: int, dtype: torch.dtype
) -> None:
    for heads, d_value in ((3, 6), (0, 6), (3, 0)):
        query, key = torch.ones(batch, heads, q_len, 8, dtype=dtype), torch.ones(batch, heads, k_len, 8, dtype=dtype)
        value = torch.ones(batch, heads, k_len, d_value, dtype=dtype)
        mask, bias = torch.ones(q_len, k_len, dtype=torch.bool), torch.zeros(batch, heads, q_len, k_len)
        for added, causal in itertools.product(
            ({}, {"mask": mask}, {"bias": bias}, {"mask": mask, "bias": bias}), (False, True)
        ):
            leaves = [leaf.requires_grad_() for leaf in (query, key, value)]
            output = path(*leaves, **added, causal=causal)
            assert output.shape == (batch, heads, q_len, d_value)
            assert not output.any()
            assert all(gradient.isfinite().all() for gradient in gradients(output, leaves))


@both_functions
def test_heads_without_width_are_named(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="d_head must be at least 1; got 0"):
        function(torch.zeros(2, 3, 4, 0), torch.zeros(2, 3, 7, 0), torch.zeros(2, 3, 7, 6))


# ---- What passes the tap.


def test_what_the_tap_returns_meets_the_values() -> None:
    query, key, value = (tensor.requires_grad_() for tensor in inputs())
    factor = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    output, weights = attention(query, key, value, causal=True, tap=lambda weights: weights * factor)
    plain, plain_weights = attention(query, key, value, causal=True)
    assert_near(weights, plain_weights * factor)
    assert_near(output, plain * factor)
    for one, other in zip(gradients(output, (query, key)), gradients(plain * factor, (query, key)), strict=True):
        assert_near(one, other)


# ---- PyTorch's own function.


@both_paths
@every_dtype
def test_equals_pytorch(path: Callable[..., Tensor], dtype: torch.dtype) -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(5, 5, dtype)]
    mask, bias = make_mask("full", 5, 5), make_bias("full", 5, 5, dtype)
    for ours, theirs in (
        (path(*leaves), F.scaled_dot_product_attention(*leaves)),
        (path(*leaves, mask), F.scaled_dot_product_attention(*leaves, attn_mask=mask)),
        (path(*leaves, None, bias), F.scaled_dot_product_attention(*leaves, attn_mask=bias)),
        (path(*leaves, causal=True), F.scaled_dot_product_attention(*leaves, is_causal=True)),
        (path(*leaves, scale=1.0), F.scaled_dot_product_attention(*leaves, scale=1.0)),
    ):
        assert_near(ours, theirs)
        for one, other in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
            assert_near(one, other)


# ---- The masks.


@given(q_len=st.integers(0, 7), k_len=st.integers(0, 7))
def test_causal_mask_lets_the_last_query_see_every_key(q_len: int, k_len: int) -> None:
    mask = causal_mask(q_len, k_len)
    assert mask.shape == (q_len, k_len)
    assert mask.dtype == torch.bool
    for query in range(q_len):
        for key in range(k_len):
            assert mask[query, key] == (k_len - key >= q_len - query), (query, key)


def test_causal_mask_is_made_where_it_is_asked_for() -> None:
    assert causal_mask(2, 3, "meta").device.type == "meta"
    assert causal_mask(2, 3).device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8], ids=str)
def test_padding_mask(dtype: torch.dtype) -> None:
    tokens = torch.tensor([[5, 0, 3], [7, 7, 7]], dtype=dtype)
    wanted = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.equal(padding_mask(tokens, 0), wanted.reshape(2, 1, 1, 3))
    assert torch.equal(padding_mask(tokens, 7), torch.tensor([[[[True] * 3]], [[[False] * 3]]]))


@pytest.mark.parametrize("token_ids", [torch.zeros(2, 3), torch.zeros(2, 3).bool(), torch.zeros(2, 3).cfloat()])
def test_padding_mask_names_the_wrong_type(token_ids: Tensor) -> None:
    with pytest.raises(TypeError, match=rf"token_ids must be integers; got {re.escape(str(token_ids.dtype))}"):
        padding_mask(token_ids, 0)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_padding_mask_names_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(batch, key\); got {re.escape(str(shape))}"):
        padding_mask(torch.zeros(shape).long(), 0)


@pytest.mark.parametrize("lengths", [(-1, 3), (3, -1)])
def test_causal_mask_names_the_wrong_length(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 0; got {lengths[0]} and {lengths[1]}"):
        causal_mask(*lengths)


# ---- The traps.


@both_paths
@every_dtype
def test_trap_01_a_fully_masked_row_gives_zeros_and_finite_gradients(
    path: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    mask = torch.ones(4, 7, dtype=torch.bool)
    mask[2] = False
    for causal, bias in ((False, None), (True, None), (False, make_bias("per head", 4, 7, dtype))):
        query, key, value = (tensor.requires_grad_() for tensor in inputs(4, 7, dtype))
        output = path(query, key, value, mask, bias, causal=causal)
        assert (output[:, :, 2] == 0).all()
        assert (output[:, :, [0, 1, 3]] != 0).any(-1).all()
        d_query, d_key, d_value = gradients(output, (query, key, value))
        for gradient in (d_query, d_key, d_value):
            assert gradient.isfinite().all()
            assert (gradient != 0).any()
        assert (d_query[:, :, 2] == 0).all()


@both_paths
def test_trap_01_no_nan_arises_on_the_way(path: Callable[..., Tensor]) -> None:
    # -inf in every place of a row gives NaN in the softmax, and in its gradient, even where both are overwritten later.
    query, key, value = (tensor.requires_grad_() for tensor in inputs(7, 4))
    with torch.autograd.set_detect_anomaly(True):
        path(query, key, value, causal=True).sum().backward()


def test_trap_01_the_fused_path_gives_zeros_whatever_its_kernel_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *_: Any, scale: Any, enable_gqa: bool
    ) -> Tensor:
        """A kernel as in older releases and on other devices: NaN in a row without any key."""
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, -math.inf)
        return (query @ key.transpose(-2, -1) / math.sqrt(query.size(-1)) + mask).softmax(-1) @ value

    monkeypatch.setattr(F, "scaled_dot_product_attention", kernel)
    for bias_kind in BIASES:
        leaves = [tensor.requires_grad_() for tensor in inputs(5, 5)]
        mask, bias = make_mask("some rows empty", 5, 5), make_bias(bias_kind, 5, 5, torch.float64)
        wanted, _ = attention(*leaves, mask, bias)
        output = fused_attention(*leaves, mask, bias)
        assert_near(output, wanted)
        for one, other in zip(gradients(output, leaves), gradients(wanted, leaves), strict=True):
            assert_near(one, other)


@both_paths
def test_trap_01_the_first_queries_of_a_longer_causal_sequence_see_nothing(path: Callable[..., Tensor]) -> None:
    query, key, value = (tensor.requires_grad_() for tensor in inputs(7, 4))
    output = path(query, key, value, causal=True)
    assert (output[:, :, :3] == 0).all()
    assert_near(output[:, :, 3], value[:, :, 0])
    assert all(gradient.isfinite().all() for gradient in gradients(output, (query, key, value)))


@both_paths
@every_dtype
def test_trap_02_garbage_in_masked_positions_is_silent_while_it_is_finite(
    path: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    # As documented: a weight of zero does not silence a NaN. But any finite number, however large, it does.
    query, key, value = inputs(dtype=dtype)
    mask = torch.tensor([True, True, False, True, False, True, True])[None].expand(4, 7)
    clean = path(query, key, value, mask)
    largest = torch.finfo(dtype).max / 1024
    for garbage in (largest, -largest):
        dirty_key, dirty_value = key.clone(), value.clone()
        dirty_key[:, :, [2, 4]] = 50.0 * math.copysign(1, garbage)
        dirty_value[:, :, [2, 4]] = garbage
        leaves = [tensor.requires_grad_() for tensor in (query.clone(), dirty_key, dirty_value)]
        output = path(*leaves, mask)
        assert_near(output, clean)
        assert all(gradient.isfinite().all() for gradient in gradients(output, leaves))


def test_trap_02_nan_in_a_masked_value_is_not_hidden() -> None:
    query, key, value = inputs()
    value[:, :, 2] = math.nan
    mask = torch.arange(7) != 2
    assert explicit(query, key, value, mask[None].expand(4, 7)).isnan().all()


@both_paths
@pytest.mark.parametrize(("q_len", "k_len"), LENGTHS.values(), ids=LENGTHS)
def test_trap_03_causality_is_aligned_at_the_bottom_right(path: Callable[..., Tensor], q_len: int, k_len: int) -> None:
    query, key, value = inputs(q_len, k_len)
    output = path(query, key, value, causal=True)
    for i in range(q_len):
        last = i + k_len - q_len  # the position where query i stands
        for j in range(k_len):
            changed_key, changed_value = key.clone(), value.clone()
            changed_key[:, :, j] += 1.0
            changed_value[:, :, j] += 1.0
            changed = path(query, changed_key, changed_value, causal=True)
            assert differ(changed[:, :, i], output[:, :, i]) == (j <= last), (i, j)


@both_paths
def test_trap_03_causality_joins_a_mask(path: Callable[..., Tensor]) -> None:
    query, key, value = inputs()
    mask = make_mask("per head", 4, 7)
    assert mask is not None
    assert_near(path(query, key, value, mask, causal=True), path(query, key, value, mask & causal_mask(4, 7)))
    assert_near(path(query, key, value, causal=True), path(query, key, value, causal_mask(4, 7)))


@both_functions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8], ids=str)
def test_trap_04_a_mask_of_numbers_is_refused(function: Callable[..., Any], dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=rf"True = may attend; got {dtype}.*`bias`"):
        function(*inputs(), torch.ones(4, 7, dtype=dtype))


@both_paths
def test_trap_04_masking_and_scores_do_not_overflow_float16(path: Callable[..., Tensor]) -> None:
    # The products are 64 * 40 * 40 = 102,400, beyond float16's 65,504; scaled they are 12,800.
    query = torch.full((1, 1, 3, 64), 40.0, dtype=torch.float16)
    key = query.clone()
    key[:, :, 2] = 39.0
    value = randn(1, 1, 3, 5, dtype=torch.float16)
    output = path(query, key, value, torch.tensor([[True, False, True]]).expand(3, 3))
    assert_near(output, value[:, :, :1].expand(1, 1, 3, 5))


@both_paths
def test_trap_04_a_masked_key_loses_to_any_number(path: Callable[..., Tensor]) -> None:
    # Masked by -1e9, the hidden keys would win over keys whose scores are lower still.
    query, key, value = inputs(dtype=torch.float32)
    mask = torch.tensor([True, True, False, True, False, True, True])[None].expand(4, 7)
    bias = torch.full((4, 7), -1e30)
    assert_near(path(query, key, value, mask, bias), oracle.attention(*arrays(query, key, value, mask))[0])


@both_functions
@pytest.mark.parametrize("batch", [3, 2], ids=["batch = heads", "batch ≠ heads"])
@pytest.mark.parametrize("name", ["mask", "bias"])
def test_trap_05_a_mask_without_the_heads_axis_is_refused(function: Callable[..., Any], batch: int, name: str) -> None:
    query, key, value = randn(batch, 3, 4, 8), randn(batch, 3, 7, 8), randn(batch, 3, 7, 6)
    given = torch.ones(batch, 4, 7, dtype=torch.bool if name == "mask" else torch.float64)
    message = rf"{name} must have rank 2 \(query, key\) or the scores' rank 4.*got shape \({batch}, 4, 7\).*{name}\[:, "
    with pytest.raises(ValueError, match=message):
        function(query, key, value, **{name: given})


@both_paths
@pytest.mark.parametrize("batch", [3, 2], ids=["batch = heads", "batch ≠ heads"])
def test_trap_05_each_sequence_gets_its_own_mask(path: Callable[..., Tensor], batch: int) -> None:
    query, key, value = randn(batch, 3, 4, 8, seed=1), randn(batch, 3, 7, 8, seed=2), randn(batch, 3, 7, 6, seed=3)
    mask = torch.rand(batch, 4, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    output = path(query, key, value, mask[:, None])
    for b in range(batch):
        for head in range(3):
            assert_near(
                output[b, head], oracle.attention(*arrays(query[b, head], key[b, head], value[b, head], mask[b]))[0]
            )


@both_paths
def test_trap_08_the_scale_is_that_of_the_width_of_the_query(path: Callable[..., Tensor]) -> None:
    query, key, value = inputs()  # d_head 8, d_value 6
    assert_near(path(query, key, value), path(query, key, value, scale=1 / math.sqrt(8)))
    assert differ(path(query, key, value), path(query, key, value, scale=1.0))
    assert_near(path(query, key, value, scale=1.0), path(query * math.sqrt(8), key, value))


# ---- Dropout.


def droppable(p: float, **options: Tensor) -> tuple[Tensor, Tensor]:
    """The weights, and 500 draws of them after dropout: with the identity as values, the output is the weights."""
    query, key, _ = inputs()
    draws = [tensor.expand(500, *tensor.shape) for tensor in (query, key, torch.eye(7).double().expand(2, 3, 7, 7))]
    options = {name: option.expand(500, 2, 3, 4, 7) for name, option in options.items()}
    torch.manual_seed(1)
    explicit_draws, weights = attention(*draws, **options, dropout=p)
    return weights, torch.stack([explicit_draws, fused_attention(*draws, **options, dropout=p)])


@pytest.mark.parametrize("kind", ["plain", "mask", "bias", "mask and bias"])
def test_dropout_drops_weights_and_keeps_their_expectation(kind: str) -> None:
    options = {
        "mask": torch.arange(7) != 3,
        "bias": make_bias("per head", 4, 7, torch.float64),
    }
    weights, both_draws = droppable(0.25, **{name: option for name, option in options.items() if name in kind})
    shown = weights != 0
    for draws in both_draws:
        kept = draws != 0
        assert not kept[~shown].any()
        assert_near(draws[kept], (weights / 0.75)[kept])
        assert 0.24 < 1 - kept[shown].double().mean() < 0.26  # over 70,000 draws: more than six standard deviations
        assert distance(draws.mean(0), weights[0]) < 0.1
        assert abs(float((draws - weights).mean())) < 0.001


def test_trap_07_weights_are_returned_as_they_were_before_dropout() -> None:
    weights, _ = droppable(0.9)
    assert_near(weights.sum(-1), torch.ones(500, 2, 3, 4))
    assert_near(weights[0], attention(*inputs())[1])


@both_functions
@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, math.nan])
def test_dropout_outside_its_bounds_is_refused(function: Callable[..., Any], dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout must be in \[0, 1\); got {dropout}"):
        function(*inputs(), dropout=dropout)


# ---- Precision.


@both_paths
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_long_rows_do_not_lose_weight_in_half_precision(path: Callable[..., Tensor], dtype: torch.dtype) -> None:
    # 3000 equal weights: summed one by one in bfloat16 they would stop growing at 256.
    value = torch.ones(1, 1, 3000, 2, dtype=dtype)
    output = path(torch.zeros(1, 1, 3, 8, dtype=dtype), torch.zeros(1, 1, 3000, 8, dtype=dtype), value)
    assert float((output.double() - 1).abs().max()) < 1e-2


@both_paths
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_scores_are_not_rounded_to_half_precision(path: Callable[..., Tensor], dtype: torch.dtype) -> None:
    # Scores like 1600, 1601.6 and 1603.1 (200, 201.6 and 203.1 in bfloat16), where the dtype knows whole numbers only.
    step = {torch.float16: 2**-10, torch.bfloat16: 2**-7}[dtype]
    query = torch.full((1, 1, 2, 1), 1600.0 if dtype == torch.float16 else 200.0, dtype=dtype)
    key = torch.tensor([1.0, 1 + step, 1 + 2 * step], dtype=dtype).reshape(1, 1, 3, 1)
    value = torch.eye(3, dtype=dtype)[None, None]
    wanted, _ = oracle.attention(*arrays(query, key, value), scale=1.0)
    assert float(np.abs(exact(path(query, key, value, scale=1.0)) - wanted).max()) < 2**-7


@both_paths
def test_large_scores_do_not_overflow(path: Callable[..., Tensor]) -> None:
    query, key, value = inputs(dtype=torch.float32)
    output = path(1e4 * query, 1e4 * key, value)
    winner = (query.double() @ key.double().transpose(-2, -1)).argmax(-1)
    assert_near(output, torch.take_along_dim(value, winner[..., None], dim=-2))


@both_paths
def test_a_number_added_to_all_scores_of_a_row_changes_nothing(path: Callable[..., Tensor]) -> None:
    query, key, value = inputs()
    shift = torch.tensor([0.0, 50.0, -50.0, 800.0], dtype=torch.float64)[:, None].expand(4, 7)
    assert_near(path(query, key, value, None, shift), path(query, key, value))


@both_paths
@pytest.mark.parametrize("bias_dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@every_dtype
def test_a_bias_of_another_dtype_leaves_the_dtype_of_the_output(
    path: Callable[..., Tensor], dtype: torch.dtype, bias_dtype: torch.dtype
) -> None:
    query, key, value = inputs(dtype=dtype)
    bias = make_bias("per head", 4, 7, bias_dtype)
    coarser = max((dtype, bias_dtype), key=lambda kind: torch.finfo(kind).eps)
    for mask_kind in MASKS:
        mask = make_mask(mask_kind, 4, 7)
        output = path(query, key, value, mask, bias)
        assert output.dtype == dtype
        assert_near(output, oracle.attention(*arrays(query, key, value, mask, bias))[0], coarser)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast_both_paths_are_equal(dtype: torch.dtype) -> None:
    query, key, value = inputs(dtype=torch.float32)
    bias = make_bias("per head", 4, 7, torch.float32)
    assert bias is not None
    leaves = [tensor.requires_grad_() for tensor in (query, key, value, bias)]
    for mask_kind in MASKS:
        mask = make_mask(mask_kind, 4, 7)
        wanted, _ = oracle.attention(*arrays(query, key, value, mask, bias))
        outputs = []
        for path in PATHS.values():
            with torch.autocast("cpu", dtype):
                outputs.append(path(query, key, value, mask, bias))
            assert outputs[-1].dtype == dtype
            assert_near(outputs[-1], wanted)
        for one, other in zip(*(gradients(output, leaves) for output in outputs), strict=True):
            assert_near(one, other, dtype)


@both_paths
def test_autocast_to_float16_does_not_overflow_where_scaled_scores_do_not(path: Callable[..., Tensor]) -> None:
    query = torch.full((1, 1, 3, 64), 40.0)
    value = randn(1, 1, 3, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.float16):
        output = path(query, query, value)
    assert_near(output, value.mean(-2, keepdim=True).expand(1, 1, 3, 5), torch.float16)


# ---- Layouts.


@both_paths
def test_strides_do_not_matter(path: Callable[..., Tensor]) -> None:
    query, key, value = inputs()
    strided = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (query, key, value)]
    assert not any(tensor.is_contiguous() for tensor in strided)
    assert torch.equal(path(*strided, causal=True), path(query, key, value, causal=True))
    shared = query[:1, :1].expand(2, 3, 4, 8)
    assert torch.equal(path(shared, key, value), path(shared.contiguous(), key, value))


@both_paths
def test_an_empty_batch_gives_an_empty_batch(path: Callable[..., Tensor]) -> None:
    output = path(randn(0, 3, 4, 8), randn(0, 3, 7, 8), randn(0, 3, 7, 6), causal=True)
    assert output.shape == (0, 3, 4, 6)


def test_the_order_of_the_keys_does_not_matter() -> None:
    query, key, value = inputs()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    output, weights = attention(query, key, value)
    moved, moved_weights = attention(query, key[:, :, order], value[:, :, order])
    assert_near(moved, output)
    assert_near(moved_weights, weights[..., order])


# ---- Error messages: what was given and what was expected.

Q, K, V = (2, 3, 4, 8), (2, 3, 7, 8), (2, 3, 7, 6)


@both_functions
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((8,), K, V), r"query must have shape \(\.\.\., length, width\); got \(8,\)"),
        ((Q, (8,), V), r"key must have shape \(\.\.\., length, width\); got \(8,\)"),
        ((Q, K, (6,)), r"value must have shape \(\.\.\., length, width\); got \(6,\)"),
        (((1, 3, 4, 8), K, V), r"all axes but the last two; got \(1, 3, 4, 8\), \(2, 3, 7, 8\) and \(2, 3, 7, 6\)"),
        ((Q, (2, 1, 7, 8), V), r"all axes but the last two; got \(2, 3, 4, 8\), \(2, 1, 7, 8\) and"),
        ((Q, K, (3, 7, 6)), r"all axes but the last two; got .* and \(3, 7, 6\)"),
        ((Q, (2, 3, 7, 5), V), "query and key must have the same d_head; got 8 and 5"),
        ((Q, K, (2, 3, 5, 6)), "key and value must have the same length; got 7 and 5"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(*(torch.zeros(shape) for shape in shapes))


@both_functions
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("wrong", "given_as"),
    [
        (torch.zeros(2, 3, 7, 8).long(), "torch.int64"),
        (torch.zeros(2, 3, 7, 8).bool(), "torch.bool"),
        ([[1.0]], "list"),
    ],
    ids=["int64", "bool", "list"],
)
def test_inputs_that_are_no_numbers_are_named(
    function: Callable[..., Any], position: int, wrong: Any, given_as: str
) -> None:
    given: list[Any] = [torch.zeros(shape) for shape in (Q, K, V)]
    given[position] = wrong
    name = ("query", "key", "value")[position]
    with pytest.raises(TypeError, match=f"{name} must be a floating-point tensor; got {given_as}"):
        function(*given)


@both_functions
@pytest.mark.parametrize("position", [0, 1, 2])
def test_dtypes_that_differ_are_named(function: Callable[..., Any], position: int) -> None:
    given = [torch.zeros(shape) for shape in (Q, K, V)]
    given[position] = given[position].double()
    message = f"share a dtype; got {given[0].dtype}, {given[1].dtype} and {given[2].dtype}"
    with pytest.raises(TypeError, match=message):
        function(*given)


@both_functions
@pytest.mark.parametrize("name", ["mask", "bias"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 7), (7, 4), (2, 2, 4, 7), (3, 3, 4, 7), (2, 3, 7, 4)], ids=str)
def test_a_mask_that_cannot_be_broadcast_is_named(
    function: Callable[..., Any], name: str, shape: tuple[int, ...]
) -> None:
    given = torch.ones(shape, dtype=torch.bool if name == "mask" else torch.float32)
    message = rf"{name} must be broadcastable to the scores \(2, 3, 4, 7\); got shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        function(*(torch.zeros(shape) for shape in (Q, K, V)), **{name: given})


@both_functions
@pytest.mark.parametrize("shape", [(), (7,), (1, 2, 3, 4, 7)], ids=str)
def test_a_mask_of_the_wrong_rank_is_named(function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"rank 2 .* or the scores' rank 4.*got shape {re.escape(str(shape))}"):
        function(*(torch.zeros(shape) for shape in (Q, K, V)), torch.ones(shape, dtype=torch.bool))


@both_functions
@pytest.mark.parametrize(
    ("wrong", "given_as"),
    [([[True]], "list"), (torch.ones(4, 7).bool(), "torch.bool"), (torch.ones(4, 7).long(), "torch.int64")],
)
def test_a_bias_that_is_no_numbers_is_named(function: Callable[..., Any], wrong: Any, given_as: str) -> None:
    with pytest.raises(TypeError, match=f"bias must be a floating-point tensor; got {given_as}.*`mask`"):
        function(*(torch.zeros(shape) for shape in (Q, K, V)), None, wrong)


@both_functions
def test_a_mask_that_is_a_list_is_named(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="mask must be a boolean tensor, True = may attend; got list"):
        function(*(torch.zeros(shape) for shape in (Q, K, V)), [[True] * 7] * 4)
