"""Densities of sequences of points."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.flows import RecurrentMixture
from tessflow.flows.sequence import ShiftedLSTM

READS = ["components", "points"]


def build(reads="components", *, dim=2, length=5, layers=1, dtype=torch.float64, **options):
    flow = RecurrentMixture(
        dim, length, **{"components": 3, "hidden_features": 8, "embedding": 4} | options, layers=layers, reads=reads
    )
    with torch.no_grad():  # make weights depend on what was read
        flow.logits.weight.mul_(8)
    return flow.to(dtype)


@pytest.mark.parametrize("reads", READS)
def test_density_integrates_to_one(reads):
    """Two points of the line: over both, and over the second given each first."""
    flow = build(reads, dim=1, length=2)
    line = torch.linspace(-10, 10, 251, dtype=torch.float64)
    with torch.no_grad():
        density = flow().log_prob(torch.cartesian_prod(line, line)).exp().reshape(251, 251)
        first = flow().log_prob(line[:, None]).exp()
    assert_close(torch.trapezoid(density, line), first, atol=1e-7, rtol=1e-5)
    assert torch.trapezoid(first, line).item() == pytest.approx(1, abs=1e-6)
    given = density / first[:, None]
    assert (given[100] - given[150]).abs().max() > 0.01  # the second depends on the first


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("layers", [1, 2])
def test_points_depend_on_those_before_alone(reads, layers):
    flow = build(reads, layers=layers)
    x = torch.randn(4, 10, dtype=torch.float64)
    changed = torch.cat([x[:, :6], torch.randn(4, 4, dtype=torch.float64)], -1)
    for t in range(1, 4):
        assert_close(flow().log_prob(x[:, : 2 * t]), flow().log_prob(changed[:, : 2 * t]))
    assert (flow().log_prob(x) - flow().log_prob(changed)).abs().min() > 1e-6


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_follow_the_density(reads, dtype):
    """The second point's law given the first: E[f p'/p] over samples is the integral of f p' for another density p'."""
    torch.manual_seed(0)
    flow = build(reads, length=2, dtype=dtype)
    other = build(reads, length=2, dtype=dtype)
    other.components.load_state_dict(flow.components.state_dict())
    x = flow().sample((20_000,))
    assert x.dtype == dtype
    assert x.shape == (20_000, 4)
    with torch.no_grad():
        ratio = (other().log_prob(x) - flow().log_prob(x)).exp()
    assert ratio.std() > 0.1
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(ratio) ** 0.5


def test_batch_shapes():
    flow = build()
    x = torch.randn(2, 3, 10, dtype=torch.float64)
    assert_close(flow().log_prob(x)[1], flow().log_prob(x[1]))
    assert flow().log_prob(x[:0]).shape == (0, 3)
    assert flow().sample().shape == (10,)
    assert flow().sample((2, 3)).shape == (2, 3, 10)


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("size", [0.0, 1e3, 1e10, 1e30])
def test_far_points_stay_finite(reads, size):
    flow = build(reads, dtype=torch.float32)
    x = torch.full((2, 10), size, requires_grad=True)
    log_prob = flow().log_prob(x)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in flow.parameters())


def test_every_parameter_has_a_gradient():
    for reads in READS:
        flow = build(reads)
        flow().log_prob(torch.randn(4, 10, dtype=torch.float64)).sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


def test_placed_components_have_the_moments_of_their_points():
    flow = build()
    points = torch.randn(500, 3, 2, dtype=torch.float64) * 0.1 + torch.tensor([[0.0, 1], [5, 5], [-3, 0]])
    flow.place(points)
    assert_close(flow.components.means.detach(), points.mean(0))
    assert_close(flow.components.log_scales.detach().exp(), points.std(0))
    x = flow().sample((300,)).reshape(-1, 2)
    assert (torch.cdist(x, flow.components.means.detach()).amin(-1) < 0.6).all()


def test_a_step_is_what_the_whole_sequence_says():
    lstm = ShiftedLSTM(3, 8, layers=2).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    state, outputs = lstm.start(2), []
    for t in range(6):
        outputs.append(lstm.output(state))
        state = lstm.step(x[:, t], state)
    assert_close(lstm(x), torch.stack(outputs, 1))


def test_errors():
    with pytest.raises(ValueError, match="must be at least 1, got 2, 0, 32"):
        RecurrentMixture(2, 0)
    with pytest.raises(ValueError, match="reads must be 'components' or 'points', got 'cells'"):
        RecurrentMixture(2, 3, reads="cells")
    flow = build()
    with pytest.raises(ValueError, match=r"x must have shape \(..., T \* 2\), got \(4, 7\)"):
        flow().log_prob(torch.zeros(4, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"points must have shape \(S, 3, 2\), S >= 2, got \(9, 4, 2\)"):
        flow.place(torch.zeros(9, 4, 2))
