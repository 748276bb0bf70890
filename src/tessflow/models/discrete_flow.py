"""Discrete Flow: layers that move classes modulo their number, so that likelihoods need no dequantization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zuko.nn import MLP

from tessflow.configuration import Configured
from tessflow.dequantization.base import require_classes
from tessflow.flows import coupling_mask
from tessflow.models.independent import IndependentColumns

__all__ = ["DiscreteFlow"]

# Rows encoded in one pass.
_ROWS = 4096


class DiscreteFlow(Configured):
    r"""Model rows of classes by a bijection of the set of all rows, and independent columns p_0.

    .. math:: \log p(y) = \log p_0(f_L \circ \dots \circ f_1(y)), \qquad
              f(y)_n = (\mu_n + \sigma_n y_n) \bmod K_n

    Each layer f keeps some variables (even, odd, the first half, the second half, in turn) and moves the others by what
    a network says of those kept: an MLP with SiLU that sees one-hot vectors. It chooses :math:`\mu_n`, and with
    ``scale`` :math:`\sigma_n` among the numbers coprime to :math:`K_n`, by the largest logit; the gradient is that of a
    softmax (straight-through). A bijection of a finite set has no Jacobian: log-probabilities are exact. This is the
    bipartite flow of Tran, Vafa, Agrawal, Dinh & Poole (2019, "Discrete Flows: Invertible Generative Models of Discrete
    Data"). It trains better if :meth:`initialize` is called first.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        layers: The number of layers; a single variable has none.
        hidden_features: The widths of each network's hidden layers.
        scale: Whether classes are also multiplied, not only shifted.
        temperature: Of the softmax that lends the choices their gradient.
        identity: Whether the layers start as the identity, and the model, once initialised, as independent columns;
            otherwise they start by moving values at random.

    Attributes:
        base: The independent columns p_0, learned; uniform until :meth:`initialize` or training.
        lower_bound: False: log-probabilities are exact.

    Raises:
        ValueError: If a variable has no class, or ``layers`` or ``temperature`` is not positive.

    Example:
        >>> model = DiscreteFlow((3, 2), layers=2, hidden_features=(16,))
        >>> y = torch.cartesian_prod(torch.arange(3), torch.arange(2))
        >>> model.log_prob(y).exp().sum()
        tensor(1.0000)
        >>> model.sample(5).shape
        torch.Size([5, 2])
    """

    lower_bound = False

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        layers: int = 4,
        hidden_features: Sequence[int] = (256, 256),
        scale: bool = False,
        temperature: float = 0.1,
        identity: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.base = IndependentColumns(cardinalities)
        n = len(self.cardinalities)
        self.layers = nn.ModuleList(
            _BipartiteLayer(
                self.base.num_classes,
                coupling_mask(n, layer),
                hidden_features=hidden_features,
                scale=scale,
                temperature=temperature,
            )
            for layer in range(layers if n > 1 else 0)
        )
        if identity:
            for layer in self.layers:
                last = cast(_BipartiteLayer, layer).network[-1]
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes of each variable."""
        return self.base.cardinalities

    @torch.no_grad()
    def initialize(self, y: Tensor) -> None:
        """Set the base to the frequencies that values have after the layers, :meth:`IndependentColumns.fit`.

        Args:
            y: Training rows, int64 of shape ``(B, N)``.
        """
        self.base.fit(torch.cat([self._encode(rows).argmax(-1) for rows in y.split(_ROWS)]))

    def elbo(self, y: Tensor) -> Tensor:
        """Return log p(y), exact: ``(..., N)`` to ``(...)``, nats, with straight-through gradients.

        Raises:
            ValueError: If a value is no class of its variable.
        """
        log_p = self.base.log_table()
        return (self._encode(y) * log_p.masked_fill(log_p == -math.inf, 0)).sum((-2, -1))

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 100) -> Tensor:
        """Return log p(y), exact, as :meth:`elbo` does; ``samples`` is without effect."""
        return self.elbo(y)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, int64 of shape ``(n, N)``."""
        y = self.base.sample(n)
        for layer in reversed(self.layers):
            y = cast(_BipartiteLayer, layer).inv(self._one_hot(y))
        return y

    def _encode(self, y: Tensor) -> Tensor:
        """Move rows to where the base models them: ``(..., N)`` to one-hot ``(..., N, max K)``."""
        require_classes(y, self.base.num_classes)
        x = self._one_hot(y)
        for layer in self.layers:
            x = layer(x)
        return x

    def _one_hot(self, y: Tensor) -> Tensor:
        return F.one_hot(y, max(self.cardinalities)).to(self.base.logits.dtype)


class _BipartiteLayer(nn.Module):
    """A layer on one-hot vectors ``(..., N, K)``; a variable's classes are the first of its K entries.

    Args:
        num_classes: The number of classes of each variable, ``(N,)``.
        keeps: Which variables stay as they are, boolean ``(N,)``: some, and not all.
        hidden_features: The widths of the network's hidden layers.
        scale: Whether classes are multiplied.
        temperature: Of the softmax.
    """

    k: Tensor
    moved: Tensor
    classes: Tensor
    inputs: Tensor
    outputs: Tensor

    def __init__(
        self, num_classes: Tensor, keeps: Tensor, *, hidden_features: Sequence[int], scale: bool, temperature: float
    ) -> None:
        super().__init__()
        self.temperature = temperature
        k = torch.arange(int(num_classes.max()))
        real = k < num_classes[:, None]
        moved = (~keeps).nonzero().squeeze(-1)
        # No choice but those that exist has an output: shifts, and multipliers that have an inverse.
        coprime = real & (torch.gcd(k, num_classes[:, None]) == 1)
        choices = torch.stack([real, coprime] if scale else [real])[:, moved]
        self.shape = choices.shape
        self.register_buffer("k", k, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("classes", num_classes[moved, None], persistent=False)
        self.register_buffer("inputs", (real & keeps[:, None]).flatten().nonzero().squeeze(-1), persistent=False)
        self.register_buffer("outputs", choices.flatten().nonzero().squeeze(-1), persistent=False)
        self.network = MLP(len(self.inputs), len(self.outputs), hidden_features, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """Move one-hot vectors; values are exact, gradients those of the product of one-hot vectors that moves them."""
        part = x[..., self.moved, :]
        y = part.argmax(-1, keepdim=True)
        logits = self._logits(x)
        shift, multiplier = self._choose(logits)
        # A softmax less itself: zero, but for its gradient.
        steps = (logits / self.temperature).softmax(-1)
        steps = (steps - steps.detach()).to(x.dtype)
        z = self._put(part, shift + multiplier * self.k) + self._put(steps[..., 0, :, :], self.k + multiplier * y)
        if self.shape[0] == 2:
            z = z + self._put(steps[..., 1, :, :], shift + self.k * y)
        return x.index_copy(-2, self.moved, z)

    def inv(self, x: Tensor) -> Tensor:
        """Move one-hot vectors back, to classes ``(..., N)``."""
        z = x.argmax(-1)
        shift, multiplier = self._choose(self._logits(x))
        moves_to = (shift + multiplier * self.k) % self.classes
        found = moves_to == z[..., self.moved, None]  # the first is a class that exists; padding comes after
        return z.index_copy(-1, self.moved, found.int().argmax(-1))

    def _logits(self, x: Tensor) -> Tensor:
        """Say what is known of each choice for each moved variable: ``(..., 1 or 2, M, K)``."""
        h = self.network(x.flatten(-2)[..., self.inputs])
        logits = h.new_full((*h.shape[:-1], math.prod(self.shape)), -math.inf)
        return logits.index_copy(-1, self.outputs, h).unflatten(-1, self.shape)

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return shifts and multipliers, ``(..., M, 1)``."""
        shift, *multiplier = logits.argmax(-1, keepdim=True).unbind(-3)
        return shift, multiplier[0] if multiplier else torch.ones_like(shift)

    def _put(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter_add(-1, index % self.classes, x)
