"""Laws of item sets whose normaliser is an elementary symmetric polynomial: k-DPP, and independent items."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.dequantization.base import require_classes
from tessflow.randomness import generator, uniform

__all__ = ["KDPP", "IndependentItems", "log_elementary_symmetric", "require_sets"]

# Items times numbers of an item that a sampling pass holds at once.
_CHUNK = 1 << 22


class _SetLaw(Configured):
    """A law of sets of k of K items, with exact log-probabilities."""

    lower_bound = False

    def __init__(self, items: int, size: int) -> None:
        super().__init__()
        if not 1 <= size <= items:
            raise ValueError(f"a set has between 1 and all {items} items, got size {size}.")
        self.items, self.size = items, size

    def elbo(self, y: Tensor) -> Tensor:
        """Return log p(S), exact: ``(B, k)`` to ``(B,)``, nats, differentiable.

        Raises:
            ValueError: If a row is no set of k items.
        """
        return self._log_prob(y, None)

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, given: Tensor | None = None, samples: int = 100) -> Tensor:
        """Return log p of sets, exact, or of the other items of sets that hold some that are given.

        Args:
            y: Sets, shape ``(B, k)``; or the other items, ``(B, k - j)``.
            given: Items that all sets hold, shape ``(j,)``.
            samples: Without effect.

        Returns:
            Nats, shape ``(B,)``.

        Raises:
            ValueError: If a row, with what is given, is no set of k items.
        """
        return self._log_prob(y, given)

    def _log_prob(self, y: Tensor, given: Tensor | None) -> Tensor:
        raise NotImplementedError


class IndependentItems(_SetLaw):
    r"""Model sets of k different items that are independent otherwise: what a model of sets has to beat.

    .. math:: p(S) = \frac{1}{e_k(w)} \prod_{i \in S} w_i, \qquad e_k(w) = \sum_{|S| = k} \prod_{i \in S} w_i

    All sets are equally likely at first. It is the :class:`KDPP` of a diagonal kernel.

    Args:
        items: The number K of items.
        size: The number k of items in a set.

    Attributes:
        lower_bound: False: log-probabilities are exact.

    Raises:
        ValueError: If ``size`` is not between 1 and ``items``.

    Example:
        >>> y = torch.tensor([[0, 2], [0, 1], [3, 0]])
        >>> model = IndependentItems(4, 2).initialize(y)
        >>> round(model.log_prob(torch.combinations(torch.arange(4), 2)).exp().sum().item(), 4)
        1.0
    """

    def __init__(self, items: int, size: int) -> None:
        super().__init__(items, size)
        self.logits = nn.Parameter(torch.zeros(items))

    def initialize(self, y: Tensor) -> IndependentItems:
        """Maximise the likelihood of sets, ``(B, k)``, to which every item is added half a time.

        Where it is highest, an item is in a set as often as the model says: weights are multiplied by the ratio of the
        two until they agree.

        Raises:
            ValueError: If a row is no set of k items.
        """
        require_sets(y, self.items, self.size)
        counts = torch.bincount(y.flatten(), minlength=self.items).to(self.logits) + 0.5
        target = counts.log() - (counts.sum() / self.size).log()
        logits = target.clone()
        for _ in range(100):
            with torch.enable_grad():
                log_normalizer = log_elementary_symmetric(logits.requires_grad_(), self.size)
            (included,) = torch.autograd.grad(log_normalizer, logits)
            step = target - included.log()
            logits = logits.detach() + step
            if step.abs().max() < 1e-4:
                break
        with torch.no_grad():
            self.logits.copy_(logits - logits.mean())
        return self

    @torch.no_grad()
    def sample(self, n: int, *, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` sets, int64 ``(n, k)``; or the other items of sets that hold those given, ``(n, k - j)``."""
        others = self._others(given)
        left = self.size - (self.items - len(others))
        return others[_choose(self.logits[others], left, n)]

    def _log_prob(self, y: Tensor, given: Tensor | None) -> Tensor:
        require_sets(y, self.items, self.size, given)
        others = self.logits[self._others(given)]
        return self.logits[y].sum(-1) - log_elementary_symmetric(others, y.shape[-1])

    def _others(self, given: Tensor | None) -> Tensor:
        """Return the items that are not given."""
        everything = torch.arange(self.items, device=self.logits.device)
        return everything if given is None else everything[~torch.isin(everything, given)]


class KDPP(_SetLaw):
    r"""Model sets of k items by a determinantal point process of fixed size: items repel those like them.

    .. math:: p(S) = \frac{\det L_S}{e_k(\lambda)}, \qquad L = B B^\top

    for the eigenvalues :math:`\lambda` of L and the elementary symmetric polynomial :math:`e_k` (Kulesza & Taskar,
    2011, "k-DPPs: Fixed-size determinantal point processes").

    Args:
        items: The number K of items.
        size: The number k of items in a set.
        rank: The most dimensions r of an item's row of B; with ``items`` or more, L may be any kernel.

    Attributes:
        lower_bound: False: log-probabilities are exact.

    Raises:
        ValueError: If ``size`` is not between 1 and ``items``, or ``rank`` is below ``size``.

    Example:
        >>> model = KDPP(5, 3, rank=4)
        >>> round(model.log_prob(torch.combinations(torch.arange(5), 3)).exp().sum().item(), 4)
        1.0
        >>> model.sample(7).shape
        torch.Size([7, 3])
    """

    def __init__(self, items: int, size: int, *, rank: int = 256) -> None:
        super().__init__(items, size)
        if rank < size:
            raise ValueError(f"rank must be at least the size of a set, {size}, got {rank}: sets would have no chance.")
        rank = min(rank, items)
        # A row of B is a direction and a log-length: rare items are then as quick to learn as frequent ones.
        self.directions = nn.Parameter(torch.randn(items, rank) / math.sqrt(rank))
        self.log_lengths = nn.Parameter(torch.zeros(items))

    def initialize(self, y: Tensor) -> KDPP:
        """Start from the frequencies of items in sets, ``(B, k)``.

        Raises:
            ValueError: If a row is no set of k items.
        """
        logits = IndependentItems(self.items, self.size).to(self.log_lengths).initialize(y).logits
        with torch.no_grad():
            self.log_lengths.copy_(logits / 2)
        return self

    @torch.no_grad()
    def sample(self, n: int, *, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` sets, int64 ``(n, k)``; or the other items of sets that hold those given, ``(n, k - j)``.

        First k eigenvectors are drawn, then items from what they span (Kulesza & Taskar, 2011).
        """
        factor = _without(self.directions.double(), given) * self.log_lengths.double().exp()[:, None]
        left = self.size - (0 if given is None else len(given))
        vectors, values, _ = torch.linalg.svd(factor, full_matrices=False)
        log_values = _log_squares(values)
        chunks = torch.arange(n).split(max(1, _CHUNK // (self.items * self.size)))
        drawn = [_project(vectors.T[_choose(log_values, left, len(chunk))].mT) for chunk in chunks]
        return torch.cat(drawn) if drawn else torch.empty(0, left, dtype=torch.int64, device=factor.device)

    def _log_prob(self, y: Tensor, given: Tensor | None) -> Tensor:
        require_sets(y, self.items, self.size, given)
        # In float64, and without products B B^T, whose eigenvalues are as far apart as the squares of B's values.
        directions, log_lengths = _without(self.directions.double(), given), self.log_lengths.double()
        heights = torch.linalg.qr(directions[y].mT).R.diagonal(dim1=-2, dim2=-1).abs()
        log_det = 2 * (heights.log() + log_lengths[y]).sum(-1)
        log_values = _log_squares(torch.linalg.svdvals(directions * log_lengths.exp()[:, None]))
        return (log_det - log_elementary_symmetric(log_values, y.shape[-1])).to(self.log_lengths)


def _without(directions: Tensor, given: Tensor | None) -> Tensor:
    """Take what items have in common with those given out of them: the others are a process of what is left."""
    if given is None or len(given) == 0:
        return directions
    basis = torch.linalg.qr(directions[given].mT).Q
    return (directions - directions @ basis @ basis.mT).index_fill(0, given, 0)


def log_elementary_symmetric(log_values: Tensor, k: int) -> Tensor:
    r"""Return :math:`\log e_k(v_1, ..., v_n) = \log \sum_{|S| = k} \prod_{i \in S} v_i`, in log space.

    It is the coefficient of :math:`x^k` in :math:`\prod_i (1 + v_i x)`; polynomials, without powers above k, are
    multiplied in pairs. The gradient with respect to :math:`\log v_i` is the chance that i is in a set.

    Args:
        log_values: Logarithms of the values, finite, shape ``(..., n)``.
        k: How many values a product has.

    Returns:
        Shape ``(...)``.

    Raises:
        ValueError: If ``k`` is negative or above n.

    Example:
        >>> log_e = log_elementary_symmetric(torch.tensor([1.0, 2.0, 4.0]).log(), 2)
        >>> round(log_e.exp().item(), 4)  # 1 * 2 + 1 * 4 + 2 * 4
        14.0
    """
    n = log_values.shape[-1]
    if not 0 <= k <= n:
        raise ValueError(f"k must be between 0 and the number of values, {n}, got {k}.")
    one = log_values.new_zeros(*log_values.shape[:-1], 1)
    factors, rest = torch.stack([torch.zeros_like(log_values), log_values], -1)[..., : k + 1], one
    while (n := factors.shape[-2]) > 0:
        if n % 2:
            rest = _log_product(rest, factors[..., -1, :], k)
        half = n // 2
        factors = _log_product(factors[..., :half, :], factors[..., half : 2 * half, :], k)
    return rest[..., k]


def _log_product(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Multiply polynomials given by logarithms of their coefficients, from that of x^0 on; up to that of x^k."""
    top_a, top_b = a.shape[-1] - 1, b.shape[-1] - 1
    coefficients = []
    for power in range(min(top_a + top_b, k) + 1):
        low, high = max(0, power - top_b), min(top_a, power)
        terms = a[..., low : high + 1] + b[..., power - high : power - low + 1].flip(-1)
        coefficients.append(terms.logsumexp(-1))
    return torch.stack(coefficients, -1)


def _log_squares(values: Tensor) -> Tensor:
    """Return logarithms of the eigenvalues of B B^T, finite, for the singular values of B."""
    eps = torch.finfo(values.dtype).eps
    return 2 * values.clamp_min(eps * values.detach().max().item()).log()


def _choose(log_values: Tensor, k: int, n: int) -> Tensor:
    """Draw ``n`` sets of k indices with chances as the products of their values, ``(n, k)``."""
    log_values = log_values.detach().double()
    # prefix[i, j]: log e_j of the first i values.
    prefix = log_values.new_full((len(log_values) + 1, k + 1), -math.inf)
    prefix[:, 0] = 0
    for i, value in enumerate(log_values):
        prefix[i + 1, 1:] = torch.logaddexp(prefix[i, 1:], value + prefix[i, :-1])
    left = torch.full((n,), k, device=log_values.device)
    chosen = torch.zeros(n, k, dtype=torch.int64, device=log_values.device)
    for i in range(len(log_values) - 1, -1, -1):
        one_less = prefix[i, (left - 1).clamp_min(0)]
        chance = torch.where(left > 0, (log_values[i] + one_less - prefix[i + 1, left]).exp(), 0)
        takes = uniform(chance.shape, chance) < chance
        chosen[takes, left[takes] - 1] = i
        left = left - takes.long()
    return chosen


def _project(vectors: Tensor) -> Tensor:
    """Draw items from determinantal processes of orthonormal vectors, ``(n, K, k)``: all k, one after another."""
    n, _, k = vectors.shape
    row = torch.arange(n, device=vectors.device)
    chance = vectors.square().sum(-1)
    seen = torch.zeros_like(vectors)
    chosen: list[Tensor] = []
    for t in range(k):
        item = chance.multinomial(1, generator=generator(chance.device)).squeeze(-1)
        new = (vectors @ vectors[row, item, :, None]).squeeze(-1)
        new = new - (seen[..., :t] @ seen[row, item, :t, None]).squeeze(-1)
        seen[..., t] = new / chance[row, item].sqrt()[:, None]
        chance = (chance - seen[..., t].square()).clamp_min(0)
        chosen.append(item)
        for earlier in chosen:
            chance[row, earlier] = 0
    return torch.stack(chosen, -1)


def require_sets(y: Tensor, items: int, size: int, given: Tensor | None = None) -> None:
    """Check rows of items.

    Args:
        y: Rows, int64 of shape ``(..., size)``, or ``(..., size - j)``.
        items: The number of items.
        size: The number of items in a set.
        given: Items that all sets hold as well, shape ``(j,)``.

    Raises:
        ValueError: If rows are of another size, hold a number that is no item, or an item twice.
    """
    if given is not None:
        y = torch.cat([given.to(y).expand(*y.shape[:-1], -1), y], -1)
    if y.shape[-1] != size:
        raise ValueError(f"sets have {size} items, got rows of {y.shape[-1]}.")
    require_classes(y, torch.full((size,), items, device=y.device))
    ordered = y.sort(-1).values
    twice = (ordered[..., 1:] == ordered[..., :-1]).any(-1)
    if twice.any():
        raise ValueError(f"a set holds an item once, but a row is {y[twice][0].tolist()}.")
