"""A column of points in time, or of durations."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import model_validator
from typing_extensions import Self

from tessflow.tables.columns.base import MISSING
from tessflow.tables.columns.numeric import NumericColumn
from tessflow.tables.formats import WordFormat
from tessflow.tables.grid import Grid
from tessflow.tables.times import UNITS, from_microseconds, microseconds, time_zone, to_microseconds, word

__all__ = ["DatetimeColumn", "DurationColumn", "TimeColumn"]

SECOND = 10**6
_WORDS = dict(zip(UNITS, ("days", "hours", "minutes", "seconds", "milliseconds", "microseconds"), strict=True))


class TimeColumn(NumericColumn):
    """One column of times, which are counted in steps of the resolution; see the kinds below."""

    UNIT: ClassVar[int] = SECOND

    @model_validator(mode="after")
    def _are_times(self) -> Self:
        where = f"column {self.name!r}"
        if not math.isclose(self.resolution * SECOND, round(self.resolution * SECOND)) or self.resolution < 1e-6:
            raise ValueError(
                f"{where} holds times, whose resolution is whole microseconds, in seconds: give 86400 for days"
            )
        if any(math.isinf(atom) for atom in self.atoms):
            raise ValueError(f"{where} holds times, which are never infinite")
        return self

    @property
    def measure(self) -> str:
        """What log-likelihoods of the column are."""
        step = round(self.resolution * SECOND)
        unit = next(unit for unit in UNITS if step % unit == 0)
        return f"probabilities of {_WORDS[unit]}" if step == unit else f"probabilities of {step // unit} {_WORDS[unit]}"

    @property
    def shown_atoms(self) -> tuple[object, ...]:
        """The atoms, as times, in the zone of the column."""
        counts = [round(atom * SECOND) for atom in self.atoms]
        if self.kind == "timedelta":
            return tuple(pd.Timedelta(count, unit="us") for count in counts)
        zone = time_zone(self.dtype) if self.dtype else None
        return tuple(pd.Timestamp(count, unit="us", tz=zone) for count in counts)

    @classmethod
    def _atom(cls, value: int | float) -> float:
        return value / SECOND

    @property
    def _grid(self) -> Grid:
        """The grid of microseconds."""
        return Grid(round(self.resolution * SECOND))

    @property
    def _raw_atoms(self) -> tuple[float, ...]:
        return tuple(np.rint(np.array(self.atoms, np.float64) * SECOND).tolist())

    def _decoded(self, counts: NDArray[np.float64], codes: NDArray[np.int64], missing: NDArray[np.bool_]) -> pd.Series:
        step = round(self.resolution * SECOND)
        limit = float(2**62 // step)
        micros = np.clip(counts, -limit, limit).astype(np.int64) * step
        return from_microseconds(micros, missing, self.dtype, absent=MISSING[self.missing or "None"])

    def _read(self, series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        counts, missing = to_microseconds(series, self.name, aware=time_zone(self.dtype) is not None)
        return counts.astype(np.float64), missing

    def series_of(self, value: object) -> pd.Series:
        """Return one value as a column; a word of ISO 8601 as the time it is."""
        if pd.isna(value):  # type: ignore[call-overload]
            return pd.Series([None], dtype=object)
        times = pd.Series(np.array([round(self._raw(value))]).view("m8[us]" if self.kind == "timedelta" else "M8[us]"))
        return times if time_zone(self.dtype) is None else times.dt.tz_localize("UTC")

    def _raw(self, value: object) -> float:
        try:
            return float(microseconds(value, self.kind, zone=time_zone(self.dtype))[0])
        except ValueError as error:
            raise ValueError(f"column {self.name!r}: {error}") from error

    def _shown(self, value: float) -> str:
        return word(int(value), self.kind)


class DatetimeColumn(TimeColumn):
    """One column of points in time, counted from 1970-01-01 UTC.

    Its fields are those of :class:`NumericColumn`; resolution, atoms and bounds are in seconds. In a CSV file its words
    may have a ``format``, such as "%d/%m/%Y".

    Example:
        >>> column = DatetimeColumn(name="day", dtype="datetime64[us]", resolution=86400)
        >>> column.encode(pd.Series(pd.to_datetime(["1970-01-03"]))).numbers
        array([2.])
    """

    kind: Literal["datetime"] = "datetime"
    format: str | None = None
    FAMILY: ClassVar[str] = "datetimes"

    @model_validator(mode="after")
    def _is_written(self) -> Self:
        _ = self.words  # which refuses a format by which no date is told
        return self

    @property
    def words(self) -> WordFormat | None:
        """How the words of a file are written; None if that is not declared."""
        if self.format is None:
            return None
        return WordFormat(self.name, self.kind, format=self.format, zone=time_zone(self.dtype) if self.dtype else None)

    def _with_floor(self, tally: object) -> Self:
        return self  # 1970 is no bound


class DurationColumn(TimeColumn):
    """One column of durations; see :class:`DatetimeColumn`."""

    kind: Literal["timedelta"] = "timedelta"
    FAMILY: ClassVar[str] = "timedeltas"
