"""Encoded rows, column by column, and the words for what a column holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.estimators import TabularFlow
from tessflow.randomness import seeded
from tessflow.tables import Interval, NumericColumn, TableSchema
from tessflow.tables.columns import AnyColumn, Encoded
from tessflow.tables.values import is_missing

__all__ = ["Rows", "class_labels", "draw_rows", "show", "value_of"]

# Rows drawn at once, and letters of a number that is written with all of its digits.
_CHUNK, _LETTERS = 1024, 10


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Args:
        codes: The class of each value, int64 ``(rows, N)``.
        numbers: Numbers in the unit of their column, in seconds if it holds times, single values with a probability of
            their own among them; ``(rows, N)``, NaN for what is none.
    """

    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, schema: TableSchema, encoded: Tensor) -> Rows:
        """Read rows as :meth:`~tessflow.tables.TableSchema.encode` returns them.

        Example:
            >>> frame = pd.DataFrame({"price": [0.5, 1.5, 2.5] + [0.0] * 50, "wet": [True] * 53})
            >>> schema = TableSchema.infer(frame)
            >>> rows = Rows.of(schema, schema.encode(frame.iloc[1:4]))
            >>> rows.codes.tolist(), rows.numbers.tolist()
            ([[0, 0], [0, 0], [1, 0]], [[1.5, nan], [2.5, nan], [0.0, nan]])
        """
        table = encoded.cpu().numpy()
        codes = table[:, : len(schema.columns)].astype(np.int64)
        numbers = np.full(codes.shape, np.nan)
        place = len(schema.columns)
        for n, column in enumerate(schema.columns):
            if isinstance(column, NumericColumn):
                values = np.full(column.cardinality, np.nan)
                values[1 : 1 + len(column.atoms)] = column.atoms
                encoded_numbers = table[:, place] * (column.resolution or 1.0)
                numbers[:, n] = np.where(codes[:, n] == 0, encoded_numbers, values[codes[:, n]])
                place += 1
        return cls(codes, numbers)

    def __len__(self) -> int:
        return len(self.codes)


def draw_rows(model: TabularFlow, rows: int, seed: int) -> Rows:
    """Draw rows from a model."""
    with seeded(seed, redirect=False), torch.no_grad():
        parts = [model.model_.sample(len(part)).cpu() for part in torch.arange(rows).split(_CHUNK)]
    return Rows.of(model.schema_, torch.cat(parts))


def class_labels(column: AnyColumn) -> list[str]:
    """Return a word for each class of a column.

    Example:
        >>> from tessflow.tables import ClassColumn
        >>> class_labels(ClassColumn(name="wet", kind="boolean", dtype="boolean", values=(False, True), missing="NA"))
        ['False', 'True', 'missing', 'unseen']
    """
    return [show(label) for label in column.labels]


def value_of(column: NumericColumn, number: float) -> Any:
    """Return the value that a number of a column stands for, as :class:`Rows` holds it.

    Example:
        >>> from tessflow.tables.columns import DatetimeColumn
        >>> column = DatetimeColumn(name="day", dtype="datetime64[us]", resolution=86400)
        >>> value_of(column, 2 * 86400.0)
        Timestamp('1970-01-03 00:00:00')
    """
    steps = number / (column.resolution or 1.0)
    return column.decode(Encoded(np.zeros(1, np.int64), np.array([steps]))).iloc[0]


def show(value: Any) -> str:
    """Write a value of a table.

    Example:
        >>> show(0.123456789), show(12345.67), show(1234567), show(pd.Timestamp("2024-02-01")), show(None)
        ('0.12346', '12345.67', '1234567', '2024-02-01', 'missing')
    """
    if is_missing(value):
        return "missing"
    if isinstance(value, pd.Timestamp):
        return str(value.date() if value == value.normalize() else value)
    if isinstance(value, pd.Timedelta):
        return str(value.to_pytimedelta())
    if isinstance(value, (float, np.floating)):
        if float(value).is_integer() and abs(value) < 1e15:
            return str(int(value))
        words = f"{value:.12g}"
        return words if len(words) <= _LETTERS else f"{value:.5g}"
    return str(value.to_pandas() if isinstance(value, Interval) else value)
