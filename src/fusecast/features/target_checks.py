"""Support: whether the targets are values that the head of a network can forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError, DataError

COUNTS, AMOUNTS = "negative_binomial", "tweedie"


def check_support(panel: Panel, head: str, transform: str) -> None:
    """Refuse targets that a head gives no chance, before any training. Missing values are no obstacle.

    Parameters
    ----------
    head
        Of the network: ``negative_binomial`` takes whole numbers from 0 on, ``tweedie`` any from 0 on, others all.
    transform
        Of the targets; these two heads take them as they are.

    Raises
    ------
    ConfigError
        When the transform is another than ``none``.
    DataError
        Naming column, series and row of the first value that does not fit.
    """
    if head not in (COUNTS, AMOUNTS):
        return
    if transform != "none":
        raise ConfigError.transform_with_head(head, transform)
    for target in panel.schema.targets:
        values = panel.reals[target]
        _refuse(values < 0, panel, head, target, "negative values", "'quantile', 'normal' or 'student_t'")
        if head == COUNTS:
            odd = values != np.where(np.isnan(values), values, np.rint(values))
            _refuse(odd & ~np.isnan(values), panel, head, target, "values that are no whole numbers", "'tweedie'")


def _refuse(wrong: NDArray[np.bool_], panel: Panel, head: str, target: str, what: str, instead: str) -> None:
    if not wrong.any():
        return
    bad = np.flatnonzero(wrong)
    series = np.searchsorted(panel.indptr, bad, side="right") - 1
    ids = panel.ids.tolist()
    names = [ids[number] for number in np.unique(series)]
    row = int(bad[0] - panel.indptr[series[0]])
    raise DataError.not_for_head(head, target, what, names, row, float(panel.reals[target][bad[0]]), instead)
