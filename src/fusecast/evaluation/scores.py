"""Scores: what a set of quantile forecasts came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good the forecasts of one target were. NaN where nothing could be judged.

    With y the actuals that are present, f the median forecast and f_q the forecast of level q:

    - ``quantile_risk[q]`` = 2 * sum(pinball_q) / sum(abs(y)), the paper's equation 26
      (pinball_q = max(q * (y - f_q), (q - 1) * (y - f_q)), equation 25); ``wql`` is its mean over the levels
    - ``pinball[q]`` = mean(pinball_q), in units of the target; ``mean_pinball`` is its mean over the levels
    - ``crps`` = 2 * sum(w_q * pinball[q]), the continuous ranked probability score (2 * the integral of the pinball
      loss over all levels) by :func:`level_weights`, in units of the target; the closer the levels, the nearer
    - ``mae`` = mean(abs(y - f)), ``rmse`` = sqrt(mean((y - f)**2)), ``bias`` = mean(f - y), in units of the target
    - ``smape`` = mean(2 * abs(y - f) / (abs(y) + abs(f))), from 0 to 2, 0 where both are 0, as in the M4 competition
    - ``mase`` = mean(abs(y - f) / s), where s is the series' own mean absolute seasonal difference in training
      (see :func:`fusecast.evaluation.scaling.seasonal_error`). The mean is over actuals, as in fev and GluonTS, so
      it is the mean of the series' own MASE wherever they have equally many; series whose s is 0 or undefined
      do not count
    - ``rmsse`` = sqrt(mean((y - f)**2 / r)), where r is the series' own mean squared seasonal difference in training
    - ``coverage[c]`` = share of y inside the central interval of nominal share c, its bounds included (levels
      0.1 and 0.9 make the interval 0.8); ``width[c]`` = mean width of that interval, in units of the target
    - ``calibration[q]`` = share of y at or below f_q: q itself where the forecasts are calibrated
    """

    count: int
    quantile_risk: Mapping[float, float]
    pinball: Mapping[float, float]
    wql: float
    mean_pinball: float
    mae: float
    rmse: float
    mase: float
    coverage: Mapping[float, float]
    width: Mapping[float, float]
    crps: float = math.nan
    bias: float = math.nan
    smape: float = math.nan
    rmsse: float = math.nan
    calibration: Mapping[float, float] = field(default_factory=dict)

    def pit(self) -> tuple[PitBar, ...]:
        """Give the histogram of the probability integral transform, one bar between each two levels.

        The share of actuals that fell between two neighbouring quantile forecasts, beside the share that should.
        """
        levels = (0.0, *self.calibration, 1.0)
        below = (0.0, *self.calibration.values(), 1.0)
        return tuple(
            PitBar(lower=levels[i], upper=levels[i + 1], share=below[i + 1] - below[i]) for i in range(len(levels) - 1)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: levels become text, NaN becomes null."""
        return {name: _plain(value) for name, value in self.__dict__.items()}


@dataclass(frozen=True, kw_only=True)
class PitBar:
    """One bar of a PIT histogram. A calibrated forecast has share == upper - lower in every bar."""

    lower: float
    upper: float
    share: float

    @property
    def density(self) -> float:
        """Height of the bar: 1 where calibrated, above 1 where too many actuals fell."""
        return self.share / (self.upper - self.lower)


def central_intervals(levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Give the nominal share of each central interval and the numbers of its two levels, widest first."""
    found = {}
    for lower, level in enumerate(levels):
        for upper in range(lower + 1, len(levels)):
            if level < 0.5 and math.isclose(level + levels[upper], 1.0, abs_tol=1e-9):
                found[round(levels[upper] - level, 10)] = (lower, upper)
    return found


def level_weights(levels: Sequence[float]) -> NDArray[np.float64]:
    """Give the share of [0, 1] that lies nearest to each level, [Q]: the weights of the CRPS. They sum to 1.

    For n levels (i - 1/2) / n all are 1/n.
    """
    middle = (np.asarray(levels)[1:] + np.asarray(levels)[:-1]) / 2
    return np.diff(np.concatenate(([0.0], middle, [1.0])))


def median_of(quantiles: NDArray[np.float64], levels: Sequence[float]) -> NDArray[np.float64]:
    """Give the forecast of level 0.5, between its neighbours where it is not among the levels: [..., Q] to [...].

    Where all levels lie on one side of 0.5 it is the nearest of them.
    """
    above = int(np.searchsorted(levels, 0.5))
    if above == len(levels):
        return quantiles[..., -1]
    if above == 0 or levels[above] == 0.5:
        return quantiles[..., above]
    share = (0.5 - levels[above - 1]) / (levels[above] - levels[above - 1])
    return quantiles[..., above - 1] * (1 - share) + quantiles[..., above] * share


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {f"{level:g}": _plain(score) for level, score in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
