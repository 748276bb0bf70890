"""The map of a cell on GPUs: Triton's kernels, where it is installed; as :mod:`.native` has them for the processor."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from tessflow.kernels import native

__all__ = ["cell_map", "cell_map_backward", "usable"]

# Points of a program, and anchors that they are held against at a time: small enough for registers.
_ROWS, _CELLS = 32, 32


_FOUND = find_spec("triton") is not None


def usable(*tensors: Tensor | None, points: Tensor | None = None) -> bool:
    """Return whether the kernel takes these tensors, on a GPU; see :func:`.native.usable`.

    Not where torch was asked for deterministic algorithms: gradients are summed in an order that the GPU chooses.

    Example:
        >>> usable(torch.zeros(2))
        False
    """
    if not _FOUND or torch.are_deterministic_algorithms_enabled():
        return False
    return native.usable_on("cuda", *tensors, points=points)


def cell_map(
    x: Tensor,
    scale: Tensor,
    cells: native.Cells,
    index: Tensor,
    profile: int,
    inverse: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mapped points, log-determinants and codes of walls; see :func:`.native.cell_map`.

    To raise an error for an index that is that of no cell would wait for the GPU: there are no numbers there.

    Raises:
        NotImplementedError: If there are centres or weights: the kernel knows cells of Voronoi about their anchors.
    """
    from tessflow.kernels.triton_cells import forward_kernel

    held = _Held(x, cells)
    x, scale, index = x.contiguous(), scale.contiguous(), index.long().contiguous()
    z, log_det, wall = torch.empty_like(x), x.new_empty(scale.shape), torch.empty_like(index)
    given = (x, index, scale, held.anchors, held.first, held.exists, held.lower, held.upper)
    held.launch(
        forward_kernel,
        *(*given, z, log_det, wall),
        MASKED=cells.mask is not None,
        CELLS=_CELLS,
        GAUSSIAN=profile == 1,
        INVERSE=bool(inverse),
    )
    return z, log_det, wall


def cell_map_backward(
    of_z: Tensor,
    of_log_det: Tensor,
    x: Tensor,
    scale: Tensor,
    cells: native.Cells,
    index: Tensor,
    wall: Tensor,
    profile: int,
    inverse: bool,  # noqa: FBT001
) -> tuple[Tensor, ...]:
    """Return the gradients of points, scales, anchors, centres, weights and box; see :func:`.native.cell_map_backward`.

    Those of anchors and box are sums in float64, in an order that the GPU chooses.
    """
    from tessflow.kernels.triton_cells import backward_kernel

    held = _Held(x, cells)
    x, scale, wall, of_z, of_log_det = (t.contiguous() for t in (x, scale, wall, of_z, of_log_det))
    of_x, of_scale = torch.empty_like(x), torch.empty_like(scale)
    _, n, d = x.shape
    of_anchors, of_box = (x.new_zeros(shape, dtype=torch.float64) for shape in (cells.anchors.shape, (2, n, d)))
    given = (of_z, of_log_det, x, index.long().contiguous(), scale, held.anchors, held.first, held.lower)
    held.launch(
        backward_kernel,
        *(*given, held.upper, wall, of_x, of_scale, of_anchors, of_box[0], of_box[1]),
        GAUSSIAN=profile == 1,
        INVERSE=bool(inverse),
    )
    none = scale.new_empty(0)
    return of_x, of_scale, of_anchors.float(), none, none, of_box.float() if cells.boxed else none


class _Held:
    """Tessellations as the kernels take them, beside points ``(B, N, D)``."""

    def __init__(self, x: Tensor, cells: native.Cells) -> None:
        anchors, mask, lower, upper, centres, weights = cells
        if centres is not None or weights is not None:
            raise NotImplementedError("there is no kernel for power cells, or rays from elsewhere, on a GPU.")
        self.sizes = (len(x), *anchors.shape)
        self.anchors = anchors.contiguous()
        # What is not there is not read: any tensor will do.
        self.exists = self.anchors if mask is None else mask.to(torch.uint8).contiguous()
        self.lower, self.upper = (self.anchors if side is None else side.contiguous() for side in (lower, upper))
        self.kind = {"LOWER": lower is not None, "UPPER": upper is not None, "WIDE": x.dtype == torch.float64}
        some = torch.zeros(len(anchors), dtype=torch.int64, device=x.device)
        self.first = some if mask is None else self.exists.argmax(-1)

    def launch(self, kernel: Any, *tensors: Tensor, **options: Any) -> None:
        """Run a kernel over all rows and tessellations; without contraction, so that rounding is that of float64."""
        rows, n, *_ = self.sizes
        if rows * n == 0:
            return
        grid = (-(-rows // _ROWS) * n,)
        with torch.cuda.device_of(tensors[0]):
            kernel[grid](*tensors, *self.sizes, ROWS=_ROWS, enable_fp_fusion=False, **self.kind, **options)
