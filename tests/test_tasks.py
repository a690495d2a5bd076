"""The command knows a task as soon as its file is there; it trains, evaluates, records and goes on."""

import json
import sys
from pathlib import Path

import pytest

import transformer_lib.tasks
from transformer_lib.tasks import tasks
from transformer_lib.train import main

TOY = '''
import json

import torch
from torch import nn

from transformer_lib.objectives import classes
from transformer_lib.tasks import Task
from transformer_lib.training import Recipe


class Toy(Task):
    """Which of two numbers is the larger.

    Not told in the help.
    """

    recipe = Recipe(steps=50, peak_rate=1e-2, warmup=10)

    @classmethod
    def add_options(cls, parser):
        parser.add_argument("--rows", type=int, default=8)

    def __init__(self, options):
        def batches(number):
            x = torch.randn(options.rows, 2, generator=torch.Generator().manual_seed(number))
            return x, x.argmax(-1)

        torch.manual_seed(0)
        self.model, self.batches, self.objective = nn.Linear(2, 2), batches, classes
        self.valid, self.about = [batches(10_000)], {"rows": options.rows}

    def save(self, folder, record, device):
        (folder / "record.json").write_text(json.dumps(record | {"device": str(device)}))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as one of the package's."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    monkeypatch.setattr(transformer_lib.tasks, "__path__", [*transformer_lib.tasks.__path__, str(folder)])
    for name in ("toy", "empty"):
        monkeypatch.setitem(sys.modules, f"transformer_lib.tasks.{name}", None)
        del sys.modules[f"transformer_lib.tasks.{name}"]
    return folder


def test_a_task_is_a_file(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tasks()) == ["translation"]
    (package / "toy.py").write_text(TOY)
    assert list(tasks()) == ["toy", "translation"]
    out = tmp_path / "out"
    main(["toy", "--out", str(out), "--steps", "5", "--rows", "4"])
    record = json.loads((out / "record.json").read_text())
    assert (record["recipe"]["steps"], record["recipe"]["warmup"]) == (5, 5)
    assert (record["rows"], record["parameters"], record["tokens"]) == (4, 6, 20)
    assert len(record["losses"]) == 5
    assert [sorted(found) for found in record["evaluations"]] == [["step", "valid"]]
    before = (out / "training.safetensors").read_bytes()
    main(["toy", "--out", str(out), "--steps", "5", "--rows", "4"])
    assert (out / "training.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="another recipe: steps 5 there and 6 here"):
        main(["toy", "--out", str(out), "--steps", "6"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["toy", "--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "Which of two numbers is the larger." in told
    assert "--rows" in told
    assert "Not told" not in told
    with pytest.raises(SystemExit):
        main(["unknown"])
    assert "'toy', 'translation'" in capsys.readouterr().err


def test_a_file_without_a_task_is_named(package: Path) -> None:
    (package / "empty.py").write_text("from transformer_lib.tasks import Task\n")
    with pytest.raises(ImportError, match=r"transformer_lib\.tasks\.empty must define one subclass of Task; it has 0"):
        tasks()
