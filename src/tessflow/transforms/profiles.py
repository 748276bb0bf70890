r"""Radial profiles: how far along its ray a cell's homeomorphism moves a point.

A homeomorphism from R^D to a star-shaped cell can move points along rays from the anchor only:
:math:`f(x_k + v) = x_k + (r'/r) v` with :math:`r = |v|`. In polar coordinates its Jacobian is triangular, so

.. math:: \log |\det J| = (D - 1) \log (r'/r) + \log (dr'/dr).

A profile says what :math:`r'` is, given :math:`r` and the gauge :math:`\rho` of the cell. Any class with the two
methods of :class:`Profile` can be given to :class:`~tessflow.transforms.CellTransform`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Profile", "Softsign", "TruncatedGaussian"]

# The closest to the wall, as a share of the way from the anchor, that an inverse looks. On the wall the inverse is
# infinite; here its gradient still fits into float32.
_NEAREST = 1e-12

# Half the squared radius below which a truncated Gaussian takes a point as the anchor itself.
_LEAST = 1e-20


class Profile(Protocol):
    """A monotone map of radii, from [0, inf) onto [0, distance of the wall)."""

    def forward(self, gauge: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        r"""Return ``(r'/r, log|det|)`` at a point of R^D.

        Args:
            gauge: The gauge :math:`\rho` of the displacement, shape ``(...)``.
            square: Its squared length :math:`r^2`, shape ``(...)``.
            dim: The dimension ``D``.
        """
        ...

    def inverse(self, gauge: Tensor, clearance: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Return ``(r/r', log|det|)`` of the inverse map at a point of the cell.

        Args:
            gauge: The gauge of the displacement from the anchor, shape ``(...)``.
            clearance: One minus the gauge, accurate near 0, shape ``(...)``.
            square: The displacement's squared length :math:`r'^2`, shape ``(...)``.
            dim: The dimension ``D``.
        """
        ...


class Softsign:
    r"""The profile of the paper (Chen, Amos & Nickel, 2022, Eq. 8), with a closed-form log-determinant.

    .. math:: r'/r = \frac{\gamma}{1 + \gamma \rho}, \qquad
              \log |\det J| = D \log \gamma - (D + 1) \log (1 + \gamma \rho).

    A Gaussian pushed through it leaves no mass at the walls.

    Args:
        scale: The slope :math:`\gamma > 0` at the anchor; broadcasts against the batch of points, ``(..., *N)``.

    Example:
        >>> profile = Softsign(2.0)
        >>> profile.forward(torch.tensor(1.5), torch.tensor(9.0), 2)
        (tensor(0.5000), tensor(-2.7726))
    """

    def __init__(self, scale: Tensor | float = 1.0) -> None:
        self.scale = scale

    def __repr__(self) -> str:
        return f"Softsign(scale={_describe(self.scale)})"

    def forward(self, gauge: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """See :meth:`Profile.forward`."""
        scale = _scale(self.scale, gauge)
        stretched = scale * gauge
        return scale / (1 + stretched), dim * scale.log() - (dim + 1) * stretched.log1p()

    def inverse(self, gauge: Tensor, clearance: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """See :meth:`Profile.inverse`."""
        scale = _scale(self.scale, gauge)
        clearance = clearance.clamp_min(_NEAREST)
        return 1 / (scale * clearance), -dim * scale.log() - (dim + 1) * clearance.log()


class TruncatedGaussian:
    r"""A profile that fills the cell up to its walls and is the identity, times the scale, where there are none.

    With :math:`a = r^2 / 2` and :math:`b = \lambda^2 / (2 \gamma^2)`, where :math:`\lambda = r / \rho` is the distance
    of the wall along the ray (infinite on an unbounded one),

    .. math:: \frac{r'^2}{2 \gamma^2} = m(a, b) = -\log (e^{-a} + e^{-b} - e^{-(a + b)}),

    a smooth minimum of :math:`a` and :math:`b`. In two dimensions it sends N(0, I) to the Gaussian of standard
    deviation :math:`\gamma`, cut off at the wall along every ray: cells side by side can look like one smooth density.
    At the anchor, where the slope depends on the direction, it is that of unbounded rays. With
    :math:`h = \log (m / a)`,

    .. math:: \log |\det J| = D \log \gamma + (D/2 - 1) h + \log (1 - e^{-b}) + m - a.

    Args:
        scale: The slope :math:`\gamma > 0` on unbounded rays; broadcasts against the batch of points, ``(..., *N)``.

    Example:
        >>> profile = TruncatedGaussian(2.0)
        >>> profile.forward(torch.tensor(0.0), torch.tensor(9.0), 2)  # no wall on this ray
        (tensor(2.), tensor(1.3863))
    """

    def __init__(self, scale: Tensor | float = 1.0) -> None:
        self.scale = scale

    def __repr__(self) -> str:
        return f"TruncatedGaussian(scale={_describe(self.scale)})"

    def forward(self, gauge: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """See :meth:`Profile.forward`."""
        scale = _scale(self.scale, gauge)
        a = (square / 2).clamp_min(_LEAST)
        b = _wall(scale * gauge, a)
        within, within_b = -torch.expm1(-a), -torch.expm1(-b)
        both = within * within_b
        # e^-m is 1 - both; away from 1, the smaller of a and b comes off first.
        near = -torch.log1p(-both.clamp_max(0.5))
        excess = torch.exp(-(a - b).abs()) * torch.where(a < b, within, within_b)
        far = torch.minimum(a, b) - excess.log1p()
        m = torch.where(both < 0.5, near, far)
        ratio = m / a
        log_det = dim * scale.log() + (dim / 2 - 1) * ratio.log() + (within_b.log() + (m - a))
        return scale * ratio.sqrt(), log_det

    def inverse(self, gauge: Tensor, clearance: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """See :meth:`Profile.inverse`."""
        scale = _scale(self.scale, gauge)
        clearance = clearance.clamp_min(_NEAREST)
        m = square / (2 * scale.square())
        b = _wall(gauge, m.clamp_min(torch.finfo(m.dtype).tiny))
        within_b = -torch.expm1(-b)
        log_rest = (-torch.expm1(-b * clearance * (2 - clearance))).log()  # of b - m, without cancellation
        share = -torch.expm1(-m) / within_b
        near = -torch.log1p(-share.clamp_max(0.5))
        far = m + within_b.log() - log_rest
        a = torch.where(share < 0.5, near, far)
        ratio = torch.where(a < _LEAST, within_b, m / a.clamp_min(_LEAST))
        log_det = -dim * scale.log() - (dim / 2 - 1) * ratio.log() - log_rest
        return 1 / (scale * ratio.sqrt()), log_det


def as_scale(scale: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a scale as a tensor; a number is written where it is needed, since to copy it would wait for a GPU."""
    return scale.to(device, dtype) if isinstance(scale, Tensor) else torch.full((), scale, dtype=dtype, device=device)


def _scale(scale: Tensor | float, like: Tensor) -> Tensor:
    return as_scale(scale, like.dtype, like.device)


def _describe(scale: Tensor | float) -> str:
    return f"Tensor{tuple(scale.shape)}" if isinstance(scale, Tensor) else str(scale)


def _wall(gauge: Tensor, half_square: Tensor) -> Tensor:
    """Half the squared distance of the wall, a number whose square is finite and not 0; the most if there is none."""
    tiny = torch.finfo(gauge.dtype).tiny ** 0.2
    return (gauge.square() / half_square).clamp(tiny, 1 / tiny).reciprocal()
