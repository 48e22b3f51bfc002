"""TrainingRows: the only door through which statistics see a panel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.features.scaling import Scales, measure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class TrainingRows:
    """The first ``end[s]`` rows of each series of a panel; series in the order of their names."""

    def __init__(self, panel: Panel, end: Ints) -> None:
        end = np.clip(end, 0, panel.lengths)
        self.names = series_names(panel)
        chosen = np.flatnonzero(end > 0)
        self.series = np.array(sorted(chosen.tolist(), key=self.names.__getitem__), dtype=np.int64)
        sizes = end[self.series]
        starts = panel.indptr[:-1][self.series]
        self.rows = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        self._bounds = np.cumsum(sizes)
        self.mask = np.zeros(panel.num_rows, dtype=np.bool_)
        self.mask[self.rows] = True

    def values(self, column: Floats) -> tuple[Floats, Ints]:
        """Present values of a column, end to end, and how many each series has."""
        values = column[self.rows]
        present = ~np.isnan(values)
        until = np.concatenate(([0], np.cumsum(present)))[self._bounds]
        return values[present], np.diff(until, prepend=0)

    def replace(
        self, center: Floats, scale: Floats, column: Floats, kind: str, *, like: Scales
    ) -> tuple[Floats, Floats]:
        """Give center and scale [S] with those of these series measured from their own rows.

        A series without a value keeps what it has; one that never changes is shifted to its value, and has the
        pooled scale.
        """
        own_center, own_scale = measure(*self.values(column), kind)
        found = ~np.isnan(own_center)
        center, scale = center.copy(), scale.copy()
        center[self.series[found]] = own_center[found]
        scale[self.series[found]] = np.where(own_scale[found] > 0, own_scale[found], like.pooled_scale)
        return center, scale


def series_names(panel: Panel) -> list[str]:
    """Names of the series of a panel, as text."""
    return [str(name) for name in panel.ids.tolist()]
