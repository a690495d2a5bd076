"""Exercises of the chapter "Self-attention"."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib import data
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
    with_weights,
)

Function = Callable[[Tensor], Tensor]


# ---- A head that remembers.


class Remembering(nn.Module):
    """One head: the tokens look at all of the memory, and of their own sequence at the past."""

    def __init__(self, d_model: int):
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        source = x if memory is None else torch.cat([memory, x], dim=-2)
        output, weights = lib.attention(self.q_proj(x), self.k_proj(source), self.v_proj(source), causal=True)
        return self.o_proj(output), weights


def _remembering(
    source: str = "both", asks: str = "x", sees: str = "right", memory_raw: bool = False, mixed: bool = True
) -> type[nn.Module]:
    """The layer with one choice wrong."""

    class Wrong(Remembering):
        def forward(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
            old = x[..., :0, :] if memory is None else memory
            both = [x, old] if source == "appended" else [old, x]
            if source == "memory" and memory is not None:
                both = [old]
            looked_at = torch.cat([x] if source == "x" else both, dim=-2)
            asking = looked_at if asks == "both" else x
            key, value = self.k_proj(looked_at), self.v_proj(looked_at)
            if memory_raw:
                key, value = (torch.cat([old, projected(x)], dim=-2) for projected in (self.k_proj, self.v_proj))
            mask = {
                "right": lib.causal_mask(asking.size(-2), looked_at.size(-2)),
                "everything": None,
                "top-left": torch.ones(asking.size(-2), looked_at.size(-2), dtype=torch.bool).tril(),
                "strict": lib.causal_mask(asking.size(-2), looked_at.size(-2)).tril(old.size(-2) - 1),
            }[sees if source != "memory" or memory is None else "everything"]
            output, weights = lib.attention(self.q_proj(asking), key, value, mask)
            return self.o_proj(output) if mixed else output, weights

    return Wrong


def _remembered(answer: Any, x: Tensor, memory: Tensor | None = None) -> Any:
    return with_weights(answer, Remembering, x.size(-1), dtype=x.dtype)(x, memory)


def _with_memory(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3), draw.normal(3, 3))
    yield case(draw.normal(4, 5), draw.normal(2, 5))


def _without_memory(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(3, 2))


def _in_batches(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(2, 3, 4), draw.normal(2, 5, 4))


MEMORY = Implement(
    id="self-memory",
    chapter="self",
    title="A head that remembers",
    level="medium",
    minutes=20,
    task="Write the class Remembering(d_model): self-attention under the causal mask, over a memory and the tokens.",
    hints=(
        "Start from `SingleHead`. Queries come from the tokens alone. Where do keys and values come from?",
        "`torch.cat([…, …], dim=-2)` puts two sequences one after the other. Which comes first?",
        "Write the mask for two tokens and a memory of three on paper: two rows, five columns. How many `True` has the "
        "first row? `torch.tril` takes a second argument that moves the diagonal.",
    ),
    probe=_remembered,
    reference=Remembering,
    stages=(
        Stage("without a memory", _without_memory, gradients=True),
        Stage("with a memory", _with_memory, gradients=True),
        Stage("for batches", _in_batches),
    ),
    allowed=(lib.attention, lib.fused_attention),
    mistakes=(
        Mistake(
            "memory-alone",
            _remembering(source="memory"),
            "Where there is a memory, your tokens look at the memory alone. That is cross-attention; here they look at "
            "each other too.",
            "Self- and cross-attention",
        ),
        Mistake(
            "memory-ignored",
            _remembering(source="x"),
            "Your tokens look at each other, and the memory is not used.",
            "Self- and cross-attention",
        ),
        Mistake(
            "memory-asks",
            _remembering(asks="both"),
            "The memory asks, too: your result has a row for each of its tokens. Nobody needs their answers again.",
            "Self- and cross-attention",
        ),
        Mistake(
            "memory-last",
            _remembering(source="appended"),
            "You put the memory behind the tokens. What came earlier then looks like the future, and the mask hides "
            "the wrong keys.",
            "scaled: Masks: what may be seen",
        ),
        Mistake(
            "no-mask",
            _remembering(sees="everything"),
            "Your tokens see those that come after them.",
            "scaled: Masks: what may be seen",
        ),
        Mistake(
            "mask-at-the-wrong-corner",
            _remembering(sees="top-left"),
            "Your mask starts its diagonal at the first column. With a memory, the first columns are not the tokens "
            "themselves: your first token sees one key of the memory, and not itself.",
            "scaled: Masks: what may be seen",
        ),
        Mistake(
            "not-itself",
            _remembering(sees="strict"),
            "Your tokens see what came before them, but not themselves.",
            "scaled: Masks: what may be seen",
        ),
        Mistake(
            "memory-not-projected",
            _remembering(memory_raw=True),
            "You took the memory as it is for keys and values. It is made of tokens like the others, which only become "
            "keys and values by the matrices.",
            "One sequence in three roles",
        ),
        Mistake(
            "no-last-projection",
            _remembering(mixed=False),
            "Your output has not passed through `o_proj`.",
            "One sequence in three roles",
        ),
    ),
)


# ---- Read twice.


def _twice() -> tuple[int, int]:
    x = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = lib.MultiHeadAttention(16, n_heads=4).double().requires_grad_(False)

    def same(causal: bool) -> int:
        once, twice = layer(x, causal=causal)[0], layer(torch.cat([x, x], dim=1), causal=causal)[0, 8:]
        return int(torch.isclose(once, twice, atol=1e-9).all(-1).sum())

    return same(causal=False), same(causal=True)


TWICE = Predict(
    id="self-twice",
    chapter="self",
    title="Read twice",
    level="medium",
    minutes=10,
    task="Say how many tokens get the same output when the sentence is read a second time, without and with a mask.",
    hints=(
        "Attention is a weighted average. What happens to an average when every value is there twice?",
        "In the second reading, a weight is half as large as before, and there are two keys for each word.",
        "Under the mask, write down for some tokens of the second reading how often they see each word. An average "
        "stays the same if every word is seen equally often.",
    ),
    reference=_twice,
    expects="two whole numbers from 0 to 8: without a mask, then with the causal mask",
    mistakes=(
        Mistake(
            "mask-forgotten",
            (8, 8),
            "Your first number is right. But under the mask, a token of the second reading sees some words once and "
            "some twice.",
            "Order is invisible",
        ),
        Mistake(
            "none-under-the-mask",
            (8, 0),
            "Your first number is right. For the second: is there no token at all that sees every word equally often?",
            "Order is invisible",
        ),
        Mistake(
            "all-but-one",
            (8, 7),
            "Your first number is right. For the second: which words does the first token of the second reading see, "
            "and which did it see in the first?",
            "Order is invisible",
        ),
        Mistake(
            "all-change",
            (0, 0),
            "There are twice as many keys, so each weight is smaller. But how many keys now hold the same word?",
            "Order is invisible",
        ),
        Mistake(
            "first-wrong",
            (0, 1),
            "Your second number is right. Without a mask, each weight is smaller in the second reading. But how many "
            "keys now hold the same word?",
            "Order is invisible",
        ),
        Mistake(
            "the-other-order",
            (1, 8),
            "You gave the two numbers in the other order, or you think that a mask makes the readings more alike. The "
            "number without a mask comes first.",
            "Order is invisible",
        ),
    ),
)


# ---- Causal or not?


class _Named:
    """A function that a failing check can name."""

    def __init__(self, name: str, function: Function):
        self.name, self.function = name, function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __repr__(self) -> str:
        return f"({self.name})"


def is_causal(function: Function, x: Tensor) -> bool:
    """Whether the function's first outputs stay the same, however the text goes on."""
    whole = function(x)
    return all(torch.allclose(function(x[:t]), whole[:t], atol=1e-6) for t in range(1, len(x) + 1))


def _tested(
    lengths: Callable[[int], Sequence[int]] = lambda n: range(1, n + 1),
    alike: Callable[[Tensor, Tensor], bool] = lambda one, other: torch.allclose(one, other, atol=1e-6),
    kept: Callable[[Tensor, int], Tensor] = lambda whole, t: whole[:t],
) -> Any:
    def wrong(function: Function, x: Tensor) -> bool:
        whole = function(x)
        return all(alike(function(x[:t]), kept(whole, t)) for t in lengths(len(x)))

    return wrong


def _by_changing(function: Function, x: Tensor) -> bool:
    before = function(x)
    for place in range(1, len(x)):
        changed = x.clone()
        changed[place] += 1.0
        if not torch.allclose(function(changed)[:place], before[:place], atol=1e-6):
            return False
    return True


def _leak(row: int, size: float = 1.0) -> _Named:
    def function(x: Tensor) -> Tensor:
        result = x.cumsum(0)
        if len(x) > row + 1:
            result[row] += size * x[row + 1]
        return result

    return _Named(f"running sums, but row {row} sees row {row + 1}", function)


def _looking_back(draw: Draw) -> Iterator[Case]:
    causal = _Named("attention with the causal mask", lambda x: lib.attention(x, x, x, causal=True)[0])
    rounded = _Named("running sums, rounded differently for each length", lambda x: x.cumsum(0) + 1e-9 * len(x))
    for function in (_Named("running sums", lambda x: x.cumsum(0)), causal, rounded):
        yield case(function, draw.normal(5, 2))


def _looking_ahead(draw: Draw) -> Iterator[Case]:
    free = _Named("attention without a mask", lambda x: lib.attention(x, x, x)[0])
    ahead = _Named("each row is the next one", lambda x: x.roll(-1, dims=0))
    for function in (ahead, free):
        yield case(function, draw.normal(5, 2))


def _single_leaks(draw: Draw) -> Iterator[Case]:
    x = draw.uniform(5, 2, low=0.5, high=1.5)
    for row in range(4):
        yield case(_leak(row), x)
    yield case(_leak(2, size=0.001), x)


def _by_length(draw: Draw) -> Iterator[Case]:
    function = _Named("each row, divided by the number of rows", lambda x: x / len(x))
    yield case(function, draw.uniform(5, 2, low=0.5, high=1.5))


CAUSAL = Implement(
    id="self-causal",
    chapter="self",
    title="Causal or not?",
    level="easy",
    minutes=10,
    task="Write is_causal(function, x): whether the first outputs stay the same, however the text goes on.",
    hints=(
        "`x[:t]` are the first `t` rows. Loop over `t`.",
        "Two computations of the same number may differ in the last bit. Compare with `torch.allclose(…, atol=1e-6)`.",
        "One length that differs is enough for `False`. How many must agree for `True`?",
    ),
    reference=is_causal,
    stages=(
        Stage("for functions that look back", _looking_back),
        Stage("for functions that look ahead", _looking_ahead),
        Stage("for a leak at a single place", _single_leaks),
        Stage("for outputs that depend on the length", _by_length),
    ),
    dtypes=(torch.float64,),
    allowed=(lib.attention,),
    mistakes=(
        Mistake(
            "always-true",
            lambda function, x: True,
            "Your test says `True` to every function. One comparison can never fail, that of the whole with itself; if "
            "it is enough, nothing is tested.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "first-length-only",
            _tested(lambda n: [1]),
            "You only try the first length, 1. Does your loop return before it comes to the second?",
            "The causal mask, by experiment",
        ),
        Mistake(
            "last-word-only",
            _tested(lambda n: [n - 1]),
            "You only leave out the last word. An output in the middle may have looked at the word right after it.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "half-only",
            _tested(lambda n: [n // 2]),
            "You cut the text at one place, in the middle. What is before it may still look ahead within its half.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "bit-for-bit",
            _tested(alike=torch.equal),
            "You ask for equality bit by bit. The same number, computed in two ways, may differ in its last digits.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "too-generous",
            _tested(alike=lambda one, other: torch.allclose(one, other, atol=0.01)),
            "You allow for more than rounding, so a small leak goes unseen.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "wrong-end",
            _tested(kept=lambda whole, t: whole[-t:]),
            "You compare the first outputs with the last ones.",
            "The causal mask, by experiment",
        ),
        Mistake(
            "by-changing",
            _by_changing,
            "You change inputs, as the chapter does. That finds every look at a *word* that comes later. But the text "
            "always stays as long as it is, so you miss an output that depends on the length.",
            "The causal mask, by experiment",
        ),
    ),
)


# ---- Tokens that give the answer away.

Sentences = Sequence[Sequence[str]]


def giveaways(sentences: Sentences, answers: Sequence[int]) -> list[str]:
    """The tokens, sorted, that stand in at least two sentences and always go with the same answer."""
    return _giveaways()(sentences, answers)  # type: ignore[no-any-return]


def _giveaways(
    given_away: Callable[[list[int], Sequence[int]], bool] = lambda found, answers: len(set(found)) == 1,
    at_least: int = 2,
    tokens: Callable[[Sequence[str]], Any] = set,
) -> Any:
    def find(sentences: Sentences, answers: Sequence[int]) -> list[str]:
        found: dict[str, list[int]] = {}
        for sentence, answer in zip(sentences, answers, strict=True):
            for token in tokens(sentence):
                found.setdefault(token, []).append(answer)
        return sorted(
            token for token, its in found.items() if len(its) >= at_least and given_away(its, [int(a) for a in answers])
        )

    return find


def _shuffled(draw: Draw, text: str, answers: Sequence[int]) -> Case:
    pairs = list(zip([line.split() for line in text.splitlines()], answers, strict=True))
    draw.python.shuffle(pairs)
    return case([sentence for sentence, _ in pairs], [answer for _, answer in pairs])


def _sentences(draw: Draw) -> Iterator[Case]:
    yield _shuffled(draw, "O rio\nA lua\nO sol\nO mar\nA flor", (0, 1, 0, 0, 1))
    text = "o gato viu o rio\na gata viu a lua\no gato quer a lua\na gata quer o rio\num gato viu a lua"
    yield _shuffled(draw, f"{text}\ncada gato viu cada rio", (0, 1, 0, 1, 0, 1))


def _fair(draw: Draw) -> Iterator[Case]:
    yield _shuffled(draw, "sim talvez\ntalvez sim\nsim\nsim talvez", (0, 1, 1, 0))


CAPITAL = Implement(
    id="self-capital",
    chapter="self",
    title="The capital letter",
    level="easy",
    minutes=15,
    task="Write giveaways(sentences, answers): the tokens that always go with the same answer.",
    hints=(
        "A dictionary from each token to the answers of the sentences that it stands in.",
        "A token that stands twice in a sentence still has one answer from it. `set(sentence)` has every token once.",
        "Of the answers of a token, two things matter: how many there are, and how many different ones.",
    ),
    reference=giveaways,
    stages=(
        Stage("for sentences that give the answer away", _sentences),
        Stage("for sentences that do not", _fair),
    ),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "once-is-enough",
            _giveaways(at_least=1),
            "You count tokens that stand in a single sentence. Such a token has one answer whatever it means; one "
            "sentence shows nothing.",
            "A word that must look far",
        ),
        Mistake(
            "twice-in-one-sentence",
            _giveaways(tokens=list),
            "You count how often a token occurs, and not in how many sentences. Twice in one sentence is one sentence.",
            "A word that must look far",
        ),
        Mistake(
            "mostly",
            _giveaways(lambda found, answers: sum(found) * 2 != len(found)),
            "You count tokens that go with one answer more often than with the other. They help to guess, but they do "
            "not give the answer away: one counterexample is enough.",
            "A word that must look far",
        ),
        Mistake(
            "first-token-only",
            _giveaways(tokens=lambda sentence: sentence[:1]),
            "You look at the first token alone. To a bag of words, a token tells as much at any other place.",
            "Order is invisible",
        ),
        Mistake(
            "in-every-sentence",
            _giveaways(lambda found, answers: len(set(found)) == 1 and len(found) == answers.count(found[0])),
            "You ask that every sentence with this answer has the token. It is the other way round: every sentence "
            "with the token has this answer.",
            "A word that must look far",
        ),
        Mistake(
            "only-the-answer-1",
            _giveaways(lambda found, answers: set(found) == {1}),
            "You find the tokens that give away the answer 1. Those that give away 0 are missing.",
            "A word that must look far",
        ),
        Mistake(
            "only-the-answer-0",
            _giveaways(lambda found, answers: set(found) == {0}),
            "You find the tokens that give away the answer 0. Those that give away 1 are missing. Is a 0 taken for "
            "nothing somewhere?",
            "A word that must look far",
        ),
    ),
)


# ---- Through all layers.


def _own(weights: Tensor) -> Tensor:
    return torch.eye(weights.size(-1), dtype=weights.dtype)


def through_layers(weights: Sequence[Tensor]) -> Tensor:
    """How much of each input is in each output, if a layer adds one half of its own to one half of what it found."""
    return _through()(weights)  # type: ignore[no-any-return]


def _through(own: str = "half", order: str = "right", join: str = "product") -> Any:
    """The shares with one choice wrong."""

    def shares(weights: Sequence[Tensor]) -> Tensor:
        total = _own(weights[0])
        steps = [{"half": (w + _own(w)) / 2, "whole": w + _own(w)}.get(own, w) for w in weights]
        if join == "mean":
            return torch.stack(steps).mean(0)
        if join == "last":
            return steps[-1]
        for number, step in enumerate(steps):
            if join == "places":
                total = step if number == 0 else total * step
            else:
                total = total @ step if order == "left" else step @ total
        return (total + _own(total)) / 2 if own == "at the end" else total

    return shares


def _layers(*shapes: tuple[int, ...]) -> Callable[[Draw], Iterator[Case]]:
    def cases(draw: Draw) -> Iterator[Case]:
        for n_layers, *shape in shapes:
            yield case([draw.normal(*shape, shape[-1], scale=1.5).softmax(-1) for _ in range(n_layers)])

    return cases


ROLLOUT = Debug(
    id="self-rollout",
    chapter="self",
    title="Through both layers",
    level="medium",
    minutes=15,
    task="Find the two faults of a colleague's through_layers, which should follow the shares through all layers.",
    hints=(
        "Try one layer. By the statement, how much of itself does a token still hold after it, at least?",
        "Then two layers: the output asks the middle, and the middle asks the input. In a product of matrices, which "
        "side do the outputs stand on?",
        "`torch.eye(n, dtype=…)` holds each token's own. How do you make one half of it and one half of the weights?",
    ),
    reference=through_layers,
    given=_through(own="none", order="left"),
    stages=(
        Stage("for one layer", _layers((1, 3), (1, 4))),
        Stage("for two layers", _layers((2, 3), (2, 5))),
        Stage("for three layers and a batch", _layers((3, 2, 4))),
    ),
    mistakes=(
        Mistake(
            "own-half-left",
            _through(own="none"),
            "One fault is mended: the layers now come in the right order. But a token that looks elsewhere still loses "
            "everything that it held before.",
            "A word that must look far",
        ),
        Mistake(
            "order-left",
            _through(order="left"),
            "One fault is mended: a token keeps its own half. But look at two layers: who asks first, and who is asked "
            "in the last?",
            "Where does the adjective look?",
        ),
        Mistake(
            "not-halved",
            _through(own="whole"),
            "You add the token's own as a whole to all that it has looked up. The shares of a row then sum to more "
            "than 1.",
            "A word that must look far",
        ),
        Mistake(
            "own-at-the-end",
            _through(own="at the end"),
            "You add the token's own once, after the last layer. It stays in every layer.",
            "A word that must look far",
        ),
        Mistake(
            "mean-of-layers",
            _through(join="mean"),
            "You took the mean of the layers. That cannot see a messenger: what reaches the output in two steps is in "
            "none of the maps.",
            "Where does the adjective look?",
        ),
        Mistake(
            "last-layer-only",
            _through(join="last"),
            "You kept the last layer alone. It looks at tokens that are already mixed by the layer before.",
            "Where does the adjective look?",
        ),
        Mistake(
            "place-by-place",
            _through(join="places"),
            "You multiplied the maps place by place. That keeps the ways on which both layers look at the same token; "
            "a messenger is another token in the middle.",
            "Where does the adjective look?",
        ),
    ),
)


# ---- Silence the messenger.


def _silenced(model: Any, draw: Draw) -> Mapping[str, Any]:
    """The accuracy on new long clauses, while nobody may look at *que* in the second layer."""
    drawn = data.agreement_sentences(200, draw.generator, split="test", n_adjuncts=(2, 3), conflict=True)
    ids, answers = data.encode(drawn + [sentence.twin for sentence in drawn])
    if not callable(model):
        raise Complaint(f"a model is expected; got {type(model).__name__}")
    visible = ids != data.VOCABULARY.index("que")
    edges = torch.stack([torch.ones_like(visible), visible])[:, :, None, None]
    with torch.no_grad():
        logits = model(ids, edges)
    if not isinstance(logits, Tensor) or logits.shape != (len(ids), 2):
        raise Complaint("the model should return two logits for each sentence, as `Agreement` does")
    return {"accuracy on long clauses": float((logits.argmax(-1) == answers).double().mean())}


class _Untrained(nn.Module):
    def forward(self, token_ids: Tensor, edges: Tensor | None = None) -> Tensor:
        return torch.zeros(len(token_ids), 2)


MESSENGER = Explore(
    id="self-messenger",
    chapter="self",
    title="Silence the messenger",
    level="hard",
    minutes=20,
    task="Train a model that solves the task although nobody may look at que in its second layer.",
    hints=(
        "`sample` may return `(ids, edges, answers)`: the batch's edges go to the model, and the answers stay last.",
        '`ids != data.VOCABULARY.index("que")` is `True` at the keys that may be seen, `(batch, key)`.',
        "The edges need the shape `(layer, batch, 1, 1, key)`. Those of the first layer are all `True`.",
    ),
    expects="a trained Agreement, which is called with token_ids and edges",
    measure=_silenced,
    goals=(
        Goal(
            "right in at least 0.9 of long clauses, without que in the second layer",
            lambda measured: measured["accuracy on long clauses"] >= 0.9,
            "Without que in the second layer, this model cannot answer. It has to be trained without it, too: a model "
            "that learned to use the messenger falls when it is silenced.",
            "Attention is not yet an explanation",
            _Untrained,
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (MEMORY, TWICE, CAUSAL, CAPITAL, ROLLOUT, MESSENGER)
