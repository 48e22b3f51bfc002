"""Scores of quantile forecasts, computed from sums that are accumulated window by window."""

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
      (see :func:`fusecast.evaluation.seasonal_error.seasonal_error`). The mean is over actuals, as in fev and GluonTS,
      so it is the mean of the series' own MASE wherever they have equally many; series whose s is 0 or undefined
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


__all__ = ["PitBar", "ScoreSums", "Scores", "central_intervals", "errors_of", "level_weights", "median_of", "score"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What is to be summed of some windows: each array [W, H, Y, K], 0 where it does not count."""

    levels: tuple[float, ...]
    values: Mapping[str, Floats]


def errors_of(
    quantiles: Floats,
    actual: Floats,
    levels: Sequence[float],
    error_scale: Floats | None = None,
    square_scale: Floats | None = None,
) -> Errors:
    """Compute everything that scores are sums of, so that it can be summed by several groupings.

    Parameters
    ----------
    quantiles
        Forecasts [W, H, Y, Q]. A forecast that is NaN where there is an actual makes the scores NaN.
    actual
        [W, H, Y], NaN where missing: such a step counts nowhere.
    error_scale, square_scale
        [W, Y]: what MASE divides each window's errors by, and RMSSE their squares. None leaves them undefined.
    """
    present = ~np.isnan(actual)
    level = np.asarray(levels)
    signed = median_of(quantiles, levels) - actual
    above = actual[..., None] - quantiles
    low_high = [(quantiles[..., low], quantiles[..., high]) for low, high in central_intervals(levels).values()]
    size = np.abs(actual) + np.abs(signed + actual)
    values = {
        "count": np.ones_like(actual),
        "size": np.abs(actual),
        "absolute": np.abs(signed),
        "square": signed**2,
        "signed": signed,
        "relative": np.where(size == 0, 0.0, 2 * np.abs(signed) / np.where(size == 0, 1.0, size)),
        "pinball": np.maximum(level * above, (level - 1) * above),
        "below": np.where(np.isnan(quantiles), np.nan, above <= 0),
        "inside": _stacked([_between(low, actual, high) for low, high in low_high], actual),
        "width": _stacked([high - low for low, high in low_high], actual),
    }
    for name, error, scale in (("scaled", np.abs(signed), error_scale), ("scaled_square", signed**2, square_scale)):
        if scale is not None:
            usable = present & (np.isfinite(scale) & (scale > 0))[:, None]
            values[name] = np.where(usable, error / np.where(usable, scale[:, None], 1.0), 0.0)
            values[f"{name}_count"] = usable.astype(np.float64)
    counted = {}
    for name, array in values.items():
        wide = array if array.ndim == 4 else array[..., None]
        counted[name] = np.where(present[..., None], wide, 0.0)
    return Errors(levels=tuple(levels), values=counted)


class ScoreSums:
    """Sums from which all scores follow. Memory grows with groups, not with windows.

    Adding windows in pieces gives the scores of adding them at once. A *group* is anything that scores are wanted
    for apart (series, steps ahead, months); without groups there is one.
    """

    def __init__(self, levels: Sequence[float], num_targets: int, num_groups: int = 1) -> None:
        self.levels = tuple(levels)
        self.intervals = tuple(central_intervals(self.levels))
        self._shape = (num_groups, num_targets)
        self._sums: dict[str, Floats] = {}

    def add(
        self,
        quantiles: Floats,
        actual: Floats,
        error_scale: Floats | None = None,
        group: NDArray[np.int64] | None = None,
        square_scale: Floats | None = None,
    ) -> None:
        """Count in some windows; arrays as in :func:`errors_of`, groups as in :meth:`add_errors`."""
        self.add_errors(errors_of(quantiles, actual, self.levels, error_scale, square_scale), group)

    def add_errors(self, errors: Errors, group: NDArray[np.int64] | None = None) -> None:
        """Count in the errors of some windows.

        Parameters
        ----------
        group
            Number of the group of each window [W], or of each step [W, H].
        """
        groups = self._shape[0]
        for name, values in errors.values.items():
            windows, steps, targets, width = values.shape
            if group is None:
                total = values.sum(axis=(0, 1))[None]
            else:
                number = np.broadcast_to(group.reshape(windows, -1), (windows, steps)).ravel()
                flat = values.reshape(windows * steps, targets * width)
                columns = [np.bincount(number, weights=column, minlength=groups) for column in flat.T]
                total = (
                    np.stack(columns, axis=1).reshape(groups, targets, width)
                    if columns
                    else np.zeros((groups, targets, 0))
                )
            self._sums[name] = self._sums[name] + total if name in self._sums else total

    def scores(self) -> tuple[Scores, ...]:
        """Give the scores over all groups, one for each target."""
        return self._scores({name: sums.sum(axis=0, keepdims=True) for name, sums in self._sums.items()})

    def scores_of(self, group: int) -> tuple[Scores, ...]:
        """Give the scores of one group, one for each target."""
        return self._scores({name: sums[group : group + 1] for name, sums in self._sums.items()})

    def columns(self) -> dict[str, Floats]:
        """Give every score of every group and target, each [G, Y] or, one a level or interval, [G, Y, K]."""
        return self._columns(self._sums)

    def _columns(self, sums: Mapping[str, Floats]) -> dict[str, Floats]:
        def total(name: str) -> Floats:
            return sums[name] if name in sums else np.zeros((*self._shape, 1))

        with np.errstate(divide="ignore", invalid="ignore"):
            count = total("count")
            pinball = total("pinball") / count
            risk = 2 * total("pinball") / total("size")
            return {
                "count": count[..., 0],
                "quantile_risk": risk,
                "pinball": pinball,
                "wql": risk.mean(axis=-1),
                "mean_pinball": pinball.mean(axis=-1),
                "crps": 2 * (pinball * level_weights(self.levels)).sum(axis=-1),
                "mae": (total("absolute") / count)[..., 0],
                "rmse": np.sqrt(total("square") / count)[..., 0],
                "bias": (total("signed") / count)[..., 0],
                "smape": (total("relative") / count)[..., 0],
                "mase": (total("scaled") / total("scaled_count"))[..., 0],
                "rmsse": np.sqrt(total("scaled_square") / total("scaled_square_count"))[..., 0],
                "coverage": total("inside") / count,
                "width": total("width") / count,
                "calibration": total("below") / count,
            }

    def _scores(self, sums: Mapping[str, Floats]) -> tuple[Scores, ...]:
        columns = self._columns(sums) if sums else self._columns(self._empty())
        names = {"quantile_risk": self.levels, "pinball": self.levels, "calibration": self.levels}
        names |= {"coverage": self.intervals, "width": self.intervals}

        def one(name: str, values: Floats) -> object:
            if name in names:
                return dict(zip(names[name], map(_number, values.tolist()), strict=True))
            return int(values) if name == "count" else _number(float(values))

        return tuple(
            Scores(**{name: one(name, column[0, y]) for name, column in columns.items()})  # type: ignore[arg-type]
            for y in range(self._shape[1])
        )

    def _empty(self) -> dict[str, Floats]:
        none = np.full((1, self._shape[1], 1, 1), np.nan)
        return {
            name: sums.sum(axis=(0, 1))[None]
            for name, sums in errors_of(
                np.repeat(none, len(self.levels), axis=-1), none[..., 0], self.levels
            ).values.items()
        }


def score(
    quantiles: Floats,
    actual: Floats,
    levels: Sequence[float],
    error_scale: Floats | None = None,
    square_scale: Floats | None = None,
) -> tuple[Scores, ...]:
    """Score forecasts [W, H, Y, Q] that are all at hand; see :func:`errors_of`. One a target."""
    sums = ScoreSums(levels, actual.shape[-1])
    sums.add(quantiles, actual, error_scale, square_scale=square_scale)
    return sums.scores()


def _between(low: Floats, actual: Floats, high: Floats) -> Floats:
    inside: Floats = np.where(np.isnan(low) | np.isnan(high), np.nan, (low <= actual) & (actual <= high))
    return inside


def _stacked(arrays: Sequence[Floats], like: Floats) -> Floats:
    return np.stack(arrays, axis=-1) if arrays else np.empty((*like.shape, 0))


def _number(value: float) -> float:
    """Give every NaN as the same object, so that scores compare."""
    return math.nan if math.isnan(value) else value
