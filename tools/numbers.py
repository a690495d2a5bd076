"""When two outputs count as the same: texts exactly, numbers within the tolerance that their cell declares.

A code cell's metadata may hold ``{"tolerance": {…}}`` with one or more of

* ``"absolute": a`` and ``"relative": r``: a number with a decimal point, stored as s, may come out as any x with
  abs(x - s) <= a + r * abs(s);
* ``"whole": n``: a number without one, a count, may differ by n;
* ``"picture": p``: this share of a figure's blocks of pixels may differ (see `tools.images`);
* ``"alike": true``: the claim is that the numbers are alike, so exchanging them changes nothing.

Without a tolerance a cell is compared exactly. `too_wide` says which tolerances would let the opposite claim pass.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tools import images

# A sign belongs to a number unless something stands right before it, as in 3-5; "8." is a whole number that ends a
# sentence, "[8., 9.]" are numbers with a point.
NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+−])?(?<![\w.])(?>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+|\.(?=[,\]]))?(?:[eE][-+]?\d+)?)(?!\w)"
)
TEXTS = ("text/plain", "text/html", "text/markdown", "text/latex")
PICTURES = ("image/png", "image/jpeg")


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the stored one; the module's docstring says what each field means."""

    absolute: float = 0.0
    relative: float = 0.0
    whole: int = 0
    picture: float = 0.0
    alike: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Tolerance":
        """What a cell's metadata declare.

        Raises:
            ValueError: an unknown field, or a value that is no bound.
        """
        declared = metadata.get("tolerance", {})
        kinds = {field.name: type(field.default) for field in fields(cls)}
        if not isinstance(declared, Mapping) or not declared.keys() <= kinds.keys():
            raise ValueError(f"a tolerance is a mapping with keys of {', '.join(kinds)}; got {declared!r}")
        for name, value in declared.items():
            right = isinstance(value, (int, float) if kinds[name] is float else kinds[name])
            if not right or (isinstance(value, bool) and kinds[name] is not bool) or not 0 <= value < math.inf:
                raise ValueError(f"the tolerance {name!r} must be a {kinds[name].__name__} of 0 or more; got {value!r}")
        return cls(**declared)

    def admits(self, stored: str, computed: str) -> bool:
        """Whether one printed number may stand for the other."""
        if stored == computed:
            return True
        if _is_whole(stored) != _is_whole(computed):
            return False
        one, other = _value(stored), _value(computed)
        bound = self.whole if _is_whole(stored) else self.absolute + self.relative * abs(one)
        return abs(one - other) <= bound * (1 + 1e-9)  # 0.30 - 0.25 is a little more than 0.05

    def within(self, stored: str, computed: str) -> str:
        """The computed text with the stored number wherever that admits the computed one.

        Equal to the stored text if and only if the two count as the same. A line whose words differ stays as it is.
        """
        old, new = stored.split("\n"), computed.split("\n")
        if not (self.absolute or self.relative or self.whole) or len(old) != len(new):
            return computed
        return "\n".join(map(self._line_within, old, new))

    def _line_within(self, stored: str, computed: str) -> str:
        old, new = NUMBER.findall(stored), NUMBER.findall(computed)
        if len(old) != len(new) or _words(stored) != _words(computed):
            return computed
        if all(map(self.admits, old, new)):
            return stored
        numbers = iter([one if self.admits(one, other) else other for one, other in zip(old, new, strict=True)])
        return NUMBER.sub(lambda _: next(numbers), computed)

    def outputs_within(
        self, stored: Sequence[Mapping[str, Any]], computed: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The computed outputs of a cell, with the stored text, number or picture wherever that admits the computed."""
        result = [{**output, **({"data": {**output["data"]}} if "data" in output else {})} for output in computed]
        if len(stored) != len(computed):
            return result
        for old, new in zip(stored, result, strict=True):
            if "text" in old and "text" in new:
                new["text"] = self.within(old["text"], new["text"])
            for kind in (TEXTS + PICTURES) if "data" in old and "data" in new else ():
                if kind in old["data"] and kind in new["data"]:
                    same = self._picture_within if kind in PICTURES else self.within
                    new["data"][kind] = same(old["data"][kind], new["data"][kind])
        return result

    def _picture_within(self, stored: str, computed: str) -> str:
        return stored if images.same(stored, computed, share=self.picture) else computed

    def in_words(self) -> str:
        """What a reader is told below the output; empty if it is compared exactly."""
        parts = []
        if self.absolute or self.relative:
            bounds = [f"{self.absolute:g}"] * bool(self.absolute) + [f"{100 * self.relative:g} %"] * bool(self.relative)
            parts.append(f"numbers ± {' and '.join(bounds)}")
        if self.whole:
            parts.append(f"counts ± {self.whole}")
        if self.picture:
            parts.append("the picture may move a little")
        return "; ".join(parts)


def too_wide(text: str, tolerance: Tolerance) -> list[str]:
    """Why a tolerance would let the opposite of what an output says pass; empty if it would not.

    Where the claim lies in differences, the largest number in the smallest one's place must be noticed, and so must
    all numbers in reversed order. Where it does not (`alike`, or one number alone), half and twice the largest must be.
    """
    faults = []
    for kind, declared, chosen in (
        (
            "numbers",
            bool(tolerance.absolute or tolerance.relative),
            [n for n in NUMBER.findall(text) if not _is_whole(n)],
        ),
        ("counts", bool(tolerance.whole), [n for n in NUMBER.findall(text) if _is_whole(n)]),
    ):
        if not declared:
            continue
        if not chosen:
            faults.append(f"there are no {kind} for it")
            continue
        whole = kind == "counts"
        written: Callable[[float], str] = (lambda x: str(round(x))) if whole else (lambda x: f"{x:.12f}")
        largest, smallest = max(chosen, key=_value), min(chosen, key=_value)
        if tolerance.alike or len(chosen) == 1:
            far = max(chosen, key=lambda number: abs(_value(number)))
            faults += [
                f"{written(factor * _value(far))} could stand for {far}"
                for factor in (0.5, 2.0)
                if tolerance.admits(far, written(factor * _value(far) if _value(far) else factor))
            ]
        elif tolerance.admits(largest, smallest) or tolerance.admits(smallest, largest):
            faults.append(f"{smallest} and {largest} could change places")
        elif len(set(chosen)) > 2 and all(map(tolerance.admits, chosen, reversed(chosen))):
            faults.append(f"the {kind} could stand in reversed order")
    return faults


def changed_lines(stored: Sequence[Mapping[str, Any]], computed: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Where two lists of outputs differ: (stored, computed) lines, and a line for a picture."""
    pairs = []
    nothing: dict[str, Any] = {}
    for old, new in itertools.zip_longest(stored, computed, fillvalue=nothing):
        lines = itertools.zip_longest(_lines(old), _lines(new), fillvalue="(nothing)")
        pairs += [(one, other) for one, other in lines if one != other]
        for kind in PICTURES:
            one, other = (output.get("data", {}).get(kind) for output in (old, new))
            if one and other and one != other:
                pairs.append(("(a picture)", f"{images.changed(one, other):.1%} of its blocks differ"))
            elif one != other:
                pairs.append(("(a picture)", "(nothing)") if one else ("(nothing)", "(a picture)"))
    return pairs


def _lines(output: Mapping[str, Any]) -> list[str]:
    texts = [output.get("text", ""), *(output.get("data", {}).get(kind, "") for kind in TEXTS)]
    return [line for text in texts if text for line in text.split("\n")]


def _is_whole(number: str) -> bool:
    return not re.search(r"[.eE]", number)


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _words(line: str) -> list[list[str]]:
    """What stands between a line's numbers; runs of blanks count as one, since a sign moves the columns."""
    return [piece.split() for piece in NUMBER.split(line)]
