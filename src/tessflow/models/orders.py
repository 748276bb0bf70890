"""The orders over which a model of any order averages."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["average_over", "orders_of"]

# NumPy promises that its old generator draws the same for ever: the likelihoods of a saved model stay what they are.
SEED = 0


def average_over(variables: int) -> int:
    """Return over how many orders a model averages by default: 8 up to 16 variables, fewer beyond.

    Example:
        >>> [average_over(variables) for variables in (5, 16, 27, 64, 500)]
        [8, 8, 4, 2, 1]
    """
    return max(1, min(8, 128 // variables))


def orders_of(variables: int, count: int) -> list[list[int]]:
    """Return orders of variables, always the same: the natural one, its reverse, and random ones with their reverses.

    What one order predicts from much, its reverse predicts from little: two that are opposite make a better mean than
    any other two.

    Args:
        variables: How many variables there are.
        count: How many orders; of few variables there are fewer.

    Returns:
        At most ``count`` distinct permutations. Those of a smaller count come first among those of a larger one.

    Example:
        >>> orders_of(3, 2)
        [[0, 1, 2], [2, 1, 0]]
        >>> len(orders_of(3, 100))  # 3!
        6
    """
    generator = np.random.RandomState(SEED)
    found: list[list[int]] = []
    order = list(range(variables))
    most = min(count, math.factorial(min(variables, 20)))
    while len(found) < most:
        found += [new for new in (order, order[::-1]) if new not in found]
        order = generator.permutation(variables).tolist()
    return found[:most]
