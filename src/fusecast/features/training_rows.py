"""TrainingRows: the rows of a panel from which statistics may be computed."""

from __future__ import annotations

import numpy as np

from fusecast.config import Scaling
from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.features.scaling import compute_statistics


class TrainingRows:
    """The first ``end[s]`` rows of each series of a panel; series in the order of their names."""

    def __init__(self, panel: Panel, end: IntArray) -> None:
        end = np.clip(end, 0, panel.lengths)
        nonempty = np.flatnonzero(end > 0)
        self.series = np.array(sorted(nonempty.tolist(), key=panel.names.__getitem__), dtype=np.int64)
        self.names = tuple(panel.names[s] for s in self.series.tolist())
        sizes = end[self.series]
        starts = panel.indptr[:-1][self.series]
        self.rows = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        self._bounds = np.cumsum(sizes)
        self.mask = np.zeros(panel.num_rows, dtype=np.bool_)
        self.mask[self.rows] = True

    def values(self, column: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return the present values of a column, end to end, and how many each series has."""
        values = column[self.rows]
        present = ~np.isnan(values)
        until = np.concatenate(([0], np.cumsum(present)))[self._bounds]
        return values[present], np.diff(until, prepend=0)

    def replace_statistics(
        self, center: FloatArray, scale: FloatArray, column: FloatArray, kind: Scaling, *, pooled_scale: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return center and scale [S], those of these series replaced by the statistics of their own rows.

        A series without a value keeps what it has; one that never changes is centered on its value, and has the
        pooled scale.
        """
        own_center, own_scale = compute_statistics(*self.values(column), kind)
        has_values = ~np.isnan(own_center)
        center, scale = center.copy(), scale.copy()
        center[self.series[has_values]] = own_center[has_values]
        scale[self.series[has_values]] = np.where(own_scale[has_values] > 0, own_scale[has_values], pooled_scale)
        return center, scale
