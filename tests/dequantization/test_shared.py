"""One variable's dequantizer at every position."""

import pytest
import torch
from dequantizer_cases import DEQUANTIZERS, build

from tessflow.dequantization import SharedDequantizer, VoronoiDequantizer


@pytest.mark.parametrize("name", DEQUANTIZERS)
def test_positions_are_independent_copies(name):
    each = build(name, (5,))
    shared = SharedDequantizer(each, 3)
    y = torch.randint(5, (40, 3))
    q = shared(y)
    x, log_prob = q.rsample_with_log_prob()
    assert x.shape == (40, 3, each.dim)
    assert shared.features == 3 * each.dim
    assert torch.equal(shared.quantize(x), y)
    assert shared.contains(x, y).all()
    alone = each(y.reshape(-1, 1)).log_prob(x.reshape(-1, 1, each.dim)).reshape(40, 3).sum(-1)
    torch.testing.assert_close(log_prob, alone)
    torch.testing.assert_close(q.log_prob(x), alone)
    torch.testing.assert_close(shared(y.flip(-1)).log_prob(x.flip(-2)), alone)


def test_a_point_in_another_cell_has_no_density():
    shared = SharedDequantizer(build("voronoi, D = 2", (5,)), 2)
    x = shared(torch.tensor([[0, 1]])).sample()
    assert shared(torch.tensor([[0, 2]])).log_prob(x) == -torch.inf


def test_parameters_are_those_of_one_variable():
    each = VoronoiDequantizer((5,), hidden_features=(8, 8))
    shared = SharedDequantizer(each, 4)
    assert len(shared.state_dict()) == len(each.state_dict())
    assert shared.lower_bound
    assert shared.cardinalities == (5, 5, 5, 5)


def test_errors():
    with pytest.raises(ValueError, match="dequantizer of one variable, got one of 2"):
        SharedDequantizer(VoronoiDequantizer((5, 2)), 4)
    with pytest.raises(ValueError, match="positions must be at least 1"):
        SharedDequantizer(VoronoiDequantizer((5,)), 0)
    with pytest.raises(ValueError, match=r"variable 1 has values 0, ..., 4"):
        SharedDequantizer(VoronoiDequantizer((5,)), 2)(torch.tensor([[0, 5]]))
