"""A translation being written, word by word, and where the translator looked for each."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from transformer_lib.data.tokens import EOS, unfinished
from transformer_lib.plots import KEY, MUTED, QUERY
from transformer_lib.translator import Translator
from transformer_lib.widgets.figure import LiveFigure, source
from transformer_lib.widgets.translator import looks


class AlignmentFigure(LiveFigure):
    """An English sentence, its translation, and lines from the word that is written to the words that are looked at.

    The weights are those of the decoder's cross-attention, averaged over layers and heads. Where a word has several
    tokens, it gets the sum of their weights if it is read, and their mean if it is written.

    Args:
        translator: the library's own unless given.
        sentence: in English. Of one that is too long the beginning is read.

    Attributes:
        read: the English words; the last is the end of the sentence.
        notes: in words, what is not read or written as it stands; mostly nothing.
        written: the Portuguese words.
        weights: of each word written, how much of each word read.
        place: number of the word that is being written. Setting it moves the figure.

    Raises:
        TypeError: the sentence is no string.
        ValueError: it is empty.
    """

    _esm = source("alignment")
    read = traitlets.List(traitlets.Unicode()).tag(sync=True)
    written = traitlets.List(traitlets.Unicode()).tag(sync=True)
    weights = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    place = traitlets.Int().tag(sync=True)
    notes = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self, translator: Translator | None = None, sentence: str = "The book that you gave me was interesting."
    ):
        translator = translator or Translator.load()
        [reading] = translator.read([sentence])
        output, weights = looks(translator, reading)
        read, columns = _words(reading.pieces)
        tokens = [str(translator.tokenizer.id_to_token(number)) for number in output.tolist()]
        ended = tokens[-1] == EOS
        # The end is shown only where nothing else is written.
        written, rows = _words(tokens[:-1] if ended and len(tokens) > 1 else tokens)
        weights = weights[: len(rows.T)]
        joined = rows / rows.sum(1, keepdim=True) @ weights @ columns.T
        super().__init__(
            read=read,
            written=written,
            weights=[[round(weight, 4) for weight in row] for row in joined.tolist()],
            notes=[*reading.notes, *([] if ended else [unfinished(len(tokens))])],
            place=max(range(len(written)), key=lambda place: len(written[place])),
            heights=(256, 228),
        )

    def picture(self) -> Picture:
        """All lines at once; those of the word that is being written stand out."""
        figure, ax = plt.subplots(figsize=(7, 1.9))
        above, below = (_places(words) for words in (self.read, self.written))
        for i, row in enumerate(self.weights):
            color = QUERY if i == self.place else MUTED
            for j, weight in enumerate(row):
                ax.plot([below[i], above[j]], [0.12, 0.88], color=color, alpha=weight, linewidth=0.4 + 3.2 * weight)
        for words, places, y, color in ((self.read, above, 1, KEY), (self.written, below, 0, QUERY)):
            for word, x in zip(words, places, strict=True):
                ax.text(x, y, word, color=color, ha="center", va="center", fontsize=11)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.15, 1.15))
        ax.axis("off")
        return figure

    def __repr__(self) -> str:
        text = "".join(word if word in ".,;:!?" else f" {word}" for word in self.written)
        return f"AlignmentFigure({text.strip()!r})"


def _words(tokens: Sequence[str]) -> tuple[list[str], Tensor]:
    """The words of some tokens, and which tokens belong to which, ``(word, token)``."""
    words: list[str] = []
    owners = []
    for token in tokens:
        if token == EOS:
            words.append("■")
        elif words and not token.startswith("▁") and (token.isalpha() or not words[-1]):
            words[-1] += token
        else:
            words.append(token.removeprefix("▁"))
        owners.append(len(words) - 1)
    return words, torch.nn.functional.one_hot(torch.tensor(owners), len(words)).T.double()


def _places(words: list[str]) -> list[float]:
    """From 0 to 1, the middle of each word in a line that they fill."""
    widths = [len(word) + 2 for word in words]
    ends = [sum(widths[: i + 1]) for i in range(len(words))]
    return [(end - width / 2) / ends[-1] for end, width in zip(ends, widths, strict=True)]
