import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from tessflow.dequantization import VoronoiDequantizer
from tessflow.flows import AttentionField, ExclusiveField, equivariant_flow


def reading(dim, **options):
    return ExclusiveField(dim, cells=VoronoiDequantizer((5,), dim, noise="standard").double(), **options)


FIELDS = {"exclusive": ExclusiveField, "exclusive, reads cells": reading, "attention": AttentionField}
every_field = pytest.mark.parametrize("name", FIELDS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
HALF = torch.tensor(0.5, dtype=torch.float64)


def build_field(name, dim=3, *, seed=0, dtype=torch.float64):
    """A field away from its start, where the velocity is 0."""
    torch.manual_seed(seed)
    field = FIELDS[name](dim, width=16)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return field.to(dtype)


def build(name, items=3, dim=2, *, dtype=torch.float64, **options):
    flow = equivariant_flow(items, dim, field=build_field(name, dim), **({"components": 5} | options))
    return flow.to(dtype).eval()


def jacobian(field, t, x):
    return torch.autograd.functional.jacobian(lambda points: field(t, points), x)


@every_field
@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 1000), items=st.integers(1, 5), dim=st.integers(1, 4), t=st.floats(0, 1))
def test_trace_is_that_of_the_jacobian(name, seed, items, dim, t):
    field, t = build_field(name, dim, seed=seed), torch.tensor(t, dtype=torch.float64)
    x = 2 * torch.randn(2, items, dim, dtype=torch.float64)
    v, trace = field.with_trace(t, x)
    torch.testing.assert_close(v, field(t, x))
    size = items * dim
    expected = torch.stack([jacobian(field, t, row).reshape(size, size).trace() for row in x])
    torch.testing.assert_close(trace, expected)
    with torch.no_grad():
        torch.testing.assert_close(field.with_trace(t, x)[1], expected)


@every_field
def test_trace_of_many_dimensions(name):
    field = build_field(name, 20)
    x = torch.randn(4, 20, dtype=torch.float64)
    expected = jacobian(field, HALF, x).reshape(80, 80).trace()
    torch.testing.assert_close(field.with_trace(HALF, x)[1], expected)


@every_field
def test_gradients_pass_through_the_trace(name):
    field = build_field(name, 2)
    x = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda points: field.with_trace(HALF, points), (x,))


def test_probes_estimate_the_trace_without_bias():
    field = build_field("attention")
    x = torch.randn(4, 3, dtype=torch.float64).expand(4000, 4, 3)
    estimates = field.with_trace(HALF, x, 2 * torch.randint_like(x, 2) - 1)[1]
    error = estimates.std() / len(x) ** 0.5
    assert estimates.std() > 0.1
    assert (estimates.mean() - field.with_trace(HALF, x[0])[1]).abs() < 4 * error


@every_field
def test_velocity_is_equivariant(name):
    field, order = build_field(name), torch.randperm(5)
    x = torch.randn(7, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(field(HALF, x[:, order]), field(HALF, x)[:, order])


@every_field
def test_every_item_depends_on_every_other_and_on_both_together(name):
    field = build_field(name, 1)
    x = torch.randn(3, 1, dtype=torch.float64)
    first = jacobian(field, HALF, x)[:, 0, :, 0]
    assert (first.abs() > 1e-6).all()
    second = torch.autograd.functional.hessian(lambda points: field(HALF, points)[0, 0], x)[0, 0, :, 0]
    assert (second.abs() > 1e-6).all()


@every_field
@every_dtype
def test_no_order_changes_the_density(name, dtype):
    density = build(name, items=4, dtype=dtype)()
    x = torch.randn(20, 4, 2, dtype=dtype)
    orders = torch.stack([row[torch.randperm(4)] for row in x])
    with torch.no_grad():
        log_prob = density.log_prob(x.flatten(-2))
        torch.testing.assert_close(density.log_prob(orders.flatten(-2)), log_prob, rtol=0, atol=1e-3)
    assert log_prob.dtype == dtype
    assert log_prob.std() > 0.5


@every_field
def test_starts_as_the_base(name):
    x = torch.randn(6, 8)
    flow = equivariant_flow(4, 2, field=FIELDS[name](2, width=8), base="gaussian")
    torch.testing.assert_close(flow().log_prob(x), Normal(0.0, 1.0).log_prob(x).sum(-1))
    mixture = equivariant_flow(4, 2, field=FIELDS[name](2, width=8), components=3)()
    torch.testing.assert_close(mixture.log_prob(x), mixture.base.log_prob(x))


@every_field
def test_inverse_undoes_the_transform(name):
    transform = build(name)().transform
    x = torch.randn(30, 6, dtype=torch.float64)
    with torch.no_grad():
        y, log_det = transform.call_and_ladj(x)
        # A field that reads cells turns quickly at their walls, so that a solver of the same tolerance errs more.
        torch.testing.assert_close(transform(x), y, rtol=0, atol=5e-3 if "reads" in name else 1e-4)
        torch.testing.assert_close(transform.inv(y), x, rtol=0, atol=1e-2 if "reads" in name else 1e-3)
        assert (y - x).abs().amax(0).min() > 0.05
    exact = torch.autograd.functional.jacobian(transform, x[0]).slogdet().logabsdet
    torch.testing.assert_close(log_det[0], exact, rtol=0, atol=1e-3)


@every_field
def test_samples_are_where_the_density_says(name):
    density = build(name, items=2, dim=1)()
    torch.manual_seed(1)
    x = density.sample((4000,))
    line = torch.linspace(-7, 7, 71, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        mass = density.log_prob(grid).exp() * (line[1] - line[0]) ** 2
    assert abs(mass.sum() - 1) < 2e-3
    for statistic in (lambda y: y[:, 0] * y[:, 1], lambda y: y[:, 0].square() * y[:, 1], lambda y: y[:, 0]):
        error = statistic(x).std() / len(x) ** 0.5
        assert (statistic(x).mean() - mass @ statistic(grid)).abs() < 4 * error + 1e-2


@every_field
def test_half_the_tolerance_moves_no_log_likelihood(name):
    x = torch.randn(20, 12, dtype=torch.float64)
    with torch.no_grad():
        usual, finer, finest = (build(name, 4, 3, tolerance=tol)().log_prob(x) for tol in (1e-5, 5e-6, 1e-7))
    assert (usual - finer).abs().max() < 1e-3
    assert (usual - finest).abs().max() < 5e-3


def test_the_trace_is_estimated_in_training_only():
    flow, x = build("attention"), torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        assert flow().log_prob(x).equal(flow().log_prob(x))
        flow.train()
        assert not flow().log_prob(x).equal(flow().log_prob(x))
        flow = build("exclusive").train()
        assert flow().log_prob(x).equal(flow().log_prob(x))


@every_field
def test_every_parameter_gets_a_finite_gradient(name):
    flow = build(name, dtype=torch.float32).train()
    x = torch.cat([torch.randn(4, 6), torch.zeros(1, 6)])
    flow().log_prob(x).sum().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@every_field
@every_dtype
@pytest.mark.parametrize("base", ["gaussian", "mixture"])
def test_far_points_have_finite_densities(name, dtype, base):
    density = build(name, 2, 2, dtype=dtype, base=base)()
    x = torch.tensor([list(row) for row in itertools.product([0.0, 1e4], repeat=4)], dtype=dtype)
    with torch.no_grad():
        log_prob = density.log_prob(x)
    assert log_prob.isfinite().all()
    assert (log_prob[1:] < -1e3).all()


@every_field
def test_batches_of_any_shape(name):
    flow = build(name)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    with torch.no_grad():
        log_prob = flow().log_prob(x)
        torch.testing.assert_close(log_prob.flatten(), flow().log_prob(x.flatten(0, 1)))
        y, log_det = flow().transform.call_and_ladj(x[:, :0])
    assert log_prob.shape == (2, 3)
    assert (y.shape, log_det.shape) == ((2, 0, 6), (2, 0))
    assert flow().sample((2, 3)).shape == (2, 3, 6)


def test_evaluations_are_counted():
    density = build("exclusive")()
    density.log_prob(torch.randn(5, 6, dtype=torch.float64))
    coarse = density.transform.evaluations
    fine = build("exclusive", tolerance=1e-9)()
    fine.log_prob(torch.randn(5, 6, dtype=torch.float64))
    assert 6 < coarse < fine.transform.evaluations


def test_one_item_is_an_ordinary_flow():
    density = build("exclusive", items=1, dim=1)()
    line = torch.linspace(-10, 10, 801, dtype=torch.float64)[:, None]
    with torch.no_grad():
        assert math.isclose(density.log_prob(line).exp().sum() / 40, 1, abs_tol=1e-3)


def test_state_dict_round_trip():
    flow, other = build("exclusive"), equivariant_flow(3, 2, width=16, components=5).double().eval()
    other.load_state_dict(flow.state_dict())
    x = torch.randn(5, 6, dtype=torch.float64)
    assert other().log_prob(x).equal(flow().log_prob(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "convolution"}, "field must be 'exclusive', 'attention' or a SetField, got 'convolution'"),
        ({"base": "cauchy"}, "base must be 'gaussian' or 'mixture', got 'cauchy'"),
        ({"width": 6}, "width must be a positive multiple of heads, got 6 and 4"),
        ({"components": 0}, "items, dim, components and classes must be at least 1, got 3, 2, 0 and 32"),
        ({"tolerance": 0.0}, "tolerance must be positive, got 0.0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        equivariant_flow(3, 2, **options)
