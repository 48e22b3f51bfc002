"""Forecast the steps after the last row of each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.future import extend_panel
from fusecast.errors import DataError
from fusecast.io.tables import read_future
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import lowest_value, predictor_ahead

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.forecasts import Forecasts
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.workflows.prepare import Prepared


def predict(
    prepared: Prepared,
    bundle: Bundle,
    network: EnsemblePredictor,
    future: TableLike | None = None,
    *,
    quantiles: Sequence[float] | None = None,
    raw: bool = False,
) -> tuple[Panel, Forecasts]:
    """Return the panel extended by the horizon, and the forecasts of its new steps.

    A distribution has quantiles of its own at every level; those of a quantile head, and calibrated ones, are
    interpolated, see :mod:`fusecast.inference.quantiles`. Raise a DataError where values are so large that forecasts
    are not finite.
    """
    panel, config = prepared.panel, prepared.config
    extended = extend_panel(panel, config.horizon, read_future(future, panel.schema.id))
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=prepared.lookback, horizon=config.horizon)
    predictor = predictor_ahead(prepared, bundle, network, extended, raw=raw)
    if quantiles is not None and network.supports_any_level and predictor is network:
        forecasts = network.predict(extended, index, quantiles)
    else:
        forecasts = predictor.predict(extended, index)
        if quantiles is not None:
            forecasts = forecasts.at_levels(quantiles, lowest=lowest_value(prepared))
    spoiled = ~np.isfinite(forecasts.quantiles).all(axis=(1, 2, 3))
    if spoiled.any():
        raise DataError.forecasts_not_finite([panel.names[s] for s in forecasts.series[spoiled].tolist()])
    return extended, forecasts
