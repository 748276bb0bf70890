"""The multivariate Cauchy distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from tessflow.randomness import normal

__all__ = ["MultivariateCauchy"]


class MultivariateCauchy(Distribution):
    r"""Student's t with one degree of freedom in R^D, round up to a scale for each feature.

    .. math:: p(x) = \frac{\Gamma((D + 1) / 2)}{\pi^{(D + 1) / 2} \prod_d s_d} (1 + r^2)^{-(D + 1) / 2}, \qquad
              r^2 = \sum_d (x_d - m_d)^2 / s_d^2.

    It falls off as :math:`r^{-(D + 1)}`: pushed into a cell by :class:`~tessflow.transforms.Softsign`, its density on
    the walls is finite and not zero.

    Args:
        loc: The centre :math:`m`, shape ``(..., D)``.
        scale: The scales :math:`s > 0`, shape ``(..., D)``.

    Example:
        >>> MultivariateCauchy(torch.zeros(1), torch.ones(1)).log_prob(torch.tensor([1.0])).exp()
        tensor(0.1592)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> MultivariateCauchy:
        """Return the same distribution with a larger batch shape."""
        shape = (*batch_shape, -1)
        return MultivariateCauchy(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw differentiable samples ``(*sample_shape, ..., D)``."""
        shape = self._extended_shape(Size(sample_shape))
        noise = normal(shape, self.loc)
        chi = normal((*shape[:-1], 1), self.loc).abs()
        return self.loc + self.scale * noise / chi.clamp_min(torch.finfo(chi.dtype).tiny ** 0.5)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, ``(..., D)`` to ``(...)``."""
        half = (self.event_shape[0] + 1) / 2
        y = (value - self.loc) / self.scale
        # r = s |y / s| for the largest coordinate s, and log(1 + r^2) by way of it: squares may be too large.
        largest = y.abs().amax(-1).clamp_min(1)
        tail = 2 * largest.log() + (largest.square().reciprocal() + (y / largest[..., None]).square().sum(-1)).log()
        return math.lgamma(half) - half * math.log(math.pi) - self.scale.log().sum(-1) - half * tail
