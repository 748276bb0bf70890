"""What rows say of a column of numbers or times: its grid and atoms, its scale, and whether 0 is a bound."""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessflow.tables.atoms import frequent
from tessflow.tables.grid import EXACT_STEPS, Grid
from tessflow.tables.scales import gathered, quantile_scale, score_of, standard_scale
from tessflow.tables.tally import Tally
from tessflow.tables.values import TableWarning

__all__ = ["Scale", "Scaling", "are_names", "has_floor", "read_grid", "read_scale", "warn_if_off"]

Scaling: TypeAlias = Literal["quantile", "standard"]

ENOUGH, BELOW = 100, 1e-3
"""Numbers without a negative one that make 0 a bound, if more than this share of the smooth part would be below."""

ALLOWED_OFF = 1e-3
"""Share of the rows that may be off the grid."""

SOME = 20
"""Rows from which on it is worth a warning that they are."""


class Scale(NamedTuple):
    """The scale of a column's numbers: knots, ascending, and their scores; and whether all rows held atoms."""

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    closed: bool


def read_grid(tally: Tally, *, most: int) -> tuple[Grid, list[int | float]]:
    """Return of what numbers are multiples, and which are atoms, at most so many; both in the units of the tally.

    Example:
        >>> import pandas as pd
        >>> tally = Tally("guests")
        >>> tally.add(pd.Series([0.0, 1.0, 2.0] * 10))
        >>> grid, atoms = read_grid(tally, most=64)
        >>> grid.resolution, atoms
        (1.0, [0, 1, 2])
    """
    grid = Grid(tally.resolution(ALLOWED_OFF))
    steps, counts = gathered(grid.count(tally.numbers[0]), tally.numbers[1])
    found = frequent(steps, counts, tally.rows * tally.share, whole=grid.resolution > 0, most=most)
    return grid, [*tally.exactly(grid.value(steps[found])), *sorted(tally.infinities)]


def read_scale(
    numbers: NDArray[np.float64],
    counts: NDArray[Any],
    atoms: NDArray[np.float64],
    *,
    scaling: Scaling,
    whole: bool,
) -> Scale:
    """Return the scale of encoded numbers, as far as they are no atoms; of the atoms, if too few others came.

    Args:
        numbers: Finite numbers, shape ``(n,)``.
        counts: How many rows hold each, or their weight, shape ``(n,)``.
        atoms: The atoms, encoded.
        scaling: "quantile" or "standard".
        whole: Whether the numbers are whole.

    Example:
        >>> read_scale(np.array([0.0, 4.0]), np.array([5, 5]), np.array([0.0, 4.0]), scaling="standard", whole=True)
        Scale(knots=(0.0, 4.0), scores=(-1.0, 1.0), closed=True)
    """
    numbers, counts = gathered(numbers, counts)
    is_number = ~np.isin(numbers, atoms)
    if is_number.sum() > 1:  # else atoms give the size
        numbers, counts = numbers[is_number], counts[is_number]
    if not len(numbers):
        numbers, counts = np.array([0.0]), np.array([1])
    make = quantile_scale if scaling == "quantile" else standard_scale
    knots, scores = make(numbers, counts, whole=whole)
    return Scale(knots, scores, closed=len(atoms) > 0 and not is_number.any())


def has_floor(tally: Tally, floor: float, knots: tuple[float, ...], scores: tuple[float, ...]) -> bool:
    """Return whether 0 is the minimum: no number is negative, and many would be, those encoded below the floor."""
    if tally.counted < ENOUGH or tally.low < 0 or -math.inf in tally.infinities:
        return False
    return NormalDist().cdf(score_of(floor, knots, scores)) > BELOW


def are_names(tally: Tally, resolution: float) -> bool:
    """Return whether each row has another number, and they count through or have 16 digits, as names of rows do.

    Example:
        >>> import pandas as pd
        >>> tally = Tally("id")
        >>> tally.add(pd.Series([7, 9, 8]))
        >>> are_names(tally, 1.0)
        True
    """
    distinct = len(tally.numbers[0]) == tally.rows and tally.is_exact
    in_a_row = resolution == 1 and tally.high - tally.low == tally.rows - 1
    return distinct and tally.family == "numbers" and (in_a_row or tally.low >= EXACT_STEPS)


def warn_if_off(tally: Tally, grid: Grid, shown: float) -> None:
    """Warn if more than a few rows are no multiples of the grid's resolution, which is shown in a column's units."""
    values, counts = tally.numbers
    if not grid.resolution or counts.sum() < SOME:
        return
    epsilon = np.finfo(np.float32 if "float32" in tally.dtype.lower() else np.float64).eps
    share = counts[grid.is_off(values, float(epsilon))].sum() / counts.sum()
    if share > 10 * ALLOWED_OFF:
        warnings.warn(
            f"column {tally.name!r} has {share:.0%} of its values that are no multiples of its resolution "
            f"{shown:g}: each is scored as the step it is in",
            TableWarning,
            stacklevel=2,
        )
