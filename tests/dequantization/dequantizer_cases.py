"""One registry of dequantizers, with every option that changes the mathematics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tessflow.dequantization import (
    ArgmaxDequantizer,
    BinaryArgmaxDequantizer,
    Dequantizer,
    IntervalDequantizer,
    OrdinalDequantizer,
    SimplexDequantizer,
    VoronoiDequantizer,
)

_small = {"hidden_features": (16, 16)}
_voronoi = partial(VoronoiDequantizer, **_small)

DEQUANTIZERS: dict[str, Callable[[tuple[int, ...]], Dequantizer]] = {
    "voronoi, D = 1": partial(_voronoi, dim=1),
    "voronoi, D = 2": partial(_voronoi, dim=2),
    "voronoi, D = 5": partial(_voronoi, dim=5),
    "voronoi, standard noise": partial(_voronoi, dim=2, noise="standard"),
    "voronoi, box": partial(_voronoi, dim=2, box=(-2.0, 2.0)),
    "voronoi, learned box": partial(_voronoi, dim=3, box=(-1.5, 2.0), learn_box=True),
    "voronoi, softsign": partial(_voronoi, dim=2, profile="softsign"),
    "voronoi, softsign, box": partial(_voronoi, dim=3, profile="softsign", box=(-2.0, 2.0)),
    "voronoi, softsign, learned box": partial(_voronoi, dim=4, profile="softsign", box=(-2.0, 2.0), learn_box=True),
    "interval": partial(IntervalDequantizer, **_small),
    "interval, learned": partial(IntervalDequantizer, learn=True, **_small),
    "ordinal, uniform": partial(OrdinalDequantizer, noise="uniform"),
    "ordinal, variational": partial(OrdinalDequantizer, **_small),
    "argmax": partial(ArgmaxDequantizer, **_small),
    "argmax, standard noise": partial(ArgmaxDequantizer, noise="standard"),
    "binary argmax": partial(BinaryArgmaxDequantizer, **_small),
    "binary argmax, standard noise": partial(BinaryArgmaxDequantizer, noise="standard"),
    "simplex": partial(SimplexDequantizer, **_small),
    "simplex, standard noise": partial(SimplexDequantizer, noise="standard"),
}

CARDINALITIES = [(1,), (3, 2), (5, 1, 2, 4)]


def build(name: str, cardinalities: tuple[int, ...], *, dtype: torch.dtype = torch.float64) -> Dequantizer:
    """A dequantizer somewhat away from where training starts."""
    return perturb(DEQUANTIZERS[name](cardinalities)).to(dtype)


@torch.no_grad()
def perturb(module: nn.Module, by: float = 0.1) -> nn.Module:
    """Add noise to every parameter, in place."""
    for parameter in module.parameters():
        parameter.add_(by * torch.randn_like(parameter))
    return module


def rows(cardinalities: tuple[int, ...], *batch: int) -> Tensor:
    """Random values ``(*batch, N)``."""
    return torch.stack([torch.randint(k, batch) for k in cardinalities], dim=-1)


def support(cardinalities: tuple[int, ...]) -> Tensor:
    """All values, ``(prod K, N)``."""
    return torch.cartesian_prod(*map(torch.arange, cardinalities)).reshape(-1, len(cardinalities))
