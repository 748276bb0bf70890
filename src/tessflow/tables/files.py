"""Table files: CSV and Parquet, read strictly and written atomically."""

from __future__ import annotations

import csv
import gzip
import os
import re
import textwrap
import zlib
from contextlib import contextmanager, nullcontext
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tessflow.files import replacing
from tessflow.tables.frames import note_na_values
from tessflow.tables.parquet import read_parquet, write_parquet
from tessflow.tables.quotes import ends_in_quotes, holds_line_breaks, require_closed_quotes
from tessflow.tables.readings import column_named, named_words, readings
from tessflow.tables.table_file import DELIMITERS, PARQUET, TableFile, require_suffix
from tessflow.tables.words import convert, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tessflow.tables.schema import TableSchema

__all__ = [
    "MOST_BLOCK", "csv_options", "in_words", "read_header", "read_names", "read_table", "readable", "write_parts",
    "write_table",
]  # fmt: skip

MOST_BLOCK = 2**24
"""Most bytes of a row of a CSV file, which is read in blocks of so many."""

MOST_HEADER = 2**22
"""Most bytes of its header."""


def read_table(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    schema: TableSchema | None = None,
    na_values: str | Iterable[str] = (),
) -> pd.DataFrame:
    r"""Read a table from a CSV (.csv, .tsv, .csv.gz, .tsv.gz) or Parquet (.parquet) file.

    A CSV file is UTF-8 text with a header line and equally many fields in every row. A column is read as booleans
    if all of its words are True or False, as integers if all are integers, of 64 bits, as Python
    writes them (007 is not, and stays a string), as floats if all are finite decimal numbers or inf, and as
    datetimes, to the microsecond, if all are dates or datetimes in ISO 8601: in UTC if all have an offset or Z;
    else as strings. An empty field is a missing value. So are NA, N/A, n/a, #N/A, NULL, null, NaN, nan, <NA> and \\N
    beside words that are all numbers, booleans or times; in a column of strings they are strings.

    A schema says what its columns are: the words of a declared format are read by it, words of a column of strings
    stay strings, and all that `pandas.read_csv` takes for a missing value is one, but for the values of a column
    of strings, if its missing values are declared.

    In a Parquet file, dtypes and index are those that pandas has noted; else integers and booleans with missing
    values get nullable dtypes.

    What comes through a pipe is copied into the temporary directory first. Without a suffix it is CSV, unless it begins
    as Parquet or gzip do.

    Args:
        path: The file; ``"-"`` for standard input.
        delimiter: What separates the fields of a CSV file; by default the comma, and the tabulator in .tsv.
        schema: Schema of the training data: a column whose words all fit its type there is read as that type.
        na_values: A word, or words, for missing values in every column of a CSV file, beside those that the schema
            names for a column. They are noted in `DataFrame.attrs`, and a schema that is read off the table has them.

    Returns:
        The table.

    Raises:
        OSError: If the file is missing, is a directory or may not be read.
        ValueError: If it is empty, of unknown suffix, not UTF-8 or damaged, has a quotation mark that is not
            closed, rows of different lengths or names that are empty or repeat, seems to be separated by another
            delimiter, or a word does not fit the declared format of its column.

    Warns:
        TableWarning: If nearly all words of a column of strings are numbers, or are dates; or if some words of a column
            are not what the schema says that it holds.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "birds.csv"
        >>> _ = file.write_text("bird,eggs,code\nwren,6,007\nNA,NA,012\n")
        >>> frame = read_table(file)
        >>> frame["bird"].tolist(), frame["eggs"].tolist(), frame["code"].tolist()
        (['wren', 'NA'], [6, <NA>], ['007', '012'])
    """
    path = TableFile.find(path, delimiter)
    if path.is_parquet:
        with path.open() as file, readable(path):
            frame = read_parquet(file)
    else:
        names = read_names(path, delimiter)
        given = named_words(na_values)
        read = readings(schema, names, given)
        separator = path.delimiter(delimiter)
        with path.stream() as file, readable(path, separator):
            table = pyarrow.csv.read_csv(file, **csv_options(names, separator))
        if holds_line_breaks(table) or ends_in_quotes(path, separator, MOST_BLOCK):
            require_closed_quotes(path, separator, MOST_BLOCK)
        words = table.to_pandas().apply(lambda column: read[column.name].plain(column))
        types = {name: scan(words[name], read[name]) for name in names}
        for name, type_ in types.items():
            type_.warn(name, stacklevel=2)
        frame = words.apply(lambda column: convert(column, types[column.name], read[column.name]))
        note_na_values(frame, given)
    if len(frame) == 0:
        raise ValueError(f"{path} has column names but no rows")
    return frame


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], schema: TableSchema | None = None) -> None:
    """Write a table to a CSV or Parquet file, which appears whole or not at all.

    A missing value is an empty field of a CSV file. An index is the first column of a CSV file, or the first few, but
    for one of numbers without a name; and the index in a Parquet file. An old file stays until the new one is whole;
    see :func:`tessflow.files.replacing`.

    Args:
        frame: The table.
        path: The file: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; ``"-"`` for CSV on standard output.
        schema: A schema, whose declared formats the words of a CSV file have.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the suffix is unknown, two columns have one name in a file (such as 1 and '1'), Parquet cannot
            hold a column (such as one of intervals), or a declared format leaves something out.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "birds.csv"
        >>> write_table(pd.DataFrame({"bird": ["wren", None], "eggs": [6, 4]}), file)
        >>> file.read_text().splitlines()
        ['bird,eggs', 'wren,6', ',4']
    """
    write_parts([frame], path, schema)


def write_parts(parts: Iterable[pd.DataFrame], path: str | os.PathLike[str], schema: TableSchema | None = None) -> None:
    """Write a table that comes in parts, as :func:`write_table` does, with one part in memory at a time.

    Args:
        parts: At least one, all of the same columns.
        path: See `write_table` for this and the errors raised.
        schema: As there.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "eggs.csv"
        >>> write_parts((pd.DataFrame({"eggs": [count]}) for count in (6, 4)), file)
        >>> file.read_text().splitlines()
        ['eggs', '6', '4']
    """
    suffix = require_suffix(path)
    if Path(path).is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a directory: name a file in it")
    try:
        with replacing(path) as file:
            if suffix == PARQUET:
                write_parquet(map(_with_texts, parts), file)
                return
            with gzip.GzipFile(fileobj=file, mode="wb") if suffix.endswith(".gz") else nullcontext(file) as written:
                for number, part in enumerate(parts):
                    words = in_words(part, schema)
                    words.to_csv(written, sep=DELIMITERS[suffix], index=False, header=number == 0)
                    file.flush()  # here a closed pipe is noticed
    except pa.ArrowException as error:
        raise ValueError(f"Parquet cannot hold this table ({_first_line(error)}): write a .csv file") from error


def in_words(frame: pd.DataFrame, schema: TableSchema | None = None) -> pd.DataFrame:
    """Return a table as it is written to a CSV file: its index among the columns, and words where a format is declared.

    Raises:
        ValueError: If two columns have one name in a file, or a declared format leaves something out.

    Example:
        >>> in_words(pd.DataFrame({"eggs": [6]}, index=pd.Index(["wren"], name="bird"))).columns.tolist()
        ['bird', 'eggs']
    """
    index = frame.index
    numbers_rows = index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index.dtype)
    if not numbers_rows:
        frame = frame.reset_index(allow_duplicates=True)
    _require_texts(frame.columns)
    if schema is None:
        return frame
    for place, name in enumerate(frame.columns):
        column = column_named(schema, name)
        if column is not None and column.words is not None:
            frame = frame.copy(deep=False)
            frame.isetitem(place, column.words.write(frame.iloc[:, place]).array)
    return frame


def _with_texts(frame: pd.DataFrame) -> pd.DataFrame:
    _require_texts(frame.columns)
    return frame


def _require_texts(names: Iterable[object]) -> None:
    texts = [str(name) for name in names]
    if repeated := sorted({text for text in texts if texts.count(text) > 1}):
        raise ValueError(f"two columns, or the index, are called {repeated[0]!r} in a file: rename one of them")


def read_header(path: str | os.PathLike[str], delimiter: str | None = None) -> pd.DataFrame:
    """Read the columns of a table file, and none of its rows; see `read_table`."""
    path = TableFile.find(path, delimiter)
    if path.is_parquet:
        with path.open() as file, readable(path):
            return pyarrow.parquet.read_schema(file).empty_table().to_pandas()
    return pd.DataFrame(columns=pd.Index(read_names(path, delimiter), dtype=object))


def read_names(path: TableFile, delimiter: str | None) -> list[str]:
    """Return the names in the header of a CSV file, which are distinct and not empty."""
    separator = path.delimiter(delimiter)
    with path.open() as file, readable(path):
        head = file.read(MOST_HEADER)
        if len(head) == MOST_HEADER and not {b"\n"[0], b"\r"[0]}.intersection(head):
            raise ValueError(f"{path} has no line break in its first {MOST_HEADER:,} bytes: is it a CSV file?")
        text = TextIOWrapper(BytesIO(head), encoding="utf-8-sig", newline="")
        names = next((row for row in csv.reader(text, delimiter=separator) if row), [])
    if any({"\n", "\r"}.intersection(name) for name in names):
        require_closed_quotes(path, separator, MOST_BLOCK)
    others = [repr(mark) for mark in ",;\t|" if len(names) == 1 and mark in names[0]]
    if others and delimiter is None:
        raise ValueError(
            f"{path} has one column, {names[0]!r}: its fields seem to be separated by {others[0]}, "
            f"not {separator!r}; say so with delimiter"
        )
    if "" in names:
        raise ValueError(f"{path}: column {names.index('') + 1} has no name (an index that was written along?)")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: column names must be distinct, but these repeat: {', '.join(repeated)}")
    return names


def csv_options(names: list[str], separator: str) -> dict[str, Any]:
    """Return how Arrow reads a CSV file as a table of strings, where an empty field is missing."""
    return {
        "read_options": pyarrow.csv.ReadOptions(use_threads=False, block_size=MOST_BLOCK),  # errors number the row
        "parse_options": pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    }


@contextmanager
def readable(path: TableFile, separator: str | None = None) -> Iterator[None]:
    """Turn what the parsers raise about a damaged file into one sentence; a CSV file has a separator."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except (pa.ArrowException, csv.Error, zlib.error, OSError, EOFError) as error:
        message = _first_line(error)
        if "invalid UTF8" in str(error):
            raise _not_utf8(path) from error
        if separator is not None:
            require_closed_quotes(path, separator, MOST_BLOCK)
        if "straddling" in message or "field larger" in message:
            raise ValueError(
                f"{path} has a row of more than {MOST_BLOCK:,} bytes: is a quotation mark missing, or is it no table?"
            ) from error
        # Arrow counts the header as row 1.
        message = re.sub(
            r"CSV parse error: Row #(\d+):", lambda row: f"row {int(row[1]) - 2} (counted from 0):", message
        )
        raise ValueError(f"{path} could not be read: {message}") from error


def _not_utf8(path: TableFile) -> ValueError:
    """Say in which line of a file the first bytes are that are no text."""
    with path.open() as file:
        for line, text in enumerate(iter(lambda: file.readline(MOST_BLOCK), b"")):
            try:
                text.decode()
            except UnicodeDecodeError as error:
                where = f"row {line - 1} (counted from 0)" if line else "its header"
                return ValueError(f"{path} is not UTF-8 text ({error.reason} in {where}): convert it first")
    return ValueError(f"{path} is not UTF-8 text: convert it first")


def _first_line(error: BaseException) -> str:
    return textwrap.shorten((str(error).splitlines() or [type(error).__name__])[0], 160, placeholder=" ...")
