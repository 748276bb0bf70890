"""The values that a cell of a table may hold, and how a column is read into them."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype
from pydantic import BaseModel, ConfigDict

__all__ = ["Interval", "Value", "factorize", "value_type", "show"]

EXACT = 2**53
"""Whole numbers below it are told apart by a float64."""

SUPPORTED = ("boolean", "integer", "string", "floating", "mixed-integer-float", "interval", "empty")
TEMPORAL = ("date", "time", "period")  # as in datetime64, timedelta, ...


class Interval(BaseModel):
    """An interval of numbers, the category that `pandas.cut` makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    left: int | float
    right: int | float
    closed: Literal["left", "right", "both", "neither"]

    def __repr__(self) -> str:
        return str(self.to_pandas())

    def to_pandas(self) -> pd.Interval:
        """Return the same interval as pandas writes it."""
        return pd.Interval(self.left, self.right, closed=self.closed)


Value: TypeAlias = bool | int | float | str | Interval


def show(value: object) -> str:
    """Return a short `repr` for a message.

    Example:
        >>> show("a" * 100)
        "'aaaaaaaaaaaa...aaaaaaaaaaaaa'"
    """
    return repr(value) if isinstance(value, Interval) else reprlib.repr(value)


def value_type(value: Value) -> str:
    """Name the type of a value in the plural; numbers that are whole and numbers that are not are one type.

    Example:
        >>> value_type(True), value_type(1), value_type(0.5), value_type("1")
        ('booleans', 'numbers', 'numbers', 'strings')
    """
    if isinstance(value, bool):
        return "booleans"
    if isinstance(value, str):
        return "strings"
    return "intervals" if isinstance(value, Interval) else "numbers"


def factorize(series: pd.Series, name: Hashable) -> tuple[NDArray[np.int64], list[Value]]:
    """Split a column into its distinct values and the position of each row's value among them.

    Whole floats become integers, so a column of integers that pandas made float for a missing value reads as
    integers again. Of a categorical column all categories are returned, seen or not, in their order.

    Args:
        series: A column of a table.
        name: Its name, for messages.

    Returns:
        Positions of shape (rows,), -1 where the value is missing, and the list of distinct values.

    Raises:
        TypeError: If the column holds anything but booleans, numbers, strings or numeric intervals, or a mix.
        ValueError: If it holds complex numbers.

    Example:
        >>> factorize(pd.Series([2.0, None, 5.0, 2.0]), "rooms")
        (array([ 0, -1,  1,  0]), [2, 5])
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, distinct = series.cat.codes.to_numpy(), series.cat.categories
        _require_supported(distinct, name)
    else:
        _require_supported(series, name)
        codes, distinct = pd.factorize(series)
    return codes.astype(np.int64), [_plain(value) for value in distinct.tolist()]


def _plain(value: object) -> Value:
    """Return a value of NumPy or pandas as the plain Python value that JSON holds."""
    if isinstance(value, pd.Interval):
        return Interval(left=_number(value.left), right=_number(value.right), closed=value.closed)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return _number(value) if isinstance(value, (int, float, np.number)) else str(value)


def _number(value: float | np.number) -> int | float:
    if isinstance(value, (int, np.integer)):
        return int(value)
    return int(value) if float(value).is_integer() and abs(value) < EXACT else float(value)


def _require_supported(values: pd.Series | pd.Index, name: Hashable) -> None:
    """Raise a TypeError that says what the column holds and what to do, unless it can be factorized."""
    found, dtype = infer_dtype(values, skipna=True), values.dtype
    is_sparse = isinstance(dtype, pd.SparseDtype)
    is_temporal = isinstance(dtype, pd.IntervalDtype) and str(dtype).startswith(
        ("interval[datetime", "interval[timedelta")
    )
    if found in SUPPORTED and not is_sparse and not is_temporal:
        return
    where = f"column {name!r}"
    if is_sparse:
        raise TypeError(f"{where} is sparse: convert it with .sparse.to_dense()")
    if found == "complex":
        raise ValueError(f"Complex data not supported: {where} holds complex numbers")
    if found == "bytes":
        raise TypeError(f"{where} holds bytes: decode them to strings with .str.decode('utf-8')")
    if any(word in found for word in TEMPORAL) or is_temporal:
        raise TypeError(
            f"{where} holds dates or times, which a table of categories does not take: "
            "take parts of them, such as .dt.year and .dt.month, or convert them to strings"
        )
    if not found.startswith("mixed"):
        raise TypeError(
            f"{where} has dtype {dtype} ({found}), which a table of categories does not take: "
            "convert it to strings, integers or 'category'"
        )
    types = sorted({type(value).__name__ for value in values.dropna()})
    if {"list", "dict", "tuple", "set", "frozenset", "ndarray"}.intersection(types):
        raise TypeError(f"{where} holds nested values ({', '.join(types)}): give each of their parts a column")
    raise TypeError(f"{where} mixes values of types {', '.join(types)}: convert it to one, such as astype(str)")
