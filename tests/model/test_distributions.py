"""Distributions against scipy.stats and, for Tweedie, against slow sums and integrals of our own."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import gammainc, gammaln
from torch import Tensor

from fusecast.model.distributions.base import Distribution
from fusecast.model.distributions.location_scale import Normal, StudentT
from fusecast.model.distributions.negative_binomial import NegativeBinomial
from fusecast.model.distributions.tweedie import Tweedie, compound_poisson_cdf

LEVELS = (0.01, 0.1, 0.3, 0.5, 0.9, 0.99)
ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
DISTRIBUTIONS = {"normal": Normal, "student_t": StudentT, "negative_binomial": NegativeBinomial, "tweedie": Tweedie}


def stack(*columns: object) -> Tensor:
    return torch.stack([torch.as_tensor(np.asarray(column, dtype=np.float64)) for column in columns], dim=-1)


def draw_log_uniform(seed: int, low: float, high: float, count: int = 400) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(math.log(low), math.log(high), count))


def prob(distribution: Distribution, parameters: Tensor, values: np.ndarray) -> np.ndarray:
    return distribution.log_prob(parameters, torch.as_tensor(values, dtype=torch.float64), ZERO, ONE).numpy()


def quantiles(distribution: Distribution, parameters: Tensor, levels: tuple[float, ...] | None = None) -> np.ndarray:
    return distribution.quantiles(parameters, ZERO, ONE, levels).numpy()


# --- normal and Student's t ------------------------------------------------------------------------------------------


def test_normal_densities_and_quantiles_are_those_of_scipy() -> None:
    location, scale = draw_log_uniform(0, 0.1, 10) - 3, draw_log_uniform(1, 1e-3, 1e3)
    values = location + scale * np.random.default_rng(2).normal(size=400)
    parameters = stack(location, scale)
    np.testing.assert_allclose(prob(Normal(LEVELS), parameters, values), stats.norm.logpdf(values, location, scale))
    expected = stats.norm.ppf(LEVELS, location[:, None], scale[:, None])
    np.testing.assert_allclose(quantiles(Normal(LEVELS), parameters), expected, rtol=1e-12)


def test_student_densities_are_those_of_scipy() -> None:
    location, scale, df = (
        draw_log_uniform(0, 0.1, 10) - 3,
        draw_log_uniform(1, 1e-3, 1e3),
        2 + draw_log_uniform(3, 1e-3, 1e6),
    )
    values = location + scale * stats.t.rvs(df, random_state=0)
    actual = prob(StudentT(LEVELS), stack(location, scale, df), values)
    np.testing.assert_allclose(actual, stats.t.logpdf(values, df, location, scale), atol=1e-8)


def test_student_quantiles_are_those_of_scipy_at_any_level_and_df() -> None:
    levels = (1e-6, 1e-4, 0.025, 0.2, 0.49, 0.5, 0.501, 0.75, 0.95, 1 - 1e-6)
    df = 2 + draw_log_uniform(3, 1e-4, 1e7, 2000)
    expected = stats.t.ppf(levels, df[:, None])
    parameters = stack(0 * df, 1 + 0 * df, df)
    np.testing.assert_allclose(quantiles(StudentT(LEVELS), parameters, levels), expected, rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(quantiles(StudentT(levels), parameters.float()), expected, rtol=1e-5, atol=1e-12)


# --- negative binomial -----------------------------------------------------------------------------------------------


def of_scipy(mean: np.ndarray, dispersion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 1 / dispersion, 1 / (1 + dispersion * mean)


def test_negative_binomial_probabilities_are_those_of_scipy() -> None:
    mean, dispersion = draw_log_uniform(0, 1e-3, 1e6), draw_log_uniform(1, 1e-5, 1e2)
    counts = stats.nbinom.rvs(*of_scipy(mean, dispersion), random_state=0).astype(np.float64)
    expected = stats.nbinom.logpmf(counts, *of_scipy(mean, dispersion))
    actual = prob(NegativeBinomial(LEVELS), stack(mean, dispersion), counts)
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


def test_negative_binomial_quantiles_are_the_whole_numbers_of_scipy() -> None:
    mean, dispersion = draw_log_uniform(0, 1e-3, 1e5), draw_log_uniform(1, 1e-5, 1e2)
    r, p = of_scipy(mean, dispersion)
    expected = stats.nbinom.ppf(LEVELS, r[:, None], p[:, None])
    actual = quantiles(NegativeBinomial(LEVELS), stack(mean, dispersion))
    assert (expected > 256).any()
    assert (expected < 256).any()
    np.testing.assert_array_equal(actual, expected)


def test_negative_binomial_scores_do_not_feel_the_rounding_of_scaled_counts() -> None:
    center, scale = torch.tensor(1234.567), torch.tensor(89.01)
    counts = torch.arange(0, 3000, 7).double()
    scaled = ((counts - center.double()) / scale.double()).float()
    parameters = torch.tensor([1000.0, 0.1]).expand(len(counts), 2)
    actual = NegativeBinomial(LEVELS).log_prob(parameters, scaled, center, scale)
    expected = stats.nbinom.logpmf(counts.numpy(), *of_scipy(np.float64(1000.0), np.float64(np.float32(0.1))))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6)


# --- Tweedie ---------------------------------------------------------------------------------------------------------


def slow_density(value: float, mean: float, dispersion: float, power: float) -> float:
    """The sum over how many gammas there are, term by term."""
    rate = mean ** (2 - power) / (dispersion * (2 - power))
    shape, unit = (2 - power) / (power - 1), dispersion * (power - 1) * mean ** (power - 1)
    if value == 0:
        return -rate
    peak = value ** (2 - power) / (dispersion * (2 - power))
    n = np.arange(1, int(peak + 60 * math.sqrt(peak + 1) + 200))
    poisson = n * np.log(rate) - rate - gammaln(n + 1)
    gamma = (n * shape - 1) * np.log(value) - value / unit - gammaln(n * shape) - n * shape * np.log(unit)
    return float(np.logaddexp.reduce(poisson + gamma))


def slow_below(value: float, rate: float, shape: float) -> float:
    n = np.arange(1, int(rate + 40 * math.sqrt(rate + 1) + 100))
    poisson = np.exp(n * np.log(rate) - rate - gammaln(n + 1))
    return float(np.exp(-rate) + (poisson * gammainc(n * shape, value * rate * shape)).sum())


@pytest.mark.parametrize("power", [1.1, 1.3, 1.5, 1.7, 1.9])
def test_tweedie_densities_are_those_of_the_slow_sum(power: float) -> None:
    mean, relative = draw_log_uniform(0, 1e-2, 1e4, 70), draw_log_uniform(1, 1e-5, 1e1, 70)
    dispersion = relative * mean ** (2 - power)
    values = mean * draw_log_uniform(2, 0.1, 8, 70)
    values = np.where(relative < 1e-2, mean * (1 + np.sqrt(relative) * np.linspace(-4, 4, 70)), values)
    values[::7] = 0.0
    expected = [slow_density(*case, power) for case in zip(values, mean, dispersion, strict=True)]
    actual = prob(Tweedie(LEVELS, power), stack(mean, dispersion), values)
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("power", [1.2, 1.5, 1.8])
@pytest.mark.parametrize("dispersion", [0.3, 2.0])
def test_tweedie_has_mass_one_and_the_mean_and_variance_it_says(power: float, dispersion: float) -> None:
    mean = 3.0
    distribution, parameters = Tweedie(LEVELS, power), stack(mean, dispersion)

    def moment(order: int) -> float:
        def integrand(root: float) -> float:  # value = root^8: flat where the density has its peak at 0
            value = root**8
            return value**order * math.exp(float(prob(distribution, parameters, np.float64(value)))) * 8 * root**7

        return integrate.quad(integrand, (1e-3) ** (1 / 8) * 1.0001, 200 ** (1 / 8), limit=200)[0]

    nothing = math.exp(float(prob(distribution, parameters, np.float64(0.0))))
    small = slow_below(
        1e-3 * 1.0008 / mean, mean ** (2 - power) / (dispersion * (2 - power)), (2 - power) / (power - 1)
    )
    assert moment(0) + small == pytest.approx(1, abs=1e-5)
    assert nothing < small
    assert moment(1) == pytest.approx(mean, rel=1e-4)
    assert moment(2) - mean**2 == pytest.approx(dispersion * mean**power, rel=1e-3)


@pytest.mark.parametrize("shape", [0.1, 1.0, 9.0])
def test_the_compound_distribution_function_is_that_of_the_slow_sum(shape: float) -> None:
    for rate in (0.01, 0.9, 5.0, 60.0, 3000.0):
        spread = math.sqrt((1 + 1 / shape) / rate)
        values = np.unique(np.clip(1 + spread * np.linspace(-3, 4, 9), 1e-3, None))
        actual = compound_poisson_cdf(
            torch.from_numpy(values), torch.full((len(values),), rate, dtype=torch.float64), shape
        )
        np.testing.assert_allclose(actual.numpy(), [slow_below(v, rate, shape) for v in values], atol=1e-7)


@pytest.mark.parametrize(("power", "error"), [(1.1, 2e-4), (1.2, 2e-6), (1.5, 2e-6), (1.8, 1e-4), (1.9, 1e-4)])
def test_tweedie_quantiles_have_the_level_they_are_asked_for(power: float, error: float) -> None:
    mean, relative = draw_log_uniform(0, 1e-2, 1e4, 60), draw_log_uniform(1, 1e-3, 1e2, 60)
    shape, slack = (2 - power) / (power - 1), 1e-5 if power > 1.5 else 0.0  # of the mean
    actual = quantiles(Tweedie(LEVELS, power), stack(mean, relative * mean ** (2 - power)))
    assert (np.diff(actual) >= 0).all()
    for at, rate, m in zip(actual, 1 / (relative * (2 - power)), mean, strict=True):
        for level, value in zip(LEVELS, at, strict=True):
            if math.exp(-rate) >= level:
                assert value == 0
            else:
                assert slow_below(value / m + slack, rate, shape) >= level - error
                assert slow_below(max(value / m - slack, 0.0), rate, shape) <= level + error


def test_tweedie_quantiles_of_narrow_distributions_are_nearly_normal() -> None:
    relative = np.array([1e-5, 1e-6, 1e-7])
    actual = quantiles(Tweedie(LEVELS), stack(np.full(3, 50.0), relative * 50**0.5))
    expected = 50 * (1 + np.sqrt(relative)[:, None] * stats.norm.ppf(LEVELS))
    np.testing.assert_allclose(actual, expected, atol=50 * 5e-5)


# --- all of them -----------------------------------------------------------------------------------------------------


def extremes(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.choice([-200.0, -30.0, -3.0, 0.0, 3.0, 30.0, 200.0], (count, 3)))
    center = torch.from_numpy(rng.choice([0.0, 1.0, 1e6], count))
    scale = torch.from_numpy(rng.choice([1e-6, 1.0, 1e6], count))
    value = torch.from_numpy(rng.choice([0.0, 1.0, 1e6], count))
    return raw, center, scale, (value - center) / scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_nothing_extreme_leads_out_of_the_numbers(name: str, dtype: torch.dtype) -> None:
    distribution = DISTRIBUTIONS[name](LEVELS)
    raw, center, scale, target = (x.to(dtype) for x in extremes(2000))
    raw = raw[:, : len(distribution.parameter_names)].requires_grad_()
    parameters = distribution.constrain(raw, center, scale)
    actual = distribution.log_prob(parameters, target, center, scale)
    assert parameters.isfinite().all()
    assert actual.isfinite().all()
    scores = distribution.quantiles(parameters, center, scale)
    assert scores.isfinite().all()
    actual.sum().backward()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    distribution = DISTRIBUTIONS[name](LEVELS)
    raw = torch.randn(12, len(distribution.parameter_names), dtype=torch.float64, requires_grad=True)
    center, scale = torch.full((12,), 8.0).double(), torch.full((12,), 4.0).double()
    target = (torch.tensor([0.0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]).double() - center) / scale

    def score(x: Tensor) -> Tensor:
        return distribution.log_prob(distribution.constrain(x, center, scale), target, center, scale)

    assert torch.autograd.gradcheck(score, (raw,))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_units_of_the_data_do_not_matter_but_for_counts(name: str) -> None:
    distribution = DISTRIBUTIONS[name](LEVELS)
    raw = torch.randn(
        50, len(distribution.parameter_names), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    center, scale = torch.full((50,), 7.0).double(), torch.full((50,), 3.0).double()

    def scaled(factor: float) -> Tensor:
        units = center * factor, scale * factor
        return distribution.quantiles(distribution.constrain(raw, *units), *units)

    if name == "negative_binomial":
        assert not torch.allclose(scaled(1), scaled(1000))
    else:
        torch.testing.assert_close(scaled(1), scaled(1000), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_rise_with_their_level(name: str) -> None:
    distribution = DISTRIBUTIONS[name](LEVELS)
    raw = 2 * torch.randn(200, len(distribution.parameter_names), generator=torch.Generator().manual_seed(0))
    center, scale = torch.full((200,), 2.0), torch.full((200,), 3.0)
    actual = distribution.quantiles(distribution.constrain(raw, center, scale), center, scale, (0.001, *LEVELS, 0.999))
    assert (actual.diff() >= 0).all()
    assert len(list(pairwise(LEVELS))) == actual.shape[-1] - 3


def test_a_mean_of_amounts_is_the_affine_map_far_from_zero() -> None:
    raw = torch.tensor([[0.5, 0.0]]).double()
    center, scale = torch.tensor([1000.0]).double(), torch.tensor([10.0]).double()
    for name in ("negative_binomial", "tweedie"):
        assert DISTRIBUTIONS[name](LEVELS).constrain(raw, center, scale)[0, 0] == pytest.approx(1005, rel=1e-6)
