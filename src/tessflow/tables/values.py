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

from tessflow.tables.times import to_microseconds, word

__all__ = [
    "EXACT", "Interval", "Missing", "TableWarning", "Value", "equals", "factorize", "family", "is_missing",
    "missing_name", "natives", "odd_one", "other_family", "plain", "show", "to_floats", "uncategorized", "value_type",
]  # fmt: skip

EXACT = 2**53
"""Whole numbers below it are told apart by a float64."""

FAMILIES = {
    "boolean": "booleans",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "string": "strings",
    "interval": "intervals",
    "date": "datetimes",
    "datetime": "datetimes",
    "datetime64": "datetimes",
    "timedelta": "timedeltas",
    "timedelta64": "timedeltas",
    "empty": "nothing",
}


class TableWarning(UserWarning):
    """Something about a column that is probably not as it was meant."""


Missing: TypeAlias = Literal["None", "nan", "NA"]


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


def is_missing(value: object) -> bool:
    """Return whether one value is missing: None, NaN, NaT or NA.

    Example:
        >>> is_missing(None), is_missing(float("nan")), is_missing("nan")
        (True, True, False)
    """
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, (float, np.floating)) and value != value)
    )


def missing_name(value: object) -> Missing:
    """Name how a missing value is written.

    Example:
        >>> missing_name(None), missing_name(pd.NaT)
        ('None', 'nan')
    """
    return "None" if value is None else "NA" if value is pd.NA else "nan"


def factorize(series: pd.Series, name: Hashable) -> tuple[NDArray[np.int64], list[Value]]:
    """Split a column into its distinct values and the position of each row's value among them.

    Whole floats become integers, so a column of integers that pandas made float for a missing value reads as
    integers again; times become words of ISO 8601, in UTC. Of a categorical column all categories are returned,
    seen or not, in their order.

    Args:
        series: A column of a table.
        name: Its name, for messages.

    Returns:
        Positions of shape (rows,), -1 where the value is missing, and the list of distinct values.

    Raises:
        TypeError: If the column holds anything but booleans, numbers, strings, times or numeric intervals, or a mix.
        ValueError: If it holds complex numbers.

    Example:
        >>> factorize(pd.Series([2.0, None, 5.0, 2.0]), "rooms")
        (array([ 0, -1,  1,  0]), [2, 5])
    """
    found = family(series, name)
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes, distinct = series.cat.codes.to_numpy(), series.cat.categories
    elif found in ("datetimes", "timedeltas"):
        counts, missing = to_microseconds(series, name)
        codes, distinct = pd.factorize(pd.Series(counts).mask(missing))
        return codes.astype(np.int64), [word(int(count), found.removesuffix("s")) for count in distinct]
    else:
        codes, distinct = pd.factorize(series)
    return codes.astype(np.int64), [plain(value) for value in distinct.tolist()]


def plain(value: object) -> Value:
    """Return a value of NumPy or pandas as the plain Python value that JSON holds.

    Example:
        >>> plain(np.float64(2)), plain(np.str_("a"))
        (2, 'a')
    """
    if isinstance(value, pd.Interval):
        return Interval(left=_number(value.left), right=_number(value.right), closed=value.closed)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return _number(value) if isinstance(value, (int, float, np.number)) else str(value)


def _number(value: float | np.number) -> int | float:
    if isinstance(value, (int, np.integer)):
        return int(value)
    return int(value) if float(value).is_integer() and abs(value) < EXACT else float(value)


def family(series: pd.Series, name: Hashable) -> str:
    """Name what a column holds: "booleans", "numbers", "strings", "intervals", "datetimes", "timedeltas", "nothing".

    Of a categorical column, its categories are meant. "nothing" is a column of missing values only.

    Raises:
        TypeError: If it holds anything else, or a mix; the message says what to do.
        ValueError: If it holds complex numbers.

    Example:
        >>> family(pd.Series([None, 2.5]), "height")
        'numbers'
    """
    is_categorical = isinstance(series.dtype, pd.CategoricalDtype)
    values = series.cat.categories if is_categorical else series
    found, dtype = infer_dtype(values, skipna=True), values.dtype
    where = f"column {name!r}"
    if isinstance(dtype, pd.SparseDtype):
        raise TypeError(f"{where} is sparse: convert it with .sparse.to_dense()")
    is_temporal = isinstance(dtype, pd.IntervalDtype) and np.dtype(dtype.subtype).kind in "mM"
    if is_temporal or (is_categorical and FAMILIES.get(found) in ("datetimes", "timedeltas")):
        raise TypeError(f"{where} holds categories of dates or times: convert them to strings, or to dates or times")
    if found in FAMILIES:
        return FAMILIES[found]
    if found == "complex":
        raise ValueError(f"Complex data not supported: {where} holds complex numbers")
    if found == "bytes":
        raise TypeError(f"{where} holds bytes: decode them to strings with .str.decode('utf-8')")
    if found == "decimal":
        raise TypeError(f"{where} holds decimals: convert it with astype(float)")
    if found == "period":
        raise TypeError(f"{where} holds periods: convert it with .dt.to_timestamp()")
    if found == "time":
        raise TypeError(f"{where} holds times of day: convert them to durations with pandas.to_timedelta")
    if not found.startswith("mixed"):
        raise TypeError(
            f"{where} has dtype {dtype} ({found}), which a table does not take: convert it to numbers or strings"
        )
    types = sorted({type(value).__name__ for value in values.dropna()})
    if {"list", "dict", "tuple", "set", "frozenset", "ndarray"}.intersection(types):
        raise TypeError(f"{where} holds nested values ({', '.join(types)}): give each of their parts a column")
    raise TypeError(f"{where} mixes values of types {', '.join(types)}: convert it to one, such as astype(str)")


def odd_one(series: pd.Series, wanted: str) -> tuple[int, object]:
    """Return the row and the value that keeps a column from being of a family: the first, if all do.

    In a column of words, which a file makes of one that mixes words with numbers, it is the first word that is none.

    Args:
        series: A column that is not of the family, with a value.
        wanted: The family.

    Example:
        >>> odd_one(pd.Series(["7754.31", None, "lots", "2"]), "numbers")
        (2, 'lots')
    """
    present = np.flatnonzero(series.notna())
    values = series.iloc[present]
    read = _as_family(values, wanted) if all(isinstance(value, str) for value in values) else None
    odd = np.zeros(len(values), bool) if read is None else ~read
    row = int(present[int(np.argmax(odd))])
    value = series.iloc[row]
    return row, value.item() if isinstance(value, np.generic) else value


def other_family(series: pd.Series, name: object, found: str, wanted: str) -> ValueError:
    """Return the error about a column that holds another family than in training; it names the value that is odd.

    Example:
        >>> raise other_family(pd.Series(["7754.31"]), "price", "strings", "numbers")
        Traceback (most recent call last):
        ValueError: column 'price' holds strings such as '7754.31', but the training data held numbers; convert it with
        pandas.to_numeric; it is in row 0 (counted from 0)
    """
    converters = {"numbers": "to_numeric", "datetimes": "to_datetime", "timedeltas": "to_timedelta"}
    row, value = odd_one(series, wanted)
    read = _as_family(pd.Series([value]), wanted) if isinstance(value, str) and wanted in converters else None
    hint = "" if read is None or not read.all() else f"; convert it with pandas.{converters[wanted]}"
    return ValueError(
        f"column {name!r} holds {found} such as {show(plain(value))}, but the training data held {wanted}{hint}; "
        f"it is in row {row} (counted from 0)"
    )


def _as_family(words: pd.Series, wanted: str) -> NDArray[np.bool_] | None:
    """Return which words a file would be read by as values of a family; None if there is no such reading."""
    from tessflow.tables.words import fit_one  # which needs columns, and these this module

    types = {
        "numbers": ("integer", "real"),
        "booleans": ("boolean",),
        "datetimes": ("datetime", "instant"),
        "timedeltas": ("timedelta",),
    }
    return fit_one(words.astype(object), types[wanted]) if wanted in types else None


def to_floats(series: pd.Series) -> NDArray[np.float64]:
    """Return a column of numbers in float64, with NaN for what is missing.

    Example:
        >>> to_floats(pd.Series([1, None], dtype="Int64"))
        array([ 1., nan])
    """
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def natives(series: pd.Series) -> NDArray[np.generic]:
    """Return a column of numbers as NumPy holds them: integers as integers, 0 where missing; all others as floats.

    Example:
        >>> natives(pd.Series([2**60 + 1, None], dtype="Int64"))
        array([1152921504606846977,                   0])
    """
    dtype = series.dtype
    numpy_dtype = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # type: ignore[arg-type]
    if numpy_dtype.kind in "iu":
        return series.to_numpy(dtype=numpy_dtype, na_value=0)
    if numpy_dtype.kind == "O":
        cells = [0 if is_missing(cell) else cell for cell in series]
        if all(isinstance(cell, (int, np.integer)) for cell in cells):
            array = np.array(cells)
            return array if array.dtype.kind in "iu" else np.array([int(cell) for cell in cells], dtype=object)
    return to_floats(series) if numpy_dtype != np.float32 else series.to_numpy(dtype=np.float32, na_value=np.nan)


def equals(natives: NDArray[np.generic], value: int | float) -> NDArray[np.bool_]:
    """Return which of some numbers, as `natives` returns them, are a value exactly, where a float64 would not tell.

    Example:
        >>> equals(np.array([2**60, 2**60 + 1]), 2**60 + 1), equals(np.array([2.0**60]), 2**60 + 1)
        (array([False,  True]), array([False]))
    """
    if natives.dtype.kind == "f":
        nearest = float(value)
        return (natives == nearest) & (int(nearest) == value)
    return np.asarray(natives == value, bool)


def uncategorized(series: pd.Series) -> pd.Series:
    """Return a categorical column in the dtype of its categories, of integers beside missing values as objects.

    Example:
        >>> uncategorized(pd.Series(pd.Categorical([2**60 + 1, None]))).tolist()
        [1152921504606846977, nan]
    """
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return series
    dtype = series.cat.categories.dtype
    return series.astype(object if series.hasnans and dtype.kind in "iub" else dtype)
