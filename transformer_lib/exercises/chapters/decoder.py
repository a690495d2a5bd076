"""What is not text in the exercises of the chapter "The decoder"; the rest stands in decoder.md."""

import itertools
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.decoder import DecoderLayer
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case, with_weights
from transformer_lib.layers import FeedForward, Residual
from transformer_lib.texts import text

PAD, BOS, EOS = range(3)

_made = lru_cache(maxsize=128)(with_weights)  # building a layer takes longer than using it


# ---- The layer.


class _Library(nn.Module):
    """The library's layer, with its parts called as the task calls them."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int):
        super().__init__()
        config = lib.StackConfig(d_model=d_model, n_heads=n_heads, n_layers=1, d_ff=d_ff, dropout=0.0, pre_norm=True)
        whole = DecoderLayer(config)
        assert whole.cross_attention_residual is not None
        self.self_attention, self.self_norm = whole.self_attention, whole.self_attention_residual.norm
        self.cross_attention, self.cross_norm = whole.cross_attention, whole.cross_attention_residual.norm
        self.up_proj, self.down_proj = whole.feed_forward.up_proj, whole.feed_forward.down_proj
        self.feed_norm = whole.feed_forward_residual.norm
        self.whole = whole  # the last, so that the parameters bear the names above

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        result: Tensor = self.whole(x, memory, None, memory_mask)
        return result


def _through(answer: Any, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
    built = _made(answer, _Library, x.size(-1), x.size(-1) // 2, 7, dtype=x.dtype)
    if any(isinstance(part, nn.Dropout) and part.p > 0 for part in built.modules()):
        raise Complaint(text("your layer has a dropout, and the task wants none"))
    return built.train()(x, memory, memory_mask)


def _unmasked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 4))
    yield case(draw.normal(3, 5, 6), draw.normal(3, 4, 6))


def _memory_masked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 4), draw.mask(1, 1, 1, 3))
    yield case(draw.normal(3, 5, 6), draw.normal(3, 4, 6), draw.mask(3, 1, 1, 4))


# ---- How far a window reaches.


@cache
def _reach() -> tuple[int, ...]:
    """Places back that the last output reaches with a window of 4 through 1, 2, 3 layers, and words of the memory."""
    draw = Draw(0)
    x, memory = draw.normal(1, 14, 4), draw.normal(1, 8, 4)
    window = lib.causal_mask(14, 14).triu(-3)
    reach, words = [], 0
    for n_layers in (1, 2, 3):
        config = lib.StackConfig(d_model=4, n_heads=2, n_layers=n_layers, d_ff=8, dropout=0.0, pre_norm=True)
        with torch.random.fork_rng(devices=[]):
            decoder = with_weights(lib.Decoder, lib.Decoder, config, dtype=torch.float64)
        x.requires_grad_(), memory.requires_grad_()
        output = decoder(x, memory, mask=window)[0, -1]
        own, others = torch.autograd.grad(output.square().sum(), (x, memory))
        moved = (own[0].abs().amax(-1) > 1e-12).nonzero()
        reach.append(13 - int(moved[0]))
        words = int((others[0].abs().amax(-1) > 1e-12).sum())
    return (*reach, words)


# ---- Mend the layer.


def _with_layer(answer: Any, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
    config = lib.StackConfig(d_model=x.size(-1), n_heads=2, n_layers=1, d_ff=7, dropout=0.0)
    return answer(_made(DecoderLayer, DecoderLayer, config, dtype=x.dtype), x, memory, memory_mask)


def _equally_long(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), draw.normal(1, 3, 4))
    yield case(draw.normal(2, 5, 6), draw.normal(2, 5, 6))


# ---- Shift right.


def _labels(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([[5, 3, 8, EOS]]), 1)
    labels = draw.integers(3, 5, low=3, high=9)
    labels[0, 3:] = torch.tensor([EOS, PAD])
    labels[1:, -1] = EOS
    yield case(labels, 7)
    yield case(draw.integers(4, 1, low=3, high=9), 6)


# ---- Write, and stop.


class Scripted:
    """A model that, after the right beginning, says the words of the source. It counts how often it is asked."""

    def __init__(self, steps: int):
        self.calls, self.most = 0, steps + 3

    def __call__(self, source: Tensor, written: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.most:
            raise Complaint(
                text("your code asks the model more than {most} times, though `steps` allows fewer", most=self.most)
            )
        batch, query = written.shape
        logits = torch.arange(batch * query * 10).sin().reshape(batch, query, 10)
        script = torch.cat([torch.full_like(source[:, :1], BOS), source], dim=1)
        for row, place in itertools.product(range(batch), range(query)):
            begun = torch.equal(written[row, : place + 1], script[row, : place + 1])
            known = begun and place < source.size(1)
            logits[row, place, script[row, place + 1] if known else 3 + (row + place) % 7] += 5.0
        return logits


def _dictated(model: Scripted, source: Tensor, steps: int) -> Tensor:
    """What there is to be written, known from the script, and to be asked: once for each word."""
    behind = (source == EOS).cumsum(dim=1) - (source == EOS).long() > 0
    words = source.masked_fill(behind, PAD)[:, :steps]
    model.calls = int((words != PAD).sum(dim=1).max())
    return F.pad(words[:, : model.calls], (1, 0), value=BOS)


def _written(answer: Any, source: Tensor, steps: int) -> Any:
    model = Scripted(steps)
    return {"written": answer(model, source, steps), "times asked": model.calls}


def _script(draw: Draw, *ends: int | None, length: int = 8) -> Tensor:
    source = draw.integers(len(ends), length, low=3, high=10)
    for row, end in zip(source, ends, strict=True):
        if end is not None:
            row[end] = EOS
    return source


def _one_sentence(draw: Draw) -> Iterator[Case]:
    yield case(_script(draw, 2, length=5), 5)
    yield case(_script(draw, 0, length=3), 3)


def _several(draw: Draw) -> Iterator[Case]:
    yield case(_script(draw, 0, 3, length=6), 6)
    yield case(_script(draw, 4, 1, 3), 7)


def _cut_off(draw: Draw) -> Iterator[Case]:
    yield case(_script(draw, None, length=4), 3)
    yield case(_script(draw, 1, None, 3), 5)
    yield case(_script(draw, None, None, length=2), 1)


# ---- A wrong word.

_NOUNS = {"O livro": "book", "O carro": "car", "O bolo": "cake", "O quadro": "picture",
          "A carta": "letter", "A casa": "house", "A cadeira": "chair", "A flor": "flower"}  # fmt: skip
_ADJECTIVES = {"interessante": "interesting", "velho": "old", "novo": "new", "bonito": "beautiful",
               "caro": "expensive", "pequeno": "small", "": ""}  # fmt: skip
_GIVERS = {"você": "you", "ele": "he", "ela": "she"}
_VERBS = {"deu": "gave", "vendeu": "sold", "mostrou": "showed", "mandou": "sent"}


@cache
def _test_pairs() -> tuple[Tensor, Tensor, int]:
    """The chapter's test sentences as numbers, sources and targets, and the number of English words."""

    def pair(noun: str, adjective: str, giver: str, verb: str, last: str) -> tuple[list[str], list[str]]:
        def ending(word: str) -> str:
            return word[:-1] + "a" if noun[0] == "A" and word.endswith("o") else word

        heard = f"{noun} {ending(adjective)} {giver and f'que {giver} me {verb}'} era {ending(last)}"
        clause = giver and f"that {_GIVERS[giver]} {_VERBS[verb]} me"
        said = f"The {_ADJECTIVES[adjective]} {_NOUNS[noun]} {clause} was {_ADJECTIVES[last]}"
        return heard.split(), said.split()

    clauses = [("", ""), *itertools.product(_GIVERS, _VERBS)]
    choices = itertools.product(_NOUNS, _ADJECTIVES, clauses, (last for last in _ADJECTIVES if last))
    pairs = [pair(noun, adjective, *clause, last) for noun, adjective, clause, last in choices]

    def encode(sentences: list[list[str]]) -> tuple[Tensor, int]:
        words = ["<pad>", "<bos>", "<eos>"]
        words += sorted({word for sentence in sentences for word in sentence} - set(words))
        rows = [torch.tensor([words.index(word) for word in sentence]) for sentence in sentences]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), len(words)

    source, _ = encode([heard for heard, _ in pairs])
    target, n_words = encode([["<bos>", *said, "<eos>"] for _, said in pairs])
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    running = pairs.index(pair("O livro", "", "você", "deu", "interessante"))
    test = torch.cat([torch.tensor([running]), order[order != running]])[:400]
    return source[test], target[test], n_words


def _forgiveness(model: Any, draw: Draw) -> Mapping[str, Any]:
    """How a translator does alone, and what it says where it has just read a wrong word."""
    source, target, n_words = _test_pairs()
    if not callable(model):
        raise Complaint(text("what you gave cannot be called"))
    reads, says = target[:, :-1], target[:, 1:]
    chance = torch.rand(reads.shape, generator=draw.generator).masked_fill(reads <= EOS, -1.0)
    place = chance.argmax(dim=1, keepdim=True)  # of one word in each sentence
    other = draw.integers(len(reads), 1, low=3, high=n_words)
    mistaken = reads.scatter(1, place, other)
    changed = other != reads.gather(1, place)
    with torch.no_grad():
        logits = model(source, mistaken)
        if not isinstance(logits, Tensor) or logits.shape != (*mistaken.shape, n_words):
            raise Complaint(
                text(
                    "called with sources and beginnings, it should return logits {shape}",
                    shape=(*mistaken.shape, n_words),
                )
            )
        goes_on = logits.argmax(-1).gather(1, place) == says.gather(1, place)
        written = torch.full((len(source), 1), BOS)
        for _ in range(says.size(1)):
            said = model(source, written)[:, -1].argmax(dim=-1, keepdim=True)
            ended = (written == EOS).any(dim=1, keepdim=True)
            written = torch.cat([written, said.masked_fill(ended, PAD)], dim=1)
    return {
        "whole sentences right": float((written == target).all(dim=1).double().mean()),
        "right after a wrong word": float(goes_on[changed].double().mean()),
    }


def _by_heart(source: Tensor, reads: Tensor) -> Tensor:
    """A translator that knows all answers, and nothing else: it goes on from right beginnings only."""
    _, target, n_words = _test_pairs()
    right = target[:, : reads.size(1) + 1]
    begun = (reads == right[:, :-1]).cumprod(dim=1).bool()
    return F.one_hot(right[:, 1:].masked_fill(~begun, PAD), n_words).double()


EXERCISES = read(
    "decoder",
    {
        "decoder-layer": {
            "probe": _through,
            "reference": _Library,
            "stages": (
                Stage("without a mask", _unmasked, gradients=True),
                Stage("with a mask for the memory", _memory_masked),
            ),
            "ready_made": (Residual, FeedForward),
            "allowed": (lib.MultiHeadAttention,),
        },
        "decoder-window": {"reference": _reach},
        "decoder-debug": {
            "probe": _with_layer,
            "reference": lambda layer, x, memory, memory_mask: layer(x, memory, None, memory_mask),
            "stages": (
                Stage("for source and target of the same length", _equally_long, gradients=True),
                Stage("for two lengths", _unmasked),
                Stage("with a mask for the memory", _memory_masked),
            ),
            "allowed": (lib.MultiHeadAttention,),
        },
        "decoder-shift": {
            "reference": lambda labels, bos_id: F.pad(labels, (1, -1), value=bos_id),
            "stages": (Stage("for labels with padding", _labels),),
            "dtypes": (torch.float64,),
        },
        "decoder-greedy": {
            "probe": _written,
            "reference": _dictated,
            "stages": (
                Stage("for one sentence", _one_sentence),
                Stage("for sentences of different lengths", _several),
                Stage("where a sentence does not end in time", _cut_off),
            ),
            "dtypes": (torch.float64,),
        },
        "decoder-wrong": {
            "measure": _forgiveness,
            "goals": (
                Goal(
                    "at least 0.9 of whole sentences right",
                    "whole sentences right >= 0.9",
                    "Your model does not translate well enough when it writes alone. Is it trained long enough, and "
                    "does it read right words often enough?",
                    "decoder-three",
                    lambda: lambda source, reads: torch.zeros(*reads.shape, _test_pairs()[2]),
                ),
                Goal(
                    "at least 0.8 right after a wrong word",
                    "right after a wrong word >= 0.8",
                    "Your model translates well, and is thrown off by a wrong word in what it reads. What has it never "
                    "met in training?",
                    "decoder-teacher-forcing",
                    lambda: _by_heart,
                ),
            ),
        },
    },
    names={"PAD": PAD, "BOS": BOS, "EOS": EOS},
)
