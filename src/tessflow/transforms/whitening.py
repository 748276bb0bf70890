"""An affine map for each group of points that decorrelates its first batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from tessflow.geometry import double
from tessflow.transforms.cell import InverseWithLadj

__all__ = ["GroupWhitening"]

# Numbers of products of pairs of features held at once.
_BLOCK = 1 << 20

# A product of matrices a group is faster than sums of outer products up to so many groups, in numbers that are summed.
_PRODUCTS = 1e-4


class GroupWhitening(nn.Module):
    r"""Shift and decorrelate the points of each group, :math:`y = W_k (x - m_k)` with lower-triangular :math:`W_k`.

    An :class:`ActNorm` with a whole matrix, for each group its own: from a batch, the covariance :math:`S_k` of group
    ``k``, with :math:`n_k` points, and the covariance :math:`S` within groups, make

    .. math:: W_k^\top W_k = \Big( \frac{n_k S_k + (D + 2) S}{n_k + D + 2} \Big)^{-1},

    so that a group with few points takes the shape that groups have on average, and if all have, keeps its own: to
    :math:`S` belong a tenth of a point of covariance I. Mean and matrix are buffers: training
    leaves them.

    Args:
        groups: The number ``K`` of groups.
        features: The number ``D`` of features.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> whitening = GroupWhitening(1, 2)
        >>> whitening.initialize(x, torch.zeros(4, dtype=torch.int64))
        >>> whitening(torch.zeros(4, dtype=torch.int64))(x).round(decimals=1)
        tensor([[-0.9000, -0.9000],
                [ 0.9000, -0.9000],
                [-0.9000,  0.9000],
                [ 0.9000,  0.9000]])
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, groups: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(groups, features))
        self.register_buffer("matrix", torch.eye(features).repeat(groups, 1, 1))

    def forward(self, group: Tensor) -> Transform:
        """Return the transform for points ``(..., D)`` of groups ``(...)``."""
        shape = (*group.shape, *self.mean.shape[1:])
        mean = self.mean.index_select(0, group.flatten()).reshape(shape)
        matrix = self.matrix.index_select(0, group.flatten()).reshape(*shape, shape[-1])
        return _Whiten(mean, matrix)

    @torch.no_grad()
    def initialize(self, x: Tensor, group: Tensor) -> None:
        """Set mean and matrix from points ``(B, D)`` of groups ``(B,)``."""
        if len(x) == 0:
            return
        groups, features = self.mean.shape
        x = double(x)
        count = group.bincount(minlength=groups).to(x)
        mean = x.new_zeros(groups, features).index_add_(0, group, x) / count.clamp_min(1)[:, None]
        # A group without points has the mean of all.
        mean = torch.where(count[:, None] > 0, mean, x.mean(0))
        scatter = x.new_zeros(groups, features, features)
        if groups < _PRODUCTS * len(x) * features**2:
            for number, part in enumerate(group.argsort().split(count.long().tolist())):
                rows = x[part] - mean[number]
                scatter[number] = rows.mT @ rows
        else:
            for part in torch.arange(len(x), device=x.device).split(max(1, _BLOCK // features**2)):
                rows = x[part] - mean[group[part]]
                scatter.index_add_(0, group[part], rows[:, :, None] * rows[:, None, :])
        identity = torch.eye(features, dtype=x.dtype, device=x.device)
        free = len(x) - (count > 0).sum()  # degrees of freedom about the groups' means
        within = (scatter.sum(0) + 0.1 * identity) / (free + 0.1)
        # A direction without spread keeps a little of that of the others.
        within = within + 1e-4 * within.diagonal().mean() * identity
        covariance = (scatter + (features + 2) * within) / (count + features + 2)[:, None, None]
        factor = torch.linalg.cholesky(covariance)
        self.mean.copy_(mean)
        self.matrix.copy_(torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False))


class _Whiten(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.mean = mean
        self.matrix = matrix

    @property
    def inv(self) -> Transform:
        return InverseWithLadj(self)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._call(x), self.log_abs_det_jacobian(x, x)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._inverse(y), -self.log_abs_det_jacobian(y, y)

    def _call(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the product would be of half precision
            v, d = x - self.mean, x.shape[-1]
            rows, matrix = v.reshape(-1, 1, d), self.matrix.expand(*v.shape, d).reshape(-1, d, d)
            return torch.bmm(rows, matrix.mT).reshape(v.shape)  # a third of the time of `@`, whose gradients copy

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.matrix, y[..., None], upper=False).squeeze(-1) + self.mean

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        log_det = self.matrix.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det.expand(torch.broadcast_shapes(log_det.shape, x.shape[:-1]))
