"""The distribution function of a mixture of logistics, as log-odds."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.transforms import LogisticMixtureTransform

HARD = [-1e30, -1e6, -100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0, 1e6, 1e30]


def wild(dtype=torch.float64, spread=3.0, seed=0):
    torch.manual_seed(seed)
    logits, loc, log_scale = (spread * torch.randn(6, 4, dtype=torch.float64) for _ in range(3))
    return LogisticMixtureTransform(logits.to(dtype), loc.to(dtype), log_scale.clamp(-3, 3).to(dtype))


@pytest.mark.parametrize("seed", range(3))
def test_round_trip_of_wild_parameters(seed):
    transform = wild(seed=seed)
    x = torch.linspace(-30, 30, 121, dtype=torch.float64)[:, None].expand(-1, 6)
    assert_close(transform.inv(transform(x)), x, atol=1e-9, rtol=1e-9)
    z = torch.linspace(-300, 300, 121, dtype=torch.float64)[:, None].expand(-1, 6)
    assert_close(transform(transform.inv(z)), z, atol=1e-9, rtol=1e-9)


def test_slopes_are_the_derivatives():
    transform = wild()
    x = torch.linspace(-30, 30, 121, dtype=torch.float64)[:, None].expand(-1, 6).clone().requires_grad_()
    z, log_slope = transform.call_and_ladj(x)
    assert_close(torch.autograd.grad(z.sum(), x)[0].log(), log_slope)


@pytest.mark.parametrize("seed", range(3))
def test_the_logistic_pulled_back_integrates_to_one(seed):
    transform = wild(seed=seed)
    # Points that are close where any of the logistics has its mass.
    spread = torch.linspace(-40, 40, 4001, dtype=torch.float64)[:, None, None]
    x = (transform.loc + transform.log_scale.exp() * spread).movedim(-1, 0).flatten(0, 1).sort(0).values
    z, log_slope = transform.call_and_ladj(x)
    log_density = torch.nn.functional.logsigmoid(z) + torch.nn.functional.logsigmoid(-z) + log_slope
    assert_close(torch.trapezoid(log_density.exp(), x, dim=0), torch.ones(6, dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_points_make_no_nan(dtype):
    x = torch.tensor(HARD, dtype=dtype)[:, None].expand(-1, 6)
    transform = wild(dtype)
    for found in (*transform.call_and_ladj(x), transform.inv(x)):
        assert not found.isnan().any()


def test_slopes_far_out_are_those_of_straight_lines():
    x = torch.tensor([-1e8, 1e8])[:, None].expand(-1, 6)
    slopes = wild(torch.float32).log_abs_det_jacobian(x, x)
    exact = wild(torch.float32).log_abs_det_jacobian(x.double(), x.double())
    assert_close(slopes.double(), exact, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_inverse():
    transform = wild()
    leaves = [transform.log_weights, transform.loc, transform.log_scale]
    for leaf in leaves:
        leaf.requires_grad_()
    z = torch.randn(6, dtype=torch.float64, requires_grad=True)
    x = transform.inv(z)
    found = torch.autograd.grad(x.sum(), [z, *leaves])
    step = 1e-6
    assert_close(found[0], (transform.inv(z + step) - transform.inv(z - step)) / (2 * step), rtol=1e-4, atol=1e-7)
    assert all(gradient.isfinite().all() for gradient in found)
