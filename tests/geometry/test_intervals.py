"""Intervals of the line, known by their masses."""

import math

import pytest
import torch
from torch.testing import assert_close

from tessflow.geometry import Intervals


def masses(*shape, seed=0):
    torch.manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64).mul(3).log_softmax(-1)


def test_walls_cut_the_logistic_into_the_masses():
    log_masses = masses(4, 7)
    ends = torch.cat([torch.full((4, 1), -math.inf), Intervals(log_masses).walls, torch.full((4, 1), math.inf)], -1)
    assert_close(ends.sigmoid().diff(dim=-1), log_masses.exp())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_points_are_in_the_cell_between_whose_walls_they_are(dtype):
    cells = Intervals(masses(3, 5).to(dtype))
    x = 4 * torch.randn(1000, 3, 1, dtype=dtype)
    brute = (x.double() > cells.walls).sum(-1)
    assert torch.equal(cells.locate(x), brute)


def test_a_point_on_a_wall_is_in_the_cell_below():
    cells = Intervals(masses(5))
    assert cells.locate(cells.walls[:, None]).tolist() == [0, 1, 2, 3]


def test_cells_that_do_not_exist_hold_no_point():
    logits = torch.tensor([[0.3, -0.1, -torch.inf], [0.0, 1.0, 2.0], [0.0, -torch.inf, -torch.inf]])
    cells = Intervals(logits)
    x = torch.tensor([-torch.inf, -1e30, -5.0, 0.0, 5.0, 800.0, 1e30, torch.inf])[:, None, None].expand(-1, 3, 1)
    assert (cells.locate(x).amax(0) == torch.tensor([1, 2, 0])).all()


def test_masses_of_1e_300_are_kept():
    log_masses = torch.tensor([math.log(1e-300), math.log1p(-1e-12), math.log(1e-12)], dtype=torch.float64)
    taken = Intervals(log_masses).take(torch.arange(3))
    assert_close(taken.log_mass, log_masses)
    assert_close(taken.log_below[1:], torch.tensor([math.log(1e-300), math.log1p(-1e-12)], dtype=torch.float64))
    assert_close(taken.log_above[:2], torch.tensor([0.0, math.log(1e-12)], dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_cell_whose_mass_no_number_holds_has_its_place():
    cells = Intervals(torch.tensor([-750.0, 0.0, 0.0], dtype=torch.float64))
    assert_close(cells.walls[0], torch.tensor(-750.0 - math.log(2), dtype=torch.float64))
    assert cells.locate(torch.tensor([[-760.0], [-740.0]])).tolist() == [0, 1]


def test_gradients_are_finite_where_there_is_nothing_below_or_above():
    logits = torch.tensor([[0.3, -0.1, -torch.inf], [0.0, 1.0, 2.0]], requires_grad=True)
    taken = Intervals(logits).take(torch.tensor([[0, 0], [1, 2]]))
    sum(part.exp().sum() for part in taken).backward()
    assert logits.grad.isfinite().all()


def test_no_cell_is_refused():
    with pytest.raises(ValueError, match=r"shape \(\*N, K\) with K >= 1, got \(2, 0\)"):
        Intervals(torch.zeros(2, 0))
