"""Exercises of the chapter "Multi-head attention"."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
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
    with_weights,
)

Split = Callable[[Tensor, int], Tensor]


def _no_transpose(x: Tensor, n_heads: int) -> Tensor:
    batch, seq, width = x.shape
    return x.reshape(batch, n_heads, seq, width // n_heads)


def _strided(x: Tensor, n_heads: int) -> Tensor:
    pieces: Tensor = x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)
    return pieces


# ---- Which row holds what.


def _pieces() -> list[int]:
    numbered = torch.arange(7)[None, None, :, None].expand(1, 3, 7, 1)
    pieces: list[int] = numbered.reshape(1, 7, 3)[0, 4].tolist()
    return pieces


PIECES = Predict(
    id="multihead-pieces",
    chapter="multihead",
    title="What landed in row 4?",
    level="medium",
    minutes=5,
    task="Say which tokens' pieces row 4 holds after wrong_merge, for 7 tokens and 3 heads.",
    hints=(
        "Write the pieces in the order in which they lie in memory: head 0 with its tokens 0 to 6, then head 1.",
        "Every row of the result takes the next three pieces of this list. Four rows are filled before row 4.",
        "So row 4 begins after twelve pieces. Which head do they end in?",
    ),
    reference=_pieces,
    expects="a list of three token numbers",
    mistakes=(
        Mistake(
            "right-merge",
            [4, 4, 4],
            "That is what a correct merge gives. This one has no transpose.",
            "The missing transpose",
        ),
        Mistake(
            "starts-at-four",
            [4, 5, 6],
            "The pieces are indeed taken in a row, but not from token 4 on: the rows before have used up more than one "
            "piece each.",
            "The missing transpose",
        ),
        Mistake(
            "counted-from-one",
            [2, 3, 4],
            "This is the row before. Rows are counted from 0 here, like tokens and heads.",
            "The missing transpose",
        ),
        Mistake(
            "past-the-end",
            [5, 6, 7],
            "There is no token 7: the sentence has the tokens 0 to 6. What lies in memory after the last token of a "
            "head?",
            "The missing transpose",
        ),
        Mistake(
            "pieces-counted",
            [12, 13, 14],
            "These are the right three pieces, counted through all heads. Which tokens do they belong to?",
            "The missing transpose",
        ),
        Mistake(
            "pieces-of-one-token",
            [4, 11, 18],
            "These are the places in memory of the three pieces of token 4. A correct merge would collect them.",
            "The missing transpose",
        ),
    ),
)


# ---- A test that sees the bug.


def _sequence_first(x: Tensor, n_heads: int) -> Tensor:
    batch, seq, width = x.shape
    return x.reshape(seq, batch, n_heads, width // n_heads).permute(1, 2, 0, 3)


def _last_two_swapped(x: Tensor, n_heads: int) -> Tensor:
    rows = lib.split_heads(x, n_heads)
    return torch.cat([rows[:, :, :-2], rows[:, :, -2:].flip(2)], dim=2)


def _last_head_moved(x: Tensor, n_heads: int) -> Tensor:
    rows = lib.split_heads(x, n_heads)
    return torch.cat([rows[:, :-1], rows[:, -1:].roll(1, dims=2)], dim=1)


_SPLITS: Mapping[str, Split] = {
    "split_heads": lib.split_heads,
    "wrong_split": _no_transpose,
    "split_heads, with the heads in reverse order": lambda x, n_heads: lib.split_heads(x, n_heads).flip(1),
    "every third number goes to the same head": _strided,
    "split_heads, with all tokens moved on by one": lambda x, n_heads: lib.split_heads(x, n_heads).roll(1, dims=2),
    "split_heads, with the last two tokens exchanged": _last_two_swapped,
    "split_heads, with the tokens of the last head moved on by one": _last_head_moved,
    "a split for data with the sequence first": _sequence_first,
}


def keeps_tokens_apart(split: Split, batch: int = 2, heads: int | None = None, tokens: list[int] | None = None) -> bool:
    """Whether row t of every head holds numbers of token t alone, as far as it is looked at."""
    numbered = torch.arange(batch * 5).reshape(batch, 5, 1)
    rows = split(numbered.expand(batch, 5, 12), 3)  # (batch, heads, seq, d_head)
    same = rows == numbered[:, None]
    same = same[:, :heads] if tokens is None else same[:, :heads, tokens]
    return bool(same.all())


def _verdict(answer: Any, split: str) -> Any:
    return answer(_SPLITS[split])


def _plain_splits(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_SPLITS)[:2])


def _other_splits(draw: Draw) -> Iterator[Case]:
    yield from (case(name) for name in list(_SPLITS)[2:])


ROUNDTRIP = Implement(
    id="multihead-roundtrip",
    chapter="multihead",
    title="A test that sees the bug",
    level="medium",
    minutes=15,
    task="Write keeps_tokens_apart(split): whether row t of every head holds numbers of token t alone.",
    hints=(
        "A round trip cannot help: two mistakes undo each other. Look at what lies between them.",
        "How did this section make visible where each piece landed? Do the same with the split.",
        "Number the tokens of *two* sentences through. Then every row of every head has to hold one known number.",
    ),
    probe=_verdict,
    reference=keeps_tokens_apart,
    stages=(Stage("for the two splits of this chapter", _plain_splits), Stage("for other splits", _other_splits)),
    dtypes=(torch.float64,),
    mistakes=(
        Mistake(
            "accepts-all",
            lambda split: split(torch.zeros(2, 5, 12), 3).shape == (2, 3, 5, 4),
            "Your test accepts every split, `wrong_split` too. Its shapes are right, and it loses no number. What is "
            "wrong is where the numbers stand.",
            "The missing transpose",
        ),
        Mistake(
            "reshaped-back",
            lambda split: torch.equal(split(x := torch.arange(120).reshape(2, 5, 12), 3).reshape(2, 5, 12), x),
            "Your test reshapes back, and so it accepts the split that is only a reshape, and refuses the good one.",
            "The missing transpose",
        ),
        Mistake(
            "one-result-only",
            lambda split: torch.equal(split(x := torch.arange(120).reshape(2, 5, 12), 3), lib.split_heads(x, 3)),
            "Your test allows the result of `split_heads` alone. A split that gives the heads other numbers of the "
            "token keeps the tokens apart as well.",
            "The missing transpose",
        ),
        Mistake(
            "one-token",
            lambda split: keeps_tokens_apart(split, tokens=[1]),
            "Your test follows a single token. A split can treat that one well and mix up others.",
            "The missing transpose",
        ),
        Mistake(
            "one-sentence",
            lambda split: keeps_tokens_apart(split, batch=1),
            "Your test uses a batch of one. A split that mixes sentences goes unseen.",
            "One product for all heads",
        ),
        Mistake(
            "one-token-of-one-sentence",
            lambda split: keeps_tokens_apart(split, batch=1, tokens=[1]),
            "Your test follows one token of one sentence. A split can treat that one well, and mix up other tokens, or "
            "whole sentences.",
            "The missing transpose",
        ),
        Mistake(
            "first-head",
            lambda split: keeps_tokens_apart(split, heads=1),
            "Your test looks at the first head alone.",
            "One product for all heads",
        ),
    ),
)


# ---- The heads add up.


class MultiHead(nn.Module):
    """The chapter's layer, with heads of any width."""

    def __init__(self, d_model: int, n_heads: int, d_head: int):
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(d_model, n_heads * d_head)
        self.k_proj = nn.Linear(d_model, n_heads * d_head)
        self.v_proj = nn.Linear(d_model, n_heads * d_head)
        self.o_proj = nn.Linear(n_heads * d_head, d_model)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The output (batch, query, d_model) and the weights (batch, heads, query, key)."""
        memory = x if memory is None else memory
        query = lib.split_heads(self.q_proj(x), self.n_heads)
        key, value = (lib.split_heads(project(memory), self.n_heads) for project in (self.k_proj, self.v_proj))
        output, weights = lib.attention(query, key, value, mask)
        return self.o_proj(lib.merge_heads(output)), weights


def _random_layer(kind: Any, dtype: torch.dtype, *args: Any, **kwargs: Any) -> Any:
    return with_weights(kind, kind, *args, dtype=dtype, seed=1, **kwargs)


def _contributed(answer: Any, x: Tensor, n_heads: int) -> Any:
    return answer(_random_layer(MultiHead, x.dtype, x.size(-1), n_heads, x.size(-1) // n_heads), x)


def _contributions(pieces: str = "rows", bias: str = "", split: Split = lib.split_heads) -> Any:
    def answer(layer: MultiHead, x: Tensor) -> Tensor:
        n, weight = layer.n_heads, layer.o_proj.weight
        projected = (project(x) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
        output, _ = lib.attention(*(split(one, n) for one in projected))
        matrices = {
            "rows": weight.T.chunk(n),
            "untransposed": weight.chunk(n),
            "strided": tuple(weight.T[i::n] for i in range(n)),
        }[pieces]
        added = torch.stack([output[:, i] @ matrix for i, matrix in enumerate(matrices)])
        return added + {"": 0.0, "each": 1.0, "shared out": 1 / n}[bias] * layer.o_proj.bias

    return answer


def _running_sums(layer: MultiHead, x: Tensor) -> Any:
    return _contributions()(layer, x).cumsum(0)


def _layer_inputs(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), n_heads=2)
    yield case(draw.normal(2, 5, 12), n_heads=3)


SUM = Implement(
    id="multihead-sum",
    chapter="multihead",
    title="The heads add up",
    level="medium",
    minutes=15,
    task="Write contributions(layer, x): what each head adds to the result, (heads, batch, seq, d_model).",
    hints=(
        "Compute the heads' outputs as `forward` does, up to `attention`.",
        "The merged vector is the pieces side by side. A product with $W^O$ is then a sum of smaller products, one for "
        "each piece. Which part of $W^O$ does piece $i$ meet?",
        "`nn.Linear` computes `x @ weight.T + bias`. Cut `weight.T` along the axis that the pieces stand on.",
    ),
    probe=_contributed,
    reference=_contributions(),
    stages=(Stage("for a layer with random weights", _layer_inputs, gradients=True),),
    allowed=(lib.attention, lib.fused_attention),
    mistakes=(
        Mistake(
            "bias-each",
            _contributions(bias="each"),
            "You added the bias to every head's part, so the sum has it once for each head. The layer adds it once.",
            "The layer",
        ),
        Mistake(
            "bias-shared-out",
            _contributions(bias="shared out"),
            "You divided the bias among the heads. The sum is that of the layer, but the bias is no head's work: it is "
            "there whatever the heads find.",
            "The layer",
        ),
        Mistake(
            "untransposed",
            _contributions("untransposed"),
            "You cut `weight` along its first axis. An `nn.Linear` stores the transpose of the matrix that it "
            "multiplies by, so these are parts of the result, not of the merged vector.",
            "The layer",
        ),
        Mistake(
            "strided",
            _contributions("strided"),
            "You dealt the rows of the matrix out to the heads in turn, like cards. A head's numbers stand side by "
            "side.",
            "One product for all heads",
        ),
        Mistake(
            "no-transpose",
            _contributions(split=_no_transpose),
            "Your split has no transpose, so the heads get pieces of other tokens.",
            "The missing transpose",
        ),
        Mistake(
            "running-sums",
            _running_sums,
            "Your parts contain those of the heads before them. Each head should have its own alone.",
            "The layer",
        ),
    ),
)


# ---- The layer, from memory.


def _multi_head(
    split: str = "right",
    merge: str = "right",
    scale: str = "head",
    wiring: str = "right",
    blind: str = "right",
    averaged: bool = False,
) -> type[nn.Module]:
    """The layer with one choice wrong."""

    class Wrong(MultiHead):
        def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Any:
            memory = x if memory is None or wiring == "memory-ignored" else memory
            cut = {"right": lib.split_heads, "reshape": _no_transpose, "strided": _strided}[split]
            asks, answers = (memory, x) if wiring == "exchanged" else (x, memory)
            values = self.k_proj(answers) if wiring == "keys-blended" else self.v_proj(answers)
            query, key, value = (cut(one, self.n_heads) for one in (self.q_proj(asks), self.k_proj(answers), values))
            width = {"head": query.size(-1), "heads": query.size(1) * query.size(-1), "model": x.size(-1)}[scale]
            if mask is not None:
                mask = {"right": mask, "ignored": None, "inverted": ~mask}[blind]
            output, weights = lib.attention(query, key, value, mask, scale=width**-0.5)
            if merge == "reshape":
                merged = output.reshape(asks.size(0), asks.size(1), -1)
            else:
                merged = output.permute(0, 2, 3, 1).flatten(-2) if merge == "strided" else lib.merge_heads(output)
            result = merged if wiring == "unmixed" else self.o_proj(merged)
            return result, weights.mean(1) if averaged else weights

    return Wrong


def _layer_results(
    answer: Any, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None, *, n_heads: int, d_head: int
) -> Any:
    layer = with_weights(answer, MultiHead, x.size(-1), n_heads, d_head, dtype=x.dtype)
    return layer(x, memory, mask)


def _self(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 3, 4), n_heads=2, d_head=3)
    yield case(draw.normal(2, 5, 6), n_heads=3, d_head=4)


def _memories(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(1, 3, 3), n_heads=2, d_head=2)
    yield case(draw.normal(2, 5, 6), draw.normal(2, 7, 6), n_heads=3, d_head=4)


def _masks(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 3), draw.normal(1, 3, 3), draw.mask(2, 3), n_heads=2, d_head=2)
    yield case(draw.normal(2, 5, 6), draw.normal(2, 7, 6), draw.mask(2, 1, 1, 7), n_heads=3, d_head=4)
    yield case(draw.normal(2, 4, 6), None, draw.mask(2, 3, 4, 4), n_heads=3, d_head=4)


MULTI_HEAD = Implement(
    id="multi-head-attention",
    chapter="multihead",
    title="Multi-head attention, from memory",
    level="hard",
    minutes=25,
    task="Write the class MultiHead(d_model, n_heads, d_head): the layer of this chapter, with heads of any width.",
    hints=(
        "Four projections. How wide is the result of each, if there are `n_heads` heads of `d_head` numbers?",
        "The order of `forward`: project, split, attend, merge, project. The memory, where there is one, has a part in "
        "two of the first three projections.",
        "Splitting: cut the last axis in two, then exchange two axes. Merging is the same, backwards. Print the shapes "
        "with a batch of 2, 5 tokens and 3 heads, so that no two are alike.",
    ),
    probe=_layer_results,
    reference=MultiHead,
    stages=(
        Stage("for tokens that look at each other", _self, gradients=True),
        Stage("for a memory of another length", _memories, gradients=True),
        Stage("with a mask", _masks),
    ),
    allowed=(lib.attention, lib.fused_attention),
    mistakes=(
        Mistake(
            "no-transposes",
            _multi_head(split="reshape", merge="reshape"),
            "Neither your split nor your merge has a transpose. The two undo each other, so a round trip looks right; "
            "but between them, heads attend to pieces of the wrong tokens.",
            "The missing transpose",
        ),
        Mistake(
            "split-without-transpose",
            _multi_head(split="reshape"),
            "Your split reshapes straight to `(batch, heads, seq, d_head)`. The shape is right, and each head gets "
            "pieces of other tokens.",
            "The missing transpose",
        ),
        Mistake(
            "merge-without-transpose",
            _multi_head(merge="reshape"),
            "Your merge has no transpose: a token's row is made of pieces of several tokens.",
            "The missing transpose",
        ),
        Mistake(
            "strided",
            _multi_head(split="strided", merge="strided"),
            "You dealt a token's numbers out to the heads in turn, like cards. Such a layer could learn as well, but "
            "the weights of others do not fit it: the book's heads own ranges of columns.",
            "One product for all heads",
        ),
        Mistake(
            "scaled-by-model",
            _multi_head(scale="model"),
            "You scaled the scores by the width of the model. A score is a sum over the numbers of one head.",
            "scaled: Why the square root",
        ),
        Mistake(
            "scaled-by-all-heads",
            _multi_head(scale="heads"),
            "You scaled the scores by the width of all heads together. A score is a sum over the numbers of one head.",
            "scaled: Why the square root",
        ),
        Mistake(
            "unmixed",
            _multi_head(wiring="unmixed"),
            "You returned the heads side by side. The projection that lets each head write to all numbers is missing.",
            "The layer",
        ),
        Mistake(
            "keys-blended",
            _multi_head(wiring="keys-blended"),
            "You took the keys' projection for the values too. What a word is found by is not what it gives.",
            "Every head has its own projections",
        ),
        Mistake(
            "memory-ignored",
            _multi_head(wiring="memory-ignored"),
            "Your layer does not use the memory: the tokens look at each other in any case.",
            "The layer",
        ),
        Mistake(
            "exchanged",
            _multi_head(wiring="exchanged"),
            "In your layer the memory asks, and the tokens answer. It should be the other way around.",
            "The layer",
        ),
        Mistake(
            "averaged",
            _multi_head(averaged=True),
            "Your weights are the mean over the heads. Each head has a map of its own; the mean shows none of them.",
            "One product for all heads",
        ),
        Mistake(
            "mask-ignored",
            _multi_head(blind="ignored"),
            "Your layer does not use the mask.",
            "Proof: equal to the library, equal to PyTorch",
        ),
        Mistake(
            "mask-inverted",
            _multi_head(blind="inverted"),
            "Your layer hides what should be seen. In this book `True` means *may attend*; it is PyTorch's module that "
            "wants the opposite.",
            "Proof: equal to the library, equal to PyTorch",
        ),
    ),
)


# ---- Three questions.


def _scenes(draw: Draw, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    features = draw.integers(batch, 6, 8, high=2)
    order = torch.stack([draw.permutation(6) for _ in range(batch)])
    roles = order.clamp(max=3)
    return features, roles, torch.stack([features[roles == role] for role in range(3)], dim=1)


def _three_answers(model: Any, draw: Draw) -> Mapping[str, Any]:
    if not isinstance(model, nn.Module):
        raise Complaint("the answer is no nn.Module")
    features, roles, targets = _scenes(draw, 1000)
    with torch.no_grad():
        logits = model(features, roles)
    if not isinstance(logits, Tensor) or logits.shape != (1000, 3, 8, 2):
        raise Complaint("called with features (1000, 6, 8) and roles (1000, 6), it should return (1000, 3, 8, 2)")
    shares = (logits.argmax(-1) == targets).double().mean(dim=(0, 2)).tolist()
    words = {f"share right, question {number}": share for number, share in enumerate(shares, 1)}
    return {**words, "parameters": sum(p.numel() for p in model.parameters())}


class _Oracle(nn.Module):
    """Looks the answers up, for the first questions; the tests use it as a trained model."""

    def __init__(self, answered: int, parameters: int):
        super().__init__()
        self.answered, self.numbers = answered, nn.Parameter(torch.zeros(parameters))

    def forward(self, features: Tensor, roles: Tensor) -> Tensor:
        people = torch.stack([features[roles == min(role, self.answered - 1)] for role in range(3)], dim=1)
        return torch.stack([1.0 - people, 1.0 * people], dim=-1)


THREE = Explore(
    id="multihead-three",
    chapter="multihead",
    title="Three questions",
    level="medium",
    minutes=15,
    task="Train a Verb that answers three questions with at most 4,000 parameters.",
    hints=(
        "Begin with `Verb(1, asked=3)` and `Verb(2, asked=3)`, and look at `shares_right(model, asked=3)`. How many "
        "shares are near 1?",
        "With two heads, one of them has to serve two questions. What did one head make of two questions above?",
        "24 is divisible by 1, 2, 3 and 4. Neither width nor hidden layers are needed.",
    ),
    expects="a trained `Verb(…, asked=3)`",
    measure=_three_answers,
    goals=(
        Goal(
            "every question above 0.95",
            lambda measured: min(share for name, share in measured.items() if "question" in name) > 0.95,
            "At least one question is answered badly. Is there a softmax for each? And was the model trained to the "
            "end?",
            "A task with two questions",
            lambda: _Oracle(2, 3_936),
        ),
        Goal(
            "at most 4,000 parameters",
            lambda measured: measured["parameters"] <= 4_000,
            "All questions are answered, at a high price. Which of your choices added parameters, and did the task "
            "need it?",
            "A task with two questions",
            lambda: _Oracle(3, 7_344),
        ),
    ),
)


# ---- Take a head out.


def _pruned_results(answer: Any, x: Tensor, n_heads: int, d_head: int, head: int) -> Any:
    layer = _random_layer(lib.MultiHeadAttention, x.dtype, x.size(-1), n_heads, d_head=d_head)
    with torch.random.fork_rng([]):  # a new layer's weights must not differ from call to call
        torch.default_generator.manual_seed(0)
        smaller = answer(layer, head)
    if not isinstance(smaller, nn.Module):
        raise Complaint(f"a layer is expected; got {type(smaller).__name__}")
    numbers = sum(parameter.numel() for parameter in smaller.parameters())
    return {"output": smaller.eval()(x), "parameters": numbers, "output of the old layer": layer(x)}


def _prune(
    keep: str = "others", biases: bool = True, output_bias: bool = True, factor: bool = False, harm: bool = False
) -> Any:
    @torch.no_grad()
    def answer(layer: lib.MultiHeadAttention, head: int) -> nn.Module:
        n, d = layer.n_heads, layer.d_head
        kept = [
            i
            for i in range(n * d)
            if {
                "others": i // d != head,
                "strided": i % n != head,
                "first": i // d != n - 1,
                "itself": i // d == head,
                "neighbor": i // d != (head - 1) % n,
            }[keep]
        ]
        smaller = lib.MultiHeadAttention(layer.d_model, len(kept) // d, d_head=d)
        for name in ("q_proj", "k_proj", "v_proj"):
            old, new = getattr(layer, name), getattr(smaller, name)
            new.weight.copy_(old.weight[kept])
            if biases:
                new.bias.copy_(old.bias[kept])
        smaller.o_proj.weight.copy_(layer.o_proj.weight[:, kept] * (n / (n - 1) if factor else 1.0))
        if output_bias:
            smaller.o_proj.bias.copy_(layer.o_proj.bias)
        if harm:
            layer.o_proj.weight[:, head * d : (head + 1) * d] = 0.0
        return smaller

    return answer


def _ablated(layer: lib.MultiHeadAttention, head: int) -> nn.Module:
    silent = copy.deepcopy(layer)
    with torch.no_grad():
        silent.o_proj.weight[:, head * layer.d_head : (head + 1) * layer.d_head] = 0.0
    return silent


def _heads_to_prune(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), n_heads=3, d_head=2, head=1)
    yield case(draw.normal(2, 5, 6), n_heads=4, d_head=3, head=0)
    yield case(draw.normal(2, 3, 5), n_heads=3, d_head=4, head=2)


PRUNE = Implement(
    id="multihead-prune",
    chapter="multihead",
    title="Take a head out for good",
    level="hard",
    minutes=20,
    task="Write pruned(layer, head): a new, smaller layer without this head that computes what the ablated one does.",
    hints=(
        "Which numbers of the four projections does this head own? The section “What it costs” will count them; you "
        "can: `d_head` rows of three of them, `d_head` columns of one.",
        "Build `lib.MultiHeadAttention(d_model, n_heads - 1, d_head=…)`, and copy into it what the other heads own. "
        "`nn.Linear` stores the transpose, so a head's outputs are *rows* of `weight`, and entries of `bias`.",
        "A list of the kept indices serves all: once for rows, once for columns. Copy under `torch.no_grad()`.",
    ),
    probe=_pruned_results,
    reference=_prune(),
    stages=(Stage("for layers with random weights", _heads_to_prune),),
    dtypes=(torch.float32,),
    allowed=(lib.MultiHeadAttention, lib.attention, lib.fused_attention),
    mistakes=(
        Mistake(
            "ablated",
            _ablated,
            "The result is right, but your layer is as large as before: the head is silent and still there, and costs "
            "what it did.",
            "Take a head away",
        ),
        Mistake(
            "nothing-copied",
            lambda layer, head: lib.MultiHeadAttention(layer.d_model, layer.n_heads - 1, d_head=layer.d_head),
            "Your layer has the right size, and random weights of its own. Nothing of the old layer is in it.",
            "Proof: equal to the library, equal to PyTorch",
        ),
        Mistake(
            "kept-the-wrong-one",
            _prune("itself"),
            "You kept this head, and threw away all others.",
            "Take a head away",
        ),
        Mistake(
            "always-the-last",
            _prune("first"),
            "You dropped the last head, whichever was asked for. A smaller layer has fewer rows; which ones stay is "
            "for you to say.",
            "Take a head away",
        ),
        Mistake(
            "neighbor",
            _prune("neighbor"),
            "You dropped the head before. Heads are counted from 0.",
            "One product for all heads",
        ),
        Mistake(
            "strided",
            _prune("strided"),
            "You dropped numbers at equal steps, some from each head. So each loses a part, and none is gone.",
            "One product for all heads",
        ),
        Mistake(
            "biases-forgotten",
            _prune(biases=False),
            "You copied the matrices of query, key and value, and not their biases, which start at zero in the new "
            "layer.",
            "The layer",
        ),
        Mistake(
            "output-bias-forgotten",
            _prune(output_bias=False),
            "The last projection has a bias too. It belongs to no head, so it outlives them all.",
            "The layer",
        ),
        Mistake(
            "scaled-up",
            _prune(factor=True),
            "You enlarged what is left, to make up for the head. An ablation changes nothing about the other heads.",
            "Take a head away",
        ),
        Mistake(
            "harms-the-old",
            _prune(harm=True),
            "Your new layer is right, but the old one has lost its head as well. Its owner may still need it.",
            "Take a head away",
        ),
    ),
)


# ---- Grouped heads, mended.


def _shared(order: str = "grouped", values: str = "grouped", transpose: bool = True) -> Any:
    def spread(heads: Tensor, group: int, how: str) -> Tensor:
        if how == "first":
            return heads[:, :1].expand(-1, heads.size(1) * group, -1, -1)
        return heads.repeat(1, group, 1, 1) if how == "tiled" else heads.repeat_interleave(group, dim=1)

    def code(query: Tensor, key: Tensor, value: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
        queries = lib.split_heads(query, n_heads)
        keys, group = lib.split_heads(key, n_kv_heads), n_heads // n_kv_heads
        output, _ = lib.attention(
            queries, spread(keys, group, order), spread(lib.split_heads(value, n_kv_heads), group, values)
        )
        return lib.merge_heads(output) if transpose else output.reshape(query.size(0), query.size(1), -1)

    return code


def _groups(draw: Draw) -> Iterator[Case]:
    yield case(draw.normal(1, 2, 4), draw.normal(1, 3, 2), draw.normal(1, 3, 2), n_heads=4, n_kv_heads=2)
    for n_heads, n_kv_heads in ((6, 2), (6, 3)):
        key, value = (draw.normal(2, 7, n_kv_heads * 4) for _ in range(2))
        yield case(draw.normal(2, 5, n_heads * 4), key, value, n_heads=n_heads, n_kv_heads=n_kv_heads)


def _extremes(draw: Draw) -> Iterator[Case]:
    for n_kv_heads in (1, 3):
        key, value = (draw.normal(2, 5, n_kv_heads * 2) for _ in range(2))
        yield case(draw.normal(2, 4, 6), key, value, n_heads=3, n_kv_heads=n_kv_heads)


GROUPED = Debug(
    id="multihead-grouped",
    chapter="multihead",
    title="The wrong company",
    level="medium",
    minutes=15,
    task="Find the two faults of grouped_heads and mend them.",
    hints=(
        "All shapes are right, so look at *which* numbers stand where. With `n_kv_heads = n_heads` only one of the "
        "faults shows.",
        "Which key head does query head 1 meet, if 4 query heads share 2? Try both ways on a small tensor: "
        "`torch.tensor([10, 20]).repeat(2)`, and `.repeat_interleave(2)`.",
        "The other fault is an old acquaintance from the middle of this chapter.",
    ),
    reference=_shared(),
    given=_shared("tiled", "tiled", transpose=False),
    stages=(
        Stage("for groups of query heads", _groups, gradients=True),
        Stage("for one shared head, and for no sharing", _extremes),
    ),
    allowed=(lib.attention, lib.fused_attention),
    mistakes=(
        Mistake(
            "order-left",
            _shared("tiled", "tiled"),
            "One fault is mended: the tokens no longer mix. But neighboring query heads should share a key head, and "
            "here they take turns.",
            "Sharing keys and values",
        ),
        Mistake(
            "merge-left",
            _shared(transpose=False),
            "One fault is mended: every query head meets the right keys and values. But the rows of the result still "
            "mix tokens.",
            "The missing transpose",
        ),
        Mistake(
            "values-left",
            _shared("grouped", "tiled"),
            "The keys are in the right company now, but the values are not: some heads weigh by one head's keys and "
            "blend another head's values.",
            "Sharing keys and values",
        ),
        Mistake(
            "keys-left",
            _shared("tiled", "grouped"),
            "The values are in the right company now, but the keys are not: some heads weigh by one head's keys and "
            "blend another head's values.",
            "Sharing keys and values",
        ),
        Mistake(
            "first-for-all",
            _shared("first", "first"),
            "All your query heads use key head 0. The others are never looked at.",
            "Sharing keys and values",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (PIECES, ROUNDTRIP, SUM, MULTI_HEAD, THREE, PRUNE, GROUPED)
