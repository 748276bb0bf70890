"""The mean of several densities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from tessflow.randomness import categorical, draw

__all__ = ["AveragedDensity"]


class AveragedDensity(nn.Module):
    r"""The mean of the densities of its members, :math:`p(x) = \frac{1}{n} \sum_i p_i(x)`: exact, if theirs are.

    By the concavity of the logarithm its log-likelihood is at least the mean of theirs, on any rows.

    Args:
        members: Modules with ``elbo(x)``, exact log-likelihoods of rows, and ``member()``, a distribution over them.

    Example:
        >>> from tessflow.models import WarpedMixture
        >>> averaged = AveragedDensity([WarpedMixture(2, 1, layers=1), WarpedMixture(2, 1, layers=1)])
        >>> averaged.elbo(torch.zeros(5, 2)).shape, averaged.sample(4).shape
        (torch.Size([5]), torch.Size([4, 2]))
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def elbo(self, x: Tensor) -> Tensor:
        """Return the exact log-likelihood of rows ``(B, D)``, nats ``(B,)``."""
        scores = torch.stack([cast(Any, member).elbo(x) for member in self.members])
        return scores.logsumexp(0) - math.log(len(self.members))

    @torch.no_grad()
    def sample(self, rows: int) -> Tensor:
        """Draw rows, ``(rows, D)``, each from a member of its own draw."""
        which = categorical(torch.zeros(len(self.members)), (rows,))
        order = which.argsort()
        counts = which.bincount(minlength=len(self.members)).tolist()
        drawn = torch.cat([draw(member(), (count,)) for member, count in zip(self.members, counts, strict=True)])
        return drawn[order.argsort().to(drawn.device)]
