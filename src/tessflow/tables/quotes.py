"""Quotation marks of a CSV file that are not closed, and make one value of many lines."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from io import TextIOWrapper

import pyarrow as pa
import pyarrow.compute as pc

from tessflow.tables.table_file import TableFile

__all__ = ["ends_in_quotes", "holds_line_breaks", "require_closed_quotes"]


def holds_line_breaks(table: pa.Table | pa.RecordBatch) -> bool:
    """Return whether a value of a table of strings has a line break, as one with a quotation mark too few or many has.

    Example:
        >>> holds_line_breaks(pa.table({"note": ["wet", "cold and" + chr(10) + "dry"]}))
        True
    """
    return any(pc.any(pc.match_substring_regex(column, "[\r\n]")).as_py() for column in table.columns)


def ends_in_quotes(path: TableFile, separator: str, most: int) -> bool:
    """Return whether a CSV file ends inside a quoted value, if none has a line break, as one that was cut off may.

    Args:
        path: The file.
        separator: What separates its fields.
        most: Most bytes of a row.
    """
    with path.open() as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        last = re.split(rb"[\r\n]", file.read())[-1].decode(errors="replace")
    limit = csv.field_size_limit(most)
    try:
        list(csv.reader([last], delimiter=separator, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)
    finally:
        csv.field_size_limit(limit)
    return False


def require_closed_quotes(path: TableFile, separator: str, most: int) -> None:
    """Refuse a CSV file in which a value of several lines does not end as it began.

    Args:
        path: The file.
        separator: What separates its fields.
        most: Most bytes of a row.

    Raises:
        ValueError: If a quotation mark is not closed, or one that closes is not the last of its field.
    """
    limit = csv.field_size_limit(most)
    try:
        with path.open() as file:
            text = TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
            rows = csv.reader(_lines(text, most), delimiter=separator, strict=True)
            while True:
                line = rows.line_num + 1
                try:
                    next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    if rows.line_num > line or "end of data" in str(error):
                        raise ValueError(
                            f"{path}: the row that begins in line {line} has a quotation mark that is not closed, or "
                            "text behind one that is: close it there, or double it if it belongs to the value"
                        ) from error
    finally:
        csv.field_size_limit(limit)


def _lines(text: TextIOWrapper, most: int) -> Iterator[str]:
    return iter(lambda: text.readline(most), "")
