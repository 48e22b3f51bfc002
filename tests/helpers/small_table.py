"""A small table with every role and kind of column, its schema and its panel, as functions and as fixtures."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import Schema, make_schema

START = datetime(2021, 3, 1)


def small_table(series: int = 3, steps: int = 6) -> pl.DataFrame:
    """Hourly rows of a few series with every role and kind."""
    rows = [
        {
            "unique_id": f"s{s}",
            "ds": START + timedelta(hours=t),
            "y": float(10 * s + t),
            "price": 1.0 + t,
            "promo": "yes" if (s + t) % 2 else "no",
            "temp": 20.0 - t,
            "state": "wet" if t % 3 else "dry",
            "size": 100.0 * (s + 1),
            "kind": f"kind {s % 2}",
        }
        for s in range(series)
        for t in range(steps)
    ]
    return pl.DataFrame(rows)


def assert_same_panel(one: Panel, other: Panel) -> None:
    assert one.schema == other.schema
    assert one.time_grid == other.time_grid
    assert one.levels == other.levels
    for name in ("ids", "indptr", "start"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.ids.dtype == other.ids.dtype
    for group in ("reals", "categories", "static_reals", "static_categories"):
        left, right = getattr(one, group), getattr(other, group)
        assert list(left) == list(right)
        for name, values in left.items():
            assert values.dtype == right[name].dtype
            np.testing.assert_array_equal(values, right[name], err_msg=name)


@pytest.fixture
def frame() -> pl.DataFrame:
    return small_table()


@pytest.fixture
def schema(frame: pl.DataFrame) -> Schema:
    return make_schema(
        frame, static=["size", "kind"], known=["price", "promo"], observed=["temp", "state"], frequency="1h"
    )


@pytest.fixture
def panel(frame: pl.DataFrame, schema: Schema) -> Panel:
    return build_panel(frame, schema)
