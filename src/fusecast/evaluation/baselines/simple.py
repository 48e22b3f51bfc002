"""Baselines that are a formula for a point, with the spread that the formula had in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import actuals, take, targets
from fusecast.evaluation.baselines.seasonal_naive import carried_forward, quantiles_by_owner
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRAINING_WINDOWS = 200
"""Windows of each series, evenly spread over its training rows, that the spread is learned from."""


@dataclass(frozen=True, kw_only=True)
class PointFormula(ABC):
    """A point forecast from a series' own past. Call :meth:`fit` to learn how far it tends to be off."""

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    @property
    @abstractmethod
    def name(self) -> str:
        """How tables call it."""

    @abstractmethod
    def points(self, panel: Panel, values: Floats, series: Ints, cutoff: Ints, horizon: int) -> Floats:
        """Forecast [W, H, Y] from the rows before each cutoff; NaN where there is nothing to forecast from."""

    @property
    def history(self) -> int:
        """Rows that a training window knows at least."""
        return 2

    def fit(self, panel: Panel, train_end: Ints, horizon: int) -> FittedPoints:
        """Learn the spread: the quantiles of the errors of each series and step in training, around their median.

        A series without training windows borrows the quantiles of all others together; without any there is none.
        """
        longest = int(np.max(train_end, initial=0))
        index = WindowIndex.between(
            lengths=panel.lengths,
            begin=0,
            end=train_end,
            lookback=1,
            horizon=horizon,
            min_history=self.history,
            stride=max(1, longest // TRAINING_WINDOWS),
            align="end",
        )
        values, num_series = targets(panel), panel.num_series
        series, cutoff = index.locate(np.arange(len(index)))
        errors = actuals(panel, series, cutoff, horizon, values) - self.points(panel, values, series, cutoff, horizon)
        spread = np.stack(
            [quantiles_by_owner(errors[:, h], series, num_series, self.levels) for h in range(horizon)], axis=1
        )
        pooled = np.stack(
            [quantiles_by_owner(errors[:, h], series * 0, 1, self.levels)[0] for h in range(horizon)], axis=0
        )
        spread = np.nan_to_num(np.where(np.isnan(spread), pooled, spread), nan=0.0)
        # The point forecast stays the textbook one, and the levels beside it stay on their side of it.
        level = np.asarray(self.levels)
        spread = np.where(level < 0.5, np.minimum(spread, 0), np.where(level > 0.5, np.maximum(spread, 0), 0))
        known = [column[~np.isnan(column)] for column in values[_within(panel, train_end)].T]
        typical = np.array([np.median(column) if len(column) else 0.0 for column in known])
        return FittedPoints(formula=self, spread=spread, typical=typical)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPoints:
    """A :class:`~fusecast.inference.predictor.Predictor` of a formula and its spread."""

    formula: PointFormula
    spread: Floats  # [S, H, Y, Q] added to the point
    typical: Floats  # [Y] where nothing of a series is known

    @property
    def name(self) -> str:
        """How tables call it."""
        return self.formula.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index; nothing from its cutoff on is looked at."""
        series, cutoff = index.locate(np.arange(len(index)))
        values = targets(panel)
        point = self.formula.points(panel, values, series, cutoff, index.horizon)
        last = take(carried_forward(values, panel), panel, series, cutoff[:, None] - 1)
        point = np.where(np.isnan(point), last, point)
        point = np.where(np.isnan(point), self.typical, point)
        quantiles = point[..., None] + self.spread[series]
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=self.formula.levels)


@dataclass(frozen=True, kw_only=True)
class Drift(PointFormula):
    """Go on along the line from the first known value to the last (Hyndman, Athanasopoulos 2021, section 5.2)."""

    @property
    def name(self) -> str:
        """How tables call it."""
        return "drift"

    def points(self, panel: Panel, values: Floats, series: Ints, cutoff: Ints, horizon: int) -> Floats:
        """Give last + h * (last - first) / (row of last - row of first), [W, H, Y]."""
        row = np.arange(len(values)) - np.repeat(panel.indptr[:-1], panel.lengths)
        known_row = np.where(np.isnan(values), np.nan, row[:, None].astype(np.float64))
        last_row = take(carried_forward(known_row, panel), panel, series, cutoff[:, None] - 1)[:, 0]
        last = take(carried_forward(values, panel), panel, series, cutoff[:, None] - 1)[:, 0]
        first_row, first = _first_known(panel, values)
        span = last_row - first_row[series]
        slope = np.where(span > 0, (last - first[series]) / np.where(span > 0, span, 1.0), 0.0)
        since = (cutoff[:, None] + np.arange(horizon))[..., None] - last_row[:, None]
        forecast: Floats = last[:, None] + slope[:, None] * since
        return forecast


@dataclass(frozen=True, kw_only=True)
class SeasonalMean(PointFormula):
    """The mean of the values at the same place of the last seasons."""

    season: int
    """Steps of a season; 1 is the mean of the last values."""
    seasons: int = 4
    """How many of them are averaged."""

    def __post_init__(self) -> None:
        for name in ("season", "seasons"):
            if getattr(self, name) < 1:
                raise ConfigError.not_positive(name, getattr(self, name))

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"mean of {self.seasons} values" if self.season == 1 else f"seasonal mean {self.season}"

    @property
    def history(self) -> int:
        """Rows that a training window knows at least."""
        return self.season

    def points(self, panel: Panel, values: Floats, series: Ints, cutoff: Ints, horizon: int) -> Floats:
        """Mean over k of the value k seasons before the step, from the latest that is known on; [W, H, Y]."""
        latest = cutoff[:, None] + np.arange(horizon) - (np.arange(horizon) // self.season + 1) * self.season
        total = np.zeros((len(series), horizon, values.shape[1]))
        count = np.zeros_like(total)
        for back in range(self.seasons):
            found = take(values, panel, series, latest - back * self.season)
            total += np.nan_to_num(found)
            count += ~np.isnan(found)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _first_known(panel: Panel, values: Floats) -> tuple[Floats, Floats]:
    """Row and value of each series' first known target, [S, Y] each; NaN where there is none."""
    rows = np.full((panel.num_series, values.shape[1]), np.nan)
    first = rows.copy()
    owner = np.repeat(np.arange(panel.num_series), panel.lengths)
    for y in range(values.shape[1]):
        known = np.flatnonzero(~np.isnan(values[:, y]))[::-1]  # the earliest is written last
        rows[owner[known], y] = known - panel.indptr[owner[known]]
        first[owner[known], y] = values[known, y]
    return rows, first


def _within(panel: Panel, train_end: Ints) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = np.arange(panel.num_rows) - np.repeat(panel.indptr[:-1], panel.lengths) < np.repeat(
        train_end, panel.lengths
    )
    return rows
