"""Simplex dequantization: a corner of a regular simplex a class, and the nearest corner names the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import SoftplusTransform, Transform, constraints

from tessflow.dequantization.base import Dequantizer, NoiseName

__all__ = ["SimplexDequantizer"]

_softplus = SoftplusTransform()


class SimplexDequantizer(Dequantizer):
    r"""Push noise into the cell of a corner of the regular simplex with K corners in R^(K-1).

    Argmax dequantization without its redundant direction. Let w be the point of the hyperplane :math:`\sum_i w_i = 0`
    in R^K that has coordinates x in the orthonormal (Helmert) basis
    :math:`h_j = (1, ..., 1, -j, 0, ..., 0) / \sqrt{j (j + 1)}`. The corners are the unit vectors' projections; x is
    nearest to corner k where :math:`w_k` is the largest, and noise u in R^(K-1) sets by how much:

    .. math:: w_k - w_i = g_i = \mathrm{softplus}(u_i) \quad (i \ne k), \qquad
              \log\left|\det \frac{\partial x}{\partial u}\right| = \sum_i \log \sigma(u_i) - \tfrac12 \log K,

    since :math:`\partial w / \partial g` has the Gram matrix :math:`I - 11^T / K`, of determinant 1 / K. The cells are
    those of :meth:`tessflow.geometry.VoronoiTessellation.simplex`; the map onto them is the softplus thresholding of
    Hoogeboom et al. (2021), taken to the hyperplane. The first k corners span a simplex in the first k - 1 dimensions:
    D is the largest number of classes less 1, at least 1, and a variable's further dimensions are left as they are and
    never decoded.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        noise: ``"conditional"``, ``"gaussian"`` or ``"standard"``; see :class:`Dequantizer`.
        hidden_features: The widths of the conditional noise's networks.

    Example:
        >>> dequantizer = SimplexDequantizer((3, 2))
        >>> x = dequantizer(torch.tensor([[2, 0]])).sample()
        >>> x.shape, dequantizer.quantize(x)
        (torch.Size([1, 2, 2]), tensor([[2, 0]]))
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        noise: NoiseName = "conditional",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        dim = max(1, max(cardinalities, default=1) - 1)
        super().__init__(cardinalities, dim, noise=noise, hidden_features=hidden_features)

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the cells of ``y``."""
        return _NearCorner(y, self.num_classes[:, None])

    def quantize(self, x: Tensor) -> Tensor:
        """Return the nearest corner's index."""
        # Entries of corners that exist sum to 0, so the largest is above those of the others, which are 0.
        return _embed(x, self.num_classes[:, None]).argmax(-1)


class _NearCorner(Transform):
    """From R^D onto the points nearest to corner ``index`` of the first ``sizes`` corners."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, index: Tensor, sizes: Tensor) -> None:
        super().__init__()
        self.index = index[..., None]
        self.sizes = sizes

    def _call(self, u: Tensor) -> Tensor:
        used, info = self._used(u), torch.finfo(u.dtype)
        gap = _softplus(u).where(used, 0)
        # Rounding must not carry a point over the wall.
        noise = info.tiny + info.eps * u.shape[-1] ** 0.5 * gap.detach().amax(-1, keepdim=True)
        gap = torch.maximum(gap, 8 * noise).where(used, 0)
        w = gap.sum(-1, keepdim=True) / self.sizes - self._insert(gap)
        return torch.where(used, _coordinates(w), u)

    def _inverse(self, x: Tensor) -> Tensor:
        w = _embed(x, self.sizes)
        index = self.index.expand(*x.shape[:-1], 1)
        gap = (w.take_along_dim(index, -1) - self._remove(w)).clamp_min(torch.finfo(x.dtype).tiny)
        return torch.where(self._used(x), _softplus.inv(gap), x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return F.logsigmoid(x).where(self._used(x), 0).sum(-1) - self.sizes.squeeze(-1).to(x.dtype).log() / 2

    def _used(self, u: Tensor) -> Tensor:
        return torch.arange(u.shape[-1], device=u.device) < self.sizes - 1

    def _insert(self, gap: Tensor) -> Tensor:
        """Gaps of the other corners to gaps of all of them: a 0 goes in at ``index``."""
        corner = torch.arange(gap.shape[-1] + 1, device=gap.device)
        gap = F.pad(gap, (1, 1))
        gap = torch.where(corner < self.index, gap[..., 1:], gap[..., :-1])
        return gap.where(corner != self.index, 0)

    def _remove(self, w: Tensor) -> Tensor:
        """Leave out the entry at ``index``."""
        other = torch.arange(w.shape[-1] - 1, device=w.device)
        return torch.where(other < self.index, w[..., :-1], w[..., 1:])


def _embed(x: Tensor, sizes: Tensor) -> Tensor:
    """From coordinates ``(..., D)`` to R^(D+1): the sum of the first ``sizes - 1`` Helmert vectors times ``x``."""
    j = torch.arange(1, x.shape[-1] + 1, device=x.device)
    x = x.where(j < sizes, 0) / (j * (j + 1)).to(x.dtype).sqrt()
    later = x.flip(-1).cumsum(-1).flip(-1)
    return F.pad(later, (0, 1)) - F.pad(j * x, (1, 0))


def _coordinates(w: Tensor) -> Tensor:
    """From R^(D+1) to inner products ``(..., D)`` with the Helmert vectors."""
    j = torch.arange(1, w.shape[-1], device=w.device)
    return (w[..., :-1].cumsum(-1) - j * w[..., 1:]) / (j * (j + 1)).to(w.dtype).sqrt()
