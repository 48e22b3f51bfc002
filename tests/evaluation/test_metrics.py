"""Scores: against cases solved by hand, scikit-learn, torchmetrics, utilsforecast and scoringrules."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
import scoringrules
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, root_mean_squared_error
from torchmetrics.functional import mean_absolute_error as torch_mae
from torchmetrics.functional import mean_squared_error as torch_mse
from torchmetrics.functional import symmetric_mean_absolute_percentage_error
from utilsforecast.losses import rmsse as utils_rmsse
from utilsforecast.losses import smape as utils_smape

from fusecast.evaluation.actuals import seasonal_error
from fusecast.evaluation.metrics import ScoreSums, central_intervals, compute_errors, level_weights, score

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
THREE_LEVELS = (0.1, 0.5, 0.9)


def a_case(seed: int = 0, windows: int = 30, horizon: int = 6, targets: int = 2, missing: float = 0.2):
    rng = np.random.default_rng(seed)
    actual = rng.normal(3, 2, size=(windows, horizon, targets))
    quantiles = np.sort(rng.normal(3, 2, size=(windows, horizon, targets, len(LEVELS))), axis=-1)
    actual[rng.random(actual.shape) < missing] = np.nan
    scale = rng.uniform(0.5, 2, size=(windows, targets))
    return quantiles, actual, scale


def test_scores_of_a_case_solved_by_hand() -> None:
    quantiles = np.array([[[[8.0, 10.0, 12.0]], [[16.0, 20.0, 24.0]]]])  # one window, two steps, one target
    actual = np.array([[[11.0], [30.0]]])
    (scores,) = score(quantiles, actual, (0.1, 0.5, 0.9), error_scale=np.array([[2.0]]))

    assert scores.count == 2
    # errors of the median: 1 and 10
    assert scores.mae == pytest.approx(5.5)
    assert scores.rmse == pytest.approx(math.sqrt(101 / 2))
    assert scores.mase == pytest.approx((1 / 2 + 10 / 2) / 2)
    # pinball of level 0.1: 0.1 * 3 and 0.1 * 14; of 0.9: 0.1 * 1 (forecast above) and 0.9 * 6
    assert scores.pinball == pytest.approx({0.1: 0.85, 0.5: 2.75, 0.9: 2.75})
    assert scores.mean_pinball == pytest.approx((0.85 + 2.75 + 2.75) / 3)
    assert scores.quantile_risk == pytest.approx({0.1: 2 * 1.7 / 41, 0.5: 2 * 5.5 / 41, 0.9: 2 * 5.5 / 41})
    assert scores.wql == pytest.approx(2 * (1.7 + 5.5 + 5.5) / 3 / 41)
    assert scores.coverage == {0.8: 0.5}
    assert scores.width == {0.8: 6.0}


@pytest.mark.parametrize("target", [0, 1])
def test_scores_agree_with_scikit_learn_and_torchmetrics(target: int) -> None:
    quantiles, actual, _ = a_case()
    scores = score(quantiles, actual, LEVELS)[target]
    present = ~np.isnan(actual[..., target])
    y, f = actual[..., target][present], quantiles[..., target, :][present]

    assert scores.count == len(y)
    for i, level in enumerate(LEVELS):
        expected = mean_pinball_loss(y, f[:, i], alpha=level)
        assert scores.pinball[level] == pytest.approx(expected, rel=1e-12)
        assert scores.quantile_risk[level] == pytest.approx(2 * expected / np.abs(y).mean(), rel=1e-12)
    assert scores.mae == pytest.approx(mean_absolute_error(y, f[:, 2]), rel=1e-12)
    assert scores.rmse == pytest.approx(root_mean_squared_error(y, f[:, 2]), rel=1e-12)
    median, truth = torch.tensor(f[:, 2].copy()), torch.tensor(y)
    assert scores.mae == pytest.approx(float(torch_mae(median, truth)), rel=1e-9)
    assert scores.rmse**2 == pytest.approx(float(torch_mse(median, truth)), rel=1e-9)
    assert scores.coverage[0.9] == pytest.approx(np.mean((f[:, 0] <= y) & (y <= f[:, 4])))
    assert scores.width[0.8] == pytest.approx(np.mean(f[:, 3] - f[:, 1]))


def test_mase_is_the_mean_of_the_series_own_when_they_have_equally_many_actuals() -> None:
    quantiles, actual, _ = a_case(missing=0.0)
    series = np.arange(30) % 3
    series_scale = np.array([0.5, 1.0, 4.0])
    scores = score(quantiles, actual, LEVELS, np.repeat(series_scale[series][:, None], 2, axis=1))
    error = np.abs(actual - quantiles[..., 2])
    by_series = [error[series == s, :, 0].mean() / series_scale[s] for s in range(3)]
    assert scores[0].mase == pytest.approx(np.mean(by_series))


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_mase_leaves_out_a_series_without_a_scale(bad: float) -> None:
    quantiles, actual, scale = a_case()
    scale[:10] = bad
    without = score(quantiles[10:], actual[10:], LEVELS, scale[10:])
    assert score(quantiles, actual, LEVELS, scale)[1].mase == pytest.approx(without[1].mase)


def test_missing_actuals_count_nowhere() -> None:
    quantiles, actual, scale = a_case(missing=0.0)
    hole = actual.copy()
    hole[3:, :, :] = np.nan
    assert score(quantiles, hole, LEVELS, scale) == score(quantiles[:3], actual[:3], LEVELS, scale[:3])


def test_a_missing_forecast_of_a_present_actual_makes_the_scores_nan() -> None:
    quantiles, actual, scale = a_case(missing=0.0)
    quantiles[0, 0, 0, :] = np.nan
    with_nan, complete = score(quantiles, actual, LEVELS, scale)
    assert all(math.isnan(value) for value in (with_nan.wql, with_nan.mae, with_nan.mase, with_nan.coverage[0.8]))
    assert math.isfinite(complete.wql)


def test_sums_without_any_window_have_undefined_scores() -> None:
    first, second = ScoreSums(LEVELS, 2).scores()
    assert first == second
    assert first.count == 0
    assert math.isnan(first.wql)
    assert list(first.quantile_risk) == list(LEVELS)
    assert list(first.coverage) == [0.9, 0.8]


def test_scores_print_in_one_line_without_the_values_of_every_level() -> None:
    text = repr(score(*a_case()[:2], LEVELS)[0])
    assert text.startswith("Scores(count=")
    assert "wql=" in text
    assert "0.95" not in text


def test_scores_without_any_actual_are_undefined_and_become_null() -> None:
    quantiles, actual, scale = a_case(targets=1)
    (scores,) = score(quantiles, np.full_like(actual, np.nan), LEVELS, scale)
    assert scores.count == 0
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["mae"] is None
    assert plain["quantile_risk"] == {"0.05": None, "0.1": None, "0.5": None, "0.9": None, "0.95": None}


def test_adding_in_chunks_equals_adding_at_once() -> None:
    quantiles, actual, scale = a_case()
    sums = ScoreSums(LEVELS, 2)
    for start in range(0, 30, 7):
        chunk = slice(start, start + 7)
        sums.add(compute_errors(quantiles[chunk], actual[chunk], LEVELS, scale[chunk]))
    for a, b in zip(sums.scores(), score(quantiles, actual, LEVELS, scale), strict=True):
        assert _close(a.to_dict(), b.to_dict())


def _close(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    return a is b if a is None else a == pytest.approx(b, rel=1e-12)


def test_groups_of_windows_and_of_steps_score_as_if_alone() -> None:
    quantiles, actual, scale = a_case()
    by_window = ScoreSums(LEVELS, 2, num_groups=3)
    errors = compute_errors(quantiles, actual, LEVELS, scale)
    by_window.add(errors, np.arange(30) % 3)
    by_step = ScoreSums(LEVELS, 2, num_groups=6)
    by_step.add(errors, np.broadcast_to(np.arange(6), (30, 6)))

    alone = score(quantiles[1::3], actual[1::3], LEVELS, scale[1::3])
    assert _close(by_window.scores(1)[1].to_dict(), alone[1].to_dict())
    alone = score(quantiles[:, 4:5], actual[:, 4:5], LEVELS, scale)
    assert _close(by_step.scores(4)[0].to_dict(), alone[0].to_dict())


def test_central_intervals_pair_levels_that_add_to_one() -> None:
    assert central_intervals((0.05, 0.1, 0.5, 0.9, 0.95)) == {0.9: (0, 4), 0.8: (1, 3)}
    assert central_intervals((0.1, 0.2, 0.5)) == {}


def test_bias_smape_and_calibration_of_a_case_solved_by_hand() -> None:
    quantiles = np.array([[[[8.0, 10.0, 12.0]], [[16.0, 20.0, 24.0]], [[-1.0, 0.0, 1.0]]]])
    actual = np.array([[[11.0], [30.0], [0.0]]])
    (scores,) = score(quantiles, actual, THREE_LEVELS)
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
    (scores,) = score(quantiles, actual, THREE_LEVELS)
    median, truth = torch.tensor(quantiles[..., 1]), torch.tensor(actual)
    assert scores.smape == pytest.approx(float(symmetric_mean_absolute_percentage_error(median, truth)), rel=1e-6)
    frame = pl.DataFrame({"unique_id": ["a"] * 80, "y": actual.ravel(), "m": quantiles[..., 1].ravel()})
    assert scores.smape == pytest.approx(2 * utils_smape(frame, models=["m"])["m"][0], rel=1e-9)


def test_rmsse_of_a_series_agrees_with_utilsforecast(panel_of) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=60)
    panel = panel_of(y)
    square = seasonal_error(panel, np.array([50]), 7, power=2)
    quantiles = np.sort(rng.normal(size=(2, 5, 1, 3)), axis=-1)
    actual = y[50:].reshape(2, 5, 1)
    (scores,) = score(quantiles, actual, THREE_LEVELS, square_scale=np.repeat(square, 2, axis=0))
    train = pl.DataFrame({"unique_id": ["a"] * 50, "ds": range(50), "y": y[:50]})
    frame = pl.DataFrame({"unique_id": ["a"] * 10, "ds": range(50, 60), "y": y[50:], "m": quantiles[..., 1].ravel()})
    assert scores.rmsse == pytest.approx(utils_rmsse(frame, models=["m"], seasonality=7, train_df=train)["m"][0])


def test_weights_of_levels_are_the_shares_nearest_to_them() -> None:
    np.testing.assert_allclose(level_weights(THREE_LEVELS), [0.3, 0.4, 0.3])
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
    right = np.broadcast_to(stats.norm.ppf(THREE_LEVELS), (20_000, 1, 1, 3))
    assert all(bar.density == pytest.approx(1, abs=0.06) for bar in score(right, actual, THREE_LEVELS)[0].pit())
    narrow = score(right / 2, actual, THREE_LEVELS)[0].pit()
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
    sums = ScoreSums(THREE_LEVELS, 2, groups)
    sums.add(compute_errors(quantiles, actual, THREE_LEVELS, scale, scale**2), group)
    columns = sums.columns()
    for g in range(groups):
        for y, scores in enumerate(sums.scores(g)):
            for name in ("count", "wql", "crps", "mae", "rmse", "bias", "smape", "mase", "rmsse"):
                np.testing.assert_equal(float(columns[name][g, y]), float(getattr(scores, name)))
            np.testing.assert_equal(columns["coverage"][g, y], list(scores.coverage.values()))
            mine = np.where(group == g, actual[..., y], np.nan)[..., None]
            np.testing.assert_allclose(scores.mae, score(quantiles[:, :, [y]], mine, THREE_LEVELS)[0].mae)
