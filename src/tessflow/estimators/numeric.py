"""Columns of real numbers: their standardisation, exact also far from zero, and what they may not hold."""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tessflow.tables.frames import as_frame
from tessflow.tables.values import odd_one, show

__all__ = ["NumericColumn", "NumericSchema", "require_numbers"]

Self = TypeVar("Self", bound="NumericSchema")

# No number is farther from the mean, in standard deviations.
_FARTHEST = 1e100


class NumericColumn(BaseModel):
    """One column.

    Args:
        name: Its name.
        mean: Mean of the training rows.
        scale: Their standard deviation, the root of the mean square.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | int
    mean: float
    scale: float = Field(gt=0)


class NumericSchema(BaseModel):
    """Columns of real numbers, and the way from rows to standardised rows and back, in float64.

    Args:
        columns: The columns in order.
        from_array: Whether the schema was read off an array, so that :meth:`decode` gives one.

    Example:
        >>> frame = pd.DataFrame({"height": [1.5, 1.7], "year": [1990, 2010]})
        >>> schema = NumericSchema.infer(frame)
        >>> schema.encode(frame.to_numpy()).round().tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> round(schema.log_scale, 3)  # log 0.1 + log 10
        0.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[NumericColumn, ...] = Field(min_length=1)
    from_array: bool

    @property
    def names(self) -> tuple[str | int, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def log_scale(self) -> float:
        """The sum of the logarithms of the scales: what standardising adds to a log-density, in nats."""
        return math.fsum(math.log(column.scale) for column in self.columns)

    @classmethod
    def infer(cls: type[Self], table: pd.DataFrame | NDArray[np.float64]) -> Self:
        """Read means and scales off rows.

        Args:
            table: A DataFrame, or a float64 array of shape ``(rows, D)``, of finite numbers.

        Raises:
            ValueError: If a column has one value only, no column or row is there, or a number is no finite one.
        """
        from_array = not isinstance(table, pd.DataFrame)
        frame = require_numbers(pd.DataFrame(table))
        rows = frame.to_numpy(dtype=np.float64)
        if rows.size == 0:
            raise ValueError(f"the table has the shape {rows.shape}: it needs rows and columns.")
        if len(rows) == 1:
            raise ValueError("the table has one row: a density needs two at least.")
        low = rows.min(0)
        with np.errstate(over="ignore"):
            spread = rows.max(0) - low
        for name, value, width in zip(frame.columns, low, spread, strict=True):
            if width == 0:
                raise ValueError(
                    f"column {name!r} has the value {value:g} in every row, so that no density is the best: drop it."
                )
            if not np.isfinite(width):
                raise ValueError(f"column {name!r} spans more than float64 holds: divide it by a constant.")
        # Relative to the lowest value, digits are not lost to an offset, and no square overflows.
        unit = (rows - low) / spread
        means, scales = low + spread * unit.mean(0), np.maximum(spread * unit.std(0), np.finfo(np.float64).tiny)
        named = zip(frame.columns, means.tolist(), scales.tolist(), strict=True)
        columns = tuple(NumericColumn(name=_plain(name), mean=mean, scale=scale) for name, mean, scale in named)
        return cls(columns=columns, from_array=from_array)

    def encode(self, rows: NDArray[np.float64]) -> Tensor:
        """Standardise rows, ``(rows, D)`` to float64 ``(rows, D)``."""
        means, scales = self._moments()
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.clip((rows - means) / scales, -_FARTHEST, _FARTHEST))

    def decode(self, z: Tensor) -> pd.DataFrame | NDArray[np.float64]:
        """Undo :meth:`encode`; the result is a DataFrame unless the schema was read off an array."""
        means, scales = self._moments()
        rows = means + scales * z.double().numpy()
        return rows if self.from_array else pd.DataFrame(rows, columns=pd.Index(self.names))

    def align(self, table: Any) -> Any:
        """Return a DataFrame with its columns in the schema's order, if they are all there; anything else as it is."""
        if isinstance(table, pd.DataFrame) and not self.from_array and set(table.columns) == set(self.names):
            return table[list(self.names)]
        return table

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means, scales = zip(*((column.mean, column.scale) for column in self.columns), strict=True)
        return np.array(means), np.array(scales)


def require_numbers(table: Any) -> Any:
    """Return a DataFrame as one of float64; what is no DataFrame as it is, for scikit-learn to check.

    Args:
        table: Rows.

    Raises:
        TypeError: If a name is neither a string nor an integer.
        ValueError: If a column of a DataFrame holds anything but finite numbers; one sentence that names it.

    Example:
        >>> require_numbers(pd.DataFrame({"height": [1.5, None]}))
        Traceback (most recent call last):
        ValueError: column 'height' has a missing value in row 1 (counted from 0): drop that row or fill it in.
    """
    if not isinstance(table, pd.DataFrame):
        return table
    frame = as_frame(table)[0]
    return pd.DataFrame({name: _numbers(column, name) for name, column in frame.items()}, index=frame.index)


def _numbers(column: pd.Series, name: Any) -> NDArray[np.float64]:
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"column {name!r} has a missing value in row {missing.argmax()} (counted from 0): "
            "drop that row or fill it in."
        )
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    if not (numeric or column.dtype == object) or np.iscomplexobj(column):
        raise _refusal(name, *(odd_one(column, "numbers") if len(column) else (0, column.dtype)))
    if column.dtype == object:
        for row, value in enumerate(column):
            if not isinstance(value, (int, float, np.number)) or isinstance(value, bool):
                raise _refusal(name, row, value)
    numbers = column.to_numpy(dtype=np.float64)
    infinite = ~np.isfinite(numbers)
    if infinite.any():
        raise ValueError(
            f"column {name!r} has an infinite value in row {infinite.argmax()} (counted from 0): drop that row."
        )
    return cast("NDArray[np.float64]", numbers)


def _refusal(name: Any, row: int, value: Any) -> ValueError:
    return ValueError(
        f"column {name!r} holds {show(value)}, which is no number: mend row {row} (counted from 0), drop the column, "
        "encode it, or fit a TabularFlow."
    )


def _plain(name: Any) -> str | int:
    return name if isinstance(name, str) else int(name)
