"""Forecast the steps after the last row of each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.future import extend_panel
from fusecast.data.issues import Issues
from fusecast.data.parsing import to_numbers
from fusecast.data.schema import Role, Schema
from fusecast.data.splits import restore_rows
from fusecast.errors import DataNote, DataWarning
from fusecast.errors.base import join_words, warn
from fusecast.features.targets import warn_below_bound
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.io.tables import read_table
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import CALIBRATION_AHEAD, predictor_ahead

if TYPE_CHECKING:
    import polars as pl

    from fusecast.data.arrays import BoolArray, IntArray
    from fusecast.data.panel import Panel
    from fusecast.inference.forecasts import Forecasts
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.workflows.prepare import Prepared


LEARNED = "learned"
"""Key of the ends of the rows that the final networks have learned from, among their extra values."""


def predict(
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    future: TableLike | None = None,
    *,
    quantiles: Sequence[float] | None = None,
    raw: bool = False,
    partial: bool = False,
) -> tuple[Panel, Forecasts]:
    """Return the panel extended by the horizon, and the forecasts of its new steps; `judged` forecasts with the judged
    networks.

    A distribution has quantiles of its own at every level; those of a quantile head, and calibrated ones, are
    interpolated, see :mod:`fusecast.inference.quantiles`. Raise a DataError where values are so large that forecasts
    are not finite. A DataWarning names series without any value of the targets, or counts values below the lower bound
    of the forecasts.
    """
    panel, config = prepared.panel, prepared.config
    warn_without_history(prepared)
    warn_of_short_history(prepared, bundle)
    extended = extend_panel(panel, config.horizon, *choose_plan(prepared, future), partial=partial)
    index = WindowIndex.at_end(
        lengths=extended.lengths - config.horizon, lookback=prepared.lookback, horizon=config.horizon
    )
    forecasts = predict_windows(prepared, bundle, judged, extended, index, quantiles=quantiles, raw=raw)
    if forecasts.lowest is not None:
        warn_below_bound(panel, forecasts.lowest)
    return extended, forecasts


def predict_windows(
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    panel: Panel,
    index: WindowIndex,
    *,
    quantiles: Sequence[float] | None = None,
    raw: bool = False,
) -> Forecasts:
    """Forecast windows of a panel that may end earlier or later than the table of the fit.

    Series whose windows the run has learned from have the forecasts of its scores: by the judged networks, with the
    calibration of the validation rows. All others have those of its final networks and of its newest calibration.
    """
    learned = find_learned(bundle, panel, index)
    parts = []
    for past, windows in ((False, index.subset(~learned)), (True, index.subset(learned))):
        if not len(windows) and (past or learned.any()):
            continue
        network = choose_networks(bundle, judged, learned=past)
        predictor = predictor_ahead(prepared, bundle, network, panel, raw=raw, learned=past)
        if quantiles is not None and network.supports_any_level and predictor is network:
            parts.append(network.predict(panel, windows, quantiles))
        else:
            forecasts = predictor.predict(panel, windows)
            parts.append(forecasts if quantiles is None else forecasts.at_levels(quantiles))
    if len(parts) == 1:
        return parts[0]
    series = np.concatenate([part.series for part in parts])
    order = np.argsort(series, kind="stable")
    return replace(
        parts[0],
        series=series[order],
        cutoff=np.concatenate([part.cutoff for part in parts])[order],
        quantiles=np.concatenate([part.quantiles for part in parts])[order],
    )


def choose_plan(
    prepared: Prepared, future: TableLike | None, series: IntArray | None = None
) -> tuple[pl.DataFrame | None, IntArray | None]:
    """Return the known columns of the steps to forecast and the series to forecast: `series`, None for all.

    Without a `future` these columns are in the future rows of the table, if it has any. Series without such rows, and
    so without known columns, are then named in a DataWarning and left out, unless they alone are to be forecast.
    """
    panel, plan = prepared.panel, prepared.plan
    if future is not None:
        given = read_table(future, keys=panel.schema.id_names)
        warn_of_newer_rows(panel.schema, given)
        return given, series
    if plan is None:
        return None, series
    every = np.arange(panel.num_series) if series is None else series
    planned = every[plan.steps[every] > 0]
    if not panel.schema.names(Role.KNOWN) or len(planned) in (0, len(every)):
        return plan.rows, series
    warn(DataWarning.series_without_plan([panel.names[s] for s in np.setdiff1d(every, planned).tolist()]))
    return plan.rows, planned


def warn_of_newer_rows(schema: Schema, future: pl.DataFrame) -> None:
    """Warn of a future table that is not read, or whose targets are not: its rows may be meant as newer data."""
    if not schema.names(Role.KNOWN):
        warn(DataWarning.future_not_read())
        return
    for name in schema.targets:
        if name in future.columns and (count := int((~np.isnan(to_numbers(future[name], Issues()))).sum())):
            warn(DataNote.targets_not_read(name, count))


def warn_without_history(prepared: Prepared) -> None:
    """Warn of series without a value of the targets, with what their level is forecast from."""
    panel, fitted = prepared.panel, prepared.preprocessor
    empty = np.flatnonzero((panel.known_lengths == 0) & (panel.lengths > 0))
    if not len(empty):
        return
    new = empty[fitted.locate_series(panel)[empty] < 0]
    resembles = np.array([len(similar) > 0 for similar in fitted.find_similar_series(panel, new)], dtype=np.bool_)
    groups = (np.setdiff1d(empty, new), new[resembles], new[~resembles])
    trained, similar, pooled = (panel.ids[group].tolist() for group in groups)
    warn(DataWarning.series_without_history(trained, similar, pooled, list(fitted.statics)))


def warn_of_short_history(prepared: Prepared, bundle: Bundle) -> None:
    """Warn of series whose rows in the table are fewer than the lookback because it begins later than that of the fit.

    A model of an earlier version does not know where that began.
    """
    panel, record = prepared.panel, bundle.extra["split"]
    begins = dict(zip(record["series"], record.get("begin", ()), strict=False))
    short = np.flatnonzero((panel.known_lengths > 0) & (panel.known_lengths < prepared.lookback))
    cut = [panel.names[s] for s in short.tolist() if begins.get(panel.names[s], panel.start[s]) < panel.start[s]]
    if cut:
        warn(DataWarning.short_history(cut, prepared.lookback))


def find_learned(bundle: Bundle, panel: Panel, index: WindowIndex) -> BoolArray:
    """Return of each series, [S], whether the run has learned from rows that its windows forecast: with its final
    networks or, where it has none, with the calibration of forecasts beyond the last rows of the fit.
    """
    record = bundle.extra.get(CALIBRATION_AHEAD) if bundle.final is None else bundle.final.extra[LEARNED]
    if record is None:
        return np.zeros(panel.num_series, dtype=np.bool_)
    return np.asarray((index.first_cutoff < restore_rows(panel, record, "end")) & (index.counts > 0))


def choose_networks(bundle: Bundle, judged: EnsemblePredictor, *, learned: bool) -> EnsemblePredictor:
    """Return what forecasts windows that the run has `learned` from, or the future: the judged networks, which
    `judged` forecasts with, or the final ones, if the run has these.
    """
    final = bundle.final
    return judged if learned or final is None else EnsemblePredictor.from_bundle(final, judged.device)


def describe_networks(bundle: Bundle) -> str:
    """Return which networks of a run are scored, and which forecast the future; empty where these are the same."""
    if bundle.final is None:
        return ""
    facts = bundle.final.extra
    steps = sorted({f"{done:,}" if done == all_ else f"{done:,} of {all_:,}" for done, all_ in facts["steps"]})
    again = {"refit": "networks trained anew on", "finetune": "the same networks, trained on with"}[facts["kind"]]
    return (
        f"scores: networks trained on rows up to {facts['judged_until']}; forecasts: {again} all rows up to "
        f"{facts['until']}, {join_words(steps)} steps"
    )
