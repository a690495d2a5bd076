"""Positions, live: the sinusoidal waves that are added to tokens, and the turns of rotary positions."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Circle
from numpy.typing import ArrayLike
from torch import Tensor

from transformer_lib.plots import KEY, MUTED, OUTPUT, QUERY
from transformer_lib.positions import RotaryPositions, sinusoidal_table
from transformer_lib.texts import text
from transformer_lib.widgets.figure import LiveFigure, source


def _three_back() -> tuple[list[float], list[float]]:
    """A query and a key whose arrows point the same way where the query stands three places after the key."""
    angles = np.array([0.5, 2.1, 3.8, 5.3])  # of the key's arrows, at place 0
    back = angles - 3 * 10000.0 ** (-np.arange(4) / 4)
    query, key = (
        length * np.stack([np.cos(at), np.sin(at)], axis=-1).ravel() for length, at in ((1.0, back), (0.75, angles))
    )
    return query.round(4).tolist(), key.round(4).tolist()


THREE_BACK = _three_back()


class PositionsFigure(LiveFigure):
    """Two parts: the table of waves with a row to choose, and a query and a key whose pairs turn with their places.

    Args:
        query: ``(d_head,)``, an even number of numbers. Unless query and key are given, they have eight, and their
            score is largest where the key stands three places before the query.
        key: as many numbers.
        length: positions, 0 to ``length - 1``, in both parts.
        d_model: columns of the table.
        part: shown at first, ``"waves"`` or ``"rotary"``.
        tabs: whether the reader may change to the other part.
        position: the row that is chosen at first.
        by_distance: whether the row's dot products are drawn over the distance from it.
        query_at: the query's place at first.
        key_at: the key's place at first.

    Attributes:
        row: of the table, at ``position``.
        profile: the dot product of that row with every row.
        pairs: what each pair of numbers gives to the score.
        score: of the turned query and the turned key, their sum.

    Raises:
        ValueError: sizes that do not fit, or a place outside the positions.
    """

    _esm = source("positions")
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    key = traitlets.List(traitlets.Float()).tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    d_model = traitlets.Int().tag(sync=True)
    part = traitlets.Unicode().tag(sync=True)
    tabs = traitlets.Bool().tag(sync=True)
    position = traitlets.Int().tag(sync=True)
    by_distance = traitlets.Bool().tag(sync=True)
    query_at = traitlets.Int().tag(sync=True)
    key_at = traitlets.Int().tag(sync=True)
    together = traitlets.Bool(False).tag(sync=True)
    # The page computes these for itself.
    row = traitlets.List(traitlets.Float())
    profile = traitlets.List(traitlets.Float())
    pairs = traitlets.List(traitlets.Float())
    score = traitlets.Float()

    def __init__(
        self,
        query: ArrayLike = THREE_BACK[0],
        key: ArrayLike = THREE_BACK[1],
        *,
        length: int = 60,
        d_model: int = 32,
        part: str = "waves",
        tabs: bool = True,
        position: int = 30,
        by_distance: bool = False,
        query_at: int = 12,
        key_at: int = 7,
    ):
        ask, answer = (np.asarray(vector, dtype=float) for vector in (query, key))
        if ask.ndim != 1 or len(ask) < 2 or len(ask) % 2:
            raise ValueError(f"query must have shape (d_head,) with an even d_head; got {ask.shape}")
        if answer.shape != ask.shape:
            raise ValueError(f"key must have shape {ask.shape}; got {answer.shape}")
        if d_model < 2 or d_model % 2:
            raise ValueError(f"d_model must be positive and even; got {d_model}")
        if length < 2:
            raise ValueError(f"length must be at least 2; got {length}")
        wide, phone = (500, 874) if part == "waves" else (524, 808)
        super().__init__(
            query=ask.round(4).tolist(),
            key=answer.round(4).tolist(),
            length=length,
            d_model=d_model,
            part=part,
            tabs=tabs,
            position=position,
            by_distance=by_distance,
            query_at=query_at,
            key_at=key_at,
            heights=(wide + 51 * tabs, phone + 51 * tabs),
        )
        self._compute()
        self.observe(self._compute, ["position", "query_at", "key_at"])

    @traitlets.validate("position", "query_at", "key_at")
    def _inside(self, proposal: Any) -> Any:
        name, place = proposal["trait"].name, proposal["value"]
        if not 0 <= place < self.length:
            raise ValueError(f"{name} must lie between 0 and {self.length - 1}; got {place}")
        return place

    @traitlets.validate("part")
    def _known(self, proposal: Any) -> Any:
        if proposal["value"] not in ("waves", "rotary"):
            raise ValueError(f"part must be 'waves' or 'rotary'; got {proposal['value']!r}")
        return proposal["value"]

    def _turned(self, vector: list[float], *places: int) -> Tensor:
        """The vector as it stands at each of the places, ``(place, pair, 2)``."""
        repeated = torch.tensor(vector, dtype=torch.float64).expand(1, 1, len(places), -1)
        turned: Tensor = RotaryPositions(len(vector))(repeated, torch.tensor(places))
        return turned.reshape(len(places), -1, 2)

    def _compute(self, change: object = None) -> None:
        """What follows from the places, by the library; the page computes the same in JavaScript."""
        table = sinusoidal_table(self.length, self.d_model).double()
        self.row, self.profile = table[self.position].tolist(), (table @ table[self.position]).tolist()
        products = (self._turned(self.query, self.query_at) * self._turned(self.key, self.key_at)).sum(-1)
        self.pairs, self.score = products[0].tolist(), products.sum().item()

    def picture(self) -> Picture:
        """The part that is shown now."""
        return self._waves() if self.part == "waves" else self._rotary()

    def _waves(self) -> Picture:
        figure = plt.figure(figsize=(7.2, 4))
        grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.4])
        table, row, profile = (figure.add_subplot(place) for place in (grid[:, 0], grid[0, 1], grid[1, 1]))
        waves = sinusoidal_table(self.length, self.d_model).numpy()
        table.imshow(waves, cmap="PuOr_r", aspect="auto", vmin=-1.2, vmax=1.2, interpolation="nearest")
        table.axhline(self.position, color="black", linewidth=1.5)
        table.set(xlabel=text("column"), ylabel=text("position"), title=text("The table"))
        row.plot(self.row, "o-", color=MUTED, markersize=3, linewidth=1)
        row.set(xlabel=text("column"), title=text("Row {position}", position=self.position))
        places = np.arange(self.length) - (self.position if self.by_distance else 0)
        profile.plot(places, self.profile, color=QUERY)
        profile.axvline(places[self.position], color=MUTED, linewidth=1, linestyle=":")
        below = text("distance") if self.by_distance else text("position")
        profile.set(xlabel=below, ylim=(None, self.d_model / 2 + 1))
        profile.set_title(text("Dot product of row {position} with every row", position=self.position))
        return figure

    def _rotary(self) -> Picture:
        count = len(self.query) // 2
        figure = plt.figure(figsize=(7.2, 4))
        grid = figure.add_gridspec(2, count, height_ratios=[1.2, 1])
        query, key = self._turned(self.query, self.query_at)[0], self._turned(self.key, self.key_at)[0]
        longest = max(query.norm(dim=-1).max().item(), key.norm(dim=-1).max().item()) * 1.1
        for pair in range(count):
            circle = figure.add_subplot(grid[0, pair])
            for arrow, color, line in ((query[pair], QUERY, "-"), (key[pair], KEY, "--")):
                style = {"arrowstyle": "->", "color": color, "lw": 2, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
                circle.add_patch(Circle((0, 0), arrow.norm().item(), fill=False, color=color, alpha=0.3))
                circle.annotate("", (float(arrow[0]), float(arrow[1])), (0, 0), arrowprops=style)
            circle.set(xlim=(-longest, longest), ylim=(-longest, longest), aspect="equal")
            circle.set_title(f"{self.pairs[pair]:.2f}")
            circle.axis("off")
        profile = figure.add_subplot(grid[1, :])
        distances = np.arange(1 - self.length, self.length)
        asked = self._turned(self.key, 0)
        profile.plot(distances, (self._turned(self.query, *distances.tolist()) * asked).sum((-1, -2)), color=OUTPUT)
        profile.plot(self.query_at - self.key_at, self.score, "o", color=OUTPUT)
        profile.set(xlabel=text("distance: place of the query minus place of the key"), ylabel=text("score"))
        now = {"query": self.query_at, "key": self.key_at, "score": self.score}
        profile.set_title(text("Query at {query}, key at {key}: score {score:.2f}", **now))
        return figure

    def __repr__(self) -> str:
        return f"PositionsFigure({self.part}, {self.length} positions)"
