"""The words of a CSV file, and the types that they are read as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from tessflow.tables.dtypes import dtype_from_name
from tessflow.tables.columns import NumberColumn
from tessflow.tables.times import time_zone

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = ["WordType", "convert", "declared_types", "scan"]

_DATE, _TIME, _OFFSET = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?",
    "Z|[+-][0-9]{2}:?[0-9]{2}",
)
PATTERNS = {
    "boolean": "True|False",
    "integer": "0|-?[1-9][0-9]{0,17}",  # what int() and str() take to each other, within 64 bits
    "real": r"-?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|-?inf",
    "datetime": f"{_DATE}({_TIME})?",
    "instant": f"{_DATE}{_TIME}({_OFFSET})",  # a datetime with its offset
    "timedelta": r"(-?[0-9]+ days?)?( ?\+?[0-9]+:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?)?",
}
INFERRED = ("boolean", "integer", "real", "datetime", "instant")


@dataclass(frozen=True)
class WordType:
    """What a column of words may be read as, in the order of preference; strings if nothing is left.

    Args:
        types: Names of types that all words fit.
        has_missing: Whether a word is missing.
        has_words: Whether there is a word at all.
    """

    types: tuple[str, ...]
    has_missing: bool = False
    has_words: bool = False

    def join(self, other: WordType) -> WordType:
        """Return the type of both columns, one after the other."""
        types = tuple(name for name in self.types if name in other.types)
        return WordType(types, self.has_missing or other.has_missing, self.has_words or other.has_words)


def declared_types(schema: TableSchema | None) -> dict[object, tuple[str, ...]]:
    """Return the types that the words of each column of a schema are tried as first; none for strings."""
    types: dict[object, tuple[str, ...]] = {}
    for column in schema.columns if schema else ():
        if isinstance(column, NumberColumn) and column.kind == "number":
            tried: tuple[str, ...] = ("real",)
        elif column.kind == "timedelta" or _kind(column.dtype) == "m":
            tried = ("timedelta",)
        elif column.kind == "datetime" or _kind(column.dtype) == "M":
            tried = ("instant",) if column.dtype and time_zone(column.dtype) is not None else ("datetime", "instant")
        elif not isinstance(column, NumberColumn) and column.value_type == "strings":
            tried = ()
        else:
            continue
        types[column.name] = types[str(column.name)] = tried
    return types


def scan(words: pd.Series, tried: tuple[str, ...] | None = None) -> WordType:
    """Find what all words of a column fit.

    Args:
        words: Strings, or missing values.
        tried: Types to prefer to those that are inferred; empty: they stay strings.

    Example:
        >>> scan(pd.Series(["1", "2", None])).types
        ('integer', 'real')
    """
    distinct = words.dropna().drop_duplicates()
    names = INFERRED if tried is None else dict.fromkeys((*tried, *INFERRED)) if tried else ()
    types = tuple(name for name in names if _fits(distinct, name))
    return WordType(types, bool(words.isna().any()), not distinct.empty)


def convert(words: pd.Series, type_: WordType) -> pd.Series:
    """Convert a column of words to a type that `scan` has found.

    Example:
        >>> convert(pd.Series(["2024-01-31", None]), WordType(("datetime",), has_words=True)).dtype
        dtype('<M8[us]')
    """
    if not type_.types or not type_.has_words:
        return words
    codes, distinct = pd.factorize(words)
    values = _read(pd.Series(distinct, dtype=words.dtype), type_.types[0])
    if type_.has_missing and type_.types[0] == "boolean":
        values = values.astype("boolean")
    elif type_.has_missing and type_.types[0] == "integer":
        values = values.astype("Int64")
    return values.reindex(codes).set_axis(words.index).rename(words.name)  # position -1 is not there: missing


def _fits(distinct: pd.Series, name: str) -> bool:
    if not distinct.str.fullmatch(PATTERNS[name]).all():
        return False
    if name in ("datetime", "instant", "timedelta"):
        try:
            _read(distinct, name)
        except ValueError:  # such as a 13th month
            return False
    return True


def _read(words: pd.Series, name: str) -> pd.Series:
    if name == "boolean":
        return words == "True"
    if name == "timedelta":
        return pd.to_timedelta(words).dt.round("us")
    if name in ("datetime", "instant"):
        times = pd.to_datetime(words, format="ISO8601", utc=name == "instant").dt.round("us")
        return times.dt.as_unit("us")
    return words.astype("int64" if name == "integer" else "float64")


def _kind(dtype: str) -> str:
    """Return NumPy's letter for the kind of a named dtype."""
    return "M" if dtype == "date" else dtype_from_name(dtype).kind if dtype else ""
