"""Regime shifts and significant events: windows that the network looks at otherwise than usual."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.explain.attention import AttentionStore

LEAST_WINDOWS = 30
"""Windows that a series needs for an average and a threshold of its own; those with fewer share one."""
DEVIATIONS = 5.0
LEAST_EXCESS = 0.2
"""Distance beyond the usual one that is no trifle: about what moving 8% of the attention to other steps makes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Regimes:
    """How far the attention of each window lies from the average, and which windows stand out."""

    series: NDArray[np.int64]  # [W]
    cutoff: NDArray[np.int64]  # [W]
    distance: NDArray[np.float64]  # [W], 0 to 1
    threshold: NDArray[np.float64]  # [W], of the window's series

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Windows above their threshold, [W]."""
        return self.distance > self.threshold

    def to_frame(self, panel: Panel) -> pl.DataFrame:
        """One row a window: series, time of the first step forecast, distance, threshold, flagged."""
        return pl.DataFrame(
            {
                "series": names_of(panel, self.series),
                "time": panel.times_of(self.series, self.cutoff),
                "distance": self.distance,
                "threshold": self.threshold,
                "flagged": self.flagged,
            }
        )

    def events(self, panel: Panel, gap: int) -> pl.DataFrame:
        """One row an event, the farthest first: flagged windows of a series, neighbours at most `gap` steps apart.

        Columns: series, begin and end (times of the first steps forecast), windows flagged, when and how far the
        farthest lies.
        """
        flagged = np.flatnonzero(self.flagged)
        series, cutoff, distance = self.series[flagged], self.cutoff[flagged], self.distance[flagged]
        starts = np.ones(len(flagged), dtype=np.bool_)
        starts[1:] = (np.diff(series) != 0) | (np.diff(cutoff) > gap)
        first = np.flatnonzero(starts)
        last = np.append(first, len(flagged))[1:] - 1
        top = np.array(
            [a + int(distance[a : b + 1].argmax()) for a, b in zip(first, last, strict=True)], dtype=np.int64
        )
        frame = pl.DataFrame(
            {
                "series": names_of(panel, series[first]),
                "begin": panel.times_of(series[first], cutoff[first]),
                "end": panel.times_of(series[last], cutoff[last]),
                "windows": last - first + 1,
                "peak": panel.times_of(series[top], cutoff[top]),
                "distance": distance[top],
            }
        )
        return frame.sort("distance", descending=True, maintain_order=True)


def regimes(
    store: AttentionStore,
    series: NDArray[np.int64],
    cutoff: NDArray[np.int64],
    *,
    threshold: float | None = None,
    least_windows: int = LEAST_WINDOWS,
) -> Regimes:
    """Measure the distance of section 7.3 of the paper for every window, and flag what stands out.

    With a(t, tau) the attention of window t at step ahead tau, a distribution over positions, and abar(tau) its
    average over the windows of the series:

        kappa(p, q) = sqrt(1 - sum_j sqrt(p_j q_j))                  the Bhattacharyya coefficient is the sum
        dist(t) = mean over tau of kappa(abar(tau), a(t, tau))

    Positions that are masked in a window are left out of its average, which is then made to add to 1 again. Series
    with fewer than `least_windows` windows are compared with the average over the windows of all such series.

    Parameters
    ----------
    series, cutoff
        Of the windows of the store, [W], in the order of a ``WindowIndex``: series by series.
    threshold
        Distance above which a window is flagged. None: the median distance of the series plus five robust standard
        deviations (1.4826 times the median absolute deviation), and at least 0.2 above the median: a network that
        always looks at the same step has next to no deviation, and a regime that is part of the average lifts the
        distance of all other windows alike.
    """
    distance, limit = np.full(len(series), np.nan), np.full(len(series), np.nan)
    for spans in _groups(series, least_windows):
        average = _average(store, spans)
        for begin, end in spans:
            for part, attention in store.blocks(begin, end):
                distance[part] = bhattacharyya_distance(average, attention).mean(axis=1)
        windows = np.concatenate([np.arange(begin, end) for begin, end in spans])
        limit[windows] = usual_limit(distance[windows]) if threshold is None else threshold
    return Regimes(series=series, cutoff=cutoff, distance=distance, threshold=limit)


def bhattacharyya_distance(average: NDArray[np.float64], attention: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give sqrt(1 - Bhattacharyya coefficient) of attention [B, H, T] (NaN = masked) and averages [H, T]: [B, H]."""
    present = ~np.isnan(attention)
    usual = np.where(present, average, 0.0)
    both = np.sqrt(np.where(present, attention, 0.0) * usual).sum(axis=-1)
    coefficient = both / np.sqrt(np.maximum(usual.sum(axis=-1), 1e-300))
    distance: NDArray[np.float64] = np.sqrt(np.maximum(0.0, 1.0 - coefficient))
    return distance


def usual_limit(distance: NDArray[np.float64]) -> float:
    """Distance beyond which a window is unusual: far outside the spread of all, and no trifle."""
    middle = float(np.median(distance))
    spread = 1.4826 * float(np.median(np.abs(distance - middle)))
    return middle + max(LEAST_EXCESS, DEVIATIONS * spread)


def names_of(panel: Panel, series: NDArray[np.int64]) -> pl.Series:
    """Names of numbered series as text."""
    return pl.Series([str(name) for name in panel.ids.tolist()], dtype=pl.String).gather(series)


def _groups(series: NDArray[np.int64], least: int) -> list[list[tuple[int, int]]]:
    """Spans of windows that share an average: each long series for itself, all short ones together."""
    borders = np.flatnonzero(np.diff(series, prepend=-1, append=-1)) if len(series) else np.zeros(1, dtype=np.int64)
    spans = [(int(a), int(b)) for a, b in pairwise(borders)]
    own = [[span] for span in spans if span[1] - span[0] >= least]
    shared = [span for span in spans if span[1] - span[0] < least]
    return [*own, shared] if shared else own


def _average(store: AttentionStore, spans: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Average attention [H, T] over the windows in which each position is not masked, adding to 1."""
    shape = (store.horizon, store.lookback + store.horizon)
    total, count = np.zeros(shape), np.zeros(shape)
    for begin, end in spans:
        for _, attention in store.blocks(begin, end):
            total += np.nansum(attention, axis=0)
            count += (~np.isnan(attention)).sum(axis=0)
    mean = total / np.maximum(count, 1)
    return np.asarray(mean / np.maximum(mean.sum(axis=-1, keepdims=True), 1e-300))
