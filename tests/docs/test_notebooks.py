"""The notebooks run from a fresh clone, what their text says is true, and saved outputs are those of the cells."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from tests.helpers import notebooks

PATHS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.~/])/(?:work|root|home|tmp|opt)/\w")
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_every_notebook_has_claims() -> None:
    assert {path.stem for path in PATHS} == set(notebooks.CLAIMS)


@pytest.mark.slow  # a user's whole morning: two trainings of a few hundred steps at most, and all that follows
@every_notebook
def test_a_notebook_runs_and_its_text_is_true(path: Path, tmp_path: Path) -> None:
    notebook, figures = notebooks.run(path, tmp_path)
    assert notebooks.find_noise(notebook) == []
    assert notebooks.find_untrue(path.stem, figures) == {}
    saved = nbformat.read(path, as_version=4).metadata["fusecast"]["figures"]
    assert figures == pytest.approx(saved, rel=0.15), "the saved outputs are of another version: make notebooks"


@every_notebook
def test_saved_outputs_are_those_of_the_cells(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["fusecast"]["cells"] == notebooks.checksum(notebook), "run `make notebooks`"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert notebooks.find_noise(notebook) == []
    assert MACHINE_PATH.findall("".join(str(output) for output in texts(notebook))) == []


@every_notebook
def test_links_and_pictures_of_a_notebook_are_there(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [target for target in targets if not (path.parent / target).exists()] == []
    assert sum("image/png" in output.get("data", {}) for output in notebooks.outputs(notebook)) >= 2


def test_an_edited_cell_is_noticed() -> None:
    notebook = nbformat.read(PATHS[0], as_version=4)
    notebook.cells[1].source += "\n"
    assert notebook.metadata["fusecast"]["cells"] != notebooks.checksum(notebook)


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return all outputs as text, without pictures."""
    found = []
    for output in notebooks.outputs(notebook):
        parts = output.get("data", {"text/plain": output.get("text", "")})
        found += [str(value) for kind, value in parts.items() if kind != "image/png"]
    return found
