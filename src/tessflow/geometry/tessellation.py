"""Voronoi tessellations as tensors: which cell a point is in, and how far it is from that cell's wall."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["Rays", "Tessellation", "take_cells"]

# Up to so many cells, distances between anchors come from their differences; beyond, from matrix products.
_FEW = 32

# Scores of rows against anchors held in memory at once: 2^18 float64 numbers are 2 MiB, a processor's cache.
_BLOCK = 1 << 18


class Tessellation:
    r"""Voronoi cells of given anchors, optionally cut by a box.

    Cell :math:`k` is :math:`V_k = \{x : |x - x_k| < |x - x_i| \;\forall i \ne k\}`. Its shape is known through its
    *Minkowski gauge* about the anchor: positively homogeneous, below 1 inside the cell, 1 on its boundary, and 0 along
    rays that never leave it,

    .. math:: \rho_k(v) = \max\Big(0,\; \max_{i \ne k} \frac{2 \langle x_i - x_k, v \rangle}{|x_i - x_k|^2},\;
              \max_d \frac{v_d}{u_d - x_{kd}},\; \max_d \frac{-v_d}{x_{kd} - l_d} \Big).

    In the terms of Chen, Amos & Nickel (2022, Eq. 7-9), :math:`\rho_k(v) = |v| / \lambda^*(v / |v|)`.

    ``N`` independent tessellations are held side by side: anchors ``(*N, K, D)``, points ``(..., *N, D)``. All methods
    take float32 or float64 and return the dtype they were given. Inside, arithmetic is float64, where products of
    float32 numbers are exact: anchors a few float32 steps apart are still told apart.
    The wall that a ray meets is found without autograd, in matrix products; only that wall is differentiated.
    Anchors that coincide put no wall between each other; with more than 32 cells, that is anchors nearer to each other
    than about 1e-7 of their distance from the first. Indices are not checked: they must name existing cells.

    Args:
        anchors: The anchor points, shape ``(*N, K, D)``.
        lower: Lower walls of the box, shape ``(*N, D)``, or ``None``. Anchors must lie strictly above them.
        upper: Upper walls of the box, shape ``(*N, D)``, or ``None``. Anchors must lie strictly below them.
        mask: Which anchors exist, boolean of shape ``(*N, K)``; the others have no cell and no influence.

    Raises:
        TypeError: If ``anchors`` is not a floating-point tensor or ``mask`` is not boolean.
        ValueError: If shapes do not fit together.

    Example:
        >>> cells = Tessellation(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> x = torch.tensor([[-3.0, 5.0], [0.5, 0.0]])
        >>> cells.locate(x)
        tensor([0, 1])
        >>> cells.gauge(torch.tensor([0.5, 7.0]), torch.tensor(0))
        tensor(0.5000)
    """

    def __init__(
        self,
        anchors: Tensor,
        lower: Tensor | None = None,
        upper: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        if not anchors.is_floating_point():
            raise TypeError(f"anchors must be a floating-point tensor, got {anchors.dtype}.")
        if anchors.dim() < 2 or anchors.shape[-2] == 0 or anchors.shape[-1] == 0:
            raise ValueError(f"anchors must have shape (*N, K, D) with K, D >= 1, got {tuple(anchors.shape)}.")
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"mask must be a boolean tensor, got {mask.dtype}.")
        *n, k, d = anchors.shape
        for name, value, shape in (
            ("lower", lower, (*n, d)),
            ("upper", upper, (*n, d)),
            ("mask", mask, (*n, k)),
        ):
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} must have shape {shape} beside anchors of shape {tuple(anchors.shape)}, "
                    f"got {tuple(value.shape)}."
                )
        self.anchors = anchors
        self.lower = lower
        self.upper = upper
        self.mask = mask

    def __repr__(self) -> str:
        box = "" if self.lower is None and self.upper is None else ", boxed"
        ragged = "" if self.mask is None else ", ragged"
        return f"Tessellation(shape={tuple(self.shape)}, cells={self.num_cells}, dim={self.dim}{box}{ragged})"

    @property
    def shape(self) -> torch.Size:
        """The shape ``*N`` of independent tessellations."""
        return self.anchors.shape[:-2]

    @property
    def num_cells(self) -> int:
        """The number ``K`` of anchors a tessellation, masked ones included."""
        return self.anchors.shape[-2]

    @property
    def dim(self) -> int:
        """The dimension ``D`` of the space."""
        return self.anchors.shape[-1]

    def locate(self, x: Tensor) -> Tensor:
        """Return the index of the nearest existing anchor.

        Args:
            x: Points, shape ``(..., *N, D)``.

        Returns:
            Indices in ``{0, ..., K-1}``, int64 of shape ``(..., *N)``. Not differentiable.
        """
        with torch.no_grad():
            batch = torch.broadcast_shapes(x.shape[:-1], self.shape)
            anchors, exists, centre = self._search_table(_double(self.anchors))
            rows = self._side_by_side(_double(x).expand(*batch, self.dim)) - centre
            # |x - a|^2 = |x|^2 - 2 (<x, a> - |a|^2 / 2), and the first term is the same for every anchor.
            offset = (anchors.square().sum(-1) / 2)[:, None]
            if exists is not None:
                offset = offset.masked_fill(~exists, math.inf)
            first = torch.zeros(rows.shape[:-1], dtype=torch.int64, device=x.device)
            nearest = _best(rows, anchors, lambda s, part: s.sub_(offset[..., part]), worst=-math.inf, default=first)
            return nearest.t().reshape(batch)

    def gauge(self, v: Tensor, index: Tensor) -> Tensor:
        """Return the Minkowski gauge of cell ``index`` about its anchor.

        Args:
            v: Displacements from the anchor, shape ``(..., *N, D)``.
            index: Cells, shape ``(..., *N)``; broadcasts against the batch of ``v``.

        Returns:
            The gauge, at least 0, shape ``(..., *N)``: below 1 exactly if ``anchor + v`` is inside the cell.
        """
        return self.rays(index, displacement=v).gauge().to(v.dtype)

    def clearance(self, w: Tensor, index: Tensor) -> Tensor:
        r"""Return ``1 - gauge`` without cancellation, hence accurate next to the wall.

        .. math:: 1 - \rho_k(w) = \min_i \frac{\langle d_i, d_i - 2 w \rangle}{|d_i|^2}, \quad d_i = x_i - x_k.

        Args:
            w: Displacements from the anchor, shape ``(..., *N, D)``.
            index: Cells, shape ``(..., *N)``; broadcasts against the batch of ``w``.

        Returns:
            The clearance, at most 1, shape ``(..., *N)``: positive inside the cell, negative outside.
        """
        return self.rays(index, displacement=w).clearance().to(w.dtype)

    def rays(self, index: Tensor, *, point: Tensor | None = None, displacement: Tensor | None = None) -> Rays:
        """Return the rays from the anchors of cells ``index`` to points, and the wall that each of them meets.

        Args:
            index: Cells, shape ``(..., *N)``; broadcasts against the batch of points.
            point: Where the rays lead, shape ``(..., *N, D)``; or else
            displacement: where they lead as seen from the anchor, shape ``(..., *N, D)``.
        """
        to = displacement if point is None else point
        if to is None:
            raise ValueError("rays needs a point or a displacement, got neither.")
        anchors = _double(self.anchors)
        table = anchors.reshape(-1, self.dim)
        index = index.expand(torch.broadcast_shapes(to.shape[:-1], index.shape, self.shape))
        first = _first(self.shape, self.num_cells, index.device)
        own = index + first
        anchor = _take(table, own)
        v = (_double(to) if point is None else _double(to) - anchor).expand(anchor.shape)
        with torch.no_grad():
            facing = self._facing(v, index, own, anchor, anchors) + first
        normal = _take(table, facing) - anchor
        return Rays(anchor, v, normal, self.lower, self.upper)

    def _facing(self, v: Tensor, index: Tensor, number: Tensor, anchor: Tensor, anchors: Tensor) -> Tensor:
        """Find the anchor behind the first bisector that each ray meets; the cell's own if there is none.

        Args:
            v: Displacements.
            index: Their cells.
            number: The same, counted through all tessellations.
            anchor: The anchors of those cells.
            anchors: All anchors.
        """
        anchors, exists, centre = self._search_table(anchors)
        rows, start = self._side_by_side(v), self._side_by_side(anchor) - centre
        n, k, _ = anchors.shape
        shift = (start * rows).sum(-1, keepdim=True)
        squares = _squares_of_differences if k <= _FEW else _squares_from_products
        # Often distances between all anchors are fewer than from each point's own.
        pairs = k <= _FEW or 2 * k <= rows.shape[1]
        if pairs:
            start = anchors
            number = number.reshape(-1, n).t()

        def steepness(scores: Tensor, part: slice) -> Tensor:
            square = squares(start, anchors[:, part])
            if exists is not None:
                square.masked_fill_(~exists[..., part], math.inf)
            if pairs:
                square = _take(square.reshape(n * k, -1), number)
            return scores.sub_(shift).div_(square)

        own = index.reshape(-1, n).t()
        return _best(rows, anchors, steepness, worst=0, default=own).t().reshape(index.shape)

    def _search_table(self, anchors: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Anchors about a centre ``(n, K, D)``, which exist ``(n, 1, K)``, the centre ``(n, 1, D)``.

        ``n`` is the number of tessellations. Centred, inner products lose fewer digits.
        """
        anchors = anchors.reshape(-1, self.num_cells, self.dim)
        if self.mask is None:
            centre = anchors[:, :1]  # any point among them will do
            return anchors - centre, None, centre
        exists = self.mask.reshape(-1, 1, self.num_cells)
        first = exists.byte().argmax(-1, keepdim=True).expand(-1, 1, self.dim)
        centre = anchors.gather(1, first)
        return (anchors - centre).masked_fill(~exists.mT, 0), exists, centre

    def _side_by_side(self, x: Tensor) -> Tensor:
        """Points ``(..., *N, D)`` as ``(n, B, D)``, n the number of tessellations."""
        return x.reshape(-1, math.prod(self.shape), self.dim).transpose(0, 1)


class Rays:
    """Rays from the anchors of cells to points, all float64.

    Args:
        anchor: Where they start, ``(..., *N, D)``.
        displacement: From there to the point, ``(..., *N, D)``.
        normal: From there to the anchor behind the bisector that the ray meets first; 0 if it meets none.
        lower: Lower walls of the box, or ``None``.
        upper: Upper walls of the box, or ``None``.

    Attributes:
        square: Squared lengths of the displacements, ``(..., *N)``.
    """

    def __init__(
        self, anchor: Tensor, displacement: Tensor, normal: Tensor, lower: Tensor | None, upper: Tensor | None
    ) -> None:
        self.anchor = anchor
        self.displacement = displacement
        self.normal = normal
        self.lower = lower
        self.upper = upper
        self.square = (displacement * displacement).sum(-1)
        spacing = (normal * normal).sum(-1)
        self._spacing = torch.where(spacing > 0, spacing, 1)
        self._bisector = (2 * (displacement * normal).sum(-1) / self._spacing).clamp_min(0)

    def gauge(self) -> Tensor:
        """Minkowski gauge of the displacement, ``(..., *N)``."""
        rho = self._bisector
        for room, step in self._box():
            rho = torch.maximum(rho, (step / room).amax(-1))
        return rho

    def clearance(self) -> Tensor:
        """One minus the gauge, without cancellation, ``(..., *N)``."""
        left = ((self.normal - 2 * self.displacement) * self.normal).sum(-1) / self._spacing
        left = torch.where(self._bisector > 0, left, 1)
        for room, step in self._box():
            left = torch.minimum(left, ((room - step) / room).amin(-1))
        return left

    def longest(self, length: Tensor, eps: float) -> Tensor:
        """How many times the displacement stays on this side of the bisector, even when its end is rounded.

        Args:
            length: About how far from the anchor that end is, ``(..., *N)``.
            eps: The relative precision of the numbers that points are rounded to.

        Returns:
            Factors ``(..., *N)``, infinite where no bisector is in the way.
        """
        size = torch.linalg.vector_norm(self.anchor, dim=-1) + length
        moved = 2 * eps * size / self._spacing.sqrt()  # what rounding adds to the gauge, at most
        return 1 / ((1 + 4 * eps + moved) * self._bisector)

    def _box(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each pair of walls, its distance from the anchor and the step towards it."""
        tiny = torch.finfo(self.anchor.dtype).tiny
        if self.upper is not None:
            yield (_double(self.upper) - self.anchor).clamp_min(tiny), self.displacement
        if self.lower is not None:
            yield (self.anchor - _double(self.lower)).clamp_min(tiny), -self.displacement


def _best(
    rows: Tensor,
    anchors: Tensor,
    score: Callable[[Tensor, slice], Tensor],
    *,
    worst: float,
    default: Tensor,
) -> Tensor:
    """Index of the anchor with the highest score a row, or ``default`` where none is above ``worst``.

    ``score`` turns inner products ``(n, B, k)`` of the rows with a slice of the anchors into scores.
    """
    n, b, _ = rows.shape
    step = max(_BLOCK // max(n * b, 1), 16)
    value, index = score(rows @ anchors[:, :step].mT, slice(0, step)).max(-1)
    for begin in range(step, anchors.shape[1], step):
        part = slice(begin, begin + step)
        top, where = score(rows @ anchors[:, part].mT, part).max(-1)
        index = torch.where(top > value, where + begin, index)
        value = torch.maximum(top, value)
    return torch.where(value > worst, index, default)


def _squares_of_differences(start: Tensor, ends: Tensor) -> Tensor:
    """Compute squared distances ``(n, B, k)``, infinite where two points coincide."""
    square = torch.cdist(start, ends, compute_mode="donot_use_mm_for_euclid_dist").square_()
    return square.masked_fill_(square == 0, math.inf)


def _squares_from_products(start: Tensor, ends: Tensor) -> Tensor:
    """Compute the same from a matrix product, infinite where two points are nearer than its rounding."""
    starts = start.square().sum(-1, keepdim=True)
    square = torch.baddbmm(ends.square().sum(-1)[:, None], start, ends.mT, alpha=-2).add_(starts)
    noise = (4 * math.sqrt(start.shape[-1]) * torch.finfo(start.dtype).eps) * starts
    return square.masked_fill_(square <= noise, math.inf)


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
    return _take(table.reshape(-1, d), index + _first(n, k, index.device))


def _first(shape: Sequence[int], k: int, device: torch.device) -> Tensor:
    """Return the number of each tessellation's first cell, counted through all of them."""
    return torch.arange(0, math.prod(shape) * k, k, device=device).reshape(shape)


def _take(table: Tensor, rows: Tensor) -> Tensor:
    # Of all ways to gather rows, this one and its backward are the fastest on a CPU. The gradient of indexing is
    # also summed in no fixed order when there are many threads.
    return table.index_select(0, rows.flatten()).reshape(*rows.shape, table.shape[-1])


def _double(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()  # Apple's GPUs have no float64
