"""Orders of columns of times that rows suggest: a start that is never after its end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd

from tessflow.tables.columns import TimeColumn
from tessflow.tables.declared_order import Pair
from tessflow.tables.schema import TableSchema
from tessflow.tables.times import time_zone

__all__ = ["suggested_orders"]

ENOUGH = 100
"""Rows with both times that make an order."""


def suggested_orders(batches: Iterable[pd.DataFrame], schema: TableSchema) -> list[Pair]:
    """Return pairs of columns of times, the first of which is never after the second.

    Pairs are of one kind: durations, or datetimes that all have a time zone or all have none. At least 100 rows must
    hold both times, and not always the same. A pair that follows from others is left out.

    Args:
        batches: The rows; not read if there are no two such columns.
        schema: Their schema.

    Returns:
        Pairs of names, as in `TableSchema.order`.

    Example:
        >>> start = pd.Series(pd.date_range("2024-01-01", periods=100))
        >>> frame = pd.DataFrame({"end": start + pd.Timedelta("1D"), "start": start})
        >>> suggested_orders([frame], TableSchema.infer(frame))
        [('start', 'end')]
    """
    times = [column for column in schema.columns if isinstance(column, TimeColumn)]
    alike = [pair for pair in combinations(times, 2) if _kind(pair[0]) == _kind(pair[1])]
    if not alike:
        return []
    counts = np.zeros((len(alike), 3), np.int64)  # rows with the first time before the other, the same, and after it
    for batch in batches:
        frame = schema.align(batch)
        raw = {column.name: column.raw(frame[column.name]) for column in times}
        for place, (one, other) in enumerate(alike):
            first, second = raw[one.name], raw[other.name]
            counts[place] += (first < second).sum(), (first == second).sum(), (first > second).sum()
    found = []
    for (one, other), (before, same, after) in zip(alike, counts.tolist(), strict=True):
        if max(before, after) == 0 or min(before, after) > 0 or before + same + after < ENOUGH:
            continue
        found.append((one.name, other.name) if before else (other.name, one.name))
    return _without_implied(found)


def _kind(column: TimeColumn) -> tuple[str, bool]:
    return column.kind, time_zone(column.dtype) is not None


def _without_implied(pairs: list[Pair]) -> list[Pair]:
    """Leave out pairs that follow from the others, and such as make a circle, which gaps in the rows allow."""
    kept: list[Pair] = []
    for pair in pairs:
        if not _follows((pair[1], pair[0]), kept):
            kept.append(pair)
    for pair in list(kept):
        others = [other for other in kept if other != pair]
        if _follows(pair, others):
            kept = others
    return kept


def _follows(pair: Pair, pairs: list[Pair]) -> bool:
    """Return whether one name leads to another by way of pairs."""
    reached, left = {pair[0]}, [pair[0]]
    while left:
        name = left.pop()
        after = {second for first, second in pairs if first == name} - reached
        reached |= after
        left.extend(after)
    return pair[1] in reached
