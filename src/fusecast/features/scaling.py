"""Scaling of columns by statistics of their training rows: each series by its own, or all by pooled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    copy,
    empty,
    group_blocks,
    is_block,
    map_values,
    release,
    row_blocks,
)

if TYPE_CHECKING:
    from fusecast.config import Scaling
    from fusecast.data.panel import Panel

NORMAL_IQR = 1.3489795003921634  # distance of the quartiles of a normal distribution, in standard deviations
RELATIVE_ROUNDING = 1e-12  # a deviation this small relative to the center is the rounding error of a constant
MIN_DEVIATION = 1e-30  # a smaller deviation counts as 0; dividing by it would leave the range of float32
MIN_IQR_TO_DEVIATION = 1e-6  # quartiles closer than this, in deviations: nearly all values are equal


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """Center and scale of one column: for each fitted series, and pooled for series that training never saw."""

    pooled_center: float
    pooled_scale: float
    center: FloatArray  # [S], or [0] when every series shares the pooled pair
    scale: FloatArray  # [S] or [0]

    @property
    def shared(self) -> bool:
        """Whether the pooled pair holds for every series."""
        return len(self.center) == 0

    def at(self, series: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return center and scale [W] of fitted series by their positions; the pooled pair for -1."""
        positions = np.full(len(series), -1) if self.shared else series  # the pooled pair is the last entry
        center, scale = np.append(self.center, self.pooled_center), np.append(self.scale, self.pooled_scale)
        return center[positions], scale[positions]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "pooled": [self.pooled_center, self.pooled_scale],
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what :meth:`to_dict` describes; raise a ValueError if pairs are incomplete or scales not positive."""
        from fusecast.io.documents import take  # not at the top: batches need neither YAML nor its library

        pooled, center, scale = (
            np.array(take(values, name, list, items=float), dtype=np.float64) for name in ("pooled", "center", "scale")
        )
        if pooled.shape != (2,) or center.shape != scale.shape or not (pooled[1] > 0 and (scale > 0).all()):
            raise ValueError("center and scale must pair up, and scales be positive")
        return cls(pooled_center=float(pooled[0]), pooled_scale=float(pooled[1]), center=center, scale=scale)


class TrainingRows:
    """The first ``end[s]`` rows of each series of a panel; series in the order of their names."""

    def __init__(self, panel: Panel, end: IntArray) -> None:
        end = np.clip(end, 0, panel.lengths)
        nonempty = np.flatnonzero(end > 0)
        self._num_rows = panel.num_rows
        self.series = np.array(sorted(nonempty.tolist(), key=panel.names.__getitem__), dtype=np.int64)
        self.names = tuple(panel.names[s] for s in self.series.tolist())
        self.sizes = end[self.series]
        self._indptr, self._begin = np.concatenate(([0], np.cumsum(self.sizes))), panel.indptr[self.series]

    @property
    def mask(self) -> BoolArray:
        """Whether each row of the panel is one of training, [N]."""
        mask = np.zeros(self._num_rows, dtype=np.bool_)
        for begin, size in zip(self._begin.tolist(), self.sizes.tolist(), strict=True):
            mask[begin : begin + size] = True
        return mask

    def values(self, column: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return the present values of a column, end to end, and how many each series has."""
        gathered, counts, end = empty(int(self._indptr[-1]), column.dtype, column), np.zeros_like(self.sizes), 0
        for series, values in self._blocks(column):
            present = ~np.isnan(values)
            until = np.concatenate(([0], np.cumsum(present)))[
                self._indptr[series.start + 1 : series.stop + 1] - self._indptr[series.start]
            ]
            counts[series] = np.diff(until, prepend=0)
            begin, end = end, end + int(until[-1])
            gathered[begin:end] = values[present]
            release(gathered)
        return gathered[:end], counts

    def distinct(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the different codes of a column, sorted."""
        found = [np.unique(values) for _, values in self._blocks(codes)]
        return np.unique(np.concatenate(found)) if found else codes[:0]

    def _blocks(self, column: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield ranges of series, and the values of a column in their rows."""
        for series in group_blocks(self._indptr):
            sizes = self.sizes[series]
            ends = np.cumsum(sizes)
            rows = np.repeat(self._begin[series] - (ends - sizes), sizes) + np.arange(sizes.sum())
            yield series, column[rows]
            release(column)


def compute_statistics(values: FloatArray, counts: IntArray, kind: Scaling) -> tuple[FloatArray, FloatArray]:
    """Return center and scale of groups of values that lie end to end, counts[g] of them in group g.

    The scale of a constant group is 0 (with `mean_abs`: of one that is 0 throughout); an empty group has NaN for both.
    """
    center, scale = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    filled = counts > 0
    if filled.any():
        sizes = counts[filled]
        middle, spread = _compute_by_blocks(values, sizes, kind)
        spread[spread <= np.maximum(RELATIVE_ROUNDING * np.abs(middle), MIN_DEVIATION)] = 0.0
        center[filled], scale[filled] = middle, spread
    return center, scale


def fit_target(values: FloatArray, counts: IntArray, kind: Scaling) -> Scales:
    """Fit the scales of a target: each series by its own training values [sum(counts)].

    A series that never changes takes the median scale of the others, and its own value where none changes (1 where that
    is 0), so that no unit of the target matters. A series without values takes the statistics of all training values.
    """
    if kind == "none":
        return shared_scales(0.0, 1.0)
    pooled = compute_pooled_statistics(values, kind)
    center, scale = compute_statistics(values, counts, kind)
    changing = scale[scale > 0]  # NaN > 0 is False
    constant = float(np.median(changing)) if len(changing) else _size_of(center)
    return _with_pooled(pooled, center, scale, scale_of_constants=constant)


def fit_covariate(values: FloatArray, counts: IntArray, kind: Scaling) -> Scales:
    """Fit the scales of a covariate to its training values, by its kind.

    - A flag (only 0 and 1) is left unscaled: rare events would become enormous numbers.
    - A column that is constant within each series (a list price) is scaled over all series, which keeps its level.
    - Any other column is scaled per series. A series in which it is constant takes the median scale of the others, so
      that its first change in the future has a size like theirs; one without values takes the pooled statistics.
    """
    if (
        kind == "none"
        or not len(values)
        or all(np.isin(values[rows], (0.0, 1.0)).all() for rows in row_blocks(len(values)))
    ):
        return shared_scales(0.0, 1.0)
    pooled = compute_pooled_statistics(values, kind)
    center, scale = compute_statistics(values, counts, kind)
    changing = scale[scale > 0]  # NaN > 0 is False
    if not len(changing):
        return shared_scales(*pooled)
    return _with_pooled(pooled, center, scale, scale_of_constants=float(np.median(changing)))


def fit_static(values: FloatArray, kind: Scaling) -> Scales:
    """Fit the scales of a static real over the series; a flag is left unscaled. Missing values are NaN and left out."""
    present = values[~np.isnan(values)]
    return fit_covariate(present, np.ones(len(present), dtype=np.int64), kind)


def shared_scales(center: float, scale: float) -> Scales:
    """Return one center and scale for every series."""
    return Scales(pooled_center=center, pooled_scale=scale, center=np.empty(0), scale=np.empty(0))


def _with_pooled(
    pooled: tuple[float, float], center: FloatArray, scale: FloatArray, *, scale_of_constants: float | FloatArray
) -> Scales:
    """Complete the statistics of series that never change (scale 0), and of those without values (NaN)."""
    scale = np.where(scale == 0.0, scale_of_constants, scale)
    return Scales(
        pooled_center=pooled[0],
        pooled_scale=pooled[1],
        center=np.where(np.isnan(center), pooled[0], center),
        scale=np.where(np.isnan(scale), pooled[1], scale),
    )


def compute_pooled_statistics(values: FloatArray, kind: Scaling) -> tuple[float, float]:
    """Return center and scale of the values of all series together; where they are equal, their size, or 1 for 0."""
    if kind == "none" or not len(values):
        return 0.0, 1.0
    ordered = copy(values)
    ordered.sort()  # makes the rounding of sums independent of the order of series
    center, scale = compute_statistics(ordered, np.array([len(values)]), kind)
    release(values, ordered)
    return float(center[0]), float(scale[0] or _size_of(center)[0])


def _size_of(center: FloatArray) -> FloatArray:
    """Return the sizes of constant groups, 1 for 0."""
    return np.where(np.abs(center) > MIN_DEVIATION, np.abs(center), 1.0)


def _compute_by_blocks(values: FloatArray, sizes: IntArray, kind: Scaling) -> tuple[FloatArray, FloatArray]:
    """Return center and scale of groups that are not empty."""
    indptr, center, scale = np.concatenate(([0], np.cumsum(sizes))), np.empty(len(sizes)), np.empty(len(sizes))
    for groups in group_blocks(indptr):
        block = values[indptr[groups.start] : indptr[groups.stop]]
        center[groups], scale[groups] = _STATISTICS[kind](block, sizes[groups])
        release(values)
    return center, scale


def _sum(values: FloatArray, sizes: IntArray, center: FloatArray | None = None) -> FloatArray:
    """Return the sum of the values of each group, or of their squared distances from a center [G]."""

    def summand(rows: slice) -> FloatArray:
        if center is None:
            return values[rows]
        deviation = values[rows] - (center[0] if len(sizes) == 1 else np.repeat(center, sizes))
        return np.asarray(deviation * deviation)

    if len(sizes) > 1 or is_block(len(values)):
        return np.asarray(np.add.reduceat(summand(slice(None)), np.cumsum(sizes) - sizes))

    def sum_halves(begin: int, end: int) -> float:
        """Sum as NumPy does, by halves of halves; only so many rows at a time are in memory."""
        if is_block(end - begin):
            total = float(np.add.reduce(summand(slice(begin, end))))
            release(values)
            return total
        half = (end - begin) // 2
        half -= half % 8
        return sum_halves(begin, begin + half) + sum_halves(begin + half, end)

    return np.array([float(summand(slice(0, 1))[0]) + sum_halves(1, len(values))])


def _standard(values: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
    center: FloatArray = _sum(values, sizes) / sizes
    return center, np.sqrt(_sum(values, sizes, center) / sizes)


def _robust(values: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
    starts = np.cumsum(sizes) - sizes
    if len(sizes) == 1:
        ordered = copy(values)
        ordered.sort()
    else:
        ordered = values[np.lexsort((values, np.repeat(np.arange(len(sizes)), sizes)))]

    def quantile(level: float) -> FloatArray:
        rank = level * (sizes - 1)
        below = np.floor(rank).astype(np.int64)
        low, high = ordered[starts + below], ordered[starts + np.minimum(below + 1, sizes - 1)]
        return np.asarray(low + (rank - below) * (high - low))

    spread = (quantile(0.75) - quantile(0.25)) / NORMAL_IQR
    # where more than half of the values are equal (sales of a slow seller), the deviation replaces the quartiles
    deviation = _standard(values, sizes)[1]
    return quantile(0.5), np.where(spread > MIN_IQR_TO_DEVIATION * deviation, spread, deviation)


def _mean_abs(values: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
    if len(sizes) == 1 and not is_block(len(values)):
        values = map_values(values, np.abs, values.dtype)
    else:
        values = np.abs(values)
    return np.zeros(len(sizes)), _sum(values, sizes) / sizes


_STATISTICS: dict[str, Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]] = {
    "standard": _standard,
    "robust": _robust,
    "mean_abs": _mean_abs,
}
