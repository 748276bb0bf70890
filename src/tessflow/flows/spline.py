"""Monotone splines of one coordinate, by a compiled kernel where there is one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from zuko.transforms import MonotonicRQSTransform

from tessflow.kernels import native, ops

__all__ = ["Spline"]


class Spline(Transform):
    """zuko's rational-quadratic spline (Durkan et al., 2019, Neural Spline Flows), as one operation where that exists.

    The identity outside of [-bound, bound]. The kernel takes float32 on a processor; its derivatives are in closed
    form. All else, inverses and derivatives of derivatives among it, are zuko's.

    Args:
        widths: Unconstrained widths of the K bins, ``(..., K)``.
        heights: Unconstrained heights.
        slopes: Unconstrained slopes at the knots between bins, ``(..., K - 1)``.
        bound: Where the splines end.
        least: The least mean slope.

    Raises:
        ValueError: If the numbers of widths, heights and slopes do not fit together.

    Example:
        >>> spline = Spline(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3, 3))
        >>> y, log_slope = spline.call_and_ladj(torch.tensor([-1.0, 0.0, 9.0]))
        >>> y, log_slope.abs().max() < 1e-6
        (tensor([-1.,  0.,  9.]), tensor(True))
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(
        self, widths: Tensor, heights: Tensor, slopes: Tensor, *, bound: float = 5.0, least: float = 1e-3
    ) -> None:
        super().__init__()
        native.check_bins(widths, heights, slopes)
        self.parameters = widths, heights, slopes
        self.bound, self.least = bound, least

    def __repr__(self) -> str:
        return f"Spline(bins={self.parameters[0].shape[-1]})"

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return values ``(...)``, and the logarithms of the slopes."""
        if not native.usable(x, *self.parameters):
            return self._plain().call_and_ladj(x)
        shape = torch.broadcast_shapes(x.shape, *(parameter.shape[:-1] for parameter in self.parameters))
        given = x.expand(shape), *(parameter.expand(*shape, -1) for parameter in self.parameters)
        if torch.compiler.is_compiling():
            return ops.spline(*given, self.bound, self.least)
        return _Kernel.apply(*given, self.bound, self.least)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of the slopes at ``x``."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._plain()._inverse(y)

    def _plain(self) -> Any:
        return MonotonicRQSTransform(*self.parameters, bound=self.bound, slope=self.least)


class _Kernel(torch.autograd.Function):
    """The kernel's spline; where its derivative is to be differentiated, zuko's stands in."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.bound, ctx.least = given
        ctx.save_for_backward(*tensors)
        return native.spline(*given)

    @staticmethod
    def backward(ctx: Any, *of: Tensor) -> tuple[Tensor | None, ...]:
        x, widths, heights, slopes = given = ctx.saved_tensors
        if not torch.is_grad_enabled():
            found = native.spline_backward(of[0], of[1], x, widths, heights, slopes, ctx.bound, ctx.least)
            return *found, None, None
        inputs = [tensor for tensor in given if tensor.requires_grad]
        plain = MonotonicRQSTransform(widths, heights, slopes, bound=ctx.bound, slope=ctx.least).call_and_ladj(x)
        grads = iter(torch.autograd.grad(plain, inputs, of, create_graph=True, allow_unused=True))
        return *(next(grads) if tensor.requires_grad else None for tensor in given), None, None
