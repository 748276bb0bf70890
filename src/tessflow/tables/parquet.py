"""Parquet files and tables of Arrow: their index, and integers and booleans with missing values, as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from pandas.api.extensions import ExtensionDtype
from pandas.api.types import pandas_dtype

__all__ = ["from_arrow", "parquet_batches", "read_parquet", "write_parquet"]


def read_parquet(file: IO[bytes]) -> pd.DataFrame:
    """Read a Parquet file whole.

    Args:
        file: The open file.

    Returns:
        The table, with the dtypes and the index that pandas has noted in the file. Else integers with missing values
        are `Int64` (or as wide as they are), booleans with missing values `boolean`.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> pyarrow.parquet.write_table(pa.table({"eggs": [2**60 + 1, None]}), file)
        >>> read_parquet(file)["eggs"].tolist()
        [1152921504606846977, <NA>]
    """
    return from_arrow(pyarrow.parquet.ParquetFile(file).read())


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """Return a table of Arrow with the dtypes and the index of `read_parquet`."""
    return _frame(table, _gaps([table]))


def parquet_batches(file: IO[bytes], rows: int) -> Iterator[pd.DataFrame]:
    """Read a Parquet file in batches of so many rows at most, with the dtypes and the index of `read_parquet`.

    A file with columns of integers or booleans is read twice: first to see which of them have missing values.
    """
    parquet = pyarrow.parquet.ParquetFile(file)
    schema = parquet.schema_arrow
    names = [field.name for field in schema if _nullable(field.type) is not None]
    gaps = _gaps(parquet.iter_batches(batch_size=rows, columns=names)) if names else set()
    numbering = _numbering(schema, parquet.metadata.num_rows)
    start = 0
    for batch in parquet.iter_batches(batch_size=rows):
        if not batch.num_rows:
            continue
        frame = _frame(pa.Table.from_batches([batch]), gaps)
        if numbering is not None:
            frame = frame.set_axis(numbering[start : start + len(frame)], axis=0)
        start += len(frame)
        yield frame


def write_parquet(parts: Iterable[pd.DataFrame], file: IO[bytes]) -> None:
    """Write a table that comes in parts as a Parquet file, a row group a part.

    As long as a column holds nothing but missing values, and so may be of any type, parts are held back.

    Args:
        parts: At least one, all of the same columns.
        file: The open file.

    Raises:
        pyarrow.ArrowException: If Parquet cannot hold a column.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_parquet((pd.DataFrame({"bird": [name]}) for name in (None, "wren")), file)
        >>> read_parquet(file)["bird"].isna().tolist()
        [True, False]
    """
    held: list[pa.Table] = []
    with ExitStack() as stack:
        writer = None
        for table in map(pa.Table.from_pandas, parts):
            if writer is not None:
                writer.write_table(table.cast(writer.schema))
                continue
            held.append(table)
            schema = pa.unify_schemas([part.schema for part in held])
            if not any(map(pa.types.is_null, schema.types)):
                writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, schema))
                while held:
                    writer.write_table(held.pop(0).cast(schema))
        if held:
            pyarrow.parquet.write_table(pa.concat_tables(held), file)


def _gaps(batches: Any) -> set[str]:
    """Return the names of the columns of integers or booleans that have missing values."""
    found: set[str] = set()
    for batch in batches:
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if column.null_count and _nullable(field.type) is not None:
                found.add(field.name)
    return found


def _frame(table: pa.Table, gaps: set[str]) -> pd.DataFrame:
    """Return a table of Arrow as a DataFrame, in which some columns have missing values."""
    frame = table.to_pandas()
    noted = _noted(table.schema)
    columns = [field for field in table.schema if field.name not in noted["index_columns"]]
    dtypes = {column["field_name"]: column["numpy_type"] for column in noted["columns"]}
    for place, field in enumerate(columns):
        if field.name not in gaps or table.column_names.count(field.name) > 1:
            continue
        dtype = dtypes.get(field.name, "")
        if dtype == "object":
            frame.isetitem(place, pd.Series(table.column(field.name).to_pylist(), frame.index, dtype=object))
        elif not _is_extension(dtype):
            values = _nullable(field.type).__from_arrow__(table.column(field.name))  # type: ignore[union-attr]
            frame.isetitem(place, pd.Series(values, frame.index))
    return frame


def _noted(schema: pa.Schema) -> dict[str, Any]:
    """Return what pandas has noted in a file of its index and its dtypes."""
    noted = schema.pandas_metadata or {}
    return {name: noted.get(name, []) for name in ("index_columns", "columns")}


def _numbering(schema: pa.Schema, rows: int) -> pd.RangeIndex | None:
    """Return the index, if it is a range; None if it is kept in columns."""
    descriptors = _noted(schema)["index_columns"]
    if any(isinstance(descriptor, str) for descriptor in descriptors):
        return None
    for noted in descriptors:
        index = pd.RangeIndex(noted["start"], noted["stop"], noted["step"], name=noted["name"])
        if len(index) == rows:
            return index
    return pd.RangeIndex(rows)


def _nullable(type_: pa.DataType) -> Any:
    """Return the pandas dtype that holds integers or booleans of Arrow beside missing values; None for all others."""
    if pa.types.is_boolean(type_):
        return pd.BooleanDtype()
    if not pa.types.is_integer(type_):
        return None
    return pandas_dtype(f"{'UInt' if pa.types.is_unsigned_integer(type_) else 'Int'}{type_.bit_width}")


def _is_extension(dtype: str) -> bool:
    try:
        return isinstance(pandas_dtype(dtype), ExtensionDtype) if dtype else False
    except TypeError:
        return False
