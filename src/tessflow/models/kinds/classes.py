"""Variables of classes with a logit each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tessflow.models.kinds.base import ALL, Kind, Values, counted, discount, draw_class, frequencies
from tessflow.models.variables import Restriction, Variable

__all__ = ["Classes"]


class Classes(Kind):
    """Variables of classes with a logit each, all with the same number of classes.

    Args:
        members: See :class:`~tessflow.models.kinds.base.Kind`.
        variables: What they are.

    Example:
        >>> kind = Classes((0, 2), (Variable(3), Variable(3)))
        >>> blocks = kind.start().expand(5, -1, -1)
        >>> kind.log_prob(blocks, Values(torch.zeros(5, 2).long(), torch.zeros(5, 2))).exp()[0]
        tensor([0.3333, 0.3333])
    """

    _ordered: Tensor

    def __init__(self, members: Sequence[int], variables: Sequence[Variable]) -> None:
        super().__init__(members, variables)
        self.size = variables[0].classes
        self._buffer("_ordered", torch.tensor([variable.ordered for variable in variables]))

    def start(self) -> Tensor:
        """Return blocks of zeros."""
        return torch.zeros(len(self.members), self.size)

    def started(self, values: Values) -> Tensor:
        """Return the logarithms of smoothed frequencies; what was not seen has the share that may be expected."""
        shares, counts = frequencies(values.codes, self.size), counted(values.codes, self.size)
        expected = discount(counts) * (counts > 0).sum(-1) / len(values.codes)
        last = torch.maximum(expected, shares[:, -1]).where(self._reserve > 0, shares[:, -1])
        seen = shares[:, :-1] * ((1 - last) / (1 - shares[:, -1]))[:, None]
        return torch.cat([seen, last[:, None]], -1).log().float()

    def class_log_probs(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> Tensor:
        """See the base class."""
        return self._log_softmax(blocks, of)

    def log_prob(
        self, blocks: Tensor, values: Values, *, limits: Tensor | None = None, samples: int = 1, of: slice = ALL
    ) -> Tensor:
        """See the base class."""
        log_probs, codes = self._log_softmax(blocks, of), values.codes
        shape = torch.broadcast_shapes(log_probs.shape[:-1], codes.shape)
        return log_probs.expand(*shape, -1).gather(-1, codes.expand(shape)[..., None]).squeeze(-1)

    def log_mass(
        self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Tensor:
        """See the base class."""
        return self._among(blocks, allowed, of).logsumexp(-1)

    def draw(
        self, blocks: Tensor, allowed: Restriction | None = None, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Values:
        """See the base class."""
        codes = draw_class(self._among(blocks, allowed, of))
        return Values(codes, torch.zeros_like(codes, dtype=torch.float64))

    def typical(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """See the base class."""
        chances = self._among(blocks, allowed, of).double().softmax(-1)
        below = chances.cumsum(-1)
        # The first class at which half of the mass is reached; it is allowed, since one that is not adds nothing.
        median = (below < 0.5 * below[..., -1:]).sum(-1)
        codes = torch.where(self._ordered[of], median, chances.argmax(-1))
        return Values(codes, torch.zeros_like(codes, dtype=torch.float64))

    def _among(self, blocks: Tensor, allowed: Restriction | None, of: slice) -> Tensor:
        among = self._allowed(None if allowed is None else allowed.codes, of)
        return self._log_softmax(blocks, of).masked_fill(~among, -math.inf)
