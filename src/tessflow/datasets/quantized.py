"""Probability tables over the cells of a square: the quantized data in the plane of the paper, known exactly.

Two are densities rounded to a grid, as in Chen, Amos & Nickel (2022, Fig. 4); the others are uniform over a few cells.
Their two coordinates are two categorical variables of K values each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from tessflow.datasets.planar import ARMS, RADIAL, RATE, TANGENTIAL

__all__ = ["quantized_entropy", "quantized_independent_nats", "quantized_names", "quantized_pmf", "sample_quantized"]

Array = npt.NDArray[np.float64]

# A coordinate x becomes the value clip(round(10 x) + 45, 0, 90): what lies beyond the walls is in the outermost bins.
BINS = 91
WALLS = (np.arange(BINS - 1) + 0.5 - 45) / 10

RADIUS, SIGMA = 4.0, 0.2  # of the eight Gaussians

# Nodes of a midpoint rule: with eight times as many no probability changes by more than 7e-7, the entropy by 1e-7.
NODES = 2**15


def quantized_names() -> list[str]:
    """Name the probability tables.

    Example:
        >>> quantized_names()
        ['eight_gaussians', 'pinwheel', 'cluster3', 'cluster10', 'diagonal28', 'cross10']
    """
    return list(_TABLES)


def quantized_pmf(name: str) -> Array:
    """Return the probability of every cell.

    Args:
        name: One of `quantized_names()`.

    Returns:
        Probabilities of shape (K, K), which sum to 1; the first index is the first coordinate.

    Raises:
        ValueError: If there is no such table.

    Example:
        >>> quantized_pmf("cluster3")
        array([[0.  , 0.25, 0.  ],
               [0.25, 0.  , 0.25],
               [0.  , 0.25, 0.  ]])
    """
    return _pmf(name).copy()


def quantized_entropy(name: str) -> float:
    """Return the entropy, in nats: no model has a lower expected negative log-likelihood.

    Args:
        name: One of `quantized_names()`.

    Raises:
        ValueError: If there is no such table.

    Example:
        >>> round(quantized_entropy("eight_gaussians"), 3), round(quantized_entropy("pinwheel"), 3)
        (6.32, 6.942)
    """
    return _entropy(_pmf(name))


def quantized_independent_nats(name: str) -> float:
    """Return the sum of the entropies of the two coordinates, in nats: the best that independent columns can do.

    Args:
        name: One of `quantized_names()`.

    Raises:
        ValueError: If there is no such table.

    Example:
        >>> round(quantized_independent_nats("eight_gaussians"), 3), round(quantized_independent_nats("pinwheel"), 3)
        (7.352, 7.861)
    """
    pmf = _pmf(name)
    return _entropy(pmf.sum(0)) + _entropy(pmf.sum(1))


def sample_quantized(name: str, n: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Draw independent cells.

    Args:
        name: One of `quantized_names()`.
        n: Number of cells.
        seed: Seed of NumPy's default generator.

    Returns:
        Pairs of values 0, ..., K - 1, of shape (n, 2).

    Raises:
        ValueError: If there is no such table or `n` is negative.

    Example:
        >>> sample_quantized("diagonal28", 3, seed=0)
        array([[17, 17],
               [ 7,  7],
               [ 1,  1]])
    """
    pmf = _pmf(name)
    if n < 0:
        raise ValueError(f"n is {n}: it must not be negative")
    cells = np.random.default_rng(seed).choice(pmf.size, size=n, p=pmf.ravel())
    return np.stack(np.unravel_index(cells, pmf.shape), axis=1)


@cache
def _pmf(name: str) -> Array:
    if name not in _TABLES:
        raise ValueError(f"there is no quantized data set '{name}': choose one of {', '.join(_TABLES)}")
    pmf = _TABLES[name]()
    return pmf / pmf.sum()


def _entropy(pmf: Array) -> float:
    return float(torch.special.entr(torch.from_numpy(pmf)).sum())


def _ndtr(x: Array) -> Array:
    return torch.special.ndtr(torch.from_numpy(x)).numpy()


def _eight_gaussians() -> Array:
    angle = np.arange(8) * np.pi / 4
    x, y = (
        np.diff(_ndtr((WALLS - centre[:, None]) / SIGMA), prepend=0, append=1)
        for centre in (RADIUS * np.cos(angle), RADIUS * np.sin(angle))
    )
    return np.einsum("gi,gj->ij", x, y) / 8


def _pinwheel(nodes: int = NODES) -> Array:
    # A point is 2 R(-angle) f, and angle depends on f_1 only. Given f_1 and the arm, it lies on a line, on which f_2 is
    # normal: a bin has the probability between where the line enters and leaves it. What is left is the mean over f_1,
    # by a midpoint rule over eight standard deviations to either side.
    pmf = np.zeros(BINS * BINS)
    for z in np.array_split(16 * (np.arange(nodes) + 0.5) / nodes - 8, nodes // 256):
        f1, weight = 1 + RADIAL * z, np.exp(-(z**2) / 2)
        for arm in range(ARMS):
            angle = 2 * np.pi * arm / ARMS + RATE * np.exp(f1)
            start = 2 * np.stack([f1 * np.cos(angle), -f1 * np.sin(angle)], axis=1)
            step = 2 * TANGENTIAL * np.stack([np.sin(angle), np.cos(angle)], axis=1)
            crossings = ((WALLS - start[..., None]) / step[..., None]).reshape(len(z), -1)
            ends = np.sort(np.clip(crossings, -9, 9), axis=1)
            ends = np.pad(ends, ((0, 0), (1, 1)), constant_values=((0, 0), (-9, 9)))
            middle = (ends[:, :-1] + ends[:, 1:]) / 2
            x, y = (np.searchsorted(WALLS, start[:, d, None] + step[:, d, None] * middle) for d in (0, 1))
            pmf += np.bincount((BINS * x + y).ravel(), (weight[:, None] * np.diff(_ndtr(ends))).ravel(), BINS**2)
    return pmf.reshape(BINS, BINS)


def _cluster3() -> Array:
    # The four neighbours of the middle.
    return np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def _cluster10() -> Array:
    # The four neighbours of each of the cells (2, 2), (2, 7), (7, 2), (7, 7).
    return np.tile(np.pad(_cluster3(), 1), (2, 2))


def _diagonal28() -> Array:
    return np.eye(28)


def _cross10() -> Array:
    # Both diagonals.
    return np.eye(10) + np.eye(10)[::-1]


_TABLES: dict[str, Callable[[], Array]] = {
    "eight_gaussians": _eight_gaussians,
    "pinwheel": _pinwheel,
    "cluster3": _cluster3,
    "cluster10": _cluster10,
    "diagonal28": _diagonal28,
    "cross10": _cross10,
}
