"""Small ragged panels with gaps, with every kind of column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from fusecast.data.panel import Panel
from fusecast.data.schema import Column, Kind, Role, Schema
from fusecast.data.time_grid import TimeGrid

LEVELS = ("rain", "sun", "snow")

EVERY_KIND = (
    Column(name="y", role=Role.TARGET),
    Column(name="temperature", role=Role.OBSERVED),
    Column(name="price", role=Role.KNOWN),
    Column(name="weather", role=Role.OBSERVED, kind=Kind.CATEGORICAL),
    Column(name="event", role=Role.KNOWN, kind=Kind.CATEGORICAL),
    Column(name="size", role=Role.STATIC),
    Column(name="region", role=Role.STATIC, kind=Kind.CATEGORICAL),
)


def make_panel(
    lengths: Sequence[int] = (40, 25, 33),
    *,
    columns: Sequence[Column] = EVERY_KIND,
    frequency: str = "1h",
    missing: float = 0.0,
    seed: int = 0,
) -> Panel:
    """Return a panel of random values; `missing` is the share of missing values."""
    rng = np.random.default_rng(seed)
    schema = Schema(columns=tuple(columns), frequency=frequency)
    num_series, num_rows = len(lengths), sum(lengths)
    offset = np.repeat(np.arange(num_series) * 10.0, lengths)

    def real(size: int, shift: np.ndarray | float) -> np.ndarray:
        values = rng.gamma(2.0, 3.0, size) + shift
        values[rng.random(size) < missing] = np.nan
        return values

    def category(size: int) -> np.ndarray:
        codes = rng.integers(0, len(LEVELS), size).astype(np.int32)
        codes[rng.random(size) < missing] = -1
        return codes

    timed = [c for c in columns if c.role != Role.STATIC]
    static = [c for c in columns if c.role == Role.STATIC]
    epoch = pl.Series([0] if frequency.endswith("i") else [datetime(2023, 12, 30, 22)])
    time_grid = TimeGrid.from_times(epoch, frequency)
    return Panel(
        schema=schema,
        time_grid=time_grid,
        ids=np.array([f"s{number}" for number in range(num_series)]),
        indptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        start=np.repeat(time_grid.ticks(epoch), num_series),
        reals={c.name: real(num_rows, offset) for c in timed if c.kind == Kind.REAL},
        categories={c.name: category(num_rows) for c in timed if c.kind == Kind.CATEGORICAL},
        static_reals={c.name: real(num_series, 0.0) for c in static if c.kind == Kind.REAL},
        static_categories={c.name: category(num_series) for c in static if c.kind == Kind.CATEGORICAL},
        levels={c.name: LEVELS for c in columns if c.kind == Kind.CATEGORICAL},
    )


def rows_where(panel: Panel, condition: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a mask [N] of the rows for which a condition of (series, row in the series) holds."""
    return condition(panel.series_of_row, panel.row_in_series)


def overwrite(
    panel: Panel, rows: np.ndarray, columns: Sequence[str], *, value: float = 1e6, level: str = "hail"
) -> Panel:
    """Return the panel with other values, and a new category, in some rows of some columns."""
    levels = {name: (*known, level) for name, known in panel.levels.items()}
    reals = {n: np.where(rows, value, v) if n in columns else v for n, v in panel.reals.items()}
    categories = {
        n: np.where(rows, len(levels[n]) - 1, v).astype(np.int32) if n in columns else v
        for n, v in panel.categories.items()
    }
    return replace(panel, reals=reals, categories=categories, levels=levels)
