"""Exchangeable points without a network: latent classes that share their Gaussians."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from tessflow.flows.sequence import GaussianComponents
from tessflow.randomness import categorical

__all__ = ["ItemMixture"]


class ItemMixture(nn.Module):
    r"""Model N exchangeable points of R^D by classes in each of which points are independent.

    .. math:: p(x_1, ..., x_N) = \sum_c \rho_c \prod_i \sum_m \pi_{cm} \, N(x_i; \mu_m, \mathrm{diag}(\sigma_m^2))

    All classes share the Gaussians, and differ in their weights: points of one class come from the same places. With
    one class points are independent. A lazy density over R^(N D), as zuko's are.

    Args:
        items: The number ``N`` of points.
        dim: The dimension ``D`` of a point.
        components: The number of Gaussians.
        classes: The number of classes.

    Example:
        >>> density = ItemMixture(4, 2, components=8, classes=3)()
        >>> x = density.sample((5,))
        >>> x.shape, density.log_prob(x).shape
        (torch.Size([5, 8]), torch.Size([5]))
    """

    def __init__(self, items: int, dim: int, *, components: int, classes: int) -> None:
        super().__init__()
        self.shape = Size((items, dim))
        self.components = GaussianComponents(components, dim)
        nn.init.normal_(self.components.means, std=0.5)
        nn.init.constant_(self.components.log_scales, -0.5)
        self.class_logits = nn.Parameter(torch.zeros(classes))
        self.logits = nn.Parameter(0.5 * torch.randn(classes, components))

    def forward(self, c: None = None) -> Distribution:
        """Return the density over R^(N D)."""
        return _ItemMixtureDensity(self)


class _ItemMixtureDensity(Distribution):
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, module: ItemMixture) -> None:
        super().__init__(Size(), Size((module.shape.numel(),)), validate_args=False)
        self.module = module

    def log_prob(self, value: Tensor) -> Tensor:
        module = self.module
        log_densities = module.components.log_prob(value.unflatten(-1, module.shape))
        # One product of matrices for all classes. What underflows counts as the least number that there is.
        top = log_densities.detach().amax(-1, keepdim=True)
        shares = (log_densities - top).exp() @ module.logits.softmax(-1).mT
        log_each = shares.clamp_min(torch.finfo(shares.dtype).tiny).log() + top
        return (module.class_logits.log_softmax(-1) + log_each.sum(-2)).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        module, shape = self.module, Size(sample_shape)
        chosen = categorical(module.class_logits, shape)
        index = categorical(module.logits[chosen], module.shape[:1]).movedim(0, -1)
        return module.components.sample(index).flatten(-2)
