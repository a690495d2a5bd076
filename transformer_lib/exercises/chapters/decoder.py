"""Exercises of the chapter "The decoder"."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

import transformer_lib as lib
from transformer_lib.decoder import DecoderLayer
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
from transformer_lib.layers import FeedForward, Residual

PAD, BOS, EOS = range(3)

_made = lru_cache(maxsize=128)(with_weights)  # building a layer takes longer than using it


# ---- The layer.


class PreNormLayer(nn.Module):
    """A pre-norm decoder layer, with its residual connections and its feed-forward part written out."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int):
        super().__init__()
        self.self_norm, self.cross_norm, self.feed_norm = (nn.LayerNorm(d_model) for _ in range(3))
        self.self_attention = lib.MultiHeadAttention(d_model, n_heads)
        self.cross_attention = lib.MultiHeadAttention(d_model, n_heads)
        self.up_proj, self.down_proj = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """The layer's tokens (batch, query, d_model); the memory is (batch, key, d_model)."""
        x = x + self.self_attention(self.self_norm(x), causal=True)
        x = x + self.cross_attention(self.cross_norm(x), memory, mask=memory_mask)
        result: Tensor = x + self.down_proj(self.up_proj(self.feed_norm(x)).relu())
        return result


def _layer(
    causal: bool = True, asks: str = "", mask: str = "cross", norm: str = "pre", around: str = "", bend: bool = True
) -> Any:
    """The layer with one choice wrong."""

    class Wrong(PreNormLayer):
        def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
            def own(x: Tensor) -> Any:
                return self.self_attention(x, mask=memory_mask if mask == "self" else None, causal=causal)

            def cross(x: Tensor) -> Any:
                visible = memory_mask if mask == "cross" else None
                if mask == "inverted" and memory_mask is not None:
                    visible = ~memory_mask
                if asks == "memory":
                    return self.cross_attention(memory, x)
                if asks == "nobody":
                    return self.cross_attention(x)
                return self.cross_attention(x, self.cross_norm(memory) if norm == "memory" else memory, mask=visible)

            def compute(x: Tensor) -> Any:
                hidden = self.up_proj(x)
                return self.down_proj(hidden.relu() if bend else hidden)

            parts: list[tuple[nn.Module, Any]] = [
                (self.self_norm, own),
                (self.cross_norm, cross),
                (self.feed_norm, compute),
            ]
            if asks == "first":
                parts[:2] = parts[1::-1]
            for its_norm, part in parts:
                normalize = self.self_norm if norm == "shared" else its_norm
                if norm == "post":
                    x = normalize(x + part(x))
                elif norm == "stream":
                    x = normalize(x)
                    x = x + part(x)
                elif around == "none" or (around == "cross" and part is cross):
                    x = part(normalize(x))
                else:
                    x = x + part(normalize(x))
            return x

    return Wrong


def _through(answer: Any, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
    built = _made(answer, PreNormLayer, x.size(-1), 2, 7, dtype=x.dtype)
    return built(x, memory, memory_mask)


def _unmasked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 4))
    yield case(draw.normal(3, 5, 6), draw.normal(3, 4, 6))


def _memory_masked(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 4), draw.mask(1, 1, 1, 3))
    yield case(draw.normal(3, 5, 6), draw.normal(3, 4, 6), draw.mask(3, 1, 1, 4))


LAYER = Implement(
    id="decoder-layer",
    chapter="decoder",
    title="A layer, from memory",
    level="medium",
    minutes=20,
    task="Write the class PreNormLayer(d_model, n_heads, d_ff): a pre-norm decoder layer without Residual and "
    "FeedForward.",
    hints=(
        "Three parts, three norms, three sums. In pre-norm, what each part adds is computed from a normalized copy of "
        "the stream.",
        "`lib.MultiHeadAttention` takes `causal=True`, or a second argument for the memory and `mask=`. Which of the "
        "two attentions needs which?",
        "The feed-forward part widens, sets the negative numbers to zero, and narrows. Only what flows through the "
        "layer is normalized here: the memory comes finished from the encoder.",
    ),
    probe=_through,
    reference=PreNormLayer,
    stages=(
        Stage("without a mask", _unmasked, gradients=True),
        Stage("with a mask for the memory", _memory_masked),
    ),
    ready_made=(Residual, FeedForward),
    allowed=(lib.MultiHeadAttention,),
    mistakes=(
        Mistake(
            "not-causal",
            _layer(causal=False),
            "Your tokens see the tokens after them. In training such a decoder reads the answers.",
            "One token at a time",
        ),
        Mistake(
            "memory-asks",
            _layer(asks="memory"),
            "In your second attention the memory asks and the target answers. Then there is a row for each word of the "
            "source. Who wants to know something here?",
            "self: Self- and cross-attention",
        ),
        Mistake(
            "memory-forgotten",
            _layer(asks="nobody"),
            "Your second attention is not given the memory, so it looks at the target again, its future too.",
            "A layer in a dozen lines",
        ),
        Mistake(
            "cross-first",
            _layer(asks="first"),
            "Your tokens ask the memory before they have looked at each other. This can be trained, but a question "
            "is better when one knows what has been said.",
            "A layer in a dozen lines",
        ),
        Mistake(
            "memory-normed",
            _layer(norm="memory"),
            "You normalized the memory too. It is not part of the stream, and what made it has finished it already.",
            "layers: The residual sublayer: pre and post",
        ),
        Mistake(
            "post-norm",
            _layer(norm="post"),
            "You normalized the sum. That is post-norm, the paper's order, and here the other one is asked for.",
            "layers: The residual sublayer: pre and post",
        ),
        Mistake(
            "stream-normed",
            _layer(norm="stream"),
            "You normalized the stream itself, and added to that. Then nothing passes through the layer unchanged.",
            "layers: The residual sublayer: pre and post",
        ),
        Mistake(
            "one-norm",
            _layer(norm="shared"),
            "You used one norm for all three parts. Two of your norms are never called, and learn nothing.",
            "A layer in a dozen lines",
        ),
        Mistake(
            "no-residual",
            _layer(around="none"),
            "You replaced the tokens by what each part makes of them. Where does the token itself go on?",
            "layers: The residual connection",
        ),
        Mistake(
            "cross-without-residual",
            _layer(around="cross"),
            "After your second attention a token is what it found in the memory, and has forgotten what it was.",
            "layers: The residual connection",
        ),
        Mistake(
            "no-activation",
            _layer(bend=False),
            "Your feed-forward part is two products in a row, which are one product.",
            "layers: Take away the activation",
        ),
        Mistake(
            "mask-ignored",
            _layer(mask="ignored"),
            "Your layer does not use the memory's mask, so it reads the padding.",
            "encoder: Break it: forget the mask",
        ),
        Mistake(
            "mask-on-self",
            _layer(mask="self"),
            "You gave the memory's mask to the self-attention. Its axis of keys counts the words of the source.",
            "self: Self- and cross-attention",
        ),
        Mistake(
            "mask-inverted",
            _layer(mask="inverted"),
            "Your mask hides the words and shows the padding. PyTorch's layers want it so; this book does not.",
            "scaled: Masks: what may be seen",
        ),
    ),
)


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


WINDOW = Predict(
    id="decoder-window",
    chapter="decoder",
    title="A narrow window",
    level="medium",
    minutes=10,
    task="Say how many places back an output reaches through a window of 4, in one, two and three layers, and how many "
    "words of the memory it depends on.",
    hints=(
        "In the first layer, how many places before its own does the farthest key of the window stand?",
        "In the second layer, a token looks at one that stands some places before it, and this one has already looked "
        "as far back again.",
        "The window is a mask for one of the two attentions. Which one reads the memory?",
    ),
    reference=_reach,
    expects="four whole numbers: the reach with one, two and three layers, then the words of the memory",
    mistakes=(
        Mistake(
            "itself-counted",
            (4, 8, 12, 8),
            "You counted the token itself as a place back, once for each layer. A window of 4 holds it too.",
            "scaled: Masks: what may be seen",
        ),
        Mistake(
            "tokens-counted",
            lambda: (*(reach + 1 for reach in _reach()[:3]), _reach()[3]),
            "These are the numbers of tokens that the output depends on, itself included. How far from it stands the "
            "farthest of them?",
            "Who depends on whom",
        ),
        Mistake(
            "no-way-around",
            (3, 3, 3, 8),
            "You kept the reach of one layer. Each layer has the same mask, but a deeper one looks at tokens that have "
            "themselves looked.",
            "Who depends on whom",
        ),
        Mistake(
            "doubled",
            (3, 6, 12, 8),
            "You doubled the reach with each layer. The third layer's window is no wider than the first one's.",
            "Who depends on whom",
        ),
        Mistake(
            "whole-past",
            (3, 13, 13, 8),
            "With more layers you let an output reach the first token at once. Follow the farthest way, one layer at a "
            "time.",
            "Who depends on whom",
        ),
        *(
            Mistake(
                f"memory-{words}",
                lambda words=words: (*_reach()[:3], words),
                "The reach is right. But the mask of the target limits nothing else. Which attention reads the memory?",
                "A layer in a dozen lines",
            )
            for words in (0, 1, 3, 4)
        ),
    ),
)


# ---- Mend the layer.


def _forward(causal: str = "inverted", asks: str = "memory", masked: bool = True) -> Any:
    """The colleague's function, with its faults or others."""

    def layer_forward(layer: Any, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
        past = lib.causal_mask(x.size(1), x.size(1))
        mask = {"inverted": ~past, "": past, "open": None, "strict": past.tril(-1)}[causal]
        x = layer.self_attention_residual(x, lambda x: layer.self_attention(x, mask=mask))
        seen = memory_mask if masked else None

        def cross(x: Tensor) -> Any:
            if asks == "memory":
                return layer.cross_attention(memory, x, mask=seen)
            return (
                layer.cross_attention(x, mask=seen) if asks == "itself" else layer.cross_attention(x, memory, mask=seen)
            )

        x = layer.cross_attention_residual(x, cross)
        return layer.feed_forward_residual(x, layer.feed_forward)

    return layer_forward


def _with_layer(answer: Any, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Any:
    config = lib.StackConfig(d_model=x.size(-1), n_heads=2, n_layers=1, d_ff=7, dropout=0.0)
    return answer(_made(DecoderLayer, DecoderLayer, config, dtype=x.dtype), x, memory, memory_mask)


def _equally_long(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), draw.normal(1, 3, 4))
    yield case(draw.normal(2, 5, 6), draw.normal(2, 5, 6))


FORWARD = Debug(
    id="decoder-debug",
    chapter="decoder",
    title="Which arrow is wrong?",
    level="medium",
    minutes=15,
    task="Find the two faults of a decoder layer's forward that runs without an error as long as source and target are "
    "equally long, and mend them.",
    hints=(
        "Draw the two influence matrices with `influence` and `partial`, on a target of eight tokens. Does an output "
        "see its future? Its past? Every word of the memory?",
        "Read the first line aloud, with `True` as *may attend*. Then ask of each attention: who asks, and who "
        "answers?",
        "A layer must give as many tokens as its target has. Try eight words of the source with five of the target: "
        "which line complains?",
    ),
    probe=_with_layer,
    reference=_forward("", ""),
    given=_forward(),
    stages=(
        Stage("for source and target of the same length", _equally_long, gradients=True),
        Stage("for two lengths", _unmasked),
        Stage("with a mask for the memory", _memory_masked),
    ),
    allowed=(lib.MultiHeadAttention,),
    mistakes=(
        Mistake(
            "memory-asks-left",
            _forward("", "memory"),
            "One fault is mended: a token sees itself and its past. But each row of your second attention still "
            "belongs to a word of the source.",
            "self: Self- and cross-attention",
        ),
        Mistake(
            "mask-left",
            _forward("inverted", ""),
            "One fault is mended: the target now asks the memory. But what may its tokens see of each other?",
            "Who depends on whom",
        ),
        Mistake(
            "mask-gone",
            _forward("open", ""),
            "The memory is asked rightly. But with no mask at all, the tokens of the target see their future.",
            "Who depends on whom",
        ),
        Mistake(
            "without-itself",
            _forward("strict", ""),
            "The memory is asked rightly, and no token sees its future. But it does not see itself either, and the "
            "first token sees nothing.",
            "self: The causal mask, by experiment",
        ),
        Mistake(
            "memory-forgotten",
            _forward("", "itself"),
            "The mask is mended. But your second attention has no memory to look at, so it looks at the target, its "
            "future too.",
            "A layer in a dozen lines",
        ),
        Mistake(
            "memory-unmasked",
            _forward("", "", masked=False),
            "Both arrows are right now, but the memory's mask got lost on the way.",
            "Two lengths",
        ),
    ),
)


# ---- Shift right.


def shift_right(labels: Tensor, bos_id: int) -> Tensor:
    """What the decoder reads where it must say ``labels``, of the same shape."""
    return torch.cat([torch.full_like(labels[:, :1], bos_id), labels[:, :-1]], dim=1)


def _shifted(begin: str = "", keep: str = "", way: int = 1) -> Any:
    """The shift with one choice wrong."""

    def wrong(labels: Tensor, bos_id: int) -> Tensor:
        first = torch.full_like(labels[:, :1], {"zero": 0, "one": 1}.get(begin, bos_id))
        if begin == "rolled":
            return labels.roll(way, dims=1)
        if begin == "floats":
            first = first.double()
        if way < 0:
            return torch.cat([labels[:, 1:], first], dim=1)
        if keep == "over":
            return torch.cat([first, labels[:, 1:]], dim=1)
        return torch.cat([first, labels if keep == "all" else labels[:, :-1]], dim=1)

    return wrong


def _down(labels: Tensor, bos_id: int) -> Tensor:
    return torch.cat([torch.full_like(labels[:1], bos_id), labels[:-1]], dim=0)


def _labels(draw: Draw) -> Iterator[Case]:
    yield case(torch.tensor([[5, 3, 8, EOS]]), 1)
    labels = draw.integers(3, 5, low=3, high=9)
    labels[0, 3:] = torch.tensor([EOS, PAD])
    labels[1:, -1] = EOS
    yield case(labels, 7)
    yield case(draw.integers(4, 1, low=3, high=9), 6)


SHIFT = Implement(
    id="decoder-shift",
    chapter="decoder",
    title="Shift right",
    level="easy",
    minutes=5,
    task="Write shift_right(labels, bos_id): what the decoder must read where it must say labels.",
    hints=(
        "The last column falls out, and a first column comes in.",
        "`torch.full_like(labels[:, :1], bos_id)` is a column of the right type.",
    ),
    reference=shift_right,
    stages=(Stage("for labels with padding", _labels),),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "rolled",
            _shifted("rolled"),
            "You moved the columns around in a circle. So the last token of the answer is what your decoder reads "
            "first.",
            "Teacher forcing",
        ),
        Mistake(
            "other-way",
            _shifted(way=-1),
            "You shifted to the other side: at each place your decoder reads the token *after* the one that it must "
            "say.",
            "Teacher forcing",
        ),
        Mistake(
            "not-shifted",
            _shifted(keep="over"),
            "You put the first token in place of another and moved nothing. From the second place on, your decoder "
            "reads what it must say.",
            "Teacher forcing",
        ),
        Mistake(
            "one-too-long",
            _shifted(keep="all"),
            "Your result has one column more than the labels. At the last place nothing is left to be said.",
            "Teacher forcing",
        ),
        Mistake(
            "zeros-first",
            _shifted("zero"),
            "Your sentences begin with token 0, which is padding in this book. The function is told what they begin "
            "with.",
            "Teacher forcing",
        ),
        Mistake(
            "always-one",
            _shifted("one"),
            "Your sentences always begin with token 1. In another vocabulary `<bos>` has another number, and the "
            "function is told which.",
            "Teacher forcing",
        ),
        Mistake(
            "sentences-shifted",
            _down,
            "You shifted along the batch: each sentence reads the sentence before it.",
            "Teacher forcing",
        ),
        Mistake(
            "floats",
            _shifted("floats"),
            "The numbers are right, but they are no whole numbers any more, and no embedding can look them up.",
            "A very small language",
        ),
    ),
)


# ---- Write, and stop.


class Scripted:
    """A model that, after the right beginning, says the words of the source. It counts how often it is asked."""

    def __init__(self, steps: int):
        self.calls, self.most = 0, steps + 3

    def __call__(self, source: Tensor, written: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.most:
            raise Complaint(f"your code asks the model more than {self.most} times, though `steps` allows fewer")
        batch, query = written.shape
        logits = torch.arange(batch * query * 10).sin().reshape(batch, query, 10)
        script = torch.cat([torch.full_like(source[:, :1], BOS), source], dim=1)
        for row, place in itertools.product(range(batch), range(query)):
            begun = torch.equal(written[row, : place + 1], script[row, : place + 1])
            known = begun and place < source.size(1)
            logits[row, place, script[row, place + 1] if known else 3 + (row + place) % 7] += 5.0
        return logits


def write(model: Callable[[Tensor, Tensor], Tensor], source: Tensor, steps: int) -> Tensor:
    """Greedy translations, ``<bos>`` first, with padding behind ``<eos>``, as long as the longest."""
    written = torch.full((len(source), 1), BOS)
    for _ in range(steps):
        said = model(source, written)[:, -1].argmax(dim=-1, keepdim=True)
        ended = (written == EOS).any(dim=1, keepdim=True)
        written = torch.cat([written, said.masked_fill(ended, PAD)], dim=1)
        if (written == EOS).any(dim=1).all():
            break
    return written


def _writer(
    reads: int = 0, place: int = -1, pads: str = "behind", stop: str = "all", fewer: int = 0, kept: int = 0
) -> Any:
    """The loop with one choice wrong."""

    def wrong(model: Any, source: Tensor, steps: int) -> Tensor:
        written = torch.full((len(source), 1), BOS)
        for _ in range(steps - fewer):
            said = model(source, written[:, -reads:])[:, place].argmax(dim=-1, keepdim=True)
            if stop == "late" and bool((written == EOS).any(1).all()):
                break
            ended = {
                "behind": (written == EOS).any(dim=1, keepdim=True),
                "once": written[:, -1:] == EOS,
                "over": (torch.cat([written, said], dim=1) == EOS).any(dim=1, keepdim=True),
                "never": torch.zeros_like(said).bool(),
            }[pads]
            written = torch.cat([written, said.masked_fill(ended, PAD)], dim=1)
            done = written[:, -1] == EOS if pads == "once" else (written == EOS).any(dim=1)
            stops = {"all": done.all(), "any": done.any(), "together": (said == EOS).all()}
            if stop in stops and bool(stops[stop]):
                break
        return written[:, kept:]

    return wrong


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


def _several(draw: Draw) -> Iterator[Case]:
    yield case(_script(draw, 0, 3, length=6), 6)
    yield case(_script(draw, 4, 1, 3), 7)


def _cut_off(draw: Draw) -> Iterator[Case]:
    yield case(_script(draw, None, length=4), 3)
    yield case(_script(draw, 1, None, 3), 5)


WRITE = Implement(
    id="decoder-greedy",
    chapter="decoder",
    title="Stop when all have ended",
    level="medium",
    minutes=15,
    task="Write write(model, source, steps): greedy writing that stops as soon as every sentence has ended.",
    hints=(
        "Begin with the loop of this section. It makes all its steps, whatever has been written. When is there nothing "
        "left to ask?",
        "A sentence has ended if there is an `<eos>` anywhere in its row. Behind it stands padding, so its last token "
        "does not tell.",
        "Look for the end after a token has been appended, and before the model is asked again. `any(dim=1)` tells it "
        "for each sentence.",
    ),
    probe=_written,
    reference=write,
    stages=(
        Stage("for one sentence", _one_sentence),
        Stage("for sentences of different lengths", _several),
        Stage("where a sentence does not end in time", _cut_off),
    ),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "never-stops",
            _writer(stop="never"),
            "What you write is right, but you go on for all the steps, and append padding to padding. Each step asks "
            "the whole model.",
            "Writing",
        ),
        Mistake(
            "asked-once-more",
            _writer(stop="late"),
            "What you write is right, but the model is asked once more after all sentences have ended, and its answer "
            "thrown away.",
            "Writing",
        ),
        Mistake(
            "any-ended",
            _writer(stop="any"),
            "You stop as soon as one sentence has ended. The others are cut off.",
            "Writing",
        ),
        Mistake(
            "together",
            _writer(stop="together"),
            "You wait for a step in which all sentences say `<eos>` at once. They seldom end together.",
            "Writing",
        ),
        Mistake(
            "together-unpadded",
            _writer(stop="together", pads="never"),
            "You wait for a step in which all sentences say `<eos>` at once, and until then the ended ones go on "
            "talking.",
            "Writing",
        ),
        Mistake(
            "last-token-only",
            _writer(pads="once"),
            "You look at the last token to see whether a sentence has ended. One step later this is padding, and the "
            "sentence comes back to life.",
            "Writing",
        ),
        Mistake(
            "no-padding",
            _writer(pads="never"),
            "Your ended sentences go on talking while the others finish. What stands behind `<eos>` should be padding.",
            "Writing",
        ),
        Mistake(
            "end-erased",
            _writer(pads="over"),
            "You replace the `<eos>` itself by padding. Whether a sentence has ended should be asked of what stood "
            "before this step.",
            "Writing",
        ),
        Mistake(
            "last-token-read",
            _writer(reads=1),
            "You give the model the last token alone. Its next word depends on everything that was written before.",
            "One token at a time",
        ),
        Mistake(
            "first-logits",
            _writer(place=0),
            "You take the logits of the first place, so you hear the first word again and again. Each place says its "
            "own next word.",
            "Teacher forcing",
        ),
        Mistake(
            "one-step-fewer",
            _writer(fewer=1),
            "You counted `<bos>` as one of the steps. It is given, and not said.",
            "One token at a time",
        ),
        Mistake(
            "without-bos",
            _writer(kept=1),
            "The words are right, but you took `<bos>` away. The task keeps it, so that the result can be compared "
            "with a target.",
            "Writing",
        ),
    ),
)


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
        raise Complaint("what you gave cannot be called")
    reads, says = target[:, :-1], target[:, 1:]
    chance = torch.rand(reads.shape, generator=draw.generator).masked_fill(reads <= EOS, -1.0)
    place = chance.argmax(dim=1, keepdim=True)  # of one word in each sentence
    other = draw.integers(len(reads), 1, low=3, high=n_words)
    mistaken = reads.scatter(1, place, other)
    changed = other != reads.gather(1, place)
    with torch.no_grad():
        logits = model(source, mistaken)
        if not isinstance(logits, Tensor) or logits.shape != (*mistaken.shape, n_words):
            raise Complaint(f"called with sources and beginnings, it should return logits {(*mistaken.shape, n_words)}")
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
    return torch.nn.functional.one_hot(right[:, 1:].masked_fill(~begun, PAD), n_words).double()


WRONG = Explore(
    id="decoder-wrong",
    chapter="decoder",
    title="A decoder that forgives",
    level="hard",
    minutes=25,
    task="Train a decoder that translates as well as before, and goes on rightly after a wrong word.",
    hints=(
        "A model is good at what it was trained for. The first decoder has never read a wrong word.",
        "Only what the decoder *reads* in training should change. What it must say stays right, and so does the "
        "source.",
        "Draw random words with the generator that `sample` is given, and decide by further random numbers which "
        "places they come to. `<bos>`, `<eos>` and padding stay. Which share of wrong words is enough?",
    ),
    expects="a trained model that is called as `model(source, reads)`",
    measure=_forgiveness,
    goals=(
        Goal(
            "at least 0.9 of whole sentences right",
            lambda measured: measured["whole sentences right"] >= 0.9,
            "Your model does not translate well enough when it writes alone. Is it trained long enough, and does it "
            "read right words often enough?",
            "Three decoders",
            lambda: lambda source, reads: torch.zeros(*reads.shape, _test_pairs()[2]),
        ),
        Goal(
            "at least 0.8 right after a wrong word",
            lambda measured: measured["right after a wrong word"] >= 0.8,
            "Your model translates well, and is thrown off by a wrong word in what it reads. What has it never met in "
            "training?",
            "Teacher forcing",
            lambda: _by_heart,
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (LAYER, WINDOW, FORWARD, SHIFT, WRITE, WRONG)
