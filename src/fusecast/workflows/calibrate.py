"""Calibrate a trained model: learn from the validation rows how far its quantiles must be shifted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fusecast.calibration.calibrated_predictor import CalibratedPredictor
from fusecast.calibration.conformal import CalibrationMethod, Conformal
from fusecast.data.frequency import seasons_for
from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.features.targets import AMOUNT_HEAD, COUNT_HEAD

if TYPE_CHECKING:
    from fusecast.inference.forecasts import Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared

CALIBRATION = "calibration"
"""Key of the calibration among the extra values of a bundle."""


def calibrate(
    prepared: Prepared, predictor: Predictor, method: CalibrationMethod, *, max_windows: int = 20_000
) -> Conformal:
    """Fit a conformal calibration on the validation rows.

    These rows have chosen the weights, but not by the coverage of single quantiles; the test rows are never used, so
    that coverage measured there is honest.
    """
    panel = prepared.panel
    index = prepared.windows("validation").thin(max_windows)
    forecasts = predictor.predict(panel, index)
    season = seasons_for(panel.schema.frequency)[0]
    return Conformal.fit(
        method,
        panel,
        forecasts,
        gather_actuals(panel, forecasts.series, forecasts.cutoff, index.horizon),
        seasonal_error(panel, prepared.splits.train_end, season),
        every=steps_between_origins(index.horizon),
    )


def steps_between_origins(horizon: int) -> int:
    """Return the steps between the origins that `adaptive` learns from: about four a horizon, at all hours of the week.

    With six hours, it would learn from four hours of the day alone, and miss the coverage at the others.
    """
    every = max(1, horizon // 4)
    while math.gcd(every, 24 * 7) > 1:
        every -= 1
    return every


def calibrated_predictor(
    bundle: Bundle, predictor: Predictor, prepared: Prepared, judged: Predictor | None = None
) -> CalibratedPredictor:
    """Return a predictor that shifts the quantiles of another by the calibration of a bundle.

    `judged` is what that was learned from, where the other has learned from the outcomes.

    Raises
    ------
    ConfigError
        When the bundle has no calibration.
    """
    stored = bundle.extra.get(CALIBRATION)
    if stored is None:
        raise ConfigError.not_calibrated()
    return CalibratedPredictor(
        predictor=predictor,
        conformal=Conformal.from_dict(stored),
        since=prepared.splits.valid_end,
        judged=judged,
        lowest=lowest_value(prepared),
    )


def calibrated_predictor_if_any(bundle: Bundle, predictor: Predictor, prepared: Prepared) -> CalibratedPredictor | None:
    """Return the calibrated predictor, or None when the bundle has no calibration."""
    return calibrated_predictor(bundle, predictor, prepared) if bundle.extra.get(CALIBRATION) is not None else None


def lowest_value(prepared: Prepared) -> float | None:
    """Return the smallest possible target value, where the transform of the targets or the head implies one."""
    positive = prepared.config.network.head in (COUNT_HEAD, AMOUNT_HEAD)
    return 0.0 if positive or prepared.preprocessor.config.target_transform == "log1p" else None


def with_calibration(bundle: Bundle, conformal: Conformal) -> Bundle:
    """Return the bundle with a calibration in it."""
    return replace(bundle, extra={**bundle.extra, CALIBRATION: conformal.to_dict()})
