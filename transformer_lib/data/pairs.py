"""What every corpus of translations is made of."""

from typing import NamedTuple


class Pair(NamedTuple):
    """A sentence and its translation.

    Args:
        english: the source.
        portuguese: the target, in the Portuguese of Brazil.
    """

    english: str
    portuguese: str
