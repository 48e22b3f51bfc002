"""Forecasts that cost nothing: the last value, and the value one season ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import take, targets
from fusecast.evaluation.seasonal_error import row_numbers, seasonal_differences, training_rows
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True, kw_only=True)
class SeasonalNaive:
    """Repeat the last season. Call :meth:`fit` to learn how far it tends to be off."""

    season: int
    """Steps after which the series repeats itself; 1 repeats the last value."""
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        if self.season < 1:
            raise ConfigError.not_positive("season", self.season)

    @property
    def name(self) -> str:
        """How tables call it."""
        return "last value" if self.season == 1 else f"seasonal naive {self.season}"

    def fit(self, panel: Panel, train_end: NDArray[np.int64], horizon: int) -> FittedSeasonalNaive:
        """Learn the spread of the seasonal differences from the first `train_end` [S] rows of each series.

        A step ahead that reaches back k seasons gets the empirical quantiles of y[t] - y[t - k * season] over the
        training rows of its series. A series without such a pair borrows those of the nearest smaller k, then the
        nearest larger, then those of all series together; where nobody has one there is no spread.
        """
        reach = (horizon - 1) // self.season + 1
        spread = np.empty((panel.num_series, reach, len(panel.schema.targets), len(self.levels)))
        pooled = np.empty((1, *spread.shape[1:]))
        for seasons in range(1, reach + 1):
            differences = seasonal_differences(panel, train_end, seasons * self.season)
            spread[:, seasons - 1] = quantiles_by_series(differences, panel, self.levels)
            everybody = np.zeros(len(differences), dtype=np.int64)
            pooled[:, seasons - 1] = quantiles_by_owner(differences, everybody, 1, self.levels)
        spread, pooled = _borrow_from_neighbours(spread), _borrow_from_neighbours(pooled)
        spread = np.nan_to_num(np.where(np.isnan(spread), pooled, spread), nan=0.0)
        # The point forecast stays the textbook one, and the levels beside it stay on their side of it.
        level = np.asarray(self.levels)
        spread = np.where(level < 0.5, np.minimum(spread, 0), np.where(level > 0.5, np.maximum(spread, 0), 0))
        values = targets(panel)[training_rows(panel, train_end)]
        known = [column[~np.isnan(column)] for column in values.T]
        typical = np.array([np.median(column) if len(column) else 0.0 for column in known])
        return FittedSeasonalNaive(
            name=self.name, season=self.season, levels=self.levels, spread=spread, typical=typical
        )


def LastValue(levels: Sequence[float] = (0.1, 0.5, 0.9)) -> SeasonalNaive:  # noqa: N802  reads as the type it makes
    """Repeat the last value: the seasonal naive forecast of season 1."""
    return SeasonalNaive(season=1, levels=tuple(levels))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedSeasonalNaive:
    """A :class:`~fusecast.inference.predictor.Predictor` that repeats the last season.

    A missing value is replaced by the one a season earlier, and so on; where a series has none, by its last known
    value; where nothing of it is known at all, by the median of everybody's training values.
    """

    name: str
    season: int
    levels: tuple[float, ...]
    spread: NDArray[np.float64]  # [S, K, Y, Q] added to the point forecast that reaches back k = 1..K seasons
    typical: NDArray[np.float64]  # [Y]

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index; nothing from its cutoff on is looked at."""
        series, cutoff = index.locate(np.arange(len(index)))
        values = targets(panel)
        seasons = np.arange(index.horizon) // self.season + 1
        row = cutoff[:, None] + np.arange(index.horizon) - seasons * self.season
        point = _latest_of_season(values, panel, series, row, self.season)
        last = take(carried_forward(values, panel), panel, series, cutoff[:, None] - 1)
        point = np.where(np.isnan(point), last, point)
        point = np.where(np.isnan(point), self.typical, point)
        reach = np.minimum(seasons, self.spread.shape[1]) - 1
        return Forecasts(
            series=series,
            cutoff=cutoff,
            quantiles=point[..., None] + self.spread[series[:, None], reach],
            levels=self.levels,
        )


def naive_baselines_for(
    panel: Panel, train_end: NDArray[np.int64], horizon: int, levels: Sequence[float]
) -> tuple[FittedSeasonalNaive, ...]:
    """Fit the last value and the seasonal naive of each usual season of the panel's frequency."""
    seasons = sorted({1, *seasons_for(panel.schema.frequency)})
    return tuple(
        SeasonalNaive(season=season, levels=tuple(levels)).fit(panel, train_end, horizon) for season in seasons
    )


def quantiles_by_series(values: NDArray[np.float64], panel: Panel, levels: Sequence[float]) -> NDArray[np.float64]:
    """Give the empirical quantiles of each series' rows, [N, Y] to [S, Y, Q]; see :func:`quantiles_by_owner`."""
    series = np.repeat(np.arange(panel.num_series), panel.lengths)
    return quantiles_by_owner(values, series, panel.num_series, levels)


def quantiles_by_owner(
    values: NDArray[np.float64], owner: NDArray[np.int64], num_owners: int, levels: Sequence[float]
) -> NDArray[np.float64]:
    """Give the empirical quantiles (linear between ranks) of each owner's rows, [R, Y] to [owners, Y, Q].

    `owner` [R] numbers whose each row is. NaN is left out; an owner with nothing else gets NaN.
    """
    result = np.full((num_owners, values.shape[1], len(levels)), np.nan)
    for y in range(values.shape[1]):
        present = ~np.isnan(values[:, y])
        whose, value = owner[present], values[present, y]
        ordered = value[np.lexsort((value, whose))]
        counts = np.bincount(whose, minlength=num_owners)
        some = counts > 0
        first = (np.cumsum(counts) - counts)[some, None]
        rank = np.asarray(levels) * (counts[some, None] - 1)
        below = np.floor(rank).astype(np.int64)
        above = np.ceil(rank).astype(np.int64)
        low, high = ordered[first + below], ordered[first + above]
        result[some, y] = low + (high - low) * (rank - below)
    return result


def _borrow_from_neighbours(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = spread.copy()
    for k in range(1, spread.shape[1]):
        spread[:, k] = np.where(np.isnan(spread[:, k]), spread[:, k - 1], spread[:, k])
    for k in range(spread.shape[1] - 1, 0, -1):
        spread[:, k - 1] = np.where(np.isnan(spread[:, k - 1]), spread[:, k], spread[:, k - 1])
    return spread


def _latest_of_season(
    values: NDArray[np.float64], panel: Panel, series: NDArray[np.int64], row: NDArray[np.int64], season: int
) -> NDArray[np.float64]:
    """Give the values at rows [W, H], stepping back by seasons from those that are missing: [W, H, Y]."""
    found = take(values, panel, series, row)
    if season == 1:
        return found  # what is missing is the last value's business
    window, step, y = np.nonzero(np.isnan(found))
    row = row[window, step] - season
    while True:
        within = row >= 0
        window, step, y, row = window[within], step[within], y[within], row[within]
        if len(row) == 0:
            return found
        value = values[panel.indptr[series[window]] + row, y]
        found[window, step, y] = value
        missing = np.isnan(value)
        window, step, y, row = window[missing], step[missing], y[missing], row[missing] - season


def carried_forward(values: NDArray[np.float64], panel: Panel) -> NDArray[np.float64]:
    """Give the last known value at or before every row of each series, [N, Y]; NaN where there is none."""
    flat = np.arange(len(values))
    first = flat - row_numbers(panel)
    latest = np.maximum.accumulate(np.where(np.isnan(values), -1, flat[:, None]), axis=0)
    known = latest >= first[:, None]
    return np.where(known, np.take_along_axis(values, np.maximum(latest, 0), axis=0), np.nan)
