"""Mixtures of many cells: where they are placed, and what they cost."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from torch.testing import assert_close

from largest_tensor import LargestTensor
from tessflow.geometry import Tessellation
from tessflow.models import coupling_mixture
from tessflow.models.placing import k_means, spread


def waste(points, centres):
    """Mean squared distance of points from the nearest centre."""
    return float((points - centres[Tessellation(centres).locate(points)]).square().sum(-1).mean())


@pytest.mark.parametrize("D", [2, 8])
def test_many_centres_are_as_near_as_those_of_scikit_learn(D):
    torch.manual_seed(0)
    points, fresh = (torch.randn(10_000, D).double() * torch.rand(10_000, 1) for _ in range(2))
    theirs = KMeans(1000, n_init=1, random_state=0).fit(points.numpy()).cluster_centers_
    ours = k_means(points, 1000)
    assert ours.unique(dim=0).shape == (1000, D)
    assert waste(fresh, ours) <= 1.1 * waste(fresh, torch.from_numpy(theirs))


def test_more_cells_than_distinct_points_get_these():
    points = torch.randn(1500, 2).repeat(2, 1)
    assert_close(k_means(points, 1500), points.unique(dim=0))
    assert_close(k_means(points, 4000), points.unique(dim=0))


def test_first_centres_are_spread_over_all_clusters():
    torch.manual_seed(0)
    sizes = torch.tensor([1] * 20 + [5000])
    points = 100 * torch.arange(21).double().repeat_interleave(sizes)[:, None] + torch.rand(int(sizes.sum()), 1)
    chosen = spread(points, 200)
    assert len(chosen.unique()) == 200
    assert len((chosen / 100).floor().unique()) == 21


def test_options_of_the_placing():
    mixture, seen = coupling_mixture(2, 1200, layers=1, hidden_features=(8,)), []
    x = torch.randn(5000, 2)
    mixture.initialize(x, rows=2400, passes=2, track=lambda batches: seen.extend(batches) or batches)
    assert [len(batch) for batch in seen] == [1200] * 4
    mixture.initialize(x, passes=0)
    u = mixture.to_cells(x)[0]
    assert torch.cdist(mixture.tessellation.anchors.double(), u).amin(-1).max() < 1e-6


def test_no_tensor_over_rows_and_cells():
    B, K = 1000, 6000
    mixture = coupling_mixture(2, K, layers=1, hidden_features=(8,))
    with LargestTensor() as seen:
        mixture.initialize(torch.randn(2 * K, 2))
        (-mixture().log_prob(torch.randn(B, 2)).mean()).backward()
        mixture().sample((B,))
    assert seen.elements <= B * K / 10


def test_cells_are_drawn_as_often_as_they_weigh():
    mixture = coupling_mixture(1, 3000, layers=1, hidden_features=(8,)).double().eval()
    with torch.no_grad():
        mixture.logits.copy_(torch.arange(3000) / 1000)
    drawn = mixture().assign(mixture().sample((200_000,))).bincount(minlength=3000).reshape(3, -1).sum(-1) / 200_000
    assert_close(drawn, mixture.log_weights().exp().reshape(3, -1).sum(-1), rtol=0, atol=0.005, check_dtype=False)
