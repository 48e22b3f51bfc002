from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from fusecast.model.batch import example_batch
from fusecast.model.config import ModelConfig
from fusecast.model.losses import likelihood_loss, mean_sample_weight, quantile_loss

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


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("head", ["quantile", "normal"])
def test_sample_weights_count_as_in_a_sum_entry_by_entry(head: str, missing: float) -> None:
    config = ModelConfig(horizon=3, lookback=4, num_targets=2, observed_reals=2, head=head)
    batch = example_batch(config, 5, missing=missing, generator=torch.Generator().manual_seed(0))
    batch = batch._replace(sample_weight=torch.rand(5, 3), weight=torch.rand(5, 2))
    quantiles, log_prob = torch.randn(5, 3, 2, 3), torch.randn(5, 3, 2)
    total, counted, weights = 0.0, 0, 0.0
    for b, h, y in torch.cartesian_prod(torch.arange(5), torch.arange(3), torch.arange(2)).tolist():
        if missing and not batch.target_mask[b, h, y]:
            continue
        errors = [float(batch.weight[b, y] * (batch.target[b, h, y] - q)) for q in quantiles[b, h, y]]
        loss = sum(max(level * e, (level - 1) * e) for level, e in zip(LEVELS, errors, strict=True))
        if head == "normal":
            loss = -float(log_prob[b, h, y] * batch.weight[b, y])
        total, counted = total + float(batch.sample_weight[b, h]) * loss, counted + 1
        weights += float(batch.sample_weight[b, h])
    computed = (
        quantile_loss(quantiles, batch.target, batch.target_mask, LEVELS, batch.weight, batch.sample_weight)
        if head == "quantile"
        else likelihood_loss(log_prob, batch.target_mask, batch.weight, batch.sample_weight)
    )
    assert float(computed) == pytest.approx(total / counted, rel=1e-5)
    assert float(mean_sample_weight(batch)) == pytest.approx(weights / counted, rel=1e-5)
