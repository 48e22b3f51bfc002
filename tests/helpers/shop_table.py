"""A small table with a column of every role, for the tests of the server's page, and a model of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fusecast.forecaster import Forecaster

HORIZON, LOOKBACK, ROWS = 6, 12, 150
TINY: dict[str, Any] = {
    "calibration": "none",
    "blend": "none",
    "network": {"hidden_size": 8, "num_heads": 2},
    "training": {"members": 1, "max_steps": 20, "final": "none", "logger": "none", "accelerator": "cpu"},
}
ROLES: dict[str, Any] = {"id": "shop", "time": "time", "target": "sales", "known": ["price", "promo"]}
ROLES |= {"observed": ["visitors"], "static": ["size", "city"], "categorical": ["promo"]}


def shop_table(rows: int = ROWS) -> pl.DataFrame:
    """Return hourly sales of three shops; the last rows are the plan, without sales."""
    random, hours = np.random.default_rng(0), np.arange(rows)
    shops = []
    for shop, size, city in (("north", 3.0, "Bern"), ("south", 1.5, "Basel"), ("lake", 2.2, "Bern")):
        price = 2 + 0.5 * np.sin(hours / 30 + size)
        sales = 20 * size * (1.5 + np.sin(hours * np.pi / 12)) / price + random.normal(size=rows)
        known = hours < rows - HORIZON
        shops.append(
            pl.DataFrame(
                {
                    "shop": shop,
                    "time": [datetime(2024, 3, 1) + timedelta(hours=int(hour)) for hour in hours],
                    "sales": np.where(known, sales.round(2), np.nan),
                    "price": price.round(2),
                    "promo": hours // 24 % 2,
                    "visitors": np.where(known, (10 * sales).round(), np.nan),
                    "size": size,
                    "city": city,
                }
            ).fill_nan(None)
        )
    return pl.concat(shops)


def fit_shop_model(folder: Path) -> Path:
    """Train a tiny model of the table into a folder."""
    Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(shop_table(), folder=folder)
    return folder
