"""A mixture of Gaussians with covariances of any shape, as the base of a flow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.lazy import LazyDistribution

from tessflow.configuration import Configured
from tessflow.randomness import categorical, normal

__all__ = ["Gaussians", "GaussiansDistribution"]


class Gaussians(Configured, LazyDistribution):
    r"""A mixture of K Gaussians, each with a mean and a lower-triangular root of its precision.

    .. math:: p(x) = \sum_k w_k \, N(x; m_k, (A_k^\top A_k)^{-1})

    It starts as N(0, I) K times; :meth:`place` sets it to a mixture that was fitted beforehand.

    Args:
        features: The dimension ``D``.
        components: The number ``K``.
        learn: Whether gradients reach the Gaussians.

    Raises:
        ValueError: If ``features`` or ``components`` is below 1.

    Example:
        >>> gaussians = Gaussians(2, 3)
        >>> gaussians.place(torch.ones(3) / 3, torch.randn(3, 2), torch.eye(2).expand(3, 2, 2))
        >>> gaussians().log_prob(torch.zeros(5, 2)).shape, gaussians().sample((4,)).shape
        (torch.Size([5]), torch.Size([4, 2]))
    """

    in_data_units = ("logits", "means", "log_diagonals", "below")

    def __init__(self, features: int, components: int, *, learn: bool = True) -> None:
        super().__init__()
        if features < 1 or components < 1:
            raise ValueError(f"features and components must be at least 1, got {features} and {components}.")
        self.features = features
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components), requires_grad=learn)
        self.means = nn.Parameter(torch.zeros(components, features), requires_grad=learn)
        self.log_diagonals = nn.Parameter(torch.zeros(components, features), requires_grad=learn)
        # Of one feature, there is nothing below the diagonal.
        numbers = features * (features - 1) // 2
        self.below = nn.Parameter(torch.zeros(components, numbers), requires_grad=learn and numbers > 0)

    def forward(self, c: Tensor | None = None) -> GaussiansDistribution:
        """Return the distribution; ``c`` has no effect."""
        row, column = torch.tril_indices(self.features, self.features, -1, device=self.means.device)
        roots = self.log_diagonals.exp().diag_embed()
        roots = roots.index_put((torch.arange(self.components)[:, None], row, column), self.below)
        return GaussiansDistribution(self.logits, self.means, roots)

    @torch.no_grad()
    def place(self, weights: Tensor, means: Tensor, roots: Tensor) -> None:
        """Set weights ``(K,)``, which are positive, means ``(K, D)`` and lower-triangular roots ``(K, D, D)``."""
        row, column = torch.tril_indices(self.features, self.features, -1)
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        self.log_diagonals.copy_(roots.diagonal(dim1=-2, dim2=-1).log())
        self.below.copy_(roots[:, row, column])


class GaussiansDistribution(Distribution):
    """What :class:`Gaussians` gives: a distribution over R^D.

    Args:
        logits: Unnormalised log-weights, ``(K,)``.
        means: ``(K, D)``.
        roots: Lower-triangular roots of the precisions, ``(K, D, D)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, logits: Tensor, means: Tensor, roots: Tensor) -> None:
        super().__init__(Size(), means.shape[-1:], validate_args=False)
        self.logits = logits
        self.means = means
        self.roots = roots

    def __repr__(self) -> str:
        return f"GaussiansDistribution(features={self.means.shape[-1]}, components={len(self.means)})"

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), in nats: ``(..., D)`` to ``(...)``."""
        features = self.means.shape[-1]
        with torch.autocast(value.device.type, enabled=False):  # products would be of half precision
            shift = (self.roots @ self.means[..., None]).squeeze(-1)
            z = F.linear(value, self.roots.flatten(0, 1)).unflatten(-1, shift.shape) - shift  # (..., K, D)
        log_prob = -0.5 * z.square().sum(-1) + self.roots.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (log_prob + self.logits.log_softmax(-1)).logsumexp(-1) - 0.5 * features * math.log(2 * math.pi)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw points, shape ``(*sample_shape, D)``."""
        k = categorical(self.logits, sample_shape)
        z = normal((*k.shape, self.means.shape[-1], 1), self.means)
        return self.means[k] + torch.linalg.solve_triangular(self.roots[k], z, upper=False).squeeze(-1)
