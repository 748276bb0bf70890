"""Networks that say something of each variable: given those before it in one order, or given any others."""

from __future__ import annotations

import itertools
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
        inputs = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        n, seen = x.shape[1], sees.expand(len(x), -1, -1).movedim(1, 0)
        h = torch.where(seen[..., None], inputs, 0).flatten(-2)  # (N, B, N (D + 1))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = self._layer(h, torch.baddbmm(bias, h, weight))
        parts = [
            (h if len(group) == n else h[group]).bmm(self.heads[str(size)]).movedim(0, 1).flatten(-2)
            for size, group in self._groups.items()
        ]
        return torch.cat(parts, -1).index_select(-1, self._place)

    def one(self, n: int, x: Tensor, sees: Tensor) -> Tensor:
        """Return the output for variable ``n`` alone, ``(B, sizes[n])``; what it sees is boolean ``(B, N)``."""
        h = torch.where(sees[..., None], torch.cat([x, torch.ones_like(x[..., :1])], -1), 0).flatten(-2)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = self._layer(h, h @ weight[n] + bias[n])
        size, group = next((size, group) for size, group in self._groups.items() if n in group)
        return h @ self.heads[str(size)][group.index(n)]

    def walk(self, x: Tensor, stage: Tensor) -> Walk:
        """Begin a pass over rows, ``(B, N, D)``, which are overwritten; ``stage`` has no effect."""
        return _AnyOrderWalk(self, x)

    def _layer(self, h: Tensor, new: Tensor) -> Tensor:
        new = self.dropout(F.silu(new))
        return h + new if h.shape == new.shape else new


class _AnyOrderWalk:
    def __init__(self, network: AnyOrderNetwork, x: Tensor) -> None:
        self.network, self.x = network, x
        self.seen = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)

    def output(self, n: int) -> Tensor:
        return self.network.one(n, self.x, self.seen)

    def step(self, n: int, x: Tensor) -> None:
        self.x[:, n] = x
        self.seen[:, n] = True
