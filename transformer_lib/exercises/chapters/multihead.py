"""What is not text in the exercises of the chapter "Multi-head attention"; the rest stands in multihead.md."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case, with_weights
from transformer_lib.texts import text

Split = Callable[[Tensor, int], Tensor]


def _wrong_split(x: Tensor, n_heads: int) -> Tensor:
    batch, seq, width = x.shape
    return x.reshape(batch, n_heads, seq, width // n_heads)


def _wrong_merge(x: Tensor) -> Tensor:
    batch, heads, seq, d_head = x.shape
    return x.reshape(batch, seq, heads * d_head)


# ---- A test that sees the bug.


def _strided(x: Tensor, n_heads: int) -> Tensor:
    pieces: Tensor = x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)
    return pieces


def _sequence_first(x: Tensor, n_heads: int) -> Tensor:
    batch, seq, width = x.shape
    return x.reshape(seq, batch, n_heads, width // n_heads).permute(1, 2, 0, 3)


def _last_two_swapped(x: Tensor, n_heads: int) -> Tensor:
    rows = lib.split_heads(x, n_heads)
    return torch.cat([rows[:, :, :-2], rows[:, :, -2:].flip(2)], dim=2)


def _moved(*place: Any) -> Split:
    """A split that moves a part of the rows on by one token."""

    def split(x: Tensor, n_heads: int) -> Tensor:
        rows = lib.split_heads(x, n_heads).clone()
        rows[place] = rows.roll(1, dims=2)[place]
        return rows

    return split


_ALL = slice(None)


_SPLITS: Mapping[str, Split] = {
    "split_heads": lib.split_heads,
    "wrong_split": _wrong_split,
    "split_heads, with the heads in reverse order": lambda x, n_heads: lib.split_heads(x, n_heads).flip(1),
    "every third number goes to the same head": _strided,
    "split_heads, with all tokens moved on by one": lambda x, n_heads: lib.split_heads(x, n_heads).roll(1, dims=2),
    "split_heads, with the last two tokens exchanged": _last_two_swapped,
    "split_heads, with the tokens of the last head moved on by one": _moved(_ALL, -1),
    "split_heads, with the tokens of the first head moved on by one": _moved(_ALL, 0),
    "split_heads, with the tokens of the first sentence moved on by one": _moved(0),
    "split_heads, with the tokens of the last sentence moved on by one": _moved(-1),
    "split_heads, with the last number of every piece moved on by one token": _moved(..., -1),
    "split_heads, with the sentences in reverse order": lambda x, n_heads: lib.split_heads(x, n_heads).flip(0),
    "a split for data with the sequence first": _sequence_first,
}


def _verdict(answer: Any, split: str) -> Any:
    return answer(_SPLITS[split])


def _plain_splits(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_SPLITS)[:2])


def _other_splits(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_SPLITS)[2:])


# ---- The layer.


class _MultiHead(lib.MultiHeadAttention):
    """The library's layer, built and called as the chapter's."""

    def __init__(self, d_model: int, n_heads: int, d_head: int):
        super().__init__(d_model, n_heads, d_head=d_head)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Any:  # type: ignore[override]
        weights: list[Tensor] = []
        with self.tap.observe(weights.append):
            output = super().forward(x, memory, mask=mask)
        return output, weights[0]


def _random_layer(kind: Any, dtype: torch.dtype, *args: Any, **kwargs: Any) -> Any:
    return with_weights(kind, kind, *args, dtype=dtype, seed=1, **kwargs)


def _contributed(answer: Any, x: Tensor, n_heads: int) -> Any:
    layer = _random_layer(_MultiHead, x.dtype, x.size(-1), n_heads, x.size(-1) // n_heads)
    return {"contributions": answer(layer, x), "output of the layer afterwards": layer(x)[0].detach()}


def _left_alone(layer: _MultiHead, x: Tensor) -> Tensor:
    """What the layer returns when one head alone is written out, and no bias, for each head."""
    head = torch.arange(layer.n_heads * layer.d_head) // layer.d_head
    bias, weight = torch.zeros_like(layer.o_proj.bias), layer.o_proj.weight
    changed = ({"o_proj.weight": weight * (head == i), "o_proj.bias": bias} for i in range(layer.n_heads))
    return torch.stack([torch.func.functional_call(layer, parameters, x)[0] for parameters in changed])


def _layer_inputs(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), n_heads=2)
    yield case(draw.normal(2, 5, 12), n_heads=3)
    yield case(draw.normal(1, 1, 6), n_heads=3)


def _layer_results(
    answer: Any, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None, *, n_heads: int, d_head: int
) -> Any:
    layer = with_weights(answer, _MultiHead, x.size(-1), n_heads, d_head, dtype=x.dtype)
    layer(x / 2)  # the next call must not depend on it
    return layer(x, memory, mask)


def _self(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), n_heads=2, d_head=3)
    yield case(draw.normal(2, 5, 6), n_heads=3, d_head=5)
    yield case(draw.normal(1, 1, 3), n_heads=2, d_head=2)


def _memories(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(1, 3, 3), n_heads=2, d_head=2)
    yield case(draw.normal(2, 5, 6), draw.normal(2, 7, 6), n_heads=3, d_head=5)


def _masks(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(1, 3, 3), draw.mask(2, 3), n_heads=2, d_head=2)
    yield case(draw.normal(2, 5, 6), draw.normal(2, 7, 6), draw.mask(2, 1, 1, 7), n_heads=3, d_head=5)
    yield case(draw.normal(2, 4, 6), None, draw.mask(2, 3, 4, 4), n_heads=3, d_head=5)


def _large(draw: Draw) -> Iterator[Case]:
    if draw.dtype == torch.float64:  # of scores in the hundreds, float32 rounds too much off
        yield case(draw.normal(2, 4, 6, scale=20.0), None, draw.mask(2, 3, 4, 4, keep=0.4), n_heads=3, d_head=5)


# ---- Three questions.


def _scenes(draw: Draw, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    features = draw.integers(batch, 6, 8, high=2)
    order = torch.stack([draw.permutation(6) for _ in range(batch)])
    roles = order.clamp(max=3)
    return features, roles, torch.stack([features[roles == role] for role in range(3)], dim=1)


def _three_answers(model: Any, draw: Draw) -> Mapping[str, Any]:
    if not isinstance(model, nn.Module):
        raise Complaint(text("the answer is no nn.Module"))
    features, roles, targets = _scenes(draw, 1000)
    with torch.no_grad():
        logits = model(features, roles)
    if not isinstance(logits, Tensor) or logits.shape != (1000, 3, 8, 2):
        raise Complaint(text("called with features (1000, 6, 8) and roles (1000, 6), it should return (1000, 3, 8, 2)"))
    shares = (logits.argmax(-1) == targets).double().mean(dim=(0, 2)).tolist()
    words = {f"share right, question {number}": share for number, share in enumerate(shares, 1)}
    return {**words, "parameters": sum(p.numel() for p in model.parameters())}


class _Oracle(nn.Module):
    """Looks the answers up, for the first questions; the tests use it as a trained model."""

    def __init__(self, answered: int, parameters: int):
        super().__init__()
        self.answered, self.numbers = answered, nn.Parameter(torch.zeros(parameters))

    def forward(self, features: Tensor, roles: Tensor) -> Tensor:
        people = torch.stack([features[roles == min(role, self.answered - 1)] for role in range(3)], dim=1)
        return torch.stack([1.0 - people, 1.0 * people], dim=-1)


# ---- Take a head out.


def _pruned_results(answer: Any, x: Tensor, n_heads: int, d_head: int, head: int) -> Any:
    layer = _random_layer(lib.MultiHeadAttention, x.dtype, x.size(-1), n_heads, d_head=d_head)
    with torch.random.fork_rng([]):  # a new layer's weights must not differ from call to call
        torch.default_generator.manual_seed(0)
        smaller = answer(layer, head)
    if not isinstance(smaller, nn.Module):
        raise Complaint(text("a layer is expected; got {given}", given=type(smaller).__name__))
    numbers = sum(parameter.numel() for parameter in smaller.parameters())
    old, new = ({part.untyped_storage().data_ptr() for part in one.parameters()} for one in (layer, smaller))
    return {
        "output": smaller.eval()(x),
        "parameters": numbers,
        "output of the old layer": layer(x),
        "parameters shared with it": len(old & new),
    }


def _heads_to_prune(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), n_heads=3, d_head=2, head=1)
    yield case(draw.normal(2, 5, 6), n_heads=4, d_head=3, head=0)
    yield case(draw.normal(2, 3, 5), n_heads=3, d_head=4, head=2)


# ---- Grouped heads, mended.


def _by_pytorch(query: Tensor, key: Tensor, value: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    heads = zip((query, key, value), (n_heads, n_kv_heads, n_kv_heads), strict=True)
    q, k, v = (tensor.unflatten(-1, (n, -1)).transpose(1, 2) for tensor, n in heads)
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2)


def _groups(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 2), draw.normal(1, 3, 2), n_heads=4, n_kv_heads=2)
    for n_heads, n_kv_heads in ((6, 2), (6, 3)):
        key, value = (draw.normal(2, 7, n_kv_heads * 4) for _ in range(2))
        yield case(draw.normal(2, 5, n_heads * 4), key, value, n_heads=n_heads, n_kv_heads=n_kv_heads)


def _extremes(draw: Draw) -> Iterator[Case]:
    for n_kv_heads in (1, 3):
        key, value = (draw.normal(2, 5, n_kv_heads * 2) for _ in range(2))
        yield case(draw.normal(2, 4, 6), key, value, n_heads=3, n_kv_heads=n_kv_heads)


_ATTENTION = (lib.attention, lib.fused_attention)
EXERCISES = read(
    "multihead",
    {
        "multihead-roundtrip": {
            "probe": _verdict,
            "stages": (
                Stage("for the two splits of this chapter", _plain_splits),
                Stage("for other splits", _other_splits),
            ),
            "dtypes": (torch.float64,),
        },
        "multihead-sum": {
            "probe": _contributed,
            "reference": _left_alone,
            "stages": (Stage("for a layer with random weights", _layer_inputs, gradients=True),),
            "allowed": (lib.MultiHeadAttention, *_ATTENTION),
        },
        "multi-head-attention": {
            "probe": _layer_results,
            "reference": _MultiHead,
            "stages": (
                Stage("for tokens that look at each other", _self, gradients=True),
                Stage("for a memory of another length", _memories, gradients=True),
                Stage("with a mask", _masks),
                Stage("with very large scores under a mask", _large),
            ),
            "allowed": _ATTENTION,
            "atol": 1e-6,  # the root of a tensor of one whole number is float32
        },
        "multihead-three": {
            "measure": _three_answers,
            "goals": (
                Goal(
                    "every question above 0.95",
                    lambda measured: min(share for name, share in measured.items() if "question" in name) > 0.95,
                    "At least one question is answered badly. Is there a softmax for each? And was the model trained "
                    "to the end?",
                    "multihead-task",
                    lambda: _Oracle(2, 3_936),
                ),
                Goal(
                    "at most 4,000 parameters",
                    "parameters <= 4000",
                    "All questions are answered, at a high price. Which of your choices added parameters, and did the "
                    "task need it?",
                    "multihead-task",
                    lambda: _Oracle(3, 7_344),
                ),
            ),
        },
        "multihead-prune": {
            "probe": _pruned_results,
            "stages": (Stage("for layers with random weights", _heads_to_prune),),
            "dtypes": (torch.float32,),
            "allowed": (lib.MultiHeadAttention, *_ATTENTION),
        },
        "multihead-grouped": {
            "reference": _by_pytorch,
            "stages": (
                Stage("for groups of query heads", _groups, gradients=True),
                Stage("for one shared head, and for no sharing", _extremes),
            ),
            "allowed": _ATTENTION,
        },
    },
    names={
        "attention": lib.attention,
        "copy": copy,
        "merge_heads": lib.merge_heads,
        "n_heads": 3,
        "split_heads": lib.split_heads,
        "wrong_merge": _wrong_merge,
        "wrong_split": _wrong_split,
    },
)
