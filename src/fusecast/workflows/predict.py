"""Ahead: forecasts of the steps after each series' last row, at any levels, calibrated, or as sample paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fusecast.data.panel import Panel
from fusecast.errors import SchemaError
from fusecast.features.target_checks import COUNTS
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.model_bundle import Bundle
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.predictor import Predictor
from fusecast.inference.quantiles import at_levels
from fusecast.inference.sample_paths import Dependence, sample
from fusecast.io.tables import read_future
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import calibrated_by, dependence, lowest_value
from fusecast.workflows.prepare import Prepared

SAMPLING_LEVELS = (0.001, 0.005, 0.0125, *(number / 40 for number in range(1, 40)), 0.9875, 0.995, 0.999)
"""Levels at which a distribution is looked at where a path may want any."""


def forecast_ahead(
    prepared: Prepared,
    bundle: Bundle,
    network: NetworkPredictor,
    future: Any = None,
    *,
    quantiles: Sequence[float] | None = None,
    calibrated: bool = False,
) -> tuple[Panel, Forecasts]:
    """Forecast the steps after each series' last row; give the panel with these steps, and the forecasts.

    Parameters
    ----------
    future
        Table of the known columns; None where the calendar gives all that is known.
    quantiles
        Levels wanted; None gives those of the network. A distribution has its own quantiles at every level; those of a
        quantile head, and those that are calibrated, are interpolated, see :mod:`fusecast.inference.quantiles`.
    calibrated
        Whether to apply the bundle's calibration.

    Raises
    ------
    DataError
        When a known value is missing.
    ConfigError
        For levels that do not rise, and where there is no calibration.
    """
    panel, config = prepared.panel, prepared.config
    extended = panel.extend(config.horizon, read_future(future, panel.schema.id))
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=config.lookback, horizon=config.horizon)
    predictor: Predictor = calibrated_by(bundle, network, prepared) if calibrated else network
    if quantiles is not None and network.knows_every_level and not calibrated:
        return extended, network.predict(extended, index, quantiles)
    forecasts = predictor.predict(extended, index)
    if quantiles is not None:
        forecasts = at_levels(forecasts, quantiles, lowest=lowest_value(prepared))
    return extended, forecasts


@dataclass(frozen=True)
class FineGridPredictor:
    """A predictor that gives what a distribution says at many levels."""

    network: NetworkPredictor

    @property
    def name(self) -> str:
        """How tables call it."""
        return self.network.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, in its order."""
        return self.network.predict(panel, index, SAMPLING_LEVELS)


def sample_ahead(
    prepared: Prepared,
    bundle: Bundle,
    network: NetworkPredictor,
    count: int,
    future: Any = None,
    *,
    method: str = "gaussian",
    seed: int = 0,
    calibrated: bool = False,
) -> pl.DataFrame:
    """Draw sample paths of the steps after each series' last row.

    A distribution is drawn from by its own quantiles at 45 levels, straight lines between them, and exponential tails
    beyond 0.001 and 0.999; paths of counts are rounded up to whole numbers, as their quantile function is. Calibrated
    forecasts, and those of a quantile head, have the levels of the network alone.

    Returns
    -------
    One row a series, sample and step: the id, the time, ``cutoff``, ``step``, ``sample`` from 0 on, and one column a
    target under its own name.

    Raises
    ------
    DataError
        When the validation span has too few windows to learn how steps hang together, and the method needs it.
    """
    finely = SAMPLING_LEVELS if network.knows_every_level and not calibrated else None
    extended, forecasts = forecast_ahead(prepared, bundle, network, future, quantiles=finely, calibrated=calibrated)
    if method == "independent":
        width = forecasts.horizon * len(extended.schema.targets)
        learned = Dependence(levels=np.full((1, width), 0.5))
    else:
        learned = dependence(prepared, FineGridPredictor(network) if network.knows_every_level else network)
    paths = sample(forecasts, learned, count, seed=seed, method=method, lowest=lowest_value(prepared))
    if prepared.config.network.head == COUNTS:
        paths = np.ceil(paths - 1e-9)
    frame = forecasts.to_frame(extended)
    keys = frame.select(frame.columns[: frame.columns.index("step") + 1])
    windows, horizon = len(forecasts), forecasts.horizon
    rows = np.arange(windows * horizon).reshape(windows, 1, horizon)
    order = np.broadcast_to(rows, (windows, count, horizon)).ravel()
    number = np.broadcast_to(np.arange(count)[None, :, None], (windows, count, horizon)).ravel()
    for target in extended.schema.targets:
        if target in ("sample", *keys.columns):
            raise SchemaError.reserved_name(target, "a column of every table of scenarios")
    columns = [pl.Series("sample", number).cast(pl.Int32)]
    for place, target in enumerate(extended.schema.targets):
        columns.append(pl.Series(target, np.moveaxis(paths[..., place], 0, 1).ravel()))
    return keys[order].with_columns(columns)
