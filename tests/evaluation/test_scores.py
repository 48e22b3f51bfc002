"""The scores that go beyond the paper's, each held against a library or a case solved by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scoringrules
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional import symmetric_mean_absolute_percentage_error
from utilsforecast.losses import rmsse as utils_rmsse
from utilsforecast.losses import smape as utils_smape

from fusecast.evaluation.metrics import ScoreSums, errors_of, level_weights, score
from fusecast.evaluation.seasonal_error import seasonal_square

LEVELS = (0.1, 0.5, 0.9)


def test_bias_smape_and_calibration_of_a_case_solved_by_hand() -> None:
    quantiles = np.array([[[[8.0, 10.0, 12.0]], [[16.0, 20.0, 24.0]], [[-1.0, 0.0, 1.0]]]])
    actual = np.array([[[11.0], [30.0], [0.0]]])
    (scores,) = score(quantiles, actual, LEVELS)
    assert scores.bias == pytest.approx((-1 - 10 + 0) / 3)
    assert scores.smape == pytest.approx((2 * 1 / 21 + 2 * 10 / 50 + 0) / 3)
    assert scores.calibration == pytest.approx({0.1: 0.0, 0.5: 1 / 3, 0.9: 2 / 3})
    shares = [(bar.lower, bar.upper, round(bar.share, 9)) for bar in scores.pit()]
    assert shares == [
        (0.0, 0.1, 0.0),
        (0.1, 0.5, round(1 / 3, 9)),
        (0.5, 0.9, round(1 / 3, 9)),
        (0.9, 1.0, round(1 / 3, 9)),
    ]


def test_smape_agrees_with_torchmetrics_and_utilsforecast() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(5, 3, size=(20, 4, 1))
    quantiles = np.sort(rng.normal(5, 3, size=(20, 4, 1, 3)), axis=-1)
    (scores,) = score(quantiles, actual, LEVELS)
    median, truth = torch.tensor(quantiles[..., 1]), torch.tensor(actual)
    assert scores.smape == pytest.approx(float(symmetric_mean_absolute_percentage_error(median, truth)), rel=1e-6)
    frame = pl.DataFrame({"unique_id": ["a"] * 80, "y": actual.ravel(), "m": quantiles[..., 1].ravel()})
    assert scores.smape == pytest.approx(2 * utils_smape(frame, models=["m"])["m"][0], rel=1e-9)


def test_rmsse_of_a_series_agrees_with_utilsforecast(panel_of) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    panel = panel_of(y)
    square = seasonal_square(panel, np.array([50]), 7)
    quantiles = np.sort(rng.normal(size=(2, 5, 1, 3)), axis=-1)
    actual = y[50:].reshape(2, 5, 1)
    (scores,) = score(quantiles, actual, LEVELS, square_scale=np.repeat(square, 2, axis=0))
    train = pl.DataFrame({"unique_id": ["a"] * 50, "ds": range(50), "y": y[:50]})
    frame = pl.DataFrame({"unique_id": ["a"] * 10, "ds": range(50, 60), "y": y[50:], "m": quantiles[..., 1].ravel()})
    assert scores.rmsse == pytest.approx(utils_rmsse(frame, models=["m"], seasonality=7, train_df=train)["m"][0])


def test_weights_of_levels_are_the_shares_nearest_to_them() -> None:
    np.testing.assert_allclose(level_weights(LEVELS), [0.3, 0.4, 0.3])
    np.testing.assert_allclose(level_weights((np.arange(7) + 0.5) / 7), np.full(7, 1 / 7))


def test_crps_agrees_with_scoringrules_on_even_levels_and_with_the_normal_law_on_many() -> None:
    rng = np.random.default_rng(2)
    levels = (np.arange(400) + 0.5) / 400
    mean, spread = rng.normal(size=(30, 1, 1)), rng.uniform(0.5, 2, size=(30, 1, 1))
    actual = rng.normal(size=(30, 1, 1))
    quantiles = mean[..., None] + spread[..., None] * stats.norm.ppf(levels)
    (scores,) = score(quantiles, actual, levels)
    expected = scoringrules.crps_quantile(actual.ravel(), quantiles.reshape(30, -1), levels).mean()
    assert scores.crps == pytest.approx(expected, rel=1e-10)
    exact = scoringrules.crps_normal(actual.ravel(), mean.ravel(), spread.ravel()).mean()
    assert scores.crps == pytest.approx(exact, rel=2e-3)


def test_calibrated_forecasts_have_a_flat_pit_histogram_and_others_do_not() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(size=(20_000, 1, 1))
    right = np.broadcast_to(stats.norm.ppf(LEVELS), (20_000, 1, 1, 3))
    assert all(bar.density == pytest.approx(1, abs=0.06) for bar in score(right, actual, LEVELS)[0].pit())
    narrow = score(right / 2, actual, LEVELS)[0].pit()
    assert narrow[0].density > 2
    assert narrow[-1].density > 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 6))
def test_scores_of_all_groups_in_columns_are_those_of_each_group(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=(15, 3, 2))
    actual[rng.random(actual.shape) < 0.3] = np.nan
    quantiles = np.sort(rng.normal(size=(15, 3, 2, 3)), axis=-1)
    scale = rng.uniform(0.5, 2, size=(15, 2))
    group = rng.integers(0, groups, size=(15, 3))
    sums = ScoreSums(LEVELS, 2, groups)
    sums.add_errors(errors_of(quantiles, actual, LEVELS, scale, scale**2), group)
    columns = sums.columns()
    for g in range(groups):
        for y, scores in enumerate(sums.scores_of(g)):
            for name in ("count", "wql", "crps", "mae", "rmse", "bias", "smape", "mase", "rmsse"):
                np.testing.assert_equal(float(columns[name][g, y]), float(getattr(scores, name)))
            np.testing.assert_equal(columns["coverage"][g, y], list(scores.coverage.values()))
            mine = np.where(group == g, actual[..., y], np.nan)[..., None]
            np.testing.assert_allclose(scores.mae, score(quantiles[:, :, [y]], mine, LEVELS)[0].mae)
