"""Panels of targets alone, and fixtures that return their functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fusecast.data.panel import Panel
from fusecast.data.schema import Column, Role, Schema
from fusecast.data.time_grid import TimeGrid

PanelMaker = Callable[..., Panel]


def make_panel(*series: Sequence[Sequence[float]] | Sequence[float], frequency: str = "1h") -> Panel:
    """Return a panel of some series; each is [length] for one target or [length, Y]."""
    arrays = [np.asarray(values, dtype=float) for values in series]
    blocks = [array[:, None] if array.ndim == 1 else array for array in arrays]
    values = np.concatenate(blocks)
    names = ["y"] if values.shape[1] == 1 else [f"y{i}" for i in range(values.shape[1])]
    lengths = np.array([len(b) for b in blocks])
    return Panel(
        schema=Schema(columns=tuple(Column(name=n, role=Role.TARGET) for n in names), frequency=frequency),
        time_grid=TimeGrid(frequency=frequency),
        ids=np.array([f"s{i}" for i in range(len(blocks))]),
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        start=np.zeros(len(blocks), dtype=np.int64),
        reals={n: values[:, i] for i, n in enumerate(names)},
        categories={},
        static_reals={},
        static_categories={},
        levels={},
    )


def random_panel(seed: int, *, num_series: int = 4, targets: int = 2, missing: float = 0.15) -> Panel:
    """Return a panel of seasonal series of different lengths with holes: one is very short, one has no value."""
    rng = np.random.default_rng(seed)
    series = []
    for number in range(num_series):
        length = int(rng.integers(40, 80)) if number else 3
        t = np.arange(length)[:, None]
        y = 10 + 5 * np.sin(2 * np.pi * t / 7 + np.arange(targets)) + rng.normal(size=(length, targets))
        y[rng.random(y.shape) < missing] = np.nan
        series.append(y)
    series.append(np.full((20, targets), np.nan))
    return make_panel(*series)


@pytest.fixture
def panel_of() -> PanelMaker:
    return make_panel


@pytest.fixture
def a_random_panel() -> PanelMaker:
    return random_panel
