"""Explanation: everything the network looked at, over every window asked for, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from fusecast.data.duration_text import format_lag
from fusecast.data.panel import Panel
from fusecast.explain.agreement import Agreement, compare
from fusecast.explain.attention import AttentionProfile, AttentionStore, AttentionTally
from fusecast.explain.importance import Importance, ImportanceByStep, ImportanceTally
from fusecast.explain.regimes import Regimes, regimes
from fusecast.explain.seasonality import Periodicity, SeasonalLag, in_words, periodicities, seasonal_lags
from fusecast.features.encoded_panel import Inputs
from fusecast.io.output_dir import results
from fusecast.io.tables import write_table
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a model forecasts what it forecasts, over many windows. Every window counts the same."""

    panel: Panel
    windows: int
    gap: int
    """Steps between flagged forecasts up to which they are one event: the horizon, or the stride of the windows."""
    importances: list[Importance]
    importance_by_step: pl.DataFrame  # see ImportanceByStep.by_position
    importance_over_time: pl.DataFrame  # see ImportanceByStep.over_time
    attention: AttentionProfile  # averaged over the steps ahead
    attention_by_step: list[AttentionProfile]  # one a step ahead, H of them
    seasonal_lags: list[SeasonalLag]
    periodicities: list[Periodicity]
    regimes: Regimes
    permutation: pl.DataFrame | None = None  # see permutation_importance
    agreement: Agreement | None = field(default=None)

    def with_permutation(self, permutation: pl.DataFrame) -> Self:
        """Add what shuffling each variable costs, and how far the selection weights agree with it."""
        return replace(self, permutation=permutation, agreement=compare(self.importances, permutation))

    @property
    def events(self) -> pl.DataFrame:
        """Spans in which the attention lies far from usual, the farthest first; see ``Regimes.events``."""
        return self.regimes.events(self.panel, gap=self.gap)

    def tables(self) -> dict[str, pl.DataFrame]:
        """All of it as tidy tables, by name."""
        frequency = self.panel.schema.frequency
        by_step = [{"step": step + 1, **row} for step, p in enumerate(self.attention_by_step) for row in p.to_rows()]
        attention = pl.DataFrame(self.attention.to_rows(), nan_to_null=True)
        words = [format_lag(position, frequency) for position in attention["position"].to_list()]
        found = {
            "importances": pl.DataFrame([row.to_dict() for row in self.importances]),
            "importance_by_step": self.importance_by_step,
            "importance_over_time": self.importance_over_time,
            "attention": attention.insert_column(1, pl.Series("words", words)),
            "attention_by_step": pl.DataFrame(by_step, nan_to_null=True),
            "seasonal_lags": pl.DataFrame([lag.to_dict() for lag in self.seasonal_lags], schema=LAG_COLUMNS),
            "periodicities": pl.DataFrame([rhythm.to_dict() for rhythm in self.periodicities], schema=RHYTHM_COLUMNS),
            "regimes": self.regimes.to_frame(self.panel),
            "events": self.events,
        }
        if self.permutation is not None and self.agreement is not None:
            found |= {"permutation": self.permutation, "agreement": self.agreement.table}
        return found

    def sentences(self) -> list[str]:
        """The findings in words."""
        series = len(np.unique(self.regimes.series))
        said = [f"Over {self.windows:,} forecasts of {series:,} series, each counting the same:"]
        for group in ("past", "future", "static"):
            top = [row for row in self.importances if row.group == group][:3]
            if top:
                named = ", ".join(f"{row.variable!r} {row.mean:.0%}" for row in top)
                said.append(f"The {group} variables selected most are {named}.")
        said.append(f"The network {in_words(self.seasonal_lags, self.periodicities)}.")
        said.append(self._events_in_words())
        if self.agreement is not None:
            said += self.agreement.notes
        return said

    def figures(self) -> dict[str, Figure]:
        """Matplotlib figures by name.

        Raises
        ------
        ConfigError
            When matplotlib is not installed, with the line that installs it.
        """
        from fusecast.reporting.explanation_figures import figures

        return figures(self)

    def write(
        self,
        folder: str | Path,
        *,
        table: str = "csv",
        figure: str | None = "png",
        more: Mapping[str, pl.DataFrame] | None = None,
    ) -> list[Path]:
        """Write every table and figure into a folder, which is made; give the paths.

        What an earlier call wrote there goes away; files that it did not write, or that were changed since, stay.

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
            When figures are asked for and matplotlib is not installed, with the line that installs it.
        ArtifactError
            When an ending is unknown, or the folder cannot be written into.
        """
        from fusecast.reporting.explanation_figures import save_figures

        folder, figures = Path(folder), {} if figure is None else self.figures()
        with results(folder, "explain") as scratch:
            paths = _write_all({**self.tables(), **(more or {})}, scratch, table)
            paths.append(scratch / "explanation.txt")
            paths[-1].write_text("\n".join(self.sentences()) + "\n", encoding="utf-8")
            paths += save_figures(figures, scratch, figure or "png")
        return [folder / path.name for path in paths]

    def _events_in_words(self) -> str:
        events = self.events
        if not events.height:
            return "No forecast stands out by what it looks at: no sign of another regime."
        first = events.row(0, named=True)
        spans = f"{events.height} span{'s' * (events.height > 1)} of time"
        return (
            f"{int(self.regimes.flagged.sum()):,} forecasts in {spans} look elsewhere than usual; the farthest is of "
            f"series {first['series']!r} at {first['peak']} (distance {first['distance']:.2f})."
        )


def write_tables(tables: Mapping[str, pl.DataFrame], folder: Path, kind: str = "csv") -> list[Path]:
    """Write tables of single forecasts or changes where there is no more to explain; as :meth:`Explanation.write`."""
    with results(folder, "explain") as scratch:
        paths = _write_all(tables, scratch, kind)
    return [folder / path.name for path in paths]


def _write_all(tables: Mapping[str, pl.DataFrame], folder: Path, kind: str) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for name in tables]
    for frame, path in zip(tables.values(), paths, strict=True):
        write_table(frame, path)
    return paths


LAG_COLUMNS = {
    "lag": pl.Int64,
    "words": pl.String,
    "attention": pl.Float64,
    "contrast": pl.Float64,
    "persistence": pl.Float64,
    "multiple_of": pl.Int64,
}
RHYTHM_COLUMNS = {
    "period": pl.Int64,
    "words": pl.String,
    "autocorrelation": pl.Float64,
    "persistence": pl.Float64,
}


def explain(
    outputs: Iterable[tuple[Any, Batch, Output]],
    inputs: Inputs,
    panel: Panel,
    index: WindowIndex,
    *,
    threshold: float | None = None,
) -> Explanation:
    """Gather what the network looked at, batch by batch; memory does not grow with the windows.

    Parameters
    ----------
    outputs
        (numbers of the windows, batch, output) for all windows of the index, as ``NetworkPredictor.outputs`` gives
        them.
    inputs
        Names of the variables.
    threshold
        Distance from which a window is flagged; None as :func:`~fusecast.explain.regimes.regimes` says.
    """
    L, H = index.lookback, index.horizon
    importance, attention = ImportanceTally(inputs), AttentionTally(L, H)
    by_step, store = ImportanceByStep(inputs, panel, index), AttentionStore(len(index), L, H)
    for numbers, batch, output in outputs:
        importance.add(batch, output)
        attention.add(batch, output)
        by_step.add(numbers, batch, output)
        store.put(numbers, batch, output)
    series, cutoff = index.locate(np.arange(len(index)))
    return Explanation(
        panel=panel,
        windows=len(index),
        gap=max(H, index.stride),
        importances=importance.table(),
        importance_by_step=by_step.by_position(),
        importance_over_time=by_step.over_time(),
        attention=attention.profile(),
        attention_by_step=attention.profiles_by_step(),
        seasonal_lags=seasonal_lags(store, panel.schema.frequency),
        periodicities=periodicities(store, panel.schema.frequency),
        regimes=regimes(store, series, cutoff, threshold=threshold),
    )
