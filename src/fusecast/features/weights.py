"""Sample weights: how much the rows of a table count in the loss of training and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import BoolArray, FloatArray
from fusecast.errors import DataError

if TYPE_CHECKING:
    from fusecast.data.panel import Panel


def check_weights(panel: Panel) -> None:
    """Raise a DataError for the first weight of a row with a target that is missing, negative or infinite.

    Also where the schema has weights and the panel, of a table without that column, has none.
    """
    weights, name = panel.weights, panel.schema.weight
    if name is None:
        return
    if weights is None:
        raise DataError.no_weights(name)
    wrong = np.flatnonzero(_has_target(panel) & ~((weights >= 0) & np.isfinite(weights)))
    if len(wrong):
        row = int(wrong[0])
        s = int(panel.series_of_row[row])
        within = row - int(panel.indptr[s])
        time = str(panel.times_at([s], [within])[0])
        raise DataError.wrong_weight(name, panel.names[s], within, time, float(weights[row]), len(wrong))


def fit_weight_unit(panel: Panel, is_training: BoolArray) -> float:
    """Return the mean weight of the training rows [N] that have a target; 1 where all rows count alike.

    Raise a DataError for wrong weights, and where all of these rows have weight 0.
    """
    check_weights(panel)
    weights = panel.weights
    if weights is None:
        return 1.0
    used = weights[is_training & _has_target(panel)]
    if not used.any():
        raise DataError.weights_all_zero(str(panel.schema.weight), "training", len(used))
    return float(used.mean())


def encode_weights(panel: Panel, unit: float) -> NDArray[np.float32]:
    """Return the weights of all rows [N, 1] in a unit, 0 where missing; [N, 0] where all rows count alike."""
    weights = panel.weights
    if weights is None:
        return np.empty((panel.num_rows, 0), dtype=np.float32)
    with np.errstate(over="ignore"):  # of tables that are forecast and may hold anything here
        encoded: FloatArray = np.nan_to_num(weights / unit, posinf=0.0, neginf=0.0)
        return encoded.astype(np.float32)[:, None]


def _has_target(panel: Panel) -> BoolArray:
    """Return whether each row has a value of any target, [N]."""
    present: BoolArray = np.logical_or.reduce([~np.isnan(panel.reals[name]) for name in panel.schema.targets])
    return present
