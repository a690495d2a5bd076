"""The form of the chapters: what nbval would pass over."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from tests.notebooks import CHAPTERS, ROOT, code_cells, read, tags
from tools import images
from tools.outputs import IGNORED, normalise
from transformer_lib.chapters import CHAPTERS as LIST
from transformer_lib.chapters import chapter_named

chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def test_the_list_of_chapters_is_the_table_of_contents() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [(part["caption"], entry["file"]) for part in toc["parts"] for entry in part["chapters"]]
    declared = [(chapter.part, f"chapters/{chapter.file}") for chapter in LIST.values()]
    assert [line for line in listed if line[1].startswith("chapters/")] == declared
    assert [path.stem for path in CHAPTERS] == [chapter.file for chapter in LIST.values()]


@pytest.mark.parametrize("key", LIST)
def test_a_chapter_is_labeled_and_titled_as_listed(key: str) -> None:
    first = read(ROOT / "chapters" / f"{LIST[key].file}.ipynb").cells[0].source
    assert f"(chap:{key})=\n# {LIST[key].title}\n" in first + "\n"


@pytest.mark.parametrize("name", ["scaled", "2", "02"])
def test_a_chapter_is_found_by_key_and_number(name: str) -> None:
    assert chapter_named(name).key == "scaled"


def test_an_unknown_chapter_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no chapter '99'; the book has 1 why, 2 scaled"):
        chapter_named("99")


@chapters
def test_cells_are_stored_in_order(path: Path) -> None:
    # nbval passes a cell that was never run: count None, no output.
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))


def test_most_cells_are_compared() -> None:
    cells = [cell for path in CHAPTERS for cell in code_cells(path)]
    compared = [cell for cell in cells if not {IGNORED, "nbval-skip"} & set(tags(cell))]
    assert len(compared) / len(cells) >= 0.85


@chapters
def test_each_chapter_is_mostly_compared(path: Path) -> None:
    cells = code_cells(path)
    compared = [cell for cell in cells if not {IGNORED, "nbval-skip"} & set(tags(cell))]
    assert len(compared) / len(cells) >= 0.85


@chapters
def test_after_a_cell_that_is_not_compared_a_claim_is(path: Path) -> None:
    cells = code_cells(path)
    for index, cell in enumerate(cells):
        if IGNORED not in tags(cell):
            continue
        claim = next((later for later in cells[index + 1 :] if IGNORED not in tags(later)), None)
        assert claim is not None, f"nothing is compared after cell {index + 1}"
        assert claim.outputs, f"the cell after number {index + 1} prints no claim:\n{claim.source}"


@chapters
def test_nothing_escapes_comparison_by_markers(path: Path) -> None:
    for cell in code_cells(path):
        assert "NBVAL" not in cell.source, "use cell tags, which the tests count"
        assert not {"nbval-skip", "raises-exception", "remove-cell"} & set(tags(cell))
        assert not any(output.output_type == "error" for output in cell.outputs)
        assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.source


@chapters
def test_figures_have_alternative_text(path: Path) -> None:
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= 40, f"a figure without a real description:\n{cell.source}"


@chapters
def test_folded_code_shows_something(path: Path) -> None:
    # The page shows the line that unfolds it below its output, and so not at all without one.
    assert all(cell.outputs for cell in code_cells(path) if "hide-input" in tags(cell))


@chapters
def test_chapter_has_its_parts(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert re.match(r"\(chap:\w+\)=\n# ", text)
    for part in ("chapter-card", "## What to remember", "## What comes next", "## Sources"):
        assert part in text, f"{part} is missing"
    exercises = re.findall(r"\{exercise\}[^\n]*\n:label: (\S+)", text)
    solutions = re.findall(r"\{solution-start\} (\S+)", text)
    assert 5 <= len(exercises) <= 8
    assert exercises == solutions
    assert text.count("{hints}") == len(exercises)
    assert text.count("{solution-end}") == len(solutions)


@chapters
def test_prose_is_spelled_right(path: Path, tmp_path: Path) -> None:
    prose = tmp_path / f"{path.stem}.md"
    prose.write_text("\n\n".join(cell.source for cell in read(path).cells), encoding="utf-8")
    config = ["--toml", str(ROOT / "pyproject.toml")]
    done = subprocess.run([sys.executable, "-m", "codespell_lib", *config, str(prose)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@chapters
def test_stored_form_is_normal(path: Path) -> None:
    stored = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(stored, as_version=4)
    assert nbformat.writes(normalise(notebook, nbformat.reads(stored, as_version=4))) + "\n" == stored, (
        f"run `make outputs NOTEBOOKS=chapters/{path.name}`"
    )


def test_normalising_drops_what_differs_between_runs() -> None:
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=17, metadata={"execution": {"started": "now"}})
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("1", "\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3.99"}})
    once = nbformat.writes(normalise(notebook))
    assert json.loads(once)["cells"][0]["execution_count"] == 1
    assert len(json.loads(once)["cells"][0]["outputs"]) == 1
    assert "3.99" not in once
    assert "started" not in once
    assert nbformat.writes(normalise(nbformat.reads(once, as_version=4))) == once


def test_machine_dependent_outputs_are_kept_only_while_the_code_is_the_same() -> None:
    def run(source: str, text: str) -> nbformat.NotebookNode:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [IGNORED]})
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        return nbformat.v4.new_notebook(cells=[cell])

    stored = normalise(run("print(clock())", "1 s"))
    assert normalise(run("print(clock())", "2 s"), stored).cells[0].outputs[0].text == "1 s"
    assert normalise(run("print(clock() )", "2 s"), stored).cells[0].outputs[0].text == "2 s"
    assert normalise(run("print(clock())", "2 s")).cells[0].outputs[0].text == "2 s"


def _picture(shift: int = 0, noise: float = 0.0, size: int = 160) -> str:
    import base64
    import io

    import numpy as np
    from PIL import Image

    pixels = np.full((size, 200, 3), 255.0)
    pixels[20:60, 30 + shift : 90 + shift] = (0, 103, 163)
    pixels += noise * np.random.default_rng(0).standard_normal(pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_pictures_are_compared_by_what_they_show() -> None:
    assert images.same(_picture(), _picture())
    assert images.same(_picture(), _picture(noise=3.0))
    assert not images.same(_picture(), _picture(shift=3))
    assert not images.same(_picture(), _picture(size=180))
