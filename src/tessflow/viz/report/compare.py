"""Real rows against drawn ones: shares of each column, and associations of pairs of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables import NumericColumn, TableSchema
from tessflow.viz.report.rows import Rows, class_labels

__all__ = ["Marginal", "Shares", "associations", "marginal"]

# Bins of a histogram, and the share of the numbers on either side that is moved into the outermost.
_BINS, _TAIL = 30, 0.005


@dataclass(frozen=True)
class Shares:
    """How often each of some things comes, as a share of the drawn rows and, if there are any, of the real rows."""

    drawn: NDArray[np.float64]
    real: NDArray[np.float64] | None = None

    @property
    def first(self) -> NDArray[np.float64]:
        """The shares of the real rows, or of the drawn rows if there are none."""
        return self.drawn if self.real is None else self.real

    @property
    def distance(self) -> float:
        r"""The total variation :math:`\frac12 \sum_i |p_i - q_i|`; 0 without real rows."""
        return 0.0 if self.real is None else 0.5 * float(np.abs(self.drawn - self.real).sum())

    def by_chance(self, rows: int) -> float:
        r"""Return the mean distance of two draws of ``rows`` rows each of the same distribution.

        Differences are about :math:`N(0, 2 p (1 - p) / n)`, and of mean size :math:`\sqrt{4 p (1 - p) / (\pi n)}`.
        """
        p = (self.drawn + self.first) / 2
        return 0.5 * float(np.sqrt(4 * p * (1 - p) / (np.pi * rows)).sum())


@dataclass(frozen=True)
class Marginal:
    """What one column holds.

    Args:
        column: Its place.
        labels: Words for its classes; of a numeric column, for its atoms and missing values.
        classes: Their shares.
        edges: The edges of the bins of its numbers; None for a column of classes.
        bins: The shares of rows in these bins, the outermost of which hold all beyond.
    """

    column: int
    labels: list[str]
    classes: Shares
    edges: NDArray[np.float64] | None = None
    bins: Shares | None = None

    @property
    def distance(self) -> float:
        """The total variation between real and drawn rows, in 0..1."""
        return self.classes.distance + (self.bins.distance if self.bins else 0.0)

    def by_chance(self, rows: int) -> float:
        """Return the mean distance of two draws of ``rows`` rows each of the same distribution."""
        return self.classes.by_chance(rows) + (self.bins.by_chance(rows) if self.bins else 0.0)


def marginal(schema: TableSchema, n: int, drawn: Rows, real: Rows | None) -> Marginal:
    """Return what one column holds, in drawn and in real rows.

    Example:
        >>> schema = TableSchema.infer(pd.DataFrame({"wet": [True, False]}))
        >>> real, drawn = (Rows(np.array(codes), np.full((4, 1), np.nan)) for codes in ([[0]] * 4, [[0]] * 3 + [[1]]))
        >>> marginal(schema, 0, drawn, real).distance
        0.25
    """
    column = schema.columns[n]
    both = [drawn] if real is None else [drawn, real]
    shares = Shares(*(np.bincount(rows.codes[:, n], minlength=column.cardinality) / len(rows) for rows in both))
    labels = class_labels(column)
    if not isinstance(column, NumericColumn):
        return Marginal(n, labels, shares)
    beside = Shares(shares.drawn[1:], None if shares.real is None else shares.real[1:])
    edges = _edges(column, np.concatenate([rows.numbers[:, n] for rows in both]))
    bins = Shares(*(_histogram(rows.numbers[:, n], edges) for rows in both))
    return Marginal(n, labels[1:], beside, edges, bins)


def _edges(column: NumericColumn, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return np.array([0.0, 1.0])
    low, high = np.quantile(numbers, [_TAIL, 1 - _TAIL], method="closest_observation")
    if column.whole:
        first, last = round(low / column.resolution), round(high / column.resolution)
        width = max(1, -(-(last - first + 1) // _BINS))  # steps a bin, rounded up
        steps = np.arange(first, last + width + 1, width) - 0.5
        return steps[: -(-(last - first + 1) // width) + 1] * column.resolution
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return np.linspace(low, high, _BINS + 1)


def _histogram(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = numbers[np.isfinite(numbers)].clip(edges[0], edges[-1])
    return np.histogram(inside, edges)[0] / max(1, len(numbers))


def associations(schema: TableSchema, rows: Rows, columns: Sequence[int]) -> NDArray[np.float64]:
    """Return how strongly each two of some columns go together, 0..1, shape ``(len(columns), len(columns))``.

    Two columns of classes: Cramér's V. Two of numbers: the size of Spearman's rank correlation, where both hold
    numbers. One of each: the correlation ratio of the numbers' ranks. NaN where one of them is constant.

    Example:
        >>> schema = TableSchema.infer(pd.DataFrame({"coat": [True, False], "winter": [True, False]}))
        >>> codes = np.array([[0, 0], [1, 1], [0, 0]])
        >>> associations(schema, Rows(codes, np.full((3, 2), np.nan)), [0, 1]).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    numeric = [isinstance(schema.columns[n], NumericColumn) for n in columns]
    table = np.eye(len(columns))
    for i, a in enumerate(columns):
        for j, b in enumerate(columns[:i]):
            if numeric[i] and numeric[j]:
                value = _spearman(rows.numbers[:, a], rows.numbers[:, b])
            elif numeric[i] or numeric[j]:
                number, codes = (a, b) if numeric[i] else (b, a)
                value = _correlation_ratio(rows.numbers[:, number], rows.codes[:, codes])
            else:
                value = _cramers_v(rows.codes[:, a], rows.codes[:, b])
            table[i, j] = table[j, i] = value
    return table


def _cramers_v(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    (left, a), (right, b) = (np.unique(codes, return_inverse=True) for codes in (a, b))
    if min(len(left), len(right)) < 2:
        return np.nan
    joint = np.bincount(a * len(right) + b, minlength=len(left) * len(right)).reshape(len(left), len(right)) / len(a)
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float(np.sqrt(((joint - expected) ** 2 / expected).sum() / (min(joint.shape) - 1)))


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    x, y = _centred_ranks(a[both]), _centred_ranks(b[both])
    return abs(_ratio(float(x @ y), float(np.sqrt((x @ x) * (y @ y)))))


def _correlation_ratio(numbers: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    is_number = np.isfinite(numbers)
    ranks, (values, group) = _centred_ranks(numbers[is_number]), np.unique(codes[is_number], return_inverse=True)
    if len(values) < 2:
        return np.nan
    between = np.bincount(group, ranks) ** 2 / np.bincount(group)
    return float(np.sqrt(_ratio(float(between.sum()), float(ranks @ ranks))))


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = pd.Series(values).rank().to_numpy(np.float64)
    return ranks - ranks.mean() if len(ranks) else ranks


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
