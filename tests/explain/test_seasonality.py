from __future__ import annotations

import numpy as np
import pytest

from fusecast.explain.seasonality import (
    SeasonalLag,
    attention_by_lag,
    describe_patterns,
    find_periodicities,
    find_seasonal_lags,
)


def attention_to(lags: dict[int, float], windows: int, lookback: int, horizon: int, seed: int = 0) -> np.ndarray:
    """Every step ahead looks at these lags, so many times as much as elsewhere; windows wobble."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(4.0, 0.25, (windows, horizon, lookback + horizon))
    for h in range(horizon):
        for lag, times in lags.items():
            if 0 <= lookback + h - lag < lookback + horizon:
                raw[:, h, lookback + h - lag] *= times
        raw[:, h, lookback + h + 1 :] = 0
    return raw / raw.sum(axis=-1, keepdims=True)


def test_a_day_and_a_week_are_found_and_named(keep) -> None:
    store = keep(attention_to({24: 4.0, 168: 3.0}, 200, 192, 12), 192)
    lags = find_seasonal_lags(store, "1h")
    assert [(lag.lag, lag.words, lag.multiple_of) for lag in lags] == [
        (24, "24 h (1 day)", None),
        (168, "168 h (7 days)", 24),
    ]
    assert describe_patterns(lags) == "attends to lags of 24 h and 168 h"
    assert lags[0].contrast == pytest.approx(4.0, rel=0.1)
    assert lags[0].persistence > 0.95


def test_of_many_lags_three_are_named_and_the_others_counted() -> None:
    lags = [
        SeasonalLag(
            lag=24 * day, words=f"{24 * day} h ({day} days)", attention=0.1, contrast=9.0 - day, persistence=1.0
        )
        for day in range(1, 6)
    ]
    assert describe_patterns(lags) == "attends to lags of 24 h, 48 h, 72 h and 2 more"
    assert describe_patterns(lags[:4]) == "attends to lags of 24 h, 48 h, 72 h and 1 more"


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_seasons(seed: int, keep) -> None:
    store = keep(attention_to({}, 200, 96, 6, seed), 96)
    assert find_seasonal_lags(store, "1h") == []
    assert "attends to no lag or period that stands out" in describe_patterns([])


def test_the_recent_past_is_no_season(keep) -> None:
    store = keep(attention_to({1: 9.0, 2: 6.0, 3: 2.0}, 200, 48, 4), 48)
    assert find_seasonal_lags(store, "1h") == []


def test_a_lag_of_few_windows_does_not_persist(keep) -> None:
    attention = attention_to({}, 200, 48, 4)
    attention[:40] = attention_to({24: 30.0}, 40, 48, 4, seed=1)
    assert find_seasonal_lags(keep(attention, 48), "1h") == []
    assert [lag.lag for lag in find_seasonal_lags(keep(attention[:40], 48), "1h")] == [24]


def test_the_last_lag_there_is_could_be_anything(keep) -> None:
    store = keep(attention_to({24: 5.0}, 100, 24, 1), 24)
    assert find_seasonal_lags(store, "1h") == []


def test_lags_are_distances_to_the_step_forecast() -> None:
    #          positions -2, -1 | 0, 1
    attention = np.array([[[0.1, 0.2, 0.7, 0.0], [0.4, 0.3, 0.2, 0.1]]])
    expected = [(0.7 + 0.1) / 2, (0.2 + 0.2) / 2, (0.1 + 0.3) / 2, 0.4]
    np.testing.assert_allclose(attention_by_lag(attention, 2)[0], expected)


def test_masked_positions_do_not_count() -> None:
    attention = np.array([[[np.nan, 0.3, 0.7, 0.0], [np.nan, 0.6, 0.2, 0.2]]])
    lags = attention_by_lag(attention, 2)[0]
    np.testing.assert_allclose(lags[:3], [0.45, 0.25, 0.6])
    assert np.isnan(lags[3])


def striped_attention(period: int, windows: int, lookback: int, seed: int = 0) -> np.ndarray:
    """All steps ahead look at the same clock time of every period; windows begin at any: [W, 3, T]."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(4.0, 0.25, (windows, 3, lookback + 3))
    for window, phase in enumerate(rng.integers(0, period, windows)):
        raw[window, :, phase:lookback:period] *= 5
    return raw / raw.sum(axis=-1, keepdims=True)


def test_attention_to_the_same_hour_of_every_day_is_a_rhythm_and_no_lag(keep) -> None:
    store = keep(striped_attention(24, 100, 168), 168)
    lags = find_periodicities(store, "1h")
    assert [(each.period, each.words) for each in lags] == [(24, "24 h (1 day)")]
    assert find_seasonal_lags(store, "1h") == []
    assert describe_patterns([], lags) == "attends to the past with a period of 24 h"


def test_the_autocorrelation_is_that_of_numpy(keep) -> None:
    attention = striped_attention(6, 30, 36)
    lags = find_periodicities(keep(attention, 36), "1h")[0]
    slow = []
    for window in attention[:, :, :36].mean(axis=1):
        centred = window - window.mean()
        slow.append(np.mean(centred[6:] * centred[:-6]) / np.mean(centred**2))
    assert lags.period == 6
    assert lags.autocorrelation == pytest.approx(np.mean(slow), rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_fading_attention_have_no_rhythm(seed: int, keep) -> None:
    assert find_periodicities(keep(attention_to({}, 100, 96, 3, seed), 96), "1h") == []
    fading = attention_to({}, 100, 96, 3, seed) * np.exp(np.arange(99) / 20)
    assert find_periodicities(keep(fading / fading.sum(axis=-1, keepdims=True), 96), "1h") == []
