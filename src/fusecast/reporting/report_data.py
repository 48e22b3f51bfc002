"""What a report is made of: plain arrays and rows, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.evaluation.evaluate import Evaluation
from fusecast.explain.agreement import Agreement
from fusecast.explain.attention import AttentionProfile
from fusecast.explain.importance import Importance


@dataclass(frozen=True, kw_only=True, eq=False)
class FanForecast:
    """One forecast of a series, in the units of the data."""

    times: Sequence[Any]  # [H] datetimes, NumPy datetimes, ISO text, or integers
    quantiles: NDArray[np.float64]  # [H, Q]
    levels: tuple[float, ...]
    name: str = "forecast"
    """What it is, in words: ``last test window``, ``next 24 h``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastPlot:
    """The last actuals of a series and the forecasts laid over them."""

    series: str
    target: str
    times: Sequence[Any]  # [n]
    actual: NDArray[np.float64]  # [n], NaN where missing
    forecasts: tuple[FanForecast, ...]
    note: str = ""
    """Why it is shown, such as ``among the worst``; empty where evenly taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingCurves:
    """What training logged, one value an epoch; NaN where nothing was logged."""

    epoch: Sequence[float]  # [E]
    train_loss: Sequence[float]  # [E]
    valid_loss: Sequence[float] = ()  # [E], or empty without validation
    learning_rate: Sequence[float] = ()  # [E], or empty


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One thing looked at in the data: what, what was found, and whether it asks for attention."""

    what: str
    found: str
    verdict: Literal["good", "note", "bad"] = "good"


@dataclass(frozen=True, kw_only=True)
class SeriesScores:
    """How the model did on one series, and how much better than the best baseline (1 - WQL / WQL).

    The skill is minus infinity where the baseline was exact and the model was not.
    """

    series: str
    wql: float
    mase: float
    coverage: float  # of the widest interval
    skill: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreBreakdown:
    """Scores of the first target apart: by step ahead and by series."""

    by_step: Mapping[str, NDArray[np.float64]]
    """Predictor -> WQL of each step ahead, [H]; the model first."""
    worst: Sequence[SeriesScores] = ()
    """The series of lowest skill first."""
    worse_than_baseline: int = 0
    """Series on which the best baseline does better."""
    judged: int = 0
    """Series judged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """How far the attention of one series' forecasts strays from usual."""

    series: str
    target: str
    times: Sequence[Any]  # [W]
    distance: NDArray[np.float64]  # [W]
    threshold: float
    actual: NDArray[np.float64]  # [W] the target at those times, NaN where missing
    events: Sequence[tuple[str, str, float]] = ()
    """Begin, end and greatest distance of the events of all series, in words, the farthest first."""
    series_flagged: int = 0
    looked_at: int = 1
    """Series whose forecasts were looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """Everything a report shows. What is empty or None is left out of the page."""

    title: str
    """What was forecast, such as the name of the table."""
    targets: tuple[str, ...]
    frequency: str
    horizon: int
    lookback: int
    num_series: int
    data_facts: Mapping[str, str] = field(default_factory=dict)
    """Label -> value in words, shown in this order: ``{"Rows": "17,544"}``."""
    run_facts: Mapping[str, str] = field(default_factory=dict)
    """The same about network and training."""
    evaluation: Evaluation | None = None
    held: Evaluation | None = None
    """The model, and the model calibrated, at origins all over the test span: how often the intervals held."""
    chance: Sequence[Mapping[float, float]] = ()
    """Of each target, interval -> standard error of the model's share in `held`."""
    calibrated_by: str = ""
    """Method of the calibration that the evaluation has a predictor of; empty without one."""
    curves: TrainingCurves | None = None
    fans: Sequence[ForecastPlot] = ()
    importances: Sequence[Importance] = ()
    attention: AttentionProfile | None = None
    health: Sequence[HealthCheck] = ()
    apart: ScoreBreakdown | None = None
    attention_by_step: Sequence[AttentionProfile] = ()
    lags: str = ""
    """The seasonal lags in words: ``looks back 24 h and 168 h``."""
    over_time: pl.DataFrame | None = None
    """Importance over time, as ``Explanation.importance_over_time``."""
    agreement: Agreement | None = None
    timeline: Timeline | None = None
    explained: str = ""
    """Which windows the importances and the attention are about: ``730 windows of the test span``."""
    made: str = ""
    """When and with what the page was made, for its last line."""
