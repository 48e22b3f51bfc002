"""CalibratedPredictor: a predictor whose quantiles are shifted by a conformal calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fusecast.calibration.conformal import Conformal
from fusecast.calibration.online import track_shifts
from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.evaluation.actuals import gather_actuals
from fusecast.inference.forecasts import Forecasts, Predictor
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.windows.window_index import WindowIndex

MAX_SERIES = 2_000
"""Series, evenly spread, whose outcomes `adaptive` follows at most: the share of so many is known to one point."""


@dataclass(kw_only=True, eq=False)
class CalibratedPredictor:
    """A :class:`~fusecast.inference.forecasts.Predictor` around another.

    The adaptive method scores every `conformal.every`-th origin after the calibration span. Each outcome moves the
    shift of its step: up where too many actuals of all series lay above the quantile, down where too few. The shift of
    a forecast follows from the outcomes that lie before its cutoff on the calendar, and from no others, whatever was
    forecast before: origins have the same times in all series, from the first end of a calibration span on, and a
    series takes part from the end of its span on.
    """

    predictor: Predictor
    name: str = NetworkPredictor.name  # in tables of scores
    conformal: Conformal
    since: IntArray = field(repr=False)  # rows of each series up to the end of the calibration span, [S]; 0 for none
    _panel: Panel | None = field(default=None, init=False, repr=False)
    _first_cutoff: IntArray = field(init=False, repr=False)  # row of each series at the time of origin 0, [S]
    _num_origins: int = field(default=0, init=False, repr=False)  # that were forecast
    _origins: list[int] = field(default_factory=list, init=False, repr=False)  # numbers of those with an outcome
    _scores: list[FloatArray] = field(default_factory=list, init=False, repr=False)  # theirs, [series, H, Y, Q] each

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index."""
        adaptive = self.conformal.method == "adaptive" and len(index) > 0
        shifts = self.adaptive_shifts(panel, index) if adaptive else None
        calibrated = self.conformal.apply(panel, self.predictor.predict(panel, index), shifts)
        return calibrated.require_finite(panel.names)

    def adaptive_shifts(self, panel: Panel, index: WindowIndex) -> FloatArray:
        """Return the shifts of each window, [W, H, Y, Q], by the outcomes known at its cutoff."""
        if self._panel is not panel:
            self._align_series(panel)
        conformal, every, step = self.conformal, self.conformal.every, np.arange(index.horizon)
        series, cutoff = index.locate(np.arange(len(index)))
        passed = cutoff - self._first_cutoff[series]
        # origin i, `every` * i steps after the first, has its outcome of a step known when i * every + step < passed
        known = np.clip(_ceil_divide(passed[:, None] - step, every), 0, None)  # [W, H]
        self._score_origins(panel, index, int(known.max(initial=0)))
        origins = np.array(self._origins, dtype=np.int64)
        shifts = track_shifts(
            conformal.shifts,
            self._scores,
            conformal.levels,
            conformal.rate,
            every,
            origins,
            shift_median=conformal.shift_median,
        )
        return shifts[np.searchsorted(origins, known), step]

    def _align_series(self, panel: Panel) -> None:
        """Find the row of each series at the time of origin 0; where their steps have other phases, the next row."""
        offset = panel.time_grid.first_step_at(np.full(panel.num_series, panel.start.min()), panel.start)
        ended = offset + np.maximum(self.since, 1)  # a forecast needs a row before it
        calibrated = self.since > 0
        first = ended[calibrated] if calibrated.any() else ended
        self._panel, self._first_cutoff = panel, int(first.min()) - offset
        self._num_origins, self._origins, self._scores = 0, [], []

    def _score_origins(self, panel: Panel, index: WindowIndex, count: int) -> None:
        """Forecast and score those of the first `count` origins that were not yet; each is forecast once a panel."""
        if self._num_origins >= count:
            return
        every, first_cutoff = self.conformal.every, self._first_cutoff
        first_origin = _ceil_divide(np.maximum(self.since, 1) - first_cutoff, every)  # of each series
        first = first_cutoff + np.maximum(first_origin, self._num_origins) * every
        last = np.minimum(first_cutoff + (count - 1) * every, panel.lengths - index.horizon)
        origins_index = replace(index, first_cutoff=first, last_cutoff=np.maximum(last, first - 1), stride=every)
        if panel.num_series > MAX_SERIES:
            origins_index = origins_index.subset(np.linspace(0, panel.num_series - 1, MAX_SERIES).astype(np.int64))
        forecasts = self.predictor.predict(panel, origins_index)
        actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon)
        scores = self.conformal.compute_scores(panel, forecasts, actual)
        origin = (forecasts.cutoff - first_cutoff[forecasts.series]) // every
        order = np.argsort(origin, kind="stable")
        origins, starts = np.unique(origin[order], return_index=True)
        self._num_origins = count
        self._origins += origins.tolist()
        self._scores += np.split(scores[order], starts[1:]) if len(origins) else []


def raw_name(name: str) -> str:
    """Return the name in tables of scores of a predictor without its calibration."""
    return f"{name} raw"


def _ceil_divide(numerator: IntArray, denominator: int) -> IntArray:
    return -(-numerator // denominator)
