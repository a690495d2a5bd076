"""The capstone is walked from the empty package to the sentence, and tells each mistake on the way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.notebooks import ROOT
from transformer_lib import StackConfig
from transformer_lib.capstone import __main__ as cli
from transformer_lib.capstone import package
from transformer_lib.capstone.divergence import first_divergence
from transformer_lib.capstone.package import SOLUTIONS, emptied
from transformer_lib.capstone.parts import FILES, PARTS, PORTUGUESE, uses
from transformer_lib.encoder import EncoderLayer
from transformer_lib.exercises import examine
from transformer_lib.exercises.engine.exercise import Exercise
from transformer_lib.exercises.engine.passages import PASSAGES
from transformer_lib.multihead import MultiHeadAttention

IDS = [part.id for part in PARTS]
PAGE = (ROOT / "capstone.md").read_text(encoding="utf-8")
each = pytest.mark.parametrize("part", PARTS, ids=IDS)


class Learner:
    """Someone who fills in a package, part by part."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.wrote = {name: emptied(solution) for name, solution in SOLUTIONS.items()}

    def writes(self, name: str, *edits: tuple[str, str]) -> None:
        """The right code of a part, with a mistake if there are edits."""
        file = next(self.folder / file for file, names in FILES.items() if name in names)
        code = SOLUTIONS[name]
        for old, new in edits:
            assert old in code
            code = code.replace(old, new)
        text = file.read_text(encoding="utf-8")
        assert self.wrote[name] in text
        file.write_text(text.replace(self.wrote[name], code), encoding="utf-8")
        self.wrote[name] = code

    def runs(self, *arguments: str) -> tuple[int, str]:
        status = cli.main(list(arguments))
        output = self._capsys.readouterr()
        return status, output.out + output.err

    def checks(self, *part: str) -> tuple[int, str]:
        return self.runs("check", str(self.folder), *part)


@pytest.fixture
def learner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Learner:
    return Learner(tmp_path / "my own transformer", capsys)


def test_from_the_empty_package_to_the_sentence(learner: Learner, tmp_path: Path) -> None:
    assert learner.runs("new", str(learner.folder))[0] == 0
    status, text = learner.checks()
    assert status == 1
    assert text.count("not begun") == len(SOLUTIONS)
    assert "· translation                           waits for Transformer, generate" in text
    assert "0 of 15 parts pass. Next: attention, in attention.py" in text

    mistakes = {
        # Named: it has been made before.
        "MultiHeadAttention": (
            ("output.transpose(1, 2).flatten(-2)", "output.reshape(x.shape)"),
            ("→ MultiHeadAttention (multihead.py)", "put together wrong", "See “The missing transpose” in the chapter"),
        ),
        # Without a name, but with a place: only the first layer gets the mask.
        "Encoder": (
            ("x = layer(x, mask)", "x, mask = layer(x, mask), None"),
            ("with a padding mask: `layers.1`.", "Already its argument `mask` is missing", "what `Encoder` does"),
        ),
        # Deep in the stack: the decoder has one head.
        "Transformer": (
            ("Decoder(d_model, n_heads,", "Decoder(d_model, 1,"),
            ("`decoder.layers.0.self_attention.o_proj`.", "what `decoder.layers.0.self_attention` does"),
        ),
    }
    for name in SOLUTIONS:
        if name in mistakes:
            edit, told = mistakes[name]
            learner.writes(name, edit)
            status, text = learner.checks(name)
            assert status == 1
            for words in told:
                assert words in text, text
            assert "✓" not in text
            if name == "Encoder":  # the page shows it
                [sentence] = [line for line in text.splitlines() if "First divergence" in line]
                assert sentence in " ".join(PAGE.split()).replace("First", "  First")
        learner.writes(name)
        if name in ("attention", "MultiHeadAttention"):
            status, text = learner.checks(name)
            assert status == 0, text
            assert text.startswith(f"✓ {name} (")

    # In any language, at any home, and from any folder.
    done = subprocess.run(
        [sys.executable, "-m", "transformer_lib.capstone", "check", str(learner.folder)],
        env={"PATH": "", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/nowhere",
             "PYTHONPATH": str(Path(cli.__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    text = done.stdout.decode("ascii")
    assert done.returncode == 0, text + done.stderr.decode()
    assert text.count("+ ") == len(PARTS)
    assert "They wrote: O livro que voc? me deu era interessante.\nYou have built a Transformer.\n" in text
    assert not list(learner.folder.rglob("*.pyc"))


# ---- The declarations.


@each
def test_every_part_is_whole(part: Exercise) -> None:
    for see in [one.see for one in part.mistakes] + [goal.see for goal in getattr(part, "goals", ())]:
        assert see in PASSAGES, see
    assert re.search(rf"^. {part.id} ", PAGE, re.M)
    earlier = IDS[: IDS.index(part.id)]
    assert set(uses(part)) <= set(earlier)
    if part.solution:
        assert part.id in [name for names in FILES.values() for name in names]
        assert "raise NotImplementedError" in emptied(part.solution)
        assert len(emptied(part.solution)) < len(part.solution) + 50


@each
def test_every_mistake_is_named(part: Exercise) -> None:
    for mistake in part.mistakes:
        report = examine(part, mistake.wrong, isolated=False)
        assert report.mistake == mistake.name, f"{mistake.name}: {report}"


def test_another_sentence_is_not_the_sentence() -> None:
    part = PARTS[-1]
    [goal] = part.goals  # type: ignore[attr-defined]
    report = examine(part, goal.wrong())
    assert report.verdict == "goal"
    assert "you" in report.shown.partition("measured")[2]
    assert PORTUGUESE in report.shown.partition("measured")[0]


# ---- Files.


def test_new_touches_nothing_that_is_there(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner.folder.mkdir()
    kept = learner.folder / "attention.py"
    kept.write_text("mine")
    status, text = learner.runs("new", str(learner.folder))
    assert status == 2
    assert "not empty" in text
    assert learner.runs("new", str(kept))[0] == 2
    assert [path.name for path in learner.folder.iterdir()] == ["attention.py"]
    assert kept.read_text() == "mine"

    kept.unlink()
    assert learner.runs("new", str(learner.folder))[0] == 0  # an empty folder is as good as none

    def full(file: str, *rest: object) -> str:
        if file == "encoder.py":
            raise OSError("no space left")
        return ""

    monkeypatch.setattr(package, "_content", full)
    other = learner.folder / "deep" / "down"
    assert learner.runs("new", str(other))[0] == 2
    assert not other.parent.exists()


def test_new_takes_back_what_it_has_half_written(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def failing(path: Path, *rest: object, **more: object) -> object:
        opened.append(Path(path))
        if len(opened) == 3:
            raise OSError("no space left")
        return open(path, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(package, "open", failing, raising=False)
    status, text = learner.runs("new", str(learner.folder / "deep"))
    assert (status, text) == (2, "no space left\n")
    assert opened[0].name == "__init__.py"
    assert not learner.folder.exists()


def test_what_cannot_be_read_is_told_and_hides_nothing_else(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner.runs("new", str(learner.folder))
    learner.writes("causal_mask")
    (learner.folder / "multihead.py").write_text("def broken(:\n")
    (learner.folder / "positions.py").write_text("import math\n")
    (learner.folder / "layers.py").unlink()
    status, text = learner.checks()
    assert status == 1
    assert "✓ causal_mask" in text
    assert "multihead.py cannot be read: SyntaxError: invalid syntax, line 1" in text
    assert "positions.py has no rotate" in text
    assert text.count("layers.py cannot be read: FileNotFoundError") == 1
    (learner.folder / "positions.py").write_text("while True:\n    pass\n")
    monkeypatch.setattr(cli, "LOADING", 0.3)
    status, text = learner.checks()
    assert (status, "the import has no end" in text) == (2, True)


def test_wrong_calls(learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learner.checks()[0] == 2
    learner.runs("new", str(learner.folder))
    assert "there is no part 'Attention'" in learner.checks("Attention")[1]
    assert learner.checks("attention", "more")[0] == 2
    assert learner.runs("hint", "Encoder", "3")[0] == 2
    assert learner.runs("hint", "Encoder")[1].startswith("Hint 1 of 2: ")
    monkeypatch.chdir(learner.folder)
    assert learner.runs("check", "attention") == (1, "○ attention (attention.py)\n  Not attempted yet.\n")


def test_names_that_do_not_fit_are_told(learner: Learner) -> None:
    learner.runs("new", str(learner.folder))
    for name in ("attention", "MultiHeadAttention"):
        learner.writes(name)
    learner.writes("MultiHeadAttention", ("q_proj", "query_proj"))
    status, text = learner.checks("MultiHeadAttention")
    assert status == 1
    assert "no parameter named q_proj.weight" in text
    buffer = "n_heads, rotary; self.register_buffer('table', torch.zeros(3))\n"
    learner.writes("MultiHeadAttention", ("n_heads, rotary\n", buffer))
    assert "stores what the contract does not name: table" in learner.checks("MultiHeadAttention")[1]


# ---- The first divergence.


class Factor(nn.Module):
    """A layer that multiplies what another one returns."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        result: torch.Tensor = self.inner(self.factor * x, mask)
        return result


def pair() -> tuple[nn.Module, nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    config = StackConfig(d_model=6, n_heads=2, d_ff=5, n_layers=1, dropout=0.0)
    layers = [Factor(EncoderLayer(config), 1.0).double() for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    return *layers, torch.randn(2, 3, 6, dtype=torch.float64)


def test_equal_models_do_not_diverge() -> None:
    yours, books, x = pair()
    assert first_divergence(yours, books, x) == ""
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in (*yours.modules(), *books.modules())
    )
    # Two ways to say the same are no difference.
    attention = MultiHeadAttention(6, 2).double()
    same = MultiHeadAttention(6, 2).double()
    same.load_state_dict(attention.state_dict())

    class Other(MultiHeadAttention):
        def forward(self, x, memory=None, mask=None, **options):  # type: ignore[no-untyped-def, override]
            return super().forward(x, x if memory is None else memory, mask=mask)

    same.__class__ = Other
    assert first_divergence(same, attention, x) == ""


def test_the_first_module_is_named_with_how_it_differs() -> None:
    yours, books, x = pair()
    yours.factor = 6**0.5
    told = first_divergence(yours, books, x)
    assert told.startswith("`inner`. Its output differs by up to ")
    assert "Already its argument `x` is 2.449 (√width, 6 wide) times the book's." in told

    yours, books, x = pair()
    with torch.no_grad():
        yours.inner.feed_forward.down_proj.bias += torch.tensor([0, 0, 0, 0, 0, 0.25])
    told = first_divergence(yours, books, x)
    assert told.startswith(
        "`inner.feed_forward.down_proj`. Its output differs by up to 0.25, everywhere. It gets what "
    )

    yours, books, x = pair()
    yours.inner.feed_forward.forward = lambda x: books.inner.feed_forward(x)[..., :-1]
    told = first_divergence(yours, books, x)
    assert "`inner.feed_forward`. Its output has the shape (2, 3, 5), the book's (2, 3, 6)." in told
    assert "Your `inner.feed_forward.up_proj` is never called." in told

    yours, books, x = pair()
    yours.inner.attention_residual.forward = lambda x, sublayer: yours.inner.attention_residual.norm(x)
    told = first_divergence(yours, books, x)
    assert told.startswith("`inner.attention_residual.norm`. ")
    assert told.endswith("Your `inner.attention` is never called.")

    yours, books, x = pair()
    mask = torch.tensor([[True, True, False], [True, False, False]])[:, None, None]
    yours.inner.attention.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"mask": ~kwargs["mask"]}), with_kwargs=True, prepend=True
    )
    told = first_divergence(yours, books, x, mask)
    assert "`inner.attention`." in told
    assert "Already its argument `mask` shows 3 that should be hidden, and hides 3 that should be seen." in told
