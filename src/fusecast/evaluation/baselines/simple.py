"""Baselines by formula: last value, seasonal naive, drift and seasonal mean, with the spread they had in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import ClassVar

import numpy as np

from fusecast.data.arrays import Collector, FloatArray, IntArray, collect, release, row_blocks
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import carry_forward, gather_rows, is_training_row, seasonal_differences, stack_targets
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

SPREAD_WINDOWS = 200  # windows of each series, evenly spaced over its training rows, that the spread is estimated from

MOST_FILES = 200  # in which errors of a large panel are put together at a time


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

    def training_errors(
        self, panel: Panel, train_end: IntArray, horizon: int, stride: int
    ) -> Iterator[tuple[FloatArray, IntArray]]:
        """Yield the errors in training [R, Y] and their series [R]: here of each step ahead, see `spread_index`.

        `stride` are the steps between windows.
        """
        index = WindowIndex.between(
            lengths=panel.lengths,
            begin=0,
            end=train_end,
            lookback=1,
            horizon=horizon,
            min_history=self.min_history,
            stride=stride,
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
        stride = max(1, int(np.max(train_end, initial=0)) // SPREAD_WINDOWS)
        by_series = np.concatenate(
            [
                np.stack(
                    [
                        quantiles_by_group(errors, series, block.num_series, self.levels)
                        for errors, series in self.training_errors(block, train_end[part], horizon, stride)
                    ],
                    axis=1,
                )
                for part, block in panel.blocks()
            ]
        )
        spread = _fill_from_neighbours(by_series) if self.fill_spread else by_series
        if np.isnan(spread).any():
            spread = np.where(np.isnan(spread), self._pool_spread(panel, train_end, horizon, stride), spread)
        spread = np.nan_to_num(spread, nan=0.0)
        # The median stays the textbook point forecast, and the levels on either side of it stay on that side.
        level = np.asarray(self.levels)
        spread = np.where(level < 0.5, np.minimum(spread, 0), np.where(level > 0.5, np.maximum(spread, 0), 0))
        typical = np.array([_find_median(panel, train_end, name) for name in panel.schema.targets])
        return FittedFormula(name=self.name, formula=self, spread=spread, typical=typical)

    def _pool_spread(self, panel: Panel, train_end: IntArray, horizon: int, stride: int) -> FloatArray:
        """Return the quantiles of the errors of all series together, [K, Y, Q]."""
        like, count, pooled = panel.reals[panel.schema.targets[0]], 1 + int(self.spread_index(horizon)[-1]), []
        for begin in range(0, count, MOST_FILES):
            numbers = range(begin, min(begin + MOST_FILES, count))
            with ExitStack() as stack:
                collectors = [stack.enter_context(Collector(like)) for _ in numbers]
                for part, block in panel.blocks():
                    errors = self.training_errors(block, train_end[part], horizon, stride)
                    for collector, (each, _) in zip(collectors, islice(errors, begin, None), strict=False):
                        collector.append(each)
                pooled += [pool_quantiles(each.collected(), self.levels) for each in collectors]
        spread = np.stack(pooled)
        return _fill_from_neighbours(spread[None]).squeeze(axis=0) if self.fill_spread else spread


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
        bounds = (index.first_cutoff, index.last_cutoff)
        parts = [
            self._predict(block, replace(index, first_cutoff=bounds[0][part], last_cutoff=bounds[1][part]), part.start)
            for part, block in panel.blocks()
            if index.counts[part].any()
        ]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return self._predict(panel, index, 0)
        series, cutoff, quantiles = (
            np.concatenate([getattr(each, name) for each in parts]) for name in ("series", "cutoff", "quantiles")
        )
        return replace(parts[0], series=series, cutoff=cutoff, quantiles=quantiles)

    def _predict(self, panel: Panel, index: WindowIndex, first: int) -> Forecasts:
        """Forecast windows of a block of a panel whose series are numbered from `first` on."""
        series, cutoff = index.locate(np.arange(len(index)))
        values = stack_targets(panel)
        point = self.formula.forecast_points(panel, values, series, cutoff[:, None] + np.arange(index.horizon))
        last = gather_rows(carry_forward(values, panel), panel, series, cutoff[:, None] - 1)
        point = np.where(np.isnan(point), last, point)
        point = np.where(np.isnan(point), self.typical, point)
        k = np.minimum(self.formula.spread_index(index.horizon), self.spread.shape[1] - 1)
        series = first + series
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

    def training_errors(
        self,
        panel: Panel,
        train_end: IntArray,
        horizon: int,
        stride: int,  # noqa: ARG002  every row counts
    ) -> Iterator[tuple[FloatArray, IntArray]]:
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


def pool_quantiles(values: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return the empirical quantiles of all rows together, [R, Y] to [Y, Q]; see :func:`quantiles_by_group`."""
    quantiles = np.full((values.shape[1], len(levels)), np.nan)
    for y in range(values.shape[1]):
        ordered = _collect_present((values[rows, y] for rows in row_blocks(len(values))), values)
        if not len(ordered):
            continue
        ordered.sort()
        rank = np.asarray(levels) * (len(ordered) - 1)
        below = np.floor(rank).astype(np.int64)
        low, high = ordered[below], ordered[np.ceil(rank).astype(np.int64)]
        quantiles[y] = low + (high - low) * (rank - below)
        release(ordered, values)
    return quantiles


def _find_median(panel: Panel, train_end: IntArray, target: str) -> float:
    """Return the median of a target in the training rows, 0 where it has no value there."""
    parts = (block.reals[target][is_training_row(block, train_end[part])] for part, block in panel.blocks())
    values = _collect_present(parts, panel.reals[target])
    if not len(values):
        return 0.0
    middle = [(len(values) - 1) // 2, len(values) // 2]
    values.partition(middle)
    return float(values[middle].mean())


def _collect_present(parts: Iterable[FloatArray], like: FloatArray) -> FloatArray:
    """Return values that are not missing, end to end."""
    nothing = np.empty(0)
    return collect(chain([nothing], (part[~np.isnan(part)] for part in parts)), like)


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
