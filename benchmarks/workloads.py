"""The two workloads and the tables that are only built: made once, by arithmetic and a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.task import Task

SIZES = {"w1": 64, "w2": 160}  # hidden size; all else is equal


def table(num_series: int, num_rows: int, seed: int = 0) -> dict[str, Any]:
    """Draw hourly series with a daily and a weekly wave, noise, and an hour, a weekday and a linear time as reals."""
    random = np.random.default_rng(seed)
    t = np.tile(np.arange(num_rows), num_series)
    series = np.repeat(np.arange(num_series), num_rows)
    phase, level = random.uniform(0, 2 * np.pi, num_series)[series], random.normal(0, 1, num_series)[series]
    wave = np.sin(2 * np.pi * t / 24 + phase) + 0.5 * np.sin(2 * np.pi * t / 168)
    start = np.datetime64("2020-01-06T00", "us")  # a Monday
    hour, day = t % 24, t // 24 % 7
    return {
        "names": np.array([f"s{number:05d}" for number in range(num_series)]),
        "ds": start + t * np.timedelta64(3_600_000_000, "us"),
        "t": t,
        "series": series,
        "y": (level + wave + random.normal(0, 0.3, len(t))).astype(np.float32),
        "hour": (hour / 23 - 0.5).astype(np.float32),
        "dow": (day / 6 - 0.5).astype(np.float32),
        "time": (t / num_rows - 0.5).astype(np.float32),
    }


def make_task(folder: Path, num_series: int, num_rows: int, *, lookback: int = 168, horizon: int = 24) -> Task:
    """Write the table (unless it is there) and give the task of learning it."""
    folder.mkdir(parents=True, exist_ok=True)
    task = Task(
        folder=str(folder),
        horizon=horizon,
        lookback=lookback,
        frequency="h",
        hidden_size=SIZES["w1"],
        calendar=("hour", "dow"),
        known_reals=("hour", "dow", "time"),
        static_categories={"series": num_series},
    )
    if not task.table.exists():
        np.savez(task.table, **table(num_series, num_rows))
    return task


def make_workload(name: str, folder: Path, *, num_series: int = 50, num_rows: int = 6_000, tiny: bool = False) -> Task:
    """Give W1 or W2, both on 50 x 6,000 rows."""
    if tiny:
        small = make_task(folder / "tiny", 3, 120, lookback=24, horizon=4)
        return replace(small, hidden_size=8, num_heads=2, batch_size=8)
    return replace(make_task(folder / f"{num_series}x{num_rows}", num_series, num_rows), hidden_size=SIZES[name])
