"""Voronoi tessellations as tensors: which cell a point is in, and how far it is from that cell's wall."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tessflow.geometry.scan import centre
from tessflow.geometry.search import Search, SearchName, choose_search, make_search
from tessflow.geometry.tables import double, first_cells, take_rows
from tessflow.kernels import native, ops

__all__ = ["Rays", "Tessellation"]


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
    The wall that a ray meets is found without autograd; only that wall is differentiated. It is found by a scan of all
    anchors; or, of many anchors in few dimensions that stand still, in a tree (:class:`~tessflow.geometry.tree.Trees`).
    What is prepared for the first search is kept: anchors without gradients must not be changed in place after that.
    Anchors that coincide put no wall between each other; with more than 32 cells, that is anchors nearer to each other
    than about 1e-7 of their distance from the first. Indices are not checked: they must name existing cells.

    Args:
        anchors: The anchor points, shape ``(*N, K, D)``.
        lower: Lower walls of the box, shape ``(*N, D)``, or ``None``. Anchors must lie strictly above them.
        upper: Upper walls of the box, shape ``(*N, D)``, or ``None``. Anchors must lie strictly below them.
        mask: Which anchors exist, boolean of shape ``(*N, K)``; the others have no cell and no influence.
        search: How cells and walls are found, ``"scan"`` or ``"tree"``; by default the one that is faster for ``K`` and
            ``D``, and the scan for anchors that need gradients or are on a GPU.

    Attributes:
        search: The way that is taken, see :func:`~tessflow.geometry.search.choose_search`.

    Raises:
        TypeError: If ``anchors`` is not a floating-point tensor or ``mask`` is not boolean.
        ValueError: If shapes do not fit together, or there is no such search.

    Example:
        >>> cells = Tessellation(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> x = torch.tensor([[-3.0, 5.0], [0.5, 0.0]])
        >>> cells.locate(x)
        tensor([0, 1])
        >>> cells.gauge(torch.tensor([0.5, 7.0]), torch.tensor(0))
        tensor(0.5000)
        >>> cells.search, Tessellation(torch.randn(100_000, 2)).search
        ('scan', 'tree')
    """

    def __init__(
        self,
        anchors: Tensor,
        lower: Tensor | None = None,
        upper: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        search: SearchName | None = None,
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
        self.search: SearchName = choose_search(anchors, search)
        self._built: Search | None = None

    def __repr__(self) -> str:
        box = "" if self.lower is None and self.upper is None else ", boxed"
        ragged = "" if self.mask is None else ", ragged"
        tree = ", tree" if self.search == "tree" else ""
        return f"Tessellation(shape={tuple(self.shape)}, cells={self.num_cells}, dim={self.dim}{box}{ragged}{tree})"

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
            if self.search == "scan" and native.usable(self.anchors, points=x):
                points = self._side_by_side(x.expand(*batch, self.dim)).transpose(0, 1)
                return ops.locate(*self._compiled(), points).reshape(batch)
            found = self._searched().nearest(self._side_by_side(double(x).expand(*batch, self.dim)))
            return found.t().reshape(batch)

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
        index = index.expand(torch.broadcast_shapes(to.shape[:-1], index.shape, self.shape))
        first = first_cells(self.shape, self.num_cells, index.device)
        # Gradients are summed in float64; of anchors without them only the rows are, not the whole table.
        anchors = double(self.anchors) if self.anchors.requires_grad else self.anchors
        table = anchors.reshape(-1, self.dim)
        anchor = double(take_rows(table, index + first))
        v = (double(to) if point is None else double(to) - anchor).expand(anchor.shape)
        with torch.no_grad():
            facing = self._facing(v, index, anchor) + first
        normal = double(take_rows(table, facing)) - anchor
        return Rays(anchor, v, normal, self.lower, self.upper, self._centre())

    def _facing(self, v: Tensor, index: Tensor, anchor: Tensor) -> Tensor:
        """Find the cell behind the first bisector that each ray meets; its own if there is none."""
        if self.search == "scan" and native.usable(self.anchors):
            rows, cells = self._side_by_side(v).transpose(0, 1), index.long().reshape(-1, self.shape.numel())
            return ops.facing(*self._compiled(), cells, rows).reshape(index.shape)
        reach = None
        if self.search == "tree" and (self.lower is not None or self.upper is not None):
            # The box ends a ray: a bisector at twice that length makes no difference, even after rounding.
            gauges = [(step / room).amax(-1) for room, step in _box_walls(anchor, v, self.lower, self.upper)]
            reach = self._flat(2 / torch.stack(gauges).amax(0).clamp_min(0))
        found = self._searched().facing(self._side_by_side(v), self._flat(index), reach)
        return found.t().reshape(index.shape)

    def _searched(self) -> Search:
        """Return what finds anchors; it is kept if they stand still, or if it is a tree."""
        if self._built is not None:
            return self._built
        mask = None if self.mask is None else self.mask.reshape(-1, self.num_cells)
        found = make_search(self.search, double(self.anchors).reshape(-1, self.num_cells, self.dim), mask)
        if self.search == "tree" or not (self.anchors.requires_grad or torch.compiler.is_compiling()):
            self._built = found
        return found

    def _centre(self) -> Tensor:
        """Return the point about which anchors are searched, ``(*N, D)``: the first that exists."""
        mask = None if self.mask is None else self.mask.reshape(-1, self.num_cells)
        return double(centre(self.anchors.reshape(-1, self.num_cells, self.dim), mask)).reshape(*self.shape, self.dim)

    def _compiled(self) -> tuple[Tensor, Tensor | None]:
        """Anchors ``(n, K, D)``, and which exist, ``(n, K)``, as the compiled scan takes them."""
        mask = None if self.mask is None else self.mask.reshape(-1, self.num_cells)
        return self.anchors.detach().reshape(-1, self.num_cells, self.dim), mask

    def _flat(self, x: Tensor) -> Tensor:
        """Numbers ``(..., *N)`` as ``(n, B)``."""
        return x.reshape(-1, math.prod(self.shape)).t()

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
        centre: The point about which a tessellation is searched, ``(*N, D)``.

    Attributes:
        square: Squared lengths of the displacements, ``(..., *N)``.
    """

    def __init__(
        self,
        anchor: Tensor,
        displacement: Tensor,
        normal: Tensor,
        lower: Tensor | None,
        upper: Tensor | None,
        centre: Tensor,
    ) -> None:
        self.anchor = anchor
        self.displacement = displacement
        self.normal = normal
        self.lower = lower
        self.upper = upper
        self.centre = centre
        self.square = (displacement * displacement).sum(-1)
        spacing = (normal * normal).sum(-1)
        self._spacing = torch.where(spacing > 0, spacing, 1)
        self._bisector = (2 * (displacement * normal).sum(-1) / self._spacing).clamp_min(0)

    def gauge(self) -> Tensor:
        """Minkowski gauge of the displacement, ``(..., *N)``."""
        rho = self._bisector
        for room, step in _box_walls(self.anchor, self.displacement, self.lower, self.upper):
            rho = torch.maximum(rho, (step / room).amax(-1))
        return rho

    def clearance(self) -> Tensor:
        """One minus the gauge, without cancellation, ``(..., *N)``."""
        left = ((self.normal - 2 * self.displacement) * self.normal).sum(-1) / self._spacing
        left = torch.where(self._bisector > 0, left, 1)
        for room, step in _box_walls(self.anchor, self.displacement, self.lower, self.upper):
            left = torch.minimum(left, ((room - step) / room).amin(-1))
        return left

    def longest(self, length: Tensor, eps: float) -> Tensor:
        """How many times the displacement stays on this side of the bisector, even when its end is rounded and located.

        Args:
            length: About how far from the anchor that end is, ``(..., *N)``.
            eps: The relative precision of the numbers that points are rounded to.

        Returns:
            Factors ``(..., *N)``, infinite where no bisector is in the way.
        """
        size = torch.linalg.vector_norm(self.anchor, dim=-1) + length
        moved = 2 * eps * size / self._spacing.sqrt()  # what rounding adds to the gauge, at most
        # What it adds to the difference of two scores of `locate`, sums of products of such lengths.
        extent = torch.linalg.vector_norm(self.anchor - self.centre, dim=-1) + length + self._spacing.sqrt()
        rounding = torch.finfo(self.anchor.dtype).eps * (self.anchor.shape[-1] + 4)
        blurred = rounding * extent.square() / self._spacing
        return 1 / ((1 + 4 * eps + moved + blurred) * self._bisector)


def _box_walls(
    anchor: Tensor, displacement: Tensor, lower: Tensor | None, upper: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """For the upper and the lower walls of a box, their distances from the anchor and the steps towards them."""
    tiny = torch.finfo(anchor.dtype).tiny
    if upper is not None:
        yield (double(upper) - anchor).clamp_min(tiny), displacement
    if lower is not None:
        yield (anchor - double(lower)).clamp_min(tiny), -displacement
