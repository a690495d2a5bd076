"""Write the tree that readers open in Colab and Binder: the notebooks with a set-up cell each.

    python -m tools.publish --repository https://github.com/OWNER/NAME --commit SHA DIRECTORY

The repository's address is known at deploy only, so the notebooks of the main branch do not hold it. Colab opens a lone
notebook, without the library; its set-up cell installs the library from the repository, at the commit that the notebook
belongs to. Binder sets up the whole tree from `binder/`; there, and wherever the library is, the cell does nothing.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
TAG = "book-set-up"
SETUP = """\
# Set-up, for Colab: installs the book's library where it is missing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("transformer_lib") is None:
    package = "transformer-lib @ git+{repository}@{commit}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", required=True, help="https://github.com/OWNER/NAME")
    parser.add_argument("--commit", required=True, help="the commit that the notebooks belong to")
    parser.add_argument("directory", type=Path, help="where to write; must not exist, or be empty")
    arguments = parser.parse_args()
    try:
        publish(arguments.repository, arguments.commit, arguments.directory)
    except ValueError as error:
        parser.error(str(error))


def publish(repository: str, commit: str, directory: Path) -> None:
    """Copy the tracked tree, but its workflows, to ``directory``, and give each chapter its set-up cell.

    Args:
        repository: ``https://HOST/OWNER/NAME``.
        commit: a full or abbreviated commit hash.
        directory: must not exist, or be empty.

    Raises:
        ValueError: an address or hash of another form, or a directory that holds something.
    """
    repository = repository.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"the repository must look like https://github.com/OWNER/NAME; got {repository!r}")
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise ValueError(f"the commit must be 7 to 40 hexadecimal digits; got {commit!r}")
    if directory.exists() and any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(".github/"):  # GitHub lets no workflow push workflows
            continue
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for path in sorted((directory / "chapters").glob("*.ipynb")):
        notebook = add_setup(nbformat.read(path, as_version=4), repository, commit)
        nbformat.write(notebook, path)


def add_setup(notebook: NotebookNode, repository: str, commit: str) -> NotebookNode:
    """Put the set-up cell behind the notebook's title.

    Args:
        notebook: changed in place.
        repository: the address to install from.
        commit: the commit to install.

    Returns:
        The notebook.
    """
    source = SETUP.format(repository=repository, commit=commit)
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [TAG]})
    cell.id = hashlib.sha256(source.encode()).hexdigest()[:12]
    notebook.cells.insert(1, cell)
    nbformat.validate(notebook)
    return notebook


if __name__ == "__main__":
    main()
