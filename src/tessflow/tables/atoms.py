"""Which numbers of a column have a probability of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["frequent"]

SPIKE, OFTEN = 0.05, 10
"""Share of the rows, and multiple of the median frequency, that make any number an atom."""

FEW, REPEATS = 20, 10
"""Numbers are all atoms if there are so few, each so often on average, but for one far from those that came twice."""

HEAP, SHARE, ROWS, AROUND = 5.0, 0.005, 10, 5
"""On a grid, a number is an atom if it comes so many times as often as a step around it: as the steps do between so
many of the numbers seen on either side of it. It has at least this share of the rows, and so many of them."""


def frequent(
    values: NDArray[np.float64], counts: NDArray[Any], rows: float, *, whole: bool, most: int
) -> NDArray[np.bool_]:
    """Return which of some distinct numbers come again and again.

    Args:
        values: Distinct finite numbers, ascending; in steps, if they are whole.
        counts: How many rows hold each, or their weight.
        rows: How many rows there are, those with missing values included.
        whole: Whether they are whole.
        most: How many to return at most: those that stand out most.

    Returns:
        Which, boolean, of the shape of ``values``.

    Example:
        >>> tens = np.arange(0.0, 500.0, 10)
        >>> bool(frequent(tens, np.full(50, 40), 2000, whole=True, most=64).all())
        True
        >>> bool(frequent(np.arange(50.0), np.full(50, 40), 2000, whole=True, most=64).any())
        False
    """
    if not len(values):
        return np.zeros(0, bool)
    if len(values) <= min(FEW, most) and counts.sum() >= REPEATS * len(values):
        return _near(values, counts >= 2)
    expected = np.full(len(values), np.median(counts), np.float64)
    found = (counts >= SPIKE * rows) & (counts >= OFTEN * np.median(counts))
    if whole and len(values) > 2:
        around = _around(values, counts)
        heaps = (counts >= HEAP * around) & (counts >= max(SHARE * rows, ROWS))
        expected = np.where(heaps, np.maximum(around, 1e-9), expected)
        found |= heaps
    if found.sum() > most:
        evidence = np.where(found, counts * np.log(counts / expected), -np.inf)
        found = np.zeros_like(found)
        found[np.argsort(-evidence, kind="stable")[:most]] = True
    return found


def _near(values: NDArray[np.float64], twice: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which numbers came twice, or are no farther from those than they from each other, or a step."""
    if not twice.any():
        return twice
    low, high = values[twice][0], values[twice][-1]
    with np.errstate(over="ignore"):
        reach = max(high - low, 1.0)
        return (values >= low - reach) & (values <= high + reach)


def _around(values: NDArray[np.float64], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return how many rows a step has around each number, but for the number itself."""
    place = np.arange(len(values))
    first, last = np.maximum(place - AROUND, 0), np.minimum(place + AROUND, len(values) - 1)
    total = np.concatenate([[0], np.cumsum(counts)])
    others = total[last + 1] - total[first] - counts
    with np.errstate(over="ignore"):
        return others / np.maximum(values[last] - values[first], 1)
