"""Where the cells of a mixture go: centres of points, and the size of what lies around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tessflow.geometry import Tessellation
from tessflow.randomness import generator, normal

__all__ = ["k_means", "typical_size"]


def k_means(points: Tensor, cells: int) -> Tensor:
    """Find at most so many centres, all of them distinct: ``(B, D)`` to ``(K, D)``."""
    distinct = points.cpu().unique(dim=0)
    if len(distinct) <= cells:
        return distinct
    from sklearn.cluster import KMeans  # slow to import, and needed only here

    seed = int(torch.randint(2**31, (), generator=generator()))
    found = KMeans(cells, n_init=4, random_state=seed).fit(points.cpu().numpy())
    return torch.from_numpy(found.cluster_centers_)


def typical_size(tessellation: Tessellation, *, cube: bool) -> Tensor:
    """Compute about how far the walls of each cell are, in half-widths of the cube or in units: ``(K,)``."""
    rays = min(1024, max(32, 2**16 // tessellation.num_cells))
    noise = normal((rays, 1, tessellation.dim), tessellation.anchors.double())
    directions = F.normalize(noise, p=torch.inf if cube else 2, dim=-1)
    index = torch.arange(tessellation.num_cells, device=noise.device)
    # A ray without a wall counts as one of length 10.
    gauge = tessellation.gauge(directions, index).clamp_min(0.1)
    return (-gauge.log().mean(0)).exp().clamp_max(1.0)
