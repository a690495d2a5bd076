"""Exercises as text: what is read, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transformer_lib.exercises.engine import declared
from transformer_lib.exercises.engine.exercise import Debug, Draw, Exercise, Implement, Predict, Stage, case

TEXT = """# add: Add two
implement · easy · 5 minutes
Write add(a, b),
with pleasure.

? First.
? Second, with `code`.

```python
def add(a, b):
    return one(a) + b - 1

# a remark, and no exercise
```

## minus (A passage: with a colon)
- `+ b` → `- b`
- ` - 1` → ``
You subtract.

## blind (Another)
```python
def add(a, b):
    return a
```
You do not look at `b` (the second one)
(at all)

# shape: A shape
predict · medium · 1 minutes · core
Say it.

? One.
? Two.

= a pair
a) The first.
b) The second.

```python
with torch.no_grad():
    for one_more in (1, 1):
        pair = (2, 3)
```

## turned (Another)
- `2, 3` → `3, 2`
Turned round.

## flat (Another)
= `6`
Flat.

# mend: Mend it
debug · hard · 2 minutes
Mend it.

? One.
? Two.

```python
def double(a):
    return 2 * a
```

## given
- `2 *` → `3 *`
"""
STAGES = {"stages": (Stage("always", lambda draw: [case(3, 4)]),)}
PARTS = {"add": STAGES, "mend": {"stages": (Stage("always", lambda draw: [case(3)]),)}}


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Exercise, ...]]:
    monkeypatch.setattr(declared, "_FOLDER", tmp_path)

    def read(text: str, parts: Any = PARTS) -> tuple[Exercise, ...]:
        (tmp_path / "scaled.md").write_text(text, encoding="utf-8")
        return declared.read("scaled", parts, {"one": lambda a: a + 1})

    return read


def test_what_is_written_is_read(reading: Callable[..., tuple[Exercise, ...]]) -> None:
    add, shape, mend = reading(TEXT)
    assert isinstance(add, Implement)
    assert (add.id, add.title, add.level, add.minutes, add.core) == ("add", "Add two", "easy", 5, False)
    assert (shape.minutes, shape.core) == (1, True)
    assert add.task == "Write add(a, b), with pleasure."
    assert add.hints == ("First.", "Second, with `code`.")
    assert add.reference(3, 4) == 7
    minus, blind = add.mistakes
    assert (minus.wrong(3, 4), minus.says, minus.see) == (0, "You subtract.", "A passage: with a colon")
    assert (blind.wrong(3, 4), blind.says) == (3, "You do not look at `b` (the second one) (at all)")
    assert isinstance(shape, Predict)
    assert (shape.reference(), shape.expects) == ((2, 3), "a pair")
    assert (shape.task, shape.options) == ("Say it.", {"a": "The first.", "b": "The second."})
    turned, flat = shape.mistakes
    assert (turned.wrong(), flat.wrong) == ((3, 2), 6)
    assert isinstance(mend, Debug)
    assert (mend.reference(2), mend.given(2), mend.mistakes) == (4, 6, ())
    assert next(iter(mend.stages[0].cases(Draw(0)))).args == (3,)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("`+ b`", "`+ c`", r"add/minus: the solution has no '\+ c'"),
        ("predict ·", "foresee ·", "an exercise begins with"),
        ("- `2, 3` → `3, 2`\n", "", "shape/turned: a mistake is edits, or a block of code"),
        ("## flat (Another)", "## flat", "shape: a mistake begins"),
        ("pair = (2, 3)", "print(2, 3)", "shape/solution: the code must end with a definition or an assignment"),
        ("# mend: Mend", "# add: Mend", "two exercises are called 'add'"),
        ("# mend:", "# mended:", "scaled.md does not tell of mend"),
    ],
)
def test_what_is_not_of_the_form_is_told(
    reading: Callable[..., tuple[Exercise, ...]], old: str, new: str, says: str
) -> None:
    assert old in TEXT
    parts = PARTS | {"mended": PARTS["mend"]} if old == "# mend:" else PARTS
    with pytest.raises(ValueError, match=says):
        reading(TEXT.replace(old, new), parts)
