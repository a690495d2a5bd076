"""What is not text in the exercises of the chapter "Positions"; the rest stands in positions.md."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case
from transformer_lib.positions import alibi_slopes, relative_position_bucket
from transformer_lib.texts import text
from transformer_lib.training import fit


def waves_at(positions: Tensor, d_model: int) -> Tensor:
    """The waves (…, d_model) of positions (…); with an odd width, the last hand has a sine and no cosine."""
    column = torch.arange(d_model)
    hand = (column // 2).double()
    angles = positions[..., None].double() * 10000.0 ** (-2 * hand / d_model)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos())


def _wide(answer: Any, positions: Tensor, d_model: int) -> Any:
    """Float32 is good enough here."""
    result = answer(positions, d_model)
    return result.double() if isinstance(result, Tensor) and result.is_floating_point() else result


def _rows_of_places(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([1, 2]), 4)
    yield case(torch.tensor([0, 3, 11]), 6)


def _places_of_a_batch(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([[7]]), 4)
    yield case(draw.integers(2, 3, low=1, high=20), 4)
    yield case(draw.integers(3, 5, low=1, high=60), 8)


def _other_shapes(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor(5), 4)
    yield case(draw.integers(2, 1, 3, low=1, high=20), 6)


def _odd_widths(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([1, 4]), 3)
    yield case(draw.integers(2, 4, low=1, high=20), 7)


def _by(index: Callable[[int, int], Tensor]) -> Callable[[Tensor], Tensor]:
    """An adder: the row of the table for each token, (batch, seq) or what can be spread to it."""
    return lambda x: x + waves_at(index(x.size(0), x.size(1)), x.size(2)).to(x.dtype)


def _places(seq: int, backwards: bool) -> Tensor:
    return torch.arange(seq).flip(0) if backwards else torch.arange(seq)


_ROWS = 0.02 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
_ADDERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "add_waves": _by(lambda batch, seq: torch.arange(seq)),
    "add_along_wrong_axis": _by(lambda batch, seq: torch.arange(batch)[:, None]),
    "counts on from one sentence to the next": _by(lambda batch, seq: torch.arange(batch * seq).reshape(batch, seq)),
    "adds nothing": lambda x: x.clone(),
    "two vectors by turns": _by(lambda batch, seq: torch.arange(seq) % 2),
    "the same vector at places 1 and 2": _by(lambda batch, seq: torch.arange(seq) - (torch.arange(seq) > 1).long()),
    "the same vector from place 2 on": _by(lambda batch, seq: torch.arange(seq).clamp(max=2)),
    "the same vector from place 3 on": _by(lambda batch, seq: torch.arange(seq).clamp(max=3)),
    "the second sentence backwards": _by(
        lambda batch, seq: torch.stack([_places(seq, backwards=number == 1) for number in range(batch)])
    ),
    "the last sentence backwards": _by(
        lambda batch, seq: torch.stack([_places(seq, backwards=number == batch - 1) for number in range(batch)])
    ),
    "the last sentence backwards, but for its first token": _by(
        lambda batch, seq: torch.stack(
            [F.pad(1 + _places(seq - 1, backwards=number == batch - 1), (1, 0)) for number in range(batch)]
        )
    ),
    "counts backwards": _by(lambda batch, seq: torch.arange(seq).flip(0)),
    "small vectors": lambda x: x + 0.01 * waves_at(torch.arange(x.size(1)), x.size(2)).to(x.dtype),
    "large vectors": lambda x: x + 1000 + waves_at(torch.arange(x.size(1)), x.size(2)).to(x.dtype),
    "learned rows, before training": lambda x: x + _ROWS[: x.size(1)].to(x.dtype),
    "scales the tokens first": lambda x: x * 2 + waves_at(torch.arange(x.size(1)), x.size(2)).to(x.dtype),
}
#: The adders that give each place a vector of its own, the same in all sentences.
_RIGHT = tuple(
    _ADDERS[name]
    for name in (
        "add_waves",
        "counts backwards",
        "small vectors",
        "large vectors",
        "learned rows, before training",
        "scales the tokens first",
    )
)


def _adder_verdict(answer: Any, add: str) -> Any:
    return answer(_ADDERS[add])


def _known_adders(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_ADDERS)[:3])


def _other_adders(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_ADDERS)[3:])


def bucket(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    """The chapter's own: the bucket of a key that stands ``distance`` places before the query."""
    exact = n_buckets // 2
    if distance < exact:
        return distance
    way = math.log(distance / exact) / math.log(max_distance / exact)
    return min(exact + int(way * (n_buckets - exact)), n_buckets - 1)


def _library_bucket(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    numbered = relative_position_bucket(torch.tensor(distance), n_buckets=n_buckets, max_distance=max_distance)
    return int(numbered)


def _near_keys(draw: Draw) -> Iterator[Case]:
    yield from (case(distance) for distance in (-1, 1, 0, -5, 6, -7, 7))


def _far_keys(draw: Draw) -> Iterator[Case]:
    yield from (case(distance) for distance in (-9, 13, -27, 50, -80, 100, -400, 900))


def _other_sizes(draw: Draw) -> Iterator[Case]:
    for n_buckets, max_distance in ((8, 20), (16, 50)):
        yield from (case(d, n_buckets, max_distance) for d in (-1, 3, -5, 7, 11, -18, 200))


def _square(draw: Draw) -> Iterator[Case]:
    yield case(2, 3, 3)
    yield case(4, 6, 6)


def _continued(draw: Draw) -> Iterator[Case]:
    yield case(2, 1, 4)
    yield case(8, 3, 5)


def _smallest(draw: Draw) -> Iterator[Case]:
    yield case(1, 1, 1)
    yield case(1, 2, 5)


def _one_pair(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 1, 2, 2), torch.arange(2))


def _more_pairs(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 1, 3, 4), torch.arange(3))
    yield case(draw.normal(2, 3, 5, 8), torch.arange(5))


def _elsewhere(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 1, 4), torch.tensor([5]))
    yield case(draw.normal(2, 3, 4, 6), torch.tensor([7, 8, 11, 2]))


_CHANGING = {
    "a": {"learned"},
    "b": {"sinusoidal", "learned", "rotary"},
    "c": {"sinusoidal", "learned"},
    "d": {"sinusoidal", "learned", "relative bias", "ALiBi"},
    "e": {"sinusoidal", "learned", "relative bias", "ALiBi", "rotary"},
    "f": set(),
}


@torch.no_grad()
def _changes() -> str:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        x = torch.randn(1, 8, 16)
        plain = lib.MultiHeadAttention(16, 2)
        turning = lib.MultiHeadAttention(16, 2, rotary=lib.RotaryPositions(8))
        adders = {"sinusoidal": lib.SinusoidalPositions(16), "learned": lib.LearnedPositions(16, 200)}
        relative, alibi = lib.RelativeBias(2), lib.ALiBi(2)
        nn.init.normal_(relative.table)
    biases: Mapping[str, Callable[[int, int], Tensor]] = {"relative bias": relative, "ALiBi": alibi}
    found: dict[str, list[Tensor]] = {}
    for start in (0, 100):
        at, end = torch.arange(start, start + 8), start + 8
        for name, add in adders.items():
            found.setdefault(name, []).append(plain(add(x, at)))
        for name, make in biases.items():
            found.setdefault(name, []).append(plain(x, bias=make(end, end)[..., -8:, -8:]))
        found.setdefault("rotary", []).append(turning(x, positions=at))
    changed = {name for name, (here, there) in found.items() if not torch.allclose(here, there, atol=1e-4)}
    return next(letter for letter, names in _CHANGING.items() if names == changed)


class _Reader(nn.Module):
    """The chapter's model with a relative bias."""

    def __init__(self, n_buckets: int, max_distance: int):
        super().__init__()
        self.embedding = nn.Embedding(8, 32)
        self.bias = lib.Relative(n_buckets, max_distance).bias(4, bidirectional=False)
        self.attention = lib.MultiHeadAttention(32, n_heads=4)
        self.logits = nn.Linear(32, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        x, length = self.embedding(tokens), tokens.size(1)
        logits: Tensor = self.logits(x + self.attention(x, bias=self.bias(length, length), causal=True))
        return logits


def _three_back(length: int, batch: int = 32) -> Callable[[torch.Generator], tuple[Tensor, Tensor]]:
    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(8, (batch, length), generator=generator)
        targets = torch.full_like(tokens, -100)
        targets[:, 3:] = tokens[:, :-3]
        return tokens, targets

    return sample


def _trained_buckets(sizes: Any, draw: Draw) -> Mapping[str, Any]:
    if not isinstance(sizes, tuple | list) or len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise Complaint(text("these are no two whole numbers: {given}", given=repr(sizes)[:40]))
    n_buckets, max_distance = sizes
    if n_buckets > 1000:
        raise Complaint(text("more than a thousand buckets are too many to train here"))
    torch.manual_seed(draw.python.randrange(1000))  # the check puts the global random numbers back
    try:
        model = _Reader(n_buckets, max_distance)
    except ValueError as error:
        raise Complaint(str(error)) from error
    seen = relative_position_bucket(
        -torch.arange(16), bidirectional=False, n_buckets=n_buckets, max_distance=max_distance
    )
    fit(model, _three_back(16), steps=80, lr=2e-2)
    tokens, targets = _three_back(128, batch=64)(draw.generator)
    with torch.no_grad():
        right = (model(tokens).argmax(-1) == targets).double().mean(0)
    return {
        "buckets": n_buckets,
        "of them never seen": n_buckets - len(set(seen.tolist())),
        "accuracy at places 8 to 15": right[8:16].mean().item(),
        "at places 120 to 127": right[120:].mean().item(),
    }


EXERCISES = read(
    "positions",
    {
        "positions-waves": {
            "probe": _wide,
            "reference": waves_at,
            "stages": (
                Stage("for a row of positions", _rows_of_places),
                Stage("for a batch of positions", _places_of_a_batch),
                Stage("for one position, or a block of them", _other_shapes),
                Stage("for odd widths", _odd_widths),
            ),
            "ready_made": (lib.sinusoidal_table, lib.SinusoidalPositions),
            "dtypes": (torch.float64,),
            "atol": 2e-5,
        },
        "positions-adder": {
            "probe": _adder_verdict,
            "reference": lambda add: add in _RIGHT,
            "stages": (Stage("for the adders of the task", _known_adders), Stage("for other adders", _other_adders)),
            "dtypes": (torch.float64,),
        },
        "positions-both-ways": {
            "reference": _library_bucket,
            "stages": (
                Stage("for near keys", _near_keys),
                Stage("for far keys", _far_keys),
                Stage("for other sizes", _other_sizes),
            ),
            "ready_made": (relative_position_bucket, lib.RelativeBias),
            "dtypes": (torch.float64,),
        },
        "positions-alibi": {
            "reference": lambda n_heads, q_len, k_len: lib.ALiBi(n_heads)(q_len, k_len),
            "stages": (
                Stage("for as many queries as keys", _square),
                Stage("for the last queries of a longer text", _continued),
                Stage("for a single head", _smallest),
            ),
            "ready_made": (lib.ALiBi, alibi_slopes),
            "dtypes": (torch.float64,),
        },
        "positions-half-split": {
            "reference": lambda x, positions: lib.RotaryPositions(x.size(-1), interleaved=False)(x, positions),
            "stages": (
                Stage("for a single pair", _one_pair, gradients=True),
                Stage("for several pairs", _more_pairs, gradients=True),
                Stage("for positions that do not start at 0", _elsewhere),
            ),
            "ready_made": (lib.RotaryPositions,),
        },
        "positions-shift": {"reference": _changes},
        "positions-buckets": {
            "measure": _trained_buckets,
            "goals": (
                Goal(
                    "16 tokens fill every bucket",
                    "of them never seen == 0",
                    "At least one bucket is never seen in training, and keeps the zero that it started with.",
                    "positions-not-enough",
                    lambda: (32, 128),
                ),
                Goal(
                    "accuracy above 0.95 at places 8 to 15",
                    "accuracy at places 8 to 15 > 0.95",
                    "The task is not learned any more, not even at the lengths of training. Which distances share a "
                    "bucket with the one that counts?",
                    "positions-relative",
                    lambda: (4, 4),
                ),
                Goal(
                    "at most 6 buckets",
                    "buckets <= 6",
                    "It works, with more buckets than needed. Which of them does *three back* have no use for?",
                    "positions-trial",
                    lambda: (16, 16),
                ),
            ),
        },
    },
    names={"bucket": bucket},
)
