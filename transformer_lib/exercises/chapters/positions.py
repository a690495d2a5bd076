"""Exercises of the chapter "Positions"."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises.engine.exercise import (
    Case,
    Complaint,
    Debug,
    Draw,
    Exercise,
    Explore,
    Goal,
    Implement,
    Mistake,
    Predict,
    Stage,
    case,
)
from transformer_lib.positions import alibi_slopes, relative_position_bucket
from transformer_lib.training import fit

# ---- The clock of any place.


def waves_at(positions: Tensor, d_model: int) -> Tensor:
    """The waves (…, d_model) of positions (…); with an odd width, the last hand has a sine and no cosine."""
    column = torch.arange(d_model)
    hand = (column // 2).double()
    angles = positions[..., None].double() * 10000.0 ** (-2 * hand / d_model)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos())


def _waves(
    speed: Callable[[Tensor, int], Tensor] = lambda column, width: -2 * (column // 2) / width,
    start: int = 0,
    places: bool = True,
    layout: str = "pairs",
) -> Any:
    def wrong(positions: Tensor, d_model: int) -> Tensor:
        column = torch.arange(d_model, dtype=torch.float64)
        at = (positions if places else torch.arange(positions.size(-1)).expand_as(positions)) + start
        angles = at[..., None] * 10000.0 ** speed(column, d_model)
        if layout == "exchanged":
            return torch.where(column % 2 == 0, angles.cos(), angles.sin())
        if layout == "halves":
            return torch.cat([angles[..., ::2].sin(), angles[..., 1::2].cos()], dim=-1)
        return torch.where(column % 2 == 0, angles.sin(), angles.cos())

    return wrong


def _chapters_waves(positions: Tensor, d_model: int) -> Tensor:
    angles = positions[..., None] * 10000.0 ** (-torch.arange(0, d_model, 2).double() / d_model)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def _sliced_waves(positions: Tensor, d_model: int) -> Tensor:
    angles = positions[..., None] * 10000.0 ** (-torch.arange(0, d_model, 2).double() / d_model)
    table = torch.zeros(*positions.shape, d_model, dtype=torch.float64)
    table[..., 0::2], table[..., 1::2] = angles.sin(), angles.cos()
    return table


def _wide(answer: Any, positions: Tensor, d_model: int) -> Any:
    """Float32 is good enough here."""
    result = answer(positions, d_model)
    return result.double() if isinstance(result, Tensor) and result.is_floating_point() else result


def _rows_of_places(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([1, 2]), 4)
    yield case(torch.tensor([0, 3, 11]), 6)


def _places_of_a_batch(draw: Draw) -> Iterator[Case]:
    yield case(draw.integers(2, 3, low=1, high=20), 4)
    yield case(draw.integers(3, 5, low=1, high=60), 8)


def _odd_widths(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([1, 4]), 3)
    yield case(draw.integers(2, 4, low=1, high=20), 7)


WAVES = Implement(
    id="positions-waves",
    chapter="positions",
    title="The clock of any place",
    level="medium",
    minutes=15,
    task="Write waves_at(positions, d_model): the waves of any positions, for even and odd widths.",
    hints=(
        "The function `waves` makes its positions itself. What changes if they are given, with any number of axes?",
        "`positions[..., None]` puts one more axis behind all others. Multiply it by one speed for each hand.",
        "For an odd width, count the hands, the sines and the cosines on paper for `d_model = 3`. The formula for the "
        "speeds is the same as ever.",
    ),
    probe=_wide,
    reference=waves_at,
    stages=(
        Stage("for a row of positions", _rows_of_places),
        Stage("for a batch of positions", _places_of_a_batch),
        Stage("for odd widths", _odd_widths),
    ),
    ready_made=(lib.sinusoidal_table, lib.SinusoidalPositions),
    dtypes=(torch.float64,),
    atol=2e-5,
    mistakes=(
        Mistake(
            "each-column-its-own",
            _waves(lambda column, width: -column / width),
            "In your table every column has its own speed. A sine and a cosine belong together: they are one hand.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "hands-too-fast",
            _waves(lambda column, width: -(column // 2) / width),
            "Your hands slow down too little from one to the next: compare your exponent with the formula, for hand 1.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "speeding-up",
            _waves(lambda column, width: 2 * (column // 2) / width),
            "Your hands get faster from column to column. After the first, they turn many times at each step.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "from-one",
            _waves(start=1),
            "Every row of yours is that of the next place. The first place has the number 0.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "positions-ignored",
            _waves(places=False),
            "You counted the places yourself. The positions are given, and need not be 0, 1, 2.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "exchanged",
            _waves(layout="exchanged"),
            "Sine and cosine stand in each other's columns.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "halves",
            _waves(layout="halves"),
            "You put all sines before all cosines. Such tables exist, but this book's hands are pairs of neighbors.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "one-column-too-many",
            _chapters_waves,
            "It is right for even widths. For an odd one, your table is a column too wide.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "odd-does-not-fit",
            _sliced_waves,
            "It is right for even widths. For an odd one there are fewer cosines than sines, and yours do not fit "
            "into their columns.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "width-rounded-up",
            lambda positions, d_model: _chapters_waves(positions, d_model + d_model % 2)[..., :d_model],
            "It is right for even widths. For an odd one you cut a wider table, and its hands have other speeds: the "
            "width stands in the formula.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "width-rounded-down",
            _waves(lambda column, width: -2 * (column // 2) / (width - width % 2)),
            "It is right for even widths. For an odd one your formula has another width in it.",
            "Sinusoidal: a set of clocks",
        ),
    ),
)


# ---- A test for any adder.


def _by(index: Callable[[int, int], Tensor]) -> Callable[[Tensor], Tensor]:
    """An adder: the row of the table for each token, (batch, seq) or what can be spread to it."""
    return lambda x: x + waves_at(index(x.size(0), x.size(1)), x.size(2)).to(x.dtype)


_ADDERS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "add_waves": _by(lambda batch, seq: torch.arange(seq)),
    "add_along_wrong_axis": _by(lambda batch, seq: torch.arange(batch)[:, None]),
    "counts on from one sentence to the next": _by(lambda batch, seq: torch.arange(batch * seq).reshape(batch, seq)),
    "adds nothing": lambda x: x.clone(),
    "two vectors by turns": _by(lambda batch, seq: torch.arange(seq) % 2),
    "the same vector from place 2 on": _by(lambda batch, seq: torch.arange(seq).clamp(max=2)),
    "the last sentence backwards": _by(
        lambda batch, seq: torch.stack([torch.arange(seq)] * (batch - 1) + [torch.arange(seq).flip(0)])
    ),
    "counts backwards": _by(lambda batch, seq: torch.arange(seq).flip(0)),
}


def tells_places_apart(
    add: Callable[[Tensor], Tensor], pairs: str = "all", sentences: str = "all", batch: int = 3
) -> bool:
    """Whether places of a sentence get different vectors, and all sentences the same, as far as it is looked at."""
    added = add(torch.zeros(batch, 5, 8))
    looked_at = {
        "all": [(i, j) for i in range(5) for j in range(i)],
        "neighbors": [(i, i + 1) for i in range(4)],
        "first": [(0, j) for j in range(1, 5)],
        "ends": [(0, 1)],
        "none": [],
    }[pairs]
    apart = not any(torch.allclose(added[0, i], added[0, j]) for i, j in looked_at)
    others = {"all": list(range(batch)), "second": [1], "none": []}[sentences]
    return apart and all(torch.allclose(added[number], added[0]) for number in others)


def _adder_verdict(answer: Any, add: str) -> Any:
    return answer(_ADDERS[add])


def _known_adders(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_ADDERS)[:3])


def _other_adders(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_ADDERS)[3:])


ADDER = Implement(
    id="positions-adder",
    chapter="positions",
    title="A test for any adder",
    level="easy",
    minutes=10,
    task="Write tells_places_apart(add): whether an adder gives each place its own vector, the same in all sentences.",
    hints=(
        "Give it zeros. Then what comes out is exactly what was added.",
        "Use a batch of 3 and a length of 5. For (1) compare all pairs of places of one sentence, for (2) compare each "
        "sentence with the first.",
    ),
    probe=_adder_verdict,
    reference=tells_places_apart,
    stages=(Stage("for the adders of the task", _known_adders), Stage("for other adders", _other_adders)),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "accepts-all",
            lambda add: True,
            "Your test accepts every adder. Did you compare the places of one and the same sentence? And are your "
            "tokens alike, so that a difference between places can only come from the adder?",
            "The wrong axis",
        ),
        Mistake(
            "refuses-all",
            lambda add: False,
            "Your test refuses every adder. Did your sentences differ before anything was added?",
            "The wrong axis",
        ),
        Mistake(
            "places-only",
            lambda add: tells_places_apart(add, sentences="none"),
            "Your test looks at the places of one sentence. An adder may still treat the next sentence otherwise.",
            "The wrong axis",
        ),
        Mistake(
            "sentences-only",
            lambda add: tells_places_apart(add, pairs="none"),
            "Your test compares the sentences, and not the places. So it accepts an adder that does nothing.",
            "A bag of words",
        ),
        Mistake(
            "neighbors-only",
            lambda add: tells_places_apart(add, pairs="neighbors"),
            "Your test compares each place with the next one. Places farther apart may get the same vector.",
            "The wrong axis",
        ),
        Mistake(
            "first-only",
            lambda add: tells_places_apart(add, pairs="first"),
            "Your test compares each place with the first one. Two later places may get the same vector.",
            "The wrong axis",
        ),
        Mistake(
            "one-pair",
            lambda add: tells_places_apart(add, pairs="ends"),
            "To your test it is enough that two of the places differ. *Every* place needs a vector of its own.",
            "The wrong axis",
        ),
        Mistake(
            "two-sentences",
            lambda add: tells_places_apart(add, sentences="second"),
            "Your test looks at two sentences of the batch, and not at those after them.",
            "The wrong axis",
        ),
    ),
)


# ---- Buckets for both sides.


def bucket_both_ways(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    """The bucket of a key ``distance`` places after the query, or before it where that is negative."""
    numbered = relative_position_bucket(torch.tensor(distance), n_buckets=n_buckets, max_distance=max_distance)
    return int(numbered)


def _buckets(
    after: Callable[[int], bool] = lambda distance: distance > 0,
    exact_of: int = 2,
    clamp: bool = True,
    side: str = "second half",
    absolute: bool = True,
    start: bool = True,
) -> Any:
    def wrong(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
        half = n_buckets // 2
        exact = half // exact_of
        d = abs(distance) if absolute else distance
        if d < exact:
            number = d
        else:
            way = (
                math.log(d / exact) / math.log(max_distance / exact) if start else math.log(d) / math.log(max_distance)
            )
            number = exact + int(way * (half - exact))
            number = min(number, half - 1) if clamp else number
        if side == "by turns":
            return 2 * number + after(distance)
        return number + half * after(distance)

    return wrong


def _causal_buckets(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    number = relative_position_bucket(
        torch.tensor(distance), bidirectional=False, n_buckets=n_buckets, max_distance=max_distance
    )
    return int(number)


def _both_sides_alike(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    return _causal_buckets(-abs(distance), n_buckets, max_distance)


def _near_keys(draw: Draw) -> Iterator[Case]:
    yield from (case(distance) for distance in (-1, 1, 0, -5, 6, -7, 7))


def _far_keys(draw: Draw) -> Iterator[Case]:
    yield from (case(distance) for distance in (-9, 13, -27, 50, -80, 100, -400, 900))


def _other_sizes(draw: Draw) -> Iterator[Case]:
    for n_buckets, max_distance in ((8, 20), (16, 50)):
        yield from (case(d, n_buckets, max_distance) for d in (-1, 3, -5, 7, 11, -18, 200))


BUCKETS = Implement(
    id="positions-both-ways",
    chapter="positions",
    title="Buckets for both sides",
    level="medium",
    minutes=15,
    task="Write bucket_both_ways(distance, n_buckets=32, max_distance=128), with half of the buckets for later keys.",
    hints=(
        "Two questions: which half of the buckets, and which bucket within that half? The second does not depend on "
        "the side.",
        "Within a half, the rule is that of `bucket`, with half as many buckets. Does its number of exact ones change?",
        "You may call `bucket`. Which distance does it expect, and how many buckets may it use?",
    ),
    reference=bucket_both_ways,
    stages=(
        Stage("for near keys", _near_keys),
        Stage("for far keys", _far_keys),
        Stage("for other sizes", _other_sizes),
    ),
    ready_made=(relative_position_bucket, lib.RelativeBias),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "sides-exchanged",
            _buckets(after=lambda distance: distance < 0),
            "You gave the second half of the buckets to the keys before the query.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "itself-after",
            _buckets(after=lambda distance: distance >= 0),
            "You count the query's own place among those after it. So the first half has a bucket that nobody uses.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "causal",
            _causal_buckets,
            "That is the rule for a causal mask: all keys after the query share one bucket with the query itself.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "alike",
            _both_sides_alike,
            "Your buckets do not tell before from after: both sides get the same number.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "exact-not-halved",
            _buckets(exact_of=1, clamp=False),
            "You gave as many near distances their own bucket as under the causal rule. But each side has only half "
            "of the buckets, so one side runs into the other.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "no-wide-buckets",
            _buckets(exact_of=1),
            "Each of your sides has single buckets and one that holds all the rest. Where are the buckets that get "
            "wider and wider?",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "no-last-bucket",
            _buckets(clamp=False),
            "Your last bucket has an end: from the greatest distance on, one side runs into the other, or out of the "
            "table.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "signed",
            _buckets(absolute=False),
            "For keys before the query, your function returns the distance itself, a number below zero. As an index "
            "it would count from the end of the table, without any error.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "by-turns",
            _buckets(side="by turns"),
            "You gave the two sides even and odd numbers. That is as good, but weights trained with the other "
            "numbering do not fit.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "way-from-one",
            _buckets(start=False),
            "Your wide buckets are measured from distance 1. The first of them begins where the single ones end.",
            "Relative bias: a number for each distance",
        ),
    ),
)


# ---- ALiBi, mended.


def _alibi(first: int = 1, aligned: bool = True, sign: float = -1.0, flat: bool = True, reverse: bool = False) -> Any:
    def code(n_heads: int, q_len: int, k_len: int) -> Tensor:
        slopes = 2.0 ** (-8 / n_heads * torch.arange(first, n_heads + first))
        slopes = slopes.flip(0) if reverse else slopes
        queries, keys = torch.arange(q_len), torch.arange(k_len)
        queries = queries + (k_len - q_len) if aligned else queries
        distance = queries[:, None] - keys[None, :]
        distance = distance.abs() if flat else distance
        return sign * slopes[None, :, None, None] * distance

    return code


def _square(draw: Draw) -> Iterator[Case]:
    yield case(2, 3, 3)
    yield case(4, 6, 6)


def _continued(draw: Draw) -> Iterator[Case]:
    yield case(2, 1, 4)
    yield case(8, 3, 5)


ALIBI = Debug(
    id="positions-alibi",
    chapter="positions",
    title="ALiBi for a text that goes on",
    level="medium",
    minutes=10,
    task="Find the two faults of alibi_for and mend them.",
    hints=(
        "Print the slopes of four heads, and compare them with those of this section.",
        "Print the bias for `q_len = 1, k_len = 4`. The only query is the newest token. Which key should cost nothing?",
        "Write the places of the queries on a line, below those of the keys.",
    ),
    reference=lambda n_heads, q_len, k_len: lib.ALiBi(n_heads)(q_len, k_len),
    given=_alibi(first=0, aligned=False),
    stages=(
        Stage("for as many queries as keys", _square),
        Stage("for the last queries of a longer text", _continued),
    ),
    ready_made=(lib.ALiBi, alibi_slopes),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "slopes-left",
            _alibi(first=0),
            "One fault is mended: the last query now stands at the last key. But one of your heads is more "
            "short-sighted than any should be.",
            "ALiBi: distance costs",
        ),
        Mistake(
            "places-left",
            _alibi(aligned=False),
            "One fault is mended: the slopes are right. But the newest token still believes that it stands at place 0.",
            "ALiBi: distance costs",
        ),
        Mistake(
            "rewarded",
            _alibi(sign=1.0),
            "Your bias rewards distance: the farther a key, the higher its score.",
            "ALiBi: distance costs",
        ),
        Mistake(
            "signed",
            _alibi(flat=False),
            "Your bias rewards the keys after a query. A causal mask would hide this mistake, but not every layer has "
            "one.",
            "ALiBi: distance costs",
        ),
        Mistake(
            "far-sighted-first",
            _alibi(reverse=True),
            "Your slopes are in reverse order: the first head sees farthest. A model trained with the other order "
            "would not fit.",
            "ALiBi: distance costs",
        ),
    ),
)


# ---- Rotary, the other habit.


def _rotary(
    sign: float = 1.0, speed: float = 2.0, pairs: str = "halves", places: bool = True, minus: float = -1.0
) -> Any:
    def wrong(x: Tensor, positions: Tensor) -> Tensor:
        width = x.size(-1)
        at = positions if places else torch.arange(x.size(-2))
        pair = torch.arange(width // 2, dtype=x.dtype)
        angles = sign * at[:, None] * 10000.0 ** (-speed * pair / width)
        if pairs == "neighbors":
            cos, sin, first, second = angles.cos(), angles.sin(), x[..., 0::2], x[..., 1::2]
            return torch.stack([first * cos + minus * second * sin, first * sin + second * cos], -1).flatten(-2)
        both = angles.repeat_interleave(2, dim=-1) if pairs == "mixed" else torch.cat([angles, angles], dim=-1)
        first, second = x.chunk(2, dim=-1)
        return x * both.cos() + torch.cat([minus * second, first], dim=-1) * both.sin()

    return wrong


def _half_turned(x: Tensor, positions: Tensor) -> Tensor:
    first, _ = _rotary()(x, positions).chunk(2, dim=-1)
    return torch.cat([first, x.chunk(2, dim=-1)[1]], dim=-1)


def _one_pair(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 1, 2, 2), torch.arange(2))


def _more_pairs(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 1, 3, 4), torch.arange(3))
    yield case(draw.normal(2, 3, 5, 8), torch.arange(5))


def _elsewhere(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 1, 4), torch.tensor([5]))
    yield case(draw.normal(2, 3, 4, 6), torch.tensor([7, 8, 11, 2]))


ROTARY = Implement(
    id="positions-half-split",
    chapter="positions",
    title="Rotary positions, half-split",
    level="medium",
    minutes=15,
    task="Write rotate_halves(x, positions): rotary positions with pairs of the first half with the second.",
    hints=(
        "The angles are those of `rotate`. Only the choice of the two numbers that form a pair is another one, and so "
        "is the way back.",
        "`x.chunk(2, dim=-1)` gives the two halves. Number $i$ of each belongs to pair $i$.",
        "What comes out first for all pairs goes to the first half. `torch.cat` puts two halves side by side.",
    ),
    reference=lambda x, positions: lib.RotaryPositions(x.size(-1), interleaved=False)(x, positions),
    stages=(
        Stage("for a single pair", _one_pair, gradients=True),
        Stage("for several pairs", _more_pairs, gradients=True),
        Stage("for positions that do not start at 0", _elsewhere),
    ),
    ready_made=(lib.RotaryPositions,),
    mistakes=(
        Mistake(
            "backwards",
            _rotary(sign=-1.0),
            "You turn the other way around: clockwise. Queries and keys would still agree with each other, but not "
            "with published weights.",
            "Rotary: turn the query and the key",
        ),
        Mistake(
            "no-rotation",
            _rotary(minus=1.0),
            "This is no rotation: it changes lengths. One of the four products has another sign.",
            "Rotary: turn the query and the key",
        ),
        Mistake(
            "neighbors",
            _rotary(pairs="neighbors"),
            "Your pairs are neighbors. That is the chapter's `rotate`, the other habit.",
            "Two habits that do not mix",
        ),
        Mistake(
            "mixed",
            _rotary(pairs="mixed"),
            "You mix the two habits: the numbers are paired by halves, and the angles are laid out for neighbors. So "
            "the two numbers of a pair turn by different angles.",
            "Two habits that do not mix",
        ),
        Mistake(
            "hands-too-fast",
            _rotary(speed=1.0),
            "Your angles shrink too little from pair to pair. Compare your exponent with the clocks, for pair 1.",
            "Sinusoidal: a set of clocks",
        ),
        Mistake(
            "half-turned",
            _half_turned,
            "You turned the first half, and left the second as it was. A rotation moves both numbers of a pair.",
            "Rotary: turn the query and the key",
        ),
        Mistake(
            "positions-ignored",
            _rotary(places=False),
            "You counted the places yourself. The positions are given, and need not be 0, 1, 2.",
            "Rotary: turn the query and the key",
        ),
    ),
)


# ---- The book begins at page 100.

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


SHIFT = Predict(
    id="positions-shift",
    chapter="positions",
    title="The book begins at page 100",
    level="medium",
    minutes=10,
    task="Say for which of the five schemes the output changes when a sentence moves from place 0 to place 100.",
    hints=(
        "Ask of each scheme: does it use the position itself, or only differences?",
        "What enters the score where waves are added: the words and the places apart, or their sum?",
        "Waves have the *shift is a rotation* property. But they are added to the words before the projections, so "
        "the score also contains products of a word with a place.",
    ),
    reference=_changes,
    expects="one letter",
    options={
        "a": "learned only",
        "b": "sinusoidal, learned and rotary",
        "c": "sinusoidal and learned",
        "d": "all but rotary",
        "e": "all five",
        "f": "none",
    },
    mistakes=(
        Mistake(
            "waves-trusted",
            "a",
            "A shift is a rotation for the waves alone. What a layer compares is another thing: projections of a word "
            "and a wave together.",
            "A shift is a rotation",
        ),
        Mistake(
            "turns-counted",
            "b",
            "Moved on by 100 places, all arrows of queries and keys turn, true. But does the output see the arrows, or "
            "only what lies between them?",
            "Rotary: turn the query and the key",
        ),
        Mistake(
            "biases-counted",
            "d",
            "A bias is a function of two places. Which function? Write the numbers for the pair (2, 1) and for (102, "
            "101).",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "all",
            "e",
            "Every scheme gives another *position*. But not every scheme lets the layer see it: some tell it distances "
            "alone, and those have not changed.",
            "Relative bias: a number for each distance",
        ),
        Mistake(
            "none",
            "f",
            "The distances within the sentence have not changed, true. But some schemes give a token its place itself, "
            "as one more vector.",
            "Learned: a vector for each place",
        ),
    ),
)


# ---- Buckets that training fills.


class _Reader(nn.Module):
    """The chapter's model with a relative bias."""

    def __init__(self, n_buckets: int, max_distance: int):
        super().__init__()
        self.embedding = nn.Embedding(8, 32)
        self.bias = lib.RelativeBias(4, bidirectional=False, n_buckets=n_buckets, max_distance=max_distance)
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
        raise Complaint(f"these are no two whole numbers: {sizes!r}"[:80])
    n_buckets, max_distance = sizes
    if n_buckets > 1000:
        raise Complaint("more than a thousand buckets are too many to train here")
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


FILLED = Explore(
    id="positions-buckets",
    chapter="positions",
    title="Buckets that training fills",
    level="medium",
    minutes=15,
    task="Choose n_buckets and max_distance so that 16 tokens fill every bucket, with few buckets, and the task is "
    "still learned.",
    hints=(
        "With `bucket`, print the buckets of the distances 0 to 15. Which of the numbers 0 to `n_buckets - 1` are "
        "missing?",
        "The task needs one distance alone, and nothing from its neighbors. With how many buckets does that distance "
        "still have a bucket of its own?",
        "Wide buckets should not jump over numbers: if some near the end stay empty, `max_distance` is so small that "
        "they get no distance.",
    ),
    expects="two whole numbers, (n_buckets, max_distance)",
    measure=_trained_buckets,
    goals=(
        Goal(
            "16 tokens fill every bucket",
            lambda measured: measured["of them never seen"] == 0,
            "At least one bucket is never seen in training, and keeps the zero that it started with.",
            "Why knowing distances is not enough",
            lambda: (32, 128),
        ),
        Goal(
            "accuracy above 0.95 at places 8 to 15",
            lambda measured: measured["accuracy at places 8 to 15"] > 0.95,
            "The task is not learned any more, not even at the lengths of training. Which distances share a bucket "
            "with the one that counts?",
            "Relative bias: a number for each distance",
            lambda: (4, 4),
        ),
        Goal(
            "at most 6 buckets",
            lambda measured: measured["buckets"] <= 6,
            "It works, with more buckets than needed. Which of them does *three back* have no use for?",
            "Five schemes on trial",
            lambda: (16, 16),
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (WAVES, ADDER, BUCKETS, ALIBI, ROTARY, SHIFT, FILLED)
