"""Figures that respond: in a notebook, and on a page without a kernel and without a network.

Each figure is an anywidget: its data in traits, its mathematics in plain JavaScript in the file of the same name. So
the same figure works in JupyterLab, VS Code and Colab, and on the built page, where a small loader wakes it.
"""

from transformer_lib.widgets.alignment import AlignmentFigure
from transformer_lib.widgets.attention import AttentionFigure
from transformer_lib.widgets.beam import BeamFigure
from transformer_lib.widgets.heads import HeadView
from transformer_lib.widgets.positions import PositionsFigure
from transformer_lib.widgets.stream import StreamFigure
from transformer_lib.widgets.transformer_map import TransformerMap
from transformer_lib.widgets.translator import TranslatorFigure

__all__ = [
    "AlignmentFigure",
    "AttentionFigure",
    "BeamFigure",
    "HeadView",
    "PositionsFigure",
    "StreamFigure",
    "TransformerMap",
    "TranslatorFigure",
]
