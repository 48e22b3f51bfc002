"""Scaling of series by statistics of their training rows, and transforms of targets before it; both invert exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCALINGS = ("standard", "robust", "mean_abs", "none")

_QUARTILES_OF_A_NORMAL = 1.3489795003921634  # distance between them, in standard deviations
_ROUNDING = 1e-12  # a deviation this small beside the center is what rounding leaves of a constant
_NOTHING = 1e-30  # a deviation this small is none; dividing by it would leave the range of float32
_RARE = 1e-6  # quartiles this close, in deviations, mean that nearly all values are alike


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """Center and scale of one column: for each fitted series, and pooled for series that training never saw."""

    pooled_center: float
    pooled_scale: float
    center: Floats  # [S], or [0] when every series shares the pooled pair
    scale: Floats  # [S] or [0]

    @property
    def shared(self) -> bool:
        """Whether the pooled pair holds for every series."""
        return len(self.center) == 0

    def at(self, series: Ints) -> tuple[Floats, Floats]:
        """Give center and scale of fitted series by number; -1 gets the pooled pair. Two arrays [W]."""
        if self.shared:
            return np.full(len(series), self.pooled_center), np.full(len(series), self.pooled_scale)
        # one entry more, which -1 finds
        return (
            np.append(self.center, self.pooled_center)[series],
            np.append(self.scale, self.pooled_scale)[series],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "pooled": [self.pooled_center, self.pooled_scale],
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        center, scale = (np.asarray(values[name], dtype=np.float64) for name in ("center", "scale"))
        pooled = [float(value) for value in values["pooled"]]
        if center.shape != scale.shape or center.ndim != 1 or not all(value > 0 for value in (*scale, pooled[1])):
            raise ValueError("center and scale must pair up, and scales be positive")
        return cls(pooled_center=pooled[0], pooled_scale=pooled[1], center=center, scale=scale)


def measure(values: Floats, counts: Ints, kind: str) -> tuple[Floats, Floats]:
    """Give center and scale of groups of values that lie end to end, counts[g] of them in group g.

    A scale of 0 marks a group that never changes (for `mean_abs`: that is 0 throughout); an empty group has NaN twice.
    """
    center, scale = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    filled = counts > 0
    if filled.any():
        sizes = counts[filled]
        middle, spread = _MEASURES[kind](values, sizes)
        spread[spread <= np.maximum(_ROUNDING * np.abs(middle), _NOTHING)] = 0.0
        center[filled], scale[filled] = middle, spread
    return center, scale


def fit_target(values: Floats, counts: Ints, kind: str) -> Scales:
    """Scale each series by its own training values [sum(counts)].

    A series that never changes has scale 1. A series without a value takes the statistics of all training values.
    """
    if kind == "none":
        return shared(0.0, 1.0)
    pooled_center, pooled_scale = _pooled(values, kind)
    center, scale = measure(values, counts, kind)
    center, scale = np.where(np.isnan(center), pooled_center, center), np.where(np.isnan(scale), pooled_scale, scale)
    return Scales(
        pooled_center=pooled_center, pooled_scale=pooled_scale, center=center, scale=np.where(scale == 0.0, 1.0, scale)
    )


def fit_covariate(values: Floats, counts: Ints, kind: str) -> Scales:
    """Scale a covariate by its training values, as suits what it turns out to be.

    - a flag (nothing but 0 and 1) stays as it is, or rare events would become enormous numbers;
    - a column that changes within no series (a list price) is scaled over all series, so that its level is kept;
    - any other is scaled per series. A series in which it never changes takes the median scale of the others, so that
      its first change in the future has a size like theirs, and one without a value takes the pooled statistics.
    """
    if kind == "none" or not len(values) or bool(np.isin(values, (0.0, 1.0)).all()):
        return shared(0.0, 1.0)
    pooled_center, pooled_scale = _pooled(values, kind)
    center, scale = measure(values, counts, kind)
    changes = scale[scale > 0]  # NaN > 0 is False
    if not len(changes):
        return shared(pooled_center, pooled_scale)
    scale = np.where(scale == 0.0, np.median(changes), scale)
    center, scale = np.where(np.isnan(center), pooled_center, center), np.where(np.isnan(scale), pooled_scale, scale)
    return Scales(pooled_center=pooled_center, pooled_scale=pooled_scale, center=center, scale=scale)


def fit_static(values: Floats, kind: str) -> Scales:
    """Scale a static real over the series; a flag stays as it is. Missing values are NaN and left out."""
    present = values[~np.isnan(values)]
    return fit_covariate(present, np.ones(len(present), dtype=np.int64), kind)


def shared(center: float, scale: float) -> Scales:
    """One pair for every series."""
    none = np.empty(0)
    return Scales(pooled_center=center, pooled_scale=scale, center=none, scale=none)


def _pooled(values: Floats, kind: str) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    ordered = np.sort(values)  # sums round by order: sorted, they do not depend on that of the series
    center, scale = measure(ordered, np.array([len(values)]), kind)
    return float(center[0]), float(scale[0]) or 1.0


def _starts(sizes: Ints) -> Ints:
    return np.cumsum(sizes) - sizes


def _standard(values: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    starts = _starts(sizes)
    center: Floats = np.add.reduceat(values, starts) / sizes
    deviation = values - np.repeat(center, sizes)
    return center, np.sqrt(np.add.reduceat(deviation * deviation, starts) / sizes)


def _robust(values: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    starts = _starts(sizes)
    ordered = values[np.lexsort((values, np.repeat(np.arange(len(sizes)), sizes)))]

    def quantile(level: float) -> Floats:
        place = level * (sizes - 1)
        below = np.floor(place).astype(np.int64)
        low, high = ordered[starts + below], ordered[starts + np.minimum(below + 1, sizes - 1)]
        result: Floats = low + (place - below) * (high - low)
        return result

    spread = (quantile(0.75) - quantile(0.25)) / _QUARTILES_OF_A_NORMAL
    # more than half of the values alike (sales of a slow seller): the quartiles say nothing, the deviation does
    deviation = _standard(values, sizes)[1]
    return quantile(0.5), np.where(spread > _RARE * deviation, spread, deviation)


def _mean_abs(values: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    return np.zeros(len(sizes)), np.add.reduceat(np.abs(values), _starts(sizes)) / sizes


_MEASURES: dict[str, Callable[[Floats, Ints], tuple[Floats, Floats]]] = {
    "standard": _standard,
    "robust": _robust,
    "mean_abs": _mean_abs,
}


def transform(values: Floats, kind: str, target: str, panel: Panel, rows: NDArray[np.bool_] | None = None) -> Floats:
    """Transform a target's values [N]; `rows` [N] are those that may be looked at, all when None.

    Raises
    ------
    DataError
        When `log1p` meets a negative value; names the series and the row.
    """
    if kind == "none":
        return values
    negative = values < 0 if rows is None else (values < 0) & rows
    if negative.any():
        bad = np.flatnonzero(negative)
        series = np.searchsorted(panel.indptr, bad, side="right") - 1
        ids = panel.ids.tolist()
        names = [ids[number] for number in np.unique(series)]
        row = int(bad[0] - panel.indptr[series[0]])
        raise DataError.negative_for_log(target, names, row, float(values[bad[0]]))
    result: Floats = np.log1p(values if rows is None else np.where(rows, values, np.nan))
    return result


def back_transform(values: Floats, kind: str) -> Floats:
    """Inverse of :func:`transform`; what would be negative after `log1p` becomes 0."""
    if kind == "none":
        return values
    result: Floats = np.maximum(np.expm1(values), 0.0)
    return result
