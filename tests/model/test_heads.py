"""Heads within the network: what comes out, with which gradients, and what likelihoods do with masks and weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.helpers.networks import FULL, as_dtype, build_network, draw_batch

from fusecast.errors import ConfigError
from fusecast.model.config import HEADS, ModelConfig
from fusecast.model.heads import DistributionHead, QuantileHead
from fusecast.model.losses import likelihood_loss

DISTRIBUTIONS = HEADS[1:]
WIDTHS = {"normal": 2, "student_t": 3, "negative_binomial": 2, "tweedie": 2}


def config_with(head: str, **options: object) -> ModelConfig:
    return replace(FULL, head=head, num_targets=2, **options)


def draw_counts(config: ModelConfig, *, missing: float = 0.0):
    """A batch whose targets are whole numbers around 20."""
    batch = draw_batch(config, missing=missing)
    scale, center = torch.full_like(batch.scale, 4.0), torch.full_like(batch.center, 20.0)
    target = ((batch.target * 4).round() * 1.0) / 4
    return batch._replace(scale=scale, center=center, target=target)


@pytest.mark.parametrize("head", DISTRIBUTIONS)
def test_a_distribution_gives_its_parameters_and_its_quantiles(head: str) -> None:
    config = config_with(head)
    network, batch = build_network(config).eval(), draw_counts(config)
    output = network(batch)
    assert isinstance(network.head, DistributionHead)
    assert output.quantiles.shape == (3, 4, 2, 3)
    assert output.parameters.shape == (3, 4, 2, WIDTHS[head])
    assert (output.quantiles.diff() >= 0).all()
    assert network(batch, ()).quantiles.shape == (3, 4, 2, 0)
    wide = network(batch, (0.01, *config.quantiles, 0.99)).quantiles
    torch.testing.assert_close(wide[..., 1:-1], output.quantiles, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(batch, ()).parameters, output.parameters)


@pytest.mark.parametrize("head", DISTRIBUTIONS)
@pytest.mark.parametrize("broken", [math.inf, math.nan])
@pytest.mark.parametrize("parameter", [0, 1])
def test_parameters_that_are_not_finite_give_no_forecast(head: str, broken: float, parameter: int) -> None:
    config = config_with(head)
    network, batch = build_network(config).eval(), draw_counts(config)
    with torch.no_grad():
        network.head.projection.bias[parameter] = broken  # of the first target
        for levels in (None, (0.01, 0.99)):
            quantiles = network(batch, levels).quantiles
            assert quantiles[:, :, 0].isnan().all()
            assert quantiles[:, :, 1].isfinite().all()


def test_a_head_of_quantiles_has_no_parameters_and_levels_of_its_own() -> None:
    network, batch = build_network(FULL).eval(), draw_batch(FULL)
    assert isinstance(network.head, QuantileHead)
    assert network(batch).parameters.shape == (3, 4, 1, 0)
    with pytest.raises(ConfigError, match=r"only the levels that it was trained for\nHint: interpolate"):
        network(batch, (0.2, 0.8))


def test_what_is_stored_does_not_depend_on_levels() -> None:
    for head in DISTRIBUTIONS:
        few, many = (build_network(config_with(head, quantiles=q)) for q in ((0.5,), (0.1, 0.2, 0.5, 0.99)))
        many.load_state_dict(few.state_dict())  # tables are rebuilt, and are not part of the weights
        assert set(few.head.state_dict()) == {"projection.weight", "projection.bias"}


@pytest.mark.parametrize("head", DISTRIBUTIONS)
def test_missing_targets_and_padding_never_reach_the_loss(head: str) -> None:
    config = config_with(head)
    network, batch = build_network(config), draw_counts(config, missing=0.3)
    gradients = []
    for value in (0.0, 1e6):
        changed = batch._replace(target=batch.target.masked_fill(~batch.target_mask, value))
        network.zero_grad()
        actual = network.head.log_prob(network(batch, ()).parameters, changed.target, batch.center, batch.scale)
        loss = likelihood_loss(actual, batch.target_mask, torch.full_like(batch.center, 0.7))
        loss.backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None] + [loss.detach()])
    assert all(gradient.isfinite().all() for gradient in gradients[0])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("head", DISTRIBUTIONS)
def test_half_precision_around_the_head_changes_nothing_within_it(head: str) -> None:
    config = config_with(head)
    network, batch = build_network(config).float().eval(), draw_counts(config)
    batch = as_dtype(batch, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(batch)
        score = network.head.log_prob(half.parameters, batch.target, batch.center, batch.scale)
    full = network(batch)
    assert half.quantiles.dtype == torch.float32
    torch.testing.assert_close(half.quantiles, full.quantiles, rtol=0.05, atol=0.3)
    exact = network.head.log_prob(half.parameters, batch.target, batch.center, batch.scale)
    torch.testing.assert_close(score, exact)


class HeadOnly(torch.nn.Module):
    """A head without the network before it."""

    def __init__(self, head: DistributionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: torch.Tensor, center: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.head.forecast(x, center, scale)[0]


@pytest.mark.parametrize("head", ["normal", "student_t", "tweedie"])
def test_distributions_of_real_numbers_can_be_exported(head: str) -> None:
    config = config_with(head)
    head_only, batch = HeadOnly(build_network(config).head), draw_counts(config)
    inputs = torch.randn(3, 4, config.hidden_size, dtype=torch.float64), batch.center, batch.scale
    exported = torch.export.export(head_only, inputs).module()
    torch.testing.assert_close(exported(*inputs), head_only(*inputs))


def test_a_likelihood_averages_what_counts_by_its_weight() -> None:
    log_prob = torch.tensor([[[-1.0], [-2.0]], [[-4.0], [-8.0]]])
    everything = torch.zeros(2, 2, 0, dtype=torch.bool)
    assert likelihood_loss(log_prob, everything).item() == pytest.approx(15 / 4)
    mask = torch.tensor([[[True], [False]], [[True], [True]]])
    assert likelihood_loss(log_prob, mask).item() == pytest.approx(13 / 3)
    weight = torch.tensor([[2.0], [0.5]])
    assert likelihood_loss(log_prob, mask, weight).item() == pytest.approx((2 + 2 + 4) / 3)
    assert likelihood_loss(log_prob, mask & False).item() == 0


def test_impossible_heads_are_errors_in_words() -> None:
    with pytest.raises(ConfigError, match=r"head cannot be 'student'\nHint: did you mean 'student_t'"):
        replace(FULL, head="student")
    with pytest.raises(ConfigError, match=r"tweedie_power must lie in \[1.1, 1.9\], not 2"):
        replace(FULL, head="tweedie", tweedie_power=2.0)


@pytest.mark.parametrize("head", DISTRIBUTIONS)
def test_a_distribution_learns_what_it_was_drawn_from(head: str) -> None:
    """Maximum likelihood over one vector of numbers for all: the parameters that the data were sample with."""
    network = build_network(replace(config_with(head), num_targets=1))
    distribution, n = network.head.distribution, 4000
    torch.manual_seed(0)
    sample, truth = DRAWS[head](n)
    center, scale = sample.mean(), sample.std()
    raw = torch.zeros(len(distribution.parameter_names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        parameters = distribution.constrain(raw.expand(n, -1), center, scale)
        actual = -distribution.log_prob(parameters, (sample - center) / scale, center, scale).mean()
        actual.backward()
        return actual

    optimizer.step(loss)
    actual = distribution.constrain(raw.detach(), center, scale)
    if head in ("normal", "student_t"):  # in scaled units
        actual = torch.cat(((actual[:1] * scale + center), actual[1:2] * scale, actual[2:]))
    torch.testing.assert_close(actual, torch.tensor(truth).double(), rtol=0.12, atol=0.05)


def _tweedie(n: int, mean: float = 2.0, dispersion: float = 1.5) -> torch.Tensor:
    rate, unit = mean**0.5 / (dispersion * 0.5), dispersion * 0.5 * mean**0.5
    number = torch.poisson(torch.full((n,), rate).double())
    return torch.where(number > 0, torch.distributions.Gamma(number.clamp(min=1), 1 / unit).sample(), 0.0)


DRAWS = {
    "normal": lambda n: (50 + 3 * torch.randn(n).double(), [50.0, 3.0]),
    "student_t": lambda n: (5 + 2 * torch.distributions.StudentT(4.0).sample((n,)).double(), [5.0, 2.0, 4.0]),
    "negative_binomial": lambda n: (
        torch.poisson(torch.distributions.Gamma(2.0, 0.25).sample((n,))).double(),
        [8.0, 0.5],
    ),
    "tweedie": lambda n: (_tweedie(n), [2.0, 1.5]),
}
