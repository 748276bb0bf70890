"""Variables of classes with a logit each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tessflow.models.kinds.base import ALL, Kind, Values, draw_class
from tessflow.models.variables import Restriction, Variable

__all__ = ["Classes"]


class Classes(Kind):
    """Variables of classes with a logit each, all with the same number of classes.

    Args:
        members: See :class:`~tessflow.models.kinds.base.Kind`.
        variables: What they are.
        components: See there.

    Example:
        >>> kind = Classes((0, 2), (Variable(3), Variable(3)))
        >>> blocks = kind.start().expand(5, -1, -1)
        >>> kind.log_prob(blocks, Values(torch.zeros(5, 2).long(), torch.zeros(5, 2))).exp()[0]
        tensor([0.3333, 0.3333])
    """

    _ordered: Tensor

    def __init__(self, members: Sequence[int], variables: Sequence[Variable], components: int = 1) -> None:
        super().__init__(members, variables, components)
        self.width = variables[0].classes
        self._buffer("_ordered", torch.tensor([variable.ordered for variable in variables]))

    def _start(self) -> Tensor:
        """Return classes that are alike, but for what was not seen."""
        return self._first_logits()

    def class_log_probs(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> Tensor:
        """See the base class."""
        return self._mixed_log_softmax(blocks, of)

    def _log_prob(self, blocks: Tensor, values: Values, limits: Tensor | None, samples: int, of: slice) -> Tensor:
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
        return self.class_log_probs(blocks, of=of).masked_fill(~among, -math.inf)
