"""Checks of what a user hands in, with one wording for all of the library."""

import math


def check_whole(name: str, value: object, least: int) -> None:
    """Check that a value is a whole number, and large enough.

    Args:
        name: of the argument, for the message.
        value: what was given; ``True`` and ``2.0`` are no whole numbers.
        least: the smallest that is allowed.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_real(name: str, value: object) -> None:
    """Check that a value is a finite real number.

    Args:
        name: of the argument, for the message.
        value: what was given; ``True`` is no number.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")
