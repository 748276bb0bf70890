"""The words of a CSV file, and the types that they are read as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables.doubts import Doubt, warn_of
from tessflow.tables.readings import Reading, distinct_words, without
from tessflow.tables.times import DURATION

__all__ = ["WordType", "convert", "scan"]

_DATE, _TIME, _OFFSET = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?",
    "Z|[+-][0-9]{2}:?[0-9]{2}",
)
PATTERNS = {
    "boolean": "True|False",
    "integer": "0|-?[1-9][0-9]{0,19}",  # what int() and str() take to each other; of 64 bits, see `_is_long`
    "real": r"-?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|-?inf",
    "datetime": f"{_DATE}({_TIME})?",
    "instant": f"{_DATE}{_TIME}({_OFFSET})",  # a datetime with its offset
    "timedelta": DURATION,
}
PLURALS = {
    "boolean": "booleans", "integer": "numbers", "real": "numbers", "datetime": "dates", "instant": "dates",
    "timedelta": "durations",
}  # fmt: skip
INFERRED = ("boolean", "integer", "real", "datetime", "instant")


@dataclass(frozen=True)
class WordType:
    """What a column of words may be read as, in the order of preference; strings if nothing is left.

    Args:
        types: Names of types that all words fit.
        has_missing: Whether a word is missing, or is if the others are no strings.
        has_words: Whether there is another word at all.
        doubts: How near the words are to "numbers" and to "dates", or to what is declared of them.
        is_declared: Whether a schema has the column.
    """

    types: tuple[str, ...]
    has_missing: bool = False
    has_words: bool = False
    doubts: dict[str, Doubt] = field(default_factory=dict)
    is_declared: bool = False

    @property
    def is_text(self) -> bool:
        """Whether words stay strings."""
        return not self.types or not self.has_words

    def warn(self, name: str, *, stacklevel: int) -> None:
        """Warn of a column that is read as text, if nearly all of its words are numbers, or are dates, or are to be."""
        if not self.types:
            warn_of(name, self.doubts, is_declared=self.is_declared, stacklevel=stacklevel + 1)

    def join(self, other: WordType) -> WordType:
        """Return the type of both columns, one after the other."""
        types = tuple(name for name in self.types if name in other.types)
        doubts = {name: doubt.join(other.doubts[name]) for name, doubt in self.doubts.items()}
        has_missing, has_words = self.has_missing or other.has_missing, self.has_words or other.has_words
        return WordType(types, has_missing, has_words, doubts, self.is_declared)


def scan(words: pd.Series, reading: Reading | None = None) -> WordType:
    """Find what all words of a column fit.

    Args:
        words: Strings, or missing values, as `Reading.plain` returns them; their index numbers the rows of the file.
        reading: What is declared of the column.

    Example:
        >>> scan(pd.Series(["1", "2", "NA"])).types
        ('integer', 'real')
    """
    reading = reading or Reading()
    tried = reading.tried
    names = INFERRED if tried is None else dict.fromkeys((*tried, *INFERRED)) if tried else ()
    codes, distinct, rows = distinct_words(without(words, reading.perhaps))
    fits = {name: _fits(distinct, name) for name in names}
    types = tuple(name for name, mask in fits.items() if mask.all())
    counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
    doubted = {PLURALS[name] for name in tried or ()} if reading.is_declared else ("numbers", "dates")
    doubts = {}
    for plural in doubted:
        near = np.logical_or.reduce([mask for name, mask in fits.items() if PLURALS[name] == plural])
        doubts[plural] = Doubt.of(distinct, near, counts, rows)
    return WordType(types, bool((codes < 0).any()), not distinct.empty, doubts, reading.is_declared)


def convert(words: pd.Series, type_: WordType, reading: Reading | None = None) -> pd.Series:
    """Convert a column of words to a type that `scan` has found.

    Example:
        >>> convert(pd.Series(["2024-01-31", None]), WordType(("datetime",), has_words=True)).dtype
        dtype('<M8[us]')
    """
    if type_.is_text:
        return words
    codes, distinct, _ = distinct_words(without(words, (reading or Reading()).perhaps))
    values = _read(distinct, type_.types[0])
    if type_.has_missing and type_.types[0] == "boolean":
        values = values.astype("boolean")
    elif type_.has_missing and type_.types[0] == "integer":
        nullable: dict[str, Any] = {"int64": "Int64", "uint64": "UInt64"}
        values = values.astype(nullable.get(str(values.dtype), object))
    return values.reindex(codes).set_axis(words.index).rename(words.name)  # position -1 is not there: missing


def fit_one(words: pd.Series, types: Sequence[str]) -> NDArray[np.bool_]:
    """Return which words, none of them missing, are of one of some types.

    Example:
        >>> fit_one(pd.Series(["7", "007", "1e3", "lots"]), ("integer", "real"))
        array([ True, False,  True, False])
    """
    return np.logical_or.reduce([_fits(words, name).to_numpy(bool) for name in types])


def _fits(distinct: pd.Series, name: str) -> pd.Series:
    """Return which words are of a type."""
    fits = distinct.str.fullmatch(f"(?:{PATTERNS[name]})").astype(bool)
    if name == "integer":
        return fits & ~distinct.map(_is_long).astype(bool)
    if name != "boolean" and fits.any():
        values = _read(distinct[fits], name, errors="coerce")
        fits[fits] = values.notna()  # a 13th month is no date
        if name == "real":
            fits[fits] = np.isfinite(values) | distinct[fits].str.endswith("inf")  # and 1e400 no float
    return fits


def _read(words: pd.Series, name: str, errors: str = "raise") -> pd.Series:
    if name == "boolean":
        return words == "True"
    if name == "timedelta":
        return pd.to_timedelta(words, errors=errors).dt.round("us")  # type: ignore[call-overload]
    if name in ("datetime", "instant"):
        times = pd.to_datetime(words, format="ISO8601", utc=name == "instant", errors=errors)  # type: ignore[call-overload]
        return times.dt.round("us").dt.as_unit("us")
    if name != "integer":
        return words.astype("float64")
    integers = [int(word) for word in words]
    low, high = min(integers, default=0), max(integers, default=0)
    if low >= -(2**63) and high < 2**63:
        return pd.Series(integers, words.index, "int64")
    return pd.Series(integers, words.index, "uint64" if low >= 0 else object)


def _is_long(word: str) -> bool:
    """Return whether an integer has more than 64 bits."""
    return len(word) > 18 and word.lstrip("-").isdecimal() and not -(2**63) <= int(word) < 2**64
