"""Conformal calibration: shift quantiles so that as many actuals lie below them as their levels state.

Every level is shifted alone (both tails of an interval are then right, not their sum alone), for each step ahead
as far as the outcomes distinguish the steps (:mod:`fusecast.calibration.online`). The shift is the conformal
quantile of how far actuals lay above the forecasts, over windows that the model was not trained on:

- ``cqr``: conformalised quantile regression (Romano, Patterson, Candes 2019, asymmetric form), in units of the
  window's own interval width (Sesia, Candes 2020): narrow intervals stay narrow, wide ones wide
- ``split``: split conformal prediction (Lei et al. 2018) around the median, in units of the series' usual seasonal
  change: the spread of the model itself is not used
- ``adaptive``: starts as ``cqr``, less the shift of the median, and is updated with every outcome after the
  calibration span, as adaptive conformal inference is (Gibbs, Candes 2021; here the shift itself is tracked, as in
  Angelopoulos, Candes, Tibshirani 2023): it follows drift, and needs the recent past of the series to forecast from.
  The median stays that of the model: what it missed over one stretch of time is no guide to the next. Its rate is
  chosen by replaying the calibration span
- ``auto``: ``adaptive``, or ``cqr`` where all forecasts of the calibration span overlap (fewer origins than steps
  ahead): such a span is one stretch of time, which has no later outcomes to adapt to. docs/calibration.md has figures

Where outcomes are too few to learn from, ``auto`` is ``adaptive``, which then starts with intervals that are wider than
those of the networks by a fixed part: what has learned from so little has too narrow ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np

from fusecast.calibration.online import DEFAULT_RATE, choose_rate, shifts_by_step, without_location
from fusecast.data.arrays import FloatArray
from fusecast.data.panel import Panel
from fusecast.display.card import build_card
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.errors.base import format_count, shorten
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.quantiles import compute_median
from fusecast.io.documents import check_values, take
from fusecast.model.config import validate_quantile_levels

ConformalMethod = Literal["cqr", "split", "adaptive"]
CalibrationMethod = Literal["auto", "cqr", "split", "adaptive"]

MIN_ACTUALS = 20  # known actuals at each step ahead that a calibration needs
WIDENING = 0.25  # part by which intervals are wider where actuals are fewer: see docs/calibration.md
MIN_WIDTH = 0.01  # part of a series' usual change that widens its intervals, so that the unit is never zero


@dataclass(frozen=True, kw_only=True, eq=False)
class Conformal:
    """A fitted calibration; plain numbers, to and from JSON."""

    method: ConformalMethod  # what is shifted, and when
    levels: tuple[float, ...]  # quantile levels, Q
    shifts: FloatArray = field(repr=False)  # [H, Y, Q] in units of the window
    scales: Mapping[str, tuple[float, ...]] = field(repr=False)  # series -> usual seasonal change of each target
    usual: tuple[float, ...]  # the same, for series that are not among them
    windows: int  # that it was fitted on; 0 where they were too few
    every: int = 1  # `adaptive` is updated with every so many-th origin
    rate: float = DEFAULT_RATE  # and moves a shift by so much of its unit for each outcome
    shift_median: bool = False  # whether that of the median moves too, as it did in earlier versions

    def _repr_html_(self) -> str:
        facts = {
            "method": self.method,
            "levels": ", ".join(f"{level:g}" for level in self.levels),
            "basis": describe_basis(self.windows),
        }
        if self.method == "adaptive":
            facts["updated"] = f"every {format_count(self.every, 'step')}, at a rate of {self.rate:g}"
        return build_card("Calibration", facts)

    @classmethod
    def fit(
        cls,
        method: CalibrationMethod,
        panel: Panel,
        forecasts: Forecasts,
        actual: FloatArray,
        scale: FloatArray,
        every: int = 1,
    ) -> Self:
        """Fit the shifts.

        Parameters
        ----------
        forecasts, actual
            Of windows after the training span, and the actuals [W, H, Y], NaN where missing.
        scale
            Usual seasonal change of each series, [S, Y]; NaN where it is not known.
        every
            Steps between the origins that ``adaptive`` is updated with.

        Raises
        ------
        ConfigError
            When there is no such method.
        DataError
            When there is no window, or fewer than twenty actuals are known at some step and the method is not
            ``adaptive`` or ``auto``.
        """
        if method not in get_args(CalibrationMethod):
            raise ConfigError.not_one_of("method", method, get_args(CalibrationMethod))
        last = np.zeros(panel.num_series, dtype=np.int64)
        np.maximum.at(last, forecasts.series, forecasts.cutoff)
        back = last[forecasts.series] - forecasts.cutoff
        wanted = method
        if method == "auto":
            method = "cqr" if int(back.max(initial=0)) + 1 < forecasts.horizon else "adaptive"
        known = np.where(np.isfinite(scale) & (scale > 0), scale, np.nan)
        usual = [1.0 if np.isnan(column).all() else float(np.nanmedian(column)) for column in known.T]
        filled = np.where(np.isnan(known), usual, known)
        conformal = cls(
            method=method,
            levels=forecasts.levels,
            shifts=np.zeros((forecasts.horizon, actual.shape[-1], len(forecasts.levels))),
            scales={name: tuple(row) for name, row in zip(panel.names, filled.tolist(), strict=True)},
            usual=tuple(usual),
            windows=len(forecasts),
            every=every,
        )
        scores = conformal.compute_scores(panel, forecasts, actual)
        scores = np.where(np.isfinite(scores), scores, np.nan)
        fewest = int((~np.isnan(scores[..., 0])).sum(axis=0).min(initial=len(scores)))
        if fewest < MIN_ACTUALS:
            if wanted not in {"auto", "adaptive"} or not len(forecasts) or len(forecasts.levels) == 1:
                raise DataError.too_few_to_calibrate(fewest, MIN_ACTUALS)
            widened = np.broadcast_to(compute_widening(forecasts.levels), conformal.shifts.shape).copy()
            return replace(conformal, method="adaptive", shifts=widened, windows=0)
        rate = choose_rate(scores, forecasts.levels, back, every) if method == "adaptive" else DEFAULT_RATE
        shifts = shifts_by_step(scores, forecasts.levels, back)
        if method == "adaptive":
            shifts = without_location(shifts, forecasts.levels)
        return replace(conformal, shifts=shifts, rate=rate)

    def compute_scores(self, panel: Panel, forecasts: Forecasts, actual: FloatArray) -> FloatArray:
        """Return how far `actual` [W, H, Y] lay above each quantile (split: the median), in units of the window.

        The result is [W, H, Y, Q].
        """
        base = self._base(forecasts)
        return (actual[..., None] - base) / self._unit(panel, forecasts)[..., None]

    def apply(self, panel: Panel, forecasts: Forecasts, shifts: FloatArray | None = None) -> Forecasts:
        """Shift forecasts; quantiles still rise with their levels, and are not below the bound of their target.

        Parameters
        ----------
        shifts
            [W, H, Y, Q] in units of the window; None applies the fitted ones.
        """
        if forecasts.levels != self.levels:
            forecasts = forecasts.at_levels(self.levels)
        shifts = self.shifts if shifts is None else shifts
        shifted = self._base(forecasts) + shifts * self._unit(panel, forecasts)[..., None]
        return replace(forecasts, quantiles=shifted).sorted().bounded()

    def _base(self, forecasts: Forecasts) -> FloatArray:
        """Return what is shifted, [W, H, Y, Q]."""
        if self.method != "split":
            return forecasts.quantiles
        return np.repeat(compute_median(forecasts.quantiles, forecasts.levels)[..., None], len(self.levels), axis=-1)

    def _unit(self, panel: Panel, forecasts: Forecasts) -> FloatArray:
        """Return what a shift of 1 is in the units of the data, [W, H, Y]; never 0."""
        by_series = np.array([self.scales.get(name, self.usual) for name in panel.names])
        scale = by_series[forecasts.series][:, None]
        if self.method == "split" or len(self.levels) == 1:
            return np.broadcast_to(scale, forecasts.quantiles.shape[:3])
        return forecasts.quantiles[..., -1] - forecasts.quantiles[..., 0] + MIN_WIDTH * scale

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **vars(self),
            "levels": list(self.levels),
            "shifts": self.shifts.tolist(),
            "scales": {name: list(row) for name, row in self.scales.items()},
            "usual": list(self.usual),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the calibration that :meth:`to_dict` wrote.

        Raises
        ------
        ArtifactError
            When the values are damaged.
        """
        try:
            shifts, scales = take(values, "shifts", list), take(values, "scales", dict, items=list)
            conformal = cls(
                method=take(values, "method", str),  # type: ignore[arg-type]  # checked below
                levels=tuple(take(values, "levels", list, items=float)),
                shifts=np.array(
                    [[take({"shifts": row}, "shifts", list, items=float) for row in step] for step in shifts]
                ),
                scales={name: tuple(take(scales, name, list, items=float)) for name in scales},
                usual=tuple(take(values, "usual", list, items=float)),
                windows=take(values, "windows", int),
                every=take(values, "every", int),
                rate=take(values, "rate", float),
                shift_median=take(values, "shift_median", bool) if "shift_median" in values else True,
            )
            check_values(values)
            validate_quantile_levels(conformal.levels)
            targets = len(conformal.usual)
            if conformal.method not in get_args(ConformalMethod):
                raise ValueError(f"its method cannot be {shorten(conformal.method)}")
            if conformal.shifts.shape[1:] != (targets, len(conformal.levels)):
                raise ValueError("its levels and shifts do not fit together")
            if any(len(scale) != targets or min(scale) <= 0 for scale in (*conformal.scales.values(), conformal.usual)):
                raise ValueError("its scales must be positive, one a target")
            if conformal.every < 1 or conformal.rate < 0:
                raise ValueError("its rate must be positive")
        except (TypeError, ValueError, ConfigError) as error:
            raise ArtifactError.unreadable("the calibration", str(error)) from None
        return conformal


def describe_basis(windows: int) -> str:
    """Return what a calibration rests on that was learned from so many windows."""
    if windows:
        return f"from {windows:,} windows of validation rows"
    return f"intervals {WIDENING:.0%} wider, as validation rows are too few to learn from"


def compute_widening(levels: tuple[float, ...]) -> FloatArray:
    """Return the shifts [Q] that make a normal forecast wider by :data:`WIDENING` about its median.

    They are in units of the distance between the outermost quantiles, of two levels at least.
    """
    deviates = np.array([statistics.NormalDist().inv_cdf(level) for level in levels])
    return np.asarray(WIDENING * deviates / (deviates[-1] - deviates[0]))
