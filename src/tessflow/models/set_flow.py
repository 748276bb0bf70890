"""A law of unordered sets of items, from a flow that no order of the items changes."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from zuko.flows import Flow

from tessflow.dequantization import SharedDequantizer, VoronoiDequantizer
from tessflow.dequantization.base import require_classes
from tessflow.models.dequantized import DequantizedFlow
from tessflow.randomness import generator, redirected

__all__ = ["SetFlow"]

# Draws without repeated items are made in at most so many rounds.
_ROUNDS = 100


class SetFlow(DequantizedFlow):
    r"""Model unordered sets of n items by a flow over R^(n D) of exchangeable items, and the cells of one variable.

    The flow gives every order of a set the same probability, so that a set has that of all its orders together:

    .. math:: \log p(\{y_1, ..., y_n\}) = \log p(y_1, ..., y_n) + \log n! - \sum_j \log m_j!

    for multiplicities :math:`m_j`. The law is one of multisets: it sums to 1 over sets and the rows in which an item
    comes twice. What mass those have is lost to data without repeats; log-probabilities are not conditioned on there
    being none.

    Args:
        flow: A density of R^(n D), as :func:`tessflow.flows.equivariant_flow` builds: the same for all orders of
            the n items.
        dequantizer: One item's dequantizer at n positions.

    Raises:
        TypeError: If ``dequantizer`` is not a :class:`~tessflow.dequantization.SharedDequantizer`.

    Example:
        >>> from tessflow.dequantization import VoronoiDequantizer
        >>> from tessflow.flows import equivariant_flow
        >>> dequantizer = SharedDequantizer(VoronoiDequantizer((10,), dim=2), positions=3)
        >>> model = SetFlow(equivariant_flow(3, 2, width=16), dequantizer)
        >>> model.log_prob(torch.tensor([[7, 0, 4], [4, 7, 0]]), samples=10).shape
        torch.Size([2])
        >>> model.sample(5).shape
        torch.Size([5, 3])
    """

    def __init__(self, flow: Flow, dequantizer: SharedDequantizer) -> None:
        if not isinstance(dequantizer, SharedDequantizer):
            raise TypeError(f"dequantizer must be a SharedDequantizer, got {type(dequantizer).__name__}.")
        super().__init__(flow, dequantizer)

    def initialize(self, y: Tensor, *, steps: int = 1000, batch_size: int = 128, learning_rate: float = 1e-2) -> None:
        """Place anchors of items that come together side by side, then learn without the vector field.

        Anchors, if there are, come from a correspondence analysis of the sets. Then the flow's base and the dequantizer
        are trained without what is between them: a step takes a fraction of one of training.

        Args:
            y: Sets to learn from, int64 of shape ``(B, n)``.
            steps: The number of steps of Adam.
            batch_size: Rows in a step, drawn with replacement.
            learning_rate: The first learning rate; it falls linearly to 0.

        Raises:
            ValueError: If there is no set, or a row is not of n items.
        """
        if len(y) == 0:
            raise ValueError("y must hold at least one set, got none.")
        require_classes(y, self.dequantizer.num_classes)
        base, each = cast(nn.Module, self.flow.base), cast(SharedDequantizer, self.dequantizer).each
        if isinstance(each, VoronoiDequantizer):
            places = _places(y, each.cardinalities[0], each.dim)
            with torch.no_grad():
                each.tessellation.anchors[0, :, : places.shape[1]].copy_(places)
        parameters = [*base.parameters(), *self.dequantizer.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            batch = y[torch.randint(len(y), (batch_size,), generator=generator())]
            x, log_q = self.dequantizer(batch).rsample_with_log_prob()
            optimizer.zero_grad()
            (log_q - base().log_prob(x.flatten(-2))).mean().backward()
            optimizer.step()
        optimizer.zero_grad()

    def elbo(self, y: Tensor) -> Tensor:
        """Return a one-sample estimate of the bound on log p of sets: ``(B, n)`` to ``(B,)``, nats, differentiable."""
        return super().elbo(y) + _log_orders(y)

    @torch.no_grad()
    def sample(self, n: int, *, distinct: bool = True) -> Tensor:
        """Draw sets, int64 of shape ``(n, items of a set)``.

        Args:
            n: The number of sets.
            distinct: Whether to draw rows in which an item comes twice again.

        Raises:
            ValueError: If nearly all rows drawn have an item twice.
        """
        drawn = super().sample(n)
        for _ in range(_ROUNDS if distinct else 0):
            ordered = drawn.sort(-1).values
            again = (ordered[:, 1:] == ordered[:, :-1]).any(-1)
            if not again.any():
                return drawn
            drawn[again] = super().sample(int(again.sum()))
        if distinct:
            raise ValueError(
                f"after {_ROUNDS} draws, {int(again.sum())} of {n} sets still have an item twice: train the model on "
                "sets without repeats, or pass distinct=False."
            )
        return drawn


def _places(y: Tensor, items: int, dim: int) -> Tensor:
    """Place items by correspondence analysis of sets, coordinates as those of N(0, 1): ``(items, at most dim)``."""
    weight = torch.bincount(y.flatten(), minlength=items).clamp_min(1).double().rsqrt()
    row = torch.arange(len(y), device=y.device).repeat_interleave(y.shape[1])
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        incidence = torch.sparse_coo_tensor(torch.stack([row, y.flatten()]), weight[y.flatten()], (len(y), items))
        with redirected():  # it takes no generator
            axes = torch.pca_lowrank(incidence, q=min(dim, items, len(y)), niter=20)[2] * weight[:, None]
    return torch.special.ndtri((axes.argsort(0).argsort(0) + 0.5) / items)


def _log_orders(y: Tensor) -> Tensor:
    """Return the log of the number of different orders of each row: ``(..., n)`` to ``(...)``."""
    # The m-th time that an item comes counts m: a product of m! for m times.
    times = (y[..., :, None] == y[..., None, :]).tril().sum(-1)
    return math.lgamma(y.shape[-1] + 1) - times.log().sum(-1)
