"""Monotone maps of points, one coordinate at a time, for couplings that start as the identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from zuko.transforms import ComposedTransform, MonotonicAffineTransform

from tessflow.flows.precision import full_precision
from tessflow.transforms import LogisticMixtureTransform

__all__ = ["BendCoupling", "Bends", "seen_of"]

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


class BendCoupling(nn.Module):
    """A coupling layer: move some of N points, given the others and a context.

    Whoever makes one gives it its ``network``, from a context and what is seen of the points that are kept
    (:meth:`input`) to ``bends.size`` numbers a coordinate that is moved.

    Args:
        keep: Which points are kept, boolean ``(N,)``.
        dim: The dimension D of a point.
        components: As :class:`Bends` takes it.
    """

    network: nn.Module
    kept: Tensor
    moved: Tensor

    def __init__(self, keep: Tensor, dim: int, *, components: int) -> None:
        super().__init__()
        self.register_buffer("kept", keep.nonzero().flatten(), persistent=False)
        self.register_buffer("moved", (~keep).nonzero().flatten(), persistent=False)
        self.bends = Bends(len(self.moved), dim, components=components)

    def input(self, z: Tensor, context: Tensor) -> Tensor:
        """Return what the network reads, of points ``(..., N, D)`` and a context ``(..., C)``."""
        points = seen_of(z.index_select(-2, self.kept))
        return torch.cat([context, points.to(context.dtype)], -1)

    def call_and_ladj(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., N, D)`` and return the log-determinants ``(...)``."""
        x, log_det = self._bend(z, context).call_and_ladj(z.index_select(-2, self.moved))
        return z.index_copy(-2, self.moved, x), log_det.sum((-2, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Map points back."""
        return z.index_copy(-2, self.moved, self._bend(z, context).inv(z.index_select(-2, self.moved)))

    def _bend(self, z: Tensor, context: Tensor) -> ComposedTransform:
        """Return the map of the points that are moved."""
        return self.bends(self.network(self.input(z, context)))
