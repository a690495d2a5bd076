"""When two pictures count as the same: one rule for storing outputs and for testing them."""

import base64
import io

import numpy as np
from PIL import Image

# Font rendering and anti-aliasing move single pixels between machines; a changed curve or number moves many. A picture
# is held against the other after both are averaged over blocks of 4 x 4 pixels, which hides the former.
BLOCK = 4
TOLERANCE = 0.04  # of full scale; a block that differs by more has changed


def changed(one: str, other: str) -> float:
    """The share of blocks in which two pictures differ.

    Args:
        one: a PNG or JPEG in base64, as notebooks store it.
        other: another.

    Returns:
        0 for pictures that show the same; 1 where the sizes differ, or every block does.
    """
    pixels = [_blocks(picture) for picture in (one, other)]
    if pixels[0].shape != pixels[1].shape:
        return 1.0
    return float((np.abs(pixels[0] - pixels[1]).max(axis=-1) > TOLERANCE).mean())


def same(one: str, other: str, *, share: float = 0.0) -> bool:
    """Whether two pictures show the same figure, but for a share of their blocks."""
    return one == other or changed(one, other) <= share


def _blocks(picture: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    array = np.asarray(image, dtype=np.float64) / 255.0
    height, width = (size // BLOCK * BLOCK for size in array.shape[:2])
    blocks = array[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    return blocks.mean(axis=(1, 3))
