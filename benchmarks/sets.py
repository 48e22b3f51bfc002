"""The real series of ``shared/data`` as tasks: one scaling, one split, the same numbers for every library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.task import Task


@dataclass(frozen=True, kw_only=True)
class RealSet:
    """What is known of a set, beside its rows."""

    lookback: int = 168
    horizon: int = 24
    frequency: str = "h"
    calendar: tuple[str, ...] = ("hour", "dow")
    known: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    observed_categories: tuple[str, ...] = ()
    static_reals: tuple[str, ...] = ()
    static_categories: tuple[str, ...] = ()


EVENTS = (
    "easter_day",
    "good_friday",
    "new_year",
    "christmas",
    "labor_day",
    "independence_day",
    "revolution_day_memorial",
    "regional_games",
    "fifa_u_17_world_cup",
    "football_gold_cup",
    "beer_capital",
    "music_fest",
)
SETS = {
    "bike_sharing": RealSet(
        known=("holiday", "workingday"),
        observed=("temp", "atemp", "hum", "windspeed"),
        observed_categories=("weather",),
    ),
    "vic_electricity": RealSet(
        frequency="30min", calendar=("hour", "dow"), known=("holiday",), observed=("temperature",)
    ),
    "etth1": RealSet(),
    "m4_hourly": RealSet(),
    "stallion": RealSet(
        lookback=24,
        horizon=6,
        frequency="M",
        calendar=("month",),
        known=(*EVENTS, "price_regular", "price_actual", "discount", "discount_in_percent"),
        observed=("industry_volume", "soda_volume", "avg_max_temp"),
        static_reals=("avg_population_2017", "avg_yearly_household_income_2017"),
        static_categories=("agency", "sku"),
    ),
    "exchange_rate": RealSet(lookback=90, horizon=30, frequency="D", calendar=()),
    "epf_nordpool": RealSet(known=("load_forecast", "wind_forecast")),
}

CALENDAR = {  # all from -0.5 to 0.5
    "hour": (pl.col("ds").dt.hour() + pl.col("ds").dt.minute() / 60) / 23 - 0.5,
    "dow": (pl.col("ds").dt.weekday() - 1) / 6 - 0.5,
    "month": (pl.col("ds").dt.month() - 1) / 11 - 0.5,
}


def make_real_task(
    name: str,
    source: Path,
    folder: Path,
    *,
    hidden_size: int = 32,
    head: int | None = None,
    lookback: int | None = None,
    part: Literal["validation", "test"] = "test",
    at_most: int | None = None,
) -> Task:
    """Write the table of a set and give its task; `head` keeps the first rows of each series, for tests.

    60% of each series' rows train, 20% validate, 20% test. The cutoffs are those of the windows of one `part`, a
    horizon apart back from its end, or evenly fewer of them where they are more than `at_most`. The target is
    standardised by the training rows of its series, real covariates by all training rows.
    """
    spec = SETS[name]
    frame = pl.read_parquet(source / f"{name}.parquet").sort("unique_id", "ds")
    if head is not None:
        frame = frame.group_by("unique_id", maintain_order=True).head(head)
    if frame["ds"].dtype.is_integer():
        start = pl.datetime(2000, 1, 1, time_unit="us")
        frame = frame.with_columns(ds=start + pl.duration(days=pl.col("ds")))
    frame = frame.with_columns(
        pl.col("ds").cast(pl.Datetime("us")), *(expression.alias(n) for n, expression in _calendar(spec).items())
    )
    names = frame["unique_id"].unique(maintain_order=True)
    series = frame["unique_id"].rle_id().to_numpy().astype(np.int64)
    lengths = np.bincount(series)
    t = np.arange(len(series)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    train_end, valid_end = split_rows(lengths, spec.horizon)
    training = t < train_end[series]

    reals = (*spec.known, *spec.observed, *spec.static_reals)
    columns = {
        "names": names.to_numpy().astype(str),
        "series": series,
        "ds": frame["ds"].to_numpy(),
        "t": t,
        "y": standardised(frame["y"].to_numpy().astype(np.float64), series, training),
        **{n: frame[n].to_numpy().astype(np.float32) for n in spec.calendar},
        **{n: standardised(frame[n].to_numpy().astype(np.float64), np.zeros_like(series), training) for n in reals},
    }
    cardinalities = {}
    for n in (*spec.static_categories, *spec.observed_categories):
        levels = sorted(frame[n].unique().to_list())
        columns[n] = frame[n].replace_strict(levels, list(range(len(levels))), return_dtype=pl.Int64).to_numpy()
        cardinalities[n] = len(levels)
    folder.mkdir(parents=True, exist_ok=True)
    task = Task(
        folder=str(folder),
        horizon=spec.horizon,
        lookback=lookback or spec.lookback,
        frequency=spec.frequency,
        hidden_size=hidden_size,
        calendar=spec.calendar,
        known_reals=(*spec.calendar, *spec.known),
        observed_reals=spec.observed,
        static_reals=spec.static_reals,
        observed_categories={n: cardinalities[n] for n in spec.observed_categories},
        static_categories={
            **({"series": len(names)} if len(names) > 1 else {}),
            **{n: cardinalities[n] for n in spec.static_categories},
        },
        relative_position=True,
        train_end=tuple(train_end.tolist()),
        cutoffs=cutoffs_between(
            *((train_end, valid_end) if part == "validation" else (valid_end, lengths)), spec.horizon, at_most
        ),
    )
    np.savez(task.table, **columns)
    task.write()
    return task


def _calendar(spec: RealSet) -> dict[str, pl.Expr]:
    return {name: CALENDAR[name] for name in spec.calendar}


def split_rows(lengths: NDArray[np.int64], horizon: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the ends of training and validation, 60/20/20 by time, at least a horizon each as in fusecast's split."""
    part = np.maximum(np.rint(0.2 * lengths).astype(np.int64), horizon)
    return lengths - 2 * part, lengths - part


def cutoffs_between(
    begin: NDArray[np.int64], end: NDArray[np.int64], horizon: int, at_most: int | None = None
) -> tuple[tuple[int, ...], ...]:
    """Give the cutoffs of the windows with targets in ``[begin[s], end[s])``, a horizon apart back from the end.

    Where they are more than `at_most`, the step is a multiple of the horizon, the same for all series.
    """
    step = horizon
    while True:
        cutoffs = tuple(
            tuple(range(int(stop) - horizon, int(start) - 1, -step)[::-1])
            for start, stop in zip(begin, end, strict=True)
        )
        if at_most is None or sum(map(len, cutoffs)) <= max(at_most, len(cutoffs)):
            return cutoffs
        step += horizon


def standardised(
    values: NDArray[np.float64], group: NDArray[np.int64], training: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Take off the mean of the group's training rows and divide by their deviation (1 where that is 0)."""
    size = int(group.max()) + 1
    counts = np.bincount(group[training], minlength=size)
    mean = np.bincount(group[training], values[training], minlength=size) / np.maximum(counts, 1)
    centred = values - mean[group]
    variance = np.bincount(group[training], centred[training] ** 2, minlength=size) / np.maximum(counts, 1)
    deviation = np.sqrt(variance)
    deviation[deviation < 1e-9 * np.maximum(1.0, np.abs(mean))] = 1.0
    return (centred / deviation[group]).astype(np.float32)


def actuals(task: Task) -> NDArray[np.float64]:
    """What happened after each of the task's cutoffs, [W, H], in the order that drivers forecast in."""
    columns = task.columns()
    lengths = np.bincount(columns["series"])
    starts = np.cumsum(lengths) - lengths
    first = np.array([starts[s] + cutoff for s, series in enumerate(task.cutoffs) for cutoff in series])
    return columns["y"].astype(np.float64)[first[:, None] + np.arange(task.horizon)]


def known_sets(names: Sequence[str]) -> list[str]:
    """Give the sets named, all where none is; raise SystemExit at an unknown one."""
    unknown = [name for name in names if name not in SETS]
    if unknown:
        raise SystemExit(f"no set is called {', '.join(unknown)}; there are: {', '.join(SETS)}")
    return list(names or SETS)
