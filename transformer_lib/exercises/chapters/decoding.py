"""Exercises of the chapter "Decoding"."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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


def _search(
    twins: bool = False,
    rank: str = "sum",
    grow: str = "all",
    refill: bool = True,
    ends: str = "best",
    stop: bool = False,
    finish: bool = True,
    ordered: bool = True,
    first: int = 1,
    most: int | None = None,
) -> Callable[[Tensor, int, int], Texts]:
    """Beam search with one choice wrong."""

    def wrong(logs: Tensor, beams: int, max_new_tokens: int) -> Texts:
        end = len(logs) - 1
        running: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,))] * (beams if twins else 1)
        finished: list[tuple[float, tuple[int, ...]]] = []
        for step in range(1, max_new_tokens + 1):
            last, grown = step == max_new_tokens, []
            for total, text in running:
                row = logs[text[-1]].tolist()
                tokens = [row.index(max(row))] if grow == "one" and step > 1 else range(len(row))
                grown += [((total if rank == "sum" else 0.0) + row[t], (*text, t)) for t in tokens]
            grown.sort(key=lambda pair: -pair[0])
            best = grown[:beams]
            ending = [one for one in (best if ends != "anywhere" else grown) if one[1][-1] == end]
            if ends not in ("ignored", "lost"):
                finished += ending
            if last and finish:
                finished += [one for one in best if one[1][-1] != end or ends == "ignored"]
            elif last and ends == "lost":
                finished += ending
            running = [one for one in (grown if refill else best) if one[1][-1] != end or ends == "ignored"][:beams]
            if stop and finished:
                break
        if ordered:
            finished.sort(key=lambda pair: -pair[0])
        return [(text[first:], total) for total, text in finished[: most or beams]]

    return wrong


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
    # The end is likely, so beams end on the way.
    for beams in (2, 3):
        yield case(_table(draw, 6, 0.1, end=0.4), beams, 4)


BEAMS = Implement(
    id="decoding-beam-search",
    chapter="decoding",
    title="Beam search, with all its beams",
    level="hard",
    minutes=30,
    task="Write beam_texts(logs, beams, max_new_tokens): the best finished texts of a language that looks at the last "
    "token only.",
    hints=(
        "Keep two lists, as this chapter does: texts that run, and texts that are finished. An entry is a sum and its "
        "tokens.",
        "A step has three parts: continue every running text by every token, sort, and split. Which of the sorted "
        "continuations may finish, and which may run on?",
        "In the last step nothing runs on any more: what would have run on is finished as it is. And the order in "
        "which texts are finished is not their order by sum.",
    ),
    reference=beam_texts,
    stages=(Stage("for a table of log-probabilities", _tables),),
    ready_made=(lib.beam_search, lib.greedy),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "twins",
            _search(twins=True),
            "You begin with as many copies of the same text as there are beams. They stay twins: the same "
            "continuations win several times over.",
            "Beam search",
        ),
        Mistake(
            "last-token-only",
            _search(rank="last"),
            "You forget what a text has cost so far: only its last token's log-probability counts.",
            "Beam search",
        ),
        Mistake(
            "one-child-each",
            _search(grow="one"),
            "After the first step you continue each beam by its own best token. Then the beams never compete, and one "
            "beam can never have two successors.",
            "Beam search",
        ),
        Mistake(
            "beams-die",
            _search(refill=False),
            "A beam that ends leaves its place empty: fewer and fewer texts run on. There are other continuations "
            "that could take its place.",
            "Beam search",
        ),
        Mistake(
            "ends-anywhere",
            _search(ends="anywhere"),
            "You finish every continuation that ends, however bad it is. Only those among the best may do so.",
            "Beam search",
        ),
        Mistake(
            "ends-lost",
            _search(ends="lost"),
            "Texts that end before the last step are thrown away. They are finished, not dropped.",
            "Beam search",
        ),
        Mistake(
            "ends-ignored",
            _search(ends="ignored"),
            "Your texts go on after their end. What does the last token of the vocabulary mean?",
            "Beam search",
        ),
        Mistake(
            "stops-early",
            _search(stop=True),
            "You stop as soon as anything is finished. A text that still runs may yet beat it.",
            "Beam search",
        ),
        Mistake(
            "unfinished-lost",
            _search(finish=False),
            "After the last step you drop the texts that have no end. They count, as they are.",
            "Beam search",
        ),
        Mistake(
            "unsorted",
            _search(ordered=False),
            "Your texts stand in the order in which they were finished. So the first need not be the best.",
            "Beam search",
        ),
        Mistake(
            "start-included",
            _search(first=0),
            "Your texts hold the beginning too. The task asks for what was written after it.",
            "Beam search",
        ),
        Mistake(
            "only-one",
            _search(most=1),
            "You return the best text only. The task asks for as many as there are beams.",
            "Beam search",
        ),
    ),
)


# ---- A reward.


def _rewarded(reward: Any, draw: Draw) -> Mapping[str, Any]:
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise Complaint(f"a number is expected; got {type(reward).__name__}")
    model = _Bigram(torch.tensor([[0.0, 0.7, 0.1, 0.0, 0.2]] * 5, dtype=torch.float64).log())
    start = torch.zeros(1, 1, dtype=torch.long)
    (four,) = lib.beam_search(model, start, eos_id=4, max_new_tokens=12, beams=4, n_best=4)

    def first(r: float) -> int:
        return len(max(four, key=lambda one: one.log_probability + r * len(one.tokens)).tokens)

    return {"tokens of the first": first(reward), "and at 0.01 less": first(reward - 0.01)}


REWARD = Explore(
    id="decoding-reward",
    chapter="decoding",
    title="A reward for each token",
    level="easy",
    minutes=10,
    task="Find the smallest reward, to two decimals, at which the longest of four texts comes first.",
    hints=(
        "`max` takes a `key`: the sum of a hypothesis, and a reward for each of its `tokens`.",
        "At 0.0 the shortest comes first, at 1.5 the longest. Halve the interval again and again.",
        "Compare the sums of two texts, one of them a token longer. What must the reward make up for?",
    ),
    expects="a reward, a number",
    measure=_rewarded,
    goals=(
        Goal(
            "with this reward the longest of the four comes first",
            lambda measured: measured["tokens of the first"] == 4,
            "The longest text does not come first. One more token costs more than your reward gives.",
            "Short texts win",
            lambda: 0.0,
        ),
        Goal(
            "with 0.01 less it does not",
            lambda measured: measured["and at 0.01 less"] < 4,
            "The longest text comes first, but it would do so for less.",
            "Short texts win",
            lambda: 1.5,
        ),
    ),
)


# ---- Top-p.


def _top_p(
    border: str = "before", by: str = "probability", back: str = "scatter", blind: float = -math.inf, axis: int = -1
) -> Callable[[Tensor, float], Tensor]:
    """The filter with one choice wrong."""

    def wrong(logits: Tensor, p: float) -> Tensor:
        ordered, order = logits.sort(dim=axis, descending=border != "ascending")
        probabilities = ordered.softmax(axis)
        weights = probabilities if by == "probability" else ordered
        sums = weights.cumsum(axis)
        removed = {"alone": probabilities < p, "after": sums > p}.get(border, sums - weights >= p)
        kept = (probabilities if back == "probabilities" else ordered).masked_fill(removed, blind)
        if back == "sorted":
            return kept
        if back == "mask only":
            return logits.masked_fill(removed, blind)
        return torch.empty_like(logits).scatter(axis, order, kept)

    return wrong


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


TOP_P = Implement(
    id="decoding-top-p",
    chapter="decoding",
    title="Top-p, without a loop",
    level="medium",
    minutes=15,
    task="Write top_p(logits, p) for logits of any shape (..., vocab).",
    hints=(
        "Sort the logits, and take the softmax of what is sorted. `cumsum(-1)` then gives the sums.",
        "A token stays if the *likelier* ones do not yet sum to p. How do you get, from the sum up to a token, the sum "
        "before it?",
        "`sort` also returns from which place each number came. `scatter(-1, order, …)` puts numbers back there.",
    ),
    reference=lib.top_p_filter,
    stages=(
        Stage("for one distribution", _one_distribution),
        Stage("for several distributions at once", _distributions),
        Stage("for very small p, and for p = 1", _extreme_p),
    ),
    ready_made=(lib.top_p_filter, lib.top_k_filter, lib.sample),
    mistakes=(
        Mistake(
            "one-too-few",
            _top_p(border="after"),
            "You remove the token with which the sum passes p. What is left then sums to less than p, and for a small "
            "p nothing is left at all.",
            "Chance",
        ),
        Mistake(
            "unlikeliest-first",
            _top_p(border="ascending"),
            "Your sort begins with the unlikeliest token, so you leave the tail and cut off the head.",
            "Chance",
        ),
        Mistake(
            "each-alone",
            _top_p(border="alone"),
            "You compare each probability with p. It is their sum that should reach p.",
            "Chance",
        ),
        Mistake(
            "still-sorted",
            _top_p(back="sorted"),
            "Your logits come out in sorted order: the numbers no longer belong to their tokens.",
            "Chance",
        ),
        Mistake(
            "mask-not-put-back",
            _top_p(back="mask only"),
            "You use the mask of the sorted logits on the unsorted ones. So it hits the wrong tokens.",
            "Chance",
        ),
        Mistake(
            "probabilities-returned",
            _top_p(back="probabilities", blind=0.0),
            "You return probabilities. The task asks for logits, which can be filtered or divided further.",
            "Chance",
        ),
        Mistake(
            "zero-is-not-nothing",
            _top_p(blind=0.0),
            "You set the removed logits to zero. A logit of zero is a chance like any other: its exponential is 1.",
            "Chance",
        ),
        Mistake(
            "no-softmax",
            _top_p(by="logit"),
            "You add up logits. Only probabilities sum to something that can be compared with p.",
            "Chance",
        ),
        Mistake(
            "wrong-axis",
            _top_p(axis=0),
            "It is right for one distribution. For several, your sums run along the first axis, over different "
            "distributions.",
            "Chance",
        ),
    ),
)


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


GREEDY = Predict(
    id="decoding-greedy",
    chapter="decoding",
    title="Four ways to be greedy",
    level="easy",
    minutes=5,
    task="Say which of the five calls may write other tokens than greedy does.",
    hints=(
        "A filter that leaves one token leaves chance nothing to do.",
        "What do logits become, divided by a number near zero? What does their softmax look like?",
        "Which of these calls can prefer a token that is not the likeliest at its step, because of what comes later?",
    ),
    reference=_not_greedy,
    expects="a letter",
    options={
        "a": "sample with top_k=1",
        "b": "sample with temperature=1e-4",
        "c": "sample with top_p=1e-6",
        "d": "beam_search with beams=1",
        "e": "beam_search with beams=4",
    },
    mistakes=(
        Mistake(
            "top-k",
            "a",
            "One token is left, and after the softmax it has the probability 1. A draw from a single token is no draw.",
            "Chance",
        ),
        Mistake(
            "temperature",
            "b",
            "A difference of 0.01 between two logits becomes a difference of 100, and the softmax turns that into a "
            "factor of more than $10^{43}$. Nobody will ever see the second token drawn.",
            "Chance",
        ),
        Mistake(
            "top-p",
            "c",
            "The likeliest token is taken first, before any sum can reach p. It already reaches so small a p, so how "
            "many are left?",
            "Chance",
        ),
        Mistake(
            "one-beam",
            "d",
            "One beam is continued by every token, and the best continuation is kept. Which token is that?",
            "Beam search",
        ),
    ),
)


# ---- Min-p.


def min_p_filter(logits: Tensor, m: float) -> Tensor:
    """Leave the tokens that are at least ``m`` times as likely as the likeliest; minus infinity for the others."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < m * probabilities.amax(-1, keepdim=True), -math.inf)


def _min_p(
    border: str = "ratio", strict: bool = False, whole: bool = False, blind: float = -math.inf, back: str = "logits"
) -> Callable[[Tensor, float], Tensor]:
    """The filter with one choice wrong."""

    def wrong(logits: Tensor, m: float) -> Tensor:
        probabilities = logits.softmax(-1)
        measured = probabilities if border in ("ratio", "absolute") else logits
        top = measured.max() if whole else measured.amax(-1, keepdim=True)
        least = {
            "ratio": lambda: m * top,
            "absolute": lambda: torch.full_like(top, m),
            "of logit": lambda: m * top,
            "difference": lambda: top - m,
            "log": lambda: top + math.log(m),
        }[border]()
        removed = measured <= least if strict else measured < least
        if back == "unlikely":
            removed = ~removed
        return (probabilities if back == "probabilities" else logits).masked_fill(removed, blind)

    return wrong


def _some(draw: Draw) -> Iterator[Case]:
    yield case(0.5 * _distinct(draw, 5), 0.3)
    yield case(0.4 * _distinct(draw, 11), 0.1)


def _several(draw: Draw) -> Iterator[Case]:
    yield case(_distinct(draw, 2, 4), 0.3)
    yield case(0.2 * _distinct(draw, 3, 2, 5), 0.4)


MIN_P = Implement(
    id="decoding-min-p",
    chapter="decoding",
    title="Min-p",
    level="easy",
    minutes=10,
    task="Write min_p_filter(logits, m): every token stays that is at least m times as likely as the likeliest.",
    hints=(
        "No sorting is needed: one number for each distribution says what stays.",
        "`amax(-1, keepdim=True)` is the likeliest token's number, in a shape that fits by broadcasting.",
        "Compare probabilities, or better their logarithms: a ratio becomes a difference. Then mind `m = 0`.",
    ),
    reference=min_p_filter,
    stages=(
        Stage("for one distribution", _some),
        Stage("for several distributions at once", _several),
        Stage("for m = 1", lambda draw: [case(_distinct(draw, 5), 1.0)]),
        Stage("for m = 0", lambda draw: [case(_distinct(draw, 6), 0.0)]),
    ),
    ready_made=(lib.top_p_filter, lib.top_k_filter, lib.sample),
    mistakes=(
        Mistake(
            "absolute",
            _min_p(border="absolute"),
            "You compare the probabilities with m itself. Where the model is unsure, hardly a token is left, though "
            "many are nearly as good as the likeliest.",
            "Chance",
        ),
        Mistake(
            "ratio-of-logits",
            _min_p(border="of logit"),
            "You take m times the largest *logit*. Logits are logarithms, and may be negative: their ratio says "
            "nothing about the ratio of the probabilities.",
            "Chance",
        ),
        Mistake(
            "difference-of-logits",
            _min_p(border="difference"),
            "You allow a logit to be m below the largest. A difference of logits stands for a ratio, but for another "
            "one than m.",
            "Chance",
        ),
        Mistake(
            "likeliest-removed",
            _min_p(strict=True),
            "Your border itself does not stay. With m = 1 even the likeliest token is removed, and nothing can be "
            "drawn.",
            "Chance",
        ),
        Mistake(
            "one-maximum-for-all",
            _min_p(whole=True),
            "You compare every distribution with the likeliest token of the whole batch. Rows of a batch should not "
            "depend on each other.",
            "Chance",
        ),
        Mistake(
            "zero-is-not-nothing",
            _min_p(blind=0.0),
            "You set the removed logits to zero. A logit of zero is a chance like any other: its exponential is 1.",
            "Chance",
        ),
        Mistake(
            "probabilities-returned",
            _min_p(back="probabilities", blind=0.0),
            "You return probabilities. The task asks for logits.",
            "Chance",
        ),
        Mistake(
            "inverted",
            _min_p(back="unlikely"),
            "You leave what should go, and remove what should stay.",
            "Chance",
        ),
        Mistake(
            "logarithm-of-zero",
            _min_p(border="log"),
            "It is right as long as m is positive. With m = 0 everything should stay, but your code takes the "
            "logarithm of zero.",
            "Chance",
        ),
    ),
)


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
    found: list[list[Any]] = []
    start = 0
    for number, size in enumerate(sizes):
        part = slice(start, start + size)
        new = keys[:, :, part], values[:, :, part]
        if parents is not None and number == len(sizes) - 1:
            cache.reorder(parents)
            new = new[0][parents], new[1][parents]
        both = cache.append(*new)
        if not isinstance(both, tuple | list) or len(both) != 2 or not all(isinstance(x, Tensor) for x in both):
            raise Complaint("append should return two tensors: all keys and all values")
        found.append([x.clone() for x in both])
        if two_caches:
            other.append(values[:, :, part] + 1, keys[:, :, part] - 1)  # another layer's
        else:
            found[-1].append(cache.length)
        start += size
    return found


class _Cache:
    """A cache with one choice wrong."""

    def __init__(
        self, axis: int = 2, new_first: bool = False, only: str = "", counted: str = "positions", moved: str = "both"
    ):
        self.axis, self.new_first, self.only, self.counted, self.moved = axis, new_first, only, counted, moved
        self.keys: Any = None
        self.values: Any = None
        self.length = 0

    def _joined(self, old: Tensor | None, new: Tensor) -> Tensor:
        if old is None:
            return new
        return torch.cat([new, old] if self.new_first else [old, new], dim=self.axis)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new positions, and return what there is."""
        self.keys = keys if self.only in ("new", "new keys") else self._joined(self.keys, keys)
        self.values = values if self.only in ("new", "new values") else self._joined(self.values, values)
        self.length += {"positions": keys.size(2), "calls": 1, "sequences": keys.size(0), "none": 0}[self.counted]
        return (self.values, self.keys) if self.only == "swapped" else (self.keys, self.values)

    def reorder(self, parents: Tensor) -> None:
        """Keep the sequences that are named."""
        axis = 1 if self.moved == "heads" else 0
        if self.moved != "nothing":
            self.keys = self.keys.index_select(axis, parents)
        if self.moved not in ("nothing", "keys"):
            self.values = self.values.index_select(axis, parents)


def _cache(**choice: Any) -> Callable[[], _Cache]:
    return lambda: _Cache(**choice)


class _Shared:
    """Keeps everything in lists of the class."""

    keys: list[Tensor] = []
    values: list[Tensor] = []
    length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new positions, and return what there is."""
        self.keys.append(keys)
        self.values.append(values)
        self.length += keys.size(2)
        return torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)

    def reorder(self, parents: Tensor) -> None:
        """Keep the sequences that are named."""
        self.keys[:] = [part[parents] for part in self.keys]
        self.values[:] = [part[parents] for part in self.values]


def _token_by_token(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3, 1), draw.normal(1, 2, 3, 1), [1, 1, 1])
    yield case(draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 4), [1] * 5)


def _in_parts(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 7, 4), draw.normal(2, 3, 7, 4), [4, 1, 2])


def _reordered(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 3, 1), draw.normal(2, 3, 3, 1), [2, 1], torch.tensor([1, 0]))
    yield case(draw.normal(3, 4, 6, 5), draw.normal(3, 4, 6, 5), [3, 2, 1], torch.tensor([2, 0, 0]))


def _side_by_side(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3, 1), draw.normal(1, 2, 3, 1), [1, 2], two_caches=True)
    yield case(draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 4), [2, 1, 2], two_caches=True)


CACHE = Implement(
    id="decoding-cache",
    chapter="decoding",
    title="A cache of keys and values",
    level="medium",
    minutes=15,
    task="Write a class Cache with append(keys, values), reorder(parents) and length.",
    hints=(
        "An object begins empty. At the first `append` there is nothing to join the new positions to.",
        "The axes are `(batch, heads, positions, d_head)`. Which of them grows from token to token, and which one does "
        "a choice of sequences run along?",
        "`torch.cat` joins along an axis; a tensor indexed by a tensor of numbers takes those rows.",
    ),
    reference=lib.KVCache,
    probe=use_cache,
    stages=(
        Stage("token by token", _token_by_token),
        Stage("with several tokens at once", _in_parts),
        Stage("after the sequences are reordered", _reordered),
        Stage("beside a second cache", _side_by_side),
    ),
    ready_made=(lib.KVCache, lib.DecoderCache),
    mistakes=(
        Mistake(
            "new-only",
            _cache(only="new"),
            "Your cache forgets: it returns the positions that were given last, and none before them.",
            "The cache",
        ),
        Mistake(
            "old-values-lost",
            _cache(only="new values"),
            "The keys grow, but the values are the new ones only. Then some weights have no value to go with.",
            "The cache",
        ),
        Mistake(
            "along-heads",
            _cache(axis=1),
            "You join along the axis of the heads. So there are more and more heads, each with one position.",
            "The cache",
        ),
        Mistake(
            "along-batch",
            _cache(axis=0),
            "You join along the axis of the batch. So each new token becomes a sequence of its own.",
            "The cache",
        ),
        Mistake(
            "newest-first",
            _cache(new_first=True),
            "You put new positions before the old ones. Attention alone would not notice, but positions and masks "
            "count from the beginning.",
            "The cache",
        ),
        Mistake(
            "exchanged",
            _cache(only="swapped"),
            "You return the values first, and then the keys.",
            "The cache",
        ),
        Mistake(
            "shared",
            _Shared,
            "All your caches share what they hold: the lists belong to the class, not to the object. Each layer needs "
            "a cache of its own.",
            "The cache",
        ),
        Mistake(
            "length-not-kept",
            _cache(counted="none"),
            "Keys and values are right, but your `length` stays at zero.",
            "The cache",
        ),
        Mistake(
            "calls-counted",
            _cache(counted="calls"),
            "Your `length` counts the calls of `append`. A call may bring several positions, as a prompt does.",
            "The cache",
        ),
        Mistake(
            "sequences-counted",
            _cache(counted="sequences"),
            "Your `length` counts sequences. It should count positions.",
            "The cache",
        ),
        Mistake(
            "nothing-moved",
            _cache(moved="nothing"),
            "Your `reorder` does nothing: a sequence goes on with another one's past.",
            "The cache",
        ),
        Mistake(
            "keys-moved-only",
            _cache(moved="keys"),
            "Your `reorder` moves the keys and leaves the values. Then a token is found in one sequence, and read in "
            "another.",
            "The cache",
        ),
        Mistake(
            "heads-moved",
            _cache(moved="heads"),
            "Your `reorder` takes heads, not sequences.",
            "The cache",
        ),
    ),
)


# ---- The forgotten reorder.


def _grown(
    rows: str = "beams", moved: str = "both", sums: str = "new", axis: int = 0
) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    def code(totals: Tensor, logs: Tensor, texts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n_beams, vocab = logs.shape
        best = (totals[:, None] + logs).flatten().topk(n_beams)
        if rows == "beams":
            parents, tokens = best.indices // vocab, best.indices % vocab
        else:
            parents, tokens = best.indices % n_beams, best.indices // n_beams
        old = texts[parents] if moved in ("both", "texts") else texts
        texts = torch.cat([old, tokens[:, None]], dim=1)
        if moved in ("both", "keys"):
            keys = keys.index_select(axis, parents)
        return best.values if sums == "new" else totals[parents], texts, keys

    return code


def _beam_steps(draw: Draw) -> Iterator[Case]:
    for n_beams, vocab, length, n_heads, width, ahead in ((2, 3, 2, 3, 1, 1), (3, 5, 4, 6, 2, 2), (4, 7, 3, 5, 2, 0)):
        totals = -draw.uniform(n_beams, low=1.0, high=1.5)
        totals[ahead] = -0.2  # most of the next beams come from this one
        logs = (0.2 * _distinct(draw, n_beams, vocab)).log_softmax(-1)
        texts = draw.integers(n_beams, length, high=vocab)
        texts[:, 0] = draw.permutation(n_beams)
        yield case(totals, logs, texts, draw.normal(n_beams, n_heads, length, width))


REORDER = Debug(
    id="decoding-reorder",
    chapter="decoding",
    title="The forgotten reorder",
    level="medium",
    minutes=15,
    task="Find the two faults of next_beams, one step of a beam search, and mend them.",
    hints=(
        "Take two beams and three tokens. `flatten` writes one row after another. Which beam and which token does the "
        "number 4 stand for?",
        "Then follow a beam that dies, and one that has two successors. What must move to the new beams, so that each "
        "goes on with its own past?",
        "Four things come in. Which of them has a row for each beam, and leaves as it came?",
    ),
    reference=_grown(),
    given=_grown(rows="tokens", moved="texts"),
    stages=(Stage("for one step", _beam_steps),),
    mistakes=(
        Mistake(
            "keys-left",
            _grown(moved="texts"),
            "One fault is mended: parents and tokens are right now. But a new beam whose parent was another beam goes "
            "on with the wrong past.",
            "The cache",
        ),
        Mistake(
            "order-left",
            _grown(rows="tokens"),
            "One fault is mended: the keys now move with the beams. But they follow the wrong parents. How does "
            "`flatten` count?",
            "Beam search",
        ),
        Mistake(
            "texts-left",
            _grown(moved="keys"),
            "The keys now move, but the texts no longer do: a new token is written behind another beam's words.",
            "Beam search",
        ),
        Mistake(
            "heads-moved",
            _grown(axis=1),
            "You chose among the heads of the keys. A beam is a row of the first axis.",
            "The cache",
        ),
        Mistake(
            "old-sums",
            _grown(sums="old"),
            "Your sums belong to the right parents, but the new tokens' log-probabilities are missing in them.",
            "Beam search",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (BEAMS, REWARD, TOP_P, GREEDY, MIN_P, CACHE, REORDER)
