"""Real rows against drawn ones: shares of each column, and associations of pairs of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables import NumericColumn, TableSchema
from tessflow.viz.report.rows import Rows, class_labels

__all__ = ["Marginal", "Shares", "associations", "marginal"]

# Most bins of a histogram, how many times the cube root of the rows they are (Rice's rule), and the share of numbers on
# either side that is moved into the outermost.
_BINS, _RICE, _TAIL = 30, 2, 0.005
# Most single numbers that have a bar each, if no more than this share of the rows has others.
_FEW, _RARE = 12, 0.02
# Most numbers that are left out of the bins: those of this share of the rows, so many times that of the median bin.
_SPIKES, _OFTEN, _TOWER = 3, 0.05, 2


@dataclass(frozen=True)
class Shares:
    """How often each of some things comes, as a share of the drawn rows and, if there are any, of the real rows."""

    drawn: NDArray[np.float64]
    real: NDArray[np.float64] | None = None

    @property
    def first(self) -> NDArray[np.float64]:
        """The shares of the real rows, or of the drawn rows if there are none."""
        return self.drawn if self.real is None else self.real

    def of(self, kept: list[int]) -> Shares:
        """Return the shares of some of these things."""
        return Shares(self.drawn[kept], None if self.real is None else self.real[kept])

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
        labels: Words for what has a share of its own: classes; of a numeric column what is no number, such as missing
            values, and numbers that tower over the bins, or all numbers if they are few.
        classes: Their shares.
        ordered: Whether the labels have an order.
        places: The numbers among them, NaN for other labels, where there are bins.
        edges: The edges of the bins of all other numbers; None if there are none.
        bins: The shares of rows in these bins, the outermost of which hold all beyond.
    """

    column: int
    labels: list[str]
    classes: Shares
    ordered: bool = False
    places: NDArray[np.float64] | None = None
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
    last = [column.unseen] * bool(shares.first[column.unseen])  # which is never drawn
    if not isinstance(column, NumericColumn):
        kept = [*range(column.unseen), *last]
        return Marginal(n, [labels[k] for k in kept], shares.of(kept), ordered=column.variable.ordered)
    rest = [*range(1 + len(column.atoms), column.unseen), *last]
    numbers = sorted(range(1, 1 + len(column.atoms)), key=lambda k: column.atoms[k - 1])
    if len(numbers) <= _FEW and max(share[0] for share in (shares.drawn, shares.first)) <= _RARE:
        others = [0] * bool(shares.drawn[0] or shares.first[0])
        labels[0] = "other numbers" if numbers else "numbers"
        kept = [*numbers, *others, *rest]
        return Marginal(n, [labels[k] for k in kept], shares.of(kept), ordered=True)
    edges, spikes = _bin(column, n, both, shares)
    kept = [k for k in numbers if k in spikes or not np.isfinite(column.atoms[k - 1])] + rest
    places = np.array([np.nan, *column.atoms, *[np.nan] * 2])[kept]
    bins = Shares(*(_histogram(rows, n, edges, spikes) for rows in both))
    return Marginal(n, [labels[k] for k in kept], shares.of(kept), places=places, edges=edges, bins=bins)


def _bin(column: NumericColumn, n: int, both: Sequence[Rows], shares: Shares) -> tuple[NDArray[np.float64], list[int]]:
    """Return the edges of the bins of a column's numbers, and the codes of those that tower over them."""
    atoms = np.array([np.nan, *column.atoms])
    often = [int(k) for k in np.argsort(-shares.first[: len(atoms)], kind="stable") if np.isfinite(atoms[k])]
    often = [k for k in often[:_SPIKES] if shares.first[k] >= _OFTEN]
    others = np.concatenate([_numbers(rows, n, often) for rows in both])
    low, high = np.quantile(others, [_TAIL, 1 - _TAIL]) if len(others) else (-np.inf, np.inf)
    far = [k for k in often if not 2 * low - high <= atoms[k] <= 2 * high - low]
    most = min(_BINS, math.ceil(_RICE * len(both[-1]) ** (1 / 3)))
    edges = _edges(column, np.concatenate([_numbers(rows, n, far) for rows in both]), most)
    if column.whole and edges[1] - edges[0] < 1.5 * column.resolution:  # each value has a bin of its own
        return edges, far
    shown = _histogram(both[-1], n, edges, often)
    usual = np.median(shown[shown > 0]) if shown.any() else 0.0
    return edges, [k for k in often if k in far or shares.first[k] > _TOWER * usual]


def _numbers(rows: Rows, n: int, without: list[int]) -> NDArray[np.float64]:
    """Return the finite numbers of a column, but for those of some codes."""
    numbers = rows.numbers[~np.isin(rows.codes[:, n], without), n]
    return numbers[np.isfinite(numbers)]


def _edges(column: NumericColumn, numbers: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    if not len(numbers):
        return np.array([0.0, 1.0])
    low, high = np.quantile(numbers, [_TAIL, 1 - _TAIL], method="closest_observation")
    if column.whole:
        first, last = round(low / column.resolution), round(high / column.resolution)
        width = _round_up(-(-(last - first + 1) // most))  # steps a bin
        count = -(-(last - first + 1) // width)
        return (first - 0.5 + width * np.arange(count + 1.0)) * column.resolution
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return np.linspace(low, high, most + 1)


def _round_up(number: int) -> int:
    """Return the next 1, 2, 5, 10, 20, 30, ..., 90, 100, 200, ...: bins then hold as many round numbers each."""
    power: int = 10 ** (len(str(number)) - 1)
    return next(step * power for step in ((1, 2, 5, 10) if power == 1 else range(1, 11)) if step * power >= number)


def _histogram(rows: Rows, n: int, edges: NDArray[np.float64], without: list[int]) -> NDArray[np.float64]:
    """Return the shares of rows with numbers in bins, but for those of some codes."""
    return np.histogram(_numbers(rows, n, without).clip(edges[0], edges[-1]), edges)[0] / len(rows)


def associations(schema: TableSchema, rows: Rows, columns: Sequence[int]) -> NDArray[np.float64]:
    """Return how strongly each two of some columns go together, 0..1, shape ``(len(columns), len(columns))``.

    Two columns of classes: Cramér's V. Two of numbers: the size of Spearman's rank correlation, where both hold finite
    numbers. One of each: the correlation ratio of the numbers' ranks. NaN where one of them is constant.

    Example:
        >>> schema = TableSchema.infer(pd.DataFrame({"coat": [True, False], "winter": [True, False]}))
        >>> codes = np.array([[0, 0], [1, 1], [0, 0]])
        >>> associations(schema, Rows(codes, np.full((3, 2), np.nan)), [0, 1]).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    numeric = [schema.columns[n].numeric for n in columns]
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
