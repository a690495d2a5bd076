"""Checks of what a user hands in, with one wording for all of the library."""

import math
from numbers import Integral, Real


def check_whole(name: str, value: object, least: int) -> int:
    """Check that a value is a whole number, and large enough.

    Args:
        name: of the argument, for the message.
        value: what was given, of Python's or NumPy's types; ``True`` and ``2.0`` are no whole numbers.
        least: the smallest that is allowed.

    Returns:
        The value, of Python's type.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    return int(value)


def check_real(name: str, value: object) -> float:
    """Check that a value is a finite real number.

    Args:
        name: of the argument, for the message.
        value: what was given, of Python's or NumPy's types; ``True`` is no number.

    Returns:
        The value, of Python's type.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value}")
    return number
