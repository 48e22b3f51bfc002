"""Calibrated: a predictor whose quantiles are shifted by a conformal calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.conformal import FEWEST, Conformal, conformal_quantiles
from fusecast.evaluation.predictor import Predictor
from fusecast.windows.forecasts import Forecasts
from fusecast.windows.index import WindowIndex

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrated:
    """A :class:`~fusecast.evaluation.predictor.Predictor` around another.

    With the adaptive method, the shifts of an origin come from the `memory` origins before it whose outcomes are
    known by then, of all series of the index: for the step h ahead those that lie h or more steps back. They follow
    from the rows before the cutoff alone, whatever was asked before.
    """

    predictor: Predictor
    conformal: Conformal
    trained: NDArray[np.int64]
    """Rows of each series that the model was trained on, [S]: outcomes among them teach nothing."""

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.predictor.name} calibrated"

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index."""
        if self.conformal.method != "adaptive":
            return self.conformal.apply(panel, self.predictor.predict(panel, index))
        busy = np.flatnonzero(index.counts)
        back = self.conformal.memory + index.horizon
        span = int(index.counts.max(initial=0) - 1) * index.stride + 1  # origins of the longest, a step apart
        first = np.minimum(np.maximum(index.first_cutoff - back, np.maximum(self.trained, 1)), index.first_cutoff)
        wide = replace(index, first_cutoff=first, last_cutoff=np.maximum(index.last_cutoff, first - 1), stride=1)
        wide = wide.subset(busy)
        known = self.predictor.predict(panel, wide)
        truth = actuals(panel, known.series, known.cutoff, known.horizon)
        rows = known.cutoff[:, None] + np.arange(known.horizon)
        truth[rows < self.trained[known.series][:, None]] = np.nan
        scores = self.conformal.scores(panel, known, truth)
        # [origin, series, H, Y, Q], origins counted from `back` steps before each series' first
        grid = np.full((back + span, len(busy), *scores.shape[1:]), np.nan)
        column = np.searchsorted(busy, known.series)
        origin = known.cutoff - index.first_cutoff[known.series] + back
        grid[origin, column] = scores
        shifts = self._shifts(grid, back, index.stride)
        asked = (origin >= back) & ((origin - back) % index.stride == 0)
        return self.conformal.apply(panel, known.take(asked), shifts[(origin[asked] - back) // index.stride])

    def _shifts(self, grid: Floats, back: int, stride: int) -> Floats:
        """Learn the shifts of each origin, [K, H, Y, Q], from scores [origin, S, H, Y, Q]."""
        conformal, horizon = self.conformal, grid.shape[2]
        origins = range(back, len(grid), stride)
        shifts = np.empty((len(origins), *grid.shape[2:]))
        for number, origin in enumerate(origins):
            for step in range(horizon):
                end = origin - step  # the first that ends too late: its step lies at the origin or after it
                pool = grid[max(0, end - conformal.memory) : end, :, step].reshape(-1, *grid.shape[3:])
                enough = (~np.isnan(pool[..., 0])).sum(axis=0) >= FEWEST
                learned = conformal_quantiles(pool, conformal.levels)
                shifts[number, step] = np.where(enough[:, None], learned, conformal.shifts[step])
        return shifts
