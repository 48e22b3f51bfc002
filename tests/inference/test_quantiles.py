"""Quantiles never cross, any level can be had, and values find their level again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_pinball_loss

from fusecast.errors import ConfigError
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.quantiles import compute_median, find_levels, interpolate_quantiles, mix_quantiles

LEVELS = (0.1, 0.5, 0.8)
numbers = st.floats(-1e6, 1e6, allow_nan=False)
level_lists = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=7, unique=True).map(sorted)


def forecasts_of(quantiles: np.ndarray, levels=LEVELS) -> Forecasts:
    windows = len(quantiles)
    return Forecasts(
        series=np.zeros(windows, dtype=np.int64), cutoff=np.arange(windows), quantiles=quantiles, levels=tuple(levels)
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), level_lists)
def test_rearranging_crossed_quantiles_never_raises_the_pinball_loss(data, levels) -> None:
    crossed = data.draw(arrays(float, (4, 1, 1, len(levels)), elements=numbers))
    actual = data.draw(arrays(float, (4,), elements=numbers))
    rearranged = forecasts_of(crossed, levels).sorted().quantiles

    def loss(quantiles: np.ndarray) -> float:
        return sum(mean_pinball_loss(actual, quantiles[:, 0, 0, i], alpha=level) for i, level in enumerate(levels))

    assert (np.diff(rearranged, axis=-1) >= 0).all()
    assert loss(rearranged) <= loss(crossed) * (1 + 1e-9) + 1e-9


def test_rearranging_does_lower_the_loss_of_forecasts_that_cross() -> None:
    crossed = np.array([[[[3.0, 2.0, 1.0]]]])
    rearranged = forecasts_of(crossed).sorted().quantiles
    before, after = (
        sum(mean_pinball_loss([2.0], q[:, 0, 0, i], alpha=a) for i, a in enumerate(LEVELS))
        for q in (crossed, rearranged)
    )
    assert after < before


def test_levels_between_lie_on_lines_and_beyond_on_exponential_tails() -> None:
    quantiles = np.array([[[[0.0, 4.0, 10.0]]]])
    forecasts = forecasts_of(quantiles).at_levels((0.05, 0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.99)).quantiles[0, 0, 0]
    below = 0 + (4 / 0.4) * 0.1 * np.log(0.05 / 0.1)
    above = [10 - (6 / 0.3) * 0.2 * np.log((1 - p) / 0.2) for p in (0.9, 0.99)]
    np.testing.assert_allclose(forecasts, [below, 0, 2, 4, 7, 10, *above])


@settings(max_examples=100, deadline=None)
@given(st.data(), level_lists, level_lists)
def test_quantiles_of_any_levels_rise_and_those_that_were_forecast_do_not_change(data, levels, requested) -> None:
    quantiles = np.sort(data.draw(arrays(float, (3, 2, 1, len(levels)), elements=numbers)), axis=-1)
    all_levels = sorted({*levels, *(requested if len(levels) > 1 else ())})  # no others follow from a single one
    forecasts = forecasts_of(quantiles, levels).at_levels(all_levels)
    assert (np.diff(forecasts.quantiles, axis=-1) >= -1e-9 * (1 + np.abs(forecasts.quantiles[..., 1:]))).all()
    for i, level in enumerate(levels):
        np.testing.assert_array_equal(forecasts.quantiles[..., all_levels.index(level)], quantiles[..., i])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5))
def test_finding_levels_inverts_the_interpolation(seed: int, requested: list[float]) -> None:
    rng = np.random.default_rng(seed)
    quantiles = np.cumsum(rng.uniform(0.5, 2, size=(6, 3)), axis=-1)
    values = interpolate_quantiles(quantiles, LEVELS, np.asarray(requested))
    for i, level in enumerate(requested):
        np.testing.assert_allclose(find_levels(values[:, i], quantiles, LEVELS), level, atol=1e-9)


def test_the_level_of_equal_quantiles_is_the_middle_of_theirs_and_of_a_missing_value_missing() -> None:
    quantiles = np.array([[0.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    np.testing.assert_allclose(find_levels(np.array([0.0, 1.0, np.nan]), quantiles, LEVELS), [0.3, 0.45, np.nan])
    np.testing.assert_array_equal(find_levels(np.array([-1.0, 5.0]), quantiles[:2], LEVELS)[1], 1.0)


def test_the_lower_tail_ends_at_the_lowest_value_there_is() -> None:
    quantiles = np.array([[[[1.0, 4.0, 10.0]]], [[[-2.0, 0.0, 1.0]]]])
    free, bounded = (
        replace(forecasts_of(quantiles), lowest=lowest).at_levels((0.001, 0.1)).quantiles
        for lowest in (None, np.array([-2.0]))
    )
    assert free[0, 0, 0, 0] < -2 < bounded[1, 0, 0, 1] + 1e-9
    np.testing.assert_array_equal(bounded, np.maximum(free, -2.0))


@pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_invalid_levels_are_refused(levels) -> None:
    with pytest.raises(ConfigError, match="quantiles must increase"):
        forecasts_of(np.zeros((1, 1, 1, 3))).at_levels(levels)


def test_the_median_lies_between_its_neighbours_where_it_is_not_a_level() -> None:
    quantiles = np.array([2.0, 6.0])
    assert compute_median(quantiles, (0.4, 0.8)) == pytest.approx(3.0)
    assert compute_median(quantiles, (0.6, 0.8)) == 2.0
    assert compute_median(quantiles, (0.1, 0.3)) == 6.0
    assert compute_median(quantiles, (0.1, 0.5)) == 6.0


def slow_mixture(parts: list[np.ndarray], levels: list[float]) -> np.ndarray:
    """Return the quantiles of a mixture of rising quantiles [Q] without ties, by its distribution function."""

    def height(value: float, part: np.ndarray) -> float:
        if value < part[0]:
            slope = (part[1] - part[0]) / (levels[1] - levels[0])
            return levels[0] * float(np.exp((value - part[0]) / (slope * levels[0])))
        if value > part[-1]:
            slope, rest = (part[-1] - part[-2]) / (levels[-1] - levels[-2]), 1 - levels[-1]
            return 1 - rest * float(np.exp(-(value - part[-1]) / (slope * rest)))
        return float(np.interp(value, part, levels))

    knots = sorted(value for part in parts for value in part)
    heights = [sum(height(value, part) for part in parts) / len(parts) for value in knots]
    return np.interp(levels, heights, knots)


def are_apart(levels: list[float]) -> bool:
    """Return whether there are several levels, and none next to each other that rounding would exchange."""
    return len(levels) > 1 and min(np.diff(levels)) > 1e-6


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), level_lists.filter(are_apart), st.integers(1, 4))
def test_a_mixture_has_the_mean_of_the_distribution_functions(seed, levels, members) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        np.cumsum(rng.uniform(0.01, 2, (3, 2, len(levels))), axis=-1) + rng.normal(0, 5, (3, 2, 1))
        for _ in range(members)
    ]  # fmt: skip
    mixture = mix_quantiles(parts, levels)
    for row in np.ndindex(3, 2):
        expected = slow_mixture([part[row] for part in parts], levels)
        np.testing.assert_allclose(mixture[row], expected, rtol=1e-6, atol=1e-6)
    assert (np.diff(mixture, axis=-1) >= 0).all()
    np.testing.assert_allclose(mix_quantiles(parts[::-1], levels), mixture, rtol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.data(), level_lists, st.integers(1, 3))
def test_a_mixture_of_equal_parts_is_each_of_them_and_never_leaves_their_range(data, levels, members) -> None:
    parts = [np.sort(data.draw(arrays(float, (4, len(levels)), elements=numbers)), axis=-1) for _ in range(2)]
    tied = np.maximum(parts[0], 0.0)
    slack = 1e-9 * (1 + np.abs(parts).max())  # levels are rounded, and values between far quantiles with them
    for part in (parts[0], tied):
        np.testing.assert_allclose(mix_quantiles([part] * members, levels), part, rtol=1e-9, atol=slack)
    mixture = mix_quantiles([*parts, tied], levels)
    lowest, highest = np.minimum(*parts), np.maximum(np.maximum(*parts), tied)
    assert (mixture >= lowest - slack).all()
    assert (mixture <= highest + slack).all()


def test_a_mixture_is_wider_where_its_parts_disagree_and_many_values_are_mixed_in_pieces() -> None:
    near = np.array([[-1.0, 0.0, 0.6]])
    mixture = mix_quantiles([near - 5, near + 5], LEVELS)
    assert mixture[0, [0, 2]] == pytest.approx([-5.8, 5.3], abs=0.3)
    many = np.sort(np.random.default_rng(0).normal(size=(2, 40_000, 3)), axis=-1)
    whole = mix_quantiles(list(many), LEVELS)
    for rows in (slice(16_380, 16_390), slice(39_990, None)):
        np.testing.assert_array_equal(whole[rows], mix_quantiles([part[rows] for part in many], LEVELS))
    assert mix_quantiles([many[0, :0], many[1, :0]], LEVELS).shape == (0, 3)
