"""Activation normalisation, the one layer of the paper's flows that zuko lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from tessflow.geometry import double

__all__ = ["ActNorm"]


class ActNorm(nn.Module):
    r"""Scale and shift each feature; the first training batch sets both so that outputs have mean 0 and deviation 1.

    .. math:: z = \big((x - m) \odot e^{-\ell} + b\big) \odot e^{s}

    Mean :math:`m` and log-deviation :math:`\ell` of that batch are buffers, in the units of the data. What is learned,
    :math:`b` and :math:`s`, starts at 0 and is relative to them: weight decay, and the size of a step, then mean the
    same in any unit. A lazy transform: ``forward()`` gives the :class:`~torch.distributions.Transform`
    (Kingma & Dhariwal, 2018).

    Args:
        features: The number ``D`` of features.

    Example:
        >>> norm = ActNorm(2)
        >>> norm()(torch.tensor([[0.0, 5.0], [4.0, 5.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    mean: Tensor
    log_deviation: Tensor
    initialized: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("log_deviation", torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))
        self._was_initialized = False

    def is_initialized(self) -> bool:
        """Return whether a batch has set mean and deviation; once it has, a GPU is not asked again."""
        self._was_initialized = self._was_initialized or bool(self.initialized)
        return self._was_initialized

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return the transform; ``context`` has no effect."""
        return _ActNormTransform(self)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set mean and deviation from a batch ``(..., D)``."""
        rows = double(x.reshape(-1, x.shape[-1]))
        if len(rows) == 0:
            return
        deviation = rows.std(0, correction=0)
        rounding = torch.finfo(x.dtype).eps * rows.abs().amax(0)
        self.mean.copy_(rows.mean(0))
        self.log_deviation.copy_(torch.where(deviation > rounding, deviation, 1).log())
        self.initialized.fill_(1)
        self._was_initialized = True

    def upgrade_state(self, state: dict[str, Tensor], prefix: str) -> None:
        """Read what was saved when shift and scale were in units of the data: they become mean and deviation."""
        if f"{prefix}mean" in state or f"{prefix}shift" not in state:
            return
        for old, new in (("shift", "mean"), ("log_scale", "log_deviation")):
            state[prefix + new] = -state[prefix + old]
            state[prefix + old] = torch.zeros_like(state[prefix + old])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        self.upgrade_state(state_dict, prefix)
        self._was_initialized = False
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class _ActNormTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, module: ActNorm) -> None:
        super().__init__()
        self.module = module

    def _call(self, x: Tensor) -> Tensor:
        if self.module.training and not self.module.is_initialized():
            self.module.initialize(x)
        standard = (x - self.module.mean) * (-self.module.log_deviation).exp()
        return (standard + self.module.shift) * self.module.log_scale.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        standard = y * (-self.module.log_scale).exp() - self.module.shift
        return standard * self.module.log_deviation.exp() + self.module.mean

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.module.log_scale - self.module.log_deviation).sum().expand(x.shape[:-1])
