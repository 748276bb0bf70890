"""Exact models of sequences of symbols: the categorical one, and the one that shares its cells with a dequantizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.dequantization.base import require_classes
from tessflow.flows.precision import full_precision
from tessflow.flows.sequence import GaussianComponents, ShiftedLSTM
from tessflow.randomness import Dropout, categorical

__all__ = ["CharacterModel"]


class CharacterModel(Configured):
    r"""Model a sequence of symbols by an LSTM that gives each symbol's logits, given those before it.

    .. math:: \log p(y) = \sum_t \log p(y_t | y_1, ..., y_{t-1})

    The exact counterpart of :class:`~tessflow.models.DequantizedFlow` over a
    :class:`~tessflow.flows.RecurrentMixture`. With ``dim``, a symbol is an anchor in R^D and read as a point there is,
    by how likely it came from a component around each anchor: with any noise q(x | y) inside the cells,
    :math:`p(x_t | y_1, ..., y_{t-1}) = \sum_k p(k | ...) q(x_t | k)` is a density of points whose bound on
    :math:`\log p(y)` is an equality, since the network sees earlier cells rather than points. Without ``dim``, symbols
    have embeddings of their own: the plain categorical model.

    Args:
        classes: The number of symbols.
        length: The number of symbols in a sample; sequences of any other length have a log-probability too.
        dim: The dimension of the anchors, or ``None`` for none.
        hidden_features: The width of the LSTM.
        layers: The number of its layers.
        embedding: The size of what it reads of a symbol.
        dropout: The share of what the LSTM reads and says that is dropped in training.

    Attributes:
        lower_bound: False: log-probabilities are exact.

    Raises:
        ValueError: If a size is below 1, or ``dropout`` is no probability.

    Example:
        >>> model = CharacterModel(3, length=2, dim=4, hidden_features=16)
        >>> y = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        >>> round(model.log_prob(y).exp().sum().item(), 4)
        1.0
        >>> model.sample(5).shape
        torch.Size([5, 2])
    """

    free_options = ("length",)
    lower_bound = False

    def __init__(
        self,
        classes: int,
        length: int,
        *,
        dim: int | None = None,
        hidden_features: int = 256,
        layers: int = 1,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = (classes, length, hidden_features, layers, embedding, 1 if dim is None else dim)
        if min(sizes) < 1:
            raise ValueError(
                f"classes, length, hidden_features, layers, embedding and dim must be at least 1, got {sizes}."
            )
        self.length = length
        self.embedding = nn.Linear(classes, embedding, bias=False)
        nn.init.normal_(self.embedding.weight)
        self.components = None if dim is None else GaussianComponents(classes, dim)
        self.lstm = ShiftedLSTM(embedding, hidden_features, layers=layers)
        self.logits = nn.Linear(hidden_features, classes)
        self.dropout = Dropout(dropout)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes at each position of a sample."""
        return (self.logits.out_features,) * self.length

    def elbo(self, y: Tensor) -> Tensor:
        """Return log p(y), which is exact here: ``(B, T)`` to ``(B,)``, nats, differentiable.

        Raises:
            ValueError: If ``y`` has a value that is no class.
        """
        require_classes(y, torch.full((y.shape[-1],), self.logits.out_features, device=y.device))
        logits = full_precision(self.logits(self.dropout(self.lstm(self.dropout(self._seen()[y])))))
        return logits.log_softmax(-1).gather(-1, y[..., None]).squeeze(-1).sum(-1)

    @torch.no_grad()
    def log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y), exact: ``(B, T)`` to ``(B,)``, nats."""
        return self.elbo(y)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` sequences, int64 of shape ``(n, length)``."""
        seen, state, drawn = self._seen(), self.lstm.start(n), []
        for _ in range(self.length):
            drawn.append(categorical(self.logits(self.lstm.output(state))))
            state = self.lstm.step(seen[drawn[-1]], state)
        return torch.stack(drawn, -1)

    def _seen(self) -> Tensor:
        """Return what the LSTM reads of each symbol, ``(classes, embedding)``."""
        table = self.embedding.weight.mT
        if self.components is None:
            return table
        return self.components.log_prob(self.components.means).softmax(-1) @ table
