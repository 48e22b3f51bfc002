"""AutoETS and AutoTheta of statsforecast, selected in training and updated at each origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import carry_forward, stack_targets
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

HISTORY_SEASONS = 30  # seasons of history that a model is fitted on: longer histories cost time and change little
MIN_HISTORY_ROWS = 200  # rows of history at least, where there are as many
MODELS = {"ets": "AutoETS", "theta": "AutoTheta"}


class StatsforecastModel(Protocol):
    """What is used of a fitted model of statsforecast."""

    def forward(self, y: FloatArray, h: int, level: list[float] | None) -> Mapping[str, FloatArray]:
        """Return the forecasts of `h` steps after a history: ``mean``, and ``lo-<level>``, ``hi-<level>``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistical:
    """A :class:`~fusecast.inference.forecasts.Predictor` of one model of statsforecast a series and target.

    At each origin the selected model is updated with the newer rows; its parameters stay. A series that is constant,
    or has fewer than five known values, has no model, and its last value is repeated.
    """

    name: str
    season: int
    levels: tuple[float, ...]
    models: dict[tuple[int, int], tuple[StatsforecastModel, int]] = field(repr=False)
    """Model of each series and target, and the row of the series that it was fitted from."""

    @classmethod
    def fit(
        cls, kind: Literal["ets", "theta"], panel: Panel, train_end: IntArray, season: int, levels: tuple[float, ...]
    ) -> Self:
        """Select and estimate the model of each series and target on its first `train_end` [S] rows.

        Raise a ConfigError with the line that installs statsforecast when it is absent.
        """
        try:
            from statsforecast import models as library
        except ImportError:
            raise ConfigError.missing_extra(f"baseline {kind!r}", "statsforecast", "stats") from None
        model_class = getattr(library, MODELS[kind])
        values = stack_targets(panel)
        models: dict[tuple[int, int], tuple[StatsforecastModel, int]] = {}
        for s in range(panel.num_series):
            for y in range(values.shape[1]):
                known = values[panel.indptr[s] : panel.indptr[s] + int(train_end[s]), y]
                begin, past = select_history(known, season)
                if len(past) >= 5 and np.ptp(past) > 0:
                    length = season if len(past) >= season + 2 else 1
                    models[s, y] = model_class(season_length=length).fit(past), begin
        return cls(name=MODELS[kind], season=season, levels=levels, models=models)

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, from the rows before its cutoff alone."""
        series, cutoff = index.locate(np.arange(len(index)))
        values = stack_targets(panel)
        last = carry_forward(values, panel)[panel.indptr[series] + cutoff - 1]
        shape = (len(series), index.horizon, values.shape[1], len(self.levels))
        quantiles = np.broadcast_to(np.nan_to_num(last)[:, None, :, None], shape).copy()
        for window, (s, c) in enumerate(zip(series.tolist(), cutoff.tolist(), strict=True)):
            for y in (y for y in range(values.shape[1]) if (s, y) in self.models):
                model, begin = self.models[s, y]
                _, past = select_history(values[panel.indptr[s] : panel.indptr[s] + c, y], self.season, begin)
                if len(past) and np.ptp(past) > 0:
                    quantiles[window, :, y] = _forecast_quantiles(model, past, index.horizon, self.levels)
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=self.levels).sorted()


def select_history(values: FloatArray, season: int, begin: int | None = None) -> tuple[int, FloatArray]:
    """Return the row that a model's history begins at, and its values [n] from there on, holes filled.

    With the `begin` of a fitted model, its history is continued: the states that it begins with, a level and a
    position in the season, belong to that row and to no other.
    """
    if begin is None:
        begin = max(0, len(values) - max(MIN_HISTORY_ROWS, HISTORY_SEASONS * season))
        known = np.flatnonzero(~np.isnan(values[begin:]))
        begin += int(known[0]) if len(known) else len(values) - begin
    recent = values[begin:]
    latest = np.maximum.accumulate(np.where(np.isnan(recent), -1, np.arange(len(recent))))
    return begin, recent[np.maximum(latest, 0)]


def _forecast_quantiles(
    model: StatsforecastModel, past: FloatArray, horizon: int, levels: Sequence[float]
) -> FloatArray:
    """Update a fitted model with a history [n] and return its forecast, [H, Q]; the mean is that of level 0.5."""
    percents = [round(100 * abs(1 - 2 * level), 8) for level in levels]  # of the central interval that a level bounds
    shares = [int(percent) if percent == int(percent) else percent for percent in percents]  # as statsforecast has them
    forecast = model.forward(past, h=horizon, level=sorted({share for share in shares if share}) or None)
    signs = ["lo" if level < 0.5 else "hi" for level in levels]
    keys = [f"{sign}-{share}" if share else "mean" for sign, share in zip(signs, shares, strict=True)]
    return np.stack([np.asarray(forecast[key], dtype=np.float64) for key in keys], axis=-1)
