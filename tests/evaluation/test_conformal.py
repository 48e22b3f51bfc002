"""Conformal calibration: the textbook quantile, coverage where the model has none, drift followed, nothing foreseen."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusecast.calibration import steps_between
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.calibrated import Calibrated
from fusecast.evaluation.conformal import Conformal
from fusecast.evaluation.metrics import score
from fusecast.evaluation.shifts import conformal_quantiles
from fusecast.windows.forecasts import Forecasts
from fusecast.windows.index import WindowIndex

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 3


class Narrow:
    """Forecasts a normal distribution around `mean` that is half as wide as it should be."""

    name = "TFT"

    def __init__(self, mean: float = 0.0, spread: float = 0.5) -> None:
        self.offsets = mean + spread * stats.norm.ppf(LEVELS)

    def predict(self, panel, index: WindowIndex) -> Forecasts:
        series, cutoff = index.locate(np.arange(len(index)))
        shape = (len(series), index.horizon, 1, len(LEVELS))
        return Forecasts(
            series=series, cutoff=cutoff, quantiles=np.broadcast_to(self.offsets, shape).copy(), levels=LEVELS
        )


def windows(panel, begin: int, end: int, stride: int = 1) -> WindowIndex:
    return WindowIndex.between(
        lengths=panel.lengths, begin=begin, end=end, lookback=2, horizon=HORIZON, stride=stride
    )  # fmt: skip


def fitted(method: str, panel, predictor, begin: int, end: int, every: int = 1) -> Conformal:
    made = predictor.predict(panel, windows(panel, begin, end))
    truth = actuals(panel, made.series, made.cutoff, HORIZON)
    return Conformal.fit(method, panel, made, truth, np.ones((panel.num_series, 1)), every=every)


def calibration_of(panel, made: Forecasts) -> dict[float, float]:
    return dict(score(made.quantiles, actuals(panel, made.series, made.cutoff, HORIZON), LEVELS)[0].calibration)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_the_conformal_quantile_is_the_rank_of_the_textbook(count: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(count, 5))
    made = conformal_quantiles(scores, LEVELS)
    for place, level in enumerate(LEVELS):
        ordered = sorted(scores[:, place])
        if level >= 0.5:
            rank = min(int(np.ceil((count + 1) * level - 1e-9)), count)
            assert made[place] == ordered[rank - 1]
        else:  # the mirror image
            upper = conformal_quantiles(-scores[:, [place]], (1 - level,))
            assert made[place] == -upper[0]


def test_new_scores_lie_below_the_conformal_quantile_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 20, 1))
    below = [draws[i, 19, 0] <= conformal_quantiles(draws[i, :19], (0.9,))[0] for i in range(4000)]
    assert np.mean(below) == pytest.approx(0.9, abs=0.015)  # exactly 18/20 for 19 scores
    plain = [draws[i, 19, 0] <= np.quantile(draws[i, :19, 0], 0.9) for i in range(4000)]
    assert np.mean(plain) < np.mean(below)


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_a_model_without_coverage_has_it_once_calibrated(method: str, panel_of) -> None:
    rng = np.random.default_rng(1)
    panel = panel_of(rng.normal(size=3000), rng.normal(size=3000))
    predictor = Narrow(mean=0.3)
    conformal = fitted(method, panel, predictor, 1000, 2000)
    calibrated = Calibrated(predictor=predictor, conformal=conformal, since=np.array([2000, 2000]))
    index = windows(panel, 2000, 3000)
    raw = calibration_of(panel, predictor.predict(panel, index))
    assert abs(raw[0.05] - 0.05) > 0.1
    for level, share in calibration_of(panel, calibrated.predict(panel, index)).items():
        assert share == pytest.approx(level, abs=0.04)


def test_the_adaptive_calibration_follows_a_drift_that_the_fixed_ones_miss(panel_of) -> None:
    rng = np.random.default_rng(2)
    t = np.arange(3000)
    panel = panel_of(rng.normal(size=3000) * np.where(t < 2000, 1, 1 + (t - 2000) / 400))
    predictor, index = Narrow(), windows(panel, 2000, 3000)
    off = {}
    for method in ("cqr", "adaptive"):
        conformal = fitted(method, panel, predictor, 1000, 2000)
        made = Calibrated(predictor=predictor, conformal=conformal, since=np.array([2000])).predict(panel, index)
        found = calibration_of(panel, made)
        off[method] = abs(found[0.95] - found[0.05] - 0.9)
    assert off["cqr"] > 0.15
    assert off["adaptive"] < 0.09


@pytest.mark.parametrize("method", ["cqr", "split", "adaptive"])
def test_calibrated_forecasts_see_nothing_from_their_cutoff_on(method: str, panel_of) -> None:
    y = np.random.default_rng(3).normal(size=400)
    tampered = y.copy()
    tampered[350:] = 1e6
    made = []
    for values in (y, tampered):
        panel = panel_of(values)
        conformal = fitted(method, panel, Narrow(), 100, 300)
        calibrated = Calibrated(predictor=Narrow(), conformal=conformal, since=np.array([300]))
        made.append(calibrated.predict(panel, windows(panel, 345, 400)))
    early = made[0].cutoff <= 350
    assert early.sum() == 6
    np.testing.assert_array_equal(made[0].quantiles[early], made[1].quantiles[early])
    if method == "adaptive":
        assert not np.array_equal(made[0].quantiles[~early], made[1].quantiles[~early])


def test_auto_tracks_outcomes_unless_all_forecasts_of_the_span_overlap(
    panel_of,
) -> None:
    panel = panel_of(*np.random.default_rng(10).normal(size=(30, 200)))
    for begin, end, method in ((100, 104, "split"), (100, 105, "adaptive")):  # two origins of three steps, and three
        found, expected = (fitted(name, panel, Narrow(), begin, end) for name in ("auto", method))
        assert found.to_dict() == expected.to_dict()


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


def test_a_calibration_survives_json(panel_of) -> None:
    panel = panel_of(np.random.default_rng(7).normal(size=200), np.zeros(200))
    conformal = fitted("split", panel, Narrow(), 50, 150)
    again = Conformal.from_dict(json.loads(json.dumps(conformal.to_dict(), allow_nan=False)))
    made = Narrow().predict(panel, windows(panel, 150, 200))
    np.testing.assert_array_equal(again.apply(panel, made).quantiles, conformal.apply(panel, made).quantiles)


@pytest.mark.parametrize("damage", [{"method": "magic"}, {"shifts": [1.0]}, {"levels": None}, {"scales": 3}])
def test_a_damaged_calibration_is_refused(damage, panel_of) -> None:
    values = fitted("cqr", panel_of(np.random.default_rng(8).normal(size=200)), Narrow(), 50, 150).to_dict()
    with pytest.raises(ArtifactError, match="calibration"):
        Conformal.from_dict({**values, **damage})


def test_an_unknown_method_and_too_short_a_span_are_refused_in_words(panel_of) -> None:
    panel = panel_of(np.random.default_rng(9).normal(size=60))
    with pytest.raises(ConfigError, match="method cannot be 'aci'"):
        fitted("aci", panel, Narrow(), 10, 60)
    with pytest.raises(DataError, match="8 known actuals"):
        fitted("cqr", panel, Narrow(), 50, 60)


@pytest.mark.parametrize("horizon", [1, 3, 6, 24, 30, 48, 168])
def test_adaptive_learns_from_origins_at_every_hour_of_the_week(horizon: int) -> None:
    every = steps_between(horizon)
    assert 1 <= every <= max(1, horizon // 4)
    assert len({origin * every % 168 for origin in range(168)}) == 168
