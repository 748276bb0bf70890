"""Coupling flows over cells: layers that keep whole variables, the first of which knows the cells they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows import Flow
from zuko.lazy import LazyTransform
from zuko.transforms import DependentTransform, MonotonicAffineTransform

from tessflow.flows.coupling import IndexedCoupling, coupling_mask, register_split
from tessflow.flows.diagonal_gaussians import DiagonalGaussians
from tessflow.flows.networks import NetworkName, TokenNetwork
from tessflow.transforms import ActNorm

__all__ = ["Cells", "cell_flow"]

# Networks see points no farther from 0 than this, and beside them tanh(4 x), in which walls, about 1 apart, are steps.
_FARTHEST, _SHARPNESS = 30.0, 4.0


class Cells(Protocol):
    """Cells of N variables side by side, of D dimensions each: what a flow has to know of a dequantizer."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of cells of each variable."""
        ...

    @property
    def dim(self) -> int:
        """The number ``D`` of dimensions of a variable."""
        ...

    def quantize(self, x: Tensor) -> Tensor:
        """Return the cells that points are in, ``(..., N, D)`` to ``(..., N)``."""
        ...


def cell_flow(
    cells: Cells | None,
    *,
    numbers: int = 0,
    layers: int = 8,
    network: NetworkName = "residual",
    hidden_features: Sequence[int] = (256, 256),
    dropout: float = 0.0,
    components: int = 256,
) -> Flow:
    """Build a coupling flow over the cells of a dequantizer.

    It is the paper's flow (Chen, Amos & Nickel, 2022, Appendix D) with what its layers can know made plain to them.
    Each layer keeps whole variables: those of even number, of odd number, the first half, the second half, in turn. The
    network of the first layer reads the *cell* of each variable that it keeps, since no layer before has moved it, and
    not only a blurred point. The base is a mixture of Gaussians.

    Args:
        cells: The dequantizer; ``None`` if all variables are numbers. It is not part of the flow: whatever holds both
            has its parameters once.
        numbers: Further features, each a variable without cells.
        layers: The number of coupling layers.
        network: The layers' networks, see :class:`~tessflow.flows.networks.TokenNetwork`.
        hidden_features: The widths of their hidden layers; of transformers, a width a layer of attention.
        dropout: The share of hidden units dropped in training.
        components: The number of Gaussians of the base.

    Returns:
        A :class:`zuko.flows.Flow`: ``flow().log_prob(x)`` in nats, for ``x`` of shape ``(..., N D + numbers)``.

    Raises:
        ValueError: If ``layers`` or ``components`` is below 1, or ``network`` or its widths are not such.

    Example:
        >>> from tessflow.dequantization import VoronoiDequantizer
        >>> dequantizer = VoronoiDequantizer((3, 2, 4), dim=2)
        >>> flow = cell_flow(dequantizer, layers=2, hidden_features=(16,), components=4)
        >>> flow().log_prob(torch.zeros(5, 6)).shape
        torch.Size([5])
    """
    if layers < 1 or components < 1:
        raise ValueError(f"layers and components must be at least 1, got {layers} and {components}.")
    cells = _NoCells() if cells is None else cells
    variables = len(cells.cardinalities) + numbers
    features = len(cells.cardinalities) * cells.dim + numbers
    options: dict[str, Any] = {"network": network, "hidden_features": hidden_features, "dropout": dropout}
    transforms: list[nn.Module] = []
    for layer in range(layers):
        if layer:  # the first layer reads cells where they are
            transforms.append(ActNorm(features))
        keep = coupling_mask(variables, layer)
        if keep.all() or not keep.any():  # a single variable: what is left are the base and the norms
            continue
        transforms.append(CellCoupling(cells, keep, reads=layer == 0, **options))
    return Flow(transforms, DiagonalGaussians(features, components))


class _NoCells:
    """The cells of no variable."""

    cardinalities: tuple[int, ...] = ()
    dim = 1

    def quantize(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1], dtype=torch.int64)


class CellCoupling(LazyTransform):
    """A coupling layer that keeps some variables and moves the others by affine maps; it starts as the identity.

    Args:
        cells: The cells of the first N variables. Later ones have one feature and no cells.
        keep: Which variables it keeps, boolean ``(N + numbers,)``.
        reads: Whether its network reads the cells of those it keeps.
        network: See :class:`~tessflow.flows.networks.TokenNetwork`.
        hidden_features: The same.
        dropout: The same.
    """

    def __init__(
        self,
        cells: Cells,
        keep: Tensor,
        *,
        reads: bool,
        network: NetworkName,
        hidden_features: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        n, dim = len(cells.cardinalities), cells.dim
        self._cells = (cells,)  # in a tuple: no part of this module
        self._shape = (n, dim)
        self.reads = reads = reads and n > 0
        variable = torch.cat([torch.arange(n).repeat_interleave(dim), torch.arange(n, len(keep))])
        register_split(self, keep[variable])
        celled = keep[:n]
        self.register_buffer("_celled", celled.nonzero().flatten(), persistent=False)
        self._numbers = int(keep[n:].sum())
        classes = max(cells.cardinalities) if reads else 0
        self._classes = classes
        self.network = TokenNetwork(
            int(keep.sum()),
            2 * dim + classes,
            outputs=int((~keep).sum()),
            width=2 * dim,
            kind=network,
            hidden_features=hidden_features,
            dropout=dropout,
        )
        # Of the outputs for variables, those of features: a number has only the first.
        slots = [(v, d) for v, i in enumerate((~keep).nonzero().flatten().tolist()) for d in range(dim if i < n else 1)]
        self.register_buffer("_slots", torch.tensor([v * dim + d for v, d in slots]), persistent=False)

    def forward(self, c: Tensor | None = None) -> Transform:
        """Return the transform; a context has no effect."""
        return IndexedCoupling(self, self.transform_given)

    def transform_given(self, kept: Tensor) -> Transform:
        """Return the map of the moved features, given the kept ones ``(..., features kept)``."""
        dim = self._shape[1]
        x = kept.clamp(-_FARTHEST, _FARTHEST)
        cells = len(self._celled)
        seen = x[..., : cells * dim].unflatten(-1, (cells, dim))
        if self._numbers:
            seen = torch.cat([seen, F.pad(x[..., cells * dim :, None], (0, dim - 1))], -2)
        parts = [seen, (_SHARPNESS * seen).tanh()]
        if self.reads:
            parts.append(self._one_hot(kept).to(seen.dtype))
        output = self.network(torch.cat(parts, -1)).unflatten(-1, (dim, 2)).flatten(-3, -2)
        if len(self._slots) < output.shape[-2]:
            output = output.index_select(-2, self._slots)
        shift, scale = output.unbind(-1)
        return DependentTransform(MonotonicAffineTransform(shift, scale), 1)

    @torch.no_grad()
    def _one_hot(self, kept: Tensor) -> Tensor:
        """Return the cells of kept variables, ``(..., variables kept, K)``; numbers have none."""
        n, dim = self._shape
        points = kept.new_zeros(*kept.shape[:-1], n, dim)
        points[..., self._celled, :] = kept[..., : len(self._celled) * dim].unflatten(-1, (-1, dim))
        y = self._cells[0].quantize(points)[..., self._celled]
        hot = F.one_hot(y, self._classes)
        return F.pad(hot, (0, 0, 0, self._numbers))
