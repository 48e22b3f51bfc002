"""Calibrated: a predictor whose quantiles are shifted by a conformal calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fusecast.calibration.conformal import Conformal
from fusecast.calibration.online import track_shifts
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import actuals
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.predictor import Predictor
from fusecast.windows.window_index import WindowIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(kw_only=True, eq=False)
class Calibrated:
    """A :class:`~fusecast.inference.predictor.Predictor` around another.

    The adaptive method looks at every `conformal.every`-th origin after the calibration span. Each outcome moves the
    shift of its step: up where too many actuals of all series lay above the quantile, down where too few. The shift of
    a forecast follows from the outcomes that lie before its cutoff on the calendar, and from no others, whatever was
    asked before: origins have the same times in all series, from the first end of a calibration span on, and a series
    takes part from its own on.
    """

    predictor: Predictor
    conformal: Conformal
    since: Ints
    """Rows of each series up to the end of the calibration span, [S]; 0 where it has none of that span."""
    lowest: float | None = None
    """Smallest value that the targets can have, which no shift goes below; None where there is no such bound."""
    _panel: Panel | None = field(default=None, repr=False)
    _begin: Ints = field(init=False, repr=False)  # row of each series at the time of origin 0, [S]
    _origins: int = field(default=0, repr=False)  # that have been looked at
    _places: list[int] = field(default_factory=list, repr=False)  # those with an outcome
    _scores: list[Floats] = field(default_factory=list, repr=False)  # theirs, [series, H, Y, Q] each

    @property
    def name(self) -> str:
        """How tables call it."""
        return calibrated_name(self.predictor.name)

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index."""
        forecasts = self.predictor.predict(panel, index)
        if self.conformal.method != "adaptive" or not len(forecasts):
            return self._bounded(self.conformal.apply(panel, forecasts))
        if self._panel is not panel:
            self._start(panel)
        conformal, every, step = self.conformal, self.conformal.every, np.arange(index.horizon)
        passed = forecasts.cutoff - self._begin[forecasts.series]
        # origin i, `every` * i steps after the first, has its outcome of a step known when i * every + step < passed
        known = np.clip(-(-(passed[:, None] - step) // every), 0, None)  # [W, H]
        self._look(panel, index, int(known.max(initial=0)))
        places = np.array(self._places, dtype=np.int64)
        shifts = track_shifts(conformal.shifts, self._scores, conformal.levels, conformal.rate, every, places)
        return self._bounded(conformal.apply(panel, forecasts, shifts[np.searchsorted(places, known), step]))

    def _bounded(self, forecasts: Forecasts) -> Forecasts:
        if self.lowest is None:
            return forecasts
        return replace(forecasts, quantiles=np.maximum(forecasts.quantiles, self.lowest))

    def _start(self, panel: Panel) -> None:
        """Line the series of a panel up on the calendar; where their steps have other phases, the later time counts."""
        offset = panel.clock.first_step_at(np.full(panel.num_series, panel.start.min()), panel.start)
        ended = offset + np.maximum(self.since, 1)  # a forecast needs a row before it
        calibrated = self.since > 0
        first = ended[calibrated] if calibrated.any() else ended
        self._panel, self._begin = panel, int(first.min()) - offset
        self._origins, self._places, self._scores = 0, [], []

    def _look(self, panel: Panel, index: WindowIndex, count: int) -> None:
        """Score what is left of the first `count` origins; each is forecast once a panel."""
        if self._origins >= count:
            return
        every, begin = self.conformal.every, self._begin
        own = -(-(np.maximum(self.since, 1) - begin) // every)  # the first origin of each series
        first = begin + np.maximum(own, self._origins) * every
        last = np.minimum(begin + (count - 1) * every, panel.lengths - index.horizon)
        wide = WindowIndex(
            lookback=index.lookback,
            horizon=index.horizon,
            first_cutoff=first,
            last_cutoff=np.maximum(last, first - 1),
            stride=every,
        )
        made = self.predictor.predict(panel, wide)
        scores = self.conformal.scores(panel, made, actuals(panel, made.series, made.cutoff, made.horizon))
        place = (made.cutoff - begin[made.series]) // every
        order = np.argsort(place, kind="stable")
        places, starts = np.unique(place[order], return_index=True)
        self._origins = count
        self._places += places.tolist()
        self._scores += np.split(scores[order], starts[1:]) if len(places) else []


def calibrated_name(name: str) -> str:
    """How tables call a predictor with its calibration."""
    return f"{name} calibrated"
