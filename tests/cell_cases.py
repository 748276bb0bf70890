"""Tessellations and points for the tests of geometry and transforms: random ones, and hard ones."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A tessellation and a batch of points ``x (..., *N, D)`` to map into its cells ``index (..., *N)``."""

    anchors: Tensor
    x: Tensor
    index: Tensor
    scale: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    mask: Tensor | None = None

    def cells(self) -> dict[str, Tensor | None]:
        return {"anchors": self.anchors, "lower": self.lower, "upper": self.upper, "mask": self.mask}

    def leaves(self) -> dict[str, Tensor]:
        """What gradients flow to."""
        named = {name: getattr(self, name) for name in ("anchors", "lower", "upper", "scale", "x")}
        return {name: value for name, value in named.items() if value is not None}

    def to(self, dtype: torch.dtype) -> Case:
        floating = {f.name: getattr(self, f.name) for f in fields(self)}
        floating = {k: v.to(dtype) for k, v in floating.items() if v is not None and v.is_floating_point()}
        return replace(self, **floating)

    def on(self, device: torch.device | str) -> Case:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in tensors.items() if v is not None})

    def with_grad(self) -> Case:
        return replace(self, **{k: v.detach().clone().requires_grad_() for k, v in self.leaves().items()})


def random_case(
    N: tuple[int, ...] = (3,),
    K: int = 5,
    D: int = 3,
    batch: tuple[int, ...] = (7,),
    *,
    box: bool = False,
    mask: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Anchors uniform in ``(-1, 1)^D``; box walls just outside; a ragged mask; points around anchors."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=g, dtype=torch.float64)

    anchors = 2 * uniform(*N, K, D) - 1
    lower, upper = (-1.05 - uniform(*N, D), 1.05 + uniform(*N, D)) if box else (None, None)
    sizes = torch.randint(1, K + 1, N, generator=g)
    real = torch.arange(K) < sizes[..., None] if mask else torch.ones(*N, K, dtype=torch.bool)
    index = (uniform(*batch, *N) * real.sum(-1)).long()
    own = anchors.expand(*index.shape, K, D).gather(-2, index[..., None, None].expand(*index.shape, 1, D))
    direction = torch.nn.functional.normalize(torch.randn(*batch, *N, D, generator=g, dtype=torch.float64), dim=-1)
    x = own.squeeze(-2) + direction * 10 ** (2 * uniform(*batch, *N, 1) - 1.4)
    scale = 0.4 + 2 * uniform(*batch, *N)
    return Case(anchors, x, index, scale, lower, upper, real if mask else None).to(dtype)


def _around(
    anchors: Tensor, index: int, radii: Tensor, scale: float = 1.0, box: float | None = None, seed: int = 0
) -> Case:
    """Points at the given radii about one anchor, eight directions each."""
    g = torch.Generator().manual_seed(seed)
    D = anchors.shape[-1]
    direction = torch.nn.functional.normalize(torch.randn(8, D, generator=g), dim=-1)
    x = anchors[index] + (radii[:, None, None] * direction).reshape(-1, D)
    wall = None if box is None else torch.full((D,), box)
    return Case(
        anchors,
        x,
        torch.full(x.shape[:1], index),
        torch.full(x.shape[:1], scale),
        None if wall is None else -wall,
        wall,
    )


def hard_cases() -> dict[str, Case]:
    """Float32 inputs at the hard points; every number below is meant as the float32 it rounds to."""
    g = torch.Generator().manual_seed(11)
    cross = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    cloud = torch.rand(6, 3, generator=g) * 2 - 1
    near = 0.3 + 1e-6 * torch.randn(6, 3, generator=g)
    near = torch.cat([near, cloud])
    near_origin = torch.cat([1e-6 * torch.eye(3), torch.zeros(1, 3), cloud])
    high = torch.randn(4, 63, generator=g)
    high[0] = 0.0
    centred = cloud.clone()
    centred[0] = 0.0
    radii = 10.0 ** torch.arange(-8, 9).float()
    moderate = 10.0 ** torch.arange(-2, 3).float()
    line = torch.tensor([[-1.0], [0.0], [0.5], [2.0]])

    def points(anchors: Tensor, x: list[list[float]], index: int, scale: float = 1.0) -> Case:
        n = len(x)
        return Case(anchors, torch.tensor(x), torch.full((n,), index), torch.full((n,), scale))

    walls = [[1.0, 0.25], [0.25, 1.0], [-1.0, 0.5], [0.5, -1.0], [1.0, 0.0]]
    corners = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [0.25, 0.25], [3.0, -3.0]]
    everywhere = [[0.2, 0.1], [3.0, 1.0], [-1.0, 40.0]]
    unit_box = {"lower": torch.tensor([-1.0, -1.0]), "upper": torch.tensor([1.0, 1.0])}
    return {
        "at an anchor": Case(cloud, cloud.clone(), torch.arange(6), torch.linspace(0.5, 3, 6)),
        "at the only anchor": Case(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), torch.tensor([2.0])),
        "at an anchor, box": Case(
            cloud,
            cloud.repeat(20, 1),
            torch.arange(6).repeat(20),
            torch.linspace(0.5, 3, 120),
            -2 * torch.ones(3),
            2 * torch.ones(3),
        ),
        "on a wall": points(cross, walls, 0),
        "on a wall of the box": replace(points(cross[:1], walls, 0), **unit_box),
        "at a vertex": points(cross, corners, 0, 0.7),
        "at a corner of the box": replace(points(cross[:1], corners, 0, 2.0), **unit_box),
        "anchors 1e-6 apart": _around(near, 0, 10.0 ** torch.arange(-7, 3).float()),
        "anchors 1e-6 apart, origin": _around(near_origin, 3, radii, 2.0),
        "anchors 1e-6 apart, others": _around(near, 8, moderate),
        "anchors 1e-6 apart, box": _around(near, 2, moderate, 0.5, box=2.0),
        "equal anchors": points(torch.cat([cross, cross[:2]]), everywhere, 0),
        "all anchors equal": points(torch.zeros(3, 2), everywhere, 1, 1.5),
        "radii": _around(centred, 0, radii),
        "radii, box": _around(centred, 0, radii, 2.0, box=1.5),
        "radii, high scale": _around(centred, 0, radii, 50.0),
        "radii, low scale": _around(centred, 0, radii, 0.02),
        "radii, unbounded": _around(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0, radii),
        "radii, huge box": _around(torch.zeros(1, 2), 0, radii, 1.0, box=1e6),
        "huge box": _around(centred, 0, moderate, 1.0, box=1e8),
        "tiny box": _around(torch.zeros(1, 2), 0, moderate, 1.0, box=1e-6),
        "D = 1": Case(
            line,
            torch.tensor([[-30.0], [-1.0], [-0.5], [0.1], [0.25], [0.5], [5.0], [1e4]]),
            torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
            torch.linspace(0.5, 2, 8),
        ),
        "D = 1, radii": _around(line, 1, radii),
        "D = 1, radii, box": _around(line, 1, radii, box=3.0),
        "D = 1, K = 1": _around(torch.zeros(1, 1), 0, radii, 3.0),
        "K = 1": _around(torch.zeros(1, 3), 0, radii, 3.0),
        "K = 1, box": _around(torch.tensor([[0.5, -0.25]]), 0, moderate, 3.0, box=1.0),
        "D = 63": _around(high, 0, radii),
        "D = 63, box": _around(high, 0, radii, 1.5, box=4.0),
        "D = 63, other anchor": _around(high, 2, moderate),
        "far from the origin": _around(cloud + 100.0, 1, moderate),
        "many anchors": _around(torch.randn(700, 2, generator=g), 5, moderate),
    }
