"""Variables of one kind: the same cells, and the same noise in them, at every position."""

from __future__ import annotations

from typing import cast

from torch import Size, Tensor, nn
from torch.distributions import Independent, Transform
from torch.distributions.transforms import ReshapeTransform
from zuko.distributions import NormalizingFlow
from zuko.transforms import ComposedTransform

from tessflow.dequantization.base import Dequantizer

__all__ = ["SharedDequantizer"]


class SharedDequantizer(Dequantizer):
    r"""Let one variable's dequantizer serve every position: characters of a text, items of a set.

    .. math:: q(x | y) = \prod_n q_1(x_n | y_n)

    Noise at a position depends on the value there alone, so that q is the same under permutations of the positions.

    Args:
        each: The dequantizer of one variable.
        positions: The number ``N`` of positions.

    Raises:
        ValueError: If ``each`` has not one variable, or ``positions`` is below 1.

    Example:
        >>> import torch
        >>> from tessflow.dequantization import VoronoiDequantizer
        >>> letters = SharedDequantizer(VoronoiDequantizer((27,), dim=4), positions=10)
        >>> y = torch.randint(27, (3, 10))
        >>> x, log_prob = letters(y).rsample_with_log_prob()
        >>> x.shape, log_prob.shape, letters.quantize(x).equal(y)
        (torch.Size([3, 10, 4]), torch.Size([3]), True)
    """

    def __init__(self, each: Dequantizer, positions: int) -> None:
        if len(each.cardinalities) != 1:
            raise ValueError(f"each must be the dequantizer of one variable, got one of {len(each.cardinalities)}.")
        if positions < 1:
            raise ValueError(f"positions must be at least 1, got {positions}.")
        super().__init__(each.cardinalities * positions, each.dim, noise=_Repeated(each))
        self.lower_bound = each.lower_bound

    @property
    def each(self) -> Dequantizer:
        """The dequantizer of one variable."""
        return cast(_Repeated, self.noise).each

    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the cells of ``y``."""
        points, single = Size((y.shape[-1], self.dim)), Size((y.shape[-1], 1, self.dim))
        return ComposedTransform(
            ReshapeTransform(points, single), self.each.cells(y[..., None]), ReshapeTransform(single, points)
        )

    def quantize(self, x: Tensor) -> Tensor:
        """Return the value that ``x`` is decoded to: ``(..., N, D)`` to ``(..., N)`` int64."""
        return self.each.quantize(x[..., None, :]).squeeze(-1)

    def contains(self, x: Tensor, y: Tensor) -> Tensor:
        """Return whether ``x`` is in the cell of ``y``, boolean ``(..., N)``."""
        return self.each.contains(x[..., None, :], y[..., None]).squeeze(-1)


class _Repeated(nn.Module):
    """The noise of one variable's dequantizer, over R^D, as independent noise over R^(N D), given N values."""

    def __init__(self, each: Dequantizer) -> None:
        super().__init__()
        self.each = each

    def forward(self, y: Tensor) -> NormalizingFlow:
        noise = Independent(self.each.noise(y[..., None]), 1)
        return NormalizingFlow(ReshapeTransform(Size((noise.event_shape.numel(),)), noise.event_shape), noise)
