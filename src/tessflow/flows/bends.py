"""Monotone maps of points, one coordinate at a time, for couplings that start as the identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from zuko.transforms import ComposedTransform, MonotonicAffineTransform

from tessflow.flows.precision import full_precision
from tessflow.transforms import LogisticMixtureTransform

__all__ = ["Bends", "seen_of"]

# Networks see points no farther from 0 than this, over the second, and beside them tanh(x).
_FARTHEST, _SCALE = 15.0, 3.0
# Centres of a mixture of logistics at first: alike, it would stay one.
_APART = 0.05


def seen_of(z: Tensor) -> Tensor:
    """Return what a network sees of points ``(..., V, D)``: ``(..., 2 V D)``."""
    near = z.clamp(-_FARTHEST, _FARTHEST)
    return torch.cat([near / _SCALE, near.tanh()], -1).flatten(-2)


class Bends(nn.Module):
    """Make maps of V points of R^D, coordinate by coordinate, of a network's output.

    On the line a map is the distribution function of a mixture of logistics, as log-odds, then an affine map; of more
    dimensions it is affine alone.

    Args:
        points: The number V of points.
        dim: Their dimension D.
        components: The number of logistics.

    Attributes:
        size: The numbers that a coordinate takes.

    Example:
        >>> bends = Bends(3, 1, components=4)
        >>> bends(torch.zeros(5, 3 * bends.size))(torch.zeros(5, 3, 1)).abs().max() < 1e-6
        tensor(True)
    """

    def __init__(self, points: int, dim: int, *, components: int) -> None:
        super().__init__()
        self.components = components if dim == 1 else 0
        self.size = 3 * self.components + 2
        bias = torch.zeros(points, dim, self.size)
        if self.components > 1:
            bias[..., 2 + components : 2 + 2 * components] = torch.linspace(-_APART, _APART, components)
        self.bias = nn.Parameter(bias)

    def forward(self, output: Tensor, of: Tensor | None = None) -> ComposedTransform:
        """Return the map of points ``(..., V, D)``.

        Args:
            output: Of a network, shape ``(..., V D size)``; under autocast, half precision ends here.
            of: The points that it is for, by number; all by default.
        """
        bias = self.bias if of is None else self.bias[of]
        parts = full_precision(output).unflatten(-1, bias.shape) + bias
        affine = MonotonicAffineTransform(parts[..., 0], parts[..., 1])
        if not self.components:
            return ComposedTransform(affine)
        logits, loc, log_scale = parts[..., 2:].unflatten(-1, (3, -1)).unbind(-2)
        return ComposedTransform(LogisticMixtureTransform(logits, loc, 3 * (log_scale / 3).tanh()), affine)
