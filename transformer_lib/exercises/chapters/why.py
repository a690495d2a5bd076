"""Exercises of the chapter "Why attention"."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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

Words = Sequence[str]


# ---- Words to vectors.


def vectors_of(words: Words, vocabulary: Words, table: Tensor) -> Tensor:
    """The table's row for each word, ``(len(words), width)``; the rows stand in the vocabulary's order."""
    number = {word: place for place, word in enumerate(vocabulary)}
    return table[[number[word] for word in words]]


def _numbers(words: Words, vocabulary: Words, first: int = 0) -> list[int]:
    return [list(vocabulary).index(word) + first for word in words]


def _words(draw: Draw) -> Iterator[Case]:
    yield case(["era", "livro"], ["livro", "carta", "era"], draw.normal(3, 4))
    vocabulary = ["o", "livro", "a", "carta", "era", "nova"]
    for size in (3, 5):
        yield case(draw.python.sample(vocabulary[3:] + vocabulary[:2], size), vocabulary, draw.normal(6, 7))


def _repeated_words(draw: Draw) -> Iterator[Case]:
    yield case(["que", "o", "que"], ["o", "que"], draw.normal(2, 3))


VECTORS = Implement(
    id="why-vectors",
    chapter="why",
    title="From words to vectors",
    level="easy",
    minutes=5,
    task="Write vectors_of(words, vocabulary, table): the table's row for each word.",
    hints=(
        "Two steps: the number of each word, then the row of each number. The cell above does both.",
        "`vocabulary.index(word)` is the place of a word in the vocabulary, and so the number of its row.",
        "A table takes a whole list of numbers in its brackets.",
    ),
    reference=vectors_of,
    stages=(Stage("for a few words", _words), Stage("for a word that comes twice", _repeated_words)),
    mistakes=(
        Mistake(
            "in-order",
            lambda words, vocabulary, table: table[: len(words)],
            "You took the table's first rows, one after another, whatever the words are. A row belongs to a word, and "
            "not to a place in the sentence.",
            "Words become vectors",
        ),
        Mistake(
            "columns",
            lambda words, vocabulary, table: table[:, _numbers(words, vocabulary)],
            "You took columns of the table. A column holds one number of every word, and not one word.",
            "Words become vectors",
        ),
        Mistake(
            "from-one",
            lambda words, vocabulary, table: table[_numbers(words, vocabulary, 1)],
            "You count from 1. The vocabulary's first word has the table's first row, and Python gives that another "
            "number.",
            "Words become vectors",
        ),
        Mistake(
            "alphabetical",
            lambda words, vocabulary, table: table[_numbers(words, sorted(vocabulary))],
            "You sorted the vocabulary. The table's rows stand in the order in which the vocabulary is given.",
            "Words become vectors",
        ),
        Mistake(
            "once",
            lambda words, vocabulary, table: table[_numbers(list(dict.fromkeys(words)), vocabulary)],
            "A word that comes twice has only one vector in your result. How long is a sentence, then?",
            "Words become vectors",
        ),
        Mistake(
            "in-vocabulary-order",
            lambda words, vocabulary, table: table[sorted(_numbers(words, vocabulary))],
            "Your rows stand in the order of the vocabulary. The order of the words in the sentence is lost.",
            "Words become vectors",
        ),
        Mistake(
            "mixed",
            lambda words, vocabulary, table: table[_numbers(words, vocabulary)].mean(0),
            "You made one vector of all words together. Each word keeps its own.",
            "Words become vectors",
        ),
        Mistake(
            "numbers",
            lambda words, vocabulary, table: torch.tensor(_numbers(words, vocabulary)),
            "These are the words' numbers. They only say where to look.",
            "Words become vectors",
        ),
    ),
)


# ---- The gradient.


def _probabilities(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    result: np.ndarray = exponentials / exponentials.sum()
    return result


def gradient_of(logits: np.ndarray, right: int) -> np.ndarray:
    """The gradient of the cross-entropy with regard to the logits."""
    gradient: np.ndarray = _probabilities(logits) - np.eye(len(logits))[right]
    return gradient


def _nudged(logits: np.ndarray, right: int) -> np.ndarray:
    def loss(changed: np.ndarray) -> Any:
        return -np.log(_probabilities(changed)[right])

    return np.array([(loss(logits + 1e-6 * unit) - loss(logits)) / 1e-6 for unit in np.eye(len(logits))])


def _logits(draw: Draw) -> Iterator[Case]:
    for size in (3, 8, 5):
        yield case(draw.normal(size, scale=1.5).double().numpy(), draw.python.randrange(size))


def _gradient(rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Any:
    """A wrong rule, from the probabilities and the 1 at the right answer."""
    return lambda logits, right: rule(_probabilities(logits), np.eye(len(logits))[right])


GRADIENT = Implement(
    id="why-gradient",
    chapter="why",
    title="The gradient without PyTorch",
    level="easy",
    minutes=10,
    task="Find the rule of the gradient, and write gradient_of(logits, right) in NumPy.",
    hints=(
        "What are the eight probabilities when all logits are 0? `loss_of` returns them too.",
        "Only at the right answer do probability and gradient differ. By how much?",
        "Try your rule on logits that are not all alike, and compare with nudging, as in the cell above.",
    ),
    reference=gradient_of,
    stages=(Stage("for any logits", _logits),),
    dtypes=(torch.float64,),
    ready_made=(F.cross_entropy, F.nll_loss, torch.autograd.grad, Tensor.backward),
    mistakes=(
        Mistake(
            "probabilities",
            _gradient(lambda p, one: p),
            "These are the probabilities. Stepping against them would lower every logit, also that of the right "
            "answer.",
            "Learning, in eight words",
        ),
        Mistake(
            "sign",
            _gradient(lambda p, one: one - p),
            "The numbers are right, with the other sign. This is the direction in which to step; the gradient points "
            "to where the loss rises.",
            "Learning, in eight words",
        ),
        Mistake(
            "only-the-right-one",
            _gradient(lambda p, one: one * (p - 1)),
            "Your gradient is 0 at all wrong answers. But their logits are in the sum that the probabilities are "
            "divided by.",
            "Learning, in eight words",
        ),
        Mistake(
            "minus-everywhere",
            _gradient(lambda p, one: p - 1),
            "You subtract from every probability. Look again at the gradient above: at the wrong answers it is "
            "positive.",
            "Learning, in eight words",
        ),
        Mistake(
            "guessing-only",
            _gradient(lambda p, one: 1 / len(p) - one),
            "This is the gradient of a model that only guesses. For other logits, the probabilities are not all alike.",
            "Learning, in eight words",
        ),
        Mistake(
            "by-probability",
            _gradient(lambda p, one: -one / p),
            "This is how the loss changes with the probability of the right answer. The question is how it changes "
            "with the logits, and the softmax lies between them.",
            "Learning, in eight words",
        ),
        Mistake(
            "logits",
            lambda logits, right: logits - np.eye(len(logits))[right],
            "You started from the logits themselves. Compare with the gradient above: when all logits were 0, it was "
            "not 0 at the wrong answers.",
            "Learning, in eight words",
        ),
        Mistake(
            "nudging",
            _nudged,
            "You nudged each logit. That is nearly right, and slow: it takes a computation for each logit. Find the "
            "rule behind the numbers.",
            "Learning, in eight words",
        ),
    ),
)


# ---- Gradient descent.


def _descent(softmax: bool = False, clear: str = "in time", log: bool = True) -> Any:
    """Gradient descent with its faults left or mended."""

    def descend(table: Tensor, words: Tensor, answers: Tensor, steps: int, rate: float) -> Tensor:
        table = table.clone().requires_grad_()
        for _ in range(steps):
            scores = table[words].softmax(-1) if softmax else table[words]
            (F.cross_entropy if log else F.nll_loss)(scores, answers).backward()
            assert table.grad is not None
            if clear == "too early":
                table.grad.zero_()
            with torch.no_grad():
                table -= rate * table.grad
            if clear == "in time":
                table.grad.zero_()
        return table.detach()

    return descend


def _descents(*steps: int) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        for number, n_steps in enumerate(steps):
            n_words, n_answers = (2, 3) if number == 0 else (4, 5)
            words, answers = draw.integers(3 + number, high=n_words), draw.integers(3 + number, high=n_answers)
            yield case(draw.normal(n_words, n_answers), words, answers, n_steps, 0.5 + number)

    return cases


DESCENT = Debug(
    id="why-descent",
    chapter="why",
    title="Training that goes astray",
    level="medium",
    minutes=10,
    task="Find the two faults of a colleague's loop of gradient descent and mend them.",
    hints=(
        "Do two steps by hand: print `table.grad` after each. Is the second gradient that of the second step alone?",
        "`backward` adds what it finds to what `.grad` already holds. What does the chapter's loop do about it?",
        "The other fault shows in the first step already. What does `F.cross_entropy` get in the chapter's loop, and "
        "what here?",
    ),
    reference=_descent(),
    given=_descent(softmax=True, clear="never"),
    stages=(Stage("for one step", _descents(1, 1)), Stage("for several steps", _descents(3, 4))),
    mistakes=(
        Mistake(
            "softmax-left",
            _descent(softmax=True),
            "One fault is mended: each step now has its own gradient. But `F.cross_entropy` contains a step that the "
            "code has already done itself, so it is done twice.",
            "Learning, in eight words",
        ),
        Mistake(
            "gradients-left",
            _descent(clear="never"),
            "One fault is mended: the first step is right. But the second uses the first one's gradient too, and so "
            "on.",
            "Learning, in eight words",
        ),
        Mistake(
            "forgotten-too-early",
            _descent(clear="too early"),
            "You forget the gradient before it was used, so the table never moves.",
            "Learning, in eight words",
        ),
        Mistake(
            "no-logarithm",
            _descent(softmax=True, log=False),
            "You took another loss, and that one has no logarithm: it is minus the probability. The loss of this "
            "chapter is the cross-entropy.",
            "Learning, in eight words",
        ),
    ),
)


# ---- A gate.


def read_gated(x: np.ndarray, w: np.ndarray, u: np.ndarray, w_keep: np.ndarray, u_keep: np.ndarray) -> np.ndarray:
    """The state after each word, ``(seq, d_state)``, of a recurrent network that keeps a part of its state."""
    states: np.ndarray = _gated()(x, w, u, w_keep, u_keep)
    return states


def _sigmoid(numbers: Any) -> Any:
    return 1 / (1 + np.exp(-numbers))


def _gated(mix: str = "right", gate: str = "right", result: str = "all") -> Any:
    """The gated reader, with one choice wrong."""

    def reader(x: np.ndarray, w: np.ndarray, u: np.ndarray, w_keep: np.ndarray, u_keep: np.ndarray) -> Any:
        state, states = np.zeros(u.shape[0]), []
        for word in x:
            new = np.tanh(word @ w + state @ u)
            keep = word @ w_keep + (new if gate == "late" else state) @ u_keep
            keep = np.tanh(keep) if gate == "tanh" else _sigmoid(keep.mean() if gate == "one number" else keep)
            if gate == "word only":
                keep = _sigmoid(word @ w_keep)
            state = {
                "right": keep * state + (1 - keep) * new,
                "exchanged": (1 - keep) * state + keep * new,
                "added": keep * state + new,
                "kept outside": np.tanh(word @ w + (keep * state) @ u),
            }[mix]
            states.append(state)
        return np.array(states) if result == "all" else state

    return reader


def _gated_inputs(draw: Draw) -> Iterator[Case]:
    for seq, d, d_state in ((2, 1, 2), (5, 4, 3)):
        shapes = (seq, d), (d, d_state), (d_state, d_state), (d, d_state), (d_state, d_state)
        yield case(*(draw.normal(*shape).double().numpy() for shape in shapes))


GATE = Implement(
    id="why-gate",
    chapter="why",
    title="A state that is kept",
    level="medium",
    minutes=15,
    task="Write read_gated(x, w, u, w_keep, u_keep): the recurrent loop with a gate, which returns all states.",
    hints=(
        "Start from `read`. What it calls the next state is here only a proposal.",
        "`keep` is computed as the proposal is, from the word and the old state, but with its own matrices, and with "
        "the sigmoid in place of tanh.",
        "For each number: a share of the old one, and the rest of the new one. If `keep` is 1, what remains of the "
        "word?",
    ),
    reference=read_gated,
    stages=(Stage("for a few words", _gated_inputs),),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "exchanged",
            _gated(mix="exchanged"),
            "Your gate works the wrong way round: where `keep` is near 1, the old number is overwritten.",
            "How many words fit into one vector?",
        ),
        Mistake(
            "added",
            _gated(mix="added"),
            "You keep a share of the old state, but take all of the proposal. The two shares sum to more than 1, and "
            "the state can grow.",
            "How many words fit into one vector?",
        ),
        Mistake(
            "kept-in-the-proposal",
            _gated(mix="kept outside"),
            "Your gate only shrinks the old state on its way into tanh. So every number is still overwritten at every "
            "word.",
            "Reading word by word",
        ),
        Mistake(
            "late-gate",
            _gated(gate="late"),
            "Your gate looks at the proposal. It should decide from the word and the old state.",
            "How many words fit into one vector?",
        ),
        Mistake(
            "word-only",
            _gated(gate="word only"),
            "Your gate looks at the word alone. What is worth keeping depends on the state, too.",
            "How many words fit into one vector?",
        ),
        Mistake(
            "tanh-gate",
            _gated(gate="tanh"),
            "Your gate uses tanh, so its numbers lie between -1 and 1. A share cannot be negative.",
            "Reading word by word",
        ),
        Mistake(
            "one-gate-for-all",
            _gated(gate="one number"),
            "You have one gate for the whole state. Each number of the state has its own.",
            "How many words fit into one vector?",
        ),
        Mistake(
            "last-only",
            _gated(result="last"),
            "You return the last state alone. The states after all the other words are asked for, too.",
            "Reading word by word",
        ),
    ),
)


# ---- A wider vector.

_PLACES = 16


def _kept(model: Any, draw: Draw) -> Mapping[str, Any]:
    """What a model of one vector keeps of 16 words. Its last state alone is read, whatever its own forward does."""
    encoder, answer = getattr(model, "encoder", None), getattr(model, "answer", None)
    if not callable(encoder) or not isinstance(answer, Tensor):
        raise Complaint("a trained OneVector is expected, with its `encoder` and its matrices `answer`")
    words = draw.integers(2000, _PLACES, high=16)
    with torch.no_grad():
        last = encoder(words)[:, -1]
        if last.ndim != 2 or answer.shape != (_PLACES, last.size(1), 16):
            raise Complaint(f"for 16 places, `answer` should have the shape (16, width, 16); got {tuple(answer.shape)}")
        found = torch.einsum("bd,pdv->bpv", last, answer).argmax(-1)
    right = (found == words.flip(1)).double().mean(0)
    kept = (right - 1 / 16) / (1 - 1 / 16)
    return {"numbers in the state": last.size(1), "words kept of 16": float(kept.sum())}


class _Untrained(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.encoder = nn.Embedding.from_pretrained(Draw(0).normal(16, width).float())
        self.answer = nn.Parameter(Draw(1).normal(_PLACES, width, 16).float())


WIDTH = Explore(
    id="why-width",
    chapter="why",
    title="A wider vector",
    level="easy",
    minutes=10,
    task="Train a OneVector of at most 64 numbers that keeps at least 5 of 16 words.",
    hints=(
        "`trained` does all the work. It takes the class, the width and a seed.",
        "What does `words_kept` say for a width between 32 and 64?",
        "If you have a minute, look at longer training too: write your own variant of `trained` with 1,000 steps. What "
        "does the plateau do?",
    ),
    expects="a trained OneVector",
    measure=_kept,
    goals=(
        Goal(
            "at most 64 numbers in the state",
            lambda measured: measured["numbers in the state"] <= 64,
            "Your vector is wider than the task allows. How far do you get with 64 numbers?",
            "How many words fit into one vector?",
            lambda: _Untrained(80),
        ),
        Goal(
            "at least 5 of 16 words kept",
            lambda measured: measured["words kept of 16"] >= 5,
            "Too few words come back. Is the model trained, and how wide is its state?",
            "How many words fit into one vector?",
            lambda: _Untrained(64),
        ),
    ),
)


# ---- A question that fits nothing.


def _answered(query: Sequence[float] = (0.0, 0.0), rows: int = 3) -> float:
    keys = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0]], dtype=torch.float64)[:rows]
    values = torch.tensor([[300.0], [20.0], [100.0]], dtype=torch.float64)[:rows]
    output, _ = lib.attention(torch.tensor([list(query)], dtype=torch.float64), keys, values, scale=1.0)
    return output.item()


NOTHING = Predict(
    id="why-nothing-fits",
    chapter="why",
    title="A question that fits nothing",
    level="easy",
    minutes=5,
    task="Say what the soft dictionary answers to a query that agrees with none of its three keys.",
    hints=(
        "What is the dot product of `[0, 0]` with each key?",
        "The softmax turns three equal scores into three weights that sum to 1.",
    ),
    reference=_answered,
    expects="a number of grams",
    atol=0.05,
    mistakes=(
        Mistake(
            "nothing",
            0.0,
            "You let the dictionary answer nothing. A score of 0 is not a weight of 0: what is e to the power of 0?",
            "A dictionary that can be asked inexact questions",
        ),
        Mistake(
            "sum",
            lambda: 3 * _answered(),
            "You added the values up. The weights do not all become 1: what do they sum to?",
            "A dictionary that can be asked inexact questions",
        ),
        Mistake(
            "third-left-out",
            lambda: _answered(rows=2),
            "You left revista out. Its key points away from that of livro, but does the query?",
            "A dictionary that can be asked inexact questions",
        ),
        Mistake(
            "first",
            300.0,
            "You chose livro. Does its key agree better with the query than the others do?",
            "A dictionary that can be asked inexact questions",
        ),
        Mistake(
            "second",
            20.0,
            "You chose carta. Does its key agree better with the query than the others do?",
            "A dictionary that can be asked inexact questions",
        ),
        Mistake(
            "third",
            100.0,
            "You chose revista. Does its key agree better with the query than the others do?",
            "A dictionary that can be asked inexact questions",
        ),
    ),
)


# ---- A convolution with gaps.

Graph = dict[tuple[int, int], list[tuple[int, int]]]


def dilated(n: int) -> Graph:
    """The graph of a dilated convolution whose last place sees all ``n`` words."""
    graph: Graph = {}
    layer, gap = 1, 1
    while gap < n:
        for t in range(n):
            graph[layer, t] = [(layer - 1, s) for s in (t - gap, t) if s >= 0]
        layer, gap = layer + 1, 2 * gap
    return graph


def _dilated(
    gap: Callable[[int], int] = lambda layer: 2 ** (layer - 1),
    needed: Callable[[int, int], int] = lambda n, layer: int(2 ** (layer - 1) < n),
    sees: Callable[[int, int, int], list[int]] = lambda t, gap, n: [t - gap, t] if t >= gap else [t],
    below: Callable[[int], int] = lambda layer: layer - 1,
) -> Any:
    """The graph with one choice wrong: the gap of a layer, whether it is needed, what it sees, and in which layer."""

    def wrong(n: int) -> Graph:
        graph: Graph = {}
        layer = 1
        while needed(n, layer):
            for t in range(n):
                graph[layer, t] = [(below(layer), s) for s in sees(t, gap(layer), n)]
            layer += 1
        return graph

    return wrong


def _as_graph(answer: Any, n: int) -> Any:
    graph = answer(n)
    if not isinstance(graph, dict):
        raise Complaint(f"a dictionary is expected, like that of `convolution`; got {type(graph).__name__}")
    try:
        return {node: sorted(needs) for node, needs in graph.items()}
    except TypeError as error:
        raise Complaint("each value of the dictionary should be a list of pairs (layer, place)") from error


def _lengths(*lengths: int) -> Callable[[Draw], Iterator[Case]]:
    return lambda draw: (case(n) for n in lengths)


DILATED = Implement(
    id="why-dilated",
    chapter="why",
    title="A convolution with gaps",
    level="medium",
    minutes=15,
    task="Write dilated(n): the graph of a dilated convolution, with as many layers as its last place needs.",
    hints=(
        "Start from `convolution`. Only the reach and the number of layers are others.",
        "After a layer with the gap `s`, the last place sees `2 * s` words. So when is another layer needed?",
        "Write the graph for three words on paper: layer 1, then layer 2. Which pairs would have a place below 0?",
    ),
    probe=_as_graph,
    reference=dilated,
    stages=(
        Stage("for two and three words", _lengths(2, 3)),
        Stage("for more words", _lengths(5, 7, 13)),
        Stage("for powers of two", _lengths(4, 8, 16)),
    ),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "no-gaps",
            _dilated(gap=lambda layer: 1, needed=lambda n, layer: layer < n),
            "Your gap stays 1, so it takes a layer for each further word. This is the convolution without gaps.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "growing-by-one",
            _dilated(gap=lambda layer: layer, needed=lambda n, layer: layer * (layer - 1) // 2 < n - 1),
            "Your gap grows by one with each layer: 1, 2, 3. So it takes more layers than needed.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "from-two",
            _dilated(gap=lambda layer: 2**layer),
            "Your first layer already has a gap of 2. Then neighbors never meet.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "one-layer-too-few",
            _dilated(needed=lambda n, layer: layer == 1 or 2**layer < n),
            "You stop a layer too early: look with `distances` whether the last place sees all words.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "one-layer-too-many",
            _dilated(needed=lambda n, layer: 2 ** (layer - 1) <= n),
            "You add a layer too many where the number of words is a power of two: the last place sees all of them "
            "already.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "always-the-input",
            _dilated(below=lambda layer: 0),
            "All your layers look at the input. They should look at the layer below them; else none sees what the "
            "others have gathered.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "below-zero",
            _dilated(sees=lambda t, gap, n: [t - gap, t]),
            "Your graph has places below 0. There are no words before the first.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "around-the-end",
            _dilated(sees=lambda t, gap, n: [(t - gap) % n, t]),
            "At the start of the sentence, your layer sees words from its end. A place below 0 is no word.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "forward",
            _dilated(sees=lambda t, gap, n: [s for s in (t, t + gap) if s < n]),
            "Your layer looks ahead, at the places after its own. So the last place never sees more than itself.",
            "How far is it from one word to another?",
        ),
        Mistake(
            "without-itself",
            _dilated(sees=lambda t, gap, n: [t - gap] if t >= gap else []),
            "Your layer looks back, but not at its own place. Then the words in the gap are lost.",
            "How far is it from one word to another?",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (VECTORS, GRADIENT, DESCENT, GATE, WIDTH, NOTHING, DILATED)
