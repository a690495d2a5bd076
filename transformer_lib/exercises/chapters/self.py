"""What is not text in the exercises of the chapter "Self-attention"; the rest stands in self.md."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import data
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case, with_weights
from transformer_lib.texts import text

# ---- A head that remembers.


class _SingleHead(nn.Module):
    """The chapter's layer."""

    def __init__(self, d_model: int):
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)


class _ReadAtOnce(_SingleHead):
    """Reads the memory and the tokens as one text, and keeps what the tokens got."""

    def forward(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        text = x if memory is None else torch.cat([memory, x], dim=-2)
        output, weights = lib.attention(self.q_proj(text), self.k_proj(text), self.v_proj(text), causal=True)
        return self.o_proj(output)[..., -x.size(-2) :, :], weights[..., -x.size(-2) :, :]


def _remembered(answer: Any, x: Tensor, memory: Tensor | None = None) -> Any:
    layer = with_weights(answer, _ReadAtOnce, x.size(-1), dtype=x.dtype)
    layer(x / 2)  # the next call must not depend on it
    return layer(x, memory)


def _with_memory(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3))
    yield case(draw.normal(4, 5), draw.normal(2, 5))


def _without_memory(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 2))


def _in_batches(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 4), draw.normal(2, 5, 4))
    yield case(draw.normal(1, 1, 3), draw.normal(1, 2, 3))


def _large(draw: Draw) -> Iterator[Case]:
    if draw.dtype == torch.float64:  # of scores in the hundreds, float32 rounds too much off
        yield case(draw.normal(2, 5, 6, scale=20.0), draw.normal(2, 2, 6, scale=20.0))


# ---- Read twice.


def _heads() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        return lib.MultiHeadAttention(16, n_heads=4).double().requires_grad_(False)


# ---- Causal or not?


class _Named:
    """A function that a failing check can name, and whether it is causal."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor], causal: bool):
        self.name, self.function, self.causal = name, function, causal

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __repr__(self) -> str:
        return f"({self.name})"


def _leak(row: int, left: float = 1.0, right: float = 1.0) -> _Named:
    def function(x: Tensor) -> Tensor:
        result = x.cumsum(0)
        if len(x) > row + 1:
            result[row] += x[row + 1, 0] * torch.tensor([left, right])
        return result

    return _Named(f"running sums, but row {row} sees row {row + 1}", function, causal=False)


def _looking_back(draw: Draw) -> Iterator[Case]:
    sums = _Named("running sums", lambda x: x.cumsum(0), causal=True)
    masked = _Named("attention with the causal mask", lambda x: lib.attention(x, x, x, causal=True)[0], causal=True)
    name = "running sums, rounded differently for each length"
    rounded = _Named(name, lambda x: x.cumsum(0) + 1e-9 * len(x), causal=True)
    for function in (sums, masked, rounded):
        yield case(function, draw.normal(5, 2))


def _looking_ahead(draw: Draw) -> Iterator[Case]:
    free = _Named("attention without a mask", lambda x: lib.attention(x, x, x)[0], causal=False)
    ahead = _Named("each row is the next one", lambda x: x.roll(-1, dims=0), causal=False)
    for function in (ahead, free):
        yield case(function, draw.normal(5, 2))


def _single_leaks(draw: Draw) -> Iterator[Case]:
    x = draw.uniform(5, 2, low=0.5, high=1.5)
    for row in range(4):
        yield case(_leak(row), x)
    for left, right in ((0.001, 0.001), (0.0, 1.0), (1.0, -1.0)):
        yield case(_leak(2, left, right), x)


def _by_length(draw: Draw) -> Iterator[Case]:
    divided = _Named("each row, divided by the number of rows", lambda x: x / len(x), causal=False)
    doubled = _Named("each row, doubled if their number is even", lambda x: x * (2 - len(x) % 2), causal=False)
    for function in (divided, doubled):
        yield case(function, draw.uniform(5, 2, low=0.5, high=1.5))


# ---- Tokens that give the answer away.


def _by_definition(sentences: Sequence[Sequence[str]], answers: Sequence[int]) -> list[str]:
    def answers_with(token: str) -> list[int]:
        return [answer for sentence, answer in zip(sentences, answers, strict=True) if token in sentence]

    tokens = set().union(*sentences)
    return sorted(token for token in tokens if answers_with(token)[1:] and len(set(answers_with(token))) == 1)


def _shuffled(draw: Draw, text: str, answers: Sequence[int]) -> Case:
    pairs = list(zip([line.split() for line in text.splitlines()], answers, strict=True))
    draw.python.shuffle(pairs)
    return case([sentence for sentence, _ in pairs], [answer for _, answer in pairs])


def _sentences(draw: Draw) -> Iterator[Case]:
    yield _shuffled(draw, "O rio\nA lua\nO sol\nO mar\nA flor", (0, 1, 0, 0, 1))
    text = "o gato viu o rio\na gata viu a lua\no gato quer a lua\na gata quer o rio\num gato viu a lua"
    yield _shuffled(draw, f"{text}\ncada gato viu cada rio", (0, 1, 0, 1, 0, 1))
    yield _shuffled(draw, "mar sol rio lua\nlua mar rio sol\nflor cor dor voz\nvoz flor cor dor", (0, 0, 1, 1))


def _fair(draw: Draw) -> Iterator[Case]:
    yield _shuffled(draw, "sim talvez\ntalvez sim\nsim\nsim talvez", (0, 1, 1, 0))


# ---- Through all layers.


def _half_and_half(weights: Sequence[Tensor]) -> Tensor:
    """What each token holds after the layers, if it begins with itself alone."""
    held = torch.eye(weights[0].size(-1), dtype=weights[0].dtype).expand_as(weights[0])
    for of_layer in weights:
        held = held / 2 + of_layer @ held / 2
    return held


def _layers(*shapes: tuple[int, ...]) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        for n_layers, *shape in shapes:
            yield case([draw.normal(*shape, shape[-1], scale=1.5).softmax(-1) for _ in range(n_layers)])

    return cases


# ---- Silence the messenger.


def _silenced(model: Any, draw: Draw) -> Mapping[str, Any]:
    """The accuracy on new long clauses, while nobody may look at *que* in the second layer."""
    drawn = data.agreement_sentences(200, draw.generator, split="test", n_adjuncts=(2, 3), conflict=True)
    ids, answers = data.encode(drawn + [sentence.twin for sentence in drawn])
    if not callable(model):
        raise Complaint(text("a model is expected; got {given}", given=type(model).__name__))
    visible = ids != data.VOCABULARY.index("que")
    edges = torch.stack([torch.ones_like(visible), visible])[:, :, None, None]
    with torch.no_grad():
        logits = model(ids, edges)
    if not isinstance(logits, Tensor) or logits.shape != (len(ids), 2):
        raise Complaint(text("the model should return two logits for each sentence, as `Agreement` does"))
    return {"accuracy on long clauses": float((logits.argmax(-1) == answers).double().mean())}


class _Untrained(nn.Module):
    def forward(self, token_ids: Tensor, edges: Tensor | None = None) -> Tensor:
        return torch.zeros(len(token_ids), 2)


EXERCISES = read(
    "self",
    {
        "self-memory": {
            "probe": _remembered,
            "reference": _ReadAtOnce,
            "stages": (
                Stage("without a memory", _without_memory, gradients=True),
                Stage("with a memory", _with_memory, gradients=True),
                Stage("for batches", _in_batches),
                Stage("with very large scores", _large),
            ),
            "allowed": (lib.attention, lib.fused_attention),
            "atol": 1e-6,  # the root of a tensor of one whole number is float32
        },
        "self-causal": {
            "reference": lambda function, x: function.causal,
            "stages": (
                Stage("for functions that look back", _looking_back),
                Stage("for functions that look ahead", _looking_ahead),
                Stage("for a leak at a single place", _single_leaks),
                Stage("for outputs that depend on the length", _by_length),
            ),
            "dtypes": (torch.float64,),
            "allowed": (lib.attention,),
        },
        "self-capital": {
            "reference": _by_definition,
            "stages": (
                Stage("for sentences that give the answer away", _sentences),
                Stage("for sentences that do not", _fair),
            ),
            "dtypes": (torch.float64,),
        },
        "self-rollout": {
            "reference": _half_and_half,
            "stages": (
                Stage("for one layer", _layers((1, 3), (1, 4))),
                Stage("for two layers", _layers((2, 3), (2, 5))),
                Stage("for three layers and a batch", _layers((3, 2, 4))),
            ),
        },
        "self-messenger": {
            "measure": _silenced,
            "goals": (
                Goal(
                    "right in at least 0.9 of long clauses, without que in the second layer",
                    "accuracy on long clauses >= 0.9",
                    "Without que in the second layer, this model cannot answer. It has to be trained without it, too: "
                    "a model that learned to use the messenger falls when it is silenced.",
                    "self-explanation",
                    _Untrained,
                ),
            ),
        },
    },
    names={
        "SingleHead": _SingleHead,
        "a": torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        "heads": _heads(),
    },
)
