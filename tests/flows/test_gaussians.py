"""A mixture of Gaussians with covariances of any shape."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from tessflow.flows import Gaussians


def placed(features, components=4, **options):
    torch.manual_seed(0)
    roots = torch.randn(components, features, features).tril()
    roots.diagonal(dim1=-2, dim2=-1).abs_().add_(0.3)
    weights, means = torch.rand(components) + 0.1, 2 * torch.randn(components, features)
    gaussians = Gaussians(features, components, **options)
    gaussians.place(weights / weights.sum(), means, roots)
    reference = MixtureSameFamily(
        Categorical(weights.double()),
        MultivariateNormal(means.double(), precision_matrix=(roots.mT @ roots).double()),
    )
    return gaussians.double(), reference


@pytest.mark.parametrize("features", [1, 2, 5])
def test_it_is_the_mixture_that_torch_has(features):
    gaussians, reference = placed(features)
    x = 3 * torch.randn(2, 50, features, dtype=torch.float64)
    assert_close(gaussians().log_prob(x), reference.log_prob(x), atol=1e-5, rtol=1e-5)
    drawn = gaussians().sample((40_000,))
    assert drawn.shape == (40_000, features)
    assert_close(drawn.mean(0), reference.mean, atol=0.1, rtol=0.05)
    assert_close(drawn.var(0), reference.variance, atol=0.2, rtol=0.1)


def test_it_starts_as_a_standard_gaussian():
    x = torch.randn(10, 3)
    assert_close(Gaussians(3, 4)().log_prob(x), torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1))


def test_gradients_reach_the_gaussians_if_they_are_to_be_learned():
    for learn in (True, False):
        gaussians, _ = placed(2, learn=learn)
        assert [parameter.requires_grad for parameter in gaussians.parameters()] == [learn] * 4
    x = torch.randn(10, 2, dtype=torch.float64, requires_grad=True)
    gaussians().log_prob(x).sum().backward()
    assert x.grad.abs().min() > 0


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0)])
def test_sizes_below_1_are_refused(sizes):
    with pytest.raises(ValueError, match="features and components must be at least 1, got"):
        Gaussians(*sizes)
