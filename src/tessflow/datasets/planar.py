"""Toy densities in the plane, with samples and the exact log-density of each.

Shapes and scales are those of the toy sets of FFJORD (Grathwohl et al., 2019), but the point on a curve is drawn
uniformly and independently where those take equally spaced ones, so that samples are independent and p(x) is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["planar_entropy", "planar_log_density", "planar_names", "sample_planar"]

Array = npt.NDArray[np.float64]

STEP = 0.04  # of the grid of `planar_entropy`; at most half of every standard deviation
PAIRS = 2**20  # pairs of a point and a node that are in memory at once


def planar_names() -> list[str]:
    """Name the densities in the plane.

    Example:
        >>> planar_names()[:4]
        ['eight_gaussians', 'two_spirals', 'checkerboard', 'pinwheel']
    """
    return list(_PLANAR)


def sample_planar(name: str, n: int, *, seed: int) -> Array:
    """Draw independent points from a density in the plane.

    Args:
        name: One of `planar_names()`.
        n: Number of points.
        seed: Seed of NumPy's default generator.

    Returns:
        Points of shape (n, 2).

    Raises:
        ValueError: If there is no such density or `n` is negative.

    Example:
        >>> sample_planar("checkerboard", 2, seed=0).round(2)
        array([[ 2.08,  2.03],
               [ 1.63, -2.17]])
    """
    density = _find(name)
    if n < 0:
        raise ValueError(f"n is {n}: it must not be negative")
    generator = np.random.default_rng(seed)
    points = density.latent(n, generator)
    return points + density.sigma * generator.standard_normal((n, 2)) if density.sigma else points


def planar_log_density(name: str, x: npt.ArrayLike) -> Array:
    """Evaluate the exact log-density in the plane, in nats.

    A noisy curve has p(x) = int N(x; c(t), sigma^2 I) p(t) dt. Circles have it in closed form; for the others it is
    a Gauss-Legendre sum with so many nodes that twice as many change log p by less than 1e-6 in [-6, 6]^2.

    Args:
        name: One of `planar_names()`.
        x: Points of shape (n, 2).

    Returns:
        log p(x) of shape (n,); minus infinity outside the squares of the checkerboard.

    Raises:
        ValueError: If there is no such density, or `x` has another shape or values that are not finite.

    Example:
        >>> planar_log_density("checkerboard", [[1.0, 1.0], [1.0, 3.0]])
        array([-3.4657359,       -inf])
    """
    density = _find(name)
    points = np.asarray(x, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"x must have the shape (n, 2), but has {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("x holds values that are not finite: remove their rows")
    rows = torch.from_numpy(points).split(max(1, PAIRS // density.nodes))
    return torch.cat([density.log_density(part) for part in rows]).numpy()


@cache
def planar_entropy(name: str) -> float:
    """Integrate -p log p over the plane, in nats.

    The sum over the midpoints of a grid of step 0.04 has an error below 1e-5: half the step changes it by less than
    1e-7, and beyond the grid there is a mass below 1e-7. The first call of a name takes up to some seconds.

    Args:
        name: One of `planar_names()`.

    Returns:
        The differential entropy; no model has a lower expected negative log-likelihood.

    Raises:
        ValueError: If there is no such density.

    Example:
        >>> round(planar_entropy("checkerboard"), 4), round(math.log(32), 4)
        (3.4657, 3.4657)
    """
    log_p = torch.from_numpy(planar_log_density(name, _grid(_find(name).reach, STEP)))
    return float(torch.special.entr(log_p.exp()).sum()) * STEP**2


def _grid(reach: float, step: float) -> Array:
    """Midpoints of the cells of a grid on [-reach, reach]^2, of shape (n, 2)."""
    ticks = np.arange(-reach + step / 2, reach, step)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


@cache
def _gauss_legendre(low: float, high: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and log-weights of the mean over an interval."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy(low + (high - low) * (node + 1) / 2), torch.from_numpy(np.log(weight / 2))


def _gaussians(x: Tensor, centres: Tensor, log_weights: Tensor, sigma: float) -> Tensor:
    """Log sum_k w_k N(x; c_k, sigma^2 I)."""
    squares = (x[:, None, 0] - centres[:, 0]) ** 2 + (x[:, None, 1] - centres[:, 1]) ** 2
    return torch.logsumexp(log_weights - squares / (2 * sigma**2), dim=1) - math.log(2 * math.pi * sigma**2)


# ---- eight Gaussians: standard deviation 0.5 on a circle of radius 4, all divided by 1.414

EIGHT_SIGMA = 0.5 / 1.414


@cache
def _eight_centres() -> Tensor:
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return 4 / 1.414 * torch.stack([angles.cos(), angles.sin()], dim=1)


def _draw_eight(n: int, generator: np.random.Generator) -> Array:
    return _eight_centres().numpy()[generator.integers(8, size=n)]


def _eight(x: Tensor) -> Tensor:
    return _gaussians(x, _eight_centres(), torch.full((8,), -math.log(8), dtype=torch.float64), EIGHT_SIGMA)


# ---- circles and rings: noisy circles about the origin, all as likely

CIRCLES, CIRCLES_SIGMA = (3.0, 1.5), 3 * 0.08
RINGS, RINGS_SIGMA = (3.0, 2.25, 1.5, 0.75), 0.08


def _draw_rings(n: int, generator: np.random.Generator, radii: tuple[float, ...]) -> Array:
    radius = np.array(radii)[generator.integers(len(radii), size=n)]
    angle = generator.uniform(0, 2 * np.pi, size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _rings(x: Tensor, radii: tuple[float, ...], sigma: float) -> Tensor:
    # With r = |x|, the mean of exp(-|x - c|^2 / 2 s^2) over a circle of radius R is
    # exp(-(r - R)^2 / 2 s^2) * exp(-k) I_0(k) with k = r R / s^2.
    radius, circle = torch.linalg.vector_norm(x, dim=1)[:, None], torch.tensor(radii, dtype=torch.float64)
    terms = torch.special.i0e(radius * circle / sigma**2).log() - (radius - circle) ** 2 / (2 * sigma**2)
    return torch.logsumexp(terms, dim=1) - math.log(len(radii) * 2 * math.pi * sigma**2)


# ---- moons: two noisy half circles, those of scikit-learn doubled and shifted by (-1, -0.2)

MOONS_SIGMA = 2 * 0.1


def _moon_points(angle: Array, lower: npt.NDArray[np.bool_]) -> Array:
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([2 * x - 1, 2 * y - 0.2], axis=1)


def _draw_moons(n: int, generator: np.random.Generator) -> Array:
    return _moon_points(generator.uniform(0, np.pi, size=n), generator.integers(2, size=n) == 1)


def _moons(x: Tensor, nodes: int = 256) -> Tensor:
    angle, log_weight = _gauss_legendre(0, math.pi, nodes)
    both = np.tile(angle.numpy(), 2), np.repeat([False, True], nodes)
    return _gaussians(x, torch.from_numpy(_moon_points(*both)), log_weight.repeat(2) - math.log(2), MOONS_SIGMA)


# ---- Swiss roll: the noisy spiral t (cos t, sin t) with t uniform in [1.5 pi, 4.5 pi], all divided by 5

ROLL, ROLL_SIGMA = (1.5 * math.pi, 4.5 * math.pi), 1 / 5


def _draw_roll(n: int, generator: np.random.Generator) -> Array:
    t = generator.uniform(*ROLL, size=n)
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 5


def _roll(x: Tensor, nodes: int = 512) -> Tensor:
    t, log_weight = _gauss_legendre(*ROLL, nodes)
    return _gaussians(x, torch.stack([t * t.cos(), t * t.sin()], dim=1) / 5, log_weight, ROLL_SIGMA)


# ---- two spirals: +-(t (-cos t, sin t) + uniform noise in [0, 0.5]^2) / 3 + N(0, 0.1^2 I), t / 3 pi the root of a
# uniform number

SPIRALS_END, SPIRALS_BOX, SPIRALS_SIGMA = 3 * math.pi, 0.5 / 3, 0.1


def _draw_spirals(n: int, generator: np.random.Generator) -> Array:
    t = SPIRALS_END * np.sqrt(generator.uniform(size=n))
    arm = np.stack([-t * np.cos(t), t * np.sin(t)], axis=1) / 3 + SPIRALS_BOX * generator.uniform(size=(n, 2))
    return arm * generator.choice([-1.0, 1.0], size=(n, 1))


def _spirals(x: Tensor, nodes: int = 512) -> Tensor:
    # Given t, a coordinate is uniform noise plus Gaussian noise, whose density is a difference of two Gaussian
    # distribution functions over the width of the box; t has the density 2 t / (3 pi)^2. Nodes whose share of p(x) is
    # below exp(-40), by bounds from their distance and the box's half diagonal, are left out.
    t, log_weight = _gauss_legendre(0, SPIRALS_END, nodes)
    arm = torch.stack([-t * t.cos(), t * t.sin()], dim=1) / 3 + SPIRALS_BOX / 2
    centres = torch.cat([arm, -arm])
    log_weights = (log_weight + (2 * t / SPIRALS_END).log()).repeat(2) - math.log(2 * SPIRALS_BOX**2)
    distance, half_diagonal = torch.cdist(x, centres), SPIRALS_BOX / math.sqrt(2)
    farthest = ((distance.amin(1, keepdim=True) + half_diagonal) ** 2 + 80 * SPIRALS_SIGMA**2).sqrt() + half_diagonal
    row, node = (distance <= farthest).nonzero(as_tuple=True)
    terms = torch.full_like(distance, -math.inf)
    terms[row, node] = log_weights[node] + _log_interval(x[row] - centres[node]).sum(dim=1)
    return torch.logsumexp(terms, dim=1)


def _log_interval(offset: Tensor) -> Tensor:
    """Log P(|sigma z - offset| < box / 2) for z ~ N(0, 1), in the tail where nothing cancels."""
    near, far = (-(offset.abs() + shift) / SPIRALS_SIGMA for shift in (-SPIRALS_BOX / 2, SPIRALS_BOX / 2))
    upper = torch.special.log_ndtr(near)
    return upper + torch.log1p(-(torch.special.log_ndtr(far) - upper).exp())


# ---- pinwheel: 2 R(-angle) f with f ~ N((1, 0), diag(0.3, 0.1)^2) and angle = 2 pi k / 5 + 0.25 exp(f_1)

ARMS, RADIAL, TANGENTIAL, RATE = 5, 0.3, 0.1, 0.25
PINWHEEL_GRID = 256


def _draw_pinwheel(n: int, generator: np.random.Generator) -> Array:
    f = np.array([1.0, 0.0]) + np.array([RADIAL, TANGENTIAL]) * generator.standard_normal((n, 2))
    angle = 2 * np.pi / ARMS * generator.integers(ARMS, size=n) + RATE * np.exp(f[:, 0])
    x = f[:, 0] * np.cos(angle) + f[:, 1] * np.sin(angle)
    y = f[:, 1] * np.cos(angle) - f[:, 0] * np.sin(angle)
    return 2 * np.stack([x, y], axis=1)


def _pinwheel(x: Tensor, nodes: int = PINWHEEL_GRID) -> Tensor:
    # A preimage of x in arm k is a root of h(f_1) = f_1 - (R(angle) x / 2)_1; then f_2 = (R(angle) x / 2)_2, and the
    # determinant of f -> x is 4 h'(f_1) with h' = 1 + f_2 d angle / d f_1. p(x) is the sum over roots, which are
    # bisected in the cells of a grid of twelve standard deviations to either side, parted where h' changes sign if the
    # bound |h''| <= |x / 2| (angle'^2 + angle'') lets h vanish there.
    y, offsets = x / 2, 2 * math.pi / ARMS * torch.arange(ARMS, dtype=torch.float64)

    def turned(f1: Tensor, offset: Tensor, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        growth = RATE * f1.exp()
        cosine, sine = (offset + growth).cos(), (offset + growth).sin()
        f2 = y1 * sine + y2 * cosine
        return f1 - (y1 * cosine - y2 * sine), 1 + f2 * growth, f2  # h, h', f_2

    def at(row: Tensor, arm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return offsets[arm], y[row, 0], y[row, 1]

    grid = torch.linspace(1 - 12 * RADIAL, 1 + 12 * RADIAL, nodes, dtype=torch.float64)
    h, slope, _ = turned(grid, offsets[:, None], y[:, 0, None, None], y[:, 1, None, None])
    turns, crosses = ((part[..., :-1] > 0) != (part[..., 1:] > 0) for part in (slope, h))
    growth = RATE * grid[1:].exp()
    bend = torch.linalg.vector_norm(y, dim=1)[:, None, None] * (growth**2 + growth) * (grid[1] - grid[0]) ** 2 / 2
    turns &= crosses | (torch.minimum(h[..., :-1].abs(), h[..., 1:].abs()) <= bend)
    row, arm, cell = (crosses & ~turns).nonzero(as_tuple=True)
    turn_row, turn_arm, turn_cell = turns.nonzero(as_tuple=True)
    turn = _bisect(lambda f1: turned(f1, *at(turn_row, turn_arm))[1], grid[turn_cell], grid[turn_cell + 1])
    row, arm = torch.cat([row, turn_row, turn_row]), torch.cat([arm, turn_arm, turn_arm])
    low, high = torch.cat([grid[cell], grid[turn_cell], turn]), torch.cat([grid[cell + 1], turn, grid[turn_cell + 1]])
    root = (turned(low, *at(row, arm))[0] > 0) != (turned(high, *at(row, arm))[0] > 0)
    row, arm, low, high = row[root], arm[root], low[root], high[root]
    f1 = _bisect(lambda f1: turned(f1, *at(row, arm))[0], low, high)
    _, slopes, f2 = turned(f1, *at(row, arm))
    log_p = -(((f1 - 1) / RADIAL) ** 2 + (f2 / TANGENTIAL) ** 2) / 2 - slopes.abs().log()
    peak = torch.full((len(x),), -math.inf, dtype=torch.float64).scatter_reduce(0, row, log_p, "amax")
    total = torch.zeros(len(x), dtype=torch.float64).index_add(0, row, (log_p - peak[row]).exp())
    return peak + total.log() - math.log(ARMS * 4 * 2 * math.pi * RADIAL * TANGENTIAL)


def _bisect(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where f, elementwise, changes its sign between low and high."""
    rising = f(high) > 0
    for _ in range(48):
        middle = (low + high) / 2
        beyond = (f(middle) > 0) == rising
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return (low + high) / 2


# ---- checkerboard: uniform on the 8 squares of side 2 of [-4, 4]^2 whose place is even


def _draw_checkerboard(n: int, generator: np.random.Generator) -> Array:
    column, row = generator.integers(4, size=n), 2 * generator.integers(2, size=n)
    corner = np.stack([column, row + column % 2], axis=1)
    return 2 * (corner + generator.uniform(size=(n, 2))) - 4


def _checkerboard(x: Tensor) -> Tensor:
    place = torch.floor(x / 2)
    inside = ((place >= -2) & (place < 2)).all(dim=1) & (place.sum(dim=1) % 2 == 0)
    return torch.where(inside, 0.0, -math.inf).to(torch.float64) - math.log(32)


@dataclass(frozen=True)
class _Density:
    latent: Callable[[int, np.random.Generator], Array]  # points before the Gaussian noise of deviation sigma
    log_density: Callable[[Tensor], Tensor]
    sigma: float
    reach: float  # beyond [-reach, reach]^2 there is a mass below 1e-7
    nodes: int = 1  # intermediate values a point, to bound memory


_PLANAR = {
    "eight_gaussians": _Density(_draw_eight, _eight, EIGHT_SIGMA, reach=5.0, nodes=8),
    "two_spirals": _Density(_draw_spirals, _spirals, SPIRALS_SIGMA, reach=4.0, nodes=1024),
    "checkerboard": _Density(_draw_checkerboard, _checkerboard, 0, reach=4.0),
    "pinwheel": _Density(_draw_pinwheel, _pinwheel, 0, reach=5.4, nodes=ARMS * PINWHEEL_GRID),
    "rings": _Density(
        lambda n, generator: _draw_rings(n, generator, RINGS),
        lambda x: _rings(x, RINGS, RINGS_SIGMA),
        RINGS_SIGMA,
        reach=3.6,
    ),
    "moons": _Density(_draw_moons, _moons, MOONS_SIGMA, reach=4.4, nodes=512),
    "swiss_roll": _Density(_draw_roll, _roll, ROLL_SIGMA, reach=4.2, nodes=512),
    "circles": _Density(
        lambda n, generator: _draw_rings(n, generator, CIRCLES),
        lambda x: _rings(x, CIRCLES, CIRCLES_SIGMA),
        CIRCLES_SIGMA,
        reach=4.4,
    ),
}


def _find(name: str) -> _Density:
    if name not in _PLANAR:
        raise ValueError(f"there is no density '{name}' in the plane: choose one of {', '.join(_PLANAR)}")
    return _PLANAR[name]
