"""The map of a cell as one operation, forward and backward, where a compiled kernel takes it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tessflow.geometry import Tessellation
from tessflow.kernels import cuda, native, ops
from tessflow.transforms.profiles import Profile, Softsign, TruncatedGaussian, as_scale

__all__ = ["Plain", "map_points", "takes"]

# The same map by torch's own operations: of a tessellation, cells, a profile and points.
Plain = Callable[[Tessellation, Tensor, Profile, Tensor], tuple[Tensor, Tensor]]

_PROFILES: dict[type, int] = {Softsign: 0, TruncatedGaussian: 1}


def takes(tessellation: Tessellation, profile: Profile, x: Tensor) -> bool:
    """Return whether there is a kernel for these points, ``(..., *N, D)``."""
    if type(profile) not in _PROFILES or type(tessellation) is not Tessellation or tessellation.search != "scan":
        return False
    scale: Any = profile.scale  # type: ignore[attr-defined]
    if not isinstance(scale, Tensor):
        # Scales are float32; in float64 another number would be another map.
        if x.dtype == torch.float64 and struct.unpack("f", struct.pack("f", scale))[0] != scale:
            return False
        scale = None
    tensors = (tessellation.anchors, tessellation.lower, tessellation.upper, scale)
    return native.usable(*tensors, points=x) or cuda.usable(*tensors, points=x)


def _kernels(x: Tensor) -> Any:
    """Return the functions of a device."""
    return native if x.device.type == "cpu" else cuda


def map_points(
    tessellation: Tessellation, index: Tensor, profile: Any, x: Tensor, *, inverse: bool, plain: Plain
) -> tuple[Tensor, Tensor]:
    """Map points into their cells, or out of them, and return log-determinants.

    Args:
        tessellation: N tessellations.
        index: Cells, ``(..., *N)``; broadcasts against the batch of points.
        profile: The profile.
        x: Points, ``(..., *N, D)``.
        inverse: Whether out of the cells.
        plain: The same map by torch's own operations, for derivatives of derivatives.

    Returns:
        Points ``(..., *N, D)`` and log-determinants ``(..., *N)``.
    """
    shape = tessellation.shape
    batch = torch.broadcast_shapes(x.shape[:-1], index.shape, shape)
    n, k, d = shape.numel(), tessellation.num_cells, tessellation.dim
    scale = as_scale(profile.scale, torch.float32, x.device)
    batch = torch.broadcast_shapes(batch, scale.shape)
    rows = batch[: len(batch) - len(shape)].numel()

    def side_by_side(tensor: Tensor | None, *last: int) -> Tensor | None:
        return None if tensor is None else tensor.reshape(n, *last)

    given = (
        x.expand(*batch, d).reshape(rows, n, d),
        scale.expand(batch).reshape(rows, n),
        tessellation.anchors.reshape(n, k, d),
        side_by_side(tessellation.mask, k),
        side_by_side(tessellation.lower, d),
        side_by_side(tessellation.upper, d),
    )
    cells, kind = index.long().expand(batch).reshape(rows, n), _PROFILES[type(profile)]
    if torch.compiler.is_compiling():
        z, log_det, _ = ops.cell_map(*given, None, None, cells, kind, inverse)
    else:
        z, log_det = _CellMap.apply(*given, cells, kind, inverse, plain)
    return z.reshape(*batch, d), log_det.reshape(batch)


class _CellMap(torch.autograd.Function):
    """The kernel's map; where its derivative is to be differentiated, the plain one stands in."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        anchors: Tensor,
        mask: Tensor | None,
        lower: Tensor | None,
        upper: Tensor | None,
        index: Tensor,
        profile: int,
        inverse: bool,  # noqa: FBT001
        plain: Plain,
    ) -> tuple[Tensor, Tensor]:
        cells = native.Cells(anchors, mask, lower, upper)
        z, log_det, wall = _kernels(x).cell_map(x, scale, cells, index, profile, inverse)
        ctx.save_for_backward(x, scale, anchors, mask, lower, upper, index, wall)
        ctx.profile, ctx.inverse, ctx.plain = profile, inverse, plain
        return z, log_det

    @staticmethod
    def backward(ctx: Any, *of: Tensor) -> tuple[Tensor | None, ...]:
        of_z, of_log_det = of
        x, scale, anchors, mask, lower, upper, index, wall = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(ctx, of_z, of_log_det)
        cells = native.Cells(anchors, mask, lower, upper)
        of_x, of_scale, of_anchors, _, _, of_box = _kernels(x).cell_map_backward(
            of_z, of_log_det, x, scale, cells, index, wall, ctx.profile, ctx.inverse
        )
        return of_x, of_scale, of_anchors, None, *cells.of_sides(of_box), None, None, None, None


def _differentiable(ctx: Any, of_z: Tensor, of_log_det: Tensor) -> tuple[Tensor | None, ...]:
    x, scale, anchors, mask, lower, upper, index, _ = ctx.saved_tensors
    profile = Softsign(scale) if ctx.profile == 0 else TruncatedGaussian(scale)
    inputs = [t for t, needed in zip((x, scale, anchors, lower, upper), _needed(ctx), strict=True) if needed]
    z, log_det = ctx.plain(Tessellation(anchors, lower, upper, mask), index, profile, x)
    found = iter(torch.autograd.grad([z, log_det], inputs, [of_z, of_log_det], create_graph=True, allow_unused=True))
    of_x, of_scale, of_anchors, of_lower, of_upper = (next(found) if needed else None for needed in _needed(ctx))
    return of_x, of_scale, of_anchors, None, of_lower, of_upper, None, None, None, None


def _needed(ctx: Any) -> tuple[bool, ...]:
    needed = ctx.needs_input_grad
    return (*needed[:3], *needed[4:6])
