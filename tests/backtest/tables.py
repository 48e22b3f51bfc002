"""A small table with every role, and a network that is trained in a moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

HORIZON, LOOKBACK = 4, 12
TINY: dict[str, Any] = {
    "network": {"hidden_size": 4, "num_heads": 1},
    "training": {"max_epochs": 1, "max_steps": 2, "batch_size": 16, "logger": "none", "progress": False},
}
ROLES: dict[str, Any] = {"static": ["city"], "known": ["promotion"], "observed": ["weather", "visitors"]}


def shop_table(series: int = 3, steps: int = 120, seed: int = 0) -> pl.DataFrame:
    """Hourly sales of a few shops from 2024-01-01 on: five days."""
    rng = np.random.default_rng(seed)
    hours = np.arange(steps)
    frames = []
    for s in range(series):
        promotion = rng.integers(0, 2, steps)
        sales = 50.0 * (s + 1) + 10 * np.sin(2 * np.pi * hours / 24) + 5 * promotion + rng.normal(0, 1, steps)
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
