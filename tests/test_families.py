"""One strict engine for all copies of weights, and families that are nothing but a table of it.

Each family is a random model of Hugging Face; with its weights, stacks of ours must compute the same in float64.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn

from transformer_lib.config import StackConfig
from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.layers import LayerNorm
from transformer_lib.positions import Rotary
from transformer_lib.pretrained import (
    Copy,
    Entry,
    Keep,
    Skip,
    Tied,
    copy_weights,
    pairs_from_halves,
    split,
    transpose,
    within,
)

# ---- Families. All sizes differ, so that no mixed-up axis can hide.

VOCAB, LENGTH = 29, 17
SMALL = StackConfig(d_model=24, n_heads=4, n_layers=3, d_ff=40, dropout=0.0, pre_norm=True, max_len=LENGTH)

GPT2: tuple[Entry, ...] = (
    Copy("embedding.weight", "transformer.wte.weight"),
    Tied("lm_head.weight", "transformer.wte.weight"),
    Copy("decoder.positions.added.table", "transformer.wpe.weight"),
    *within(
        "decoder.layers.{i}.",
        "transformer.h.{i}.",
        Copy("self_attention.{q|k|v}_proj.{kind}", "attn.c_attn.{kind}", transpose, split(3)),
        Copy("self_attention.o_proj.{kind}", "attn.c_proj.{kind}", transpose),
        Copy("feed_forward.{up|down}_proj.{kind}", "mlp.{c_fc|c_proj}.{kind}", transpose),
        Copy("{self_attention|feed_forward}_residual.norm.{kind}", "ln_{1|2}.{kind}"),
        Skip("attn.{bias|masked_bias}"),
    ),
    Copy("decoder.final_norm.{kind}", "transformer.ln_f.{kind}"),
)
LLAMA: tuple[Entry, ...] = (
    Copy("embedding.weight", "model.embed_tokens.weight"),
    Tied("lm_head.weight", "model.embed_tokens.weight"),
    *within(
        "decoder.layers.{i}.",
        "model.layers.{i}.",
        Copy("self_attention.{q|k}_proj.weight", "self_attn.{q|k}_proj.weight", pairs_from_halves(6)),
        Copy("self_attention.{v|o}_proj.weight", "self_attn.{v|o}_proj.weight"),
        Copy("feed_forward.{up|gate|down}_proj.weight", "mlp.{up|gate|down}_proj.weight"),
        Copy("{self_attention|feed_forward}_residual.norm.weight", "{input|post_attention}_layernorm.weight"),
    ),
    Copy("decoder.final_norm.weight", "model.norm.weight"),
)
QWEN3: tuple[Entry, ...] = (
    *(entry for entry in LLAMA if not (isinstance(entry, Copy) and "{q|k}" in entry.ours)),
    *within(
        "decoder.layers.{i}.self_attention.",
        "model.layers.{i}.self_attn.",
        Copy("{q|k}_{proj|norm}.weight", "{q|k}_{proj|norm}.weight"),
    ),
)
BERT: tuple[Entry, ...] = (
    Copy("{words|places|segments}.weight", "embeddings.{word|position|token_type}_embeddings.weight"),
    Copy("norm.{kind}", "embeddings.LayerNorm.{kind}"),
    *within(
        "encoder.layers.{i}.",
        "encoder.layer.{i}.",
        Copy("attention.{q|k|v}_proj.{kind}", "attention.self.{query|key|value}.{kind}"),
        Copy("attention.o_proj.{kind}", "attention.output.dense.{kind}"),
        Copy("feed_forward.{up|down}_proj.{kind}", "{intermediate|output}.dense.{kind}"),
        Copy("{attention|feed_forward}_residual.norm.{kind}", "{attention.output|output}.LayerNorm.{kind}"),
    ),
    Skip("pooler.*"),
)
T5: tuple[Entry, ...] = (
    Copy("embedding.weight", "shared.weight"),
    Tied("encoder.embed_tokens.weight", "shared.weight"),
    Copy("encoder.positions.bias.table", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    *within(
        "encoder.layers.{i}.",
        "encoder.block.{i}.",
        Copy("attention.{q|k|v|o}_proj.weight", "layer.0.SelfAttention.{q|k|v|o}.weight"),
        Copy("feed_forward.{gate|up|down}_proj.weight", "layer.1.DenseReluDense.{wi_0|wi_1|wo}.weight"),
        Copy("{attention|feed_forward}_residual.norm.weight", "layer.{0|1}.layer_norm.weight"),
    ),
    Copy("encoder.final_norm.weight", "encoder.final_layer_norm.weight"),
)


class Causal(nn.Module):
    """Embedding, decoder, and the embedding again."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, config.d_model)
        self.decoder = Decoder(config, cross_attention=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.decoder(self.embedding(ids)) @ self.embedding.weight.T


class Reader(nn.Module):
    """Embedding and encoder, as T5 has them."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, config.d_model)
        self.encoder = Encoder(config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.encoder(self.embedding(ids))


class SummedReader(nn.Module):
    """Words, places and segments, normalized, as BERT has them."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.words, self.places, self.segments = (nn.Embedding(n, config.d_model) for n in (VOCAB, LENGTH, 2))
        self.norm = LayerNorm(config.d_model, eps=config.norm_eps)
        self.encoder = Encoder(config)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.places(torch.arange(ids.size(1)))
        return self.encoder(self.norm(self.words(ids) + places + self.segments(torch.zeros_like(ids))))


def gpt2() -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=LENGTH, n_embd=24, n_layer=3, n_head=4, n_inner=40)
    ours = Causal(replace(SMALL, positions="learned", activation="gelu_tanh"))
    return ours, transformers.GPT2LMHeadModel(config), GPT2


def llama() -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
    )
    changes: dict[str, Any] = {"norm": "rms", "gated": True, "activation": "silu", "bias": False, "n_kv_heads": 2}
    return Causal(replace(SMALL, positions="rotary", **changes)), transformers.LlamaForCausalLM(config), LLAMA


def qwen3() -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    config = transformers.Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        tie_word_embeddings=True,
        rms_norm_eps=1e-3,
    )
    changes: dict[str, Any] = {"norm": "rms", "gated": True, "activation": "silu", "bias": False, "n_kv_heads": 2}
    changes |= {"d_head": 10, "norm_eps": 1e-3, "qk_norm": True, "positions": Rotary(interleaved=False)}
    return Causal(replace(SMALL, **changes)), transformers.Qwen3ForCausalLM(config), QWEN3


def bert() -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    config = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=LENGTH,
    )
    changes: dict[str, Any] = {"pre_norm": False, "norm_eps": 1e-12, "activation": "gelu"}
    return SummedReader(replace(SMALL, positions="none", **changes)), transformers.BertModel(config), BERT


def t5() -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    config = transformers.T5Config(
        vocab_size=VOCAB,
        d_model=24,
        d_kv=10,
        d_ff=40,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    changes: dict[str, Any] = {"norm": "rms", "norm_eps": 1e-6, "gated": True, "activation": "gelu_tanh"}
    changes |= {"bias": False, "attention_scale": 1.0, "d_head": 10}
    return Reader(replace(SMALL, positions="relative", **changes)), transformers.T5EncoderModel(config), T5


# Hugging Face computes the angles of rotary positions and the root of a mean square in float32, whatever the model's.
TOLERANCE = {gpt2: 1e-10, llama: 1e-5, qwen3: 1e-5, bert: 1e-10, t5: 1e-5}
families = pytest.mark.parametrize("family", [gpt2, llama, qwen3, bert, t5])


def prepared(family: Callable[[], Any]) -> tuple[nn.Module, nn.Module, tuple[Entry, ...]]:
    """Both models in float64, and theirs with random numbers everywhere, also where it starts with zeros and ones."""
    torch.manual_seed(0)
    ours, theirs, table = family()
    for parameter in theirs.parameters():
        parameter.data = torch.randn(parameter.shape) / 24**0.5 + (1.0 if parameter.ndim == 1 else 0.0)
    return ours.double().eval(), theirs.double().eval(), table


@families
def test_a_family_is_a_table(family: Any) -> None:
    ours, theirs, table = prepared(family)
    ids = torch.randint(0, VOCAB, (5, 11))
    copy_weights(ours, theirs, table)
    expected = theirs(ids)
    expected = expected.logits if hasattr(expected, "logits") else expected.last_hidden_state
    found = ours(ids)
    assert found.abs().mean() > 0.1
    torch.testing.assert_close(found, expected, atol=TOLERANCE[family], rtol=0)
    assert all(parameter.is_contiguous() for parameter in ours.parameters())  # turned weights are laid out anew
    before = [parameter.detach().clone() for parameter in theirs.parameters()]
    for parameter in ours.parameters():
        parameter.data += 1.0
    assert all(torch.equal(now, then) for now, then in zip(theirs.parameters(), before, strict=True))


@families
def test_a_checkpoints_file_serves_as_well(family: Callable[[], Any], tmp_path: Path) -> None:
    """In the format of safetensors, without the names of tied weights, in half precision, read by either package."""
    ours, theirs, table = prepared(family)
    theirs.bfloat16().double()
    copy_weights(ours, theirs, table)
    wanted = copy.deepcopy(ours.state_dict())
    path = tmp_path / "model.safetensors"
    tied = {entry.theirs for entry in table if isinstance(entry, Tied)}
    stored = {name: w.contiguous() for name, w in theirs.bfloat16().state_dict().items() if name not in tied}
    safetensors.torch.save_file(stored, path)
    for parameter in ours.parameters():
        parameter.data.fill_(torch.nan)
    copy_weights(ours, safetensors.torch.load_file(path), table)
    assert all(torch.equal(weight, wanted[name]) for name, weight in ours.state_dict().items())
    safetensors.torch.save_file({name: weight.float() for name, weight in stored.items()}, path)
    for parameter in ours.parameters():
        parameter.data.fill_(torch.nan)
    copy_weights(ours, safetensors.numpy.load_file(path), table)
    assert all(torch.equal(weight, wanted[name]) for name, weight in ours.state_dict().items())


def refused(ours: nn.Module, theirs: Any, table: tuple[Entry, ...], message: str) -> None:
    """A ValueError with the message, and ours is bit for bit as it was."""
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ValueError, match=message):
        copy_weights(ours, theirs, table)
    assert all(torch.equal(weight, before[name]) for name, weight in ours.state_dict().items())


@families
def test_every_weight_counts(family: Callable[[], Any]) -> None:
    """Without any one weight, or with another shape of it, nothing is copied, and it is named."""
    ours, theirs, table = prepared(family)
    weights = theirs.state_dict()
    skipped = [name for name in weights if name == "lm_head.weight" or "pooler" in name or "encoder.embed" in name]
    for name in weights:
        if name not in skipped:
            refused(ours, {k: w for k, w in weights.items() if k != name}, table, f"theirs has no weight {name}(;|$)")
            refused(ours, weights | {name: weights[name].repeat(7, *[1] * (weights[name].ndim - 1))}, table, name)
    refused(ours, weights | {"extra.weight": torch.ones(1)}, table, "that ours has not: extra.weight$")
    for entry in table:
        if isinstance(entry, Copy):
            shorter = tuple(other for other in table if other is not entry)
            refused(ours, weights, shorter, "the table does not name our .*; theirs has weights that ours has not: ")
        if isinstance(entry, Tied):
            refused(ours, weights | {entry.theirs: weights[entry.to] + 1}, table, f"{entry.theirs} must be equal to")


def test_an_epsilon_that_differs_is_seen() -> None:
    ours, theirs, table = prepared(gpt2)
    theirs.transformer.h[2].ln_2.eps = 1e-3
    refused(
        ours, theirs, table, r"layers\.2\.feed_forward_residual\.norm\.eps must agree; ours has 1e-05, theirs 0.001"
    )
    ours, theirs, table = prepared(llama)
    theirs.model.norm.variance_epsilon = 1e-3
    refused(ours, theirs, table, r"decoder\.final_norm\.eps must agree; ours has 1e-05, theirs 0.001")


def test_buffers_of_an_older_gpt2_are_skipped() -> None:
    ours, theirs, table = prepared(gpt2)
    older = {f"transformer.h.{i}.attn.{name}": torch.ones(1) for i in range(3) for name in ("bias", "masked_bias")}
    copy_weights(ours, theirs.state_dict() | older, table)
    refused(ours, theirs.state_dict() | older, tuple(e for e in table if not isinstance(e, Skip)), "h.0.attn.bias, ")


# ---- The engine, on a toy.


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 3), nn.Linear(2, 3, bias=False)
        self.register_buffer("mean", torch.zeros(4))


TOY = (Copy("{first|last}.{kind}", "{a|b}.{kind}"), Copy("mean", "mean"))


def toy_weights() -> dict[str, Any]:
    names = {"a.weight": (3, 2), "a.bias": (3,), "b.weight": (3, 2), "mean": (4,)}
    return {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(len(name))) for name, shape in names.items()
    }


def test_what_does_not_fit_is_named_and_the_model_stays() -> None:
    ours, weights = Toy(), toy_weights()
    refused(ours, weights | {"mean": torch.ones(5)}, TOY, r"mean: the shape must agree; ours has \(4,\), theirs \(5,\)")
    less = {"a.weight": weights["a.weight"], "c": torch.ones(1), "d": torch.ones(1)}
    refused(ours, less, TOY, "theirs has no weight mean, a.bias, b.weight; theirs has weights that ours has not: c, d$")
    refused(ours, weights, TOY[:1], "the table does not name our mean; theirs has weights that ours has not: mean$")
    refused(ours, weights, (*TOY, Keep("first.*")), "the table has 2 entries for our first.weight")
    many = {f"w{n}": torch.ones(1) for n in range(40)}
    refused(ours, weights | many, TOY, "w0, w1, .*w11, and 28 more$")
    refused(ours, weights | {"mean": torch.ones(4, device="meta")}, TOY, "mean: theirs is on the meta device")
    with pytest.raises(TypeError, match=r"mean must be a tensor or an array; got list"):
        copy_weights(ours, weights | {"mean": [1.0, 2.0, 3.0, 4.0]}, TOY)
    positive = Skip("c", lambda weight: bool(weight.gt(0).all()), "must be positive")
    copy_weights(ours, weights | {"c": torch.ones(1)}, (*TOY, positive))
    refused(ours, weights | {"c": -torch.ones(1)}, (*TOY, positive), "their c must be positive")
    refused(ours, weights | {"c": torch.ones(1)}, (*TOY, Tied("c", "nowhere")), "theirs has weights .*: c$")


@pytest.mark.parametrize(
    ("mine", "yours", "fits"),
    [
        (torch.float32, torch.float16, True),
        (torch.float32, torch.bfloat16, True),
        (torch.float64, torch.float32, True),
        (torch.float32, torch.float64, False),
        (torch.float16, torch.bfloat16, False),
        (torch.bfloat16, torch.float16, False),
        (torch.float32, torch.int8, False),
        (torch.float32, torch.float8_e4m3fn, True),
    ],
    ids=str,
)
def test_a_checkpoint_may_be_less_precise_but_not_more(mine: torch.dtype, yours: torch.dtype, fits: bool) -> None:
    ours, weights = Toy().to(mine), {name: weight.to(yours) for name, weight in toy_weights().items()}
    if not fits:
        refused(ours, weights, TOY, f"the dtype must be as wide as theirs; ours has {mine}, theirs {yours}, from")
        return
    copy_weights(ours, weights, TOY)
    assert ours.first.weight.dtype == mine
    assert torch.equal(ours.first.weight, weights["a.weight"].to(mine))


def test_strides_and_byte_orders_are_no_matter() -> None:
    ours, weights = Toy(), toy_weights()
    array = weights["a.weight"].numpy()
    for same in (array[::-1][::-1], np.asfortranarray(array), array.astype(">f4"), np.flip(np.flip(array).copy())):
        same.flags.writeable = False
        ours.first.weight.data.zero_()
        copy_weights(ours, weights | {"a.weight": same, "mean": np.arange(8, dtype=np.float16)[::-2]}, TOY)
        assert torch.equal(ours.first.weight, weights["a.weight"])
        assert ours.mean.tolist() == [7, 5, 3, 1]
    every_second = torch.randn(6, 4)[::2, ::2]
    copy_weights(ours, weights | {"b.weight": every_second}, TOY)
    assert torch.equal(ours.last.weight, every_second)


def test_weights_of_the_model_itself_may_change_places() -> None:
    ours = Toy()
    first, last = ours.first.weight.detach().clone(), ours.last.weight.detach().clone()
    swapped = (Copy("{first|last}.weight", "{last|first}.weight"), Copy("{first.bias|mean}", "{first.bias|mean}"))
    copy_weights(ours, ours.state_dict(), swapped)
    assert torch.equal(ours.first.weight, last)
    assert torch.equal(ours.last.weight, first)


@pytest.mark.parametrize("name", ["first", "last"])
def test_our_tied_weights_are_one(name: str) -> None:
    ours, weights = Toy(), toy_weights()
    ours.last.weight = ours.first.weight
    del weights["b.weight"]
    copy_weights(
        ours, weights, (Copy(f"{name}.weight", "a.weight"), Copy("first.bias", "a.bias"), Copy("mean", "mean"))
    )
    assert ours.last.weight is ours.first.weight
    assert torch.equal(ours.first.weight, weights["a.weight"])


def test_weights_are_split_and_joined() -> None:
    ours, weights = Toy(), toy_weights()
    joined = {"both": torch.cat([weights["a.weight"], weights["b.weight"]]), "bias": weights["a.bias"]}
    halves = {"low": torch.ones(2), "high": torch.zeros(2)}
    rest = (Copy("first.bias", "bias"), Copy("mean", "{low|high}", lambda *parts: torch.cat(parts)))
    copy_weights(ours, joined | halves, (Copy("{first|last}.weight", "both", split(2)), *rest))
    assert torch.equal(ours.first.weight, weights["a.weight"])
    assert torch.equal(ours.last.weight, weights["b.weight"])
    assert ours.mean.tolist() == [1, 1, 0, 0]
    uneven = Copy("{first|last}.weight", "both", split(4)), *rest
    refused(ours, joined | halves, uneven, r"both of shape \(6, 2\) cannot be cut or turned as the table says")
    thirds = Copy("{first|last}.weight", "both", split(3)), *rest
    refused(ours, joined | halves, thirds, r"both of shape \(6, 2\) must be split in 2; the table's steps return 3")


def test_tables_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.{i}\.{j} has holes that y\.{i} has not: j"):
        Copy("y.{i}", "x.{i}.{j}")
    for names in (("{a|b|c}", "{a|b}"), ("{a|b}", "{a|b|c}"), ("{a|b}", "c"), ("c", "{a|b}")):
        with pytest.raises(ValueError, match="as many names must stand on both sides, or multiples and a step"):
            Copy(*names)


def test_halves_become_pairs() -> None:
    assert pairs_from_halves()(torch.arange(6)).tolist() == [0, 3, 1, 4, 2, 5]
    assert pairs_from_halves(4)(torch.arange(8)).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    matrix = torch.arange(8).view(2, 4)
    assert pairs_from_halves(axis=1)(matrix).tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
    assert pairs_from_halves(axis=0)(matrix.T).T.tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
