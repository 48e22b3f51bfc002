"""ExplanationReport: an explanation that can be drawn and written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from fusecast.data.frequency import format_step
from fusecast.display.plottable import Plottable
from fusecast.explain.explanation import Explanation
from fusecast.io.output_dir import replace_results
from fusecast.io.tables import write_table
from fusecast.reporting import figures_explanation
from fusecast.reporting.export import check_can_draw, check_figure_kind, write_images
from fusecast.reporting.figure_style import escape_name, stack_figures
from fusecast.reporting.report_data import Timeline

if TYPE_CHECKING:
    import plotly.graph_objects as go


class ExplanationReport(Explanation, Plottable):
    """An explanation with its figures: what ``Forecaster.explain`` returns."""

    def figures(self) -> dict[str, go.Figure]:
        """Return plotly figures by name, with titles, for notebooks and files."""
        frequency = self.panel.schema.frequency
        share, steps = "variables: share of the selection", f"position, in steps of one {format_step(frequency)}"
        figures: dict[str, dict[str, go.Figure]] = {
            "importances": {
                f"{group} {share}; mean, median, 10th to 90th percentile": figures_explanation.importance_figure(
                    rows[: figures_explanation.MAX_BARS]
                )
                for group in ("past", "future", "static")
                if (rows := [row for row in self.importances if row.group == group])
            },
            "importance_over_time": {
                f"{group} {share}, by date": figures_explanation.weights_figure(frame, "time")
                for group, frame in _groups(self.importance_over_time)
            },
            "importance_by_step": {
                f"{group} {share}, by position": figures_explanation.weights_figure(frame, "position", steps)
                for group, frame in _groups(self.importance_by_step)
            },
            "attention": {"attention by position": figures_explanation.attention_figure(self.attention, frequency)},
            "attention_by_step": {
                "attention of each step ahead": figures_explanation.attention_map_figure(
                    self.attention_by_step, frequency
                )
            },
        }
        timeline = Timeline.from_explanation(self)
        if timeline is not None:
            title = f"{escape_name(timeline.series)}: distance of the attention from its average"
            figures["regimes"] = {title: figures_explanation.timeline_figure(timeline)}
        if self.agreement is not None:
            correlation = self.agreement.correlation
            figures["agreement"] = {
                f"{group} variables: weight and shuffling"
                + (
                    f", rank correlation {correlation[group]:.2f}" if group in correlation else ""
                ): figures_explanation.agreement_figure(frame)
                for group, frame in _groups(self.agreement.table.filter(~pl.col("constant")))
            }
        return {name: stack_figures(parts) for name, parts in figures.items() if parts}

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
        return [folder / path.name for path in _write_tables(tables, scratch, kind)]


def _write_tables(tables: Mapping[str, pl.DataFrame], folder: Path, kind: str) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for name in tables]
    for frame, path in zip(tables.values(), paths, strict=True):
        write_table(frame, path)
    return paths


def _groups(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    groups = frame["group"].unique(maintain_order=True).to_list() if frame.height else []
    return [(group, frame.filter(pl.col("group") == group)) for group in groups]
