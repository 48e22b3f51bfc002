"""Backtest: forecasts from rolling origins, written as they are made, and what they came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError, DataError, SchemaError
from fusecast.evaluation.actuals import actuals, targets
from fusecast.evaluation.backtest.origins import Origins, Piece
from fusecast.evaluation.backtest.part_files import PartFiles
from fusecast.evaluation.breakdown import Tally, groupings_of
from fusecast.evaluation.seasonal_error import seasonal_error, seasonal_square
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.predictor import Predictor

PREDICTOR, ACTUAL = "predictor", "actual"

Progress = Callable[[int, int], None]


def roll(
    panel: Panel,
    origins: Origins,
    predictors_of: Callable[[int], Sequence[Predictor]],
    files: PartFiles,
    on_progress: Progress | None = None,
) -> int:
    """Forecast from every origin and write the long table, part by part. Parts that are there are not made again.

    Parameters
    ----------
    predictors_of
        Gives the predictors of a block; it is asked once a block, in order, and not for blocks whose parts are there.
    on_progress
        Called with the windows done and the windows there are.

    Returns
    -------
    The number of parts.
    """
    if len(origins.index) == 0:
        raise DataError.nothing_to_evaluate(origins.index.horizon)
    values = targets(panel)
    block, predictors, done, count = -1, (), 0, 0  # type: tuple[int, Sequence[Predictor], int, int]
    for piece in origins.pieces():
        if not files.has(piece.number):
            if piece.block != block:
                block, predictors = piece.block, predictors_of(piece.block)
                _refuse_namesakes(predictors)
            files.write(piece.number, table_of(panel, piece, predictors, values))
        done, count = done + len(piece.index), piece.number + 1
        if on_progress is not None:
            on_progress(done, len(origins.index))
    return count


def table_of(panel: Panel, piece: Piece, predictors: Sequence[Predictor], values: NDArray[np.float64]) -> pl.DataFrame:
    """Give the long table of a piece: one row a predictor, window and step, with what really happened.

    Columns as in :meth:`Forecasts.to_frame`, with ``predictor`` before them and ``actual`` after ``step``
    (``<target>:actual`` where there are several targets).
    """
    names = (PREDICTOR, ACTUAL)
    for name in (panel.schema.id, panel.schema.time):
        if name in names:
            raise SchemaError.reserved_name(name, "a column of every backtest")
    frames = []
    for predictor in predictors:
        made = predictor.predict(panel, piece.index)
        truth = actuals(panel, made.series, made.cutoff, made.horizon, values)
        frame = made.to_frame(panel)
        real = [
            pl.Series(column, truth[..., y].ravel(), nan_to_null=True) for y, column in enumerate(actual_columns(panel))
        ]
        keys = frame.columns[: frame.columns.index("step") + 1]
        frames.append(frame.select(pl.lit(predictor.name).alias(PREDICTOR), *keys, *real, pl.exclude(keys)))
    return pl.concat(frames)


def tally(
    panel: Panel,
    origins: Origins,
    files: PartFiles,
    *,
    train_end: NDArray[np.int64],
    season: int,
) -> dict[str, Tally]:
    """Score the parts, one at a time: predictor -> scores.

    `train_end` [S] and `season` say what MASE and RMSSE are measured against.
    """
    error_scale, square_scale = seasonal_error(panel, train_end, season), seasonal_square(panel, train_end, season)
    groupings = groupings_of(panel, origins)
    tallies: dict[str, Tally] = {}
    for piece in origins.pieces():
        for name, forecasts, actual in forecasts_of(panel, piece, files.read(piece.number)):
            if name not in tallies:
                tallies[name] = Tally(panel=panel, origins=origins, levels=forecasts.levels, groupings=groupings)
            tallies[name].add(forecasts, actual, error_scale, square_scale)
    return tallies


def forecasts_of(
    panel: Panel, piece: Piece, frame: pl.DataFrame
) -> Iterator[tuple[str, Forecasts, NDArray[np.float64]]]:
    """Read the long table of a piece back: each predictor's name, forecasts and the actuals [W, H, Y]."""
    series, cutoff = piece.index.locate(np.arange(len(piece.index)))
    horizon, columns = piece.index.horizon, level_columns(panel, frame.columns)
    shape = (len(series), horizon, len(panel.schema.targets))
    rows = len(series) * horizon
    names = frame[PREDICTOR].gather_every(rows).to_list()
    for place, name in enumerate(names):
        own = frame.slice(place * rows, rows)
        values = own.select(column for by_target in columns.values() for column in by_target).to_numpy()
        quantiles = np.moveaxis(values.reshape(shape[0], horizon, len(columns), shape[2]), 2, 3)
        actual = own.select(pl.col(actual_columns(panel)).fill_null(np.nan)).to_numpy().reshape(shape)
        made = Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=tuple(columns))
        yield name, made, actual


def actual_columns(panel: Panel) -> list[str]:
    """Names of the columns of actuals, one a target."""
    names = panel.schema.targets
    return [ACTUAL] if len(names) == 1 else [f"{name}:{ACTUAL}" for name in names]


def level_columns(panel: Panel, columns: Sequence[str]) -> dict[float, list[str]]:
    """Find the quantile columns of a table: level -> its column for each target."""
    names = panel.schema.targets
    prefixes = [""] if len(names) == 1 else [f"{name}:" for name in names]
    found: dict[float, list[str]] = {}
    for column in columns:
        start = f"{prefixes[0]}q"
        if column.startswith(start) and _is_number(column[len(start) :]):
            level = column[len(start) :]
            found[float(level)] = [f"{prefix}q{level}" for prefix in prefixes]
    return found


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _refuse_namesakes(predictors: Sequence[Any]) -> None:
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise ConfigError.predictors_share_a_name(names)
