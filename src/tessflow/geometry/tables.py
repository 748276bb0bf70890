"""Tables with a row for each cell, and the precision that cells are computed in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["double", "first_cells", "take_cells", "take_rows"]


def take_cells(table: Tensor, index: Tensor) -> Tensor:
    """Take the rows of a table that belong to cells.

    Args:
        table: A row for each cell of each tessellation, shape ``(*N, K, D)``.
        index: Cells, shape ``(..., *N)``.

    Returns:
        Rows, shape ``(..., *N, D)``. Their gradient is summed in a fixed order on a CPU.

    Example:
        >>> take_cells(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([1, 0]))
        tensor([[2.],
                [3.]])
    """
    *n, k, d = table.shape
    return take_rows(table.reshape(-1, d), index + first_cells(n, k, index.device))


def first_cells(shape: Sequence[int], k: int, device: torch.device) -> Tensor:
    """Return the number of each tessellation's first cell, counted through all of them."""
    return torch.arange(0, math.prod(shape) * k, k, device=device).reshape(shape)


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Take rows ``(...)`` of a table ``(R, D)``: ``(..., D)``."""
    # Of all ways to gather rows, this one and its backward are the fastest on a CPU. The gradient of indexing is
    # also summed in no fixed order when there are many threads.
    return table.index_select(0, rows.flatten()).reshape(*rows.shape, table.shape[-1])


def double(x: Tensor) -> Tensor:
    """Return the numbers in float64, in which cells are computed, where the device has it."""
    return x if x.device.type == "mps" else x.double()  # Apple's GPUs have no float64
