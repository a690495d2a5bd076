"""The tree for Colab and Binder."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import CHAPTERS, ROOT
from tools.publish import TAG, add_setup, publish

ADDRESS, COMMIT = "https://github.com/someone/attention", "0123456789abcdef"


def setup_cell(path: Path) -> str:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if TAG in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    return str(cells[0].source)


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs the git checkout")
def test_each_chapter_gets_one_setup_cell(tmp_path: Path) -> None:
    publish(ADDRESS + ".git", COMMIT, tmp_path / "tree")
    written = sorted((tmp_path / "tree" / "chapters").glob("*.ipynb"))
    tracked = subprocess.run(["git", "ls-files", "chapters/*.ipynb"], cwd=ROOT, capture_output=True, text=True)
    assert [f"chapters/{path.name}" for path in written] == tracked.stdout.split()
    for path in written:
        assert f"git+{ADDRESS}@{COMMIT}" in setup_cell(path)
    assert not (tmp_path / "tree" / ".github").exists()
    if written:
        assert (tmp_path / "tree" / "transformer_lib" / "attention.py").exists()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_setup_comes_right_after_the_title(path: Path) -> None:
    notebook = add_setup(nbformat.read(path, as_version=4), ADDRESS, COMMIT)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.split("\n")[1].startswith("# ")
    assert notebook.cells[1].metadata.tags == [TAG]


def test_setup_does_nothing_where_the_library_is(tmp_path: Path) -> None:
    notebook = add_setup(nbformat.read(CHAPTERS[0], as_version=4), "https://invalid.invalid/no/where", COMMIT)
    done = subprocess.run([sys.executable, "-c", notebook.cells[1].source], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://github.com/a/b/tree/main"])
def test_a_wrong_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="must look like https://"):
        publish(address, COMMIT, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_wrong_commit_or_a_full_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 to 40 hexadecimal digits; got 'main'"):
        publish(ADDRESS, "main", tmp_path / "tree")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        publish(ADDRESS, COMMIT, tmp_path)
