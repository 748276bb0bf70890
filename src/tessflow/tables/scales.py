"""The scale of a column of numbers: knots and their scores, read off the rows."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gathered", "quantile_scale", "score_of", "standard_scale"]

INTERIOR = 64
"""Most evenly spaced quantiles."""

BACKING = 10
"""Rows behind each segment between them."""

TAIL = 5
"""Rows beyond the outermost knot."""

LARGEST, SMALLEST = 1e300, 1e-300
"""What knots are clipped to, and how far apart they are at least: within, no slope overflows."""


def gathered(numbers: NDArray[np.float64], counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return distinct numbers, ascending, and how often each comes.

    Example:
        >>> gathered(np.array([3.0, 1.0, 3.0]), np.array([2, 5, 1]))
        (array([1., 3.]), array([5, 3]))
    """
    distinct, place = np.unique(numbers, return_inverse=True)
    return distinct, np.bincount(place, counts, len(distinct)).astype(counts.dtype)


def quantile_scale(
    values: NDArray[np.float64], counts: NDArray[Any], *, whole: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Map quantiles to those of the standard normal distribution.

    A knot at value v has the score Phi^-1((r - 1/2) / n), where r is the mean rank of v among n rows. Knots of
    whole numbers lie half-way between them, where the rank is the number of rows below, so that the mass of a
    number between two knots is its share of the rows. Quantiles are evenly spaced in probability; the outermost
    is followed by 1/2, 1/4, ... of its probability, as long as five rows lie beyond.

    Args:
        values: Distinct finite numbers, ascending.
        counts: Number of rows of each, or their weight.
        whole: Whether the numbers are whole.

    Returns:
        Knots and scores, both strictly ascending; those of `standard_scale` if there are too few rows.

    Example:
        >>> knots, scores = quantile_scale(np.arange(1001.0), np.ones(1001, int), whole=False)
        >>> len(knots), round(knots[0]), round(scores[0], 2)
        (66, 7, -2.43)
    """
    total = float(counts.sum())
    below = np.cumsum(counts) - counts
    if whole:
        places = np.floor(values[:-1] / 2 + values[1:] / 2) + 0.5
        ranks = below[1:] / total
    else:
        places, ranks = values, (below + counts / 2) / total
    interior = min(INTERIOR, int(total // BACKING))
    if interior < 2 or len(places) < 2:
        return standard_scale(values, counts, whole=whole)
    targets = np.arange(1, interior + 1) / (interior + 1)
    halvings = targets[0] / 2.0 ** np.arange(1, 64)
    tail = halvings[halvings * total >= TAIL]
    targets = np.concatenate([tail[::-1], targets, 1 - tail])
    right = np.clip(np.searchsorted(ranks, targets), 1, len(ranks) - 1)
    nearest = np.where(targets - ranks[right - 1] < ranks[right] - targets, right - 1, right)
    chosen = np.unique(nearest)
    first, last = int(chosen[0] == 0), int(chosen[-1] == len(ranks) - 1)
    places, ranks = places[chosen], ranks[chosen]
    if whole:  # the outermost numbers end where no row is
        edge = 0.5 / total
        places = np.concatenate([[values[0] - 0.5][:first], places, [values[-1] + 0.5][:last]])
        ranks = np.concatenate([[edge][:first], ranks, [1 - edge][:last]])
    places = np.clip(places, -LARGEST, LARGEST)
    knots, scores = [places[0]], [ranks[0]]
    for place, rank in zip(places[1:], ranks[1:], strict=True):
        if place - knots[-1] >= SMALLEST:
            knots.append(place)
            scores.append(rank)
    if len(knots) < 2:
        return standard_scale(values, counts, whole=whole)
    inverse = NormalDist().inv_cdf
    return tuple(float(knot) for knot in knots), tuple(inverse(float(score)) for score in scores)


def standard_scale(
    values: NDArray[np.float64], counts: NDArray[Any], *, whole: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Map the mean less and plus one standard deviation to -1 and 1; see `quantile_scale`.

    Where the deviation vanishes, 1 takes its place in whole numbers, and the size of the mean (or 1) in others.

    Example:
        >>> standard_scale(np.array([1.0, 3.0]), np.array([5, 5]), whole=False)
        ((1.0, 3.0), (-1.0, 1.0))
    """
    weights = counts / counts.sum()
    shift = float(values[len(values) // 2])
    halves = values / 2 - shift / 2  # exact far from zero, and never overflowing
    size = float(np.abs(halves).max()) or 1.0
    halves = halves / size
    half = float(weights @ halves)
    mean = shift + 2 * (half * size)
    scale = 2 * (float(np.sqrt(weights @ (halves - half) ** 2)) * size)
    if scale == 0:
        scale = 1.0 if whole else abs(mean) or 1.0
    scale = max(scale, math.ulp(mean), SMALLEST, 0.5 if whole else 0)
    low, high = (float(np.clip(mean + side * scale, -LARGEST, LARGEST)) for side in (-1, 1))
    if high - low < SMALLEST:
        low, high = sorted((low * (1 - 1e-9), high * (1 + 1e-9)))
    return (low, high), (-1.0, 1.0)


def score_of(value: float, knots: tuple[float, ...], scores: tuple[float, ...]) -> float:
    """Return the score of a value, beyond the outermost knots in a straight line.

    Example:
        >>> score_of(5.0, (1.0, 3.0), (-1.0, 1.0)), score_of(0.0, (1.0, 3.0), (-1.0, 1.0))
        (3.0, -2.0)
    """
    if knots[0] <= value <= knots[-1]:
        return float(np.interp(value, knots, scores))
    end, inner = (0, 1) if value < knots[0] else (-1, -2)
    return scores[end] + (value - knots[end]) * (scores[inner] - scores[end]) / (knots[inner] - knots[end])
