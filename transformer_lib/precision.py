"""Where half precision would lose too much: one rule for all losses and choices of tokens."""

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """The same numbers in float32 at least; float64 stays, since it must not be rounded.

    Half precision rounds the logarithm of a sum, and so losses, probabilities and scores are computed in this.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
