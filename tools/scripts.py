"""Lint the JavaScript: the site's own, and the live figures as browsers get them, joined with what all figures share.

    python -m tools.scripts

Biome, a linter that comes as a wheel, looks for names that do not exist, code that is never used, and other slips.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from transformer_lib import widgets

ROOT = Path(__file__).parent.parent


def main() -> None:
    folder = ROOT / "_build" / "scripts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in widgets.__all__:
        (folder / f"{name}.js").write_text(getattr(widgets, name)._esm, encoding="utf-8")
    for path in (ROOT / "_static").glob("*.js"):
        shutil.copy(path, folder)
    biome = Path(sys.executable).parent / "biome"
    command = [str(biome), "lint", "--error-on-warnings", f"--config-path={ROOT}", str(folder)]
    sys.exit(subprocess.run(command, cwd=folder, check=False).returncode)


if __name__ == "__main__":
    main()
