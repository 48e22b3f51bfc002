"""Sample paths: each step distributed as forecast, the steps dependent on one another as in the past."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fusecast.errors import ConfigError, DataError
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.sample_paths import StepDependence, sample_paths

LEVELS = tuple(np.round(np.arange(0.05, 1, 0.05), 2))
HORIZON = 4


def past(windows: int = 4000, carry: float = 0.8, seed: int = 0) -> tuple[Forecasts, np.ndarray]:
    """Forecasts that are right step by step, of outcomes whose steps are correlated like an AR(1)."""
    rng = np.random.default_rng(seed)
    noise = np.empty((windows, HORIZON))
    noise[:, 0] = rng.normal(size=windows)
    for h in range(1, HORIZON):
        noise[:, h] = carry * noise[:, h - 1] + np.sqrt(1 - carry**2) * rng.normal(size=windows)
    center = rng.normal(0, 10, size=(windows, 1))
    quantiles = center[..., None, None] + np.broadcast_to(stats.norm.ppf(LEVELS), (windows, HORIZON, 1, len(LEVELS)))
    forecasts = Forecasts(
        series=np.zeros(windows, dtype=np.int64), cutoff=np.arange(windows), quantiles=quantiles, levels=LEVELS
    )
    return forecasts, (center + noise)[..., None]


def select_windows(forecasts: Forecasts, windows: list[int]) -> Forecasts:
    return Forecasts(
        series=forecasts.series[windows],
        cutoff=forecasts.cutoff[windows],
        quantiles=forecasts.quantiles[windows],
        levels=forecasts.levels,
    )


@pytest.mark.parametrize("method", ["gaussian", "empirical"])
def test_the_steps_of_samples_are_dependent_as_in_the_past_and_keep_the_quantiles_of_each_step(method: str) -> None:
    forecasts, actual = past()
    dependence = StepDependence.fit(forecasts, actual)
    paths = sample_paths(select_windows(forecasts, [7]), dependence, 4000, method=method)[:, 0, :, 0]
    expected = 0.8 ** np.abs(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)))
    np.testing.assert_allclose(stats.spearmanr(paths).statistic, 6 / np.pi * np.arcsin(expected / 2), atol=0.04)
    quantiles = np.quantile(paths, LEVELS, axis=0).T
    np.testing.assert_allclose(quantiles, forecasts.quantiles[7, :, 0], atol=0.12)
    # what dependence is for: the sum of the steps is as wide as it should be
    assert paths.sum(axis=1).std() == pytest.approx(np.sqrt(expected.sum()), rel=0.06)


def test_independent_samples_are_uncorrelated_and_their_sum_is_too_narrow() -> None:
    forecasts, actual = past()
    dependence = StepDependence.fit(forecasts, actual)
    paths = sample_paths(select_windows(forecasts, [7]), dependence, 4000, method="independent")[:, 0, :, 0]
    assert np.abs(np.corrcoef(paths.T) - np.eye(HORIZON)).max() < 0.06
    assert paths.sum(axis=1).std() < 0.75 * np.sqrt(4 + 6 * 0.8 + 4 * 0.64 + 2 * 0.512)


def test_the_correlation_is_that_of_normal_scores_drawn_towards_independence() -> None:
    forecasts, actual = past(windows=50)
    dependence = StepDependence.fit(forecasts, actual)
    scores = stats.norm.ppf((stats.rankdata(actual[..., 0] - forecasts.quantiles[..., 0, 9], axis=0) - 0.5) / 50)
    expected = np.corrcoef(scores.T) * 50 / 54
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(dependence.correlation(), expected, atol=1e-6)


def test_few_windows_still_give_a_correlation_that_can_be_drawn_from() -> None:
    forecasts, actual = past(windows=12)
    correlation = StepDependence.fit(forecasts, np.repeat(actual[:, :1], HORIZON, axis=1)).correlation()
    assert np.linalg.eigvalsh(correlation).min() > 0


def test_the_same_seed_draws_the_same_paths_and_another_others() -> None:
    forecasts, actual = past(windows=40)
    dependence = StepDependence.fit(forecasts, actual)
    first, again, other = (
        sample_paths(select_windows(forecasts, [0, 1]), dependence, 5, seed=seed) for seed in (1, 1, 2)
    )
    assert first.shape == (5, 2, HORIZON, 1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_windows_with_a_hole_are_left_out_and_too_few_are_refused() -> None:
    forecasts, actual = past(windows=30)
    actual[:15, 2] = np.nan
    assert len(StepDependence.fit(forecasts, actual).levels) == 15
    actual[:25, 2] = np.nan
    with pytest.raises(DataError, match="5 windows"):
        StepDependence.fit(forecasts, actual)
    dependence = StepDependence(levels=np.full((10, HORIZON), 0.5))
    with pytest.raises(ConfigError, match="method cannot be 'normal'"):
        sample_paths(forecasts, dependence, 3, method="normal")
    with pytest.raises(ConfigError, match="count must be at least 1"):
        sample_paths(forecasts, dependence, 0)
