"""Encoded rows, column by column, and the words for what a column holds."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.estimators import TabularFlow
from tessflow.tables import ClassColumn, NumericColumn, TableSchema
from tessflow.training.evaluation import seeded

__all__ = ["Rows", "class_labels", "draw_rows", "show"]

# Rows drawn at once.
_CHUNK = 1024


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Args:
        codes: The class of each value, int64 ``(rows, N)``; of a numeric column 0 is a number.
        numbers: Numbers in the unit of their column, in seconds if it holds times; ``(rows, N)``, NaN for what is none.
    """

    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, schema: TableSchema, encoded: Tensor) -> Rows:
        """Read rows as :meth:`~tessflow.tables.TableSchema.encode` returns them.

        Example:
            >>> frame = pd.DataFrame({"price": [0.5, 1.5], "wet": [True, False]})
            >>> schema = TableSchema.infer(frame)
            >>> rows = Rows.of(schema, schema.encode(frame))
            >>> rows.codes.tolist(), rows.numbers.tolist()
            ([[0, 1], [0, 0]], [[0.5, nan], [1.5, nan]])
        """
        table = encoded.cpu().numpy()
        codes = table[:, : len(schema.columns)].astype(np.int64)
        numbers = np.full(codes.shape, np.nan)
        numeric = [n for n, column in enumerate(schema.columns) if isinstance(column, NumericColumn)]
        for m, n in enumerate(numeric):
            step = schema.columns[n].resolution or 1.0  # type: ignore[union-attr]
            numbers[:, n] = np.where(codes[:, n] == 0, table[:, len(schema.columns) + m] * step, np.nan)
        return cls(codes, numbers)

    def __len__(self) -> int:
        return len(self.codes)


def draw_rows(model: TabularFlow, rows: int, seed: int) -> Rows:
    """Draw rows from a model."""
    with seeded(seed, next(model.model_.parameters()).device), torch.no_grad():
        parts = [model.model_.sample(len(part)).cpu() for part in torch.arange(rows).split(_CHUNK)]
    return Rows.of(model.schema_, torch.cat(parts))


def class_labels(column: ClassColumn | NumericColumn) -> list[str]:
    """Return a word for each class of a column.

    Example:
        >>> class_labels(ClassColumn(name="wet", kind="boolean", dtype="boolean", values=(False, True), missing="NA"))
        ['False', 'True', 'missing']
    """
    if isinstance(column, ClassColumn):
        labels = [str(value) for value in column.values]
    else:
        seconds = column.kind != "number"
        labels = ["a number", *(show_number(column, atom) if seconds else show(atom) for atom in column.atoms)]
    return labels + ["missing"] * (column.missing is not None)


def show_number(column: NumericColumn, number: float) -> str:
    """Write a number of a column, as :class:`Rows` holds it."""
    if not math.isfinite(number):
        return str(number)
    if column.kind == "datetime":
        unit = "D" if column.resolution % 86400 == 0 else "s"
        return str(np.datetime64(round(number), "s").astype(f"datetime64[{unit}]")).replace("T", " ")
    if column.kind == "timedelta":
        return show(datetime.timedelta(seconds=number)) if abs(number) < 1e13 else f"{number:g} s"
    return f"{number:.12g}" if column.whole else f"{number:.5g}"


def show(value: Any) -> str:
    """Write a value of a table.

    Example:
        >>> show(0.123456789), show(1234567), show(pd.Timestamp("2024-02-01")), show(None)
        ('0.12346', '1234567', '2024-02-01', 'missing')
    """
    if not isinstance(value, str) and pd.isna(value):
        return "missing"
    if isinstance(value, (bool, np.bool_)):
        return str(value)
    if isinstance(value, pd.Timestamp):
        return str(value.date() if value == value.normalize() else value)
    if isinstance(value, (float, np.floating)):
        return f"{int(value)}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.5g}"
    return str(value)
