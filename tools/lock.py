"""Write requirements.lock anew: every package that requirements.txt and the library bring in, each with its hashes.

    pip install uv
    python -m tools.lock            # the same versions where they still fit, so that a change is small
    python -m tools.lock --upgrade  # the newest that fit

It holds for Linux, macOS and Windows, and for every Python from 3.11 on. PyTorch is left out, with what only its builds
for GPUs need: readers choose a build for their machine, and each build has its own files. `make` installs the lock, and
then PyTorch at the version that requirements.txt pins.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
OF_TORCH_ALONE = re.compile(r"(torch|triton|cuda-[\w-]+|nvidia-[\w-]+)==")
HEADER = """\
# Made by `python -m tools.lock` from requirements.txt and pyproject.toml; do not edit. PyTorch is apart (see there).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.exit("tools.lock needs uv: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "requirements.lock"
        if LOCK.exists() and not arguments.upgrade:
            shutil.copy(LOCK, result)
        command = [uv, "pip", "compile", "requirements.txt", "pyproject.toml", "--universal", "--python-version=3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
        subprocess.run([*command, "--output-file", str(result)], cwd=ROOT, check=True)
        LOCK.write_text(HEADER + without_torch(result.read_text(encoding="utf-8")), encoding="utf-8")


def without_torch(lock: str) -> str:
    """Drop PyTorch, and what it alone brings, from a lock."""
    entries = re.findall(r"^[^\s#].*(?:\n[ \t].*)*\n", lock, flags=re.M)  # a package, and its hashes indented below
    return "".join(entry for entry in entries if not OF_TORCH_ALONE.match(entry))


if __name__ == "__main__":
    main()
