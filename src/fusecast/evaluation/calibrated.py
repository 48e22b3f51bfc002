"""Calibrated: a predictor whose quantiles are shifted by a conformal calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.conformal import Conformal
from fusecast.evaluation.predictor import Predictor
from fusecast.evaluation.tracking import track
from fusecast.windows.forecasts import Forecasts
from fusecast.windows.index import WindowIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class Calibrated:
    """A :class:`~fusecast.evaluation.predictor.Predictor` around another.

    The adaptive method looks at every `conformal.every`-th origin after the calibration span. Each outcome moves the
    shift of its step: up where too many actuals of all series lay above the quantile, down where too few. The shift of
    a forecast follows from the outcomes that lie before its cutoff alone, whatever was asked before.
    """

    predictor: Predictor
    conformal: Conformal
    since: Ints
    """Rows of each series up to the end of the calibration span, [S]."""
    lowest: float | None = None
    """Smallest value that the targets can have, which no shift goes below; None where there is no such bound."""
    _scores: list[Floats] = field(default_factory=list, repr=False)  # of one origin each, [S, H, Y, Q]
    _panel: Panel | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.since = np.maximum(self.since, 1)  # a forecast needs a row before it

    @property
    def name(self) -> str:
        """How tables call it."""
        return calibrated_name(self.predictor.name)

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index."""
        forecasts = self.predictor.predict(panel, index)
        if self.conformal.method != "adaptive" or not len(forecasts):
            return self._bounded(self.conformal.apply(panel, forecasts))
        every, step = self.conformal.every, np.arange(index.horizon)
        passed = forecasts.cutoff - self.since[forecasts.series]
        # origin i, `every` * i rows after the span, has its outcome of a step known when i * every + step < passed
        known = np.clip(-(-(passed[:, None] - step) // every), 0, None)  # [W, H]
        shifts = self._track(panel, index, int(known.max(initial=0)))
        return self._bounded(self.conformal.apply(panel, forecasts, shifts[known, step]))

    def _bounded(self, forecasts: Forecasts) -> Forecasts:
        if self.lowest is None:
            return forecasts
        return replace(forecasts, quantiles=np.maximum(forecasts.quantiles, self.lowest))

    def _track(self, panel: Panel, index: WindowIndex, count: int) -> Floats:
        """Give the shifts after 0, 1, ... `count` known outcomes, [count + 1, H, Y, Q]."""
        conformal, scores = self.conformal, self._scores_of(panel, index, count)
        return track(conformal.shifts, scores[:count], conformal.levels, conformal.rate, conformal.every)

    def _scores_of(self, panel: Panel, index: WindowIndex, count: int) -> list[Floats]:
        """Give the scores of the first `count` origins after the span; each is forecast once a panel."""
        if self._panel is not panel:
            self._panel, self._scores = panel, []
        begin = len(self._scores)
        if begin < count:
            every = self.conformal.every
            first = self.since + begin * every
            last = np.minimum(self.since + (count - 1) * every, panel.lengths - index.horizon)
            wide = WindowIndex(
                lookback=index.lookback,
                horizon=index.horizon,
                first_cutoff=first,
                last_cutoff=np.maximum(last, first - 1),
                stride=every,
            )
            made = self.predictor.predict(panel, wide)
            truth = actuals(panel, made.series, made.cutoff, made.horizon)
            found = self.conformal.scores(panel, made, truth)
            grid = np.full((count - begin, panel.num_series, *found.shape[1:]), np.nan)
            grid[(made.cutoff - first[made.series]) // every, made.series] = found
            self._scores += list(grid)
        return self._scores


def calibrated_name(name: str) -> str:
    """How tables call a predictor with its calibration."""
    return f"{name} calibrated"
