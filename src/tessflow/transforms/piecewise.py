"""A monotone map of the line made of straight pieces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

__all__ = ["PiecewiseLinear"]


class PiecewiseLinear(Transform):
    """Map numbers through given knots in straight lines, the outermost of which continue for ever.

    Args:
        knots: Ascending numbers, shape ``(..., Q)``, at least two.
        scores: What they are mapped to, ascending, of the same shape.

    Example:
        >>> scale = PiecewiseLinear(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 1.0, 2.0]))
        >>> z, log_slope = scale.call_and_ladj(torch.tensor([0.5, 2.0, 5.0]))
        >>> z, log_slope.exp()
        (tensor([0.5000, 1.5000, 3.0000]), tensor([1.0000, 0.5000, 0.5000]))
        >>> scale.inv(z)
        tensor([0.5000, 2.0000, 5.0000])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, knots: Tensor, scores: Tensor) -> None:
        super().__init__()
        self.knots = knots
        self.scores = scores

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and the logarithms of the slopes, of the shape of ``x``; its last dimensions are the knots'."""
        z, slope = _interpolate(x, self.knots, self.scores)
        return z, slope.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of the slopes at ``x``."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return _interpolate(x, self.knots, self.scores)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return _interpolate(y, self.scores, self.knots)[0]


def _interpolate(x: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Map ``x`` through the points (start, end); also return the slope of the piece it is on."""
    piece = _count_below(start[..., 1:-1], x)

    def take(values: Tensor, index: Tensor) -> Tensor:
        return values.expand(*x.shape, values.shape[-1]).gather(-1, index[..., None]).squeeze(-1)

    low, high = take(start, piece), take(start, piece + 1)
    bottom, top = take(end, piece), take(end, piece + 1)
    slope = (top - bottom) / (high - low)
    # From the nearer end of the piece: exact at both of its knots.
    return torch.where((x - low).abs() < (high - x).abs(), bottom + slope * (x - low), top - slope * (high - x)), slope


def _count_below(walls: Tensor, x: Tensor) -> Tensor:
    """Count the walls ``(..., Q)`` below points ``(*batch, ...)``."""
    columns = walls.shape[:-1].numel()
    rows = x.reshape(-1, columns).mT.contiguous()
    return torch.searchsorted(walls.reshape(columns, walls.shape[-1]).contiguous(), rows).mT.reshape(x.shape)
