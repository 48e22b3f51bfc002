"""ExplanationReport: an explanation that can be drawn and written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from fusecast.explain.explanation import Explanation
from fusecast.io.output_dir import replace_results
from fusecast.io.tables import write_table
from fusecast.reporting.export import check_can_draw, check_figure_kind, write_images
from fusecast.reporting.figures_explanation import explanation_figures

if TYPE_CHECKING:
    import plotly.graph_objects as go


class ExplanationReport(Explanation):
    """An explanation with its figures: what ``Forecaster.explain`` returns."""

    def figures(self) -> dict[str, go.Figure]:
        """Return plotly figures by name, for notebooks and files."""
        return explanation_figures(self)

    def write(
        self,
        folder: str | Path,
        *,
        table: str = "csv",
        figure: str | None = "png",
        more: Mapping[str, pl.DataFrame] | None = None,
    ) -> list[Path]:
        """Write every table and figure into a folder, which is created, and return the paths.

        What an earlier call wrote there is removed; other files, and those changed since, stay.

        Parameters
        ----------
        table
            Ending of the tables: ``csv``, ``parquet`` or ``arrow``.
        figure
            Ending of the figures: ``png``, ``svg`` or ``pdf``; None for tables alone.
        more
            Tables of single forecasts or changes, by name, to be written beside.

        Raises
        ------
        ConfigError
            When figures are requested and kaleido or a browser is not installed, with what to install.
        ArtifactError
            When an ending is unknown, or the folder cannot be written into.
        """
        folder = Path(folder)
        if figure is not None:
            check_figure_kind(figure)
            check_can_draw()
        with replace_results(folder, "explain") as scratch:
            paths = _write_tables({**self.tables(), **(more or {})}, scratch, table)
            paths.append(scratch / "explanation.txt")
            paths[-1].write_text("\n".join(self.sentences()) + "\n", encoding="utf-8")
            if figure is not None:
                paths += write_images(self.figures(), scratch, figure)
        return [folder / path.name for path in paths]


def write_explanation_tables(tables: Mapping[str, pl.DataFrame], folder: Path, kind: str = "csv") -> list[Path]:
    """Write tables of single forecasts or changes where there is nothing else, as :meth:`ExplanationReport.write`."""
    with replace_results(folder, "explain") as scratch:
        paths = _write_tables(tables, scratch, kind)
    return [folder / path.name for path in paths]


def _write_tables(tables: Mapping[str, pl.DataFrame], folder: Path, kind: str) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for name in tables]
    for frame, path in zip(tables.values(), paths, strict=True):
        write_table(frame, path)
    return paths
