"""The order of columns that a schema declares: what follows from it, also of their bounds, and which rows break it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import product
from typing import TypeAlias

import numpy as np
import pandas as pd
from pydantic import ValidationError

from tessflow.tables.columns import BaseColumn, NumericColumn

__all__ = ["Pair", "carry_bounds", "require_kept", "require_no_circle", "require_pair", "require_room", "whole_order"]

Pair: TypeAlias = tuple[str | int, str | int]
"""Names of two columns, the first of which is never above the second."""


def whole_order(order: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return pairs, and all that follow from them: of a <= b and b <= c that a <= c.

    Example:
        >>> whole_order([("a", "b"), ("b", "c")])
        (('a', 'b'), ('b', 'c'), ('a', 'c'))
    """
    pairs = list(order)
    for first, middle in pairs:  # which grows
        pairs += [(first, last) for other, last in order if other == middle and (first, last) not in pairs]
    return tuple(pairs)


def require_no_circle(order: Sequence[Pair]) -> None:
    """Raise a ValueError if pairs lead from a column back to itself.

    Example:
        >>> require_no_circle([("a", "b"), ("b", "a")])
        Traceback (most recent call last):
        ValueError: the order goes round in a circle, b <= a <= b: leave one of these out
    """
    try:
        _sorter(order).prepare()
    except CycleError as error:
        circle = " <= ".join(map(str, error.args[1]))
        raise ValueError(f"the order goes round in a circle, {circle}: leave one of these out") from error


def require_pair(first: BaseColumn, second: BaseColumn) -> tuple[NumericColumn, NumericColumn]:
    """Return two columns that can be in order; raise a ValueError if they cannot."""
    where = f"order {first.name} <= {second.name}"
    if not isinstance(first, NumericColumn) or not isinstance(second, NumericColumn) or first is second:
        raise ValueError(f"{where} needs two columns of numbers or times")
    if first.kind != second.kind:
        raise ValueError(f"{where} needs two columns of one kind, not {first.kind} and {second.kind}")
    return first, second


def carry_bounds(columns: Mapping[str | int, NumericColumn], order: Sequence[Pair]) -> dict[str | int, NumericColumn]:
    """Return columns between bounds that leave room for their order, in the column's own units.

    The minimum of the first column of a pair is one of the second, and the maximum of the second one of the first.
    Otherwise the second could be drawn where the first, between its own bounds, has no value that keeps the order.

    Args:
        columns: The columns in order, by name.
        order: The pairs.

    Raises:
        ValueError: If no value is left between the bounds of a column, or an atom is beyond them.

    Example:
        >>> from tessflow.tables import NumberColumn
        >>> first, second = NumberColumn(name="low", minimum=0), NumberColumn(name="high", resolution=1)
        >>> carry_bounds({"low": first, "high": second}, [("low", "high")])["high"].shown_bounds
        ['at least 0']
    """
    found = dict(columns)
    places = list(_sorter(order).static_order())
    for first, second in sorted(order, key=lambda pair: places.index(pair[0])):
        found[second] = _bounded(found[second], found[first], 0)
    for first, second in sorted(order, key=lambda pair: places.index(pair[1]), reverse=True):
        found[first] = _bounded(found[first], found[second], 1)
    return found


def require_room(columns: Mapping[str | int, NumericColumn], order: Sequence[Pair]) -> None:
    """Raise a ValueError if a column may have no value between two others that it is in order with.

    Between 1.2 and 1.4 there is no whole number: the steps of one of the two have to be multiples of its own.

    Example:
        >>> from tessflow.tables import NumberColumn
        >>> columns = {name: NumberColumn(name=name, resolution=step) for name, step in (("a", 0), ("b", 1), ("c", 0))}
        >>> require_room(columns, [("a", "b"), ("b", "c")])
        Traceback (most recent call last):
        ValueError: the order a <= b <= c leaves 'b', in steps of 1, no value ...
    """
    for (first, middle), (other, last) in product(order, order):
        if middle == other and not any(_holds(columns[middle], columns[end]) for end in (first, last)):
            raise ValueError(
                f"the order {first} <= {middle} <= {last} leaves {middle!r}, in steps of "
                f"{columns[middle].resolution:g}, no value between close ones of {first!r} and {last!r}: leave one of "
                f"these out, or give {middle!r} a finer resolution"
            )


def _holds(column: NumericColumn, other: NumericColumn) -> bool:
    """Say whether a column has each number of another."""
    if not column.resolution:
        return True
    ratio = other.resolution / column.resolution
    return ratio >= 1 - 1e-9 and abs(ratio - round(ratio)) <= 1e-9 * ratio


def _bounded(column: NumericColumn, other: NumericColumn, side: int) -> NumericColumn:
    """Return a column with a bound of another, where its own is looser: the minimum on side 0, else the maximum."""
    own, bound, name = column.extremes[side], other.extremes[side], ("minimum", "maximum")[side]
    if not (bound > own if side == 0 else bound < own):
        return column
    origin = other.name if other.bounds_of[side] is None else other.bounds_of[side]
    origins = (origin, column.bounds_of[1]) if side == 0 else (column.bounds_of[0], origin)
    fields = dict(column) | {name: bound, "bounds_of": origins}
    if column.minimum is None and column.maximum is None:
        fields["beyond"] = other.beyond
    try:
        return type(column)(**fields)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{message}: the order gives it the {name} of {origin!r}") from error


def require_kept(frame: pd.DataFrame, columns: Mapping[str | int, NumericColumn], order: Sequence[Pair]) -> None:
    """Raise a ValueError if a row breaks the order of two columns, where the frame has both.

    Args:
        frame: The rows.
        columns: The columns in order, by name.
        order: The pairs, with all that follow from them.
    """
    for pair in order:
        if not set(pair).issubset(frame.columns):
            continue
        first, second = (columns[name].raw(frame[name]) for name in pair)
        wrong = first > second  # False where one is missing
        if wrong.any():
            row = int(np.argmax(wrong))
            values = " and ".join(f"{name!r} is {frame[name].iloc[row]!s}" for name in pair)
            raise ValueError(
                f"the order {pair[0]} <= {pair[1]} is broken in row {row} (counted from 0), where {values}: mend "
                "the row, or leave the order out of the schema"
            )


def _sorter(order: Sequence[Pair]) -> TopologicalSorter[str | int]:
    sorter: TopologicalSorter[str | int] = TopologicalSorter()
    for first, second in order:
        sorter.add(second, first)
    return sorter
