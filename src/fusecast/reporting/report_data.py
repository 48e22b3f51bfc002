"""The data of a report: plain arrays and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray
from fusecast.data.quality import QualityCheck
from fusecast.errors.base import format_count
from fusecast.evaluation.breakdown import ScoreBreakdown
from fusecast.evaluation.evaluate import Evaluation
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.explanation import Explanation
from fusecast.explain.importance import Importance
from fusecast.explain.permutation import Agreement

MIN_LINE_POINTS = 5  # forecasts that a series needs for a separate line in a timeline


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FanForecast:
    """One forecast of a series, in the units of the data."""

    times: Sequence[Any]  # [H] datetimes, NumPy datetimes, ISO text, or integers
    quantiles: FloatArray  # [H, Q]
    levels: tuple[float, ...]
    name: str = "forecast"  # what it is, such as "last test window" or "next 24 h"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ForecastPlot:
    """The last actuals of a series and forecasts over them."""

    series: str
    target: str
    times: Sequence[Any]  # [n]
    actual: FloatArray  # [n], NaN where missing
    forecasts: tuple[FanForecast, ...]
    note: str = ""  # why it is shown, such as "among the worst"; empty where evenly spread


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainingCurves:
    """What training logged, one value an epoch; NaN where nothing was logged."""

    epoch: Sequence[float]  # [E]
    train_loss: Sequence[float]  # [E]
    valid_loss: Sequence[float] = ()  # [E], or empty without validation
    learning_rate: Sequence[float] = ()  # [E], or empty
    others: Sequence[TrainingCurves] = ()  # of the other networks of an ensemble


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Timeline:
    """How far the attention of the forecasts of one series lies from its average."""

    series: str  # its name, or their number where several with few forecasts are shown together
    target: str
    times: Sequence[Any]  # [W]
    distance: FloatArray  # [W]
    threshold: float
    actual: FloatArray | None = None  # the target then, [W], NaN where missing; None of several series
    events: Sequence[tuple[str, str, float]] = ()
    """Time span, series and greatest distance of the events of all series, the farthest first."""
    series_flagged: int = 0
    num_series: int = 1  # those whose forecasts were explained

    @classmethod
    def from_explanation(cls, explanation: Explanation) -> Self | None:
        """Take the series whose attention lies farthest above its threshold, and the events of all; None without any.

        Where that series has too few forecasts for a line, those of all such series are taken: they share one average.
        """
        regimes, panel = explanation.regimes, explanation.panel
        if not len(regimes.series):
            return None
        excess = np.where(np.isfinite(regimes.distance), regimes.distance - regimes.threshold, -np.inf)
        series = int(regimes.series[int(excess.argmax())])
        counts = np.bincount(regimes.series)
        several = counts[series] < MIN_LINE_POINTS
        windows = np.flatnonzero(counts[regimes.series] < MIN_LINE_POINTS if several else regimes.series == series)
        times = panel.times_at(regimes.series[windows], regimes.cutoff[windows])
        if several:
            order = times.arg_sort().to_numpy()
            windows, times = windows[order], times.gather(order)
        target = panel.schema.targets[0]
        rows = panel.indptr[regimes.series[windows]] + regimes.cutoff[windows]
        events = explanation.events
        return cls(
            series=format_count(len(np.unique(regimes.series[windows])), "series") if several else panel.names[series],
            target=target,
            times=times.to_list(),
            distance=regimes.distance[windows],
            threshold=float(regimes.threshold[windows][0]),
            actual=None if several else panel.reals[target][rows],
            events=[
                (f"{e['begin']}" + (f" to {e['end']}" if e["end"] != e["begin"] else ""), e["series"], e["distance"])
                for e in events.iter_rows(named=True)
            ],
            series_flagged=events["series"].n_unique() if events.height else 0,
            num_series=len(np.unique(regimes.series)),
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportData:
    """Everything that a report shows. What is empty or None is left out of the page."""

    title: str  # what was forecast, such as the name of the table
    targets: tuple[str, ...]
    frequency: str
    horizon: int
    lookback: int
    num_series: int
    data_facts: Mapping[str, str] = field(default_factory=dict)
    """Label -> value as text, shown in this order: ``{"Rows": "17,544"}``."""
    run_facts: Mapping[str, str] = field(default_factory=dict)  # about network and training
    evaluation: Evaluation | None = None
    coverage: Evaluation | None = None
    """The model, with and without its calibration, at origins all over the test span: the coverage of its intervals."""
    coverage_error: Sequence[Mapping[float, float]] = ()
    """Of each target, interval -> standard error of the model's coverage in `coverage`."""
    calibration_method: str = ""  # of the model in the evaluation; empty where its quantiles are raw
    calibrated_by_rows: bool = True  # whether it was learned from validation rows, which may be too few
    curves: TrainingCurves | None = None
    forecast_plots: Sequence[ForecastPlot] = ()
    importances: Sequence[Importance] = ()
    attention: AttentionProfile | None = None
    quality: Sequence[QualityCheck] = ()
    breakdown: ScoreBreakdown | None = None
    attention_by_step: Sequence[AttentionProfile] = ()
    patterns: str = ""  # the seasonal lags and periods, as from describe_patterns
    importance_over_time: pl.DataFrame | None = None  # as that of an explanation
    agreement: Agreement | None = None
    timeline: Timeline | None = None
    explained_windows: str = ""  # those behind importances and attention: "730 windows of the test span"
    mixture: str = ""  # which baselines the forecasts are mixed with, as that of an explanation
    created: str = ""  # when and with what the page was created, for its last line
