"""Parity with Hugging Face's Marian by copied weights: logits, gradients, and no weight forgotten on either side."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel

from transformer_lib.config import StackConfig
from transformer_lib.plots import record_attention
from transformer_lib.pretrained import copy_from_marian
from transformer_lib.transformer import Transformer

# All sizes differ, and those of the encoder from those of the decoder, so that no mixed-up axis can hide.
VOCAB, PAD = 53, 52
THEIRS: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "max_position_embeddings": 64,
    "activation_function": "swish",
    "scale_embedding": True,
    "dropout": 0.0,
    "pad_token_id": PAD,
    "decoder_start_token_id": PAD,
    "eos_token_id": 0,
    "forced_eos_token_id": None,
}
ENCODER = StackConfig(d_model=24, n_heads=4, n_layers=2, d_ff=40, dropout=0.0, activation="silu", max_len=32)
DECODER = replace(ENCODER, n_heads=6, n_layers=3, d_ff=56)


def marian(attention: str = "eager", **changes: Any) -> Any:
    """A Marian of random weights, biases and norms included, which its own initialization leaves at 0 and 1."""
    config = MarianConfig(**(THEIRS | changes), attn_implementation=attention)
    model = MarianMTModel(config).double().eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = noise / 24**0.5 if parameter.ndim == 2 else 1.0 + 0.3 * noise
    return model


def our_model(encoder: StackConfig = ENCODER, decoder: StackConfig = DECODER, pad_id: int = PAD) -> Transformer:
    torch.manual_seed(2)
    return Transformer(VOCAB, encoder, decoder=decoder, pad_id=pad_id).double().eval()


def copied(theirs: Any) -> Transformer:
    ours = our_model()
    copy_from_marian(ours, theirs)
    return ours


def inputs(first: int = PAD) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    source = torch.randint(0, PAD, (5, 7), generator=generator)
    target = torch.randint(0, PAD, (5, 9), generator=generator)
    source[1, 4:] = source[3, 6:] = PAD
    target[:, 0] = first
    return source, target


def their_logits(theirs: Any, source: Tensor, target: Tensor) -> Tensor:
    return theirs(input_ids=source, attention_mask=source != PAD, decoder_input_ids=target).logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("activation", ["swish", "relu", "gelu", "gelu_new"])
def test_logits_are_equal(activation: str, attention: str) -> None:
    theirs = marian(attention, activation_function=activation)
    name = {"swish": "silu", "gelu_new": "gelu_tanh"}.get(activation, activation)
    ours = our_model(replace(ENCODER, activation=name), replace(DECODER, activation=name))
    copy_from_marian(ours, theirs)
    source, target = inputs()
    logits = ours(source, target)
    assert logits.abs().mean() > 0.1
    torch.testing.assert_close(logits, their_logits(theirs, source, target), atol=1e-10, rtol=0)


@pytest.mark.parametrize("first", [7, PAD], ids=["another first token", "padding first"])
def test_gradients_are_equal(first: int) -> None:
    theirs = marian()
    ours = copied(theirs)
    source, target = inputs(first)
    upstream = torch.linspace(-1, 2, VOCAB, dtype=torch.float64)
    (ours(source, target) * upstream).sum().backward()
    (their_logits(theirs, source, target) * upstream).sum().backward()
    # Copying is linear and only moves numbers: their gradients, copied as if they were weights, must be ours.
    carrier = copy.deepcopy(theirs)
    for parameter, source_of in zip(carrier.parameters(), theirs.parameters(), strict=True):
        if source_of.grad is not None:
            parameter.data = source_of.grad
    wanted = copied(carrier)
    for (name, parameter), (_, expected) in zip(ours.named_parameters(), wanted.named_parameters(), strict=True):
        assert parameter.grad is not None
        found, expected = parameter.grad, expected.detach()
        if name == "embedding.weight" and first == PAD:
            # Hugging Face gives the padding token no gradient where it is looked up.
            assert (found[PAD] - expected[PAD]).abs().max() > 1e-3
            found, expected = found[:PAD], expected[:PAD]
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
        if "k_proj.bias" not in name:  # a key's bias moves all of a query's scores alike, which softmax does not see
            assert found.abs().max() > 1e-3, name


def test_every_weight_is_used_and_every_parameter_written() -> None:
    theirs = marian()
    ours = our_model()
    for parameter in ours.parameters():
        parameter.data.fill_(torch.nan)
    copy_from_marian(ours, theirs)
    assert all(parameter.isfinite().all() for parameter in ours.parameters())
    # Random numbers hardly repeat: the same multiset of values on both sides means that each was copied, and once.
    mine = torch.cat([parameter.flatten() for parameter in ours.parameters()])
    yours = torch.cat([parameter.flatten() for parameter in theirs.parameters() if parameter.requires_grad])
    assert torch.equal(mine.sort().values, yours.sort().values)


def test_each_weight_changes_both_models_alike() -> None:
    theirs, ours, (source, target) = marian(), our_model(), inputs()
    before = copied(theirs)(source, target)
    for number, (name, parameter) in enumerate(theirs.named_parameters()):
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            copy_from_marian(ours, theirs)
            after = ours(source, target)
            torch.testing.assert_close(
                after, their_logits(theirs, source, target), atol=1e-10, rtol=0, msg=lambda text, name=name: name + text
            )
            if "k_proj.bias" not in name:
                assert (after - before).abs().max() > 1e-6, name
            before = after


def test_positions_may_be_rounded_otherwise() -> None:
    """NumPy's powers and PyTorch's differ in the last digit, which shows with d_model = 1024."""
    theirs = marian()
    theirs.model.decoder.embed_positions.weight.data *= 1 + 6e-8
    copied(theirs)


def test_heads_keep_their_maps() -> None:
    """Only the tokens' channels are reordered, so a head of ours is the head of theirs."""
    theirs = marian()
    ours = copied(theirs)
    source, target = inputs()
    with record_attention(ours) as record:
        ours(source, target)
    given = theirs(input_ids=source, attention_mask=source != PAD, decoder_input_ids=target, output_attentions=True)
    for number, weights in enumerate(given.cross_attentions):
        torch.testing.assert_close(record[f"decoder.layers.{number}.cross_attention"][0], weights.detach())


def test_weights_are_copied_and_not_shared_and_theirs_stay() -> None:
    theirs = marian()
    before = copy.deepcopy(theirs.state_dict())
    ours = copied(theirs)
    for parameter in ours.parameters():
        parameter.data += 1.0
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_float32_and_bfloat16_models_are_copied_too() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        theirs = marian().to(dtype)
        ours = our_model().to(dtype)
        copy_from_marian(ours, theirs)
        source, target = inputs()
        logits = ours(source, target)
        assert logits.dtype == dtype
        tolerance = 1e-4 if dtype == torch.float32 else 0.3
        torch.testing.assert_close(logits, their_logits(theirs, source, target), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 54}, "vocab_size must agree; ours has 53, theirs 54"),
        ({"pad_token_id": 51}, "pad_id must agree; ours has 52, theirs 51"),
        ({"d_model": 48}, "d_model must agree; ours has 24, theirs 48"),
        ({"encoder_layers": 3}, "encoder n_layers must agree; ours has 2, theirs 3"),
        ({"decoder_layers": 1}, "decoder n_layers must agree; ours has 3, theirs 1"),
        ({"encoder_attention_heads": 6}, "encoder n_heads must agree; ours has 4, theirs 6"),
        ({"decoder_attention_heads": 4}, "decoder n_heads must agree; ours has 6, theirs 4"),
        ({"encoder_ffn_dim": 56}, "encoder d_ff must agree; ours has 40, theirs 56"),
        ({"decoder_ffn_dim": 40}, "decoder d_ff must agree; ours has 56, theirs 40"),
        ({"activation_function": "relu"}, "encoder activation must agree; ours has 'silu', theirs 'relu'"),
        ({"activation_function": "tanh"}, "encoder activation must agree; ours has 'silu', theirs None"),
        ({"scale_embedding": False}, "must scale its embeddings"),
        ({"tie_word_embeddings": False}, "share one matrix"),
        ({"share_encoder_decoder_embeddings": False}, "share one matrix"),
    ],
)
def test_a_marian_of_another_shape_is_refused(change: dict[str, Any], message: str) -> None:
    ours = our_model()
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ValueError, match=message):
        copy_from_marian(ours, marian(**change))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_norm": True}, "our {} must be post-norm"),
        ({"norm": "rms"}, "our {} must be post-norm"),
        ({"gated": True}, "our {} must be post-norm"),
        ({"bias": False}, "our {} must be post-norm"),
        ({"positions": "learned"}, "our {} must be post-norm"),
        ({"n_kv_heads": 2}, "{} n_kv_heads must agree; ours has 2, theirs"),
        ({"d_head": 8}, "{} d_head must agree; ours has 8, theirs"),
        ({"attention_scale": 1.0}, "{} attention_scale must agree; ours has 1.0, theirs"),
        ({"norm_eps": 1e-6}, r"{}\.layers\.0\..*norm\.eps must agree; ours has 1e-06, theirs 1e-05"),
    ],
)
def test_a_transformer_of_another_kind_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.format("encoder")):
        copy_from_marian(our_model(encoder=replace(ENCODER, **change)), marian())
    with pytest.raises(ValueError, match=message.format("decoder")):
        copy_from_marian(our_model(decoder=replace(DECODER, **change)), marian())


def test_weights_that_ours_cannot_hold_are_refused() -> None:
    def refused(theirs: Any, message: str) -> None:
        ours = our_model()
        before = copy.deepcopy(ours.state_dict())
        with pytest.raises(ValueError, match=message):
            copy_from_marian(ours, theirs)
        assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())

    biased = marian()
    biased.final_logits_bias[0, 5] = 0.5
    refused(biased, "their final_logits_bias must be zero")
    untied = marian()
    untied.lm_head.weight = nn.Parameter(untied.lm_head.weight.detach() + 1.0)
    refused(untied, "their lm_head.weight must be equal to model.shared.weight; it is another")
    moved = marian()
    moved.model.decoder.embed_positions.weight.data[3] += 1.0
    refused(moved, r"their model\.decoder\.embed_positions\.weight must hold all sines, then all cosines")
    extended = marian()
    extended.model.encoder.layers[0].extra = nn.Linear(24, 24)
    refused(extended, r"theirs has weights that ours has not: model\.encoder\.layers\.0\.extra\.weight")
    lacking = marian()
    del lacking.model.decoder.layers[2].fc2.bias
    lacking.model.decoder.layers[2].fc2.bias = None
    refused(lacking, r"theirs has no weight model\.decoder\.layers\.2\.fc2\.bias")
    reshaped = marian()
    reshaped.model.decoder.layers[2].fc2 = nn.Linear(48, 24).double()
    refused(reshaped, r"decoder\.layers\.2\.feed_forward\.down_proj\.weight: the shape must agree; ours has \(24, 56\)")
    other_eps = marian()
    other_eps.model.decoder.layers[2].final_layer_norm.eps = 1e-3
    refused(other_eps, r"decoder\.layers\.2\..*norm\.eps must agree; ours has 1e-05, theirs 0.001")
    rounded = marian()
    rounded.model.decoder.layers[2].float()
    refused(rounded, r"decoder\.layers\.2\..*: the dtype must agree; ours has torch.float64, theirs torch.float32")
    trained = marian(dropout=0.1).train()
    trained_ours = our_model().train()
    with pytest.raises(ValueError, match=r"encoder dropout must agree; ours has 0\.0, theirs 0\.1"):
        copy_from_marian(trained_ours, trained)
    with pytest.raises(TypeError, match="theirs must be a MarianMTModel; got Transformer"):
        copy_from_marian(our_model(), our_model())
