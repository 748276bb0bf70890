"""The search by queries of nearest neighbours, in k-d trees of anchors that stand still."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tessflow.geometry.scan import Scan, centre

__all__ = ["Trees"]

# Farther from all anchors than so many times the diameter of their bounding box, squared distances lose the digits that
# tell anchors apart: there the scan decides, whose scores keep them.
_FAR = 16.0

# A ray starts with at least such a part of the step and grows by so much until it meets a wall. A wall must be nearer
# than the one before to count.
_LEAST, _GROWTH, _NEARER = 64, 3.0, 1 - 1e-12


class Trees:
    r"""Nearest anchors and facing walls by k-d trees, one a tessellation: in few dimensions time grows with ``log K``.

    The wall that a ray :math:`x_k + r u` meets is found without knowing the cell's neighbours. Go along the ray until
    another anchor :math:`j` is nearer than :math:`x_k`. Go back to their bisector, to
    :math:`r = |x_j - x_k|^2 / 2 \langle x_j - x_k, u \rangle`, ask for the nearest anchor there, and so on. The length
    falls with every step. Where :math:`x_k` is one of the nearest, no bisector is before the last one: what is found is
    the wall of :class:`~tessflow.geometry.scan.Scan`, up to ties and rounding. The few points and rays far from all
    anchors are left to the scan, among them rays that never leave their cell.

    Trees are built once, on the CPU; the anchors must not move afterwards. Memory grows with ``K``, not with ``K B``.

    Args:
        anchors: The anchors of ``n`` tessellations, float64 of shape ``(n, K, D)``.
        mask: Which of them exist, boolean ``(n, K)``, or ``None`` for all.

    Raises:
        ModuleNotFoundError: If scipy is not installed.

    Example:
        >>> anchors = torch.tensor([[[-1.0], [1.0], [5.0]]], dtype=torch.float64)
        >>> trees = Trees(anchors, None)
        >>> trees.nearest(torch.tensor([[[0.9], [4.0]]]))
        tensor([[1, 2]])
        >>> trees.facing(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[1, 0]]))
        tensor([[2, 0]])
    """

    def __init__(self, anchors: Tensor, mask: Tensor | None) -> None:
        masks = [None] * len(anchors) if mask is None else mask
        self._trees = [_Tree(points, exists) for points, exists in zip(anchors, masks, strict=True)]

    def nearest(self, x: Tensor) -> Tensor:
        """Return one of the nearest anchors of each point: ``(n, B, D)`` to ``(n, B)``."""
        return torch.stack([tree.nearest(rows) for tree, rows in zip(self._trees, x.double(), strict=True)])

    def facing(self, v: Tensor, index: Tensor, reach: Tensor | None = None) -> Tensor:
        """Return an anchor behind the first bisector that each ray meets; the cell's own if there is none.

        Args:
            v: Displacements from anchors, ``(n, B, D)``.
            index: Their cells, ``(n, B)``.
            reach: A wall farther away than so many displacements need not be found, ``(n, B)``.
        """
        reaches = [None] * len(v) if reach is None else reach
        rays = zip(self._trees, v.double(), index, reaches, strict=True)
        return torch.stack([tree.facing(*ray) for tree, *ray in rays])


class _Tree:
    """The tree of one tessellation, with anchors ``(K, D)`` of which some exist, ``(K,)``."""

    def __init__(self, anchors: Tensor, exists: Tensor | None) -> None:
        anchors = anchors.double()
        self._anchors, self._exists = anchors[None], None if exists is None else exists[None]
        self._centre = centre(self._anchors, self._exists)[0]
        self._points = anchors - self._centre
        # Which anchors are in the tree; all if there is no mask.
        self._places = None if exists is None else exists.nonzero().flatten()
        points = self._points if self._places is None else self._points[self._places]
        self._query = _k_d_tree(points)
        # Nothing is near to no anchors.
        extent = float(torch.linalg.vector_norm(points.amax(0) - points.amin(0))) if len(points) else -1.0
        self._far = _FAR * extent
        # About a quarter of the way from an anchor to the next.
        self._step = extent / max(len(points), 1) ** (1 / points.shape[1]) / 4

    def nearest(self, x: Tensor) -> Tensor:
        rows = x - self._centre
        near = torch.linalg.vector_norm(rows, dim=-1) <= self._far  # also false for what is no number
        if near.all():
            return self._nearest(rows)
        found = torch.empty(len(x), dtype=torch.int64)
        found[near], found[~near] = self._nearest(rows[near]), self._scan.nearest(x[None, ~near])[0]
        return found

    def facing(self, v: Tensor, index: Tensor, reach: Tensor | None) -> Tensor:
        largest = v.abs().amax(-1, keepdim=True)
        direction = v / largest  # first by its largest coordinate, whose square could not be held
        size = torch.linalg.vector_norm(direction, dim=-1)
        direction, length = direction / size[:, None], largest[:, 0] * size
        farthest = torch.full_like(length, self._far)
        if reach is not None:
            farthest = torch.minimum(farthest, reach * length)
        facing, met = index.clone(), length == 0
        # Near the anchor queries are fast, and what is inside of its cell has the wall ahead.
        r = torch.minimum((2 * length).clamp(self._step / _LEAST, self._step), farthest)
        left = ((length > 0) & (farthest > 0) & length.isfinite()).nonzero().flatten()
        while len(left):
            start, u, at = self._points[index[left]], direction[left], r[left]
            found = self._nearest(start + at[:, None] * u)
            normal = self._points[found] - start
            square, slope = normal.square().sum(-1), 2 * (normal * u).sum(-1)
            wall = torch.where((square > 0) & (slope > 0), square / slope, torch.inf)
            nearer = wall < at * _NEARER
            facing[left] = torch.where(nearer, found, facing[left])
            met[left] |= nearer
            farther = ~met[left] & (at < farthest[left])
            r[left] = torch.where(nearer, wall, torch.where(farther, torch.minimum(_GROWTH * at, farthest[left]), at))
            left = left[nearer | farther]
        return self._finish(facing, met, v, index, farthest)

    def _finish(self, facing: Tensor, met: Tensor, v: Tensor, index: Tensor, farthest: Tensor) -> Tensor:
        """Let the scan find the walls of rays that met none, unless they were followed as far as was asked for."""
        rest = ~met & ~(farthest < self._far)
        if rest.any():
            facing[rest] = self._scan.facing(v[None, rest], index[None, rest])[0]
        return facing

    def _nearest(self, rows: Tensor) -> Tensor:
        found = torch.from_numpy(self._query(rows.numpy(), workers=torch.get_num_threads())[1])
        return found if self._places is None else self._places[found]

    @cached_property
    def _scan(self) -> Scan:
        return Scan(self._anchors, self._exists)


def _k_d_tree(points: Tensor) -> Any:
    """Return the query of a k-d tree of points, from scipy: needed here alone, and slow to import."""
    from scipy.spatial import cKDTree

    return cKDTree(points.numpy()).query
