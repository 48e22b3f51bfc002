"""Draw sample paths of the steps after the last row of each series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fusecast.errors import SchemaError
from fusecast.evaluation.actuals import gather_actuals
from fusecast.features.targets import COUNT_HEAD
from fusecast.inference.sample_paths import SamplingMethod, StepDependence, sample_paths
from fusecast.workflows.calibrate import mix_in_baselines, stored_calibration
from fusecast.workflows.predict import predict

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.data.schema import Schema
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.forecasts import Forecasts, Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.windows.window_index import WindowIndex
    from fusecast.workflows.prepare import Prepared

SAMPLING_LEVELS = (0.001, 0.005, 0.0125, *(k / 40 for k in range(1, 40)), 0.9875, 0.995, 0.999)
"""Levels at which the quantiles of a distribution are computed for sampling."""
KEYS = ("cutoff", "step", "sample")
"""Columns of a table of sample paths beside the id, the time and the targets."""


@dataclass(frozen=True)
class FineGridPredictor:
    """A predictor that returns the quantiles of a distribution at `SAMPLING_LEVELS`."""

    network: EnsemblePredictor

    @property
    def name(self) -> str:
        """Return the name in tables of scores."""
        return self.network.name

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, in its order."""
        return self.network.predict(panel, index, SAMPLING_LEVELS)


def draw_sample_paths(
    prepared: Prepared,
    bundle: Bundle,
    network: EnsemblePredictor,
    count: int,
    future: TableLike | None = None,
    *,
    method: SamplingMethod = "gaussian",
    seed: int = 0,
    raw: bool = False,
    partial: bool = False,
) -> pl.DataFrame:
    """Draw `count` sample paths of each series; see :meth:`fusecast.Forecaster.sample`.

    A distribution is sampled through its quantiles at 45 levels, linear between them, with exponential tails beyond
    0.001 and 0.999; paths of counts are rounded up to whole numbers, as their quantile function is. Calibrated
    forecasts, and those of a quantile head, have the levels of the network alone; between so few levels, counts are
    rounded to the nearest whole number. Raise a ConfigError where there is only one level.
    """
    check_targets(prepared.panel.schema)
    own = raw or stored_calibration(bundle) is None
    mixed = mix_in_baselines(prepared, bundle, network)
    is_distribution = network.supports_any_level and mixed is network
    levels = SAMPLING_LEVELS if is_distribution and own else None
    extended, forecasts = predict(prepared, bundle, network, future, quantiles=levels, raw=raw, partial=partial)
    windows, horizon, targets = len(forecasts), forecasts.horizon, extended.schema.targets
    if method == "independent":
        dependence = StepDependence(levels=np.full((1, horizon * len(targets)), 0.5))
    else:
        dependence = learn_dependence(prepared, FineGridPredictor(network) if is_distribution else mixed)
    paths = sample_paths(forecasts, dependence, count, seed=seed, method=method)
    if prepared.config.network.head == COUNT_HEAD:
        paths = (np.rint(paths) if levels is None else np.ceil(paths - 1e-9)) + 0.0  # without negative zeros
    frame = forecasts.to_frame(extended)
    keys = frame.select(frame.columns[: frame.columns.index("step") + 1])
    rows = np.arange(windows * horizon).reshape(windows, 1, horizon)
    order = np.broadcast_to(rows, (windows, count, horizon)).ravel()
    samples = np.broadcast_to(np.arange(count)[None, :, None], (windows, count, horizon)).ravel()
    columns = [pl.Series("sample", samples).cast(pl.Int32)]
    columns += [pl.Series(name, np.moveaxis(paths[..., y], 0, 1).ravel()) for y, name in enumerate(targets)]
    return keys[order].with_columns(columns)


def check_targets(schema: Schema) -> None:
    """Refuse targets that are called like a column of every table of sample paths."""
    for target in schema.targets:
        if target in (*KEYS, *schema.id_names, schema.time):
            raise SchemaError.reserved_name(target, "a column of every table of sample paths")


def learn_dependence(prepared: Prepared, predictor: Predictor, *, max_windows: int = 2_000) -> StepDependence:
    """Estimate from the validation rows how the steps of a forecast depend on each other."""
    panel = prepared.panel
    index = prepared.windows("validation").thin(max_windows)
    forecasts = predictor.predict(panel, index)
    return StepDependence.fit(forecasts, gather_actuals(panel, forecasts.series, forecasts.cutoff, index.horizon))
