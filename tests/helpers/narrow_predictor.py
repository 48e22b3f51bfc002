"""A predictor whose intervals are half as wide as they should be, and its calibration."""

from __future__ import annotations

import numpy as np
from scipy import stats

from fusecast.calibration.conformal import Conformal
from fusecast.evaluation.actuals import gather_actuals
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 3


class NarrowPredictor:
    """Predictor of a normal distribution around `mean` that is half as wide as it should be."""

    name = "TFT"

    def __init__(self, mean: float = 0.0, spread: float = 0.5, lowest: float | None = None) -> None:
        self.offsets = mean + spread * stats.norm.ppf(LEVELS)
        self.lowest = None if lowest is None else np.array([lowest])

    def predict(self, panel, index: WindowIndex) -> Forecasts:
        series, cutoff = index.locate(np.arange(len(index)))
        shape = (len(series), index.horizon, 1, len(LEVELS))
        quantiles = np.broadcast_to(self.offsets, shape).copy()
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS, lowest=self.lowest)


def windows(panel, begin: int, end: int, stride: int = 1) -> WindowIndex:
    """Return the windows whose steps lie in rows [begin, end)."""
    return WindowIndex.between(lengths=panel.lengths, begin=begin, end=end, lookback=2, horizon=HORIZON, stride=stride)


def fit_conformal(method: str, panel, predictor, begin: int, end: int, every: int = 1) -> Conformal:
    """Return a calibration of the predictor, fitted on rows [begin, end); all series have the scale 1."""
    forecasts = predictor.predict(panel, windows(panel, begin, end))
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, HORIZON)
    return Conformal.fit(method, panel, forecasts, actual, np.ones((panel.num_series, 1)), every=every)
