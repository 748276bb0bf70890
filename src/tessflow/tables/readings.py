"""How the words of each column of a CSV file are read: what a schema says of them, and which are missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables.columns import BaseColumn, ClassColumn, KeyColumn, NumberColumn
from tessflow.tables.dtypes import dtype_from_name
from tessflow.tables.formats import WordFormat
from tessflow.tables.names import place_of
from tessflow.tables.times import time_zone

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = [
    "MISSING_WORDS", "Reading", "column_named", "distinct_words", "missing_word_warnings", "named_words", "readings",
    "without",
]  # fmt: skip

MISSING_WORDS = frozenset({"NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan", "<NA>", r"\N"})
"""What R, spreadsheets, databases, JavaScript and pandas write for a missing value."""

TYPES = {"booleans": ("boolean",), "numbers": ("integer", "real")}
"""The types of words that columns of classes which are no strings may have."""

PANDAS_WORDS = MISSING_WORDS | {"#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "None"}
"""What `pandas.read_csv` reads as a missing value, beside the empty word."""


@dataclass(frozen=True)
class Reading:
    """How the words of one column are read.

    Args:
        tried: Types to prefer to those that are inferred; empty: words stay strings; None: nothing is declared.
        missing: Words that are missing values.
        perhaps: Words that are missing values if all others are numbers, booleans or times.
        format: How numbers or datetimes are written, if that is declared.
        is_declared: Whether a schema has the column.

    Example:
        >>> Reading(missing=frozenset("?")).plain(pd.Series(["?", "NA"])).isna().tolist()
        [True, False]
    """

    tried: tuple[str, ...] | None = None
    missing: frozenset[str] = frozenset()
    perhaps: frozenset[str] = MISSING_WORDS
    format: WordFormat | None = None
    is_declared: bool = False

    def plain(self, words: pd.Series) -> pd.Series:
        """Return a column of words without those that are missing, and as Python writes them, or in ISO 8601.

        Args:
            words: Words, or missing values; their index numbers the rows of the file.

        Raises:
            ValueError: If a word does not fit the declared format.
        """
        words = without(words, self.missing)
        if self.format is None:
            return words
        codes, distinct, rows = distinct_words(words)
        plain = self.format.read(distinct, rows)
        return plain.reindex(codes).set_axis(words.index).rename(words.name)  # position -1 is not there: missing


def named_words(na_values: str | Iterable[str]) -> frozenset[str]:
    """Return the words that `na_values` names: one, or several.

    Raises:
        TypeError: If they are no words.
    """
    words = frozenset([na_values] if isinstance(na_values, str) else na_values)
    if strange := [word for word in words if not isinstance(word, str)]:
        raise TypeError(f"na_values are words, as they stand in the file, got {strange[0]!r}: put it in quotes")
    return words


def readings(
    schema: TableSchema | None, names: Iterable[str], given: frozenset[str] = frozenset()
) -> dict[str, Reading]:
    """Return how each column of a file is read.

    Args:
        schema: What is declared of the columns, if anything.
        names: Names of the columns.
        given: Words that are missing values in every column, beside those that the schema names for one.
    """
    return {name: _reading(column_named(schema, name), given) for name in names}


def missing_word_warnings(schema: TableSchema) -> list[str]:
    """Say in a sentence each which columns have a value that stands for a missing one elsewhere, such as NA.

    Example:
        >>> from tessflow.tables import TableSchema
        >>> missing_word_warnings(TableSchema.infer(pd.DataFrame({"sex": ["f", "NA"]})))
        ["column 'sex' has 'NA' among its words: if that is a missing value, read it with na_values='NA' (--na NA)"]
    """
    found = {
        column.name: min(words)
        for column in schema.columns
        if isinstance(column, ClassColumn) and (words := MISSING_WORDS.intersection(map(str, column.values)))
    }
    return [
        f"column {name!r} has {word!r} among its words: if that is a missing value, read it with na_values={word!r} "
        f"(--na {word})"
        for name, word in found.items()
    ]


def column_named(schema: TableSchema | None, name: object) -> BaseColumn | KeyColumn | None:
    """Return the column of a name, or the key; one that has the name as a number only if none has it as a word.

    Example:
        >>> from tessflow.tables import TableSchema
        >>> schema = TableSchema.infer(pd.DataFrame({1: ["a"], "1": [True]}))
        >>> column_named(schema, "1").kind, column_named(schema, 1).kind
        ('boolean', 'categorical')
    """
    columns = (*schema.columns, *schema.keys) if schema else ()
    place = place_of(name, [column.name for column in columns])
    return None if place is None else columns[place]


def distinct_words(words: pd.Series) -> tuple[NDArray[np.int64], pd.Series, NDArray[np.int64]]:
    """Return the place of each word among the distinct words (-1: missing), these, and the row of each one's first."""
    codes, distinct = pd.factorize(words)
    present = np.flatnonzero(codes >= 0)
    first = present[np.unique(codes[present], return_index=True)[1]]
    return codes, pd.Series(distinct, dtype=words.dtype), words.index.to_numpy()[first]


def without(words: pd.Series, missing: frozenset[str]) -> pd.Series:
    """Return words with some of them made missing values."""
    if not missing:
        return words
    gone = words.isin(list(missing))
    return words.where(~gone, None) if gone.any() else words


def _reading(column: BaseColumn | KeyColumn | None, given: frozenset[str]) -> Reading:
    if column is None:
        return Reading(missing=given)
    if isinstance(column, KeyColumn):  # which is carried along, word by word
        return Reading((), perhaps=frozenset(), is_declared=True)
    given |= frozenset(column.na_values)
    tried = _tried(column)
    if isinstance(column, ClassColumn) and tried == ():
        known = {*column.values, *(column.categories.values if column.categories else ())}
        others = PANDAS_WORDS - known if column.missing is not None and known else frozenset()
        return Reading(tried, given | others, frozenset(), is_declared=True)
    return Reading(tried, given | PANDAS_WORDS, frozenset(), column.words, is_declared=True)


def _tried(column: BaseColumn) -> tuple[str, ...] | None:
    """Return the types that the words of a column are tried as first; none for strings."""
    kind = _kind(column.dtype)
    if isinstance(column, NumberColumn):
        is_whole = kind in ("i", "u") or (not kind and 0 < column.resolution == round(column.resolution))
        return ("integer", "real") if is_whole else ("real",)
    if column.kind == "timedelta" or kind == "m":
        return ("timedelta",)
    if column.kind == "datetime" or kind == "M":
        return ("instant",) if column.dtype and time_zone(column.dtype) is not None else ("datetime", "instant")
    if isinstance(column, ClassColumn):
        return () if _holds_strings(column) else TYPES.get(column.value_type or f"{column.kind}s")
    return None


def _holds_strings(column: ClassColumn) -> bool:
    """Return whether the values of a column of classes are strings, as far as it says."""
    known = column.values or (column.categories.values if column.categories else ())
    if known:
        return isinstance(known[0], str)
    return column.kind in ("categorical", "ordinal") and _kind(column.dtype) not in ("i", "u", "f", "b")


def _kind(dtype: str) -> str:
    """Return NumPy's letter for the kind of a named dtype."""
    return "M" if dtype == "date" else dtype_from_name(dtype).kind if dtype else ""
