"""The map from the line onto one of its intervals."""

import math

import pytest
import torch
from torch.testing import assert_close

from tessflow.geometry import Intervals
from tessflow.transforms import IntervalTransform

HARD = [-1e30, -800.0, -90.0, -40.0, -17.0, -1.0, 0.0, 1e-8, 3.0, 40.0, 90.0, 800.0, 1e30]


def cells(k=5, spread=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return Intervals((spread * torch.randn(k, dtype=torch.float64)).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0])
def test_images_of_any_point_lie_in_the_cell(dtype, spread):
    intervals = cells(spread=spread, dtype=dtype)
    x = torch.tensor(HARD, dtype=dtype)[:, None, None].expand(-1, 5, 1)
    index = torch.arange(5).expand(len(HARD), 5)
    walls = Intervals(intervals.log_masses.expand(5, 5))
    z, log_slope = IntervalTransform(walls, index).call_and_ladj(x)
    assert z.dtype == log_slope.dtype == dtype
    assert not z.isnan().any()
    assert not log_slope.isnan().any()
    if spread < 10 or dtype == torch.float64:  # cells of mass 1e-12 hold no number of float32
        assert torch.equal(walls.locate(z), index)


def test_round_trip_and_slopes():
    intervals = cells()
    index = torch.arange(5)
    x = torch.linspace(-12, 12, 49, dtype=torch.float64)[:, None, None].expand(-1, 5, 1)
    into = IntervalTransform(Intervals(intervals.log_masses.expand(5, 5)), index)
    z, log_slope = into.call_and_ladj(x)
    assert_close(into.inv(z), x, atol=1e-6, rtol=1e-6)
    step = 1e-5
    slope = (into(x + step) - into(x - step)).squeeze(-1) / (2 * step)
    assert_close(log_slope.exp(), slope, rtol=1e-4, atol=1e-9)


def test_a_logistic_becomes_the_logistic_of_the_cell():
    intervals, index = cells(), torch.arange(5)
    x = torch.linspace(-6, 6, 13, dtype=torch.float64)[:, None, None].expand(-1, 5, 1)
    z, log_slope = IntervalTransform(Intervals(intervals.log_masses.expand(5, 5)), index).call_and_ladj(x)

    def log_density(u):
        return torch.nn.functional.logsigmoid(u) + torch.nn.functional.logsigmoid(-u)

    expected = log_density(z.squeeze(-1)) - intervals.log_masses
    assert_close(log_density(x.squeeze(-1)) - log_slope, expected)


def test_gradients_are_finite_everywhere():
    logits = torch.tensor([0.0, 1.0, -30.0, 2.0], requires_grad=True)
    x = torch.tensor(HARD)[:, None, None].expand(-1, 4, 1).clone().requires_grad_()
    z, log_slope = IntervalTransform(Intervals(logits.expand(4, 4)), torch.arange(4)).call_and_ladj(x)
    (z.clamp(-1e3, 1e3).sum() + log_slope.clamp_min(-1e3).sum()).backward()
    assert logits.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_the_only_cell_is_the_line():
    x = torch.tensor(HARD)[:, None]
    z, log_slope = IntervalTransform(Intervals(torch.zeros(1)), torch.tensor(0)).call_and_ladj(x)
    assert_close(z, x)
    assert_close(log_slope, torch.zeros(len(HARD)), atol=1e-6, rtol=0)
    assert math.isfinite(z.abs().max())
