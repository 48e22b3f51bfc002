"""Calibration: what the validation span teaches about the spread of a trained model's forecasts."""

from __future__ import annotations

import math
from dataclasses import replace

from fusecast.calibration.calibrated_predictor import Calibrated
from fusecast.calibration.conformal import Conformal
from fusecast.data.frequency import seasons_for
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.seasonal_error import seasonal_error
from fusecast.features.target_checks import AMOUNTS, COUNTS
from fusecast.inference.model_bundle import Bundle
from fusecast.inference.predictor import Predictor
from fusecast.inference.sample_paths import Dependence
from fusecast.workflows.prepare import Prepared

CALIBRATION = "calibration"
"""Where a bundle keeps it, among its extra values."""


def calibrate(prepared: Prepared, predictor: Predictor, method: str, *, max_windows: int = 20_000) -> Conformal:
    """Learn a conformal calibration from the validation span.

    The span has chosen the weights, but not by the coverage of single quantiles; the calibration is honest on the
    test span, which it never sees.
    """
    panel = prepared.panel
    index = prepared.windows("validation").thin(max_windows)
    forecasts = predictor.predict(panel, index)
    season = seasons_for(panel.schema.frequency)[0]
    return Conformal.fit(
        method,
        panel,
        forecasts,
        actuals(panel, forecasts.series, forecasts.cutoff, index.horizon),
        seasonal_error(panel, prepared.parts.train_end, season),
        every=steps_between(index.horizon),
    )


def steps_between(horizon: int) -> int:
    """Give the steps between origins that `adaptive` learns from: about four a horizon, at every hour of the week.

    Six hours would learn from four hours of the day alone, and hold there what it misses at others.
    """
    every = max(1, horizon // 4)
    while math.gcd(every, 24 * 7) > 1:
        every -= 1
    return every


def dependence(prepared: Prepared, predictor: Predictor, *, max_windows: int = 2_000) -> Dependence:
    """Learn from the validation span how the steps of a forecast hang together."""
    panel = prepared.panel
    index = prepared.windows("validation").thin(max_windows)
    forecasts = predictor.predict(panel, index)
    return Dependence.learn(forecasts, actuals(panel, forecasts.series, forecasts.cutoff, index.horizon))


def calibrated_by(bundle: Bundle, predictor: Predictor, prepared: Prepared) -> Calibrated:
    """Put a bundle's calibration around a predictor.

    Raises
    ------
    ConfigError
        When the bundle has none.
    """
    stored = bundle.extra.get(CALIBRATION)
    if stored is None:
        raise ConfigError.not_calibrated()
    return Calibrated(
        predictor=predictor,
        conformal=Conformal.from_dict(stored),
        since=prepared.parts.valid_end,
        lowest=lowest_value(prepared),
    )


def calibrated_if_any(bundle: Bundle, predictor: Predictor, prepared: Prepared) -> Calibrated | None:
    """Put a bundle's calibration around a predictor; None where the bundle has none."""
    return calibrated_by(bundle, predictor, prepared) if bundle.extra.get(CALIBRATION) is not None else None


def lowest_value(prepared: Prepared) -> float | None:
    """Smallest value of the targets, where the preprocessor's transform or the network's head implies one."""
    positive = prepared.config.network.head in (COUNTS, AMOUNTS)
    return 0.0 if positive or prepared.fitted.config.target_transform == "log1p" else None


def with_calibration(bundle: Bundle, conformal: Conformal) -> Bundle:
    """Give the bundle with a calibration in it."""
    return replace(bundle, extra={**bundle.extra, CALIBRATION: conformal.to_dict()})
