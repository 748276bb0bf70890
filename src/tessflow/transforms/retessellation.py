"""The map from one tessellation to another with the same cells, by name."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from tessflow.geometry import Intervals, Tessellation
from tessflow.transforms.cell import BothWays, IntoCell, none_at_infinity
from tessflow.transforms.interval import from_parts, keep_inside, on_the_line, to_parts

__all__ = ["Retessellation"]

# The closest to the wall, as a share of the way from the anchor, that a point is taken to be.
_NEAREST = 1e-12


class Retessellation(BothWays):
    r"""Map each cell of a tessellation onto the cell of the same name of another: a bijection of R^D, up to walls.

    *In R^D*, out of one cell and into the other by the paper's map (Chen, Amos & Nickel, 2022, Eq. 8), whose scale
    cancels. With :math:`w = x - x_k`, the gauge :math:`\rho` of cell k in the source and :math:`\rho'` in the target,

    .. math:: z = x'_k + \frac{w}{1 - \rho(w) + \rho'(w)}, \qquad
              \log |\det J| = -(D + 1) \log (1 - \rho(w) + \rho'(w)).

    Nothing is infinite between the two: on the wall of the source :math:`\rho = 1`, and z is on that of the target.
    Where both rays have no wall, the map is a translation.

    *On the line*, between :class:`~tessflow.geometry.Intervals`, so that the share of the cell's mass below the point
    stays the same. A standard logistic in a cell of the source is one in the cell of the target: only its mass is
    another. Under a standard logistic base, a layer whose target depends on what is known of other variables is a
    conditional categorical distribution, inside a flow.

    Values keep the dtype of their input; the arithmetic inside is float64. A cell whose width is below the spacing of
    the dtype, such as one of mass 1e-12 in float32, is mapped to the numbers next to it. The inverse is the map back.

    Args:
        source: Where the cells are.
        target: Where they are to be; of the same kind, number and dimension. Shapes ``*N`` broadcast: with a batch of
            targets, each point has its own.
        index: The cells of points ``(..., *N)``, where they are known; otherwise they are located.

    Raises:
        TypeError: If one is of intervals, and the other is not.
        ValueError: If their cells differ in number or dimension.

    Example:
        >>> import torch
        >>> halves, other = Intervals(torch.zeros(2)), Intervals(torch.tensor([0.9, 0.1]).log())
        >>> move = Retessellation(halves, other)
        >>> z, log_slope = move.call_and_ladj(torch.tensor([[-1.0], [0.0], [1.0]]))
        >>> z.flatten()
        tensor([-0.0636,  2.1972,  2.8674])
        >>> move.inv(z).flatten().abs().round(decimals=4)
        tensor([1., 0., 1.])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector

    def __init__(
        self, source: Tessellation | Intervals, target: Tessellation | Intervals, *, index: Tensor | None = None
    ) -> None:
        super().__init__()
        if isinstance(source, Intervals) != isinstance(target, Intervals):
            raise TypeError(f"source and target must be of one kind, got {source} and {target}.")
        if (source.num_cells, source.dim) != (target.num_cells, target.dim):
            raise ValueError(f"source and target must have as many cells of one dimension, got {source} and {target}.")
        self.source, self.target, self.index = source, target, index

    def __repr__(self) -> str:
        return f"Retessellation({self.source}, {self.target})"

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map points ``(..., *N, D)``; also return the log-determinants, ``(..., *N)``."""
        return _between(self.source, self.target, self.index, x)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of the target back, with the log-determinants of the inverse."""
        return _between(self.target, self.source, self.index, z)


def _between(
    source: Tessellation | Intervals, target: Tessellation | Intervals, index: Tensor | None, x: Tensor
) -> tuple[Tensor, Tensor]:
    index = source.locate(x) if index is None else index
    if isinstance(source, Intervals) and isinstance(target, Intervals):
        return _on_the_line(source, target, index, x)
    assert isinstance(source, Tessellation)
    assert isinstance(target, Tessellation)
    return _in_space(source, target, index, x)


def _on_the_line(source: Intervals, target: Intervals, index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    point, cell = on_the_line(x), source.take(index)
    z, log_slope = from_parts(target.take(index), *to_parts(cell, point))
    log_det = log_slope + logsigmoid(point) + logsigmoid(-point) - cell.log_mass
    return keep_inside(z[..., None], target, index, x.dtype), none_at_infinity(log_det.to(x.dtype), x)


def _in_space(source: Tessellation, target: Tessellation, index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    leaving, entering = IntoCell(source, index), IntoCell(target, index)
    out = leaving._rays(x)
    into = entering._rays(out.displacement, from_anchor=True)
    stretch = out.clearance().clamp_min(_NEAREST) + into.gauge()
    log_det = -(source.dim + 1) * stretch.log()
    return entering._keep_inside(into, 1 / stretch, x.dtype), none_at_infinity(log_det.to(x.dtype), x)
