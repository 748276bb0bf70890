"""A flow over cells in M passes: cells move with what is known of earlier blocks, then a block's variables couple."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform, constraints
from zuko.lazy import LazyDistribution

from tessflow.flows.bends import BendCoupling
from tessflow.flows.blocks import dealt, stages
from tessflow.flows.cell_flow import Cells
from tessflow.flows.precision import full_precision
from tessflow.flows.staged import StagedNetwork, StagedPass
from tessflow.randomness import draw

__all__ = ["BlockFlow", "MovableCells"]


class MovableCells(Cells, Protocol):
    """Cells that can be moved: from those of a dequantizer to others of the same names."""

    @property
    def moves(self) -> int:
        """The number of numbers that move the cells of a variable; at 0 they stay."""
        ...

    def quantize(self, x: Tensor, *, of: Tensor | None = None) -> Tensor:
        """Return the cells that points are in, ``(..., N, D)`` to ``(..., N)``; of V variables, if these are given."""
        ...

    def move(self, moves: Tensor, index: Tensor | None = None, *, of: Tensor | None = None) -> Transform:
        """Return the map of points ``(..., N, D)`` from cells to where ``moves``, ``(..., N, moves)``, take them.

        ``index`` are the cells of the points, ``(..., N)``, if they are known; ``of`` the V variables, by number, that
        points and moves are of, if these are not all.
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
        order: The variables from first to last, a permutation of ``0, ..., N-1``, which is cut into blocks of about one
            size. By default ``0, ..., N-1`` are dealt to the blocks in turn (:func:`~tessflow.flows.blocks.dealt`).
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
        if not hasattr(cells, "move"):
            raise ValueError(
                f"the cells of a {type(cells).__name__} cannot be moved: take an IntervalDequantizer, a "
                "VoronoiDequantizer or an ArgmaxDequantizer."
            )
        if couplings < 0 or components < 1:
            raise ValueError(f"couplings is at least 0 and components at least 1, got {couplings} and {components}.")
        if not 1 <= blocks <= n:
            raise ValueError(f"blocks must be at least 1 and at most the {n} variables, got {blocks}.")
        order = dealt(range(n), blocks) if order is None else list(order)
        if sorted(order) != list(range(n)):
            raise ValueError(f"order must be a permutation of 0, ..., {n - 1}, got {order}.")
        self._cells = (cells,)  # in a tuple: no part of this module
        self.blocks = blocks
        self.order = tuple(order)
        place = torch.tensor(order).argsort()
        block = stages(place, blocks)
        within = place - (block[:, None] > block).sum(-1)
        self.register_buffer("_block", block, persistent=False)
        sizes = torch.tensor(cells.cardinalities)
        self.register_buffer("_offset", sizes.cumsum(0) - sizes, persistent=False)
        self.embedding = nn.Parameter(torch.randn(int(sizes.sum()), embedding))
        self.bias = nn.Parameter(torch.zeros(n, cells.moves))
        seen = block.repeat_interleave(embedding)
        self.network: StagedNetwork | None = None
        if blocks > 1:
            adjacency = block.repeat_interleave(cells.moves)[:, None] > seen
            self.network = StagedNetwork(adjacency, hidden_features=hidden_features, dropout=dropout)
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
        if self.network is None:
            return self.cells.move(self.bias, index)
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
        walk = BlockWalk(flow)
        x, y = torch.zeros_like(z), z.new_zeros(z.shape[:-1], dtype=torch.int64)
        for block in range(flow.blocks):
            own = (flow._block == block).nonzero().flatten()
            x[..., own, :] = walk.back(block, own, z, flow.embed(y))
            y[..., own] = cells.quantize(x[..., own, :], of=own)
        return x.flatten(-2)


class BlockWalk:
    """The way back from the reference, block after block; of each network only what a block needs is computed.

    Args:
        flow: The flow.
    """

    def __init__(self, flow: BlockFlow) -> None:
        self.flow, dim = flow, flow.cells.dim
        seen = flow._block.repeat_interleave(flow.embedding.shape[-1]) + 1  # the stage from which on it is known
        self.moves = None if flow.network is None else StagedPass(flow.network, seen)
        self.couplings = [
            # Points of a block are known before it is moved.
            (layer, StagedPass(layer.network, torch.cat([seen, flow._block[layer.kept].repeat_interleave(2 * dim)])))
            for layer in reversed(flow.layers)
        ]

    def back(self, block: int, own: Tensor, z: Tensor, seen: Tensor) -> Tensor:
        """Return the points of a block, ``(..., V, D)``.

        Args:
            block: The block,
            own: and its variables.
            z: Points of the reference, ``(..., N, D)``.
            seen: What is seen of the cells of earlier blocks.
        """
        for layer, network in self.couplings:
            z = layer.back(z, seen, block, network)
        moves = self.flow.bias[own]
        if self.moves is not None:
            output = full_precision(self.moves.output(block, seen))
            moves = moves + output.unflatten(-1, moves.shape)
        return self.flow.cells.move(moves, of=own).inv(z.index_select(-2, own))


class _BlockCoupling(BendCoupling):
    """Move some variables of each block, given its others and the cells of earlier blocks."""

    network: StagedNetwork

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
        super().__init__(keep, dim, components=components)
        rows = block[self.moved].repeat_interleave(dim * self.bends.size)[:, None]
        points = block[self.kept].repeat_interleave(2 * dim)
        adjacency = torch.cat([rows > seen, rows == points], 1)
        self.network = StagedNetwork(adjacency, hidden_features=hidden_features, dropout=dropout)
        self.block = tuple(block[self.moved].tolist())

    def back(self, z: Tensor, seen: Tensor, block: int, network: StagedPass) -> Tensor:
        """Map the points of a block back, by a pass of the network; all others stay where they are."""
        own = torch.tensor([i for i, of in enumerate(self.block) if of == block], dtype=torch.int64, device=z.device)
        place = self.moved[own]
        bend = self.bends(network.output(block, self.input(z, seen)), own)
        return z.index_copy(-2, place, bend.inv(z.index_select(-2, place)))
