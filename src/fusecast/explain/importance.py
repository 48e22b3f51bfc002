"""Importance of variables: means and percentiles of the selection weights, over time and by step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from fusecast.data.panel import Panel
from fusecast.data.time_grid import split_months
from fusecast.explain.streaming_percentiles import EXACT_VALUES, Distribution
from fusecast.features.encoded_panel import Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The selection weight of one variable: a share of 1 among the variables of its group.

    Percentiles are over samples, as in the tables of the paper's section 7.1: over windows for static variables,
    over all steps of all windows for past and future ones.
    """

    group: str  # static, past, future
    variable: str
    mean: float
    p10: float
    p50: float
    p90: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values: one row of a table."""
        return asdict(self)


class ImportanceTally:
    """Gathers selection weights batch by batch; memory does not grow with the windows.

    Steps that are masked (padding, or nothing in them) are not counted. Percentiles are exact for small amounts and
    within a histogram's bin beyond, see :class:`~fusecast.explain.streaming_percentiles.Distribution`.
    """

    def __init__(self, inputs: Inputs, exact_values: int = EXACT_VALUES) -> None:
        self._names = {"static": inputs.static_names, "past": inputs.past_names, "future": inputs.future_names}
        self._weights = {group: Distribution(len(names), exact_values) for group, names in self._names.items()}

    def add(self, batch: Batch, output: Output) -> None:
        """Count in the windows of a batch."""
        past = to_numpy(output.past_weights)
        self._weights["static"].add(to_numpy(output.static_weights))
        self._weights["past"].add(past[steps_present(batch, past)])
        future = to_numpy(output.future_weights)
        self._weights["future"].add(future.reshape(future.shape[0] * future.shape[1], future.shape[2]))

    def table(self) -> list[Importance]:
        """One row a variable: static, past, future, each in order of falling mean. Empty without windows."""
        rows = []
        for group, names in self._names.items():
            weights = self._weights[group]
            if not names or not weights.count.any():
                continue
            mean = weights.mean()
            low, middle, high = weights.percentiles((10, 50, 90))
            rows += [
                Importance(
                    group=group,
                    variable=names[v],
                    mean=float(mean[v]),
                    p10=float(low[v]),
                    p50=float(middle[v]),
                    p90=float(high[v]),
                )
                for v in np.argsort(-mean, kind="stable")
            ]
        return rows


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Bring the values of any precision and device to float64."""
    return values.detach().double().cpu().numpy()


def steps_present(batch: Batch, past: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which past steps hold something, [B, L]; `past` is anything [B, L, ...]."""
    if batch.past_mask.shape[-1] == 0:
        return np.ones(past.shape[:2], dtype=bool)
    present: NDArray[np.bool_] = batch.past_mask.cpu().numpy()
    return present


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
