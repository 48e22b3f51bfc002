"""Small tables with known structure, for the tests of the face and the command line."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

HORIZON, LOOKBACK = 4, 12
TINY: dict[str, Any] = {
    "network": {"hidden_size": 8, "num_heads": 2},
    "training": {
        "max_epochs": 1,
        "max_steps": 4,
        "batch_size": 16,
        "members": 1,
        "final": "none",
        "logger": "none",
        "progress": False,
    },
    "calibration": "none",
}
"""Four steps of a small network, whose quantiles stay raw: there is nothing in them to calibrate."""


def shop_table(series: int = 3, steps: int = 120, seed: int = 0) -> pl.DataFrame:
    """Hourly sales of a few shops: static city, known promotion, observed weather and visitors."""
    rng = np.random.default_rng(seed)
    hours = np.arange(steps)
    frames = []
    for s in range(series):
        promotion = rng.integers(0, 2, steps)
        level = 50.0 * (s + 1)
        sales = level + 10 * np.sin(2 * np.pi * hours / 24) + 5 * promotion + rng.normal(0, 1, steps)
        frames.append(
            pl.DataFrame(
                {
                    "unique_id": [f"shop {s}"] * steps,
                    "ds": [datetime(2024, 1, 1) + timedelta(hours=int(h)) for h in hours],
                    "y": sales,
                    "city": [["Bonn", "Lyon"][s % 2]] * steps,
                    "promotion": promotion.astype(float),
                    "weather": rng.choice(["sun", "rain"], steps).tolist(),
                    "visitors": sales * 3 + rng.normal(0, 1, steps),
                }
            )
        )
    return pl.concat(frames)


def two_waves(steps: int = 160) -> pl.DataFrame:
    """Return two noisy waves without keys: a table for the scripts."""
    t = np.arange(steps)
    noise = np.random.default_rng(0).normal(scale=0.2, size=(2, steps))
    return pl.DataFrame({"a": np.sin(t / 3) + noise[0], "b": np.cos(t / 5) + noise[1]})


ROLES: dict[str, Any] = {"static": ["city"], "known": ["promotion"], "observed": ["weather", "visitors"]}


def future_of(table: pl.DataFrame, horizon: int = HORIZON) -> pl.DataFrame:
    """Known columns of the steps after each series' last row."""
    last = table.group_by("unique_id", maintain_order=True).agg(pl.col("ds").max())
    steps = pl.DataFrame({"step": list(range(1, horizon + 1))})
    return last.join(steps, how="cross").select(
        "unique_id", pl.col("ds") + pl.duration(hours=pl.col("step")), pl.lit(1.0).alias("promotion")
    )
