"""Forecast the steps after the last row of each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.future import extend_panel
from fusecast.data.splits import find_recorded_rows
from fusecast.errors import DataError
from fusecast.errors.base import join_words
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.io.tables import read_future
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import calibrated_predictor, lowest_value

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.inference.forecasts import Forecasts, Predictor
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
    calibrated: bool = False,
) -> tuple[Panel, Forecasts]:
    """Return the panel extended by the horizon, and the forecasts of its new steps; `judged` forecasts with the judged
    networks.

    A distribution has quantiles of its own at every level; those of a quantile head, and calibrated ones, are
    interpolated, see :mod:`fusecast.inference.quantiles`. Raise a DataError where values are so large that forecasts
    are not finite.
    """
    panel, config = prepared.panel, prepared.config
    extended = extend_panel(panel, config.horizon, read_future(future, panel.schema.id))
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=prepared.lookback, horizon=config.horizon)
    network = predictor_for(bundle, judged, extended, index)
    predictor: Predictor = calibrated_predictor(bundle, network, prepared, judged) if calibrated else network
    if quantiles is not None and network.supports_any_level and not calibrated:
        forecasts = network.predict(extended, index, quantiles)
    else:
        forecasts = predictor.predict(extended, index)
        if quantiles is not None:
            forecasts = forecasts.at_levels(quantiles, lowest=lowest_value(prepared))
    spoiled = ~np.isfinite(forecasts.quantiles).all(axis=(1, 2, 3))
    if spoiled.any():
        raise DataError.forecasts_not_finite([panel.names[s] for s in forecasts.series[spoiled].tolist()])
    return extended, forecasts


def predictor_for(bundle: Bundle, judged: EnsemblePredictor, panel: Panel, index: WindowIndex) -> EnsemblePredictor:
    """Return what forecasts windows of a panel: the final networks for what they have not learned from, the future.

    Otherwise, and where a run has no final networks, these are the `judged` ones, which `judged` forecasts with.
    """
    final = bundle.for_future
    if final is bundle:
        return judged
    learned = find_recorded_rows(panel, final.extra[LEARNED], "end")
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
