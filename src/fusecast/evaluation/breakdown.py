"""Scores of one predictor by series, step, origin and calendar."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.evaluation.backtest.origins import Origins
from fusecast.evaluation.metrics import Scores, ScoreSums, errors_of
from fusecast.features.calendar import CalendarFeature, local_times, varying_features
from fusecast.inference.forecasts import Forecasts

NAMES = {"hour": "hour", "day_of_week": "weekday", "month": "month"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One way to cut the calendar: by hour, weekday or month of the step that is forecast."""

    name: str
    feature: CalendarFeature

    @property
    def labels(self) -> tuple[str, ...]:
        """What its groups are called, in the order of their numbers."""
        if self.name == "weekday":
            return WEEKDAYS
        first = 0 if self.name == "hour" else 1
        return tuple(str(value + first) for value in range(self.feature.cardinality - 1))

    def numbers(self, panel: Panel, series: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the group of rows [W, H] of series [W], in the time zone of the schema."""
        times = panel.times_of(np.repeat(series, rows.shape[1]), rows.ravel())
        codes = self.feature.codes(local_times(times, panel.schema.time_zone))
        return codes.astype(np.int64).reshape(rows.shape) - 1


def slices_for(frequency: str) -> tuple[Slice, ...]:
    """Give the slices that tell rows of a frequency apart; none for integer steps and years.

    >>> [one.name for one in slices_for("1h")], [one.name for one in slices_for("1mo")]
    (['hour', 'weekday', 'month'], ['month'])
    """
    return tuple(
        Slice(name=NAMES[feature.name], feature=feature)
        for feature in varying_features(frequency)
        if feature.name in NAMES
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """A way to cut forecasts into groups: its name, and what the groups are called."""

    name: str
    labels: tuple[str, ...]


def groupings_of(panel: Panel, origins: Origins) -> tuple[Grouping, ...]:
    """Give the groupings of a backtest: series, step ahead, slices of the calendar, and origin."""
    return (
        Grouping(name="series", labels=tuple(str(name) for name in panel.ids.tolist())),
        Grouping(name="step", labels=tuple(str(step + 1) for step in range(origins.index.horizon))),
        *(Grouping(name=one.name, labels=one.labels) for one in slices_for(panel.schema.frequency)),
        Grouping(name="origin", labels=tuple(str(number) for number in range(origins.count))),
    )


@dataclass(kw_only=True, eq=False)
class Tally:
    """Sums of one predictor's errors, by grouping. Memory grows with groups, not with windows."""

    panel: Panel
    origins: Origins
    levels: tuple[float, ...]
    groupings: tuple[Grouping, ...]
    sums: dict[str, ScoreSums] = field(init=False)

    def __post_init__(self) -> None:
        targets = len(self.panel.schema.targets)
        self.sums = {one.name: ScoreSums(self.levels, targets, len(one.labels)) for one in self.groupings}
        self.sums["all"] = ScoreSums(self.levels, targets)

    def add(
        self,
        forecasts: Forecasts,
        actual: NDArray[np.float64],
        error_scale: NDArray[np.float64],
        square_scale: NDArray[np.float64],
    ) -> None:
        """Count in some windows.

        Parameters
        ----------
        actual
            [W, H, Y].
        error_scale, square_scale
            Of each series, [S, Y].
        """
        series, cutoff = forecasts.series, forecasts.cutoff
        rows = cutoff[:, None] + np.arange(forecasts.horizon)
        errors = errors_of(forecasts.quantiles, actual, self.levels, error_scale[series], square_scale[series])
        groups = {
            "all": None,
            "series": series,
            "step": np.broadcast_to(np.arange(forecasts.horizon), rows.shape),
            "origin": self.origins.number_of(series, cutoff),
        }
        groups |= {one.name: one.numbers(self.panel, series, rows) for one in slices_for(self.panel.schema.frequency)}
        for name, sums in self.sums.items():
            sums.add_errors(errors, groups[name])

    @property
    def by(self) -> tuple[str, ...]:
        """Names of the groupings, the whole first."""
        return ("all", *(one.name for one in self.groupings))

    def by_origin(self, column: str) -> NDArray[np.float64]:
        """One score of every origin, [K, Y]; NaN where an origin has no actual."""
        return self.sums["origin"].columns()[column]

    def scores(self) -> tuple[Scores, ...]:
        """Scores over everything, one a target."""
        return self.sums["all"].scores()

    def frame(self, by: str) -> pl.DataFrame:
        """Scores of every group of a grouping that has an actual: one row a group and target."""
        sums, targets = self.sums[by], self.panel.schema.targets
        labels = {one.name: one.labels for one in self.groupings}.get(by, ("all",))
        columns: dict[str, pl.Series] = {
            "by": pl.Series([by] * (len(labels) * len(targets))),
            "group": pl.Series(np.repeat(np.arange(len(labels)), len(targets))).replace_strict(
                list(range(len(labels))), list(labels), return_dtype=pl.String
            ),
            "target": pl.Series(list(targets) * len(labels)),
        }
        names = {"quantile_risk": sums.levels, "pinball": sums.levels, "calibration": sums.levels}
        names |= {"coverage": sums.intervals, "width": sums.intervals}
        for name, values in sums.columns().items():
            if name not in names:
                kind = pl.Int64 if name == "count" else pl.Float64
                columns[name] = pl.Series(values.ravel(), dtype=pl.Float64, nan_to_null=True).cast(kind)
                continue
            for place, level in enumerate(names[name]):
                flat = np.ascontiguousarray(values[..., place]).ravel()
                columns[f"{name} {level:g}"] = pl.Series(flat, nan_to_null=True)
        return pl.DataFrame(columns).filter(pl.col("count") > 0)
