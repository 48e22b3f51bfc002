"""Questions to a model about its table: what it looks at, why this forecast, what if a known value were another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.future import rows_of
from fusecast.data.panel import Panel
from fusecast.data.schema import Role
from fusecast.errors import ConfigError, DataError
from fusecast.explain.explanation import Explanation, explain
from fusecast.explain.permutation import permutation_importance
from fusecast.explain.single_forecast import ForecastExplanation, explain_forecast
from fusecast.inference.forecasts import Forecasts, check_keys
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.prepare import Prepared

PARTS = ("test", "validation", "train", "all")
Change = Any
"""A value for the whole horizon, one a step, or a function from the values [S, H] there to others."""


def explain_windows(
    prepared: Prepared,
    predictor: NetworkPredictor,
    *,
    part: str = "test",
    series: Sequence[object] | None = None,
    max_windows: int | None = 2000,
    permutation_windows: int = 0,
    threshold: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Explain a model over a span of its table.

    Parameters
    ----------
    part
        Windows whose targets lie in this span: test, validation, train, or all.
    series
        Names of the series to look at; None is all.
    max_windows
        Windows at most, evenly spread; None is all there are.
    permutation_windows
        Windows of the span, of all series, to shuffle variables over, as a check; 0 leaves it out.
    threshold
        Distance of the attention from its average above which a forecast is flagged; None chooses one.

    Raises
    ------
    ConfigError
        When the span is unknown or has no window, or a series is unknown.
    """
    if part not in PARTS:
        raise ConfigError.not_one_of("the span to explain", part, PARTS)
    for name, count in (("windows to explain", max_windows), ("windows to shuffle over", permutation_windows)):
        if count is not None and count < 0:
            raise ConfigError.out_of_range(name, count, "0, 1, 2, ...")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError.out_of_range("the distance from which a forecast is flagged", threshold, "[0, 1]")
    whole = index = prepared.windows(part)
    if series is not None:
        index = index.subset(np.array([series_index(prepared.panel, name) for name in series], dtype=np.int64))
    index = thin_evenly(index, max_windows)
    if not len(index):
        raise ConfigError.nothing_to_explain(part)
    outputs = predictor.outputs(prepared.encoded, index)
    found = explain(outputs, prepared.fitted.inputs, prepared.panel, index, threshold=threshold)
    if not permutation_windows:
        return found
    return found.with_permutation(
        permutation_importance(
            lambda batch: run(predictor, batch),
            prepared.encoded,
            thin_evenly(whole, permutation_windows),
            predictor.network.config.quantiles,
            batch_size=predictor.batch_size,
            on_progress=on_progress,
        )
    )


def thin_evenly(index: WindowIndex, max_windows: int | None) -> WindowIndex:
    """Keep at most so many windows, evenly spread over time of day and week too.

    A stride of 24 would see hourly series at one hour of the day only, and one of 2 at the even hours, which draws a
    ripple into averages by position. The stride is raised until it has no factor in common with 24 and 7.
    """
    if max_windows is None or len(index) <= max_windows:
        return index
    index = index.thin(max_windows)
    stride = index.stride
    while math.gcd(stride, 24 * 7) > 1:
        stride += 1
    last = index.first_cutoff + (index.counts - 1) * index.stride
    first = np.where(index.counts > 0, last - (last - index.first_cutoff) // stride * stride, index.first_cutoff)
    return replace(index, first_cutoff=first, last_cutoff=last, stride=stride)


def explain_latest_forecast(
    prepared: Prepared, predictor: NetworkPredictor, series: object, *, future: pl.DataFrame | None = None
) -> ForecastExplanation:
    """Explain one series' latest forecast: of the steps after its last row, or, where known columns have no values
    there and no `future` is given, of the last steps of the table.

    Raises
    ------
    ConfigError
        When there is no such series.
    DataError
        When `future` lacks values, or without it the series is too short.
    """
    panel, index = latest_windows(prepared, future, [series])
    encoded = prepared.fitted.encode(panel)
    _, batch, output = next(iter(predictor.outputs(encoded, index)))
    return explain_forecast(batch, output, predictor.predict(encoded, index), panel, prepared.fitted.inputs)


def what_if(
    prepared: Prepared,
    predictor: NetworkPredictor,
    changes: Mapping[str, Change],
    *,
    future: pl.DataFrame | None = None,
    series: Sequence[object] | None = None,
) -> pl.DataFrame:
    """Forecast as things are, and as they would be with other values of known columns in the steps forecast.

    Parameters
    ----------
    changes
        Known column -> a value for the whole horizon, one a step, or a function from the values [S, H] to others.
    future
        Known columns of the steps after the last rows of the series looked at. None: the last steps of the table are
        forecast once more (or the steps after it, where the model has no known columns).
    series
        Names of the series to look at; None is all.

    Returns
    -------
    One row a series, step, target and quantile: id, time, `step`, `target`, `quantile`, `before`, `after`,
    `difference`.

    Raises
    ------
    ConfigError
        When a column is not known, a value does not fit it, or there is no such series.
    DataError
        As :func:`explain_latest_forecast`.
    """
    panel, index = latest_windows(prepared, future, series)
    before = predictor.predict(prepared.fitted.encode(panel), index)
    after = predictor.predict(prepared.fitted.encode(apply_changes(panel, index, changes)), index)
    one, other = long_table(panel, before, "before"), long_table(panel, after, "after")
    return one.with_columns(other["after"], difference=other["after"] - one["before"])


def latest_windows(
    prepared: Prepared, future: pl.DataFrame | None, series: Sequence[object] | None
) -> tuple[Panel, WindowIndex]:
    """Give the panel of some series (None is all) with their future, and one window each: the latest whose known values
    are all there. Of a future table the rows of these series are looked at, and no others.

    Raises
    ------
    ConfigError
        When there is no such series, or none is named.
    DataError
        When `future` lacks values of these series; and where there is none, when one of them is too short, or all are.
    """
    panel, config = prepared.panel, prepared.config
    if series is not None:
        numbers = np.unique(np.array([series_index(panel, name) for name in series], dtype=np.int64))
        if not numbers.size:
            raise ConfigError.no_series_named()
        future = None if future is None else rows_of(future, panel, numbers)
        panel = panel.select(numbers)
    sizes = {"lookback": config.lookback, "horizon": config.horizon}
    if future is not None or not panel.schema.names(Role.KNOWN):
        return panel.extend(config.horizon, future), WindowIndex.at_end(lengths=panel.lengths, **sizes)
    last = panel.lengths - config.horizon
    index = WindowIndex(first_cutoff=np.maximum(last, 1), last_cutoff=last, **sizes)
    if series is not None or not len(index):
        for number in np.flatnonzero(index.counts == 0):
            raise DataError.series_without_window(panel.ids[number].item(), int(panel.lengths[number]), index.horizon)
    return panel, index


def apply_changes(panel: Panel, index: WindowIndex, changes: Mapping[str, Change]) -> Panel:
    """Give the panel with other values of known columns in the steps that an index of one window a series forecasts."""
    known = panel.schema.names(Role.KNOWN)
    series = np.flatnonzero(index.counts)
    rows = (panel.indptr[series] + index.first_cutoff[series])[:, None] + np.arange(index.horizon)
    reals, categories = dict(panel.reals), dict(panel.categories)
    for name, change in changes.items():
        if name not in known:
            raise ConfigError.nothing_to_change(name, known)
        if name in reals:
            reals[name] = reals[name].copy()
            reals[name][rows] = _values(name, change, reals[name][rows])
        else:
            categories[name] = categories[name].copy()
            categories[name][rows] = _codes(name, change, categories[name][rows], panel.levels[name])
    return replace(panel, reals=reals, categories=categories)


def long_table(panel: Panel, forecasts: Forecasts, name: str) -> pl.DataFrame:
    """Table of one row a window, step, target and quantile level, the forecast under `name`."""
    W, H, Y, Q = forecasts.quantiles.shape
    schema = panel.schema
    check_keys(schema)
    series = np.repeat(forecasts.series, H * Y * Q)
    rows = np.repeat((forecasts.cutoff[:, None] + np.arange(H)).ravel(), Y * Q)
    columns: dict[str, Any] = {}
    if schema.id is not None:
        columns[schema.id] = pl.Series(panel.ids.tolist()).gather(series)
    columns[schema.time] = panel.times_of(series, rows)
    columns["step"] = np.tile(np.repeat(np.arange(1, H + 1), Y * Q), W)
    columns["target"] = list(np.repeat(schema.targets, Q)) * (W * H)
    columns["quantile"] = list(forecasts.levels) * (W * H * Y)
    columns[name] = forecasts.quantiles.ravel()
    return pl.DataFrame(columns)


def series_index(panel: Panel, name: object) -> int:
    """Number of a series by its name, as text.

    Raises
    ------
    ConfigError
        When there is none of this name.
    """
    names = [str(each) for each in panel.ids.tolist()]
    text = str(name)
    if text not in names and isinstance(name, float) and name.is_integer():
        text = str(int(name))  # ids that are whole numbers are named alike whatever their type
    if text not in names:
        raise ConfigError.unknown_series(name, names)
    return names.index(text)


def run(predictor: NetworkPredictor, batch: Batch) -> Output:
    """Output of the network for a batch, without dropout and gradients."""
    import torch

    predictor.network.eval()
    with torch.inference_mode():
        output: Output = predictor.network(Batch(*(tensor.to(predictor.device) for tensor in batch)))
    return output


def _values(name: str, change: Change, usual: NDArray[np.float64]) -> NDArray[np.float64]:
    wanted = f"a number, or {usual.shape[1]} of them"
    try:
        given = np.asarray(change(usual) if callable(change) else change, dtype=np.float64)
        values = np.broadcast_to(given, usual.shape)
    except (TypeError, ValueError):
        raise ConfigError.wrong_change(name, repr(change), wanted) from None
    left_unknown = np.isnan(values) & np.isnan(usual) & callable(change)
    if not (np.isfinite(values) | left_unknown).all():
        raise ConfigError.wrong_change(name, repr(change), wanted)
    return values


def _codes(name: str, change: Change, usual: NDArray[np.int32], levels: tuple[str, ...]) -> NDArray[np.int32]:
    texts = [[levels[code] if code >= 0 else "" for code in row] for row in usual]
    wanted = change(np.array(texts, dtype=object)) if callable(change) else change
    text = np.vectorize(lambda value: _as_text(value, levels), otypes=[object])(np.asarray(wanted, dtype=object))
    for each in np.unique(text.ravel().astype(str)):
        if each not in levels:
            raise ConfigError.wrong_change(name, repr(str(each)), f"one of {', '.join(map(repr, levels[:20]))}")
    try:
        codes = np.vectorize(levels.index, otypes=[np.int32])(text)
        return np.broadcast_to(codes, usual.shape)
    except ValueError:
        raise ConfigError.wrong_change(name, repr(change), f"a value, or {usual.shape[1]} of them") from None


def _as_text(value: object, levels: tuple[str, ...]) -> str:
    """Name a value as categories are named: booleans in lower case, whole numbers without a point."""
    if isinstance(value, bool | np.bool_) or (value in ("True", "False") and value not in levels):
        return str(bool(value)).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
