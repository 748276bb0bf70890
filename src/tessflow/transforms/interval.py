"""The map from the line onto one of its intervals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import logsigmoid

from tessflow.geometry import Interval, Intervals, double
from tessflow.transforms.cell import none_at_infinity

__all__ = ["IntervalTransform"]

_FAR = 1e30  # stands for infinity


class IntervalTransform(Transform):
    r"""Map the line onto cell ``index`` of some intervals, so that the standard logistic fills it evenly.

    With the cell's mass :math:`\pi` and the masses :math:`\beta` below it and :math:`\alpha` above it,

    .. math:: z = \log v - \log w, \quad v = \beta + \pi \sigma(x), \quad w = \alpha + \pi \sigma(-x), \qquad
              \log \frac{dz}{dx} = \log \pi + \log \sigma(x) \sigma(-x) - \log v w.

    A standard logistic x gives the standard logistic z, cut off at the walls: a disjoint mixture of these cells, with
    weights :math:`\pi`, is the standard logistic itself. Values keep their dtype; the arithmetic inside is float64. An
    infinite point is mapped as one very far away, with a log-slope of ``-inf``: it has no density.

    Args:
        intervals: The cells.
        index: Which cell each point is mapped into, shape ``(..., *N)``.

    Example:
        >>> cells = Intervals(torch.tensor([0.25, 0.5, 0.25]).log())
        >>> into = IntervalTransform(cells, torch.tensor(1))
        >>> into(torch.tensor([-99.0])), into(torch.tensor([0.0]))
        (tensor([-1.0986]), tensor([0.]))
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    sign = +1

    def __init__(self, intervals: Intervals, index: Tensor) -> None:
        super().__init__()
        self.intervals = intervals
        self.index = index

    def __repr__(self) -> str:
        return f"IntervalTransform({self.intervals})"

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., *N, 1)`` into their cells; also return the logarithms of the slopes, ``(..., *N)``."""
        cell, point = self.intervals.take(self.index), on_the_line(x)
        log_part, log_rest = logsigmoid(point), logsigmoid(-point)
        z, log_slope = from_parts(cell, log_part, log_rest)
        log_slope = (log_slope + log_part + log_rest).to(x.dtype)
        return keep_inside(z[..., None], self.intervals, self.index, x.dtype), none_at_infinity(log_slope, x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of the slopes at ``x``, ``(..., *N)``."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        log_part, log_rest = to_parts(self.intervals.take(self.index), on_the_line(y))
        return (log_part - log_rest)[..., None].to(y.dtype)


def on_the_line(x: Tensor) -> Tensor:
    """Return points ``(..., 1)`` as float64 numbers ``(...)``; infinite ones as very far away."""
    return double(x).squeeze(-1).nan_to_num(torch.nan, _FAR, -_FAR)


def to_parts(cell: Interval, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the shares of a cell's mass that are below points and above them, ``(...)`` each."""
    return (
        _log_difference(logsigmoid(z), cell.log_below) - cell.log_mass,
        _log_difference(logsigmoid(-z), cell.log_above) - cell.log_mass,
    )


def from_parts(cell: Interval, log_part: Tensor, log_rest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points below which these shares of a cell's mass are, and the log-slopes of points in the shares."""
    log_v = torch.logaddexp(cell.log_below, cell.log_mass + log_part)
    log_w = torch.logaddexp(cell.log_above, cell.log_mass + log_rest)
    return log_v - log_w, cell.log_mass - log_v - log_w


def keep_inside(z: Tensor, intervals: Intervals, index: Tensor, dtype: torch.dtype) -> Tensor:
    """Round points ``(..., *N, 1)`` to a dtype, and to within the walls of their cells."""
    rounded = z.to(dtype)
    with torch.no_grad():
        walls = intervals.walls
        end = torch.full_like(walls[..., :1] if walls.shape[-1] else intervals.log_masses[..., :1], torch.inf)
        ends = torch.cat([-end, walls, end], -1)
        shape = torch.broadcast_shapes(index.shape, ends.shape[:-1])
        ends, place = ends.expand(*shape, -1), index.expand(shape)[..., None]
        low, high = (_within(ends.gather(-1, place + side), dtype, side) for side in (0, 1))
        inside = torch.minimum(torch.maximum(rounded, low), high)
    return rounded + (inside - rounded).detach().nan_to_num(0.0)


def _within(wall: Tensor, dtype: torch.dtype, side: int) -> Tensor:
    """Return the second number of a dtype above the lower wall (side 0), or below the upper one (side 1).

    Not the first: as near to the wall as that may be, its density would be that of next to no noise.
    """
    towards = -torch.inf if side else torch.inf
    rounded = wall.to(dtype)
    end = torch.full_like(rounded, towards)
    outside = rounded.to(wall.dtype) >= wall if side else rounded.to(wall.dtype) <= wall
    first = torch.where(outside, torch.nextafter(rounded, end), rounded)
    return torch.nextafter(first, end).where(wall.isfinite(), wall.to(dtype))


def _log_difference(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return log(a - b); of points on a wall, or beyond it, that of next to nothing."""
    return log_a + (-torch.expm1(log_b - log_a)).clamp_min(torch.finfo(log_a.dtype).tiny).log()
