"""LightGBM by quantile: one gradient-boosted model a level, the step ahead among its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import gather_actuals, gather_rows
from fusecast.features.calendar import infer_calendar_features, to_local_times
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from lightgbm import Booster

MAX_TRAINING_ROWS = 200_000
NUM_LAGS = 4  # values before the origin, and values at the same position of earlier seasons, that are inputs
OPTIONS = {
    "objective": "quantile", "learning_rate": 0.05, "num_leaves": 31, "verbosity": -1, "seed": 0, "deterministic": True,
    "force_row_wise": True,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Boosting:
    """A :class:`~fusecast.inference.forecasts.Predictor` of LightGBM models with pinball loss.

    Inputs of a step: how far ahead it is; the latest values; the values at its position in the last seasons; mean and
    spread of the last season; its calendar; its known columns; the static columns. Values are measured from the mean
    of the last season in units of its spread, so that series of all sizes share one model.
    """

    levels: tuple[float, ...]
    models: dict[tuple[int, float], Booster] = field(repr=False)  # one a target and level

    name = "LightGBM"

    @classmethod
    def fit(cls, panel: Panel, train_end: IntArray, horizon: int, levels: tuple[float, ...], rounds: int = 200) -> Self:
        """Train on windows evenly spaced over the first `train_end` [S] rows of each series.

        Raise a ConfigError with the line that installs lightgbm when it is absent.
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
            for level in levels:
                models[y, level] = lightgbm.train({**OPTIONS, "alpha": level}, data, num_boost_round=rounds)
        return cls(levels=levels, models=models)

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, from the rows before its cutoff and the known columns after it."""
        series, cutoff = index.locate(np.arange(len(index)))
        shape = (len(series), index.horizon)
        quantiles = np.empty((*shape, len(panel.schema.targets), len(self.levels)))
        for y in range(len(panel.schema.targets)):
            inputs, center, scale = build_inputs(panel, y, series, cutoff, index.horizon)
            for i, level in enumerate(self.levels):
                forecast = np.asarray(self.models[y, level].predict(inputs)).reshape(shape)
                quantiles[..., y, i] = forecast * scale[:, None] + center[:, None]
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=self.levels).sorted()


def build_inputs(
    panel: Panel, y: int, series: IntArray, cutoff: IntArray, horizon: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the inputs [W * H, F] of every step of some windows, and each window's center and scale, [W]."""
    seasons, names = seasons_for(panel.schema.frequency), panel.schema.names
    steps = np.arange(horizon)
    rows = cutoff[:, None] + steps
    values = panel.reals[panel.schema.targets[y]]

    def gather(column: NDArray[Any], rows: IntArray) -> FloatArray:
        return gather_rows(column[:, None].astype(np.float64), panel, series, rows)[..., 0]

    season = gather(values, cutoff[:, None] - 1 - np.arange(max(seasons[0], NUM_LAGS)))
    known = ~np.isnan(season)
    count = np.maximum(known.sum(axis=1), 1)
    center = np.where(known, season, 0).sum(axis=1) / count
    spread = np.sqrt((np.where(known, season - center[:, None], 0) ** 2).sum(axis=1) / count)
    scale = np.where(spread > 1e-9 * np.abs(center), spread, np.maximum(np.abs(center), 1.0))

    columns: list[NDArray[Any]] = [steps[None]]
    columns += [((season[:, back] - center) / scale)[:, None] for back in range(NUM_LAGS)]
    columns += [center[:, None], (spread / scale)[:, None]]
    for length in seasons if seasons != (1,) else ():
        latest = rows - (steps // length + 1) * length
        columns += [
            (gather(values, latest - back * length) - center[:, None]) / scale[:, None] for back in range(NUM_LAGS)
        ]
    times = panel.times_at(np.repeat(series, horizon), rows.ravel())
    local = to_local_times(times, panel.schema.time_zone)
    columns += [feature.codes(local).reshape(rows.shape) for feature in infer_calendar_features(panel.schema.frequency)]
    columns += [gather(panel.reals[name], rows) for name in names(Role.KNOWN, Kind.REAL)]
    for name in names(Role.KNOWN, Kind.CATEGORICAL):
        columns.append(np.nan_to_num(gather(panel.categories[name], rows), nan=-1))
    columns += [panel.static_reals[name][series][:, None] for name in names(Role.STATIC, Kind.REAL)]
    columns += [panel.static_categories[name][series][:, None] for name in names(Role.STATIC, Kind.CATEGORICAL)]
    inputs = [np.broadcast_to(column, rows.shape).astype(np.float64).ravel() for column in columns]
    return np.stack(inputs, axis=1), center, scale
