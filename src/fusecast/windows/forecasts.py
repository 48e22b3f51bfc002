"""Forecasts: what comes back for the windows of an index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasts:
    """Quantile forecasts of W windows, in the units of the data."""

    series: NDArray[np.int64]  # [W] number of the series in the panel
    cutoff: NDArray[np.int64]  # [W] row of the series that is forecast first
    quantiles: NDArray[np.float64]  # [W, H, Y, Q]
    levels: tuple[float, ...]  # Q quantile levels
