from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, root_mean_squared_error
from torchmetrics.functional import mean_absolute_error as torch_mae
from torchmetrics.functional import mean_squared_error as torch_mse

from fusecast.evaluation.metrics import ScoreSums, central_intervals, median_of, score

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


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
    for number, level in enumerate(LEVELS):
        expected = mean_pinball_loss(y, f[:, number], alpha=level)
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
    own_scale = np.array([0.5, 1.0, 4.0])
    scores = score(quantiles, actual, LEVELS, np.repeat(own_scale[series][:, None], 2, axis=1))
    error = np.abs(actual - quantiles[..., 2])
    by_series = [error[series == s, :, 0].mean() / own_scale[s] for s in range(3)]
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


def test_a_missing_forecast_of_a_present_actual_is_not_overlooked() -> None:
    quantiles, actual, scale = a_case(missing=0.0)
    quantiles[0, 0, 0, :] = np.nan
    broken, sound = score(quantiles, actual, LEVELS, scale)
    assert all(math.isnan(value) for value in (broken.wql, broken.mae, broken.mase, broken.coverage[0.8]))
    assert math.isfinite(sound.wql)


def test_scores_without_any_actual_are_undefined_and_become_null() -> None:
    quantiles, actual, scale = a_case(targets=1)
    (scores,) = score(quantiles, np.full_like(actual, np.nan), LEVELS, scale)
    assert scores.count == 0
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["mae"] is None
    assert plain["quantile_risk"] == {"0.05": None, "0.1": None, "0.5": None, "0.9": None, "0.95": None}


def test_adding_in_pieces_equals_adding_at_once() -> None:
    quantiles, actual, scale = a_case()
    pieces = ScoreSums(LEVELS, 2)
    for start in range(0, 30, 7):
        part = slice(start, start + 7)
        pieces.add(quantiles[part], actual[part], scale[part])
    for a, b in zip(pieces.scores(), score(quantiles, actual, LEVELS, scale), strict=True):
        assert _close(a.to_dict(), b.to_dict())


def _close(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    return a is b if a is None else a == pytest.approx(b, rel=1e-12)


def test_groups_of_windows_and_of_steps_score_as_if_alone() -> None:
    quantiles, actual, scale = a_case()
    by_window = ScoreSums(LEVELS, 2, num_groups=3)
    by_window.add(quantiles, actual, scale, group=np.arange(30) % 3)
    by_step = ScoreSums(LEVELS, 2, num_groups=6)
    by_step.add(quantiles, actual, scale, group=np.broadcast_to(np.arange(6), (30, 6)))

    own = score(quantiles[1::3], actual[1::3], LEVELS, scale[1::3])
    assert _close(by_window.scores_of(1)[1].to_dict(), own[1].to_dict())
    own = score(quantiles[:, 4:5], actual[:, 4:5], LEVELS, scale)
    assert _close(by_step.scores_of(4)[0].to_dict(), own[0].to_dict())
    assert _close(by_step.scores()[0].to_dict(), score(quantiles, actual, LEVELS, scale)[0].to_dict())


def test_central_intervals_pair_levels_that_add_to_one() -> None:
    assert central_intervals((0.05, 0.1, 0.5, 0.9, 0.95)) == {0.9: (0, 4), 0.8: (1, 3)}
    assert central_intervals((0.1, 0.2, 0.5)) == {}


def test_the_median_lies_between_its_neighbours_where_it_is_not_a_level() -> None:
    quantiles = np.array([2.0, 6.0])
    assert median_of(quantiles, (0.4, 0.8)) == pytest.approx(3.0)
    assert median_of(quantiles, (0.6, 0.8)) == 2.0
    assert median_of(quantiles, (0.1, 0.3)) == 6.0
    assert median_of(quantiles, (0.1, 0.5)) == 6.0
