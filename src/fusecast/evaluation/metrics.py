"""Scores of quantile forecasts, from sums that can be gathered window by window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    - ``mae`` = mean(abs(y - f)), ``rmse`` = sqrt(mean((y - f)**2)), in units of the target
    - ``mase`` = mean(abs(y - f) / s), where s is the series' own mean absolute seasonal difference in training
      (see :func:`fusecast.evaluation.scaling.seasonal_error`). The mean is over actuals, as in fev and GluonTS, so
      it is the mean of the series' own MASE wherever they have equally many; series whose s is 0 or undefined
      do not count
    - ``coverage[c]`` = share of y inside the central interval of nominal share c, its bounds included (levels
      0.1 and 0.9 make the interval 0.8); ``width[c]`` = mean width of that interval, in units of the target
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: levels become text, NaN becomes null."""
        return {name: _plain(value) for name, value in self.__dict__.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {f"{level:g}": _plain(score) for level, score in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def central_intervals(levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Give the nominal share of each central interval and the numbers of its two levels, widest first."""
    found = {}
    for lower, level in enumerate(levels):
        for upper in range(lower + 1, len(levels)):
            if level < 0.5 and math.isclose(level + levels[upper], 1.0, abs_tol=1e-9):
                found[round(levels[upper] - level, 10)] = (lower, upper)
    return found


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


class ScoreSums:
    """Sums from which all scores follow. Memory grows with groups, not with windows.

    Adding windows in pieces gives the scores of adding them at once. A *group* is anything that scores are wanted
    for apart (series, steps ahead, months); without groups there is one.
    """

    def __init__(self, levels: Sequence[float], num_targets: int, num_groups: int = 1) -> None:
        self.levels = tuple(levels)
        self._intervals = central_intervals(self.levels)
        self._num_groups = num_groups
        shape = (num_groups, num_targets)
        self._count = np.zeros(shape)
        self._size = np.zeros(shape)
        self._absolute = np.zeros(shape)
        self._square = np.zeros(shape)
        self._scaled = np.zeros(shape)
        self._scaled_count = np.zeros(shape)
        self._pinball = np.zeros((*shape, len(self.levels)))
        self._inside = np.zeros((*shape, len(self._intervals)))
        self._width = np.zeros((*shape, len(self._intervals)))

    def add(
        self,
        quantiles: NDArray[np.float64],
        actual: NDArray[np.float64],
        error_scale: NDArray[np.float64] | None = None,
        group: NDArray[np.int64] | None = None,
    ) -> None:
        """Count in some windows.

        Parameters
        ----------
        quantiles
            Forecasts [W, H, Y, Q]. A forecast that is NaN where there is an actual makes the scores NaN.
        actual
            [W, H, Y], NaN where missing: such a step counts nowhere.
        error_scale
            [W, Y]: what MASE divides each window's errors by. None leaves MASE undefined.
        group
            Number of the group of each window [W], or of each step [W, H].
        """
        present = ~np.isnan(actual)
        if group is not None:
            group = np.broadcast_to(group.reshape(len(actual), -1), actual.shape[:2])

        def total(values: NDArray[Any], counts: NDArray[np.bool_] = present) -> NDArray[np.float64]:
            values = np.where(counts, values, 0.0).astype(np.float64)
            if group is None:
                whole: NDArray[np.float64] = values.sum(axis=(0, 1))[None]
                return whole
            return np.stack(
                [
                    np.bincount(group.ravel(), weights=values[..., y].ravel(), minlength=self._num_groups)
                    for y in range(values.shape[-1])
                ],
                axis=1,
            )

        error = np.abs(actual - median_of(quantiles, self.levels))
        self._count += total(present)
        self._size += total(np.abs(actual))
        self._absolute += total(error)
        self._square += total(error**2)
        if error_scale is not None:
            usable = present & (np.isfinite(error_scale) & (error_scale > 0))[:, None]
            self._scaled += total(error / np.where(usable, error_scale[:, None], 1.0), usable)
            self._scaled_count += total(usable)
        for number, level in enumerate(self.levels):
            above = actual - quantiles[..., number]
            self._pinball[..., number] += total(np.maximum(level * above, (level - 1) * above))
        for number, (lower, upper) in enumerate(self._intervals.values()):
            low, high = quantiles[..., lower], quantiles[..., upper]
            unknown = np.isnan(low) | np.isnan(high)
            self._inside[..., number] += total(np.where(unknown, np.nan, (low <= actual) & (actual <= high)))
            self._width[..., number] += total(high - low)

    def scores(self) -> tuple[Scores, ...]:
        """Give the scores over all groups, one for each target."""
        return self._reduce(slice(None))

    def scores_of(self, group: int) -> tuple[Scores, ...]:
        """Give the scores of one group, one for each target."""
        return self._reduce(slice(group, group + 1))

    def _reduce(self, groups: slice) -> tuple[Scores, ...]:
        count = self._count[groups].sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            risk = 2 * self._pinball[groups].sum(axis=0) / self._size[groups].sum(axis=0)[:, None]
            pinball = self._pinball[groups].sum(axis=0) / count[:, None]
            mae = self._absolute[groups].sum(axis=0) / count
            rmse = np.sqrt(self._square[groups].sum(axis=0) / count)
            mase = self._scaled[groups].sum(axis=0) / self._scaled_count[groups].sum(axis=0)
            inside = self._inside[groups].sum(axis=0) / count[:, None]
            width = self._width[groups].sum(axis=0) / count[:, None]

        def named(names: Sequence[float], values: NDArray[np.float64]) -> dict[float, float]:
            return dict(zip(names, values.tolist(), strict=True))

        return tuple(
            Scores(
                count=int(count[y]),
                quantile_risk=named(self.levels, risk[y]),
                pinball=named(self.levels, pinball[y]),
                wql=float(risk[y].mean()),
                mean_pinball=float(pinball[y].mean()),
                mae=float(mae[y]),
                rmse=float(rmse[y]),
                mase=float(mase[y]),
                coverage=named(tuple(self._intervals), inside[y]),
                width=named(tuple(self._intervals), width[y]),
            )
            for y in range(len(count))
        )


def score(
    quantiles: NDArray[np.float64],
    actual: NDArray[np.float64],
    levels: Sequence[float],
    error_scale: NDArray[np.float64] | None = None,
) -> tuple[Scores, ...]:
    """Score forecasts [W, H, Y, Q] that are all at hand; see :meth:`ScoreSums.add`. One a target."""
    sums = ScoreSums(levels, actual.shape[-1])
    sums.add(quantiles, actual, error_scale)
    return sums.scores()
