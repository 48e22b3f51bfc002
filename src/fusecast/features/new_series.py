"""NewSeries: series without training rows, and their scales: from their own rows before a cutoff, or from statics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.arrays import FloatArray, IntArray, empty, release
from fusecast.features.scaling import Scales, compute_statistics
from fusecast.features.targets import FittedTargets

if TYPE_CHECKING:
    from fusecast.config import FeatureConfig, Scaling
    from fusecast.data.panel import Panel

ENOUGH_VALUES = 9
"""Values from which the deviation of a series is its own alone; with fewer it moves towards the usual one."""
MAX_HISTORY = 1000
"""Rows before a cutoff that scales are computed from, or the lookback where it is longer."""
MOST_SIMILAR = 5
"""Series of the training whose scales a series without history takes, where they are compared by numbers."""
LEAST_SHARE = 0.01
"""Least weight of a static category in the search for similar series."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NewSeries:
    """Values of K series without training rows, in C columns that are scaled series by series, and their usual scales.

    A column has the same transform as the rows of the training, and no scale yet.
    """

    position: IntArray  # [S] number among the K series; -1 for the series of the training
    columns: IntArray  # [C] numbers of the columns among the reals of an encoded panel, targets first
    kinds: tuple[Scaling, ...]  # [C] statistics of the scales
    indptr: IntArray = field(repr=False)  # [K + 1]: series k has the rows indptr[k] to indptr[k + 1]
    values: FloatArray = field(repr=False)  # [N, C] NaN where missing
    center: FloatArray = field(repr=False)  # [K, C] where no value is known: of similar series, or of all together
    scale: FloatArray = field(repr=False)  # [K, C]
    share: FloatArray = field(repr=False)  # [C] usual scale of a series in relation to its level
    least: FloatArray = field(repr=False)  # [C] least scale in the training
    usual: FloatArray = field(repr=False)  # [2, Y] usual mean and deviation of a target, in units of its series

    def compute_scales(self, number: IntArray, cutoff: IntArray, lookback: int) -> tuple[FloatArray, FloatArray]:
        """Return center and scale [W, C] of series `number` [W] by their values before the cutoffs [W] alone.

        With one value the scale is the usual share of its size, with :data:`ENOUGH_VALUES` or more the statistic of
        the values, with a number in between a mean of both on the log scale. A series that never changes has the usual
        share.
        """
        begin = np.maximum(cutoff - max(lookback, MAX_HISTORY), 0)
        sizes = cutoff - begin
        ends = np.cumsum(sizes)
        rows = np.repeat(self.indptr[number] + begin - (ends - sizes), sizes) + np.arange(sizes.sum())
        center, scale = self.center[number].copy(), self.scale[number].copy()
        for column, kind in enumerate(self.kinds):
            history = self.values[rows, column]
            present = ~np.isnan(history)
            counts = np.diff(np.concatenate(([0], np.cumsum(present)))[ends], prepend=0)
            known = counts > 0
            middle, spread = (each[known] for each in compute_statistics(history[present], counts, kind))
            size = compute_statistics(np.abs(history[present]), counts, "mean_abs")[1][known]
            usual = np.where(size > 0, size * self.share[column], self.least[column])
            own = np.where(spread > 0, spread, usual)
            weight = weigh_deviation(counts[known])
            center[known, column], scale[known, column] = middle, own**weight * usual ** (1 - weight)
        return center, scale


def weigh_deviation(count: IntArray) -> FloatArray:
    """Return the weight of the deviation of so many values: 0 for one, 1 for :data:`ENOUGH_VALUES` or more."""
    return np.asarray(np.clip((count - 1) / (ENOUGH_VALUES - 1), 0.0, 1.0))


def compute_usual(values: FloatArray, counts: IntArray, scales: Scales) -> tuple[float, float]:
    """Return the medians over the series of their mean and deviation, in units of the series: about 0 and 1.

    With `mean_abs`, which has no center, they are about 1 and the usual deviation in relation to the level.
    """
    middle, spread = compute_statistics(values, counts, "standard")
    filled = ~np.isnan(middle)
    center, scale = (each[filled] for each in (scales.center, scales.scale))
    changing = spread[filled][spread[filled] > 0] / scale[spread[filled] > 0]
    return float(np.median((middle[filled] - center) / scale)), float(np.median(changing)) if len(changing) else 1.0


def usual_share(scales: Scales) -> float:
    """Return the median over the series of their scale in relation to their level, at most 1."""
    return float(np.median(scales.scale / np.maximum(np.abs(scales.center), scales.scale)))


def find_new_series(
    panel: Panel,
    position: IntArray,
    scales_by_column: Mapping[str, Scales],
    config: FeatureConfig,
    fitted_targets: FittedTargets,
    usual: Mapping[str, tuple[float, float]],
    similar_series: Callable[[Panel, IntArray], list[IntArray]],
) -> NewSeries | None:
    """Return the series of a panel without training rows, at the positions [S] below 0.

    None where there are none, or no column is scaled series by series. `usual` has the usual mean and deviation of
    targets in units of their series; `similar_series` returns which series of the training others resemble.
    """
    new, targets = np.flatnonzero(position < 0), panel.schema.targets
    own = {
        name: (column, scales) for column, (name, scales) in enumerate(scales_by_column.items()) if not scales.shared
    }
    if not len(new) or not own:
        return None
    panel = panel.select(new)
    values = empty((panel.num_rows, len(own)), np.float64, next(iter(panel.reals.values())))
    for column, name in enumerate(own):
        values[:, column] = fitted_targets.transform_rows(panel, name) if name in targets else panel.reals[name]
        release(values, panel.reals[name])
    scales = [each for _, each in own.values()]
    pooled = np.array([(each.pooled_center, each.pooled_scale) for each in scales]).T
    center, scale = (np.tile(each, (len(new), 1)) for each in pooled)
    first = values[np.minimum(panel.indptr[:-1], len(values) - 1)] if len(values) else np.full_like(center, np.nan)
    late = np.flatnonzero(np.isnan(first).any(axis=1))
    for number, similar in zip(late.tolist(), similar_series(panel, late), strict=True):
        if len(similar):
            center[number] = [typical(each.center[similar]) for each in scales]
            scale[number] = [typical(each.scale[similar]) for each in scales]
    return NewSeries(
        position=np.where(position < 0, np.cumsum(position < 0) - 1, -1),
        columns=np.array([column for column, _ in own.values()], dtype=np.int64),
        kinds=tuple(config.target_scaling if name in targets else config.covariate_scaling for name in own),
        indptr=panel.indptr,
        values=values,
        center=center,
        scale=scale,
        share=np.array([usual_share(each) for each in scales]),
        least=np.array([each.scale.min() for each in scales]),
        usual=np.array([usual.get(name, (0.0, 1.0)) for name in own if name in targets]).reshape(-1, 2).T,
    )


StaticValues = tuple[FloatArray, float]
"""A static of the series of the training [S], and of a new series."""


def explained_share(codes: FloatArray, level: FloatArray) -> float:
    """Return the share of the variance of levels that a category explains, adjusted for the number of its values.

    At least :data:`LEAST_SHARE`, so that every category counts.
    """
    groups = np.unique(codes, return_inverse=True)[1]
    sizes = np.bincount(groups)
    within = level - (np.bincount(groups, level) / sizes)[groups]
    total, free = float(level.var()), len(level) - len(sizes)
    if total == 0 or free <= 0:
        return LEAST_SHARE
    return max(LEAST_SHARE, 1 - float((within**2).sum()) / free / (total * len(level) / max(len(level) - 1, 1)))


def find_similar_series(
    trained: Mapping[str, FloatArray],
    new: Mapping[str, FloatArray],
    categorical: Collection[str],
    scales: Scales,
    count: int,
) -> list[IntArray]:
    """Return which series of the training each of count new ones resembles, by their statics ([S] and [count]).

    A category counts by the share of the variance of levels, on the log scale, that it explains.
    """
    level = np.log(np.abs(scales.center) + scales.scale)
    categories, reals = ([name for name in new if (name in categorical) is kind] for kind in (True, False))
    weights = [1.0 if scales.shared else explained_share(trained[name], level) for name in categories]
    return [
        find_similar(
            [(trained[name], float(new[name][k])) for name in categories],
            [(trained[name], float(new[name][k])) for name in reals],
            weights,
        )
        for k in range(count)
    ]


def find_similar(
    categories: Sequence[StaticValues], reals: Sequence[StaticValues], weights: Sequence[float]
) -> IntArray:
    """Return the numbers of the series of the training that a new one resembles; none where statics do not tell.

    Categories come first (code 0 is equal to none): the series whose equal ones have the largest sum of `weights`.
    Among these, the :data:`MOST_SIMILAR` nearest in the reals, each divided by its deviation, on the log scale where
    all of its values are positive.
    """
    if not categories and not reals:
        return np.empty(0, dtype=np.int64)
    size = len((*categories, *reals)[0][0])
    equal = np.zeros(size)
    for (codes, code), weight in zip(categories, weights, strict=True):
        equal += weight * ((codes == code) & (code > 0))
    similar = np.flatnonzero(equal == equal.max(initial=0.0))
    distance, compared = np.zeros(size), np.zeros(size)
    for values, value in reals:
        if np.isnan(value) or np.isnan(values).all():
            continue
        if value > 0 and np.nanmin(values) > 0:
            values, value = np.log(values), np.log(value)  # noqa: PLW2901
        step = (values - value) / (np.nanstd(values) or 1.0)
        distance += np.nan_to_num(step) ** 2
        compared += ~np.isnan(step)
    comparable = similar[compared[similar] > 0]
    if not len(comparable):
        return similar if equal.max(initial=0.0) > 0 else np.empty(0, dtype=np.int64)
    mean = distance[comparable] / compared[comparable]
    return np.sort(comparable[np.argsort(mean, kind="stable")[:MOST_SIMILAR]])


def typical(values: FloatArray) -> float:
    """Return the median of numbers, on the log scale where all are positive."""
    return float(np.exp(np.median(np.log(values))) if (values > 0).all() else np.median(values))
