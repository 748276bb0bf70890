"""Networks that say something of each variable: given those before it in one order, or given any others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.flows.staged import StagedNetwork, StagedPass
from tessflow.randomness import Dropout

__all__ = ["AnyOrderNetwork", "MaskedNetwork", "Walk"]


class Walk(Protocol):
    """A pass through the variables of rows, one after another."""

    def output(self, n: int) -> Tensor:
        """Return the output for variable ``n``, of the stage that comes next: ``(B, sizes[n])``."""

    def step(self, n: int, x: Tensor) -> None:
        """Go on with what is seen of variable ``n``, ``(B, D)``."""


class MaskedNetwork(StagedNetwork):
    """Outputs for all variables, each a function of the variables of earlier stages.

    The model that it is part of starts as independent variables.

    Args:
        stage: The stage of each variable, ``(N,)``: its place in an order, or that of the block that it is in.
        dim: The dimension in which a variable is seen.
        sizes: The size of each variable's output.
        hidden_features: The widths of the hidden layers.
        dropout: The share of hidden units dropped in training.
    """

    def __init__(
        self, stage: Tensor, dim: int, sizes: Sequence[int], *, hidden_features: Sequence[int], dropout: float
    ) -> None:
        sees = stage[:, None] > stage
        super().__init__(
            sees.repeat_interleave(torch.tensor(sizes), 0).repeat_interleave(dim, 1),
            hidden_features=hidden_features,
            dropout=dropout,
        )
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Map what is seen of rows, ``(B, N, D)``, to outputs ``(B, sum(sizes))``."""
        return super().forward(x.flatten(-2))

    def walk(self, x: Tensor, stage: Tensor) -> Walk:
        """Begin a pass over rows, ``(B, N, D)``, which are overwritten; ``stage`` are the stages of variables."""
        return _MaskedWalk(self, x, stage)


class _MaskedWalk:
    def __init__(self, network: MaskedNetwork, x: Tensor, stage: Tensor) -> None:
        self.sizes, self.x, self.stage = network.sizes, x, stage.tolist()
        self.stages = StagedPass(network, (stage + 1).repeat_interleave(x.shape[-1]))
        self.outputs: dict[int, Tensor] = {}

    def output(self, n: int) -> Tensor:
        if n not in self.outputs:  # the first of its stage
            members = [m for m, stage in enumerate(self.stage) if stage == self.stage[n]]
            output = self.stages.output(self.stage[n], self.x.flatten(-2))
            self.outputs = dict(zip(members, output.split([self.sizes[m] for m in members], -1), strict=True))
        return self.outputs[n]

    def step(self, n: int, x: Tensor) -> None:
        self.x[:, n] = x


class AnyOrderNetwork(nn.Module):
    """Outputs for variables given any others: each a function of the variables that it is allowed to see.

    Each variable has a small network of its own, whose inputs are what is seen of all variables, and whether it is;
    what it may not see is 0. It says the same in whatever order the variables before it came. The model that it is
    part of starts as independent variables.

    Args:
        dim: The dimension in which a variable is seen.
        sizes: The size of each variable's output.
        hidden_features: The widths of the hidden layers; where two in a row are equal, the layer adds to its input.
        dropout: The share of hidden units dropped in training.

    Example:
        >>> network = AnyOrderNetwork(dim=2, sizes=(3, 4), hidden_features=(16,), dropout=0.0)
        >>> sees = torch.tensor([[False, True], [False, False]])  # the first variable sees the second
        >>> network(torch.zeros(5, 2, 2), sees).shape
        torch.Size([5, 7])
    """

    _place: Tensor

    def __init__(self, dim: int, sizes: Sequence[int], *, hidden_features: Sequence[int], dropout: float) -> None:
        super().__init__()
        n = len(sizes)
        widths = [n * (dim + 1), *hidden_features]
        bounds = [width**-0.5 for width in widths[:-1]]  # as nn.Linear begins
        shapes = list(zip(bounds, itertools.pairwise(widths), strict=True))
        self.weights = nn.ParameterList(nn.init.uniform_(torch.empty(n, *shape), -b, b) for b, shape in shapes)
        self.biases = nn.ParameterList(nn.init.uniform_(torch.empty(n, 1, shape[1]), -b, b) for b, shape in shapes)
        self.dropout = Dropout(dropout)
        self._sizes = tuple(sizes)
        # Variables of outputs of one size are served together.
        self._groups: dict[int, list[int]] = {}
        for variable, size in enumerate(sizes):
            self._groups.setdefault(size, []).append(variable)
        self.heads = nn.ParameterDict(
            {str(size): nn.Parameter(torch.zeros(len(group), widths[-1], size)) for size, group in self._groups.items()}
        )
        starts = [0, *itertools.accumulate(sizes)]
        slots = [torch.arange(starts[v], starts[v + 1]) for group in self._groups.values() for v in group]
        self.register_buffer("_place", torch.cat(slots).argsort(), persistent=False)

    def forward(self, x: Tensor, sees: Tensor) -> Tensor:
        """Map what is seen of rows to outputs.

        Args:
            x: What is seen, shape ``(B, N, D)``.
            sees: Which variables, last, each variable sees; boolean ``(N, N)`` or ``(B, N, N)``.

        Returns:
            Shape ``(B, sum(sizes))``.
        """
        n, seen = x.shape[1], sees.expand(len(x), -1, -1).movedim(1, 0)
        h = torch.where(seen[..., None], _flagged(x), 0).flatten(-2)  # (N, B, N (D + 1))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = self._layer(h, torch.baddbmm(bias, h, weight))
        parts = [
            (h if len(group) == n else h[group]).bmm(self.heads[str(size)]).movedim(0, 1).flatten(-2)
            for size, group in self._groups.items()
        ]
        return torch.cat(parts, -1).index_select(-1, self._place)

    def one(self, n: int, x: Tensor, sees: Tensor) -> Tensor:
        """Return the output for variable ``n`` alone, ``(B, sizes[n])``; what it sees is boolean ``(B, N)``."""
        h = torch.where(sees[..., None], _flagged(x), 0).flatten(-2)
        return self._output(n, self._layer(h, torch.addmm(self.biases[0][n], h, self.weights[0][n])))

    def in_order(self, x: Tensor, order: Sequence[int], given: int = 0) -> Tensor:
        """Map what is seen of rows to outputs, each variable given those before it in one order for all rows.

        It is :meth:`forward` with half the products: what is not seen is not multiplied.

        Args:
            x: What is seen, shape ``(B, N, D)``; of variables not in the order anything.
            order: The variables, from first to last.
            given: How many of them, at the beginning, need no output. Theirs is 0, as is that of others.

        Returns:
            Shape ``(B, sum(sizes))``.
        """
        outputs = [x.new_zeros(len(x), size) for size in self._sizes]
        walk = _AnyOrderWalk(self, x)
        for place, n in enumerate(order):
            if place >= given:
                outputs[n] = walk.output(n)
            walk.step(n, x[:, n])
        return torch.cat(outputs, -1)

    def walk(self, x: Tensor, stage: Tensor) -> Walk:
        """Begin a pass over rows, ``(B, N, D)``; ``stage`` has no effect."""
        return _AnyOrderWalk(self, x)

    def _output(self, n: int, h: Tensor) -> Tensor:
        """Return the output for variable ``n`` of what its first layer gives, ``(B, width)``."""
        for weights, biases in itertools.islice(zip(self.weights, self.biases, strict=True), 1, None):
            h = self._layer(h, torch.addmm(biases[n], h, weights[n]))
        group = self._groups[self._sizes[n]]
        return h @ self.heads[str(self._sizes[n])][group.index(n)]

    def _layer(self, h: Tensor, new: Tensor) -> Tensor:
        new = self._activate(new)
        return h + new if h.shape == new.shape else new

    def _activate(self, new: Tensor) -> Tensor:
        return self.dropout(F.silu(new))


class _AnyOrderWalk:
    """Keeps what was seen side by side, in the order of the steps, so that nothing else is multiplied."""

    def __init__(self, network: AnyOrderNetwork, x: Tensor) -> None:
        self.network, self.inputs = network, _flagged(torch.empty_like(x))
        self.seen: list[int] = []

    def output(self, n: int) -> Tensor:
        network, (_, *shape) = self.network, self.inputs.shape
        h = self.inputs[:, : len(self.seen)]
        if torch.is_grad_enabled():  # what comes is written behind it
            h = h.clone()
        weight = network.weights[0][n].unflatten(0, shape)[self.seen]
        new = network._activate(torch.addmm(network.biases[0][n], h.flatten(1), weight.flatten(0, 1)))
        if math.prod(shape) == new.shape[-1]:  # the first layer adds to its input, in which variables have their places
            places = torch.zeros_like(self.inputs)
            places[:, self.seen] = h
            new = places.flatten(1) + new
        return network._output(n, new)

    def step(self, n: int, x: Tensor) -> None:
        self.inputs[:, len(self.seen), :-1] = x
        self.seen.append(n)


def _flagged(x: Tensor) -> Tensor:
    """Put a 1 behind what is seen of each variable: ``(B, N, D)`` to ``(B, N, D + 1)``."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)
