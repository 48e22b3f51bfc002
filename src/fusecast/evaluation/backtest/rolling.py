"""Rolling forecasts: predict from every origin into part files, and score the part files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors import DataError, SchemaError
from fusecast.evaluation.actuals import gather_actuals, seasonal_error, seasonal_squared_error, stack_targets
from fusecast.evaluation.backtest.origins import Chunk, Origins
from fusecast.evaluation.backtest.part_files import PartFiles
from fusecast.evaluation.breakdown import (
    GroupedScores,
    group_by_calendar,
    group_by_origin,
    group_by_series,
    group_by_step,
)
from fusecast.evaluation.evaluate import ProgressCallback, check_unique_names
from fusecast.inference.forecasts import Forecasts, Predictor

PREDICTOR, ACTUAL = "predictor", "actual"


def write_part_files(
    panel: Panel,
    origins: Origins,
    predictors_for_block: Callable[[int], Sequence[Predictor]],
    files: PartFiles,
    on_progress: ProgressCallback | None = None,
) -> int:
    """Forecast from every origin and write the long table, a part file for each chunk; existing parts are kept.

    Parameters
    ----------
    predictors_for_block
        Returns the predictors of a block; called once a block, in order, and not for blocks whose parts all exist.
    on_progress
        Called with the windows done and all windows.

    Returns
    -------
    The number of part files.
    """
    if len(origins.index) == 0:
        raise DataError.nothing_to_evaluate(origins.index.horizon)
    values = stack_targets(panel)
    block, predictors, done, count = -1, (), 0, 0  # type: tuple[int, Sequence[Predictor], int, int]
    for chunk in origins.chunks():
        if not files.has(chunk.number):
            if chunk.block != block:
                block, predictors = chunk.block, predictors_for_block(chunk.block)
                check_unique_names(predictors)
            files.write(chunk.number, build_part(panel, chunk, predictors, values))
        done, count = done + len(chunk.index), chunk.number + 1
        if on_progress is not None:
            on_progress(done, len(origins.index))
    return count


def build_part(panel: Panel, chunk: Chunk, predictors: Sequence[Predictor], values: FloatArray) -> pl.DataFrame:
    """Return the long table of a chunk: one row a predictor, window and step, with the actual beside the forecast.

    Columns as in :meth:`Forecasts.to_frame`, with ``predictor`` before them and ``actual`` after ``step``
    (``<target>:actual`` where there are several targets). `values` are the panel's targets, [N, Y].
    """
    for name in (panel.schema.id, panel.schema.time):
        if name in (PREDICTOR, ACTUAL):
            raise SchemaError.reserved_name(name, "a column of every backtest")
    frames = []
    for predictor in predictors:
        forecasts = predictor.predict(panel, chunk.index)
        actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon, values)
        frame = forecasts.to_frame(panel)
        actual_columns = [
            pl.Series(name, actual[..., y].ravel(), nan_to_null=True) for y, name in enumerate(_actual_names(panel))
        ]
        keys = frame.columns[: frame.columns.index("step") + 1]
        frames.append(frame.select(pl.lit(predictor.name).alias(PREDICTOR), *keys, *actual_columns, pl.exclude(keys)))
    return pl.concat(frames)


def score_part_files(
    panel: Panel, origins: Origins, files: PartFiles, *, train_end: IntArray, season: int
) -> dict[str, GroupedScores]:
    """Score the part files, one at a time: predictor -> its scores by series, step, calendar and origin.

    `train_end` [S] and `season` determine the divisors of MASE and RMSSE.
    """
    error_scale = seasonal_error(panel, train_end, season)
    square_scale = seasonal_squared_error(panel, train_end, season)
    groupings = (
        group_by_series(panel),
        group_by_step(origins.index.horizon),
        *group_by_calendar(panel),
        group_by_origin(origins.index),
    )
    scores: dict[str, GroupedScores] = {}
    for chunk in origins.chunks():
        for name, forecasts, actual in read_part(panel, chunk, files.read(chunk.number)):
            if name not in scores:
                scores[name] = GroupedScores(panel.schema.targets, forecasts.levels, groupings)
            scores[name].add(forecasts, actual, error_scale, square_scale)
    return scores


def read_part(panel: Panel, chunk: Chunk, frame: pl.DataFrame) -> Iterator[tuple[str, Forecasts, FloatArray]]:
    """Yield each predictor's name, forecasts and the actuals [W, H, Y] from the long table of a chunk."""
    series, cutoff = chunk.index.locate(np.arange(len(chunk.index)))
    horizon, columns = chunk.index.horizon, _quantile_columns(panel, frame.columns)
    shape = (len(series), horizon, len(panel.schema.targets))
    num_rows = len(series) * horizon
    for i, name in enumerate(frame[PREDICTOR].gather_every(num_rows).to_list()):
        rows = frame.slice(i * num_rows, num_rows)
        values = rows.select(column for by_target in columns.values() for column in by_target).to_numpy()
        quantiles = np.moveaxis(values.reshape(shape[0], horizon, len(columns), shape[2]), 2, 3)
        actual = rows.select(pl.col(_actual_names(panel)).fill_null(np.nan)).to_numpy().reshape(shape)
        yield name, Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=tuple(columns)), actual


def _actual_names(panel: Panel) -> list[str]:
    """Return the names of the columns of actuals, one a target."""
    targets = panel.schema.targets
    return [ACTUAL] if len(targets) == 1 else [f"{target}:{ACTUAL}" for target in targets]


def _quantile_columns(panel: Panel, columns: Sequence[str]) -> dict[float, list[str]]:
    """Return the quantile columns of a table: level -> its column for each target."""
    targets = panel.schema.targets
    prefixes = [""] if len(targets) == 1 else [f"{target}:" for target in targets]
    by_level: dict[float, list[str]] = {}
    for column in columns:
        level = column.removeprefix(f"{prefixes[0]}q")
        if level != column and level.replace(".", "", 1).replace("e-", "", 1).isdigit():
            by_level[float(level)] = [f"{prefix}q{level}" for prefix in prefixes]
    return by_level
