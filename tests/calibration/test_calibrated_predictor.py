"""Adaptive calibration: outcomes count once their time has come, in every series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.narrow_predictor import HORIZON, LEVELS, Narrow, fitted, windows

from fusecast.calibration.calibrated_predictor import Calibrated
from fusecast.windows.window_index import WindowIndex


def test_an_adaptive_forecast_is_the_same_whichever_windows_are_asked_for_with_it(panel_of) -> None:
    rng = np.random.default_rng(4)
    panel = panel_of(rng.normal(size=400), rng.normal(size=380))
    calibrated = Calibrated(
        predictor=Narrow(),
        conformal=fitted("adaptive", panel, Narrow(), 100, 250),
        since=np.array([250, 230]),
    )
    whole = calibrated.predict(panel, windows(panel, 300, 380))
    sparse = calibrated.predict(panel, windows(panel, 300, 380, stride=7))
    for number in range(len(sparse)):
        (place,) = np.flatnonzero((whole.series == sparse.series[number]) & (whole.cutoff == sparse.cutoff[number]))
        np.testing.assert_array_equal(whole.quantiles[place], sparse.quantiles[number])


def test_an_adaptive_shift_is_that_of_a_loop_over_the_outcomes_known_by_then(panel_of) -> None:
    y = np.random.default_rng(5).normal(size=(2, 300))
    panel, predictor, every, since = panel_of(*y), Narrow(), 2, 250
    conformal = fitted("adaptive", panel, predictor, 100, since, every=every)
    calibrated = Calibrated(predictor=predictor, conformal=conformal, since=np.array([since, since]))
    unit = predictor.offsets[-1] - predictor.offsets[0] + 0.01

    def shift_at(cutoff: int, step: int) -> np.ndarray:
        shift = conformal.shifts[step, 0].copy()
        for origin in range(since, cutoff - step, every):  # its step lies before the cutoff
            used = shift_at(origin, step)
            below = np.mean([(y[s][origin + step] - predictor.offsets) / unit <= used for s in range(2)], axis=0)
            shift += conformal.rate * (np.asarray(LEVELS) - below)
        return shift

    for cutoff in (250, 251, 257, 262):
        asked = WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[cutoff] * 2, last_cutoff=[cutoff, 0])
        made = calibrated.predict(panel, asked)
        for step in range(HORIZON):
            expected = predictor.offsets + shift_at(cutoff, step) * unit
            np.testing.assert_allclose(made.quantiles[0, step, 0], np.sort(expected))


def apart_in_time(panel, *hours: int):
    """A panel whose series begin so many hours after the first."""
    return replace(panel, start=panel.clock.advance(panel.start, np.array(hours)))


def test_an_adaptive_forecast_hears_of_other_series_what_lies_before_it_on_the_calendar_and_nothing_else(
    panel_of,
) -> None:
    """One series ends 200 hours before the other; by their own rows they would be side by side."""
    y = np.random.default_rng(11).normal(size=(2, 300))
    since, index = (
        np.array([250, 250]),
        WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[290, 290], last_cutoff=[290, 290]),
    )
    conformal = fitted("adaptive", panel_of(*y), Narrow(), 100, 250)

    def forecast(values: np.ndarray, *hours: int) -> np.ndarray:
        panel = apart_in_time(panel_of(*values), *hours)
        return Calibrated(predictor=Narrow(), conformal=conformal, since=since).predict(panel, index).quantiles

    changed = y.copy()
    changed[:, 250:] += 3.0
    early, late = np.stack([changed[0], y[1]]), np.stack([y[0], changed[1]])  # changed in the one, in the other
    usual = forecast(y, 0, 200)
    np.testing.assert_array_equal(forecast(late, 0, 200)[0], usual[0])  # it lies ahead
    assert not np.array_equal(forecast(early, 0, 200)[1], usual[1])  # it lies behind
    assert not np.array_equal(forecast(late, 0, 0)[0], forecast(y, 0, 0)[0])  # side by side
    np.testing.assert_array_equal(forecast(y, 0, 0), forecast(y, 200, 200))


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize(("hours", "since"), [((0, 7), (250, 240)), ((5, 0), (250, 251)), ((0, 90), (250, 0))])
def test_shifts_of_series_that_end_at_different_times_are_those_of_a_loop_over_the_calendar(
    hours: tuple[int, int], since: tuple[int, int], every: int, panel_of
) -> None:
    rng, predictor, lengths = np.random.default_rng(12), Narrow(), (290, 280)
    y = [rng.normal(size=length) for length in lengths]
    conformal = fitted("adaptive", panel_of(*rng.normal(size=(2, 200))), predictor, 100, 200, every=every)
    panel = apart_in_time(panel_of(*y), *hours)
    calibrated = Calibrated(predictor=predictor, conformal=conformal, since=np.array(since))
    unit = predictor.offsets[-1] - predictor.offsets[0] + 0.01
    begin = min(hour + rows for hour, rows in zip(hours, since, strict=True) if rows)
    known: dict[tuple[int, int], np.ndarray] = {}

    def shift_at(time: int, step: int) -> np.ndarray:
        if (time, step) not in known:
            shift = conformal.shifts[step, 0].copy()
            for origin in range(begin, time - step, every):
                rows = [origin - hour for hour in hours]
                there = [s for s in range(2) if max(since[s], 1) <= rows[s] <= lengths[s] - HORIZON]
                if there:
                    used = shift_at(origin, step)
                    below = [(y[s][rows[s] + step] - predictor.offsets) / unit <= used for s in there]
                    shift += conformal.rate * (np.asarray(LEVELS) - np.mean(below, axis=0))
            known[time, step] = shift
        return known[time, step]

    index = windows(panel, 200, 300)
    made = calibrated.predict(panel, index)
    for number in range(len(made)):
        time = int(made.cutoff[number]) + hours[made.series[number]]
        for step in range(HORIZON):
            expected = predictor.offsets + shift_at(time, step) * unit
            np.testing.assert_allclose(made.quantiles[number, step, 0], np.sort(expected))


def test_months_and_series_between_the_steps_of_others_line_up(panel_of) -> None:
    rng = np.random.default_rng(13)
    panel = panel_of(*rng.normal(size=(3, 120)), frequency="1mo")
    march = panel.clock.advance(np.zeros(3, dtype=np.int64), np.array([0, 2, 2]))
    conformal = fitted("adaptive", panel, Narrow(), 40, 80)
    since = np.array([80, 80, 80])
    index = windows(panel, 80, 120)
    made = {}
    for days in (0, 9):  # the third series has its months from the tenth day on
        placed = replace(panel, start=march + np.array([0, 0, days]) * 86_400_000_000)
        made[days] = Calibrated(predictor=Narrow(), conformal=conformal, since=since).predict(placed, index)
    a_month_on = replace(panel, start=panel.clock.advance(np.zeros(3, dtype=np.int64), np.array([0, 2, 3])))
    expected = Calibrated(predictor=Narrow(), conformal=conformal, since=since).predict(a_month_on, index)
    np.testing.assert_array_equal(made[9].quantiles, expected.quantiles)
    assert not np.array_equal(made[0].quantiles, expected.quantiles)


def test_what_happened_before_the_end_of_the_calibration_span_moves_no_adaptive_shift(panel_of) -> None:
    y = np.random.default_rng(6).normal(size=300)
    conformal = fitted("adaptive", panel_of(y), Narrow(), 200, 280)
    index = WindowIndex(lookback=2, horizon=HORIZON, first_cutoff=[295], last_cutoff=[295])
    before, after = y.copy(), y.copy()
    before[:280], after[280:] = 50, 50
    first, second, third = (
        Calibrated(predictor=Narrow(), conformal=conformal, since=np.array([280])).predict(panel_of(v), index).quantiles
        for v in (y, before, after)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)
