"""Encoder, decoder and the whole Transformer: equal to PyTorch's, and true to what a Transformer must not break."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from transformer_lib.attention import padding_mask
from transformer_lib.config import PositionScheme, StackConfig
from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.interop import copy_decoder_from_torch, copy_encoder_from_torch
from transformer_lib.layers import FeedForward, LayerNorm, RMSNorm
from transformer_lib.transformer import Transformer

# All sizes differ, so that no mixed-up axis can hide.
SMALL = StackConfig(d_model=24, n_heads=4, n_layers=2, d_ff=40, dropout=0.0, max_len=32, positions="none")
SCHEMES = get_args(PositionScheme)
both_norms = pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def tokens(batch: int, seq: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 50, (batch, seq), generator=torch.Generator().manual_seed(seed))


def model(scheme: str = "sinusoidal", *, pre_norm: bool = False) -> Transformer:
    torch.manual_seed(0)
    config = replace(SMALL, positions=scheme, pre_norm=pre_norm)
    transformer = Transformer(50, config).double().eval()
    for name, parameter in transformer.named_parameters():
        if name.endswith(("bias", "table")):  # what starts at zero would hide mistakes
            nn.init.normal_(parameter)
    return transformer


def randomize(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=1.0, std=0.3)


def assert_same_gradients(ours: nn.Module, theirs: nn.Module, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    gradients = []
    for output in outputs:
        (output * torch.linspace(-1, 2, output.size(-1), dtype=output.dtype)).sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
        for tensor in inputs:
            tensor.grad = None
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


@both_norms
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_equals_pytorchs(pre_norm: bool, activation: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        24, 4, 40, dropout=0.0, activation=activation, batch_first=True, norm_first=pre_norm, dtype=torch.float64
    )
    norm = nn.LayerNorm(24, dtype=torch.float64) if pre_norm else None
    theirs = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    randomize(theirs)
    ours = Encoder(replace(SMALL, pre_norm=pre_norm, activation=activation)).double()
    copy_encoder_from_torch(ours, theirs)
    ids = tokens(3, 7)
    ids[1, 5:] = 0
    x = torch.randn(3, 7, 24, dtype=torch.float64, requires_grad=True)
    outputs = [ours(x, padding_mask(ids, 0)), theirs(x, src_key_padding_mask=ids == 0)]
    torch.testing.assert_close(*outputs, atol=1e-12, rtol=1e-12)
    assert_same_gradients(ours, theirs, [x], outputs)


@both_norms
def test_decoder_equals_pytorchs(pre_norm: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(
        24, 4, 40, dropout=0.0, batch_first=True, norm_first=pre_norm, dtype=torch.float64
    )
    norm = nn.LayerNorm(24, dtype=torch.float64) if pre_norm else None
    theirs = nn.TransformerDecoder(layer, 2, norm)
    randomize(theirs)
    ours = Decoder(replace(SMALL, pre_norm=pre_norm)).double()
    copy_decoder_from_torch(ours, theirs)
    ids = tokens(3, 7)
    ids[2, 4:] = 0
    x = torch.randn(3, 5, 24, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(3, 7, 24, dtype=torch.float64, requires_grad=True)
    future = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    outputs = [
        ours(x, memory, memory_mask=padding_mask(ids, 0)),
        theirs(x, memory, tgt_mask=future, memory_key_padding_mask=ids == 0, tgt_is_causal=True),
    ]
    torch.testing.assert_close(*outputs, atol=1e-12, rtol=1e-12)
    assert_same_gradients(ours, theirs, [x, memory], outputs)


def test_copying_refuses_what_does_not_fit() -> None:
    layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True)
    with pytest.raises(ValueError, match=r"numbers of layers must agree; ours has 2, theirs 3"):
        copy_encoder_from_torch(Encoder(SMALL), nn.TransformerEncoder(layer, 3))
    with pytest.raises(ValueError, match="post-norm without one"):
        copy_encoder_from_torch(Encoder(SMALL), nn.TransformerEncoder(layer, 2, nn.LayerNorm(24)))
    with pytest.raises(ValueError, match="no gate"):
        copy_encoder_from_torch(Encoder(replace(SMALL, gated=True)), nn.TransformerEncoder(layer, 2))
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(24, 4, 40, batch_first=True), 2)
    with pytest.raises(ValueError, match="must attend to a memory"):
        copy_decoder_from_torch(Decoder(SMALL, cross_attention=False), decoder)


@schemes
@both_norms
def test_the_future_changes_nothing(scheme: str, pre_norm: bool) -> None:
    transformer, source, target = model(scheme, pre_norm=pre_norm), tokens(2, 7), tokens(2, 6, seed=1)
    before = transformer(source, target)
    changed = target.clone()
    changed[:, 4:] = tokens(2, 2, seed=9)
    after = transformer(source, changed)
    torch.testing.assert_close(before[:, :4], after[:, :4], atol=1e-12, rtol=0)
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


@schemes
def test_the_source_matters_and_its_padding_does_not(scheme: str) -> None:
    transformer, source, target = model(scheme), tokens(2, 7), tokens(2, 6, seed=1)
    padded = torch.cat([source, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    torch.testing.assert_close(transformer(source, target), transformer(padded, target), atol=1e-12, rtol=0)
    other = transformer(tokens(2, 7, seed=5), target)
    assert (other - transformer(source, target)).abs().amax(dim=-1).min() > 1e-3  # at every position


@schemes
@both_norms
@pytest.mark.parametrize("steps", [[1] * 6, [3, 1, 2]], ids=["one by one", "in chunks"])
def test_decoding_with_a_cache_gives_the_same_logits(scheme: str, pre_norm: bool, steps: list[int]) -> None:
    transformer, target = model(scheme, pre_norm=pre_norm), tokens(3, 6, seed=1)
    source = tokens(3, 7)
    source[0, 4:] = 0
    with torch.no_grad():
        memory, memory_mask = transformer.encode(source)
        cache = transformer.decoder.new_cache()
        parts = [transformer.decode(new, memory, memory_mask, cache=cache) for new in target.split(steps, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), transformer(source, target), atol=1e-12, rtol=0)
    assert cache.length == 6


def test_reordering_a_cache_reorders_the_sequences() -> None:
    transformer, target = model(), tokens(3, 6, seed=1)
    source = tokens(1, 7).expand(3, 7)  # three beams of one sentence
    order = torch.tensor([2, 0, 0])
    with torch.no_grad():
        memory, memory_mask = transformer.encode(source)
        cache = transformer.decoder.new_cache()
        transformer.decode(target[:, :5], memory, memory_mask, cache=cache)
        cache.reorder(order)
        last = transformer.decode(target[order][:, 5:], memory, memory_mask, cache=cache)
    torch.testing.assert_close(last, transformer(source, target[order])[:, 5:], atol=1e-12, rtol=0)


@schemes
def test_a_batch_gives_what_each_sentence_gives_alone(scheme: str) -> None:
    transformer, source, target = model(scheme), tokens(3, 7), tokens(3, 6, seed=1)
    alone = torch.cat([transformer(source[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(transformer(source, target), alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "none"])
def test_order_matters_with_every_scheme(scheme: str) -> None:
    transformer, source = model(scheme), tokens(1, 7)
    memory, mask = transformer.encode(source)
    order = torch.tensor([3, 0, 4, 6, 1, 5, 2])  # not a mirror image, which ALiBi's distances would not notice
    shuffled, _ = transformer.encode(source[:, order])
    assert mask.all()
    assert (memory[:, order] - shuffled).abs().max() > 1e-3


def test_without_positions_the_encoder_sees_no_order() -> None:
    transformer, source = model("none"), tokens(1, 7)
    torch.testing.assert_close(transformer.encode(source)[0], transformer.encode(source.flip(1))[0].flip(1))


def test_tied_embedding_is_one_matrix_scaled_on_the_way_in_only() -> None:
    transformer = model()
    assert sum(parameter.shape == (50, 24) for parameter in transformer.parameters()) == 1
    ids = tokens(2, 3)
    torch.testing.assert_close(transformer.embed(ids), transformer.embedding.weight[ids] * 24**0.5)
    hidden = torch.zeros(1, 1, 24, dtype=torch.float64)
    transformer.decoder.forward = lambda *_, **__: hidden + 1.0  # type: ignore[method-assign]
    logits = transformer.decode(ids[:1, :1], hidden)
    torch.testing.assert_close(logits[0, 0], transformer.embedding.weight.sum(-1))


def test_layer_norm_by_hand() -> None:
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    norm = LayerNorm(24, eps=0.1).double()
    nn.init.normal_(norm.weight)
    centered = x - x.mean(-1, keepdim=True)
    expected = centered / ((centered**2).mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(x), expected)


def test_rms_norm_by_hand() -> None:
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    norm = RMSNorm(24, eps=0.1).double()
    nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x), x / ((x**2).mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight)


@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward_by_hand(gated: bool) -> None:
    part = FeedForward(replace(SMALL, gated=gated, activation="silu")).double()
    x = torch.randn(3, 5, 24, dtype=torch.float64)
    up = x @ part.up_proj.weight.T + part.up_proj.bias
    if gated:
        gate = x @ part.gate_proj.weight.T + part.gate_proj.bias
        hidden = gate * torch.sigmoid(gate) * up
    else:
        hidden = up * torch.sigmoid(up)
    torch.testing.assert_close(part(x), hidden @ part.down_proj.weight.T + part.down_proj.bias)


@pytest.mark.parametrize("size", ["base", "big"])
def test_the_papers_models_have_the_papers_sizes(size: str) -> None:
    d_model, d_ff, heads = (512, 2048, 8) if size == "base" else (1024, 4096, 16)
    config = StackConfig(d_model=d_model, d_ff=d_ff, n_heads=heads)
    with torch.device("meta"):
        transformer = Transformer(37_000, config)
    attention, feed_forward = 4 * (d_model**2 + d_model), 2 * d_model * d_ff + d_ff + d_model
    encoder, decoder = attention + feed_forward + 2 * 2 * d_model, 2 * attention + feed_forward + 3 * 2 * d_model
    expected = 37_000 * d_model + 6 * (encoder + decoder)
    assert sum(parameter.numel() for parameter in transformer.parameters()) == expected
    # Table 3 of the paper says 65 and 213 million; it gives the vocabulary only as "about 37,000".
    assert expected / 1e6 == pytest.approx(65 if size == "base" else 213, rel=0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 25}, "divisible by n_heads unless d_head is given; got 25 and 4"),
        ({"n_layers": 0}, "n_layers must be an integer of at least 1; got 0"),
        ({"d_ff": 2.5}, "d_ff must be an integer of at least 1; got 2.5"),
        ({"n_kv_heads": 3}, "divisible by n_kv_heads; got 4 and 3"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"norm_eps": 0.0}, "norm_eps must be positive; got 0.0"),
        ({"activation": "tanh"}, "activation must be one of relu, gelu, gelu_tanh, silu; got 'tanh'"),
        ({"positions": "absolute"}, "positions must be one of"),
    ],
)
def test_a_config_is_right_or_does_not_exist(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_errors_name_what_was_given() -> None:
    transformer = model()
    with pytest.raises(ValueError, match=r"not empty; got \(2, 0\)"):
        transformer(tokens(2, 7), torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="table has 32 positions; got a sequence of length 33"):
        transformer(tokens(2, 33), tokens(2, 5))
    with pytest.raises(ValueError, match="attends to a memory; got none"):
        transformer.decoder(torch.zeros(1, 2, 24, dtype=torch.float64))
    with pytest.raises(ValueError, match="attends to no memory; got one"):
        Decoder(SMALL, cross_attention=False)(torch.zeros(1, 2, 24), torch.zeros(1, 3, 24))
    with pytest.raises(ValueError, match="share d_model; got 24 and 48"):
        Transformer(50, SMALL, decoder=replace(SMALL, d_model=48))
    with pytest.raises(ValueError, match="pad_id must be a token, 0 to 49, or None; got 50"):
        Transformer(50, SMALL, pad_id=50)
