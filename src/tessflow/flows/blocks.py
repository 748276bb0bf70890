"""Orders of variables that are cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["dealt", "stages"]


def stages(rank: Tensor, blocks: int) -> Tensor:
    """Return the block of each variable, from its place in the order, ``(N,)``: sizes differ by one at most.

    Example:
        >>> stages(torch.tensor([4, 0, 1, 2, 3]), 2)
        tensor([1, 0, 0, 0, 1])
    """
    return (torch.arange(len(rank), device=rank.device) % blocks).sort().values[rank]


def dealt(order: Sequence[int], blocks: int) -> list[int]:
    """Return an order whose blocks hold variables of another dealt like cards: neighbours are in different blocks.

    Args:
        order: The variables from first to last.
        blocks: How many blocks of about one size the order returned will be cut into.

    Example:
        >>> dealt([0, 1, 2, 3, 4, 5], 3)  # the blocks 0 3, 1 4, 2 5
        [0, 3, 1, 4, 2, 5]
        >>> dealt([0, 1, 2, 3, 4], 2)  # the blocks 0 2 4, 1 3
        [0, 2, 4, 1, 3]
    """
    return [n for block in range(blocks) for n in order[block::blocks]]
