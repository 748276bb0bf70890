"""Activation normalisation, the one layer of the paper's flows that zuko lacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["ActNorm"]


class ActNorm(nn.Module):
    r"""Scale and shift each feature; the first training batch sets both so that outputs have mean 0 and deviation 1.

    .. math:: z = (x + b) \odot e^{s}

    A lazy transform: ``forward()`` gives the :class:`~torch.distributions.Transform` (Kingma & Dhariwal, 2018).

    Args:
        features: The number ``D`` of features.

    Example:
        >>> norm = ActNorm(2)
        >>> norm()(torch.tensor([[0.0, 5.0], [4.0, 5.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    initialized: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return the transform; ``context`` has no effect."""
        return _ActNormTransform(self)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set shift and scale from a batch ``(..., D)``."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) == 0:
            return
        deviation = rows.std(0, correction=0)
        self.shift.copy_(-rows.mean(0))
        self.log_scale.copy_(-torch.where(deviation > 1e-6, deviation, 1).log())
        self.initialized.fill_(1)


class _ActNormTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, module: ActNorm) -> None:
        super().__init__()
        self.module = module

    def _call(self, x: Tensor) -> Tensor:
        if self.module.training and not self.module.initialized:
            self.module.initialize(x)
        return (x + self.module.shift) * self.module.log_scale.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y * (-self.module.log_scale).exp() - self.module.shift

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.module.log_scale.sum().expand(x.shape[:-1])
