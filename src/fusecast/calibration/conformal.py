"""Conformal calibration: shift quantiles so that as many actuals lie below them as their levels say.

Every level is shifted by itself (both tails of an interval are then right, not their sum alone), for each step ahead
as far as the outcomes tell the steps apart (:mod:`fusecast.calibration.step_shifts`). The shift is the conformal
quantile of how far actuals lay above the forecasts, over windows that the model was not trained on:

- ``cqr``: conformalised quantile regression (Romano, Patterson, Candes 2019, asymmetric form), in units of the
  window's own interval width (Sesia, Candes 2020): calm stays narrow, wild stays wide
- ``split``: split conformal prediction (Lei et al. 2018) around the median, in units of the series' usual seasonal
  change: the spread of the model itself is not used
- ``adaptive``: begins as ``cqr`` and goes on learning from every outcome after the calibration span, as adaptive
  conformal inference does (Gibbs, Candes 2021; here the shift itself is tracked, as in Angelopoulos, Candes, Tibshirani
  2023): it follows drift, and needs the recent past of the series to forecast from. How fast it follows is chosen by
  replaying the calibration span (:mod:`fusecast.calibration.online`)
- ``auto``: whichever of the last two suits the span, see :func:`auto_method`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusecast.calibration.online import RATE, rate_by_replay
from fusecast.calibration.step_shifts import shifts_by_step
from fusecast.data.panel import Panel
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.evaluation.metrics import median_of
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.quantiles import at_levels

Floats = NDArray[np.float64]

METHODS = ("cqr", "split", "adaptive")
AUTO = "auto"
FEWEST = 20
FLOOR = 0.01
"""Part of a series' usual change that is added to the width of its intervals, so that none is a unit of zero."""


def auto_method(origins: int, horizon: int) -> str:
    """Choose between ``adaptive`` and ``split`` by the length of the calibration span.

    Where all its forecasts overlap (fewer origins than steps ahead) the span is one stretch of time, that tells nothing
    of how the network's own spread follows calm and wild times; then the median and the usual change of the series,
    which all their training rows have shown, are the surer ground. docs/calibration.md has the figures.
    """
    return "split" if origins < horizon else "adaptive"


@dataclass(frozen=True, kw_only=True, eq=False)
class Conformal:
    """A fitted calibration; plain numbers, to and from JSON."""

    method: str
    levels: tuple[float, ...]
    shifts: Floats  # [H, Y, Q] in units of the window
    scales: Mapping[str, tuple[float, ...]]  # series by name -> usual seasonal change of each target
    usual: tuple[float, ...]  # the same, for series that are not among them
    windows: int  # that it was learned from
    every: int = 1  # `adaptive` learns from every so many-th origin
    rate: float = RATE  # and moves a shift by so much of its unit for each outcome

    @classmethod
    def fit(
        cls, method: str, panel: Panel, forecasts: Forecasts, actual: Floats, scale: Floats, every: int = 1
    ) -> Self:
        """Learn the shifts.

        Parameters
        ----------
        forecasts, actual
            Of windows after the training span, and what happened [W, H, Y], NaN where missing.
        scale
            Usual seasonal change of each series, [S, Y]; NaN where it is not known.
        every
            Steps between the origins that ``adaptive`` learns from.

        Raises
        ------
        ConfigError
            When there is no such method.
        DataError
            When fewer than twenty actuals are known at some step.
        """
        if method not in (AUTO, *METHODS):
            raise ConfigError.not_one_of("method", method, (AUTO, *METHODS))
        last = np.zeros(panel.num_series, dtype=np.int64)
        np.maximum.at(last, forecasts.series, forecasts.cutoff)
        back = last[forecasts.series] - forecasts.cutoff
        if method == AUTO:
            method = auto_method(int(back.max(initial=0)) + 1, forecasts.horizon)
        known = np.where(np.isfinite(scale) & (scale > 0), scale, np.nan)
        usual = [
            float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else 1.0 for column in known.T
        ]
        filled = np.where(np.isnan(known), usual, known)
        names = [str(name) for name in panel.ids.tolist()]
        made = cls(
            method=method,
            levels=forecasts.levels,
            shifts=np.zeros((forecasts.horizon, actual.shape[-1], len(forecasts.levels))),
            scales={name: tuple(row) for name, row in zip(names, filled.tolist(), strict=True)},
            usual=tuple(usual),
            windows=len(forecasts),
            every=every,
        )
        scores = made.scores(panel, forecasts, actual)
        fewest = int((~np.isnan(scores[..., 0])).sum(axis=0).min(initial=len(scores)))
        if fewest < FEWEST:
            raise DataError.too_few_to_calibrate(fewest, FEWEST)
        made.shifts[:] = shifts_by_step(scores, forecasts.levels, back)
        if method == "adaptive":
            made = replace(made, rate=rate_by_replay(scores, forecasts.levels, back, every))
        return made

    def scores(self, panel: Panel, forecasts: Forecasts, actual: Floats) -> Floats:
        """How far actuals lay above each quantile (split: above the median), in units of the window, [W, H, Y, Q]."""
        base = self._base(forecasts)
        return (actual[..., None] - base) / self._unit(panel, forecasts)[..., None]

    def apply(self, panel: Panel, forecasts: Forecasts, shifts: Floats | None = None) -> Forecasts:
        """Shift forecasts; quantiles still rise with their levels.

        Parameters
        ----------
        shifts
            [W, H, Y, Q] in units of the window; None takes those learned.
        """
        if forecasts.levels != self.levels:
            forecasts = at_levels(forecasts, self.levels)
        moved = (
            self._base(forecasts)
            + (self.shifts if shifts is None else shifts) * self._unit(panel, forecasts)[..., None]
        )
        made = Forecasts(series=forecasts.series, cutoff=forecasts.cutoff, quantiles=moved, levels=self.levels)
        return made.sorted()

    def _base(self, forecasts: Forecasts) -> Floats:
        if self.method != "split":
            return forecasts.quantiles
        return np.repeat(median_of(forecasts.quantiles, forecasts.levels)[..., None], len(self.levels), axis=-1)

    def _unit(self, panel: Panel, forecasts: Forecasts) -> Floats:
        """What a shift of 1 is in the units of the data, [W, H, Y]; never 0."""
        table = np.array([self.scales.get(str(name), self.usual) for name in panel.ids.tolist()])
        scale = table[forecasts.series][:, None]
        if self.method == "split" or len(self.levels) == 1:
            return np.broadcast_to(scale, forecasts.quantiles.shape[:3])
        unit: Floats = forecasts.quantiles[..., -1] - forecasts.quantiles[..., 0] + FLOOR * scale
        return unit

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "method": self.method,
            "levels": list(self.levels),
            "shifts": self.shifts.tolist(),
            "scales": {name: list(row) for name, row in self.scales.items()},
            "usual": list(self.usual),
            "windows": self.windows,
            "every": self.every,
            "rate": self.rate,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ArtifactError
            When the values are damaged.
        """
        try:
            made = cls(
                method=values["method"],
                levels=tuple(values["levels"]),
                shifts=np.asarray(values["shifts"], dtype=np.float64),
                scales={name: tuple(row) for name, row in values["scales"].items()},
                usual=tuple(values["usual"]),
                windows=int(values["windows"]),
                every=int(values["every"]),
                rate=float(values["rate"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError.unreadable("the calibration", f"{type(error).__name__}: {error}") from None
        if made.method not in METHODS or made.shifts.ndim != 3 or made.shifts.shape[-1] != len(made.levels):
            raise ArtifactError.unreadable("the calibration", "its parts do not fit together")
        return made
