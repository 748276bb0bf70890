"""The cube (-1, 1)^D: Gaussian space mapped onto it, and it onto a cell."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from tessflow.geometry import Tessellation
from tessflow.transforms.cell import IntoCell, InverseWithLadj, none_at_infinity

__all__ = ["CubeCellTransform", "GaussianToCube"]

# Half of the log of 2 / pi, the density of N(0, 1) at 0 times 2.
_LOG_SLOPE = 0.5 * math.log(2 / math.pi)


class GaussianToCube(Transform):
    r"""Map each coordinate by twice the standard normal distribution function, less 1: N(0, I) becomes uniform.

    .. math:: f(x) = 2 \Phi(x) - 1 = \mathrm{erf}(x / \sqrt 2), \qquad
              \log |\det J| = \sum_d \big( \tfrac12 \log \tfrac 2 \pi - \tfrac12 x_d^2 \big).

    The log-determinant is exact at any distance. Values round to the cube's faces beyond 5.4 (float32) or 8.2
    (float64), and the inverse takes a point on a face as one just inside.

    Example:
        >>> GaussianToCube()(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.6827,  0.0000,  0.9545])
    """

    domain = constraints.real_vector
    codomain = constraints.independent(constraints.interval(-1.0, 1.0), 1)
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GaussianToCube)

    __hash__ = Transform.__hash__

    @property
    def inv(self) -> Transform:
        """The map from the cube to Gaussian space."""
        return InverseWithLadj(self)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., D)`` into the cube, with the log-determinant ``(...)``."""
        return self._call(x), self.log_abs_det_jacobian(x, x)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., D)`` of the cube back, with the log-determinant of the inverse ``(...)``."""
        x = self._inverse(y)
        return x, -self.log_abs_det_jacobian(x, y)

    def _call(self, x: Tensor) -> Tensor:
        return torch.erf(x * math.sqrt(0.5))

    def _inverse(self, y: Tensor) -> Tensor:
        inside = 1 - torch.finfo(y.dtype).eps / 2
        return torch.erfinv(y.clamp(-inside, inside)) * math.sqrt(2)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant at ``x``, shape ``(...)``."""
        return (_LOG_SLOPE - 0.5 * x.square()).sum(-1)


class CubeCellTransform(IntoCell):
    r"""Map the cube (-1, 1)^D onto cell ``index`` of a tessellation along rays, the cube's faces onto the cell's walls.

    With :math:`c(v) = \max_d |v_d|` the gauge of the cube, :math:`\rho` that of the cell and :math:`\gamma` the slope
    at the anchor,

    .. math:: f_k(v) = x_k + \frac{\gamma v}{(1 - c(v)) + \gamma \rho(v)}, \qquad
              \log |\det J| = D \log \gamma - (D + 1) \log ((1 - c(v)) + \gamma \rho(v)).

    It is the softsign map of the cube's inside to R^D, undone, followed by that of R^D into the cell (Chen, Amos &
    Nickel, 2022, Eq. 8); between a face of the cube and a wall of the cell it is a projective map. Both ends being
    bounded, neither it nor its inverse nor their log-determinants have a singular point: a density that is positive
    on the closed cube is positive and finite up to the cell's walls. The uniform density of the cube goes to the
    uniform density of a cell that is a smaller cube about its anchor, if :math:`\gamma` is their ratio.

    Args:
        tessellation: Where the cells are, ``*N`` of them side by side. A cell without walls in some directions has
            its points at infinity on the cube's faces.
        index: Which cell each point is mapped into, shape ``(..., *N)``; broadcasts against the batch of points.
        scale: The slope :math:`\gamma > 0`, shape ``(..., *N)``.
        cache_size: As in every :class:`~torch.distributions.transforms.Transform`.

    Example:
        >>> square = Tessellation(torch.tensor([[0.5, 0.5]]), lower=torch.zeros(2), upper=torch.ones(2))
        >>> into = CubeCellTransform(square, 0, scale=0.5)
        >>> into.call_and_ladj(torch.tensor([0.5, -1.0]))
        (tensor([0.7500, 0.0000]), tensor(-1.3863))
    """

    domain = constraints.independent(constraints.interval(-1.0, 1.0), 1)

    def __init__(
        self,
        tessellation: Tessellation,
        index: Tensor | int,
        *,
        scale: Tensor | float = 1.0,
        cache_size: int = 0,
    ) -> None:
        super().__init__(tessellation, index, cache_size=cache_size)
        self.scale = torch.as_tensor(scale, device=tessellation.anchors.device)

    def __repr__(self) -> str:
        return f"CubeCellTransform({self.tessellation})"

    def with_cache(self, cache_size: int = 1) -> CubeCellTransform:
        """Return the same transform with another cache size."""
        return CubeCellTransform(self.tessellation, self.index, scale=self.scale, cache_size=cache_size)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of the cube into the cell.

        Args:
            x: Points, shape ``(..., *N, D)``.

        Returns:
            Points of the cell ``(..., *N, D)``, and ``log|det dz/dx|`` of shape ``(..., *N)``.
        """
        rays = self._rays(x, from_anchor=True)
        scale = self.scale.to(rays.square.dtype)
        room = (1 - rays.displacement.abs()).amin(-1).clamp_min(0)
        shrink = _positive(room + scale * rays.gauge())
        return self._keep_inside(rays, scale / shrink, x.dtype), none_at_infinity(
            self._log_det(scale, shrink).to(x.dtype), x
        )

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of the cell onto the cube.

        Args:
            z: Points, shape ``(..., *N, D)``.

        Returns:
            Points of the cube ``(..., *N, D)``, and ``log|det dx/dz|`` of shape ``(..., *N)``.
        """
        rays = self._rays(z)
        scale = self.scale.to(rays.square.dtype)
        shrink = _positive(rays.clearance().clamp_min(0) + rays.displacement.abs().amax(-1) / scale)
        x = rays.displacement / (scale * shrink)[..., None]
        return x.to(z.dtype), none_at_infinity(self._log_det(1 / scale, shrink).to(z.dtype), z)

    def _log_det(self, scale: Tensor, shrink: Tensor) -> Tensor:
        dim = self.tessellation.dim
        return dim * scale.log() - (dim + 1) * shrink.log()


def _positive(shrink: Tensor) -> Tensor:
    """Keep away from 0, where a point is infinitely far."""
    return shrink.clamp_min(1e-12)
