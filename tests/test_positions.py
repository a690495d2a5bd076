"""The five schemes of positions, against the oracle and the properties that their papers state."""

import copy
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import PhiConfig
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding, apply_rotary_pos_emb

from tests import oracle
from tests.cases import DTYPES, assert_near, differ, distance, exact, gradients, randn
from transformer_lib import (
    ALiBi,
    LearnedPositions,
    RelativeBias,
    RotaryPositions,
    SinusoidalPositions,
    sinusoidal_table,
)
from transformer_lib.positions import alibi_slopes, relative_position_bucket

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
both_layouts = pytest.mark.parametrize("interleaved", [True, False], ids=["interleaved", "half-split"])


def added_schemes(d_model: int = 6, max_len: int = 20) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "sinusoidal": SinusoidalPositions(d_model, max_len).double(),
        "learned": LearnedPositions(d_model, max_len).double(),
    }


both_added = pytest.mark.parametrize("name", ["sinusoidal", "learned"])


# ---- Sinusoidal.


@given(length=st.integers(1, 40), half=st.integers(1, 20))
def test_the_sinusoidal_table_equals_the_oracle(length: int, half: int) -> None:
    table = sinusoidal_table(length, 2 * half)
    assert table.dtype == torch.float32
    assert table.shape == (length, 2 * half)
    assert float(np.abs(exact(table) - oracle.sinusoidal(length, 2 * half)).max()) <= 2**-24


def test_late_rows_of_the_sinusoidal_table_are_as_accurate_as_early_ones() -> None:
    table = sinusoidal_table(100_000, 4)
    for position in (99_999, 65_537):
        for i, rate in enumerate((1.0, 0.01)):
            assert float(table[position, 2 * i]) == pytest.approx(math.sin(position * rate), abs=1e-7)
            assert float(table[position, 2 * i + 1]) == pytest.approx(math.cos(position * rate), abs=1e-7)


def test_a_shift_of_the_sinusoidal_table_is_a_rotation() -> None:
    table, shift = sinusoidal_table(50, 12).double(), 7
    for i in range(6):
        turn = shift / 10000 ** (2 * i / 12)
        rotation = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]).double()
        assert distance(table[:-shift, 2 * i : 2 * i + 2] @ rotation.T, table[shift:, 2 * i : 2 * i + 2]) < 1e-6


@every_dtype
def test_sinusoidal_positions_add_the_oracles_table(dtype: torch.dtype) -> None:
    x = randn(2, 5, 6, dtype=dtype)
    output = SinusoidalPositions(6, max_len=9)(x)
    assert output.dtype == dtype
    coarser = max((dtype, torch.float32), key=lambda kind: torch.finfo(kind).eps)
    assert_near(output, exact(x) + oracle.sinusoidal(5, 6), coarser)


def test_the_sinusoidal_table_is_no_part_of_a_checkpoint() -> None:
    assert not SinusoidalPositions(6).state_dict()
    assert not list(SinusoidalPositions(6).parameters())
    assert SinusoidalPositions(6).table.shape == (4096, 6)


# ---- Learned.


def test_learned_positions_add_their_table_and_learn_the_rows_they_used() -> None:
    layer, x = LearnedPositions(6, 9).double(), randn(2, 5, 6).requires_grad_()
    output = layer(x)
    assert_near(output, exact(x) + exact(layer.table)[:5])
    d_x, d_table = gradients(output, (x, layer.table))
    upstream = randn(2, 5, 6, seed=99)
    assert_near(d_x, upstream)
    assert_near(d_table, torch.cat([upstream.sum(0), torch.zeros(4, 6).double()]))
    assert set(layer.state_dict()) == {"table"}


def test_learned_positions_begin_small_and_by_the_seed() -> None:
    torch.manual_seed(3)
    layer = LearnedPositions(100, 100)
    assert float(layer.table.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(layer.table.detach().mean())) < 0.001
    first = layer.table.detach().clone()
    torch.manual_seed(3)
    layer.reset_parameters()
    assert torch.equal(layer.table, first)


# ---- What both tables share.


@both_added
@pytest.mark.parametrize(("batch", "seq"), [(3, 5), (5, 3), (4, 4)], ids=["batch < seq", "batch > seq", "batch = seq"])
def test_trap_16_positions_run_along_the_sequence_and_not_the_batch(name: str, batch: int, seq: int) -> None:
    output = added_schemes()[name](torch.zeros(batch, seq, 6).double())
    assert differ(output[:, 0], output[:, 1])
    for b in range(batch):
        assert torch.equal(output[b], output[0])
    rows = {tuple(row) for row in output[0].tolist()}
    assert len(rows) == seq, "two positions got the same vector"


@both_added
def test_added_positions_may_be_given(name: str) -> None:
    layer, x = added_schemes()[name], randn(2, 5, 6)
    table = layer.table
    assert_near(layer(x, torch.arange(5)), layer(x))
    assert_near(layer(x, torch.arange(5) + 15), x + table[15:])
    positions = torch.tensor([[0, 0, 0, 1, 2], [7, 3, 19, 0, 4]])
    wanted = torch.stack([torch.stack([x[b, s] + table[positions[b, s]] for s in range(5)]) for b in range(2)])
    assert_near(layer(x, positions), wanted)
    assert_near(layer(x, positions.int()), wanted)


@both_added
def test_positions_outside_the_table_are_named(name: str) -> None:
    layer = added_schemes()[name]
    layer(torch.zeros(1, 20, 6).double())
    with pytest.raises(ValueError, match="the table has 20 positions; got a sequence of length 21"):
        layer(torch.zeros(1, 21, 6).double())
    for positions, found in (([18, 19, 20], "18 to 20"), ([-1, 0, 1], "-1 to 1")):
        with pytest.raises(ValueError, match=f"lie in the table, 0 to 19; got {found}"):
            layer(torch.zeros(1, 3, 6).double(), torch.tensor(positions))


@both_added
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 7), (1, 2, 5, 6)])
def test_added_positions_name_the_wrong_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(batch, seq, d_model=6\); got {re.escape(str(shape))}"):
        added_schemes()[name](torch.zeros(shape).double())


@pytest.mark.parametrize("name", ["sinusoidal", "learned", "rotary"])
@pytest.mark.parametrize(
    ("positions", "given_as"),
    [
        (torch.arange(4), r"torch.int64 of shape \(4,\)"),
        (torch.zeros(3, 5).long(), r"torch.int64 of shape \(3, 5\)"),
        (torch.zeros(5, 1).long(), r"torch.int64 of shape \(5, 1\)"),
        (torch.arange(5.0), r"torch.float32 of shape \(5,\)"),
    ],
)
def test_positions_that_do_not_fit_are_named(name: str, positions: Tensor, given_as: str) -> None:
    layer = RotaryPositions(6) if name == "rotary" else added_schemes()[name]
    x = torch.zeros(2, 3, 5, 6) if name == "rotary" else torch.zeros(2, 5, 6).double()
    with pytest.raises(ValueError, match=rf"integers of shape \(5,\) or \(2, 5\); got {given_as}"):
        layer(x, positions)


# ---- Rotary.


def rotated_by_the_oracle(x: Any, positions: Any, **options: Any) -> Any:
    result = np.zeros(x.shape)
    for b, head in np.ndindex(*x.shape[:2]):
        result[b, head] = oracle.rotary(x[b, head], positions[b], **options)
    return result


@every_dtype
@both_layouts
@pytest.mark.parametrize("base", [10000.0, 100.0])
def test_rotary_equals_the_oracle(interleaved: bool, base: float, dtype: torch.dtype) -> None:
    layer = RotaryPositions(8, base=base, interleaved=interleaved)
    x = randn(2, 3, 5, 8, dtype=dtype).requires_grad_()
    per_sequence = torch.tensor([[0, 1, 2, 3, 4], [9, 0, 0, 300, 2]])
    for positions, wanted_positions in (
        (None, torch.arange(5).expand(2, 5)),
        (torch.arange(5) + 3, (torch.arange(5) + 3).expand(2, 5)),
        (per_sequence, per_sequence),
        (per_sequence.int(), per_sequence),
    ):
        output = layer(x, positions)
        options = {"base": base, "interleaved": interleaved}
        assert output.dtype == dtype
        # float32 angles near 300 are exact to 2e-5, all others to less
        room = {"size": 20.0} if dtype == torch.float32 else {}
        assert_near(output, rotated_by_the_oracle(exact(x), wanted_positions.numpy(), **options), **room)
        # A rotation's gradient is the rotation back.
        (gradient,) = gradients(output, (x,))
        upstream = exact(randn(2, 3, 5, 8, seed=99, dtype=dtype))
        assert_near(gradient, rotated_by_the_oracle(upstream, -wanted_positions.numpy(), **options), **room)


@given(
    half=st.integers(1, 5), interleaved=st.booleans(), m=st.integers(0, 50), n=st.integers(0, 50), k=st.integers(0, 99)
)
def test_rotary_scores_depend_on_the_distance_only(half: int, interleaved: bool, m: int, n: int, k: int) -> None:
    layer = RotaryPositions(2 * half, interleaved=interleaved)
    query, key = randn(1, 1, 1, 2 * half, seed=m), randn(1, 1, 1, 2 * half, seed=1000 + n)

    def score(at: int, of: int) -> float:
        return float((layer(query, torch.tensor([at])) * layer(key, torch.tensor([of]))).sum())

    assert score(m, n) == pytest.approx(score(m + k, n + k), abs=1e-9)
    assert float(layer(query, torch.tensor([m])).norm()) == pytest.approx(float(query.norm()))
    assert torch.equal(layer(query, torch.tensor([0])), query)


def test_trap_12_interleaved_and_half_split_agree_after_permuting_the_channels() -> None:
    x = randn(2, 3, 5, 8)
    interleaved, half_split = RotaryPositions(8), RotaryPositions(8, interleaved=False)
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])  # the pairs' first members, then their second
    assert differ(interleaved(x), half_split(x))
    assert_near(half_split(x[..., order]), interleaved(x)[..., order])


@both_layouts
@pytest.mark.parametrize(("d_head", "partial", "turned"), [(8, 0.5, 4), (10, 0.4, 4), (6, 1 / 3, 2)])
def test_partial_rotary_turns_the_first_channels_only(
    interleaved: bool, d_head: int, partial: float, turned: int
) -> None:
    x, at = randn(2, 3, 5, d_head), torch.arange(5).expand(2, 5) + 3
    output = RotaryPositions(d_head, interleaved=interleaved, partial=partial)(x, at)
    assert_near(
        output[..., :turned], rotated_by_the_oracle(exact(x)[..., :turned], at.numpy(), interleaved=interleaved)
    )
    assert torch.equal(output[..., turned:], x[..., turned:])


def test_partial_rotary_equals_phis() -> None:
    config = PhiConfig(hidden_size=24, num_attention_heads=3, partial_rotary_factor=0.5, max_position_embeddings=20)
    at, x = torch.arange(5)[None] + 7, randn(1, 3, 5, 8)
    cos, sin = PhiRotaryEmbedding(config)(x, at)
    wanted, _ = apply_rotary_pos_emb(x[..., :4], x[..., :4], cos, sin)
    output = RotaryPositions(8, interleaved=False, partial=0.5)(x, at)
    assert_near(output, torch.cat([wanted, x[..., 4:]], dim=-1), torch.float32)  # their angles are float32


@both_layouts
def test_rotary_stays_accurate_in_bfloat16_at_late_positions(interleaved: bool) -> None:
    layer = RotaryPositions(8, interleaved=interleaved)
    model = nn.ModuleList([copy.deepcopy(layer)]).to(torch.bfloat16)
    x, positions = randn(1, 2, 5, 8, dtype=torch.bfloat16), torch.arange(5) + 40_001
    wanted = rotated_by_the_oracle(exact(x), positions[None].numpy(), interleaved=interleaved)
    assert float(np.abs(exact(model[0](x, positions)) - wanted).max()) < 2e-2
    assert float(np.abs(exact(layer(x.float(), positions)) - wanted).max()) < 2e-2
    assert float(np.abs(exact(layer(x.double(), positions)) - wanted).max()) < 1e-9


def test_positions_under_autocast_are_those_without() -> None:
    x, half = randn(2, 3, 5, 8, dtype=torch.float32), randn(2, 3, 5, 8, dtype=torch.bfloat16)
    rotary, sines, learned = RotaryPositions(8), SinusoidalPositions(8), LearnedPositions(8, 20)
    bias, alibi = RelativeBias(3), ALiBi(3)
    runs = [
        lambda: rotary(x),
        lambda: rotary(half, torch.arange(5) + 3000),
        lambda: sines(x[0]),
        lambda: sines(half[0]),
        lambda: learned(x[0]),
        lambda: learned(half[0]),
        lambda: bias(4, 700),
        lambda: alibi(4, 700),
    ]
    for run in runs:
        plain = run()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(run(), plain)
            assert run().dtype == plain.dtype


def test_rotary_holds_no_tensor() -> None:
    layer = RotaryPositions(8, base=500.0, interleaved=False)
    layer(randn(2, 3, 5, 8))
    assert not layer.state_dict()
    assert not list(layer.buffers())
    assert not any(isinstance(value, Tensor) for value in vars(layer).values())
    assert "d_head=8, base=500.0, interleaved=False" in repr(layer)


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 5, 6), (2, 3, 5, 16)])
def test_rotary_names_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(batch, heads, seq, d_head=8\); got {re.escape(str(shape))}"):
        RotaryPositions(8)(torch.zeros(shape))


# ---- The relative bias of T5.


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("n_buckets", "max_distance"), [(32, 128), (32, 20), (16, 64), (8, 12), (4, 5), (6, 50), (20, 100), (64, 1000)]
)
def test_buckets_equal_those_of_whole_numbers(bidirectional: bool, n_buckets: int, max_distance: int) -> None:
    options = {"bidirectional": bidirectional, "n_buckets": n_buckets, "max_distance": max_distance}
    distances = torch.arange(-3 * max_distance, 3 * max_distance + 1)
    buckets = relative_position_bucket(distances, **options)
    assert buckets.tolist() == [oracle.t5_bucket(d, **options) for d in distances.tolist()]
    used = set(range(n_buckets)) - ({n_buckets // 2} if bidirectional else set())
    # after the query, distance 0 does not occur, so the first bucket of that side stays unused
    assert set(buckets.tolist()) <= used
    assert {0, n_buckets - 1} <= set(buckets.tolist())


def test_buckets_of_some_distances() -> None:
    # By hand, for 32 buckets up to 128, both ways: 8 exact ones a side, then bounds at 8 * 2^(t/2).
    distances = [0, -1, -7, -8, -11, -12, -15, -16, -22, -23, -31, -32, -63, -64, -127, -128, -1000, 1, 7, 8, 16, 1000]
    wanted = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 13, 14, 15, 15, 15, 17, 23, 24, 26, 31]
    assert relative_position_bucket(torch.tensor(distances)).tolist() == wanted
    one_way = relative_position_bucket(torch.tensor([5, 0, -15, -16, -127, -128]), bidirectional=False)
    assert one_way.tolist() == [0, 0, 15, 16, 31, 31]


def test_buckets_keep_the_shape_of_the_distances() -> None:
    distances = torch.arange(-6, 6).reshape(2, 3, 2)
    for given_distances in (distances, distances.int()):
        buckets = relative_position_bucket(given_distances)
        assert buckets.shape == (2, 3, 2)
        assert not buckets.is_floating_point()
        assert torch.equal(buckets.flatten(), relative_position_bucket(distances.flatten()))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("q_len", "k_len"), [(5, 5), (1, 30), (4, 30), (30, 4), (1, 1)])
def test_relative_bias_equals_the_oracle(bidirectional: bool, q_len: int, k_len: int) -> None:
    layer = RelativeBias(3, bidirectional=bidirectional, n_buckets=8, max_distance=20).double()
    layer.table.data = randn(8, 3)
    wanted = oracle.relative_bias(exact(layer.table), q_len, k_len, bidirectional=bidirectional, max_distance=20)
    output = layer(q_len, k_len)
    assert_near(output, wanted[None])
    (gradient,) = gradients(output, (layer.table,))
    upstream, collected = exact(randn(1, 3, q_len, k_len, seed=99)), np.zeros((8, 3))
    for head, i, j in np.ndindex(3, q_len, k_len):
        bucket = oracle.t5_bucket(j - i - k_len + q_len, bidirectional=bidirectional, n_buckets=8, max_distance=20)
        collected[bucket, head] += upstream[0, head, i, j]
    assert_near(gradient, collected)


def test_relative_bias_begins_at_zero_and_is_learned() -> None:
    layer = RelativeBias(3)
    assert isinstance(layer.table, nn.Parameter)
    assert layer.table.shape == (32, 3)
    assert not layer(4, 5).any()
    assert (layer.bidirectional, layer.n_buckets, layer.max_distance) == (True, 32, 128)


# ---- ALiBi.


def test_alibi_slopes_of_the_paper() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert alibi_slopes(6).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]
    assert alibi_slopes(1).tolist() == [2.0**-8]


@pytest.mark.parametrize("n_heads", range(1, 33))
def test_alibi_slopes_equal_the_oracle(n_heads: int) -> None:
    np.testing.assert_allclose(alibi_slopes(n_heads).numpy(), oracle.alibi_slopes(n_heads), rtol=1e-6)


@pytest.mark.parametrize(("q_len", "k_len"), [(5, 5), (1, 7), (3, 7), (7, 3)])
@pytest.mark.parametrize("n_heads", [1, 3, 4])
def test_alibi_equals_the_oracle(n_heads: int, q_len: int, k_len: int) -> None:
    output = ALiBi(n_heads)(q_len, k_len)
    assert output.dtype == torch.float32
    assert_near(output, oracle.alibi(n_heads, q_len, k_len)[None])
    assert not ALiBi(n_heads).state_dict()
    assert not list(ALiBi(n_heads).parameters())


# ---- Error messages of the constructors and lengths.


@pytest.mark.parametrize("layer", [RelativeBias(2), ALiBi(2)], ids=["relative", "alibi"])
@pytest.mark.parametrize("lengths", [(-1, 3), (3, -1)])
def test_lengths_that_do_not_fit_are_named(layer: nn.Module, lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"q_len and k_len must be at least 0; got {lengths[0]} and {lengths[1]}"):
        layer(*lengths)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sinusoidal_table(-1, 4), "length must be at least 0; got -1"),
        (lambda: sinusoidal_table(4, 5), "d_model must be positive and even; got 5"),
        (lambda: sinusoidal_table(4, 0), "d_model must be positive and even; got 0"),
        (lambda: SinusoidalPositions(7), "d_model must be positive and even; got 7"),
        (lambda: SinusoidalPositions(6, 0), "max_len must be at least 1; got 0"),
        (lambda: LearnedPositions(0, 4), "d_model must be at least 1; got 0"),
        (lambda: LearnedPositions(4, 0), "max_len must be at least 1; got 0"),
        (lambda: RotaryPositions(5), "d_head must be positive and even; got 5"),
        (lambda: RotaryPositions(-2), "d_head must be positive and even; got -2"),
        (lambda: RotaryPositions(4, base=0.0), "base must be positive; got 0.0"),
        (lambda: RotaryPositions(8, partial=0.4), r"partial \* d_head must be positive and even; got 0.4 \* 8"),
        (lambda: RotaryPositions(8, partial=0.125), r"partial \* d_head must be positive and even; got 0.125 \* 8"),
        (lambda: RotaryPositions(8, partial=0.0), "partial must be more than 0 and at most 1; got 0.0"),
        (lambda: RelativeBias(0), "n_heads must be at least 1; got 0"),
        (lambda: RelativeBias(2, n_buckets=2), "n_buckets must be even and at least 4; got 2"),
        (lambda: RelativeBias(2, n_buckets=7), "n_buckets must be even and at least 4; got 7"),
        (lambda: RelativeBias(2, n_buckets=0, bidirectional=False), "even and at least 2; got 0"),
        (lambda: RelativeBias(2, max_distance=8), "max_distance must be more than 8 with 32 buckets; got 8"),
        (lambda: RelativeBias(2, max_distance=16, bidirectional=False), "more than 16 with 32 buckets; got 16"),
        (lambda: relative_position_bucket(torch.arange(3), n_buckets=2), "even and at least 4; got 2"),
        (lambda: relative_position_bucket(torch.arange(3), max_distance=8), "more than 8 with 32 buckets; got 8"),
        (lambda: alibi_slopes(0), "n_heads must be at least 1; got 0"),
        (lambda: ALiBi(-1), "n_heads must be at least 1; got -1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("q_len", "k_len"), [(0, 0), (0, 3), (3, 0)])
def test_no_positions_give_empty_results(q_len: int, k_len: int) -> None:
    for layer in (RelativeBias(2), RelativeBias(2, bidirectional=False), ALiBi(2)):
        assert layer(q_len, k_len).shape == (1, 2, q_len, k_len)
    assert sinusoidal_table(0, 4).shape == (0, 4)
    for added in added_schemes().values():
        for given_positions in (None, torch.zeros(0).long()):
            assert added(torch.zeros(2, 0, 6).double(), given_positions).shape == (2, 0, 6)
        assert added(torch.zeros(0, 5, 6).double(), torch.arange(5)).shape == (0, 5, 6)
    assert RotaryPositions(8)(torch.zeros(2, 3, 0, 8)).shape == (2, 3, 0, 8)
    assert relative_position_bucket(torch.zeros(0, 3).long()).shape == (0, 3)


@both_added
def test_added_positions_may_start_later(name: str) -> None:
    layer, x = added_schemes()[name], randn(2, 5, 6)
    assert_near(layer(x, start=15), layer(x, torch.arange(5) + 15))
    with pytest.raises(ValueError, match="the table has 20 positions; got a sequence of length 21"):
        layer(x, start=16)


@pytest.mark.parametrize("make", [lambda: SinusoidalPositions(6, 9), lambda: ALiBi(6)], ids=["sinusoidal", "alibi"])
def test_what_follows_from_a_formula_survives_every_move(make: Any) -> None:
    def numbers(layer: nn.Module) -> Tensor:
        (buffer,) = layer.buffers()
        assert not buffer.is_meta
        return buffer.double()

    wanted = numbers(make())
    assert wanted.any()
    with torch.device("meta"):
        emptied, assigned = make(), make()
    assert torch.equal(numbers(emptied.to_empty(device="cpu")), wanted)
    assigned.load_state_dict({}, assign=True)
    assert torch.equal(numbers(assigned), wanted)
    assert torch.equal(numbers(make().to("meta").to_empty(device="cpu")), wanted)
    assert torch.equal(numbers(make().half().float()), wanted)  # it was rounded for a while
    assert torch.equal(numbers(make().to_empty(device="cpu")), wanted)
    assert torch.equal(numbers(copy.deepcopy(emptied)), wanted)
    assert torch.equal(numbers(pickle.loads(pickle.dumps(emptied))), wanted)
    assert make().half().to("meta").to_empty(device="cpu").state_dict() == {}
    assert {buffer.dtype for buffer in make().half().buffers()} == {torch.float16}


def test_the_smallest_sizes_work() -> None:
    assert RelativeBias(1, n_buckets=4, max_distance=2)(2, 2).shape == (1, 1, 2, 2)
    assert RelativeBias(1, n_buckets=2, max_distance=2, bidirectional=False)(2, 2).shape == (1, 1, 2, 2)
    assert RelativeBias(1, max_distance=9)(1, 30).shape == (1, 1, 1, 30)
    assert RotaryPositions(2)(randn(1, 1, 1, 2)).shape == (1, 1, 1, 2)
