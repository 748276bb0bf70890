"""A mixture of Gaussians under a flow that starts as the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from zuko.flows import Flow

from tessflow.configuration import Configured
from tessflow.flows import Gaussians, coupling_layers

__all__ = ["WarpedMixture"]

# No number is told apart from one that is as far from 0: what is computed of it stays finite.
_FARTHEST = 1e15


class WarpedMixture(Configured, Flow):
    r"""A mixture of Gaussians, bent by coupling layers that start as the identity.

    .. math:: \log p(x) = \log \sum_k w_k N(T(x); m_k, S_k) + \log |\det \partial T / \partial x|

    Before training it is the mixture of Gaussians that :meth:`~tessflow.flows.Gaussians.place` of ``base`` has set, so
    that weights which are kept by validation rows are never worse there (a warped mixture, as in Iwata, Duvenaud &
    Ghahramani, 2013, with a flow as the warp). There are no walls in it.

    Args:
        features: The dimension ``D``.
        components: The number ``K`` of Gaussians.
        layers: The number of coupling layers.
        univariate: ``"affine"`` or ``"spline"``.
        hidden_features: The widths of each network's hidden layers.
        bins: The number of bins of a spline.
        learn_gaussians: Whether training moves the Gaussians, too.

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> import torch
        >>> mixture = WarpedMixture(2, 3, layers=2)
        >>> mixture.base.place(torch.ones(3) / 3, torch.randn(3, 2), torch.eye(2).expand(3, 2, 2))
        >>> x = torch.randn(5, 2)
        >>> torch.allclose(mixture().log_prob(x), mixture.base().log_prob(x), atol=1e-5)
        True
    """

    base: Gaussians

    def __init__(
        self,
        features: int,
        components: int,
        *,
        layers: int = 4,
        univariate: Literal["affine", "spline"] = "spline",
        hidden_features: Sequence[int] = (64, 64),
        bins: int = 8,
        learn_gaussians: bool = True,
    ) -> None:
        super().__init__(
            coupling_layers(features, layers=layers, univariate=univariate, hidden_features=hidden_features, bins=bins),
            Gaussians(features, components, learn=learn_gaussians),
        )

    def elbo(self, x: Tensor) -> Tensor:
        """Return the exact log-likelihood of rows ``(B, D)``, nats ``(B,)``: what training maximises."""
        return self().log_prob(x.clamp(-_FARTHEST, _FARTHEST))
