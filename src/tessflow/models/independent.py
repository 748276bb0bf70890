"""Independent columns: what a model of rows has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.dequantization.base import require_classes
from tessflow.randomness import categorical

__all__ = ["IndependentColumns"]


class IndependentColumns(Configured):
    r"""Model rows as independent columns, :math:`\log p(y) = \sum_n \log p_n(y_n)`, uniform until fitted.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.

    Attributes:
        lower_bound: False: log-probabilities are exact.

    Raises:
        ValueError: If there is no variable, or one has no class.

    Example:
        >>> y = torch.tensor([[0, 2], [1, 2], [0, 0]])
        >>> model = IndependentColumns((2, 3)).fit(y)
        >>> model.log_prob(y[:1])  # log (2.5 / 4) + log (2.5 / 4.5)
        tensor([-1.0578])
    """

    lower_bound = False
    num_classes: Tensor
    _real: Tensor

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        if min(cardinalities, default=0) < 1:
            raise ValueError(f"every variable needs at least one class, got cardinalities {tuple(cardinalities)}.")
        self.cardinalities = tuple(cardinalities)
        self.logits = nn.Parameter(torch.zeros(sum(cardinalities)))
        self.register_buffer("num_classes", torch.tensor(self.cardinalities), persistent=False)
        real = torch.arange(max(cardinalities)) < self.num_classes[:, None]
        self.register_buffer("_real", real.flatten().nonzero().squeeze(-1), persistent=False)

    @torch.no_grad()
    def fit(self, y: Tensor) -> IndependentColumns:
        r"""Count values: of B rows, n with value v give :math:`p(v) = (n + 1/2) / (B + K/2)`.

        This is the add-half estimate of Krichevsky & Trofimov (1981, "The performance of universal encoding").

        Args:
            y: Values, int64 of shape ``(B, N)``.

        Raises:
            ValueError: If a value is no class of its variable.
        """
        require_classes(y, self.num_classes)
        first = self.num_classes.cumsum(0) - self.num_classes
        counts = torch.bincount((y + first).flatten(), minlength=len(self.logits))
        self.logits.copy_((counts.to(self.logits.dtype) + 0.5).log())
        return self

    def log_table(self) -> Tensor:
        """Return the log-probability of each class, ``(N, max K)`` in nats; of those that do not exist, -inf."""
        shape = len(self.cardinalities), max(self.cardinalities)
        logits = self.logits.new_full((math.prod(shape),), -math.inf).index_copy(0, self._real, self.logits)
        return logits.reshape(shape).log_softmax(-1)

    def elbo(self, y: Tensor) -> Tensor:
        """Return log p(y), exact: ``(..., N)`` to ``(...)``, nats, differentiable."""
        require_classes(y, self.num_classes)
        return self.log_table().expand(*y.shape, -1).gather(-1, y[..., None]).squeeze(-1).sum(-1)

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 100) -> Tensor:
        """Return log p(y), exact, as :meth:`elbo` does; ``samples`` is without effect."""
        return self.elbo(y)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, int64 of shape ``(n, N)``."""
        return categorical(self.log_table(), (n,))
