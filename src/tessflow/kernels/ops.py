"""The compiled functions as operations of torch, which ``torch.compile`` leaves whole; see :mod:`.native`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tessflow.kernels import cuda, native

__all__ = ["cell_map", "cell_map_backward", "facing", "locate", "spline", "spline_backward"]

_library = torch.library.Library("tessflow", "DEF")
_CELLS = "Tensor anchors, Tensor? mask, Tensor? lower, Tensor? upper, Tensor? centres, Tensor? weights"
_library.define("locate(Tensor anchors, Tensor? mask, Tensor x) -> Tensor")
_library.define("facing(Tensor anchors, Tensor? mask, Tensor index, Tensor v) -> Tensor")
_library.define(
    f"cell_map(Tensor x, Tensor scale, {_CELLS}, Tensor index, int profile, bool inverse) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    f"cell_map_backward(Tensor of_z, Tensor of_log_det, Tensor x, Tensor scale, {_CELLS}, Tensor index, Tensor wall, "
    "int profile, bool inverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_SPLINE = "Tensor x, Tensor widths, Tensor heights, Tensor slopes, float bound, float least"
_library.define(f"spline({_SPLINE}) -> (Tensor, Tensor)")
_library.define(f"spline_backward(Tensor of_y, Tensor of_log_slope, {_SPLINE}) -> (Tensor, Tensor, Tensor, Tensor)")
locate = torch.ops.tessflow.locate.default
facing = torch.ops.tessflow.facing.default
cell_map = torch.ops.tessflow.cell_map.default
cell_map_backward = torch.ops.tessflow.cell_map_backward.default
spline = torch.ops.tessflow.spline.default
spline_backward = torch.ops.tessflow.spline_backward.default


def _of_tensors(function: Callable[..., Any], before: int) -> Callable[..., Any]:
    """Return a function of :class:`.native.Cells` as one of their tensors, as operations list them."""
    last = before + len(native.Cells._fields)
    return lambda *given: function(*given[:before], native.Cells(*given[before:last]), *given[last:])


_library.impl("locate", native.locate, "CPU")
_library.impl("facing", native.facing, "CPU")
_library.impl("cell_map", _of_tensors(native.cell_map, 2), "CPU")
_library.impl("cell_map_backward", _of_tensors(native.cell_map_backward, 4), "CPU")
_library.impl("cell_map", _of_tensors(cuda.cell_map, 2), "CUDA")
_library.impl("cell_map_backward", _of_tensors(cuda.cell_map_backward, 4), "CUDA")
_library.impl("spline", native.spline, "CPU")
_library.impl("spline_backward", native.spline_backward, "CPU")


def _fake(name: str) -> Callable[[Any], Any]:
    return torch.library.register_fake(f"tessflow::{name}", lib=_library)


@_fake("locate")
def _(anchors: Tensor, mask: Tensor | None, x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:-1], dtype=torch.int64)


@_fake("facing")
def _(anchors: Tensor, mask: Tensor | None, index: Tensor, v: Tensor) -> Tensor:
    return index.new_empty(index.shape)


@_fake("cell_map")
def _(x: Tensor, scale: Tensor, *cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(scale.shape), scale.new_empty(scale.shape, dtype=torch.int64)


@_fake("cell_map_backward")
def _(of_z: Tensor, of_log_det: Tensor, x: Tensor, scale: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    sums = native.shapes_of_sums(native.Cells(*rest[: len(native.Cells._fields)]))
    return x.new_empty(x.shape), scale.new_empty(scale.shape), *(scale.new_empty(shape or (0,)) for shape in sums)


@_fake("spline")
def _(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@_fake("spline_backward")
def _(of_y: Tensor, of_log_slope: Tensor, *given: Any) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in given[:4])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.profile, ctx.inverse = inputs
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, of_z: Tensor, of_log_det: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    cells = native.Cells(*saved[2:-2])
    found = cell_map_backward(of_z, of_log_det, *saved, ctx.profile, ctx.inverse)
    of_x, of_scale, of_anchors, of_centres, of_weights, of_box = found
    return (
        of_x,
        of_scale,
        of_anchors,
        None,
        *cells.of_sides(of_box),
        None if cells.centres is None else of_centres,
        None if cells.weights is None else of_weights,
        None,
        None,
        None,
    )


torch.library.register_autograd("tessflow::cell_map", _backward, setup_context=_keep, lib=_library)


def _keep_spline(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.bound, ctx.least = inputs
    ctx.save_for_backward(*tensors)


def _spline_backward(ctx: Any, of_y: Tensor, of_log_slope: Tensor) -> tuple[Tensor | None, ...]:
    return *spline_backward(of_y, of_log_slope, *ctx.saved_tensors, ctx.bound, ctx.least), None, None


torch.library.register_autograd("tessflow::spline", _spline_backward, setup_context=_keep_spline, lib=_library)
