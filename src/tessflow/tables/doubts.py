"""Columns of text that would be numbers or dates, or what they are declared as, but for some words: warnings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables.values import TableWarning, show

__all__ = ["Doubt", "warn_of"]

LEAST, SHARE = 10, 9
"""Least number of words that fit, and how many times as many they must be as the odd ones."""

SHOWN, KEPT = 5, 100
"""Odd words that are shown, and odd words that are kept; of words that fit nine times as many are."""


@dataclass(frozen=True)
class Doubt:
    """How many words of a column are numbers, or are dates, and which are not.

    Args:
        rows: Number of words.
        odd_rows: Number of those that do not fit.
        fitting: Distinct words that fit, of which no more are kept than are needed.
        odd: Distinct words that do not fit, likewise, and the row in which each comes first.

    Example:
        >>> words = pd.Series([*map(str, range(20)), "twelve"])
        >>> Doubt.of(words, (words != "twelve").to_numpy(), np.ones(21, int), np.arange(21)).sentence("numbers")
        "1 of its 21 words is no number: 'twelve' in row 20 (counted from 0)"
    """

    rows: int = 0
    odd_rows: int = 0
    fitting: frozenset[str] = frozenset()
    odd: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, distinct: pd.Series, fits: NDArray[np.bool_], counts: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Doubt:
        """Count distinct words, of which each came so often, and first in such a row."""
        is_odd = ~fits
        odd = zip(distinct[is_odd].head(KEPT), rows[is_odd][:KEPT], strict=True)
        return cls(
            int(counts.sum()),
            int(counts[is_odd].sum()),
            frozenset(distinct[~is_odd].head(SHARE * KEPT)),
            {word: int(row) for word, row in odd},
        )

    def join(self, other: Doubt) -> Doubt:
        """Return what both say of a column, one after the other."""
        fitting = self.fitting if len(self.fitting) >= SHARE * KEPT else self.fitting | other.fitting
        odd = self.odd if len(self.odd) >= KEPT else {**other.odd, **self.odd}
        return Doubt(self.rows + other.rows, self.odd_rows + other.odd_rows, fitting, odd)

    def sentence(self, plural: str, *, is_declared: bool = False) -> str | None:
        """Say which words do not fit; None unless nearly all others do, or some if that is what the column holds."""
        fitting_rows = self.rows - self.odd_rows
        nearly_all = any(
            fitting >= LEAST and fitting >= SHARE * odd
            for fitting, odd in ((fitting_rows, self.odd_rows), (len(self.fitting), len(self.odd)))
        )
        are_codes = plural == "numbers" and any(word.isdecimal() for word in self.odd)  # such as 007
        if not self.odd or not (fitting_rows if is_declared else nearly_all and not are_codes):
            return None
        first = sorted(self.odd.items(), key=lambda item: item[1])
        places = ", ".join(f"{show(word)} in row {row}" for word, row in first[:SHOWN])
        verb = f"is no {plural[:-1]}" if self.odd_rows == 1 else f"are no {plural}"
        more = ", ..." if len(first) > SHOWN else ""
        return f"{self.odd_rows} of its {self.rows} words {verb}: {places}{more} (counted from 0)"


def warn_of(name: str, doubts: dict[str, Doubt], *, is_declared: bool, stacklevel: int) -> None:
    """Warn of a column that is read as text, if nearly all of its words are numbers, or dates, or are to be."""
    named = "name them as na_values if they stand for missing values"
    advice = f"mend them, or {named}" if is_declared else f"mend them, {named}, or declare the column in a schema"
    for plural, doubt in doubts.items():
        if sentence := doubt.sentence(plural, is_declared=is_declared):
            warnings.warn(
                f"column {name!r} is read as text, because {sentence}; {advice}",
                TableWarning,
                stacklevel=stacklevel + 1,
            )
            return
