"""Fill the holes of a column without changing a value that is known."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionDtype
from pandas.api.types import infer_dtype

__all__ = ["fill"]

Dtype: TypeAlias = "np.dtype[Any] | ExtensionDtype"

OBJECT = np.dtype(object)


def fill(series: pd.Series, holes: NDArray[np.bool_], values: pd.Series) -> pd.Series:
    """Fill the holes of a column, in a dtype that holds the known values and the filled ones exactly.

    The dtype is the first that does, of: the dtype of training; the column's own; if that is an unordered categorical
    dtype, it with the filled values as further categories; object. "Exactly" is: equal as Python values, 3 to 3.0 but
    not to True, a datetime to no date; times to the nanosecond, and in the same time zone. Among objects that are all
    dates, midnights are filled in as dates, and dates as midnights among datetimes without a zone; among decimals,
    numbers as decimals. What the model leaves missing stays missing.

    Args:
        series: A column as it was given, missing at least at the holes.
        holes: Which rows to fill, shape (rows,).
        values: What to fill in, in the dtype of training, shape (rows,); only rows of holes are read.

    Returns:
        The filled column, with the index and the name of `series`; without holes, `series` itself.

    Example:
        >>> column, holes = pd.Series([300.0, np.nan]), np.array([False, True])
        >>> fill(column, holes, pd.Series([0, 7], dtype="int16")).tolist()
        [300, 7]
        >>> fill(column, holes, pd.Series([0, 7], dtype="int8")).tolist()  # no int8 is 300
        [300.0, 7.0]
    """
    if not holes.any():
        return series
    rows = pd.RangeIndex(len(series))
    known, filled = (column.set_axis(rows).rename(None)[kept] for column, kept in ((series, ~holes), (values, holes)))
    filled = _like(known, filled)
    present = filled.dropna()
    for dtype in _candidates(series.dtype, present):
        parts = _exactly(known, dtype), _exactly(present, dtype)
        if parts[0] is not None and parts[1] is not None:
            whole = pd.concat(parts).reindex(rows)
            if whole.dtype == dtype:  # else the dtype has no missing value
                break
    else:
        whole = pd.concat([known.astype(object), filled.astype(object)]).reindex(rows)
    whole.index, whole.name = series.index, series.name
    return whole


def _like(known: pd.Series, filled: pd.Series) -> pd.Series:
    """Return midnights as dates among dates, dates as midnights among datetimes, numbers as decimals among decimals."""
    kind = infer_dtype(known, skipna=True)
    if kind == "date" and _kind(filled.dtype) == "M" and _zone(filled.dtype) == "None":
        times = filled.dropna()
        if (times == times.dt.normalize()).all():
            return filled.astype(object).map(pd.Timestamp.date, na_action="ignore").astype(known.dtype)
    is_clock = _kind(known.dtype) == "M" and _zone(known.dtype) == "None" and known.notna().any()
    if is_clock and infer_dtype(filled, skipna=True) == "date":
        return filled.astype(object).map(pd.Timestamp, na_action="ignore").astype("datetime64[us]")
    if kind == "decimal" and _kind(filled.dtype) in "iuf":
        return filled.astype(object).map(lambda number: Decimal(str(number)), na_action="ignore")
    return filled


def _candidates(own: Dtype, filled: pd.Series) -> Iterator[Dtype]:
    """Yield the dtypes to try before object."""
    for dtype in (filled.dtype, own):
        if dtype == OBJECT:
            return
        yield dtype
    if isinstance(own, pd.CategoricalDtype) and not own.ordered:
        old, new = own.categories, _exactly(filled, own.categories.dtype)
        if new is None:
            old, new = old.astype(object), filled.astype(object)
        added = new[~new.isin(old)].unique()
        try:
            yield pd.CategoricalDtype(pd.Index([*old, *added], dtype=old.dtype))  # append would make objects floats
        except ValueError:  # categories 1 and True
            return


def _exactly(series: pd.Series, dtype: Dtype) -> pd.Series | None:
    """Return values, none of them missing, in a dtype; None if it does not hold each exactly."""
    if series.empty:
        return pd.Series(index=series.index, dtype=dtype)
    if series.dtype == dtype or dtype == OBJECT:
        return series.astype(dtype)
    series = _plain(series)
    if _kind(series.dtype) == _kind(dtype) == "M" and _zone(series.dtype) != _zone(dtype):
        return None
    if isinstance(dtype, pd.CategoricalDtype):  # whose look-up needs values in the dtype of the categories
        plain = _exactly(series, dtype.categories.dtype)
        if plain is None:
            return None
        series = plain
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            if _kind(dtype) in "iuf":  # of NumPy first: Arrow refuses integers that a float might round
                converted = pd.Series(_numbers(series).astype(_numpy_dtype(dtype)), series.index)
            else:
                converted = series.astype(dtype)
            return converted.astype(dtype) if _same(series, _plain(converted)) else None
        except (ValueError, TypeError, ArithmeticError, NotImplementedError, pa.ArrowException):
            return None


def _plain(series: pd.Series) -> pd.Series:
    """Return a categorical column in the dtype of its categories, another as it is."""
    return series.astype(series.cat.categories.dtype) if isinstance(series.dtype, pd.CategoricalDtype) else series


def _kind(dtype: Dtype) -> str:
    """Name what a dtype holds as NumPy does; dates, which it takes for datetimes, are objects."""
    is_date = isinstance(dtype, pd.ArrowDtype) and pa.types.is_date(dtype.pyarrow_dtype)
    return "O" if is_date else dtype.kind


def _numpy_dtype(dtype: Dtype) -> np.dtype[Any]:
    plain: Any = getattr(dtype, "numpy_dtype", dtype)
    return np.dtype(plain)


def _numbers(series: pd.Series) -> NDArray[Any]:
    """Return numbers in NumPy's dtype for them; what are none, or objects, as NumPy takes them."""
    if _kind(series.dtype) not in "iuf":
        return series.to_numpy()
    dtype = _numpy_dtype(series.dtype)
    return series.to_numpy(dtype=dtype, na_value=np.nan) if dtype.kind == "f" else series.to_numpy(dtype=dtype)


def _equal(old: NDArray[Any], new: NDArray[Any]) -> bool:
    """Return whether numbers are the same, where NumPy would round 64-bit integers to compare them."""
    if old.dtype.kind == "f" and new.dtype.kind == "f":
        return bool(np.all((old == new) | (np.isnan(old) & np.isnan(new))))
    if old.dtype.kind != "f" and new.dtype.kind != "f":
        return bool(np.all((new.astype(old.dtype) == old) & ((new < 0) == (old < 0))))
    reals, whole = (old, new) if old.dtype.kind == "f" else (new, old)
    limits = np.iinfo(whole.dtype)
    reals = reals.astype(np.result_type(reals.dtype, np.float64))  # which holds the powers of two that bound them
    if not np.all((reals >= float(limits.min)) & (reals < float(limits.max + 1))):
        return False
    return bool(np.all((reals == np.trunc(reals)) & (reals.astype(whole.dtype) == whole)))


def _same(old: pd.Series, new: pd.Series) -> bool:
    """Return whether two columns of any dtypes, but of one time zone if both have times, hold the same values."""
    kinds = _kind(old.dtype), _kind(new.dtype)
    if kinds in (("M", "M"), ("m", "m")):
        return bool((new.astype(old.dtype) == old).all())
    if set("".join(kinds)) <= set("iuf"):
        return _equal(_numbers(old), _numbers(new))
    pair = old.astype(object).to_numpy(), new.astype(object).to_numpy()
    found = {infer_dtype(objects, skipna=False) for objects in pair}
    if found in ({"string"}, {"integer"}, {"boolean"}):
        return bool((pair[0] == pair[1]).all())
    return all(_key(one) == _key(other) for one, other in zip(*pair, strict=True))


def _zone(dtype: Dtype) -> str:
    return str(getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None))


def _key(value: Any) -> tuple[object, ...]:
    """Return what is equal for the same values only."""
    if pd.isna(value):
        return ("missing",)
    if isinstance(value, (datetime.datetime, np.datetime64)):
        time = pd.Timestamp(value)
        return "datetime", time, str(time.tz)
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return "timedelta", pd.Timedelta(value)
    if isinstance(value, (np.number, np.bool_, np.str_)):
        value = value.item()  # NumPy rounds integers to compare them with floats
    kind = "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)
    return kind, value
