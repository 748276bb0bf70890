"""Ordinal dequantization: unit intervals on a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import SigmoidTransform, Transform, constraints
from torch.distributions.transforms import IndependentTransform
from zuko.distributions import NormalizingFlow

from tessflow.dequantization.base import Dequantizer
from tessflow.flows.bases import Box

__all__ = ["LogisticNoise", "OrdinalDequantizer"]


class OrdinalDequantizer(Dequantizer):
    r"""Add noise from (0, 1) to the value: the cell of value k is the interval (k, k + 1), in one dimension.

    .. math:: x = k + \sigma(u)

    ``"uniform"`` noise (Uria, Murray & Larochelle, 2013; Theis, van den Oord & Bethge, 2016) takes u from a logistic
    distribution, so that :math:`\sigma(u)` is uniform and log q(x | y) = 0. ``"variational"`` noise (Ho et al., 2019,
    Flow++) learns it: u is the conditional flow of :class:`~tessflow.dequantization.ConditionalNoise`.

    As published, the first and the last cell are no longer than the others. A point outside of all cells is decoded to
    the nearest value.

    Args:
        cardinalities: The number of values of each variable, ``(K_1, ..., K_N)``.
        noise: ``"variational"`` or ``"uniform"``.
        hidden_features: The widths of the variational noise's networks.

    Raises:
        ValueError: If ``noise`` is none of the two.

    Example:
        >>> dequantizer = OrdinalDequantizer((10, 2), noise="uniform")
        >>> x, log_prob = dequantizer(torch.tensor([[7, 0]])).rsample_with_log_prob()
        >>> x.floor().flatten(), log_prob
        (tensor([7., 0.]), tensor([0.]))
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        noise: Literal["uniform", "variational"] = "variational",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        if noise not in ("uniform", "variational"):
            raise ValueError(f"noise must be 'uniform' or 'variational', got {noise!r}.")
        super().__init__(
            cardinalities,
            1,
            noise=LogisticNoise(len(cardinalities)) if noise == "uniform" else "conditional",
            hidden_features=hidden_features,
        )

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x 1) onto the intervals of ``y``."""
        return _UnitInterval(y)

    def quantize(self, x: Tensor) -> Tensor:
        """Return the value whose interval holds ``x``, or comes nearest to it."""
        return x.squeeze(-1).floor().clamp_min(0).minimum(self.num_classes - 1).long()

    def contains(self, x: Tensor, y: Tensor) -> Tensor:
        """Return whether ``x`` is in the interval of ``y``, boolean ``(..., N)``."""
        return x.squeeze(-1).floor() == y


class LogisticNoise(nn.Module):
    """Independent standard logistic variables, whatever the value: uniform once through a sigmoid.

    Args:
        features: The number of features.
    """

    lower: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("lower", torch.zeros(features), persistent=False)

    def forward(self, y: Tensor) -> NormalizingFlow:
        """Return the density for ``y`` of shape ``(..., N)``."""
        lower = self.lower.expand(*y.shape[:-1], -1)
        return NormalizingFlow(IndependentTransform(SigmoidTransform(), 1), Box(lower, lower + 1))


class _UnitInterval(Transform):
    """From R onto (start, start + 1), a variable's only dimension last."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.start = start[..., None]

    def _call(self, u: Tensor) -> Tensor:
        start = self.start.to(u.dtype)
        # Rounding must not carry a point into the next interval.
        return torch.minimum(start + u.sigmoid(), torch.nextafter(start + 1, start))

    def _inverse(self, x: Tensor) -> Tensor:
        info = torch.finfo(x.dtype)
        return (x - self.start).clamp(info.tiny, 1 - info.eps).logit()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -(F.softplus(x) + F.softplus(-x)).squeeze(-1)
