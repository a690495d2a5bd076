"""The shapes in the library's annotations hold when it runs, and a wrong one would not pass.

jaxtyping rewrites modules while they are imported, so all of it happens in processes of their own:
``python -m tests.test_shapes right`` and ``python -m tests.test_shapes wrong``.
"""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel

ROOT = Path(__file__).parent.parent
PACKAGE = "transformer_lib"
Sizes = tuple[int, int, int, int, int, int]
# batch, heads (a multiple of two), query, key, d_head (even), d_value
SIZES: list[Sizes] = [
    (2, 6, 5, 7, 4, 3),
    (1, 2, 1, 1, 2, 1),
    (3, 4, 7, 5, 6, 8),
    (4, 4, 4, 4, 4, 4),
    (5, 2, 1, 9, 8, 2),
]


# ---- What runs in the other process.


def exercise_attention(sizes: Sizes) -> None:
    batch, heads, q_len, k_len, d_head, d_value = sizes
    lib = importlib.import_module(PACKAGE)
    for axes in ((), (batch,), (batch, heads), (batch, 2, heads)):
        for dtype in (torch.float64, torch.bfloat16):
            query, key = torch.randn(*axes, q_len, d_head).to(dtype), torch.randn(*axes, k_len, d_head).to(dtype)
            value = torch.randn(*axes, k_len, d_value).to(dtype)
            mask, bias = torch.rand(*axes, q_len, k_len) < 0.7, torch.randn(q_len, k_len)
            for arguments in ((), (mask[..., :1, :], bias), (None, bias)):
                lib.attention(query, key, value, *arguments, causal=True)
                lib.fused_attention(query, key, value, *arguments, causal=True)
                if len(axes) > 1:
                    shared = key[..., :1, :, :], value[..., :1, :, :]  # one head for all
                    lib.attention(query, *shared, *arguments, grouped=True, tap=torch.clone)
                    lib.fused_attention(query, *shared, *arguments, grouped=True)
    lib.causal_mask(q_len, k_len)
    tokens = torch.randint(0, 3, (batch, k_len))
    lib.padding_mask(tokens, 0)
    lib.padding_mask(tokens.int(), 0)


def exercise_device(_: Sizes) -> None:
    importlib.import_module(PACKAGE).best_device()


def exercise_multihead(sizes: Sizes) -> None:
    batch, heads, q_len, k_len, d_head, _ = sizes
    lib, multihead = importlib.import_module(PACKAGE), importlib.import_module(f"{PACKAGE}.multihead")
    d_model = heads * d_head
    x, memory = torch.randn(batch, q_len, d_model), torch.randn(batch, k_len, d_model)
    lib.merge_heads(lib.split_heads(x, heads))
    mask, bias = torch.rand(batch, 1, q_len, k_len) < 0.7, torch.randn(1, heads, q_len, k_len)
    layer = lib.MultiHeadAttention(d_model, heads)
    layer(x, memory, mask=mask, bias=bias)
    layer(x, layer.project(memory), mask=mask, bias=bias)
    repr(layer)
    layer.reset_parameters()
    assert not layer.tap.observed
    with layer.tap.observe(lambda weights: weights):
        layer(x, memory)
    multihead.AttentionTap()(torch.rand(batch, heads, q_len, k_len))
    multihead.KVCache().adopt(multihead.KVCache())
    for interleaved in (True, False):
        rotary = lib.RotaryPositions(d_head, interleaved=interleaved)
        grouped = lib.MultiHeadAttention(d_model, heads, n_kv_heads=heads // 2, rotary=rotary)
        grouped(x, causal=True)
        cache = lib.KVCache()
        repr(cache)
        with torch.no_grad():
            grouped(x, causal=True, cache=cache)
            cache.reorder(torch.arange(batch).flip(0))
            cache.crop(q_len)
            grouped(x, causal=True, cache=cache, positions=torch.arange(q_len))
            grouped(x, causal=True, cache=cache, positions=torch.arange(q_len).expand(batch, q_len))


def exercise_positions(sizes: Sizes) -> None:
    batch, heads, q_len, k_len, d_head, _ = sizes
    lib, positions = importlib.import_module(PACKAGE), importlib.import_module(f"{PACKAGE}.positions")
    d_model = heads * d_head
    lib.sinusoidal_table(k_len, d_model)
    x = torch.randn(batch, q_len, d_model)
    learned = lib.LearnedPositions(d_model, 20)
    learned.reset_parameters()
    for added in (lib.SinusoidalPositions(d_model, 20), learned):
        added(x)
        added(x, torch.arange(q_len) + 3)
        added(x, torch.zeros(batch, q_len).long())
    rotary = lib.RotaryPositions(d_head)
    repr(rotary)
    rotary(torch.randn(batch, heads, q_len, d_head))
    rotary(torch.randn(batch, heads, q_len, d_head), torch.arange(q_len))
    for bidirectional in (True, False):
        lib.RelativeBias(heads, bidirectional=bidirectional)(q_len, k_len)
        positions.relative_position_bucket(torch.arange(-k_len, q_len), bidirectional=bidirectional)
    positions.relative_position_bucket(torch.zeros(q_len, k_len, dtype=torch.int32))
    positions.alibi_slopes(heads)
    for given in (torch.arange(k_len), torch.zeros(batch, k_len).long()):
        positions.positions_for(given, batch, k_len, torch.device("cpu"))
    lib.ALiBi(heads)(q_len, k_len)
    base = positions.PositionScheme()
    assert base.added(d_model, 20) is base.bias(heads, bidirectional=True) is base.rotary(d_head) is base.limit(20)
    for name in base.known:
        scheme = positions.PositionScheme.of(name)
        scheme.added(d_model, 20), scheme.bias(heads, bidirectional=True), scheme.rotary(d_head), scheme.limit(20)


def small_config(sizes: Sizes, **choices: Any) -> Any:
    _, heads, _, _, d_head, _ = sizes
    config = importlib.import_module(f"{PACKAGE}.config").StackConfig
    if "positions" in choices:
        choices["positions"] = importlib.import_module(PACKAGE).PositionScheme.of(choices["positions"])
    return config(d_model=heads * d_head, n_heads=heads, n_layers=1, d_ff=7, max_len=20, **choices)


def exercise_stack(sizes: Sizes) -> None:
    batch, heads, q_len, k_len, _, _ = sizes
    layers, encoder, decoder, transformer = (
        importlib.import_module(f"{PACKAGE}.{name}") for name in ("layers", "encoder", "decoder", "transformer")
    )
    config = small_config(sizes, gated=True)
    x, memory = torch.randn(batch, q_len, config.d_model), torch.randn(batch, k_len, config.d_model)
    mask, memory_mask = torch.ones(1, 1, q_len, q_len) > 0, torch.ones(batch, 1, 1, k_len) > 0
    bias, positions = torch.randn(1, heads, q_len, q_len), torch.arange(q_len)
    tanh = layers.FeedForward(small_config(sizes, activation="gelu_tanh"))
    for part in (layers.LayerNorm(config.d_model), layers.RMSNorm(config.d_model), layers.FeedForward(config), tanh):
        part(x)
    layers.make_norm(config)
    layers.make_attention(config)
    layers.Residual(config)(x, layers.FeedForward(config))
    for scheme in ("sinusoidal", "alibi"):
        placed = layers.StackPositions(small_config(sizes, positions=scheme), bidirectional=True)
        placed.add_to(x, positions)
        placed.scores(q_len, k_len)
        for axes in ((), (batch,)):
            queries, keys = torch.arange(q_len).expand(*axes, -1), torch.arange(k_len).expand(*axes, -1)
            placed.scores(q_len, k_len, queries, keys)
    encoder.EncoderLayer(config)(x, mask, bias=bias, positions=positions)
    encoder.Encoder(config)(x, mask, positions=positions)
    decoder.DecoderLayer(config)(x, memory, mask, memory_mask, bias=bias, positions=positions)
    stack = decoder.Decoder(config)
    stack(x, memory, mask, memory_mask, positions=positions)
    model = transformer.Transformer(9, config).eval()
    source, target = torch.ones(batch, k_len).long(), torch.ones(batch, q_len).long()
    model(source, target)
    with torch.no_grad():
        cache = model.decoder.new_cache()
        assert cache.length == 0
        encoded, encoded_mask = model.encode(source)
        model.decode(target, encoded, encoded_mask, cache=cache)
        cache.reorder(torch.arange(batch))
        cache = model.new_cache(source)
        model.decoder.new_cache(encoded, encoded_mask)
        alibi = decoder.Decoder(small_config(sizes, positions="alibi"))
        alibi(x, memory, positions=positions, cache=alibi.new_cache(memory))
        model.step(target, cache, mask=torch.ones(batch, 1, 1, q_len) > 0, positions=torch.zeros_like(target))
        cache.reorder(torch.arange(batch), torch.arange(batch))
        assert cache.room == 20 - q_len
        cache.crop(q_len - 1)


def exercise_generation(sizes: Sizes) -> None:
    batch, heads, q_len, k_len, _, _ = sizes
    generation = importlib.import_module(f"{PACKAGE}.generation")
    generation.length_penalty(q_len, "gnmt", 0.6)
    generation.top_k_filter(torch.randn(batch, heads, k_len), 2)
    generation.top_p_filter(torch.randn(k_len), 0.9)
    model = importlib.import_module(f"{PACKAGE}.transformer").Transformer(9, small_config(sizes)).eval()
    prompt, sources = torch.ones(batch, q_len).long(), torch.ones(batch, k_len).long()
    generator = torch.Generator()
    for start, mask in ((prompt, prompt > 0), (1, None)):
        arguments = {"eos_id": 2, "max_new_tokens": 3, "prompt_mask": mask}
        generation.greedy(model, start, sources, **arguments)
        generation.sample(model, start, sources, generator=generator, top_k=3, top_p=0.9, **arguments)
        generation.beam_search(model, start, sources, trace=[].append, stop=[(3, 4)], **arguments)
    pick = generation.sampler(generator)
    list(generation.stream(model, 1, sources[:1], eos_id=2, max_new_tokens=3, pick=pick))
    generation.likeliest(torch.randn(batch, k_len))
    generation.BeamState(batch, [(2,)], 3).step(torch.randn(batch, 1, k_len).log_softmax(-1))


def exercise_pretrained(sizes: Sizes) -> None:
    _, heads, _, _, d_head, _ = sizes
    pretrained = importlib.import_module(f"{PACKAGE}.pretrained")
    ours = importlib.import_module(PACKAGE).MultiHeadAttention(heads * d_head, heads)
    theirs = nn.MultiheadAttention(heads * d_head, heads)
    pretrained.copy_from_torch(ours, theirs)
    pretrained.copy_to_torch(ours, theirs)
    turned = {name: weight.T if weight.ndim == 2 else weight for name, weight in ours.state_dict().items()}
    entry = pretrained.Copy("{kind}", "{kind}", pretrained.transpose)
    pretrained.copy_weights(ours, turned, pretrained.within("{part}.", "{part}.", entry))
    config = small_config(sizes)
    width, d_ff = config.d_model, config.d_ff
    encoder_layer = nn.TransformerEncoderLayer(width, heads, d_ff, batch_first=True)
    encoder = importlib.import_module(f"{PACKAGE}.encoder").Encoder(config)
    pretrained.copy_encoder_from_torch(encoder, nn.TransformerEncoder(encoder_layer, 1))
    decoder_layer = nn.TransformerDecoderLayer(width, heads, d_ff, batch_first=True)
    decoder = importlib.import_module(f"{PACKAGE}.decoder").Decoder(config)
    pretrained.copy_decoder_from_torch(decoder, nn.TransformerDecoder(decoder_layer, 1))
    marian = MarianConfig(
        vocab_size=11,
        d_model=width,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=d_ff,
        decoder_ffn_dim=d_ff,
        max_position_embeddings=20,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=1,
        forced_eos_token_id=None,
    )
    transformer = importlib.import_module(f"{PACKAGE}.transformer").Transformer(11, config)
    pretrained.copy_from_marian(transformer, MarianMTModel(marian).eval())


def exercise_plots(sizes: Sizes) -> None:
    import matplotlib.pyplot as plt

    batch, heads, q_len, k_len, d_head, _ = sizes
    plots = importlib.import_module(f"{PACKAGE}.plots")
    layer = importlib.import_module(PACKAGE).MultiHeadAttention(heads * d_head, heads)
    with plots.record_attention(layer) as record:
        layer(torch.randn(batch, q_len, heads * d_head), torch.randn(batch, k_len, heads * d_head))
    repr(record)
    plots.book_style()
    weights = record[""][0][0]
    words = [f"word {i}" for i in range(k_len)]
    plots.heatmap(weights[0], columns=words, title="weights", limits=None, cmap="RdBu")
    plots.heatmap(weights[0].tolist(), annotate=True, ax=plt.gca())
    plots.heads_grid(weights[:2].numpy(), columns=words, titles=["one", "two"])
    plt.close("all")


def exercise_training(sizes: Sizes) -> None:
    batch, _, q_len, _, d_head, _ = sizes
    training = importlib.import_module(f"{PACKAGE}.training")

    def sample(generator: torch.Generator) -> tuple[Tensor, ...]:
        inputs = torch.randn(batch, q_len, d_head, generator=generator)
        return inputs, inputs.argmax(-1)

    training.fit(nn.Linear(d_head, d_head), sample, steps=1)
    training.accuracy(nn.Linear(d_head, d_head), sample)
    model = importlib.import_module(f"{PACKAGE}.transformer").Transformer(9, small_config(sizes))
    tokens = torch.ones(batch, q_len + 1).long()
    recipe = training.Recipe(steps=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.safetensors"
        history = training.train(model, lambda number: (tokens, tokens), recipe, checkpoint=path)
        assert training.load_checkpoint(path, model).step == history.step == 1
    assert recipe.rate(0) >= 0.0


def exercise_objectives(sizes: Sizes) -> None:
    batch, _, q_len, _, _, _ = sizes
    module = importlib.import_module(f"{PACKAGE}.objectives")
    logits, targets = torch.randn(batch, q_len, 9), torch.ones(batch, q_len).long()
    module.counted(logits, targets, 0)
    module.smoothed_cross_entropy(logits, targets)
    tokens = torch.ones(batch, q_len + 1).long()
    model = importlib.import_module(f"{PACKAGE}.transformer").Transformer(9, small_config(sizes))
    module.sequence_to_sequence(model, (tokens, tokens))
    module.causal(nn.Embedding(9, 9), (tokens,))
    for objective in (module.masked, module.classes):
        module.mean_loss(nn.Embedding(9, 9), [(targets, targets)], objective)


def exercise_tokens(sizes: Sizes) -> None:
    module = importlib.import_module(f"{PACKAGE}.data.tokens")
    pair = importlib.import_module(f"{PACKAGE}.data.pairs").Pair("a b", "b a c")
    tokenizer = module.train_tokenizer(pair, 30)
    module.pad_rows(module.encode_texts(tokenizer, pair))
    assert all(reading.notes for reading in module.read_texts(tokenizer, ["a ∮", "b a c a b a c"], 4))
    module.unfinished(3)
    batches = module.PairBatches([pair] * 5, tokenizer, max_tokens=64)
    batches(len(batches))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(f"{folder}/tokenizer.json")
        module.load_tokenizer(f"{folder}/tokenizer.json")


#: Calls every public function and method of a module, with every optional tensor that it takes.
EXERCISES: dict[str, Callable[[Sizes], None]] = {
    "attention": exercise_attention,
    "device": exercise_device,
    "multihead": exercise_multihead,
    "positions": exercise_positions,
    "pretrained": exercise_pretrained,
    "layers": exercise_stack,
    "encoder": exercise_stack,
    "decoder": exercise_stack,
    "transformer": exercise_stack,
    "generation": exercise_generation,
    "plots": exercise_plots,
    "objectives": exercise_objectives,
    "training": exercise_training,
    "data/tokens": exercise_tokens,
}


def fresh(folder: Path) -> None:
    """Have the package imported anew, from ``folder``."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.path[0] = str(folder)
    importlib.invalidate_caches()
    found = importlib.import_module(PACKAGE).__file__
    assert found is not None
    assert Path(found).parent.parent == folder


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public functions and methods, by their qualified names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
            yield from ((f"{node.name}.{f.name}", f) for f in node.body if isinstance(f, ast.FunctionDef))


def public(module: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    tree = ast.parse(source_of(module))
    return ((name, node) for name, node in definitions(tree) if not node.name.startswith("_"))


def source_of(module: str) -> str:
    return (ROOT / PACKAGE / f"{module}.py").read_text(encoding="utf-8")


def right() -> None:
    """Run the library as it is over several sizes, and see that nothing public was left out."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code)

    fresh(ROOT)
    for number, sizes in enumerate(SIZES):
        sys.setprofile(note if number == 0 else None)
        for exercise in EXERCISES.values():
            exercise(sizes)
    run = {(code.co_filename, code.co_qualname) for code in called}
    for module in EXERCISES:
        for name, _function in public(module):
            assert (str(ROOT / PACKAGE / f"{module}.py"), name) in run, f"{module}.{name} is not exercised"


# Orders that are wrong: (module, an annotation in its context, what it becomes).
SWAPS = [
    ("attention", '"batch 1 1 key"', '"batch 1 key 1"'),
    ("attention", 'Float[Tensor, "*batch query key"]]:', 'Float[Tensor, "*batch key query"]]:'),
    ("attention", ') -> Float[Tensor, "*batch query d_value"]:', ') -> Float[Tensor, "*batch query d_head"]:'),
    ("multihead", '-> Float[Tensor, "batch {n_heads} seq d_head"]', '-> Float[Tensor, "batch seq {n_heads} d_head"]'),
    ("multihead", '-> Float[Tensor, "batch seq width"]', '-> Float[Tensor, "batch width seq"]'),
    ("positions", '"{length} {d_model}"', '"{d_model} {length}"'),
]


def shapes_in(annotation: ast.expr) -> Iterator[ast.Constant]:
    """The texts that tell a shape, as in ``Float[Tensor, "batch seq"]``; other texts are the names of classes."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            yield from (e for e in node.slice.elts if isinstance(e, ast.Constant) and isinstance(e.value, str))


def wrong_sources() -> Iterator[tuple[str, str, str]]:
    """Each annotated shape put wrong in turn: the module, its new source, and what was done to it."""
    for module, old, new in SWAPS:
        source = source_of(module)
        assert source.count(old) == 1, old
        yield module, source.replace(old, new), f"{module}: {old} became {new}"
    for module in EXERCISES:
        source = source_of(module)
        for name, function in public(module):
            arguments = [argument.annotation for argument in [*function.args.args, *function.args.kwonlyargs]]
            for annotation in filter(None, [*arguments, function.returns]):
                for node in shapes_in(annotation):
                    lines = source.encode().splitlines(keepends=True)
                    line, at = lines[node.lineno - 1], node.col_offset + 1  # behind the quotation mark
                    lines[node.lineno - 1] = line[:at] + b"999 " + line[at:]  # an axis more, of a size never met
                    yield module, b"".join(lines).decode(), f"{module}.{name}: {node.value!r} got an axis more"


def wrong() -> None:
    """Run the library with one wrong annotation after the other, and see that each is noticed."""
    from jaxtyping import TypeCheckError

    unnoticed, number = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, (module, source, what) in enumerate(wrong_sources(), start=1):
            folder = Path(scratch, str(number))
            shutil.copytree(
                ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "checkpoints")
            )
            (folder / PACKAGE / f"{module}.py").write_text(source, encoding="utf-8")
            fresh(folder)
            try:
                EXERCISES[module](SIZES[0])
            except TypeCheckError:
                continue
            unnoticed.append(what)
    assert not unnoticed, f"wrong annotations that were not noticed: {unnoticed}"
    assert number > 50, number


# ---- The tests.


@pytest.mark.parametrize("part", ["right", "wrong"])
def test_annotated_shapes(part: str) -> None:
    command = [sys.executable, "-m", "tests.test_shapes", part]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    from jaxtyping import install_import_hook

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    with install_import_hook(PACKAGE, "beartype.beartype"):
        {"right": right, "wrong": wrong}[sys.argv[1]]()
