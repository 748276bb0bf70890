"""Whitening of groups."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from tessflow.transforms import GroupWhitening


def points(n=600, groups=3, features=4):
    torch.manual_seed(0)
    group = torch.randint(groups, (n,))
    shape = torch.randn(groups, features, features, dtype=torch.float64)
    x = (shape[group] @ torch.randn(n, features, 1, dtype=torch.float64)).squeeze(-1) + 5 * group[:, None]
    return x, group


def fitted(x, group, groups=3):
    whitening = GroupWhitening(groups, x.shape[1]).double()
    whitening.initialize(x, group)
    return whitening


def test_starts_as_the_identity():
    x, group = points()
    y, log_det = GroupWhitening(3, 4).double()(group).call_and_ladj(x)
    assert_close(y, x)
    assert (log_det == 0).all()


def test_large_groups_become_uncorrelated():
    x, group = points(n=60_000)
    y = fitted(x, group)(group)(x)
    for k in range(3):
        assert_close(y[group == k].mean(0), torch.zeros(4).double(), atol=1e-5, rtol=0)
        assert_close(y[group == k].T.cov(), torch.eye(4).double(), atol=0.05, rtol=0)


def test_inverse_and_log_determinant():
    x, group = points()
    transform = fitted(x, group)(group)
    y, log_det = transform.call_and_ladj(x)
    back, log_det_back = transform.inv.call_and_ladj(y)
    assert_close(back, x)
    assert_close(log_det_back, -log_det)
    jacobian = torch.autograd.functional.jacobian(fitted(x, group)(group[:1]), x[:1]).squeeze()
    assert_close(log_det[0], jacobian.slogdet().logabsdet)


def test_small_and_empty_groups_take_the_average_shape():
    x, group = points(groups=2)
    x = torch.cat([x, x[:1]])
    group = torch.cat([group, torch.tensor([2])])
    whitening = fitted(x, group, groups=4)
    assert whitening.matrix.isfinite().all()
    assert_close(whitening.mean[2], x[-1])
    assert_close(whitening.mean[3], x.mean(0))
    assert_close(whitening.matrix[2], whitening.matrix[3], rtol=0.2, atol=0.05)


def test_directions_without_spread_are_finite():
    x = torch.zeros(10, 3).double()
    x[:, 0] = torch.arange(10)
    whitening = fitted(x, torch.zeros(10, dtype=torch.int64), groups=1)
    assert whitening(torch.zeros(10, dtype=torch.int64))(x).isfinite().all()
    same = fitted(torch.ones(10, 3).double(), torch.zeros(10, dtype=torch.int64), groups=1)
    assert same.matrix.isfinite().all()


def test_no_points_change_nothing():
    whitening = fitted(torch.zeros(0, 2).double(), torch.zeros(0, dtype=torch.int64))
    assert (whitening.mean == 0).all()
