"""Rows of which something is not known, and conditions on rows to be drawn: from tables to encoded rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tessflow.models import Restriction
from tessflow.tables import NumericColumn, TableSchema
from tessflow.tables.frames import as_frame
from tessflow.tables.names import named
from tessflow.tables.schema import Unseen

__all__ = ["Conditions", "Known", "encode_known"]


class Known(NamedTuple):
    """Encoded rows, 0 where nothing is known; and where it is, boolean ``(rows, N)``."""

    rows: Tensor
    where: Tensor


def encode_known(
    schema: TableSchema,
    table: Any,
    columns: Sequence[int] | None = None,
    *,
    unseen: Unseen = "other",
    missing: bool = False,
) -> Known:
    """Encode what is known of rows: the values of some columns, but for missing ones.

    Args:
        schema: The columns.
        table: Rows; of a DataFrame, columns that are not asked for may be absent.
        columns: The columns to look at, by number; all by default.
        unseen: Whether a value that was not seen counts as such, or is refused.
        missing: Whether a missing value is known, too: as a missing value, or as something not seen.

    Raises:
        ValueError: If a column is absent, holds values of another type or one that was not seen and is refused, or a
            row breaks the order of two columns.
    """
    frame, array_dtype = as_frame(table)
    if array_dtype is not None:
        if frame.shape[1] != len(schema.columns):
            raise ValueError(f"the array has {frame.shape[1]} columns, but the model has {len(schema.columns)}.")
        frame = frame.set_axis(pd.Index(schema.names), axis=1)
    frame = named(frame, schema.names)
    numeric = [n for n, column in enumerate(schema.columns) if column.numeric]
    width = len(schema.columns)
    rows = np.zeros((len(frame), width + len(numeric)), dtype=np.float64 if numeric else np.int64)
    known = np.zeros((len(frame), width), dtype=bool)
    places = range(width) if columns is None else columns
    for name in (schema.columns[n].name for n in places):
        if name not in frame.columns:
            raise ValueError(f"the table has no column {name!r}.")
    schema.require_order(frame[[schema.columns[n].name for n in places]])
    for n in places:
        column = schema.columns[n]
        series = frame[column.name]
        encoded = column.encode(series)
        here = np.ones(len(series), bool) if missing else series.notna().to_numpy()
        if unseen == "error":
            column.require_seen(series, encoded._replace(codes=np.where(here, encoded.codes, -1)))
        known[:, n] = here
        rows[:, n] = np.where(here, encoded.codes, 0)
        if column.numeric:
            rows[:, width + numeric.index(n)] = np.where(here, encoded.numbers, 0)
    return Known(torch.from_numpy(rows), torch.from_numpy(known))


@dataclass(frozen=True)
class Conditions:
    """What rows to be drawn have to be.

    Args:
        row: One encoded row, of which some columns are known.
        known: Those columns.
        allowed: What is allowed of other columns.
        unseen: Known values that were not seen in training, by column.
        numbers: Known numbers, as they were given, by column.

    Example:
        >>> schema = TableSchema.infer(pd.DataFrame({"size": list("SML"), "wet": [True, False, True]}))
        >>> Conditions.of(schema, {"size": ["S", "M"], "wet": True}).allowed
        {0: Restriction(codes=(1, 2), low=-inf, high=inf, points=())}
    """

    row: Tensor
    known: tuple[int, ...]
    allowed: Mapping[int, Restriction]
    unseen: Mapping[int, Any] = field(default_factory=dict)
    numbers: Mapping[int, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: TableSchema, given: Mapping[Any, Any], *, unseen: Unseen = "other") -> Conditions:
        """Read conditions: a value a column, a tuple (low, high) for a range, or a list of values, one of which it is.

        A list of one value is that value, but that it must have been seen.

        Args:
            schema: The columns.
            given: What is given, by name of the column.
            unseen: Whether a value that was not seen counts as such, or is refused.

        Raises:
            TypeError: If a value is of another type than the column's.
            ValueError: If there is no such column, a value was not seen and is refused, a range is empty, or the values
                break the order of two columns.
        """
        numeric = [n for n, column in enumerate(schema.columns) if column.numeric]
        width = len(schema.columns)
        row = torch.zeros(width + len(numeric), dtype=torch.float64 if numeric else torch.int64)
        known, allowed, strange, points = [], {}, {}, []
        for name, condition in given.items():
            n = schema.position(name)
            column = schema.columns[n]
            choices = _choices(condition)
            if isinstance(condition, tuple):
                if len(condition) != 2:
                    raise ValueError(
                        f"column {column.name!r}: a range is (low, high), either of them None, got {condition!r}."
                    )
                allowed[n] = column.between(*condition)
            elif choices is not None and len(choices) != 1:
                if not choices:
                    raise ValueError(f"column {column.name!r}: give at least one value.")
                allowed[n] = column.among(choices)
            else:
                value = condition if choices is None else choices[0]
                code, number = column.encode_value(value)
                if code == column.unseen:
                    if unseen == "error" or choices is not None:
                        raise ValueError(
                            f"column {column.name!r} was given the value {value!r}, which was not seen in training"
                        )
                    strange[n] = value
                row[n] = code
                if n in numeric:
                    row[width + numeric.index(n)] = number
                known.append(n)
                points.append((column.name, column, value))
        both = {name: column.series_of(value) for name, column, value in points if isinstance(column, NumericColumn)}
        schema.require_order(pd.DataFrame(both))
        numbers = {n: given for n, (_, column, given) in zip(known, points, strict=True) if column.kind == "number"}
        return cls(row, tuple(known), allowed, strange, numbers)


def _choices(condition: Any) -> list[Any] | None:
    """Return the values of a list, set, array or Series; None if a condition is no such."""
    is_list = isinstance(condition, (list, set, frozenset, pd.Series, pd.Index)) or np.ndim(condition) == 1
    return list(condition) if is_list and not isinstance(condition, tuple) else None
