"""Vector fields of continuous flows on sets: equivariant under permutations of the items, with a trace."""

from __future__ import annotations

import abc
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.flows.cell_flow import Cells

__all__ = ["AttentionField", "ExclusiveField", "SetField"]

# How sharply items are told by their cells, at first.
_LOG_SHARPNESS = 2.0

# Backward passes of an exact trace that are made together.
_PASSES = 64


class AnchoredCells(Cells, Protocol):
    """Cells that have anchors, as those of a Voronoi dequantizer do."""

    def anchor(self, y: Tensor) -> Tensor:
        """Return the anchors of cells, ``(..., N)`` to ``(..., N, D)``."""
        ...


class SetField(nn.Module, abc.ABC):
    """A velocity of N items in R^D, at times from 0 to 1; permuted items have permuted velocities.

    Attributes:
        closed_form: Whether the trace costs about as much as the velocity. If not, it takes N D backward passes.
    """

    closed_form: bool = False

    @abc.abstractmethod
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocities of items ``x``, shape ``(..., N, D)``, at a time ``t``, shape ``()``."""

    def with_trace(self, t: Tensor, x: Tensor, probe: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return velocities ``(..., N, D)``, and the trace of their Jacobian, ``(...)``.

        Args:
            t: A time, shape ``()``.
            x: Items, shape ``(..., N, D)``.
            probe: Random signs of the shape of ``x``, for Hutchinson's unbiased estimate of the trace by one backward
                pass; without it, or if the field's trace is in closed form, the trace is exact.
        """
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            v = self(t, x)
        if probe is not None:
            (row,) = torch.autograd.grad(v, x, probe, create_graph=differentiable)
            trace = (row * probe).sum((-2, -1))
        else:
            trace = torch.zeros_like(x[..., 0, 0])
            for units in _units(x).split(_PASSES):
                (rows,) = torch.autograd.grad(
                    v, x, units, create_graph=differentiable, retain_graph=True, is_grads_batched=True
                )
                trace = trace + (rows * units).sum((0, -2, -1))
        return (v, trace) if differentiable else (v.detach(), trace.detach())


class ExclusiveField(SetField):
    r"""A field whose trace is in closed form: what an item learns from the others does not depend on the item itself.

    The context :math:`c_i` of item i is pooled from all others by attention with learned queries, and

    .. math:: v_i = W_3 \, \sigma(W_2 \, \sigma(W_1 x_i + U_1 c_i) + U_2 c_i) + s(c_i) \odot x_i + b(c_i).

    As :math:`c_i` is a function of :math:`x_j, j \ne i`, it is a constant of the diagonal blocks of the Jacobian:

    .. math:: \sum_i \mathrm{tr} \frac{\partial v_i}{\partial x_i} = \sum_i \sigma'(a_{i2})^\top
              (W_2 \odot (W_1 W_3)^\top) \, \sigma'(a_{i1}) + \sum_d s_d(c_i)

    for arguments :math:`a_{i1}, a_{i2}` of the two activations, SiLU. (Networks of this kind: Chen & Duvenaud, 2019,
    "Neural networks with cheap differential operators".) The velocity is 0 at first.

    With ``cells`` of items, what is pooled of an item also has an embedding of the cell that it is in, softly: that of
    its nearest anchor, mixed with those of others about as near. Early on its way an item is in its own cell.

    Args:
        dim: The dimension ``D`` of an item.
        width: The width of all layers.
        heads: The number of learned queries.
        cells: The dequantizer of an item, which has anchors, or ``None``. It is not part of the field.

    Raises:
        ValueError: If ``width`` is not a multiple of ``heads``.

    Example:
        >>> field = ExclusiveField(3, width=16)
        >>> v, trace = field.with_trace(torch.tensor(0.5), torch.randn(7, 4, 3))
        >>> v.shape, trace.shape
        (torch.Size([7, 4, 3]), torch.Size([7]))
    """

    closed_form = True

    def __init__(self, dim: int, *, width: int = 64, heads: int = 4, cells: AnchoredCells | None = None) -> None:
        super().__init__()
        _require_heads(width, heads)
        self.heads = heads
        self._cells = (cells,)  # in a tuple: no part of this module
        if cells is not None:
            self.symbols = nn.Embedding(cells.cardinalities[0], width)
            self.log_sharpness = nn.Parameter(torch.tensor(_LOG_SHARPNESS))
        self.embed = nn.Sequential(
            nn.Linear(dim + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, heads + width)
        )
        self.summarize = nn.Sequential(nn.Linear(width + 1, width), nn.SiLU())
        self.affine = nn.Linear(width, 2 * dim)
        self.first = nn.Linear(dim, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, dim, bias=False)
        self.told = nn.Linear(width, 2 * width, bias=False)
        for parameter in (*self.affine.parameters(), self.last.weight):
            nn.init.zeros_(parameter)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocities of items ``x``, shape ``(..., N, D)``, at a time ``t``, shape ``()``."""
        return self.with_trace(t, x)[0]

    def with_trace(self, t: Tensor, x: Tensor, probe: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return velocities and the exact trace, as :meth:`SetField.with_trace` does; ``probe`` is without effect."""
        context = self._context(t, x)
        told_first, told_second = self.told(context).chunk(2, -1)
        shift, scale = self.affine(context).chunk(2, -1)
        scale = scale.tanh()
        h, slope = _silu_and_slope(self.first(x) + told_first)
        g, next_slope = _silu_and_slope(self.second(h) + told_second)
        loops = self.second.weight * (self.first.weight @ self.last.weight).T
        trace = (F.linear(slope, loops) * next_slope).sum((-2, -1)) + scale.sum((-2, -1))
        return self.last(g) + scale * x + shift, trace

    def _context(self, t: Tensor, x: Tensor) -> Tensor:
        """Pool what the other items say of themselves: ``(..., N, D)`` to ``(..., N, width)``."""
        seen = self.embed[0](_with_time(t, x))
        if self._cells[0] is not None:
            seen = seen + self._read(self._cells[0], x)
        logits, values = self.embed[1:](seen).tensor_split([self.heads], -1)
        n = x.shape[-2]
        itself = torch.eye(n, dtype=torch.bool, device=x.device)[..., None]
        logits = logits[..., None, :, :].expand(*x.shape[:-1], n, self.heads).masked_fill(itself, -torch.inf)
        # One more, empty item: the weights of the others need not sum to 1, and there need not be any.
        weights = F.pad(logits, (0, 0, 0, 1)).softmax(-2)[..., :-1, :]
        pooled = torch.einsum("...ijh,...jhv->...ihv", weights, values.unflatten(-1, (self.heads, -1)))
        return cast(Tensor, self.summarize(_with_time(t, pooled.flatten(-2))))

    def _read(self, cells: AnchoredCells, x: Tensor) -> Tensor:
        """Return embeddings of the cells that items ``(..., N, D)`` are in, softly: ``(..., N, width)``."""
        anchors = cells.anchor(torch.arange(cells.cardinalities[0], device=x.device)[:, None]).squeeze(-2)
        anchors = anchors.to(x.dtype)
        nearness = x @ anchors.mT - anchors.square().sum(-1) / 2
        return (self.log_sharpness.exp() * nearness).softmax(-1) @ self.symbols.weight


class AttentionField(SetField):
    r"""A small transformer without positions, of attention by L2 distances, with residual connections and GELU.

    Items attend by :math:`-|q_i - q_j|^2 / \sqrt{d}`, for queries that are keys as well (Kim, Papamakarios & Mnih,
    2021, "The Lipschitz constant of self-attention"): unlike dot products, no jump in the velocity of far items.
    The velocity is 0 at first.

    Args:
        dim: The dimension ``D`` of an item.
        width: The width of all layers.
        heads: The number of attention heads.
        layers: The number of blocks.

    Raises:
        ValueError: If ``width`` is not a multiple of ``heads``.

    Example:
        >>> field = AttentionField(3, width=16)
        >>> field(torch.tensor(0.5), torch.randn(7, 4, 3)).shape
        torch.Size([7, 4, 3])
    """

    def __init__(self, dim: int, *, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        _require_heads(width, heads)
        self.first = nn.Linear(dim + 1, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)), nn.GELU())
        self.last = nn.Linear(width, dim)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocities of items ``x``, shape ``(..., N, D)``, at a time ``t``, shape ``()``."""
        return cast(Tensor, self.last(self.blocks(self.first(_with_time(t, x)))))


class _Block(nn.Module):
    """Attention, then a pointwise network: both see activated inputs and add to them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_and_value = nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.pointwise = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        query, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for part in self.query_and_value(F.gelu(h)).chunk(2, -1)
        )
        squares = (query[..., :, None, :] - query[..., None, :, :]).square().sum(-1)
        weights = (-squares / query.shape[-1] ** 0.5).softmax(-1)
        h = h + self.mix((weights @ value).transpose(-3, -2).flatten(-2))
        return h + cast(Tensor, self.pointwise(h))


def _units(x: Tensor) -> Tensor:
    """Return the N D unit vectors of the space of items ``(..., N, D)``, for every batch: ``(N D, ..., N, D)``."""
    size = x.shape[-2] * x.shape[-1]
    units = torch.eye(size, dtype=x.dtype, device=x.device)
    return units.reshape(size, *(1,) * (x.ndim - 2), *x.shape[-2:]).expand(size, *x.shape)


def _with_time(t: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x, t.to(x).expand(*x.shape[:-1], 1)], -1)


def _silu_and_slope(a: Tensor) -> tuple[Tensor, Tensor]:
    gate = a.sigmoid()
    silu = a * gate
    return silu, gate + silu * (1 - gate)


def _require_heads(width: int, heads: int) -> None:
    if heads < 1 or width < 1 or width % heads:
        raise ValueError(f"width must be a positive multiple of heads, got {width} and {heads}.")
