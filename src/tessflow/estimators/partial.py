"""Rows of which something is not known, and conditions on rows to be drawn: from tables to encoded rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tessflow.models import Restriction
from tessflow.tables import Column, NumberColumn, TableSchema
from tessflow.tables.frames import as_frame

__all__ = ["Conditions", "encode_known"]


def encode_known(schema: TableSchema, table: Any, columns: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Encode what is known of rows: the values of some columns, but for missing ones.

    Args:
        schema: The columns.
        table: Rows; of a DataFrame, columns that are not asked for may be absent.
        columns: The columns to look at, by number; all by default.

    Returns:
        Rows as :meth:`TableSchema.encode` gives them, 0 where nothing is known; and where it is, boolean ``(rows, N)``.

    Raises:
        ValueError: If a column is absent, or a value was not seen in training.
    """
    frame, array_dtype = as_frame(table)
    if array_dtype is not None:
        if frame.shape[1] != len(schema.columns):
            raise ValueError(f"the array has {frame.shape[1]} columns, but the model has {len(schema.columns)}.")
        frame = frame.set_axis(pd.Index(schema.names), axis=1)
    numeric = [n for n, column in enumerate(schema.columns) if isinstance(column, NumberColumn)]
    width = len(schema.columns)
    rows = np.zeros((len(frame), width + len(numeric)), dtype=np.float64 if numeric else np.int64)
    known = np.zeros((len(frame), width), dtype=bool)
    for n in range(width) if columns is None else columns:
        column = schema.columns[n]
        series = frame.get(column.name, frame.get(str(column.name)))
        if series is None:
            raise ValueError(f"the table has no column {column.name!r}.")
        here = series.notna().to_numpy()
        known[:, n] = here
        if not here.any():
            continue
        try:
            codes = column.encode(series[here])
        except (ValueError, TypeError):
            column.encode(series.ffill().bfill())  # raises the same, and counts all rows
            raise
        if isinstance(codes, tuple):
            rows[here, n], rows[here, width + numeric.index(n)] = codes
        else:
            rows[here, n] = codes
    return torch.from_numpy(rows), torch.from_numpy(known)


@dataclass(frozen=True)
class Conditions:
    """What rows to be drawn have to be.

    Args:
        row: One encoded row, of which some columns are known.
        known: Those columns.
        allowed: What is allowed of other columns.

    Example:
        >>> schema = TableSchema.infer(pd.DataFrame({"size": [1, 2, 3], "wet": [True, False, True]}))
        >>> Conditions.of(schema, {"size": (2, None), "wet": True})
        Conditions(row=tensor([0, 1]), known=(1,), allowed={0: Restriction(codes=(1, 2), low=-inf, high=inf)})
    """

    row: Tensor
    known: tuple[int, ...]
    allowed: Mapping[int, Restriction]

    @classmethod
    def of(cls, schema: TableSchema, given: Mapping[Any, Any]) -> Conditions:
        """Read conditions: a value a column, a tuple (low, high) for a range, or a list of values, one of which it is.

        Args:
            schema: The columns.
            given: What is given, by name of the column.

        Raises:
            TypeError: If a value is of another type than the column's.
            ValueError: If there is no such column, a value was not seen in training, or a range is empty.
        """
        numeric = [n for n, column in enumerate(schema.columns) if isinstance(column, NumberColumn)]
        width = len(schema.columns)
        row = torch.zeros(width + len(numeric), dtype=torch.float64 if numeric else torch.int64)
        known, allowed = [], {}
        for name, condition in given.items():
            n = schema.position(name)
            column = schema.columns[n]
            if isinstance(condition, tuple):
                allowed[n] = _between(column, condition)
            elif isinstance(condition, (list, set, frozenset, pd.Series, pd.Index)) or np.ndim(condition) == 1:
                allowed[n] = _among(column, list(condition))
            else:
                code, number = column.encode_value(condition)
                row[n] = code
                if n in numeric:
                    row[width + numeric.index(n)] = number
                known.append(n)
        return cls(row, tuple(known), allowed)


def _between(column: Column | NumberColumn, ends: tuple[Any, ...]) -> Restriction:
    if len(ends) != 2:
        raise ValueError(f"column {column.name!r}: a range is (low, high), either of them None, got {ends!r}.")
    codes = column.codes_between(*ends)
    if isinstance(column, Column):
        return Restriction(codes)
    try:
        return Restriction(codes, *column.bounds(*ends))
    except ValueError:
        if len(codes) == 1:
            raise
        return Restriction(codes[1:])  # no number lies between, but an atom


def _among(column: Column | NumberColumn, values: list[Any]) -> Restriction:
    pairs = [column.encode_value(value) for value in values]
    if isinstance(column, NumberColumn) and any(code == 0 for code, _ in pairs):
        raise ValueError(f"column {column.name!r} holds numbers: give one, or a range (low, high), rather than a list.")
    if not pairs:
        raise ValueError(f"column {column.name!r}: give at least one value.")
    return Restriction(tuple(sorted({code for code, _ in pairs})))
