"""Figures as image files: a browser draws them through kaleido (the extra `plot`), as it draws the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fusecast.errors import ArtifactError, ConfigError
from fusecast.io.output_dir import replace_results
from fusecast.reporting.figure_style import add_title
from fusecast.reporting.figures_accuracy import forecast_figure
from fusecast.reporting.report_data import ReportData
from fusecast.reporting.sections import page_figures

if TYPE_CHECKING:
    import plotly.graph_objects as go

FigureKind = Literal["png", "svg", "pdf"]
FIGURE_ENDINGS = (".png", ".svg", ".pdf")
WIDTH, SCALE = 900, 2  # in pixels, and the pixels of a PNG for each
MAX_FORECAST_FIGURES = 12


def check_figure_kind(kind: str) -> None:
    """Raise an ArtifactError unless `kind`, an ending without its point, is a kind of figure."""
    if f".{kind}" not in FIGURE_ENDINGS:
        raise ArtifactError.unknown_ending(f"figure.{kind}", FIGURE_ENDINGS)


def check_can_draw() -> None:
    """Raise a ConfigError unless kaleido and a browser are installed, with what to install."""
    if find_spec("kaleido") is None:
        raise ConfigError.missing_extra("drawing figures", "kaleido", "plot")
    if find_browser() is None:
        raise ConfigError.missing_browser("drawing figures")


def find_browser() -> Path | None:
    """Return the browser that kaleido would start; None where there is none."""
    from choreographer.browsers.chromium import Chromium

    browser = Chromium.find_browser(skip_local=False)
    return Path(browser) if browser and Path(browser).is_file() else None


def write_images(figures: Mapping[str, go.Figure], folder: Path, kind: str = "png", scale: float = SCALE) -> list[Path]:
    """Write figures as ``<name>.<kind>``, and return the paths. One browser draws all of them, without the network.

    Raises a ConfigError when kaleido or a browser is not installed, an ArtifactError when `kind` is no kind of figure.
    """
    check_figure_kind(kind)
    check_can_draw()
    import kaleido

    paths = [folder / f"{name}.{kind}" for name in figures]
    options = {"format": kind, "width": WIDTH, "scale": scale}
    tasks = [
        {"fig": figure, "path": path, "opts": {**options, "height": figure.layout.height}}
        for figure, path in zip(figures.values(), paths, strict=True)
    ]
    if tasks:  # without MathJax, which kaleido would load from the network
        kaleido.write_fig_from_object_sync(tasks, cancel_on_error=True, kopts={"mathjax": False})
    return paths


def write_report_figures(data: ReportData, folder: Path, kind: str = "png") -> list[Path]:
    """Write the figures of a page, and the forecasts of its first twelve series, as ``<name>.<kind>``.

    Those that an earlier call wrote into the folder are removed. Raises as :func:`write_images`, and an ArtifactError
    when the folder cannot be written into.
    """
    figures = {name: add_title(figure.figure, figure.label) for name, figure in page_figures(data).items()}
    for i, plot in enumerate(data.forecast_plots[:MAX_FORECAST_FIGURES], start=1):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{plot.series}_{plot.target}")[:60]
        figures[f"forecast-{i}-{name}"] = add_title(forecast_figure(plot), f"Forecasts of {plot.series}")
    with replace_results(folder, "report") as scratch:
        paths = write_images(figures, scratch, kind)
    return [folder / path.name for path in paths]
