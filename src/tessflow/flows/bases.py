"""What flows start from, drawn from the generators of `tessflow.randomness`: zuko's Gaussian and box; the logistic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid
from zuko.distributions import BoxUniform, DiagNormal

from tessflow.randomness import normal, uniform

__all__ = ["Box", "Gaussian", "Gumbel", "Logistic"]


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


class _Standardised(Distribution):
    """Independent features, each a location and a scale away from one standard distribution."""

    has_rsample = True
    support = constraints.real_vector
    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.positive}  # noqa: RUF012

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> _Standardised:
        """Return the same distribution with a larger batch shape."""
        shape = Size(batch_shape) + self.event_shape
        return type(self)(self.loc.expand(shape), self.scale.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log-densities in nats, ``(..., D)`` to ``(...)``."""
        return (self._log_density((value - self.loc) / self.scale) - self.scale.log()).sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw differentiable samples ``(*sample_shape, ..., D)``."""
        half = torch.finfo(self.loc.dtype).eps / 2
        u = uniform(self._extended_shape(Size(sample_shape)), self.loc).clamp(half, 1 - half)
        return self.loc + self.scale * self._quantile(u)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, ..., D)``."""
        return self.rsample(sample_shape)

    def _log_density(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _quantile(self, u: Tensor) -> Tensor:
        raise NotImplementedError


class Logistic(_Standardised):
    """A logistic distribution with independent features.

    Args:
        loc: Medians, ``(..., D)``.
        scale: Scales.

    Example:
        >>> Logistic(torch.zeros(1), torch.ones(1)).log_prob(torch.zeros(1)).exp()
        tensor(0.2500)
    """

    def _log_density(self, x: Tensor) -> Tensor:
        return logsigmoid(x) + logsigmoid(-x)

    def _quantile(self, u: Tensor) -> Tensor:
        return u.logit()


class Gumbel(_Standardised):
    """A Gumbel distribution with independent features; with scales of 1, feature d is the largest with softmax(loc)_d.

    Args:
        loc: Modes, ``(..., D)``.
        scale: Scales.

    Example:
        >>> Gumbel(torch.zeros(1), torch.ones(1)).log_prob(torch.zeros(1))
        tensor(-1.)
    """

    def _log_density(self, x: Tensor) -> Tensor:
        # Where there is no mass, below -50, the exponential goes on as a straight line: finite, and so is its gradient.
        least = x.clamp_min(-50)
        return -x - (-least).exp() * (1 + least - x)

    def _quantile(self, u: Tensor) -> Tensor:
        return -(-u.log()).log()
