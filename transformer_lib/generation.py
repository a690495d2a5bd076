"""Writing text with a trained model: greedily, by sampling, token by token as a stream, and by beam search.

All of them give the model only the tokens that are new, and keep what it has computed in its cache. Rows of a batch are
independent: each gets what it would get alone. A text ends with the end-of-sentence token, with one of the stop
sequences, or at ``max_new_tokens``; what ends it is part of it.

Sources: Fan et al. (2018), *Hierarchical Neural Story Generation* (top-k); Holtzman et al. (2020), *The Curious Case of
Neural Text Degeneration* (top-p); Wu et al. (2016), *Google's Neural Machine Translation System*, section 7, equation
14 (length penalty); Huang et al. (2017), *When to Finish?* (when a beam search may stop).
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.checks import check_real, check_whole
from transformer_lib.precision import widened

LengthPenalty = Literal["none", "power", "gnmt"]

# Choose a token for each row: logits ``(rows, vocab)``, minus infinity for what is never written, to ``(rows,)``.
Pick = Callable[[Tensor], Tensor]

NOTHING_ALLOWED = "each token is forbidden, or the model gives it the probability 0"


@runtime_checkable
class Cache(Protocol):
    """What a model keeps of the tokens that it has read, such as a :class:`~transformer_lib.decoder.DecoderCache`.

    What is in it, and how it grows, is the affair of the model's :meth:`LanguageModel.step`.
    """

    @property
    def length(self) -> int:
        """Positions read so far."""
        ...

    @property
    def room(self) -> int | None:
        """Positions that can still be read; ``None`` where there is no limit."""
        ...

    def reorder(self, index: Tensor, memories: Tensor | None = None) -> None:
        """Keep the rows that ``index`` names, in its order; before any are read, say how many there will be.

        ``index`` is ``(sentences,)``, or ``(sentences, beams)`` where each sentence has several rows, one behind the
        other. What belongs to a sentence, such as its memory, stays, unless ``memories`` ``(sentences,)`` says which
        ones do.
        """
        ...

    def crop(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """What can be asked for the next token: a :class:`~transformer_lib.transformer.Transformer`, or a decoder alone.

    Its ``pad_id`` is the padding, which is never written; ``None`` where it has none. It may be the end-of-sentence
    token too, as in GPT-2, which is then written as the end.
    """

    @property
    def pad_id(self) -> int | None:
        """The padding."""
        ...

    def new_cache(self, source_ids: Tensor | None = None) -> Cache:
        """Read the sources ``(batch, key)``, where the model has any, and return a cache without a past."""
        ...

    def step(
        self, token_ids: Tensor, cache: Any, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return the logits ``(batch, vocab)`` of the token after the last one, and extend the cache, its own.

        ``token_ids`` and ``positions`` are ``(batch, query)``, for the tokens that are new; ``mask`` is ``(batch, 1, 1,
        key)`` over all tokens so far. Without them no row is padded.
        """
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A text that a beam search has found.

    Args:
        tokens: what was written, with the end of sentence or the stop sequence where there is one.
        log_probability: the sum of the tokens' log-probabilities.
        score: the same, divided by the length penalty; the best hypothesis is the one with the highest.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


@dataclass(frozen=True)
class Candidate:
    """One way to continue a beam, as a beam search has weighed it: a branch of its tree.

    Args:
        step: 1 for the first token written.
        row: of the batch.
        parent: the beam that it continues, numbered among those of the step before.
        token: the continuation.
        log_probability: of the token alone.
        total: of all tokens so far.
        beam: its number among the beams of this step; ``None`` where it was dropped or is finished.
        finished: whether it became a hypothesis.
    """

    step: int
    row: int
    parent: int
    token: int
    log_probability: float
    total: float
    beam: int | None
    finished: bool


def top_k_filter(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    """Leave the ``k`` likeliest tokens, and set the others' logits to minus infinity.

    Args:
        logits: ``(*batch, vocab)``.
        k: how many, at least 1; more than there are leave all. Of equal logits at the border only as many stay as make
            ``k``.

    Returns:
        ``(*batch, vocab)``.

    Raises:
        ValueError: ``k`` is no whole number of at least 1.
    """
    check_whole("top_k", k, 1)
    kept = logits.topk(min(k, logits.size(-1)), dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, kept.indices, kept.values)


def top_p_filter(logits: Float[Tensor, "*batch vocab"], p: float) -> Float[Tensor, "*batch vocab"]:
    """Leave the fewest tokens whose probabilities sum to ``p`` or more, and set the others' logits to minus infinity.

    Args:
        logits: ``(*batch, vocab)``.
        p: above 0, at most 1, which leaves every token. The likeliest token stays, however small ``p`` is.

    Returns:
        ``(*batch, vocab)``.

    Raises:
        ValueError: ``p`` lies outside (0, 1].
    """
    _check_top_p(p)
    if p == 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = widened(ordered).softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the likelier tokens sum to
    dropped = before >= p
    dropped[..., 0] = False  # a p below the smallest number of the type is rounded to 0
    return torch.full_like(logits, -math.inf).scatter(-1, order, ordered.masked_fill(dropped, -math.inf))


def _check_top_p(p: float) -> None:
    check_real("top_p", p)
    if not 0.0 < p <= 1.0:
        raise ValueError(f"top_p must be above 0 and at most 1; got {p}")


def length_penalty(length: int, penalty: LengthPenalty = "none", alpha: float = 1.0) -> float:
    r"""What a sum of log-probabilities is divided by, so that long hypotheses do not lose for being long.

    ``"none"`` is 1; ``"power"`` is :math:`n^\alpha` as in Hugging Face, the mean where :math:`\alpha = 1`; ``"gnmt"``
    is :math:`((5 + n) / 6)^\alpha` (Wu et al., 2016), with :math:`\alpha = 0.6` in Vaswani et al. (2017).

    Args:
        length: the number of tokens written, the end-of-sentence token included.
        penalty: its name.
        alpha: its strength, 0 for none.

    Raises:
        ValueError: an unknown name, a length below 1, an ``alpha`` that is not finite, or so large that the penalty
            leaves what scores can be divided by, 1e-300 to 1e300.
    """
    if penalty not in get_args(LengthPenalty):
        raise ValueError(f"penalty must be one of {', '.join(get_args(LengthPenalty))}; got {penalty!r}")
    check_whole("length", length, 1)
    check_real("alpha", alpha)
    if penalty == "none":
        return 1.0
    base = length if penalty == "power" else (5.0 + length) / 6.0
    if abs(float(alpha) * math.log(base)) > 300.0 * math.log(10.0):
        raise ValueError(
            f"alpha must leave scores of {length} tokens apart; got {alpha}, whose penalty is out of range"
        )
    return float(base ** float(alpha))


def likeliest(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, "rows"]:
    """Pick the token with the highest logit.

    Args:
        logits: ``(rows, vocab)``.

    Returns:
        ``(rows,)``; of equal ones the first.
    """
    return logits.argmax(-1)


def sampler(
    generator: torch.Generator, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Pick:
    """Pick by drawing each token by its probability, after the temperature, then ``top_k``, then ``top_p``.

    Args:
        generator: the only source of randomness, on the model's device.
        temperature: what the logits are divided by; below 1 the likely tokens gain, above 1 the unlikely ones. Near 0
            the likeliest is always drawn, and very large ones draw from all tokens alike.
        top_k: see :func:`top_k_filter`.
        top_p: see :func:`top_p_filter`.

    Raises:
        ValueError: a temperature that is not positive and finite, or ``top_k`` or ``top_p`` out of bounds.
    """
    check_real("temperature", temperature)
    if temperature <= 0.0:
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if top_k is not None:
        check_whole("top_k", top_k, 1)
    if top_p is not None:
        _check_top_p(top_p)

    def draw(logits: Tensor) -> Tensor:
        # From the likeliest down, and by a number that the type can hold, so that no temperature overflows.
        bounds = torch.finfo(logits.dtype)
        logits = (logits - logits.amax(-1, keepdim=True)) / min(max(temperature, bounds.tiny), bounds.max)
        if top_k is not None:
            logits = top_k_filter(logits, top_k)
        if top_p is not None:
            logits = top_p_filter(logits, top_p)
        return logits.softmax(-1).multinomial(1, generator=generator)[:, 0]

    return draw


def greedy(
    model: LanguageModel,
    prompt: Int[Tensor, "batch query"] | int,
    source_ids: Int[Tensor, "batch key"] | None = None,
    *,
    eos_id: int | None,
    max_new_tokens: int,
    stop: Collection[Sequence[int]] = (),
    prompt_mask: Bool[Tensor, "batch query"] | None = None,
    forbidden: Collection[int] = (),
) -> Int[Tensor, "batch new"]:
    """Write the likeliest token, again and again.

    Args:
        model: in evaluation mode.
        prompt: what each row begins with, ``(batch, query)``; or one token for all rows of ``source_ids``.
        source_ids: what the model reads, ``(batch, key)``, padded with its ``pad_id`` at either end; ``None`` for a
            decoder alone.
        eos_id: ends a row; ``None`` for none. It may be the model's ``pad_id``.
        max_new_tokens: most tokens to write.
        stop: sequences of tokens, each of which ends a row as soon as the row has written it whole.
        prompt_mask: where prompts differ in length, ``True`` at their tokens and ``False`` at their padding, on
            whichever side; without it every token counts.
        forbidden: tokens that are never written, besides the padding.

    Returns:
        What was written, without the prompt, ``(batch, new)``. Each row runs to its end of sentence or stop sequence,
        which it holds, then padding, or where the model has none the end of sentence again.

    Raises:
        ValueError: an empty prompt, sizes or tokens out of bounds, shapes that do not fit, more positions than the
            model has, a model in training mode, no token that can be written: all are forbidden, or those that are
            not have the probability 0; a stop sequence that is empty or can never be written, or several rows with
            stop sequences where there is neither padding nor end to fill the shorter ones with.
        TypeError: the model's cache is no :class:`Cache`, or a stop sequence no sequence.
        FloatingPointError: the logits are not finite.
    """
    return _whole(_Rows(model, prompt, source_ids, eos_id, max_new_tokens, stop, prompt_mask, forbidden), likeliest)


def sample(
    model: LanguageModel,
    prompt: Int[Tensor, "batch query"] | int,
    source_ids: Int[Tensor, "batch key"] | None = None,
    *,
    eos_id: int | None,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Collection[Sequence[int]] = (),
    prompt_mask: Bool[Tensor, "batch query"] | None = None,
    forbidden: Collection[int] = (),
) -> Int[Tensor, "batch new"]:
    """Draw each token by its probability.

    Args:
        model: as in :func:`greedy`, like the other arguments that it has.
        prompt: as there.
        source_ids: as there.
        eos_id: as there.
        max_new_tokens: as there.
        generator: see :func:`sampler`.
        temperature: see :func:`sampler`.
        top_k: see :func:`sampler`.
        top_p: see :func:`sampler`.
        stop: as there.
        prompt_mask: as there.
        forbidden: as there.

    Returns:
        As :func:`greedy`.

    Raises:
        ValueError: as there, or what :func:`sampler` refuses.
        TypeError: as there.
        FloatingPointError: the logits are not finite.
    """
    pick = sampler(generator, temperature=temperature, top_k=top_k, top_p=top_p)
    return _whole(_Rows(model, prompt, source_ids, eos_id, max_new_tokens, stop, prompt_mask, forbidden), pick)


def stream(
    model: LanguageModel,
    prompt: Int[Tensor, "batch query"] | int,
    source_ids: Int[Tensor, "batch key"] | None = None,
    *,
    eos_id: int | None,
    max_new_tokens: int,
    pick: Pick = likeliest,
    stop: Collection[Sequence[int]] = (),
    forbidden: Collection[int] = (),
) -> Iterator[int]:
    """Write one row, and hand out each token as soon as it is known.

    The tokens are those of :func:`greedy`, or with a :func:`sampler` those of :func:`sample`. Who has seen enough just
    asks for no more: the model keeps nothing of an unfinished stream.

    Args:
        model: as in :func:`greedy`, like the other arguments that it has.
        prompt: as there, for one row.
        source_ids: as there, for one row.
        eos_id: as there.
        max_new_tokens: as there.
        pick: :func:`likeliest`, a :func:`sampler`, or your own.
        stop: as there.
        forbidden: as there.

    Returns:
        An iterator over the tokens; the last one is the end of sentence, or the end of a stop sequence, where there is
        one. The source is read at once, the prompt when the first token is asked for.

    Raises:
        ValueError: as there, or more than one row. What does not depend on the logits is refused at once.
        TypeError: as there.
        FloatingPointError: the logits are not finite.

    Example:
        >>> for token in stream(model, BOS_ID, source_ids, eos_id=EOS_ID, max_new_tokens=40):
        ...     print(tokenizer.id_to_token(token), flush=True)
    """
    rows = _Rows(model, prompt, source_ids, eos_id, max_new_tokens, stop, None, forbidden)
    if rows.batch != 1:
        raise ValueError(f"a stream writes one row; got {rows.batch}")
    return (token for written in _write(rows, pick) for token in written.values())


def beam_search(
    model: LanguageModel,
    prompt: Int[Tensor, "batch query"] | int,
    source_ids: Int[Tensor, "batch key"] | None = None,
    *,
    eos_id: int | None,
    max_new_tokens: int,
    beams: int = 4,
    n_best: int = 1,
    penalty: LengthPenalty = "none",
    alpha: float = 1.0,
    stop: Collection[Sequence[int]] = (),
    prompt_mask: Bool[Tensor, "batch query"] | None = None,
    forbidden: Collection[int] = (),
    trace: Callable[[Candidate], None] | None = None,
) -> list[list[Hypothesis]]:
    """Follow the ``beams`` likeliest texts side by side, and return the finished ones with the best scores.

    :class:`BeamState` says how they are chosen.

    Args:
        model: as in :func:`greedy`, like the other arguments that it has.
        prompt: as there.
        source_ids: as there.
        eos_id: as there.
        max_new_tokens: as there.
        beams: texts to follow; 1 without a penalty is the greedy search.
        n_best: hypotheses to return for each row.
        penalty: see :func:`length_penalty`.
        alpha: see :func:`length_penalty`.
        stop: as there.
        prompt_mask: as there.
        forbidden: as there.
        trace: called with every :class:`Candidate`, in order: the search's tree. A list's ``append`` keeps them.

    Returns:
        For each row, at most ``n_best`` hypotheses, the best first; fewer where there are no more, but always one.

    Raises:
        ValueError: as there, ``beams`` or ``n_best`` below 1, ``n_best`` above ``beams``, or a penalty that
            :func:`length_penalty` refuses for a length up to ``max_new_tokens``.
        TypeError: as there.
        FloatingPointError: the logits are not finite.
    """
    rows = _Rows(model, prompt, source_ids, eos_id, max_new_tokens, stop, prompt_mask, forbidden)
    state = BeamState(
        rows.batch, rows.ends, max_new_tokens, beams=beams, n_best=n_best, penalty=penalty, alpha=alpha, trace=trace
    )
    with torch.inference_mode():
        log_probabilities = rows.log_probabilities(rows.prompt)[:, None]  # (rows, 1, vocab)
        while state.step(log_probabilities):
            rows.keep(state.parents, state.kept)
            log_probabilities = rows.log_probabilities(state.tokens.view(-1, 1)).view(*state.tokens.shape, -1)
    if not all(state.finished):
        raise ValueError(f"no text can be written for row {state.finished.index([])}: {NOTHING_ALLOWED}")
    return state.finished


_Beam = tuple[float, int, tuple[int, ...]]  # its sum, its parent, its text


class BeamState:
    """A beam search between two steps. It asks no model: whoever drives it brings the log-probabilities.

    At each step every beam is continued by every token. Of the ``beams`` best continuations those that end are
    finished; the best that do not end are the next beams. A row stops when no beam of it can beat its ``n_best``
    finished hypotheses, whatever it would go on with: log-probabilities only fall, so the highest score that a beam can
    reach is its sum divided by the largest penalty still to come. A beam of ``max_new_tokens`` is finished as it is.

    Args:
        batch: rows to write.
        ends: sequences of tokens that end a text.
        max_new_tokens: most tokens of a text.
        beams: see :func:`beam_search`, also for the others.
        n_best: how many hypotheses of each row are kept.
        penalty: see there.
        alpha: see there.
        trace: see there.

    Attributes:
        length: tokens written so far.
        rows: those of the batch that go on.
        texts: for each of them, those of its beams.
        totals: ``(rows, beams)``, their sums of log-probabilities; minus infinity for a beam that is there in name
            only.
        tokens: ``(rows, beams)``, after a step: the last one of each.
        parents: ``(rows, beams)``, after a step: the beam that each continues, counted through all rows of before.
        kept: ``(rows,)``, after a step: the rows of before that go on; ``None`` where all do.
        finished: for each row of the batch, its hypotheses, the best first.

    Raises:
        ValueError: as :func:`beam_search`.
    """

    tokens: Tensor
    parents: Tensor
    kept: Tensor | None

    def __init__(
        self,
        batch: int,
        ends: Collection[tuple[int, ...]],
        max_new_tokens: int,
        *,
        beams: int = 4,
        n_best: int = 1,
        penalty: LengthPenalty = "none",
        alpha: float = 1.0,
        trace: Callable[[Candidate], None] | None = None,
    ) -> None:
        check_whole("beams", beams, 1)
        check_whole("n_best", n_best, 1)
        if n_best > beams:
            raise ValueError(f"n_best must be at most beams; got {n_best} and {beams}")
        for length in (1, check_whole("max_new_tokens", max_new_tokens, 1)):
            length_penalty(length, penalty, alpha)  # between these two it only rises or only falls
        self.beams, self.n_best, self.max_new_tokens, self.ends = beams, n_best, max_new_tokens, ends
        self.penalty, self.alpha, self.trace = penalty, alpha, trace
        self.length, self.rows = 0, list(range(batch))
        self.texts: list[list[tuple[int, ...]]] = [[()] for _ in self.rows]
        self.totals = torch.zeros(batch, 1)
        self.finished: list[list[Hypothesis]] = [[] for _ in self.rows]

    def step(self, log_probabilities: Float[Tensor, "rows beams vocab"]) -> bool:
        """Continue every beam by one token.

        Args:
            log_probabilities: of the next token, for each row that goes on and each of its beams, ``(rows, beams,
                vocab)``; at first every row has one beam, the prompt.

        Returns:
            Whether any row goes on. Then the model is to read ``tokens``, after its cache kept ``parents``.

        Raises:
            ValueError: another shape, or no row goes on.
        """
        if not self.rows:
            raise ValueError("the search is at its end: no row goes on")
        expected = (len(self.rows), self.totals.size(1))
        if log_probabilities.ndim != 3 or log_probabilities.shape[:2] != expected:
            raise ValueError(
                f"log_probabilities must have shape (rows={expected[0]}, beams={expected[1]}, vocab); "
                f"got {tuple(log_probabilities.shape)}"
            )
        self.length += 1
        totals, (_, width, vocab) = self.totals.to(log_probabilities), log_probabilities.shape
        sums = (totals[:, :, None] + log_probabilities).flatten(1)  # (rows, beams * vocab)
        # A beam can end in so many ways only, so among as many candidates enough do not end.
        ways = max(1, len({end[-1] for end in self.ends}))
        best = sums.topk(min((1 + ways) * self.beams, sums.size(1)), dim=1)
        going: dict[int, list[_Beam]] = {}  # by the row's place among those before
        for place, (values, choices) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            kept = self._weigh(place, values, [divmod(choice, vocab) for choice in choices])
            if kept and not self._decided(self.rows[place], kept[0][0]):
                going[place] = kept + [(-math.inf, *kept[0][1:])] * (self.beams - len(kept))

        def tensor(numbers: list[Any]) -> Tensor:
            return torch.tensor(numbers, device=totals.device)

        self.kept = None if len(going) == len(self.rows) else tensor(list(going))
        self.rows = [self.rows[place] for place in going]
        self.texts = [[text for _, _, text in row] for row in going.values()]
        self.totals = totals.new_tensor([[total for total, _, _ in row] for row in going.values()])
        self.tokens = tensor([[text[-1] for text in row] for row in self.texts])
        self.parents = tensor([[place * width + parent for _, parent, _ in row] for place, row in going.items()])
        return bool(going)

    def _weigh(self, place: int, totals: list[float], choices: list[tuple[int, int]]) -> list[_Beam]:
        """Finish or keep the candidates of a row, the best first, each a parent and a token; return those kept."""
        row, kept = self.rows[place], list[_Beam]()
        last, divisor = self.length == self.max_new_tokens, length_penalty(self.length, self.penalty, self.alpha)
        for rank, (total, (parent, token)) in enumerate(zip(totals, choices, strict=True)):
            if total == -math.inf:
                break
            text = (*self.texts[place][parent], token)
            ends = last or _ended(text, self.ends)
            finished, beam = ends and rank < self.beams, None
            if finished:
                self.finished[row].append(Hypothesis(text, total, total / divisor))
            elif not ends and len(kept) < self.beams:
                beam = len(kept)
                kept.append((total, parent, text))
            if self.trace is not None:
                before = float(self.totals[place, parent])
                self.trace(Candidate(self.length, row, parent, token, total - before, total, beam, finished))
        self.finished[row] = sorted(self.finished[row], key=lambda hypothesis: -hypothesis.score)[: self.n_best]
        return kept

    def _decided(self, row: int, highest: float) -> bool:
        """Whether no beam of a row can beat what is finished, where ``highest`` is the best of their sums."""
        largest = max(length_penalty(n, self.penalty, self.alpha) for n in (self.length + 1, self.max_new_tokens))
        return len(self.finished[row]) == self.n_best and highest / largest <= self.finished[row][-1].score


def _ended(text: Sequence[int], ends: Collection[tuple[int, ...]]) -> bool:
    return any(text[-1] == end[-1] and tuple(text[-len(end) :]) == end for end in ends)


def _write(rows: "_Rows", pick: Pick) -> Iterator[dict[int, int]]:
    """Yield the next token of each row that has not ended, by row; rows that have ended leave the batch."""
    token_ids, texts = rows.prompt, {row: list[int]() for row in range(rows.batch)}
    for _ in range(rows.max_new_tokens):
        # Not around the yield: until it is asked again, a generator would leave its caller in this mode.
        with torch.inference_mode():
            logits = rows.logits(token_ids).index_fill(-1, rows.forbidden, -math.inf)
            if logits.amax(-1).isneginf().any():
                raise ValueError(f"no token can be written: {NOTHING_ALLOWED}")
            picked = pick(logits)
            if picked.shape != logits.shape[:1]:
                raise ValueError(f"pick must return a token for each of {len(logits)} rows; got {tuple(picked.shape)}")
            written = dict(zip(texts, picked.tolist(), strict=True))
            for row, token in written.items():
                texts[row].append(token)
            going = {row: text for row, text in texts.items() if not _ended(text, rows.ends)}
            if 0 < len(going) < len(texts):
                index = torch.tensor([place for place, row in enumerate(texts) if row in going], device=rows.device)
                rows.keep(index, index)
                picked = picked[index]
            texts, token_ids = going, picked[:, None]
        yield written
        if not texts:
            return


def _whole(rows: "_Rows", pick: Pick) -> Tensor:
    """Write all rows to their ends, ``(batch, new)``, the shorter ones filled up."""
    if rows.filler is None and rows.batch > 1 and rows.ends:
        raise ValueError(
            f"{rows.batch} rows that stop at different lengths need a padding; the model has none, and eos_id is None"
        )
    texts: list[list[int]] = [[] for _ in range(rows.batch)]
    for written in _write(rows, pick):
        for row, token in written.items():
            texts[row].append(token)
    width = max(map(len, texts))
    padded = [text + [rows.filler or 0] * (width - len(text)) for text in texts]
    return torch.tensor(padded, device=rows.device)


class _Rows:
    """The rows of a batch while they are written: the model, its cache, and how far each prompt is padded."""

    def __init__(
        self,
        model: LanguageModel,
        prompt: Tensor | int,
        source_ids: Tensor | None,
        eos_id: int | None,
        max_new_tokens: int,
        stop: Collection[Sequence[int]],
        prompt_mask: Tensor | None,
        forbidden: Collection[int],
    ) -> None:
        if getattr(model, "training", False):
            raise ValueError("the model is in training mode, where dropout is at work; call model.eval() first")
        self.model, self.max_new_tokens = model, check_whole("max_new_tokens", max_new_tokens, 1)
        if source_ids is not None:
            _check_token_ids("source_ids", "key", source_ids)
        if isinstance(prompt, int):
            check_whole("prompt", prompt, 0)
            if source_ids is None:
                raise ValueError("one token can begin every row only where source_ids tell how many; got none")
            prompt = source_ids.new_full((source_ids.size(0), 1), prompt)
        _check_token_ids("prompt", "query", prompt)
        if source_ids is not None and source_ids.size(0) != prompt.size(0):
            raise ValueError(f"prompts and sources must be as many; got {prompt.size(0)} and {source_ids.size(0)}")
        self.device, self.batch = prompt.device, prompt.size(0)
        self.prompt, self.pads = _padded_left(prompt, prompt_mask)
        banned = {check_whole("each forbidden token", token, 0) for token in forbidden}
        if eos_id is not None and check_whole("eos_id", eos_id, 0) in banned:
            raise ValueError(f"eos_id must be allowed; got {eos_id}, which is forbidden")
        if model.pad_id is not None:
            check_whole("the model's pad_id", model.pad_id, 0)
            banned |= {model.pad_id} - {eos_id}  # a padding that ends sentences too is written as their end
        self.filler = eos_id if model.pad_id is None else model.pad_id
        self.ends = [_stop_sequence(sequence, banned) for sequence in stop]  # what ends a row
        if eos_id is not None:
            self.ends.append((eos_id,))
        self.forbidden = torch.tensor(sorted(banned), dtype=torch.long, device=self.device)
        self.largest = max((0, *banned, *(token for end in self.ends for token in end)))
        with torch.inference_mode():
            self.cache = model.new_cache(source_ids)
        if not isinstance(self.cache, Cache):
            raise TypeError(
                "the model's new_cache must return a Cache, with length, room, reorder and crop; "
                f"got {type(self.cache).__name__}"
            )
        positions = self.prompt.size(1) + max_new_tokens - 1  # the last token is not read again
        if self.cache.room is not None and positions > self.cache.room:
            raise ValueError(
                f"a prompt of {self.prompt.size(1)} tokens and {max_new_tokens} new ones need {positions} positions; "
                f"the model has {self.cache.room}"
            )

    def logits(self, token_ids: Tensor) -> Tensor:
        """Read ``(rows, query)`` new tokens, and return the next one's logits ``(rows, vocab)``, float32 at least."""
        mask = positions = None
        if self.pads is not None:
            start, end = self.cache.length, self.cache.length + token_ids.size(1)
            places = torch.arange(end, device=self.device) - self.pads[:, None]  # (rows, key), negative for padding
            mask, positions = (places >= 0)[:, None, None, :], places[:, start:].clamp(min=0)
        logits = self.model.step(token_ids, self.cache, mask=mask, positions=positions)
        logits = widened(logits)
        if self.largest >= logits.size(-1):
            raise ValueError(
                f"the model has the tokens 0 to {logits.size(-1) - 1}; got {self.largest} as forbidden, padding or end"
            )
        if not logits.amax(-1).isfinite().all():
            raise FloatingPointError("the model's logits are not finite; were its weights trained and loaded well?")
        return logits

    def log_probabilities(self, token_ids: Tensor) -> Tensor:
        """Like :meth:`logits`, but the log-probabilities, and minus infinity for what is forbidden."""
        return self.logits(token_ids).log_softmax(-1).index_fill_(-1, self.forbidden, -math.inf)

    def keep(self, index: Tensor, sentences: Tensor | None = None) -> None:
        """Keep the rows that ``index`` names, and the sentences: see :meth:`Cache.reorder`."""
        self.cache.reorder(index, sentences)
        if self.pads is not None:
            self.pads = self.pads[index.flatten()]


def _stop_sequence(sequence: Sequence[int], banned: set[int]) -> tuple[int, ...]:
    if not isinstance(sequence, Sequence) or isinstance(sequence, str | bytes):
        raise TypeError(f"stop must hold sequences of tokens, such as (5, 6); got {sequence!r} in it")
    tokens = tuple(check_whole("each token of a stop sequence", token, 0) for token in sequence)
    if not tokens or not banned.isdisjoint(tokens):
        raise ValueError(f"a stop sequence must have tokens that can be written; got {tokens}")
    return tokens


def _check_token_ids(name: str, axis: str, token_ids: Tensor) -> None:
    if token_ids.ndim != 2 or not token_ids.numel():
        raise ValueError(f"{name} must have shape (batch, {axis}), not empty; got {tuple(token_ids.shape)}")
    if token_ids.is_floating_point() or token_ids.is_complex() or token_ids.dtype == torch.bool:
        raise ValueError(f"{name} must be whole numbers; got {token_ids.dtype}")


def _padded_left(prompt: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Move the padding of prompts before their tokens, so that all end together; and count it, ``(batch,)``."""
    if mask is None:
        return prompt, None
    if mask.shape != prompt.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"prompt_mask must be boolean and have the prompt's shape {tuple(prompt.shape)}; "
            f"got {mask.dtype} and {tuple(mask.shape)}"
        )
    if not mask.any(dim=1).all():
        raise ValueError("each prompt must have a token; got an empty one")
    pads = (~mask).sum(dim=1)
    prompt = prompt.gather(1, mask.sort(dim=1, stable=True).indices)[:, int(pads.min()) :]
    pads = pads - pads.min()
    return prompt, pads if pads.any() else None
