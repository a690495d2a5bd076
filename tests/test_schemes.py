"""Position schemes: what each has to keep, also one that is added later, and how they are stored."""

import ast
import doctest
import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import transformer_lib as lib
from tests.cases import assert_near, differ, randn
from transformer_lib import Decoder, Encoder, NoPositions, PositionScheme, Relative, Rotary, Sinusoidal, StackConfig
from transformer_lib import positions as module
from transformer_lib.plots import record_attention
from transformer_lib.translator import Translator

# Every test here takes the schemes from the library's own list, so a new one is tested by all of them.
KINDS = list(PositionScheme.known.values())
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
LENGTH = 40  # so long that relative positions use the wide buckets
CONFIG = StackConfig(d_model=24, n_heads=3, n_layers=2, d_ff=40, dropout=0.0, max_len=LENGTH)


def variants(kind: type[PositionScheme]) -> Iterator[PositionScheme]:
    """The scheme with one field changed after the other."""
    usual = kind()
    for field in fields(kind):
        if field.init:
            now = getattr(usual, field.name)
            yield replace(usual, **{field.name: not now if isinstance(now, bool) else type(now)(now / 2)})


def stack(scheme: PositionScheme, make: Any = Encoder, **options: Any) -> Any:
    """A stack whose parameters are drawn by one seed, those too that start at zero."""
    built = make(replace(CONFIG, positions=scheme), **options).double().eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return built


def gpt(scheme: PositionScheme) -> Decoder:
    return stack(scheme, Decoder, cross_attention=False)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the schemes that a test defines."""
    monkeypatch.setattr(PositionScheme, "known", dict(PositionScheme.known))


# ---- What every scheme has to keep.


@every_kind
def test_it_is_a_frozen_dataclass_that_needs_no_argument_and_is_exported(kind: type[PositionScheme]) -> None:
    usual = kind()
    declared = {name for name in kind.__annotations__ if not name.startswith("_")} if kind.__annotations__ else set()
    assert declared <= {field.name for field in fields(kind)}, "is @dataclass(frozen=True) missing?"
    assert all(field.default is not MISSING for field in fields(kind) if field.init)
    assert hash(usual) == hash(kind())
    assert kind.__name__ in lib.__all__
    assert getattr(lib, kind.__name__) is kind
    assert PositionScheme.of(kind.name) == usual


@every_kind
def test_a_config_is_stored_and_read_with_every_field(kind: type[PositionScheme]) -> None:
    for scheme in (kind(), *variants(kind)):
        config = replace(CONFIG, positions=scheme)
        stored = json.loads(json.dumps(asdict(config)))
        assert stored["positions"]["name"] == kind.name
        assert StackConfig(**stored) == config
        assert StackConfig(**stored).positions == scheme
    by_name = StackConfig(**stored | {"positions": kind.name})  # as it was stored at first
    assert by_name.positions == kind()


@every_kind
def test_every_field_counts(kind: type[PositionScheme]) -> None:
    x = randn(1, LENGTH, 24)
    for scheme in variants(kind):
        for make in (stack, gpt):
            assert differ(make(scheme)(x), make(kind())(x)), scheme


@every_kind
def test_given_positions_are_those_that_are_not_given(kind: type[PositionScheme]) -> None:
    x, at = randn(2, 7, 24), torch.arange(7)
    for scheme in (kind(), *variants(kind)):
        for built in (stack(scheme), gpt(scheme)):
            for positions in (at, at.expand(2, 7)):
                assert_near(built(x, positions=positions), built(x))


@every_kind
def test_a_cache_changes_nothing_at_any_step(kind: type[PositionScheme]) -> None:
    x, at = randn(2, 9, 24), torch.arange(9)
    for scheme in (kind(), *variants(kind)):
        decoder = gpt(scheme)
        with torch.no_grad():
            wanted, caches = decoder(x), [decoder.new_cache(), decoder.new_cache()]
            for start, end in ((0, 4), (4, 5), (5, 9)):
                for positions, cache in zip((None, at[start:end]), caches, strict=True):
                    assert_near(decoder(x[:, start:end], positions=positions, cache=cache), wanted[:, start:end])


@every_kind
def test_both_paths_of_attention_agree(kind: type[PositionScheme]) -> None:
    x = randn(2, 7, 24)
    for built in (stack(kind()), gpt(kind())):
        fused = built(x)
        with record_attention(built):
            assert_near(built(x), fused)


@every_kind
def test_its_limit_is_where_positions_end(kind: type[PositionScheme]) -> None:
    decoder, x = gpt(kind()), randn(1, LENGTH + 1, 24)
    limit = decoder.positions.limit
    assert limit in (None, LENGTH)
    assert decoder(x[:, :LENGTH]).shape == (1, LENGTH, 24)
    if limit is None:
        assert decoder(x).shape == x.shape
    else:
        with pytest.raises(ValueError, match=f"{LENGTH} positions; got a sequence of length {LENGTH + 1}"):
            decoder(x)


@every_kind
def test_it_acts_somewhere_or_says_that_it_is_none(kind: type[PositionScheme]) -> None:
    placed = stack(kind()).positions
    acts = any(part is not None for part in (placed.added, placed.bias, placed.rotary))
    assert acts == (kind is not NoPositions)


def test_no_scheme_of_the_library_is_forgotten() -> None:
    """Only a scheme that the package imports has a name to be stored by, is exported, and is tested here."""
    written = set()
    for path in Path(lib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("PositionScheme" in ast.unparse(base) for base in node.bases):
                written.add(node.name)
    assert written == {kind.__name__ for kind in KINDS}


# ---- One more scheme.


@pytest.mark.usefixtures("apart")
def test_a_scheme_of_ones_own_is_one_class() -> None:
    class Slope(nn.Module):
        """A learned slope for each head, as ALiBi's is fixed."""

        def __init__(self, n_heads: int, start: float) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.full((n_heads,), start))

        def at(self, distances: Tensor) -> Tensor:
            return -self.slope[:, None, None] * distances.abs()[:, None]

        def forward(self, q_len: int, k_len: int) -> Tensor:
            return self.at(torch.arange(k_len) - torch.arange(k_len - q_len, k_len)[:, None, None].transpose(0, 1))

    @dataclass(frozen=True)
    class Sloping(PositionScheme):
        name = "sloping"
        start: float = 0.5

        def bias(self, n_heads: int, *, bidirectional: bool) -> Slope:
            return Slope(n_heads, self.start)

    test_a_config_is_stored_and_read_with_every_field(Sloping)
    test_given_positions_are_those_that_are_not_given(Sloping)
    test_a_cache_changes_nothing_at_any_step(Sloping)
    test_both_paths_of_attention_agree(Sloping)
    test_its_limit_is_where_positions_end(Sloping)
    assert set(gpt(Sloping()).positions.state_dict()) == {"bias.slope"}
    with pytest.raises(AssertionError):  # its parameter is drawn anew here, so its field does not count
        test_every_field_counts(Sloping)


@pytest.mark.usefixtures("apart")
def test_a_scheme_has_a_name_of_its_own() -> None:
    with pytest.raises(TypeError, match=r"must have a name, as text; .*Nameless has None"):
        type("Nameless", (PositionScheme,), {})
    with pytest.raises(TypeError, match=r"must have a name, as text; .*Turned has None"):
        type("Turned", (Rotary,), {})
    with pytest.raises(ValueError, match=r"Other must have a name of its own; 'rotary' is Rotary's"):
        type("Other", (PositionScheme,), {"name": "rotary"})
    again = [type("Again", (PositionScheme,), {"name": "again", "__module__": "__main__"}) for _ in range(2)]
    assert PositionScheme.known["again"] is again[1]  # a notebook's cell that ran twice


@pytest.mark.usefixtures("apart")
def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(module, extraglobs={"dataclass": dataclass})
    assert result.attempted >= 2
    assert not result.failed


# ---- How they are given.


def test_the_names_of_old_are_known_and_nothing_is_no_positions() -> None:
    for name in ("sinusoidal", "learned", "relative", "rotary", "alibi", "none"):
        assert StackConfig(positions=name).positions.name == name
    assert StackConfig(positions=None).positions == NoPositions()
    assert StackConfig().positions == Sinusoidal()
    assert Translator.load().model.decoder.config.positions == Rotary()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("absolute", ValueError, "one of sinusoidal, learned, .*; got 'absolute'"),
        ("", ValueError, "positions must be one of .*; got ''"),
        ({"base": 100.0}, ValueError, "positions must be one of .*; got None"),
        ({"name": "rotary", "bases": 100.0}, TypeError, "bases"),
        ({"name": "rotary", "base": -1.0}, ValueError, "base must be positive; got -1.0"),
        (7, TypeError, r"a scheme, such as Rotary\(\), or its name; got 7"),
        (Rotary, TypeError, "a scheme, such as .* got <class"),
    ],
)
def test_positions_that_make_no_sense_are_named(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        StackConfig(positions=given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(base=0.0), "base must be positive; got 0.0"),
        (lambda: Rotary(base=float("inf")), "base must be finite; got inf"),
        (lambda: Rotary(partial=0.0), "partial must be more than 0 and at most 1; got 0.0"),
        (lambda: Rotary(partial=1.5), "partial must be more than 0 and at most 1; got 1.5"),
        (lambda: Relative(buckets=7), "^buckets must be even and at least 4; got 7"),
        (lambda: Relative(buckets=2), "^buckets must be even and at least 4; got 2"),
        (lambda: Relative(buckets=2.5), "buckets must be a whole number; got 2.5"),  # type: ignore[arg-type]
        (lambda: Relative(max_distance=16), "max_distance must be more than 16 with 32 buckets; got 16"),
    ],
)
def test_fields_that_make_no_sense_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
