"""Explain a trained model: over all windows of a split, or the latest forecast of one series."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from fusecast.data.future import extend_panel
from fusecast.data.ids.matching import find_name
from fusecast.data.schema import Role
from fusecast.errors import ConfigError, DataError
from fusecast.evaluation.blend import stored_blend
from fusecast.explain.permutation import permutation_importance
from fusecast.explain.single_forecast import ForecastExplanation, explain_forecast
from fusecast.reporting.explanation_report import ExplanationReport
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.predict import choose_networks, choose_plan, find_learned, predict_windows
from fusecast.workflows.prepare import SplitName

if TYPE_CHECKING:
    from fusecast.data.arrays import IntArray
    from fusecast.data.panel import Panel
    from fusecast.evaluation.evaluate import ProgressCallback
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.workflows.prepare import Prepared


def explain_windows(
    prepared: Prepared,
    bundle: Bundle,
    predictor: EnsemblePredictor,
    *,
    split: SplitName = "test",
    series: object = None,
    max_windows: int | None = 2000,
    permutation_windows: int = 0,
    threshold: float | None = None,
    on_progress: ProgressCallback | None = None,
) -> ExplanationReport:
    """Explain a model over the windows of a split; see :meth:`fusecast.Forecaster.explain`.

    Raises ConfigError when the split is unknown or has no window, or a series is unknown.
    """
    if split not in get_args(SplitName):
        raise ConfigError.not_one_of("the split to explain", split, get_args(SplitName))
    for name, count in (("windows to explain", max_windows), ("windows to permute over", permutation_windows)):
        if count is not None and count < 0:
            raise ConfigError.out_of_range(name, count, "0, 1, 2, ...")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError.out_of_range("the distance from which a forecast is flagged", threshold, "[0, 1]")
    all_series = index = prepared.windows(split)
    if series is not None:
        index = index.subset(series_numbers(prepared.panel, series))
    index = thin_evenly(index, max_windows)
    if not len(index):
        raise ConfigError.nothing_to_explain(split)
    outputs = predictor.outputs(prepared.encoded, index)
    inputs = prepared.preprocessor.inputs
    explanation = ExplanationReport.from_outputs(
        outputs, inputs, prepared.panel, index, threshold=threshold, blend=stored_blend(bundle)
    )
    if not permutation_windows:
        return explanation
    windows = thin_evenly(all_series, permutation_windows)
    return explanation.with_permutation(
        permutation_importance(
            predictor.forward(prepared.encoded, windows),
            prepared.encoded,
            windows,
            predictor.config.quantiles,
            batch_size=predictor.batch_size,
            on_progress=on_progress,
        )
    )


def thin_evenly(index: WindowIndex, max_windows: int | None) -> WindowIndex:
    """Keep at most so many windows, evenly spread over time, over the hours of the day and the days of the week.

    A stride of 24 would keep one hour of the day of hourly series, and one of 2 the even hours, which shows as a ripple
    in averages by position. The stride is raised until it has no factor in common with 24 and 7.
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
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    series: object,
    future: TableLike | None = None,
    *,
    raw: bool = False,
    partial: bool = False,
) -> ForecastExplanation:
    """Explain the latest forecast of one series; see :meth:`fusecast.Forecaster.explain_forecast`."""
    panel, index = latest_windows(prepared, future, [series], partial=partial)
    network = choose_networks(bundle, judged, learned=bool(find_learned(bundle, panel, index).any()))
    encoded = network.preprocessor.encode(panel)
    _, batch, output = next(iter(network.outputs(encoded, index)))
    forecasts = predict_windows(prepared, bundle, judged, panel, index, raw=raw)
    return explain_forecast(batch, output, forecasts, panel, encoded.inputs, stored_blend(bundle))


def latest_windows(
    prepared: Prepared, future: TableLike | None, series: object, *, partial: bool = False
) -> tuple[Panel, WindowIndex]:
    """Return the panel of some series (None for all) with its future, and the latest window of each that has all known
    values. Of a future table only the rows of these series are read.

    Raises ConfigError when there is no such series, or none is named; DataError when `future` lacks values, or, without
    it, when one of the named series is too short, or all are.
    """
    panel, config = prepared.panel, prepared.config
    chosen = None if series is None else np.unique(series_numbers(panel, series))
    if chosen is not None and not chosen.size:
        raise ConfigError.no_series_named()
    sizes = {"lookback": prepared.lookback, "horizon": config.horizon}
    known, chosen = choose_plan(prepared, future, chosen)
    if known is not None or not panel.schema.names(Role.KNOWN):
        extended = extend_panel(panel, config.horizon, known, chosen, partial=partial)
        return extended, WindowIndex.at_end(lengths=extended.lengths - config.horizon, **sizes)
    if chosen is not None:
        panel = panel.select(chosen)
    last = panel.lengths - config.horizon
    index = WindowIndex(first_cutoff=np.maximum(last, 1), last_cutoff=last, **sizes)
    too_short = np.flatnonzero(index.counts == 0)
    if too_short.size and (series is not None or not len(index)):
        s = too_short[0]
        raise DataError.series_without_window(panel.ids[s].item(), int(panel.lengths[s]), index.horizon)
    return panel, index


def series_numbers(panel: Panel, series: object) -> IntArray:
    """Return the numbers of series, from one or a collection; a tuple is one series where several columns name it."""
    is_one = isinstance(series, str) or (isinstance(series, tuple) and len(panel.schema.id_names) > 1)
    names = series if isinstance(series, Iterable) and not is_one else [series]
    return np.array([series_index(panel, name) for name in names], dtype=np.int64)


def series_index(panel: Panel, name: object) -> int:
    """Return the number of a series by its id, a tuple where it has several, or its name; ConfigError without one."""
    found = find_name(name, panel.names, len(panel.schema.id_names))
    if found is None:
        raise ConfigError.unknown("series", name, panel.names)
    return panel.names.index(found)
