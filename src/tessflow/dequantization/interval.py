"""Interval dequantization: cells of given masses on a line, without gaps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Transform

from tessflow.dequantization.base import ConditionalNoise, Dequantizer
from tessflow.flows.bases import Logistic
from tessflow.geometry import Intervals
from tessflow.transforms import IntervalTransform, Retessellation

__all__ = ["IntervalDequantizer"]


class IntervalDequantizer(Dequantizer):
    """Push logistic noise into the value's interval of a line, which the intervals of all values fill.

    The cells have masses under the standard logistic distribution (:class:`~tessflow.geometry.Intervals`): equal ones
    at first. :class:`~tessflow.flows.BlockFlow` moves them to others: under a standard logistic their masses are the
    probabilities of the values.

    Args:
        cardinalities: The number of values of each variable, ``(K_1, ..., K_N)``.
        learn: Whether the masses are learned.
        noise: A module, ``noise(y)`` a density over R^N; by default a logistic distribution, given an embedding of
            all values, which starts as the standard one.
        hidden_features: The widths of its networks.

    Example:
        >>> dequantizer = IntervalDequantizer((3, 2))
        >>> y = torch.tensor([[2, 0], [1, 1]])
        >>> x, log_prob = dequantizer(y).rsample_with_log_prob()
        >>> x.shape, dequantizer.quantize(x).equal(y)
        (torch.Size([2, 2, 1]), True)
    """

    logits: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        learn: bool = False,
        noise: nn.Module | None = None,
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        if noise is None and min(cardinalities, default=0) > 0:
            noise = ConditionalNoise(
                cardinalities, len(cardinalities), layers=0, hidden_features=hidden_features, base=Logistic
            )
        super().__init__(cardinalities, 1, noise="standard" if noise is None else noise)
        self.learn = learn
        logits = torch.zeros(len(cardinalities), max(cardinalities))
        if learn:
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def tessellation(self, moves: Tensor | None = None, *, of: Tensor | None = None) -> Intervals:
        """Return the cells; of some variables, by number, and with factors of their masses, if these are given."""
        logits, exists = (self.logits, self.exists) if of is None else (self.logits[of], self.exists[of])
        return Intervals((logits if moves is None else logits + moves).masked_fill(~exists, -torch.inf))

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x 1) onto the intervals of ``y``."""
        return IntervalTransform(self.tessellation(), y)

    def quantize(self, x: Tensor, *, of: Tensor | None = None) -> Tensor:
        """Return the values whose intervals hold points; of some variables, by number, if these are given."""
        return self.tessellation(of=of).locate(x)

    @property
    def moves(self) -> int:
        """The number of numbers that move the cells of a variable: a log-factor of each mass."""
        return max(self.cardinalities)

    def move(self, moves: Tensor, index: Tensor | None = None, *, of: Tensor | None = None) -> Transform:
        """Return the map to cells whose masses have other factors; see :class:`~tessflow.flows.MovableCells`."""
        return Retessellation(self.tessellation(of=of), self.tessellation(moves, of=of), index=index)

    def moves_of(self, log_masses: Tensor) -> Tensor:
        """Return the moves to cells of these masses, ``(N, K)``."""
        return log_masses - self.logits

    def reference(self) -> Logistic:
        """Return the distribution under which cells have their masses, over R^N."""
        return Logistic(self.logits.new_zeros(self.features), self.logits.new_ones(self.features))
