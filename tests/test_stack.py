"""Encoder, decoder and the whole Transformer: equal to PyTorch's, and true to what a Transformer must not break."""

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from transformer_lib.attention import padding_mask
from transformer_lib.config import Activation, StackConfig
from transformer_lib.decoder import Decoder
from transformer_lib.encoder import Encoder
from transformer_lib.layers import FeedForward, LayerNorm, RMSNorm, make_norm
from transformer_lib.multihead import KVCache
from transformer_lib.positions import PositionScheme
from transformer_lib.pretrained import copy_decoder_from_torch, copy_encoder_from_torch
from transformer_lib.transformer import Transformer

# All sizes differ, so that no mixed-up axis can hide.
SMALL = StackConfig(d_model=24, n_heads=4, n_layers=2, d_ff=40, dropout=0.0, max_len=32, positions="none")
SCHEMES = list(PositionScheme.known)  # a new one is tested by all that is tested here
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


class Deliberate(BaseException):
    """Like KeyboardInterrupt, no Exception."""


def interrupt(*_: object) -> None:
    raise Deliberate


@schemes
@pytest.mark.parametrize("read", [0, 3], ids=["first call", "later call"])
@pytest.mark.parametrize("part", ["self_attention", "cross_attention.o_proj", "feed_forward", "memory mask"])
def test_a_call_that_is_not_finished_extends_no_layer(scheme: str, read: int, part: str) -> None:
    transformer, target = model(scheme), tokens(3, 6, seed=1)
    places = torch.arange(6) + 2  # given, so that relative schemes store them
    with torch.no_grad():
        memory, _ = transformer.encode(tokens(3, 7))
        embedded, decoder = transformer.embed(target), transformer.decoder
        wanted = decoder(embedded, memory, positions=places)
        cache = decoder.new_cache()
        if read:
            decoder(embedded[:, :read], memory, positions=places[:read], cache=cache)
        if part == "memory mask":
            mask = torch.ones(3, 1, 1, 8, dtype=torch.bool)
            with pytest.raises(ValueError, match="mask must be broadcastable"):
                decoder(embedded[:, read:], memory, memory_mask=mask, positions=places[read:], cache=cache)
        else:
            handle = decoder.layers[1].get_submodule(part).register_forward_hook(interrupt)
            with pytest.raises(Deliberate):
                decoder(embedded[:, read:], memory, positions=places[read:], cache=cache)
            handle.remove()
        assert {past.length for past in cache.past} == {read}
        after = decoder(embedded[:, read:], memory, positions=places[read:], cache=cache)
        torch.testing.assert_close(after, wanted[:, read:], atol=1e-12, rtol=0)


def test_a_first_call_that_is_not_finished_leaves_the_cache_for_any_memory() -> None:
    transformer, target = model(), tokens(3, 4, seed=1)
    first, second = (transformer.encode(tokens(3, 7, seed=seed))[0].detach() for seed in (0, 5))
    cache = transformer.decoder.new_cache()
    with torch.no_grad():
        handle = transformer.decoder.layers[1].cross_attention.k_proj.register_forward_hook(interrupt)
        with pytest.raises(Deliberate):
            transformer.decode(target, first, cache=cache)
        handle.remove()
        after = transformer.decode(target, second, cache=cache)
        torch.testing.assert_close(after, transformer.decode(target, second), atol=1e-12, rtol=0)


def test_a_used_cache_refuses_another_memory() -> None:
    transformer, target = model(), tokens(3, 6, seed=1)
    with torch.no_grad():
        memory, other = (transformer.encode(tokens(3, 7, seed=seed))[0] for seed in (0, 5))
        wanted = transformer.decode(target, memory)
        for cache in (transformer.decoder.new_cache(), transformer.decoder.new_cache(memory)):
            transformer.decode(target[:, :3], memory, cache=cache)
            for wrong in (other, memory[:1], memory[:, :5]):
                with pytest.raises(ValueError, match="holds another memory; start a new cache"):
                    transformer.decode(target[:, 3:], wrong, cache=cache)
            after = transformer.decode(target[:, 3:], memory.clone(), cache=cache)  # the same numbers
            torch.testing.assert_close(after, wanted[:, 3:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_rows_that_are_not_the_beams_of_the_cached_memories_are_refused(rows: int) -> None:
    transformer = model()
    with torch.no_grad():
        cache = transformer.decoder.new_cache(transformer.encode(tokens(2, 7))[0])
        with pytest.raises(ValueError, match=r"2 memories must serve 1 of the rows; got x of shape \(4, 4, 24\)"):
            transformer.step(tokens(4, 4), cache)  # twice as many: that they are beams has to be said
        cache.reorder(torch.tensor([[0, 0], [1, 1]]))
        assert cache.beams == 2
        with pytest.raises(ValueError, match=rf"2 memories must serve 2 of the rows; got x of shape \({rows}, 4, 24\)"):
            transformer.step(tokens(rows, 4), cache)
        assert transformer.step(tokens(4, 4), cache).shape == (4, 50)
        with pytest.raises(ValueError, match="holds"):
            transformer.step(tokens(2, 1), cache)
        for index, memories in (
            ([0, 1, 2, 3], None),
            ([[0, 1], [2, 3], [2, 3]], None),
            ([[0, 1], [2, 3]], torch.tensor([1])),
        ):
            with pytest.raises(
                ValueError, match=r"index must have shape \(\d,\) or \(\d, beams\), as there are memories"
            ):
                cache.reorder(torch.tensor(index), memories)
        for shape in ((), (2, 0), (1, 2, 2)):
            with pytest.raises(ValueError, match=r"index must have shape \(sentences,\) or \(sentences, beams\); got"):
                cache.reorder(torch.zeros(shape, dtype=torch.long))
    assert (cache.length, cache.beams) == (4, 2)


@schemes
@pytest.mark.parametrize("kept", [0, 2, 5])
def test_cropping_a_cache_forgets_in_every_layer_and_the_positions(scheme: str, kept: int) -> None:
    decoder, x = model(scheme).decoder, torch.randn(2, 8, 24, dtype=torch.float64)
    memory = torch.randn(2, 7, 24, dtype=torch.float64)
    places = torch.tensor([[0, 1, 1, 4, 5, 7, 8, 9], [0, 3, 4, 5, 6, 8, 9, 12]])
    other = torch.cat([x[:, :kept], x[:, 5:]], dim=1)  # goes on otherwise
    given = torch.cat([places[:, :kept], places[:, 5:]], dim=1)
    with torch.no_grad():
        cache = decoder.new_cache(memory)
        decoder(x[:, :5], positions=places[:, :5], cache=cache)
        with pytest.raises(ValueError, match="length must be from 0 to the 5 positions stored; got 6"):
            cache.crop(6)
        cache.crop(kept)
        assert {past.length for past in cache.past} == {cache.length} == {kept}
        after = decoder(x[:, 5:], positions=places[:, 5:], cache=cache)
        wanted = decoder(other, memory, positions=given)
    torch.testing.assert_close(after, wanted[:, kept:], atol=1e-12, rtol=0)


def test_a_cache_knows_its_room() -> None:
    for scheme, room in (("sinusoidal", 20), ("learned", 20), ("rotary", None)):
        decoder = Decoder(replace(SMALL, positions=scheme, max_len=20), cross_attention=False)
        cache = decoder.new_cache()
        assert cache.room == room
        with torch.no_grad():
            decoder(torch.zeros(1, 3, 24), cache=cache)
        assert cache.room == (None if room is None else 17)


def test_a_cache_of_another_decoder_is_refused() -> None:
    cache = Decoder(replace(SMALL, n_layers=3), cross_attention=False).new_cache()
    with pytest.raises(ValueError, match="must have 2 layers, as the decoder; got 3"), torch.no_grad():
        Decoder(SMALL, cross_attention=False)(torch.zeros(1, 2, 24), cache=cache)
    with pytest.raises(ValueError, match="attends to no memory; got one"):
        Decoder(SMALL, cross_attention=False).new_cache(torch.zeros(1, 3, 24))


def test_a_reordering_that_fails_changes_no_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, target = model(), tokens(3, 6, seed=1)
    order = torch.tensor([2, 0, 0])
    with torch.no_grad():
        memory, _ = transformer.encode(tokens(3, 7))
        cache = transformer.decoder.new_cache(memory)
        transformer.decode(target[:, :5], memory, cache=cache)
        kept = KVCache._reordered
        calls = iter([kept, kept, interrupt])  # keys and values of layer 0, and no more
        monkeypatch.setattr(KVCache, "_reordered", lambda *arguments: next(calls)(*arguments))
        with pytest.raises(Deliberate):
            cache.reorder(order, order)
        monkeypatch.setattr(KVCache, "_reordered", kept)
        with pytest.raises(IndexError):
            cache.reorder(order, torch.tensor([0, 1, 7]))
        last = transformer.decode(target[:, 5:], memory, cache=cache)
        torch.testing.assert_close(last, transformer.decode(target, memory)[:, 5:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "none"])
def test_given_positions_count_in_every_scheme(scheme: str) -> None:
    # Tokens in another order, each with its own position, are the same text to an encoder.
    encoder, x, order = model(scheme).encoder, torch.randn(2, 7, 24, dtype=torch.float64), torch.randperm(7)
    torch.testing.assert_close(encoder(x[:, order], positions=order), encoder(x)[:, order], atol=1e-12, rtol=0)
    each = torch.stack([order, torch.arange(7)])
    torch.testing.assert_close(encoder(x, positions=each)[1], encoder(x)[1], atol=1e-12, rtol=0)
    assert (encoder(x, positions=2 * torch.arange(7)) - encoder(x)).abs().max() > 1e-3


@schemes
def test_positions_that_do_not_fit_are_named(scheme: str) -> None:
    transformer, x = model(scheme), torch.zeros(2, 4, 24, dtype=torch.float64)
    decoder = Decoder(replace(SMALL, positions=scheme), cross_attention=False).double()
    for wrong in (torch.arange(5), torch.arange(4)[:, None], torch.zeros(3, 4).long(), torch.zeros(4)):
        message = (
            rf"integers of shape \(4,\) or \(2, 4\); got {wrong.dtype} of shape {re.escape(str(tuple(wrong.shape)))}"
        )
        with pytest.raises(ValueError, match=message):
            transformer.encoder(x, positions=wrong)
        with pytest.raises(ValueError, match=message), torch.no_grad():
            decoder(x, positions=wrong, cache=decoder.new_cache())


@schemes
@pytest.mark.parametrize("steps", [[1] * 6, [3, 1, 2]], ids=["one by one", "in chunks"])
def test_given_positions_are_remembered_by_the_cache(scheme: str, steps: list[int]) -> None:
    transformer = model(scheme)
    decoder, x = transformer.decoder, torch.randn(3, 6, 24, dtype=torch.float64)
    places = torch.tensor([[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 2, 4, 6, 8, 10]])
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        memory, _ = transformer.encode(tokens(3, 7))
        wanted = decoder(x, memory, positions=places)
        assert scheme == "none" or (wanted[2] - decoder(x, memory)[2]).abs().max() > 1e-3
        cache, start, parts = decoder.new_cache(memory), 0, []
        for size in steps:
            now = slice(start, start := start + size)
            parts.append(decoder(x[:, now], positions=places[:, now], cache=cache))
            for rows in (order, order.argsort()):  # there and back
                cache.reorder(rows, rows)
    torch.testing.assert_close(torch.cat(parts, dim=1), wanted, atol=1e-12, rtol=0)


@schemes
def test_decoding_reads_no_number_of_the_device(scheme: str) -> None:
    # The meta device has no numbers: whatever asks for one, and so would wait for a GPU, raises.
    with torch.device("meta"):
        decoder = Decoder(replace(SMALL, positions=scheme))
        memory, x = torch.zeros(2, 7, 24), torch.zeros(2, 4, 24)
        with torch.no_grad():
            cache = decoder.new_cache(memory)
            for _ in range(3):
                assert decoder(x, memory, cache=cache).shape == (2, 4, 24)
    assert cache.length == 12


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
        ({"n_layers": 0}, "n_layers must be at least 1; got 0"),
        ({"d_ff": 2.5}, "d_ff must be a whole number; got 2.5"),
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


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("norm", make_norm),
        ("activation", FeedForward),
    ],
)
def test_a_name_without_code_behind_it_is_no_other_name(field: str, build: Callable[[StackConfig], nn.Module]) -> None:
    config = replace(SMALL)
    object.__setattr__(config, field, "spiral")  # as if it had been added to the names that StackConfig lets pass
    with pytest.raises(AssertionError, match="spiral"):
        build(config)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_a_model_can_be_pickled(activation: str) -> None:
    encoder = Encoder(replace(SMALL, activation=activation)).double()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    assert torch.equal(pickle.loads(pickle.dumps(encoder))(x), encoder(x))


@schemes
@pytest.mark.parametrize("how", ["to_empty", "assign", "half and back"])
def test_a_model_survives_where_it_had_no_numbers(scheme: str, how: str) -> None:
    transformer, source, target = model(scheme).float(), tokens(2, 7), tokens(2, 6, seed=1)
    if how == "half and back":
        moved = copy.deepcopy(transformer).half().float()
        moved.load_state_dict(transformer.state_dict())
    else:
        with torch.device("meta"):
            moved = Transformer(50, replace(SMALL, positions=scheme))
        if how == "to_empty":
            moved = moved.to_empty(device="cpu")
        moved.load_state_dict(transformer.state_dict(), assign=how == "assign")
    assert torch.equal(moved.eval()(source, target), transformer(source, target))


@pytest.mark.parametrize("scheme", ["sinusoidal", "alibi", "rotary"])
def test_gradients_in_float64_are_those_of_finite_differences(scheme: str) -> None:
    transformer, source, target = model(scheme), tokens(1, 3), tokens(1, 3, seed=1)
    names = [name for name, _ in transformer.named_parameters()]

    def logits(*parameters: Tensor) -> Any:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(transformer, given, (source, target))

    assert torch.autograd.gradcheck(logits, tuple(transformer.parameters()), fast_mode=True)


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
