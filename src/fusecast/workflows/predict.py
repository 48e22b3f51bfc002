"""Forecast the steps after the last row of each series."""

from __future__ import annotations

from collections.abc import Sequence
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
from fusecast.workflows.calibrate import predictor_ahead

if TYPE_CHECKING:
    import polars as pl

    from fusecast.data.arrays import IntArray
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
    extended = extend_panel(panel, config.horizon, *choose_plan(prepared, future), partial=partial)
    index = WindowIndex.at_end(
        lengths=extended.lengths - config.horizon, lookback=prepared.lookback, horizon=config.horizon
    )
    network = predictor_for(bundle, judged, extended, index)
    warn_below_bound(panel, network.lowest)
    predictor = predictor_ahead(prepared, bundle, network, extended, raw=raw)
    if quantiles is not None and network.supports_any_level and predictor is network:
        forecasts = network.predict(extended, index, quantiles)
    else:
        forecasts = predictor.predict(extended, index)
        if quantiles is not None:
            forecasts = forecasts.at_levels(quantiles)
    return extended, forecasts


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


def predictor_for(bundle: Bundle, judged: EnsemblePredictor, panel: Panel, index: WindowIndex) -> EnsemblePredictor:
    """Return what forecasts windows of a panel: the final networks for what they have not learned from, the future.

    Otherwise, and where a run has no final networks, these are the `judged` ones, which `judged` forecasts with.
    """
    final = bundle.for_future
    if final is bundle:
        return judged
    learned = restore_rows(panel, final.extra[LEARNED], "end")
    if (index.first_cutoff < learned)[index.counts > 0].any():
        return judged
    return EnsemblePredictor.from_bundle(final, judged.device)


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
