"""A tiny run with every role of column, its table, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from tests.helpers.serving import running
from tests.helpers.small_table import small_table

from fusecast.forecaster import Forecaster
from fusecast.serving.app import create_app
from fusecast.serving.models import Models

STEPS, HORIZON = 90, 3


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Three series, of which the last rows have no target: they are the plan."""
    rows = small_table(3, STEPS)
    noise = pl.col("ds").hash(seed=3).mod(1000) / 500.0
    number = pl.int_range(pl.len()).over("unique_id")
    state = pl.when(noise > 1).then(pl.lit("wet")).otherwise(pl.lit("dry"))
    return rows.with_columns(y=pl.when(number < STEPS - HORIZON).then(pl.col("y") + noise), state=state)


def train(table: pl.DataFrame, folder: Path, seed: int, **network: Any) -> Path:
    Forecaster(
        HORIZON,
        8,
        static=["size", "kind"],
        known=["price", "promo"],
        observed=["temp", "state"],
        frequency="1h",
        network={"hidden_size": 8, "num_heads": 2, **network},
        training={"max_steps": 4, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu", "seed": seed},
    ).fit(table, folder=folder)
    return folder


@pytest.fixture(scope="session")
def run(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run."""
    return train(table, tmp_path_factory.mktemp("runs") / "shop", 1)


@pytest.fixture(scope="session")
def other_run(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with other weights."""
    return train(table, tmp_path_factory.mktemp("runs") / "other", 2)


@pytest.fixture(scope="session")
def forecaster(run: Path) -> Forecaster:
    """Return what forecasts without a server."""
    return Forecaster.load(run)


@pytest.fixture(scope="session")
def app(run: Path, other_run: Path) -> FastAPI:
    """Return the application that serves both runs."""
    return create_app(Models({"shop": run, "other": other_run}))


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    """Return a client of a server that runs in this process."""
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
