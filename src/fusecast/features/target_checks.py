"""Checks of the target's values: whether a transform and the head of the network can take them."""

from __future__ import annotations

import numpy as np

from fusecast.data.arrays import BoolArray
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError, DataError

COUNT_HEAD, AMOUNT_HEAD = "negative_binomial", "tweedie"


def check_targets(panel: Panel, head: str, transform: str) -> None:
    """Refuse targets outside the support of the network's head, before any training. Missing values are accepted.

    Parameters
    ----------
    head
        ``negative_binomial`` needs whole numbers from 0 on, ``tweedie`` any numbers from 0 on; other heads take all.
    transform
        Of the targets; these two heads need them as they are.

    Raises
    ------
    ConfigError
        When the transform is not ``none``.
    DataError
        Naming column, series and row of the first value that does not fit.
    """
    if head not in (COUNT_HEAD, AMOUNT_HEAD):
        return
    if transform != "none":
        raise ConfigError.transform_with_head(head, transform)
    for target in panel.schema.targets:
        values = panel.reals[target]
        _refuse(values < 0, panel, head, target, "negative values", "'quantile', 'normal' or 'student_t'")
        if head == COUNT_HEAD:
            fractional = values != np.where(np.isnan(values), values, np.rint(values))
            _refuse(
                fractional & ~np.isnan(values), panel, head, target, "values that are no whole numbers", "'tweedie'"
            )


def locate_rows(panel: Panel, mask: BoolArray) -> tuple[list[object], int, int]:
    """Return the ids of the series with rows in a mask [N], and its first row: within its series, and in the panel."""
    rows = np.flatnonzero(mask)
    series = np.searchsorted(panel.indptr, rows, side="right") - 1
    ids = panel.ids.tolist()
    return [ids[s] for s in np.unique(series)], int(rows[0] - panel.indptr[series[0]]), int(rows[0])


def _refuse(wrong: BoolArray, panel: Panel, head: str, target: str, problem: str, other_heads: str) -> None:
    if wrong.any():
        ids, row, first = locate_rows(panel, wrong)
        value = float(panel.reals[target][first])
        raise DataError.unsupported_by_head(head, target, problem, ids, row, value, other_heads)
