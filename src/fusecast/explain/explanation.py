"""Explanation: what the network attends to over many windows, as tables and in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
import polars as pl

from fusecast.data.arrays import IntArray
from fusecast.data.frequency import format_lag
from fusecast.data.panel import Panel
from fusecast.display.card import build_card
from fusecast.errors.base import format_count
from fusecast.evaluation.blend import Blend
from fusecast.explain.attention import AttentionProfile, AttentionStore, AttentionTally
from fusecast.explain.importance import Importance, ImportanceByStep, ImportanceTally
from fusecast.explain.permutation import Agreement, compare_importances
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

# types that a table without rows needs too
LAG_TYPES = {"lag": int, "words": str, "attention": float, "contrast": float, "persistence": float, "multiple_of": int}
PERIODICITY_TYPES = {"period": int, "words": str, "autocorrelation": float, "persistence": float}


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a model forecasts what it forecasts, over many windows. Every window has the same weight."""

    panel: Panel  # the table
    windows: int  # W, the windows that are explained
    gap: int  # most steps between flagged forecasts of one event: the horizon, or the stride of the windows
    importances: list[Importance]  # of each group and variable, the largest first
    importance_by_step: pl.DataFrame  # see ImportanceByStep.by_position
    importance_over_time: pl.DataFrame  # see ImportanceByStep.over_time
    attention: AttentionProfile  # averaged over the steps ahead
    attention_by_step: list[AttentionProfile]  # one a step ahead, H of them
    seasonal_lags: list[SeasonalLag]  # lags with more attention than those around them
    periodicities: list[Periodicity]  # lags at which the attention repeats itself
    regimes: Regimes  # stretches of time in which the attention differs from its average
    permutation: pl.DataFrame | None = None  # see permutation_importance
    agreement: Agreement | None = None  # of selection weights and permutation
    blend: Blend | None = None  # baselines that the forecasts are mixed with

    @classmethod
    def from_outputs(
        cls,
        outputs: Iterable[tuple[IntArray, Batch, Output]],
        inputs: Inputs,
        panel: Panel,
        index: WindowIndex,
        *,
        threshold: float | None = None,
        blend: Blend | None = None,
    ) -> Self:
        """Summarise outputs as from ``NetworkPredictor.outputs`` for all windows of the index, batch by batch.

        Memory does not grow with the windows. `threshold` is the distance above which a window is flagged; None
        chooses one, see :func:`~fusecast.explain.regimes.find_regimes`. `blend` has the baselines that the forecasts
        are mixed with, which are named.
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
            blend=blend,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({format_count(self.windows, 'window')}, {len(self.importances)} importances)"

    def _repr_html_(self) -> str:
        facts = {"forecasts": f"{self.windows:,} of {len(np.unique(self.regimes.series)):,} series"}
        for group in ("past", "future", "static"):
            top = [row for row in self.importances if row.group == group][:3]
            facts[f"{group} variables"] = ", ".join(f"{row.variable} {row.mean:.0%}" for row in top)
        facts |= {"attention": describe_patterns(self.seasonal_lags, self.periodicities)}
        facts |= {"unusual attention": format_count(int(self.regimes.flagged.sum()), "forecast")}
        return build_card("Explanation", facts)

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
        words = [format_lag(position, frequency) for position in self.attention.position.tolist()]
        by_step = [
            profile.to_frame().select(pl.lit(step, pl.Int64).alias("step"), pl.all())
            for step, profile in enumerate(self.attention_by_step, start=1)
        ]
        tables = {
            "importances": pl.DataFrame([asdict(row) for row in self.importances]),
            "importance_by_step": self.importance_by_step,
            "importance_over_time": self.importance_over_time,
            "attention": self.attention.to_frame().insert_column(1, pl.Series("words", words)),
            "attention_by_step": pl.concat(by_step),
            "seasonal_lags": pl.DataFrame([asdict(lag) for lag in self.seasonal_lags], schema=LAG_TYPES),
            "periodicities": pl.DataFrame([asdict(one) for one in self.periodicities], schema=PERIODICITY_TYPES),
            "regimes": self.regimes.to_frame(self.panel),
            "events": self.events,
        }
        if self.permutation is not None and self.agreement is not None:
            tables |= {"permutation": self.permutation, "agreement": self.agreement.table}
        if self.blend is not None:
            tables["blend"] = pl.DataFrame(self.blend.to_dict())
        return tables

    @property
    def mixture(self) -> str:
        """Which baselines the explained forecasts are mixed with, in a sentence; empty where they are the network's."""
        series = {self.panel.names[s] for s in np.unique(self.regimes.series).tolist()}
        return "" if self.blend is None else self.blend.describe(series)

    def sentences(self) -> list[str]:
        """Return the findings in sentences."""
        num_series = len(np.unique(self.regimes.series))
        sentences = [f"Over {self.windows:,} forecasts of {num_series:,} series, each with the same weight:"]
        sentences += [self.mixture] if self.mixture else []
        for group in ("past", "future", "static"):
            top = [row for row in self.importances if row.group == group][:3]
            if top:
                shares = ", ".join(f"{row.variable!r} {row.mean:.0%}" for row in top)
                sentences.append(f"The {group} variables selected most are {shares}.")
        sentences.append(f"The network {describe_patterns(self.seasonal_lags, self.periodicities)}.")
        events = self.events
        if events.height:
            first = events.row(0, named=True)
            sentences.append(
                f"{int(self.regimes.flagged.sum()):,} forecasts in {format_count(events.height, 'span')} of time have "
                f"unusual attention; the farthest from the average is of series {first['series']!r} at "
                f"{first['peak']} (distance {first['distance']:.2f})."
            )
        else:
            sentences.append("No forecast has unusual attention: there is no sign of another regime.")
        return sentences + list(self.agreement.notes if self.agreement is not None else ())
