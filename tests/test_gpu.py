"""The same numerics on a CUDA device: other kernels, which treat masked rows, alignment and precision their own way."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests import oracle
from tests.cases import (
    BATCH,
    BIASES,
    D_HEAD,
    D_VALUE,
    HEADS,
    LENGTHS,
    MASKS,
    assert_near,
    differ,
    exact,
    gradients,
    make_bias,
    make_mask,
    randn,
    upstream_of,
)
from transformer_lib import (
    ALiBi,
    KVCache,
    LearnedPositions,
    MultiHeadAttention,
    RelativeBias,
    RotaryPositions,
    SinusoidalPositions,
    StackConfig,
    Transformer,
    attention,
    best_device,
    causal_mask,
    fused_attention,
    padding_mask,
)
from transformer_lib.generation import beam_search, greedy
from transformer_lib.plots import record_attention
from transformer_lib.positions import relative_position_bucket
from transformer_lib.pretrained import copy_to_torch
from transformer_lib.training import Recipe, fit, train

GPU = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device on this machine"),
]
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=lambda dtype: str(dtype).removeprefix("torch.")
)
half_dtypes = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def near(actual: Tensor, expected: Any, dtype: torch.dtype | None = None) -> None:
    """Near enough for a GPU, whose kernels sum in blocks: 1e-4 in float32, where TF32 would be off by 1e-3."""
    assert_near(actual, expected, dtype, size=30.0 if (dtype or actual.dtype) == torch.float32 else 1.5)


def inputs(q_len: int, k_len: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return (
        randn(BATCH, HEADS, q_len, D_HEAD, seed=1, dtype=dtype, device=GPU),
        randn(BATCH, HEADS, k_len, D_HEAD, seed=2, dtype=dtype, device=GPU),
        randn(BATCH, HEADS, k_len, D_VALUE, seed=3, dtype=dtype, device=GPU),
    )


def arrays(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else exact(tensor) for tensor in tensors]


# ---- Attention.


@every_dtype
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("mask_kind", MASKS)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_both_paths_equal_the_oracle_and_each_other(
    lengths: tuple[int, int], mask_kind: str, causal: bool, dtype: torch.dtype
) -> None:
    for bias_kind in BIASES:
        mask, bias = make_mask(mask_kind, *lengths, GPU), make_bias(bias_kind, *lengths, dtype, GPU)
        leaves = [*inputs(*lengths, dtype), *([] if bias is None else [bias])]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        query, key, value = leaves[:3]
        given = arrays(query, key, value, mask, bias)
        wanted, wanted_weights = oracle.attention(*given, causal=causal)
        output, weights = attention(query, key, value, mask, bias, causal=causal)
        fused = fused_attention(query, key, value, mask, bias, causal=causal)
        assert output.dtype == fused.dtype == weights.dtype == dtype
        near(output, wanted)
        near(fused, wanted)
        near(weights, wanted_weights)
        wanted_gradients = oracle.attention_gradients(upstream_of(output), *given, causal=causal)
        for one, other, expected in zip(
            gradients(output, leaves), gradients(fused, leaves), wanted_gradients, strict=False
        ):
            near(one, expected)
            near(other, expected)


BACKENDS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


@pytest.mark.filterwarnings("ignore")  # a kernel that is refused says why in warnings
@every_dtype
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("kind", ["plain", "causal", "mask", "empty rows", "bias"])
def test_every_kernel_gives_what_the_definition_gives(kind: str, backend: SDPBackend, dtype: torch.dtype) -> None:
    shape = (2, 4, 128, 64)
    query, key, value = (randn(*shape, seed=seed, dtype=dtype, device=GPU).requires_grad_() for seed in range(3))
    mask = bias = None
    if kind in ("mask", "empty rows"):
        mask = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(1)) < 0.5
        mask[0, 0, 7] = kind == "mask"
        mask = mask.to(GPU)
    if kind == "bias":
        bias = randn(1, 4, 128, 128, seed=4, dtype=dtype, device=GPU)
    causal = kind == "causal"
    try:
        with sdpa_kernel([backend]):
            output = fused_attention(query, key, value, mask, bias, causal=causal)
            found = gradients(output, (query, key, value))
    except RuntimeError as error:
        if "No available kernel" not in str(error):
            raise
        pytest.skip(f"this kernel does not serve {kind} in {dtype} here")
    wide = [tensor.detach().cpu().double().requires_grad_() for tensor in (query, key, value)]
    wanted, _ = attention(
        *wide, None if mask is None else mask.cpu(), None if bias is None else bias.cpu().double(), causal=causal
    )
    near(output, wanted)
    if kind == "empty rows":
        assert (output[0, :, 7] == 0).all()
    upstream = exact(randn(*shape, seed=99, dtype=dtype))
    for gradient, expected in zip(found, torch.autograd.grad(wanted, wide, torch.from_numpy(upstream)), strict=True):
        near(gradient, expected)


@pytest.mark.parametrize("function", [attention, fused_attention])
def test_scores_do_not_overflow_float16(function: Callable[..., Any]) -> None:
    query = torch.full((1, 1, 8, 64), 40.0, dtype=torch.float16, device=GPU)
    value = randn(1, 1, 8, 8, dtype=torch.float16, device=GPU)
    for autocast in (False, True):
        with torch.autocast(GPU, torch.float16, enabled=autocast):
            given = [tensor.float() if autocast else tensor for tensor in (query, query, value)]
            result = function(*given)
        output = result[0] if isinstance(result, tuple) else result
        near(output, value.mean(-2, keepdim=True).expand(1, 1, 8, 8), torch.float16)


@half_dtypes
def test_under_autocast_both_paths_are_equal(dtype: torch.dtype) -> None:
    bias = make_bias("per head", 4, 7, torch.float32, GPU)
    assert bias is not None
    leaves = [tensor.requires_grad_() for tensor in (*inputs(4, 7, torch.float32), bias)]
    for mask_kind in MASKS:
        mask = make_mask(mask_kind, 4, 7, GPU)
        wanted, _ = oracle.attention(*arrays(*leaves[:3], mask, bias))
        with torch.autocast(GPU, dtype):
            output, _ = attention(*leaves[:3], mask, bias)
            fused = fused_attention(*leaves[:3], mask, bias)
        assert output.dtype == fused.dtype == dtype
        near(output, wanted)
        near(fused, wanted)
        for one, other in zip(gradients(output, leaves), gradients(fused, leaves), strict=True):
            near(one, other, dtype)


def test_the_fused_path_never_stores_the_weights() -> None:
    query = randn(1, 4, 4096, 64, dtype=torch.bfloat16, device=GPU)
    weights_bytes = 4 * 4096 * 4096 * 2

    def peak(run: Callable[[], Any]) -> int:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    assert peak(lambda: attention(query, query, query, causal=True)) > weights_bytes
    assert peak(lambda: fused_attention(query, query, query, causal=True)) < weights_bytes / 4


def test_dropout_drops_weights_and_keeps_their_expectation() -> None:
    query, key, _ = inputs(4, 7, torch.float32)
    identity = torch.eye(7, device=GPU).expand(2, 3, 7, 7)
    draws = [tensor.repeat(500, 1, 1, 1) for tensor in (query, key, identity)]
    torch.manual_seed(1)
    dropped, weights = attention(*draws, dropout=0.25)
    for output in (dropped, fused_attention(*draws, dropout=0.25)):
        kept = output != 0
        near(output[kept], (weights / 0.75)[kept])
        assert 0.23 < 1 - float(kept.double().mean()) < 0.27


# ---- Masks and positions are made where they are used.


def test_masks_and_positions_lie_on_the_device() -> None:
    assert causal_mask(3, 4, GPU).device.type == GPU
    tokens = torch.tensor([[1, 0, 2]])
    assert torch.equal(padding_mask(tokens.to(GPU), 0).cpu(), padding_mask(tokens, 0))
    assert best_device().type == GPU
    x, heads = randn(2, 5, 8, dtype=torch.float32), randn(2, 3, 5, 8, dtype=torch.float32)
    positions = torch.tensor([[0, 0, 1, 2, 3], [4, 9, 300, 1, 0]])
    for added in (SinusoidalPositions(8, 400), LearnedPositions(8, 400)):
        moved = copy.deepcopy(added).to(GPU)
        near(moved(x.to(GPU)), added(x))
        near(moved(x.to(GPU), positions.to(GPU)), added(x, positions))
    for interleaved in (True, False):
        rotary = RotaryPositions(8, interleaved=interleaved)
        near(rotary(heads.to(GPU)), rotary(heads))
        near(rotary(heads.to(GPU), positions.to(GPU)), rotary(heads, positions))
    bias = RelativeBias(3)
    bias.table.data = randn(32, 3, dtype=torch.float32)
    for scheme in (bias, ALiBi(3)):
        near(copy.deepcopy(scheme).to(GPU)(4, 200), scheme(4, 200))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_do_not_depend_on_the_device(bidirectional: bool) -> None:
    distances = torch.arange(-400, 401)
    moved = relative_position_bucket(distances.to(GPU), bidirectional=bidirectional)
    wanted = [
        oracle.t5_bucket(d, bidirectional=bidirectional, n_buckets=32, max_distance=128) for d in range(-400, 401)
    ]
    assert moved.tolist() == wanted


def test_rotary_stays_accurate_in_bfloat16_at_late_positions() -> None:
    x, positions = randn(1, 1, 5, 8, dtype=torch.bfloat16), torch.arange(5) + 40_001
    wanted = oracle.rotary(exact(x)[0, 0], positions.numpy())
    layer = nn.ModuleList([RotaryPositions(8)]).to(GPU, torch.bfloat16)[0]
    output = layer(x.to(GPU), positions.to(GPU))
    assert float(np.abs(exact(output)[0, 0] - wanted).max()) < 2e-2


# ---- Multi-head attention.


def layer_of(dtype: torch.dtype, **options: Any) -> MultiHeadAttention:
    layer = MultiHeadAttention(24, 6, **options)
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = randn(*parameter.shape, seed=100 + number) / 24**0.5
    return layer.to(GPU, dtype).eval()


@every_dtype
@pytest.mark.parametrize("kind", ["plain", "grouped rotary"])
def test_a_layer_equals_the_oracle_and_its_cache_changes_nothing(kind: str, dtype: torch.dtype) -> None:
    grouped = kind == "grouped rotary"
    options = {"n_kv_heads": 2, "rotary": RotaryPositions(4)} if grouped else {}
    layer, x = layer_of(dtype, **options), randn(2, 9, 24, dtype=dtype, device=GPU)
    wanted, wanted_weights = oracle.multi_head(
        exact(x),
        exact(x),
        {name: exact(parameter) for name, parameter in layer.named_parameters()},
        n_heads=6,
        n_kv_heads=layer.n_kv_heads,
        causal=True,
        rotate=(lambda rows: oracle.rotary(rows, np.arange(9))) if grouped else None,
    )
    fused = layer(x, causal=True)
    with record_attention(layer) as record:
        explicit = layer(x, causal=True)
    near(fused, wanted)
    near(explicit, wanted)
    assert record[""][0].device.type == "cpu"
    near(record[""][0], wanted_weights)
    cache = KVCache()
    with torch.no_grad():
        chunks = [layer(x[:, a:b], causal=True, cache=cache) for a, b in ((0, 4), (4, 5), (5, 6), (6, 9))]
    near(torch.cat(chunks, dim=1), wanted)
    cache.reorder(torch.tensor([1, 1], device=GPU))
    with torch.no_grad():
        later = layer(x[:, :1], causal=True, cache=cache)
    assert differ(later[0], later[1])
    near(later, layer(torch.cat([x[[1, 1]], x[:, :1]], dim=1), causal=True)[:, -1:])


@half_dtypes
@pytest.mark.parametrize("kind", ["plain", "grouped rotary"])
def test_under_autocast_a_layer_gives_the_float32_result_rounded(kind: str, dtype: torch.dtype) -> None:
    options = {"n_kv_heads": 2, "rotary": RotaryPositions(4)} if kind == "grouped rotary" else {}
    layer, x = layer_of(torch.float32, **options), randn(2, 9, 24, dtype=torch.float32, device=GPU)
    bias = ALiBi(6).to(GPU)(9, 9)
    wanted = layer(x, causal=True, bias=bias)
    with torch.autocast(GPU, dtype):
        fused = layer(x, causal=True, bias=bias)
        with record_attention(layer):
            explicit = layer(x, causal=True, bias=bias)
    for output in (fused, explicit):
        assert output.dtype == dtype
        near(output, wanted)
        assert all(gradient.isfinite().all() for gradient in gradients(output, list(layer.parameters())))


def test_equals_pytorchs_module() -> None:
    ours = layer_of(torch.float32)
    theirs = nn.MultiheadAttention(24, 6, batch_first=True).to(GPU)
    copy_to_torch(ours, theirs)
    x, memory = (randn(2, n, 24, seed=n, dtype=torch.float32, device=GPU).requires_grad_() for n in (5, 7))
    mask = torch.arange(7, device=GPU) < torch.tensor([[4], [7]], device=GPU)
    output = ours(x, memory, mask=mask[:, None, None])
    wanted, _ = theirs(x, memory, memory, key_padding_mask=~mask)
    near(output, wanted)
    for one, other in zip(gradients(output, (x, memory)), gradients(wanted, (x, memory)), strict=True):
        near(one, other)


def test_a_model_trains_on_the_device() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.logits = MultiHeadAttention(8, 2), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.logits(x + self.attention(x, causal=True))
            return logits

    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(16, 5, 8, generator=generator)
        return x.to(GPU), x.argmax(-1).to(GPU)

    torch.manual_seed(0)
    losses = fit(Model().to(GPU), sample, steps=100, lr=0.02)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def transformer() -> Transformer:
    torch.manual_seed(0)
    config = StackConfig(d_model=32, n_heads=4, n_layers=2, d_ff=48, dropout=0.0, pre_norm=True, bias=False)
    return Transformer(20, config)


def reversed_batches(number: int) -> tuple[Tensor, Tensor]:
    source = torch.randint(3, 20, (16, 4 + number % 3), generator=torch.Generator().manual_seed(number))
    ends = torch.ones(16, 1, dtype=torch.long)
    return source, torch.cat([ends, source.flip(1), 2 * ends], dim=1)


@pytest.mark.filterwarnings("default")  # the compiler uses what PyTorch itself has deprecated
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_long_training_follows_the_cpu(precision: Any, compiled: bool) -> None:
    recipe = Recipe(steps=8, peak_rate=3e-3, warmup=2)
    wanted = train(transformer(), reversed_batches, recipe).losses
    model = transformer().to(GPU)
    losses = train(model, reversed_batches, replace(recipe, precision=precision, compile=compiled)).losses
    assert losses == pytest.approx(wanted, abs=1e-3 if precision == "fp32" else 5e-2)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_training_resumes_on_the_device(tmp_path: Any) -> None:
    recipe = Recipe(steps=6, peak_rate=3e-3, warmup=2)
    straight, resumed = transformer().to(GPU), transformer().to(GPU)
    losses = train(straight, reversed_batches, recipe).losses

    def until_four(number: int) -> tuple[Tensor, Tensor]:
        if number == 4:
            raise KeyboardInterrupt
        return reversed_batches(number)

    path = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(resumed, until_four, recipe, checkpoint=path, save_every=2)
    assert train(resumed, reversed_batches, recipe, checkpoint=path).losses == pytest.approx(losses, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_writes_what_the_cpu_writes(beams: int) -> None:
    model = transformer().eval()
    train(model, reversed_batches, Recipe(steps=60, peak_rate=5e-3, warmup=10))  # so that few logits nearly tie
    source = reversed_batches(0)[0]
    written = []
    for device in ("cpu", GPU):
        options: dict[str, Any] = {"eos_id": 2, "max_new_tokens": 8}
        if beams == 1:
            written.append(greedy(model.to(device), 1, source.to(device), **options).cpu().tolist())
        else:
            found = beam_search(model.to(device), 1, source.to(device), beams=beams, **options)
            written.append([best[0].tokens for best in found])
    agree = sum(one == other for one, other in zip(*written, strict=True))
    assert agree >= len(source) - 1
