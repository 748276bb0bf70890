"""A learned mixture of Gaussians with diagonal covariances, the base of flows with many modes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.lazy import LazyDistribution

from tessflow.geometry import double
from tessflow.randomness import categorical, normal

__all__ = ["DiagonalMixture", "DiagonalGaussians"]


class DiagonalMixture(Distribution):
    r"""A mixture of C Gaussians with diagonal covariances, the densities of all from two matrix products.

    .. math:: \log p(x) = \log \sum_c w_c \prod_d \mathcal N(x_d; \mu_{cd}, \sigma_{cd}^2)

    The products are those of :math:`x^2` with :math:`\sigma^{-2}` and of :math:`x` with :math:`\mu \sigma^{-2}`, in
    float64, where nothing that matters cancels: no ``(B, C, D)`` numbers are ever held.

    Args:
        logits: Unnormalised log-weights, ``(C,)``.
        loc: Means, ``(C, D)``.
        log_scale: Logarithms of the deviations, ``(C, D)``.

    Example:
        >>> mixture = DiagonalMixture(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> mixture.log_prob(torch.zeros(3, 1)).exp()
        tensor([0.2420, 0.2420, 0.2420])
    """

    arg_constraints = {  # noqa: RUF012
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "log_scale": constraints.independent(constraints.real, 2),
    }
    support = constraints.real_vector

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor) -> None:
        super().__init__(Size(), loc.shape[-1:], validate_args=False)
        self.logits, self.loc, self.log_scale = logits, loc, log_scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, ``(..., D)`` to ``(...)``."""
        x, loc, log_scale = double(value), double(self.loc), double(self.log_scale)
        rate = (-2 * log_scale).exp()
        quadratic = x.square() @ rate.mT - 2 * (x @ (loc * rate).mT) + (loc.square() * rate).sum(-1)
        norm = log_scale.sum(-1) + loc.shape[-1] / 2 * math.log(2 * math.pi)
        log_probs = double(self.logits).log_softmax(-1) - norm - quadratic.clamp_min(0) / 2
        return log_probs.logsumexp(-1).to(value.dtype)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, D)``."""
        which = categorical(self.logits, Size(sample_shape))
        loc = self.loc[which]
        return loc + self.log_scale[which].exp() * normal(loc.shape, loc)


class DiagonalGaussians(LazyDistribution):
    """A learned :class:`DiagonalMixture`, the same in every context, that starts almost as N(0, I).

    Args:
        features: The dimension ``D``.
        components: The number ``C`` of Gaussians.

    Example:
        >>> DiagonalGaussians(3, 8)().sample((2,)).shape
        torch.Size([2, 3])
    """

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(0.3 * torch.randn(components, features))
        self.log_scale = nn.Parameter(torch.zeros(components, features))

    def forward(self, c: Tensor | None = None) -> DiagonalMixture:
        """Return the mixture; a context has no effect."""
        return DiagonalMixture(self.logits, self.loc, self.log_scale)
