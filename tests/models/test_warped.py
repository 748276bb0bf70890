"""A mixture of Gaussians under a flow that starts as the identity."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tessflow.models import WarpedMixture


def made(features=2, univariate="spline", *, by=0.0):
    torch.manual_seed(0)
    model = WarpedMixture(features, 3, layers=2, univariate=univariate, hidden_features=(8,)).double()
    roots = 1.5 * torch.eye(features).expand(3, -1, -1)
    model.base.place(torch.tensor([0.2, 0.3, 0.5]), torch.randn(3, features), roots)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("univariate", ["spline", "affine"])
@pytest.mark.parametrize("features", [1, 2, 5])
def test_it_starts_as_its_gaussians(features, univariate):
    model = made(features, univariate)
    x = 3 * torch.randn(100, features, dtype=torch.float64)
    assert_close(model.elbo(x), model.base().log_prob(x), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("univariate", ["spline", "affine"])
def test_its_density_integrates_to_one_wherever_it_is(univariate):
    model = made(univariate=univariate, by=0.3)
    line = torch.linspace(-15, 15, 601, dtype=torch.float64)
    with torch.no_grad():
        density = model.elbo(torch.cartesian_prod(line, line)).exp()
    assert density.sum().item() * (line[1] - line[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


def test_its_samples_are_of_its_density():
    model = made(by=0.3)
    with torch.no_grad():
        drawn = model().sample((20_000,))
        square = (drawn.abs() < 1).all(-1).double()
        line = torch.linspace(-1, 1, 402, dtype=torch.float64)
        line = (line[1:] + line[:-1]) / 2
        mass = model.elbo(torch.cartesian_prod(line, line)).exp().mean() * 4
    assert abs(square.mean() - mass) < 4 * square.std() / len(square) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_finite_point_has_a_finite_log_density(dtype):
    model = made(by=0.3).to(dtype)
    most = torch.finfo(dtype).max
    x = torch.tensor([[most, -most], [0, most], [1e-40, -1e15], [5, -5]], dtype=dtype)
    assert model.elbo(x).isfinite().all()
