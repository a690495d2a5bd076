"""Writing text with a trained model: greedily, by sampling, and by beam search.

All of them give the model only the tokens that are new, and keep what it has computed in its cache. Rows of a batch are
independent: each gets what it would get alone.

Sources: Fan et al. (2018), *Hierarchical Neural Story Generation* (top-k); Holtzman et al. (2020), *The Curious Case of
Neural Text Degeneration* (top-p); Wu et al. (2016), *Google's Neural Machine Translation System*, section 7, equation
14 (length penalty); Huang et al. (2017), *When to Finish?* (when a beam search may stop).
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.checks import check_real, check_whole
from transformer_lib.decoder import DecoderCache
from transformer_lib.precision import widened

LengthPenalty = Literal["none", "power", "gnmt"]

NOTHING_ALLOWED = "each token is forbidden, or the model gives it the probability 0"


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

    def new_cache(self, source_ids: Tensor | None = None) -> DecoderCache:
        """Read the sources ``(batch, key)``, where the model has any, and return a cache without a past."""
        ...

    def step(
        self, token_ids: Tensor, cache: DecoderCache, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return the logits ``(batch, vocab)`` of the token after the last one, and extend the cache.

        ``token_ids`` and ``positions`` are ``(batch, query)``, for the tokens that are new; ``mask`` is ``(batch, 1, 1,
        key)`` over all tokens so far. Without them no row is padded.
        """
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A text that a beam search has found.

    Args:
        tokens: what was written, with the end-of-sentence token where there is one.
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


def greedy(
    model: LanguageModel,
    prompt: Int[Tensor, "batch query"] | int,
    source_ids: Int[Tensor, "batch key"] | None = None,
    *,
    eos_id: int | None,
    max_new_tokens: int,
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
        prompt_mask: where prompts differ in length, ``True`` at their tokens and ``False`` at their padding, on
            whichever side; without it every token counts.
        forbidden: tokens that are never written, besides the padding.

    Returns:
        What was written, without the prompt, ``(batch, new)``. Each row runs to its end of sentence, then padding, or
        where the model has none the end of sentence again.

    Raises:
        ValueError: an empty prompt, sizes or tokens out of bounds, shapes that do not fit, more positions than the
            model has, a model in training mode, or no token that can be written: all are forbidden, or those that are
            not have the probability 0.
        FloatingPointError: the logits are not finite.
    """
    return _write(
        model, prompt, source_ids, lambda logits: logits.argmax(-1), eos_id, max_new_tokens, prompt_mask, forbidden
    )


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
    prompt_mask: Bool[Tensor, "batch query"] | None = None,
    forbidden: Collection[int] = (),
) -> Int[Tensor, "batch new"]:
    """Draw each token by its probability, after the temperature, then ``top_k``, then ``top_p``.

    Args:
        model: as in :func:`greedy`, like the other arguments that it has.
        prompt: as there.
        source_ids: as there.
        eos_id: as there.
        max_new_tokens: as there.
        generator: the only source of randomness, on the model's device.
        temperature: what the logits are divided by; below 1 the likely tokens gain, above 1 the unlikely ones. Near 0
            the likeliest is always drawn, and very large ones draw from all tokens alike.
        top_k: see :func:`top_k_filter`.
        top_p: see :func:`top_p_filter`.
        prompt_mask: as there.
        forbidden: as there.

    Returns:
        As :func:`greedy`.

    Raises:
        ValueError: as there, or a temperature that is not positive and finite, or ``top_k`` or ``top_p`` out of bounds.
        FloatingPointError: the logits are not finite.
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

    return _write(model, prompt, source_ids, draw, eos_id, max_new_tokens, prompt_mask, forbidden)


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
    prompt_mask: Bool[Tensor, "batch query"] | None = None,
    forbidden: Collection[int] = (),
    trace: list[Candidate] | None = None,
) -> list[list[Hypothesis]]:
    """Follow the ``beams`` likeliest texts side by side, and return the finished ones with the best scores.

    At each step every beam is continued by every token. Of the ``beams`` best continuations those that end are
    finished; the best that do not end are the next beams. A row stops when no beam of it can beat its ``n_best``
    finished hypotheses, whatever it would go on with: log-probabilities only fall, so the highest score that a beam can
    reach is its sum divided by the largest penalty still to come. A beam of ``max_new_tokens`` is finished as it is.

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
        prompt_mask: as there.
        forbidden: as there.
        trace: a list to which every :class:`Candidate` is appended, in order; the search's tree.

    Returns:
        For each row, at most ``n_best`` hypotheses, the best first; fewer where there are no more, but always one.

    Raises:
        ValueError: as there, ``beams`` or ``n_best`` below 1, ``n_best`` above ``beams``, or a penalty that
            :func:`length_penalty` refuses for a length up to ``max_new_tokens``.
        FloatingPointError: the logits are not finite.
    """
    check_whole("beams", beams, 1)
    check_whole("n_best", n_best, 1)
    if n_best > beams:
        raise ValueError(f"n_best must be at most beams; got {n_best} and {beams}")
    check_whole("max_new_tokens", max_new_tokens, 1)
    for length in (1, max_new_tokens):  # between these two a penalty only rises or only falls
        length_penalty(length, penalty, alpha)
    ended: list[list[Hypothesis]] = []
    with torch.inference_mode():
        state = _Rows(model, prompt, source_ids, eos_id, max_new_tokens, prompt_mask, forbidden)
        rows = list(range(state.batch))  # those not done, and for each the texts of its beams, dead ones included
        texts: list[list[tuple[int, ...]]] = [[()] * beams for _ in rows]
        ended = [[] for _ in rows]
        log_probabilities = state.log_probabilities(state.prompt)[:, None, :]  # (rows, 1, vocab)
        vocab = log_probabilities.size(-1)
        state.keep(torch.arange(state.batch, device=state.device).repeat_interleave(beams))
        # At first all beams are one and the same, so all but one are dead: their sums are minus infinity.
        totals = log_probabilities.new_full((state.batch, beams, 1), -math.inf)
        totals[:, 0] = 0.0

        for step in range(1, max_new_tokens + 1):
            last = step == max_new_tokens
            divisor = length_penalty(step, penalty, alpha)
            largest = max(length_penalty(n, penalty, alpha) for n in (min(step + 1, max_new_tokens), max_new_tokens))
            sums = (totals + log_probabilities).flatten(1)  # (rows, beams * vocab)
            # Each beam can end in one way only, so of twice as many candidates enough do not end.
            best = sums.topk(min(2 * beams, sums.size(1)), dim=1)
            going, parents, tokens, kept_totals = [], [], [], []
            for place, (row, values, choices) in enumerate(
                zip(rows, best.values.tolist(), best.indices.tolist(), strict=True)
            ):
                kept: list[tuple[float, int, int]] = []  # sum, parent, token
                for rank, (total, choice) in enumerate(zip(values, choices, strict=True)):
                    parent, token = divmod(choice, vocab)
                    if total == -math.inf:
                        break
                    ends = last or token == eos_id
                    finished, beam = ends and rank < beams, None
                    if finished:
                        ended[row].append(Hypothesis((*texts[place][parent], token), total, total / divisor))
                    elif not ends and len(kept) < beams:
                        beam = len(kept)
                        kept.append((total, parent, token))
                    if trace is not None:
                        before = float(totals[place, parent, 0])
                        trace.append(Candidate(step, row, parent, token, total - before, total, beam, finished))
                ended[row] = sorted(ended[row], key=lambda hypothesis: -hypothesis.score)[:n_best]
                if not kept or (len(ended[row]) == n_best and kept[0][0] / largest <= ended[row][-1].score):
                    continue
                kept += [(-math.inf, kept[0][1], kept[0][2])] * (beams - len(kept))
                going.append(place)
                parents += [place * beams + parent for _, parent, _ in kept]
                tokens += [token for _, _, token in kept]
                kept_totals += [total for total, _, _ in kept]
                texts[place] = [(*texts[place][parent], token) for _, parent, token in kept]
            if not going:
                break
            state.keep(
                torch.tensor(parents, device=state.device),
                None if len(going) == len(rows) else torch.tensor(going, device=state.device),
            )
            rows, texts = [rows[place] for place in going], [texts[place] for place in going]
            totals = log_probabilities.new_tensor(kept_totals).view(-1, beams, 1)
            token_ids = torch.tensor(tokens, device=state.device)[:, None]
            log_probabilities = state.log_probabilities(token_ids).view(len(rows), beams, vocab)
    if not all(ended):
        raise ValueError(f"no text can be written for row {ended.index([])}: {NOTHING_ALLOWED}")
    return ended


def _write(
    model: LanguageModel,
    prompt: Tensor | int,
    source_ids: Tensor | None,
    pick: Callable[[Tensor], Tensor],
    eos_id: int | None,
    max_new_tokens: int,
    prompt_mask: Tensor | None,
    forbidden: Collection[int],
) -> Tensor:
    """Append what ``pick`` makes of the logits ``(rows, vocab)``; rows that have ended leave the batch."""
    with torch.inference_mode():
        state = _Rows(model, prompt, source_ids, eos_id, max_new_tokens, prompt_mask, forbidden)
        rows = list(range(state.batch))
        texts: list[list[int]] = [[] for _ in rows]
        token_ids = state.prompt
        for _ in range(max_new_tokens):
            logits = state.logits(token_ids).index_fill(-1, state.forbidden, -math.inf)
            if logits.amax(-1).isneginf().any():
                raise ValueError(f"no token can be written: {NOTHING_ALLOWED}")
            picked = pick(logits)  # (rows,)
            for row, token in zip(rows, picked.tolist(), strict=True):
                texts[row].append(token)
            going = [place for place, row in enumerate(rows) if texts[row][-1] != eos_id]
            if not going:
                break
            if len(going) < len(rows):
                index = torch.tensor(going, device=state.device)
                state.keep(index, index)
                rows, picked = [rows[place] for place in going], picked[index]
            token_ids = picked[:, None]
    width = max(map(len, texts))
    # Without a padding and an end all rows are equally long, and nothing is filled.
    filler = (eos_id or 0) if model.pad_id is None else model.pad_id
    padded = [text + [filler] * (width - len(text)) for text in texts]
    return torch.tensor(padded, device=state.device)


class _Rows:
    """The rows of a batch while they are written: the model, its cache, and how far each prompt is padded."""

    def __init__(
        self,
        model: LanguageModel,
        prompt: Tensor | int,
        source_ids: Tensor | None,
        eos_id: int | None,
        max_new_tokens: int,
        prompt_mask: Tensor | None,
        forbidden: Collection[int],
    ) -> None:
        if getattr(model, "training", False):
            raise ValueError("the model is in training mode, where dropout is at work; call model.eval() first")
        check_whole("max_new_tokens", max_new_tokens, 1)
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
        self.model, self.device, self.batch = model, prompt.device, prompt.size(0)
        self.prompt, self.pads = _padded_left(prompt, prompt_mask)
        self.cache = model.new_cache(source_ids)
        positions = self.prompt.size(1) + max_new_tokens - 1  # the last token is not read again
        if self.cache.max_len is not None and positions > self.cache.max_len:
            raise ValueError(
                f"a prompt of {self.prompt.size(1)} tokens and {max_new_tokens} new ones need {positions} positions; "
                f"the model has {self.cache.max_len}"
            )
        banned = set(forbidden)
        for token in banned:
            check_whole("each forbidden token", token, 0)
        if eos_id is not None:
            check_whole("eos_id", eos_id, 0)
            if eos_id in banned:
                raise ValueError(f"eos_id must be allowed; got {eos_id}, which is forbidden")
        if model.pad_id is not None:
            check_whole("the model's pad_id", model.pad_id, 0)
            banned |= {model.pad_id} - {eos_id}  # a padding that ends sentences too is written as their end
        self.forbidden = torch.tensor(sorted(banned), dtype=torch.long, device=self.device)
        self.largest = max(banned | {eos_id or 0})

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

    def keep(self, index: Tensor, memories: Tensor | None = None) -> None:
        """Keep the rows that ``index`` names, in its order, and the memories likewise."""
        self.cache.reorder(index, memories)
        if self.pads is not None:
            self.pads = self.pads[index]


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
