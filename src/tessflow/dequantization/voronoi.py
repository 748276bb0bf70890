"""Voronoi dequantization: cells with learned boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform
from zuko.transforms import ComposedTransform

from tessflow.dequantization.base import Dequantizer, NoiseName
from tessflow.flows.bases import Gaussian
from tessflow.geometry import VoronoiTessellation, take_cells
from tessflow.transforms import CellTransform, Profile, Retessellation, Softsign, TruncatedGaussian

__all__ = ["PROFILES", "ProfileName", "VoronoiDequantizer"]

ProfileName = Literal["truncated-gaussian", "softsign"]
PROFILES: dict[str, Callable[[Tensor], Profile]] = {"truncated-gaussian": TruncatedGaussian, "softsign": Softsign}


class VoronoiDequantizer(Dequantizer):
    """Push noise, centred on the value's anchor, into the value's Voronoi cell (Chen, Amos & Nickel, 2022, Sec. 4).

    Anchors and the slope of each cell's map are learned with the flow.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        dim: The dimension ``D`` of the space that a variable's cells tile.
        profile: ``"truncated-gaussian"`` fills cells up to their walls; ``"softsign"`` is the paper's.
        box: Walls around all cells, as the paper has them, or ``None``.
        learn_box: Whether the walls are learned.
        noise: ``"conditional"`` for the paper's conditional flow, ``"gaussian"`` for a conditional Gaussian,
            ``"standard"`` for N(0, I).
        hidden_features: The widths of the conditional flow's networks.

    Raises:
        ValueError: If an option is not one of those named.

    Example:
        >>> dequantizer = VoronoiDequantizer((3, 2), dim=4)
        >>> y = torch.tensor([[2, 0], [1, 1]])
        >>> x, log_prob = dequantizer(y).rsample_with_log_prob()
        >>> x.shape, log_prob.shape
        (torch.Size([2, 2, 4]), torch.Size([2]))
        >>> dequantizer.quantize(x).equal(y)
        True
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        dim: int = 4,
        *,
        profile: ProfileName = "truncated-gaussian",
        box: tuple[float, float] | None = None,
        learn_box: bool = False,
        noise: NoiseName | nn.Module = "conditional",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        if profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(map(repr, PROFILES))}, got {profile!r}.")
        super().__init__(cardinalities, dim, noise=noise, hidden_features=hidden_features)
        self.profile = profile
        self.tessellation = VoronoiTessellation.random(cardinalities, dim, box=box, learn_box=learn_box)
        self.log_scale = nn.Parameter(torch.zeros(len(cardinalities), max(cardinalities)))

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the cells of ``y``."""
        tessellation = self.tessellation()
        scale = take_cells(self.log_scale[..., None], y).squeeze(-1).exp()
        return ComposedTransform(
            AffineTransform(take_cells(tessellation.anchors, y), 1.0, event_dim=1),
            CellTransform(tessellation, y, profile=PROFILES[self.profile](scale)),
        )

    def anchor(self, y: Tensor) -> Tensor:
        """Return the anchors of the cells of ``y``: ``(..., N)`` to ``(..., N, D)``."""
        return take_cells(self.tessellation().anchors, y)

    def quantize(self, x: Tensor, *, of: Tensor | None = None) -> Tensor:
        """Return the nearest anchors' indices; of some variables, by number, if these are given."""
        return self.tessellation(of=of).locate(x)

    @property
    def moves(self) -> int:
        """The number of numbers that move the cells of a variable: a step of each anchor.

        Raises:
            ValueError: If the cells are in a box, outside of which a flow over cells that move would have mass.
        """
        if self.tessellation.box is not None:
            raise ValueError(f"cells that move have no box, got box={self.tessellation.box}: leave it out.")
        return max(self.cardinalities) * self.dim

    def move(self, moves: Tensor, index: Tensor | None = None, *, of: Tensor | None = None) -> Transform:
        """Return the map to cells whose anchors took a step; see :class:`~tessflow.flows.MovableCells`."""
        target = self.tessellation(moves.unflatten(-1, (-1, self.dim)), of=of)
        return Retessellation(self.tessellation(of=of), target, index=index)

    def moves_of(self, log_masses: Tensor) -> None:
        """Return ``None``: the masses of cells have no closed form."""
        return

    def reference(self) -> Gaussian:
        """Return N(0, I) over R^(N D)."""
        zero = self.log_scale.new_zeros(self.features)
        return Gaussian(zero, torch.ones_like(zero))

    def contains(self, x: Tensor, y: Tensor) -> Tensor:
        """Return whether ``x`` is in the cell of ``y`` and in the box, boolean ``(..., N)``."""
        tessellation = self.tessellation()
        inside = tessellation.locate(x) == y
        if tessellation.lower is None or tessellation.upper is None:
            return inside
        return inside & ((tessellation.lower <= x) & (x <= tessellation.upper)).all(-1)
