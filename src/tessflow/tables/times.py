"""Dates, times and durations as whole microseconds, since 1970-01-01 UTC where they are points in time."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tessflow.tables.dtypes import dtype_from_name

__all__ = ["DURATION", "UNITS", "from_microseconds", "microseconds", "time_zone", "to_microseconds", "word"]

SECOND = 10**6
UNITS = (86400 * SECOND, 3600 * SECOND, 60 * SECOND, SECOND, 1000, 1)
"""Day, hour, minute, second, millisecond and microsecond, in microseconds."""

DURATION = r"(-?[0-9]+ days?)?( ?\+?[0-9]+:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?)?|[-+]?P[-+0-9DHMSTW.]+"
"""Words for durations: those that pandas prints, and those of ISO 8601."""

_CLOCK = r"[T ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]{1,9})?)?)?( ?Z|[-+][0-9]{2}(:?[0-9]{2})?)?"
_WORDS = {
    "datetime": re.compile(f"[0-9]{{4}}(-[0-9]{{2}}(-[0-9]{{2}}({_CLOCK})?)?)?|[0-9]{{8}}({_CLOCK})?"),
    "timedelta": re.compile(f"(?=.)({DURATION})"),
}

_TICKS = {"s": SECOND, "ms": 1000, "us": 1}


def time_zone(dtype: str) -> Any:
    """Return the time zone of a named dtype; None if it has none.

    Example:
        >>> time_zone("datetime64[us, UTC]"), time_zone("datetime64[us]")
        (datetime.timezone.utc, None)
    """
    pandas_dtype = dtype_from_name(dtype)
    return getattr(getattr(pandas_dtype, "pyarrow_dtype", pandas_dtype), "tz", None)


def to_microseconds(
    series: pd.Series, name: Hashable, *, aware: bool | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Count a column's times in microseconds; what is finer is rounded.

    Args:
        series: Dates, datetimes (with or without a time zone) or durations.
        name: The column's name, for messages.
        aware: Whether they must have a time zone, or must not; None: either.

    Returns:
        Microseconds of shape (rows,), 0 where the value is missing, and whether it is.

    Raises:
        ValueError: If the times have a time zone and should not, or the reverse, or zones are mixed.

    Example:
        >>> to_microseconds(pd.Series(pd.to_timedelta(["1ms", None])), "delay")
        (array([1000,    0]), array([False,  True]))
    """
    where = f"column {name!r}"
    try:
        times = pa.array(series, from_pandas=True)
        times = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ValueError(f"{where} mixes times that cannot be compared: convert it with pandas.to_datetime") from error
    missing = times.is_null().to_numpy(zero_copy_only=False)
    if series.dtype == object and len({getattr(time, "tzinfo", None) is None for time in series[~missing]}) > 1:
        raise ValueError(f"{where} mixes times with and without a time zone: convert it with pandas.to_datetime")
    if pa.types.is_null(times.type):
        return np.zeros(len(missing), np.int64), missing
    zone = getattr(times.type, "tz", None)
    if aware is not None and (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
        if aware and zone is None:
            raise ValueError(f"{where} lacks the time zone that training rows had: set it with .dt.tz_localize")
        if not aware and zone is not None:
            raise ValueError(f"{where} has a time zone, but training rows had none: drop it with .dt.tz_localize(None)")
    if pa.types.is_date(times.type):
        times = times.cast(pa.timestamp("s"))
    counts = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    unit = times.type.unit
    if unit == "ns":
        return (counts + 500) // 1000, missing
    return counts * _TICKS[unit], missing


def from_microseconds(
    counts: NDArray[np.int64], missing: NDArray[np.bool_], dtype: str, *, absent: object = None
) -> pd.Series:
    """Return the times of counts of microseconds, in a dtype whose range they are clipped to.

    Args:
        counts: Microseconds.
        missing: Whether a time is missing.
        dtype: Name of the dtype; "date" stands for objects of `datetime.date`.
        absent: What a missing value is among objects.

    Example:
        >>> from_microseconds(np.array([86400_000_000]), np.array([False]), "datetime64[s]").tolist()
        [Timestamp('1970-01-02 00:00:00')]
    """
    pandas_dtype = dtype_from_name(dtype)
    code = "m" if pandas_dtype.kind == "m" else "M"
    is_nanoseconds = "ns" in dtype.split("[", 1)[-1]
    farthest = (2**63 - 1) // 1000 - 1 if is_nanoseconds else _FARTHEST
    first, last = -farthest, farthest
    if dtype == "date" or time_zone(dtype) is not None:  # whose library knows the years 1 to 9999
        first, last = max(first, _YEARS[0]), min(last, _YEARS[1])
    nothing = np.iinfo(np.int64).min  # NaT
    counts = np.where(missing, nothing, np.clip(counts, first, last))
    times = pd.Series(counts.view(f"{code}8[us]"))
    if dtype == "date":
        dates = [absent if gone else date for date, gone in zip(times.dt.date, missing, strict=True)]
        return pd.Series(dates, dtype=object)
    if time_zone(dtype) is not None:
        times = times.dt.tz_localize("UTC")
    return times.astype(pandas_dtype)


_FARTHEST = 200_000 * 365 * UNITS[0]  # what pandas still prints
# Two days inside the years 1 and 9999, since a time zone may move a time by one.
_YEARS = tuple(np.array(["0001-01-03", "9999-12-29"], "M8[us]").astype(np.int64).tolist())


def microseconds(value: object, kind: str, *, zone: Any = None) -> tuple[int, bool]:
    """Count one time in microseconds.

    Args:
        value: A datetime, date, duration, or a word for one: of ISO 8601, such as "2024-01-31T12:00Z" or
            "P1DT2H"; a duration also as pandas prints it.
        kind: "datetime" or "timedelta".
        zone: Time zone in which a datetime without one is read; None: it may have none.

    Returns:
        Microseconds, and whether the value was missing.

    Raises:
        ValueError: If it is no time, or has a time zone and should not.

    Example:
        >>> microseconds("1970-01-01 00:01", "datetime")
        (60000000, False)
        >>> microseconds("13/02/2024", "datetime")
        Traceback (most recent call last):
        ValueError: '13/02/2024' is no datetime: give a word such as '2024-01-31 12:00', that is write year-month-day
    """
    read = pd.Timestamp if kind == "datetime" else pd.Timedelta
    if isinstance(value, (bool, int, float)) and not pd.isna(value):
        raise ValueError(
            f"{value!r} is no {kind}: give a word such as {_EXAMPLES[kind]!r}, or a pandas.{read.__name__}"
        )
    advice = f"{value!r} is no {kind}: give a word such as {_EXAMPLES[kind]!r}{_ADVICE[kind]}"
    if isinstance(value, str) and not _WORDS[kind].fullmatch(value):
        raise ValueError(advice)
    try:
        time = read(value)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ValueError(advice) from error
    if time is pd.NaT:
        return 0, True
    if kind == "datetime" and zone is not None and time.tz is None:
        time = time.tz_localize(zone)
    elif kind == "datetime" and zone is None and time.tz is not None:
        raise ValueError(f"{value!r} has a time zone, but training rows had none: leave it out")
    counts, missing = to_microseconds(pd.Series([time]), kind)
    return int(counts[0]), bool(missing[0])


_ADVICE = {"datetime": ", that is write year-month-day", "timedelta": " or 'P1DT2H30M'"}
_EXAMPLES = {"datetime": "2024-01-31 12:00", "timedelta": "1 day 02:30:00"}


def word(count: int, kind: str) -> str:
    """Write a count of microseconds in ISO 8601, a point in time without its zone.

    Example:
        >>> word(60_000_000, "datetime"), word(60_000_000, "timedelta")
        ('1970-01-01T00:01:00', 'P0DT0H1M0S')
    """
    return (pd.Timestamp if kind == "datetime" else pd.Timedelta)(count, unit="us").isoformat()
