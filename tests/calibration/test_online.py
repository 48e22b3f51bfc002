"""Shifts by step that differ as far as the outcomes justify, their updates, and the rate chosen by replaying a span."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusecast.calibration.online import (
    DEFAULT_RATE,
    RATES,
    choose_rate,
    conformal_quantiles,
    shifts_by_step,
    track_shifts,
    without_location,
)

LEVELS, FIVE_LEVELS = (0.1, 0.5, 0.9), (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 6


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_the_conformal_quantile_is_the_rank_of_the_textbook(count: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(count, 5))
    quantiles = conformal_quantiles(scores, FIVE_LEVELS)
    for i, level in enumerate(FIVE_LEVELS):
        ordered = sorted(scores[:, i])
        if level >= 0.5:
            rank = min(int(np.ceil((count + 1) * level - 1e-9)), count)
            assert quantiles[i] == ordered[rank - 1]
        else:  # the mirror image
            upper = conformal_quantiles(-scores[:, [i]], (1 - level,))
            assert quantiles[i] == -upper[0]


def test_new_scores_lie_below_the_conformal_quantile_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 20, 1))
    below = [draws[i, 19, 0] <= conformal_quantiles(draws[i, :19], (0.9,))[0] for i in range(4000)]
    assert np.mean(below) == pytest.approx(0.9, abs=0.015)  # exactly 18/20 for 19 scores
    plain = [draws[i, 19, 0] <= np.quantile(draws[i, :19, 0], 0.9) for i in range(4000)]
    assert np.mean(plain) < np.mean(below)


def outcomes(rng, origins: int, series: int, spread, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [W, H, 1, Q] of a forecast of 0; a share of the variance is a shock common to all series."""
    moment = np.arange(origins)[:, None] + np.arange(HORIZON)
    shock = rng.normal(size=origins + HORIZON)[moment][:, None]
    noise = rng.normal(size=(origins, series, HORIZON))
    scores = (np.sqrt(shared) * shock + np.sqrt(1 - shared) * noise) * spread
    back = np.repeat(np.arange(origins)[::-1], series)
    return np.repeat(scores.reshape(-1, HORIZON, 1, 1), len(FIVE_LEVELS), axis=-1), back


def deviation(shifts: np.ndarray, spread) -> float:
    expected = stats.norm.ppf(FIVE_LEVELS) * np.broadcast_to(spread, HORIZON)[:, None]
    return float(np.sqrt(((shifts[:, 0] - expected) ** 2).mean()))


def test_with_few_origins_that_share_their_shocks_pooled_shifts_are_closer_to_the_truth() -> None:
    rng, shrunk, separate = np.random.default_rng(0), [], []
    for _ in range(40):
        scores, back = outcomes(rng, origins=4, series=100, spread=1.0, shared=0.2)
        shrunk.append(deviation(shifts_by_step(scores, FIVE_LEVELS, back), 1.0))
        separate.append(deviation(conformal_quantiles(scores, FIVE_LEVELS), 1.0))
    assert np.mean(shrunk) < 0.85 * np.mean(separate)


def test_steps_with_different_spreads_have_different_shifts() -> None:
    rng, spread = np.random.default_rng(1), np.linspace(0.5, 2.0, HORIZON)
    scores, back = outcomes(rng, origins=400, series=4, spread=spread, shared=0.1)
    shifts, by_step = shifts_by_step(scores, FIVE_LEVELS, back), conformal_quantiles(scores, FIVE_LEVELS)
    pooled = conformal_quantiles(scores.reshape(-1, 1, len(FIVE_LEVELS)), FIVE_LEVELS)
    assert deviation(shifts, spread) < 0.1 < 0.5 < deviation(np.broadcast_to(pooled, by_step.shape), spread)
    np.testing.assert_allclose(shifts[:, 0, [0, 4]], by_step[:, 0, [0, 4]], atol=0.05)


def test_shifts_are_those_of_the_formula_written_out() -> None:
    rng = np.random.default_rng(2)
    scores, back = outcomes(rng, origins=30, series=9, spread=np.linspace(0.9, 1.2, HORIZON), shared=0.1)
    scores[rng.random(scores.shape[:3]) < 0.1] = np.nan
    shifts = shifts_by_step(scores, FIVE_LEVELS, back)
    for q, level in enumerate(FIVE_LEVELS):
        all_steps = conformal_quantiles(scores[..., q].reshape(-1, 1), (level,))[0]
        by_step = [conformal_quantiles(scores[:, h, 0, [q]], (level,))[0] for h in range(HORIZON)]
        spans = []
        for i in range(5):  # of six origins each, as many as the horizon has steps
            windows = [w for w in range(len(back)) if i * 6 <= back[w] < i * 6 + 6]
            row = [conformal_quantiles(scores[windows][:, h, 0, [q]], (level,))[0] for h in range(HORIZON)]
            spans.append([value - sum(row) / HORIZON for value in row])
        chance = sum(np.var(step, ddof=1) for step in zip(*spans, strict=True)) / HORIZON / 5
        weight = max(0.0, 1 - chance / np.var(by_step, ddof=1))
        expected = [all_steps + weight * (value - all_steps) for value in by_step]
        np.testing.assert_allclose(shifts[:, 0, q], expected)


@pytest.mark.parametrize("case", ["one origin", "one step", "known values in one span alone", "equal scores"])
def test_where_chance_cannot_be_estimated_all_steps_share_one_shift(case: str) -> None:
    rng = np.random.default_rng(3)
    scores, back = outcomes(rng, origins=1 if case == "one origin" else 24, series=30, spread=1.0, shared=0.0)
    if case == "one step":
        scores = scores[:, :1]
    if case == "known values in one span alone":
        scores[back >= 6] = np.nan
    if case == "equal scores":
        scores[:] = 0.25
    shifts = shifts_by_step(scores, FIVE_LEVELS, back)
    pooled = conformal_quantiles(scores.reshape(-1, 1, len(FIVE_LEVELS)), FIVE_LEVELS)
    np.testing.assert_array_equal(shifts, np.broadcast_to(pooled, shifts.shape))


def scores_and_back(values: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [W, H, 1, Q] of a forecast of 0 from every origin of one series, and rows back from the last."""
    windows = np.lib.stride_tricks.sliding_window_view(values, horizon)[..., None, None]
    return np.repeat(windows, len(LEVELS), axis=-1), np.arange(len(windows))[::-1].copy()


def test_a_shift_moves_by_what_is_known_when_the_forecast_was_made() -> None:
    start = np.zeros((2, 1, 1))
    scores = [np.full((1, 2, 1, 1), value) for value in (1.0, 1.0, -1.0)]
    shifts = track_shifts(start, scores, (0.5,), rate=0.1, every=1, shift_median=True)[..., 0, 0]
    # step 0 is known at the next origin: above 0, above 0.05, below 0.1; step 1 one origin later
    np.testing.assert_allclose(shifts[:, 0], [0.0, 0.05, 0.1, 0.05])
    np.testing.assert_allclose(shifts[:, 1], [0.0, 0.05, 0.1, 0.05])


def test_a_shift_moves_by_the_share_of_the_known_outcomes_of_all_series() -> None:
    start = np.zeros((2, 1, 1))
    scores = np.array([1.0, 1.0, 1.0, -1.0, np.nan])[:, None, None, None] * np.ones((5, 2, 1, 1))
    tracked = track_shifts(start, [scores], (0.5,), rate=0.1, every=1, shift_median=True)
    np.testing.assert_allclose(tracked[1], 0.025)
    unknown = np.full((3, 2, 1, 1), np.nan)
    np.testing.assert_array_equal(track_shifts(start, [unknown], (0.5,), 0.1, 1), np.zeros((2, 2, 1, 1)))


def test_the_shift_of_the_median_stays_and_the_others_do_not_depend_on_it() -> None:
    rng = np.random.default_rng(5)
    start, scores = rng.normal(size=(2, 1, 3)), list(rng.normal(5, 1, size=(9, 4, 2, 1, 3)))
    fixed = track_shifts(start, scores, LEVELS, rate=0.1, every=1)
    moving = track_shifts(start, scores, LEVELS, rate=0.1, every=1, shift_median=True)
    np.testing.assert_array_equal(fixed[..., 1], np.broadcast_to(start[..., 1], fixed.shape[:-1]))
    np.testing.assert_array_equal(fixed[..., [0, 2]], moving[..., [0, 2]])
    assert (moving[-1, ..., 1] > start[..., 1]).all()


def test_shifts_without_location_are_relative_to_that_of_the_median() -> None:
    shifts = np.array([[[0.1, 0.3, 0.7]], [[-0.2, -0.1, 0.4]]])
    np.testing.assert_allclose(without_location(shifts, LEVELS), [[[-0.2, 0, 0.4]], [[-0.1, 0, 0.5]]])
    np.testing.assert_array_equal(without_location(shifts[..., [0, 2]], (0.1, 0.9)), shifts[..., [0, 2]])


def test_a_drift_has_a_faster_rate_than_a_stationary_series() -> None:
    rng = np.random.default_rng(0)
    calm = rng.normal(0, 0.2, 1500)
    drift = 2 * np.sin(np.arange(1500) / 60) + rng.normal(0, 0.2, 1500)
    rates = []
    for values in (calm, drift):
        scores, back = scores_and_back(values, 3)
        rates.append(choose_rate(scores, LEVELS, back, 1))
    assert rates[0] <= 0.05 < 0.2 <= rates[1]


def test_the_rate_is_the_fastest_whose_replay_costs_little_more_than_the_best() -> None:
    rng, horizon, every = np.random.default_rng(1), 4, 2
    values = np.cumsum(rng.normal(0, 0.03, 801)) + rng.normal(0, 0.3, 801)
    scores, back = scores_and_back(values, horizon)
    origins = len(back)
    begin = origins - 1 - origins // 2 // every * every  # the first origin replayed
    start = shifts_by_step(scores[: begin - horizon + 1], LEVELS, back[: begin - horizon + 1] - begin)[:, 0]
    start = start - start[:, [1]]  # the median stays
    losses = {}
    for rate in RATES:
        shift, history, total = start.copy(), [], []
        for origin in range(begin, origins, every):
            for earlier, used in history:
                for h in range(horizon):  # outcomes that came since the origin before
                    if origin - every <= earlier + h < origin:
                        shift[h] += rate * ((np.asarray(LEVELS) - (values[earlier + h] <= used[h])) * [1, 0, 1])
            history.append((origin, shift.copy()))
            for h in range(horizon):
                over = values[origin + h] - shift[h]
                total += [max(q * o, (q - 1) * o) for q, o in zip(LEVELS, over, strict=True)]
        losses[rate] = np.mean(total)
    fast = [rate for rate in RATES if losses[rate] <= 1.01 * min(losses.values())]
    assert choose_rate(scores, LEVELS, back, every) == max(fast)
    assert 1 <= len(fast) < len(RATES)


@pytest.mark.parametrize(("origins", "is_default"), [(89, True), (90, False)])
def test_a_short_span_has_the_default_rate(origins: int, is_default: bool) -> None:
    scores, back = scores_and_back(np.full(origins + 2, 0.5), 3)
    assert (choose_rate(scores, LEVELS, back, 1) == DEFAULT_RATE) is is_default
