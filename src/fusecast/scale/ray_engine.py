"""Forecast partitions on a Ray cluster, through Ray Data."""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from fusecast.errors import ConfigError
from fusecast.scale.worker import Outcome, PartitionForecaster, Task

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Settings of Ray where the user has none: nothing is sent to anybody, and the log has errors alone."""

MAX_BLOCKS = 10_000
"""Blocks of tasks at most; where there are more tasks, several are given to a process at a time."""


@cache
def load_forecaster(run: Path, options: str) -> PartitionForecaster:
    """Return the model of a run, once a process: Ray gives the tasks of a program to the same processes."""
    return PartitionForecaster(run, json.loads(options))


def forecast_row(row: dict[str, Any], run: Path, options: str) -> dict[str, Any]:
    """Forecast the partition of a row of tasks, in a process of the cluster."""
    task = pickle.loads(row["task"])  # noqa: S301  made by the function below
    return asdict(load_forecaster(run, options).forecast(int(row["number"]), task))


def forecast_on_ray(run: Path, options: Mapping[str, Any], tasks: Sequence[Task]) -> Generator[Outcome]:
    """Yield the outcomes of all tasks as they come; every process of the cluster needs the paths of this one.

    The cluster is that of ``RAY_ADDRESS``, or the one that runs on this machine; where there is none, one is started
    here, and ended with the forecasts. A task whose process dies is done again. Raise a ConfigError where Ray is not
    installed, or the cluster fails.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.data import DataContext
    except ImportError:
        raise ConfigError.missing_extra("engine 'ray'", "Ray Data", "ray") from None
    if started := not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError.cluster_failed(str(error).strip().splitlines()[0]) from error
    try:
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
        context = DataContext.get_current().copy()
        context.enable_progress_bars = context.print_on_execution_start = False
        on_gpu = str(options.get("device") or "").startswith("cuda")
        items = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
        with DataContext.current(context):
            rows = ray.data.from_items(items, override_num_blocks=min(len(items), MAX_BLOCKS))
            arguments = (run, json.dumps(dict(options)))
            outcomes = rows.map(
                forecast_row,  # type: ignore[arg-type]  # which takes `fn_args` too
                fn_args=arguments,
                num_cpus=1,
                num_gpus=1 if on_gpu else None,
            )
        for row in outcomes.iter_rows():
            yield Outcome(**{**row, **{name: tuple(row[name]) for name in ("warnings", "notes")}})
    except ray.exceptions.RayError as error:
        raise ConfigError.cluster_failed(str(error).strip().splitlines()[-1]) from error
    finally:
        if started:
            ray.shutdown()
