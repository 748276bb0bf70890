"""A mixture of Gaussians with diagonal covariances."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from tessflow.flows import DiagonalGaussians, DiagonalMixture
from tessflow.randomness import seeded


def made(dtype=torch.float64):
    torch.manual_seed(0)
    parameters = torch.randn(5), 3 * torch.randn(5, 3), torch.randn(5, 3)
    logits, loc, log_scale = (parameter.to(dtype) for parameter in parameters)
    reference = MixtureSameFamily(Categorical(logits=logits), Independent(Normal(loc, log_scale.exp()), 1))
    return DiagonalMixture(logits, loc, log_scale), reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_densities_are_those_of_torch(dtype):
    mixture, reference = made(dtype)
    x = 4 * torch.randn(7, 4, 3, dtype=dtype)
    found = mixture.log_prob(x)
    assert found.dtype == dtype
    assert_close(found, reference.log_prob(x))


def test_digits_are_kept_far_from_zero():
    loc = torch.full((1, 2), 1e4)
    mixture = DiagonalMixture(torch.zeros(1), loc, torch.full((1, 2), -2.0))
    x = loc + torch.tensor([[0.0, 0.0], [0.125, -0.25]])
    expected = Independent(Normal(loc.double(), torch.tensor(-2.0).double().exp()), 1).log_prob(x.double())
    assert_close(mixture.log_prob(x).double(), expected, atol=1e-5, rtol=1e-5)


def test_draws_have_its_moments():
    mixture, reference = made()
    with seeded(0, redirect=False):
        x = mixture.sample((50_000,))
    assert_close(x.mean(0), reference.mean, atol=0.1, rtol=0)
    assert_close(x.var(0), reference.variance, rtol=0.1, atol=0)


def test_every_parameter_gets_a_gradient():
    base = DiagonalGaussians(3, 4)
    base().log_prob(torch.randn(10, 3)).sum().backward()
    assert all((parameter.grad != 0).any() for parameter in base.parameters())
