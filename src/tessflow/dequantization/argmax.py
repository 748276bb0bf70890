"""Argmax dequantization: a dimension a class, and the largest coordinate names the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import AffineTransform, SoftplusTransform, Transform, constraints

from tessflow.dequantization.base import Dequantizer, NoiseName
from tessflow.flows.bases import Gumbel

__all__ = ["ArgmaxDequantizer"]

_softplus = SoftplusTransform()


class ArgmaxDequantizer(Dequantizer):
    r"""Push noise under a threshold, the coordinate of the value: cell k of R^K is where coordinate k is the largest.

    .. math:: x_k = u_k, \qquad x_i = u_k - \mathrm{softplus}(u_k - u_i) \quad (i \ne k)

    (Hoogeboom et al., 2021, Argmax Flows, softplus thresholding). D is the largest number of classes. Coordinates past
    a variable's own number of classes are left as they are and never decoded, so that its cells fill the space.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        noise: ``"conditional"``, ``"gaussian"``, ``"standard"`` or a module; see :class:`Dequantizer`.
        hidden_features: The widths of the conditional noise's networks.

    Example:
        >>> dequantizer = ArgmaxDequantizer((3, 2), noise="standard")
        >>> x = dequantizer(torch.tensor([[2, 0]])).sample()
        >>> x.shape, x[0, 0].argmax(), x[0, 1, :2].argmax()
        (torch.Size([1, 2, 3]), tensor(2), tensor(0))
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        noise: NoiseName | nn.Module = "conditional",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__(cardinalities, max(cardinalities, default=1), noise=noise, hidden_features=hidden_features)

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the cells of ``y``."""
        return _Threshold(y, self.exists)

    def quantize(self, x: Tensor, *, of: Tensor | None = None) -> Tensor:
        """Return the index of the largest coordinate among those of existing classes.

        Args:
            x: Points, shape ``(..., N, D)``.
            of: The variables that they are of, by number, if these are not all.
        """
        exists = self.exists if of is None else self.exists[of]
        return x.masked_fill(~exists, -torch.inf).argmax(-1)

    @property
    def moves(self) -> int:
        """The number of numbers that move the cells of a variable: a step of each threshold."""
        return self.dim

    def move(self, moves: Tensor, index: Tensor | None = None, *, of: Tensor | None = None) -> Transform:
        """Return a translation, to cells of other corners; see :class:`~tessflow.flows.MovableCells`."""
        return AffineTransform(-moves, 1.0, event_dim=1)

    def moves_of(self, log_masses: Tensor) -> Tensor:
        """Return the moves to cells of these masses, ``(N, K)``."""
        return log_masses

    def reference(self) -> Gumbel:
        """Return the Gumbel distribution over R^(N K): coordinate k, moved by log p(k), is the largest with p(k)."""
        zero = torch.zeros(self.features, device=self.num_classes.device)
        return Gumbel(zero, torch.ones_like(zero))


class _Threshold(Transform):
    """From R^D onto the points whose coordinate ``index`` is the largest of those that exist."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, index: Tensor, exists: Tensor) -> None:
        super().__init__()
        self.index = index[..., None]
        self.below = exists & (torch.arange(exists.shape[-1], device=index.device) != self.index)

    def _call(self, u: Tensor) -> Tensor:
        top = self._top(u)
        # Rounding must not lift a coordinate to the threshold.
        info = torch.finfo(u.dtype)
        gap = torch.maximum(_softplus(top - u), info.tiny + 2 * info.eps * top.detach().abs())
        return torch.where(self.below, top - gap, u)

    def _inverse(self, x: Tensor) -> Tensor:
        top = self._top(x)
        gap = (top - x).clamp_min(torch.finfo(x.dtype).tiny)
        return torch.where(self.below, top - _softplus.inv(gap), x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return F.logsigmoid(self._top(x) - x).where(self.below, 0).sum(-1)

    def _top(self, u: Tensor) -> Tensor:
        return u.take_along_dim(self.index.expand(*u.shape[:-1], 1), -1)
