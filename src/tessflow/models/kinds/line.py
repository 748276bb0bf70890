"""Densities on the line of scores: one, or a mixture of several."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tessflow.flows import IntervalMixture
from tessflow.randomness import categorical

__all__ = ["Line", "MixedLine"]

# Halvings of an interval of float64.
_HALVINGS = 80


class Line(Protocol):
    """What a smooth part needs of a density on the line, in nats."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log-densities."""

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log-probabilities of ``low < z <= high``."""

    def icdf(self, value: Tensor) -> Tensor:
        """Return quantiles."""

    def sample(
        self, sample_shape: tuple[int, ...] = (), low: Tensor | None = None, high: Tensor | None = None
    ) -> Tensor:
        """Draw, perhaps with ``low < z <= high``."""


class MixedLine:
    """A mixture of densities on the line.

    Args:
        parts: The components, of batch shape ``(..., C, V)``.
        log_weights: Their log-weights, normalised, ``(..., C, V)``.

    Example:
        >>> walls, none = torch.zeros(0), torch.zeros(2, 1, 1)
        >>> two = IntervalMixture(walls, tilt=none, logits=none, loc=torch.tensor([[[-4.0]], [[4.0]]]), log_scale=none)
        >>> line = MixedLine(two, torch.tensor([[0.25], [0.75]]).log())
        >>> line.log_mass(torch.zeros(1), torch.full((1,), torch.inf)).exp()
        tensor([0.7410])
    """

    def __init__(self, parts: IntervalMixture, log_weights: Tensor) -> None:
        self.parts, self.log_weights = parts, log_weights

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log-densities of values ``(..., V)``."""
        return (self.log_weights + self.parts.log_prob(value[..., None, :])).logsumexp(-2)

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log-probabilities of ``low < z <= high``, ``(..., V)``."""
        return self._log_masses(low, high).logsumexp(-2)

    @torch.no_grad()
    def icdf(self, value: Tensor) -> Tensor:
        """Return quantiles, found by halving between those of the components."""
        ends = self.parts.icdf(value[..., None, :])
        left, right = ends.amin(-2), ends.amax(-2)
        most, odds = torch.full_like(left, torch.inf), value.logit()
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            less = self.log_mass(-most, middle) - self.log_mass(middle, most) < odds
            left, right = middle.where(less, left), right.where(less, middle)
        return (left + right) / 2

    @torch.no_grad()
    def sample(
        self, sample_shape: tuple[int, ...] = (), low: Tensor | None = None, high: Tensor | None = None
    ) -> Tensor:
        """Draw a component, by what it has of a range, if one is given; then a number of it."""
        log_weights = self.log_weights if low is None or high is None else self._log_masses(low, high)
        chosen = categorical(log_weights.mT, sample_shape)[..., None, :, None]
        picked = []
        for part in (self.parts.tilt, self.parts.logits, self.parts.loc, self.parts.log_scale):
            shape = (*chosen.shape[:-3], *part.shape[-3:])
            index = chosen.expand(*chosen.shape[:-1], part.shape[-1])
            picked.append(part.expand(shape).gather(-3, index).squeeze(-3))
        return IntervalMixture(self.parts.walls, *picked, validate_args=False).sample((), low=low, high=high)

    def _log_masses(self, low: Tensor, high: Tensor) -> Tensor:
        """Return what each component has of ranges, with its weight, ``(..., C, V)``."""
        return self.log_weights + self.parts.log_mass(low[..., None, :], high[..., None, :])
