"""An example of every live figure, for what all of them share."""

from functools import cache

import torch

from transformer_lib.data import BOS_ID, EOS_ID
from transformer_lib.translator import Translator
from transformer_lib.widgets import (
    AlignmentFigure,
    AttentionFigure,
    BeamFigure,
    HeadView,
    PositionsFigure,
    StreamFigure,
    TransformerMap,
    TranslatorFigure,
)
from transformer_lib.widgets.figure import LiveFigure

translator = cache(Translator.load)


def attention() -> AttentionFigure:
    key, value = [[2.0, 0], [0, 1], [-1, 1]], [[1.0], [0], [0]]
    return AttentionFigure(["101", "102", "103"], [1, 0], key, value, widths=(2, 8))


def alignment() -> AlignmentFigure:
    return AlignmentFigure(translator(), "The 😀 book was good.")


def heads() -> HeadView:
    weights = torch.arange(48.0).reshape(1, 3, 4, 4).sin().softmax(-1)
    record = {"encoder.layers.0.attention": [weights], "decoder.layers.0.cross_attention": [weights[:, :, :3]]}
    return HeadView(record, ["201", "202", "203"], ["211", "212", "213", "214"])


def beam() -> BeamFigure:
    sentence = "I talk about them."
    return BeamFigure(
        translator().model,
        {sentence: translator().encode([sentence])},
        prompt=BOS_ID,
        eos_id=EOS_ID,
        words=lambda token: f" {token}",
        max_new_tokens=5,
        widths=(1, 2),
        beams=2,
    )


MADE = {
    "alignment": alignment,
    "attention": attention,
    "beam": beam,
    "heads": heads,
    "positions": PositionsFigure,
    "stream": lambda: StreamFigure(depth=8),
    "transformer_map": lambda: TransformerMap(["301", "302"], ["311", "312", "313"]),
    "translator": lambda: TranslatorFigure(translator()),
}


def made(name: str) -> LiveFigure:
    """An example of the figure whose JavaScript has this name; its words and tokens are numbers where they can be."""
    figure: LiveFigure = MADE[name]()
    return figure
