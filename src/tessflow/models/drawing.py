"""Draws of rows from an autoregressive model, perhaps of which something is known or allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tessflow.models.blocks import BlockWalk
from tessflow.models.distribution import VariableDistribution
from tessflow.models.variables import Restriction
from tessflow.randomness import generator, uniform

if TYPE_CHECKING:
    from tessflow.models.matched import MatchedFlow

__all__ = ["draw_rows"]

FEWEST_PROPOSED, MOST_PROPOSED = 256, 4096
"""Rows that are proposed at once where some are rejected."""

RARE, ENOUGH = 10_000, 10_000
"""What comes true in fewer than 1 of so many draws is refused, once there were so many."""


def draw_rows(
    model: MatchedFlow, n: int, given: Tensor | None, known: Sequence[int], allowed: Mapping[int, Restriction]
) -> Tensor:
    """Draw rows: see :meth:`tessflow.models.MatchedFlow.sample`."""
    model.order_of(known, [*allowed])  # raises, if the order of the model is not such
    first, parts, device = model.order.tolist(), model.conditionals, model.bias.device
    codes = torch.zeros(n, len(model.variables), dtype=torch.int64, device=device)
    numbers = torch.zeros(n, len(parts.numeric), dtype=torch.float64, device=device)
    if given is not None:
        code, number = parts.split(given.to(device))
        codes[:, list(known)] = code[list(known)]
        places = [m for m, v in enumerate(parts.numeric) if v in known]
        numbers[:, places] = number[places]
    begin = sorted(known, key=first.index)
    if allowed and n:
        allowed = _rarest_first(model, codes[:1], numbers[:1], begin, allowed)
        codes, numbers = _draw_allowed(model, codes, numbers, begin, allowed)
        begin += allowed
    orders = [order[len(begin) :] for order in model.orders_after(begin)]
    which = torch.zeros(n, dtype=torch.int64, device=device)
    if len(orders) > 1:
        which = torch.randint(len(orders), (n,), device=device, generator=generator(device))
    for place in which.unique().tolist():
        rows, order = (which == place).nonzero().squeeze(-1), orders[place]
        drawn = _Rows(model, codes[rows], numbers[rows], begin)
        for v in order:
            drawn.draw(v)
        codes[rows], numbers[rows] = drawn.codes, drawn.numbers
    return parts.join(codes, numbers)


def _rarest_first(
    model: MatchedFlow, codes: Tensor, numbers: Tensor, known: Sequence[int], allowed: Mapping[int, Restriction]
) -> dict[int, Restriction]:
    """Return restrictions in the order to draw their variables in, given one row of what is known.

    It is the model's, if that has only one. Where there is a choice, what is least probable comes first: the first
    restriction rejects no rows.
    """
    row, log_masses = _Rows(model, codes, numbers, known), dict[int, float]()
    in_order = sorted(allowed, key=model.order.tolist().index)
    for v in in_order if model.any_order else in_order[:1]:
        log_masses[v] = float(row.at(v, free=False).log_mass(allowed[v]))
        if log_masses[v] == -math.inf:
            raise ValueError(f"what is allowed of variable {v} has no probability")
    return {v: allowed[v] for v in (sorted(in_order, key=log_masses.__getitem__) if model.any_order else in_order)}


def _draw_allowed(
    model: MatchedFlow, codes: Tensor, numbers: Tensor, known: Sequence[int], allowed: Mapping[int, Restriction]
) -> tuple[Tensor, Tensor]:
    """Draw restricted variables, one after another, of rows of which others are known.

    The first is drawn of what is allowed. With each later one a row is kept with the probability that it is allowed,
    given those before, and what is not kept is drawn no further. Rows are proposed until there are enough, as many at
    once as the share that was kept makes likely.
    """
    n, found, drawn = len(codes), 0, 0
    kept: list[tuple[Tensor, Tensor]] = []
    while found < n:
        proposed = n if len(allowed) == 1 else _to_propose(n - found, found, drawn)
        first = torch.zeros(proposed, dtype=torch.int64, device=codes.device)
        rows = _Rows(model, codes[first], numbers[first], known)
        for place, (v, restriction) in enumerate(allowed.items()):
            if place > 0:
                log_mass = rows.at(v, free=False).log_mass(restriction)
                rows = rows.kept(uniform(log_mass.shape, log_mass).log() < log_mass)
            rows.draw(v, restriction)
        kept.append((rows.codes, rows.numbers))
        found, drawn = found + len(rows.codes), drawn + proposed
        if drawn > ENOUGH and found < drawn / RARE:
            raise ValueError(
                f"what is allowed of {len(allowed)} variables came true together in {found} of {drawn} draws in "
                "which the first was true: allow more"
            )
    return torch.cat([codes for codes, _ in kept])[:n], torch.cat([numbers for _, numbers in kept])[:n]


def _to_propose(wanted: int, found: int, drawn: int) -> int:
    """Return how many rows to propose for so many more, by the share that was found among those drawn."""
    if not drawn:
        return max(wanted, FEWEST_PROPOSED)
    share = (found + 1) / (drawn + 1)
    return min(max(math.ceil(1.1 * wanted / share), FEWEST_PROPOSED), MOST_PROPOSED)


class _Rows:
    """Rows of which some variables are done, in an order, and the others are to come.

    Args:
        model: The model.
        codes: Shape ``(B, N)``.
        numbers: Shape ``(B, M)``.
        done: The variables that are done.
    """

    def __init__(self, model: MatchedFlow, codes: Tensor, numbers: Tensor, done: Sequence[int]) -> None:
        self.model, self.codes, self.numbers, self.done = model, codes, numbers, list[int]()
        seen = model.bias.new_zeros(*codes.shape, model.conditionals.dim)
        self.walk = None if model.network is None else model.network.walk(seen, model.stage)
        self.blocks = BlockWalk(model, self._output)
        for v in done:
            if model.components > 1:  # its block learns from it
                self.blocks.tell(v, self.at(v, free=False), codes, numbers)
            self._go_on(v)

    def at(self, v: int, *, free: bool) -> VariableDistribution:
        """Return the distribution of the next variable; ``free`` says whether nothing is asked of it."""
        limits = self.model.conditionals.limits(v, self.codes, self.numbers, self.done)
        return self.blocks.at(v, limits, free=free)

    def draw(self, v: int, allowed: Restriction | None = None) -> None:
        """Draw the next variable, perhaps of what is allowed."""
        conditional, numeric = self.at(v, free=allowed is None), self.model.conditionals.numeric
        self.codes[:, v], number = conditional.draw(allowed)
        if v in numeric:
            self.numbers[:, numeric.index(v)] = number
        self.blocks.tell(v, conditional, self.codes, self.numbers)
        self._go_on(v)

    def kept(self, rows: Tensor) -> _Rows:
        """Return some of the rows, boolean ``(B,)``."""
        return _Rows(self.model, self.codes[rows], self.numbers[rows], self.done)

    def _output(self, v: int) -> Tensor:
        block = self.model.bias[self.model.conditionals.block(v)].expand(len(self.codes), -1)
        return block if self.walk is None else block + self.walk.output(v)

    def _go_on(self, v: int) -> None:
        self.done.append(v)
        if self.walk is not None:
            self.walk.step(v, self.model.conditionals.represent_one(v, self.codes, self.numbers))
