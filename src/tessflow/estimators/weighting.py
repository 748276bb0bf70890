"""Weights of rows: what is taken for them, and how they are shared between training and validation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessflow.estimators.base import split_places, take_rows
from tessflow.tables.frames import as_frame

__all__ = ["Part", "checked_weights", "shared_weights", "split_table"]

# No weight is larger: sums are exact enough, and never overflow.
_LARGEST = 1e15

# All rows are divided into as many parts at most: NumPy draws from less than 10^9.
_PARTS = 5 * 10**8


class Part(NamedTuple):
    """Some rows of a table, and how many rows each counts as, shape ``(rows,)``; 1 if None."""

    table: Any
    weights: NDArray[np.float64] | None = None


def split_table(table: Any, sample_weight: Any, fraction: float | None, seed: int) -> tuple[Part, Part | None]:
    """Split a table at random into rows to train on and rows to validate on.

    Args:
        table: See `as_frame`.
        sample_weight: See `checked_weights`; None: each row counts once.
        fraction: The share of rows to validate on; None for none.
        seed: Of the choice.

    Raises:
        TypeError: If it is no table.
        ValueError: If it is none, or the weights are not as they have to be.

    Example:
        >>> train, validation = split_table([["a"], ["b"], ["c"]], [2, 0, 1], 0.3, seed=0)
        >>> train, validation
        (Part(table=[['a'], ['c']], weights=array([1., 1.])), Part(table=[['a']], weights=array([1.])))
    """
    frame, array_dtype = as_frame(table)
    table, weights, rows = frame if array_dtype is None else table, None, len(frame)
    if sample_weight is not None:
        weights = checked_weights(sample_weight, rows)
        table, weights = take_rows(table, np.flatnonzero(weights)), weights[weights > 0]
        rows, weights = len(weights), None if (weights == 1).all() else weights
    if fraction is None:
        return Part(table, weights), None
    if weights is None:
        kept, aside = split_places(rows, fraction, seed)
        return Part(take_rows(table, kept)), Part(take_rows(table, aside))
    train, validation = (
        Part(take_rows(table, np.flatnonzero(share)), share[share > 0])
        for share in shared_weights(weights, fraction, seed)
    )
    return train, validation


def checked_weights(sample_weight: Any, rows: int) -> NDArray[np.float64]:
    """Return weights as numbers of rows: scaled up so that their mean over the rows that have some is at least 1.

    Args:
        sample_weight: One number a row.
        rows: How many rows there are.

    Returns:
        Array of shape ``(rows,)``, a copy.

    Raises:
        ValueError: If they are not one a row, or one is negative or not finite, or all are zero.

    Example:
        >>> checked_weights([3, 0, 1], 3), checked_weights([0.1, 0.0, 0.3], 3)
        (array([3., 0., 1.]), array([0.5, 0. , 1.5]))
    """
    try:
        weights = np.asarray(sample_weight)
        if weights.dtype.kind == "c":
            raise TypeError("complex numbers are no weights")
        weights = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight is one number a row ({error})") from error
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight has shape {weights.shape} for {rows} rows: give one number a row")
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"sample_weight is {weights[row]} in row {row} (counted from 0): weights are finite and not negative"
        )
    if not weights.any():
        raise ValueError("sample_weight is zero in every row: give at least one row a weight above zero")
    weights = weights * min(1.0, _LARGEST / float(weights.max()))
    return weights / min(1.0, float(weights[weights > 0].mean()))


def shared_weights(
    weights: NDArray[np.float64], fraction: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share weights between training and validation, as if a row of weight w were w rows.

    A row of weight w is divided into ceil(w) equal parts, and a random share of all parts is set aside: at
    least one and never all; a single part is on both sides.

    Args:
        weights: Positive, shape (rows,).
        fraction: The share to set aside.
        seed: Of the choice.

    Returns:
        The weights of the rows in training and in validation, both of shape (rows,), 0 for a row that is not there.

    Example:
        >>> train, validation = shared_weights(np.array([60.0, 40.0]), 0.1, seed=0)
        >>> validation.sum().item(), (train + validation).tolist()
        (10.0, [60.0, 40.0])
    """
    parts = np.ceil(np.minimum(weights, max(1, _PARTS // len(weights)))).astype(np.int64)
    total = int(parts.sum())
    if total == 1:
        return weights, weights
    held_out = min(max(1, round(fraction * total)), total - 1)
    chosen = np.random.default_rng(seed).multivariate_hypergeometric(parts, held_out, method="marginals")
    return weights * ((parts - chosen) / parts), weights * (chosen / parts)
