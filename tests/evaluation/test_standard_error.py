"""The standard error of a share counted over time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from fusecast.evaluation.significance import standard_error


def test_without_anything_in_common_it_is_that_of_independent_draws() -> None:
    inside = (np.random.default_rng(0).random(20_000) < 0.8).astype(float)
    assert standard_error(inside, np.arange(20_000), 1) == pytest.approx(np.sqrt(0.8 * 0.2 / 20_000), rel=0.01)


def test_series_that_share_every_shock_count_once() -> None:
    inside = (np.random.default_rng(1).random(300) < 0.8).astype(float)
    once = standard_error(inside, np.arange(300), 6)
    assert standard_error(np.repeat(inside, 50), np.repeat(np.arange(300), 50), 6) == pytest.approx(once)


def test_it_is_the_spread_of_the_mean_over_many_histories_that_hang_together() -> None:
    rng, weights = np.random.default_rng(2), np.ones(12) / np.sqrt(12)
    histories = np.stack([signal.convolve(rng.normal(size=1_011), weights, "valid") for _ in range(300)])
    told = [standard_error(history, np.arange(1_000), 24) for history in histories[:40]]
    assert np.mean(told) == pytest.approx(histories.mean(axis=1).std(), rel=0.2)
    assert np.mean(told) > 2.5 * np.std(histories[0]) / np.sqrt(1_000)


def test_what_is_missing_is_left_out_and_nothing_known_tells_nothing() -> None:
    inside = np.array([1.0, 0.0, np.nan, 1.0, 1.0])
    alone = standard_error(inside[[0, 1, 3, 4]], np.array([0, 1, 3, 4]), 2)
    assert standard_error(inside, np.arange(5), 2) == alone > 0
    assert np.isnan(standard_error(np.array([np.nan]), np.array([3]), 2))
