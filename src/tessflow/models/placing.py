"""Where the cells of a mixture go: centres of points, and the size of what lies around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from tessflow.geometry import Tessellation
from tessflow.randomness import generator, normal

__all__ = ["Track", "k_means", "typical_size"]

Track: TypeAlias = Callable[[Sequence[Tensor]], Iterable[Tensor]]
"""What shows how far a loop over batches is, such as :func:`rich.progress.track`."""

# From so many cells on, centres move by mini-batches.
_MANY = 1000

# So many times the first centres are doubled.
_DOUBLINGS = 4


def k_means(points: Tensor, cells: int, *, passes: int = 3, track: Track = iter) -> Tensor:
    """Find centres that are near to points.

    A thousand or more start at rows that are spread out (:func:`spread`) and move to the means of their points batch by
    batch (Sculley, 2010, *Web-Scale K-Means Clustering*), each batch of as many points as there are cells. Fewer are
    scikit-learn's, the best of four starts.

    Args:
        points: Points, shape ``(B, D)``.
        cells: How many centres, ``K``.
        passes: How many times mini-batches go through all points.
        track: Shows how many batches were seen.

    Returns:
        Centres, ``(K, D)``: where there are only so many distinct points as centres, or fewer, these.

    Example:
        >>> k_means(torch.tensor([[0.0], [0.0], [4.0]]), 2)
        tensor([[0.],
                [4.]])
    """
    points = points.cpu()
    distinct = points.unique(dim=0)
    if len(distinct) <= cells:
        return distinct
    if cells >= _MANY:
        return _mini_batches(points, spread(distinct, cells), passes, track)
    from sklearn.cluster import KMeans  # slow to import, and needed only here

    seed = int(torch.randint(2**31, (), generator=generator()))
    found = KMeans(cells, n_init=4, random_state=seed).fit(points.numpy())
    return torch.from_numpy(found.cluster_centers_)


def spread(points: Tensor, count: int) -> Tensor:
    """Choose points far from each other: some at random, then rounds of as many as there are, by squared distance.

    These are the odds of k-means++, in few rounds (Bahmani et al., 2012, *Scalable K-Means++*).

    Args:
        points: Distinct points, shape ``(B, D)``, more than are to be chosen.
        count: How many to choose.

    Example:
        >>> spread(torch.arange(100.0)[:, None], 20).unique().numel()
        20
    """
    first = torch.randperm(len(points), generator=generator())[: max(1, count >> _DOUBLINGS)]
    chosen = points[first]
    while len(chosen) < count:
        square = (points.double() - chosen[Tessellation(chosen).locate(points)]).square().sum(-1)
        # Distinct points have odds, however near they are.
        odds = (square / square.max().clamp_min(1e-300)).clamp_min(1e-30)
        more = min(len(chosen), count - len(chosen))
        chosen = torch.cat([chosen, points[odds.multinomial(more, generator=generator())]])
    return chosen


def _mini_batches(points: Tensor, centres: Tensor, passes: int, track: Track) -> Tensor:
    """Move centres to the mean of where they started and of all points that were nearest to them so far."""
    orders = [torch.randperm(len(points), generator=generator()) for _ in range(passes)]
    seen = centres.new_ones(len(centres), 1)
    for batch in track([batch for order in orders for batch in order.split(len(centres))]):
        cell = Tessellation(centres).locate(points[batch])
        count = cell.bincount(minlength=len(centres))[:, None]
        total = torch.zeros_like(centres).index_add_(0, cell, points[batch])
        seen += count
        centres = centres + (total - count * centres) / seen
    return centres


def typical_size(tessellation: Tessellation, *, cube: bool) -> Tensor:
    """Compute about how far the walls of each cell are, in half-widths of the cube or in units: ``(K,)``."""
    rays = min(1024, max(8, 2**16 // tessellation.num_cells))
    noise = normal((rays, 1, tessellation.dim), tessellation.anchors.double())
    directions = F.normalize(noise, p=torch.inf if cube else 2, dim=-1)
    index = torch.arange(tessellation.num_cells, device=noise.device)
    # A ray without a wall counts as one of length 10.
    gauge = tessellation.gauge(directions, index).clamp_min(0.1)
    return (-gauge.log().mean(0)).exp().clamp_max(1.0)
