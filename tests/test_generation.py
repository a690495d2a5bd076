"""Generation: every way of writing equals its plain definition, which computes everything anew, one row at a time."""

import gc
import itertools
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import StackConfig
from transformer_lib.decoder import Decoder, DecoderCache
from transformer_lib.generation import (
    BeamState,
    Cache,
    Candidate,
    Hypothesis,
    LanguageModel,
    LengthPenalty,
    beam_search,
    greedy,
    length_penalty,
    likeliest,
    sample,
    sampler,
    stream,
    top_k_filter,
    top_p_filter,
)
from transformer_lib.positions import PositionScheme
from transformer_lib.transformer import Transformer

# All sizes differ, so that no mixed-up axis can hide.
CONFIG = StackConfig(d_model=24, n_heads=4, n_layers=2, d_ff=40, dropout=0.0, max_len=32)
VOCAB, PAD, BOS, EOS = 11, 0, 1, 2
schemes = pytest.mark.parametrize("scheme", list(PositionScheme.known))
kinds = pytest.mark.parametrize("kind", ["transformer", "gpt"])
sides = pytest.mark.parametrize("side", ["left", "right"])
penalties = pytest.mark.parametrize(
    ("penalty", "alpha"), [("none", 1.0), ("power", 1.0), ("power", 0.5), ("power", -0.7), ("gnmt", 0.6), ("gnmt", 2.0)]
)


class GPT(nn.Module):
    """A decoder alone, as small as can be."""

    def __init__(self, vocab_size: int, config: StackConfig, pad_id: int = PAD) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.decoder = Decoder(config, cross_attention=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        return F.linear(self.decoder(self.embedding(token_ids)), self.embedding.weight)

    def new_cache(self, source_ids: Tensor | None = None) -> DecoderCache:
        assert source_ids is None
        return self.decoder.new_cache()

    def step(
        self, token_ids: Tensor, cache: DecoderCache, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        x = self.decoder(self.embedding(token_ids), mask=mask, positions=positions, cache=cache)
        return F.linear(x[:, -1], self.embedding.weight)


class Read:
    """A cache as small as can be: the tokens themselves."""

    room = None

    def __init__(self) -> None:
        self.tokens: Tensor | None = None  # (rows, length)

    @property
    def length(self) -> int:
        return 0 if self.tokens is None else self.tokens.size(1)

    def reorder(self, index: Tensor, memories: Tensor | None = None) -> None:
        self.tokens = None if self.tokens is None else self.tokens[index.flatten()]

    def crop(self, length: int) -> None:
        self.tokens = self.tokens[:, :length]


class Script:
    """A model without weights: the logits of the next token depend on the tokens so far as ``logits`` says."""

    pad_id: int | None = PAD

    def __init__(self, logits: Callable[[tuple[int, ...]], list[float]]) -> None:
        self.logits, self.steps, self.rows = logits, 0, 0

    def new_cache(self, source_ids: Tensor | None = None) -> Read:
        return Read()

    def step(
        self, token_ids: Tensor, cache: Read, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        cache.tokens = token_ids if cache.tokens is None else torch.cat([cache.tokens, token_ids], dim=1)
        self.steps, self.rows = self.steps + 1, self.rows + len(token_ids)
        return torch.tensor([self.logits(tuple(row)) for row in cache.tokens.tolist()], dtype=torch.float64)


class Padded:
    """A model whose padding is another one, where it writes."""

    def __init__(self, model: Any, pad_id: int | None) -> None:
        self.model, self.pad_id = model, pad_id
        self.new_cache, self.step = model.new_cache, model.step


def randomized(model: Any) -> Any:
    """Draw all parameters so that texts vary: what starts at zero or one would hide mistakes, and repeat one token."""
    for name, parameter in model.named_parameters():
        scale = 0.1 if name.endswith("bias") else 2.0 if "proj" in name else 0.5 if "embedding" in name else 1.0
        nn.init.normal_(parameter, std=scale * (parameter.size(-1) ** -0.5 if "proj.weight" in name else 1.0))
    return model.double().eval()


def transformer(scheme: str = "sinusoidal", vocab: int = VOCAB, seed: int = 0, **changes: Any) -> Transformer:
    torch.manual_seed(seed)
    return randomized(Transformer(vocab, replace(CONFIG, positions=scheme, **changes), pad_id=PAD))


def gpt(scheme: str = "sinusoidal", vocab: int = VOCAB, seed: int = 0, **changes: Any) -> GPT:
    torch.manual_seed(seed)
    return randomized(GPT(vocab, replace(CONFIG, positions=scheme, **changes)))


def rows(lengths: list[int], seed: int = 0, vocab: int = VOCAB) -> list[Tensor]:
    """Texts of several lengths, without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(EOS + 1, vocab, (length,), generator=generator) for length in lengths]


def padded(texts: list[Tensor], side: str) -> Tensor:
    return nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=PAD, padding_side=side)


SOURCES, PROMPTS = rows([5, 9, 2, 7]), rows([3, 1, 4, 2], seed=1)


def model_of(kind: str, scheme: str = "sinusoidal", seed: int = 0) -> Any:
    return transformer(scheme, seed=seed) if kind == "transformer" else gpt(scheme, seed=seed)


def inputs(kind: str, side: str) -> dict[str, Any]:
    prompt = padded(PROMPTS, side)
    sources = padded(SOURCES, side) if kind == "transformer" else None
    return {"prompt": prompt, "prompt_mask": prompt != PAD, "source_ids": sources}


def next_logits(model: Any, source: Tensor | None, text: Tensor) -> Tensor:
    """By the definition: the whole text anew, one row, no cache, no padding."""
    with torch.no_grad():
        logits = model(text[None]) if source is None else model(source[None], text[None])
    return logits[0, -1]


def plain_greedy(model: Any, source: Tensor | None, prompt: Tensor, max_new_tokens: int, eos: int | None) -> list[int]:
    text = prompt
    for _ in range(max_new_tokens):
        logits = next_logits(model, source, text)
        logits[PAD] = -math.inf
        text = torch.cat([text, logits.argmax()[None]])
        if text[-1] == eos:
            break
    return text[len(prompt) :].tolist()


def stops_at(tokens: list[int], ends: list[tuple[int, ...]]) -> list[int]:
    """The tokens up to the first place where one of the ends stands, which belongs to them."""
    for end in range(1, len(tokens) + 1):
        if any(tuple(tokens[max(0, end - len(stop)) : end]) == stop for stop in ends):
            return tokens[:end]
    return tokens


def plain_beam_search(
    model: Any,
    source: Tensor | None,
    prompt: Tensor,
    length: int,
    beams: int,
    penalty: LengthPenalty,
    alpha: float,
    ends: tuple[tuple[int, ...], ...] = ((EOS,),),
) -> list[Hypothesis]:
    """Beam search by its definition: one row, no cache, and never stopped early."""
    going, ended = [((), 0.0)], []
    for step in range(1, length + 1):
        texts = torch.stack([torch.cat([prompt, torch.tensor(tokens, dtype=torch.long)]) for tokens, _ in going])
        with torch.no_grad():
            logits = model(texts) if source is None else model(source.expand(len(texts), -1), texts)
        log_probabilities = logits[:, -1].log_softmax(-1).tolist()
        candidates = [
            ((*tokens, token), total + row[token])
            for (tokens, total), row in zip(going, log_probabilities, strict=True)
            for token in range(VOCAB)
            if token != PAD
        ]
        candidates.sort(key=lambda candidate: -candidate[1])
        for tokens, total in candidates[:beams]:
            if any(tokens[-len(end) :] == end for end in ends) or step == length:
                ended.append(Hypothesis(tokens, total, total / length_penalty(step, penalty, alpha)))
        going = [candidate for candidate in candidates if not any(candidate[0][-len(end) :] == end for end in ends)][
            :beams
        ]
    return sorted(ended, key=lambda hypothesis: -hypothesis.score)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-10)
        assert one.score == pytest.approx(other.score, abs=1e-10)


# ---- The cache, step by step.


@schemes
@kinds
@sides
@pytest.mark.parametrize("chunks", [[1] * 7, [4, 1, 1, 1], [2, 3, 2]], ids=["one by one", "prompt first", "in chunks"])
def test_logits_of_padded_rows_equal_those_of_each_row_alone(
    scheme: str, kind: str, side: str, chunks: list[int]
) -> None:
    model = model_of(kind, scheme)
    texts, sources = rows([7, 4, 5, 7], seed=2), padded(SOURCES, side) if kind == "transformer" else None
    tokens = padded(texts, "left")
    places = (tokens != PAD).cumsum(1) - 1
    cache, start = model.new_cache(sources), 0
    for size in chunks:
        end = start + size
        with torch.no_grad():
            logits = model.step(
                tokens[:, start:end],
                cache,
                mask=(tokens[:, :end] != PAD)[:, None, None],
                positions=places[:, start:end].clamp(min=0),
            )
        start = end
        for row, text in enumerate(texts):
            seen = text[: len(text) - (7 - end)] if end > 7 - len(text) else text[:0]
            if len(seen):
                alone = next_logits(model, SOURCES[row] if sources is not None else None, seen)
                torch.testing.assert_close(logits[row], alone, atol=1e-11, rtol=0)
    assert cache.length == 7


@schemes
@sides
def test_padding_of_a_source_changes_nothing_on_either_side(scheme: str, side: str) -> None:
    model, target = transformer(scheme), rows([6] * 4, seed=3)
    logits = model(padded(SOURCES, side), torch.stack(target))
    for row, source in enumerate(SOURCES):
        torch.testing.assert_close(logits[row], model(source[None], target[row][None])[0], atol=1e-11, rtol=0)


@schemes
def test_beams_share_the_memory_of_their_sentence_and_it_is_never_copied(scheme: str) -> None:
    model, sources, target = transformer(scheme), padded(SOURCES[:2], "right"), torch.stack(rows([6] * 6, seed=3))
    with torch.no_grad():
        cache = model.new_cache(sources)
        stored = cache.memory[0]
        first = model.step(target[[0, 3], :1], cache)
        cache.reorder(torch.tensor([[0, 0, 0], [1, 1, 1]]))
        assert cache.memory[0] is stored
        assert first.shape == (2, VOCAB)
        target[:3, 0], target[3:, 0] = target[0, 0].item(), target[3, 0].item()
        logits = model.step(target[:, 1:], cache)  # three beams each, and several queries of each beam
        expected = torch.stack([next_logits(model, SOURCES[row // 3], target[row]) for row in range(6)])
        torch.testing.assert_close(logits, expected, atol=1e-11, rtol=0)
        cache.reorder(torch.tensor([[5, 3, 3]]), torch.tensor([1]))  # the first sentence is done
        order = target[[5, 3, 3]]
        logits = model.step(order[:, :1], cache)
        expected = torch.stack([next_logits(model, SOURCES[1], torch.cat([row, row[:1]])) for row in order])
    torch.testing.assert_close(logits, expected, atol=1e-11, rtol=0)


# ---- Greedy.


@schemes
@kinds
@sides
def test_greedy_writes_what_the_definition_writes(scheme: str, kind: str, side: str) -> None:
    model = model_of(kind, scheme)
    written = greedy(model, **inputs(kind, side), eos_id=EOS, max_new_tokens=8)
    for row, prompt in enumerate(PROMPTS):
        expected = plain_greedy(model, SOURCES[row] if kind == "transformer" else None, prompt, 8, EOS)
        assert written[row].tolist() == expected + [PAD] * (written.size(1) - len(expected))
    assert written.size(1) == max((row != PAD).sum() for row in written)


@kinds
def test_rows_end_when_they_end_and_leave_the_others_alone(kind: str) -> None:
    """Several seeds and ends, so that rows end at many different steps."""
    lengths = set()
    for seed, eos in ((0, 2), (0, 6), (1, 4), (1, 2), (2, 5), (2, 4)):
        model = model_of(kind, seed=seed)
        written = greedy(model, **inputs(kind, "right"), eos_id=eos, max_new_tokens=12)
        for row, prompt in enumerate(PROMPTS):
            expected = plain_greedy(model, SOURCES[row] if kind == "transformer" else None, prompt, 12, eos)
            assert written[row].tolist() == expected + [PAD] * (written.size(1) - len(expected))
            lengths.add(len(expected))
    assert len(lengths) >= 4, lengths


def test_rows_that_have_ended_are_not_computed() -> None:
    model = Script(lambda text: [0.0, 1.0, 2.0 * (len(text) > text[0])])  # row n writes n times 1, then the end
    written = greedy(model, torch.tensor([[3], [1], [5]]), eos_id=EOS, max_new_tokens=9)
    assert written.tolist() == [[1, 1, 1, 2, 0, 0], [1, 2, 0, 0, 0, 0], [1, 1, 1, 1, 1, 2]]
    assert (model.steps, model.rows) == (6, 4 + 2 + 6)


def test_without_an_end_every_row_has_all_tokens() -> None:
    written = greedy(gpt(), padded(PROMPTS[:1], "right"), eos_id=None, max_new_tokens=7)
    assert written.shape == (1, 7)


def test_padding_and_what_is_forbidden_are_never_written() -> None:
    model = Script(lambda text: [9.0, 8.0, 1.0, 7.0, 6.0])
    prompt = torch.tensor([[1]])
    assert greedy(model, prompt, eos_id=EOS, max_new_tokens=2).tolist() == [[1, 1]]
    assert greedy(model, prompt, eos_id=EOS, max_new_tokens=2, forbidden=(BOS, 3)).tolist() == [[4, 4]]
    generator = torch.Generator().manual_seed(0)
    drawn = sample(model, prompt.expand(500, 1), eos_id=None, max_new_tokens=3, forbidden=[1], generator=generator)
    assert set(drawn.flatten().tolist()) == {2, 3, 4}
    [[found, *_]] = beam_search(model, prompt, eos_id=EOS, max_new_tokens=2, beams=2, forbidden=(BOS, 3))
    # The probabilities are the model's: what is forbidden keeps its share.
    assert found.tokens == (4, 4)
    assert found.log_probability == pytest.approx(2 * float(torch.tensor([9.0, 8.0, 1.0, 7.0, 6.0]).log_softmax(0)[4]))


def test_one_token_can_begin_every_row() -> None:
    model, sources = transformer(), padded(SOURCES, "right")
    one = greedy(model, BOS, sources, eos_id=EOS, max_new_tokens=6)
    assert torch.equal(one, greedy(model, torch.full((4, 1), BOS), sources, eos_id=EOS, max_new_tokens=6))


def test_a_prompt_may_begin_with_padding_as_marians_does() -> None:
    model = transformer()
    written = greedy(model, PAD, padded(SOURCES, "right"), eos_id=EOS, max_new_tokens=6)
    for row, source in enumerate(SOURCES):
        expected = plain_greedy(model, source, torch.tensor([PAD]), 6, EOS)
        assert written[row, : len(expected)].tolist() == expected


def test_what_was_written_can_be_trained_on() -> None:
    model, sources = transformer(), padded(SOURCES, "right")
    written = greedy(model, BOS, sources, eos_id=None, max_new_tokens=6)
    model(sources, written).sum().backward()
    assert model.embedding.weight.grad is not None


def test_half_precision_and_grouped_heads_can_write() -> None:
    model = transformer("rotary", n_kv_heads=2).bfloat16()
    sources = padded(SOURCES, "right")
    assert greedy(model, BOS, sources, eos_id=None, max_new_tokens=5).shape == (4, 5)
    assert all(beam_search(model, BOS, sources, eos_id=EOS, max_new_tokens=5))


# ---- Sampling.


def test_top_k_by_hand() -> None:
    logits = torch.tensor([[1.0, 4.0, 3.0, 2.0], [5.0, 5.0, 5.0, 0.0]])
    inf = math.inf
    assert top_k_filter(logits[0], 2).tolist() == [-inf, 4.0, 3.0, -inf]
    assert (top_k_filter(logits, 2) > -inf).sum(1).tolist() == [2, 2]  # ties, too, leave as many as asked for
    assert torch.equal(top_k_filter(logits, 4), logits)
    assert torch.equal(top_k_filter(logits, 99), logits)


def test_top_p_by_hand() -> None:
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3], dtype=torch.float64).log()
    for p, kept in [(0.01, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.81, [0, 1, 3]), (0.96, [0, 1, 2, 3])]:
        assert (top_p_filter(logits, p) > -math.inf).nonzero().flatten().tolist() == kept
    assert torch.equal(top_p_filter(logits, 1.0), logits)
    both = top_p_filter(torch.stack([logits, logits.flip(0)]), 0.6)
    assert torch.equal(both[0], both[1].flip(0))


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"top_k": 2}, [0.0, 0.0, 3 / 7, 4 / 7]),
        ({"top_p": 0.75}, [0.0, 2 / 9, 3 / 9, 4 / 9]),
        ({"temperature": 0.5, "top_p": 0.8}, [0.0, 0.0, 9 / 25, 16 / 25]),  # the temperature comes first
        ({"top_k": 3, "top_p": 0.75}, [0.0, 0.0, 3 / 7, 4 / 7]),  # and top-p counts what top-k has left
    ],
)
def test_tokens_are_drawn_by_their_probabilities(choices: dict[str, Any], expected: list[float]) -> None:
    logits = [0.0, *torch.tensor([0.1, 0.2, 0.3, 0.4]).log().tolist()]
    generator, many = torch.Generator().manual_seed(0), 4000
    prompt = torch.ones(many, 1, dtype=torch.long)
    drawn = sample(Script(lambda _: logits), prompt, eos_id=None, max_new_tokens=1, generator=generator, **choices)
    counts = torch.bincount(drawn.flatten(), minlength=5)[1:] / many
    for found, wanted in zip(counts.tolist(), expected, strict=True):
        assert abs(found - wanted) <= 4 * math.sqrt(wanted * (1 - wanted) / many)


@kinds
def test_one_seed_gives_one_text(kind: str) -> None:
    model = model_of(kind)

    def drawn(seed: int, **choices: Any) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sample(model, **inputs(kind, "right"), eos_id=EOS, max_new_tokens=8, generator=generator, **choices)

    torch.manual_seed(1)
    first = drawn(0)
    torch.manual_seed(2)
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first[:, :5], drawn(1)[:, :5])
    written = greedy(model, **inputs(kind, "right"), eos_id=EOS, max_new_tokens=8)
    assert torch.equal(written, drawn(3, top_k=1))
    assert torch.equal(written, drawn(3, top_p=1e-9))
    assert torch.equal(written, drawn(3, temperature=1e-6))


# ---- Beam search.


def test_length_penalties_by_hand() -> None:
    assert [length_penalty(7, "none", 2.0), length_penalty(7), length_penalty(1, "gnmt", 0.6)] == [1.0, 1.0, 1.0]
    assert length_penalty(7, "power", 1.0) == 7.0
    assert length_penalty(9, "power", 0.5) == pytest.approx(3.0)
    assert length_penalty(7, "gnmt", 1.0) == pytest.approx(2.0)
    assert length_penalty(19, "gnmt", 0.6) == pytest.approx(4.0**0.6)


@penalties
@kinds
def test_beam_search_finds_what_the_definition_finds(penalty: LengthPenalty, alpha: float, kind: str) -> None:
    texts = set()
    for seed, beams in ((0, 3), (1, 2), (2, 5)):
        model = model_of(kind, seed=seed)
        choices: dict[str, Any] = {"beams": beams, "n_best": 2, "penalty": penalty, "alpha": alpha}
        found = beam_search(model, **inputs(kind, "left"), eos_id=EOS, max_new_tokens=7, **choices)
        for row, prompt in enumerate(PROMPTS):
            source = SOURCES[row] if kind == "transformer" else None
            assert_same(found[row], plain_beam_search(model, source, prompt, 7, beams, penalty, alpha)[:2])
            texts |= {hypothesis.tokens for hypothesis in found[row]}
    assert len({len(text) for text in texts}) > 2


@schemes
def test_beams_of_every_scheme(scheme: str) -> None:
    for kind in ("transformer", "gpt"):
        model = model_of(kind, scheme)
        found = beam_search(model, **inputs(kind, "right"), eos_id=EOS, max_new_tokens=6, beams=3, n_best=3)
        for row, prompt in enumerate(PROMPTS):
            source = SOURCES[row] if kind == "transformer" else None
            assert_same(found[row], plain_beam_search(model, source, prompt, 6, 3, "none", 1.0)[:3])


@penalties
@kinds
def test_beams_wide_enough_find_the_best_of_all_texts(penalty: LengthPenalty, alpha: float, kind: str) -> None:
    vocab, length = 4, 4  # padding, and three tokens that can be written: 3 ** 4 texts at most
    for seed in range(3):
        model: Any = transformer(vocab=vocab, seed=seed) if kind == "transformer" else gpt(vocab=vocab, seed=seed)
        source = torch.tensor([3, 1, 3]) if kind == "transformer" else None
        prompt = torch.tensor([1, 3])
        everything = []
        for n in range(1, length + 1):
            for tokens in itertools.product(range(1, vocab), repeat=n):
                if EOS in tokens[:-1] or (n < length and tokens[-1] != EOS):
                    continue
                total = teacher_forced(model, source, prompt, tokens)
                everything.append(Hypothesis(tokens, total, total / length_penalty(n, penalty, alpha)))
        everything.sort(key=lambda hypothesis: -hypothesis.score)
        [found] = beam_search(
            model,
            prompt[None],
            None if source is None else source[None],
            eos_id=EOS,
            max_new_tokens=length,
            beams=3**length,
            n_best=12,
            penalty=penalty,
            alpha=alpha,
        )
        assert_same(found, everything[:12])


def teacher_forced(model: Any, source: Tensor | None, prompt: Tensor, tokens: tuple[int, ...]) -> float:
    """The log-probability of a text, in one pass."""
    text = torch.cat([prompt, torch.tensor(tokens)])[None]
    with torch.no_grad():
        logits = model(text[:, :-1]) if source is None else model(source[None], text[:, :-1])
    log_probabilities = logits[0, len(prompt) - 1 :].log_softmax(-1)
    return float(log_probabilities.gather(1, torch.tensor(tokens)[:, None]).sum())


@schemes
@kinds
def test_scores_are_those_of_a_single_pass(scheme: str, kind: str) -> None:
    model = model_of(kind, scheme)
    found = beam_search(
        model, **inputs(kind, "left"), eos_id=EOS, max_new_tokens=9, beams=4, n_best=4, penalty="gnmt", alpha=0.6
    )
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == 4
        assert [hypothesis.score for hypothesis in hypotheses] == sorted(
            (hypothesis.score for hypothesis in hypotheses), reverse=True
        )
        for hypothesis in hypotheses:
            source = SOURCES[row] if kind == "transformer" else None
            total = teacher_forced(model, source, PROMPTS[row], hypothesis.tokens)
            assert hypothesis.log_probability == pytest.approx(total, abs=1e-10)
            assert hypothesis.score == pytest.approx(
                total / length_penalty(len(hypothesis.tokens), "gnmt", 0.6), abs=1e-10
            )


@kinds
def test_one_beam_is_greedy(kind: str) -> None:
    for seed, eos in itertools.product(range(3), (EOS, 3, 4)):
        model = model_of(kind, seed=seed)
        written = greedy(model, **inputs(kind, "right"), eos_id=eos, max_new_tokens=9)
        found = beam_search(model, **inputs(kind, "right"), eos_id=eos, max_new_tokens=9, beams=1)
        for row, [hypothesis] in zip(written.tolist(), found, strict=True):
            assert hypothesis.tokens == tuple(token for token in row if token != PAD)


def hesitant(text: tuple[int, ...]) -> list[float]:
    """After the prompt the end is the likeliest; the other way is unlikely, and from then on nearly certain."""
    others = [1e-9, 1e-9]
    probabilities = [*others, 0.6, 0.4] if len(text) == 1 else [*others, 0.001, 0.999]
    return torch.tensor(probabilities, dtype=torch.float64).log().tolist()


def test_a_search_stops_as_soon_as_nothing_better_can_come() -> None:
    prompt = torch.tensor([[1]])

    def search(**choices: Any) -> tuple[Hypothesis, int]:
        model = Script(hesitant)
        [[found]] = beam_search(model, prompt, eos_id=EOS, max_new_tokens=12, beams=2, **choices)
        return found, model.steps

    found, steps = search()
    assert (found.tokens, steps) == ((EOS,), 1)
    # By the mean, log 0.6 at once loses to log 0.4 spread over twelve tokens, though at two it does not.
    found, steps = search(penalty="power")
    assert (len(found.tokens), steps) == (12, 12)
    assert found.score == pytest.approx((math.log(0.4) + 11 * math.log(0.999)) / 12, abs=1e-6)
    found, steps = search(penalty="power", alpha=-1.0)
    assert (found.tokens, steps) == ((EOS,), 1)
    found, steps = search(penalty="gnmt", alpha=0.1)
    assert (found.tokens, steps) == ((EOS,), 1)
    found, steps = search(penalty="gnmt", alpha=1.0)
    assert (len(found.tokens), steps) == (12, 12)


def logs(*probabilities: float) -> list[float]:
    return torch.tensor(probabilities, dtype=torch.float64).log().tolist()


def test_a_negative_alpha_lets_a_beam_win_soon_or_never() -> None:
    model = Script(lambda text: logs(0, 0, 0.3, 0.7) if len(text) == 1 else logs(0, 0, 0.999, 0.001))
    choices: dict[str, Any] = {"beams": 2, "penalty": "power", "alpha": -0.5}
    [[found]] = beam_search(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=12, **choices)
    assert (found.tokens, model.steps) == ((3, EOS), 2)


def test_a_beam_that_ends_makes_room_for_another() -> None:
    """The end is likeliest, then 3, which leads nowhere, then 4, which leads to the best: two beams hold both."""
    after = {(1,): logs(0, 0, 0.5, 0.3, 0.2), (1, 3): logs(0, 0.25, 0.25, 0.25, 0.25), (1, 4): logs(0, 0, 1, 0, 0)}
    choices: dict[str, Any] = {"beams": 2, "penalty": "power", "alpha": 2.0}
    [[found]] = beam_search(Script(after.__getitem__), torch.tensor([[1]]), eos_id=EOS, max_new_tokens=2, **choices)
    assert found.tokens == (4, EOS)


def test_sentences_that_are_done_leave_the_batch() -> None:
    model = Script(lambda text: [-9.0, -9.0, 9.0 if len(text) > text[0] else -9.0, 0.0])
    found = beam_search(model, torch.tensor([[3], [1], [5]]), eos_id=EOS, max_new_tokens=20, beams=2)
    assert [hypotheses[0].tokens for hypotheses in found] == [(3, 3, 3, 2), (3, 2), (3, 3, 3, 3, 3, 2)]
    assert (model.steps, model.rows) == (6, 3 + 2 * (3 + 1 + 5))  # the prompts, then two beams of each until it ends


@kinds
def test_the_trace_is_the_searchs_tree(kind: str) -> None:
    model, trace = model_of(kind), list[Candidate]()
    arguments: dict[str, Any] = {**inputs(kind, "right"), "eos_id": EOS, "max_new_tokens": 6, "beams": 3, "n_best": 3}
    found = beam_search(model, **arguments, trace=trace.append)
    assert found == beam_search(model, **arguments)
    texts: dict[tuple[int, int, int], tuple[tuple[int, ...], float]] = {(0, row, 0): ((), 0.0) for row in range(4)}
    finished: list[list[tuple[int, ...]]] = [[] for _ in range(4)]
    for candidate in trace:
        tokens, before = texts[candidate.step - 1, candidate.row, candidate.parent]
        assert candidate.total == pytest.approx(before + candidate.log_probability, abs=1e-12)
        if candidate.beam is not None:
            assert not candidate.finished
            assert candidate.token != EOS
            texts[candidate.step, candidate.row, candidate.beam] = ((*tokens, candidate.token), candidate.total)
        if candidate.finished:
            finished[candidate.row].append((*tokens, candidate.token))
    for row, hypotheses in enumerate(found):
        assert {hypothesis.tokens for hypothesis in hypotheses} <= set(finished[row])
    widths = [sum(c.step == 2 and c.row == row and c.beam is not None for c in trace) for row in range(4)]
    assert widths == [3, 3, 3, 3]


@kinds
def test_a_beam_state_asks_no_model_and_searches_as_beam_search_does(kind: str) -> None:
    """Driven by hand: no cache, every text read anew."""
    model, given = model_of(kind), inputs(kind, "right")
    state = BeamState(4, [(EOS,)], 7, beams=3, n_best=2, penalty="gnmt", alpha=0.6)
    while True:
        logits = [
            [
                next_logits(
                    model, SOURCES[row] if kind == "transformer" else None, torch.tensor([*PROMPTS[row], *text])
                )
                for text in state.texts[place]
            ]
            for place, row in enumerate(state.rows)
        ]
        before = [text for row in state.texts for text in row]
        logits = torch.stack([torch.stack(row) for row in logits])
        if not state.step(logits.log_softmax(-1).index_fill(-1, torch.tensor(PAD), -math.inf)):
            break
        assert state.tokens.shape == state.parents.shape == state.totals.shape == (len(state.rows), 3)
        for texts, parents, tokens in zip(state.texts, state.parents.tolist(), state.tokens.tolist(), strict=True):
            for text, parent, token in zip(texts, parents, tokens, strict=True):
                assert text == (*before[parent], token)
    found = beam_search(model, **given, eos_id=EOS, max_new_tokens=7, beams=3, n_best=2, penalty="gnmt", alpha=0.6)
    for one, other in zip(state.finished, found, strict=True):
        assert_same(one, other)
    with pytest.raises(ValueError, match="the search is at its end"):
        state.step(torch.zeros(4, 3, VOCAB))
    with pytest.raises(ValueError, match=r"shape \(rows=4, beams=1, vocab\); got \(4, 3, 11\)"):
        BeamState(4, [(EOS,)], 7).step(torch.zeros(4, 3, VOCAB))


# ---- Stop sequences.


def test_a_text_ends_with_what_stops_it() -> None:
    counting = Script(lambda text: [float(token == text[-1] % 6 + 3) for token in range(9)])  # 3 6 3 6 …, 4 7 5 8 6 3 …
    options: dict[str, Any] = {"eos_id": None, "max_new_tokens": 8}

    def written(prompt: int, *stop: tuple[int, ...]) -> list[int]:
        return greedy(counting, torch.tensor([[prompt]]), stop=stop, **options)[0].tolist()

    everything = written(4)
    assert everything == [7, 4, 7, 4, 7, 4, 7, 4]
    assert written(4, (4,)) == [7, 4]
    assert written(4, (4, 7, 4)) == [7, 4, 7, 4]  # of overlapping ones, too, the first that is whole
    assert written(4, (7, 4), (7,)) == [7]
    assert written(7, (7, 4)) == [4, 7, 4]  # the prompt is not what was written
    assert written(4, (3, 4), (4, 4)) == everything
    assert written(4, (7,) * 9) == everything  # longer than the text


@kinds
@sides
def test_rows_stop_where_they_would_have_passed(kind: str, side: str) -> None:
    lengths = set()
    for seed in range(3):
        model, given = model_of(kind, seed=seed), inputs(kind, side)
        free = greedy(model, **given, eos_id=None, max_new_tokens=12)
        stop = [tuple(free[row, 2 + row : 4 + row].tolist()) for row in range(3)]
        for pad, eos in ((PAD, None), (PAD, EOS), (None, EOS)):
            found = greedy(Padded(model, pad), **given, eos_id=eos, max_new_tokens=12, stop=stop, forbidden=[PAD])
            for row, tokens in zip(free.tolist(), found.tolist(), strict=True):
                expected = stops_at(row, stop if eos is None else [*stop, (eos,)])
                assert tokens[: len(expected)] == expected
                assert set(tokens[len(expected) :]) <= {EOS if pad is None else pad}
                lengths.add(len(expected))
    assert len(lengths) > 3, lengths


@kinds
def test_beams_end_with_stop_sequences(kind: str) -> None:
    """Of several that end in different tokens: then a beam can end in more ways than one."""
    stopped = 0
    for seed, beams in ((0, 1), (1, 2), (2, 3)):
        model = model_of(kind, seed=seed)
        free = beam_search(model, **inputs(kind, "left"), eos_id=EOS, max_new_tokens=7, beams=beams)
        stop = [(3,), (4,), (5,), *(row[0].tokens[:2] for row in free)]
        options: dict[str, Any] = {"beams": beams, "n_best": beams, "penalty": "power", "stop": [list(s) for s in stop]}
        found = beam_search(model, **inputs(kind, "left"), eos_id=EOS, max_new_tokens=7, **options)
        for row, prompt in enumerate(PROMPTS):
            source, ends = SOURCES[row] if kind == "transformer" else None, ((EOS,), *stop)
            assert_same(found[row], plain_beam_search(model, source, prompt, 7, beams, "power", 1.0, ends)[:beams])
            stopped += sum(one.tokens[-1] != EOS and len(one.tokens) < 7 for one in found[row])
    assert stopped > 5


def test_a_beam_may_end_in_many_ways_and_its_other_continuations_are_still_looked_at() -> None:
    logits = torch.tensor([-9.0, 0.1, 0.6, 0.9, 0.8, 0.7, 0.0])  # 2 to 5 end, each likelier than 1 and 6

    def after(text: tuple[int, ...]) -> list[float]:
        return (logits if len(text) == 1 else torch.tensor([-99.0, -99, 9, -99, -99, -99, -99])).tolist()

    model, stop = Script(after), [(3,), (4,), (5,)]
    trace: list[Candidate] = []
    options: dict[str, Any] = {"beams": 2, "n_best": 2, "penalty": "power", "alpha": 3.0, "stop": stop}
    [found] = beam_search(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=3, trace=trace.append, **options)
    assert [one.tokens for one in found] == [(1, EOS), (6, EOS)]
    assert [(one.token, one.beam, one.finished) for one in trace if one.step == 1] == [
        (3, None, True),
        (4, None, True),
        (5, None, False),
        (2, None, False),
        (1, 0, False),
        (6, 1, False),
    ]


# ---- Streams.


@kinds
@pytest.mark.parametrize("pad", [PAD, None])
def test_a_stream_writes_what_the_whole_text_is(kind: str, pad: int | None) -> None:
    for seed, (source, prompt) in enumerate(zip(SOURCES, PROMPTS, strict=True)):
        model = Padded(model_of(kind, seed=seed), pad)
        given = {"prompt": prompt[None], "source_ids": source[None] if kind == "transformer" else None}
        free = greedy(model, **given, eos_id=None, max_new_tokens=9, forbidden=[PAD])[0].tolist()
        for eos, stop in ((EOS, []), (None, [free[2:4]]), (EOS, [free[3:6], free[5:6]])):
            options: dict[str, Any] = {**given, "eos_id": eos, "max_new_tokens": 9, "stop": stop, "forbidden": [PAD]}
            assert list(stream(model, **options)) == greedy(model, **options)[0].tolist()
            for choices in ({}, {"temperature": 1.7, "top_k": 5}, {"top_p": 0.7}):
                whole = sample(model, **options, generator=torch.Generator().manual_seed(seed), **choices)
                pick = sampler(torch.Generator().manual_seed(seed), **choices)
                assert list(stream(model, **options, pick=pick)) == whole[0].tolist()


def test_a_token_is_there_as_soon_as_it_is_known() -> None:
    model = Script(lambda text: [0.0, 0.0, 0.0, 1.0])
    tokens = stream(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=5)
    assert model.steps == 0
    for steps in range(1, 6):
        assert next(tokens) == 3
        assert model.steps == steps
    assert next(tokens, None) is None
    assert model.steps == 5


def test_between_its_tokens_a_stream_leaves_the_caller_alone() -> None:
    """A mode that is entered around a yield would hold for the caller, too, until the stream ends, or for good."""
    model, x = transformer(), torch.randn(3, requires_grad=True)
    for consumer in (torch.enable_grad, torch.no_grad):
        with consumer():
            grad = torch.is_grad_enabled()
            tokens = stream(model, BOS, SOURCES[0][None], eos_id=None, max_new_tokens=3)
            for _ in range(3):
                assert next(tokens) > PAD
                assert not torch.is_inference_mode_enabled()
                assert torch.is_grad_enabled() == grad
                assert (2 * x).requires_grad == grad
                assert not torch.ones(1).is_inference()


def test_streams_of_one_model_do_not_meet() -> None:
    model, options = transformer(), {"eos_id": None, "max_new_tokens": 6}
    alone = [list(stream(model, BOS, source[None], **options)) for source in SOURCES[:2]]
    both = zip(*(stream(model, BOS, source[None], **options) for source in SOURCES[:2]), strict=True)
    assert [list(tokens) for tokens in zip(*both, strict=True)] == alone
    assert alone[0] != alone[1]


def test_a_stream_that_is_abandoned_leaves_nothing_behind() -> None:
    model, caches = transformer(), list[Any]()
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    keys = {name: set(vars(module)) for name, module in model.named_modules()}
    make = model.new_cache

    class Noted(Padded):
        def __init__(self) -> None:
            super().__init__(model, PAD)
            self.new_cache = lambda source_ids: caches.append(weakref.ref(cache := make(source_ids))) or cache

    options: dict[str, Any] = {"eos_id": None, "max_new_tokens": 6}
    wanted = greedy(model, BOS, SOURCES[0][None], **options)
    for _ in stream(Noted(), BOS, SOURCES[0][None], **options):
        break
    tokens = stream(Noted(), BOS, SOURCES[0][None], **options)
    next(tokens)
    tokens.close()
    never_asked = stream(Noted(), BOS, SOURCES[0][None], **options)
    del tokens, never_asked
    gc.collect()
    assert [cache() for cache in caches] == [None] * 3
    assert {name: set(vars(module)) for name, module in model.named_modules()} == keys
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(greedy(model, BOS, SOURCES[0][None], **options), wanted)


def test_a_stream_refuses_at_once() -> None:
    options: dict[str, Any] = {"eos_id": EOS, "max_new_tokens": 3}
    with pytest.raises(ValueError, match="a stream writes one row; got 4"):
        stream(transformer(), BOS, padded(SOURCES, "right"), **options)
    with pytest.raises(ValueError, match=r"training mode, .* call model.eval\(\) first"):
        stream(transformer().train(), BOS, SOURCES[0][None], **options)
    with pytest.raises(ValueError, match=r"pick must return a token for each of 1 rows; got \(1, 1\)"):
        next(stream(gpt(), PROMPTS[0][None], pick=lambda logits: logits.argmax(-1, keepdim=True), **options))


def test_likeliest_by_hand() -> None:
    assert likeliest(torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 5.0]])).tolist() == [1, 0]


# ---- Hugging Face.


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.6])
def test_marian_writes_the_same(beams: int, alpha: float) -> None:
    from transformers import MarianConfig, MarianMTModel

    from transformer_lib.pretrained import copy_from_marian

    config = MarianConfig(
        vocab_size=13,
        d_model=24,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        max_position_embeddings=32,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=12,
        decoder_start_token_id=12,
        eos_token_id=0,
        forced_eos_token_id=None,
    )
    lengths = set()
    for seed in range(2):
        torch.manual_seed(seed)
        theirs = MarianMTModel(config).double().eval()
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, dtype=torch.float64)
                parameter.data = 2.0 * noise / 24**0.5 if parameter.ndim == 2 else 0.5 * noise
        ours = Transformer(13, CONFIG, pad_id=12).double().eval()
        copy_from_marian(ours, theirs)
        sources = nn.utils.rnn.pad_sequence(rows([5, 9, 2, 7], vocab=12), batch_first=True, padding_value=12)
        written = theirs.generate(
            sources,
            attention_mask=sources != 12,
            num_beams=beams,
            length_penalty=alpha,
            early_stopping="never" if beams > 1 else None,
            num_return_sequences=beams,
            max_new_tokens=10,
            do_sample=False,
            bad_words_ids=[[12]],
            return_dict_in_generate=True,
            output_scores=True,
        )
        if beams == 1:
            found = greedy(ours, 12, sources, eos_id=0, max_new_tokens=10)
            assert torch.equal(found, written.sequences[:, 1:])
            lengths |= set((found != 12).sum(1).tolist())
            continue
        hypotheses = beam_search(
            ours, 12, sources, eos_id=0, max_new_tokens=10, beams=beams, n_best=beams, penalty="power", alpha=alpha
        )
        found = itertools.chain.from_iterable(hypotheses)
        for hypothesis, sequence, score in zip(found, written.sequences, written.sequences_scores, strict=True):
            assert list(hypothesis.tokens) == [token for token in sequence[1:].tolist() if token != 12]
            assert hypothesis.score == pytest.approx(float(score), abs=1e-6)
            lengths.add(len(hypothesis.tokens))
    assert len(lengths) > 1


# ---- Refusals.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": torch.zeros(1, 0, dtype=torch.long)}, r"not empty; got \(1, 0\)"),
        ({"prompt": torch.tensor([3])}, r"not empty; got \(1,\)"),
        ({"prompt": 3}, "only where source_ids tell how many; got none"),
        ({"prompt_mask": torch.tensor([[False, False]])}, "each prompt must have a token; got an empty one"),
        ({"prompt_mask": torch.tensor([[1, 1]])}, "must be boolean and have the prompt's shape"),
        ({"prompt_mask": torch.tensor([[True]])}, "must be boolean and have the prompt's shape"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1; got 0"),
        ({"max_new_tokens": 32}, "a prompt of 2 tokens and 32 new ones need 33 positions; the model has 32"),
        ({"source_ids": torch.ones(2, 3, dtype=torch.long)}, "prompts and sources must be as many; got 1 and 2"),
        ({"forbidden": [EOS]}, "eos_id must be allowed; got 2, which is forbidden"),
        ({"forbidden": range(VOCAB), "eos_id": None}, "each token is forbidden, or .* the probability 0"),
        ({"forbidden": [VOCAB]}, "the model has the tokens 0 to 10; got 11 as forbidden, padding or end"),
        ({"forbidden": [-1]}, "each forbidden token must be at least 0; got -1"),
        ({"forbidden": [2.0]}, "each forbidden token must be a whole number; got 2.0"),
        ({"stop": [()]}, r"a stop sequence must have tokens that can be written; got \(\)"),
        ({"stop": [(3, PAD)]}, r"a stop sequence must have tokens that can be written; got \(3, 0\)"),
        ({"stop": [(3, 4)], "forbidden": [4]}, r"a stop sequence must have tokens that can be written; got \(3, 4\)"),
        ({"stop": [(3.0,)]}, "each token of a stop sequence must be a whole number; got 3.0"),
        ({"stop": [(3, VOCAB)]}, "the model has the tokens 0 to 10; got 11 as forbidden, padding or end"),
        ({"eos_id": VOCAB}, "the model has the tokens 0 to 10; got 11 as forbidden, padding or end"),
        ({"eos_id": -1}, "eos_id must be at least 0; got -1"),
        ({"eos_id": True}, "eos_id must be a whole number; got True"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be a whole number; got 2.0"),
        ({"prompt": True}, "prompt must be a whole number; got True"),
        ({"prompt": torch.tensor([[3.0]])}, "prompt must be whole numbers; got torch.float32"),
        (
            {"prompt": torch.zeros(0, 2, dtype=torch.long)},
            r"prompt must have shape \(batch, query\), not empty; got \(0, 2\)",
        ),
        (
            {"source_ids": torch.ones(0, 3).long()},
            r"source_ids must have shape \(batch, key\), not empty; got \(0, 3\)",
        ),
        ({"source_ids": torch.ones(3).long()}, r"source_ids must have shape \(batch, key\), not empty; got \(3,\)"),
    ],
)
def test_every_way_refuses_what_makes_no_sense(change: dict[str, Any], message: str) -> None:
    arguments = {"prompt": torch.tensor([[3, 4]]), "eos_id": EOS, "max_new_tokens": 5} | change
    ways = [greedy, beam_search, lambda *a, **k: sample(*a, **k, generator=torch.Generator())]
    if "prompt_mask" not in change:
        ways.append(lambda *a, **k: list(stream(*a, **k)))
    for write in ways:
        with pytest.raises(ValueError, match=message):
            write(gpt(), **arguments)


def test_stop_sequences_of_the_wrong_kind_are_refused() -> None:
    prompt = torch.tensor([[3, 4]])
    for stop, given in (((3, 4), "3"), (["end"], "'end'"), ([{3}], r"\{3\}")):
        with pytest.raises(TypeError, match=rf"stop must hold sequences of tokens, .* got {given} in it"):
            greedy(gpt(), prompt, eos_id=EOS, max_new_tokens=3, stop=stop)
    free = Padded(gpt(), None)
    assert greedy(free, prompt, eos_id=None, max_new_tokens=3, stop=[(3, 4)]).shape[0] == 1
    with pytest.raises(ValueError, match="2 rows that stop at different lengths need a padding; the model has none"):
        greedy(free, prompt.expand(2, -1), eos_id=None, max_new_tokens=3, stop=[(3, 4)])
    assert len(beam_search(free, prompt.expand(2, -1), eos_id=None, max_new_tokens=3, stop=[(3, 4)])) == 2


def test_a_model_without_a_cache_is_refused() -> None:
    model = Script(hesitant)
    model.new_cache = lambda source_ids: None
    with pytest.raises(TypeError, match="new_cache must return a Cache, with length, room, reorder and crop; got None"):
        greedy(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive and finite; got 0.0"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"temperature": math.nan}, "temperature must be finite; got nan"),
        ({"temperature": math.inf}, "temperature must be finite; got inf"),
        ({"temperature": None}, "temperature must be a number; got None"),
        ({"top_k": 2.0}, "top_k must be a whole number; got 2.0"),
        ({"top_k": True}, "top_k must be a whole number; got True"),
        ({"top_p": math.nan}, "top_p must be finite; got nan"),
        ({"top_k": 0}, "top_k must be at least 1; got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1; got 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1; got 1.1"),
    ],
)
def test_sampling_refuses_what_makes_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(gpt(), PROMPTS[0][None], eos_id=EOS, max_new_tokens=3, generator=torch.Generator(), **change)


def test_the_filters_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1; got 0"):
        top_k_filter(torch.zeros(3), 0)
    with pytest.raises(ValueError, match="top_p must be above 0 and at most 1; got 0"):
        top_p_filter(torch.zeros(3), 0)
    for length in (0, True, 2.0):
        with pytest.raises(ValueError, match="length must be"):
            length_penalty(length)


# ---- Padding and end of sentence.


@kinds
@pytest.mark.parametrize("pad", [None, EOS], ids=["no padding", "padding ends, as in GPT-2"])
def test_the_padding_may_be_missing_or_end_the_text(kind: str, pad: int | None) -> None:
    """Neither changes what is written; only what stands behind the end is the end again."""
    like, given = model_of(kind), inputs(kind, "right")
    writer = Padded(like, pad)
    options: dict[str, Any] = {"eos_id": EOS, "max_new_tokens": 12, "forbidden": [PAD]}
    wanted = greedy(like, **given, **options)
    written = greedy(writer, **given, **options)
    ended = (wanted == EOS).cumsum(1) - (wanted == EOS).long() > 0
    assert ended.any()
    assert torch.equal(written, wanted.masked_fill(ended, EOS))
    beams = beam_search(writer, **given, **options, beams=3)
    assert beams == beam_search(like, **given, **options, beams=3)
    drawn = sample(writer, **given, **options, generator=torch.Generator().manual_seed(0))
    same = sample(like, **given, **options, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, same.masked_fill((same == EOS).cumsum(1) > 0, EOS))


@pytest.mark.parametrize("pad", [None, EOS])
def test_a_transformer_may_have_no_padding_or_one_that_ends(pad: int | None) -> None:
    like, sources = transformer(), torch.stack(rows([6] * 4))
    model = Transformer(VOCAB, CONFIG, pad_id=pad).double().eval()
    model.load_state_dict(like.state_dict())
    target = torch.stack(rows([5] * 4, seed=1))
    torch.testing.assert_close(model(sources, target), like(sources, target), atol=1e-12, rtol=0)
    options: dict[str, Any] = {"eos_id": EOS, "max_new_tokens": 12, "forbidden": [PAD]}
    wanted = greedy(like, BOS, sources, **options)
    assert torch.equal(greedy(model, BOS, sources, **options), wanted.masked_fill(wanted == PAD, EOS))
    with pytest.raises(ValueError, match="pad_id must be a token, 0 to 10, or None; got 11"):
        Transformer(VOCAB, CONFIG, pad_id=VOCAB)


def test_without_padding_and_end_every_token_can_be_written() -> None:
    model = Script(lambda text: [3.0, 2.0, 1.0])
    model.pad_id = None
    assert greedy(model, torch.tensor([[1], [2]]), eos_id=None, max_new_tokens=2).tolist() == [[0, 0], [0, 0]]
    [[found]] = beam_search(model, torch.tensor([[1]]), eos_id=None, max_new_tokens=2)
    assert found.tokens == (0, 0)
    model.pad_id = -100
    with pytest.raises(ValueError, match="the model's pad_id must be at least 0; got -100"):
        greedy(model, torch.tensor([[1]]), eos_id=None, max_new_tokens=2)


def test_a_token_of_probability_zero_is_not_written_because_it_is_the_first() -> None:
    model = Script(lambda text: [0.0, -math.inf, -math.inf, 1.0])
    for write in (greedy, beam_search, lambda *a, **k: sample(*a, **k, generator=torch.Generator())):
        with pytest.raises(ValueError, match="each token is forbidden, or the model gives it the probability 0"):
            write(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=2, forbidden=[3])
    assert greedy(model, torch.tensor([[1]]), eos_id=EOS, max_new_tokens=2).tolist() == [[3, 3]]


# ---- Extremes.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_temperatures_draw_the_likeliest_or_all_alike(dtype: torch.dtype) -> None:
    class Wide(Script):
        def step(self, *arguments: Any, **options: Any) -> Tensor:
            return super().step(*arguments, **options).to(dtype)

    model, prompt = Wide(lambda _: [9.0, 1.0, 30.0, -5.0, 30.0]), torch.ones(600, 1, dtype=torch.long)

    def drawn(temperature: float, **choices: Any) -> list[int]:
        generator = torch.Generator().manual_seed(0)
        found = sample(
            model, prompt, eos_id=None, max_new_tokens=1, generator=generator, temperature=temperature, **choices
        )
        return torch.bincount(found.flatten(), minlength=5).tolist()

    for temperature in (5e-324, 1e-50, 1e-30):
        counts = drawn(temperature)
        assert counts[:2] + counts[3:4] == [0, 0, 0]
        assert min(counts[2], counts[4]) > 200  # the two that are equal
    for temperature in (1e30, 1e308):
        counts = drawn(temperature)
        assert counts[0] == 0
        assert min(counts[1:]) > 90


def test_top_p_keeps_the_likeliest_however_small_it_is() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        logits = torch.tensor([0.0, 2.0, 1.0], dtype=dtype)
        assert top_p_filter(logits, 5e-324).tolist() == [-math.inf, 2.0, -math.inf]


def test_top_p_sums_half_precision_in_float32() -> None:
    logits = torch.zeros(5000, dtype=torch.float16)  # sums of 1/5000 stall in float16
    assert int((top_p_filter(logits, 0.9) > -math.inf).sum()) == pytest.approx(4500, abs=2)


def test_extreme_alphas_are_computed_as_far_as_scores_stay_apart() -> None:
    assert length_penalty(10, "power", 300) == pytest.approx(1e300)
    assert length_penalty(10, "power", -300) == pytest.approx(1e-300)
    assert length_penalty(7, "none", 1e30) == 1.0
    assert length_penalty(1, "power", 1e30) == 1.0
    with pytest.raises(ValueError, match="alpha must be finite; got 1000"):
        length_penalty(10, "power", 10**400)
    for alpha in (301, -301, 10**9):
        with pytest.raises(ValueError, match="alpha must leave scores of 10 tokens apart"):
            length_penalty(10, "power", alpha)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beams": 0}, "beams must be at least 1; got 0"),
        ({"beams": 2.0}, "beams must be a whole number; got 2.0"),
        ({"n_best": 0}, "n_best must be at least 1; got 0"),
        ({"n_best": 5}, "n_best must be at most beams; got 5 and 4"),
        ({"penalty": "mean"}, "penalty must be one of none, power, gnmt; got 'mean'"),
        ({"penalty": "power", "alpha": math.inf}, "alpha must be finite; got inf"),
        ({"penalty": "gnmt", "alpha": math.nan}, "alpha must be finite; got nan"),
        ({"penalty": "power", "alpha": 1e30}, "alpha must leave scores of 3 tokens apart; got 1e\\+30"),
        ({"penalty": "gnmt", "alpha": -1e30}, "alpha must leave scores of 3 tokens apart; got -1e\\+30"),
    ],
)
def test_beam_search_refuses_what_makes_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_search(gpt(), PROMPTS[0][None], eos_id=EOS, max_new_tokens=3, **change)


def test_the_last_position_of_a_table_is_used_and_no_further() -> None:
    for scheme, enough in (("sinusoidal", True), ("learned", True), ("alibi", False)):
        model = gpt(scheme)
        assert greedy(model, PROMPTS[0][None], eos_id=None, max_new_tokens=30).shape == (1, 30)
        if enough:
            with pytest.raises(ValueError, match="need 33 positions; the model has 32"):
                greedy(model, PROMPTS[0][None], eos_id=None, max_new_tokens=31)
        else:
            assert greedy(model, PROMPTS[0][None], eos_id=None, max_new_tokens=31).shape == (1, 31)


def test_models_that_cannot_write_are_refused() -> None:
    model = transformer()
    with pytest.raises(ValueError, match="writes about a source; got none"):
        greedy(model, PROMPTS[0][None], eos_id=EOS, max_new_tokens=3)
    with pytest.raises(ValueError, match="each source must have a token"):
        greedy(model, BOS, torch.zeros(1, 3, dtype=torch.long), eos_id=EOS, max_new_tokens=3)
    with pytest.raises(ValueError, match=r"training mode, .* call model.eval\(\) first"):
        greedy(model.train(), BOS, padded(SOURCES, "right"), eos_id=EOS, max_new_tokens=3)
    broken = gpt()
    nn.init.constant_(broken.embedding.weight, math.nan)
    for write in (greedy, beam_search, lambda *a, **k: sample(*a, **k, generator=torch.Generator())):
        with pytest.raises(FloatingPointError, match="logits are not finite"):
            write(broken, PROMPTS[0][None], eos_id=EOS, max_new_tokens=3)


def test_models_speak_the_protocol() -> None:
    for model in (transformer(), gpt(), Script(hesitant)):
        assert isinstance(model, LanguageModel)
    for cache in (transformer().new_cache(SOURCES[0][None]), gpt().new_cache(), Read()):
        assert isinstance(cache, Cache)
