"""No tensor over batch, cells and dimensions at once; where batch times cells is large, not even that."""

from __future__ import annotations

import pytest
import torch

from largest_tensor import LargestTensor
from tessflow.geometry import Tessellation
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian


def largest(B: int, N: int, K: int, D: int, profile, *, box: bool, learn: bool = True) -> int:
    anchors = torch.randn(N, K, D).tanh().requires_grad_(learn)
    x = torch.randn(B, N, D, requires_grad=True)
    scale = torch.ones(B, N, requires_grad=True)
    walls = (torch.full((N, D), -1.5), torch.full((N, D), 1.5)) if box else (None, None)
    with LargestTensor() as seen:
        cells = Tessellation(anchors, *walls)
        index = cells.locate(x.detach())
        c = CellTransform(cells, index, profile=profile(scale))
        z, log_det = c.call_and_ladj(x)
        back, inverse_log_det = c.inv.call_and_ladj(z)
        (z.sum() + log_det.sum() + back.sum() + inverse_log_det.sum()).backward()
    return seen.elements


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("profile", [Softsign, TruncatedGaussian])
def test_no_tensor_over_batch_cells_and_dimensions(profile, box):
    B, N, K, D = 64, 3, 500, 16
    assert largest(B, N, K, D, profile, box=box) <= 2 * B * N * K


def test_many_cells_are_taken_in_parts():
    B, N, K, D = 256, 1, 20_000, 4
    assert largest(B, N, K, D, Softsign, box=True) <= B * N * K / 8


@pytest.mark.parametrize("learn", [False, True], ids=["tree", "scan"])
def test_more_points_than_cells_hold_no_table_of_all_pairs_of_cells(learn):
    B, K = 8000, 4000
    assert largest(B, 1, K, 2, Softsign, box=False, learn=learn) <= K * K / 8


def test_the_recorder_sees_what_it_should():
    with LargestTensor() as seen:
        (torch.ones(7, 1, requires_grad=True) * torch.ones(1, 11)).sum().backward()
    assert seen.elements == 77
