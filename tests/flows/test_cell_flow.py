"""Coupling flows over cells: bijections whose first layer reads cells."""

import math

import pytest
import torch
from torch.testing import assert_close

from tessflow.dequantization import BinaryArgmaxDequantizer, IntervalDequantizer, OrdinalDequantizer, VoronoiDequantizer
from tessflow.flows import cell_flow
from tessflow.flows.cell_flow import CellCoupling
from tessflow.models import DequantizedFlow
from tessflow.training import TrainingConfig, fit

CARDINALITIES = (3, 2, 5)
CELLS = {
    "voronoi": lambda sizes: VoronoiDequantizer(sizes, 2),
    "binary argmax": BinaryArgmaxDequantizer,
    "intervals": IntervalDequantizer,
    "ordinal": OrdinalDequantizer,
}
NETWORKS = ["mlp", "residual", "transformer"]


def made(cells="voronoi", cardinalities=CARDINALITIES, **options):
    torch.manual_seed(0)
    dequantizer = CELLS[cells](cardinalities).double()
    options = {"layers": 4, "hidden_features": (16, 16), "components": 5, **options}
    flow = cell_flow(dequantizer, **options).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return dequantizer, flow.eval()


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("numbers", [0, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_round_trip_and_log_determinant(cells, numbers, network):
    dequantizer, flow = made(cells, numbers=numbers, network=network)
    x = torch.randn(4, dequantizer.features + numbers, dtype=torch.float64)
    transform = flow().transform
    z, log_det = transform.call_and_ladj(x)
    assert_close(transform.inv(z), x, atol=1e-9, rtol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda point: transform(point).sum(0), x).movedim(1, 0)
    assert_close(jacobian.slogdet().logabsdet, log_det)


@pytest.mark.parametrize("cells", CELLS)
def test_the_first_layer_reads_the_cells_of_what_it_keeps(cells, monkeypatch):
    torch.manual_seed(0)
    dequantizer = CELLS[cells](CARDINALITIES)
    flow = cell_flow(dequantizer, layers=4, hidden_features=(16,), components=2).train()
    y = torch.stack([(torch.rand(500) ** 2 * k).long() for k in CARDINALITIES], -1)
    x = dequantizer(y).sample().flatten(-2)
    flow().log_prob(x)  # sets the norms
    read, one_hot = [], CellCoupling._one_hot
    monkeypatch.setattr(CellCoupling, "_one_hot", lambda layer, kept: read.append(one_hot(layer, kept)) or read[-1])
    flow().log_prob(x)
    (hot,) = read  # one layer reads
    assert torch.equal(hot.argmax(-1), y[:, [0, 2]])
    assert (hot.sum(-1) == 1).all()


def test_what_it_reads_helps():
    torch.manual_seed(0)
    first = torch.randint(4, (2000, 6))
    y = torch.stack([first, (first + first.roll(1, -1)) % 4], -1).flatten(-2)  # even variables say what odd ones are
    dequantizer = VoronoiDequantizer((4,) * 12, 2, noise="gaussian", hidden_features=(32,))
    flow = cell_flow(dequantizer, layers=2, hidden_features=(128,), components=8)
    model = DequantizedFlow(flow, dequantizer)
    fit(model, y, y[:500], TrainingConfig(max_steps=150, learning_rate=1e-2, batch_size=256, warmup_steps=20))
    independent = 12 * math.log(4)
    assert -model.log_prob(y[:200], samples=10).mean() < independent - 3


def test_a_number_has_no_cell():
    _, flow = made(numbers=2)
    first = flow.transform.transforms[0]
    hot = first._one_hot(torch.randn(6, len(first.kept), dtype=torch.float64))
    assert hot.shape == (6, 3, 5)  # variables 0, 2 and 4; the last is a number
    assert (hot[:, 2] == 0).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_start_as_the_identity(network):
    dequantizer = VoronoiDequantizer(CARDINALITIES, 2)
    flow = cell_flow(dequantizer, layers=4, network=network, hidden_features=(16, 16), components=2).eval()
    x = torch.randn(5, 6)
    z, log_det = flow().transform.call_and_ladj(x)
    assert_close(z, x)
    assert_close(log_det, torch.zeros(5))


@pytest.mark.parametrize("cardinalities", [(3,), (2, 4)])
def test_few_variables(cardinalities):
    dequantizer = VoronoiDequantizer(cardinalities, 2, hidden_features=(16,))
    model = DequantizedFlow(cell_flow(dequantizer, layers=4, hidden_features=(16,), components=2), dequantizer)
    assert model.sample(4).shape == (4, len(cardinalities))
    y = torch.zeros(4, len(cardinalities), dtype=torch.int64)
    model.train()
    model.elbo(y).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.flow.parameters())


def test_far_points_have_finite_densities():
    dequantizer, flow = made()
    x = torch.tensor([1e4, -1e6, 3e8])[:, None].expand(-1, dequantizer.features).double()
    assert flow().log_prob(x).isfinite().all()


def test_it_takes_no_part_of_the_dequantizer():
    dequantizer, flow = made()
    mine = {id(parameter) for parameter in flow.parameters()}
    assert not mine & {id(parameter) for parameter in dequantizer.parameters()}


def test_what_cannot_be_is_refused():
    dequantizer = VoronoiDequantizer(CARDINALITIES, 2)
    with pytest.raises(ValueError, match="layers and components must be at least 1, got 0 and 256"):
        cell_flow(dequantizer, layers=0)
    with pytest.raises(ValueError, match="network must be one of 'mlp', 'residual', 'transformer', got 'rnn'"):
        cell_flow(dequantizer, network="rnn")
    with pytest.raises(ValueError, match="all equal, got \\(8, 4\\)"):
        cell_flow(dequantizer, hidden_features=(8, 4))
