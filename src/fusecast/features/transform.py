"""Transforms of the targets, made before scaling and undone after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import DataError

Floats = NDArray[np.float64]


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
