"""LightGBM by quantile: one gradient-boosted model a level, the step ahead among its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import gather_actuals, gather_rows, stack_targets
from fusecast.features.calendar import infer_calendar_features, to_local_times
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from lightgbm import Booster

MAX_TRAINING_ROWS = 200_000
NUM_LAGS = 4
"""Values before the origin, and values at the same position of earlier seasons, that are inputs."""


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """LightGBM with pinball loss. Call :meth:`fit` to train it.

    Inputs of a step: how far ahead it is; the latest values; the values at its position in the last seasons; mean and
    spread of the last season; its calendar; its known columns; the static columns. Values are measured from the mean
    of the last season in units of its spread, so that series of all sizes share one model.
    """

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    rounds: int = 200
    learning_rate: float = 0.05
    leaves: int = 31
    seed: int = 0

    name = "LightGBM"

    def fit(self, panel: Panel, train_end: IntArray, horizon: int) -> FittedBoosting:
        """Train one model a target and level on windows evenly spaced over the first `train_end` [S] rows.

        Raises
        ------
        ConfigError
            When lightgbm is not installed, with the line that installs it.
        """
        try:
            import lightgbm
        except ImportError:
            raise ConfigError.missing_extra("baseline 'lightgbm'", "lightgbm", "boosting") from None
        index = WindowIndex.between(
            lengths=panel.lengths, begin=0, end=train_end, lookback=1, horizon=horizon, min_history=NUM_LAGS
        ).thin(max(1, MAX_TRAINING_ROWS // horizon))
        series, cutoff = index.locate(np.arange(len(index)))
        actual = gather_actuals(panel, series, cutoff, horizon)
        models: dict[tuple[int, float], Booster] = {}
        for y in range(actual.shape[-1]):
            inputs, center, scale = build_inputs(panel, y, series, cutoff, horizon)
            labels = ((actual[..., y] - center[:, None]) / scale[:, None]).ravel()
            known = ~np.isnan(labels)
            data = lightgbm.Dataset(inputs[known], labels[known], free_raw_data=False)
            for level in self.levels:
                options = {
                    "objective": "quantile", "alpha": level, "learning_rate": self.learning_rate,
                    "num_leaves": self.leaves, "verbosity": -1, "seed": self.seed, "deterministic": True,
                    "force_row_wise": True,
                }  # fmt: skip
                models[y, level] = lightgbm.train(options, data, num_boost_round=self.rounds)
        return FittedBoosting(levels=self.levels, models=models)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBoosting:
    """A :class:`~fusecast.inference.forecasts.Predictor` of one model a target and level."""

    levels: tuple[float, ...]
    models: dict[tuple[int, float], Booster] = field(repr=False)

    name = Boosting.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, from the rows before its cutoff and the known columns after it."""
        series, cutoff = index.locate(np.arange(len(index)))
        levels, num_targets = self.levels, len(panel.schema.targets)
        quantiles = np.empty((len(series), index.horizon, num_targets, len(levels)))
        for y in range(num_targets):
            inputs, center, scale = build_inputs(panel, y, series, cutoff, index.horizon)
            for i, level in enumerate(levels):
                forecast = np.asarray(self.models[y, level].predict(inputs)).reshape(len(series), index.horizon)
                quantiles[..., y, i] = forecast * scale[:, None] + center[:, None]
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=levels).sorted()


def build_inputs(
    panel: Panel, y: int, series: IntArray, cutoff: IntArray, horizon: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the inputs [W * H, F] of every step of some windows, and each window's center and scale, [W]."""
    seasons = seasons_for(panel.schema.frequency)
    values = stack_targets(panel)[:, [y]]

    def value_at(rows: IntArray) -> FloatArray:
        return gather_rows(values, panel, series, rows)[..., 0]

    season = value_at(cutoff[:, None] - 1 - np.arange(max(seasons[0], NUM_LAGS)))
    known = ~np.isnan(season)
    count = np.maximum(known.sum(axis=1), 1)
    center = np.where(known, season, 0).sum(axis=1) / count
    spread = np.sqrt((np.where(known, season - center[:, None], 0) ** 2).sum(axis=1) / count)
    scale = np.where(spread > 1e-9 * np.abs(center), spread, np.maximum(np.abs(center), 1.0))

    steps = np.arange(horizon)
    rows = cutoff[:, None] + steps
    columns: list[NDArray[Any]] = [np.broadcast_to(steps, rows.shape)]
    of_window = [(season[:, back] - center) / scale for back in range(NUM_LAGS)] + [center, spread / scale]
    columns += [np.broadcast_to(column[:, None], rows.shape) for column in of_window]
    for length in seasons if seasons != (1,) else ():
        latest = rows - (steps // length + 1) * length
        columns += [(value_at(latest - back * length) - center[:, None]) / scale[:, None] for back in range(NUM_LAGS)]
    times = panel.times_at(np.repeat(series, horizon), rows.ravel())
    local = to_local_times(times, panel.schema.time_zone)
    columns += [feature.codes(local).reshape(rows.shape) for feature in infer_calendar_features(panel.schema.frequency)]
    columns += _covariates(panel, series, rows)
    return np.stack([column.astype(np.float64).ravel() for column in columns], axis=1), center, scale


def _covariates(panel: Panel, series: IntArray, rows: IntArray) -> Sequence[NDArray[Any]]:
    """Return the known columns at rows [W, H] of the series [W], and the static columns, [W, H] each."""
    names = panel.schema.names

    def known(values: NDArray[Any]) -> FloatArray:
        return gather_rows(values[:, None].astype(np.float64), panel, series, rows)[..., 0]

    static: list[NDArray[Any]] = [panel.static_reals[name] for name in names(Role.STATIC, Kind.REAL)]
    static += [panel.static_categories[name] for name in names(Role.STATIC, Kind.CATEGORICAL)]
    return [
        *(known(panel.reals[name]) for name in names(Role.KNOWN, Kind.REAL)),
        *(np.nan_to_num(known(panel.categories[name]), nan=-1) for name in names(Role.KNOWN, Kind.CATEGORICAL)),
        *(np.broadcast_to(values[series][:, None], rows.shape) for values in static),
    ]
