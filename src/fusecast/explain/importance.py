"""Importance of variables: mean and percentiles of their selection weights, overall, by position and over time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from torch import Tensor

from fusecast.data.arrays import BoolArray, FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.data.time_grid import split_months
from fusecast.explain.streaming_percentiles import EXACT_VALUES, StreamingPercentiles
from fusecast.features.encoded_panel import Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex

PERCENTS = (10, 50, 90)
MAX_TIME_BINS = 60


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


class ImportanceTally:
    """Accumulates selection weights batch by batch; memory does not grow with the windows.

    Masked steps (padding, or steps without values) are not counted.
    """

    def __init__(self, inputs: Inputs, exact_values: int = EXACT_VALUES) -> None:
        self._names = {"static": inputs.static_names, "past": inputs.past_names, "future": inputs.future_names}
        self._weights = {group: StreamingPercentiles(len(names), exact_values) for group, names in self._names.items()}

    def add(self, batch: Batch, output: Output) -> None:
        """Add the windows of a batch."""
        past = to_numpy(output.past_weights)
        future = to_numpy(output.future_weights)
        self._weights["static"].add(to_numpy(output.static_weights))
        self._weights["past"].add(past[present_steps(batch, past)])
        self._weights["future"].add(future.reshape(future.shape[0] * future.shape[1], future.shape[2]))

    def table(self) -> list[Importance]:
        """Return one row a variable: static, past, future, each by falling mean. Empty without windows."""
        rows = []
        for group, names in self._names.items():
            weights = self._weights[group]
            if not names or not weights.count.any():
                continue
            mean = weights.mean()
            p10, p50, p90 = weights.percentiles(PERCENTS).tolist()
            rows += [
                Importance(group=group, variable=names[v], mean=float(mean[v]), p10=p10[v], p50=p50[v], p90=p90[v])
                for v in np.argsort(-mean, kind="stable")
            ]
        return rows


class ImportanceByStep:
    """Accumulates selection weights by position in the window and by date; memory does not grow with the windows."""

    def __init__(self, inputs: Inputs, panel: Panel, index: WindowIndex, exact_values: int = EXACT_VALUES) -> None:
        self._panel, self._index = panel, index
        self._names = {"past": inputs.past_names, "future": inputs.future_names}
        self._positions = {"past": np.arange(-index.lookback, 0), "future": np.arange(index.horizon)}
        self._weights = {
            group: StreamingPercentiles(len(self._positions[group]) * len(names), exact_values)
            for group, names in self._names.items()
        }
        self._first_step, self._bin_width, bins = self._time_bins()
        self._sums = {group: np.zeros((bins, len(names))) for group, names in self._names.items()}
        self._counts = {group: np.zeros(bins, dtype=np.int64) for group in self._names}
        self._first_ticks = np.full(bins, np.iinfo(np.int64).max)

    def add(self, windows: IntArray, batch: Batch, output: Output) -> None:
        """Add the windows of a batch, numbered as in the index. Masked steps do not count."""
        series, cutoff = self._index.locate(windows)
        for group, weights in (("past", output.past_weights), ("future", output.future_weights)):
            values = to_numpy(weights)
            present = present_steps(batch, values) if group == "past" else np.ones(values.shape[:2], dtype=np.bool_)
            masked = np.where(present[..., None], values, np.nan)
            self._weights[group].add(masked.reshape(len(values), -1))
            row = cutoff[:, None] + self._positions[group]
            ticks = self._ticks(np.broadcast_to(series[:, None], row.shape)[present], row[present])
            bins = (self._step_numbers(ticks) - self._first_step) // self._bin_width
            np.add.at(self._sums[group], bins, values[present])
            self._counts[group] += np.bincount(bins, minlength=len(self._first_ticks))
            np.minimum.at(self._first_ticks, bins, ticks)

    def by_position(self) -> pl.DataFrame:
        """Return one row a group, position (0: the first step forecast) and variable: mean and percentiles."""
        frames = []
        for group, names in self._names.items():
            if not names:
                continue
            positions, weights = self._positions[group], self._weights[group]
            columns = {
                "group": [group] * (len(positions) * len(names)),
                "position": np.repeat(positions, len(names)),
                "variable": list(names) * len(positions),
                "mean": weights.mean(),
                **dict(zip(("p10", "p50", "p90"), weights.percentiles(PERCENTS), strict=True)),
            }
            frames.append(pl.DataFrame(columns, nan_to_null=True).drop_nulls("mean"))
        return pl.concat(frames) if frames else pl.DataFrame()

    def over_time(self) -> pl.DataFrame:
        """Return one row a group, span of time and variable: mean weight over the steps of the span, and their number.

        At most 60 equal spans; `time` is the first counted step of each. The past group is dated by the steps of the
        lookback, the future group by the steps forecast.
        """
        frames = []
        for group, names in self._names.items():
            used = np.flatnonzero(self._counts[group])
            if not names or not used.size:
                continue
            count = self._counts[group][used]
            columns = {
                "group": [group] * (len(used) * len(names)),
                "time": self._panel.time_grid.times(np.repeat(self._first_ticks[used], len(names))),
                "variable": list(names) * len(used),
                "mean": (self._sums[group][used] / count[:, None]).ravel(),
                "steps": np.repeat(count, len(names)),
            }
            frames.append(pl.DataFrame(columns))
        return pl.concat(frames) if frames else pl.DataFrame()

    def _time_bins(self) -> tuple[int, int, int]:
        """Return the number of the first step of any window, and the width in steps and the count of equal bins."""
        series = np.flatnonzero(self._index.counts)
        if not series.size:
            return 0, 1, 1
        first = np.maximum(0, self._index.first_cutoff[series] - self._index.lookback)
        last = self._index.first_cutoff[series] + (self._index.counts[series] - 1) * self._index.stride
        begin = int(self._step_numbers(self._ticks(series, first)).min())
        end = int(self._step_numbers(self._ticks(series, last + self._index.horizon - 1)).max())
        width = math.ceil((end - begin + 1) / MAX_TIME_BINS)
        return begin, width, (end - begin) // width + 1

    def _ticks(self, series: IntArray, row: IntArray) -> IntArray:
        return self._panel.time_grid.advance(self._panel.start[series], row)

    def _step_numbers(self, ticks: IntArray) -> IntArray:
        """Number the steps on one scale for all series."""
        step = self._panel.time_grid.step
        return split_months(ticks)[0] // step.months if step.months else ticks // step.width


def to_numpy(values: Tensor) -> FloatArray:
    """Return the values of any precision and device in float64."""
    return values.detach().double().cpu().numpy()


def present_steps(batch: Batch, past: FloatArray) -> BoolArray:
    """Return which past steps are not masked, [B, L]; `past` is anything [B, L, ...]."""
    if batch.past_mask.shape[-1] == 0:
        return np.ones(past.shape[:2], dtype=bool)
    return np.asarray(batch.past_mask.cpu().numpy())
