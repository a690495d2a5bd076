"""Parity with ``nn.MultiheadAttention`` by copied weights, in both directions: outputs, weights and gradients.

And all copies from PyTorch copy everything or, where the two would not compute the same, nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cases import assert_all_near, assert_near, differ, gradients, randn
from transformer_lib import Decoder, Encoder, MultiHeadAttention, RotaryPositions, StackConfig
from transformer_lib.plots import record_attention
from transformer_lib.pretrained import (
    copy_decoder_from_torch,
    copy_encoder_from_torch,
    copy_from_torch,
    copy_to_torch,
)

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


def refused(copy: Any, ours: nn.Module, theirs: nn.Module, error: type[Exception], message: str) -> None:
    """Refused with the message; and both are bit for bit as they were."""
    before = [parameter.detach().clone() for parameter in [*ours.parameters(), *theirs.parameters()]]
    with pytest.raises(error, match=message):
        copy(ours, theirs)
    after = [*ours.parameters(), *theirs.parameters()]
    assert all(torch.equal(now, then) for now, then in zip(after, before, strict=True) if not then.is_meta)


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
        ({"scale": 1.0}, {}, r"the scores' scale must agree; ours has 1.0, theirs 1 / sqrt\(d_head\) = 0.5"),
        ({"dropout": 0.1}, {}, "dropout must agree; ours has 0.1, theirs 0.0"),
        ({}, {"dtype": torch.float64}, r"q_proj.weight: the dtype must agree; ours has torch.float32, theirs .*64"),
    ],
)
def test_modules_that_differ_are_refused(copy: Any, ours: dict[str, Any], theirs: dict[str, Any], message: str) -> None:
    one = MultiHeadAttention(12, 3, **ours)
    other = nn.MultiheadAttention(**({"embed_dim": 12, "num_heads": 3} | theirs))
    refused(copy, one, other, ValueError, message)


@pytest.mark.parametrize("copy", [copy_from_torch, copy_to_torch])
def test_the_meta_device_and_other_classes_are_refused(copy: Any) -> None:
    ours, theirs = MultiHeadAttention(12, 3), nn.MultiheadAttention(12, 3)
    refused(copy, MultiHeadAttention(12, 3).to("meta"), theirs, ValueError, "ours is on the meta device")
    refused(copy, ours, nn.MultiheadAttention(12, 3, device="meta"), ValueError, "theirs is on the meta device")
    refused(copy, theirs, ours, TypeError, "ours must be of class MultiHeadAttention; got MultiheadAttention")
    refused(copy, ours, nn.Linear(12, 12), TypeError, "theirs must be of class MultiheadAttention; got Linear")


def test_dropout_is_compared_only_where_both_are_in_training() -> None:
    ours, theirs = MultiHeadAttention(12, 3, dropout=0.2).eval(), nn.MultiheadAttention(12, 3)
    copy_from_torch(ours, theirs)
    assert torch.equal(ours.o_proj.weight, theirs.out_proj.weight)


# ---- The stacks.

SMALL = StackConfig(d_model=24, n_heads=4, n_layers=2, d_ff=40, dropout=0.0, max_len=32, positions="none")
both_stacks = pytest.mark.parametrize("kind", ["encoder", "decoder"])


def stacks(kind: str, **changes: Any) -> tuple[Any, Any, Any]:
    """A copy, a stack of ours, and one of PyTorch's that fits it but for ``changes``."""
    choices = {"dim_feedforward": 40, "dropout": 0.0, "batch_first": True, "norm_first": True} | changes
    theirs: nn.Module
    if kind == "encoder":
        layer: nn.Module = nn.TransformerEncoderLayer(24, 4, **choices)
        theirs = nn.TransformerEncoder(layer, 2, nn.LayerNorm(24), enable_nested_tensor=False)  # type: ignore[arg-type]
        return copy_encoder_from_torch, Encoder(replace(SMALL, pre_norm=True)), theirs
    layer = nn.TransformerDecoderLayer(24, 4, **choices)
    theirs = nn.TransformerDecoder(layer, 2, nn.LayerNorm(24))  # type: ignore[arg-type]
    return copy_decoder_from_torch, Decoder(replace(SMALL, pre_norm=True)), theirs


@both_stacks
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_norm_eps": 0.1}, "norm.eps must agree; ours has 1e-05, theirs 0.1"),
        ({"activation": "gelu"}, "layers.0.feed_forward.activation must agree: theirs, .*gelu"),
        ({"activation": F.relu6}, "activation must agree: theirs, .*relu6"),
        ({"dim_feedforward": 56}, r"up_proj.weight: the shape must agree; ours has \(40, 24\), theirs \(56, 24\)"),
        ({"bias": False}, r"\(d_model, n_heads, bias\) must agree"),
        ({"dropout": 0.1}, "dropout must agree; ours has 0.0, theirs 0.1"),
        ({"dtype": torch.float64}, "the dtype must agree; ours has torch.float32, theirs torch.float64"),
        ({"device": "meta"}, "theirs is on the meta device"),
    ],
)
def test_stacks_that_would_compute_something_else_are_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    refused(*stacks(kind, **changes), ValueError, message)


def last(**attributes: Any) -> Callable[[Any], None]:
    """Change the last layer: ``linear2__bias=None`` takes the bias of its ``linear2``."""

    def change(theirs: Any) -> None:
        for path, value in attributes.items():
            *parents, name = path.split("__")
            setattr(theirs.layers[-1].get_submodule(".".join(parents)), name, value)

    return change


@both_stacks
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (last(norm_first=False), "both must be pre-norm"),
        (last(activation=F.silu), r"layers\.1\..*activation must agree"),
        (last(norm2__eps=1e-6), r"layers\.1\..*norm\.eps must agree"),
        (last(norm1=nn.RMSNorm(24)), "theirs must be a LayerNorm; got RMSNorm"),
        (last(linear2__bias=None), r"theirs has no weight layers\.1\.linear2\.bias$"),
        (lambda theirs: setattr(theirs.norm, "eps", 1e-3), "final_norm.eps must agree; ours has 1e-05, theirs 0.001"),
        (lambda theirs: setattr(theirs, "norm", nn.LayerNorm(23)), "final_norm.weight: the shape must agree"),
    ],
)
def test_the_last_part_of_a_stack_is_checked_before_the_first_is_copied(
    kind: str, change: Callable[[Any], None], message: str
) -> None:
    copy, ours, theirs = stacks(kind)
    change(theirs)
    refused(copy, ours, theirs, ValueError, message)


@both_stacks
def test_other_stacks_are_refused_and_other_names_of_one_activation_are_not(kind: str) -> None:
    copy, ours, theirs = stacks(kind)
    for scheme in ("relative", "alibi"):
        refused(copy, type(ours)(replace(SMALL, pre_norm=True, positions=scheme)), theirs, ValueError, "to the scores")
    refused(copy, ours, stacks("decoder" if kind == "encoder" else "encoder")[2], TypeError, "theirs must be of class")
    for layer in theirs.layers:
        layer.activation = nn.ReLU()
    copy(ours, theirs)
    for mine, yours in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(mine.feed_forward.down_proj.weight, yours.linear2.weight)
    assert torch.equal(ours.final_norm.bias, theirs.norm.bias)
