"""Importance over time and by step: when a variable counts, and how far ahead or back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.batch import Batch, Output
from fusecast.data.clock import split_months
from fusecast.data.panel import Panel
from fusecast.explain.distribution import EXACT_VALUES, Distribution
from fusecast.explain.importance import steps_present, to_numpy
from fusecast.features.inputs import Inputs
from fusecast.windows.index import WindowIndex

MOST_BINS = 60


@dataclass(frozen=True)
class _Bins:
    """Equal spans of steps between the first and the last step that any window sees."""

    first: int
    width: int
    count: int


class ImportanceByStep:
    """Gathers selection weights by position in the window and by date; memory does not grow with the windows."""

    def __init__(self, inputs: Inputs, panel: Panel, index: WindowIndex, exact_values: int = EXACT_VALUES) -> None:
        self._panel, self._index = panel, index
        L, H = index.lookback, index.horizon
        self._groups = {"past": inputs.past_names, "future": inputs.future_names}
        self._positions = {"past": np.arange(-L, 0), "future": np.arange(H)}
        self._weights = {
            group: Distribution(len(self._positions[group]) * len(names), exact_values)
            for group, names in self._groups.items()
        }
        self._bins = self._make_bins()
        self._sums = {group: np.zeros((self._bins.count, len(names))) for group, names in self._groups.items()}
        self._counts = {group: np.zeros(self._bins.count, dtype=np.int64) for group in self._groups}
        self._begins = np.full(self._bins.count, np.iinfo(np.int64).max)

    def add(self, numbers: NDArray[np.int64], batch: Batch, output: Output) -> None:
        """Count in the windows of a batch, which have these numbers in the index. Masked steps do not count."""
        series, cutoff = self._index.locate(numbers)
        for group, weights in (("past", output.past_weights), ("future", output.future_weights)):
            values = to_numpy(weights)
            present = steps_present(batch, values) if group == "past" else np.ones(values.shape[:2], dtype=np.bool_)
            masked = np.where(present[..., None], values, np.nan)
            self._weights[group].add(masked.reshape(len(values), -1))
            row = cutoff[:, None] + self._positions[group]
            ticks = self._ticks(np.broadcast_to(series[:, None], row.shape)[present], row[present])
            bins = (self._steps(ticks) - self._bins.first) // self._bins.width
            np.add.at(self._sums[group], bins, values[present])
            self._counts[group] += np.bincount(bins, minlength=self._bins.count)
            np.minimum.at(self._begins, bins, ticks)

    def by_position(self) -> pl.DataFrame:
        """One row a group, position and variable: mean and percentiles over windows.

        Position -1 is the last known step, 0 the first step forecast.
        """
        frames = []
        for group, names in self._groups.items():
            positions, gathered = self._positions[group], self._weights[group]
            if not names:
                continue
            low, middle, high = gathered.percentiles((10, 50, 90))
            frames.append(
                pl.DataFrame(
                    {
                        "group": [group] * (len(positions) * len(names)),
                        "position": np.repeat(positions, len(names)),
                        "variable": list(names) * len(positions),
                        "mean": gathered.mean(),
                        "p10": low,
                        "p50": middle,
                        "p90": high,
                    },
                    nan_to_null=True,
                ).drop_nulls("mean")
            )
        return pl.concat(frames) if frames else pl.DataFrame()

    def over_time(self) -> pl.DataFrame:
        """One row a group, span of time and variable: mean weight of the steps in the span, and how many they are.

        At most 60 equal spans; `time` is the first step of each that was seen. Steps are dated by themselves: the
        past group by the steps looked back at, the future group by the steps forecast.
        """
        frames = []
        for group, names in self._groups.items():
            some = np.flatnonzero(self._counts[group])
            if not names or not some.size:
                continue
            count = self._counts[group][some]
            frames.append(
                pl.DataFrame(
                    {
                        "group": [group] * (len(some) * len(names)),
                        "time": self._panel.clock.times(np.repeat(self._begins[some], len(names))),
                        "variable": list(names) * len(some),
                        "mean": (self._sums[group][some] / count[:, None]).ravel(),
                        "steps": np.repeat(count, len(names)),
                    }
                )
            )
        return pl.concat(frames) if frames else pl.DataFrame()

    def _make_bins(self) -> _Bins:
        busy = np.flatnonzero(self._index.counts)
        if not busy.size:
            return _Bins(0, 1, 1)
        first = np.maximum(0, self._index.first_cutoff[busy] - self._index.lookback)
        last = self._index.first_cutoff[busy] + (self._index.counts[busy] - 1) * self._index.stride
        begin = int(self._steps(self._ticks(busy, first)).min())
        end = int(self._steps(self._ticks(busy, last + self._index.horizon - 1)).max())
        width = -(-(end - begin + 1) // MOST_BINS)
        return _Bins(begin, width, (end - begin) // width + 1)

    def _ticks(self, series: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._panel.clock.advance(self._panel.start[series], row)

    def _steps(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number the steps on one scale for all series."""
        step = self._panel.clock.step
        return split_months(ticks)[0] // step.months if step.months else ticks // step.width
