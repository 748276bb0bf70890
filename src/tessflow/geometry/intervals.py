"""Cells of the line: intervals, known by their masses."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tessflow.geometry.tables import double

__all__ = ["Interval", "Intervals"]

# Stands for the logarithm of 0.
_NOTHING = -1e30


class Interval(NamedTuple):
    """Logarithms of an interval's mass, of all mass below it and of all above it; ``-inf`` where there is none."""

    log_mass: Tensor
    log_below: Tensor
    log_above: Tensor


class Intervals:
    r"""Cut the line into cells of given masses under the standard logistic distribution.

    Cell :math:`k` is the interval between the walls :math:`b_{k-1}` and :math:`b_k`, with

    .. math:: b_k = \log \sum_{i \le k} \pi_i - \log \sum_{i > k} \pi_i, \qquad \pi = \mathrm{softmax}(\mathrm{logits}).

    N such tessellations are held side by side. Sums run from either end, so that small masses keep their digits; all
    numbers inside are float64.

    Args:
        logits: Unnormalised log-masses, shape ``(*N, K)``; ``-inf`` where there is no cell, behind those that are.

    Raises:
        ValueError: If there is no cell.

    Example:
        >>> cells = Intervals(torch.tensor([0.25, 0.5, 0.25]).log())
        >>> cells.walls
        tensor([-1.0986,  1.0986], dtype=torch.float64)
        >>> cells.locate(torch.tensor([[-2.0], [0.0], [5.0]]))
        tensor([0, 1, 2])
    """

    dim = 1

    def __init__(self, logits: Tensor) -> None:
        if logits.ndim == 0 or logits.shape[-1] == 0:
            raise ValueError(f"logits must have shape (*N, K) with K >= 1, got {tuple(logits.shape)}.")
        self.log_masses = double(logits).log_softmax(-1)
        none = torch.full_like(self.log_masses[..., :1], -math.inf)
        self._log_below = torch.cat([none, _log_sums(self.log_masses[..., :-1])], -1)
        self._log_above = torch.cat([_log_sums(self.log_masses[..., 1:].flip(-1)).flip(-1), none], -1)

    def __repr__(self) -> str:
        return f"Intervals(shape={tuple(self.shape)}, cells={self.num_cells})"

    @property
    def shape(self) -> torch.Size:
        """The shape ``*N`` of independent tessellations."""
        return self.log_masses.shape[:-1]

    @property
    def num_cells(self) -> int:
        """The number ``K`` of cells of each, with those that do not exist."""
        return self.log_masses.shape[-1]

    @property
    def walls(self) -> Tensor:
        """The walls between cells, ascending, float64 ``(*N, K - 1)``; infinite behind the last cell."""
        return self._log_below[..., 1:] - self._log_above[..., :-1]

    def locate(self, x: Tensor) -> Tensor:
        """Return the cells that points are in: ``(..., *N, 1)`` to int64 ``(..., *N)``. A wall is in the cell below."""
        with torch.no_grad():
            return (double(x) > self.walls).sum(-1)

    def take(self, index: Tensor) -> Interval:
        """Return the masses of cells ``index``, below them and above them, ``(..., *N)`` each."""
        shape = torch.broadcast_shapes(index.shape, self.shape)
        place = index.expand(shape)[..., None]
        parts = (self.log_masses, self._log_below, self._log_above)
        return Interval(*(part.expand(*shape, -1).gather(-1, place).squeeze(-1) for part in parts))


def _log_sums(log_masses: Tensor) -> Tensor:
    """Return the logarithms of sums from the first on, ``-inf`` where there is nothing yet, with a gradient of 0."""
    none = log_masses == -math.inf
    # Far below any mass that there is, but finite: gradients of infinities are no numbers.
    sums = log_masses.masked_fill(none, _NOTHING).logcumsumexp(-1)
    return sums.masked_fill(none.cummin(-1).values if none.shape[-1] else none, -math.inf)
