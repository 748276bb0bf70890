"""Piecewise linear scales: through their knots exactly, straight between and beyond them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tessflow.transforms import PiecewiseLinear

every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def ascending(shape, dtype=torch.float64):
    return torch.rand(shape, dtype=dtype).add(0.1).cumsum(-1) - shape[-1] / 3


def make(batch=(), knots=6, dtype=torch.float64):
    return PiecewiseLinear(ascending((*batch, knots), dtype), ascending((*batch, knots), dtype))


@every_dtype
@pytest.mark.parametrize("knots", [2, 3, 20])
def test_hits_its_knots_exactly_both_ways(knots, dtype):
    scale = make(knots=knots, dtype=dtype)
    assert scale(scale.knots).equal(scale.scores)
    assert scale.inv(scale.scores).equal(scale.knots)


@every_dtype
@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
@pytest.mark.parametrize("knots", [2, 3, 20])
def test_inverse_undoes_it_for_batches_of_scales(knots, batch, dtype):
    scale = make(batch, knots, dtype)
    for shape in [batch, (7, *batch), (2, 5, *batch), (0, *batch)]:
        x = 20 * torch.randn(shape, dtype=dtype)
        z = scale(x)
        assert z.shape == x.shape
        assert z.dtype == dtype
        assert_close(scale.inv(z), x)
        assert_close(scale(scale.inv(x)), x)


def test_each_scale_of_a_batch_is_its_own():
    scale = make((2, 3))
    x = 5 * torch.randn(4, 2, 3, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            alone = PiecewiseLinear(scale.knots[i, j], scale.scores[i, j])
            assert_close(scale(x)[:, i, j], alone(x[:, i, j]), rtol=0, atol=0)
            assert_close(scale.inv(x)[:, i, j], alone.inv(x[:, i, j]), rtol=0, atol=0)


@every_dtype
def test_log_slopes_are_those_of_autograd(dtype):
    scale = make((3,), dtype=dtype)
    x = (10 * torch.randn(50, 3, dtype=dtype)).requires_grad_()
    z, log_slope = scale.call_and_ladj(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert_close(log_slope, slope.log())
    assert scale.log_abs_det_jacobian(x, z).equal(log_slope)
    assert_close(scale.inv.log_abs_det_jacobian(z, x), -log_slope)


def test_continues_in_straight_lines():
    scale = PiecewiseLinear(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([-1.0, 1.0, 2.0]))
    x = torch.tensor([-1e6, -10.0, -1.0, 4.0, 13.0, 1e6])
    z, log_slope = scale.call_and_ladj(x)
    assert_close(z, torch.tensor([-2e6 - 1, -21.0, -3.0, 2.5, 7.0, 2 + (1e6 - 3) / 2]))
    assert_close(log_slope.exp(), torch.tensor([2.0, 2.0, 2.0, 0.5, 0.5, 0.5]))


numbers = st.floats(-1e150, 1e150)


@given(
    knots=st.lists(st.floats(-1e150, 1e150, allow_subnormal=False), min_size=2, max_size=5, unique=True),
    x=st.lists(numbers, min_size=1, max_size=5),
)
def test_ascends_and_stays_finite_for_knots_of_any_size(knots, x):
    start = torch.tensor(sorted(knots), dtype=torch.float64)
    scale = PiecewiseLinear(start, torch.linspace(-2, 2, len(knots), dtype=torch.float64))
    if (4 / start.diff()).isinf().any():
        return  # no slope
    assert scale(start).equal(scale.scores)
    x = torch.tensor(sorted(x), dtype=torch.float64)
    z, log_slope = scale.call_and_ladj(x)
    assert not z.isnan().any()
    assert log_slope.isfinite().all()
    # Up to the rounding of the piece's ends.
    slack = 1e-12 * (1 + z[:-1].abs()).nan_to_num(posinf=math.inf)
    assert ((z.diff() >= -slack) | z[1:].isinf() | z[:-1].isinf()).all()
