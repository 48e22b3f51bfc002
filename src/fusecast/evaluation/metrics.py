"""Scores of quantile forecasts, computed from sums that are accumulated window by window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.inference.quantiles import compute_median


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of the forecasts of one target. NaN where there was nothing to score.

    With y the actuals that are present, f the median forecast and f_q the forecast of level q:

    - ``quantile_risk[q]`` = 2 * sum(pinball_q) / sum(abs(y)), the paper's equation 26
      (pinball_q = max(q * (y - f_q), (q - 1) * (y - f_q)), equation 25); ``wql`` is its mean over the levels
    - ``pinball[q]`` = mean(pinball_q), in units of the target; ``mean_pinball`` is its mean over the levels
    - ``crps`` = 2 * sum(w_q * pinball[q]), the continuous ranked probability score (2 * the integral of the pinball
      loss over all levels) by :func:`level_weights`, in units of the target; the closer the levels, the nearer
    - ``mae`` = mean(abs(y - f)), ``rmse`` = sqrt(mean((y - f)**2)), ``bias`` = mean(f - y), in units of the target
    - ``smape`` = mean(2 * abs(y - f) / (abs(y) + abs(f))), from 0 to 2, 0 where both are 0, as in the M4 competition
    - ``mase`` = mean(abs(y - f) / s), where s is the series' own mean absolute seasonal difference in training
      (see :func:`fusecast.evaluation.actuals.seasonal_error`). The mean is over actuals, as in fev and GluonTS,
      so it is the mean of the series' own MASE wherever they have equally many; series whose s is 0 or undefined
      do not count
    - ``rmsse`` = sqrt(mean((y - f)**2 / r)), where r is the series' own mean squared seasonal difference in training
    - ``coverage[c]`` = share of y inside the central interval of nominal share c, its bounds included (levels
      0.1 and 0.9 make the interval 0.8); ``width[c]`` = mean width of that interval, in units of the target
    - ``calibration[q]`` = share of y at or below f_q: q itself where the forecasts are calibrated
    """

    count: int
    quantile_risk: Mapping[float, float] = field(repr=False)
    pinball: Mapping[float, float] = field(repr=False)
    wql: float
    mean_pinball: float
    mae: float
    rmse: float
    mase: float
    coverage: Mapping[float, float] = field(repr=False)
    width: Mapping[float, float] = field(repr=False)
    crps: float = math.nan
    bias: float = math.nan
    smape: float = math.nan
    rmsse: float = math.nan
    calibration: Mapping[float, float] = field(default_factory=dict, repr=False)

    def pit(self) -> tuple[PitBar, ...]:
        """Return the histogram of the probability integral transform, one bar between each two levels.

        The share of actuals that fell between two neighbouring quantile forecasts, beside the share that should.
        """
        bounds = pairwise([(0.0, 0.0), *self.calibration.items(), (1.0, 1.0)])  # level, share of actuals below
        return tuple(PitBar(lower=lower, upper=upper, share=b - a) for (lower, a), (upper, b) in bounds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: levels become text, NaN becomes null."""
        return {name: to_plain(value) for name, value in vars(self).items()}


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


def score(
    quantiles: FloatArray,
    actual: FloatArray,
    levels: Sequence[float],
    error_scale: FloatArray | None = None,
    square_scale: FloatArray | None = None,
) -> tuple[Scores, ...]:
    """Return the scores of forecasts [W, H, Y, Q], one for each target; arrays as in :func:`compute_errors`."""
    sums = ScoreSums(levels, actual.shape[-1])
    sums.add(compute_errors(quantiles, actual, levels, error_scale, square_scale))
    return sums.scores()


def compute_errors(
    quantiles: FloatArray,
    actual: FloatArray,
    levels: Sequence[float],
    error_scale: FloatArray | None = None,
    square_scale: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """Return everything that scores are sums of: each array [W, H, Y, K], 0 where it does not count.

    Steps whose actual [W, H, Y] is NaN count nowhere; a forecast [W, H, Y, Q] that is NaN where there is an actual
    makes the scores NaN. MASE divides each window's errors by `error_scale` [W, Y], RMSSE their squares by
    `square_scale` [W, Y]; None leaves them undefined.
    """
    present = ~np.isnan(actual)
    level = np.asarray(levels)
    signed = compute_median(quantiles, levels) - actual
    above = actual[..., None] - quantiles
    bounds = [(quantiles[..., low], quantiles[..., high]) for low, high in central_intervals(levels).values()]
    inside = [
        np.where(np.isnan(low) | np.isnan(high), np.nan, (low <= actual) & (actual <= high)) for low, high in bounds
    ]
    size = np.abs(actual) + np.abs(signed + actual)
    errors = {
        "count": np.ones_like(actual),
        "size": np.abs(actual),
        "absolute": np.abs(signed),
        "square": signed**2,
        "signed": signed,
        "relative": np.where(size == 0, 0.0, 2 * np.abs(signed) / np.where(size == 0, 1.0, size)),
        "pinball": np.maximum(level * above, (level - 1) * above),
        "below": np.where(np.isnan(quantiles), np.nan, above <= 0),
        "inside": np.stack(inside, axis=-1) if bounds else np.empty((*actual.shape, 0)),
        "width": np.stack([high - low for low, high in bounds], axis=-1) if bounds else np.empty((*actual.shape, 0)),
    }
    for name, error, scale in (("scaled", np.abs(signed), error_scale), ("scaled_square", signed**2, square_scale)):
        divisor = np.full((len(actual), 1), np.nan) if scale is None else scale
        usable = present & (np.isfinite(divisor) & (divisor > 0))[:, None]
        errors[name] = np.where(usable, error / np.where(usable, divisor[:, None], 1.0), 0.0)
        errors[f"{name}_count"] = usable.astype(np.float64)
    return {
        name: np.where(present[..., None], array if array.ndim == 4 else array[..., None], 0.0)
        for name, array in errors.items()
    }


class ScoreSums:
    """Sums from which all scores follow. Memory grows with groups, not with windows.

    Adding windows in chunks gives the scores of adding them at once. A *group* is anything that is scored alone
    (a series, a step ahead, a month); by default there is one.
    """

    def __init__(self, levels: Sequence[float], num_targets: int, num_groups: int = 1) -> None:
        self.levels = tuple(levels)
        self.keys: dict[str, tuple[float, ...]] = {  # levels or intervals of scores with one value for each of them
            **dict.fromkeys(("quantile_risk", "pinball", "calibration"), self.levels),
            **dict.fromkeys(("coverage", "width"), tuple(central_intervals(levels))),
        }
        self._shape = (num_groups, num_targets)
        no_error = compute_errors(np.empty((0, 1, num_targets, len(levels))), np.empty((0, 1, num_targets)), levels)
        self._sums = {name: np.zeros((*self._shape, values.shape[-1])) for name, values in no_error.items()}

    def __repr__(self) -> str:
        groups, targets = self._shape
        return f"ScoreSums(levels={self.levels}, groups={groups}, targets={targets})"

    def add(self, errors: Mapping[str, FloatArray], group: IntArray | None = None) -> None:
        """Add the errors of some windows, as :func:`compute_errors` returns them.

        `group` is the number of the group of each window [W], or of each step [W, H]; None where there is one group.
        """
        num_groups = self._shape[0]
        for name, values in errors.items():
            windows, steps, targets, width = values.shape
            if group is None:
                total = values.sum(axis=(0, 1))[None]
            else:
                group_of_step = np.broadcast_to(group.reshape(windows, -1), (windows, steps)).ravel()
                total = np.zeros((num_groups, targets * width))
                for i, column in enumerate(values.reshape(windows * steps, targets * width).T):
                    total[:, i] = np.bincount(group_of_step, weights=column, minlength=num_groups)
                total = total.reshape(num_groups, targets, width)
            self._sums[name] += total

    def columns(self) -> dict[str, FloatArray]:
        """Return every score of every group and target, each [G, Y] or, one a level or interval, [G, Y, K]."""
        total = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            count = total["count"]
            pinball = total["pinball"] / count
            risk = 2 * total["pinball"] / total["size"]
            return {
                "count": count[..., 0],
                "quantile_risk": risk,
                "pinball": pinball,
                "wql": risk.mean(axis=-1),
                "mean_pinball": pinball.mean(axis=-1),
                "crps": 2 * (pinball * level_weights(self.levels)).sum(axis=-1),
                "mae": (total["absolute"] / count)[..., 0],
                "rmse": np.sqrt(total["square"] / count)[..., 0],
                "bias": (total["signed"] / count)[..., 0],
                "smape": (total["relative"] / count)[..., 0],
                "mase": (total["scaled"] / total["scaled_count"])[..., 0],
                "rmsse": np.sqrt(total["scaled_square"] / total["scaled_square_count"])[..., 0],
                "coverage": total["inside"] / count,
                "width": total["width"] / count,
                "calibration": total["below"] / count,
            }

    def scores(self, group: int = 0) -> tuple[Scores, ...]:
        """Return the scores of a group, one for each target."""
        columns, keys = self.columns(), self.keys

        def convert(name: str, values: FloatArray) -> Any:
            if name in keys:
                return dict(zip(keys[name], map(_unify_nan, values.tolist()), strict=True))
            return int(values) if name == "count" else _unify_nan(float(values))

        return tuple(
            Scores(**{name: convert(name, column[group, y]) for name, column in columns.items()})
            for y in range(self._shape[1])
        )


def central_intervals(levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Return the nominal share of each central interval and the indices of its two levels, widest first."""
    return {
        round(high - low, 10): (i, j)
        for (i, low), (j, high) in combinations(enumerate(levels), 2)
        if low < 0.5 and math.isclose(low + high, 1.0, abs_tol=1e-9)
    }


def level_weights(levels: Sequence[float]) -> FloatArray:
    """Return the share of [0, 1] that lies nearest to each level, [Q]: the weights of the CRPS, which sum to 1."""
    middle = (np.asarray(levels)[1:] + np.asarray(levels)[:-1]) / 2
    return np.diff(np.concatenate(([0.0], middle, [1.0])))


def name_share(share: float) -> str:
    """Return the nominal share of an interval as text.

    >>> name_share(0.8), name_share(0.998), name_share(0.999)
    ('80%', '99.8%', '99.9%')
    """
    return f"{100 * share:g}%"


def to_plain(value: Any) -> Any:
    """Return a value for JSON: numbers that are keys become text, values that are not finite become null."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else f"{key:g}": to_plain(nested) for key, nested in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unify_nan(value: float) -> float:
    """Return every NaN as the same object, so that scores compare equal."""
    return math.nan if math.isnan(value) else value
