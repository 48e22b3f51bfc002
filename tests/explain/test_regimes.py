from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from fusecast.explain.regimes import bhattacharyya_distance, default_threshold, find_regimes

LOOKBACK, HORIZON = 10, 3


def noisy_attention(windows: int, seed: int, peak: int = 4, sharpness: float = 60.0) -> np.ndarray:
    """Attention with a peak `peak` steps back, wobbling from window to window: [W, H, T]."""
    rng = np.random.default_rng(seed)
    usual = np.full((HORIZON, LOOKBACK + HORIZON), 0.03)
    usual[:, LOOKBACK - peak] = 1.0
    for h in range(HORIZON):
        usual[h, LOOKBACK + h + 1 :] = 1e-9
    usual /= usual.sum(axis=-1, keepdims=True)
    return np.stack([[rng.dirichlet(sharpness * row + 1e-6) for row in usual] for _ in range(windows)])


def by_hand(attention: np.ndarray) -> np.ndarray:
    """Section 7.3 with loops, for windows without padding."""
    W, H, T = attention.shape
    distance = np.zeros(W)
    for tau in range(H):
        average = [sum(attention[t, tau, j] for t in range(W)) / W for j in range(T)]
        for t in range(W):
            coefficient = sum((average[j] * attention[t, tau, j]) ** 0.5 for j in range(T))
            distance[t] += (1 - min(1.0, coefficient)) ** 0.5 / H
    return distance


def of_one_series(store, windows: int, **options):
    return find_regimes(store, np.zeros(windows, dtype=np.int64), np.arange(LOOKBACK, LOOKBACK + windows), **options)


def test_two_windows_worked_out_on_paper() -> None:
    average = np.array([[0.5, 0.5]])
    attention = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    expected = [[np.sqrt(1 - np.sqrt(0.5))], [0.0]]
    np.testing.assert_allclose(bhattacharyya_distance(average, attention), expected, atol=1e-7)


def test_the_distance_is_that_of_the_paper(keep) -> None:
    attention = noisy_attention(40, 0)
    regimes = of_one_series(keep(attention, LOOKBACK), 40)
    np.testing.assert_allclose(regimes.distance, by_hand(attention), atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_regime_is_found_and_nothing_else(seed: int, keep) -> None:
    attention = noisy_attention(400, seed)
    attention[250:290] = noisy_attention(40, seed + 100, peak=9)
    regimes = of_one_series(keep(attention, LOOKBACK), 400)
    assert np.flatnonzero(regimes.flagged).tolist() == list(range(250, 290))


@pytest.mark.parametrize("sharpness", [5.0, 60.0, 2000.0])
@pytest.mark.parametrize("seed", range(5))
def test_without_a_regime_all_is_quiet(seed: int, sharpness: float, keep) -> None:
    regimes = of_one_series(keep(noisy_attention(400, seed, sharpness=sharpness), LOOKBACK), 400)
    assert not regimes.flagged.any()


def test_one_event_a_span_with_its_dates(keep, panel_of) -> None:
    attention = noisy_attention(400, 0)
    attention[100:104] = noisy_attention(4, 1, peak=9)
    attention[300] = noisy_attention(1, 2, peak=9)[0]
    panel = panel_of(LOOKBACK + 400 + HORIZON - 1)
    events = of_one_series(keep(attention, LOOKBACK), 400).events(panel, gap=HORIZON).sort("begin")
    assert events["begin"].to_list() == [datetime(2024, 1, 5, 14), datetime(2024, 1, 13, 22)]
    assert events["end"].to_list() == [datetime(2024, 1, 5, 17), datetime(2024, 1, 13, 22)]
    assert events["windows"].to_list() == [4, 1]


def test_no_event_is_an_empty_table(keep, panel_of) -> None:
    regimes = of_one_series(keep(noisy_attention(50, 0), LOOKBACK), 50)
    events = regimes.events(panel_of(80), gap=3)
    assert events.height == 0
    assert events.columns == ["series", "begin", "end", "windows", "peak", "distance"]


def test_each_series_is_compared_with_itself_and_short_ones_with_each_other(keep) -> None:
    long = noisy_attention(40, 0), noisy_attention(40, 1, peak=9)
    short = [noisy_attention(3, seed) for seed in range(2, 12)]
    series = np.concatenate([[0] * 40, [1] * 40, np.repeat(np.arange(2, 12), 3)])
    store = keep(np.concatenate([*long, *short]), LOOKBACK)
    regimes = find_regimes(store, series, np.arange(len(series)))
    assert not regimes.flagged.any()
    np.testing.assert_allclose(regimes.distance[40:80], by_hand(long[1]), atol=1e-3)
    np.testing.assert_allclose(regimes.distance[80:], by_hand(np.concatenate(short)), atol=1e-3)


def test_padding_is_no_regime(keep) -> None:
    attention = noisy_attention(100, 0)
    attention[:5, :, :3] = np.nan
    attention[:5] /= np.nansum(attention[:5], axis=-1, keepdims=True)
    assert not of_one_series(keep(attention, LOOKBACK), 100).flagged.any()


def test_a_threshold_of_ones_own_is_kept(keep, panel_of) -> None:
    regimes = of_one_series(keep(noisy_attention(50, 0), LOOKBACK), 50, threshold=0.0)
    assert regimes.flagged.all()
    assert regimes.to_frame(panel_of(80)).columns == ["series", "time", "distance", "threshold", "flagged"]


def test_what_is_left_over_by_a_regime_in_the_average_is_no_regime(keep) -> None:
    attention = noisy_attention(400, 0, sharpness=1e7)  # next to no wobble
    attention[250:290] = noisy_attention(40, 1, peak=9, sharpness=1e7)
    regimes = of_one_series(keep(attention, LOOKBACK), 400)
    assert np.median(regimes.distance) > 0.1  # the average is a tenth the other regime, and all lie off it
    assert np.flatnonzero(regimes.flagged).tolist() == list(range(250, 290))


def test_the_default_threshold_is_far_outside_the_spread_and_not_negligible() -> None:
    assert default_threshold(np.array([0.01, 0.02, 0.03])) == pytest.approx(0.22)
    assert default_threshold(np.array([0.2, 0.3, 0.4])) == pytest.approx(0.3 + 5 * 1.4826 * 0.1)
