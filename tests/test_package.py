"""What a user installs: the library as a wheel, with its own dependencies and nothing else of the book's."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.notebooks import CHAPTERS, ROOT, code_cells
from tools.lock import OF_TORCH_ALONE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)(?:\[\w+\])?==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.M
    )
}
LOCKED = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==([\w.+!-]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M)
}


def closure(requirements: list[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that some requirements bring in, directly or not."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found[name] = metadata.distribution(requirement.name)
        for text in found[name].requires or ():
            inner = Requirement(text)
            if any(
                inner.marker is None or inner.marker.evaluate({"extra": extra}) for extra in (*requirement.extras, "")
            ):
                waiting.append(inner)
    return found


TRY = """
for line in {lines!r}:
    try:
        exec(line)
    except ImportError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the library's wheel and what its dependencies bring in."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "transformer_lib", folder / "transformer_lib", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder)]
    subprocess.run(built, check=True, capture_output=True, text=True)

    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=sys.platform != "win32")
    variables = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    for distribution in closure(PROJECT["dependencies"]).values():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
    (wheel,) = folder.glob("*.whl")
    shutil.unpack_archive(wheel, packages, "zip")
    return Path(sysconfig.get_path("scripts", "venv", variables)) / Path(sys.executable).name


def run(python: Path, code: str, folder: Path) -> str:
    done = subprocess.run([str(python), "-I", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_translates(installed: Path, tmp_path: Path) -> None:
    code = """
import transformer_lib
from transformer_lib.translator import Translator
print(transformer_lib.__file__)
print(Translator.load().translate(["The book that you gave me was interesting."]))
"""
    place, translation = run(installed, code, tmp_path).splitlines()
    assert str(ROOT) not in place
    assert translation == "['O livro que você me deu era interessante.']"


def test_the_wheel_checks_an_exercise(installed: Path, tmp_path: Path) -> None:
    code = """
from transformer_lib.exercises import check
def answer(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / key.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights
check("scaled-dot-product-attention", answer)
"""
    said = run(installed, code, tmp_path)
    assert "√d_k" in said


def test_the_environment_runs_every_chapter(installed: Path, tmp_path: Path) -> None:
    """Binder and Colab install the library, and with it what it depends on: the chapters may import no more."""
    imports = {
        ast.unparse(node)
        for path in CHAPTERS
        for cell in code_cells(path)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "import torch" in imports
    assert run(installed, TRY.format(lines=sorted(imports)), tmp_path) == ""


def test_types_and_data_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
from importlib.resources import files
root = files("transformer_lib")
wanted = "py.typed", "widgets/figures.css", "checkpoints/translator/record.json"
print(all((root / name).is_file() for name in wanted))
"""
    assert run(installed, code, tmp_path).strip() == "True"


def test_pins_lie_in_the_library_s_ranges() -> None:
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        assert PINS[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_the_lock_holds_every_pin_and_all_that_they_bring_in() -> None:
    apart = {"torch"}  # see tools/lock.py
    assert {name: LOCKED.get(name) for name in PINS if name not in apart} == {
        name: version for name, version in PINS.items() if name not in apart
    }, "run `python -m tools.lock`"
    needed = closure([f"{name}=={version}" for name, version in PINS.items()])
    missing = sorted(name for name in needed if name not in LOCKED and not OF_TORCH_ALONE.match(f"{name}=="))
    assert missing == [], "run `python -m tools.lock`"


def test_every_locked_package_has_its_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.M)[1:]
    assert len(entries) >= len(LOCKED) > 100  # more, where two Pythons need two versions
    assert all("--hash=sha256:" in entry for entry in entries)
