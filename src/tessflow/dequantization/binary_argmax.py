"""Binary argmax dequantization: a dimension a bit, and the signs of the coordinates spell the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import SoftplusTransform, Transform, constraints

from tessflow.dequantization.base import Dequantizer, NoiseName
from tessflow.geometry import VoronoiTessellation

__all__ = ["BinaryArgmaxDequantizer"]

_softplus = SoftplusTransform()


class BinaryArgmaxDequantizer(Dequantizer):
    r"""Push noise into an orthant: the signs of the coordinates are the value's bits, lowest first.

    .. math:: x_d = s_d \, \mathrm{softplus}(u_d), \qquad s_d = 2 \, \mathrm{bit}_d(k) - 1

    (Hoogeboom et al., 2021, Argmax Flows, Cartesian products of binary spaces). D is ``ceil(log2 K)`` for the largest
    number of classes K, at least 1. Dimensions past a variable's own number of bits are left as they are and never
    decoded. Orthants whose bits spell no class belong to no cell; a point in one is decoded to the class of the nearest
    corner of the cube :math:`\{-1, 1\}^D` that has one.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        noise: ``"conditional"``, ``"gaussian"`` or ``"standard"``; see :class:`Dequantizer`.
        hidden_features: The widths of the conditional noise's networks.

    Example:
        >>> dequantizer = BinaryArgmaxDequantizer((6, 2), noise="standard")
        >>> x = dequantizer(torch.tensor([[5, 0]])).sample()
        >>> x.shape, x[0, 0].sign(), x[0, 1, :1].sign()
        (torch.Size([1, 2, 3]), tensor([ 1., -1.,  1.]), tensor([-1.]))
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        noise: NoiseName = "conditional",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        bits = max(1, (max(cardinalities, default=1) - 1).bit_length())
        super().__init__(cardinalities, bits, noise=noise, hidden_features=hidden_features)
        self.tessellation = VoronoiTessellation.binary_argmax(cardinalities)

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the orthants of ``y``."""
        return _Orthant(self._signs(y))

    def quantize(self, x: Tensor) -> Tensor:
        """Return the class that the signs spell, or else that of the nearest corner that has one."""
        bit = torch.arange(self.dim, device=x.device)
        code = ((x > 0) * self._used() << bit).sum(-1)
        return torch.where(code < self.num_classes, code, self.tessellation().locate(x))

    def contains(self, x: Tensor, y: Tensor) -> Tensor:
        """Return whether ``x`` is in the orthant of ``y``, boolean ``(..., N)``."""
        signs = self._signs(y)
        return ((signs * x > 0) | (signs == 0)).all(-1)

    def _signs(self, y: Tensor) -> Tensor:
        """Signs of the orthants of ``y``, int64 ``(..., N, D)``; 0 in dimensions that are no bits of the variable."""
        bit = torch.arange(self.dim, device=y.device)
        return (2 * (y[..., None] >> bit & 1) - 1) * self._used()

    def _used(self) -> Tensor:
        """Whether a dimension is a bit of the variable, 0 or 1, ``(N, D)``."""
        bit = torch.arange(self.dim, device=self.num_classes.device)
        return ((self.num_classes - 1)[:, None] >> bit > 0).long()


class _Orthant(Transform):
    """From R^D onto the orthant of given signs; unconstrained where a sign is 0."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        self.signs = signs

    def _call(self, u: Tensor) -> Tensor:
        # Underflow must not carry a point onto the wall.
        return torch.where(self.signs == 0, u, self.signs * _softplus(u).clamp_min(torch.finfo(u.dtype).tiny))

    def _inverse(self, x: Tensor) -> Tensor:
        size = (self.signs * x).clamp_min(torch.finfo(x.dtype).tiny)
        return torch.where(self.signs == 0, x, _softplus.inv(size))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return F.logsigmoid(x).where(self.signs != 0, 0).sum(-1)
