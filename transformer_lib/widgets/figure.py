"""What all live figures share."""

import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import matplotlib.pyplot as plt
import traitlets
from matplotlib.figure import Figure as Picture

from transformer_lib.texts import table

_HERE = Path(__file__).parent
STYLE = _HERE / "figures.css"
SHARED = ("words", "mathematics", "model", "moving", "elements")


def source(name: str) -> str:
    """The JavaScript of a figure: what all share, then its own. One module, since a figure cannot import files."""
    return "\n".join((_HERE / f"{part}.js").read_text(encoding="utf-8") for part in (*SHARED, name))


@cache
def sentences(script: str) -> frozenset[str]:
    """What a figure's JavaScript says, in English."""
    said = re.findall(r'\b(?:say|spread)\(\s*("(?:[^"\\]|\\.)*")', script)
    return frozenset(json.loads(literal) for literal in said)


def translations(script: str) -> dict[str, str]:
    """What a figure's JavaScript says in the language that is spoken now, by the English sentences."""
    said = sentences(script)
    return {english: other for english, other in table().items() if english in said}


def style() -> str:
    """The style sheet of all figures."""
    return STYLE.read_text(encoding="utf-8")


class LiveFigure(anywidget.AnyWidget):
    """A figure that responds to its reader; readers without JavaScript see :meth:`picture`.

    Attributes:
        heights: what the figure takes on a wide page and on a phone, in pixels; reserved while the page loads.
        texts: what its JavaScript says, in the language that was spoken when it was made; empty for English.
    """

    _css = style()
    texts = traitlets.Dict().tag(sync=True)
    heights = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(400, 600)).tag(sync=True)

    @traitlets.default("texts")
    def _spoken(self) -> dict[str, str]:
        return translations(str(self._esm))

    def picture(self) -> Picture:
        """Draw the figure as it is now, without anything to touch."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        stream = io.BytesIO()
        with plt.rc_context({"figure.constrained_layout.use": True}):
            picture = self.picture()
            picture.savefig(stream, format="png", metadata={"Software": None})
        plt.close(picture)
        return data | {"image/png": stream.getvalue()}, metadata
