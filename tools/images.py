"""When two pictures count as the same: one rule for storing outputs and for testing them."""

import base64
import io

import numpy as np
from PIL import Image

# Font rendering and anti-aliasing move single pixels between machines; a changed curve or number moves many. A picture
# is held against the other after both are averaged over blocks of 4 x 4 pixels, which hides the former.
BLOCK = 4
TOLERANCE = 0.04  # of full scale, for the block that differs most


def difference(one: str, other: str) -> float:
    """The greatest difference between two pictures, block by block, as a fraction of full scale.

    Args:
        one: a PNG or JPEG in base64, as notebooks store it.
        other: another.

    Returns:
        0 for equal pictures; 1 where the sizes differ, or a white block became black.
    """
    pixels = [_blocks(picture) for picture in (one, other)]
    if pixels[0].shape != pixels[1].shape:
        return 1.0
    return float(np.abs(pixels[0] - pixels[1]).max())


def same(one: str, other: str) -> bool:
    """Whether two pictures show the same figure."""
    return one == other or difference(one, other) <= TOLERANCE


def _blocks(picture: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    array = np.asarray(image, dtype=np.float64) / 255.0
    height, width = (size // BLOCK * BLOCK for size in array.shape[:2])
    blocks = array[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    return blocks.mean(axis=(1, 3))
