"""A model whose intervals are half as wide as they should be, and its calibration."""

from __future__ import annotations

import numpy as np
from scipy import stats

from fusecast.calibration.conformal import Conformal
from fusecast.evaluation.actuals import actuals
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 3


class Narrow:
    """Forecasts a normal distribution around `mean` that is half as wide as it should be."""

    name = "TFT"

    def __init__(self, mean: float = 0.0, spread: float = 0.5) -> None:
        self.offsets = mean + spread * stats.norm.ppf(LEVELS)

    def predict(self, panel, index: WindowIndex) -> Forecasts:
        series, cutoff = index.locate(np.arange(len(index)))
        shape = (len(series), index.horizon, 1, len(LEVELS))
        return Forecasts(
            series=series, cutoff=cutoff, quantiles=np.broadcast_to(self.offsets, shape).copy(), levels=LEVELS
        )


def windows(panel, begin: int, end: int, stride: int = 1) -> WindowIndex:
    return WindowIndex.between(
        lengths=panel.lengths, begin=begin, end=end, lookback=2, horizon=HORIZON, stride=stride
    )  # fmt: skip


def fitted(method: str, panel, predictor, begin: int, end: int, every: int = 1) -> Conformal:
    made = predictor.predict(panel, windows(panel, begin, end))
    truth = actuals(panel, made.series, made.cutoff, HORIZON)
    return Conformal.fit(method, panel, made, truth, np.ones((panel.num_series, 1)), every=every)
