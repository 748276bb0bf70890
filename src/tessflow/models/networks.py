"""Networks that see the variables before each variable: in one order, or in any."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zuko.nn import MaskedMLP

__all__ = ["AnyOrderNetwork", "MaskedNetwork", "Walk"]


class Walk(Protocol):
    """A pass through the variables of rows, one after another."""

    def output(self, n: int) -> Tensor:
        """Return the output for variable ``n``, the next: ``(B, sizes[n])``. To be called once before each step."""

    def step(self, n: int, x: Tensor) -> None:
        """Go on with what is seen of variable ``n``, ``(B, D)``."""


class MaskedNetwork(MaskedMLP):
    """Outputs for all variables, each a function of the variables before it in one order (zuko's masked MLP).

    The model that it is part of starts as independent variables: the last layer is zero at first.

    Args:
        order: The variables from first to last.
        dim: The dimension in which a variable is seen.
        sizes: The size of each variable's output.
        hidden_features: The widths of the hidden layers.
        dropout: The share of hidden units dropped in training.
    """

    def __init__(
        self, order: Tensor, dim: int, sizes: Sequence[int], *, hidden_features: Sequence[int], dropout: float
    ) -> None:
        rank = order.argsort()
        sees = rank[:, None] > rank
        adjacency = sees.repeat_interleave(torch.tensor(sizes), 0).repeat_interleave(dim, 1)
        # A hidden unit serves one place in the order: with fewer units than places, some columns would go unseen.
        widths = [max(width, len(sizes) - 1) for width in hidden_features]
        super().__init__(adjacency, widths, activation=lambda: nn.Sequential(nn.SiLU(), nn.Dropout(dropout)))
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)
        self.ends = list(itertools.accumulate(sizes))
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor, order: Tensor | None = None) -> Tensor:
        """Map what is seen of rows, ``(B, N, D)``, to outputs ``(B, sum(sizes))``; the order is its own."""
        return super().forward(x.flatten(-2))

    def walk(self, x: Tensor) -> Walk:
        """Begin a pass over rows; ``x``, shape ``(B, N, D)``, is overwritten."""
        return _MaskedWalk(self, x)


class _MaskedWalk:
    def __init__(self, network: MaskedNetwork, x: Tensor) -> None:
        self.network, self.x = network, x

    def output(self, n: int) -> Tensor:
        end = self.network.ends[n]
        return self.network(self.x)[:, end - self.network.sizes[n] : end]

    def step(self, n: int, x: Tensor) -> None:
        self.x[:, n] = x


class AnyOrderNetwork(nn.Module):
    """Outputs for variables in any order, each a function of the variables before it in that order.

    A transformer with causal attention reads the variables in the order asked for; each place is told which variable
    it sees, and which is next (Pannatier, Courdier & Fleuret, 2024, "σ-GPTs"). The model that it is part of starts as
    independent variables.

    Args:
        dim: The dimension in which a variable is seen.
        sizes: The size of each variable's output.
        width: The width of the transformer.
        blocks: The number of its blocks.
        dropout: The share of units dropped in training.

    Example:
        >>> network = AnyOrderNetwork(dim=2, sizes=(3, 4), width=16, blocks=1, dropout=0.0)
        >>> network(torch.zeros(5, 2, 2), torch.tensor([1, 0])).shape
        torch.Size([5, 7])
    """

    _place: Tensor

    def __init__(self, dim: int, sizes: Sequence[int], *, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        n = len(sizes)
        self.seen = nn.Parameter(torch.randn(n, dim, width) / dim**0.5)
        self.variable = nn.Parameter(torch.randn(n + 1, width))  # the last stands before the first variable
        self.next = nn.Parameter(torch.randn(n, width))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        # Variables of outputs of one size are served together.
        self._groups: dict[int, list[int]] = {}
        for variable, size in enumerate(sizes):
            self._groups.setdefault(size, []).append(variable)
        self.heads = nn.ParameterDict(
            {str(size): nn.Parameter(torch.zeros(len(group), width, size)) for size, group in self._groups.items()}
        )
        starts = [0, *itertools.accumulate(sizes)]
        slots = [torch.arange(starts[n], starts[n + 1]) for group in self._groups.values() for n in group]
        self.register_buffer("_place", torch.cat(slots).argsort(), persistent=False)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """Map what is seen of rows to outputs.

        Args:
            x: What is seen, shape ``(B, N, D)``.
            order: Variables from first to last, shape ``(L,)``, or ``(B, L)`` for an order a row. Variables that are
                not in it are not seen, and get an output that means nothing.

        Returns:
            Shape ``(B, sum(sizes))``.
        """
        order = order.expand(len(x), -1)
        values = torch.einsum("bnd,ndw->bnw", x, self.seen) + self.variable[:-1]
        first = self.variable[-1].expand(len(x), 1, -1)
        before = _take(values, order[:, :-1])
        h = torch.cat([first, before], 1) + F.embedding(order, self.next)
        for block in self.blocks:
            h = block(h)
        by_variable = h.new_zeros(values.shape).scatter(1, order[..., None].expand_as(h), h)
        return self._heads(by_variable)

    def head(self, n: int) -> Tensor:
        """Return the matrix, ``(width, sizes[n])``, that makes the output for variable ``n``."""
        size, group = next((size, group) for size, group in self._groups.items() if n in group)
        return self.heads[str(size)][group.index(n)]

    def walk(self, x: Tensor) -> Walk:
        """Begin a pass over rows; of ``x``, shape ``(B, N, D)``, only the number of rows matters."""
        return _AnyOrderWalk(self, len(x))

    def _heads(self, h: Tensor) -> Tensor:
        h = self.norm(h)
        parts = [
            torch.einsum("bnw,nwp->bnp", h[:, group], self.heads[str(size)]).flatten(-2)
            for size, group in self._groups.items()
        ]
        return torch.cat(parts, -1).index_select(-1, self._place)


class _AnyOrderWalk:
    """Keeps the keys and values of the places it has passed."""

    def __init__(self, network: AnyOrderNetwork, rows: int) -> None:
        self.network = network
        self.last = network.variable[-1].expand(rows, -1)
        self.caches: list[list[Tensor]] = [[] for _ in network.blocks]

    def output(self, n: int) -> Tensor:
        network = self.network
        h = (self.last + network.next[n])[:, None]
        for block, cache in zip(network.blocks, self.caches, strict=True):
            h = block(h, cache)
        return network.norm(h[:, 0]) @ network.head(n)

    def step(self, n: int, x: Tensor) -> None:
        self.last = x @ self.network.seen[n] + self.network.variable[n]


class _Block(nn.Module):
    """A transformer's block: causal attention, then an MLP, each after a layer norm."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, width // 32), 0, -1) if width % heads == 0)
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, cache: list[Tensor] | None = None) -> Tensor:
        """Map ``(B, L, width)``; with a cache, L = 1 and earlier places are in it."""
        parts = self.attention(self.norms[0](h)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in parts)
        if cache is not None:
            if cache:
                key, value = torch.cat([cache[0], key], -2), torch.cat([cache[1], value], -2)
            cache[:] = key, value
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
        h = h + self.dropout(self.out(attended.transpose(-2, -3).flatten(-2)))
        return h + self.dropout(self.mlp(self.norms[1](h)))


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Take places ``(B, L)`` of values ``(B, N, width)``; the gradient is the same in every run, unlike gather's."""
    first = torch.arange(len(values), device=index.device)[:, None] * values.shape[1]
    return values.flatten(0, 1).index_select(0, (index + first).flatten()).unflatten(0, index.shape)
