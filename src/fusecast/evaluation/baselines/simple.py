"""Baselines by formula: last value, seasonal naive, drift and seasonal mean, with the spread they had in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import carry_forward, gather_rows, is_training_row, seasonal_differences, stack_targets
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

SPREAD_WINDOWS = 200  # windows of each series, evenly spaced over its training rows, that the spread is estimated from


@dataclass(frozen=True, kw_only=True)
class PointFormula(ABC):
    """A point forecast from a series' own past. Call :meth:`fit` to estimate the spread of its errors."""

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    fill_spread: ClassVar[bool] = False  # whether a series without errors at a step has another step's spread first

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables of scores."""

    @property
    def min_history(self) -> int:
        """Known rows that a training window needs."""
        return 2

    @abstractmethod
    def forecast_points(self, panel: Panel, values: FloatArray, series: IntArray, rows: IntArray) -> FloatArray:
        """Return the forecasts [W, H, Y] of rows [W, H] from earlier values of [N, Y]; NaN where none is known."""

    def training_errors(self, panel: Panel, train_end: IntArray, horizon: int) -> Iterator[tuple[FloatArray, IntArray]]:
        """Yield the errors in training [R, Y] and their series [R]: here of each step ahead, see `spread_index`."""
        index = WindowIndex.between(
            lengths=panel.lengths,
            begin=0,
            end=train_end,
            lookback=1,
            horizon=horizon,
            min_history=self.min_history,
            stride=max(1, int(np.max(train_end, initial=0)) // SPREAD_WINDOWS),
            align="end",
        )
        values = stack_targets(panel)
        series, cutoff = index.locate(np.arange(len(index)))
        rows = cutoff[:, None] + np.arange(horizon)
        errors = gather_rows(values, panel, series, rows) - self.forecast_points(panel, values, series, rows)
        for h in range(horizon):
            yield errors[:, h], series

    def spread_index(self, horizon: int) -> IntArray:
        """Return the position of each step ahead in `training_errors`, [H]."""
        return np.arange(horizon)

    def fit(self, panel: Panel, train_end: IntArray, horizon: int) -> FittedFormula:
        """Estimate the spread of the errors on the first `train_end` [S] rows of each series.

        A series without an error in training has the spread of all series together; without any there is no spread.
        """
        by_series, together = [], []
        for errors, series in self.training_errors(panel, train_end, horizon):
            by_series.append(quantiles_by_group(errors, series, panel.num_series, self.levels))
            together.append(quantiles_by_group(errors, np.zeros_like(series), 1, self.levels))
        spread, pooled = np.stack(by_series, axis=1), np.stack(together, axis=1)
        if self.fill_spread:
            spread, pooled = _fill_from_neighbours(spread), _fill_from_neighbours(pooled)
        spread = np.nan_to_num(np.where(np.isnan(spread), pooled, spread), nan=0.0)
        # The median stays the textbook point forecast, and the levels on either side of it stay on that side.
        level = np.asarray(self.levels)
        spread = np.where(level < 0.5, np.minimum(spread, 0), np.where(level > 0.5, np.maximum(spread, 0), 0))
        training = stack_targets(panel)[is_training_row(panel, train_end)]
        typical = np.array([0.0 if np.isnan(column).all() else np.nanmedian(column) for column in training.T])
        return FittedFormula(name=self.name, formula=self, spread=spread, typical=typical)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedFormula:
    """A :class:`~fusecast.inference.forecasts.Predictor` of a formula and its spread.

    Where the formula has no value, the forecast is the last known value of the series; where no value of the series is
    known, the median of the training values of all series.
    """

    name: str
    formula: PointFormula = field(repr=False)
    spread: FloatArray = field(repr=False)  # [S, K, Y, Q] added to the point, see `PointFormula.spread_index`
    typical: FloatArray = field(repr=False)  # [Y] where nothing of a series is known

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, from the rows before its cutoff alone."""
        series, cutoff = index.locate(np.arange(len(index)))
        values = stack_targets(panel)
        point = self.formula.forecast_points(panel, values, series, cutoff[:, None] + np.arange(index.horizon))
        last = gather_rows(carry_forward(values, panel), panel, series, cutoff[:, None] - 1)
        point = np.where(np.isnan(point), last, point)
        point = np.where(np.isnan(point), self.typical, point)
        k = np.minimum(self.formula.spread_index(index.horizon), self.spread.shape[1] - 1)
        spread = self.spread[series[:, None], k]
        return Forecasts(series=series, cutoff=cutoff, quantiles=point[..., None] + spread, levels=self.formula.levels)


@dataclass(frozen=True, kw_only=True)
class SeasonalNaive(PointFormula):
    """Repeat the last season. A missing value is replaced by the one a season earlier, and so on."""

    season: int  # steps after which the series repeats itself; 1 repeats the last value

    fill_spread = True

    @property
    def name(self) -> str:
        """Name in tables of scores."""
        return "last value" if self.season == 1 else f"seasonal naive {self.season}"

    def training_errors(self, panel: Panel, train_end: IntArray, horizon: int) -> Iterator[tuple[FloatArray, IntArray]]:
        """Yield y[t] - y[t - k * season] for each number k of seasons that a step ahead reaches back."""
        for seasons in range(1, (horizon - 1) // self.season + 2):
            yield seasonal_differences(panel, train_end, seasons * self.season), panel.series_of_row

    def spread_index(self, horizon: int) -> IntArray:
        """Return the seasons that each step ahead reaches back, from 0 on, [H]."""
        return np.arange(horizon) // self.season

    def forecast_points(self, panel: Panel, values: FloatArray, series: IntArray, rows: IntArray) -> FloatArray:
        """Return the latest known values at the same position of the season, [W, H, Y]."""
        rows = _latest_in_season(rows, self.season)
        points = gather_rows(values, panel, series, rows)
        if self.season == 1:
            return points  # a missing last value is replaced by the last known one in `predict`
        window, step, y = np.nonzero(np.isnan(points))
        row = rows[window, step] - self.season
        while len(row):
            within = row >= 0
            window, step, y, row = window[within], step[within], y[within], row[within]
            value = values[panel.indptr[series[window]] + row, y]
            points[window, step, y] = value
            missing = np.isnan(value)
            window, step, y, row = window[missing], step[missing], y[missing], row[missing] - self.season
        return points


@dataclass(frozen=True, kw_only=True)
class Drift(PointFormula):
    """Continue the line from the first known value to the last (Hyndman, Athanasopoulos 2021, section 5.2)."""

    name = "drift"

    def forecast_points(self, panel: Panel, values: FloatArray, series: IntArray, rows: IntArray) -> FloatArray:
        """Return last + h * (last - first) / (row of last - row of first), [W, H, Y]."""
        known_row = np.where(np.isnan(values), np.nan, panel.row_in_series[:, None].astype(np.float64))
        last_row = gather_rows(carry_forward(known_row, panel), panel, series, rows[:, :1] - 1)[:, 0]
        last = gather_rows(carry_forward(values, panel), panel, series, rows[:, :1] - 1)[:, 0]
        first_row, first = _first_known(panel, values)
        span = last_row - first_row[series]
        slope = np.where(span > 0, (last - first[series]) / np.where(span > 0, span, 1.0), 0.0)
        since = rows[..., None] - last_row[:, None]
        return last[:, None] + slope[:, None] * since


@dataclass(frozen=True, kw_only=True)
class SeasonalMean(PointFormula):
    """The mean of the values at the same position of the last seasons."""

    season: int  # steps of a season; 1 is the mean of the last values
    seasons: int = 4  # how many of them are averaged

    @property
    def name(self) -> str:
        """Name in tables of scores."""
        return f"mean of {self.seasons} values" if self.season == 1 else f"seasonal mean {self.season}"

    @property
    def min_history(self) -> int:
        """Known rows that a training window needs."""
        return self.season

    def forecast_points(self, panel: Panel, values: FloatArray, series: IntArray, rows: IntArray) -> FloatArray:
        """Return the mean over k of the value k seasons before the step, from the latest known on; [W, H, Y]."""
        latest = _latest_in_season(rows, self.season)
        total = np.zeros((*rows.shape, values.shape[1]))
        count = np.zeros_like(total)
        for back in range(self.seasons):
            earlier = gather_rows(values, panel, series, latest - back * self.season)
            total += np.nan_to_num(earlier)
            count += ~np.isnan(earlier)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def quantiles_by_group(values: FloatArray, group: IntArray, num_groups: int, levels: Sequence[float]) -> FloatArray:
    """Return the empirical quantiles (linear between ranks) of the rows of each group, [R, Y] to [G, Y, Q].

    `group` [R] is the number of each row's group. NaN is left out; a group with nothing else gets NaN.
    """
    quantiles = np.full((num_groups, values.shape[1], len(levels)), np.nan)
    for y in range(values.shape[1]):
        present = ~np.isnan(values[:, y])
        group_of_value, value = group[present], values[present, y]
        ordered = value[np.lexsort((value, group_of_value))]
        counts = np.bincount(group_of_value, minlength=num_groups)
        has_values = counts > 0
        first = (np.cumsum(counts) - counts)[has_values, None]
        rank = np.asarray(levels) * (counts[has_values, None] - 1)
        below = np.floor(rank).astype(np.int64)
        above = np.ceil(rank).astype(np.int64)
        low, high = ordered[first + below], ordered[first + above]
        quantiles[has_values, y] = low + (high - low) * (rank - below)
    return quantiles


def _latest_in_season(rows: IntArray, season: int) -> IntArray:
    """Return the last row before the cutoff that lies whole seasons before each of the rows [W, H], [W, H]."""
    return rows - (np.arange(rows.shape[1]) // season + 1) * season


def _fill_from_neighbours(spread: FloatArray) -> FloatArray:
    """Replace NaN in [S, K, Y, Q] by the nearest smaller k's value, or else by the nearest larger's."""
    spread = spread.copy()
    for k in range(1, spread.shape[1]):
        spread[:, k] = np.where(np.isnan(spread[:, k]), spread[:, k - 1], spread[:, k])
    for k in range(spread.shape[1] - 1, 0, -1):
        spread[:, k - 1] = np.where(np.isnan(spread[:, k - 1]), spread[:, k], spread[:, k - 1])
    return spread


def _first_known(panel: Panel, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return row and value of each series' first known target, [S, Y] each; NaN where there is none."""
    rows = np.full((panel.num_series, values.shape[1]), np.nan)
    first = rows.copy()
    series_of_row = panel.series_of_row
    for y in range(values.shape[1]):
        known = np.flatnonzero(~np.isnan(values[:, y]))[::-1]  # the earliest is written last
        series = series_of_row[known]
        rows[series, y] = known - panel.indptr[series]
        first[series, y] = values[known, y]
    return rows, first
