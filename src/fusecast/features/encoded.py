"""EncodedPanel: a panel as the network's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusecast.features.inputs import Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPanel:
    """Scaled reals and category codes of every row; rows and series are those of the panel it was made from."""

    inputs: Inputs
    indptr: NDArray[np.int64]  # [S + 1]
    reals: NDArray[np.float32]  # [N, V] targets, observed, known (without relative position); 0 where missing
    reals_present: NDArray[np.bool_]  # [N, V], or [N, 0] when no value is missing anywhere
    categories: NDArray[np.int32]  # [N, V] observed, known; 0 = unknown or missing
    static_reals: NDArray[np.float32]  # [S, V]
    static_reals_present: NDArray[np.bool_]  # [S, V], or [S, 0]
    static_categories: NDArray[np.int32]  # [S, V]
    center: NDArray[np.float64]  # [S, Y]: value = scaled * scale + center
    scale: NDArray[np.float64]  # [S, Y]
    window_scaling: str = "none"  # "mean" or "last": each window's targets are scaled once more by its own lookback
