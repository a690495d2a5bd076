"""What is not text in the exercises of the chapter "Decoding"; the rest stands in decoding.md."""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case
from transformer_lib.texts import text

Texts = list[tuple[tuple[int, ...], float]]


class _Bigram:
    """The chapter's model that looks at the last token only; the last token of its table ends a text."""

    def __init__(self, logs: Tensor):
        self.logs, self.pad_id, self.eos_id = logs, len(logs), len(logs) - 1

    def new_cache(self, source_ids: Tensor | None = None) -> lib.DecoderCache:
        """No past is needed, so an empty cache serves."""
        return lib.DecoderCache(1)

    def step(
        self, token_ids: Tensor, cache: lib.DecoderCache, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """The row of the last token, and one column more for the padding."""
        return F.pad(self.logs[token_ids[:, -1]], (0, 1), value=-math.inf)


def _distinct(draw: Draw, *shape: int) -> Tensor:
    """Logits without ties: no two nearer than 0.01."""
    n = math.prod(shape)
    numbers = draw.permutation(n).to(draw.dtype) * 0.31 + draw.uniform(n, high=0.3)
    return (numbers - 0.155 * n).reshape(shape)


# ---- Beam search.


def beam_texts(logs: Tensor, beams: int, max_new_tokens: int) -> Texts:
    """The ``beams`` best finished texts with their sums of log-probabilities, the best first."""
    model = _Bigram(logs)
    start = torch.zeros(1, 1, dtype=torch.long)
    (found,) = lib.beam_search(
        model, start, eos_id=model.eos_id, max_new_tokens=max_new_tokens, beams=beams, n_best=beams
    )
    return [(one.tokens, one.log_probability) for one in found]


def _table(draw: Draw, vocab: int, spread: float, end: float | None = None) -> Tensor:
    """Log-probabilities; the beginning, and a token after itself, are unlikely, or texts would tie by their cycles."""
    logits = spread * _distinct(draw, vocab, vocab)
    if end is not None:
        logits[:, -1] = logits.amax(-1) - end
    # Sums of rounded numbers would tie, too.
    logits += 1e-3 * torch.rand(vocab, vocab, generator=draw.generator, dtype=torch.float64)
    unlikely = torch.eye(vocab, dtype=torch.bool)
    unlikely[:, 0] = True
    return torch.where(unlikely, logits.min() - 4.0 + 0.1 * logits, logits).log_softmax(-1)


def _tables(draw: Draw) -> Iterator[Case]:
    yield case(_table(draw, 4, 0.5), 2, 2)
    for vocab, beams, steps in ((4, 2, 3), (5, 3, 3), (5, 2, 4), (6, 3, 4), (7, 4, 4), (7, 2, 4)):
        yield case(_table(draw, vocab, 0.2), beams, steps)
    # The second best ends at once; the third best, which takes its place, comes to a better end than the best.
    rows = [[0.01, 0.4, 0.24, 0.35], [0.3, 0.28, 0.22, 0.2], [0.01, 0.01, 0.01, 0.97], [0.1, 0.2, 0.3, 0.4]]
    yield case(torch.tensor(rows, dtype=torch.float64).log(), 2, 2)
    # The second best ends at once, and the best ends later, and better.
    rows[0], rows[1] = [0.02, 0.6, 0.1, 0.28], [0.01, 0.04, 0.05, 0.9]
    yield case(torch.tensor(rows, dtype=torch.float64).log(), 2, 3)
    # The best text is far ahead, and would end in the step after the last.
    rows[0], rows[1] = [0.02, 0.8, 0.1, 0.08], [0.01, 0.02, 0.03, 0.94]
    yield case(torch.tensor(rows, dtype=torch.float64).log(), 2, 1)
    # The end is likely, so beams end on the way.
    for beams in (2, 3):
        yield case(_table(draw, 6, 0.1, end=0.4), beams, 4)


def _few_and_many(draw: Draw) -> Iterator[Case]:
    yield case(_table(draw, 4, 0.3), 1, 3)
    yield case(_table(draw, 4, 0.2), 6, 1)  # fewer continuations than beams
    yield case(_table(draw, 4, 0.2), 6, 3)


# ---- A reward.


def _rewarded(reward: Any, draw: Draw) -> Mapping[str, Any]:
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise Complaint(text("a number is expected; got {given}", given=type(reward).__name__))
    model = _Bigram(torch.tensor([[0.0, 0.7, 0.1, 0.0, 0.2]] * 5, dtype=torch.float64).log())
    start = torch.zeros(1, 1, dtype=torch.long)
    (four,) = lib.beam_search(model, start, eos_id=4, max_new_tokens=12, beams=4, n_best=4)

    def first(r: float) -> int:
        return len(max(four, key=lambda one: one.log_probability + r * len(one.tokens)).tokens)

    return {"tokens of the first": first(reward), "and at 0.01 less": first(reward - 0.01)}


# ---- Top-p.


def _one_distribution(draw: Draw) -> Iterator[Case]:
    yield case(_distinct(draw, 5), 0.8)
    yield case(_distinct(draw, 12), 0.9)
    yield case(0.4 * _distinct(draw, 9), 0.6)


def _distributions(draw: Draw) -> Iterator[Case]:
    yield case(_distinct(draw, 2, 4), 0.7)
    yield case(0.1 * _distinct(draw, 3, 2, 7), 0.75)


def _extreme_p(draw: Draw) -> Iterator[Case]:
    yield case(_distinct(draw, 5), 1e-6)
    yield case(0.3 * _distinct(draw, 3, 4), 1.0)
    yield case(_distinct(draw, 2, 1), 0.5)


def _large_logits(draw: Draw) -> Iterator[Case]:
    yield case(1000.0 + _distinct(draw, 5), 0.8)
    yield case(0.3 * _distinct(draw, 2, 6) - 1000.0, 0.6)


def _one_ahead(draw: Draw) -> Tensor:
    """Logits of which one takes all of the probability that rounding leaves."""
    logits = _distinct(draw, 5)
    logits[draw.integers(1, high=5)] += 60.0
    return logits


def _p_of_one_ahead(draw: Draw) -> Iterator[Case]:
    yield case(_one_ahead(draw), 0.9)
    yield case(_one_ahead(draw), 1.0)


# ---- Greedy in other words.


def _not_greedy() -> str:
    table = [
        [0.0, 0.6, 0.4, 0.0, 0.0],
        [0.0, 0.1, 0.3, 0.4, 0.2],
        [0.0, 0.0, 0.0, 0.9, 0.1],
        [0.0, 0.1, 0.0, 0.0, 0.9],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
    model, start = _Bigram(torch.tensor(table).log()), torch.zeros(1, 1, dtype=torch.long)

    def drawn(**knobs: Any) -> list[int]:
        generator = torch.Generator().manual_seed(0)
        written = lib.sample(model, start, eos_id=4, max_new_tokens=3, generator=generator, **knobs)
        row: list[int] = written[0].tolist()
        return row

    def found(beams: int) -> list[int]:
        return list(lib.beam_search(model, start, eos_id=4, max_new_tokens=3, beams=beams)[0][0].tokens)

    wanted = lib.greedy(model, start, eos_id=4, max_new_tokens=3)[0].tolist()
    ways = {
        "a": drawn(top_k=1),
        "b": drawn(temperature=1e-4),
        "c": drawn(top_p=1e-6),
        "d": found(1),
        "e": found(4),
    }
    (odd,) = [letter for letter, written in ways.items() if written != wanted]
    return odd


# ---- Min-p.


def _min_p(logits: Tensor, m: float) -> Tensor:
    """The filter as its task says it, by probabilities."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < m * probabilities.amax(-1, keepdim=True), -math.inf)


def _some(draw: Draw) -> Iterator[Case]:
    yield case(1.5 * _distinct(draw, 5), 0.3)
    yield case(_distinct(draw, 11), 0.1)


def _several(draw: Draw) -> Iterator[Case]:
    yield case(_distinct(draw, 2, 4), 0.3)
    yield case(0.2 * _distinct(draw, 3, 2, 5), 0.4)


# ---- The cache.


def use_cache(
    answer: Any,
    keys: Tensor,
    values: Tensor,
    sizes: Sequence[int],
    parents: Tensor | None = None,
    two_caches: bool = False,
) -> Any:
    """Append the positions in parts of the given sizes, the last part after ``parents`` was passed to ``reorder``."""
    if isinstance(answer, type):
        # Lists that belong to the class, not to an object, shall not remember the call before this one.
        own = {name: copy(part) for name, part in vars(answer).items() if isinstance(part, list | dict)}
        answer = type(answer.__name__, (answer,), own)
    cache, other = answer(), answer()
    found: list[list[Any]] = [] if two_caches else [[cache.length]]
    start = 0
    for number, size in enumerate(sizes):
        part = slice(start, start + size)
        new = keys[:, :, part], values[:, :, part]
        if parents is not None and number == len(sizes) - 1:
            cache.reorder(parents)
            new = new[0][parents], new[1][parents]
        both = cache.append(*new)
        if not isinstance(both, tuple | list) or len(both) != 2 or not all(isinstance(x, Tensor) for x in both):
            raise Complaint(text("append should return two tensors: all keys and all values"))
        found.append([x.clone() for x in both])
        if two_caches:
            other.append(values[:, :, part] + 1, keys[:, :, part] - 1)  # another layer's
        else:
            found[-1].append(cache.length)
        start += size
    return found


def _token_by_token(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3, 1), draw.normal(1, 2, 3, 1), [1, 1, 1])
    yield case(draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 4), [1] * 5)


def _in_parts(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7, 4), [4, 1, 2])


def _reordered(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 3, 1), draw.normal(2, 3, 3, 1), [2, 1], torch.tensor([1, 0]))
    yield case(draw.normal(3, 4, 6, 5), draw.normal(3, 4, 6, 5), [3, 2, 1], torch.tensor([2, 0, 0]))


def _other_numbers(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3, 1), draw.normal(1, 2, 3, 1), [2, 1], torch.tensor([0, 0]))
    yield case(draw.normal(3, 2, 4, 2), draw.normal(3, 2, 4, 2), [1, 2, 1], torch.tensor([2]))


def _side_by_side(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3, 1), draw.normal(1, 2, 3, 1), [1, 2], two_caches=True)
    yield case(draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 4), [2, 1, 2], two_caches=True)


# ---- The forgotten reorder.


def _next_beams(totals: Tensor, logs: Tensor, texts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of a beam search, pair by pair of a beam and a token."""
    pairs = [(beam, token) for beam in range(len(totals)) for token in range(logs.size(1))]
    best = sorted(pairs, key=lambda pair: float(totals[pair[0]] + logs[pair]), reverse=True)[: len(totals)]
    sums = torch.stack([totals[beam] + logs[beam, token] for beam, token in best])
    longer = torch.tensor([[*texts[beam].tolist(), token] for beam, token in best])
    return sums, longer, torch.stack([keys[beam] for beam, _ in best])


def _beam_steps(draw: Draw) -> Iterator[Case]:
    for n_beams, vocab, length, n_heads, width, ahead in ((2, 3, 2, 3, 1, 1), (3, 5, 4, 6, 2, 2), (4, 7, 3, 5, 2, 0)):
        totals = -draw.uniform(n_beams, low=1.0, high=1.5)
        totals[ahead] = -0.2  # most of the next beams come from this one
        logs = (0.2 * _distinct(draw, n_beams, vocab)).log_softmax(-1)
        texts = draw.integers(n_beams, length, high=vocab)
        texts[:, 0] = draw.permutation(n_beams)
        yield case(totals, logs, texts, draw.normal(n_beams, n_heads, length, width))


EXERCISES = read(
    "decoding",
    {
        "decoding-beam-search": {
            "reference": beam_texts,
            "stages": (
                Stage("for a table of log-probabilities", _tables),
                Stage("for one beam, and for more beams than tokens", _few_and_many),
            ),
            "ready_made": (lib.beam_search, lib.greedy),
            "dtypes": (torch.float64,),
        },
        "decoding-reward": {
            "measure": _rewarded,
            "goals": (
                Goal(
                    "with this reward the longest of the four comes first",
                    "tokens of the first == 4",
                    "The longest text does not come first. One more token costs more than your reward gives.",
                    "decoding-short",
                    lambda: 0.0,
                ),
                Goal(
                    "with 0.01 less it does not",
                    "and at 0.01 less < 4",
                    "The longest text comes first, but it would do so for less.",
                    "decoding-short",
                    lambda: 1.5,
                ),
            ),
        },
        "decoding-top-p": {
            "reference": lib.top_p_filter,
            "stages": (
                Stage("for one distribution", _one_distribution),
                Stage("for several distributions at once", _distributions),
                Stage("for very small p, and for p = 1", _extreme_p),
                Stage("with very large logits", _large_logits),
                Stage("where one token has nearly all of the probability", _p_of_one_ahead),
            ),
            "ready_made": (lib.top_p_filter, lib.top_k_filter, lib.sample),
        },
        "decoding-greedy": {"reference": _not_greedy},
        "decoding-min-p": {
            "reference": _min_p,
            "stages": (
                Stage("for one distribution", _some),
                Stage("for several distributions at once", _several),
                Stage("with very large logits", _large_logits),
                Stage("for m = 1", lambda draw: [case(_distinct(draw, 5), 1.0)]),
                Stage("for m = 0", lambda draw: [case(_distinct(draw, 6), 0.0), case(_one_ahead(draw), 0.0)]),
            ),
            "ready_made": (lib.top_p_filter, lib.top_k_filter, lib.sample),
        },
        "decoding-cache": {
            "reference": lib.KVCache,
            "probe": use_cache,
            "stages": (
                Stage("token by token", _token_by_token),
                Stage("with several tokens at once", _in_parts),
                Stage("after the sequences are reordered", _reordered),
                Stage("for more or fewer sequences than before", _other_numbers),
                Stage("beside a second cache", _side_by_side),
            ),
            "ready_made": (lib.KVCache, lib.DecoderCache),
        },
        "decoding-reorder": {"reference": _next_beams, "stages": (Stage("for one step", _beam_steps),)},
    },
)
