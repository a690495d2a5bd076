"""Build the book's pages: `jupyter-book build` with warnings as errors, in seconds where little has changed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "_build"
# Jupyter Book rebuilds the pages whose text changed. When one of these changes, every page does.
SHARED = (
    "_config.yml",
    "_toc.yml",
    "references.bib",
    "requirements.txt",
    "_ext/**/*.py",
    "tools/numbers.py",
    "_static/**/*",
    "_templates/**/*",
    "transformer_lib/**/*.py",
    "transformer_lib/exercises/**/*.md",
    "transformer_lib/widgets/figures.css",
)


def main() -> None:
    stamp = OUTPUT / "shared.sha256"
    digest = _digest()
    everything = not stamp.exists() or stamp.read_text() != digest
    stamp.unlink(missing_ok=True)  # a build that fails leaves none, so that the next one starts afresh
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "-W", "-n", "--keep-going", "-q"]
    if everything:
        command.append("--all")
    finished = subprocess.run(command, cwd=ROOT, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    stamp.write_text(digest)


def _digest() -> str:
    """Of all that every page depends on, the deploy's settings included."""
    digest = hashlib.sha256(os.environ.get("BOOK_REPOSITORY", "").encode())
    for pattern in SHARED:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
