"""Flows over cells in blocks."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from tessflow.dequantization import (
    ArgmaxDequantizer,
    ConditionalNoise,
    IntervalDequantizer,
    OrdinalDequantizer,
    VoronoiDequantizer,
)
from tessflow.flows import BlockFlow
from tessflow.flows.bases import Gumbel
from tessflow.models import DequantizedFlow
from tessflow.training import TrainingConfig, fit
from tessflow.transforms import IntervalTransform

CARDINALITIES = (3, 2, 4, 2, 3)
SMALL = {"hidden_features": (16,), "coupling_features": (16,)}


def _argmax(cardinalities):
    features = len(cardinalities) * max(cardinalities)
    return ArgmaxDequantizer(cardinalities, noise=ConditionalNoise(cardinalities, features, layers=0, base=Gumbel))


CELLS = {
    "intervals": IntervalDequantizer,
    "voronoi": lambda sizes: VoronoiDequantizer(sizes, 2, noise="gaussian"),
    "voronoi, 4": lambda sizes: VoronoiDequantizer(sizes, 4, noise="gaussian"),
    "argmax": _argmax,
}
every_kind = pytest.mark.parametrize("cells", CELLS)


def made(cells="intervals", cardinalities=CARDINALITIES, *, wild=0.5, seed=0, **options):
    torch.manual_seed(seed)
    dequantizer = CELLS[cells](cardinalities).double()
    flow = BlockFlow(dequantizer, **{"blocks": 2, "couplings": 4, **SMALL, **options}).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(wild * torch.randn_like(parameter))
    return DequantizedFlow(flow, dequantizer).eval()


def points(model, n=6):
    y = torch.stack([torch.randint(k, (n,)) for k in model.cardinalities], -1)
    return model.dequantizer(y).sample().flatten(-2), y


def to_reference(model, x):
    """The map that a flow makes of points, its cells taken as they are: what its log-determinant belongs to."""
    flow, cells = model.flow, model.dequantizer
    points = x.unflatten(-1, (-1, cells.dim))
    seen = flow.embed(cells.quantize(points))
    z = flow.move(seen)(points)
    for layer in flow.layers:
        z = layer.call_and_ladj(z, seen)[0]
    return z.flatten(-2)


@every_kind
@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_log_density_is_that_of_the_reference_and_the_jacobian(cells, blocks):
    model = made(cells, blocks=blocks, wild=0.3)
    x, _ = points(model)
    jacobian = torch.autograd.functional.jacobian(lambda point: to_reference(model, point).sum(0), x).movedim(1, 0)
    expected = model.dequantizer.reference().log_prob(to_reference(model, x)) + jacobian.slogdet().logabsdet
    assert_close(model.flow().log_prob(x), expected, rtol=1e-6, atol=1e-6)


@every_kind
def test_a_sample_is_the_way_back(cells, monkeypatch):
    model = made(cells, blocks=3, wild=0.3)
    x, _ = points(model, 20)
    z = to_reference(model, x)
    monkeypatch.setattr("tessflow.flows.block_flow.draw", lambda *_: z)
    close = (model.flow().sample((20,)) - x).abs().amax(-1) < 1e-5
    assert close.float().mean() > 0.9  # but for points next to walls


@every_kind
def test_blocks_see_only_the_cells_of_those_before(cells):
    model = made(cells, blocks=2)
    flow, n = model.flow, len(CARDINALITIES)
    y = torch.zeros(1, n, dtype=torch.int64)
    for changed in range(n):
        other = y.clone()
        other[:, changed] = 1
        change = (flow.network(flow.embed(y)) - flow.network(flow.embed(other))).unflatten(-1, (n, -1))
        moved = (change.abs().amax((0, 2)) > 0).tolist()
        assert moved == [v % 2 == 1 and changed % 2 == 0 for v in range(n)]


@every_kind
def test_every_parameter_gets_a_finite_gradient(cells):
    model = made(cells).train()
    _, y = points(model, 50)
    model.elbo(y).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(("wild", "seed", "tolerance"), [(0.3, 0, 1e-6), (0.3, 1, 1e-6), (0.6, 1, 2e-3)])
def test_densities_of_two_variables_integrate_to_one(blocks, wild, seed, tolerance):
    model = made(cardinalities=(3, 2), blocks=blocks, wild=wild, couplings=2, seed=seed)
    cells = model.dequantizer.tessellation()
    # In the log-odds of the share of a cell that a point has below it, densities are smooth, and tails go far.
    t = torch.linspace(-6.5, 6.5, 121, dtype=torch.float64)
    e, weight = t.sinh(), t.cosh() * (t[1] - t[0])
    total = 0.0
    for y in itertools.product(range(3), range(2)):
        along = e[:, None, None].expand(-1, 2, 1)
        x, log_slope = IntervalTransform(cells, torch.tensor(y)).call_and_ladj(along)
        rows = torch.stack(torch.meshgrid(x[:, 0, 0], x[:, 1, 0], indexing="ij"), -1)
        with torch.no_grad():
            log_density = model.flow().log_prob(rows) + log_slope[:, None, 0] + log_slope[None, :, 1]
        total += (log_density.exp() * weight[:, None] * weight).sum().item()
    assert total == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("cells", ["intervals", "argmax"])
def test_it_starts_from_independent_columns(cells):
    torch.manual_seed(0)
    dequantizer = CELLS[cells](CARDINALITIES)
    model = DequantizedFlow(BlockFlow(dequantizer, blocks=2, couplings=0, **SMALL), dequantizer).eval()
    y = torch.stack([(torch.rand(4000) ** 2 * k).long() for k in CARDINALITIES], -1)
    model.flow.initialize(y)
    expected = torch.zeros(100, dtype=torch.float64)
    for n, k in enumerate(CARDINALITIES):
        counts = 1.0 + y[:, n].bincount(minlength=k).double()
        expected += (counts / counts.sum()).log()[y[:100, n]]
    if cells == "intervals":  # the noise is the reference, cut off at walls: one sample is exact
        assert_close(model.elbo(y[:100]).double(), expected, atol=1e-4, rtol=0)
    drawn = model.sample(20_000)
    for n, k in enumerate(CARDINALITIES):
        frequency = drawn[:, n].bincount(minlength=k) / len(drawn)
        assert_close(frequency, y[:, n].bincount(minlength=k) / len(y), atol=0.015, rtol=0)


@pytest.mark.parametrize(("cells", "blocks"), [("intervals", 2), ("intervals", 3), ("voronoi", 2)])
def test_probabilities_of_a_trained_model_sum_to_one_and_samples_have_them(cells, blocks):
    sizes = (2, 3, 2)
    torch.manual_seed(1)
    dequantizer = CELLS[cells](sizes)
    model = DequantizedFlow(BlockFlow(dequantizer, blocks=blocks, couplings=2, **SMALL), dequantizer)
    rows = torch.cartesian_prod(*map(torch.arange, sizes))
    law = torch.randn(len(rows)).mul(1.5).softmax(0)
    y = rows[law.multinomial(4000, replacement=True)]
    model.flow.initialize(y)
    fit(model, y, y[:500], TrainingConfig(max_steps=150, batch_size=256, learning_rate=1e-2, ema_decay=0.95))
    model.eval()
    draws = torch.stack([model.elbo(rows.repeat(50, 1)).detach().double() for _ in range(40)]).exp()
    draws = draws.reshape(-1, len(rows))
    total, error = draws.mean(0).sum(), draws.sum(1).std() / math.sqrt(len(draws))
    assert abs(total - 1) < 3 * error + 1e-3
    assert error < 0.02
    frequency = (model.sample(20_000)[:, None] == rows).all(-1).double().mean(0)
    probability = draws.mean(0)
    assert ((frequency - probability).abs() < 5 * (probability / 20_000).sqrt() + 0.01).all()


def test_with_a_block_a_variable_nothing_is_left_to_couple_and_noise_cancels():
    model = made(blocks=5)
    assert len(model.flow.couplings) == 0
    y = torch.randint(2, (50, 5))
    assert_close(model.elbo(y), model.elbo(y), atol=1e-4, rtol=0)


def test_a_block_of_which_nothing_is_kept_stays():
    model = made(blocks=3)  # two of two variables, and one of one
    for layer in model.flow.layers:
        assert {model.flow._block[n].item() for n in layer.moved} <= {model.flow._block[n].item() for n in layer.kept}


def test_what_cannot_be_is_refused():
    dequantizer = IntervalDequantizer((3, 2))
    with pytest.raises(ValueError, match="at most the 2 variables, got 3"):
        BlockFlow(dequantizer, blocks=3)
    with pytest.raises(ValueError, match="cells of a OrdinalDequantizer cannot be moved: take an IntervalDequantizer"):
        BlockFlow(OrdinalDequantizer((3, 2)), blocks=1)
    with pytest.raises(ValueError, match="cells that move have no box"):
        BlockFlow(VoronoiDequantizer((3, 2), 2, box=(-1.0, 1.0)), blocks=1)
    with pytest.raises(ValueError, match="components at least 1, got 4 and 0"):
        BlockFlow(dequantizer, blocks=1, components=0)
    with pytest.raises(ValueError, match=r"variable 1 has values 0, \.\.\., 1, got others"):
        BlockFlow(dequantizer, blocks=1).initialize(torch.tensor([[0, 2]]))
    with pytest.raises(ValueError, match="cells of another dequantizer"):
        DequantizedFlow(BlockFlow(dequantizer, blocks=1), IntervalDequantizer((3, 2)))
    with pytest.raises(ValueError, match=r"permutation of 0, \.\.\., 1"):
        BlockFlow(dequantizer, blocks=1, order=[0, 0])
