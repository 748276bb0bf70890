"""The map of a cell and its derivatives in Triton, for GPUs: the mathematics of `cells.h`, in float64.

Each program maps ``ROWS`` points of one tessellation, and holds them against ``CELLS`` anchors at a time. Codes of
walls, and what stands in for infinite coordinates, are those of `cells.h`.
"""

from __future__ import annotations

import sys
from typing import Any

import triton
import triton.language as tl

__all__ = ["backward_kernel", "forward_kernel"]

# As in cells.h and profiles.py: how near a wall an inverse looks, the least half squared radius, where infinite points
# are taken to be (and of float64 those too large for their squares), a bound of the square of a gauge over half that of
# the length, the smallest normal number, and the spacing of numbers at 1.
_NEAREST: Any = tl.constexpr(1e-12)
_LEAST: Any = tl.constexpr(1e-20)
_SEEN: Any = tl.constexpr((2.0 - 2.0**-23) ** 0.3 * 2.0 ** (127 * 0.3))
_FARTHEST: Any = tl.constexpr(sys.float_info.max**0.3)
_TINY: Any = tl.constexpr(2.2250738585072014e-308**0.2)
_SMALLEST: Any = tl.constexpr(2.2250738585072014e-308)
_UNIT: Any = tl.constexpr(2.220446049250313e-16)


# One version for all sizes: a batch with another number of rows is not worth a compilation.
_kernel = triton.jit(do_not_specialize=["rows", "n", "k", "d"])


@triton.jit
def _most(a, b: tl.constexpr):
    return tl.maximum(a, tl.full(a.shape, b, tl.float64))


@triton.jit
def _least(a, b: tl.constexpr):
    return tl.minimum(a, tl.full(a.shape, b, tl.float64))


@triton.jit
def _log1p(a):
    """Return log(1 + a), by Kahan's way: what rounding 1 + a loses cancels."""
    near = 1.0 + a
    apart = near - 1.0
    return tl.where(apart == 0.0, a, tl.log(near) * (a / tl.where(apart == 0.0, 1.0, apart)))


@triton.jit
def _expm1(a):
    """Return exp(a) - 1 for a <= 0, in the same way."""
    power = tl.exp(a)
    log = tl.log(_most(power, _SMALLEST))
    inner = (power - 1.0) * (a / tl.where(log == 0.0, 1.0, log))
    return tl.where(log == 0.0, a, tl.where(a < -40.0, -1.0, inner))


@triton.jit
def _moved(a, WIDE: tl.constexpr):
    """Return whether a coordinate is too far away."""
    return tl.abs(a) > _FARTHEST if WIDE else tl.abs(a) == float("inf")


@triton.jit
def _seen(a, WIDE: tl.constexpr):
    """Return where a coordinate is taken to be."""
    far = _FARTHEST if WIDE else _SEEN
    return tl.where(_moved(a, WIDE), tl.where(a > 0.0, far, -far), a)


@triton.jit
def _load(at, live):
    return tl.load(at, mask=live, other=0.0).to(tl.float64)


@triton.jit
def _facing(
    points, own, cells, exists, live, k, d, masked: tl.constexpr, WIDE: tl.constexpr, CELLS: tl.constexpr
):  # fmt: skip
    """Return the anchors behind the bisectors that rays meet first, or the cells' own."""
    zero = tl.zeros(own.shape, tl.float64)
    best, wall = zero, own
    for start in range(0, k, CELLS):
        cell = start + tl.arange(0, CELLS)
        there = cell < k
        if masked:
            there = there & (tl.load(exists + cell, mask=there, other=0) != 0)
        along = zero[:, None] + tl.zeros((1, CELLS), tl.float64)
        square = along
        for c in range(d):
            at_own = _load(cells + own * d + c, live)
            v = _seen(_load(points + c, live), WIDE) - at_own
            normal = _load(cells + cell * d + c, there)[None, :] - at_own[:, None]
            along += v[:, None] * normal
            square += normal * normal
        beside = there[None, :] & (square > 0.0)
        gauge = tl.where(beside, 2.0 * along / tl.where(beside, square, 1.0), 0.0)
        highest = tl.max(gauge, 1)
        nearer = highest > best
        wall = tl.where(nearer, start + tl.argmax(gauge, 1).to(tl.int64), wall)
        best = tl.where(nearer, highest, best)
    return wall


@triton.jit
def _room(at_own, side, wall: tl.constexpr):
    return _most(side - at_own if wall == 0 else at_own - side, _SMALLEST)


@triton.jit
def _measure(
    points, own, wall, cells, first, upper, lower, live, k, d,
    known: tl.constexpr, UPPER: tl.constexpr, LOWER: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Return what the map needs to know of rays: walls, squared lengths and so on; see `measure` in cells.h."""
    zero = tl.zeros(own.shape, tl.float64)
    square, spacing, dot, left, size, apart = zero, zero, zero, zero, zero, zero
    infinite = square > 0.0
    facing = tl.where(wall < k, wall, own)
    for c in range(d):
        point = _load(points + c, live)
        infinite = infinite | (tl.abs(point) == float("inf"))
        at_own = _load(cells + own * d + c, live)
        v, normal = _seen(point, WIDE) - at_own, _load(cells + facing * d + c, live) - at_own
        square += v * v
        spacing += normal * normal
        dot += v * normal
        left += (normal - 2.0 * v) * normal
        size += at_own * at_own
        from_first = at_own - tl.load(cells + first * d + c).to(tl.float64)
        apart += from_first * from_first
    spacing = tl.where(spacing > 0.0, spacing, 1.0)
    bisector = _most(2.0 * dot / spacing, 0.0)
    gauge, clearance = bisector, tl.where(bisector > 0.0, left / spacing, 1.0)
    for c in range(d):
        at_own = _load(cells + own * d + c, live)
        v = _seen(_load(points + c, live), WIDE) - at_own
        if UPPER:
            room = _room(at_own, tl.load(upper + c).to(tl.float64), 0)
            this = wall == k + 2 * c if known else v / room > gauge
            gauge, wall = tl.where(this, v / room, gauge), tl.where(this, k + 2 * c, wall)
            clearance = tl.minimum(clearance, (room - v) / room)
        if LOWER:
            room = _room(at_own, tl.load(lower + c).to(tl.float64), 1)
            this = wall == k + 2 * c + 1 if known else -v / room > gauge
            gauge, wall = tl.where(this, -v / room, gauge), tl.where(this, k + 2 * c + 1, wall)
            clearance = tl.minimum(clearance, (room + v) / room)
    return wall, square, spacing, bisector, gauge, clearance, size, apart, infinite


@triton.jit
def _longest(ratio, square, spacing, bisector, size, apart, d, WIDE: tl.constexpr):
    """Return how far points may go along their rays without being rounded across a bisector: `Rays.longest`."""
    length, between = ratio * tl.sqrt(square), tl.sqrt(spacing)
    unit = _UNIT if WIDE else 1.1920928955078125e-07  # of the points
    moved = 2.0 * unit * (tl.sqrt(size) + length) / between
    extent = tl.sqrt(apart) + length + between
    share = 1.0 + 4.0 * unit + moved + _UNIT * (d + 4) * extent * extent / spacing
    return tl.where(bisector > 0.0, 1.0 / (share * tl.where(bisector > 0.0, bisector, 1.0)), float("inf"))


@triton.jit
def _distance(gauge, half_square):
    """Return half the squared distance of the wall, and whether there is one."""
    share = gauge * gauge / half_square
    return 1.0 / _least(_most(share, _TINY), 1 / _TINY), (share > _TINY) & (share < 1 / _TINY)


@triton.jit
def _smooth_minimum(a, b):
    """Return m with e^-m = e^-a + e^-b - e^-(a + b), 1 - e^-a, 1 - e^-b, and e^min(a, b) e^-m - 1."""
    within_a, within_b = -_expm1(-a), -_expm1(-b)
    both = within_a * within_b
    excess = tl.exp(-tl.abs(a - b)) * tl.where(a < b, within_a, within_b)
    m = tl.where(both < 0.5, -_log1p(-_least(both, 0.5)), tl.minimum(a, b) - _log1p(excess))
    return m, within_a, within_b, excess


@triton.jit
def _back_from(scale, square, gauge, clearance):
    """Return what the inverse of a truncated Gaussian is made of; see `Inverse` in cells.h."""
    clearance = _most(clearance, _NEAREST)
    m = square / (2.0 * scale * scale)
    wall, live = _distance(gauge, _most(m, _SMALLEST))
    within_wall = -_expm1(-wall)
    rest = -_expm1(-wall * clearance * (2.0 - clearance))
    share = -_expm1(-m) / within_wall
    far = m + tl.log(within_wall) - tl.log(_most(rest, _SMALLEST))
    a = tl.where(share < 0.5, -_log1p(-_least(share, 0.5)), far)
    ratio = tl.where(a < _LEAST, within_wall, m / _most(a, _LEAST))
    return m, wall, live, within_wall, rest, share, a, ratio, clearance


@triton.jit
def _profile(scale, square, gauge, clearance, d, GAUSSIAN: tl.constexpr, INVERSE: tl.constexpr):
    """Return what displacements are multiplied by, and log-determinants."""
    if GAUSSIAN and INVERSE:
        _, _, _, _, rest, _, _, shrunk, _ = _back_from(scale, square, gauge, clearance)
        ratio = 1.0 / (scale * tl.sqrt(shrunk))
        log_det = -d * tl.log(scale) - (d / 2.0 - 1.0) * tl.log(shrunk) - tl.log(rest)
    elif GAUSSIAN:
        a = _most(square / 2.0, _LEAST)
        wall, _ = _distance(scale * gauge, a)
        m, _, within_wall, _ = _smooth_minimum(a, wall)
        ratio = scale * tl.sqrt(m / a)
        log_det = d * tl.log(scale) + (d / 2.0 - 1.0) * tl.log(m / a) + (tl.log(within_wall) + (m - a))
    elif INVERSE:
        clearance = _most(clearance, _NEAREST)
        ratio = 1.0 / (scale * clearance)
        log_det = -d * tl.log(scale) - (d + 1.0) * tl.log(clearance)
    else:
        ratio = scale / (1.0 + scale * gauge)
        log_det = d * tl.log(scale) - (d + 1.0) * _log1p(scale * gauge)
    return ratio, log_det


@triton.jit
def _profile_backward(t, of_log_det, scale, square, gauge, clearance, d, GAUSSIAN: tl.constexpr, INVERSE: tl.constexpr):
    """Return the ratio, and gradients of squared length, gauge and scale, given <dz, v> and dL."""
    by_gauge = tl.where(gauge > 0.0, gauge, 1.0)
    if GAUSSIAN and INVERSE:
        m, wall, live, within_wall, rest, share, a, shrunk, held = _back_from(scale, square, gauge, clearance)
        ratio = 1.0 / (scale * tl.sqrt(shrunk))
        of_log, of_left = 0.5 * t * ratio + of_log_det * (d / 2.0 - 1.0), -of_log_det * (1.0 - rest) / rest
        room, beyond = held * (2.0 - held), (1.0 - within_wall) / within_wall
        apart, at_anchor = clearance > _NEAREST, a < _LEAST
        by_m = tl.where(apart, 1.0 / rest, 1.0)
        by_wall = tl.where(apart, -(1.0 - rest) * share / rest, beyond - room * (1.0 - rest) / rest)
        of_a = of_log / _most(a, _LEAST)
        of_wall = tl.where(live, (tl.where(at_anchor, -of_log * beyond, of_a * by_wall) + of_left * room) * wall, 0.0)
        of_m = tl.where(at_anchor, 0.0, of_a * by_m * m - of_log) + of_wall
        of_clearance = tl.where(apart, of_left * 2.0 * wall * (1.0 - held), 0.0)
        of_square = tl.where(square > 0.0, of_m / tl.where(square > 0.0, square, 1.0), 0.0)
        of_gauge = -2.0 * of_wall / by_gauge - of_clearance
        of_scale = (-t * ratio - of_log_det * d - 2.0 * of_m) / scale
    elif GAUSSIAN:
        a = _most(square / 2.0, _LEAST)
        wall, live = _distance(scale * gauge, a)
        m, within_a, within_wall, excess = _smooth_minimum(a, wall)
        ratio = scale * tl.sqrt(m / a)
        inverse, further = 1.0 / (1.0 + excess), tl.exp(-tl.abs(a - wall))
        by_a = tl.where(a < wall, 1.0, further) * inverse * within_wall
        by_wall = tl.where(a < wall, further, 1.0) * inverse * within_a
        log_a, log_wall = by_a / m - 1.0 / a, by_wall / m
        half = d / 2.0 - 1.0
        of_wall = t * 0.5 * ratio * log_wall + of_log_det * (
            half * log_wall + (1.0 - within_wall) / within_wall + by_wall
        )
        of_wall = tl.where(live, of_wall * wall, 0.0)
        of_a = t * 0.5 * ratio * log_a + of_log_det * (half * log_a + (by_a - 1.0)) + of_wall / a
        of_square = tl.where(square / 2.0 < _LEAST, 0.0, 0.5 * of_a)
        of_gauge = -2.0 * of_wall / by_gauge
        of_scale = (t * ratio + of_log_det * d - 2.0 * of_wall) / scale
    elif INVERSE:
        held = _most(clearance, _NEAREST)
        ratio = 1.0 / (scale * held)
        of_square = tl.zeros(gauge.shape, tl.float64)
        of_gauge = tl.where(clearance > _NEAREST, (t * ratio + of_log_det * (d + 1.0)) / held, 0.0)
        of_scale = (-t * ratio - of_log_det * d) / scale
    else:
        flat = 1.0 / (1.0 + scale * gauge)
        ratio = scale * flat
        of_square = tl.zeros(gauge.shape, tl.float64)
        of_gauge = -t * ratio * ratio - of_log_det * (d + 1.0) * ratio
        of_scale = t * flat * flat + of_log_det * (d / scale - (d + 1.0) * gauge * flat)
    return ratio, of_square, of_gauge, of_scale


@triton.jit
def _rows(index, rows, n, k, ROWS: tl.constexpr):
    """Return the tessellation of a program, places of its rows, which are there, their cells, and which are cells."""
    program = tl.program_id(0).to(tl.int64)
    which, row = program % n, program // n * ROWS + tl.arange(0, ROWS)
    live, at = row < rows, row * n + which
    own = tl.load(index + at, mask=live, other=0)
    known = (own >= 0) & (own < k)
    return which, at, live, tl.where(known, own, 0), known


@_kernel
def forward_kernel(
    x, index, scale, anchors, first, mask, lower, upper, z, log_det, wall, rows, n, k, d,
    GAUSSIAN: tl.constexpr, INVERSE: tl.constexpr, MASKED: tl.constexpr, UPPER: tl.constexpr, LOWER: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, CELLS: tl.constexpr,
):  # fmt: skip
    """Write mapped points, log-determinants and codes of walls; where an index is that of no cell, no numbers."""
    which, at, live, own, known = _rows(index, rows, n, k, ROWS)
    cells, points, to = anchors + which * k * d, x + at * d, z + at * d
    above, below = upper + which * d, lower + which * d
    facing = _facing(points, own, cells, mask + which * k, live, k, d, MASKED, WIDE, CELLS)
    met, square, spacing, bisector, gauge, clearance, size, apart, infinite = _measure(
        points, own, facing, cells, tl.load(first + which), above, below, live, k, d, False, UPPER, LOWER, WIDE
    )
    slope = tl.load(scale + at, mask=live, other=1.0).to(tl.float64)
    ratio, change = _profile(slope, square, gauge, clearance, d, GAUSSIAN, INVERSE)
    number = tl.where(known, square - square, float("nan"))  # 0, or none, where a coordinate is none
    code = met
    if not INVERSE:
        longest = _longest(ratio, square, spacing, bisector, size, apart, d, WIDE)
        code = tl.where(ratio > longest, -1 - met, met)
        ratio = tl.minimum(ratio, longest)
    for c in range(d):
        at_own = _load(cells + own * d + c, live)
        end = (at_own + (ratio + number) * (_seen(_load(points + c, live), WIDE) - at_own)).to(z.dtype.element_ty)
        if not INVERSE:
            if LOWER:
                wall_here = tl.load(below + c).to(z.dtype.element_ty)
                end = tl.where(end < wall_here, wall_here, end)
            if UPPER:
                wall_here = tl.load(above + c).to(z.dtype.element_ty)
                end = tl.where(end > wall_here, wall_here, end)
        tl.store(to + c, end, mask=live)
    change = tl.where(infinite & known, -float("inf"), change + number)
    tl.store(log_det + at, change.to(z.dtype.element_ty), mask=live)
    tl.store(wall + at, code, mask=live)


@_kernel
def backward_kernel(
    of_z, of_log_det, x, index, scale, anchors, first, lower, upper, wall, of_x, of_scale, of_anchors, of_lower,
    of_upper, rows, n, k, d,
    GAUSSIAN: tl.constexpr, INVERSE: tl.constexpr, UPPER: tl.constexpr, LOWER: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Write gradients of points and scales; add those of anchors and the box, in float64."""
    which, at, live, own, known = _rows(index, rows, n, k, ROWS)
    code = tl.load(wall + at, mask=live, other=0)
    held_back = code < 0
    met = tl.where(held_back, -1 - code, code)
    cells, points, of_end = anchors + which * k * d, x + at * d, of_z + at * d
    above, below = upper + which * d, lower + which * d
    _, square, spacing, bisector, gauge, clearance, size, apart, infinite = _measure(
        points, own, met, cells, tl.load(first + which), above, below, live, k, d, True, UPPER, LOWER, WIDE
    )
    along = tl.zeros(own.shape, tl.float64)
    for c in range(d):
        along += (_seen(_load(points + c, live), WIDE) - _load(cells + own * d + c, live)) * _load(of_end + c, live)
    along = tl.where(held_back, 0.0, along)  # there a point's place on its ray does not depend on the profile
    of_change = tl.where(infinite, 0.0, _load(of_log_det + at, live))
    slope = tl.load(scale + at, mask=live, other=1.0).to(tl.float64)
    ratio, of_square, of_gauge, of_slope = _profile_backward(
        along, of_change, slope, square, gauge, clearance, d, GAUSSIAN, INVERSE
    )
    if not INVERSE:
        longest = _longest(ratio, square, spacing, bisector, size, apart, d, WIDE)
        ratio = tl.where(held_back & (longest < float("inf")), longest, ratio)
    tl.store(of_scale + at, of_slope.to(tl.float32), mask=live)
    facing, by_bisector = tl.where(met < k, met, own), (met < k) & (bisector > 0.0)
    by_normal = tl.where(by_bisector, 2.0 * of_gauge / spacing, 0.0)
    sums, counts = of_anchors + which * k * d, live & known
    for c in range(d):
        point, at_own = _load(points + c, live), _load(cells + own * d + c, live)
        v, normal = _seen(point, WIDE) - at_own, _load(cells + facing * d + c, live) - at_own
        given = _load(of_end + c, live)
        of_v = ratio * given + 2.0 * of_square * v + by_normal * normal
        of_normal = by_normal * (v - bisector * normal)
        of_own = given - of_normal
        if UPPER:
            here, room = met == k + 2 * c, _room(at_own, tl.load(above + c).to(tl.float64), 0)
            by_room = tl.where(here, of_gauge / room, 0.0)
            of_v, of_own = of_v + by_room, of_own + by_room * gauge
            tl.atomic_add(of_upper + which * d + c, tl.sum(tl.where(counts, -by_room * gauge, 0.0)))
        if LOWER:
            here, room = met == k + 2 * c + 1, _room(at_own, tl.load(below + c).to(tl.float64), 1)
            by_room = tl.where(here, of_gauge / room, 0.0)
            of_v, of_own = of_v - by_room, of_own - by_room * gauge
            tl.atomic_add(of_lower + which * d + c, tl.sum(tl.where(counts, by_room * gauge, 0.0)))
        tl.atomic_add(sums + facing * d + c, of_normal, mask=counts & by_bisector)
        tl.atomic_add(sums + own * d + c, of_own - of_v, mask=counts)
        of_v = tl.where(_moved(point, WIDE), 0.0, of_v)
        tl.store(of_x + at * d + c, of_v.to(of_x.dtype.element_ty), mask=live)
