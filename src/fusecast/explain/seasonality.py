"""Persistent temporal patterns: the lags that the network comes back to in window after window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.data.duration_text import format_duration
from fusecast.explain.attention import AttentionStore

SHORTEST = 3
"""Shorter lags are the recent past, not a season."""
CONTRAST = 1.5
RETURNS = 0.3
"""Autocorrelation of the attention from which it counts as returning."""
PERSISTENCE = 0.75


@dataclass(frozen=True, kw_only=True)
class SeasonalLag:
    """A lag that gets more attention than its neighbourhood, in window after window."""

    lag: int
    """Steps between the step looked at and the step forecast."""
    words: str
    attention: float  # mean share of the attention
    contrast: float  # times the median of the neighbourhood
    persistence: float  # share of the windows in which it is above its neighbourhood
    multiple_of: int | None = None
    """A shorter lag of the list that goes into this one."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values: one row of a table."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Periodicity:
    """A period after which the attention over the past returns, whatever is forecast: the same hour of every day."""

    period: int
    words: str
    autocorrelation: float  # mean over windows
    persistence: float  # share of the windows in which it is at least half of 0.3

    def to_dict(self) -> dict[str, Any]:
        """Plain values: one row of a table."""
        return asdict(self)


def periodicities(store: AttentionStore, frequency: str) -> list[Periodicity]:
    """Find the periods of the attention over past positions, shortest first; multiples of a shorter one left out.

    Attention may come back to the same hour of every day instead of to a fixed lag from each step forecast; averages
    over windows that begin at different hours hide that. So the autocorrelation is taken window by window (attention
    averaged over the steps ahead, windows without padding) and then averaged. A period is found when it is at least
    3 steps and at most half the lookback, its autocorrelation is the highest within an eighth of itself to both
    sides and at least 0.3, and in at least 75% of the windows it is half of that or more.
    """
    mean, share = _autocorrelation(store)
    found: list[Periodicity] = []
    for period in range(SHORTEST, len(mean) - 1):
        near = _around(mean, period, max(1, period // 8))
        if mean[period] < RETURNS or mean[period] < near.max() or share[period] < PERSISTENCE:
            continue
        if not any(period % other.period == 0 for other in found):
            found.append(
                Periodicity(
                    period=period,
                    words=format_duration(period, frequency),
                    autocorrelation=float(mean[period]),
                    persistence=float(share[period]),
                )
            )
    return found


def seasonal_lags(store: AttentionStore, frequency: str) -> list[SeasonalLag]:
    """Find the lags that stand out persistently, shortest first.

    Attention is rearranged from positions to lags (steps between what is looked at and what is forecast) and
    averaged over the steps ahead. A lag is found when all four hold:

    1. it is at least 3 steps and at most the lookback, so that every step ahead has it, and not the last lag there is,
       so that what happens beside it can be seen;
    2. it is the highest within an eighth of itself (1 step at least) to both sides;
    3. its mean attention is at least 1.5 times the median of its neighbourhood, all lags within half of itself;
    4. in at least 75% of the windows it is above the median of the same neighbourhood of that window.
    """
    mean = _mean_by_lag(store)
    found: list[SeasonalLag] = []
    for lag, contrast in _peaks(mean, store.lookback):
        persistence = _share_above(store, lag)
        if persistence >= PERSISTENCE:
            shorter = next((other.lag for other in found if lag % other.lag == 0), None)
            found.append(
                SeasonalLag(
                    lag=lag,
                    words=format_duration(lag, frequency),
                    attention=float(mean[lag]),
                    contrast=contrast,
                    persistence=persistence,
                    multiple_of=shorter,
                )
            )
    return found


def in_words(lags: Sequence[SeasonalLag], returns: Sequence[Periodicity] = ()) -> str:
    """Say what was found: ``looks back 24 h and 168 h``, ``returns every 24 h``; the three lags of most contrast."""
    said = []
    if lags:
        best = sorted(sorted(lags, key=lambda found: -found.contrast)[:3], key=lambda found: found.lag)
        rest = len(lags) - len(best)
        more = [f"{rest} more lag{'s' * (rest > 1)}"] if rest else []
        said.append(f"looks back {_and([*(found.words.split(' (')[0] for found in best), *more])}")
    if returns:
        said.append(f"looks at the past in a rhythm of {_and([found.words.split(' (')[0] for found in returns[:3]])}")
    return " and ".join(said) or "has no lag that stands out from its neighbours in most windows, and no rhythm"


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def by_lag(attention: NDArray[np.float64], lookback: int) -> NDArray[np.float64]:
    """Rearrange attention [B, H, T] by lag and average it over the steps ahead: [B, T], lag 0 first.

    Step ahead h looks at position p from a distance of L + h - p. Not every step ahead has every lag: the mean is
    over those that have it, NaN where none has.
    """
    B, H, T = attention.shape
    total, count = np.zeros((B, T)), np.zeros((B, T))
    for h in range(H):
        reach = lookback + h + 1  # positions 0 .. L + h, at lags L + h .. 0
        seen = attention[:, h, :reach][:, ::-1]
        present = ~np.isnan(seen)
        total[:, :reach] += np.where(present, seen, 0.0)
        count[:, :reach] += present
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _peaks(mean: NDArray[np.float64], longest: int) -> list[tuple[int, float]]:
    """Lags that fulfil the first three conditions, with their contrast."""
    found = []
    for lag in range(SHORTEST, min(longest + 1, len(mean) - 1)):
        if not (np.isfinite(mean[lag]) and mean[lag] > 0) or mean[lag] == mean[lag - 1]:
            continue  # of a plateau, the first lag
        if mean[lag] < np.nanmax(_around(mean, lag, max(1, lag // 8))):
            continue
        usual = float(np.nanmedian(_around(mean, lag, max(2, lag // 2))))
        contrast = float(mean[lag]) / usual if usual > 0 else float("inf")
        if contrast >= CONTRAST:
            found.append((lag, contrast))
    return found


def _mean_by_lag(store: AttentionStore) -> NDArray[np.float64]:
    """Mean attention by lag over all windows, [T]; NaN where no window has the lag."""
    steps = store.lookback + store.horizon
    total, count = np.zeros(steps), np.zeros(steps)
    for _, attention in store.blocks():
        lagged = by_lag(attention, store.lookback)
        total += np.nansum(lagged, axis=0)
        count += (~np.isnan(lagged)).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _share_above(store: AttentionStore, lag: int) -> float:
    """Share of the windows that have a lag in which it is above the median of its neighbourhood."""
    above, windows = 0, 0
    for _, attention in store.blocks():
        lagged = by_lag(attention, store.lookback)
        lagged = lagged[~np.isnan(lagged[:, lag])]
        if len(lagged):
            usual = np.nanmedian(_around(lagged.T, lag, max(2, lag // 2)), axis=0)
            above += int((lagged[:, lag] > usual).sum())
            windows += len(lagged)
    return above / windows if windows else 0.0


def _autocorrelation(store: AttentionStore) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean autocorrelation at each period up to half the lookback, and the share of windows that have half of 0.3."""
    L = store.lookback
    longest = L // 2
    total, enough, windows = np.zeros(longest + 1), np.zeros(longest + 1), 0
    for _, attention in store.blocks():
        past = attention[:, :, :L].mean(axis=1)
        past = past[~np.isnan(past).any(axis=1)]
        past = past - past.mean(axis=1, keepdims=True)
        variance = (past**2).mean(axis=1)
        past, variance = past[variance > 0], variance[variance > 0]
        windows += len(past)
        for period in range(1, longest + 1):
            own = (past[:, period:] * past[:, :-period]).mean(axis=1) / variance
            total[period] += own.sum()
            enough[period] += (own >= RETURNS / 2).sum()
    return total / max(windows, 1), enough / max(windows, 1)


def _around(values: NDArray[np.float64], lag: int, reach: int) -> NDArray[np.float64]:
    """Give the neighbours of a lag (the first axis) within reach, itself left out; lags below 2 are left out too."""
    begin = max(2, lag - reach)
    return np.concatenate([values[begin:lag], values[lag + 1 : lag + reach + 1]])
