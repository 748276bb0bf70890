"""Declared formats of words in a file: '1.234,50 €' for 1234.5, '12,5%' for 12.5, '31/01/2024' for a date."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables.times import to_microseconds
from tessflow.tables.values import family, show

__all__ = ["WordFormat"]

# A date from which each part can be told.
_PROBE = pd.Timestamp("2013-12-31 23:58:57")
_ZONED = re.compile(r"T.*[-+][0-9]{2}:[0-9]{2}$")
# What stands between thousands in print.
_LIKE = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}


@dataclass(frozen=True)
class WordFormat:
    """How the numbers or the datetimes of one column are written in a file.

    Args:
        name: Name of the column, for messages.
        kind: What the column holds: "number", "datetime" or "timedelta".
        decimal: The decimal mark of numbers: "." or ",". By default the one that `thousands` is not.
        thousands: What stands between groups of three digits: ".", ",", " " or "'"; None: nothing.
        currency: A sign or word before or after a number, which is left out, such as "€".
        percent: Whether a number may be followed by "%", which is left out: 12.5% is 12.5.
        format: Format of datetimes, as `datetime.strptime` takes it, such as "%d/%m/%Y".
        zone: Time zone in which datetimes are that the format gives none.

    Raises:
        ValueError: If these contradict one another.

    Example:
        >>> prices = WordFormat("price", "number", decimal=",", thousands=".", currency="€")
        >>> prices.read(pd.Series(["1.234,50 €", "-7"])).tolist()
        ['1234.50', '-7']
        >>> prices.write(pd.Series([1234.5, None])).tolist()
        ['1.234,5 €', None]
    """

    name: str | int
    kind: str
    decimal: str | None = None
    thousands: str | None = None
    currency: str | None = None
    percent: bool = False
    format: str | None = None
    zone: Any = None

    def __post_init__(self) -> None:
        where = f"column {self.name!r}"
        of_numbers = [name for name in ("decimal", "thousands", "currency", "percent") if getattr(self, name)]
        if of_numbers and self.kind != "number":
            raise ValueError(f"{where} is declared as {self.kind}, but {of_numbers[0]!r} is for numbers: leave it out")
        if self.format is not None and self.kind != "datetime":
            raise ValueError(f"{where} is declared as {self.kind}, but 'format' is for datetimes: leave it out")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"{where} has {self.decimal!r} both as its decimal mark and between thousands: choose one")
        if self.currency is not None and self.percent:
            raise ValueError(f"{where} has both a currency and percent: choose one")
        if self.currency is not None and not re.fullmatch(r"[^\d+-]+", self.currency.strip()):
            raise ValueError(f"{where} has the currency {self.currency!r}: give a sign or a word without digits")
        if self.format is not None and not self._tells_dates():
            raise ValueError(
                f"{where} has the format {self.format!r}, by which no date is told: write it as for strptime, "
                "such as '%d/%m/%Y'"
            )

    def __str__(self) -> str:
        names = ("decimal", "thousands", "currency", "percent", "format")
        return ", ".join(f"{name} {getattr(self, name)!r}" for name in names if getattr(self, name))

    def read(self, words: pd.Series, rows: NDArray[np.int64] | None = None) -> pd.Series:
        """Return words as Python writes numbers, or in ISO 8601.

        Args:
            words: Words, none of them missing.
            rows: Where each first stands in the file; by default their place.

        Raises:
            ValueError: If one does not fit the format.
        """
        read = self._read(words)
        if None in read:
            place = read.index(None)
            row = place if rows is None else int(rows[place])
            raise ValueError(
                f"column {self.name!r} has in row {row} (counted from 0) the word {show(words.iloc[place])}, which "
                f"does not fit its declared format ({self})"
            )
        return pd.Series(read, words.index, dtype=object)

    def read_word(self, word: str) -> str:
        """Return one word as `read` does.

        Raises:
            ValueError: If it does not fit the format.

        Example:
            >>> WordFormat("price", "number", decimal=",").read_word("12,5")
            '12.5'
        """
        (read,) = self._read(pd.Series([word], dtype=object))
        if read is None:
            raise ValueError(
                f"column {self.name!r} was given {show(word)}, which does not fit its declared format ({self})"
            )
        return read

    def _read(self, words: pd.Series) -> list[str | None]:
        """Return words as Python writes numbers, or in ISO 8601; None where one does not fit."""
        return self._times(words) if self.format is not None else [self._number(word) for word in words]

    def write(self, series: pd.Series) -> pd.Series:
        """Return the words for a column of numbers or datetimes; any other column as it is.

        Raises:
            ValueError: If the format leaves something of a datetime out.
        """
        if family(series, self.name) != f"{self.kind}s":
            return series
        gone = series.isna().to_numpy()
        present = series[~gone]
        found = [self._word(value) for value in present.to_numpy()] if self.format is None else self._dates(present)
        words = np.full(len(series), None, dtype=object)
        words[~gone] = found
        return pd.Series(words, series.index, dtype=object, name=series.name)

    @property
    def _point(self) -> str:
        return self.decimal or ("," if self.thousands == "." else ".")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        digits, point = "[0-9]+", re.escape(self._point)
        if self.thousands:
            digits = f"[0-9]{{1,3}}(?:{_LIKE.get(self.thousands, re.escape(self.thousands))}[0-9]{{3}})+|{digits}"
        number = f"(?P<whole>(?:{digits})?)(?:{point}(?P<rest>[0-9]*))?(?P<power>[eE][-+]?[0-9]+)?|(?P<infinite>inf)"
        sign = re.escape(self.currency.strip()) if self.currency else "(?!)"
        end = r"\s*%" if self.percent else rf"\s*{sign}"
        return re.compile(
            rf"(?P<sign>[-+\u2212]?)\s*(?P<before>{sign}\s*(?P<inner>[-+\u2212]?))?(?:{number})(?:{end})?"
        )

    def _number(self, word: str) -> str | None:
        """Return a number as Python writes it; None if the word does not fit."""
        found = self._pattern.fullmatch(word.strip())
        if not found or (found["sign"] and found["inner"]):
            return None
        sign = "-" if (found["sign"] or found["inner"] or "+") in "-\u2212" else ""
        if found["infinite"]:
            return f"{sign}inf"
        whole, rest = "".join(re.findall("[0-9]", found["whole"])), found["rest"]
        if not whole and not rest:
            return None
        whole = whole.lstrip("0") or "0"
        text = sign + whole + ("" if rest is None else f".{rest}") + (found["power"] or "")
        if math.isinf(float(text)):
            return None
        return text if len(whole) < 19 else repr(float(text))

    def _word(self, value: Any) -> str:
        """Return the word for a number."""
        text = str(value)
        sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
        if text != "inf":
            whole, point, rest = text.partition(".")
            if self.thousands and whole.isdecimal():
                whole = f"{int(whole):,}".replace(",", self.thousands)
            text = whole + (self._point if point else "") + rest
        return sign + text + ("%" if self.percent else "") + (f" {self.currency.strip()}" if self.currency else "")

    def _times(self, words: pd.Series) -> list[str | None]:
        assert self.format is not None
        texts = words.where(words.str.contains("[0-9]"), "")  # pandas also knows 'now' and 'today'
        try:
            times = pd.to_datetime(texts, format=self.format, errors="coerce", utc=self._has_zone)
            if self.zone is not None and not self._has_zone:
                times = times.dt.tz_localize(self.zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
        except (ValueError, OverflowError):
            return [None] * len(words)
        return [None if time is pd.NaT else time.isoformat() for time in times]

    def _dates(self, present: pd.Series) -> list[str]:
        assert self.format is not None
        is_aware = getattr(getattr(present, "dt", None), "tz", None) is not None
        local = present.dt.tz_convert(self.zone) if is_aware and self.zone is not None else present
        words = [time.strftime(self.format) for time in local]
        again = self._times(pd.Series(words, dtype=object))
        lost = np.array([word is None or bool(_ZONED.search(word)) != is_aware for word in again], bool)
        if not lost.any():
            times = pd.to_datetime(pd.Series(again, dtype=object), format="ISO8601", utc=is_aware)
            lost = to_microseconds(times, self.name)[0] != to_microseconds(present, self.name)[0]
        if lost.any():
            raise ValueError(
                f"column {self.name!r} has the time {present.iloc[int(np.argmax(lost))]}, of which its format "
                f"{self.format!r} leaves something out: declare a longer one"
            )
        return words

    def _tells_dates(self) -> bool:
        assert self.format is not None
        try:
            word = (_PROBE.tz_localize("UTC") if self._has_zone else _PROBE).strftime(self.format)
            return pd.to_datetime(word, format=self.format).year == _PROBE.year
        except (ValueError, TypeError):
            return False

    @property
    def _has_zone(self) -> bool:
        return self.format is not None and ("%z" in self.format or "%Z" in self.format)
