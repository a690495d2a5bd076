"""What is not text in the exercises of the chapter "The Transformer"; the rest stands in transformer.md."""

import math
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Draw, Goal, Stage, case, with_weights

PAD = 0

_made = lru_cache(maxsize=128)(with_weights)  # building a model takes longer than using it


def _drawn(rows: Tensor) -> float:
    """The power of the width that is the rows' deviation, to a tenth."""
    return round(math.log(max(rows.std().item(), 1e-9), rows.size(-1)), 1)


class TiedEmbedding(nn.Module):
    """Both ends of the library's model, without what lies between."""

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        config = lib.StackConfig(d_model=d_model, n_heads=1, n_layers=1, d_ff=1)
        self.embedding = lib.Transformer(vocab_size, config).embedding

    forward = lib.Transformer.embed

    def logits(self, x: Tensor) -> Tensor:
        """From (batch, seq, d_model) to (batch, seq, vocab)."""
        return F.linear(x, self.embedding.weight)


def _both_ways(
    answer: Any, vocab_size: int, d_model: int, ids: Tensor | None = None, x: Tensor | None = None
) -> Mapping[str, Any]:
    if ids is None or x is None:
        return {"power of d_model in the deviation": _drawn(answer(vocab_size, d_model).embedding.weight)}
    built: Any = _made(answer, TiedEmbedding, vocab_size, d_model, dtype=x.dtype)
    embedded, logits = built(ids), built.logits(x)
    total = embedded.sin().sum() + logits.cos().sum()
    (gradient,) = torch.autograd.grad(total, built.get_parameter("embedding.weight"), allow_unused=True)
    return {"embedded": embedded, "logits": logits, "gradient of the matrix": gradient}


def _tokens(draw: Draw) -> Iterator[Case]:
    yield case(3, 4, ids=torch.tensor([[2, 0]]), x=draw.normal(1, 1, 4))
    yield case(7, 6, ids=draw.integers(2, 5, high=7), x=draw.normal(3, 4, 6))


def _fresh(draw: Draw) -> Iterator[Case]:
    yield case(300, 48)


class TwoVocabularies(nn.Module):
    """The library's model over both vocabularies in a row: the target's tokens are numbered behind the source's."""

    def __init__(self, source_size: int, target_size: int, config: lib.StackConfig):
        super().__init__()
        model = lib.Transformer(source_size + target_size, config, pad_id=PAD)
        rows = model.embedding.weight.detach().split((source_size, target_size))
        self.source_embedding, self.target_embedding = (nn.Embedding.from_pretrained(r, freeze=False) for r in rows)
        self.encoder, self.decoder = model.encoder, model.decoder
        self.model = (model,)  # in a tuple, so that its embedding is no parameter of this one

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """The logits (batch, query, target_size)."""
        first, rows = self.source_embedding.weight, self.target_embedding.weight
        both = {"embedding.weight": torch.cat([first, rows])}
        logits: Tensor = functional_call(self.model[0], both, (source, target + len(first)))
        return logits[..., len(first) :]


def _translated(
    answer: Any,
    source: Tensor | None = None,
    target: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    pre_norm: bool = False,
) -> Mapping[str, Any]:
    tables = ("source_embedding", "target_embedding")
    if source is None:
        fresh = answer(300, 200, lib.StackConfig(d_model=48, n_heads=1, n_layers=1, d_ff=1))
        return {
            f"power of d_model in the deviation of {name}": _drawn(fresh.get_parameter(f"{name}.weight"))
            for name in tables
        }
    config = lib.StackConfig(d_model=6, n_heads=2, n_layers=1, d_ff=10, dropout=0.1, pre_norm=pre_norm, max_len=10)
    model = _made(answer, TwoVocabularies, 11, 7, config, dtype=dtype)
    logits = model(source, target)
    rows = [model.get_parameter(f"{name}.weight") for name in tables]
    gradients = torch.autograd.grad(logits.sin().sum(), rows, allow_unused=True)
    named = {f"gradient of {name}": one for name, one in zip(tables, gradients, strict=True)}
    return {"logits": logits, **named}


def _ids(draw: Draw, batch: int, source: int, target: int) -> tuple[Tensor, Tensor]:
    return draw.integers(batch, source, low=1, high=7), draw.integers(batch, target, low=1, high=7)


def _full(draw: Draw) -> Iterator[Case]:
    yield case(*_ids(draw, 1, 3, 2), dtype=draw.dtype)
    yield case(*_ids(draw, 3, 4, 5), dtype=draw.dtype)


def _padded(draw: Draw) -> Iterator[Case]:
    source, target = _ids(draw, 1, 4, 2)
    source[:, 2:] = PAD
    yield case(source, target, dtype=draw.dtype)
    source, target = _ids(draw, 3, 6, 4)
    source[1, 4:], source[2, 2:] = PAD, PAD
    yield case(source, target, dtype=draw.dtype)


def _pre_norm(draw: Draw) -> Iterator[Case]:
    yield case(*_ids(draw, 2, 4, 3), dtype=draw.dtype, pre_norm=True)


def _fresh_tables(draw: Draw) -> Iterator[Case]:
    yield case()


def _parts(**sizes: Any) -> list[int]:
    """Parameters of embedding, attention, feed-forward parts and norms."""
    with torch.device("meta"):
        model = lib.Transformer(37_000, lib.StackConfig(n_layers=1, **sizes))
    found = [0, 0, 0, 0]
    for name, parameter in model.named_parameters():
        kinds = ("embedding" in name, "_attention." in name or ".attention." in name, "feed_forward." in name)
        found[kinds.index(True) if any(kinds) else 3] += parameter.numel()
    return found


@cache
def _factors() -> tuple[int, ...]:
    base, wide, heads = _parts(), _parts(d_model=1024, d_ff=4096), _parts(n_heads=16)
    factors = [round(after / before) for before, after in zip(base, wide, strict=True)]
    return (*factors, round(heads[1] / base[1]))


@cache
def _counted(vocab_size: int, config: lib.StackConfig) -> int:
    with torch.device("meta"):
        return sum(weights.numel() for weights in lib.Transformer(vocab_size, config).parameters())


def _configs(*changes: Mapping[str, Any]) -> Any:
    def cases(draw: Draw) -> Iterator[Case]:
        for number, change in enumerate(changes):
            sizes = {"d_model": 12, "n_heads": 3, "n_layers": 2 + number, "d_ff": 20, **change}
            yield case(18, lib.StackConfig(**sizes))

    return cases


class Transformer(lib.Transformer):
    """The chapter's model, as far as it has more methods than the library's."""

    def logits(self, x: Tensor) -> Tensor:
        """From (batch, query, d_model) to (batch, query, vocab)."""
        return F.linear(x, self.embedding.weight)


def _with_shared(answer: Any, source: Tensor, target: Tensor, dtype: torch.dtype, steps: bool = False) -> Any:
    config = lib.StackConfig(d_model=6, n_heads=2, n_layers=1, d_ff=10, dropout=0.1, max_len=10)
    model: Any = _made(answer, lib.Transformer, 9, config, dtype=dtype)
    if not steps:
        return model(source, target)
    (memory, mask), past = model.encode(source), model.decoder.new_cache()
    return torch.cat([model.decode(ids, memory, mask, cache=past) for ids in target.split(1, dim=1)], dim=1)


def _step_by_step(draw: Draw) -> Iterator[Case]:
    yield case(*_ids(draw, 1, 3, 3), dtype=draw.dtype, steps=True)


_SOURCE = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10], [3, 4, 9, 10, 0, 0, 0, 0]])
_TARGET = torch.tensor([[1, 11, 12, 13, 14, 15, 7, 16, 17], [1, 11, 12, 16, 17, 0, 0, 0, 0]])


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-9)


def _panel(model: Any) -> dict[str, bool]:
    """The chapter's eight checks."""
    source, target = _SOURCE, _TARGET
    right = model(source, target)
    later = target.clone()
    later[:, 3:] = target[:, 3:].flip(1)
    alone = [model(s[None], t[None]) for s, t in zip(source, target, strict=True)]
    moved = (model(source.roll(1, dims=0), target) - right).abs().amax(dim=-1)
    holds = {
        "causality": _equal(model(source, later)[:, :3], right[:, :3]),
        "padding": _equal(model(F.pad(source, (0, 3)), target), right),
        "memory_matters": bool((moved > 1e-6).all()),
        "one_by_one": _equal(torch.cat(alone), right),
        "no_dropout": _equal(model(source, target), right),
    }
    (right * torch.linspace(-1, 2, right.size(-1))).sin().sum().backward()
    learned = [weight.grad for name, weight in model.named_parameters() if "k_proj.bias" not in name]
    holds["gradients"] = all(gradient is not None and bool(gradient.abs().max() > 1e-9) for gradient in learned)
    with torch.no_grad():
        memory, mask = model.encode(source)
        past = model.decoder.new_cache()
        steps = [model.decode(ids, memory, mask, cache=past) for ids in target.split(1, dim=1)]
        holds["cache"] = _equal(torch.cat(steps, dim=1), right)
        model.embedding.weight[2] *= 2
        changed = (model(source, target) - right).abs() > 1e-9
        model.embedding.weight[2] /= 2
        holds["tied"] = bool(changed[..., 2].all()) and int(changed.sum()) == changed[..., 2].numel()
    return holds


def _unseen(answer: Any, draw: Draw) -> Mapping[str, Any]:
    """How far the logits are from those of the correct model with the same weights, and what the panel says."""
    config = lib.StackConfig(d_model=12, n_heads=3, n_layers=2, d_ff=20, dropout=0.1, max_len=20)
    right, broken = (
        with_weights(kind, lib.Transformer, 18, config, dtype=torch.float64) for kind in (lib.Transformer, answer)
    )
    with torch.no_grad():
        change = float((right(_SOURCE, _TARGET) - broken(_SOURCE, _TARGET)).abs().max())
    holds = _panel(broken)
    red = [name for name, one in holds.items() if not one]
    return {
        "largest change of a logit": change,
        "checks that hold": sum(holds.values()),
        "red": ", ".join(red) or "none",
    }


class _Unpadded(lib.Transformer):
    def encode(self, source_ids: Tensor) -> Any:
        mask = torch.ones_like(source_ids, dtype=torch.bool)[:, None, None]
        return self.encoder(self.embed(source_ids), mask), mask


EXERCISES = read(
    "transformer",
    {
        "transformer-tied": {
            "probe": _both_ways,
            "reference": TiedEmbedding,
            "stages": (Stage("with given rows", _tokens), Stage("as its rows are drawn", _fresh)),
        },
        "transformer-two-vocabularies": {
            "probe": _translated,
            "reference": TwoVocabularies,
            "stages": (
                Stage("for sources without padding", _full),
                Stage("for sources with padding", _padded),
                Stage("for a pre-norm stack", _pre_norm),
                Stage("as its rows are drawn", _fresh_tables),
            ),
            "allowed": (lib.Encoder, lib.Decoder),
        },
        "transformer-double": {"reference": _factors},
        "transformer-count": {
            "reference": _counted,
            "stages": (
                Stage("for the paper's kind of model", _configs({}, {"n_heads": 2, "d_ff": 31})),
                Stage("without biases", _configs({"bias": False}, {"bias": False, "norm": "rms"})),
                Stage("with RMS norms", _configs({"norm": "rms"})),
                Stage(
                    "in pre-norm",
                    _configs({"pre_norm": True}, {"pre_norm": True, "norm": "rms", "positions": "rotary"}),
                ),
                Stage("with gates", _configs({"gated": True}, {"gated": True, "bias": False})),
                Stage("with heads of another width", _configs({"d_head": 10}, {"d_head": 5, "n_heads": 4})),
                Stage(
                    "with shared keys and values",
                    _configs({"n_heads": 4, "n_kv_heads": 2}, {"d_head": 7, "n_kv_heads": 1}),
                ),
            ),
            "ready_made": (
                nn.Module.parameters,
                nn.Module.named_parameters,
                nn.Module.state_dict,
                nn.Module.children,
                nn.Module.modules,
            ),
            "dtypes": (torch.float64,),
        },
        "transformer-mystery": {
            "probe": _with_shared,
            "reference": lib.Transformer,
            "stages": (
                Stage("for sources without padding", _full),
                Stage("for sources with padding", _padded),
                Stage("step by step, with a cache", _step_by_step),
            ),
            "allowed": (lib.Encoder, lib.Decoder),
        },
        "transformer-blind-spot": {
            "measure": _unseen,
            "goals": (
                Goal(
                    "other logits than the correct model's",
                    "largest change of a logit > 1e-3",
                    "With the same weights your model gives the same logits as the correct one. It is not wrong.",
                    "transformer-class",
                    lambda: lib.Transformer,
                ),
                Goal(
                    "all eight checks hold",
                    "checks that hold == 8",
                    "The panel sees your mistake. What do its red lines have in common with what you changed?",
                    "transformer-invariants",
                    lambda: _Unpadded,
                ),
            ),
        },
    },
    names={"Transformer": Transformer},
)
