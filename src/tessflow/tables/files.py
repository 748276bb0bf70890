"""Table files: CSV and Parquet, read strictly and written atomically."""

from __future__ import annotations

import csv
import gzip
import os
import textwrap
import zlib
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pandas as pd
import pyarrow as pa
import pyarrow.csv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tessflow.tables.schema import TableSchema

__all__ = ["read_table", "write_table"]

DELIMITERS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
PARQUET = ".parquet"
SUFFIXES = f"{', '.join(DELIMITERS)} or {PARQUET}"

BOOLEAN = "True|False"
INTEGER = "0|-?[1-9][0-9]{0,17}"  # what int() and str() take to each other, within 64 bits
REAL = r"-?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"


def read_table(
    path: str | os.PathLike[str], *, delimiter: str | None = None, schema: TableSchema | None = None
) -> pd.DataFrame:
    r"""Read a table from a CSV (.csv, .tsv, .csv.gz, .tsv.gz) or Parquet (.parquet) file.

    A CSV file is UTF-8 text with a header line and equally many fields in every row. An empty field, and
    nothing else, is a missing value: "NA", "None", "null" and "nan" are strings. A column is read as booleans
    if all of its words are True or False, as integers if all are integers, of at most 18 digits, as Python
    writes them (007 is not, and stays a string), and as floats if all are decimal numbers; else as strings.

    Args:
        path: The file.
        delimiter: What separates the fields of a CSV file; by default the comma, and the tabulator in .tsv.
        schema: Schema of the training data, whose columns of strings are then not read as anything else.

    Returns:
        The table.

    Raises:
        OSError: If the file is missing, is a directory or may not be read.
        ValueError: If it is empty, of unknown suffix, not UTF-8 or damaged, has rows of different lengths or
            names that are empty or repeat, or seems to be separated by another delimiter.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "birds.csv"
        >>> _ = file.write_text("bird,eggs,code\nwren,6,007\nNA,,012\n")
        >>> frame = read_table(file)
        >>> frame["bird"].tolist(), frame["eggs"].tolist(), frame["code"].tolist()
        (['wren', 'NA'], [6, <NA>], ['007', '012'])
    """
    path = Path(path)
    suffix = _suffix(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a table")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    if suffix == PARQUET:
        with path.open("rb") as file, _readable(path):
            frame = pd.read_parquet(file)
    else:
        if delimiter is not None and len(delimiter) != 1:
            raise ValueError(f"the delimiter is one character, got {delimiter!r}")
        strings = [column.name for column in schema.columns if column.value_type == "strings"] if schema else []
        frame = _read_csv(path, delimiter, DELIMITERS[suffix])
        frame = frame.apply(lambda words: words if words.name in strings else _typed(words))
    if len(frame) == 0:
        raise ValueError(f"{path} has column names but no rows")
    return frame


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table to a CSV or Parquet file, which appears whole or not at all.

    A missing value is an empty field of a CSV file. The table is written beside the file under a temporary
    name, which is then renamed.

    Args:
        frame: The table; its index is not written.
        path: The file: .csv, .tsv, .csv.gz, .tsv.gz or .parquet.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the suffix is unknown, or Parquet cannot hold a column (such as one of intervals).

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "birds.csv"
        >>> write_table(pd.DataFrame({"bird": ["wren", None], "eggs": [6, 4]}), file)
        >>> file.read_text().splitlines()
        ['bird,eggs', 'wren,6', ',4']
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if suffix == PARQUET:
                frame.to_parquet(file, index=False)
            else:
                frame.to_csv(
                    file,
                    sep=DELIMITERS[suffix],
                    index=False,
                    compression="gzip" if suffix.endswith(".gz") else None,
                )
        os.replace(temporary, path)
    except pa.ArrowException as error:
        raise ValueError(f"Parquet cannot hold this table ({_first_line(error)}): write a .csv file") from error
    except OSError as error:
        raise OSError(error.errno, f"could not be written: {error.strerror or error}", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in (*DELIMITERS, PARQUET):
        if name.endswith(suffix):
            return suffix
    raise ValueError(f"{path} is not named as a table: its suffix must be {SUFFIXES}")


def _read_csv(path: Path, delimiter: str | None, default: str) -> pd.DataFrame:
    """Read a CSV file as a table of strings, where an empty field is missing."""
    separator = default if delimiter is None else delimiter
    with _open(path) as file, _readable(path):
        text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        names = next((row for row in csv.reader(text, delimiter=separator) if row), [])
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
    with _open(path) as file, _readable(path):
        table = pyarrow.csv.read_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # so that errors number the row
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
    return table.to_pandas()


def _typed(words: pd.Series) -> pd.Series:
    """Convert a column of words to the type that writes the same words again, where there is one."""
    codes, distinct = pd.factorize(words)
    is_missing = bool((codes < 0).any())
    if distinct.empty:
        return words
    if distinct.str.fullmatch(BOOLEAN).all():
        values = pd.Series(distinct == "True").astype("boolean" if is_missing else "bool")
    elif distinct.str.fullmatch(INTEGER).all():
        values = pd.Series(distinct.astype("int64")).astype("Int64" if is_missing else "int64")
    elif distinct.str.fullmatch(REAL).all():
        values = pd.Series(distinct.astype("float64"))
    else:
        return words
    return values.reindex(codes).set_axis(words.index).rename(words.name)  # position -1 is not there: missing


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the parsers raise about a damaged file into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}): convert it first") from error
    except (pa.ArrowException, csv.Error, zlib.error, OSError, EOFError) as error:
        if "invalid UTF8" in str(error):
            raise ValueError(f"{path} is not UTF-8 text ({_first_line(error)}): convert it first") from error
        raise ValueError(f"{path} could not be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return textwrap.shorten((str(error).splitlines() or [type(error).__name__])[0], 160, placeholder=" ...")
