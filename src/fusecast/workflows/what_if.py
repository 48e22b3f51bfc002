"""What-if forecasts: how the forecasts change when known columns have other values over the horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fusecast.data.parsing import match_levels
from fusecast.data.schema import Role
from fusecast.errors import ConfigError
from fusecast.inference.forecasts import check_key_columns
from fusecast.workflows.explain import latest_windows
from fusecast.workflows.predict import predict_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusecast.data.arrays import FloatArray
    from fusecast.data.panel import Panel
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.forecasts import Forecasts
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.windows.window_index import WindowIndex
    from fusecast.workflows.prepare import Prepared

Change = object | Sequence[object] | Callable[["NDArray[Any]"], "NDArray[Any]"]
"""A value for the whole horizon, one value a step, or a function from the present values [series, steps] to others."""


def what_if(
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    changes: Mapping[str, Change],
    future: TableLike | None = None,
    *,
    series: object = None,
    raw: bool = False,
    partial: bool = False,
) -> pl.DataFrame:
    """Return forecasts with known columns as they are, and changed; see :meth:`fusecast.Forecaster.what_if`."""
    panel, *forecasts = forecast_changed(
        prepared, bundle, judged, changes, future, series=series, raw=raw, partial=partial
    )
    before, after = (long_table(panel, each, name) for each, name in zip(forecasts, ("before", "after"), strict=True))
    return before.with_columns(after["after"], difference=after["after"] - before["before"])


def forecast_changed(
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    changes: Mapping[str, Change],
    future: TableLike | None = None,
    *,
    series: object = None,
    raw: bool = False,
    partial: bool = False,
) -> tuple[Panel, Forecasts, Forecasts]:
    """Return the panel of the forecasts, those with known columns as they are, and those with them changed."""
    panel, index = latest_windows(prepared, future, series, partial=partial)
    changed = apply_changes(panel, index, changes)
    before, after = (predict_windows(prepared, bundle, judged, each, index, raw=raw) for each in (panel, changed))
    return panel, before, after


def apply_changes(panel: Panel, index: WindowIndex, changes: Mapping[str, Change]) -> Panel:
    """Return the panel with other values of known columns over the horizon of an index of one window a series."""
    known = panel.schema.names(Role.KNOWN)
    series = np.flatnonzero(index.counts)
    rows = (panel.indptr[series] + index.first_cutoff[series])[:, None] + np.arange(index.horizon)
    reals, categories = dict(panel.reals), dict(panel.categories)
    for name, change in changes.items():
        if name not in known:
            raise ConfigError.nothing_to_change(name, known)
        if name in reals:
            reals[name] = reals[name].copy()
            reals[name][rows] = _changed_values(name, change, reals[name][rows])
        else:
            categories[name] = categories[name].copy()
            categories[name][rows] = _changed_codes(name, change, categories[name][rows], panel.levels[name])
    return replace(panel, reals=reals, categories=categories)


def long_table(panel: Panel, forecasts: Forecasts, name: str) -> pl.DataFrame:
    """Return one row a window, step, target and quantile level, with the forecast in column `name`."""
    W, H, Y, Q = forecasts.quantiles.shape
    schema = panel.schema
    check_key_columns(schema)
    series = np.repeat(forecasts.series, H * Y * Q)
    rows = np.repeat((forecasts.cutoff[:, None] + np.arange(H)).ravel(), Y * Q)
    columns: dict[str, Any] = {**panel.ids_of(series)}
    columns[schema.time] = panel.times_at(series, rows)
    columns["step"] = np.tile(np.repeat(np.arange(1, H + 1), Y * Q), W)
    columns["target"] = list(np.repeat(schema.targets, Q)) * (W * H)
    columns["quantile"] = list(forecasts.levels) * (W * H * Y)
    columns[name] = forecasts.quantiles.ravel()
    return pl.DataFrame(columns)


def _changed_values(name: str, change: Change, present: FloatArray) -> FloatArray:
    """Return the new values [S, H] of a real column."""
    allowed = f"a number, or {present.shape[1]} of them"
    try:
        values = np.asarray(change(present) if callable(change) else change, dtype=np.float64)
        values = np.broadcast_to(values, present.shape)
    except (TypeError, ValueError):
        raise ConfigError.wrong_value(f"the change of {name!r}", repr(change), allowed) from None
    left_missing = np.isnan(values) & np.isnan(present) & callable(change)
    if not (np.isfinite(values) | left_missing).all():
        raise ConfigError.wrong_value(f"the change of {name!r}", repr(change), allowed)
    return values


def _changed_codes(name: str, change: Change, present: NDArray[np.int32], levels: tuple[str, ...]) -> NDArray[np.int32]:
    """Return the new codes [S, H] of a categorical column."""
    values: Any = change
    if callable(change):
        values = change(np.array([[levels[c] if c >= 0 else "" for c in row] for row in present], dtype=object))
    text = np.vectorize(_category_text, otypes=[object])(np.asarray(values, dtype=object))
    left_missing = (text == "") & (present < 0) if callable(change) and text.shape == present.shape else False
    categories = np.unique(text[~np.broadcast_to(left_missing, text.shape)].astype(str)).tolist()
    matched = match_levels(categories, levels)
    for category, level in matched.items():
        if level not in levels:
            allowed = f"one of {', '.join(map(repr, levels[:20]))}"
            raise ConfigError.wrong_value(f"the change of {name!r}", repr(category), allowed)
    try:
        code_of = {level: code for code, level in enumerate(levels)}
        codes = np.vectorize(lambda category: code_of.get(matched.get(category, ""), -1), otypes=[np.int32])(text)
        return np.broadcast_to(codes, present.shape)
    except ValueError:
        allowed = f"a value, or {present.shape[1]} of them"
        raise ConfigError.wrong_value(f"the change of {name!r}", repr(change), allowed) from None


def _category_text(value: object) -> str:
    """Return a category as text: booleans in lower case, whole numbers without a decimal point."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
