"""A column of numbers."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import model_validator
from typing_extensions import Self

from tessflow.tables.columns.base import MISSING
from tessflow.tables.columns.numeric import NumericColumn
from tessflow.tables.dtypes import dtype_from_name
from tessflow.tables.formats import WordFormat
from tessflow.tables.values import show, to_floats

__all__ = ["NumberColumn"]


class NumberColumn(NumericColumn):
    """One column of numbers; its fields are those of :class:`NumericColumn`, and how its words are written.

    Args:
        kind: "number".
        decimal: Decimal mark of numbers in a CSV file; see `WordFormat` for this and what follows.
        thousands: What stands between their groups of three digits.
        currency: A sign or word before or after them.
        percent: Whether "%" may follow them.

    Example:
        >>> column = NumberColumn(name="price", dtype="float64", resolution=0.01, atoms=(0,))
        >>> column.encode(pd.Series([9.99, 0.0, None]))
        Encoded(codes=array([0, 1, 2]), numbers=array([999.,   0.,   0.]))
        >>> column.between(1, 2.5), column.labels
        (Restriction(codes=(0,), low=99.5, high=250.5, points=()), ('a number', 0, 'unseen'))
    """

    kind: Literal["number"] = "number"
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", " ", "'"] | None = None
    currency: str | None = None
    percent: bool = False

    FAMILY: ClassVar[str] = "numbers"

    @model_validator(mode="after")
    def _is_written(self) -> Self:
        _ = self.words  # which refuses what contradicts itself
        return self

    @property
    def _ends(self) -> tuple[float, float]:
        """The minimum and the maximum as values are read, which may be in single precision."""
        low, high = super()._ends
        return (float(np.float32(low)), float(np.float32(high))) if _is_single(self.dtype) else (low, high)

    @property
    def words(self) -> WordFormat | None:
        """How the words of a file are written; None if that is not declared."""
        options = (self.decimal, self.thousands, self.currency, self.percent)
        return WordFormat(self.name, self.kind, *options) if set(options) != {None, False} else None

    def _decoded(self, counts: NDArray[np.float64], codes: NDArray[np.int64], missing: NDArray[np.bool_]) -> pd.Series:
        atoms = [*self.atoms, *[0] * (self.cardinality - len(self.atoms))]
        return _from_floats(self._grid.value(counts), codes, atoms, missing, self)

    def _read(self, series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        values = to_floats(series)
        values = _singles(values) if _is_single(self.dtype) else values
        return values, np.isnan(values)

    def _raw(self, value: object) -> int | float:
        """Return one value, which is not missing, as values are read, a whole one exactly."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
            raise ValueError(f"column {self.name!r} was given {show(value)}, but holds numbers")
        if _is_single(self.dtype):
            return float(_singles(np.array(float(value))))
        return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _is_single(dtype: str) -> bool:
    return dtype in ("float32", "Float32", "arrow[float]", "float[pyarrow]")


def _singles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round values to float32, but for those beyond its range."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    return np.where(np.isinf(rounded), values, rounded)


def _from_floats(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    atoms: list[int | float],
    missing: NDArray[np.bool_],
    column: NumberColumn,
) -> pd.Series:
    """Return numbers in a dtype, clipped to its range; whole atoms exactly."""
    dtype = dtype_from_name(column.dtype)
    if dtype.kind == "O":
        is_whole = column.whole and column.resolution == round(column.resolution)
        cells: list[object] = [
            atoms[code - 1] if code else int(value) if is_whole and math.isfinite(value) else float(value)
            for value, code in zip(values, codes, strict=True)
        ]
        absent = MISSING[column.missing] if column.missing else None
        return pd.Series([absent if gone else cell for cell, gone in zip(cells, missing, strict=True)], dtype=object)
    numpy_dtype: np.dtype[Any] = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # type: ignore[arg-type]
    if numpy_dtype.kind in "iu":
        info = np.iinfo(numpy_dtype)  # type: ignore[type-var]
        # The largest 64-bit integer is no float64: the next below is.
        highest = float(info.max) if info.bits < 64 else np.nextafter(float(info.max), 0)
        numbers: NDArray[Any] = np.clip(np.rint(values), float(info.min), highest).astype(numpy_dtype)
        for code, atom in enumerate(column.atoms, 1):
            if isinstance(atom, int) and info.min <= atom <= info.max:
                numbers[codes == code] = atom
    else:
        limit = float(np.finfo(numpy_dtype).max)
        numbers = np.where(np.isinf(values), values, np.clip(values, -limit, limit)).astype(numpy_dtype)
    series = pd.Series(numbers)
    if numpy_dtype == dtype:
        return series.mask(missing) if missing.any() else series
    return series.astype(dtype).mask(missing, pd.NA) if missing.any() else series.astype(dtype)
