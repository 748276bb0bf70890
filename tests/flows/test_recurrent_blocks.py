"""Flows over the cells of sequences, in blocks of positions."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.dequantization import IntervalDequantizer, SharedDequantizer, VoronoiDequantizer
from tessflow.flows import RecurrentBlockFlow
from tessflow.models import DequantizedFlow

LETTERS = {
    "intervals": lambda: IntervalDequantizer((5,), hidden_features=(8,)),
    "voronoi": lambda: VoronoiDequantizer((5,), 2, noise="gaussian", hidden_features=(8,)),
}
every_kind = pytest.mark.parametrize("cells", LETTERS)
every_block = pytest.mark.parametrize("block", [1, 2, 4])


def made(cells, block, *, length=8, wild=0.3):
    torch.manual_seed(0)
    letters = LETTERS[cells]().double()
    flow = RecurrentBlockFlow(letters, length, block=block, hidden_features=8, embedding=4).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(wild * torch.randn_like(parameter))
    return DequantizedFlow(flow, SharedDequantizer(letters, length)).eval()


def to_reference(model, x):
    flow, dim = model.flow, model.dequantizer.dim
    points = x.reshape(len(x), -1, flow.block, 1, dim)
    h = flow.lstm(flow.read(flow.cells.quantize(points).squeeze(-1)))
    z = flow.move(h)(points).squeeze(-2)
    for layer in flow.couplings:
        z = layer.call_and_ladj(z, h)[0]
    return z.flatten(1)


@every_kind
@every_block
def test_log_density_is_that_of_the_reference_and_the_jacobian(cells, block):
    model = made(cells, block)
    x = model.dequantizer(torch.randint(5, (4, 8))).sample().flatten(-2)
    jacobian = torch.autograd.functional.jacobian(lambda point: to_reference(model, point).sum(0), x).movedim(1, 0)
    z = to_reference(model, x).unflatten(-1, (8, -1))
    expected = model.flow.cells.reference().log_prob(z).sum(-1) + jacobian.slogdet().logabsdet
    assert_close(model.flow().log_prob(x), expected, rtol=1e-6, atol=1e-6)


@every_kind
@every_block
def test_a_sample_is_the_way_back(cells, block, monkeypatch):
    model = made(cells, block)
    x = model.dequantizer(torch.randint(5, (20, 8))).sample().flatten(-2)
    z = to_reference(model, x).reshape(20, 8 // block, block, -1).unbind(1)
    parts = iter(z)
    monkeypatch.setattr("tessflow.flows.recurrent_blocks.draw", lambda *_: next(parts))
    close = (model.flow().sample((20,)) - x).abs().amax(-1) < 1e-5
    assert close.float().mean() > 0.9  # but for points next to walls


def test_blocks_see_only_those_before():
    model = made("intervals", 2)
    y = torch.zeros(1, 8, dtype=torch.int64)
    first = model.flow.lstm(model.flow.read(y.unflatten(-1, (-1, 2))))
    for changed in range(8):
        other = y.clone()
        other[:, changed] = 1
        seen = model.flow.lstm(model.flow.read(other.unflatten(-1, (-1, 2))))
        assert ((seen - first).abs().amax((0, 2)) > 0).tolist() == [n > changed // 2 for n in range(4)]


@every_kind
def test_every_parameter_gets_a_finite_gradient(cells):
    model = made(cells, 4).train()
    model.elbo(torch.randint(5, (6, 8))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_sequences_of_other_lengths():
    model = made("intervals", 2)
    assert model.flow().log_prob(torch.zeros(3, 12).double()).shape == (3,)
    with pytest.raises(ValueError, match=r"T a multiple of 2, got \(3, 5\)"):
        model.flow().log_prob(torch.zeros(3, 5).double())


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one variable, got 2"):
        RecurrentBlockFlow(IntervalDequantizer((3, 2)), 4)
    with pytest.raises(ValueError, match="multiple of block, both at least 1, got 6 and 4"):
        RecurrentBlockFlow(IntervalDequantizer((3,)), 6)
