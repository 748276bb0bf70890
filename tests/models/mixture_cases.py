"""Mixtures of every kind and in every state, for the tests of disjoint mixtures."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from tessflow.flows import coupling_flow, coupling_layers
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.transforms import ActNorm

KINDS = [
    {"profile": profile, "base": base, "box": box}
    for profile, base in (
        ("cube", "gaussian"),
        ("softsign", "gaussian"),
        ("softsign", "cauchy"),
        ("truncated-gaussian", "gaussian"),
    )
    for box in (True, False)
]
# As in the paper: with a Gaussian background or whitening, the softsign's density is too uneven for a grid.
KINDS = [kind | ({"background": 0.0, "whiten": False} if kind["profile"] == "softsign" else {}) for kind in KINDS]
BOUNDED = {"profile": "cube", "box": True}
PLAIN = BOUNDED | {"background": 0.0, "whiten": False}
IDS = [f"{kind['profile']}-{kind['base']}-{'box' if kind['box'] else 'free'}" for kind in KINDS]
every_kind = pytest.mark.parametrize("number", range(len(KINDS)), ids=IDS)
every_state = pytest.mark.parametrize("state", ["initial", "placed", "perturbed", "trained"])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def rows(n: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two clusters."""
    x = torch.randn(n, features, dtype=dtype)
    return torch.where(x[:, :1] > 0, 0.4 * x + 2, x)


def perturb(module: nn.Module, by: float = 0.1) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn_like(parameter))


@lru_cache
def fitted(number: int, features: int, state: str, cells: int = 5, before: int = 0) -> DisjointMixture:
    """A mixture in evaluation mode, float64; take a copy to change it."""
    torch.manual_seed(7)
    mixture = coupling_mixture(features, cells, layers=2, before=before, hidden_features=(16,), **KINDS[number])
    mixture.double()
    x = rows(600, features)
    if state != "initial":
        mixture().log_prob(x)
    if state == "perturbed":
        perturb(mixture)
    if state == "trained":
        optimizer = torch.optim.Adam(mixture.parameters(), lr=1e-2)
        for _ in range(8):
            optimizer.zero_grad()
            (-mixture.elbo(x).mean()).backward()
            optimizer.step()
    return mixture.eval()


def conditional(context: int = 3, *, before: bool = False, placed: bool = True) -> DisjointMixture:
    """A mixture in the plane whose weights, component and perhaps first layers depend on a context."""
    component = coupling_flow(2, context=16 + context, layers=2, univariate="spline", hidden_features=(16,))
    first = coupling_layers(2, context=context, layers=2, hidden_features=(16,)) if before else []
    options = BOUNDED | {"before": first, "hidden_features": (16,)}
    mixture = DisjointMixture(2, 4, component, context=context, **options).double()
    if placed:
        x = rows(300, 2)
        mixture(torch.randn(300, context, dtype=torch.float64)).log_prob(x)
        perturb(mixture)
        perturb(mixture.weighting, 0.3)
    return mixture.eval()


def nested() -> DisjointMixture:
    """A mixture whose component is a mixture, told the cell as its context."""
    component = coupling_flow(2, context=16 + 16, layers=2, univariate="spline", hidden_features=(16,))
    inner = DisjointMixture(2, 3, component, context=16, hidden_features=(16,), **BOUNDED)
    mixture = DisjointMixture(2, 4, inner, before=[ActNorm(2)], **BOUNDED).double()
    mixture().log_prob(rows(300, 2))
    perturb(mixture)
    return mixture.eval()


def plane(*, box: bool) -> tuple[Tensor, Tensor]:
    """A grid of the plane and the area of its cells: even, or if tails are heavy, wider and wider."""
    edges = torch.linspace(-7, 7, 241, dtype=torch.float64) if box else torch.linspace(-9, 9, 481, dtype=torch.float64)
    line = (edges[1:] + edges[:-1]) / 2
    width = (edges[1:] - edges[:-1]) * (1 if box else line.cosh())
    line = line if box else line.sinh()
    return torch.cartesian_prod(line, line), (width[:, None] * width).flatten()


@torch.no_grad()
def mass_of_the_plane(distribution, *, box: bool = True) -> float:
    points, areas = plane(box=box)
    return float(distribution.log_prob(points).exp() @ areas)
