"""Conformal quantiles, and shifts by step that differ as far as the outcomes justify."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fusecast.calibration.online import conformal_quantiles, shifts_by_step

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 6


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_the_conformal_quantile_is_the_rank_of_the_textbook(count: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(count, 5))
    quantiles = conformal_quantiles(scores, LEVELS)
    for i, level in enumerate(LEVELS):
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
    return np.repeat(scores.reshape(-1, HORIZON, 1, 1), len(LEVELS), axis=-1), back


def deviation(shifts: np.ndarray, spread) -> float:
    expected = stats.norm.ppf(LEVELS) * np.broadcast_to(spread, HORIZON)[:, None]
    return float(np.sqrt(((shifts[:, 0] - expected) ** 2).mean()))


def test_with_few_origins_that_share_their_shocks_pooled_shifts_are_closer_to_the_truth() -> None:
    rng, shrunk, separate = np.random.default_rng(0), [], []
    for _ in range(40):
        scores, back = outcomes(rng, origins=4, series=100, spread=1.0, shared=0.2)
        shrunk.append(deviation(shifts_by_step(scores, LEVELS, back), 1.0))
        separate.append(deviation(conformal_quantiles(scores, LEVELS), 1.0))
    assert np.mean(shrunk) < 0.85 * np.mean(separate)


def test_steps_with_different_spreads_have_different_shifts() -> None:
    rng, spread = np.random.default_rng(1), np.linspace(0.5, 2.0, HORIZON)
    scores, back = outcomes(rng, origins=400, series=4, spread=spread, shared=0.1)
    shifts, by_step = shifts_by_step(scores, LEVELS, back), conformal_quantiles(scores, LEVELS)
    pooled = conformal_quantiles(scores.reshape(-1, 1, len(LEVELS)), LEVELS)
    assert deviation(shifts, spread) < 0.1 < 0.5 < deviation(np.broadcast_to(pooled, by_step.shape), spread)
    np.testing.assert_allclose(shifts[:, 0, [0, 4]], by_step[:, 0, [0, 4]], atol=0.05)


def test_shifts_are_those_of_the_formula_written_out() -> None:
    rng = np.random.default_rng(2)
    scores, back = outcomes(rng, origins=30, series=9, spread=np.linspace(0.9, 1.2, HORIZON), shared=0.1)
    scores[rng.random(scores.shape[:3]) < 0.1] = np.nan
    shifts = shifts_by_step(scores, LEVELS, back)
    for q, level in enumerate(LEVELS):
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
    shifts = shifts_by_step(scores, LEVELS, back)
    pooled = conformal_quantiles(scores.reshape(-1, 1, len(LEVELS)), LEVELS)
    np.testing.assert_array_equal(shifts, np.broadcast_to(pooled, shifts.shape))
