"""The compiled kernels, if there are any: a library beside this file, called through ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "OFF",
    "Cells",
    "cell_map",
    "cell_map_backward",
    "check_bins",
    "disabled",
    "enabled",
    "facing",
    "locate",
    "shapes_of_sums",
    "spline",
    "spline_backward",
    "status",
    "transformed",
    "usable",
    "usable_on",
]

OFF = "TESSFLOW_KERNELS"
"""The environment variable that turns kernels off, at ``0``."""

_LEVELS = ("128-bit vectors", "AVX2", "AVX-512")
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int


class Cells(NamedTuple):
    """N tessellations of K cells in D dimensions, side by side, as kernels take them; all float32.

    Args:
        anchors: ``(N, K, D)``.
        mask: Which exist, boolean ``(N, K)``; this and the following may be ``None``.
        lower: Lower walls of a box, ``(N, D)``,
        upper: and upper ones.
        centres: Where rays begin, ``(N, K, D)``, if that is not the anchors.
        weights: Of power cells, ``(N, K)``.
    """

    anchors: Tensor
    mask: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    centres: Tensor | None = None
    weights: Tensor | None = None

    @property
    def boxed(self) -> bool:
        """Whether there is a wall of a box."""
        return self.lower is not None or self.upper is not None

    def of_sides(self, of_box: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the lower and the upper walls from those of the box, ``(2, N, D)``."""
        return None if self.lower is None else of_box[0], None if self.upper is None else of_box[1]


class _Cells(ctypes.Structure):
    _fields_ = [(name, _POINTER) for name in ("anchors", "centres", "weights", "mask", "lower", "upper")]
    _fields_ += [(name, _LONG) for name in ("n", "k", "d")]


class _Map(ctypes.Structure):
    _fields_ = [(name, _POINTER) for name in ("x", "index", "scale", "z", "log_det", "wall")]
    _fields_ += [(name, _LONG) for name in ("rows", "profile", "inverse", "wide")]


class _Gradient(ctypes.Structure):
    """Where gradients are read from and written to."""

    _fields_ = [(name, _POINTER) for name in ("z", "log_det", "x", "scale", "anchors", "centres", "weights", "box")]


class _Splines(ctypes.Structure):
    _fields_ = [(name, _POINTER) for name in ("x", "widths", "heights", "slopes", "y", "log_slope")]
    _fields_ += [("m", _LONG), ("bins", _LONG), ("bound", ctypes.c_double), ("least", ctypes.c_double)]


class _SplineGradient(ctypes.Structure):
    _fields_ = [(name, _POINTER) for name in ("y", "log_slope", "x", "widths", "heights", "slopes")]


def _load() -> tuple[Any, str]:
    """Return the library, and what is to be said of it."""
    if os.environ.get(OFF) == "0":
        return None, f"turned off by {OFF}=0"
    found = sorted(Path(__file__).parent.glob("_compiled*.so"))
    if not found:
        return None, "not compiled: no C++ compiler was found when tessflow was installed"
    try:
        library = _typed(ctypes.CDLL(str(found[0])))
        return library, _LEVELS[library.tessflow_level()]
    except (OSError, AttributeError) as error:
        return None, f"not loaded: {error}"


def _typed(library: Any) -> Any:
    """Tell ctypes what the functions of a library take."""
    library.tessflow_locate.argtypes = [_POINTER, _POINTER, _POINTER, _LONG, _INT, _INT]
    library.tessflow_facing.argtypes = [_POINTER, _POINTER, _POINTER, _POINTER, _LONG, _INT]
    library.tessflow_map.argtypes = [_POINTER, _POINTER, _INT]
    library.tessflow_map_backward.argtypes = [_POINTER, _POINTER, _POINTER, _INT]
    library.tessflow_spline.argtypes = [_POINTER, _INT]
    library.tessflow_spline_backward.argtypes = [_POINTER, _POINTER, _INT]
    return library


_library, _says = _load()
_enabled = os.environ.get(OFF) != "0"


def status() -> str:
    """Say whether there are compiled kernels, and for which instructions.

    Example:
        >>> status().startswith("kernels: ")
        True
    """
    on_gpus = ""
    if torch.cuda.is_available() and _enabled:
        on_gpus = "; on GPUs: Triton" if find_spec("triton") else "; on GPUs: torch (pip install 'tessflow[gpu]')"
    return f"kernels: {'C++, ' if _library is not None else 'torch, '}{_says}{on_gpus}"


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Take the torch path inside, such as for a comparison; not for threads side by side.

    Example:
        >>> with disabled():
        ...     usable(torch.zeros(2))
        False
    """
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def enabled() -> bool:
    """Return whether kernels may be used, of the processor or a GPU; see :data:`OFF` and :func:`disabled`.

    Example:
        >>> with disabled():
        ...     enabled()
        False
    """
    return _enabled


def usable(*tensors: Tensor | None, points: Tensor | None = None) -> bool:
    """Return whether the kernels of the processor take these tensors: float32, no dual numbers, none of functorch.

    Args:
        tensors: What has to be of float32.
        points: What may be of float64, too.

    Example:
        >>> usable(torch.zeros(2, dtype=torch.float64))
        False
    """
    return _library is not None and usable_on("cpu", *tensors, points=points)


def usable_on(device: str, *tensors: Tensor | None, points: Tensor | None) -> bool:
    """Return whether kernels may be used, and take tensors, if there are any for this type of device."""
    if not _enabled:
        return False
    for tensor in tensors:
        if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != device):
            return False
    if points is not None and (points.dtype not in (torch.float32, torch.float64) or points.device.type != device):
        return False
    if torch.compiler.is_compiling():
        return True
    return not (torch.jit.is_tracing() or transformed(*tensors, points))  # type: ignore[attr-defined]


def transformed(*tensors: Tensor | None) -> bool:
    """Return whether a tensor may be a dual number, functorch's, or of a class of its own: what only torch works on.

    Example:
        >>> transformed(torch.zeros(2)), torch.func.vmap(lambda x: x + transformed(x))(torch.zeros(2))
        (False, tensor([1., 1.]))
    """
    if torch.autograd.forward_ad._current_level >= 0:
        return True
    return any(
        tensor is not None
        and (
            type(tensor) not in (Tensor, torch.nn.Parameter) or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        )
        for tensor in tensors
    )


def locate(anchors: Tensor, mask: Tensor | None, x: Tensor) -> Tensor:
    """Return the nearest anchors of points, int64 ``(B, N)``.

    Args:
        anchors: float32 ``(N, K, D)``.
        mask: Boolean ``(N, K)``, or ``None``.
        x: Points, float32 or float64 ``(B, N, D)``.
    """
    held = _Held(Cells(anchors, mask))
    x = x.contiguous()
    index = torch.empty(x.shape[:-1], dtype=torch.int64)
    wide = x.dtype == torch.float64
    _check(_library.tessflow_locate(held.at, x.data_ptr(), index.data_ptr(), len(x), wide, torch.get_num_threads()))
    return index


def facing(anchors: Tensor, mask: Tensor | None, index: Tensor, v: Tensor) -> Tensor:
    """Return the anchors behind the bisectors that rays meet first, or the cell's own.

    Args:
        anchors: float32 ``(N, K, D)``.
        mask: Boolean ``(N, K)``, or ``None``.
        index: Cells ``(B, N)``.
        v: Displacements, float64 ``(B, N, D)``.
    """
    held = _Held(Cells(anchors, mask))
    index, v = index.long().contiguous(), v.double().contiguous()
    wall = torch.empty_like(index)
    _check(
        _library.tessflow_facing(
            held.at, index.data_ptr(), v.data_ptr(), wall.data_ptr(), len(v), torch.get_num_threads()
        )
    )
    return wall


def cell_map(
    x: Tensor,
    scale: Tensor,
    cells: Cells,
    index: Tensor,
    profile: int,
    inverse: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mapped points ``(B, N, D)``, log-determinants ``(B, N)`` and codes of walls ``(B, N)``.

    Args:
        x: Points, float32 or float64 ``(B, N, D)``; what is returned is of the same dtype.
        scale: Scales, float32 ``(B, N)``.
        cells: The tessellations.
        index: Cells ``(B, N)``.
        profile: 0 for softsign, 1 for a truncated Gaussian.
        inverse: Whether out of the cell.
    """
    held = _Held(cells)
    x, scale, index = x.contiguous(), scale.contiguous(), index.long().contiguous()
    z, log_det, wall = torch.empty_like(x), x.new_empty(scale.shape), torch.empty_like(index)
    places = (tensor.data_ptr() for tensor in (x, index, scale, z, log_det, wall))
    task = _Map(*places, len(x), profile, inverse, x.dtype == torch.float64)
    _check(_library.tessflow_map(held.at, ctypes.addressof(task), torch.get_num_threads()))
    return z, log_det, wall


def cell_map_backward(
    of_z: Tensor,
    of_log_det: Tensor,
    x: Tensor,
    scale: Tensor,
    cells: Cells,
    index: Tensor,
    wall: Tensor,
    profile: int,
    inverse: bool,  # noqa: FBT001
) -> tuple[Tensor, ...]:
    """Return the gradients of points, scales, anchors, centres, weights and box ``(2, N, D)``; see :func:`cell_map`.

    Where there are no centres, weights or box, their gradients are empty.
    """
    held = _Held(cells)
    x, scale, wall, of_z, of_log_det = (t.contiguous() for t in (x, scale, wall, of_z, of_log_det))
    index = index.long().contiguous()
    shapes = shapes_of_sums(cells)
    sums = [torch.zeros(shape, dtype=torch.float64) if shape else torch.empty(0) for shape in shapes]
    of_x, of_scale = torch.empty_like(x), torch.empty_like(scale)
    places = (x.data_ptr(), index.data_ptr(), scale.data_ptr(), None, None, wall.data_ptr())
    task = _Map(*places, len(x), profile, inverse, x.dtype == torch.float64)
    parts = (of_z, of_log_det, of_x, of_scale, *sums)
    gradient = _Gradient(*(tensor.data_ptr() or None for tensor in parts))
    _check(
        _library.tessflow_map_backward(
            held.at, ctypes.addressof(task), ctypes.addressof(gradient), torch.get_num_threads()
        )
    )
    return of_x, of_scale, *(of.float() for of in sums)


def shapes_of_sums(cells: Cells) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes of the gradients of anchors, centres, weights and box; ``None`` for what is not there."""
    n, _, d = cells.anchors.shape
    return (
        tuple(cells.anchors.shape),
        None if cells.centres is None else tuple(cells.centres.shape),
        None if cells.weights is None else tuple(cells.weights.shape),
        (2, n, d) if cells.boxed else None,
    )


def spline(
    x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, bound: float, least: float
) -> tuple[Tensor, Tensor]:
    """Return the values of splines at points, and the logarithms of their slopes, ``(...)`` each.

    Args:
        x: Points, float32 ``(...)``.
        widths: Unconstrained widths of K bins, ``(..., K)``,
        heights: heights,
        slopes: and slopes at the knots between them, ``(..., K - 1)``.
        bound: The splines are the identity outside of [-bound, bound].
        least: The least mean slope.
    """
    check_bins(widths, heights, slopes)
    given = [tensor.contiguous() for tensor in (x, widths, heights, slopes)]
    y, log_slope = torch.empty_like(given[0]), torch.empty_like(given[0])
    places = (tensor.data_ptr() for tensor in (*given, y, log_slope))
    task = _Splines(*places, x.numel(), widths.shape[-1], bound, least)
    _check(_library.tessflow_spline(ctypes.addressof(task), torch.get_num_threads()))
    return y, log_slope


def spline_backward(
    of_y: Tensor,
    of_log_slope: Tensor,
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    bound: float,
    least: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of points, widths, heights and slopes; see :func:`spline`."""
    check_bins(widths, heights, slopes)
    given = [tensor.contiguous() for tensor in (x, widths, heights, slopes)]
    of = [of_y.contiguous(), of_log_slope.contiguous()]
    found = [torch.empty_like(tensor) for tensor in given]
    places = (tensor.data_ptr() for tensor in given)
    task = _Splines(*places, None, None, x.numel(), widths.shape[-1], bound, least)
    gradient = _SplineGradient(*(tensor.data_ptr() for tensor in (*of, *found)))
    _check(
        _library.tessflow_spline_backward(ctypes.addressof(task), ctypes.addressof(gradient), torch.get_num_threads())
    )
    return found[0], found[1], found[2], found[3]


def check_bins(widths: Tensor, heights: Tensor, slopes: Tensor) -> None:
    """Raise a ValueError unless there are K widths, K heights and K - 1 slopes, last."""
    bins = widths.shape[-1]
    if heights.shape[-1] != bins or slopes.shape[-1] != bins - 1:
        raise ValueError(
            f"a spline of K bins has K widths, K heights and K - 1 slopes, got {bins}, {heights.shape[-1]} and "
            f"{slopes.shape[-1]}."
        )


class _Held:
    """Tessellations as the library takes them, and what keeps their memory."""

    def __init__(self, cells: Cells) -> None:
        given = (cells.anchors, cells.centres, cells.weights, cells.mask, cells.lower, cells.upper)
        self.tensors = [None if tensor is None else tensor.contiguous() for tensor in given]
        places = (None if tensor is None else tensor.data_ptr() for tensor in self.tensors)
        self.cells = _Cells(*places, *cells.anchors.shape)
        self.at = ctypes.addressof(self.cells)


def _check(failed: int) -> None:
    if failed == 2:
        raise IndexError("an index is that of no cell: indices are 0, ..., K - 1.")
    if failed:
        raise MemoryError("there is not enough memory for what a kernel needs: give it fewer rows at a time.")
