"""Attention for one query, live: drag the query, change the width, the temperature and the mask."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from numpy.typing import ArrayLike

from transformer_lib.attention import attention
from transformer_lib.plots import KEY, OUTPUT, QUERY
from transformer_lib.texts import text
from transformer_lib.widgets.figure import LiveFigure, source


class AttentionFigure(LiveFigure):
    """One query asks several keys; scores, weights and output follow every change.

    Beyond the numbers that are given, key and query are continued with independent random ones up to the largest
    width, so that the width can be changed as in "Why the square root".

    Args:
        tokens: the words, one a key.
        query: ``(d,)``, at first.
        key: ``(key, d)``; the plane shows the first two numbers.
        value: ``(key, d_value)``, between 0 and 1.
        axes: the names of the first two numbers of a key; "first" and "second" unless given.
        value_names: what the numbers of a value stand for.
        widths: the choices of d_k, the first at most ``d``.
        language: of the tokens, as an HTML code.

    Attributes:
        weights: of each key, as they are now; so are ``output``, ``query``, ``d_k``, ``scaled``, ``temperature`` and
            ``visible``. Setting one of the latter moves the figure.

    Raises:
        ValueError: sizes that do not fit together.
    """

    _esm = source("attention")
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    key = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    value = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    axes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    value_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    widths = traitlets.List(traitlets.Int()).tag(sync=True)
    language = traitlets.Unicode("pt-BR").tag(sync=True)
    d_k = traitlets.Int().tag(sync=True)
    scaled = traitlets.Bool(True).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    visible = traitlets.List(traitlets.Bool()).tag(sync=True)
    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    output = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        tokens: Sequence[str],
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        *,
        axes: tuple[str, str] | None = None,
        value_names: Sequence[str] | None = None,
        widths: Sequence[int] = (4, 16, 64, 256),
        language: str = "pt-BR",
    ):
        ask, keys, values = (np.asarray(array, dtype=float) for array in (query, key, value))
        if keys.ndim != 2 or len(keys) != len(tokens) or keys.shape[1] < 2:
            raise ValueError(f"key must have shape ({len(tokens)}, d) with d of 2 or more; got {keys.shape}")
        if values.ndim != 2 or len(values) != len(tokens):
            raise ValueError(f"value must have shape ({len(tokens)}, d_value); got {values.shape}")
        if ask.shape != keys.shape[1:]:
            raise ValueError(f"query must have shape {keys.shape[1:]}; got {ask.shape}")
        if keys.shape[1] > min(widths):
            raise ValueError(f"widths must be at least the {keys.shape[1]} numbers of a key; got {tuple(widths)}")
        generator = np.random.default_rng(0)
        more = generator.standard_normal((len(tokens) + 1, max(widths) - keys.shape[1])).round(2)
        super().__init__(
            tokens=list(tokens),
            key=np.concatenate([keys, more[1:]], axis=1).tolist(),
            value=values.tolist(),
            query=np.concatenate([ask, more[0]]).tolist(),
            axes=list(axes or (text("first"), text("second"))),
            value_names=list(value_names or (text("value {number}", number=i + 1) for i in range(values.shape[1]))),
            widths=list(widths),
            language=language,
            d_k=widths[0],
            visible=[True] * len(tokens),
            heights=(430, 968),
        )
        self._compute()
        self.observe(self._compute, ["query", "d_k", "scaled", "temperature", "visible"])

    def _compute(self, change: object = None) -> None:
        """The weights and the output by the library; the page computes the same in JavaScript."""
        query, key = (torch.tensor(x, dtype=torch.float64)[:, : self.d_k] for x in ([self.query], self.key))
        value = torch.tensor(self.value, dtype=torch.float64)
        scale = (self.d_k**-0.5 if self.scaled else 1.0) / self.temperature
        output, weights = attention(query, key, value, torch.tensor([self.visible]), scale=scale)
        self.weights, self.output = weights[0].tolist(), output[0].tolist()

    def picture(self) -> Picture:
        """The plane of keys and query, the weights, and the output."""
        figure, (plane, bars) = plt.subplots(1, 2, figsize=(7, 3.6), width_ratios=[1, 1.2])
        for token, key, weight in zip(self.tokens, self.key, self.weights, strict=True):
            plane.scatter(*key[:2], s=25 + 350 * weight, color=KEY)
            if token == self.tokens[int(np.argmax(self.weights))]:
                plane.annotate(token, key[:2], xytext=(4, 12), textcoords="offset points")
        plane.annotate("", self.query[:2], (0, 0), arrowprops={"color": QUERY, "width": 2, "headwidth": 8})
        plane.set(xlim=(-3, 7), ylim=(-3, 7), xlabel=self.axes[0], ylabel=self.axes[1], title=text("Keys and query"))
        places = np.arange(len(self.tokens))
        bars.barh(places, self.weights, color=QUERY)
        bars.set_yticks(places, self.tokens)
        bars.invert_yaxis()
        bars.set(xlim=(0, 1), title=text("Weights"))
        told = ", ".join(f"{name} {number:.2f}" for name, number in zip(self.value_names, self.output, strict=True))
        bars.set_xlabel(text("output: {numbers}", numbers=told), color=OUTPUT)
        return figure

    def __repr__(self) -> str:
        return f"AttentionFigure({len(self.tokens)} keys)"
