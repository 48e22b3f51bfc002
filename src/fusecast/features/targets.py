"""The values of targets: their transform and its inverse, their lower bound, and what the heads of the network take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from fusecast.data.arrays import BoolArray, FloatArray, IntArray, map_values, release, row_blocks
from fusecast.errors import ConfigError, DataError, DataWarning
from fusecast.errors.base import warn
from fusecast.features.scaling import NORMAL_IQR, compute_pooled_statistics
from fusecast.model.config import Head

if TYPE_CHECKING:
    from fusecast.config import FeatureConfig, Scaling, TargetTransform
    from fusecast.data.panel import Panel
    from fusecast.features.scaling import TrainingRows

COUNT_HEAD: Head = "negative_binomial"
AMOUNT_HEAD: Head = "tweedie"
MAX_SERIES, MIN_VALUES, MAX_SAMPLE = 1_000, 20, 100_000
"""For spikes: series, evenly spread, that are looked at; known values that one needs; rows, evenly spread too, that its
quartiles are taken of."""


def check_targets(panel: Panel, head: Head | Literal["auto"], transform: TargetTransform) -> None:
    """Refuse targets outside the support of the network's head, before any training. Missing values are accepted.

    ``negative_binomial`` needs whole numbers from 0 on, ``tweedie`` any numbers from 0 on, both untransformed; other
    heads take all. Raise a ConfigError when the transform is not ``none``, a DataError with column, series and row of
    the first value that does not fit.
    """
    if head not in (COUNT_HEAD, AMOUNT_HEAD):
        return
    if transform != "none":
        raise ConfigError.transform_with_head(head, transform)
    for target in panel.schema.targets:
        values = panel.reals[target]
        problems = [(_is_negative, "negative values", "'quantile', 'normal' or 'student_t'")]
        if head == COUNT_HEAD:
            problems.append((_is_fractional, "values that are no whole numbers", "'tweedie'"))
        for is_wrong, problem, other_heads in problems:
            if _is_any(values, is_wrong):
                rows = _locate(panel, target, is_wrong(values))
                unsupported = f"{problem}, which network.head={head!r} cannot forecast"
                raise DataError.unsupported_values(target, unsupported, f"network.head={other_heads}", *rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedTargets:
    """The transform of the targets, fitted to training rows, and what their forecasts never lie below.

    `asinh` is that of Uniejewski, Weron and Ziel (2018), who compared sixteen transforms of electricity prices:
    ``asinh((y - center) / scale)`` with the median and a robust deviation, here that of the quartiles. It is nearly
    linear among usual values, and a logarithm far from them on both sides. Center and scale are those of all series
    together: one function for all keeps their levels comparable, as `log1p` does; each is scaled by itself afterwards.
    """

    transform: TargetTransform
    lowest: FloatArray  # [Y] -inf where forecasts have no lower bound
    center: FloatArray  # [Y] of `asinh`
    scale: FloatArray  # [Y]

    @classmethod
    def fit(cls, panel: Panel, training: TrainingRows, config: FeatureConfig) -> Self:
        """Fit to the training rows of all series."""
        values = [training.values(panel.reals[name])[0] for name in panel.schema.targets]
        kind: Scaling = "robust" if config.transform == "asinh" else "none"
        center, scale = zip(*(compute_pooled_statistics(each, kind) for each in values), strict=True)
        bounds = [find_lower_bound(each, config.lower_bound) for each in values]
        return cls.from_dict({"lowest": bounds, "center": center, "scale": scale}, config)

    def transform_rows(self, panel: Panel, target: str) -> FloatArray:
        """Return the transformed values [N] of a target, mapped where these are.

        Raise a DataError that names the series and the row when `log1p` is applied to a negative value.
        """
        values = panel.reals[target]
        self._refuse_negative(values, panel, target)
        return self._transform(values, panel.schema.targets.index(target))

    def training_values(self, panel: Panel, target: str, training: TrainingRows) -> tuple[FloatArray, IntArray]:
        """Return the transformed values of a target in the training rows, and how many each series has.

        Raise a DataError as :meth:`transform_rows`.
        """
        values, counts = training.values(panel.reals[target])
        self._refuse_negative(values, panel, target, training)
        return self._transform(values, panel.schema.targets.index(target)), counts

    def _transform(self, values: FloatArray, y: int) -> FloatArray:
        if self.transform == "none":
            return values
        return map_values(values, lambda block: self._apply(block, self.center[y], self.scale[y]), np.float64)

    def _refuse_negative(
        self, values: FloatArray, panel: Panel, target: str, training: TrainingRows | None = None
    ) -> None:
        if self.transform == "log1p" and _is_any(values, _is_negative):
            negative = panel.reals[target] < 0
            problem = "negative values, for which log1p is not defined"
            where = _locate(panel, target, negative if training is None else negative & training.mask)
            raise DataError.unsupported_values(target, problem, "target_transform='asinh' or 'none'", *where)

    def apply(self, quantiles: FloatArray) -> FloatArray:
        """Return quantiles [..., Y, Q] of targets, none of which is below what the transform takes, transformed."""
        return self._apply(quantiles, self.center[:, None], self.scale[:, None])

    def _apply(self, values: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
        match self.transform:
            case "none":
                return values
            case "log1p":
                return np.asarray(np.log1p(values))
            case "asinh":
                return np.asarray(np.arcsinh((values - center) / scale))

    def invert(self, values: FloatArray) -> FloatArray:
        """Invert the transform of values [..., Y]; those below the lower bound become the bound.

        After `log1p` nothing is negative, with or without a bound.
        """
        match self.transform:
            case "log1p":
                values = np.expm1(values)
            case "asinh":
                values = np.sinh(values) * self.scale + self.center
        return values if np.isneginf(self.lowest).all() else np.maximum(values, self.lowest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; None where there is no bound."""
        lowest = [None if np.isneginf(bound) else bound for bound in self.lowest.tolist()]
        return {"lowest": lowest, "center": self.center.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], config: FeatureConfig) -> Self:
        """Return what :meth:`to_dict` describes; raise a ValueError where it does not, or scales are not positive."""
        least = 0.0 if config.transform == "log1p" else -np.inf
        lowest = [-np.inf if bound is None else float(bound) for bound in values["lowest"]]
        center, scale = (np.array(values[name], dtype=np.float64) for name in ("center", "scale"))
        if not (center.shape == scale.shape == (len(lowest),) and np.isfinite(center).all() and (scale > 0).all()):
            raise ValueError("center and scale of the targets must pair up, and scales be positive")
        return cls(transform=config.transform, lowest=np.maximum(lowest, least), center=center, scale=scale)

    @classmethod
    def without_facts(cls, config: FeatureConfig, count: int) -> Self:
        """Return those of `count` targets as earlier versions took them."""
        return cls.from_dict({"lowest": [None] * count, "center": [0.0] * count, "scale": [1.0] * count}, config)


def find_lower_bound(values: FloatArray, option: float | str) -> float | None:
    """Return what forecasts of a target with such training values never lie below; None for no bound."""
    if option == "auto":
        return 0.0 if values.min(initial=0.0) >= 0 else None
    return None if isinstance(option, str) else float(option)


def measure_spikes(panel: Panel, target: str, train_end: IntArray) -> float:
    """Return the largest deviation from the median in the training rows of a typical series, in robust deviations.

    The robust deviation is the distance of the quartiles over that of a standard normal distribution. Series in which
    it is 0, or is that of fewer than 20 values, do not count; 0 where none is left.
    """
    column, found = panel.reals[target], []
    for s in np.linspace(0, panel.num_series - 1, min(panel.num_series, MAX_SERIES)).astype(np.int64).tolist():
        begin, rows = int(panel.indptr[s]), int(train_end[s])
        sample = np.asarray(column[begin : begin + rows : max(1, rows // MAX_SAMPLE)], dtype=np.float64)
        sample = sample[~np.isnan(sample)]
        if len(sample) < MIN_VALUES:
            continue
        low, median, high = np.quantile(sample, [0.25, 0.5, 0.75])
        blocks = [column[begin + block.start : begin + block.stop] for block in row_blocks(rows)]
        largest = np.fmax.reduce([np.fmax.reduce(np.abs(block - median)) for block in blocks])  # NaN is left out
        release(column)
        if high > low:
            found.append(float(largest / ((high - low) / NORMAL_IQR)))
    return float(np.median(found)) if found else 0.0


def is_count(values: FloatArray) -> bool:
    """Whether all values that are present are whole numbers from 0 on, at least one of them above 1."""
    return (
        not _is_any(values, _is_negative) and not _is_any(values, _is_fractional) and _is_any(values, lambda x: x > 1)
    )


def compute_share_up_to(values: FloatArray, limit: float) -> float:
    """Return the share of values that are at most a limit; 0 where there is no value."""
    count = 0
    for rows in row_blocks(len(values)):
        count += int((values[rows] <= limit).sum())
        release(values)
    return count / max(len(values), 1)


def warn_below_bound(panel: Panel, lowest: FloatArray, begin: IntArray | int = 0, end: IntArray | None = None) -> None:
    """Warn of values of the targets, in rows [begin, end) of each series, below the bounds [Y] of their forecasts.

    All rows by default. ``auto`` has none below in the rows that it was found in.
    """
    begins, ends = np.broadcast_to(begin, panel.num_series), panel.lengths if end is None else end
    below, present = np.zeros(len(lowest), dtype=np.int64), np.zeros(len(lowest), dtype=np.int64)
    for series, block in panel.blocks():
        row, lengths = block.row_in_series, block.lengths
        inside = (row >= np.repeat(begins[series], lengths)) & (row < np.repeat(ends[series], lengths))
        for y, target in enumerate(panel.schema.targets):
            values = block.reals[target][inside]
            below[y] += (values < lowest[y]).sum()
            present[y] += (~np.isnan(values)).sum()
    for target, bound, count, known in zip(
        panel.schema.targets, lowest.tolist(), below.tolist(), present.tolist(), strict=True
    ):
        if count:
            warn(DataWarning.below_lower_bound(target, bound, count, known))


def _is_negative(values: FloatArray) -> BoolArray:
    return values < 0


def _is_fractional(values: FloatArray) -> BoolArray:
    return np.asarray((values != np.rint(values)) & ~np.isnan(values))


def _is_any(values: FloatArray, condition: Callable[[FloatArray], BoolArray]) -> bool:
    """Whether a condition holds for any value."""
    found = False
    for rows in row_blocks(len(values)):
        found = found or bool(condition(values[rows]).any())
        release(values)
    return found


def _locate(panel: Panel, target: str, wrong: BoolArray) -> tuple[list[object], int, float]:
    """Return the ids of the series with rows in a mask [N], its first row (within its series), and the value there."""
    rows = np.flatnonzero(wrong)
    series = np.searchsorted(panel.indptr, rows, side="right") - 1
    ids = panel.ids[np.unique(series)].tolist()
    return ids, int(rows[0] - panel.indptr[series[0]]), float(panel.reals[target][rows[0]])
