"""Draw tables as people have them; each is forecast, finite, ordered and of the right shape, or refused in words.

python -m tests.reliability.fuzz_tables [--tables 10000] [--seed 0] [--trained 0.05] [--show 20]

Hypothesis draws a :class:`Case`: how times, ids, targets, covariates and plans are written, and in what kind of object.
Each is fitted and forecast in this process. A share of the networks is trained for a step; the others forecast with the
weights that training would begin with, since tables and not weights are what is tried. The counts of forecasts and of
refusals, by their class, are printed. Whatever is neither is a fault, and makes the exit code of this program 1.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.reliability.table_cases import CASES, Case, Tables, make_tables

import fusecast.workflows.fit as workflow
from fusecast import Forecaster, FusecastError
from fusecast.io.tables import read_table
from fusecast.training.fit import FitResult, make_module

FORECAST, REFUSED, NO_HINT, FAULT = "forecast", "refused", "refused without a hint", "FAULT"
SIZES: dict[str, Any] = {
    "training": {"max_steps": 1, "max_epochs": 1, "batch_size": 8, "members": 1, "final": "none", "logger": "none"},
    "calibration": "none",
    "blend": "none",
}
SIZES["training"] |= {"progress": False, "validation_windows": 4, "accelerator": "cpu"}


def begin_network(*, model_config: Any, training_config: Any, encoded: Any, **_: Any) -> FitResult:
    """Return a network with the weights that its training would begin with, in place of `fit_members`."""
    torch.manual_seed(0)
    network = make_module(model_config, training_config).network.eval()
    return FitResult(
        network=network,
        best_loss=0.0,
        checkpoint=Path("none"),
        history=[],
        seconds=0.0,
        stopped_why="nothing was trained",
        window_scaling=encoded.window_scaling,
    )


@contextmanager
def training(trains: bool) -> Iterator[None]:
    """Train networks within, or let them begin only."""
    usual = workflow.fit_members
    workflow.fit_members = usual if trains else begin_network  # type: ignore[assignment]
    try:
        yield
    finally:
        workflow.fit_members = usual


def require_forecasts(forecasts: Any, forecaster: Forecaster) -> None:
    """Raise an AssertionError where forecasts lack steps, are not finite, not ordered, or below their bound."""
    frame, config = read_table(forecasts), forecaster.config
    levels, schema = config.network.quantiles, forecaster.prepared.panel.schema
    assert len(frame), "no forecasts"
    for target in schema.targets:
        prefix = f"{target}:" if len(schema.targets) > 1 else ""
        names = [f"{prefix}q{level:g}" for level in levels]
        quantiles = frame.select(pl.col(names).cast(pl.Float64)).to_numpy()
        assert np.isfinite(quantiles).all(), "a quantile is not finite"
        assert (np.diff(quantiles, axis=1) >= 0).all(), "quantiles are not ordered"
        values = forecaster.prepared.panel.reals[target]
        if (values[~np.isnan(values)] >= 0).all():  # the lower bound is found out
            assert (quantiles >= 0).all(), "below zero"
    steps = frame["step"].cast(pl.Int64)
    series = list(frame.select(schema.id_names).rows()) or [()] * len(frame)
    by_series: dict[Any, list[int]] = {}
    for name, step in zip(series, steps.to_list(), strict=True):
        by_series.setdefault(name, []).append(step)
    wrong = [name for name, each in by_series.items() if sorted(each) != list(range(1, config.horizon + 1))]
    assert not wrong, f"series {wrong} do not have one forecast a step"
    assert frame[schema.time].null_count() == 0, "a forecast has no time"


def forecast(case: Case, tables: Tables) -> Iterator[None]:
    """Fit and forecast; then forecast a newer table. Yield after each forecast that is right."""
    forecaster = Forecaster(case.horizon, case.lookback, **tables.options, **SIZES).fit(tables.table)
    require_forecasts(forecaster.predict(tables.plan, partial=case.partial), forecaster)
    yield
    if tables.newer is not None:
        found = forecaster.predict(tables.newer_plan, data=tables.newer, partial=case.partial)
        require_forecasts(found, forecaster)
        yield


def try_case(case: Case, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the outcomes of the forecasts of a case, each with its class or its traceback."""
    tables = make_tables(case, folder)
    forecasts = forecast(case, tables)
    while True:
        try:
            next(forecasts)
        except StopIteration:
            return
        except FusecastError as error:
            yield (REFUSED if "Hint:" in str(error) else NO_HINT), type(error).__name__
            return
        except Exception:  # noqa: BLE001  what this program looks for
            yield FAULT, traceback.format_exc(limit=-8)
            return
        yield FORECAST, ""


def try_tables(
    count: int, number: int = 0, trained: float = 0.05, on_fault: Callable[[Case, str], object] = lambda *_: None
) -> Counter[str]:
    """Try so many tables; return the counts of their outcomes, refusals by their class."""
    counts: Counter[str] = Counter()
    chance = random.Random(number)
    with tempfile.TemporaryDirectory(prefix="fusecast-fuzz-") as name:

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(CASES)
        def try_one(case: Case) -> None:
            if counts["tables"] >= count:
                return
            counts["tables"] += 1
            with training(chance.random() < trained), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for verdict, text in try_case(case, Path(name)):
                    counts[verdict if verdict in (FORECAST, FAULT) else f"{verdict}: {text}"] += 1
                    if verdict == FAULT:
                        on_fault(case, text)

        try_one()
    return counts


def main() -> int:
    """Try all tables, print the counts, and return the exit code."""
    parser = argparse.ArgumentParser(description="Draw tables as people have them, and forecast them.")
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", type=float, default=0.05, help="share of networks that are trained for a step")
    parser.add_argument("--show", type=int, default=20, help="faults that are printed in full")
    options = parser.parse_args()
    shown: list[str] = []

    def show(case: Case, text: str) -> None:
        if len(shown) < options.show:
            shown.append(text)
            print(f"--- {FAULT} of {case!r}\n{text}", flush=True)

    began = time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fusecast-panels-") as folder:
        os.environ["FUSECAST_PANELS"] = folder
        counts = try_tables(options.tables, options.seed, options.trained, show)
    for name, value in sorted(counts.items()):
        print(f"{name:40} {value:7,}")
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    return 1 if counts[FAULT] or not counts[FORECAST] else 0


if __name__ == "__main__":
    sys.exit(main())
