"""WindowIndex: the windows of a panel, computed from the lengths of its series."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.arrays import IntArray
from fusecast.errors import ConfigError

LEAST_HISTORY = 4
"""Least known rows of a window to train on, where its series has as many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowIndex:
    """All (series, cutoff) pairs of a panel between two bounds a series; memory grows with series, not with windows.

    A cutoff is the number of known rows of a series: the first step to forecast is row ``cutoff`` of the series,
    the lookback is the rows ``cutoff - lookback`` to ``cutoff - 1`` (rows before the first are padding).
    Windows are numbered series by series, each from its first cutoff to its last.

    Raise a ConfigError where a size is below 1.
    """

    lookback: int  # L, steps
    horizon: int  # H, steps
    first_cutoff: IntArray  # [S], the first of each series
    last_cutoff: IntArray  # [S], the last, included; below first_cutoff where a series has no window
    stride: int = 1  # steps between the cutoffs of a series

    def __post_init__(self) -> None:
        for name in ("lookback", "horizon", "stride"):
            if getattr(self, name) < 1:
                raise ConfigError.not_positive(name, getattr(self, name))
        for name in ("first_cutoff", "last_cutoff"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))

    @classmethod
    def between(
        cls,
        *,
        lengths: ArrayLike,
        begin: ArrayLike,
        end: ArrayLike,
        lookback: int,
        horizon: int,
        stride: int = 1,
        min_history: int | None = None,
        align: Literal["begin", "end"] = "begin",
    ) -> Self:
        """Return all windows with target rows in ``[begin[s], end[s])`` of their series; the lookback may be earlier.

        `horizon` is in steps. `lengths`, `begin` and `end` are [S] or one number for all; `end` is capped by `lengths`.
        `min_history` is the least number of known rows of a window; None: the whole lookback, or in a series too short
        for that, as many rows as precede its last possible target rows, at least 1 (the rest is padding). `align`:
        whether the stride is counted from the first possible cutoff, or back from the last.
        """
        lengths, begin, end = np.broadcast_arrays(*(np.asarray(a, dtype=np.int64) for a in (lengths, begin, end)))
        last = np.minimum(end, lengths) - horizon
        history = np.minimum(lookback, last) if min_history is None else np.full(last.shape, min_history)
        first = np.maximum(begin, np.maximum(history, 1))
        if align == "end":
            first = np.where(last >= first, last - (last - first) // stride * stride, first)
        return cls(lookback=lookback, horizon=horizon, first_cutoff=first, last_cutoff=last, stride=stride)

    @classmethod
    def for_training(
        cls, *, lengths: ArrayLike, end: ArrayLike, lookback: int, horizon: int, judged_end: ArrayLike | None = None
    ) -> Self:
        """Return all windows of `horizon` steps with target rows before ``end[s]`` of their series of `lengths` rows.

        In a series of less than two lookbacks, windows with a quarter of its known rows (and at least
        :data:`LEAST_HISTORY`) count too, though the rest of their lookback is padding: there would be few otherwise.
        For final networks, `judged_end` is the `end` of the judged ones, which decides whether a series is so short.
        """
        last = np.minimum(np.asarray(end, dtype=np.int64), np.asarray(lengths, dtype=np.int64)) - horizon
        judged_last = last if judged_end is None else np.minimum(last, np.asarray(judged_end, dtype=np.int64) - horizon)
        short = np.minimum(lookback, np.maximum(last // 4, np.minimum(last, LEAST_HISTORY)))
        history = np.where(judged_last < 2 * lookback, short, lookback)
        return cls(lookback=lookback, horizon=horizon, first_cutoff=np.maximum(history, 1), last_cutoff=last)

    @classmethod
    def at_end(cls, *, lengths: ArrayLike, lookback: int, horizon: int) -> Self:
        """Return one window a series, whose first target row is row ``lengths[s]``: the first after the known rows.

        The window has `horizon` steps. A series without rows has no window.
        """
        cutoff = np.asarray(lengths, dtype=np.int64)
        return cls(lookback=lookback, horizon=horizon, first_cutoff=np.maximum(cutoff, 1), last_cutoff=cutoff)

    def __repr__(self) -> str:
        sizes = f"lookback={self.lookback}, horizon={self.horizon}, stride={self.stride}"
        return f"WindowIndex({len(self)} windows of {len(self.first_cutoff)} series, {sizes})"

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @cached_property
    def counts(self) -> IntArray:
        """Number of windows of each series, [S]."""
        return ((self.last_cutoff - self.first_cutoff) // self.stride + 1).clip(min=0)

    @cached_property
    def offsets(self) -> IntArray:
        """Number of windows before each series, [S + 1]."""
        return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(self.counts)))

    def locate(self, windows: ArrayLike) -> tuple[IntArray, IntArray]:
        """Return series and cutoff of windows, int64 [W] each; raise an IndexError for a number out of range."""
        numbers = np.asarray(windows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"windows are numbered 0 to {len(self) - 1}, not {numbers.min()} to {numbers.max()}")
        offsets = self.offsets
        series = np.searchsorted(offsets, numbers, side="right") - 1
        return series, self.first_cutoff[series] + (numbers - offsets[series]) * self.stride

    def subset(self, series: ArrayLike) -> Self:
        """Return the windows of some series only, by position or as a mask [S]; no series is renumbered."""
        mask, selected = np.zeros(len(self.first_cutoff), dtype=np.bool_), np.asarray(series)
        mask[selected if selected.size else selected.astype(np.int64)] = True  # an empty list would be one of floats
        return replace(self, last_cutoff=np.where(mask, self.last_cutoff, self.first_cutoff - 1))

    def thin(self, max_windows: int) -> Self:
        """Return at most `max_windows` windows, evenly spread, always the same ones.

        The stride is raised as little as necessary, counted back from each series' last window; where one window a
        series is still too many, series are left out evenly.
        Raise a ConfigError where `max_windows` is below 1.
        """
        if max_windows < 1:
            raise ConfigError.not_positive("max_windows", max_windows)
        if len(self) <= max_windows:
            return self
        counts = self.counts
        nonempty = np.flatnonzero(counts)
        if len(nonempty) > max_windows:
            selected = nonempty[np.linspace(0, len(nonempty) - 1, max_windows).round().astype(np.int64)]
            return self.subset(selected).thin(max_windows)
        factors = range(1, int(counts.max()) + 1)  # with the last, each series keeps one window
        factor = factors[bisect_left(factors, -max_windows, key=lambda f: -int(((counts - 1) // f + 1).sum()))]
        stride = self.stride * factor
        last = self.first_cutoff + (counts - 1) * self.stride
        first = np.where(counts > 0, last - (counts - 1) // factor * stride, self.first_cutoff)
        return replace(self, first_cutoff=first, last_cutoff=last, stride=stride)
