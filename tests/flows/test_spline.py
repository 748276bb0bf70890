"""Splines by the kernel are zuko's."""

import pytest
import torch
from torch.testing import assert_close
from zuko.transforms import MonotonicRQSTransform

from tessflow.flows.spline import Spline
from tessflow.kernels import native

compiled = pytest.mark.skipif(native._library is None, reason=native.status())


def problem(shape=(300,), bins=8, size=2.0):
    torch.manual_seed(0)
    parameters = [size * torch.randn(*shape, count) for count in (bins, bins, bins - 1)]
    return 4 * torch.randn(shape), parameters


def results(x, parameters, of, transform):
    leaves = [t.clone().requires_grad_() for t in (x, *parameters)]
    y, log_slope = transform(*leaves[1:]).call_and_ladj(leaves[0])
    return y, log_slope, *torch.autograd.grad([y, log_slope], leaves, of)


@compiled
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("bins", [2, 8, 17])
@pytest.mark.parametrize("size", [0.0, 1.0, 5.0])
def test_values_and_gradients_are_zukos(bins, size, level):
    best = native._library.tessflow_level()
    if not native._library.tessflow_use(level):
        pytest.skip("this processor has no such instructions")
    x, parameters = problem(bins=bins, size=size)
    of = [torch.randn_like(x), torch.randn_like(x)]
    try:
        found = results(x, parameters, of, Spline)
    finally:
        native._library.tessflow_use(best)
    # In float64: in float32 zuko's own results are rounded more than ours.
    doubles = [t.double() for t in parameters]
    expected = results(x.double(), doubles, [t.double() for t in of], MonotonicRQSTransform)
    for each, other in zip(found, expected, strict=True):
        assert_close(each, other.float(), rtol=2e-4, atol=2e-5 * (1 + other.abs().max().item()))


@pytest.mark.parametrize("counts", [(4, 3, 3), (4, 4, 2), (4, 4, 4)])
def test_parameters_that_do_not_fit_together_are_refused(counts):
    with pytest.raises(ValueError, match="K widths, K heights and K - 1 slopes"):
        Spline(*(torch.zeros(5, count) for count in counts))
    with pytest.raises(ValueError, match="K widths, K heights and K - 1 slopes"):
        native.spline(torch.zeros(5), *(torch.zeros(5, count) for count in counts), 5.0, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_and_ends(dtype):
    x, parameters = problem((50, 3), size=1.0)
    spline = Spline(*(t.to(dtype) for t in parameters))
    x = torch.cat([x.flatten()[:144], torch.tensor([-5.0, 5.0, -1e30, 1e30, 0.0, 4.9999])]).view(50, 3).to(dtype)
    y, log_slope = spline.call_and_ladj(x)
    assert y.isfinite().all()
    assert log_slope.isfinite().all()
    assert_close(spline.inv(y), x, rtol=1e-3, atol=1e-3)
    assert (y[x.abs() > 5] == x[x.abs() > 5]).all()


@compiled
def test_compiles_and_is_differentiated_twice():
    x, parameters = problem((20,), size=1.0)

    def value(x, *parameters):
        y, log_slope = Spline(*parameters).call_and_ladj(x)
        return y + log_slope

    leaves = [t.clone().requires_grad_() for t in (x, *parameters)]
    expected = value(*leaves)
    found = torch.compile(value, fullgraph=True, backend="aot_eager")(*leaves)
    assert_close(found, expected)
    for each, other in zip(*(torch.autograd.grad(y.sum(), leaves) for y in (found, expected)), strict=True):
        assert_close(each, other)
    (first,) = torch.autograd.grad(value(*leaves).sum(), leaves[0], create_graph=True)
    second = torch.autograd.grad(first.sum(), leaves)
    with native.disabled():
        (plain,) = torch.autograd.grad(value(*leaves).sum(), leaves[0], create_graph=True)
        for each, other in zip(second, torch.autograd.grad(plain.sum(), leaves), strict=True):
            assert_close(each, other, rtol=1e-3, atol=1e-3)
