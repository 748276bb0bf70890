"""A flow that meets its dequantizer: an autoregressive model whose conditionals are built from the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zuko.nn import MaskedMLP

from tessflow.dequantization.voronoi import ProfileName, VoronoiDequantizer
from tessflow.models.dequantized import importance_bound

__all__ = ["MatchedFlow"]


class MatchedFlow(nn.Module):
    r"""Model discrete rows by an autoregressive flow that shares its cells with the dequantizer.

    Every conditional of the flow over x is a disjoint mixture over the cells of its variable,

    .. math:: p(x) = \prod_n \sum_k \pi_k(h_n) \, c_k(x_n) \, 1[x_n \in V_k], \qquad q(x_n | y_n) = c_{y_n}(x_n),

    with components :math:`c_k` (a Gaussian pushed into cell k) that are also the dequantizer's. Densities and Jacobians
    cancel: the bound is :math:`E_q \sum_n \log \pi_{y_n}(h_n)`, from one pass of a masked network, and loose only as
    far as :math:`\pi` varies inside a cell. If the network sees the cell of each earlier variable (its anchor) instead
    of the point in it, the same sum is the exact log-likelihood; anchors are then embeddings.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        dim: The dimension ``D`` of a variable's space.
        hidden_features: The widths of the masked network; a layer has at least N - 1 units.
        dropout: The share of hidden units dropped in training.
        order: The order of the variables: ``"natural"``, ``"random"`` (from torch's generator), or a permutation of
            ``0, ..., N-1`` that lists the variables from first to last.
        condition_on: ``"point"`` (log-probabilities are lower bounds) or ``"cell"`` (they are exact).
        profile: How noise is pushed into cells; only ``condition_on="point"`` sees it.

    Attributes:
        lower_bound: Whether log-probabilities are lower bounds.

    Raises:
        ValueError: If an option is not one of those named, or ``order`` is no permutation.

    Example:
        >>> model = MatchedFlow((3, 2), condition_on="cell", hidden_features=(16,))
        >>> y = torch.cartesian_prod(torch.arange(3), torch.arange(2))
        >>> model.log_prob(y).exp().sum()
        tensor(1.0000)
    """

    order: Tensor
    slot: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        dim: int = 4,
        hidden_features: Sequence[int] = (512, 512, 512),
        dropout: float = 0.0,
        order: Literal["natural", "random"] | Sequence[int] = "natural",
        condition_on: Literal["point", "cell"] = "cell",
        profile: ProfileName = "truncated-gaussian",
    ) -> None:
        super().__init__()
        if condition_on not in ("point", "cell"):
            raise ValueError(f"condition_on must be 'point' or 'cell', got {condition_on!r}.")
        self.condition_on = condition_on
        self.dequantizer = VoronoiDequantizer(cardinalities, dim, profile=profile, noise="standard")
        self.register_buffer("order", _permutation(order, len(cardinalities)))
        self.register_buffer("slot", _slots(cardinalities), persistent=False)
        # Variable n may look at the variables before it in the order.
        rank = self.order.argsort()
        sizes = torch.tensor(tuple(cardinalities))
        sees = rank[:, None] > rank
        self.bias = nn.Parameter(torch.zeros(sum(cardinalities)))
        self.network = None
        if sees.any():
            adjacency = sees.repeat_interleave(sizes, 0).repeat_interleave(dim, 1)
            # A hidden unit serves one place in the order: with fewer units than places, some columns would go unseen.
            widths = [max(width, len(cardinalities) - 1) for width in hidden_features]
            self.network = MaskedMLP(
                adjacency, widths, activation=lambda: nn.Sequential(nn.SiLU(), nn.Dropout(dropout))
            )
            # The model starts as independent, uniform columns.
            nn.init.zeros_(self.network[-1].weight)
            nn.init.zeros_(self.network[-1].bias)

    @property
    def lower_bound(self) -> bool:
        """Whether log-probabilities are lower bounds rather than exact."""
        return self.condition_on == "point"

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes of each variable."""
        return self.dequantizer.cardinalities

    def represent(self, y: Tensor) -> Tensor:
        """Return what the network sees of values ``(B, N)``: points drawn in their cells, or their anchors."""
        if self.condition_on == "point":
            return self.dequantizer(y).rsample()
        self.dequantizer.check(y)
        return self.dequantizer.anchor(y)

    def logits(self, x: Tensor) -> Tensor:
        """Return ``log pi`` of every variable given those before it.

        Args:
            x: What the network sees, shape ``(B, N, D)``.

        Returns:
            Log-probabilities ``(B, N, K)``, ``-inf`` for classes that do not exist.
        """
        logits = self.bias.expand(*x.shape[:-2], -1)
        if self.network is not None:
            logits = logits + self.network(x.flatten(-2))
        return F.pad(logits, (0, 1), value=-torch.inf)[..., self.slot].log_softmax(-1)

    def elbo(self, y: Tensor) -> Tensor:
        """Return the exact log-likelihood, or one sample of its bound: ``(B, N)`` to ``(B,)``, nats, differentiable."""
        return self.logits(self.represent(y)).gather(-1, y[..., None]).squeeze(-1).sum(-1)

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 100) -> Tensor:
        """Return log p(y), or its importance-weighted bound if ``lower_bound``.

        Args:
            y: Values, int64 of shape ``(B, N)``.
            samples: The number of importance samples a row; without effect on an exact model.

        Returns:
            Nats, shape ``(B,)``.
        """
        return importance_bound(self.elbo, y, samples) if self.lower_bound else self.elbo(y)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, int64 of shape ``(n, N)``, one variable after another."""
        y = torch.zeros(n, len(self.cardinalities), dtype=torch.int64, device=self.bias.device)
        x = self.represent(y)
        for variable in self.order.tolist():
            chance = self.logits(x)[:, variable].exp()
            y[:, variable] = torch.multinomial(chance, 1).squeeze(-1)
            x[:, variable] = self.represent(y)[:, variable]
        return y


def _permutation(order: str | Sequence[int], n: int) -> Tensor:
    if order == "natural":
        return torch.arange(n)
    if order == "random":
        return torch.randperm(n)
    if isinstance(order, str) or sorted(order) != list(range(n)):
        raise ValueError(f"order must be 'natural', 'random' or a permutation of 0, ..., {n - 1}, got {order!r}.")
    return torch.tensor(order)


def _slots(cardinalities: Sequence[int]) -> Tensor:
    """Where each class ``(N, K)`` stands in the concatenation of all classes; one past the end if it does not exist."""
    sizes = torch.tensor(tuple(cardinalities))
    classes = torch.arange(max(cardinalities))
    slots = (sizes.cumsum(0) - sizes)[:, None] + classes
    return torch.where(classes < sizes[:, None], slots, sum(cardinalities))
