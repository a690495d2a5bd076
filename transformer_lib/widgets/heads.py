"""The heads of any recorded model: two columns of tokens, and a line for each weight."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from transformer_lib.plots import KEY, MUTED, QUERY
from transformer_lib.texts import text
from transformer_lib.widgets.figure import LiveFigure, source


class HeadView(LiveFigure):
    """What each head looks at, in every layer that was recorded.

    In an encoder–decoder, ``queries`` are the tokens that the decoder reads, and ``keys`` those that the encoder
    reads: which of them a layer has on which side follows from its name.

    Args:
        record: from :func:`~transformer_lib.plots.record_attention`; or the weights of a single layer,
            ``(heads, query, key)`` or ``(batch, heads, query, key)``.
        queries: the tokens that ask; numbers unless given. Positions beyond them, and those of a ``None``, are padding
            and left out.
        keys: the tokens that are looked at; those that ask unless given.
        sample: which sequence of the batch.
        call: which of the model's calls, by its number; the last unless given.
        layer: the number of the layer shown at first, in the order of the record.
        head: the head shown at first.
        language: of the tokens, as an HTML code.

    Attributes:
        layer: number of the layer shown; ``head`` is its head. Setting them moves the figure.
        query: number of the chosen token among the shown ones that ask, or None; ``key`` is the same for those that
            are looked at. At most one of the two is chosen.

    Raises:
        TypeError: a record of another kind.
        ValueError: nothing was recorded; a shape, a number or a list of tokens that does not fit.

    Example:
        >>> import transformer_lib as lib
        >>> from transformer_lib.plots import record_attention
        >>> layer = lib.MultiHeadAttention(d_model=12, n_heads=3)
        >>> with record_attention(layer) as record:
        ...     _ = layer(torch.zeros(1, 2, 12))
        >>> HeadView(record, ["two", "words"])
        HeadView(1 layer, 3 heads)
    """

    _esm = source("heads")
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(None, allow_none=True).tag(sync=True)
    key = traitlets.Int(None, allow_none=True).tag(sync=True)
    language = traitlets.Unicode("pt-BR").tag(sync=True)

    def __init__(
        self,
        record: Mapping[str, Sequence[Tensor]] | Tensor,
        queries: Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
        *,
        sample: int = 0,
        call: int = -1,
        layer: int = 0,
        head: int = 0,
        language: str = "pt-BR",
    ):
        if isinstance(record, Tensor):
            record = {"": [record]}
        if not isinstance(record, Mapping):
            raise TypeError(f"record must come from record_attention, or be a tensor; got {type(record).__name__}")
        if not record or not all(len(calls) for calls in record.values()):
            raise ValueError("record holds no weights: run the model while record_attention is open")
        self._weights: list[Tensor] = []  # (heads, query, key) of each layer, padding left out
        shown = []
        for name, calls in record.items():
            weights = _of_sample(name, calls, sample, call)
            sides = _sides(name, queries, keys)
            at, words = zip(
                *(
                    _kept(side, tokens, size)
                    for side, tokens, size in zip(_SIDES, sides, weights.shape[1:], strict=True)
                ),
                strict=True,
            )
            self._weights.append(weights[:, at[0]][:, :, at[1]])
            rounded = [[[round(w, 4) for w in row] for row in rows] for rows in self._weights[-1].tolist()]
            shown.append({"name": _title(name, record), "queries": words[0], "keys": words[1], "weights": rounded})
        if not 0 <= layer < len(shown):
            raise ValueError(f"layer must be a number from 0 to {len(shown) - 1}; got {layer}")
        if not 0 <= head < len(self._weights[layer]):
            raise ValueError(f"head must be a number from 0 to {len(self._weights[layer]) - 1}; got {head}")
        longest = max(max(len(one["queries"]), len(one["keys"])) for one in shown)
        most = max(map(len, self._weights))
        columns = 30 + 30 * longest + 62  # headings, tokens, what is seen in words
        overview = len(shown) * (30 + 54 * -(-most // 8))  # eight in a row
        super().__init__(
            layers=shown,
            layer=layer,
            head=head,
            language=language,
            heights=(max(columns, overview) + 10, columns + overview + 16),
        )
        self.observe(lambda change: change.new is not None and self.set_trait("key", None), "query")
        self.observe(lambda change: change.new is not None and self.set_trait("query", None), "key")

    @property
    def weights(self) -> Tensor:
        """Those of the head that is shown, ``(query, key)``, without the padding."""
        return self._weights[self.layer][self.head]

    def picture(self) -> Picture:
        """The head that is shown: a line for each weight."""
        shown = self.layers[self.layer]
        figure, ax = plt.subplots(figsize=(5, 0.6 + 0.3 * max(len(shown["queries"]), len(shown["keys"]))))
        for i, row in enumerate(self.weights.tolist()):
            for j, weight in enumerate(row):
                ax.plot([0, 1], [-i, -j], color=QUERY, alpha=weight, linewidth=0.5 + 4 * weight)
        titles = {"queries": text("queries"), "keys": text("keys")}
        for side, x, align, color in (("queries", -0.04, "right", QUERY), ("keys", 1.04, "left", KEY)):
            for place, word in enumerate(shown[side]):
                ax.text(x, -place, word, ha=align, va="center")
            ax.text(x, 1, titles[side], ha=align, va="center", color=color, fontsize=9)
        ax.set(xlim=(-0.6, 1.6), ylim=(-max(len(shown["queries"]), len(shown["keys"])) + 0.5, 1.5))
        ax.set_title(text("{layer}, head {head}", layer=shown["name"], head=self.head), color=MUTED, fontsize=9)
        ax.axis("off")
        return figure

    def __repr__(self) -> str:
        layers, heads = len(self.layers), sum(map(len, self._weights))
        return f"HeadView({layers} layer{'s' * (layers > 1)}, {heads} head{'s' * (heads > 1)})"


_SIDES = ("queries", "keys")


def _of_sample(name: str, calls: Sequence[Tensor], sample: int, call: int) -> Tensor:
    """One layer's weights for one sequence, ``(heads, query, key)``."""
    if not -len(calls) <= call < len(calls):
        raise ValueError(f"call must be one of the {len(calls)} calls of {name or 'the layer'}; got {call}")
    weights = calls[call].detach().cpu()
    if weights.ndim == 3:
        weights = weights[None]
    if weights.ndim != 4 or 0 in weights.shape:
        raise ValueError(f"weights must have shape (batch, heads, query, key); got {tuple(weights.shape)}")
    if not -len(weights) <= sample < len(weights):
        raise ValueError(f"sample must be one of the {len(weights)} sequences of the batch; got {sample}")
    return weights[sample].double()


def _sides(name: str, queries: Any, keys: Any) -> tuple[Any, Any]:
    """The tokens that ask in a layer, and those that it looks at."""
    if keys is None:
        return queries, queries
    if "cross" not in name and name.startswith("encoder"):
        return keys, keys
    if "cross" not in name and name.startswith("decoder"):
        return queries, queries
    return queries, keys


def _kept(side: str, tokens: Sequence[str | None] | None, size: int) -> tuple[list[int], list[str]]:
    """The positions that are no padding, and their words."""
    if isinstance(tokens, str):
        raise ValueError(f"{side} must be a list of tokens; got a single string")
    words = list(map(str, range(size))) if tokens is None else list(tokens)
    if len(words) > size:
        raise ValueError(f"{side} must name at most the {size} positions that were recorded; got {len(words)} tokens")
    kept = [place for place, word in enumerate(words) if word is not None]
    if not kept:
        raise ValueError(f"{side} must hold at least one token")
    return kept, [str(words[place]) for place in kept]


def _title(name: str, record: Mapping[str, object]) -> str:
    """A layer's path in words: ``decoder.layers.0.cross_attention`` is "decoder, layer 1, cross", as prose counts."""
    parts = name.split(".")
    number = next((part for part in parts if part.isdigit()), None)
    if number is None:
        return name.replace("_", " ") or text("the layer")
    stack = {"encoder": text("encoder"), "decoder": text("decoder")}.get(parts[0])
    siblings = any("cross" in other and other.startswith(name.rpartition(".")[0]) for other in record)
    kind = (text("cross") if "cross" in name else text("self")) if siblings else None
    return ", ".join(part for part in (stack, text("layer {number}", number=int(number) + 1), kind) if part)
