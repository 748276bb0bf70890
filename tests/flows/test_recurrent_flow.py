"""Flows of sequences of points, with a flow of each point given those before."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.flows import RecurrentFlow, logistic_flow


def build(dim=2, length=4, dtype=torch.float64):
    torch.manual_seed(0)
    points = logistic_flow(dim, context=8, components=3, hidden_features=(16,))
    flow = RecurrentFlow(points, dim, length, hidden_features=8, embedding=4).to(dtype)
    with torch.no_grad():  # let points depend on those before
        for parameter in flow.parameters():
            parameter.mul_(2)
    return flow


@pytest.mark.parametrize("wild", [0.0, 0.5])
def test_a_point_has_a_density_that_integrates_to_one(wild):
    torch.manual_seed(0)
    flow = logistic_flow(2, components=3, hidden_features=(8,)).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(wild * torch.randn_like(parameter))
    side = torch.linspace(-14, 14, 801, dtype=torch.float64).sinh() / 1e4
    with torch.no_grad():
        density = flow().log_prob(torch.cartesian_prod(side, side)).exp().reshape(801, 801)
    assert torch.trapezoid(torch.trapezoid(density, side), side).item() == pytest.approx(1, abs=1e-3)


def test_points_depend_on_those_before_alone():
    flow, x = build(), torch.randn(4, 8, dtype=torch.float64)
    changed = torch.cat([x[:, :4], torch.randn(4, 4, dtype=torch.float64)], -1)
    for t in (1, 2):
        assert_close(flow().log_prob(x[:, : 2 * t]), flow().log_prob(changed[:, : 2 * t]))
    assert (flow().log_prob(x) - flow().log_prob(changed)).abs().min() > 1e-6


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_follow_the_density(dim, dtype):
    """E[p'/p] over samples of p is 1 for any density p'."""
    flow, other = build(dim, 2, dtype), build(dim, 2, dtype)
    with torch.no_grad():
        for parameter in other.flow.parameters():
            parameter.mul_(0.9)
    torch.manual_seed(0)
    x = flow().sample((20_000,))
    assert x.dtype == dtype
    assert x.shape == (20_000, 2 * dim)
    with torch.no_grad():
        ratio = (other().log_prob(x) - flow().log_prob(x)).exp()
    assert ratio.std() > 0.02
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(ratio) ** 0.5


def test_shapes():
    flow, x = build(), torch.randn(2, 3, 8, dtype=torch.float64)
    assert_close(flow().log_prob(x)[1], flow().log_prob(x[1]))
    assert flow().log_prob(x[:0]).shape == (0, 3)
    assert flow().sample().shape == (8,)
    assert flow().sample((2, 3)).shape == (2, 3, 8)


@pytest.mark.parametrize("size", [0.0, 1e3, 1e10, 1e30])
def test_far_points_stay_finite(size):
    flow = build(dtype=torch.float32)
    x = torch.full((2, 8), size, requires_grad=True)
    log_prob = flow().log_prob(x)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in flow.parameters() if parameter.grad is not None)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="components must be at least 1"):
        logistic_flow(2, components=0)
    with pytest.raises(ValueError, match="must be at least 1"):
        RecurrentFlow(logistic_flow(2, context=8), 2, 0)
    with pytest.raises(ValueError, match=r"T \* 2"):
        build()().log_prob(torch.zeros(1, 3, dtype=torch.float64))
