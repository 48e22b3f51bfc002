"""Conformal calibration: the textbook quantile, coverage where the model has none, drift followed, nothing foreseen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.narrow_predictor import HORIZON, LEVELS, Narrow, fitted, windows

from fusecast.calibration.calibrated_predictor import Calibrated
from fusecast.calibration.conformal import Conformal
from fusecast.calibration.step_shifts import conformal_quantiles
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.metrics import score
from fusecast.inference.forecasts import Forecasts
from fusecast.workflows.calibrate import steps_between


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
