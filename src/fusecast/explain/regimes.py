"""Regime shifts and significant events: windows whose attention differs from the usual."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from fusecast.data.arrays import BoolArray, FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.explain.attention import AttentionStore

MIN_WINDOWS = 30
"""Windows that a series needs for a separate average and threshold; those with fewer share one."""
MAX_DEVIATIONS = 5.0
MIN_EXCESS = 0.2
"""Least distance beyond the median that is flagged: about what moving 8% of the attention to other steps makes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Regimes:
    """How far the attention of each window lies from the average, and which windows stand out."""

    series: IntArray  # [W]
    cutoff: IntArray  # [W]
    distance: FloatArray  # [W], 0 to 1
    threshold: FloatArray  # [W], of the window's series

    @property
    def flagged(self) -> BoolArray:
        """Windows above their threshold, [W]."""
        return self.distance > self.threshold

    def to_frame(self, panel: Panel) -> pl.DataFrame:
        """Return one row a window: series (name), its ids, time (of the first step), distance, threshold, flagged."""
        return pl.DataFrame(
            {
                "series": _series_names(panel, self.series),
                **panel.ids_beside_names(self.series),
                "time": panel.times_at(self.series, self.cutoff),
                "distance": self.distance,
                "threshold": self.threshold,
                "flagged": self.flagged,
            }
        )

    def events(self, panel: Panel, gap: int) -> pl.DataFrame:
        """Return one row an event, the farthest first: flagged windows of a series at most `gap` steps apart.

        Columns: series (its name), its ids, begin and end (times of the first steps forecast), windows flagged, time
        and distance of the farthest window.
        """
        flagged = np.flatnonzero(self.flagged)
        series, cutoff, distance = self.series[flagged], self.cutoff[flagged], self.distance[flagged]
        starts = np.ones(len(flagged), dtype=np.bool_)
        starts[1:] = (np.diff(series) != 0) | (np.diff(cutoff) > gap)
        first = np.flatnonzero(starts)
        last = np.append(first, len(flagged))[1:] - 1
        peak = np.array([a + distance[a : b + 1].argmax() for a, b in zip(first, last, strict=True)], dtype=np.int64)
        frame = pl.DataFrame(
            {
                "series": _series_names(panel, series[first]),
                **panel.ids_beside_names(series[first]),
                "begin": panel.times_at(series[first], cutoff[first]),
                "end": panel.times_at(series[last], cutoff[last]),
                "windows": last - first + 1,
                "peak": panel.times_at(series[peak], cutoff[peak]),
                "distance": distance[peak],
            }
        )
        return frame.sort("distance", descending=True, maintain_order=True)


def find_regimes(
    store: AttentionStore,
    series: IntArray,
    cutoff: IntArray,
    *,
    threshold: float | None = None,
    min_windows: int = MIN_WINDOWS,
) -> Regimes:
    """Measure the distance of section 7.3 of the paper for every window, and flag the windows that stand out.

    With a(t, tau) the attention of window t at step ahead tau, a distribution over positions, and abar(tau) its
    average over the windows of the series:

        kappa(p, q) = sqrt(1 - sum_j sqrt(p_j q_j))                  the Bhattacharyya coefficient is the sum
        dist(t) = mean over tau of kappa(abar(tau), a(t, tau))

    Positions that are masked in a window are left out of its average, which is then scaled to add to 1 again. Series
    with fewer than `min_windows` windows are compared with the average over the windows of all such series. `series`
    and `cutoff` are those of the windows of the store, [W], series by series.

    Windows above `threshold` are flagged. None: the median distance of the series plus five robust standard deviations
    (1.4826 times the median absolute deviation), and at least 0.2 above the median: a network that always attends to
    the same step has next to no deviation, and a regime that is part of the average lifts all other distances alike.
    """
    distance, limit = np.full(len(series), np.nan), np.full(len(series), np.nan)
    for spans in _spans_with_one_average(series, min_windows):
        average = _average(store, spans)
        for begin, end in spans:
            for block, attention in store.blocks(begin, end):
                distance[block] = bhattacharyya_distance(average, attention).mean(axis=1)
        windows = np.concatenate([np.arange(begin, end) for begin, end in spans])
        limit[windows] = default_threshold(distance[windows]) if threshold is None else threshold
    return Regimes(series=series, cutoff=cutoff, distance=distance, threshold=limit)


def bhattacharyya_distance(average: FloatArray, attention: FloatArray) -> FloatArray:
    """Return sqrt(1 - Bhattacharyya coefficient) of attention [B, H, T] (NaN = masked) and averages [H, T]: [B, H]."""
    present = ~np.isnan(attention)
    usual = np.where(present, average, 0.0)
    both = np.sqrt(np.where(present, attention, 0.0) * usual).sum(axis=-1)
    coefficient = both / np.sqrt(np.maximum(usual.sum(axis=-1), 1e-300))
    return np.asarray(np.sqrt(np.maximum(0.0, 1.0 - coefficient)))


def default_threshold(distance: FloatArray) -> float:
    """Return the distance above which a window is unusual: far outside the spread of all, and not negligible."""
    median = float(np.median(distance))
    deviation = 1.4826 * float(np.median(np.abs(distance - median)))
    return median + max(MIN_EXCESS, MAX_DEVIATIONS * deviation)


def _series_names(panel: Panel, series: IntArray) -> pl.Series:
    return pl.Series(panel.names, dtype=pl.String).gather(series)


def _spans_with_one_average(series: IntArray, min_windows: int) -> list[list[tuple[int, int]]]:
    """Return spans of windows by shared average: each long series for itself, all short ones together."""
    borders = np.flatnonzero(np.diff(series, prepend=-1, append=-1)) if len(series) else np.zeros(1, dtype=np.int64)
    spans = [(int(a), int(b)) for a, b in pairwise(borders)]
    long = [[span] for span in spans if span[1] - span[0] >= min_windows]
    short = [span for span in spans if span[1] - span[0] < min_windows]
    return [*long, short] if short else long


def _average(store: AttentionStore, spans: list[tuple[int, int]]) -> FloatArray:
    """Return average attention [H, T] over the windows in which each position is not masked, adding to 1."""
    shape = (store.horizon, store.lookback + store.horizon)
    total, count = np.zeros(shape), np.zeros(shape)
    for begin, end in spans:
        for _, attention in store.blocks(begin, end):
            total += np.nansum(attention, axis=0)
            count += (~np.isnan(attention)).sum(axis=0)
    mean = total / np.maximum(count, 1)
    return np.asarray(mean / np.maximum(mean.sum(axis=-1, keepdims=True), 1e-300))
