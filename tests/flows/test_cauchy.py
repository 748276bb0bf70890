"""The multivariate Cauchy distribution."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Cauchy, Normal, TanhTransform, TransformedDistribution
from torch.testing import assert_close

from tessflow.flows import MultivariateCauchy, coupling_flow

LOC = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64)
SCALE = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def build(features: int = 3) -> MultivariateCauchy:
    return MultivariateCauchy(LOC[:features], SCALE[:features])


def test_in_one_dimension_it_is_torchs_cauchy():
    x = torch.linspace(-50, 50, 101, dtype=torch.float64)
    assert_close(build(1).log_prob(x[:, None]), Cauchy(LOC[0], SCALE[0]).log_prob(x))


def test_density_integrates_to_one_on_the_plane():
    line = torch.linspace(-16, 16, 801, dtype=torch.float64)
    step = (line[1] - line[0]) * line.cosh()
    density = build(2).log_prob(torch.cartesian_prod(line.sinh(), line.sinh())).exp()
    assert abs(density @ (step[:, None] * step).flatten() - 1) < 1e-5


def test_density_is_that_of_a_normal_over_a_normal():
    """Integrate the scale mixture that samples are drawn from."""
    chi = torch.linspace(1e-6, 12, 20_001, dtype=torch.float64)[:, None]
    x = LOC + torch.randn(7, 3, dtype=torch.float64) * 4
    given = Normal(LOC, SCALE / chi).log_prob(x[:, None]).sum(-1)
    joint = 2 * (given + Normal(0.0, 1.0).log_prob(chi[:, 0])).exp()
    assert_close(build().log_prob(x), torch.trapezoid(joint, chi[:, 0]).log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("feature", range(3))
def test_every_feature_of_samples_is_cauchy(feature):
    sample = build().sample((20_000,))[:, feature].sort().values
    uniform = torch.arange(1, 20_001, dtype=torch.float64) / 20_000
    distance = (Cauchy(LOC[feature], SCALE[feature]).cdf(sample) - uniform).abs().max()
    assert distance < 1.63 / 20_000**0.5  # Kolmogorov-Smirnov, 1 %


def test_samples_share_their_radius():
    """Features are uncorrelated in sign but not independent: one far feature makes the others far."""
    x = (build().sample((20_000,)) - LOC) / SCALE
    far = x[:, 0].abs() > 100
    assert x[far, 1].abs().median() > 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("features", [1, 2, 8])
def test_the_tail_falls_off(features, dtype):
    radius = torch.tensor([0.0, 1e-45, 1.0, 9_999.0, 10_001.0, 1e10, 1e18], dtype=dtype)
    standard = MultivariateCauchy(torch.zeros(features, dtype=dtype), torch.ones(features, dtype=dtype))
    log_prob = standard.log_prob(radius[:, None].expand(-1, features))
    assert (log_prob.diff() <= 0).all()
    assert_close(log_prob[-1] - log_prob[-2], torch.tensor(-(features + 1) * math.log(1e8), dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("features", [2, 8])
def test_any_distance_has_a_finite_density(features, dtype):
    standard = MultivariateCauchy(torch.zeros(features, dtype=dtype), torch.ones(features, dtype=dtype))
    assert standard.log_prob(torch.full((features,), torch.finfo(dtype).max / 4, dtype=dtype)).isfinite()


def test_gradients_are_finite_at_the_centre_and_far_out():
    x = torch.stack([LOC, LOC + 1e4, LOC + 1e200]).requires_grad_()
    loc, scale = LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()
    total = MultivariateCauchy(loc, scale).log_prob(x).sum()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(total, (x, loc, scale)))


def test_the_tail_joins_the_middle():
    radius = torch.tensor([1e4 * (1 - 1e-12), 1e4 * (1 + 1e-12)], dtype=torch.float64)
    value = MultivariateCauchy(torch.zeros(1).double(), torch.ones(1).double()).log_prob(radius[:, None])
    assert_close(value[0], value[1], rtol=0, atol=1e-7)
    assert_close(value[0], torch.tensor(-math.log(math.pi) - math.log1p(1e8), dtype=torch.float64), rtol=0, atol=1e-7)


def test_shapes_broadcast():
    cauchy = MultivariateCauchy(torch.zeros(5, 1, 3), torch.ones(3))
    assert (cauchy.batch_shape, cauchy.event_shape) == ((5, 1), (3,))
    assert cauchy.sample((2,)).shape == (2, 5, 1, 3)
    assert cauchy.log_prob(torch.zeros(7, 3)).shape == (5, 7)
    assert cauchy.log_prob(torch.zeros(0, 5, 1, 3)).shape == (0, 5, 1)
    wide = cauchy.expand((4, 5, 2))
    assert wide.batch_shape == (4, 5, 2)
    assert wide.rsample().shape == (4, 5, 2, 3)


def test_samples_are_differentiable():
    loc, scale = LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()
    grads = torch.autograd.grad(MultivariateCauchy(loc, scale).rsample((5,)).sum(), (loc, scale))
    assert_close(grads[0], torch.full_like(LOC, 5.0))
    assert grads[1].abs().min() > 0


def test_under_a_transformed_distribution():
    pushed = TransformedDistribution(build(), [TanhTransform()])
    assert pushed.log_prob(torch.zeros(4, 3, dtype=torch.float64)).shape == (4,)


def test_it_is_the_base_of_a_coupling_flow():
    flow = coupling_flow(3, layers=2, hidden_features=(8,), base="cauchy").eval()
    x = 3 * torch.randn(20, 3)
    assert_close(flow().log_prob(x), MultivariateCauchy(torch.zeros(3), torch.ones(3)).log_prob(x))


def test_unknown_bases_are_refused():
    with pytest.raises(ValueError, match="base must be 'gaussian', 'cauchy' or 'mixture', got 'laplace'"):
        coupling_flow(2, base="laplace")
