"""The tasks of fev-bench in ``shared/data/fev``: their facts, their windows, and the published scores.

A window is cut as fev cuts it: by rows from the end of each series, or at a date. A model gets the rows up to the
cutoff, and of the next steps the keys and the known columns alone.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

ID, TIME, TARGET = "unique_id", "ds", "y"
SEPARATOR = "/"  # between the series and the target, where a task has several
PUBLISHED = "published.json"
NAIVE_CONTEXT = 1_000  # rows that the published seasonal naive took its spread from: found by its scores


@dataclass(frozen=True)
class Window:
    """What is known at a cutoff, and what happened after it."""

    past: pl.DataFrame
    future: pl.DataFrame | None  # known columns of the horizon; None where the task has none
    actual: pl.DataFrame  # id, time, target of the horizon


@dataclass(frozen=True)
class FevTask:
    """A task, as its JSON file states it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, name: str, folder: Path) -> FevTask:
        """Read the facts of a task."""
        return cls(name, folder, json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))

    @property
    def table(self) -> Path:
        """Where the rows are."""
        return self.folder / f"{self.name}.parquet"

    @property
    def horizon(self) -> int:
        """Steps to forecast."""
        return int(self.facts["horizon"])

    @property
    def season(self) -> int:
        """Steps of a season, 1 for none."""
        return int(self.facts["seasonality"])

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantile levels that are scored."""
        return tuple(self.facts["quantile_levels"])

    @property
    def num_windows(self) -> int:
        """Cutoffs."""
        return int(self.facts["num_windows"])

    @property
    def roles(self) -> dict[str, list[str]]:
        """Columns of each role of :class:`fusecast.Forecaster`, the target's aside."""
        columns = self.facts["columns"]
        return {"known": columns["known_future"], "observed": columns["past_only"], "static": columns["static"]}

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows with one target column, sorted by series and time.

        The published models forecast each target of a task by itself ("targets as univariate series"). So each becomes
        a series, with the covariates of its rows, and one model learns all of them.
        """
        targets = self.facts["columns"]["targets"]
        covariates = [name for names in self.roles.values() for name in names]
        rows = pl.read_parquet(self.table).select(ID, TIME, *targets, *covariates)
        if len(targets) > 1:
            rows = rows.unpivot(targets, index=[ID, TIME, *covariates], variable_name="target", value_name=TARGET)
            rows = rows.with_columns(pl.concat_str(ID, "target", separator=SEPARATOR)).drop("target")
        else:
            rows = rows.rename({targets[0]: TARGET})
        return rows.sort(ID, TIME)

    def window(self, number: int) -> Window:
        """Cut the window of this number, from 0; series with less than a horizon after the cutoff have no part in it.

        ValueError is raised where the cutoff is not the one that the task states.
        """
        initial = self.facts["initial_cutoff"]
        stated = self.facts["cutoffs_last_past_timestamp"]
        date = pl.lit(stated[number]).str.to_datetime() if stated else None
        past_date = None if date is None else (pl.col(TIME) <= date).sum().over(ID)
        if initial.lstrip("-").isdigit():
            begin = pl.len().over(ID).cast(pl.Int64) + int(initial) + number * int(self.facts["window_step"])
        else:
            assert past_date is not None
            begin = past_date.cast(pl.Int64)
        row = pl.int_range(pl.len()).over(ID)
        rows = self.frame.with_columns(begin=begin, row=row, length=pl.len().over(ID))
        rows = rows.filter(pl.col("begin") >= 1, pl.col("begin") + self.horizon <= pl.col("length"))
        if past_date is not None and not rows.select((past_date == pl.col("begin")).all()).item():
            raise ValueError(f"{self.name}: window {number} does not begin after {stated[number]}, as the task states")
        ahead = rows.filter(pl.col("row").is_between("begin", pl.col("begin") + self.horizon, closed="left"))
        known = self.roles["known"]
        return Window(
            past=rows.filter(pl.col("row") < pl.col("begin")).drop("begin", "row", "length"),
            future=ahead.select(ID, TIME, *known) if known else None,
            actual=ahead.select(ID, TIME, TARGET),
        )


def task_names(folder: Path) -> list[str]:
    """Names of the tasks in a folder, those with few rows first."""
    facts = {path.stem: path for path in folder.glob("*.json") if path.name != PUBLISHED}
    rows = {name: json.loads(path.read_text(encoding="utf-8"))["rows"] for name, path in facts.items()}
    return sorted(rows, key=lambda name: (rows[name], name))


def published_scores(folder: Path) -> dict[str, Any]:
    """Published scores of each task."""
    found: dict[str, Any] = json.loads((folder / PUBLISHED).read_text(encoding="utf-8"))
    return found


def quantile_columns(levels: tuple[float, ...]) -> list[str]:
    """Names of the columns of quantiles in a table of forecasts."""
    return [f"q{level:g}" for level in levels]


def naive_forecasts(task: FevTask, window: Window) -> pl.DataFrame:
    """Forecast a window by repeating the last season, with normal quantiles that widen with every season ahead.

    The deviation is the root mean square of seasonal differences. Missing values are filled with the last before them.
    """
    steps = np.arange(task.horizon)
    deviates = np.array([statistics.NormalDist().inv_cdf(level) for level in task.levels])
    made = []
    for (name,), rows in window.past.group_by(ID, maintain_order=True):
        past = rows[TARGET].fill_null(strategy="forward").drop_nulls().to_numpy()[-NAIVE_CONTEXT:]
        median, deviation = _naive(past, task.season, steps)
        quantiles = median[:, None] + deviation[:, None] * deviates
        times = window.actual.filter(pl.col(ID) == name)[TIME]
        columns = dict(zip(quantile_columns(task.levels), quantiles.T, strict=True))
        made.append(pl.DataFrame({ID: [name] * len(steps), TIME: times, "y_hat": median, **columns}))
    return pl.concat(made)


def _naive(
    past: NDArray[np.float64], season: int, steps: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    differences = past[season:] - past[:-season]
    deviation = np.sqrt(np.mean(differences**2)) * np.sqrt(steps // season + 1)
    return past[-season:][steps % season], deviation
