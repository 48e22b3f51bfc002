"""Values too large to be scaled, such as the sentinels that stand for missing values in some files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import FloatArray, release, row_blocks
from fusecast.errors import DataError

if TYPE_CHECKING:
    from fusecast.config import TargetTransform
    from fusecast.data.panel import Panel

LARGEST = 1e37
"""Size up to which values have a mean and a deviation in float32."""
LARGEST_RATIO = 1e15
"""Size of a value in units of the usual ones of its series from which these are equal when scaled."""
LARGEST_SCALED = 1e18
"""Size of a scaled value up to which it has a square in float32."""


def check_magnitudes(panel: Panel, transform: TargetTransform) -> None:
    """Raise a DataError for the first real value that is too large, by itself or beside the others of its series.

    Statics are compared over the series. With `log1p` targets may be of any size.
    """
    for name, values in panel.reals.items():
        if name in panel.schema.targets and transform != "none":
            continue
        for rows in row_blocks(len(values)):
            large = rows.start + np.flatnonzero(np.abs(values[rows]) >= LARGEST_RATIO)  # few, if any
            release(values)
            for s in np.unique(np.searchsorted(panel.indptr, large, side="right") - 1).tolist():
                begin, end = panel.indptr[s : s + 2].tolist()
                if (row := _find_too_large(values[begin:end])) is not None:
                    raise_too_large(panel, name, values, begin + row)
    for name, values in panel.static_reals.items():
        if (s := _find_too_large(values)) is not None:
            raise DataError.too_large(name, panel.names[s], "every row", float(values[s]))


def check_scaled(panel: Panel, name: str, values: FloatArray, scaled: NDArray[np.float32]) -> None:
    """Raise a DataError for the first of the values [N] of a column that is too large when scaled."""
    too_large = ~(np.abs(scaled) <= LARGEST_SCALED)
    if too_large.any():
        raise_too_large(panel, name, values, int(too_large.argmax()))


def check_scaled_statics(panel: Panel, name: str, values: FloatArray, scaled: NDArray[np.float32]) -> None:
    """Raise a DataError for the first of the values [S] of a static that is too large when scaled."""
    too_large = ~(np.abs(scaled) <= LARGEST_SCALED)
    if too_large.any():
        s = int(too_large.argmax())
        raise DataError.too_large(name, panel.names[s], "every row", float(values[s]))


def raise_too_large(panel: Panel, name: str, values: FloatArray, row: int) -> None:
    """Raise a DataError for the value in a row of a panel."""
    s = int(np.searchsorted(panel.indptr, row, side="right")) - 1
    within = row - int(panel.indptr[s])
    where = f"row {within} of the series, at {panel.times_at([s], [within])[0]}"
    raise DataError.too_large(name, panel.names[s], where, float(values[row]))


def _find_too_large(values: FloatArray) -> int | None:
    sizes = np.abs(values)
    usual = sizes[sizes > 0]
    if not len(usual):
        return None
    too_large = sizes > LARGEST
    if not too_large.any():
        too_large = sizes >= LARGEST_RATIO * np.median(usual)
    return int(too_large.argmax()) if too_large.any() else None
