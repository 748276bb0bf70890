"""The learnable tessellation, and the fixed ones that other dequantization methods amount to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.geometry.search import SearchName
from tessflow.geometry.tessellation import Tessellation

__all__ = ["VoronoiTessellation"]


# Tensors, and how often each was changed in place.
Versions: TypeAlias = list[tuple[Tensor, int]]

# Share of the box's width that anchors keep from its walls.
_MARGIN = 1e-6


class VoronoiTessellation(Configured):
    """Hold anchors, and perhaps a box, as parameters; ``forward()`` gives the :class:`Tessellation` they make now.

    In a box, anchors are stored through a squashing, so that they stay inside whatever the optimizer does. Anchors that
    are not learned stand still: their tessellation is kept, with the tree that it may have, until they are placed anew.
    What is changed behind torch's back, through ``.data`` or an array that shares the memory, is not seen.

    Args:
        anchors: Initial anchors, shape ``(*N, K, D)``; inside the box if there is one.
        mask: Which anchors exist, boolean ``(*N, K)``; all by default.
        box: Lower and upper wall, the same number in every direction, or ``None`` for no box.
        learn: Whether anchors are parameters; otherwise they are buffers.
        learn_box: Whether the walls move too (the paper's choice).

    Raises:
        ValueError: If the box is empty, or an existing anchor is outside of it.

    Example:
        >>> tessellation = VoronoiTessellation.random((3, 2), dim=4)
        >>> tessellation()
        Tessellation(shape=(2,), cells=3, dim=4, ragged)
    """

    anchors: Tensor
    room: nn.Parameter | None
    mask: Tensor | None
    _kept: tuple[Versions, Tessellation] | None = None

    def __init__(
        self,
        anchors: Tensor,
        *,
        mask: Tensor | None = None,
        box: tuple[float, float] | None = None,
        learn: bool = True,
        learn_box: bool = False,
    ) -> None:
        super().__init__()
        self.box = box
        self.register_parameter("room", None)
        if box is not None:
            lower, upper = box
            if not lower < upper:
                raise ValueError(f"box must be (lower, upper) with lower < upper, got {box}.")
            anchors = _squash(anchors, mask, box)
            if learn_box:
                # Softplus of this is 1: walls start where `box` says.
                room = anchors.new_full((2, *anchors.shape[:-2], anchors.shape[-1]), 0.5413248546129181)
                self.room = nn.Parameter(room)
        elif learn_box:
            raise ValueError("learn_box=True needs a box to start from: give box=(lower, upper).")
        _register(self, "anchors", anchors, learn=learn)
        self.register_buffer("mask", mask)

    @classmethod
    def random(
        cls,
        cardinalities: Sequence[int],
        dim: int,
        *,
        box: tuple[float, float] | None = None,
        learn_box: bool = False,
    ) -> VoronoiTessellation:
        """Place anchors at random, from N(0, I), or uniformly in the middle half of a box.

        Args:
            cardinalities: The number of cells of each variable, ``(K_1, ..., K_N)``.
            dim: The dimension ``D``.
            box: Lower and upper wall, or ``None``.
            learn_box: Whether the walls are learned.

        Raises:
            ValueError: If ``dim`` is below 1, a variable has no class, or the box is empty.
        """
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}.")
        shape = (len(cardinalities), max(cardinalities), dim)
        lower, upper = box or (0, 0)
        anchors = torch.randn(shape) if box is None else lower + (upper - lower) * (0.25 + 0.5 * torch.rand(shape))
        return cls(anchors, mask=_exists(cardinalities), box=box, learn_box=learn_box)

    @classmethod
    def ordinal(cls, cardinalities: Sequence[int]) -> VoronoiTessellation:
        """Place fixed anchors at the integers of a line: cells are intervals around them."""
        anchors = torch.arange(max(cardinalities), dtype=torch.get_default_dtype())[:, None]
        return cls._fixed(anchors, cardinalities)

    @classmethod
    def argmax(cls, cardinalities: Sequence[int]) -> VoronoiTessellation:
        """Place fixed anchors at the unit vectors of R^K: cell k is where coordinate k is the largest."""
        return cls._fixed(torch.eye(max(cardinalities)), cardinalities)

    @classmethod
    def binary_argmax(cls, cardinalities: Sequence[int]) -> VoronoiTessellation:
        """Place fixed anchors at the corners of a cube, a bit a dimension: cells are orthants, ceil(log2 K) bits."""
        bits = max(1, (max(cardinalities) - 1).bit_length())
        codes = torch.arange(max(cardinalities))[:, None] >> torch.arange(bits)
        return cls._fixed(2.0 * (codes & 1) - 1, cardinalities)

    @classmethod
    def simplex(cls, cardinalities: Sequence[int]) -> VoronoiTessellation:
        """Place fixed anchors at the corners of a regular simplex in R^(K-1), at distance 1 from the origin.

        The first k corners span a regular simplex too: they differ in the first k - 1 coordinates only.
        """
        k = max(max(cardinalities), 2)
        # Helmert's orthonormal basis of the hyperplane of zero sum: (1, ..., 1, -j, 0, ..., 0) / sqrt(j (j + 1)).
        j = torch.arange(1, k, dtype=torch.float64)
        basis = torch.ones(k - 1, k, dtype=torch.float64).tril() - torch.diag(j, 1)[:-1]
        anchors = F.normalize((basis / (j * (j + 1)).sqrt()[:, None]).mT, dim=-1)
        return cls._fixed(anchors[: max(cardinalities)], cardinalities)

    @classmethod
    def _fixed(cls, anchors: Tensor, cardinalities: Sequence[int]) -> VoronoiTessellation:
        anchors = anchors.to(torch.get_default_dtype()).repeat(len(cardinalities), 1, 1)
        return cls(anchors, mask=_exists(cardinalities), learn=False)

    @torch.no_grad()
    def place(self, anchors: Tensor) -> None:
        """Move the anchors to where they are given, shape ``(*N, K, D)``; walls stay where they began.

        Args:
            anchors: The new anchors; inside the box if there is one.

        Raises:
            ValueError: If the shape is another, or an existing anchor is outside the box.
        """
        if anchors.shape != self.anchors.shape:
            raise ValueError(f"anchors must have shape {tuple(self.anchors.shape)}, got {tuple(anchors.shape)}.")
        self.anchors.copy_(anchors if self.box is None else _squash(anchors, self.mask, self.box))

    def forward(self, steps: Tensor | None = None, *, of: Tensor | None = None) -> Tessellation:
        """Return the tessellation of the present parameters.

        Args:
            steps: How far from there its anchors are, ``(..., *N, K, D)``, such as what a network says of a context: a
                tessellation for each batch entry. In a box, steps are taken before the squashing: anchors stay inside.
            of: Some of N tessellations, by number ``(V,)``; all by default. Steps are then ``(..., V, K, D)``.
        """
        moves = isinstance(self.anchors, nn.Parameter) or self.room is not None
        unwatched = any(tensor is not None and tensor.is_inference() for tensor in (self.anchors, self.mask))
        if moves or steps is not None or of is not None or torch.compiler.is_compiling() or unwatched:
            # One that is made for a batch is not worth a tree.
            return self._made(steps, of, "scan")
        now = [(tensor, tensor._version) for tensor in (self.anchors, self.mask) if tensor is not None]
        if self._kept is None or _changed(self._kept[0], now):
            self._kept = now, self._made(None, None, None)
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is kept: a copy has anchors of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def _made(self, steps: Tensor | None, of: Tensor | None, search: SearchName | None) -> Tessellation:
        stored, mask = self.anchors, self.mask
        if of is not None:
            stored, mask = stored[of], None if mask is None else mask[of]
        if steps is not None:
            stored = stored + steps
            mask = None if mask is None else mask.expand(stored.shape[:-1])
        if self.box is None:
            return Tessellation(stored, mask=mask, search=search)
        lower, upper = self.box
        if self.room is None:
            wall = self.anchors.new_ones(*self.anchors.shape[:-2], self.anchors.shape[-1])
            walls = lower * wall, upper * wall
        else:
            middle, half = (lower + upper) / 2, (upper - lower) / 2
            room = half * F.softplus(self.room)
            walls = middle - room[0], middle + room[1]
        if of is not None:
            walls = walls[0][of], walls[1][of]
        # Anchors keep their share of the way between the walls.
        share = _MARGIN + (1 - 2 * _MARGIN) * stored.sigmoid()
        anchors = walls[0][..., None, :] + share * (walls[1] - walls[0])[..., None, :]
        lower_wall, upper_wall = (wall.expand(*anchors.shape[:-2], -1) for wall in walls)
        return Tessellation(anchors, lower_wall, upper_wall, mask, search=search)

    def variable(self, n: int) -> Tessellation:
        """Return the tessellation of variable ``n`` alone, with existing anchors only, detached from autograd."""
        whole = self()
        exists = slice(None) if whole.mask is None else whole.mask[n]
        walls = [None if wall is None else wall[n].detach() for wall in (whole.lower, whole.upper)]
        return Tessellation(whole.anchors[n, exists].detach(), *walls)

    def extra_repr(self) -> str:
        """Describe shape, box and what is learned."""
        learned = isinstance(self.anchors, nn.Parameter)
        return f"shape={tuple(self.anchors.shape)}, box={self.box}, learned={learned}"


def _changed(before: Versions, now: Versions) -> bool:
    """Whether tensors are others, or were changed in place."""
    pairs = zip(before, now, strict=True)
    return any(old is not new or version != newer for (old, version), (new, newer) in pairs)


def _squash(anchors: Tensor, mask: Tensor | None, box: tuple[float, float]) -> Tensor:
    """Anchors in a box as the unbounded numbers that are stored."""
    lower, upper = box
    unit = (anchors - lower) / (upper - lower)
    if mask is not None:
        unit = unit.masked_fill(~mask[..., None], 0.5)
    if not ((unit > 0) & (unit < 1)).all():
        raise ValueError(f"anchors must lie strictly inside the box {box}.")
    return ((unit - _MARGIN) / (1 - 2 * _MARGIN)).clamp(1e-6, 1 - 1e-6).logit()


def _register(module: nn.Module, name: str, value: Tensor, *, learn: bool) -> None:
    if learn:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)


def _exists(cardinalities: Sequence[int]) -> Tensor | None:
    """Mask of existing cells, or None if every variable has the same number."""
    if min(cardinalities) < 1:
        raise ValueError(f"every variable needs at least one class, got cardinalities {tuple(cardinalities)}.")
    if min(cardinalities) == max(cardinalities):
        return None
    return torch.arange(max(cardinalities)) < torch.tensor(cardinalities)[:, None]
