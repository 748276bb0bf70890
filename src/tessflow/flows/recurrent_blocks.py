"""Flows over the cells of sequences, a block of positions at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.nn import MLP

from tessflow.flows.bends import BendCoupling
from tessflow.flows.block_flow import MovableCells
from tessflow.flows.precision import full_precision
from tessflow.flows.sequence import ShiftedLSTM
from tessflow.randomness import draw

__all__ = ["RecurrentBlockFlow"]


class RecurrentBlockFlow(nn.Module):
    r"""A flow over the cells of T symbols, L positions at a time: a :class:`~tessflow.flows.BlockFlow` of sequences.

    An LSTM reads the cells of earlier blocks, and moves those of the L positions of the next one. Coupling layers then
    move the points at one half of these positions, given those at the other half and what the LSTM has read. All
    positions have the same cells, and all blocks the same layers. The density of a sequence takes one pass, a sample
    T / L. With L = 1 nothing is left to couple.

    A lazy density over R^(T D): ``flow().log_prob(x)`` in nats, for ``x`` of shape ``(..., T D)`` with any T that is a
    multiple of L; ``flow().sample((n,))`` draws ``length`` points.

    Args:
        cells: The dequantizer of one variable, whose cells can be moved. It is not part of the flow.
        length: The number of points in a sample.
        block: The number L of positions in a block.
        couplings: The number of coupling layers.
        hidden_features: The width of the LSTM, and of the networks after it.
        layers: The number of the LSTM's layers.
        embedding: The size of what it reads of a symbol.
        components: The logistics of which a coupling on the line is made.

    Raises:
        ValueError: If there is more than one variable, or ``length`` is no multiple of ``block``.

    Example:
        >>> from tessflow.dequantization import IntervalDequantizer, SharedDequantizer
        >>> from tessflow.models import DequantizedFlow
        >>> letters = IntervalDequantizer((5,))
        >>> flow = RecurrentBlockFlow(letters, length=6, block=2, hidden_features=16)
        >>> model = DequantizedFlow(flow, SharedDequantizer(letters, 6))
        >>> model.elbo(model.sample(3)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        cells: MovableCells,
        length: int,
        *,
        block: int = 4,
        couplings: int = 2,
        hidden_features: int = 256,
        layers: int = 1,
        embedding: int = 64,
        components: int = 4,
    ) -> None:
        super().__init__()
        if len(cells.cardinalities) != 1:
            raise ValueError(f"cells must be those of one variable, got {len(cells.cardinalities)}.")
        if block < 1 or length < 1 or length % block:
            raise ValueError(f"length must be a multiple of block, both at least 1, got {length} and {block}.")
        self._cells = (cells,)  # in a tuple: no part of this module
        self.length, self.block = length, block
        self.embedding = nn.Embedding(cells.cardinalities[0], embedding)
        self.lstm = ShiftedLSTM(block * embedding, hidden_features, layers=layers)
        self.moves = MLP(hidden_features, block * cells.moves, (hidden_features,), activation=nn.SiLU)
        nn.init.zeros_(self.moves[-1].weight)
        nn.init.zeros_(self.moves[-1].bias)
        self.bias = nn.Parameter(torch.zeros(cells.moves))
        self.layers = nn.ModuleList(
            _Coupling(block, layer % 2, cells.dim, hidden_features, components)
            for layer in range(couplings if block > 1 else 0)
        )

    @property
    def cells(self) -> MovableCells:
        """The cells of one position."""
        return self._cells[0]

    @property
    def couplings(self) -> list[_Coupling]:
        """The coupling layers."""
        return [cast("_Coupling", layer) for layer in self.layers]

    def forward(self, c: None = None) -> Distribution:
        """Return the density over R^(T D)."""
        return _RecurrentBlocks(self)

    @torch.no_grad()
    def initialize(self, y: Tensor) -> None:
        """Start from independent symbols with the frequencies in rows, int64 ``(B, T)``, one added to each count."""
        counts = 1.0 + y.flatten().bincount(minlength=self.cells.cardinalities[0])
        moves = self.cells.moves_of(counts.log().log_softmax(-1)[None].to(self.bias.device))
        if moves is not None:
            self.bias.copy_(moves[0])

    def read(self, y: Tensor) -> Tensor:
        """Return what the LSTM reads of blocks of symbols, ``(..., L)`` to ``(..., L embedding)``."""
        return self.embedding(y).flatten(-2)

    def move(self, h: Tensor, index: Tensor | None = None) -> Any:  # zuko gives every transform `call_and_ladj`
        """Return the map of the points of blocks, ``(..., L, 1, D)``, given what was read of those before."""
        moves = full_precision(self.moves(h)).unflatten(-1, (self.block, 1, -1))
        return self.cells.move(self.bias + moves, index)


class _Coupling(BendCoupling):
    """Move the points at every other position of a block, given the others and what was read before it."""

    def __init__(self, block: int, first: int, dim: int, context: int, components: int) -> None:
        super().__init__(torch.arange(block) % 2 == first, dim, components=components)
        sizes = context + 2 * len(self.kept) * dim, len(self.moved) * dim * self.bends.size
        self.network = network = MLP(*sizes, (context,), activation=nn.SiLU)
        nn.init.zeros_(network[-1].weight)
        nn.init.zeros_(network[-1].bias)


class _RecurrentBlocks(Distribution):
    """The density that a :class:`RecurrentBlockFlow` holds the parameters of."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, flow: RecurrentBlockFlow) -> None:
        super().__init__(Size(), Size((flow.length * flow.cells.dim,)), validate_args=False)
        self.flow = flow

    def log_prob(self, value: Tensor) -> Tensor:
        flow, dim = self.flow, self.flow.cells.dim
        if value.shape[-1] % (flow.block * dim):
            raise ValueError(
                f"x must have shape (..., T * {dim}), T a multiple of {flow.block}, got {tuple(value.shape)}."
            )
        x = value.reshape(-1, value.shape[-1] // (flow.block * dim), flow.block, 1, dim)
        with torch.no_grad():
            y = flow.cells.quantize(x)
        h = flow.lstm(flow.read(y.squeeze(-1)))
        z, log_det = flow.move(h, y).call_and_ladj(x)
        z, total = z.squeeze(-2), log_det.sum((-2, -1))
        for layer in flow.couplings:
            z, log_det = layer.call_and_ladj(z, h)
            total = total + log_det
        reference = flow.cells.reference().log_prob(z)
        return (reference.sum(-1) + total).sum(-1).reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        flow, shape = self.flow, Size(sample_shape)
        n, points = shape.numel(), []
        state = flow.lstm.start(n)
        for _ in range(flow.length // flow.block):
            h = flow.lstm.output(state)
            z = draw(flow.cells.reference(), (n, flow.block))
            for layer in reversed(flow.couplings):
                z = layer.inverse(z, h)
            x = flow.move(h).inv(z[..., None, :])
            points.append(x.flatten(1))
            state = flow.lstm.step(flow.read(flow.cells.quantize(x).squeeze(-1)), state)
        return torch.cat(points, -1).reshape(*shape, flow.length * flow.cells.dim)
