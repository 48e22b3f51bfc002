"""The values of targets: their transform and its inverse, and whether the head of the network can take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.arrays import BoolArray, FloatArray
from fusecast.errors import ConfigError, DataError
from fusecast.model.config import Head

if TYPE_CHECKING:
    from fusecast.config import TargetTransform
    from fusecast.data.panel import Panel

COUNT_HEAD: Head = "negative_binomial"
AMOUNT_HEAD: Head = "tweedie"


def check_targets(panel: Panel, head: Head, transform: TargetTransform) -> None:
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
        problems = [(values < 0, "negative values", "'quantile', 'normal' or 'student_t'")]
        if head == COUNT_HEAD:
            fractional = (values != np.rint(values)) & ~np.isnan(values)
            problems.append((fractional, "values that are no whole numbers", "'tweedie'"))
        for wrong, problem, other_heads in problems:
            if wrong.any():
                rows = _locate(panel, target, wrong)
                unsupported = f"{problem}, which network.head={head!r} cannot forecast"
                raise DataError.unsupported_values(target, unsupported, f"network.head={other_heads}", *rows)


def transform_target(
    panel: Panel, target: str, transform: TargetTransform, rows: BoolArray | None = None
) -> FloatArray:
    """Return the transformed values [N] of a target; with a mask `rows` [N], only of those rows, NaN in the others.

    Raise a DataError that names the series and the row when `log1p` is applied to a negative value.
    """
    values = panel.reals[target]
    if transform == "none":
        return values
    negative = values < 0 if rows is None else (values < 0) & rows
    if negative.any():
        problem, where = "negative values, for which log1p is not defined", _locate(panel, target, negative)
        raise DataError.unsupported_values(target, problem, "target_transform='none'", *where)
    return np.asarray(np.log1p(values if rows is None else np.where(rows, values, np.nan)))


def apply_transform(values: FloatArray, transform: TargetTransform) -> FloatArray:
    """Return values of targets, none of which is below what the transform takes, transformed."""
    return values if transform == "none" else np.log1p(values)


def invert_transform(values: FloatArray, transform: TargetTransform) -> FloatArray:
    """Invert :func:`transform_target`; what would be negative after `log1p` becomes 0."""
    return values if transform == "none" else np.maximum(np.expm1(values), 0.0)


def _locate(panel: Panel, target: str, wrong: BoolArray) -> tuple[list[object], int, float]:
    """Return the ids of the series with rows in a mask [N], its first row (within its series), and the value there."""
    rows = np.flatnonzero(wrong)
    series = np.searchsorted(panel.indptr, rows, side="right") - 1
    ids = panel.ids[np.unique(series)].tolist()
    return ids, int(rows[0] - panel.indptr[series[0]]), float(panel.reals[target][rows[0]])
