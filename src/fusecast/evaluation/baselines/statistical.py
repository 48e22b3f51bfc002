"""AutoETS and AutoTheta of statsforecast, chosen in training and carried on to each origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import targets
from fusecast.evaluation.baselines.seasonal_naive import carried_forward
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

Floats = NDArray[np.float64]

SEASONS = 30
"""Seasons of history that a model is fitted on: what came long before would cost time and change little."""
SHORTEST = 200
"""Rows of history at least, where there are as many."""


@dataclass(frozen=True, kw_only=True)
class Statistical:
    """A model of statsforecast. Call :meth:`fit` to let it choose its form for each series.

    Raises
    ------
    ConfigError
        When statsforecast is not installed; the line that installs it is given.
    """

    kind: Literal["ets", "theta"]
    season: int
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    @property
    def name(self) -> str:
        """How tables call it."""
        return {"ets": "AutoETS", "theta": "AutoTheta"}[self.kind]

    def fit(self, panel: Panel, train_end: NDArray[np.int64]) -> FittedStatistical:
        """Choose and estimate the model of each series and target on its first `train_end` [S] rows.

        At each origin the chosen model is carried on over the newer rows; its parameters stay. A series that is
        constant, or has fewer than five known values, gets no model, and its last value is repeated.
        """
        try:
            from statsforecast.models import AutoETS, AutoTheta
        except ImportError:
            raise ConfigError.extra_missing(f"baseline {self.kind!r}", "statsforecast", "stats") from None
        make = {"ets": AutoETS, "theta": AutoTheta}[self.kind]
        values = targets(panel)
        models: dict[tuple[int, int], Any] = {}
        begins: dict[tuple[int, int], int] = {}
        for s in range(panel.num_series):
            for y in range(values.shape[1]):
                begins[s, y], past = self.history(values[panel.indptr[s] : panel.indptr[s] + int(train_end[s]), y])
                if len(past) >= max(5, self.season + 2) and np.ptp(past) > 0:
                    models[s, y] = make(season_length=self.season).fit(past)
                elif len(past) >= 5 and np.ptp(past) > 0:
                    models[s, y] = make(season_length=1).fit(past)
        return FittedStatistical(choice=self, models=models, begins=begins)

    def history(self, values: Floats, begin: int | None = None) -> tuple[int, Floats]:
        """Give the row that a model's history begins at, and its values [n] from there on, holes filled.

        Where the `begin` of a fitted model is given, it is carried on from there: the states that it begins with, a
        level and a place in the season, belong to that row and to no other.
        """
        if begin is None:
            begin = max(0, len(values) - max(SHORTEST, SEASONS * self.season))
            known = np.flatnonzero(~np.isnan(values[begin:]))
            begin += int(known[0]) if len(known) else len(values) - begin
        recent = values[begin:]
        latest = np.maximum.accumulate(np.where(np.isnan(recent), -1, np.arange(len(recent))))
        return begin, recent[np.maximum(latest, 0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedStatistical:
    """A :class:`~fusecast.inference.predictor.Predictor` of one model a series and target."""

    choice: Statistical
    models: dict[tuple[int, int], Any]
    begins: dict[tuple[int, int], int]
    """Row of the series that each was fitted from."""

    @property
    def name(self) -> str:
        """How tables call it."""
        return self.choice.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index; nothing from its cutoff on is looked at."""
        series, cutoff = index.locate(np.arange(len(index)))
        values, levels = targets(panel), self.choice.levels
        last = carried_forward(values, panel)[panel.indptr[series] + cutoff - 1]
        shape = (len(series), index.horizon, values.shape[1], len(levels))
        quantiles = np.broadcast_to(np.nan_to_num(last)[:, None, :, None], shape).copy()
        for window, (s, c) in enumerate(zip(series.tolist(), cutoff.tolist(), strict=True)):
            for y in range(values.shape[1]):
                model = self.models.get((s, y))
                known = values[panel.indptr[s] : panel.indptr[s] + c, y]
                _, past = self.choice.history(known, self.begins[s, y])
                if model is not None and len(past) and np.ptp(past) > 0:
                    quantiles[window, :, y] = quantiles_of(model, past, index.horizon, levels)
        made = Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=levels)
        return made.sorted()


def quantiles_of(model: Any, past: Floats, horizon: int, levels: Sequence[float]) -> Floats:
    """Carry a fitted model on over a history [n] and forecast: [H, Q]."""
    shares = sorted({round(100 * abs(1 - 2 * level), 8) for level in levels if level != 0.5})
    made = model.forward(past, h=horizon, level=[_plain(share) for share in shares] or None)
    columns = []
    for level in levels:
        side = "lo" if level < 0.5 else "hi"
        key = "mean" if level == 0.5 else f"{side}-{_plain(round(100 * abs(1 - 2 * level), 8))}"
        columns.append(np.asarray(made[key], dtype=np.float64))
    return np.stack(columns, axis=-1)


def _plain(share: float) -> float | int:
    return int(share) if share == int(share) else share
