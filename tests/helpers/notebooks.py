"""Run the notebooks in examples/notebooks as from a fresh clone: ``python -m tests.helpers.notebooks`` saves them anew.

A notebook is saved with its outputs, where figures are pictures, and with two things that a test compares: a checksum
of its cells, and the key figures that its text rests on. The picture of a cell with `picture` in its metadata is a file
in docs/images too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "examples" / "notebooks"
SCRIPTS = ("config_lightning.py", "dataset.py", "tft_lightning_model.py", "train_tft_lightning.py")
FIGURE = "application/vnd.plotly.v1+json"
PIXELS = 1.4  # of a picture, for each pixel of a figure
TIMEOUT = 300  # seconds a cell
RESULT_OF_FIT = re.compile(r"blend: |calibrated by ")
BAR = re.compile("\x1b\\[[0-9]*[AK]")  # of a terminal: one line up, or empty the line

Range = tuple[float, float]
CLAIMS: dict[str, dict[str, Range]] = {
    "retail_promotions": {
        "evaluation.skill('TFT')['WQL']": (0.35, 0.5),
        "evaluation.skill('TFT')['MAE']": (0.33, 0.48),
        "evaluation.scores['TFT'][0].coverage[0.8]": (0.76, 0.84),
        "evaluation.scores['TFT'][0].width[0.8] / evaluation.scores['seasonal naive 7'][0].width[0.8]": (0.55, 0.8),
        "next(row.variable for row in explanation.importances if row.group == 'future') == 'promotion'": (1, 1),
        "(lifts['learned factor'] / lifts['true factor']).min()": (0.75, 1.05),
        "(lifts['learned factor'] / lifts['true factor']).max()": (0.9, 1.25),
    },
    "power_prices": {
        "evaluation.skill('TFT')['WQL']": (0.4, 0.58),
        "evaluation.skill('TFT')['MAE']": (0.4, 0.58),
        "evaluation.scores['TFT'][0].coverage[0.8]": (0.76, 0.84),
        "evaluation.scores['TFT'][0].width[0.8] / evaluation.scores['seasonal naive 24'][0].width[0.8]": (0.4, 0.7),
        "evaluation.scores['TFT'][0].wql / evaluation.scores['TFT raw'][0].wql": (1, 1.12),
        "explanation.permutation.filter(variable='wind_speed')['increase'].item()": (1.0, 2.5),
        "explanation.permutation.filter(variable='sunshine')['increase'].item()": (0.2, 0.5),
        "explanation.permutation.filter(variable='temperature')['increase'].item()": (-0.05, 0.15),
    },
    "from_four_scripts": {
        "evaluation.skill('TFT')['WQL']": (0.3, 0.5),
        "by_step['TFT'][0] / scripts_error": (0.4, 0.8),
        "by_step['TFT'][-1] / scripts_error": (0.5, 1.0),
        "changed.filter(pl.col('ds').dt.hour() == 8)['difference'].item()": (100, 350),
        "changed.filter(pl.col('ds').dt.hour() == 14)['difference'].item()": (-150, -20),
    },
}
"""By notebook: expressions of its variables, and the range of each value in which its text is true."""


def run(path: Path, folder: Path) -> tuple[nbformat.NotebookNode, dict[str, float]]:
    """Execute a notebook in a folder that has its place in a clone; return it with its outputs, and its key figures.

    Raise nbclient's CellExecutionError where a cell fails. Figures are plotly's JSON.
    """
    place = folder / path.parent.relative_to(ROOT)
    place.mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / name, folder / name)
    notebook = nbformat.read(path, as_version=4)
    claims = list(CLAIMS[path.stem])
    values = ", ".join(f"float({claim})" for claim in claims)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps([{values}]))"))
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(place)}},
    )
    client.execute(env=kernel_environment(folder))
    last = notebook.cells.pop()
    for output in outputs(notebook):
        if output.output_type == "stream":
            output.text = output.text.replace(f"{place}{os.sep}", "")  # a path of this machine
    return notebook, dict(zip(claims, json.loads(last.outputs[0]["text"]), strict=True))


def kernel_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a kernel without settings, data and interpreters of this machine's user."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # as an activated environment has
    settings = {"PATH": search, "IPYTHONDIR": str(folder / ".ipython"), "COLUMNS": "110"}
    environment = {name: value for name, value in os.environ.items() if name != "FUSECAST_DATA"}
    return environment | settings | {"PLOTLY_RENDERER": "plotly_mimetype"}


def checksum(notebook: nbformat.NotebookNode) -> str:
    """Return the SHA-256 of the kinds and sources of all cells."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def outputs(notebook: nbformat.NotebookNode) -> list[Any]:
    """Return the outputs of all code cells."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def find_noise(notebook: nbformat.NotebookNode) -> list[str]:
    """Return outputs that teach nothing: warnings, progress and whatever else goes to stderr, and addresses of objects.

    What `fit` says of its result is none of these.
    """
    streams = [output for output in outputs(notebook) if output.output_type == "stream"]
    printed = [line for output in streams if output.name == "stderr" for line in output.text.splitlines()]
    noise = [line for line in printed if line.strip() and not RESULT_OF_FIT.match(line)]
    noise += [output.text for output in streams if BAR.search(output.text)]
    texts = [output.data.get("text/plain", "") for output in outputs(notebook) if output.output_type != "stream"]
    return noise + [text for text in texts if " at 0x" in text]


def find_untrue(stem: str, figures: dict[str, float]) -> dict[str, float]:
    """Return the key figures of a notebook that lie outside the ranges of its text."""
    ranges = CLAIMS[stem]
    return {claim: value for claim, value in figures.items() if not ranges[claim][0] <= value <= ranges[claim][1]}


def draw_figures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Replace figures by pictures, which one browser draws, and write those with a name into docs/images."""
    import plotly.graph_objects as go

    from fusecast.reporting.export import write_images

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [(cell, output) for cell in cells for output in cell.outputs if FIGURE in output.get("data", {})]
    figures = {str(i): go.Figure(output.data[FIGURE]) for i, (_, output) in enumerate(found)}
    for (cell, output), picture in zip(found, write_images(figures, folder, scale=PIXELS), strict=True):
        output.data = {"image/png": base64.b64encode(picture.read_bytes()).decode(), "text/plain": "Figure"}
        if name := cell.metadata.get("picture"):
            shutil.copy(picture, ROOT / "docs" / "images" / f"{name}.png")


def save(path: Path) -> None:
    """Execute a notebook and save it with its outputs; exit where it warns, or its text is not true."""
    with tempfile.TemporaryDirectory(prefix="fusecast-notebook-") as name:
        notebook, figures = run(path, Path(name))
        if noise := find_noise(notebook):
            sys.exit(f"{path.name} is not saved, as it has such outputs: {' '.join(noise)}")
        if untrue := find_untrue(path.stem, figures):
            sys.exit(f"{path.name} is not saved, as its text is not true: {untrue}")
        draw_figures(notebook, Path(name))
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["fusecast"] = {"cells": checksum(notebook), "figures": figures}
    nbformat.write(notebook, path)
    sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB, {figures}\n")


def main(names: Sequence[str]) -> None:
    """Save notebooks by name, all of them by default."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not names or path.stem in names:
            save(path)


if __name__ == "__main__":
    main(sys.argv[1:])
