"""The homeomorphism between R^D and a cell of a tessellation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import _InverseTransform

from tessflow.geometry import Rays, Tessellation, double
from tessflow.transforms import fused
from tessflow.transforms.profiles import Profile, TruncatedGaussian

__all__ = ["CellTransform"]


class BothWays(Transform):
    """A bijection that has values and log-determinants from one call, in either direction; a subclass has the calls."""

    bijective = True

    @property
    def inv(self) -> Transform:
        """The map back."""
        return InverseWithLadj(self)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points, with the log-determinants."""
        raise NotImplementedError

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map points back, with the log-determinants."""
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``log|det dy/dx|`` at ``x``, shape ``(..., *N)``."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_ladj(y)[0]


class IntoCell(BothWays):
    """What maps onto cells of a tessellation have in common; a subclass has the map and its inverse.

    Args:
        tessellation: Where the cells are, ``*N`` of them side by side.
        index: Which cell each point is mapped into, shape ``(..., *N)``.
        cache_size: As in every :class:`~torch.distributions.transforms.Transform`.
    """

    def __init__(self, tessellation: Tessellation, index: Tensor | int, *, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.tessellation = tessellation
        self.index = torch.as_tensor(index, device=tessellation.anchors.device)
        self.codomain = InCell(tessellation, self.index)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = Transform.__hash__

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of the results for points of a shape: index and tessellations broadcast with them."""
        return torch.broadcast_shapes(shape[:-1], self.index.shape, self.tessellation.shape) + shape[-1:]

    inverse_shape = forward_shape

    def _rays(self, point: Tensor, *, from_anchor: bool = False) -> Rays:
        """Rays to points, or to displacements; one with an infinite coordinate is taken as very far away."""
        # So far that squares of lengths, and what a base density makes of them, stay finite in either dtype.
        seen = torch.finfo(point.dtype).max ** 0.3
        to = double(point.nan_to_num(torch.nan, seen, -seen))
        farthest = torch.finfo(to.dtype).max ** 0.3
        to = to.clamp(-farthest, farthest)
        return self.tessellation.rays(self.index, **{"displacement" if from_anchor else "point": to})

    def _keep_inside(self, rays: Rays, ratio: Tensor, dtype: torch.dtype) -> Tensor:
        """Scale the displacements of rays, short of the wall also when the points are rounded to ``dtype``."""
        with torch.no_grad():
            longest = rays.longest(ratio * rays.square.sqrt(), torch.finfo(dtype).eps)
        z = (rays.anchor + torch.minimum(ratio, longest)[..., None] * rays.displacement).to(dtype)
        for wall, nearer in ((self.tessellation.lower, torch.maximum), (self.tessellation.upper, torch.minimum)):
            if wall is not None:
                z = z + (nearer(z, _not_beyond(wall, dtype, nearer)) - z).detach()
        return z


def _not_beyond(wall: Tensor, dtype: torch.dtype, nearer: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return a wall in another dtype, on its inner side where that does not hold it."""
    rounded = wall.to(dtype)
    inwards = torch.nextafter(rounded, torch.full_like(rounded, math.inf if nearer is torch.maximum else -math.inf))
    return torch.where(nearer(rounded.to(wall.dtype), wall) == rounded.to(wall.dtype), rounded, inwards)


class CellTransform(IntoCell):
    r"""Map R^D onto cell ``index`` of a tessellation, moving points along rays from the cell's anchor.

    .. math:: f_k(x) = x_k + v \, r'/r, \qquad v = x - x_k

    where a radial profile gives :math:`r'/r` and the log-determinant from the length of :math:`v` and the cell's gauge
    (Chen, Amos & Nickel, 2022, Sec. 3, with a simpler log-determinant than their Prop. 3). A
    :class:`torch.distributions.transforms.Transform` of event dimension 1, it fits into
    :class:`~torch.distributions.TransformedDistribution` and into zuko's flows. Values keep the dtype of their
    input; the arithmetic inside is float64. Points up to 1e8 away give finite values and gradients; the inverse takes
    a point on the wall, or beyond, as one just inside of it (a distribution that validates its arguments refuses it).
    A point with an infinite coordinate is mapped as one very far away, with a log-determinant of ``-inf``: it has no
    density.

    Args:
        tessellation: Where the cells are, ``*N`` of them side by side.
        index: Which cell each point is mapped into, shape ``(..., *N)``; broadcasts against the batch of points.
        profile: The radial profile, by default ``TruncatedGaussian()``.
        cache_size: As in every :class:`~torch.distributions.transforms.Transform`.

    Example:
        >>> from tessflow.transforms import Softsign
        >>> cells = Tessellation(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> into = CellTransform(cells, torch.tensor(1), profile=Softsign())
        >>> z, log_det = into.call_and_ladj(torch.tensor([-9.0, 0.0]))
        >>> z, log_det
        (tensor([0.0909, 0.0000]), tensor(-7.1937))
        >>> into.inv(z)
        tensor([-9.,  0.])
    """

    domain = constraints.real_vector

    def __init__(
        self,
        tessellation: Tessellation,
        index: Tensor | int,
        *,
        profile: Profile | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(tessellation, index, cache_size=cache_size)
        self.profile = TruncatedGaussian() if profile is None else profile

    def __repr__(self) -> str:
        return f"CellTransform({self.tessellation}, profile={self.profile})"

    def with_cache(self, cache_size: int = 1) -> CellTransform:
        """Return the same transform with another cache size."""
        return CellTransform(self.tessellation, self.index, profile=self.profile, cache_size=cache_size)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of R^D into the cell.

        Args:
            x: Points, shape ``(..., *N, D)``.

        Returns:
            Points of the cell ``(..., *N, D)``, and ``log|det dz/dx|`` of shape ``(..., *N)``.
        """
        if fused.takes(self.tessellation, self.profile, x):
            return fused.map_points(self.tessellation, self.index, self.profile, x, inverse=False, plain=into_cell)
        return into_cell(self.tessellation, self.index, self.profile, x)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of the cell back to R^D.

        Args:
            z: Points, shape ``(..., *N, D)``.

        Returns:
            Points of R^D ``(..., *N, D)``, and ``log|det dx/dz|`` of shape ``(..., *N)``.
        """
        if fused.takes(self.tessellation, self.profile, z):
            return fused.map_points(self.tessellation, self.index, self.profile, z, inverse=True, plain=out_of_cell)
        return out_of_cell(self.tessellation, self.index, self.profile, z)


def into_cell(tessellation: Tessellation, index: Tensor, profile: Profile, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map points of R^D into cells, by torch's own operations; see :meth:`CellTransform.call_and_ladj`."""
    cell = IntoCell(tessellation, index)
    rays = cell._rays(x)
    ratio, log_det = profile.forward(rays.gauge(), rays.square, tessellation.dim)
    return cell._keep_inside(rays, ratio, x.dtype), none_at_infinity(log_det.to(x.dtype), x)


def out_of_cell(tessellation: Tessellation, index: Tensor, profile: Profile, z: Tensor) -> tuple[Tensor, Tensor]:
    """Map points of cells back to R^D, by torch's own operations; see :meth:`CellTransform.inverse_and_ladj`."""
    rays = IntoCell(tessellation, index)._rays(z)
    ratio, log_det = profile.inverse(rays.gauge(), rays.clearance(), rays.square, tessellation.dim)
    x = rays.anchor + ratio[..., None] * rays.displacement
    return x.to(z.dtype), none_at_infinity(log_det.to(z.dtype), z)


def none_at_infinity(log_det: Tensor, point: Tensor) -> Tensor:
    """Return log-determinants ``(...)``, ``-inf`` for points ``(..., D)`` with an infinite coordinate."""
    return log_det.masked_fill(point.isinf().any(-1), -torch.inf)


class InverseWithLadj(_InverseTransform):
    """Torch's inverse of a transform that has ``inverse_and_ladj``, with value and log-determinant from one call."""

    def __init__(self, transform: Any) -> None:
        super().__init__(transform)
        self.call_and_ladj = transform.inverse_and_ladj

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant of the inverse at ``x``."""
        return self.call_and_ladj(x)[1]


class InCell(constraints.Constraint):
    """Points of a closed cell, up to rounding."""

    event_dim = 1

    def __init__(self, tessellation: Tessellation, index: Tensor) -> None:
        self.tessellation = tessellation
        self.index = index

    def check(self, value: Tensor) -> Tensor:
        clearance = self.tessellation.rays(self.index, point=value).clearance()
        return (clearance >= -16 * torch.finfo(value.dtype).eps) & value.isfinite().all(-1)
