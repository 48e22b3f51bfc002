"""Scores by group: by series, step ahead, calendar and origin; and the series that are forecast worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
import polars as pl

from fusecast.config import CalendarFeatureName
from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.evaluation.metrics import Scores, ScoreSums, compute_errors
from fusecast.features.calendar import CalendarFeature, infer_calendar_features, to_local_times
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

CALENDAR_GROUPINGS: dict[CalendarFeatureName, tuple[str, tuple[str, ...]]] = {
    "hour": ("hour", tuple(map(str, range(24)))),
    "day_of_week": ("weekday", ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")),
    "month": ("month", tuple(map(str, range(1, 13)))),
}
"""Calendar features that scores are grouped by, and names and labels of the groupings."""
MAX_WORST_SERIES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """A way to divide forecasts into groups."""

    name: str
    labels: tuple[str, ...] = field(repr=False)  # names of the groups, in the order of their numbers
    assign: Callable[[IntArray, IntArray], IntArray] | None = field(repr=False)
    """Group of each window [W], or of each step [W, H], by series [W] and rows within them [W, H]; None: one group."""
    ids: Mapping[str, pl.Series] = field(default_factory=dict, repr=False)
    """Columns that tell the groups apart beside their labels: the ids of series."""


ALL = Grouping(name="all", labels=("all",), assign=None)


def build_groupings(panel: Panel, index: WindowIndex) -> tuple[Grouping, ...]:
    """Return the groupings of a backtest: by series, step ahead, calendar, and origin, each series' k-th cutoff."""
    labels, first = tuple(map(str, range(int(index.counts.max(initial=0))))), index.first_cutoff
    origins = Grouping(name="origin", labels=labels, assign=lambda s, rows: (rows[:, 0] - first[s]) // index.stride)
    return (group_by_series(panel), group_by_step(index.horizon), *group_by_calendar(panel), origins)


def group_by_series(panel: Panel) -> Grouping:
    """Return the grouping by series."""
    ids = panel.ids_beside_names(np.arange(panel.num_series))
    return Grouping(name="series", labels=panel.names, assign=lambda series, _: series, ids=ids)


def group_by_step(horizon: int) -> Grouping:
    """Return the grouping by step ahead, from 1 on."""
    labels = tuple(map(str, range(1, horizon + 1)))
    return Grouping(name="step", labels=labels, assign=lambda _, rows: np.broadcast_to(np.arange(horizon), rows.shape))


def group_by_calendar(panel: Panel) -> tuple[Grouping, ...]:
    """Return the groupings by hour, weekday and month of the step that is forecast, in the time zone of the schema.

    Only those that differ between rows of the panel's frequency: none for integer steps and years.
    """

    def assign(feature: CalendarFeature, series: IntArray, rows: IntArray) -> IntArray:
        times = panel.times_at(np.repeat(series, rows.shape[1]), rows.ravel())
        codes = feature.codes(to_local_times(times, panel.schema.time_zone))
        return codes.astype(np.int64).reshape(rows.shape) - 1

    features = {feature.name: feature for feature in infer_calendar_features(panel.schema.frequency)}
    return tuple(
        Grouping(name=name, labels=labels, assign=partial(assign, features[feature]))
        for feature, (name, labels) in CALENDAR_GROUPINGS.items()
        if feature in features
    )


class GroupedScores:
    """Scores of one predictor, over everything and by group. Memory grows with groups, not with windows."""

    def __init__(self, targets: Sequence[str], levels: Sequence[float], groupings: Sequence[Grouping]) -> None:
        self.targets = tuple(targets)
        self.groupings = {grouping.name: grouping for grouping in (ALL, *groupings)}
        self._sums = {
            name: ScoreSums(levels, len(self.targets), len(grouping.labels))
            for name, grouping in self.groupings.items()
        }

    def __repr__(self) -> str:
        return f"GroupedScores(targets={list(self.targets)}, groupings={list(self.groupings)})"

    def add(
        self, forecasts: Forecasts, actual: FloatArray, error_scale: FloatArray, square_scale: FloatArray | None = None
    ) -> None:
        """Add some windows and their actuals [W, H, Y], NaN where missing.

        `error_scale` and `square_scale` are the divisors of MASE and RMSSE of each series, [S, Y].
        """
        series = forecasts.series
        rows = forecasts.cutoff[:, None] + np.arange(forecasts.horizon)
        squares = None if square_scale is None else square_scale[series]
        errors = compute_errors(forecasts.quantiles, actual, forecasts.levels, error_scale[series], squares)
        for name, grouping in self.groupings.items():
            self._sums[name].add(errors, None if grouping.assign is None else grouping.assign(series, rows))

    def scores(self, by: str = "all", group: int = 0) -> tuple[Scores, ...]:
        """Return the scores of one group of a grouping, one for each target; by default those over everything."""
        return self._sums[by].scores(group)

    def column(self, by: str, score: str) -> FloatArray:
        """Return one score of every group of a grouping, [G, Y]; NaN where a group has no actual."""
        return self._sums[by].columns()[score]

    def to_frame(self, by: str) -> pl.DataFrame:
        """Return the scores of every group of a grouping that has an actual: one row a group and target.

        Those of series have their ids too, unless another column has the name of one.
        """
        sums, keys = self._sums[by], self._sums[by].keys
        columns: dict[str, FloatArray] = {}
        for name, values in sums.columns().items():
            if name in keys:
                columns |= {f"{name} {key:g}": values[..., i].ravel() for i, key in enumerate(keys[name])}
            else:
                columns[name] = values.ravel()
        groups = list(product([by], self.groupings[by].labels, self.targets))
        schema = dict.fromkeys(("by", "group", "target"), pl.String)
        scores = pl.DataFrame(columns, nan_to_null=True).with_columns(pl.col("count").cast(pl.Int64))
        frame = pl.DataFrame(groups, schema=schema, orient="row")
        group = np.repeat(np.arange(len(frame) // len(self.targets)), len(self.targets))
        ids = [column.gather(group) for name, column in self.groupings[by].ids.items()]
        ids = [column for column in ids if column.name not in {*frame.columns, *scores.columns, "predictor"}]
        return frame.hstack(ids).hstack(scores).filter(pl.col("count") > 0)


@dataclass(frozen=True, kw_only=True)
class SeriesScores:
    """Scores of the model on one series, and how much better it is than the best baseline (1 - loss / loss).

    The skill is minus infinity where the baseline was exact and the model was not.
    """

    series: str
    wql: float
    mase: float
    coverage: float  # of the widest interval
    skill: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreBreakdown:
    """Scores of the first target by step ahead and by series."""

    by_step: Mapping[str, FloatArray] = field(repr=False)  # predictor -> WQL of each step ahead, [H]; the model first
    worst: Sequence[SeriesScores] = field(default=(), repr=False)  # the series of lowest skill first
    worse_than_baseline: int = 0  # series on which the best baseline does better
    num_series: int = 0  # series evaluated


def compute_score_breakdown(
    panel: Panel, forecasts: Mapping[str, Forecasts], *, train_end: IntArray, season: int
) -> ScoreBreakdown:
    """Score a model and its best baseline by step ahead and by series.

    `forecasts` are those of the same windows by predictor: the model's first, then the baseline's where there is one.
    MASE is scaled by the seasonal changes of the first `train_end` [S] rows of each series.
    """
    error_scale = seasonal_error(panel, train_end, season)
    scores: dict[str, GroupedScores] = {}
    for name, of_predictor in forecasts.items():
        groupings = (group_by_step(of_predictor.horizon), group_by_series(panel))
        actual = gather_actuals(panel, of_predictor.series, of_predictor.cutoff, of_predictor.horizon)
        scores[name] = GroupedScores(panel.schema.targets, of_predictor.levels, groupings)
        scores[name].add(of_predictor, actual, error_scale)
    model, *baselines = scores.values()
    skill = np.full(panel.num_series, np.nan)
    if baselines:
        losses = (grouped.column("series", "mean_pinball")[:, 0] for grouped in (model, baselines[0]))
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = 1 - np.divide(*losses)
    # Where the baseline is exact (a series that never changes) the skill is -inf, whatever the loss of the model: such
    # series come after those of a finite negative skill.
    rank = np.where(np.isneginf(skill), -1e-12, np.nan_to_num(skill, nan=np.inf))
    evaluated = np.unique(next(iter(forecasts.values())).series)
    order = evaluated[np.argsort(rank[evaluated], kind="stable")]
    worst = []
    for s in order[~np.isnan(skill[order])][:MAX_WORST_SERIES].tolist():
        of_series = model.scores("series", s)[0]
        coverage = next(iter(of_series.coverage.values()), math.nan)
        values = {"wql": of_series.wql, "mase": of_series.mase, "coverage": coverage, "skill": float(skill[s])}
        worst.append(SeriesScores(series=panel.names[s], **values))
    return ScoreBreakdown(
        by_step={name: grouped.column("step", "wql")[:, 0] for name, grouped in scores.items()},
        worst=worst,
        worse_than_baseline=int((skill[evaluated] < 0).sum()),
        num_series=len(evaluated),
    )
