"""Blocks of variables, each a mixture of products: which block a variable is in, and what is known of its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tessflow.models.distribution import VariableDistribution
from tessflow.models.kinds.base import ALL
from tessflow.randomness import categorical

if TYPE_CHECKING:
    from tessflow.models.matched import MatchedFlow

__all__ = ["BlockWalk", "informed_weights"]

# Stands for the logarithm of 0, whose product with 0 must be a number.
_LEAST = -1e30


def informed_weights(stage: Tensor, log_weights: Tensor, log_probs: Tensor, sees: Tensor, of: slice = ALL) -> Tensor:
    """Return the log-weights of each variable's components, given those of its block that it sees.

    A block's log-weights are the sum of what its variables have each: one function of the blocks before it.

    Args:
        stage: The block of each variable, ``(N,)``.
        log_weights: The log-weights that the network gave, ``(B, C, N)``,
        log_probs: and what components give to values, of that shape.
        sees: Which variables, last, some variables see, boolean ``(..., V, N)``.
        of: These V variables, all by default.

    Returns:
        Log-weights, not normalised, ``(B, C, V)``.
    """
    mates = stage == stage[of, None]
    with torch.autocast(log_probs.device.type, enabled=False):  # half precision ends with the network
        evidence = log_probs.clamp_min(_LEAST) @ (sees & mates).to(log_probs).mT
        return log_weights @ mates.to(log_weights).mT + evidence


class BlockWalk:
    """What is known of the components of a block, while its variables are drawn one after another.

    The log-weights learn from the block's values as they come. From the first value on that nothing is asked of, so
    that all others of the block are such, too, one component is drawn, and they are drawn from it.

    Args:
        model: The model.
        output: What a variable's block of the network's output is.
    """

    def __init__(self, model: MatchedFlow, output: Callable[[int], Tensor]) -> None:
        self.output, self.parts, self.components = output, model.conditionals, model.components
        self.stages = model.stage.tolist()
        self.stage: int | None = None
        self.component: Tensor | None = None
        self.log_weights = torch.zeros(0)

    def at(self, v: int, limits: Tensor | None, *, free: bool) -> VariableDistribution:
        """Return the distribution of the next variable; ``free`` says whether nothing is asked of it."""
        block, count = self.output(v), self.components
        if count == 1:
            return self.parts.at(v, block, limits)
        if self.stage != self.stages[v]:
            self.stage, self.component = self.stages[v], None
            mates = [m for m, stage in enumerate(self.stages) if stage == self.stage]
            self.log_weights = torch.stack([self.output(m)[:, :count] for m in mates]).sum(0)
        if free and self.component is None:
            self.component = categorical(self.log_weights)
        if self.component is None:
            block = self.parts.reweighed(block, self.log_weights)
        return self.parts.at(v, block, limits, component=self.component)

    def tell(self, v: int, conditional: VariableDistribution, codes: Tensor, numbers: Tensor) -> None:
        """Go on with the values of a variable, of rows ``(B, N)`` and ``(B, M)``."""
        if self.components == 1 or self.component is not None:
            return
        place = self.parts.numeric.index(v) if v in self.parts.numeric else None
        number = torch.zeros_like(codes[:, v]) if place is None else numbers[:, place]
        self.log_weights = self.log_weights + conditional.components_of(codes[:, v], number)
