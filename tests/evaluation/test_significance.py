"""The Diebold-Mariano test and the standard error of a share: against scipy, cases solved by hand, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal, stats

from fusecast.evaluation.significance import coverage_standard_errors, diebold_mariano, standard_error
from fusecast.inference.forecasts import Forecasts


def test_without_overlap_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2, size=40), rng.gamma(2.5, size=40)
    test_result = diebold_mariano(first, second)
    expected = stats.ttest_rel(first, second)
    assert test_result.statistic == pytest.approx(expected.statistic)
    assert test_result.p_value == pytest.approx(expected.pvalue)
    assert test_result.difference == pytest.approx((first - second).mean())


def test_with_overlap_it_is_the_case_solved_by_hand() -> None:
    # d = 1, 2, 0, 3, 4, 2: mean 2, centred -1, 0, -2, 1, 2, 0
    # g_0 = 10/6; g_1 = (0 + 0 - 2 + 2 + 0)/6 = 0; g_2 = (2 + 0 - 4 + 0)/6 = -2/6
    # h = 3: variance of the mean = (10/6 - 4/6)/6 = 1/6; DM = 2 * sqrt(6)
    # correction = (6 + 1 - 6 + 3 * 2 / 6) / 6 = 1/3
    test_result = diebold_mariano([1.0, 2, 0, 3, 4, 2], np.zeros(6), overlap=3)
    assert test_result.statistic == pytest.approx(2 * math.sqrt(6) * math.sqrt(1 / 3))
    assert test_result.p_value == pytest.approx(2 * stats.t.sf(2 * math.sqrt(2), 5))


def test_a_variance_that_comes_out_negative_is_weighted_instead() -> None:
    d = np.array([1.0, -1, 1, -1, 1, -1, 1, -0.5])
    test_result = diebold_mariano(d, np.zeros(8), overlap=2)
    centred = d - d.mean()
    plain = centred @ centred / 8 + 2 * centred[1:] @ centred[:-1] / 8
    assert plain < 0
    variance = centred @ centred / 8 + 2 * 0.5 * centred[1:] @ centred[:-1] / 8
    assert test_result.statistic == pytest.approx(d.mean() / math.sqrt(variance / 8) * math.sqrt((9 - 4 + 2 / 8) / 8))


def test_equal_forecasts_are_seldom_found_different() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(400, 83))
    overlapping = noise[:, 3:] + noise[:, 2:-1] + noise[:, 1:-2] + noise[:, :-3]  # as of 4 steps from every origin
    rejected = [diebold_mariano(row, np.zeros(80), overlap=4).p_value < 0.05 for row in overlapping]
    assert np.mean(rejected) < 0.10
    without_overlap = [diebold_mariano(row, np.zeros(80)).p_value < 0.05 for row in overlapping]
    assert np.mean(without_overlap) > 0.20  # what the overlap is for


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 1.0, 1.0, 1.0], [float("nan")] * 9])
def test_the_result_is_undefined_where_the_losses_do_not_vary_or_are_too_few(losses: list[float]) -> None:
    test_result = diebold_mariano(losses, [0.0] * len(losses))
    assert math.isnan(test_result.p_value)
    assert math.isnan(test_result.statistic)


def test_the_standard_error_without_correlation_is_that_of_independent_draws() -> None:
    inside = (np.random.default_rng(0).random(20_000) < 0.8).astype(float)
    assert standard_error(inside, np.arange(20_000), 1) == pytest.approx(np.sqrt(0.8 * 0.2 / 20_000), rel=0.01)


def test_series_that_share_every_shock_count_once_in_a_standard_error() -> None:
    inside = (np.random.default_rng(1).random(300) < 0.8).astype(float)
    once = standard_error(inside, np.arange(300), 6)
    assert standard_error(np.repeat(inside, 50), np.repeat(np.arange(300), 50), 6) == pytest.approx(once)


def test_the_standard_error_is_the_spread_of_the_mean_over_many_autocorrelated_histories() -> None:
    rng, weights = np.random.default_rng(2), np.ones(12) / np.sqrt(12)
    histories = np.stack([signal.convolve(rng.normal(size=1_011), weights, "valid") for _ in range(300)])
    estimates = [standard_error(history, np.arange(1_000), 24) for history in histories[:40]]
    assert np.mean(estimates) == pytest.approx(histories.mean(axis=1).std(), rel=0.2)
    assert np.mean(estimates) > 2.5 * np.std(histories[0]) / np.sqrt(1_000)


def test_missing_values_are_left_out_of_a_standard_error_and_without_any_value_it_is_nan() -> None:
    inside = np.array([1.0, 0.0, np.nan, 1.0, 1.0])
    alone = standard_error(inside[[0, 1, 3, 4]], np.array([0, 1, 3, 4]), 2)
    assert standard_error(inside, np.arange(5), 2) == alone > 0
    assert np.isnan(standard_error(np.array([np.nan]), np.array([3]), 2))


def test_standard_errors_of_coverage_are_those_of_each_interval_and_target(a_random_panel) -> None:
    panel = a_random_panel(4)
    values = np.stack([panel.reals["y0"], panel.reals["y1"]], axis=1)
    series, cutoff = np.repeat([1, 2], 10), np.tile(np.arange(20, 30), 2)
    rows = cutoff[:, None] + np.arange(3)
    actual = values[panel.indptr[series][:, None] + rows]
    quantiles = np.broadcast_to(np.array([5.0, 8.0, 10.0, 12.0, 15.0]), (20, 3, 2, 5))
    forecasts = Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=(0.1, 0.25, 0.5, 0.75, 0.9))
    errors = coverage_standard_errors(panel, forecasts)
    for y in range(2):
        assert list(errors[y]) == [0.8, 0.5]
        for share, (low, high) in {0.8: (5, 15), 0.5: (8, 12)}.items():
            inside = np.where(np.isnan(actual), np.nan, (low <= actual) & (actual <= high))[..., y]
            assert errors[y][share] == standard_error(inside.ravel(), rows.ravel(), 3) > 0
