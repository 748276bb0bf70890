"""A flow over R^(N D) and a dequantizer: together, a likelihood model of discrete data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.dequantization import Dequantizer
from tessflow.randomness import draw

__all__ = ["DequantizedFlow", "importance_bound"]

# Rows times importance samples in one pass, and values in all of them.
_ROWS, _VALUES = 4096, 2**18


class DequantizedFlow(Configured):
    r"""Model discrete rows y by a flow p(x) over the cells that a dequantizer q(x | y) gives them.

    .. math:: \log p(y) \ge E_{q(x | y)} [\log p(x) - \log q(x | y)]

    (Chen, Amos & Nickel, 2022, Sec. 4). Averaging S ratios under the logarithm tightens the bound.

    Args:
        flow: A lazy density of R^(N D), as zuko's flows are: ``flow().log_prob(x)``, ``flow().sample(shape)``.
        dequantizer: The cells, and a density over each.

    Attributes:
        lower_bound: Whether log-probabilities are lower bounds.

    Raises:
        ValueError: If the flow is one over the cells of another dequantizer.

    Example:
        >>> from tessflow.dequantization import VoronoiDequantizer
        >>> from tessflow.flows import coupling_flow
        >>> dequantizer = VoronoiDequantizer((3, 2), dim=2)
        >>> model = DequantizedFlow(coupling_flow(dequantizer.features, layers=4), dequantizer)
        >>> y = torch.tensor([[2, 0], [1, 1]])
        >>> model.log_prob(y, samples=10).shape
        torch.Size([2])
        >>> model.sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, flow: nn.Module, dequantizer: Dequantizer) -> None:
        super().__init__()
        cells = getattr(flow, "cells", None)
        if cells is not None and cells is not dequantizer and cells is not getattr(dequantizer, "each", None):
            raise ValueError("the flow is one over the cells of another dequantizer: make it with this one.")
        self.flow = flow
        self.dequantizer = dequantizer

    @property
    def lower_bound(self) -> bool:
        """Whether log-probabilities are lower bounds rather than exact."""
        return self.dequantizer.lower_bound

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes of each variable."""
        return self.dequantizer.cardinalities

    def elbo(self, y: Tensor) -> Tensor:
        """Return a one-sample estimate of the bound: ``(B, N)`` to ``(B,)``, nats, differentiable."""
        x, log_q = self.dequantizer(y).rsample_with_log_prob()
        return self.flow().log_prob(x.flatten(-2)) - log_q

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 100) -> Tensor:
        """Return the importance-weighted bound on log p(y).

        Args:
            y: Values, int64 of shape ``(B, N)``.
            samples: The number of importance samples a row; more give a tighter bound.

        Returns:
            Nats, shape ``(B,)``.

        Raises:
            ValueError: If ``samples`` is below 1.
        """
        return importance_bound(self.elbo, y, samples)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, int64 of shape ``(n, N)``."""
        x = draw(self.flow(), (n,))
        return self.dequantizer.quantize(x.unflatten(-1, (len(self.cardinalities), self.dequantizer.dim)))


def importance_bound(elbo: Callable[[Tensor], Tensor], y: Tensor, samples: int) -> Tensor:
    r"""Compute :math:`\log \frac{1}{S} \sum_s p(x_s) / q(x_s | y)` a few samples at a time.

    Args:
        elbo: Gives one draw of ``log p(x) - log q(x | y)`` a row.
        y: Values, shape ``(..., N)``.
        samples: The number ``S`` of draws.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    batch, y = y.shape[:-1], y.reshape(-1, y.shape[-1])
    total = torch.full(y.shape[:1], -math.inf, device=y.device)
    if len(y) == 0:
        return total.reshape(batch)
    at_once = max(1, min(_ROWS, _VALUES // y.shape[-1]) // len(y))
    for done in range(0, samples, at_once):
        n = min(at_once, samples - done)
        ratios = elbo(y.repeat(n, 1)).reshape(n, len(y))
        total = torch.logaddexp(total, ratios.logsumexp(0))
    return (total - math.log(samples)).reshape(batch)
