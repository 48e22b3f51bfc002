"""LightGBM by quantile: inputs against loops, blind to the future, better than the last value on a wave."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.baselines.boosting import Boosting, build_inputs
from fusecast.evaluation.baselines.simple import SeasonalNaive
from fusecast.evaluation.metrics import score
from fusecast.windows.window_index import WindowIndex

pytest.importorskip("lightgbm", reason="the boosting extra is not installed")
LEVELS = (0.1, 0.5, 0.9)


def a_wave(length: int, seed: int, size: float = 1.0) -> np.ndarray:
    t = np.arange(length)
    return size * (5 + np.sin(2 * np.pi * t / 24) + 0.1 * np.random.default_rng(seed).normal(size=length))


def test_inputs_of_a_step_are_those_of_a_loop(panel_of) -> None:
    first, second = a_wave(300, 0), a_wave(400, 1)
    first[250] = np.nan
    panel = panel_of(first, second)
    inputs, center, scale = build_inputs(panel, 0, np.array([0, 1]), np.array([260, 350]), 30)
    rows = inputs.reshape(2, 30, -1)
    recent = first[236:260]
    assert center[0] == pytest.approx(np.nanmean(recent))
    assert scale[0] == pytest.approx(np.nanstd(recent))
    row = rows[0, 25]  # 26 steps ahead: row 285; the latest known at its hour of the day is row 237
    assert row[0] == 25
    np.testing.assert_allclose(row[1:5], (first[259:255:-1] - center[0]) / scale[0])
    assert row[5] == center[0]
    of_day = [(first[285 - 24 * k] - center[0]) / scale[0] for k in (2, 3, 4, 5)]
    np.testing.assert_allclose(row[7:11], of_day)
    assert row[11] == pytest.approx((first[285 - 168] - center[0]) / scale[0])
    assert np.isnan(row[12])  # two weeks before there was nothing
    assert row[15] == 285 % 24 + 1  # the hour


def test_boosting_is_better_than_the_last_value_on_a_wave_of_any_amplitude(panel_of) -> None:
    panel = panel_of(a_wave(400, 0), a_wave(400, 1, size=1000.0))
    train_end = np.array([300, 300])
    index = WindowIndex.between(lengths=panel.lengths, begin=train_end, end=400, lookback=4, horizon=12, stride=5)
    boosted = Boosting.fit(panel, train_end, 12, LEVELS, rounds=60).predict(panel, index)
    naive = SeasonalNaive(season=1, levels=LEVELS).fit(panel, train_end, 12).predict(panel, index)
    actual = gather_actuals(panel, boosted.series, boosted.cutoff, 12)
    assert (np.diff(boosted.quantiles, axis=-1) >= 0).all()
    for s in range(2):
        of_series = boosted.series == s
        wql, naive_wql = (
            score(forecasts.quantiles[of_series], actual[of_series], LEVELS)[0].wql for forecasts in (boosted, naive)
        )
        assert wql < 0.5 * naive_wql


def test_boosting_ignores_values_from_the_cutoff_on(panel_of) -> None:
    y = a_wave(300, 0)
    tampered = y.copy()
    tampered[200:] = -7
    index = WindowIndex(lookback=4, horizon=6, first_cutoff=[200], last_cutoff=[200])
    before, after = (
        Boosting.fit(panel, np.array([200]), 6, LEVELS, rounds=5).predict(panel, index).quantiles
        for panel in (panel_of(y), panel_of(tampered))
    )
    np.testing.assert_array_equal(before, after)
