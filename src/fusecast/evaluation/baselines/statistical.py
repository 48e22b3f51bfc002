"""AutoETS and AutoTheta of statsforecast, selected in training and updated at each origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import carry_forward, stack_targets
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

HISTORY_SEASONS = 30
"""Seasons of history that a model is fitted on: longer histories cost time and change little."""
MIN_HISTORY_ROWS = 200
"""Rows of history at least, where there are as many."""


class StatsforecastModel(Protocol):
    """What is used of a fitted model of statsforecast."""

    def forward(self, y: FloatArray, h: int, level: list[float] | None) -> Mapping[str, FloatArray]:
        """Return the forecasts of `h` steps after a history: ``mean``, and ``lo-<level>``, ``hi-<level>``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Statistical:
    """A model of statsforecast. Call :meth:`fit` to select its form for each series."""

    kind: Literal["ets", "theta"]
    season: int
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    @property
    def name(self) -> str:
        """Name in tables of scores."""
        return {"ets": "AutoETS", "theta": "AutoTheta"}[self.kind]

    def fit(self, panel: Panel, train_end: IntArray) -> FittedStatistical:
        """Select and estimate the model of each series and target on its first `train_end` [S] rows.

        At each origin the selected model is updated with the newer rows; its parameters stay. A series that is
        constant, or has fewer than five known values, has no model, and its last value is repeated.

        Raises
        ------
        ConfigError
            When statsforecast is not installed, with the line that installs it.
        """
        try:
            from statsforecast.models import AutoETS, AutoTheta
        except ImportError:
            raise ConfigError.missing_extra(f"baseline {self.kind!r}", "statsforecast", "stats") from None
        model_class = {"ets": AutoETS, "theta": AutoTheta}[self.kind]
        values = stack_targets(panel)
        models: dict[tuple[int, int], StatsforecastModel] = {}
        begins: dict[tuple[int, int], int] = {}
        for s in range(panel.num_series):
            for y in range(values.shape[1]):
                begins[s, y], past = self.history(values[panel.indptr[s] : panel.indptr[s] + int(train_end[s]), y])
                if len(past) >= 5 and np.ptp(past) > 0:
                    season = self.season if len(past) >= self.season + 2 else 1
                    models[s, y] = model_class(season_length=season).fit(past)
        return FittedStatistical(settings=self, models=models, begins=begins)

    def history(self, values: FloatArray, begin: int | None = None) -> tuple[int, FloatArray]:
        """Return the row that a model's history begins at, and its values [n] from there on, holes filled.

        With the `begin` of a fitted model, its history is continued: the states that it begins with, a level and a
        position in the season, belong to that row and to no other.
        """
        if begin is None:
            begin = max(0, len(values) - max(MIN_HISTORY_ROWS, HISTORY_SEASONS * self.season))
            known = np.flatnonzero(~np.isnan(values[begin:]))
            begin += int(known[0]) if len(known) else len(values) - begin
        recent = values[begin:]
        latest = np.maximum.accumulate(np.where(np.isnan(recent), -1, np.arange(len(recent))))
        return begin, recent[np.maximum(latest, 0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedStatistical:
    """A :class:`~fusecast.inference.forecasts.Predictor` of one model a series and target."""

    settings: Statistical
    models: dict[tuple[int, int], StatsforecastModel] = field(repr=False)
    begins: dict[tuple[int, int], int] = field(repr=False)
    """Row of the series that each was fitted from."""

    @property
    def name(self) -> str:
        """Name in tables of scores."""
        return self.settings.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, from the rows before its cutoff alone."""
        series, cutoff = index.locate(np.arange(len(index)))
        values, levels = stack_targets(panel), self.settings.levels
        last = carry_forward(values, panel)[panel.indptr[series] + cutoff - 1]
        shape = (len(series), index.horizon, values.shape[1], len(levels))
        quantiles = np.broadcast_to(np.nan_to_num(last)[:, None, :, None], shape).copy()
        for window, (s, c) in enumerate(zip(series.tolist(), cutoff.tolist(), strict=True)):
            for y in range(values.shape[1]):
                model = self.models.get((s, y))
                known = values[panel.indptr[s] : panel.indptr[s] + c, y]
                _, past = self.settings.history(known, self.begins[s, y])
                if model is not None and len(past) and np.ptp(past) > 0:
                    quantiles[window, :, y] = _forecast_quantiles(model, past, index.horizon, levels)
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=levels).sorted()


def _forecast_quantiles(
    model: StatsforecastModel, past: FloatArray, horizon: int, levels: Sequence[float]
) -> FloatArray:
    """Update a fitted model with a history [n] and return its forecast, [H, Q]; the mean is that of level 0.5."""
    shares = [_nominal_share(level) for level in levels]
    forecast = model.forward(past, h=horizon, level=sorted({share for share in shares if share}) or None)
    columns = []
    for level, share in zip(levels, shares, strict=True):
        key = "mean" if level == 0.5 else f"{'lo' if level < 0.5 else 'hi'}-{share}"
        columns.append(np.asarray(forecast[key], dtype=np.float64))
    return np.stack(columns, axis=-1)


def _nominal_share(level: float) -> float | int:
    """Return the share of the central interval that a level bounds, in percent as statsforecast writes it."""
    share = round(100 * abs(1 - 2 * level), 8)
    return int(share) if share == int(share) else share
