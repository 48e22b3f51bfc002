"""Shifts by step: as far apart as the outcomes bear out, no further."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fusecast.calibration.step_shifts import conformal_quantiles, shifts_by_step

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZON = 6


def outcomes(rng, origins: int, series: int, spread, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores [W, H, 1, Q] of a forecast of 0; a share of the variance is a shock that all series have in a month."""
    month = np.arange(origins)[:, None] + np.arange(HORIZON)
    shock = rng.normal(size=origins + HORIZON)[month][:, None]
    own = rng.normal(size=(origins, series, HORIZON))
    scores = (np.sqrt(shared) * shock + np.sqrt(1 - shared) * own) * spread
    back = np.repeat(np.arange(origins)[::-1], series)
    return np.repeat(scores.reshape(-1, HORIZON, 1, 1), len(LEVELS), axis=-1), back


def off(shifts: np.ndarray, spread) -> float:
    truth = stats.norm.ppf(LEVELS) * np.broadcast_to(spread, HORIZON)[:, None]
    return float(np.sqrt(((shifts[:, 0] - truth) ** 2).mean()))


def test_few_origins_that_share_their_shocks_do_not_tell_steps_apart() -> None:
    rng, together, apart = np.random.default_rng(0), [], []
    for _ in range(40):
        scores, back = outcomes(rng, origins=4, series=100, spread=1.0, shared=0.2)
        together.append(off(shifts_by_step(scores, LEVELS, back), 1.0))
        apart.append(off(conformal_quantiles(scores, LEVELS), 1.0))
    assert np.mean(together) < 0.85 * np.mean(apart)


def test_steps_that_do_differ_keep_shifts_of_their_own() -> None:
    rng, spread = np.random.default_rng(1), np.linspace(0.5, 2.0, HORIZON)
    scores, back = outcomes(rng, origins=400, series=4, spread=spread, shared=0.1)
    made, own = shifts_by_step(scores, LEVELS, back), conformal_quantiles(scores, LEVELS)
    pooled = conformal_quantiles(scores.reshape(-1, 1, len(LEVELS)), LEVELS)
    assert off(made, spread) < 0.1 < 0.5 < off(np.broadcast_to(pooled, own.shape), spread)
    np.testing.assert_allclose(made[:, 0, [0, 4]], own[:, 0, [0, 4]], atol=0.05)


def test_shifts_are_those_of_the_formula_written_out() -> None:
    rng = np.random.default_rng(2)
    scores, back = outcomes(rng, origins=30, series=9, spread=np.linspace(0.9, 1.2, HORIZON), shared=0.1)
    scores[rng.random(scores.shape[:3]) < 0.1] = np.nan
    made = shifts_by_step(scores, LEVELS, back)
    for q, level in enumerate(LEVELS):
        all_steps = conformal_quantiles(scores[..., q].reshape(-1, 1), (level,))[0]
        own = [conformal_quantiles(scores[:, h, 0, [q]], (level,))[0] for h in range(HORIZON)]
        spans = []
        for number in range(5):  # of six origins each, as many as the horizon has steps
            mine = [w for w in range(len(back)) if number * 6 <= back[w] < number * 6 + 6]
            row = [conformal_quantiles(scores[mine][:, h, 0, [q]], (level,))[0] for h in range(HORIZON)]
            spans.append([value - sum(row) / HORIZON for value in row])
        chance = sum(np.var(step, ddof=1) for step in zip(*spans, strict=True)) / HORIZON / 5
        kept = max(0.0, 1 - chance / np.var(own, ddof=1))
        expected = [all_steps + kept * (value - all_steps) for value in own]
        np.testing.assert_allclose(made[:, 0, q], expected)


@pytest.mark.parametrize("case", ["one origin", "one step", "nothing known in all spans but one", "all alike"])
def test_where_chance_cannot_be_seen_all_steps_share_one_shift(case: str) -> None:
    rng = np.random.default_rng(3)
    scores, back = outcomes(rng, origins=1 if case == "one origin" else 24, series=30, spread=1.0, shared=0.0)
    if case == "one step":
        scores = scores[:, :1]
    if case == "nothing known in all spans but one":
        scores[back >= 6] = np.nan
    if case == "all alike":
        scores[:] = 0.25
    made = shifts_by_step(scores, LEVELS, back)
    together = conformal_quantiles(scores.reshape(-1, 1, len(LEVELS)), LEVELS)
    np.testing.assert_array_equal(made, np.broadcast_to(together, made.shape))
