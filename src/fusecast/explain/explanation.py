"""Explanation: what the network attends to over many windows, as tables and in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from fusecast.data.arrays import IntArray
from fusecast.data.duration_text import format_lag
from fusecast.data.panel import Panel
from fusecast.errors.base import format_count
from fusecast.explain.agreement import Agreement, compare_importances
from fusecast.explain.attention import AttentionProfile, AttentionStore, AttentionTally
from fusecast.explain.importance import Importance, ImportanceByStep, ImportanceTally
from fusecast.explain.regimes import Regimes, find_regimes
from fusecast.explain.seasonality import (
    Periodicity,
    SeasonalLag,
    describe_patterns,
    find_periodicities,
    find_seasonal_lags,
)
from fusecast.features.encoded_panel import Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex

LAG_COLUMNS = {
    "lag": pl.Int64,
    "words": pl.String,
    "attention": pl.Float64,
    "contrast": pl.Float64,
    "persistence": pl.Float64,
    "multiple_of": pl.Int64,
}
PERIODICITY_COLUMNS = {
    "period": pl.Int64,
    "words": pl.String,
    "autocorrelation": pl.Float64,
    "persistence": pl.Float64,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a model forecasts what it forecasts, over many windows. Every window has the same weight."""

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
    agreement: Agreement | None = None

    @classmethod
    def from_outputs(
        cls,
        outputs: Iterable[tuple[IntArray, Batch, Output]],
        inputs: Inputs,
        panel: Panel,
        index: WindowIndex,
        *,
        threshold: float | None = None,
    ) -> Self:
        """Summarise the outputs of a network batch by batch; memory does not grow with the windows.

        Parameters
        ----------
        outputs
            (numbers of the windows, batch, output) for all windows of the index, as from
            ``NetworkPredictor.outputs``.
        inputs
            Names of the variables.
        threshold
            Distance above which a window is flagged; None chooses one, see
            :func:`~fusecast.explain.regimes.find_regimes`.
        """
        L, H = index.lookback, index.horizon
        importance, attention = ImportanceTally(inputs), AttentionTally(L, H)
        by_step, store = ImportanceByStep(inputs, panel, index), AttentionStore(len(index), L, H)
        for windows, batch, output in outputs:
            importance.add(batch, output)
            attention.add(batch, output)
            by_step.add(windows, batch, output)
            store.put(windows, batch, output)
        series, cutoff = index.locate(np.arange(len(index)))
        return cls(
            panel=panel,
            windows=len(index),
            gap=max(H, index.stride),
            importances=importance.table(),
            importance_by_step=by_step.by_position(),
            importance_over_time=by_step.over_time(),
            attention=attention.profile(),
            attention_by_step=attention.profiles_by_step(),
            seasonal_lags=find_seasonal_lags(store, panel.schema.frequency),
            periodicities=find_periodicities(store, panel.schema.frequency),
            regimes=find_regimes(store, series, cutoff, threshold=threshold),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({format_count(self.windows, 'window')}, {len(self.importances)} importances)"

    def with_permutation(self, permutation: pl.DataFrame) -> Self:
        """Add the permutation importance, and how far the selection weights agree with it."""
        return replace(self, permutation=permutation, agreement=compare_importances(self.importances, permutation))

    @property
    def events(self) -> pl.DataFrame:
        """Spans in which the attention lies far from usual, the farthest first; see ``Regimes.events``."""
        return self.regimes.events(self.panel, gap=self.gap)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return all results as tidy tables, by name."""
        frequency = self.panel.schema.frequency
        by_step = [{"step": step + 1, **row} for step, p in enumerate(self.attention_by_step) for row in p.to_rows()]
        attention = pl.DataFrame(self.attention.to_rows(), nan_to_null=True)
        words = [format_lag(position, frequency) for position in attention["position"].to_list()]
        tables = {
            "importances": pl.DataFrame([asdict(row) for row in self.importances]),
            "importance_by_step": self.importance_by_step,
            "importance_over_time": self.importance_over_time,
            "attention": attention.insert_column(1, pl.Series("words", words)),
            "attention_by_step": pl.DataFrame(by_step, nan_to_null=True),
            "seasonal_lags": pl.DataFrame([asdict(lag) for lag in self.seasonal_lags], schema=LAG_COLUMNS),
            "periodicities": pl.DataFrame([asdict(one) for one in self.periodicities], schema=PERIODICITY_COLUMNS),
            "regimes": self.regimes.to_frame(self.panel),
            "events": self.events,
        }
        if self.permutation is not None and self.agreement is not None:
            tables |= {"permutation": self.permutation, "agreement": self.agreement.table}
        return tables

    def sentences(self) -> list[str]:
        """Return the findings in sentences."""
        num_series = len(np.unique(self.regimes.series))
        sentences = [f"Over {self.windows:,} forecasts of {num_series:,} series, each with the same weight:"]
        for group in ("past", "future", "static"):
            top = [row for row in self.importances if row.group == group][:3]
            if top:
                shares = ", ".join(f"{row.variable!r} {row.mean:.0%}" for row in top)
                sentences.append(f"The {group} variables selected most are {shares}.")
        sentences.append(f"The network {describe_patterns(self.seasonal_lags, self.periodicities)}.")
        sentences.append(self._describe_events())
        if self.agreement is not None:
            sentences += self.agreement.notes
        return sentences

    def _describe_events(self) -> str:
        events = self.events
        if not events.height:
            return "No forecast has unusual attention: there is no sign of another regime."
        first = events.row(0, named=True)
        return (
            f"{int(self.regimes.flagged.sum()):,} forecasts in {format_count(events.height, 'span')} of time have "
            f"unusual attention; the farthest from the average is of series {first['series']!r} at {first['peak']} "
            f"(distance {first['distance']:.2f})."
        )
