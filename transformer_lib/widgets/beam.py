"""A beam search, live: the tree grows step by step, and width and length penalty can be changed."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from transformer_lib.generation import Candidate, LanguageModel, LengthPenalty, beam_search, length_penalty
from transformer_lib.plots import MUTED, OUTPUT, VALUE
from transformer_lib.texts import text
from transformer_lib.widgets.figure import LiveFigure, source

#: From no forgiveness for length to the mean.
PENALTIES: tuple[tuple[LengthPenalty, float], ...] = (
    ("none", 1.0),
    ("gnmt", 0.6),
    ("gnmt", 1.0),
    ("power", 0.6),
    ("power", 1.0),
)


class _Texts:
    """A cache of the texts themselves, in place of what a model has computed about them; the prompt is not theirs."""

    room = None

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] | None = None  # before the prompt is read

    @property
    def length(self) -> int:
        return 0 if self.rows is None else 1 + len(self.rows[0])

    def reorder(self, index: Tensor, memories: Tensor | None = None) -> None:
        assert self.rows is not None
        self.rows = [self.rows[place] for place in index.flatten().tolist()]

    def crop(self, length: int) -> None:
        self.rows = None if self.rows is None or not length else [row[: length - 1] for row in self.rows]


class _Remembered:
    """A model of one source that is asked only once about each text: what a search needs stays known."""

    def __init__(self, model: LanguageModel, prompt: Tensor, source_ids: Tensor | None) -> None:
        self.model, self.prompt, self.source_ids, self.pad_id = model, prompt, source_ids, model.pad_id
        self.known: dict[tuple[int, ...], Tensor] = {}

    def new_cache(self, source_ids: Tensor | None = None) -> _Texts:
        return _Texts()

    def step(
        self, token_ids: Tensor, cache: _Texts, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        if cache.rows is None:  # the prompt, of which nothing is written
            cache.rows = [()] * token_ids.size(0)
        else:
            cache.rows = [(*row, token) for row, token in zip(cache.rows, token_ids[:, -1].tolist(), strict=True)]
        new = list(dict.fromkeys(row for row in cache.rows if row not in self.known))
        if new:
            written = torch.tensor(new, dtype=torch.long, device=self.prompt.device).view(len(new), -1)
            texts = torch.cat([self.prompt.expand(len(new), -1), written], dim=1)
            with torch.inference_mode():
                fresh = self.model.new_cache(self.source_ids)
                fresh.reorder(torch.zeros(1, len(new), dtype=torch.long, device=texts.device))  # texts of one source
                logits = self.model.step(texts, fresh)
            self.known |= dict(zip(new, logits.float().log_softmax(-1), strict=True))
        return torch.stack([self.known[row] for row in cache.rows])


class BeamFigure(LiveFigure):
    """A beam search that the page runs by itself, with a model's log-probabilities.

    The model is asked in advance about every text that a search with any of the widths and penalties looks at. The page
    holds the likeliest continuations of each, and needs no model.

    Args:
        model: in evaluation mode.
        sources: what the model reads, ``(1, key)`` each, under the names that the reader chooses from; ``None`` for a
            decoder alone.
        prompt: the token before the first one written.
        eos_id: ends a text.
        words: what a token is written as; a leading space is kept between words.
        max_new_tokens: most tokens to write.
        widths: numbers of beams to choose from.
        penalties: names and strengths, see :func:`~transformer_lib.generation.length_penalty`.
        beams: the width at first.
        forbidden: tokens that are never written.
        language: of what is written, as an HTML code.

    Attributes:
        beams: the width now; so are ``penalty``, a place in ``penalties``, ``text``, a place in ``sources``, ``step``,
            the number of steps that are shown, and ``chosen``, the finished text that the tree marks. Setting one of
            them moves the figure.
        finished: what the whole search finds, the best first: tokens, sum of log-probabilities, score.

    Raises:
        ValueError: no source, a source of more than one row, no penalty or one of an unknown name, a width below 1 or
            one that is not offered, and whatever :func:`~transformer_lib.generation.beam_search` refuses.
    """

    _esm = source("beam")
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tables = traitlets.List(traitlets.Dict()).tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    eos_id = traitlets.Int().tag(sync=True)
    max_new_tokens = traitlets.Int().tag(sync=True)
    rows = traitlets.List(traitlets.Int()).tag(sync=True)
    widths = traitlets.List(traitlets.Int()).tag(sync=True)
    penalties = traitlets.List(traitlets.List()).tag(sync=True)
    language = traitlets.Unicode("pt-BR").tag(sync=True)
    text = traitlets.Int(0).tag(sync=True)
    beams = traitlets.Int().tag(sync=True)
    penalty = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    finished = traitlets.List(traitlets.List()).tag(sync=True)

    def __init__(
        self,
        model: LanguageModel,
        sources: Mapping[str, Tensor | None],
        *,
        prompt: int,
        eos_id: int,
        words: Callable[[int], str],
        max_new_tokens: int,
        widths: Sequence[int] = (1, 2, 3, 4, 5),
        penalties: Sequence[tuple[LengthPenalty, float]] = PENALTIES,
        beams: int = 3,
        forbidden: Collection[int] = (),
        language: str = "pt-BR",
    ):
        if not sources:
            raise ValueError("sources must hold at least one text; got none")
        for name, ids in sources.items():
            if ids is not None and (ids.ndim != 2 or ids.size(0) != 1):
                raise ValueError(f"each source must have shape (1, key); got {tuple(ids.shape)} for {name!r}")
        if not widths or min(widths) < 1 or beams not in widths:
            raise ValueError(f"beams must be one of the widths, each at least 1; got {beams} and {tuple(widths)}")
        if not penalties:
            raise ValueError("penalties must hold at least one; got none")
        for name, alpha in penalties:
            length_penalty(1, name, alpha)
        self._forbidden = tuple(forbidden)
        self._models = []
        for ids in sources.values():
            first = torch.tensor([[prompt]], device=None if ids is None else ids.device)
            self._models.append(_Remembered(model, first, ids))
        super().__init__(
            names=list(sources),
            eos_id=eos_id,
            max_new_tokens=max_new_tokens,
            widths=list(widths),
            penalties=[[name, float(alpha)] for name, alpha in penalties],
            beams=beams,
            language=language,
        )
        self.rows = [
            max(self._search(place, width, kind)[0][-1].step for width in widths for kind in range(len(penalties)))
            for place in range(len(sources))
        ]
        self.tables = [self._table(known.known) for known in self._models]
        seen = {token for table in self.tables for nexts in table.values() for token in nexts[::2]}
        self.words = {str(token): words(token) for token in sorted(seen)}
        self._compute()
        # The controls; the tree with its legend, a row for each step; the tables, three rows for each beam, and another
        # line for a text that does not fit into one. Rows are higher on a phone, for fingers.
        tree, tables, by_finger = 42 * self.rows[0], 75 * beams, 85 * beams
        lines = sum(len(self._spelled(tokens)) // 22 for tokens, *_ in self.finished)
        self.heights = (max(275 + tree, 277 + tables + 18 * lines), 490 + 40 * self.rows[0] + by_finger)
        self.step = self.tree()[-1].step
        self.observe(self._compute, ["text", "beams", "penalty"])

    def _search(self, text: int, beams: int, penalty: int) -> tuple[list[Candidate], list[list[Any]]]:
        """The library's beam search: its trace, and what it finds."""
        trace: list[Candidate] = []
        name, alpha = self.penalties[penalty]
        model = self._models[text]
        (found,) = beam_search(
            model,
            model.prompt,
            eos_id=self.eos_id,
            max_new_tokens=self.max_new_tokens,
            beams=beams,
            n_best=beams,
            penalty=name,
            alpha=alpha,
            forbidden=self._forbidden,
            trace=trace.append,
        )
        return trace, [[list(one.tokens), round(one.log_probability, 5), round(one.score, 5)] for one in found]

    def _table(self, known: Mapping[tuple[int, ...], Tensor]) -> dict[str, list[float]]:
        """After each text, its likeliest continuations: a token, its log-probability, the next token, and so on.

        A search over ``beams`` texts weighs twice as many candidates, so it looks at no more of one text.
        """
        banned = {self._models[0].pad_id, *self._forbidden}
        table = {}
        for tokens, logs in known.items():
            best = logs.topk(min(2 * max(self.widths) + len(banned), len(logs)))
            pairs = [
                (token, round(log, 6))
                for log, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                if token not in banned and log > -math.inf
            ]
            table[" ".join(map(str, tokens))] = [x for pair in pairs[: 2 * max(self.widths)] for x in pair]
        return table

    def tree(self) -> list[Candidate]:
        """Every candidate that the search weighs with the present settings, in order."""
        return self._search(self.text, self.beams, self.penalty)[0]

    def _compute(self, change: object = None) -> None:
        """What the search finds, by the library; the page computes the same in JavaScript."""
        self.finished = self._search(self.text, self.beams, self.penalty)[1]

    def _spelled(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[str(token)] for token in tokens if token != self.eos_id).strip()

    def picture(self) -> Picture:
        """The tree as far as it is shown, one step a row, and the finished texts."""
        trace = [candidate for candidate in self.tree() if candidate.step <= self.step]
        steps = trace[-1].step if trace else 0
        figure, (ax, side) = plt.subplots(1, 2, figsize=(7.6, 0.42 * max(steps, 3) + 1.0), width_ratios=[1.7, 1])
        places = {(0, 0): 0}
        for step in range(1, steps + 1):
            weighed = [candidate for candidate in trace if candidate.step == step]
            last = step == self.max_new_tokens
            shown = [one for one in weighed if last or one.token != self.eos_id][: self.beams + 2]
            for rank, one in enumerate(shown):
                kept = one.beam is not None or one.finished
                color = OUTPUT if kept else MUTED
                ax.plot([places[step - 1, one.parent], rank], [1 - step, -step], color=color, lw=1.6 if kept else 0.6)
                box = {"facecolor": "white", "edgecolor": color if kept else "none", "boxstyle": "round,pad=0.25"}
                label = self.words[str(one.token)].strip() or "␣"
                ax.text(rank, -step, label, ha="center", va="center", color=color, size=8, bbox=box)
                if one.beam is not None:
                    places[step, one.beam] = rank
            for one in weighed:
                if one.finished and not last:
                    ax.plot(places[step - 1, one.parent] + 0.3, 0.62 - step, "s", color=VALUE, markersize=6)
        ax.plot(0, 0, "o", color=OUTPUT)
        ax.set(xlim=(-0.6, self.beams + 1.6), ylim=(-steps - 0.5, 0.5))
        one_beam = text("1 beam, one step a row")
        ax.set_title(one_beam if self.beams == 1 else text("{count} beams, one step a row", count=self.beams))
        side.set_title(text("Finished texts"))
        for place, (tokens, _, score) in enumerate(self.finished):
            counted = {"count": len(tokens), "score": f"{score:.3f}".replace("-", "−")}
            below = text("1 token, score {score}", score=counted["score"])
            below = below if len(tokens) == 1 else text("{count} tokens, score {score}", **counted)
            told = f"{place + 1}. {self._spelled(tokens)}\n     {below}"
            side.text(0, 1 - 0.2 * place, told, va="top", size=8, transform=side.transAxes)
        for one in (ax, side):
            one.axis("off")
        return figure

    def __repr__(self) -> str:
        return f"BeamFigure({_counted(len(self.names), 'text')}, widths {', '.join(map(str, self.widths))})"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
