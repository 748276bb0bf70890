"""Frames of other libraries than pandas: taken through Arrow, and given back as the kind that they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa

from tessflow.tables.grid import EXACT_STEPS
from tessflow.tables.parquet import from_arrow

__all__ = ["FrameKind", "collected", "exact_series", "to_pandas", "unmasked_series"]


@dataclass(frozen=True)
class FrameKind:
    """What kind of frame a table is: of which library, or a dict of arrays, or neither (pandas, an array, a list).

    Args:
        library: The library, as narwhals knows it; None for pandas, and what is no frame.
        is_dict: Whether it is a dict of arrays.
        categories: Columns of categories, and their dtypes, which Arrow does not keep.

    Example:
        >>> kind = FrameKind.of(pa.table({"eggs": [6, None]}))
        >>> kind.frame(pd.DataFrame({"eggs": [4]})).to_pydict()
        {'eggs': [4]}
        >>> FrameKind.of({"eggs": np.array([6])}).frame(pd.DataFrame({"eggs": [4]}))
        {'eggs': array([4])}
    """

    library: nw.Implementation | None = None
    is_dict: bool = False
    categories: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: object) -> FrameKind:
        """Return the kind of a table."""
        if _is_dict(table):
            return cls(is_dict=True)
        frame = _known(table)
        if frame is None:
            return cls()
        dtypes = frame.collect_schema() if isinstance(frame, nw.LazyFrame) else frame.schema
        categories = {name: dtype for name, dtype in dtypes.items() if dtype in (nw.Categorical, nw.Enum)}
        return cls(frame.implementation, categories=categories)

    @property
    def is_pandas(self) -> bool:
        """Whether results stay as they are."""
        return self.library is None and not self.is_dict

    def frame(self, frame: pd.DataFrame) -> Any:
        """Return a DataFrame as a frame of this kind, without its index.

        Raises:
            TypeError: If the library cannot hold a column.
        """
        if self.is_pandas:
            return frame
        if self.is_dict:
            return {name: column.to_numpy() for name, column in frame.items()}
        return self._native(self._columns(frame.reset_index(drop=True)))

    def replaced(self, table: Any, frame: pd.DataFrame) -> Any:
        """Return a table of this kind with the columns of a DataFrame in place of its own; all others are untouched.

        Args:
            table: The table, as :func:`collected` returns it.
            frame: New columns, with as many rows.

        Raises:
            TypeError: If the library cannot hold a column.
        """
        if self.is_dict:
            return {**table, **self.frame(frame)}
        whole = nw.from_native(table, eager_only=True)
        if frame.shape[1]:
            new = self._columns(frame.reset_index(drop=True), whole.implementation)
            whole = whole.with_columns(*(new[name] for name in new.columns))
        return self._native(whole)

    def _columns(self, frame: pd.DataFrame, library: Any = None) -> nw.DataFrame[Any]:
        """Return a DataFrame in the library, or that in which it was computed."""
        library = self._eager if library is None else library
        try:
            table = pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False).replace_schema_metadata()
            new = nw.from_arrow(table, backend=library)
        except (pa.ArrowException, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise TypeError(f"{library} cannot hold the result ({first}): give a pandas DataFrame") from error
        if library is not nw.Implementation.POLARS:
            return new
        known = [name for name in self.categories if name in new.columns and new.schema[name] == nw.Categorical]
        for name in known:
            old, values = self.categories[name], new[name].drop_nulls().unique().cast(nw.String).to_list()
            if old == nw.Categorical or set(values) <= set(old.categories):
                new = new.with_columns(new[name].cast(old))
        return new

    @property
    def _eager(self) -> nw.Implementation:
        """The library in which rows are held: that of Arrow, if this one only plans what to compute."""
        eager = (nw.Implementation.POLARS, nw.Implementation.MODIN, nw.Implementation.CUDF, nw.Implementation.PYARROW)
        return self.library if self.library in eager else nw.Implementation.PYARROW

    def _native(self, frame: nw.DataFrame[Any]) -> Any:
        if self.library is nw.Implementation.DUCKDB:
            import duckdb

            return duckdb.from_arrow(frame.to_arrow())
        return frame.to_native()


def collected(table: Any) -> Any:
    """Return a table whose rows are there: those of a lazy frame are computed, once; all else is as it is."""
    frame = _known(table)
    if not isinstance(frame, nw.LazyFrame):
        return table
    is_polars = frame.implementation is nw.Implementation.POLARS
    return frame.collect("polars" if is_polars else "pyarrow").to_native()


def to_pandas(table: object) -> pd.DataFrame | None:
    """Return a frame of another library, or a dict of columns, as a DataFrame; None if it is neither.

    Integers and booleans with missing values get nullable dtypes, and no integer is rounded. Intervals of DuckDB are
    durations, whose days have 24 hours.

    Raises:
        ValueError: If an interval has months, or the columns of a dict are not of one length, or not of one dimension.

    Example:
        >>> to_pandas(pa.table({"eggs": [2**60 + 1, None]}))["eggs"].tolist()
        [1152921504606846977, <NA>]
    """
    if _is_dict(table):
        return _from_dict(table)
    frame = _known(table)
    if frame is None:
        return None
    arrow = (frame.collect("pyarrow") if isinstance(frame, nw.LazyFrame) else frame).to_arrow()
    for place, column in enumerate(arrow.schema):
        if column.type == pa.month_day_nano_interval():
            arrow = arrow.set_column(place, column.name, _durations(column.name, arrow.column(place)))
    return from_arrow(arrow)


def _durations(name: str, intervals: pa.ChunkedArray) -> pa.Array:
    rows = intervals.to_pylist()
    if any(row is not None and row.months for row in rows):
        raise ValueError(f"column {name!r} holds intervals of months, which have no fixed length: give days")
    counts = [None if row is None else row.days * 86_400_000_000 + row.nanoseconds // 1000 for row in rows]
    return pa.array(counts, pa.int64()).cast(pa.duration("us"))


def _known(table: Any) -> nw.DataFrame[Any] | nw.LazyFrame[Any] | None:
    """Return a frame of another library as narwhals sees it."""
    if isinstance(table, (pd.DataFrame, np.ndarray, list, tuple)):
        return None
    frame = nw.from_native(table, pass_through=True)
    return frame if isinstance(frame, (nw.DataFrame, nw.LazyFrame)) else None


def _is_dict(table: object) -> TypeGuard[dict[Any, Any]]:
    return isinstance(table, dict) and not hasattr(table, "shape")  # a sparse matrix may be one


def _from_dict(table: dict[Any, Any]) -> pd.DataFrame:
    columns = {name: _column(name, values) for name, values in table.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name!r} {len(column)}" for name, column in columns.items())
        raise ValueError(f"the columns of a table have one length, but these have others: {lengths}")
    return pd.DataFrame(columns)


def _column(name: Any, values: Any) -> pd.Series:
    if np.ndim(values) != 1:
        raise ValueError(
            f"column {name!r} has {np.ndim(values)} dimensions: give an array or a list with one value a row"
        )
    if isinstance(values, np.ma.MaskedArray):
        return unmasked_series(values.data, np.ma.getmaskarray(values))
    if isinstance(values, np.ndarray) and values.dtype.kind in "USVT":
        values = values.astype(object)
    series = pd.Series(values).reset_index(drop=True)
    return exact_series(series, values) if isinstance(values, (list, tuple)) else series


def exact_series(series: pd.Series, cells: Sequence[object]) -> pd.Series:
    """Return the column of some cells, as objects where pandas may have rounded integers beside missing values."""
    may_be_rounded = series.dtype == np.float64 and (series.abs() >= EXACT_STEPS).any()
    if may_be_rounded and any(isinstance(cell, (int, np.integer)) for cell in cells):
        return pd.Series(list(cells), dtype=object)
    return series


def unmasked_series(values: np.ndarray[Any, Any], gone: np.ndarray[Any, Any]) -> pd.Series:
    """Return a masked array of one dimension as a column, in which what is masked is missing."""
    series = pd.Series(values, dtype=object if values.dtype.kind == "O" else None)
    if gone.any():
        name = values.dtype.name
        if values.dtype.kind in "iub":  # never by way of floats
            series = series.astype("boolean" if name == "bool" else name.replace("i", "I").replace("uI", "UI"))
        series = series.mask(gone, None if values.dtype.kind == "O" else pd.NA)
    return series
