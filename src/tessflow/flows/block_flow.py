"""A flow over cells in M passes: cells move with what is known of earlier blocks, then a block's variables couple."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform, constraints
from zuko.lazy import LazyDistribution
from zuko.nn import MaskedMLP
from zuko.transforms import ComposedTransform

from tessflow.flows.bends import Bends, seen_of
from tessflow.flows.cell_flow import Cells
from tessflow.flows.precision import full_precision
from tessflow.randomness import Dropout, draw

__all__ = ["BlockFlow", "MovableCells"]


class MovableCells(Cells, Protocol):
    """Cells that can be moved: from those of a dequantizer to others of the same names."""

    @property
    def moves(self) -> int:
        """The number of numbers that move the cells of a variable; at 0 they stay."""
        ...

    def move(self, moves: Tensor, index: Tensor | None = None) -> Transform:
        """Return the map of points ``(..., N, D)`` from cells to where ``moves``, ``(..., N, moves)``, take them.

        ``index`` are the cells of the points, ``(..., N)``, if they are known.
        """
        ...

    def moves_of(self, log_masses: Tensor) -> Tensor | None:
        """Return the moves to cells of these masses under the reference, or ``None`` if that has no closed form."""
        ...

    def reference(self) -> Distribution:
        """Return the distribution over R^(N D) that a flow over these cells starts from."""
        ...


class BlockFlow(LazyDistribution):
    r"""A flow over the cells of a dequantizer, whose variables come in M blocks, each after those before it.

    Three steps lead from a point x to the reference distribution:

    1. *Re-tessellation* (:class:`~tessflow.transforms.Retessellation`): the cells of a variable are moved to where one
       masked network puts them, which sees in which cells the variables of earlier blocks are. This makes a conditional
       distribution of the values.
    2. *Couplings inside a block*: half of a block's variables are moved, given the others of the block and the cells of
       earlier blocks. This makes the variables of a block depend on each other.
    3. The reference: the standard logistic for intervals, N(0, I) for Voronoi cells, Gumbel's for argmax cells.

    One pass of each network has the density of a row; a sample takes M passes. With M = N there is nothing left to
    couple, and over intervals this is an autoregressive model. Where masses have a closed form (intervals, argmax), the
    flow starts as independent columns, see :meth:`initialize`.

    Args:
        cells: The dequantizer: its cells can be moved. It is not part of the flow.
        blocks: The number M of blocks, at most N.
        couplings: The number of coupling layers inside blocks.
        order: The variables from first to last, a permutation of ``0, ..., N-1``; they are dealt to blocks in turn.
        hidden_features: The widths of the network that moves cells.
        coupling_features: The widths of the networks of coupling layers.
        components: The logistics of which a coupling on the line is made; of more dimensions, couplings are affine.
        embedding: The size of a cell's embedding.
        dropout: The share of hidden units dropped in training.

    Raises:
        ValueError: If the cells cannot be moved, an option is out of its range, or ``order`` is no permutation.

    Example:
        >>> from tessflow.dequantization import IntervalDequantizer
        >>> from tessflow.models import DequantizedFlow
        >>> dequantizer = IntervalDequantizer((3, 2, 4, 2))
        >>> model = DequantizedFlow(BlockFlow(dequantizer, blocks=2, hidden_features=(16,)), dequantizer)
        >>> model.sample(5).shape
        torch.Size([5, 4])
    """

    bias: nn.Parameter
    _offset: Tensor
    _block: Tensor

    def __init__(
        self,
        cells: MovableCells,
        *,
        blocks: int,
        couplings: int = 4,
        order: Sequence[int] | None = None,
        hidden_features: Sequence[int] = (512, 512, 512),
        coupling_features: Sequence[int] = (256, 256),
        components: int = 4,
        embedding: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        n, dim = len(cells.cardinalities), cells.dim
        order = list(range(n)) if order is None else list(order)
        if not hasattr(cells, "move"):
            raise ValueError(
                f"the cells of a {type(cells).__name__} cannot be moved: take an IntervalDequantizer, a "
                "VoronoiDequantizer or an ArgmaxDequantizer."
            )
        if couplings < 0 or components < 1:
            raise ValueError(f"couplings is at least 0 and components at least 1, got {couplings} and {components}.")
        if not 1 <= blocks <= n:
            raise ValueError(f"blocks must be at least 1 and at most the {n} variables, got {blocks}.")
        if sorted(order) != list(range(n)):
            raise ValueError(f"order must be a permutation of 0, ..., {n - 1}, got {order}.")
        self._cells = (cells,)  # in a tuple: no part of this module
        self.blocks = blocks
        self.order = tuple(order)
        place = torch.tensor(order).argsort()
        block, within = place % blocks, place // blocks
        self.register_buffer("_block", block, persistent=False)
        sizes = torch.tensor(cells.cardinalities)
        self.register_buffer("_offset", sizes.cumsum(0) - sizes, persistent=False)
        self.embedding = nn.Parameter(torch.randn(int(sizes.sum()), embedding))
        self.bias = nn.Parameter(torch.zeros(n, cells.moves))
        seen = block.repeat_interleave(embedding)
        self.network = _masked(block.repeat_interleave(cells.moves)[:, None] > seen, hidden_features, dropout)
        half = -(-n // blocks) // 2
        halves = [within % 2 == 0, within % 2 == 1, within < max(half, 1), within >= max(half, 1)]
        # A block of which nothing is kept stays: what its cells say is all that there is to say.
        halves = [keep | ~torch.isin(block, block[keep]) for keep in halves]
        self.couplings = nn.ModuleList(
            _BlockCoupling(
                block,
                halves[layer % 4],
                dim,
                seen,
                hidden_features=coupling_features,
                dropout=dropout,
                components=components,
            )
            for layer in range(couplings)
            if (~halves[layer % 4]).any()
        )

    @property
    def cells(self) -> MovableCells:
        """The dequantizer's cells."""
        return self._cells[0]

    @property
    def layers(self) -> list[_BlockCoupling]:
        """The coupling layers."""
        return [cast("_BlockCoupling", layer) for layer in self.couplings]

    @torch.no_grad()
    def initialize(self, y: Tensor) -> None:
        """Start from independent columns with the frequencies of rows, int64 ``(B, N)``, one added to each count.

        The masses of Voronoi cells have no closed form: there it does nothing.

        Raises:
            ValueError: If a value is no class of its variable.
        """
        counts = torch.full((len(self.cells.cardinalities), max(self.cells.cardinalities)), -math.inf)
        for n, k in enumerate(self.cells.cardinalities):
            if len(y) and not 0 <= int(y[:, n].min()) <= int(y[:, n].max()) < k:
                raise ValueError(f"variable {n} has values 0, ..., {k - 1}, got others.")
            counts[n, :k] = (1.0 + y[:, n].bincount(minlength=k)).log()
        moves = self.cells.moves_of(counts.log_softmax(-1).clamp_min(-50).to(self.bias.device))
        if moves is not None:
            self.bias.copy_(moves)

    def forward(self, c: Tensor | None = None) -> BlockDistribution:
        """Return the distribution over R^(N D); a context has no effect."""
        return BlockDistribution(self)

    def embed(self, y: Tensor) -> Tensor:
        """Return what networks see of cells ``(..., N)``: ``(..., N embedding)``."""
        return nn.functional.embedding(y + self._offset, self.embedding).flatten(-2)

    def move(self, seen: Tensor, index: Tensor | None = None) -> Any:  # zuko gives every transform `call_and_ladj`
        """Return the map that moves cells, given what is seen of those of earlier blocks."""
        output = full_precision(self.network(seen)).unflatten(-1, (-1, self.cells.moves))
        return self.cells.move(self.bias + output, index)


class BlockDistribution(Distribution):
    """The distribution of a :class:`BlockFlow` over R^(N D).

    Args:
        flow: The flow.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, flow: BlockFlow) -> None:
        super().__init__(Size(), Size((len(flow.cells.cardinalities) * flow.cells.dim,)), validate_args=False)
        self.flow = flow

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, ``(..., N D)`` to ``(...)``."""
        cells = self.flow.cells
        x = value.unflatten(-1, (len(cells.cardinalities), cells.dim))
        with torch.no_grad():
            y = cells.quantize(x)
        seen = self.flow.embed(y)
        z, log_det = self.flow.move(seen, y).call_and_ladj(x)
        total = log_det.sum(-1)
        for layer in self.flow.layers:
            z, log_det = layer.call_and_ladj(z, seen)
            total = total + log_det
        return cells.reference().log_prob(z.flatten(-2)) + total

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, N D)``, block after block."""
        flow, cells = self.flow, self.flow.cells
        z = draw(cells.reference(), Size(sample_shape)).unflatten(-1, (-1, cells.dim))
        x, y = torch.zeros_like(z), z.new_zeros(z.shape[:-1], dtype=torch.int64)
        for block in range(flow.blocks):
            own = (flow._block == block).nonzero().flatten()
            seen = flow.embed(y)
            point = z
            for layer in reversed(flow.layers):
                point = layer.inverse(point, seen, block)
            found = flow.move(seen).inv(point)
            x[..., own, :] = found[..., own, :]
            y[..., own] = cells.quantize(found)[..., own]
        return x.flatten(-2)


class _BlockCoupling(nn.Module):
    """Move some variables of each block, given its others and the cells of earlier blocks; the identity at first."""

    kept: Tensor
    moved: Tensor

    def __init__(
        self,
        block: Tensor,
        keep: Tensor,
        dim: int,
        seen: Tensor,
        *,
        hidden_features: Sequence[int],
        dropout: float,
        components: int,
    ) -> None:
        super().__init__()
        kept, moved = keep.nonzero().flatten(), (~keep).nonzero().flatten()
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.bends = Bends(len(moved), dim, components=components)
        rows = block[moved].repeat_interleave(dim * self.bends.size)[:, None]
        adjacency = torch.cat([rows > seen, rows == block[kept].repeat_interleave(2 * dim)], 1)
        self.network = _masked(adjacency, hidden_features, dropout)
        self.block = tuple(block[moved].tolist())

    def call_and_ladj(self, z: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., N, D)`` and return the log-determinants ``(...)``."""
        x, log_det = self._bend(z, seen).call_and_ladj(z.index_select(-2, self.moved))
        return z.index_copy(-2, self.moved, x), log_det.sum((-2, -1))

    def inverse(self, z: Tensor, seen: Tensor, block: int) -> Tensor:
        """Map the points of a block back; all others stay where they are."""
        own = torch.tensor([i for i, of in enumerate(self.block) if of == block], dtype=torch.int64, device=z.device)
        place = self.moved[own]
        return z.index_copy(-2, place, self._bend(z, seen, own).inv(z.index_select(-2, place)))

    def _bend(self, z: Tensor, seen: Tensor, of: Tensor | None = None) -> ComposedTransform:
        """Return the map of the moved variables, or of some of them, ``(..., moved, D)``."""
        points = seen_of(z.index_select(-2, self.kept))
        return self.bends(self.network(torch.cat([seen, points.to(seen.dtype)], -1)), of)


def _masked(adjacency: Tensor, hidden_features: Sequence[int], dropout: float) -> nn.Module:
    """Return a masked network whose outputs are zero at first; a hidden unit serves the inputs of one block."""
    if not adjacency.any():
        return _Nothing(len(adjacency))
    kinds = len(adjacency.unique(dim=0))
    widths = [max(width, kinds) for width in hidden_features]
    network = MaskedMLP(adjacency, widths, activation=lambda: nn.Sequential(nn.SiLU(), Dropout(dropout)))
    nn.init.zeros_(network[-1].weight)
    nn.init.zeros_(network[-1].bias)
    return network


class _Nothing(nn.Module):
    """The network of outputs that see nothing: zeros."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.features)
