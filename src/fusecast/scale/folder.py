"""predict_folder: forecast a table that is a folder, partition by partition, and continue where a call has ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fusecast.data.ids.columns import id_names
from fusecast.errors import ArtifactError, ConfigError, DataError, DataNote, DataWarning
from fusecast.errors.base import warn
from fusecast.inference.model_bundle import CONFIG
from fusecast.io.atomic import compute_checksum, remove_leftovers
from fusecast.io.output_dir import check_results_folder
from fusecast.io.tables import read_table
from fusecast.model.config import validate_quantile_levels
from fusecast.scale.partitions import Partition, check_series_apart, find_partitions
from fusecast.scale.worker import Outcome, PartitionForecaster, Task, read_record
from fusecast.workflows.load import load_run

Engine = Literal["local", "ray"]
FORMAT = 1
MAX_NOTED = 20
"""Partitions whose warnings are shown; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class FolderForecasts:
    """What a call of :func:`predict_folder` has done."""

    folder: Path  # of the forecasts, a Parquet file for each partition
    partitions: int  # of the table
    kept: int  # of the partitions, forecast by an earlier call
    rows: int  # written by this call


def predict_folder(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    future: str | Path | None = None,
    *,
    quantiles: Sequence[float] | None = None,
    raw: bool = False,
    partial: bool = False,
    device: str | None = None,
    engine: Engine = "local",
    on_progress: Callable[[int, int], None] | None = None,
) -> FolderForecasts:
    """Forecast every partition of a table in a folder, as :meth:`Forecaster.predict` forecasts each alone.

    A partition is a file (Parquet, CSV, Arrow), or all files of a folder ``column=value``; every series is in one of
    them. One partition is in memory at a time. Its forecasts are a Parquet file of the same name in `out`, which
    appears when it is complete; where `out` has those of the same files, model and options, they are kept. `quantiles`,
    `raw`, `partial` and `device` are those of :meth:`Forecaster.predict`.

    Parameters
    ----------
    run
        Folder of the model, as `Forecaster.save` and ``fusecast fit`` write it.
    future
        Folder with the known columns of the steps to forecast, a partition of the same name for each of `data`; or a
        file without the id column, which applies to every series.
    engine
        ``local``: this process. ``ray``: a Ray cluster, whose machines all see the same folders.
    on_progress
        Called with the partitions done and their total.

    Raises
    ------
    DataError
        Before anything is written, where a series is in two partitions or plans are missing; and at the end, where
        some partitions could not be forecast.
    ArtifactError
        Where `out` holds anything but forecasts of this table, model and options.
    ConfigError
        For an unknown `engine`, or wrong `quantiles`.
    """
    run, data, out = Path(run).resolve(), Path(data).resolve(), Path(out).resolve()
    future = None if future is None else Path(future).resolve()
    if engine not in get_args(Engine):
        raise ConfigError.not_one_of("engine", engine, get_args(Engine))
    levels = None if quantiles is None else list(validate_quantile_levels(quantiles))
    bundle, config = load_run(run)
    ids = id_names(config.table.id)
    partitions = find_partitions(data)
    plans = match_plans(partitions, future, ids)
    for source in (data, future):
        if source is not None and out.is_relative_to(source):
            raise ArtifactError.inside_input(out, source)
    check_results_folder(out)
    if ids:
        check_series_apart(partitions, ids, bundle.preprocessor.series)
    elif len(partitions) > 1:
        raise DataError.partitions_of_one_series(data, len(partitions))
    options = {"quantiles": levels, "raw": raw, "partial": partial}
    model = {"format": FORMAT, "model": compute_checksum(run / CONFIG), "options": options}
    tasks = [
        Task(
            partition=partition,
            plan=plan,
            path=out / partition.result,
            record={**model, "inputs": [*partition.stamp(), *stamp_plan(plan)]},
        )
        for partition, plan in zip(partitions, plans, strict=True)
    ]
    done = find_done(out, tasks)
    remaining = [task for task in tasks if task.path not in done]
    rows = 0
    try:
        if remaining:
            with closing(start_engine(engine, run, {**options, "device": device}, remaining)) as outcomes:
                rows = collect(outcomes, remaining, len(tasks), out, on_progress)
    finally:
        for folder in {task.path.parent for task in tasks}:
            remove_leftovers(folder)
    return FolderForecasts(folder=out, partitions=len(tasks), kept=len(done), rows=rows)


def match_plans(
    partitions: Sequence[Partition], future: Path | None, ids: Sequence[str]
) -> list[Partition | Path | None]:
    """Return the plan of each partition; raise a DataError where plans and partitions have different names."""
    if future is None:
        return [None] * len(partitions)
    if not future.is_dir():
        columns = read_table(future, keys=ids).columns
        if named := [name for name in ids if name in columns]:
            raise DataError.plan_with_series(future, named[0])
        return [future] * len(partitions)
    plans = {plan.name: plan for plan in find_partitions(future)}
    names = {partition.name for partition in partitions}
    without_plan, without_data = sorted(names - plans.keys()), sorted(plans.keys() - names)
    if without_plan or without_data:
        raise DataError.plans_do_not_match(without_plan, without_data, future)
    return [plans[partition.name] for partition in partitions]


def stamp_plan(plan: Partition | Path | None) -> list[tuple[str, int, int]]:
    """Return name, size and time of the last change of the files of a plan."""
    if isinstance(plan, Path):
        plan = Partition(name=plan.name, files=(plan,))
    return [] if plan is None else plan.stamp()


def find_done(out: Path, tasks: Sequence[Task]) -> set[Path]:
    """Return the files of forecasts that are there already, of the same inputs; those of changed inputs are not.

    Raise an ArtifactError where the folder has others, since whoever reads it would take them for forecasts of these.
    """
    records = {task.path: task.record for task in tasks}
    done, left = set(), []
    for path in sorted(out.rglob("*.parquet")):
        if path.is_dir():
            continue
        if (record := read_record(path)) is None:
            raise ArtifactError.not_forecasts(path)
        if path not in records:
            left.append(path)
            continue
        for name, difference in (("format", "of another version"), ("model", "of another model")):
            if record.get(name) != records[path][name]:
                raise ArtifactError.other_forecasts(path, difference)
        if record.get("options") != records[path]["options"]:
            raise ArtifactError.other_forecasts(path, f"made with other options ({record.get('options')})")
        if record.get("inputs") == [list(stamp) for stamp in records[path]["inputs"]]:
            done.add(path)
    if left:
        raise ArtifactError.other_forecasts(left[0], "of a partition that the table does not have")
    return done


def start_engine(engine: Engine, run: Path, options: Mapping[str, Any], tasks: Sequence[Task]) -> Generator[Outcome]:
    """Return the outcomes of tasks, in the order in which they are done."""
    if engine == "ray":
        from fusecast.scale.ray_engine import forecast_on_ray

        return forecast_on_ray(run, options, tasks)
    forecaster = PartitionForecaster(run, options)
    return (forecaster.forecast(number, task) for number, task in enumerate(tasks))


def collect(
    outcomes: Iterator[Outcome],
    tasks: Sequence[Task],
    total: int,
    out: Path,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    """Return the rows written; raise a DataError when all partitions are done and some could not be forecast."""
    failures, rows, done, noted = {}, 0, total - len(tasks), 0
    for outcome in outcomes:
        name, done = tasks[outcome.number].partition.name, done + 1
        if outcome.fatal:
            raise ArtifactError(outcome.error)
        if outcome.error:
            failures[name] = outcome.error
        rows += outcome.rows
        if outcome.warnings or outcome.notes:
            noted += 1
            if noted <= MAX_NOTED:
                for kind, texts in ((DataWarning, outcome.warnings), (DataNote, outcome.notes)):
                    for text in texts:
                        warn(kind(f"{name}: {text}"))
        if on_progress is not None:
            on_progress(done, total)
    if noted > MAX_NOTED:
        warn(DataNote.of_facts([f"{noted - MAX_NOTED:,} more partitions have such notes"]))
    if failures:
        raise DataError.partitions_failed(dict(sorted(failures.items())), total, out)
    return rows
