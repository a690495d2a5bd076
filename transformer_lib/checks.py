"""Checks of what a user hands in, with one wording for all of the library."""

import math
from collections.abc import Sequence
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


def check_shape(name: str, shape: Sequence[int], axes: str, **sizes: int) -> None:
    """Check that a tensor has the axes that it should have.

    Args:
        name: of the argument, for the message.
        shape: of the tensor that was given.
        axes: the names of the axes that it should have, e.g. ``"batch seq d_model"``.
        sizes: how long some of them must be, by their names.

    Raises:
        ValueError: another number of axes, or an axis of another size.
    """
    names = axes.split()
    if len(shape) != len(names) or any(size != sizes.get(axis, size) for axis, size in zip(names, shape, strict=True)):
        expected = ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in names)
        raise ValueError(f"{name} must have shape ({expected}); got {tuple(shape)}")


def check_heads(
    d_model: int, n_heads: int, d_head: int | None, n_kv_heads: int | None, dropout: float
) -> tuple[int, int]:
    """Check the sizes of attention's heads, and say what follows for those that were not given.

    Args:
        d_model: width of a token.
        n_heads: query heads.
        d_head: width of a head; ``d_model / n_heads`` where it is ``None``.
        n_kv_heads: key and value heads; ``n_heads`` where it is ``None``.
        dropout: probability with which a weight is dropped in training.

    Returns:
        ``d_head`` and ``n_kv_heads``.

    Raises:
        ValueError: sizes that are not positive, or not divisible as needed; a dropout outside [0, 1).
    """
    for name, size in (("d_model", d_model), ("n_heads", n_heads), ("d_head", d_head), ("n_kv_heads", n_kv_heads)):
        if size is not None:
            check_whole(name, size, 1)
    if d_head is None:
        if d_model % n_heads:
            raise ValueError(
                f"d_model must be divisible by n_heads unless d_head is given; got {d_model} and {n_heads}"
            )
        d_head = d_model // n_heads
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    if n_heads % n_kv_heads:
        raise ValueError(f"n_heads must be divisible by n_kv_heads; got {n_heads} and {n_kv_heads}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must be in [0, 1); got {dropout}")
    return d_head, n_kv_heads
