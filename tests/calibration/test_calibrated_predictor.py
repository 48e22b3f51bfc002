"""Calibrated forecasts: their coverage, and adaptive shifts that follow from outcomes before the cutoff alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.narrow_predictor import HORIZON, LEVELS, NarrowPredictor, fit_conformal, windows

from fusecast.calibration.calibrated_predictor import CalibratedPredictor
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.metrics import score
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

MOVES = np.asarray(LEVELS) != 0.5
"""Quantiles that `adaptive` shifts."""


def empirical_levels(panel, forecasts: Forecasts) -> dict[float, float]:
    """Return the share of actuals at or below each quantile."""
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, HORIZON)
    return dict(score(forecasts.quantiles, actual, LEVELS)[0].calibration)


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_a_model_without_coverage_has_it_once_calibrated(method: str, panel_of) -> None:
    rng = np.random.default_rng(1)
    panel = panel_of(rng.normal(size=3000), rng.normal(size=3000))
    predictor = NarrowPredictor(mean=0.3)
    conformal = fit_conformal(method, panel, predictor, 1000, 2000)
    calibrated = CalibratedPredictor(predictor=predictor, conformal=conformal, since=np.array([2000, 2000]))
    index = windows(panel, 2000, 3000)
    raw = empirical_levels(panel, predictor.predict(panel, index))
    assert abs(raw[0.05] - 0.05) > 0.1
    for level, share in empirical_levels(panel, calibrated.predict(panel, index)).items():
        expected = raw[0.5] if method == "adaptive" and level == 0.5 else level  # it leaves the median alone
        assert share == pytest.approx(expected, abs=0.04)


def test_the_adaptive_calibration_follows_a_drift_that_the_fixed_one_does_not(panel_of) -> None:
    rng = np.random.default_rng(2)
    t = np.arange(3000)
    panel = panel_of(rng.normal(size=3000) * np.where(t < 2000, 1, 1 + (t - 2000) / 400))
    predictor, index = NarrowPredictor(), windows(panel, 2000, 3000)
    error = {}
    for method in ("cqr", "adaptive"):
        conformal = fit_conformal(method, panel, predictor, 1000, 2000)
        calibrated = CalibratedPredictor(predictor=predictor, conformal=conformal, since=np.array([2000]))
        shares = empirical_levels(panel, calibrated.predict(panel, index))
        error[method] = abs(shares[0.95] - shares[0.05] - 0.9)
    assert error["cqr"] > 0.15
    assert error["adaptive"] < 0.09


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_calibrated_forecasts_ignore_values_from_their_cutoff_on(method: str, panel_of) -> None:
    y = np.random.default_rng(3).normal(size=400)
    tampered = y.copy()
    tampered[350:] = 1e6
    forecasts = []
    for values in (y, tampered):
        panel = panel_of(values)
        conformal = fit_conformal(method, panel, NarrowPredictor(), 100, 300)
        calibrated = CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=np.array([300]))
        forecasts.append(calibrated.predict(panel, windows(panel, 345, 400)))
    early = forecasts[0].cutoff <= 350
    assert early.sum() == 6
    np.testing.assert_array_equal(forecasts[0].quantiles[early], forecasts[1].quantiles[early])
    if method == "adaptive":
        assert not np.array_equal(forecasts[0].quantiles[~early], forecasts[1].quantiles[~early])


def test_no_quantile_lies_below_the_smallest_possible_value(panel_of) -> None:
    panel = panel_of(np.random.default_rng(14).normal(size=300))
    conformal = fit_conformal("cqr", panel, NarrowPredictor(), 100, 250)
    free, bounded = (
        CalibratedPredictor(predictor=NarrowPredictor(lowest=lowest), conformal=conformal, since=np.array([250]))
        .predict(panel, windows(panel, 250, 300))
        .quantiles
        for lowest in (None, 0.0)
    )
    assert free.min() < 0
    np.testing.assert_array_equal(bounded, np.maximum(free, 0.0))


def test_a_calibrated_predictor_prints_its_method_and_not_its_arrays(panel_of) -> None:
    panel = panel_of(np.random.default_rng(15).normal(size=200))
    conformal = fit_conformal("cqr", panel, NarrowPredictor(), 50, 150)
    text = repr(CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=np.array([150])))
    assert "method='cqr'" in text
    assert "array" not in text
    assert "scales" not in text


def test_an_adaptive_forecast_does_not_depend_on_the_other_windows_of_the_call(panel_of) -> None:
    rng = np.random.default_rng(4)
    panel = panel_of(rng.normal(size=400), rng.normal(size=380))
    calibrated = CalibratedPredictor(
        predictor=NarrowPredictor(),
        conformal=fit_conformal("adaptive", panel, NarrowPredictor(), 100, 250),
        since=np.array([250, 230]),
    )
    whole = calibrated.predict(panel, windows(panel, 300, 380))
    sparse = calibrated.predict(panel, windows(panel, 300, 380, stride=7))
    for i in range(len(sparse)):
        (same,) = np.flatnonzero((whole.series == sparse.series[i]) & (whole.cutoff == sparse.cutoff[i]))
        np.testing.assert_array_equal(whole.quantiles[same], sparse.quantiles[i])


def test_an_adaptive_shift_is_that_of_a_loop_over_the_known_outcomes(panel_of) -> None:
    y = np.random.default_rng(5).normal(size=(2, 300))
    panel, predictor, every, since = panel_of(*y), NarrowPredictor(), 2, 250
    conformal = fit_conformal("adaptive", panel, predictor, 100, since, every=every)
    calibrated = CalibratedPredictor(predictor=predictor, conformal=conformal, since=np.array([since, since]))
    unit = predictor.offsets[-1] - predictor.offsets[0] + 0.01

    def shift_at(cutoff: int, step: int) -> np.ndarray:
        shift = conformal.shifts[step, 0].copy()
        for origin in range(since, cutoff - step, every):  # its step lies before the cutoff
            applied = shift_at(origin, step)
            below = np.mean([(y[s][origin + step] - predictor.offsets) / unit <= applied for s in range(2)], axis=0)
            shift += conformal.rate * MOVES * (np.asarray(LEVELS) - below)
        return shift

    for cutoff in (250, 251, 257, 262):
        index = WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[cutoff] * 2, last_cutoff=[cutoff, 0])
        forecasts = calibrated.predict(panel, index)
        for step in range(HORIZON):
            expected = predictor.offsets + shift_at(cutoff, step) * unit
            np.testing.assert_allclose(forecasts.quantiles[0, step, 0], np.sort(expected))


def delay_series(panel, *hours: int):
    """Return the panel with each series so many hours later."""
    return replace(panel, start=panel.time_grid.advance(panel.start, np.array(hours)))


def test_an_adaptive_forecast_depends_on_other_series_before_its_cutoff_on_the_calendar_alone(
    panel_of,
) -> None:
    """One series ends 200 hours before the other; counted in rows they would end together."""
    y = np.random.default_rng(11).normal(size=(2, 300))
    since, index = (
        np.array([250, 250]),
        WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[290, 290], last_cutoff=[290, 290]),
    )
    conformal = fit_conformal("adaptive", panel_of(*y), NarrowPredictor(), 100, 250)

    def forecast(values: np.ndarray, *hours: int) -> np.ndarray:
        panel = delay_series(panel_of(*values), *hours)
        return (
            CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=since)
            .predict(panel, index)
            .quantiles
        )

    changed = y.copy()
    changed[:, 250:] += 3.0
    early, late = np.stack([changed[0], y[1]]), np.stack([y[0], changed[1]])  # changed in the one, in the other
    usual = forecast(y, 0, 200)
    np.testing.assert_array_equal(forecast(late, 0, 200)[0], usual[0])  # later on the calendar
    assert not np.array_equal(forecast(early, 0, 200)[1], usual[1])  # earlier
    assert not np.array_equal(forecast(late, 0, 0)[0], forecast(y, 0, 0)[0])  # at the same time
    np.testing.assert_array_equal(forecast(y, 0, 0), forecast(y, 200, 200))


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize(("hours", "since"), [((0, 7), (250, 240)), ((5, 0), (250, 251)), ((0, 90), (250, 0))])
def test_shifts_of_series_that_end_at_different_times_are_those_of_a_loop_over_the_calendar(
    hours: tuple[int, int], since: tuple[int, int], every: int, panel_of
) -> None:
    rng, predictor, lengths = np.random.default_rng(12), NarrowPredictor(), (290, 280)
    y = [rng.normal(size=length) for length in lengths]
    conformal = fit_conformal("adaptive", panel_of(*rng.normal(size=(2, 200))), predictor, 100, 200, every=every)
    panel = delay_series(panel_of(*y), *hours)
    calibrated = CalibratedPredictor(predictor=predictor, conformal=conformal, since=np.array(since))
    unit = predictor.offsets[-1] - predictor.offsets[0] + 0.01
    begin = min(hour + rows for hour, rows in zip(hours, since, strict=True) if rows)
    known: dict[tuple[int, int], np.ndarray] = {}

    def shift_at(time: int, step: int) -> np.ndarray:
        if (time, step) not in known:
            shift = conformal.shifts[step, 0].copy()
            for origin in range(begin, time - step, every):
                rows = [origin - hour for hour in hours]
                known_series = [s for s in range(2) if max(since[s], 1) <= rows[s] <= lengths[s] - HORIZON]
                if known_series:
                    applied = shift_at(origin, step)
                    below = [(y[s][rows[s] + step] - predictor.offsets) / unit <= applied for s in known_series]
                    shift += conformal.rate * MOVES * (np.asarray(LEVELS) - np.mean(below, axis=0))
            known[time, step] = shift
        return known[time, step]

    index = windows(panel, 200, 300)
    forecasts = calibrated.predict(panel, index)
    for i in range(len(forecasts)):
        time = int(forecasts.cutoff[i]) + hours[forecasts.series[i]]
        for step in range(HORIZON):
            expected = predictor.offsets + shift_at(time, step) * unit
            np.testing.assert_allclose(forecasts.quantiles[i, step, 0], np.sort(expected))


def test_monthly_series_with_other_days_of_the_month_count_from_the_next_month(panel_of) -> None:
    rng = np.random.default_rng(13)
    panel = panel_of(*rng.normal(size=(3, 120)), frequency="1mo")
    march = panel.time_grid.advance(np.zeros(3, dtype=np.int64), np.array([0, 2, 2]))
    conformal = fit_conformal("adaptive", panel, NarrowPredictor(), 40, 80)
    since = np.array([80, 80, 80])
    index = windows(panel, 80, 120)
    forecasts = {}
    for days in (0, 9):  # the third series has its months from the tenth day on
        shifted = replace(panel, start=march + np.array([0, 0, days]) * 86_400_000_000)
        forecasts[days] = CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=since).predict(
            shifted, index
        )
    a_month_on = replace(panel, start=panel.time_grid.advance(np.zeros(3, dtype=np.int64), np.array([0, 2, 3])))
    expected = CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=since).predict(
        a_month_on, index
    )
    np.testing.assert_array_equal(forecasts[9].quantiles, expected.quantiles)
    assert not np.array_equal(forecasts[0].quantiles, expected.quantiles)


def test_outcomes_before_the_end_of_the_calibration_span_move_no_adaptive_shift(panel_of) -> None:
    y = np.random.default_rng(6).normal(size=300)
    conformal = fit_conformal("adaptive", panel_of(y), NarrowPredictor(), 200, 280)
    index = WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[295], last_cutoff=[295])
    before, after = y.copy(), y.copy()
    before[:280], after[280:] = 50, 50
    first, second, third = (
        CalibratedPredictor(predictor=NarrowPredictor(), conformal=conformal, since=np.array([280]))
        .predict(panel_of(v), index)
        .quantiles
        for v in (y, before, after)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)
