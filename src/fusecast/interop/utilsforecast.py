"""Forecasts as `utilsforecast` evaluates them: a column a model, its intervals as ``model-lo-80``, ``model-hi-80``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from fusecast.errors import ConfigError
from fusecast.evaluation.backtest.forecast_table import ACTUAL, PREDICTOR, key_columns, target_prefixes
from fusecast.evaluation.backtest.results import Backtest
from fusecast.io.tables import TableLike, convert_like, read_table

MODEL = "TFT"
"""Name of the model of a table of `predict`, as in every table of scores."""


def to_utilsforecast(
    forecasts: Backtest | TableLike, *, target: str | None = None, actual: TableLike | None = None, name: str = MODEL
) -> Any:
    """Return forecasts as the table that ``utilsforecast.evaluation.evaluate`` takes.

    Columns: ``unique_id`` (several ids joined by commas), ``ds``, ``cutoff``, ``y`` where it is known; and of each
    model its median under its name, and of each central interval ``model-lo-80`` and ``model-hi-80``. Quantiles that
    are not the ends of such an interval are left out.

    Parameters
    ----------
    forecasts
        A backtest, whose predictors are the models; or a table of ``Forecaster.predict``. An evaluation holds scores,
        and no forecasts: a backtest with a `stride` of the horizon has those of the same windows.
    target
        The target to take, where there are several; of a table the column of `actual` that has it, by default ``y``.
    actual
        Of a table of ``predict``: a table with the ids, the time and the target, for ``y``; steps that are not in it
        are left out.
    name
        Of the model of a table of ``predict``.

    Returns a polars frame of a backtest, else a frame of the kind of the table. Raises ConfigError for an unknown
    target, a table that is not one of forecasts, or an `actual` without these columns.
    """
    if isinstance(forecasts, Backtest):
        targets = target_prefixes(forecasts.targets)
        chosen = forecasts.targets[0] if target is None and len(targets) == 1 else target
        if chosen not in targets:
            raise ConfigError.not_one_of("target", chosen, targets)
        frame, prefix = forecasts.scan().collect(), targets[chosen]
        known = frame.rename({f"{prefix}{ACTUAL}": "y"})
        return _to_wide(known, prefix, list(forecasts.grouped_scores))
    frame = read_table(forecasts)
    prefix = "" if "y_hat" in frame.columns else f"{target}:"
    if not {"cutoff", f"{prefix}y_hat"} <= set(frame.columns):
        found = [column.removesuffix(":y_hat") for column in frame.columns if column.endswith(":y_hat")]
        if not found:
            raise ConfigError.not_forecasts(frame.columns)
        raise ConfigError.not_one_of("target", target, found)
    if actual is not None:
        frame = _join_actual(frame, read_table(actual), target or "y")
    return convert_like(forecasts, _to_wide(frame.with_columns(pl.lit(name).alias(PREDICTOR)), prefix, [name]))


def _join_actual(frame: pl.DataFrame, actual: pl.DataFrame, target: str) -> pl.DataFrame:
    keys = key_columns(frame.columns)
    for column in (*keys, target):
        if column not in actual.columns:
            raise ConfigError.unknown("column of `actual`", column, actual.columns)
    try:
        known = actual.select(*keys, pl.col(target).alias("y")).cast({name: frame.schema[name] for name in keys})
    except pl.exceptions.PolarsError as error:
        raise ConfigError.other_types(keys, str(error).splitlines()[0]) from None
    return frame.drop("y", strict=False).join(known, on=keys, how="inner", nulls_equal=True, maintain_order="left")


def _to_wide(frame: pl.DataFrame, prefix: str, models: Sequence[str]) -> pl.DataFrame:
    """Return one row a series, time and cutoff with the columns of all models."""
    *ids, time = key_columns(frame.columns)
    unique = pl.lit("series") if not ids else pl.col(ids[0]) if len(ids) == 1 else pl.concat_str(ids, separator=",")
    keys = [unique.alias("unique_id"), pl.col(time).alias("ds"), pl.col("cutoff")]
    keys += [pl.col("y")] if "y" in frame.columns else []
    ends = _find_intervals([column.removeprefix(f"{prefix}q") for column in frame.columns if _is_level(column, prefix)])
    wide: pl.DataFrame | None = None
    for model in models:
        rows = frame.filter(pl.col(PREDICTOR) == model)
        values = [pl.col(f"{prefix}y_hat").alias(model)]
        for level, (low, high) in ends.items():
            values += [pl.col(f"{prefix}q{low}").alias(f"{model}-lo-{level}")]
            values += [pl.col(f"{prefix}q{high}").alias(f"{model}-hi-{level}")]
        if wide is None:
            wide = rows.select(*keys, *values)
        else:
            on = ["unique_id", "ds", "cutoff"]
            part = rows.select(*keys[:3], *values)
            wide = wide.join(part, on=on, how="left", nulls_equal=True, validate="1:1", maintain_order="left")
    assert wide is not None  # there is a model
    return wide


def _is_level(column: str, prefix: str) -> bool:
    return column.startswith(f"{prefix}q0.")


def _find_intervals(levels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return by width in percent, such as ``80``, the two levels that are the ends of a central interval."""
    ends = {}
    for low in levels:
        high = next((each for each in levels if abs(float(low) + float(each) - 1) < 1e-9), None)
        if high is not None and float(low) < float(high):
            ends[f"{100 * (float(high) - float(low)):.6g}"] = (low, high)
    return ends
