"""Table files that need not fit into memory, read batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tessflow.tables.files import MOST_BLOCK, csv_options, read_names, readable
from tessflow.tables.frames import note_na_values
from tessflow.tables.parquet import parquet_batches
from tessflow.tables.quotes import ends_in_quotes, holds_line_breaks, require_closed_quotes
from tessflow.tables.readings import Reading, named_words, readings
from tessflow.tables.table_file import TableFile
from tessflow.tables.words import WordType, convert, scan

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = ["count_rows", "read_batches"]


def read_batches(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    schema: TableSchema | None = None,
    na_values: str | Iterable[str] = (),
    rows: int = 65536,
) -> Iterator[pd.DataFrame]:
    r"""Read the rows of `read_table` in batches.

    A CSV file is read twice: first to find the types of its columns.

    Args:
        path: The file: .csv, .tsv, .csv.gz, .tsv.gz or .parquet.
        delimiter: See `read_table`.
        schema: See `read_table`.
        na_values: See `read_table`.
        rows: Most rows of a batch.

    Yields:
        DataFrames with the same columns, whose index counts the rows of the file, or is that of a Parquet file.

    Raises:
        OSError: If the file is missing, is a directory or may not be read.
        ValueError: If `rows` is less than 1, or as in `read_table`.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "eggs.csv"
        >>> _ = file.write_text("eggs\n6\n4\n5.5\n")
        >>> [batch["eggs"].tolist() for batch in read_batches(file, rows=2)]
        [[6.0, 4.0], [5.5]]
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    path = TableFile.find(path, delimiter)
    if path.is_parquet:
        return _parquet(path, rows)
    names = read_names(path, delimiter)
    given = named_words(na_values)
    return _csv(path, path.delimiter(delimiter), rows, readings(schema, names, given), given)


def count_rows(path: str | os.PathLike[str], *, delimiter: str | None = None) -> int:
    r"""Count the rows of a table file.

    Args:
        path: See `read_batches`.
        delimiter: See `read_batches`.

    Raises:
        OSError: If the file is missing, is a directory or may not be read.
        ValueError: If it has no rows, or as in `read_batches`.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "eggs.csv"
        >>> _ = file.write_text("eggs\n6\n4\n")
        >>> count_rows(file)
        2
    """
    path = TableFile.find(path, delimiter)
    with path.open() if path.is_parquet else path.stream() as file, readable(path):
        if path.is_parquet:
            rows = pyarrow.parquet.ParquetFile(file).metadata.num_rows
        else:
            options = csv_options(read_names(path, delimiter), path.delimiter(delimiter))
            batches = pyarrow.csv.open_csv(file, **options)
            rows = sum(batch.num_rows for batch in batches)
    if not rows:
        raise ValueError(f"{path} has column names but no rows")
    return rows


def _parquet(path: TableFile, rows: int) -> Iterator[pd.DataFrame]:
    is_empty = True
    with path.open() as file, readable(path):
        for batch in parquet_batches(file, rows):
            is_empty = False
            yield batch
    if is_empty:
        raise ValueError(f"{path} has column names but no rows")


def _csv(
    path: TableFile, separator: str, rows: int, read: dict[str, Reading], given: frozenset[str]
) -> Iterator[pd.DataFrame]:
    types: dict[str, WordType] = {}
    for words in _words(path, read, separator, rows, looks_at_quotes=True):
        found = {name: scan(words[name], reading) for name, reading in read.items()}
        types = {name: types[name].join(found[name]) for name in read} if types else found
    if not types:
        raise ValueError(f"{path} has column names but no rows")
    for name, type_ in types.items():
        type_.warn(name, stacklevel=2)
    for words in _words(path, read, separator, rows):
        frame = words.apply(lambda column: convert(column, types[column.name], read[column.name]))
        note_na_values(frame, given)
        yield frame


def _words(
    path: TableFile, read: dict[str, Reading], separator: str, rows: int, *, looks_at_quotes: bool = False
) -> Iterator[pd.DataFrame]:
    """Read a CSV file as batches of strings, whose index counts the rows of the file."""
    first = 0
    with path.stream() as file, readable(path, separator):
        for batch in pyarrow.csv.open_csv(file, **csv_options(list(read), separator)):
            if looks_at_quotes and holds_line_breaks(batch):
                require_closed_quotes(path, separator, MOST_BLOCK)
                looks_at_quotes = False
            for start in range(0, batch.num_rows, rows):
                frame = pa.Table.from_batches([batch.slice(start, rows)]).to_pandas()
                frame = frame.set_axis(pd.RangeIndex(first, first + len(frame)), axis=0)
                first += len(frame)
                yield frame.apply(lambda column: read[column.name].plain(column))
    if looks_at_quotes and ends_in_quotes(path, separator, MOST_BLOCK):
        require_closed_quotes(path, separator, MOST_BLOCK)
