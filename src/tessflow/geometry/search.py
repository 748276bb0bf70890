"""How nearest anchors and facing walls are found: the ways that there are, and which of them fits."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from tessflow.geometry.scan import Scan
from tessflow.geometry.tree import Trees
from tessflow.kernels import native

__all__ = ["Search", "SearchName", "choose_search", "make_search"]

SearchName = Literal["scan", "tree"]


class Search(Protocol):
    """A way to find anchors of ``n`` tessellations side by side, outside of autograd."""

    def nearest(self, x: Tensor) -> Tensor:
        """Return a nearest anchor of each point: ``(n, B, D)`` to ``(n, B)``."""

    def facing(self, v: Tensor, index: Tensor, reach: Tensor | None = None) -> Tensor:
        """Return the anchor behind the first bisector that each ray meets, ``(n, B)``; the cell's own if there is none.

        Args:
            v: Displacements from anchors, ``(n, B, D)``.
            index: Their cells, ``(n, B)``.
            reach: A wall farther away than so many displacements need not be found, ``(n, B)``.
        """


def choose_search(anchors: Tensor, search: SearchName | None = None) -> SearchName:
    """Choose how anchors ``(*N, K, D)`` are searched, unless it is given.

    A tree has to be built: anchors that move, which need gradients, are scanned, and so are those on a GPU or in a
    compiled graph. In ``D`` dimensions a tree is faster from about ``2^(8.5 + 0.75 D)`` cells on, and where the scan is
    a compiled one (:mod:`tessflow.kernels`) from 16 times as many (``benchmarks/many_cells.py``).

    Raises:
        ValueError: If ``search`` is neither ``"scan"`` nor ``"tree"``, or is ``"tree"`` and the anchors are on a GPU.

    Example:
        >>> [choose_search(torch.zeros(shape)) for shape in ((100, 2), (100_000, 2), (100_000, 16))]
        ['scan', 'tree', 'scan']
    """
    *_, cells, dim = anchors.shape
    on_cpu = anchors.device.type == "cpu"
    if search is None:
        stands = on_cpu and not anchors.requires_grad and not torch.compiler.is_compiling()
        start = 12.5 if native.usable(anchors) else 8.5
        return "tree" if stands and cells >= 2 ** (start + 0.75 * dim) else "scan"
    if search not in get_args(SearchName):
        raise ValueError(f"search must be 'scan', 'tree' or None, got {search!r}.")
    if search == "tree" and not on_cpu:
        raise ValueError(f"search='tree' needs anchors on the CPU, these are on {anchors.device}: use 'scan'.")
    return search


def make_search(search: SearchName, anchors: Tensor, mask: Tensor | None) -> Search:
    """Prepare to search anchors, float64 ``(n, K, D)``, of which some exist, boolean ``(n, K)``."""
    return Trees(anchors, mask) if search == "tree" else Scan(anchors, mask)
