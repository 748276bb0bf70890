"""A matched flow for sets: items are drawn one after another, in any order, from cells that are not taken yet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.flows.precision import full_precision
from tessflow.models.dequantized import importance_bound
from tessflow.models.kdpp import require_sets
from tessflow.randomness import Dropout, generator, uniform

__all__ = ["MatchedSets"]

# Up to so many items are summed over all orders.
_MOST_SUMMED = 8
# Logits that a scoring pass holds at once.
_CHUNK = 1 << 24


class MatchedSets(Configured):
    r"""Model sets of k different items, drawn one after another from what the set holds so far.

    .. math:: p(y_j | S) = \mathrm{softmax}_{y \notin S} \, f_y\Bigl(\sum_{s \in S} \phi(a_s)\Bigr), \qquad
              p(\{y_1, ..., y_k\}) = \sum_{\text{orders}} \prod_j p(y_j | y_1, ..., y_{j-1})

    for anchors :math:`a` in R^D and networks :math:`\phi` and f (Zaheer et al., 2017, "Deep sets"). As in
    :class:`~tessflow.models.MatchedFlow` with ``condition_on="cell"``, this is a flow over x in R^(k D) that shares its
    cells with the dequantizer: densities inside of cells cancel, and what is left is exact. Networks see the cells of
    the items before as their anchors, and do not see their order. All k! orders are summed by way of the 2^k subsets.

    Training maximises the bound :math:`\log k! + \log p(y_1, ..., y_k)` with an order drawn at random. From what
    :meth:`initialize` sets, it starts as items drawn by their frequencies.

    Args:
        items: The number K of items.
        size: The number k of items in a set.
        dim: The dimension ``D`` of an anchor.
        hidden_features: Widths of the hidden layers: of the items' network, then of the set's.
        dropout: The share of hidden units of the set's network dropped in training.

    Attributes:
        lower_bound: Whether log-probabilities are lower bounds: of sets of more than 8 items.

    Raises:
        ValueError: If ``size`` is not between 1 and ``items``, or ``hidden_features`` is empty.

    Example:
        >>> model = MatchedSets(5, 3, dim=2, hidden_features=(16,))
        >>> round(model.log_prob(torch.combinations(torch.arange(5), 3)).exp().sum().item(), 4)
        1.0
        >>> model.sample(7).shape, model.sample(7, given=torch.tensor([4])).shape  # the others, given item 4
        (torch.Size([7, 3]), torch.Size([7, 2]))
    """

    free_options = ("size",)

    def __init__(
        self,
        items: int,
        size: int,
        *,
        dim: int = 64,
        hidden_features: Sequence[int] = (128,),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 1 <= size <= items:
            raise ValueError(f"a set has between 1 and all {items} items, got size {size}.")
        if not hidden_features:
            raise ValueError("hidden_features must name the width of one hidden layer at least.")
        self.items, self.size = items, size
        self.anchors = nn.Parameter(torch.randn(items, dim))
        first, *_ = hidden_features
        self.each = nn.Sequential(nn.Linear(dim, first), nn.SiLU())
        layers: list[nn.Module] = [Dropout(dropout)]
        for width, next_width in itertools.pairwise(hidden_features):
            layers += [nn.Linear(width, next_width), nn.SiLU(), Dropout(dropout)]
        self.together = nn.Sequential(*layers, nn.Linear(hidden_features[-1], items))
        for parameter in self._head.parameters():
            nn.init.zeros_(parameter)

    @property
    def lower_bound(self) -> bool:
        """Whether log-probabilities are lower bounds rather than exact."""
        return self.size > _MOST_SUMMED

    @torch.no_grad()
    def initialize(self, y: Tensor) -> MatchedSets:
        """Start from the frequencies of items in sets, ``(B, k)``, to which every item is added half a time.

        Raises:
            ValueError: If a row is no set of k items.
        """
        require_sets(y, self.items, self.size)
        log_counts = (torch.bincount(y.flatten(), minlength=self.items).to(self._head.bias) + 0.5).log()
        self._head.bias.copy_(log_counts - log_counts.mean())
        return self

    def elbo(self, y: Tensor) -> Tensor:
        """Return the bound of one random order of each row: ``(B, k)`` to ``(B,)``, nats, differentiable.

        Raises:
            ValueError: If a row is no set of k items.
        """
        require_sets(y, self.items, self.size)
        return self._order_bound(y, None)

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, given: Tensor | None = None, samples: int = 100) -> Tensor:
        """Return log p of sets, or of the other items of sets that hold some that are given.

        Given items, this is the law of the others where those given were drawn first, as :meth:`sample` draws them: not
        the conditional of the law of sets, which sums over orders in which they come later.

        Args:
            y: Sets, shape ``(B, k)``; or the other items, ``(B, k - j)``.
            given: Items that all sets hold, shape ``(j,)``, drawn before the others.
            samples: The number of orders a row, where more than 8 items are not given: a lower bound. Without effect
                otherwise: exact.

        Returns:
            Nats, shape ``(B,)``.

        Raises:
            ValueError: If a row, with what is given, is no set of k items.
        """
        given = _given(given, y)
        require_sets(y, self.items, self.size, given)
        if y.shape[-1] > _MOST_SUMMED:
            return importance_bound(lambda rows: self._order_bound(rows, given), y, samples)
        rows = max(1, _CHUNK // (self.items << y.shape[-1]))
        return torch.cat([self._sum_of_orders(chunk, given) for chunk in y.split(rows)])

    @torch.no_grad()
    def sample(self, n: int, *, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` sets, int64 ``(n, k)``; or the other items of sets that hold those given, ``(n, k - j)``."""
        given = _given(given, self._head.bias)
        drawn = torch.empty(n, 0, dtype=torch.int64, device=given.device)
        for _ in range(self.size - len(given)):
            members = torch.ones(1, drawn.shape[-1], dtype=torch.bool, device=given.device)
            log_chance = self._log_next(drawn, members, given)[:, 0]
            drawn = torch.cat([drawn, log_chance.exp().multinomial(1, generator=generator(log_chance.device))], -1)
        return drawn

    @property
    def _head(self) -> nn.Linear:
        return cast(nn.Linear, self.together[-1])

    def _order_bound(self, y: Tensor, given: Tensor | None) -> Tensor:
        n = y.shape[-1]
        y = y.gather(-1, uniform(y.shape, self.anchors).argsort(-1))
        before = torch.ones(n, n, dtype=torch.bool, device=y.device).tril(-1)
        log_next = self._log_next(y, before, _given(given, y)).gather(-1, y[..., None]).squeeze(-1)
        return log_next.sum(-1) + math.lgamma(n + 1)

    def _sum_of_orders(self, y: Tensor, given: Tensor) -> Tensor:
        n = y.shape[-1]
        subsets = torch.arange(1 << n, device=y.device)
        members = (subsets[:, None] >> torch.arange(n, device=y.device)) % 2 == 1
        places = y[:, None].expand(-1, len(subsets) - 1, -1)
        log_next = self._log_next(y, members[:-1], given).gather(-1, places)
        # A subset is drawn if one without one of its items is, and then that item.
        log_drawn = [y.new_zeros(len(y), dtype=log_next.dtype)]
        for subset in range(1, len(subsets)):
            last = [item for item in range(n) if subset >> item & 1]
            ways = [log_drawn[subset ^ 1 << item] + log_next[:, subset ^ 1 << item, item] for item in last]
            log_drawn.append(torch.stack(ways).logsumexp(0))
        return log_drawn[-1]

    def _log_next(self, y: Tensor, members: Tensor, given: Tensor) -> Tensor:
        """Return the log-probability of each item to come next, after those of a row that are members, and those given.

        Args:
            y: Rows, shape ``(B, n)``.
            members: Which items of a row are there, boolean ``(C, n)``.
            given: Items that are there as well, shape ``(j,)``.

        Returns:
            Shape ``(B, C, K)``; -inf for items that are there.
        """
        each = self.each(self.anchors)
        pooled = members.to(each) @ each[y] + each[given].sum(0)
        logits = full_precision(self.together(pooled)).index_fill(-1, given, -math.inf)
        taken = torch.zeros((), dtype=logits.dtype, device=y.device).where(~members, -math.inf)
        return F.log_softmax(logits.scatter_add(-1, *_expanded(y, taken, logits)), -1)


def _expanded(y: Tensor, taken: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    shape = (*logits.shape[:-1], y.shape[-1])
    return y[:, None].expand(shape), taken.expand(shape)


def _given(given: Tensor | None, like: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=like.device) if given is None else given.to(like.device)
