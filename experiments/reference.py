"""What needs no continuous space: an autoregressive model of classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessflow.models.networks import MaskedNetwork

__all__ = ["AutoregressiveReference"]


class AutoregressiveReference(nn.Module):
    """A masked network from the one-hot values before a variable to its logits.

    Args:
        cardinalities: The number of classes of each variable.
        hidden_features: The widths of the network.
        dropout: The share of hidden units dropped in training.

    Example:
        >>> model = AutoregressiveReference((3, 2), (16,), 0.0)
        >>> y = torch.cartesian_prod(torch.arange(3), torch.arange(2))
        >>> torch.allclose(model.log_prob(y).exp().sum(), torch.tensor(1.0))
        True
    """

    lower_bound = False

    def __init__(self, cardinalities: tuple[int, ...], hidden_features: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.cardinalities = cardinalities
        self.network = MaskedNetwork(
            torch.arange(len(cardinalities)),  # a stage a variable
            max(cardinalities),
            cardinalities,
            hidden_features=hidden_features,
            dropout=dropout,
        )

    def elbo(self, y: Tensor) -> Tensor:
        """Return the exact log-likelihood of rows ``(B, N)``, shape ``(B,)``, nats."""
        values = nn.functional.one_hot(y, max(self.cardinalities)).to(self.network[-1].weight.dtype)
        logits = self.network(values).split(self.cardinalities, dim=-1)
        losses = [nn.functional.cross_entropy(each, y[:, n], reduction="none") for n, each in enumerate(logits)]
        return -torch.stack(losses).sum(0)

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the same as `elbo`."""
        return self.elbo(y)
