"""The Diebold-Mariano test: against scipy's t-test, a case solved by hand, and its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fusecast.evaluation.significance import diebold_mariano


def test_without_overlap_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2, size=40), rng.gamma(2.5, size=40)
    tested = diebold_mariano(first, second)
    expected = stats.ttest_rel(first, second)
    assert tested.statistic == pytest.approx(expected.statistic)
    assert tested.p_value == pytest.approx(expected.pvalue)
    assert tested.difference == pytest.approx((first - second).mean())


def test_with_overlap_it_is_the_case_solved_by_hand() -> None:
    # d = 1, 2, 0, 3, 4, 2: mean 2, centred -1, 0, -2, 1, 2, 0
    # g_0 = 10/6; g_1 = (0 + 0 - 2 + 2 + 0)/6 = 0; g_2 = (2 + 0 - 4 + 0)/6 = -2/6
    # h = 3: variance of the mean = (10/6 - 4/6)/6 = 1/6; DM = 2 * sqrt(6)
    # correction = (6 + 1 - 6 + 3 * 2 / 6) / 6 = 1/3
    tested = diebold_mariano([1.0, 2, 0, 3, 4, 2], np.zeros(6), overlap=3)
    assert tested.statistic == pytest.approx(2 * math.sqrt(6) * math.sqrt(1 / 3))
    assert tested.p_value == pytest.approx(2 * stats.t.sf(2 * math.sqrt(2), 5))


def test_a_variance_that_comes_out_negative_is_weighted_instead() -> None:
    d = np.array([1.0, -1, 1, -1, 1, -1, 1, -0.5])
    tested = diebold_mariano(d, np.zeros(8), overlap=2)
    centred = d - d.mean()
    plain = centred @ centred / 8 + 2 * centred[1:] @ centred[:-1] / 8
    assert plain < 0
    variance = centred @ centred / 8 + 2 * 0.5 * centred[1:] @ centred[:-1] / 8
    assert tested.statistic == pytest.approx(d.mean() / math.sqrt(variance / 8) * math.sqrt((9 - 4 + 2 / 8) / 8))


def test_equal_forecasts_are_seldom_found_different() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(400, 83))
    overlapping = noise[:, 3:] + noise[:, 2:-1] + noise[:, 1:-2] + noise[:, :-3]  # as of 4 steps from every origin
    found = [diebold_mariano(row, np.zeros(80), overlap=4).p_value < 0.05 for row in overlapping]
    assert np.mean(found) < 0.10
    careless = [diebold_mariano(row, np.zeros(80)).p_value < 0.05 for row in overlapping]
    assert np.mean(careless) > 0.20  # what the overlap is for


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 1.0, 1.0, 1.0], [float("nan")] * 9])
def test_nothing_is_said_where_nothing_can_be(losses: list[float]) -> None:
    tested = diebold_mariano(losses, [0.0] * len(losses))
    assert math.isnan(tested.p_value)
    assert math.isnan(tested.statistic)
