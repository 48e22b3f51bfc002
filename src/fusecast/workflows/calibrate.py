"""Calibrate a trained model: learn from rows that it was not trained on how far its quantiles must be shifted.

A bundle keeps two calibrations: the one learned from the validation rows, with which its forecasts are scored, and the
one with which it forecasts beyond the last rows of the table, which has learned from the test rows too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from fusecast.calibration.calibrated_predictor import CalibratedPredictor, raw_name
from fusecast.calibration.conformal import MIN_ACTUALS, CalibrationMethod, Conformal, describe_basis
from fusecast.data.frequency import seasons_for
from fusecast.data.splits import record_ends, restore_rows
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.evaluation.baselines.registry import DEFAULT_BASELINES, build_baselines
from fusecast.evaluation.baselines.simple import FittedFormula
from fusecast.evaluation.blend import BlendedPredictor, select_parts, stored_blend, stored_parts
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.features.encoded_panel import EncodedPanel
    from fusecast.inference.forecasts import Forecasts, Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared

CALIBRATION = "calibration"
"""Key among the extra values of a bundle: the calibration learned from the validation rows."""
CALIBRATION_AHEAD = "calibration_ahead"
"""The same of what differs in the calibration for forecasts beyond the last rows of the table, and these rows."""
MAX_WINDOWS = 5_000
"""Windows that a calibration is learned from at most, evenly spaced over all there are."""


@dataclass(kw_only=True, eq=False)
class EncodedPanelPredictor:
    """A model on a panel that is encoded once instead of at every call.

    The last forecasts are kept, since calibrated ones of the same windows are made of them.
    """

    predictor: EnsemblePredictor
    encoded: EncodedPanel
    name: str = EnsemblePredictor.name
    _last: tuple[WindowIndex, Forecasts] | None = field(default=None, init=False, repr=False)

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index; raise a DataError where forecasts are not finite."""
        if self._last is None or self._last[0] is not index:
            self._last = index, self.predictor.predict(self.encoded, index).require_finite(panel.names)
        return self._last[1]


def calibrate_bundle(
    bundle: Bundle,
    prepared: Prepared,
    predictor: EnsemblePredictor,
    method: CalibrationMethod,
    max_windows: int = MAX_WINDOWS,
) -> Bundle:
    """Return the bundle with both calibrations in it, in place of earlier ones, each of `max_windows` at most.

    Raise a ConfigError when there is no such method, and a DataError when the validation rows are too few.
    """
    own = mix_in_baselines(prepared, bundle, EncodedPanelPredictor(predictor=predictor, encoded=prepared.encoded))
    conformal = calibrate(prepared, own, method, max_windows)
    ahead = calibrate_ahead(prepared, own, conformal, max_windows).to_dict()
    stored = {name: ahead[name] for name in ("shifts", "windows")} | record_ends(prepared.panel)
    return replace(bundle, extra={**bundle.extra, CALIBRATION: conformal.to_dict(), CALIBRATION_AHEAD: stored})


def calibrate(
    prepared: Prepared, predictor: Predictor, method: CalibrationMethod, max_windows: int = MAX_WINDOWS
) -> Conformal:
    """Fit a conformal calibration on the validation rows.

    These rows have chosen the weights, but not by the coverage of single quantiles (docs/calibration.md has figures);
    the test rows are never used, so that coverage measured there is honest.
    """
    return _fit(prepared, predictor, method, prepared.windows("validation"), max_windows)


def calibrate_ahead(
    prepared: Prepared, predictor: Predictor, conformal: Conformal, max_windows: int = MAX_WINDOWS
) -> Conformal:
    """Return the calibration with which the steps after the last rows of the table are forecast.

    It is that of the validation rows, of the same method, after the test rows have been seen too: the shifts are
    learned anew from all windows after the training rows, or, where they adapt, tracked over the test rows. The
    predictor must not have been trained on these rows.
    """
    panel, splits, horizon = prepared.panel, prepared.splits, prepared.config.horizon
    if not len(prepared.windows("test")):
        return conformal
    if conformal.method != "adaptive":
        after_training = WindowIndex.between(
            lengths=panel.lengths,
            begin=splits.train_end,
            end=panel.lengths,
            lookback=prepared.lookback,
            horizon=horizon,
        )
        return _fit(prepared, predictor, conformal.method, after_training, max_windows)
    tracked = CalibratedPredictor(predictor=predictor, conformal=conformal, since=splits.valid_end)
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=prepared.lookback, horizon=horizon)
    series, _ = index.locate(np.arange(len(index)))
    latest = np.argmax(panel.time_grid.advance(panel.start, panel.lengths)[series])
    return replace(conformal, shifts=tracked.adaptive_shifts(panel, index)[latest])


def _fit(
    prepared: Prepared, predictor: Predictor, method: CalibrationMethod, index: WindowIndex, max_windows: int
) -> Conformal:
    panel = prepared.panel
    forecasts = predictor.predict(panel, index.thin(max_windows))
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


def stored_calibration(bundle: Bundle) -> Conformal | None:
    """Return the calibration that was learned from the validation rows; None where the bundle has none."""
    stored = bundle.extra.get(CALIBRATION)
    return None if stored is None else Conformal.from_dict(stored)


def stored_calibration_ahead(bundle: Bundle) -> Conformal | None:
    """Return the calibration of forecasts beyond the last rows of the fit; that of the validation rows in a bundle of
    an earlier version, and None where the bundle has none.
    """
    conformal, ahead = stored_calibration(bundle), bundle.extra.get(CALIBRATION_AHEAD)
    if conformal is None or ahead is None:
        return conformal
    return Conformal.from_dict(
        {**bundle.extra[CALIBRATION], "shifts": ahead.get("shifts"), "windows": ahead.get("windows")}
    )


def describe_calibration(bundle: Bundle, prepared: Prepared) -> str:
    """Return what the calibration of a bundle rests on, in a line."""
    conformal, index = stored_calibration(bundle), prepared.windows("validation")
    assert conformal is not None
    if not conformal.windows:
        return f"calibrated by {conformal.method}: {describe_basis(0)} (at least {MIN_ACTUALS} values a step)"
    origins = int(index.counts.max())
    return (
        f"calibrated by {conformal.method} on {conformal.windows:,} windows of the validation rows "
        f"({origins:,} origin{'s' if origins > 1 else ''} a series at most, {index.horizon:,} steps ahead)"
    )


def predictors_to_score(
    prepared: Prepared, bundle: Bundle, network: EnsemblePredictor, *, raw: bool = False
) -> list[Predictor]:
    """Return the calibrated model and, beside it, the raw one; only this with `raw`, or without a calibration.

    No row after the validation rows has a part in the calibration of a forecast, unless it lies before its cutoff.
    """
    conformal = None if raw else stored_calibration(bundle)
    name = network.name if conformal is None else raw_name(network.name)
    networks = EncodedPanelPredictor(predictor=network, encoded=prepared.encoded, name=name)
    own = mix_in_baselines(prepared, bundle, networks)
    if conformal is None:
        return [own]
    return [CalibratedPredictor(predictor=own, conformal=conformal, since=prepared.splits.valid_end), own]


def predictor_ahead(
    prepared: Prepared, bundle: Bundle, predictor: Predictor, panel: Panel, *, raw: bool = False, learned: bool = False
) -> Predictor:
    """Return a predictor for steps beyond the last rows of the fit, in a panel that may have grown since.

    It mixes the forecasts of `predictor` with the baselines of the bundle, and shifts their quantiles by its
    calibration, but with `raw`; it is `predictor` itself where the bundle has neither. `learned`: it is for steps that
    the bundle has learned from, by the calibration of the validation rows, as in scores.
    """
    predictor = mix_in_baselines(prepared, bundle, predictor)
    conformal = None if raw else stored_calibration(bundle) if learned else stored_calibration_ahead(bundle)
    if conformal is None:
        return predictor
    ahead = None if learned else bundle.extra.get(CALIBRATION_AHEAD)
    since = restore_rows(panel, bundle.extra["split"], "test") if ahead is None else restore_rows(panel, ahead, "end")
    return CalibratedPredictor(predictor=predictor, conformal=conformal, since=since)


def mix_in_baselines(prepared: Prepared, bundle: Bundle, predictor: Predictor) -> Predictor:
    """Return a predictor with the baselines of a bundle mixed in; the predictor itself where it has none.

    A bundle of an earlier version has no spreads of baselines: they are those in the training rows of this table, and
    series without any here have the networks alone.
    """
    blend, parts = stored_blend(bundle), stored_parts(bundle)
    if blend is None:
        return predictor
    if parts is None:
        rows = {name: row for row, name in enumerate(prepared.panel.names) if prepared.splits.train_end[row] > 0}
        parts = select_parts(blend, fit_formulas(prepared), rows)
    return BlendedPredictor(predictor=predictor, parts=parts)


_FORMULAS: WeakKeyDictionary[Prepared, list[FittedFormula]] = WeakKeyDictionary()


def fit_formulas(prepared: Prepared) -> list[FittedFormula]:
    """Return the baselines by formula, fitted to the training rows once."""
    if prepared not in _FORMULAS:
        config, train_end = prepared.config, prepared.splits.train_end
        levels = config.network.quantiles
        baselines = build_baselines(DEFAULT_BASELINES, prepared.panel, train_end, config.horizon, levels)
        _FORMULAS[prepared] = [each for each in baselines if isinstance(each, FittedFormula)]
    return _FORMULAS[prepared]
