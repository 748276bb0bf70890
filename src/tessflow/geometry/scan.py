"""The search that looks at every anchor, in matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from tessflow.geometry.tables import first_cells, take_rows
from tessflow.kernels.native import transformed

__all__ = ["Scan", "centre"]

# Up to so many cells, distances between anchors come from their differences; beyond, from matrix products.
_FEW = 32

# From so many cells on, a row's best anchor is sought by groups of so many.
_MANY, _GROUP = 512, 64

# Scores of rows against anchors held in memory at once: 2^17 float64 numbers are 1 MiB, a processor's cache.
_BLOCK = 1 << 17

# Distances between all anchors held in memory at most: 64 MiB of float64 numbers.
_PAIRS = 1 << 23


class Scan:
    """Nearest anchors and facing walls by the scores of all anchors: time grows with ``K``, on any device.

    Memory is that of the anchors, and of a block of scores. Distances between all anchors are held if they are few, and
    as soon as there were more rays than twice the cells, if that is no more than 64 MiB.

    Args:
        anchors: The anchors of ``n`` tessellations, float64 of shape ``(n, K, D)``.
        mask: Which of them exist, boolean ``(n, K)``, or ``None`` for all.

    Example:
        >>> scan = Scan(torch.tensor([[[-1.0], [1.0], [5.0]]]), None)
        >>> scan.nearest(torch.tensor([[[0.9], [4.0]]]))
        tensor([[1, 2]])
        >>> scan.facing(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[1, 0]]))
        tensor([[2, 0]])
    """

    def __init__(self, anchors: Tensor, mask: Tensor | None) -> None:
        # Centred, inner products lose fewer digits.
        self._centre = centre(anchors, mask)
        self._cells = anchors.shape[1]
        ends, exists = anchors - self._centre, None if mask is None else mask[..., None]
        if exists is not None:
            ends = ends.masked_fill(~exists, 0)
        rest = -self._cells % _GROUP
        if rest and self._cells >= _MANY:  # to whole groups, with anchors that do not exist
            exists = torch.ones_like(ends[..., :1], dtype=torch.bool) if exists is None else exists
            ends, exists = pad(ends, (0, 0, 0, rest)), pad(exists, (0, 0, 0, rest))
        self._ends, self._exists = ends, exists
        self._squares: Tensor | None = None  # between all anchors, (n K, K)
        self._rays = 0

    def nearest(self, x: Tensor) -> Tensor:
        """Return the first of the nearest anchors of each point: ``(n, B, D)`` to ``(n, B)``."""
        rows = x - self._centre
        # |x - a|^2 = |x|^2 - 2 (<x, a> - |a|^2 / 2), and the first term is the same for every anchor.
        offset = _square_lengths(self._ends, self._exists).mT / -2
        nearest = []
        for part, scores, _ in self._parts(rows):
            nearest.append(_best(torch.baddbmm(offset, rows[:, part], self._ends.mT, out=scores))[1])
        return torch.cat(nearest, 1)

    def facing(self, v: Tensor, index: Tensor, reach: Tensor | None = None) -> Tensor:
        """Return the anchor behind the first bisector that each ray meets; the cell's own if there is none.

        Args:
            v: Displacements from anchors, ``(n, B, D)``.
            index: Their cells, ``(n, B)``.
            reach: Without effect here.
        """
        ends, k = self._ends, self._cells
        n, b = index.shape
        number = index + first_cells((n, 1), k, index.device)
        start = take_rows(ends[:, :k].flatten(0, 1), number)
        self._rays += b
        squares = self._squares_of_pairs()
        if squares is None:
            left, right = _factors(start, ends, self._exists)
        shift = (start * v).sum(-1, keepdim=True)
        facing = []
        for part, scores, room in self._parts(v):
            if squares is None:
                square = _squares_from_products(left[:, part], right, out=room)
            else:
                square = take_rows(squares, number[:, part])
            slopes = torch.baddbmm(shift[:, part], v[:, part], ends.mT, beta=-1, out=scores)
            steepness, where = _best(slopes / square if scores is None else slopes.div_(square))
            facing.append(torch.where(steepness > 0, where, index[:, part]))
        return torch.cat(facing, 1)

    def _squares_of_pairs(self) -> Tensor | None:
        """Squared distances between all anchors, if they are fewer than those from the anchors of all rays so far."""
        ends, exists, k = self._ends, self._exists, self._cells
        if self._squares is None and k <= _FEW:
            self._squares = _squares_of_differences(ends, exists).flatten(0, 1)
        elif self._squares is None and 2 * k <= self._rays and ends.shape[:-1].numel() * k <= _PAIRS:
            self._squares = _squares_from_products(*_factors(ends[:, :k], ends, exists)).flatten(0, 1)
        return self._squares

    def _parts(self, rows: Tensor) -> Iterator[tuple[slice, Tensor | None, Tensor | None]]:
        """Cut rows ``(n, B, D)`` into parts so small that the scores of one against all anchors stay in the cache.

        Each comes with memory for its scores twice, always the same: new memory costs more than what is computed in it.
        There is none where torch could not follow what is written into it.
        """
        (n, k, _), b = self._ends.shape, rows.shape[1]
        step = max(_BLOCK // (n * k), 16)
        reused = not (torch.compiler.is_compiling() or transformed(rows, self._ends))
        scores, room = (self._ends.new_empty(n, min(step, b), k) if reused else None for _ in range(2))
        for begin in range(0, max(b, 1), step):
            own, other = (None if memory is None else memory[:, : b - begin] for memory in (scores, room))
            yield slice(begin, begin + step), own, other


def centre(anchors: Tensor, mask: Tensor | None) -> Tensor:
    """Return the first anchor that exists of each tessellation, ``(n, K, D)`` to ``(n, 1, D)``: any of them will do."""
    if mask is None:
        return anchors[:, :1]
    first = mask[..., None].byte().argmax(1, keepdim=True)
    return anchors.gather(1, first.expand(-1, 1, anchors.shape[-1]))


def _best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Highest of the scores ``(n, b, k)`` in each row, and the first place where it is."""
    n, b, k = scores.shape
    if k < _MANY:
        value, place = scores.max(-1)
        return value, place
    # A maximum is found in a fraction of the time that its place takes: find the group's place, then that in it.
    groups = scores.reshape(n, b, k // _GROUP, _GROUP)
    group = groups.amax(-1).argmax(-1)
    value, place = take_rows(groups.reshape(-1, _GROUP), group + first_cells((n, b), k // _GROUP, group.device)).max(-1)
    return value, group * _GROUP + place


def _square_lengths(anchors: Tensor, exists: Tensor | None) -> Tensor:
    """Squared lengths ``(n, k, 1)``, infinite for what does not exist."""
    square = anchors.square().sum(-1, keepdim=True)
    return square if exists is None else square.masked_fill(~exists, math.inf)


def _squares_of_differences(anchors: Tensor, exists: Tensor | None) -> Tensor:
    """Compute squared distances ``(n, k, k)``, infinite where two anchors coincide or the second does not exist."""
    square = torch.cdist(anchors, anchors, compute_mode="donot_use_mm_for_euclid_dist").square_()
    return square.masked_fill_(square == 0 if exists is None else (square == 0) | ~exists.mT, math.inf)


def _factors(start: Tensor, ends: Tensor, exists: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vectors whose inner products are squared distances, in units of the rounding about each start."""
    starts, lengths = _square_lengths(start, None), _square_lengths(ends, exists)
    info = torch.finfo(start.dtype)
    noise = (4 * math.sqrt(start.shape[-1]) * info.eps * starts).clamp_min(math.sqrt(info.tiny))
    unit = noise.log2().ceil().neg().exp2()  # by a power of two, to lose no digits
    left = torch.cat([-2 * start, torch.ones_like(starts), starts], -1) * unit
    return left, torch.cat([ends, lengths, torch.ones_like(lengths)], -1)


def _squares_from_products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply such vectors to squares ``(n, b, k)``, infinite where two points are nearer than the rounding."""
    return torch.threshold_(torch.bmm(left, right.mT, out=out), 1, math.inf)
