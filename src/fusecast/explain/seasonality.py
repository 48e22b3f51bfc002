"""Persistent temporal patterns: the lags and periods that get attention in window after window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.data.frequency import format_duration
from fusecast.errors.base import join_words
from fusecast.explain.attention import AttentionStore

MIN_LAG = 3  # shorter lags are the recent past, not a season
MIN_CONTRAST = 1.5
MIN_AUTOCORRELATION = 0.3
MIN_PERSISTENCE = 0.75


@dataclass(frozen=True, kw_only=True)
class SeasonalLag:
    """A lag that gets more attention than its neighbourhood, in window after window."""

    lag: int  # steps between the step attended to and the step forecast
    words: str
    attention: float  # mean share of the attention
    contrast: float  # times the median of the neighbourhood
    persistence: float  # share of the windows in which it is above its neighbourhood
    multiple_of: int | None = None  # a shorter lag of the list that divides this one


@dataclass(frozen=True, kw_only=True)
class Periodicity:
    """A period after which the attention over the past returns, whatever is forecast: the same hour of every day."""

    period: int
    words: str
    autocorrelation: float  # mean over windows
    persistence: float  # share of the windows in which it is at least half of 0.3


def find_seasonal_lags(store: AttentionStore, frequency: str) -> list[SeasonalLag]:
    """Find the lags that stand out persistently, shortest first.

    Attention is rearranged from positions to lags (steps between the step attended to and the step forecast) and
    averaged over the steps ahead. A lag is found when all four hold:

    1. it is at least 3 steps and at most the lookback, so that every step ahead has it, and not the last lag there is,
       so that both its neighbours are known;
    2. it is the highest within an eighth of itself (1 step at least) to both sides;
    3. its mean attention is at least 1.5 times the median of its neighbourhood, all lags within half of itself;
    4. in at least 75% of the windows it is above the median of the same neighbourhood of that window.
    """
    mean = _mean_by_lag(store)
    lags: list[SeasonalLag] = []
    for lag, contrast in _peaks(mean, store.lookback):
        persistence = _share_of_windows_above(store, lag)
        if persistence >= MIN_PERSISTENCE:
            divisor = next((other.lag for other in lags if lag % other.lag == 0), None)
            shares = {"attention": float(mean[lag]), "contrast": contrast, "persistence": persistence}
            lags.append(SeasonalLag(lag=lag, words=format_duration(lag, frequency), **shares, multiple_of=divisor))
    return lags


def find_periodicities(store: AttentionStore, frequency: str) -> list[Periodicity]:
    """Find the periods of the attention over past positions, shortest first; multiples of a shorter one left out.

    Attention may return to the same hour of every day instead of to a fixed lag from each step forecast; averages
    over windows that begin at different hours hide that. So the autocorrelation is taken window by window (attention
    averaged over the steps ahead, windows without padding) and then averaged. A period is found when it is at least
    3 steps and at most half the lookback, its autocorrelation is the highest within an eighth of itself to both
    sides and at least 0.3, and in at least 75% of the windows it is half of that or more.
    """
    mean, share = _autocorrelation(store)
    periodicities: list[Periodicity] = []
    for period in range(MIN_LAG, len(mean) - 1):
        neighbours = _neighbours(mean, period, max(1, period // 8))
        if mean[period] < max(MIN_AUTOCORRELATION, neighbours.max()) or share[period] < MIN_PERSISTENCE:
            continue
        if not any(period % other.period == 0 for other in periodicities):
            strength = {"autocorrelation": float(mean[period]), "persistence": float(share[period])}
            periodicities.append(Periodicity(period=period, words=format_duration(period, frequency), **strength))
    return periodicities


def describe_patterns(lags: Sequence[SeasonalLag], periodicities: Sequence[Periodicity] = ()) -> str:
    """Return the patterns as the predicate of a sentence about the network; of the lags, the three of most contrast.

    For example: ``attends to lags of 24 h and 168 h and to the past with a period of 24 h``.
    """
    parts = []
    if lags:
        strongest = sorted(sorted(lags, key=lambda lag: -lag.contrast)[:3], key=lambda lag: lag.lag)
        words = [lag.words.partition(" (")[0] for lag in strongest]
        if len(lags) > len(strongest):
            words.append(f"{len(lags) - len(strongest)} more")
        parts.append(f"to {'lags' if len(lags) > 1 else 'a lag'} of {join_words(words)}")
    if periodicities:
        words = [periodicity.words.partition(" (")[0] for periodicity in periodicities[:3]]
        parts.append(f"to the past with a period of {join_words(words)}")
    return f"attends {' and '.join(parts) or 'to no lag or period that stands out in most windows'}"


def attention_by_lag(attention: FloatArray, lookback: int) -> FloatArray:
    """Rearrange attention [B, H, T] by lag and average it over the steps ahead: [B, T], lag 0 first.

    Step ahead h attends to position p from a distance of L + h - p. Not every step ahead has every lag: the mean is
    over those that have it, NaN where none has.
    """
    B, H, T = attention.shape
    total, count = np.zeros((B, T)), np.zeros((B, T))
    for h in range(H):
        lags = lookback + h + 1  # positions 0 .. L + h, at lags L + h .. 0
        values = attention[:, h, :lags][:, ::-1]
        present = ~np.isnan(values)
        total[:, :lags] += np.where(present, values, 0.0)
        count[:, :lags] += present
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _peaks(mean: FloatArray, longest: int) -> list[tuple[int, float]]:
    """Return the lags that fulfil the first three conditions, with their contrast."""
    peaks = []
    for lag in range(MIN_LAG, min(longest + 1, len(mean) - 1)):
        if not (np.isfinite(mean[lag]) and mean[lag] > 0) or mean[lag] == mean[lag - 1]:
            continue  # of a plateau, the first lag
        if mean[lag] < np.nanmax(_neighbours(mean, lag, max(1, lag // 8))):
            continue
        usual = float(np.nanmedian(_neighbours(mean, lag, max(2, lag // 2))))
        contrast = float(mean[lag]) / usual if usual > 0 else float("inf")
        if contrast >= MIN_CONTRAST:
            peaks.append((lag, contrast))
    return peaks


def _mean_by_lag(store: AttentionStore) -> FloatArray:
    """Return the mean attention by lag over all windows, [T]; NaN where no window has the lag."""
    steps = store.lookback + store.horizon
    total, count = np.zeros(steps), np.zeros(steps)
    for _, attention in store.blocks():
        by_lag = attention_by_lag(attention, store.lookback)
        total += np.nansum(by_lag, axis=0)
        count += (~np.isnan(by_lag)).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _share_of_windows_above(store: AttentionStore, lag: int) -> float:
    """Return the share of the windows with this lag in which it is above the median of its neighbourhood."""
    above, windows = 0, 0
    for _, attention in store.blocks():
        by_lag = attention_by_lag(attention, store.lookback)
        by_lag = by_lag[~np.isnan(by_lag[:, lag])]
        if len(by_lag):
            usual = np.nanmedian(_neighbours(by_lag.T, lag, max(2, lag // 2)), axis=0)
            above += int((by_lag[:, lag] > usual).sum())
            windows += len(by_lag)
    return above / windows if windows else 0.0


def _autocorrelation(store: AttentionStore) -> tuple[FloatArray, FloatArray]:
    """Return the mean autocorrelation at each period up to half the lookback, and the share of windows with half of
    0.3 or more.
    """
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
            correlation = (past[:, period:] * past[:, :-period]).mean(axis=1) / variance
            total[period] += correlation.sum()
            enough[period] += (correlation >= MIN_AUTOCORRELATION / 2).sum()
    return total / max(windows, 1), enough / max(windows, 1)


def _neighbours(values: FloatArray, lag: int, distance: int) -> FloatArray:
    """Return the values (first axis) up to a distance from a lag, without the lag itself and lags below 2."""
    begin = max(2, lag - distance)
    return np.concatenate([values[begin:lag], values[lag + 1 : lag + distance + 1]])
