"""A variable of more classes than a network should have logits for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tessflow.dequantization import StandardNoise, VoronoiDequantizer
from tessflow.flows import coupling_flow
from tessflow.models.dequantized import DequantizedFlow, importance_bound
from tessflow.models.kinds.base import ALL, Kind, Values
from tessflow.models.variables import Restriction, Variable
from tessflow.randomness import draw

__all__ = ["ManyClasses"]

# The context of a flow; the dimension of its anchors.
CONTEXT, DIM = 64, 8
# Draws of which the most frequent is taken for the most probable, and attempts to draw what is allowed.
_DRAWS, _ATTEMPTS = 64, 1000


class ManyClasses(Kind):
    """A variable whose block is the context of a flow in R^D, the points of which decode to the nearest anchor.

    The cost does not grow with the classes, but log-probabilities are lower bounds. Where a class of what was not seen
    is reserved, its log-odds are one more number of the block, and its probability is exact.

    Args:
        members: The variable, by number.
        variables: What it is.
        dim: The dimension in which it is seen.
    """

    exact = False

    def __init__(self, members: Sequence[int], variables: Sequence[Variable], dim: int) -> None:
        super().__init__(members, variables)
        (variable,) = variables
        self.width = CONTEXT + (variable.reserve > 0)
        self.classes = len(variable.seen)
        flow = coupling_flow(DIM, context=CONTEXT, layers=4, hidden_features=(64,))
        dequantizer = VoronoiDequantizer((variable.classes,), DIM, noise=StandardNoise(DIM))
        self.flow: Any = DequantizedFlow(flow, dequantizer)
        self.seen = nn.Linear(DIM, dim)

    @property
    def cells(self) -> tuple[int, ...]:
        """One: what is seen of it are anchors of its own."""
        return (1,)

    def _start(self) -> Tensor:
        """Return a block of zeros, but for what was not seen."""
        block = torch.zeros(1, self.width)
        block[:, CONTEXT:] = self.variables[0].logits[-1] - math.log(max(self.classes, 1))
        return block

    def see(self, anchors: Tensor, values: Values, of: slice = ALL) -> Tensor:
        """Return a linear map of its own anchors."""
        return self.seen(self.flow.dequantizer.anchor(values.codes))

    def _log_prob(self, blocks: Tensor, values: Values, limits: Tensor | None, samples: int, of: slice) -> Tensor:
        """See the base class."""
        shape = torch.broadcast_shapes(blocks.shape[:-1], values.codes.shape)
        context = blocks[..., 0, :CONTEXT].expand(*shape[:-1], -1).reshape(-1, CONTEXT)
        codes = values.codes.expand(shape).reshape(-1, 1)

        def elbo(pairs: Tensor) -> Tensor:
            x, log_q = self.flow.dequantizer(pairs).rsample_with_log_prob()
            repeats = pairs.shape[0] // max(context.shape[0], 1)
            return self.flow.flow(context.repeat(repeats, 1)).log_prob(x.flatten(-2)) - log_q

        log_prob = (elbo(codes) if samples == 1 else importance_bound(elbo, codes, samples)).reshape(shape)
        if self.width == CONTEXT:
            return log_prob
        # Points in the cell of what was not seen stand for nothing.
        is_unseen = values.codes.expand(shape) == self._unseen
        log_seen, log_unseen = self._log_seen(blocks, of)
        return torch.where(is_unseen, log_unseen, log_seen + log_prob)

    def class_log_probs(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> Tensor:
        """Raise a ValueError: they have no closed form."""
        raise ValueError(
            f"variable {self.members[0]} has too many classes for each to have a probability: draw instead."
        )

    def log_mass(
        self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Tensor:
        """Raise a ValueError: sums have no closed form."""
        return self.class_log_probs(blocks)

    def draw(
        self, blocks: Tensor, allowed: Restriction | None = None, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Values:
        """See the base class; what is allowed is drawn by rejection.

        Raises:
            ValueError: If less than half of the classes are allowed, or none of them is ever drawn.
        """
        among = self._allowed(None if allowed is None else allowed.codes, of)[0]
        if 2 * int(among.sum()) < self.classes:
            raise ValueError(
                f"variable {self.members[0]} has too many classes for a choice of a few of them: give one value."
            )
        context = blocks[..., 0, :CONTEXT]
        codes = self._draw(context)
        for _ in range(_ATTEMPTS):
            wrong = ~among[codes]
            if not wrong.any():
                return Values(codes[..., None], torch.zeros_like(codes, dtype=torch.float64)[..., None])
            codes[wrong] = self._draw(context[wrong])
        raise ValueError(
            f"what is allowed of variable {self.members[0]} came true in none of {_ATTEMPTS} draws: allow more."
        )

    def typical(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """Return the most frequent of 64 draws."""
        draws = torch.stack([self.draw(blocks, allowed).codes for _ in range(_DRAWS)])
        codes = draws.mode(0).values
        return Values(codes, torch.zeros_like(codes, dtype=torch.float64))

    def _draw(self, context: Tensor) -> Tensor:
        return self.flow.dequantizer.quantize(draw(self.flow.flow(context))[..., None, :]).squeeze(-1)

    def _log_seen(self, blocks: Tensor, of: slice) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities that something was seen, and that it was not."""
        both = torch.stack([torch.zeros_like(blocks[..., -1]), blocks[..., -1]], -1).log_softmax(-1)
        reserve = self._reserve[of].to(blocks.dtype)
        rest = both + (-reserve).log1p()
        return rest[..., 0], torch.logaddexp(rest[..., 1], reserve.log())
