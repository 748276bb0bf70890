"""What flows start from: zuko's Gaussian and box, drawn from the generators of `tessflow.randomness`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from zuko.distributions import BoxUniform, DiagNormal

from tessflow.randomness import normal, uniform

__all__ = ["Box", "Gaussian"]


class Gaussian(DiagNormal):
    """A Gaussian with independent features.

    Args:
        loc: Means, ``(..., D)``.
        scale: Standard deviations.

    Example:
        >>> Gaussian(torch.zeros(3), torch.ones(3)).sample((2,)).shape
        torch.Size([2, 3])
    """

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw differentiable samples ``(*sample_shape, ..., D)``."""
        loc = self.base_dist.loc
        return loc + self.base_dist.scale * normal(self._extended_shape(Size(sample_shape)), loc)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, ..., D)``."""
        return self.rsample(sample_shape)


class Box(BoxUniform):
    """The uniform distribution over a box.

    Args:
        lower: Least corner, ``(..., D)``.
        upper: Greatest corner.

    Example:
        >>> Box(torch.zeros(3), torch.ones(3)).sample((2,)).shape
        torch.Size([2, 3])
    """

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw differentiable samples ``(*sample_shape, ..., D)``."""
        low = self.base_dist.low
        return low + (self.base_dist.high - low) * uniform(self._extended_shape(Size(sample_shape)), low)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, ..., D)``."""
        return self.rsample(sample_shape)
