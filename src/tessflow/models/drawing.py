"""Draws of rows from an autoregressive model, perhaps of which something is known or allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tessflow.models.blocks import BlockWalk
from tessflow.models.variables import Restriction
from tessflow.randomness import generator, uniform

if TYPE_CHECKING:
    from tessflow.models.matched import MatchedFlow

__all__ = ["draw_rows"]

FEWEST_PROPOSED = 256
"""Rows that are proposed at once where some are rejected."""

RARE, ENOUGH = 10_000, 10_000
"""What comes true in fewer than 1 of so many draws is refused, once there were so many."""


def draw_rows(
    model: MatchedFlow, n: int, given: Tensor | None, known: Sequence[int], allowed: Mapping[int, Restriction]
) -> Tensor:
    """Draw rows: see :meth:`tessflow.models.MatchedFlow.sample`."""
    if len(allowed) < 2:
        return _propose(model, n, given, known, allowed)[0]
    kept: list[Tensor] = []
    drawn = found = 0
    proposed = max(n, FEWEST_PROPOSED)
    while found < n:
        rows, log_chance = _propose(model, proposed, given, known, allowed)
        kept.append(rows[uniform((proposed,), log_chance).log() < log_chance])
        drawn, found = drawn + proposed, found + len(kept[-1])
        if drawn > ENOUGH and found < drawn / RARE:
            raise ValueError(
                f"what is allowed of {len(allowed)} variables came true together in {found} of {drawn} draws in "
                "which the first was true: allow more"
            )
    return torch.cat(kept)[:n]


def _propose(
    model: MatchedFlow, n: int, given: Tensor | None, known: Sequence[int], allowed: Mapping[int, Restriction]
) -> tuple[Tensor, Tensor]:
    """Draw rows, each in one of the orders: what is known, then what is restricted, then the others."""
    model.order_of(known, [*allowed])  # raises, if the order of the model is not such
    first = model.order.tolist()
    begin = [*sorted(known, key=first.index), *sorted(allowed, key=first.index)]
    orders = [[*begin, *order[len(begin) :]] for order in model.orders_after(begin)]
    if len(orders) == 1 or n == 0:
        return _walk(model, n, orders[0], given, known, allowed)
    which = torch.randint(len(orders), (n,), device=model.bias.device, generator=generator(model.bias.device))
    counts = which.bincount(minlength=len(orders)).tolist()
    parts = [
        _walk(model, count, order, given, known, allowed) for count, order in zip(counts, orders, strict=True) if count
    ]
    place = which.argsort(stable=True).argsort()
    return torch.cat([rows for rows, _ in parts])[place], torch.cat([chances for _, chances in parts])[place]


def _walk(
    model: MatchedFlow,
    n: int,
    order: Sequence[int],
    given: Tensor | None,
    known: Sequence[int],
    allowed: Mapping[int, Restriction],
) -> tuple[Tensor, Tensor]:
    """Draw rows in which each restriction holds given the variables before; and the log-mass of all but the first."""
    parts, device = model.conditionals, model.bias.device
    codes = torch.zeros(n, len(model.variables), dtype=torch.int64, device=device)
    numbers = torch.zeros(n, len(parts.numeric), dtype=torch.float64, device=device)
    if given is not None:
        code, number = parts.split(given.to(device))
        codes[:, list(known)] = code[list(known)]
        places = [m for m, v in enumerate(parts.numeric) if v in known]
        numbers[:, places] = number[places]
    walk = None if model.network is None else model.network.walk(parts.represent(codes, numbers), model.stage)

    def output(v: int) -> Tensor:
        block = model.bias[parts.block(v)].expand(n, -1)
        return block if walk is None else block + walk.output(v)

    log_chance = torch.zeros(n, dtype=torch.float64, device=device)
    restricted, done = 0, list[int]()
    blocks = BlockWalk(model, output)
    for v in order:
        free = v not in known and v not in allowed
        conditional = blocks.at(v, parts.limits(v, codes, numbers, done), free=free)
        if v in allowed:
            log_mass = conditional.log_mass(allowed[v])
            if restricted:
                log_chance += log_mass
            elif (log_mass == -math.inf).any():
                raise ValueError(f"what is allowed of variable {v} has no probability")
            restricted += 1
        if v not in known:
            codes[:, v], number = conditional.draw(allowed.get(v))
            if v in parts.numeric:
                numbers[:, parts.numeric.index(v)] = number
        blocks.tell(v, conditional, codes, numbers)
        done.append(v)
        if walk is not None:
            walk.step(v, parts.represent_one(v, codes, numbers))
    return parts.join(codes, numbers), log_chance
