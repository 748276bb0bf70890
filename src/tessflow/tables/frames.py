"""What may be given as a table: a frame of any library, an array, or a list of rows; and how a DataFrame was read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from tessflow.tables.frame_kinds import exact_series, to_pandas, unmasked_series

__all__ = ["as_frame", "note_na_values", "noted_na_values"]

EXPECTED = (
    "a table is a DataFrame (pandas, polars), a pyarrow table, a DuckDB relation, a dict of arrays, a 2-D NumPy array "
    "or a list of rows"
)

NOTE = "tessflow_na_values"
"""The entry of `DataFrame.attrs`, which pandas carries along, for the words that were read as missing values."""


def as_frame(table: object) -> tuple[pd.DataFrame, str | None]:
    """Return a table as a DataFrame, whose columns an array or a list of rows numbers from 0.

    Args:
        table: A DataFrame, of pandas or of any other library that narwhals knows (polars, pyarrow, DuckDB); a dict of
            arrays; a 2-D array (or anything else that NumPy takes for one); or a list of rows. What is masked of an
            array of `numpy.ma` is missing. Integers and booleans beside missing values get nullable dtypes.

    Returns:
        The DataFrame, and the dtype of the array (None for a frame and a dict).

    Raises:
        TypeError: If it is anything else, or its column names are neither strings nor integers.
        ValueError: If it does not have two dimensions and at least one column, or column names repeat.

    Example:
        >>> frame, array_dtype = as_frame([[1, "a"], [2, "b"]])
        >>> list(frame.columns), array_dtype
        ([0, 1], 'object')
    """
    converted = to_pandas(table)
    table = table if converted is None else converted
    if isinstance(table, pd.DataFrame):
        _require_names(table.columns)
        frame, array_dtype = table, None
    elif isinstance(table, (list, tuple)):
        frame = _rows(table)
        array_dtype = str(frame.to_numpy().dtype)
    elif hasattr(table, "__array__") and not hasattr(table, "columns"):
        array = np.asanyarray(table) if isinstance(table, np.ma.MaskedArray) else np.asarray(table)
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {array.ndim}D array of shape {array.shape}. "
                "Reshape your data: one row a sample, one column a variable"
            )
        if array.dtype.kind == "T":  # NumPy's strings of variable width, whose dtype has no name
            array = array.astype(object)
        array_dtype = str(array.dtype)
        array = array.astype(object) if array.dtype.kind in "USV" else array
        frame = _unmasked(array) if isinstance(array, np.ma.MaskedArray) else pd.DataFrame(array)
    else:
        kind = f"{type(table).__module__}.{type(table).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"{EXPECTED}, got {kind}")
    if frame.shape[1] == 0:
        raise ValueError(f"0 feature(s) (shape={frame.shape}) while a minimum of 1 is required.")
    return frame, array_dtype


def note_na_values(frame: pd.DataFrame, words: Iterable[str]) -> None:
    """Note with a table which words of its file were named as missing values, so that a schema read off it has them.

    Example:
        >>> frame = pd.DataFrame({"eggs": [6, None]})
        >>> note_na_values(frame, ["?"])
        >>> noted_na_values(frame.iloc[:1]), noted_na_values(frame.to_numpy())
        (frozenset({'?'}), frozenset())
    """
    if noted := sorted(words):
        frame.attrs[NOTE] = noted


def noted_na_values(table: object) -> frozenset[str]:
    """Return the words of a table's file that were named as missing values; see `note_na_values`."""
    return frozenset(table.attrs.get(NOTE, ())) if isinstance(table, pd.DataFrame) else frozenset()


def _rows(rows: list[object] | tuple[object, ...]) -> pd.DataFrame:
    for position, row in enumerate(rows):
        if not isinstance(row, (list, tuple, np.ndarray)):
            raise ValueError(
                f"Expected 2D array, got a list whose item {position} is a {type(row).__name__}. "
                "Reshape your data: one row a sample, one column a variable"
            )
        if len(row) != len(rows[0]):  # type: ignore[arg-type]
            raise ValueError(f"row {position} has {len(row)} values, but row 0 has {len(rows[0])}")  # type: ignore[arg-type]
    cells = [[None if cell is np.ma.masked else cell for cell in row] for row in rows]  # type: ignore[attr-defined]
    frame = pd.DataFrame(cells)
    for n, column in frame.items():
        frame[n] = exact_series(column, [row[n] for row in cells])
    return frame


def _unmasked(array: np.ma.MaskedArray[Any, Any]) -> pd.DataFrame:
    """Return a masked array as a DataFrame, in which what is masked is missing."""
    columns = zip(array.data.T, np.ma.getmaskarray(array).T, strict=True)
    return pd.DataFrame({n: unmasked_series(values, gone) for n, (values, gone) in enumerate(columns)})


def _require_names(names: pd.Index) -> None:
    for name in names:
        if isinstance(name, (bool, np.bool_)) or not isinstance(name, (str, int, np.integer)):
            raise TypeError(f"column names are strings or integers, got {name!r} ({type(name).__name__})")
    if names.has_duplicates:
        repeated = ", ".join(repr(name) for name in names[names.duplicated()].unique())
        raise ValueError(f"column names must be distinct, but these repeat: {repeated}")
