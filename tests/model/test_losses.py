from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from fusecast.model.losses import quantile_loss

LEVELS = (0.1, 0.5, 0.9)
ALL = torch.zeros(1, 1, 0, dtype=torch.bool)


def forecast(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_loss_is_the_sum_over_levels_that_one_works_out_by_hand():
    # y = 2: 0.1 * (2 - 1) + 0 + (1 - 0.9) * (5 - 2)
    assert quantile_loss(forecast(1.0, 2.0, 5.0), torch.full((1, 1, 1), 2.0), ALL, LEVELS).item() == pytest.approx(0.4)


def test_loss_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    target, quantiles = torch.randn(5, 4, 2, generator=generator), torch.randn(5, 4, 2, 3, generator=generator)
    expected = sum(
        mean_pinball_loss(target.flatten().numpy(), quantiles[..., q].flatten().numpy(), alpha=level)
        for q, level in enumerate(LEVELS)
    )
    assert quantile_loss(quantiles, target, torch.zeros(5, 4, 0, dtype=torch.bool), LEVELS).item() == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.parametrize("hidden", [1e6, float("nan"), float("inf")])
def test_targets_that_do_not_count_leave_loss_and_gradient_alone(hidden):
    target = torch.tensor([[[1.0], [hidden], [3.0]]])
    mask = torch.tensor([[[True], [False], [True]]])
    quantiles = torch.zeros(1, 3, 1, 3, requires_grad=True)
    loss = quantile_loss(quantiles, target, mask, LEVELS)
    loss.backward()
    counted = quantile_loss(quantiles[:, ::2], target[:, ::2], torch.zeros(1, 2, 0, dtype=torch.bool), LEVELS)
    assert loss.item() == pytest.approx(counted.item())
    assert quantiles.grad[0, :, 0].tolist() == [pytest.approx([-q / 2 * used for q in LEVELS]) for used in (1, 0, 1)]


def test_loss_is_zero_with_a_gradient_of_zero_where_nothing_counts():
    quantiles = torch.randn(2, 3, 1, 3, requires_grad=True)
    loss = quantile_loss(quantiles, torch.randn(2, 3, 1), torch.zeros(2, 3, 1, dtype=torch.bool), LEVELS)
    loss.backward()
    assert loss.item() == 0
    assert not quantiles.grad.any()


def test_loss_of_half_precision_forecasts_is_computed_in_single_precision():
    loss = quantile_loss(forecast(1.0, 2.0, 5.0).bfloat16(), torch.full((1, 1, 1), 2.0), ALL, LEVELS)
    assert loss.dtype == torch.float32


def test_a_weight_makes_the_errors_of_a_window_count_more() -> None:
    generator = torch.Generator().manual_seed(0)
    quantiles, target = torch.randn(2, 3, 1, 3, generator=generator), torch.randn(2, 3, 1, generator=generator)
    nothing = torch.zeros(2, 3, 0, dtype=torch.bool)
    first, second = (
        quantile_loss(quantiles[i : i + 1], target[i : i + 1], nothing[:1], (0.1, 0.5, 0.9)) for i in (0, 1)
    )
    weighted = quantile_loss(quantiles, target, nothing, (0.1, 0.5, 0.9), torch.tensor([[3.0], [0.5]]))
    torch.testing.assert_close(weighted, (3 * first + 0.5 * second) / 2)
