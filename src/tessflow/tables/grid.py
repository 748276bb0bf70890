"""Multiples of a resolution, counted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT_STEPS", "Grid"]

NOISE = 5e-7
"""How far off the grid a number may lie, in steps, beside four units of its last place; 3.000001 is off that of 1."""

EXACT_STEPS = 2.0**53
"""Whole numbers below it are told apart by a float64."""


class Grid:
    """Multiples of a resolution, counted; with resolution 0 all real numbers.

    Example:
        >>> Grid(0.1).count(np.array([0.1 + 0.2])), Grid(0.1).value(np.array([3.0]))
        (array([3.]), array([0.3]))
    """

    def __init__(self, resolution: float) -> None:
        self.resolution = resolution
        steps = round(1 / resolution) if 0 < resolution < 1 else 0
        self._steps = steps if steps and math.isclose(steps * resolution, 1, rel_tol=1e-9) else 0  # in 1: 0.1 is 1 / 10

    def steps(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in steps, not rounded; the values themselves with resolution 0."""
        if not self.resolution:
            return values
        with np.errstate(over="ignore"):
            return values * self._steps if self._steps else values / self.resolution

    def count(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest whole number of steps, none beyond float64; the values themselves with resolution 0."""
        if not self.resolution:
            return values
        steps = np.rint(self.steps(values)) + 0.0  # which turns -0 into 0
        most = np.finfo(np.float64).max
        return np.where(np.isinf(values), steps, np.clip(steps, -most, most))

    def value(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of counts."""
        if not self.resolution:
            return counts
        with np.errstate(over="ignore"):
            return counts / self._steps if self._steps else counts * self.resolution

    def covered(self, least: float, most: float) -> tuple[float, float]:
        """Return a range of values as one of counts, which are halves: each count covers half a step on either side.

        Example:
            >>> Grid(0.1).covered(0.25, 0.7), Grid(0).covered(0.25, 0.7)
            ((2.5, 7.5), (0.25, 0.7))
        """
        if not self.resolution:
            return least, most
        steps = self.steps(np.array([least, most]))
        return float(np.ceil(steps[0] - NOISE) - 0.5), float(np.floor(steps[1] + NOISE) + 0.5)

    def extremes(self, low: float, high: float) -> tuple[float, float]:
        """Return the least and the largest value in a range of counts as :meth:`covered` gives it.

        Example:
            >>> Grid(0.1).extremes(2.5, 7.5)
            (0.3, 0.7)
        """
        half = 0.5 if self.resolution else 0.0
        least, most = self.value(np.array([low + half, high - half]))
        return float(least), float(most)

    def is_off(self, values: NDArray[np.float64], epsilon: float) -> NDArray[np.bool_]:
        """Return which finite values are no multiples, but for rounding at a relative precision."""
        finite = np.where(np.isfinite(values), values, 0)
        off = np.abs(self.value(self.count(finite)) - finite)
        return off > NOISE * self.resolution + 4 * epsilon * np.abs(finite)

    def is_undecided(self, values: NDArray[np.float64], epsilon: float) -> NDArray[np.bool_]:
        """Return which values are so large that a step is less than their precision."""
        return ~(np.abs(self.steps(values)) < 1 / (8 * epsilon))
