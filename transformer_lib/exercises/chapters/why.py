"""What is not text in the exercises of the chapter "Why attention"; the rest stands in why.md."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.exercises.engine.declared import read
from transformer_lib.exercises.engine.exercise import Case, Complaint, Draw, Goal, Stage, case
from transformer_lib.texts import text

# ---- What the solutions use of the chapter.

_KEYS = np.array([[4.0, 0.0], [0.0, 4.0]])  # livro, carta
_GRAMS = np.array([300.0, 20.0])


def loss_of(logits: np.ndarray, right: int) -> tuple[Any, np.ndarray]:
    """Minus the logarithm of the right answer's probability, and all probabilities."""
    probabilities = np.exp(logits) / np.exp(logits).sum()
    return -np.log(probabilities[right]), probabilities


def soft_lookup(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> float:
    """The chapter's soft dictionary, by the library's attention."""
    output, _ = lib.attention(*(torch.tensor(part) for part in (query[None], keys, values[:, None])), scale=1.0)
    return output.item()


# ---- Inputs and experiments.


def _looked_up(words: Sequence[str], vocabulary: Sequence[str], table: Tensor) -> Tensor:
    """PyTorch's embedding of the words' numbers."""
    number = {word: place for place, word in enumerate(vocabulary)}
    return F.embedding(torch.tensor([number[word] for word in words]), table)


def _words(draw: Draw) -> Iterator[Case]:
    yield case(["era", "livro"], ["livro", "carta", "era"], draw.normal(3, 4))
    vocabulary = ["o", "livro", "a", "carta", "era", "nova"]
    for size in (3, 5):
        yield case(draw.python.sample(vocabulary[3:] + vocabulary[:2], size), vocabulary, draw.normal(6, 7))


def _repeated_words(draw: Draw) -> Iterator[Case]:
    yield case(["que", "o", "que"], ["o", "que"], draw.normal(2, 3))


def _by_autograd(logits: np.ndarray, right: int) -> Any:
    """PyTorch's gradient of its cross-entropy."""
    at = torch.tensor(logits, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(at, torch.tensor(right)), at)
    return gradient.numpy()


def _logits(draw: Draw) -> Iterator[Case]:
    for size in (3, 8, 5):
        yield case(draw.normal(size, scale=1.5).double().numpy(), draw.python.randrange(size))


def _by_optimizer(table: Tensor, words: Tensor, answers: Tensor, steps: int, rate: float) -> Any:
    """PyTorch's gradient descent."""
    model = nn.Embedding.from_pretrained(table.clone(), freeze=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(words), answers).backward()
        optimizer.step()
    return model.weight.detach()


def _descents(*steps: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        for number, n_steps in enumerate(steps):
            n_words, n_answers = (2, 3) if number == 0 else (4, 5)
            words, answers = draw.integers(3 + number, high=n_words), draw.integers(3 + number, high=n_answers)
            yield case(draw.normal(n_words, n_answers), words, answers, n_steps, 0.5 + number)

    return cases


def _by_gru(x: np.ndarray, w: np.ndarray, u: np.ndarray, w_keep: np.ndarray, u_keep: np.ndarray) -> Any:
    """PyTorch's GRU, whose other gate, the reset, is held open."""
    gru = nn.GRU(*w.shape, dtype=torch.float64).requires_grad_(False)
    weights = {"weight_ih_l0": (0 * w, w_keep, w), "weight_hh_l0": (0 * u, u_keep, u)}  # reset, keep, proposal
    bias = torch.tensor([100.0, 0.0, 0.0]).repeat_interleave(len(u))
    gru.load_state_dict(
        {name: torch.tensor(np.hstack(parts)).mT for name, parts in weights.items()}
        | {"bias_ih_l0": bias, "bias_hh_l0": bias}
    )
    return gru(torch.tensor(x))[0].numpy()


def _gated_inputs(draw: Draw) -> Iterator[Case]:
    for seq, d, d_state in ((2, 1, 2), (5, 4, 3)):
        shapes = (seq, d), (d, d_state), (d_state, d_state), (d, d_state), (d_state, d_state)
        yield case(*(draw.normal(*shape).double().numpy() for shape in shapes))


_PLACES = 16


def _kept(model: Any, draw: Draw) -> Mapping[str, Any]:
    """What a model of one vector keeps of 16 words. Its last state alone is read, whatever its own forward does."""
    encoder, answer = getattr(model, "encoder", None), getattr(model, "answer", None)
    if not callable(encoder) or not callable(answer):
        raise Complaint(text("a trained OneVector is expected, with its `encoder` and its layer `answer`"))
    words = draw.integers(2000, _PLACES, high=16)
    with torch.no_grad():
        last = encoder(words)[:, -1]
        logits = answer(last)
        if last.ndim != 2 or logits.shape != (len(words), _PLACES * 16):
            raise Complaint(
                text(
                    "`answer` should give 256 logits, 16 for each of 16 places; got {shape}",
                    shape=tuple(logits.shape)[1:],
                )
            )
        found = logits.unflatten(-1, (_PLACES, 16)).argmax(-1)
    right = (found == words.flip(1)).double().mean(0)
    kept = (right - 1 / 16) / (1 - 1 / 16)
    return {"numbers in the state": last.size(1), "words kept of 16": float(kept.sum())}


class _Untrained(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.encoder = nn.Embedding.from_pretrained(Draw(0).normal(16, width).float())
        self.answer = nn.Linear(width, _PLACES * 16, bias=False)
        nn.init.zeros_(self.answer.weight)


def _as_graph(answer: Any, n: int) -> Any:
    graph = answer(n)
    if not isinstance(graph, dict):
        raise Complaint(text("a dictionary is expected; got {given}", given=type(graph).__name__))
    try:
        return {node: sorted(needs) for node, needs in graph.items()}
    except TypeError as error:
        raise Complaint(text("each value of the dictionary should be a list of pairs (layer, place)")) from error


def _dilated(n: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The graph, its number of layers by the logarithm of the length."""
    layers = range(1, (n - 1).bit_length() + 1)
    sees = {(layer, t): (t, t - 2 ** (layer - 1)) for layer in layers for t in range(n)}
    return {node: [(node[0] - 1, place) for place in places if place >= 0] for node, places in sees.items()}


def _lengths(*lengths: int) -> Callable[[Draw], Iterator[Case]]:
    return lambda draw: (case(n) for n in lengths)


EXERCISES = read(
    "why",
    {
        "why-vectors": {
            "reference": _looked_up,
            "stages": (
                Stage("for a few words", _words, gradients=True),
                Stage("for a word that comes twice", _repeated_words),
            ),
        },
        "why-gradient": {
            "reference": _by_autograd,
            "stages": (Stage("for any logits", _logits),),
            "dtypes": (torch.float64,),
            "ready_made": (F.cross_entropy, F.nll_loss, torch.autograd.grad, Tensor.backward),
        },
        "why-descent": {
            "reference": _by_optimizer,
            "stages": (Stage("for one step", _descents(1, 1)), Stage("for several steps", _descents(3, 4))),
        },
        "why-gate": {
            "reference": _by_gru,
            "stages": (Stage("for a few words", _gated_inputs),),
            "dtypes": (torch.float64,),
        },
        "why-width": {
            "measure": _kept,
            "goals": (
                Goal(
                    "at most 64 numbers in the state",
                    "numbers in the state <= 64",
                    "Your vector is wider than the task allows. How far do you get with 64 numbers?",
                    "why-capacity",
                    lambda: _Untrained(80),
                ),
                Goal(
                    "at least 5 of 16 words kept",
                    "words kept of 16 >= 5",
                    "Too few words come back. Is the model trained, and how wide is its state?",
                    "why-capacity",
                    lambda: _Untrained(64),
                ),
            ),
        },
        "why-nothing-fits": {"atol": 0.05},
        "why-dilated": {
            "reference": _dilated,
            "probe": _as_graph,
            "stages": (
                Stage("for two and three words", _lengths(2, 3)),
                Stage("for more words", _lengths(5, 7, 13)),
                Stage("for powers of two", _lengths(4, 8, 16)),
                Stage("for a single word", _lengths(1)),
            ),
            "dtypes": (torch.float64,),
        },
    },
    names={"loss_of": loss_of, "soft_lookup": soft_lookup, "keys": _KEYS, "values": _GRAMS},
)
