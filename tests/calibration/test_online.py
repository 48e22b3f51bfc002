"""Online calibration: shifts after outcomes, and the rate chosen by replaying a span."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.calibration.online import DEFAULT_RATE, RATES, choose_rate, track_shifts
from fusecast.calibration.online import shifts_by_step

LEVELS = (0.1, 0.5, 0.9)


def scores_and_back(values: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [W, H, 1, Q] of a forecast of 0 from every origin of one series, and rows back from the last."""
    windows = np.lib.stride_tricks.sliding_window_view(values, horizon)[..., None, None]
    return np.repeat(windows, len(LEVELS), axis=-1), np.arange(len(windows))[::-1].copy()


def test_a_shift_moves_by_what_is_known_when_the_forecast_was_made() -> None:
    start = np.zeros((2, 1, 1))
    scores = [np.full((1, 2, 1, 1), value) for value in (1.0, 1.0, -1.0)]
    shifts = track_shifts(start, scores, (0.5,), rate=0.1, every=1)[..., 0, 0]
    # step 0 is known at the next origin: above 0, above 0.05, below 0.1; step 1 one origin later
    np.testing.assert_allclose(shifts[:, 0], [0.0, 0.05, 0.1, 0.05])
    np.testing.assert_allclose(shifts[:, 1], [0.0, 0.05, 0.1, 0.05])


def test_a_shift_moves_by_the_share_of_the_known_outcomes_of_all_series() -> None:
    start = np.zeros((2, 1, 1))
    scores = np.array([1.0, 1.0, 1.0, -1.0, np.nan])[:, None, None, None] * np.ones((5, 2, 1, 1))
    np.testing.assert_allclose(track_shifts(start, [scores], (0.5,), rate=0.1, every=1)[1], 0.025)
    unknown = np.full((3, 2, 1, 1), np.nan)
    np.testing.assert_array_equal(track_shifts(start, [unknown], (0.5,), 0.1, 1), np.zeros((2, 2, 1, 1)))


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
    losses = {}
    for rate in RATES:
        shift, history, total = start.copy(), [], []
        for origin in range(begin, origins, every):
            for earlier, used in history:
                for h in range(horizon):  # outcomes that came since the origin before
                    if origin - every <= earlier + h < origin:
                        shift[h] += rate * (np.asarray(LEVELS) - (values[earlier + h] <= used[h]))
            history.append((origin, shift.copy()))
            for h in range(horizon):
                over = values[origin + h] - shift[h]
                total += [max(q * o, (q - 1) * o) for q, o in zip(LEVELS, over, strict=True)]
        losses[rate] = np.mean(total)
    fast = [rate for rate in RATES if losses[rate] <= 1.02 * min(losses.values())]
    assert choose_rate(scores, LEVELS, back, every) == max(fast)
    assert 1 <= len(fast) < len(RATES)


@pytest.mark.parametrize(("origins", "is_default"), [(23, True), (24, False)])
def test_a_short_span_has_the_default_rate(origins: int, is_default: bool) -> None:
    scores, back = scores_and_back(np.full(origins + 2, 0.5), 3)
    assert (choose_rate(scores, LEVELS, back, 1) == DEFAULT_RATE) is is_default
