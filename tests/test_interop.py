"""Parity with ``nn.MultiheadAttention`` by copied weights, in both directions: outputs, weights and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.cases import assert_all_near, assert_near, differ, gradients, randn
from transformer_lib import MultiHeadAttention, RotaryPositions
from transformer_lib.interop import copy_from_torch, copy_to_torch
from transformer_lib.plots import record_attention

D_MODEL, HEADS = 12, 3
DIRECTIONS = ["from torch", "to torch"]


def pair(
    direction: str, *, bias: bool = True, batch_first: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    """Two modules with different random weights and biases, then copied one way."""
    ours = MultiHeadAttention(D_MODEL, HEADS, bias=bias).to(dtype)
    theirs = nn.MultiheadAttention(D_MODEL, HEADS, bias=bias, batch_first=batch_first).to(dtype)
    for number, parameter in enumerate([*ours.parameters(), *theirs.parameters()]):
        parameter.data = randn(*parameter.shape, seed=number, dtype=dtype) / D_MODEL**0.5
    (copy_from_torch if direction == "from torch" else copy_to_torch)(ours, theirs)
    return ours, theirs


def stacked(ours: MultiHeadAttention, of: list[Tensor]) -> list[Tensor]:
    """Our parameters' gradients, or the parameters, in the order and the shape of PyTorch's module."""
    named = dict(zip([name for name, _ in ours.named_parameters()], of, strict=True))
    result = [torch.cat([named[f"{p}_proj.weight"] for p in "qkv"])]
    if "q_proj.bias" in named:
        result.append(torch.cat([named[f"{p}_proj.bias"] for p in "qkv"]))
    return [*result, *(named[name] for name in ("o_proj.weight", "o_proj.bias") if name in named)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["self", "causal", "cross", "padding", "per head"])
def test_outputs_weights_and_gradients_are_equal(
    kind: str, direction: str, bias: bool, batch_first: bool, dtype: torch.dtype
) -> None:
    ours, theirs = pair(direction, bias=bias, batch_first=batch_first, dtype=dtype)
    x = randn(2, 5, D_MODEL, seed=50, dtype=dtype).requires_grad_()
    memory = None if kind in ("self", "causal") else randn(2, 7, D_MODEL, seed=51, dtype=dtype).requires_grad_()
    options: dict[str, Any] = {}
    their_options: dict[str, Any] = {}  # in PyTorch's module, True = may NOT attend
    if kind == "causal":
        options["causal"], their_options["attn_mask"] = True, ~torch.ones(5, 5, dtype=torch.bool).tril()
    if kind == "padding":
        mask = torch.arange(7) < torch.tensor([[4], [7]])
        options["mask"], their_options["key_padding_mask"] = mask[:, None, None], ~mask
    if kind == "per head":
        mask = torch.rand(2, HEADS, 5, 7, generator=torch.Generator().manual_seed(3)) < 0.6
        mask[..., 2] = True
        options["mask"], their_options["attn_mask"] = mask, ~mask.flatten(0, 1)

    output = ours(x, memory, **options)
    with record_attention(ours) as record:
        explicit = ours(x, memory, **options)
    given = [x, x, x] if memory is None else [x, memory, memory]
    if not batch_first:
        given = [tensor.transpose(0, 1) for tensor in given]
    their_output, their_weights = theirs(*given, average_attn_weights=False, **their_options)
    if not batch_first:
        their_output = their_output.transpose(0, 1)
    assert_near(output, their_output)
    assert_near(explicit, their_output)
    assert_near(record[""][0], their_weights)

    leaves = [x] if memory is None else [x, memory]
    our_gradients = gradients(output, [*leaves, *ours.parameters()])
    their_gradients = gradients(their_output, [*leaves, *theirs.parameters()])
    n = len(leaves)
    assert_all_near(our_gradients[:n], their_gradients[:n])
    assert_all_near(stacked(ours, list(our_gradients[n:])), their_gradients[n:])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_weights_are_copied_and_not_shared(direction: str, bias: bool) -> None:
    ours, theirs = pair(direction, bias=bias)
    for one, other in zip(stacked(ours, list(ours.parameters())), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    source, target = (theirs, ours) if direction == "from torch" else (ours, theirs)
    before = [parameter.detach().clone() for parameter in target.parameters()]
    with torch.no_grad():
        for parameter in source.parameters():
            parameter += 1.0
    assert all(torch.equal(now, then) for now, then in zip(target.parameters(), before, strict=True))
    assert all(parameter.requires_grad for parameter in target.parameters())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_source_stays_as_it_is(direction: str) -> None:
    ours, theirs = pair(direction)
    fresh = {id(ours): pair("from torch")[0], id(theirs): pair("to torch")[1]}
    source = theirs if direction == "from torch" else ours
    other = fresh[id(ours if source is theirs else theirs)]
    (copy_to_torch if source is ours else copy_from_torch)(*((other, theirs) if source is theirs else (ours, other)))
    before = [parameter.detach().clone() for parameter in source.parameters()]
    (copy_from_torch if direction == "from torch" else copy_to_torch)(ours, theirs)
    assert all(torch.equal(now, then) for now, then in zip(source.parameters(), before, strict=True))


def test_there_and_back_again() -> None:
    ours, theirs = pair("to torch")
    again = MultiHeadAttention(D_MODEL, HEADS).double()
    x = randn(2, 5, D_MODEL)
    assert differ(again(x), ours(x))
    copy_from_torch(again, theirs)
    assert torch.equal(again(x), ours(x))


BAD_OURS = "ours must have n_kv_heads = n_heads, d_head = d_model / n_heads and no rotary positions"
BAD_THEIRS = "theirs must not use kdim, vdim, add_bias_kv or add_zero_attn"


@pytest.mark.parametrize("copy", [copy_from_torch, copy_to_torch])
@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({}, {"embed_dim": 6}, r"must agree; ours has \(12, 3, True\), theirs \(6, 3, True\)"),
        ({}, {"num_heads": 4}, r"must agree; ours has \(12, 3, True\), theirs \(12, 4, True\)"),
        ({}, {"bias": False}, r"must agree; ours has \(12, 3, True\), theirs \(12, 3, False\)"),
        ({"bias": False}, {}, r"must agree; ours has \(12, 3, False\), theirs \(12, 3, True\)"),
        ({}, {"kdim": 5}, BAD_THEIRS),
        ({}, {"vdim": 5}, BAD_THEIRS),
        ({}, {"add_bias_kv": True}, BAD_THEIRS),
        ({}, {"add_zero_attn": True}, BAD_THEIRS),
        ({"n_kv_heads": 1}, {}, BAD_OURS),
        ({"d_head": 5}, {}, BAD_OURS),
        ({"rotary": RotaryPositions(4)}, {}, BAD_OURS),
    ],
)
def test_modules_that_differ_are_refused(copy: Any, ours: dict[str, Any], theirs: dict[str, Any], message: str) -> None:
    one = MultiHeadAttention(12, 3, **ours)
    other = nn.MultiheadAttention(**({"embed_dim": 12, "num_heads": 3} | theirs))
    before = [parameter.detach().clone() for parameter in [*one.parameters(), *other.parameters()]]
    with pytest.raises(ValueError, match=message):
        copy(one, other)
    after = [*one.parameters(), *other.parameters()]
    assert all(torch.equal(now, then) for now, then in zip(after, before, strict=True))
