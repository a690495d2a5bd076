"""Looking at attention: record the weights of a running model, and draw them.

Figures have a white ground; in a dark page the book's style sheet inverts their lightness and keeps their hues.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn

from transformer_lib.fonts import label_families
from transformer_lib.multihead import MultiHeadAttention

# The colors of query, key and value wherever they appear in the book. They differ for color-blind readers too
# (Okabe and Ito, 2008), darkened until each stands out from white by a contrast of 4.5 or more.
QUERY, KEY, VALUE, OUTPUT = "#0067a3", "#b34700", "#00795a", "#8a4a7d"
INK, MUTED = "#222222", "#6b6b6b"

#: Attention weights: white for 0, the page's own color, so that only what is attended shows.
WEIGHTS = LinearSegmentedColormap.from_list("weights", ["#ffffff", "#cfe3f1", "#5aa2cf", "#0067a3", "#003a5c"])


def book_style() -> None:
    """Set Matplotlib to the book's look, for this process.

    Labels are in the typeface of the book's own labels where ``fontpkg-source-sans-3`` is installed (the extra
    ``fonts``), and in Matplotlib's where it is not.
    """
    families = label_families()
    mpl.rcParams.update(
        {
            "font.family": list(families),
            # Formulas too; the radical and such come from a font that has all sizes of them.
            "mathtext.fontset": "custom" if len(families) > 1 else "dejavusans",
            "mathtext.rm": families[0],
            "mathtext.it": f"{families[0]}:italic",
            "mathtext.bf": f"{families[0]}:bold",
            "mathtext.sf": families[0],
            "mathtext.cal": f"{families[0]}:italic",
            "mathtext.tt": "DejaVu Sans Mono",
            "mathtext.fallback": "stixsans",
            "figure.dpi": 144,
            "figure.figsize": (6.0, 3.2),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=[QUERY, KEY, VALUE, OUTPUT, INK]),
            "xtick.color": INK,
            "ytick.color": INK,
            "text.color": INK,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "image.cmap": "weights",
        }
    )


if "weights" not in mpl.colormaps:
    mpl.colormaps.register(WEIGHTS)


class AttentionRecord(dict[str, list[Tensor]]):
    """The weights that a model computed while it was recorded.

    ``record[name]`` is the list of one layer's weights, a tensor ``(batch, heads, query, key)`` for each call, in
    order; ``name`` is the layer's path inside the model (``""`` if the model is the layer). Tensors are detached and
    lie on the CPU.
    """

    def __repr__(self) -> str:
        calls = ", ".join(f"{name or '(the layer itself)'}: {len(weights)}" for name, weights in self.items())
        return f"AttentionRecord({calls})"


@contextmanager
def record_attention(model: nn.Module) -> Iterator[AttentionRecord]:
    """Record every attention layer of ``model`` while the context is open.

    Its layers take the explicit path meanwhile, and compiled models run without the compiler. On leaving, also by an
    error, nothing is left behind in the model; a copy that was made meanwhile is not recorded. If no layer has run, a
    warning says so. What an observer that was there before makes of the weights is seen: the record holds what met
    the values.

    Args:
        model: holds at least one :class:`~transformer_lib.multihead.MultiHeadAttention`.

    Yields:
        An :class:`AttentionRecord`, filled at each forward pass.

    Raises:
        ValueError: the model has no attention layer.

    Example:
        >>> from transformer_lib import MultiHeadAttention
        >>> layer = MultiHeadAttention(d_model=12, n_heads=3)
        >>> with record_attention(layer) as record:
        ...     _ = layer(torch.zeros(2, 5, 12))
        >>> record[""][0].shape
        torch.Size([2, 3, 5, 5])
    """
    # A compiled model holds the one it was made of as `_orig_mod`.
    taps = {
        path.replace("_orig_mod.", "").removesuffix("_orig_mod"): module.tap
        for path, module in model.named_modules()
        if isinstance(module, MultiHeadAttention)
    }
    if not taps:
        raise ValueError(f"{type(model).__name__} has no attention layer to record")
    record = AttentionRecord({name: [] for name in taps})

    def keep(name: str, weights: Tensor) -> None:
        record[name].append(weights.detach().cpu())

    with ExitStack() as contexts:
        for name, tap in taps.items():
            contexts.enter_context(tap.observe(partial(keep, name)))
        contexts.enter_context(_without_compiler())
        yield record
    if not any(record.values()):
        warnings.warn("no attention was recorded: the model did not run while the context was open", stacklevel=3)


def _without_compiler() -> AbstractContextManager[object]:
    """Let compiled models run as they were written: compiled code does not notice that it is being looked at."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def heatmap(
    weights: ArrayLike | Tensor,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    title: str | None = None,
    ax: Axes | None = None,
    annotate: bool | None = None,
    limits: tuple[float, float] | None = (0.0, 1.0),
    cmap: str | None = None,
) -> Axes:
    """Draw a matrix of attention weights, one row a query and one column a key.

    Args:
        weights: ``(query, key)``.
        rows: the queries' labels.
        columns: the keys' labels; the rows' labels where the matrix is square and they are not given.
        title: above the matrix.
        ax: where to draw; a new figure unless given.
        annotate: whether to write each number into its cell, exact zeros apart (what a mask has hidden stays blank);
            if there are at most 64 cells, unless given.
        limits: the numbers that get the first and last color; those of the data for ``None``.
        cmap: name of a Matplotlib color map, for matrices that are not weights.

    Returns:
        The axes drawn on.

    Raises:
        ValueError: ``weights`` is not of rank 2 or is empty, or the labels do not fit.
    """
    matrix = _as_matrix(weights, 2)
    if rows is not None and columns is None and matrix.shape[0] == matrix.shape[1]:
        columns = rows
    for name, labels, size in (("rows", rows, matrix.shape[0]), ("columns", columns, matrix.shape[1])):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{name} must name {size} positions; got {len(labels)} labels")
    if ax is None:
        height, width = matrix.shape
        cell = 0.48 if max(height, width) <= 12 else 0.3
        _, ax = plt.subplots(figsize=(1.4 + cell * width, 1.1 + cell * height))
    low, high = limits if limits is not None else (float(matrix.min()), float(matrix.max()))
    ax.imshow(matrix, cmap=cmap or WEIGHTS, vmin=low, vmax=high, aspect="equal")
    ax.set_xticks(range(matrix.shape[1]), columns or map(str, range(matrix.shape[1])))
    ax.set_yticks(range(matrix.shape[0]), rows or map(str, range(matrix.shape[0])))
    if columns is not None and max(map(len, columns)) > 2:
        ax.tick_params("x", rotation=45)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    # Thin lines between the cells, so that neighbours of one color stay apart.
    ax.set_xticks(np.arange(-0.5, matrix.shape[1]), minor=True)
    ax.set_yticks(np.arange(-0.5, matrix.shape[0]), minor=True)
    ax.grid(which="minor", color="#d9d9d9", linewidth=0.6)
    ax.tick_params(which="minor", length=0)
    ax.spines[:].set_visible(False)
    if annotate if annotate is not None else matrix.size <= 64:
        mapped = mpl.colormaps[cmap] if cmap else WEIGHTS
        norm = Normalize(low, high)
        for (row, column), number in np.ndenumerate(matrix):
            if number == 0:
                continue
            red, green, blue, _ = mapped(norm(number))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
            if 0 <= number < 1:
                text = f"{number:.2f}".removeprefix("0")
            else:
                text = f"{number:.2g}" if abs(number) < 99.5 else f"{number:.0f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color=INK if light else "white")
    if title:
        ax.set_title(title)
    return ax


def heads_grid(
    weights: ArrayLike | Tensor,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw the heads of one layer side by side.

    Args:
        weights: ``(heads, query, key)``.
        rows: the queries' labels.
        columns: the keys' labels.
        titles: one for each head; "head 0", "head 1", … unless given.

    Returns:
        The figure.

    Raises:
        ValueError: ``weights`` is not of rank 3 or is empty, or the labels or titles do not fit.
    """
    heads = _as_matrix(weights, 3)
    if titles is not None and len(titles) != len(heads):
        raise ValueError(f"titles must name {len(heads)} heads; got {len(titles)}")
    across = min(len(heads), 4)
    down = -(-len(heads) // across)
    size = max(0.26 * max(heads.shape[1:]) + 0.8, 2.1)
    figure, axes = plt.subplots(down, across, figsize=(size * across, size * down), squeeze=False)
    for index, ax in enumerate(axes.flat):
        if index >= len(heads):
            ax.set_axis_off()
            continue
        title = titles[index] if titles is not None else f"head {index}"
        heatmap(heads[index], rows, columns, title=title, ax=ax, annotate=False)
        if index % across:
            ax.set_yticklabels([])
    return figure


def _as_matrix(weights: ArrayLike | Tensor, rank: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(weights, Tensor):
        weights = weights.detach().to("cpu", torch.float64).numpy()
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != rank:
        expected = "(query, key)" if rank == 2 else "(heads, query, key)"
        raise ValueError(f"weights must have shape {expected}; got {matrix.shape}")
    if not matrix.size:
        raise ValueError(f"weights must not be empty; got shape {matrix.shape}")
    return matrix
