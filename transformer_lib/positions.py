"""Five ways to tell attention where a token stands.

Two add a vector to the tokens (sinusoidal, learned), two add a number to the scores (relative bias, ALiBi), and one
turns the queries and keys (rotary). The modules come first; at the end stand the schemes, by which a stack's
configuration names them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.checks import check_real, check_shape, check_whole


def sinusoidal_table(length: int, d_model: int) -> Float[Tensor, "{length} {d_model}"]:
    r"""The paper's waves: each pair of columns a sine and a cosine, each pair slower than the one before.

    .. math:: PE_{p,2i} = \sin(p / 10000^{2i/d}), \qquad PE_{p,2i+1} = \cos(p / 10000^{2i/d})

    Source: Vaswani et al. (2017), section 3.5. The angles are computed in float64 and the result rounded to float32.

    Args:
        length: number of positions.
        d_model: width of a token, even.

    Returns:
        ``(length, d_model)``, float32.

    Raises:
        ValueError: ``length`` below 0, or ``d_model`` not positive and even.
    """
    if length < 0:
        raise ValueError(f"length must be at least 0; got {length}")
    _require_even("d_model", d_model)
    angles = _angles(torch.arange(length), d_model, 10000.0, torch.float64)  # (length, d_model / 2)
    # (length, d_model / 2, 2) -> (length, d_model): sine and cosine of one wave stand side by side
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


class _FromFormula(nn.Module):
    """Holds one buffer that follows from the module's sizes, so a checkpoint need not carry it.

    Nor could it be lost: the formula fills the buffer anew wherever the module goes. ``to_empty`` gives it memory
    without numbers, a half precision rounds it, and a module made on the meta device has none until it is loaded.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.register_buffer(name, self._formula(), persistent=False)

    def _formula(self) -> Tensor:
        """The numbers of the buffer."""
        raise NotImplementedError

    def _fill(self, device: torch.device | str) -> None:
        with torch.device("cpu"):  # whatever the default, e.g. meta
            numbers = self._formula()
        setattr(self, self._name, numbers.to(device, getattr(self, self._name).dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_FromFormula":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._fill(getattr(self, self._name).device)
        return self

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        if getattr(self, self._name).is_meta:  # loaded with `assign=True`, which moves nothing
            self._fill("cpu")


class SinusoidalPositions(_FromFormula):
    """Add the paper's waves to the tokens.

    Args:
        d_model: width of a token, even.
        max_len: positions in the table.

    Raises:
        ValueError: ``d_model`` not positive and even, or ``max_len`` below 1.
    """

    table: Tensor

    def __init__(self, d_model: int, max_len: int = 4096) -> None:
        check_whole("max_len", max_len, 1)
        self._sizes = max_len, d_model
        super().__init__("table")

    def _formula(self) -> Float[Tensor, "max_len d_model"]:
        return sinusoidal_table(*self._sizes)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], positions: Int[Tensor, "..."] | None = None, *, start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return ``x`` plus each token's wave.

        Args:
            x: ``(batch, seq, d_model)``.
            positions: ``(seq,)`` or ``(batch, seq)``; ``start``, ``start + 1``, … unless given.
            start: position of the first token.

        Raises:
            ValueError: a shape that does not fit, or a position outside the table.
        """
        return _add_rows(x, self.table, positions, start)


class LearnedPositions(nn.Module):
    """Add a learned vector for each position to the tokens, as BERT and GPT-2 do.

    Args:
        d_model: width of a token.
        max_len: positions that have a vector.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("max_len", max_len)):
            check_whole(name, size, 1)
        self.table = nn.Parameter(torch.empty(max_len, d_model))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from a normal distribution with the deviation 0.02 of BERT and GPT-2."""
        nn.init.normal_(self.table, std=0.02)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], positions: Int[Tensor, "..."] | None = None, *, start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return ``x`` plus each position's vector.

        Args:
            x: ``(batch, seq, d_model)``.
            positions: ``(seq,)`` or ``(batch, seq)``; ``start``, ``start + 1``, … unless given.
            start: position of the first token.

        Raises:
            ValueError: a shape that does not fit, or a position outside the table.
        """
        return _add_rows(x, self.table, positions, start)


class RotaryPositions(nn.Module):
    r"""Turn each pair of a query's or key's numbers by an angle proportional to its position.

    The product of a turned query at *m* with a turned key at *n* depends on *m - n* only.
    Source: Su et al. (2021), *RoFormer*, section 3.2.2.

    Args:
        d_head: width of a head, even.
        base: the slowest wave's period grows with it; 10000 in the paper.
        interleaved: pairs are neighbours (0, 1), (2, 3), … as in the paper; else the first half is paired with the
            second, (0, d/2), (1, d/2 + 1), … as in Llama's published weights. The two agree after permuting the
            channels, so weights trained with one cannot be used with the other.
        partial: share of the channels that is turned, the first ones; the rest pass unchanged, as in GPT-J and Phi.

    Raises:
        ValueError: ``d_head``, or the part of it that is turned, not positive and even; or ``base`` not positive.
    """

    def __init__(self, d_head: int, *, base: float = 10000.0, interleaved: bool = True, partial: float = 1.0) -> None:
        super().__init__()
        _require_even("d_head", d_head)
        _check_rotation(base, partial)
        turned = round(partial * d_head)
        if not turned or turned % 2 or not math.isclose(turned, partial * d_head):
            raise ValueError(f"partial * d_head must be positive and even; got {partial} * {d_head}")
        self.d_head, self.base, self.interleaved, self.turned = d_head, base, interleaved, turned

    def extra_repr(self) -> str:
        return f"d_head={self.d_head}, base={self.base}, interleaved={self.interleaved}, turned={self.turned}"

    def forward(
        self, x: Float[Tensor, "batch heads seq d_head"], positions: Int[Tensor, "..."] | None = None
    ) -> Float[Tensor, "batch heads seq d_head"]:
        """Return ``x`` with each pair turned by its position; lengths stay as they are.

        Args:
            x: queries or keys, ``(batch, heads, seq, d_head)``.
            positions: ``(seq,)`` or ``(batch, seq)``; 0, 1, 2, … unless given.

        Raises:
            ValueError: a shape that does not fit.
        """
        check_shape("x", x.shape, "batch heads seq d_head", d_head=self.d_head)
        positions = positions_for(positions, x.size(0), x.size(2), x.device)
        # Angles of late positions need more digits than half precision has, so they are made in float32 at least, and
        # here rather than in a buffer, which `model.to(torch.bfloat16)` would round.
        wide = torch.promote_types(x.dtype, torch.float32)
        angles = _angles(positions, self.turned, self.base, wide)  # (seq, turned / 2) or (batch, seq, turned / 2)
        if angles.ndim == 3:
            angles = angles[:, None]  # (batch, 1, seq, turned / 2)
        cos, sin = angles.cos(), angles.sin()
        channels = x[..., : self.turned].to(wide)
        if self.interleaved:
            first, second = channels.unflatten(-1, (-1, 2)).unbind(-1)  # (batch, heads, seq, turned / 2) each
        else:
            first, second = channels.chunk(2, dim=-1)
        turned = (first * cos - second * sin, first * sin + second * cos)
        merged = torch.stack(turned, dim=-1).flatten(-2) if self.interleaved else torch.cat(turned, dim=-1)
        if self.turned == self.d_head:
            return merged.to(x.dtype)
        return torch.cat([merged.to(x.dtype), x[..., self.turned :]], dim=-1)


def relative_position_bucket(
    distance: Int[Tensor, "..."], *, bidirectional: bool = True, n_buckets: int = 32, max_distance: int = 128
) -> Int[Tensor, "..."]:
    """Sort distances into buckets: one each for near ones, wider and wider ones further out.

    Source: Raffel et al. (2020), *T5*, section 2.1, and the published implementation, whose numbering this keeps.

    Args:
        distance: key position minus query position, any integer shape.
        bidirectional: whether keys after the query have buckets of their own; else they share bucket 0.
        n_buckets: number of buckets, even where bidirectional.
        max_distance: from here on all distances share the last bucket.

    Returns:
        Bucket numbers, of the same shape, from 0 to ``n_buckets - 1``.

    Raises:
        ValueError: ``n_buckets`` odd or below 4 (2 where not bidirectional), or ``max_distance`` not beyond the buckets
            of single distances.
    """
    _check_buckets(n_buckets, max_distance, bidirectional)
    half = n_buckets // 2 if bidirectional else n_buckets
    offset = (distance > 0).long() * half if bidirectional else torch.zeros_like(distance)
    distance = distance.abs() if bidirectional else (-distance).clamp(min=0)
    exact = half // 2
    # The log is taken of at least 1, so that distance 0 gives a number; `where` then prefers the exact bucket.
    ratio = (distance.clamp(min=1).float() / exact).log() / math.log(max_distance / exact)
    logarithmic = exact + (ratio * (half - exact)).long()
    return offset + torch.where(distance < exact, distance, logarithmic.clamp(max=half - 1))


class RelativeBias(nn.Module):
    """A learned number per head and bucket of distances, added to the scores, as in T5.

    Source: Raffel et al. (2020), section 2.1.

    Args:
        n_heads: heads of the layers that share it.
        bidirectional: ``False`` for a decoder, which never sees a later key.
        n_buckets: buckets of distances, even and at least 4 (at least 2 where not bidirectional).
        max_distance: from here on all distances share the last bucket; more than the buckets of single distances.

    Raises:
        ValueError: sizes outside those bounds.
    """

    def __init__(
        self, n_heads: int, *, bidirectional: bool = True, n_buckets: int = 32, max_distance: int = 128
    ) -> None:
        super().__init__()
        check_whole("n_heads", n_heads, 1)
        _check_buckets(n_buckets, max_distance, bidirectional)
        self.bidirectional, self.n_buckets, self.max_distance = bidirectional, n_buckets, max_distance
        self.table = nn.Parameter(torch.zeros(n_buckets, n_heads))

    def forward(self, q_len: int, k_len: int) -> Float[Tensor, "1 heads {q_len} {k_len}"]:
        """Return the bias ``(1, heads, query, key)``; the last query stands at the last key.

        Args:
            q_len: number of queries.
            k_len: number of keys.
        """
        return self.at(_distances(q_len, k_len, self.table.device)[None])

    def at(self, distances: Int[Tensor, "rows query key"]) -> Float[Tensor, "rows heads query key"]:
        """Return the bias of any distances, key position minus query position."""
        buckets = relative_position_bucket(
            distances, bidirectional=self.bidirectional, n_buckets=self.n_buckets, max_distance=self.max_distance
        )
        return self.table[buckets].permute(0, 3, 1, 2)  # (rows, query, key, heads) -> (rows, heads, query, key)


def alibi_slopes(n_heads: int) -> Float[Tensor, "{n_heads}"]:
    """How strongly each head dislikes distance: a geometric sequence from 2^(-8/n) down to 2^-8.

    For a number of heads that is not a power of two, the sequence of the next lower power is followed by every second
    slope of the next higher one. Source: Press et al. (2022), *ALiBi*, section 3, and the published implementation.

    Args:
        n_heads: number of heads, at least 1.

    Raises:
        ValueError: ``n_heads`` below 1.
    """
    check_whole("n_heads", n_heads, 1)

    def geometric(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]

    lower = 2 ** int(math.log2(n_heads))
    return torch.tensor(geometric(lower) + geometric(2 * lower)[0::2][: n_heads - lower])


class ALiBi(_FromFormula):
    """Subtract from each score its distance times the head's slope. Nothing is learned.

    Source: Press et al. (2022), *Train Short, Test Long*, section 3. The paper's models are causal; without a causal
    mask, later keys are discouraged as much as earlier ones.

    Args:
        n_heads: number of heads.
    """

    slopes: Tensor

    def __init__(self, n_heads: int) -> None:
        self._n_heads = n_heads
        super().__init__("slopes")

    def _formula(self) -> Float[Tensor, "heads"]:
        return alibi_slopes(self._n_heads)

    def forward(self, q_len: int, k_len: int) -> Float[Tensor, "1 heads {q_len} {k_len}"]:
        """Return the bias ``(1, heads, query, key)``; the last query stands at the last key.

        Args:
            q_len: number of queries.
            k_len: number of keys.
        """
        return self.at(_distances(q_len, k_len, self.slopes.device)[None])

    def at(self, distances: Int[Tensor, "rows query key"]) -> Float[Tensor, "rows heads query key"]:
        """Return the bias of any distances, key position minus query position."""
        return -self.slopes[:, None, None] * distances.abs()[:, None]  # (heads, 1, 1) * (rows, 1, query, key)


def _angles(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> Tensor:
    """Position times frequency, for ``width / 2`` frequencies from 1 down towards 1 / base."""
    pair = torch.arange(0, width, 2, device=positions.device, dtype=dtype)
    return positions.to(dtype)[..., None] * base ** (-pair / width)


def _distances(q_len: int, k_len: int, device: torch.device) -> Tensor:
    """Key position minus query position, ``(query, key)``, the last query standing at the last key."""
    if q_len < 0 or k_len < 0:
        raise ValueError(f"q_len and k_len must be at least 0; got {q_len} and {k_len}")
    queries = torch.arange(k_len - q_len, k_len, device=device)
    return torch.arange(k_len, device=device)[None, :] - queries[:, None]


def _check_rotation(base: float, partial: float) -> None:
    if check_real("base", base) <= 0:
        raise ValueError(f"base must be positive; got {base}")
    if not 0 < check_real("partial", partial) <= 1:
        raise ValueError(f"partial must be more than 0 and at most 1; got {partial}")


def _check_buckets(n_buckets: int, max_distance: int, bidirectional: bool, name: str = "n_buckets") -> None:
    smallest = 4 if bidirectional else 2
    if n_buckets < smallest or n_buckets % 2:
        raise ValueError(f"{name} must be even and at least {smallest}; got {n_buckets}")
    exact = n_buckets // (4 if bidirectional else 2)
    if max_distance <= exact:
        raise ValueError(f"max_distance must be more than {exact} with {n_buckets} buckets; got {max_distance}")


def _add_rows(x: Tensor, table: Tensor, positions: Tensor | None, start: int) -> Tensor:
    check_shape("x", x.shape, "batch seq d_model", d_model=table.size(1))
    if positions is None:
        end = start + x.size(1)
        if start < 0 or end > table.size(0):
            raise ValueError(f"the table has {table.size(0)} positions; got a sequence of length {end}")
        return x + table[start:end].to(x.dtype)  # (seq, d_model) is added to every sequence of the batch
    positions = positions_for(positions, x.size(0), x.size(1), x.device)
    if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < table.size(0):
        raise ValueError(
            f"positions must lie in the table, 0 to {table.size(0) - 1}; "
            f"got {int(positions.min())} to {int(positions.max())}"
        )
    return x + table[positions].to(x.dtype)


def positions_for(
    positions: Int[Tensor, "..."] | None, batch: int, seq: int, device: torch.device
) -> Int[Tensor, "*batch {seq}"]:
    """Return the positions that were given, if they fit; else 0, 1, 2, and so on.

    Args:
        positions: ``(seq,)`` or ``(batch, seq)``, integers.
        batch: number of sequences.
        seq: their length.
        device: where to make positions that were not given.

    Raises:
        ValueError: a shape or type that does not fit.
    """
    if positions is None:
        return torch.arange(seq, device=device)
    if positions.is_floating_point() or tuple(positions.shape) not in ((seq,), (batch, seq)):
        raise ValueError(
            f"positions must be integers of shape ({seq},) or ({batch}, {seq}); "
            f"got {positions.dtype} of shape {tuple(positions.shape)}"
        )
    return positions


def _require_even(name: str, size: int) -> None:
    if size < 2 or size % 2:
        raise ValueError(f"{name} must be positive and even; got {size}")


# ---- The schemes: what a stack's configuration says, and what a stack builds of it.


@runtime_checkable
class AddedPositions(Protocol):
    """What adds positions to tokens, e.g. :class:`SinusoidalPositions`."""

    def __call__(self, x: Tensor, positions: Tensor | None = None, *, start: int = 0) -> Tensor: ...


@runtime_checkable
class PositionBias(Protocol):
    """What adds positions to scores, e.g. :class:`RelativeBias`."""

    def __call__(self, q_len: int, k_len: int) -> Tensor: ...

    def at(self, distances: Tensor) -> Tensor: ...


@runtime_checkable
class Rotation(Protocol):
    """What turns queries and keys by their positions, e.g. :class:`RotaryPositions`."""

    def __call__(self, x: Tensor, positions: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class PositionScheme:
    """How a stack knows the order of its tokens: a choice, of which the stack builds its modules.

    A scheme acts in one or more of three places, and a method stands for each. Each returns ``None`` here, which is to
    say that nothing happens there. A scheme of your own is a frozen dataclass with a ``name``; it overrides the methods
    of the places where it acts, and its fields, which all have defaults, are stored with the configuration.

    Example:
        >>> @dataclass(frozen=True)
        ... class Short(PositionScheme):
        ...     name = "short"
        ...     max_distance: int = 64
        ...     def bias(self, n_heads, *, bidirectional):
        ...         return RelativeBias(n_heads, bidirectional=bidirectional, max_distance=self.max_distance)
        >>> PositionScheme.of({"name": "short", "max_distance": 48})
        Short(max_distance=48)
    """

    #: The schemes that there are, by their names.
    #:
    #: :meta hide-value:
    known: ClassVar[dict[str, type["PositionScheme"]]] = {}

    name: str = field(init=False, repr=False)  # a field, so that it is stored with the others

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name = vars(cls).get("name")
        if not isinstance(name, str):
            raise TypeError(f"a position scheme must have a name, as text; {cls.__qualname__} has {name!r}")
        other = PositionScheme.known.get(name, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):  # the same: its cell ran again
            raise ValueError(f"{cls.__qualname__} must have a name of its own; {name!r} is {other.__qualname__}'s")
        PositionScheme.known[name] = cls

    def added(self, d_model: int, max_len: int) -> AddedPositions | None:
        """Return what is added to the tokens, where the stack begins."""
        return None

    def bias(self, n_heads: int, *, bidirectional: bool) -> PositionBias | None:
        """Return what is added to the scores, in every layer; ``bidirectional`` if queries see later keys too."""
        return None

    def rotary(self, d_head: int) -> Rotation | None:
        """Return what turns the queries and keys of self-attention, in every layer."""
        return None

    def limit(self, max_len: int) -> int | None:
        """Return the length of the longest sequence that has positions; ``None`` if there is none."""
        return None

    @staticmethod
    def of(given: "PositionScheme | str | Mapping[str, Any] | None") -> "PositionScheme":
        """Return the scheme that is meant.

        Args:
            given: a scheme; the name of one, for its defaults; what ``dataclasses.asdict`` made of one; or ``None``
                for no positions.

        Raises:
            TypeError: something else, or a stored field that the scheme does not have.
            ValueError: there is no scheme of that name, or a field is outside its bounds.
        """
        if isinstance(given, PositionScheme):
            return given
        fields = {"name": given} if isinstance(given, str) else {"name": "none"} if given is None else given
        if not isinstance(fields, Mapping):
            raise TypeError(f"positions must be a scheme, such as Rotary(), or its name; got {given!r}")
        name = fields.get("name")
        if name not in PositionScheme.known:
            raise ValueError(f"positions must be one of {', '.join(PositionScheme.known)}; got {name!r}")
        return PositionScheme.known[name](**{key: value for key, value in fields.items() if key != "name"})


@dataclass(frozen=True)
class Sinusoidal(PositionScheme):
    """The paper's waves, added to the tokens: :class:`SinusoidalPositions`."""

    name = "sinusoidal"

    def added(self, d_model: int, max_len: int) -> SinusoidalPositions:
        return SinusoidalPositions(d_model, max_len)

    def limit(self, max_len: int) -> int:
        return max_len


@dataclass(frozen=True)
class Learned(PositionScheme):
    """A learned vector for each position, added to the tokens: :class:`LearnedPositions`."""

    name = "learned"

    def added(self, d_model: int, max_len: int) -> LearnedPositions:
        return LearnedPositions(d_model, max_len)

    def limit(self, max_len: int) -> int:
        return max_len


@dataclass(frozen=True)
class Relative(PositionScheme):
    """A learned number for each head and bucket of distances, added to the scores: :class:`RelativeBias`.

    Args:
        buckets: number of buckets, even, at least 4.
        max_distance: from here on all distances share the last bucket; more than half the buckets.

    Raises:
        ValueError: sizes outside those bounds.
    """

    name = "relative"
    buckets: int = 32
    max_distance: int = 128

    def __post_init__(self) -> None:
        """Check both fields, for encoders and for decoders."""
        for name in ("buckets", "max_distance"):
            check_whole(name, getattr(self, name), 1)
        for bidirectional in (True, False):
            _check_buckets(self.buckets, self.max_distance, bidirectional, "buckets")

    def bias(self, n_heads: int, *, bidirectional: bool) -> RelativeBias:
        return RelativeBias(
            n_heads, bidirectional=bidirectional, n_buckets=self.buckets, max_distance=self.max_distance
        )


@dataclass(frozen=True)
class Rotary(PositionScheme):
    """Queries and keys turned by their positions: :class:`RotaryPositions`, whose arguments these are.

    Args:
        base: the slowest wave's period grows with it.
        interleaved: pairs are neighbours; else the first half is paired with the second.
        partial: share of a head's channels that is turned.

    Raises:
        ValueError: ``base`` not positive, or ``partial`` outside (0, 1].
    """

    name = "rotary"
    base: float = 10_000.0
    interleaved: bool = True
    partial: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_rotation(self.base, self.partial)

    def rotary(self, d_head: int) -> RotaryPositions:
        return RotaryPositions(d_head, base=self.base, interleaved=self.interleaved, partial=self.partial)


@dataclass(frozen=True)
class Alibi(PositionScheme):
    """A penalty for distance, of a fixed slope for each head, added to the scores: :class:`ALiBi`."""

    name = "alibi"

    def bias(self, n_heads: int, *, bidirectional: bool) -> ALiBi:
        return ALiBi(n_heads)


@dataclass(frozen=True)
class NoPositions(PositionScheme):
    """No positions at all: a decoder still knows order by its causal mask, an encoder does not."""

    name = "none"
