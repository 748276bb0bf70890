"""Table files that need not fit into memory, read batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tessflow.tables.files import (
    DELIMITERS,
    PARQUET,
    csv_options,
    open_bytes,
    read_names,
    readable,
    require_table,
)  # fmt: skip
from tessflow.tables.words import WordType, convert, declared_types, scan

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = ["read_batches"]

BLOCK = 2**24
"""Bytes of a CSV file that are read at once; a row has fewer."""


def read_batches(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    schema: TableSchema | None = None,
    rows: int = 65536,
) -> Iterator[pd.DataFrame]:
    r"""Read the rows of `read_table` in batches.

    A CSV file is read twice: first to find the types of its columns.

    Args:
        path: The file: .csv, .tsv, .csv.gz, .tsv.gz or .parquet.
        delimiter: See `read_table`.
        schema: See `read_table`.
        rows: Most rows of a batch.

    Yields:
        DataFrames with the same columns, their index counting the rows of the file.

    Raises:
        OSError: If the file is missing, is a directory or may not be read.
        ValueError: If `rows` is less than 1, or as in `read_table`.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "eggs.csv"
        >>> _ = file.write_text("eggs\n6\n4\n5.5\n")
        >>> [batch["eggs"].tolist() for batch in read_batches(file, rows=2)]
        [[6.0, 4.0], [5.5]]
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    path, suffix = require_table(path, delimiter)
    if suffix == PARQUET:
        return _counted(_parquet(path, rows), path)
    separator = DELIMITERS[suffix] if delimiter is None else delimiter
    names = read_names(path, separator, is_given=delimiter is not None)
    return _counted(_csv(path, names, separator, rows, declared_types(schema)), path)


def _parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    with path.open("rb") as file, readable(path):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=rows):
            yield pa.Table.from_batches([batch]).to_pandas()


def _csv(
    path: Path, names: list[str], separator: str, rows: int, declared: dict[object, tuple[str, ...]]
) -> Iterator[pd.DataFrame]:
    types: dict[str, WordType] = {}
    for words in _words(path, names, separator, rows):
        found = {name: scan(words[name], declared.get(name)) for name in names}
        types = {name: types[name].join(found[name]) for name in names} if types else found
    for words in _words(path, names, separator, rows):
        yield words.apply(lambda column: convert(column, types[str(column.name)]))


def _words(path: Path, names: list[str], separator: str, rows: int) -> Iterator[pd.DataFrame]:
    """Read a CSV file as batches of strings."""
    with open_bytes(path) as file, readable(path):
        for batch in pyarrow.csv.open_csv(file, **csv_options(names, separator, block_size=BLOCK)):
            for start in range(0, batch.num_rows, rows):
                yield pa.Table.from_batches([batch.slice(start, rows)]).to_pandas()


def _counted(batches: Iterator[pd.DataFrame], path: Path) -> Iterator[pd.DataFrame]:
    """Yield batches with their rows numbered through; refuse a file without any."""
    start = 0
    for batch in batches:
        if len(batch):
            yield batch.set_axis(pd.RangeIndex(start, start + len(batch)), axis=0)
            start += len(batch)
    if not start:
        raise ValueError(f"{path} has column names but no rows")
