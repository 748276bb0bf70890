"""What every dequantizer keeps to, whatever its method and options."""

from __future__ import annotations

import pytest
import torch
from dequantizer_cases import CARDINALITIES, DEQUANTIZERS, build, perturb, rows, support
from torch import nn
from torch.distributions import StudentT
from torch.distributions.transforms import IndependentTransform
from zuko.distributions import DiagNormal, NormalizingFlow
from zuko.transforms import IdentityTransform

from tessflow.dequantization import VoronoiDequantizer
from tessflow.dequantization.base import StandardNoise
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow

every_method = pytest.mark.parametrize("name", DEQUANTIZERS)
every_size = pytest.mark.parametrize("cardinalities", CARDINALITIES, ids=str)


@every_method
@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shapes_and_dtypes(name, cardinalities, dtype):
    dequantizer = build(name, cardinalities, dtype=dtype)
    n, d = len(cardinalities), dequantizer.dim
    assert dequantizer.features == n * d
    for batch in [(), (4,), (2, 3)]:
        y = rows(cardinalities, *batch)
        q = dequantizer(y)
        assert q.batch_shape == batch
        assert q.event_shape == (n, d)
        for draws in [(), (5,), (2, 1)]:
            x, log_prob = q.rsample_with_log_prob(draws)
            assert x.shape == q.rsample(draws).shape == (*draws, *batch, n, d)
            assert log_prob.shape == q.log_prob(x).shape == (*draws, *batch)
            assert x.dtype == log_prob.dtype == q.log_prob(x).dtype == dtype
            code = dequantizer.quantize(x)
            assert code.shape == (*draws, *batch, n)
            assert code.dtype == torch.int64
            assert dequantizer.contains(x, y).shape == code.shape
    point = x[(0,) * len(x.shape[:-2])]
    assert q.log_prob(point).shape == (2, 3), "one point broadcasts against a batch of values"


@every_method
@every_size
def test_an_empty_batch_is_decoded(name, cardinalities):
    # Torch's own Independent has no log-density for one, hence no more than this.
    dequantizer = build(name, cardinalities)
    x = torch.empty(0, len(cardinalities), dequantizer.dim, dtype=torch.float64)
    assert dequantizer.quantize(x).shape == (0, len(cardinalities))
    assert dequantizer(rows(cardinalities, 0)).batch_shape == (0,)


@every_method
@every_size
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-2), (torch.float64, 1e-9)], ids=str)
def test_samples_lie_in_the_cell_with_the_density_they_came_with(name, cardinalities, dtype, tolerance):
    dequantizer = build(name, cardinalities, dtype=dtype)
    y = rows(cardinalities, 50)
    q = dequantizer(y)
    x, log_prob = q.rsample_with_log_prob((20,))
    assert (dequantizer.quantize(x) == y).all()
    assert dequantizer.contains(x, y).all()
    assert log_prob.isfinite().all()
    # Next to a wall, rounding moves a point by much of its way to the wall.
    assert ((q.log_prob(x) - log_prob).abs() < tolerance).float().mean() > 0.99


@pytest.mark.parametrize("name", [name for name in DEQUANTIZERS if not name.startswith("voronoi")])
@every_size
def test_wide_noise_stays_in_the_cell(name, cardinalities):
    dequantizer = build(name, cardinalities, dtype=torch.float32)
    dequantizer.noise = _Wide(dequantizer.features)
    y = rows(cardinalities, 2000)
    x, log_prob = dequantizer(y).rsample_with_log_prob()
    assert (dequantizer.quantize(x) == y).all()
    assert log_prob.isfinite().all()


class _Wide(StandardNoise):
    def forward(self, y):
        noise = super().forward(y)
        noise.base = DiagNormal(noise.base.mean, 100 * noise.base.stddev)
        return noise


@every_method
@pytest.mark.parametrize("cardinalities", CARDINALITIES[1:], ids=str)
def test_log_prob_is_minus_infinity_in_other_cells(name, cardinalities):
    dequantizer = build(name, cardinalities)
    y, other = rows(cardinalities, 200), rows(cardinalities, 200)
    log_prob = dequantizer(y).log_prob(dequantizer(other).sample())
    same = (y == other).all(-1)
    assert (log_prob[~same] == -torch.inf).all()
    assert log_prob[same].isfinite().all()


@every_method
@pytest.mark.parametrize("cardinalities", CARDINALITIES, ids=str)
def test_every_point_is_decoded_to_an_existing_value(name, cardinalities):
    dequantizer = build(name, cardinalities)
    far = 10 ** torch.linspace(-3, 30, 100, dtype=torch.float64)[:, None, None]
    y = dequantizer.quantize(far * torch.randn(100, len(cardinalities), dequantizer.dim, dtype=torch.float64))
    assert ((y >= 0) & (y < torch.tensor(cardinalities))).all()


@every_method
@every_size
def test_log_det_is_the_jacobians(name, cardinalities):
    dequantizer = build(name, cardinalities)
    y = rows(cardinalities)
    u = torch.randn(len(cardinalities), dequantizer.dim, dtype=torch.float64)
    cells = dequantizer.cells(y)
    x, log_det = cells.call_and_ladj(u)
    back, log_det_back = cells.inv.call_and_ladj(x)
    torch.testing.assert_close(back, u, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-8, atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(cells, u)
    torch.testing.assert_close(jacobian.flatten(2).flatten(0, 1).slogdet().logabsdet, log_det.sum())


@every_method
@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_parameter_gets_a_finite_gradient(name, cardinalities, dtype):
    dequantizer = build(name, cardinalities, dtype=dtype)
    q = dequantizer(rows(cardinalities, 50))
    x, log_prob = q.rsample_with_log_prob()
    loss = x.square().sum() - log_prob.sum() + q.log_prob(x.detach()).sum()
    assert loss.requires_grad == any(True for _ in dequantizer.parameters())
    if loss.requires_grad:
        loss.backward()
    for key, parameter in dequantizer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@every_method
def test_density_integrates_to_one(name):
    dequantizer = build(name, (3,))
    q = dequantizer(torch.tensor([2]))
    sample = q.sample((5000,)).squeeze(-2)
    # Heavy-tailed proposals of the samples' mean and covariance.
    root = torch.linalg.cholesky(sample.mT.cov().reshape(dequantizer.dim, dequantizer.dim))
    student = StudentT(torch.tensor(3.0, dtype=torch.float64))
    t = student.sample((50_000, dequantizer.dim))
    x = sample.mean(0) + t @ root.mT
    ratio = (q.log_prob(x[:, None]) - student.log_prob(t).sum(-1) + root.diagonal().log().sum()).exp()
    assert _error(ratio) < 0.05
    assert abs(ratio.mean() - 1) < 4 * _error(ratio)


@every_method
@pytest.mark.parametrize("perturbed", [False, True], ids=["at the start", "perturbed"])
def test_bound_is_a_probability(name, perturbed):
    """Importance weights average to the flow's mass in each cell; all cells together hold no more than 1."""
    cardinalities = (3, 2)
    dequantizer = DEQUANTIZERS[name](cardinalities)
    model = DequantizedFlow(coupling_flow(dequantizer.features, layers=4, hidden_features=(16,)), dequantizer)
    if perturbed:
        perturb(model)
    model.eval()
    y = support(cardinalities)
    p = model.log_prob(y.expand(500, *y.shape).flatten(0, 1), samples=10).exp().unflatten(0, (500, len(y)))

    x = model.flow().sample((20_000,)).unflatten(-1, (len(cardinalities), dequantizer.dim))
    code = dequantizer.quantize(x)
    decoded = (code[:, None] == y).all(-1).float()
    held = decoded * dequantizer.contains(x, code).all(-1, keepdim=True)

    assert _below(p.sum(-1), 1)
    for n in range(len(y)):
        assert _below(p[:, n], decoded[:, n].mean(), decoded[:, n]), "the bound exceeds the samples' probability"
        if not perturbed and "softsign" not in name:  # weights have a finite variance
            assert abs(p[:, n].mean() - held[:, n].mean()) < 4 * (_error(p[:, n]) + _error(held[:, n])) + 1e-6


def _below(estimates, limit, others=None):
    slack = _error(estimates) + (0 if others is None else _error(others))
    return estimates.mean() <= limit + 4 * slack + 1e-6


def _error(estimates):
    return estimates.std() / len(estimates) ** 0.5


@every_method
@every_size
def test_state_dict_round_trip(name, cardinalities):
    dequantizer, other = build(name, cardinalities), build(name, cardinalities)
    other.load_state_dict(dequantizer.state_dict())
    y = rows(cardinalities, 20)
    x = dequantizer(y).sample()
    assert other(y).log_prob(x).equal(dequantizer(y).log_prob(x))
    assert other.quantize(x).equal(dequantizer.quantize(x))


@every_method
@every_size
def test_eval_and_train_agree(name, cardinalities):
    dequantizer = build(name, cardinalities)
    y = rows(cardinalities, 20)
    drawn = []
    for training in (True, False):
        torch.manual_seed(3)
        drawn.append(dequantizer.train(training)(y).rsample_with_log_prob())
    assert drawn[0][0].equal(drawn[1][0])
    assert drawn[0][1].equal(drawn[1][1])


@every_method
def test_repr_names_the_method(name):
    dequantizer = build(name, (3, 2))
    assert type(dequantizer).__name__ in repr(dequantizer)
    assert repr(dequantizer(rows((3, 2))))


@every_method
def test_says_that_the_bound_is_one(name):
    assert build(name, (3, 2)).lower_bound is True


@every_method
@pytest.mark.parametrize("cardinalities", [(), (3, 0)], ids=str)
def test_every_variable_needs_a_class(name, cardinalities):
    with pytest.raises(ValueError, match="at least one class"):
        DEQUANTIZERS[name](cardinalities)


@every_method
def test_values_that_are_no_class_are_refused(name):
    dequantizer = build(name, (3, 2))
    for y in ([[0, 1], [0, 2]], [[0, -1]]):
        with pytest.raises(ValueError, match=r"variable 1 has values 0, ..., 1, got"):
            dequantizer(torch.tensor(y))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2\), got \(3,\)"):
        dequantizer(torch.tensor([0, 1, 0]))


@pytest.mark.parametrize("name", [name for name in DEQUANTIZERS if not name.startswith("ordinal")])
def test_noise_is_named_or_a_module(name):
    make = DEQUANTIZERS[name]
    if "noise" not in make.keywords:
        with pytest.raises(ValueError, match="noise must be 'conditional', 'gaussian' or 'standard', got 'loud'"):
            make((3, 2), noise="loud")
        assert isinstance(make((3, 2), noise=nn.Identity()).noise, nn.Identity)


def test_noise_that_ignores_the_value_is_drawn_for_each_row():
    class Same(nn.Module):
        def forward(self, y):
            zero = torch.zeros(4)
            return NormalizingFlow(IndependentTransform(IdentityTransform(), 1), DiagNormal(zero, zero + 1))

    y = torch.zeros(500, 2, dtype=torch.int64)
    noise = VoronoiDequantizer((2, 3), dim=2, noise=Same())(y)
    x, log_prob = noise.rsample_with_log_prob()
    assert len(x.flatten(1).unique(dim=0)) == 500
    assert log_prob.shape == noise.log_prob(x).shape == (500,)


def test_classes_are_checked_where_torch_compiles():
    dequantizer = VoronoiDequantizer((3, 4), 2)
    compiled = torch.compile(lambda y: dequantizer(y).rsample_with_log_prob()[1], backend="eager")
    with pytest.raises(ValueError, match=r"variable 0 has values 0, ..., 2"):
        compiled(torch.tensor([[0, 1], [3, 3]]))
