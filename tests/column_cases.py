"""Columns of every kind and dtype: what came, what may come that was not seen, and what is of another type."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

ROWS = 200
DAY = pd.Timestamp("2024-02-29")
DAYS = pd.Series(pd.date_range("1960-01-01", periods=ROWS, freq="D"))
HOUR = pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Case:
    """A column.

    Args:
        rows: What came.
        kind: What it is taken for.
        resolution: That of numbers or times; None for classes.
        unseen: Values of the right type that are "something not seen"; None is a first missing value.
        scored: Values that did not come, but have a probability all the same.
        alien: Values of another type.
        atoms: How many numbers have a probability of their own; None: whatever.
    """

    rows: pd.Series
    kind: str
    resolution: float | None = None
    unseen: tuple[Any, ...] = ()
    scored: tuple[Any, ...] = ()
    alien: tuple[Any, ...] = ()
    atoms: int | None = field(default=None)

    def cells(self, *values: Any) -> pd.Series:
        """Values as a column that may follow the rows."""
        if isinstance(self.rows.dtype, pd.CategoricalDtype):
            return pd.Series(pd.Categorical(values))
        return pd.Series(values, dtype=object).infer_objects()

    def mixed(self, value: Any) -> pd.DataFrame:
        """The first row, and then one with another value."""
        first = self.rows.iloc[:1]
        if isinstance(first.dtype, pd.CategoricalDtype):
            cells = pd.Series(pd.Categorical([*first, value], ordered=first.dtype.ordered))
        else:
            cells = pd.Series([*first, value], dtype=object).infer_objects()
        return pd.DataFrame({"x": cells})


def arrow(type_: pa.DataType) -> pd.ArrowDtype:
    return pd.ArrowDtype(type_)


def gap(rows: pd.Series, place: int = 3) -> pd.Series:
    """Rows of which one is missing."""
    rows = rows.copy()
    rows.iloc[place] = None
    return rows


def words(dtype: Any, *, missing: bool = False) -> Case:
    values = ["wren", "owl", "2024-01-01", "1", "", None if missing else "owl"] * 10
    unseen = ("kite", "Wren", "0") if missing else ("kite", "Wren", "0", None)
    return Case(pd.Series(values, dtype=dtype), "categorical", unseen=unseen, alien=(1, 0.5, True, DAY, b"wren", ["x"]))


def categories(values: list[Any], seen: list[int], *, ordered: bool = False, unseen: tuple[Any, ...]) -> Case:
    dtype = pd.CategoricalDtype(pd.Index(values), ordered=ordered)
    rows = pd.Series(pd.Categorical.from_codes(seen * 8, dtype=dtype))
    alien = (True, 1) if isinstance(values[0], str) else ("1", True)
    return Case(rows, "ordinal" if ordered else "categorical", unseen=unseen, alien=alien if max(seen) >= 0 else ())


def truths(dtype: Any, values: list[Any], *unseen: Any) -> Case:
    return Case(pd.Series(values * 12, dtype=dtype), "boolean", unseen=unseen, alien=(1, 0.0, "True", DAY))


NOT_NUMBERS = ("1", True, DAY, HOUR, b"1", 1j, [1])
NOT_DATETIMES = ("2024-01-01", 1, True, HOUR)
NOT_DURATIONS = ("1 day", 1, False, DAY)


def numbers(
    rows: pd.Series, resolution: float, *, unseen: tuple[Any, ...] = (math.inf, -math.inf), **more: Any
) -> Case:
    """A column of numbers, whose minimum 0 is inferred if -1 is unseen."""
    unseen = unseen if rows.isna().any() else (*unseen, None)
    scored = (0, 17.25, 2**53 + 1, 1e300, *(() if -1 in unseen else (-1, -1e300)))
    return Case(rows, "number", resolution, unseen, scored, NOT_NUMBERS, **more)


def whole(dtype: Any, shift: int = -300) -> Case:
    rows = (pd.Series(np.arange(ROWS) * 7 + shift)).astype(dtype)
    return numbers(gap(rows) if not isinstance(rows.dtype, np.dtype) else rows, 1, atoms=0)


def reals(dtype: Any) -> Case:
    return numbers(gap(pd.Series(np.random.default_rng(0).normal(size=ROWS) * 100).astype(dtype)), 0, atoms=0)


def times(rows: pd.Series, resolution: float, *, aware: bool = False) -> Case:
    alien = (*NOT_DATETIMES, DAY if aware else DAY.tz_localize("UTC"))
    zone = "UTC" if aware else None
    scored = tuple(pd.Timestamp(time, tz=zone) for time in ("1900-01-01", "2024-02-29 12:34:56.789", "2200-01-01"))
    return Case(rows, "datetime", resolution, () if rows.isna().any() else (None,), scored, alien)


def lapses(rows: pd.Series, resolution: float) -> Case:
    unseen = (-HOUR,) if rows.isna().any() else (-HOUR, None)
    return Case(rows, "timedelta", resolution, unseen, (pd.Timedelta(days=999), pd.Timedelta(0)), NOT_DURATIONS)


def nothing(dtype: Any) -> Case:
    """A column of missing values only, of which all others are unseen."""
    kind = "boolean" if dtype == "boolean" else "categorical"
    unseen = (DAY,) if "time" in dtype else ("x", 1.5, True, DAY, HOUR)
    return Case(pd.Series([None] * 30, dtype=dtype), kind, unseen=unseen, alien=([1], b"x"))


MINUTES = pd.Series(pd.Timestamp("2024-03-30") + pd.to_timedelta(np.arange(ROWS) * 17, unit="min"))
UTC = MINUTES.dt.tz_localize("UTC")
LAPSES = pd.Series(pd.to_timedelta(np.arange(ROWS) * 90, unit="min"))
RNG = np.random.default_rng(0)
INTERVALS = pd.cut([1, 2, 3], [-math.inf, 0.1, 1, 5, 7]).categories
NONNEGATIVE = (-1, -0.25, -math.inf, math.inf)
IDS = [2**60, 2**60 + 1, 2**60 + 2]

COLUMNS: dict[str, Case] = {
    "strings": words("str"),
    "strings with missing": words("str", missing=True),
    "object strings": words(object, missing=True),
    "python strings": words("string[python]"),
    "pyarrow strings": words("string[pyarrow]", missing=True),
    "arrow strings": words(arrow(pa.string())),
    "one string": Case(pd.Series(["a"]), "categorical", unseen=("b", None), alien=(1,)),
    "many strings": Case(pd.Series([f"c{n}" for n in range(3000)]), "categorical", unseen=("c3000", None), alien=(1,)),
    "category": categories(["b", "a", "never"], [0, 1, -1], unseen=("never", "new")),
    "ordered category": categories(["S", "M", "L"], [0, 2, 2], ordered=True, unseen=("M", "XL", None)),
    "ordered category with missing": categories(["S", "L"], [0, 1, -1], ordered=True, unseen=("XL",)),
    "category of integers": categories([2**60 + 1, 2**60, 5], [0, 1, -1], unseen=(5, 2**60 + 2)),
    "category of floats": categories([0.5, -1.0], [0, 1], ordered=True, unseen=(2.5, None)),
    "category of booleans": Case(
        pd.Series(pd.Categorical([True, None] * 9)), "categorical", unseen=(False,), alien=(1, "True")
    ),
    "category of intervals": categories(
        INTERVALS, [0, 1, 2], ordered=True, unseen=(INTERVALS[3], pd.Interval(0, 1), None)
    ),
    "booleans": truths(bool, [True, False], None),
    "one boolean": truths(bool, [False], True, None),
    "nullable booleans": truths("boolean", [True, None], False),
    "object booleans": truths(object, [False, None], True),
    "arrow booleans": truths("bool[pyarrow]", [True, False, None]),
    **{dtype: whole(dtype) for dtype in ("int16", "int32", "int64", "Int32", "Int64", "float64")},
    "UInt64": numbers(gap(pd.Series(np.arange(ROWS) * 7).astype("UInt64")), 1, unseen=NONNEGATIVE),
    "uint16": whole("uint16", shift=5000),
    "arrow integers": whole(arrow(pa.int64())),
    "object integers": numbers(pd.Series([*range(100, 100 + ROWS), None], dtype=object), 1, atoms=0),
    "huge integers": numbers(pd.Series(np.arange(ROWS) + 2**52), 1, atoms=0),
    "whole floats": numbers(gap(pd.Series(np.arange(ROWS) * 7.0 - 300)), 1, atoms=0),
    "flags": numbers(pd.Series([0, 1, 0, 0] * 40), 1, unseen=NONNEGATIVE, atoms=2),
    "scores": numbers(pd.Series([1, 2, 3, 4, 5] * 40), 1, atoms=5),
    "counts": numbers(pd.Series(RNG.poisson(1.5, ROWS)), 1, unseen=NONNEGATIVE),
    "ids": numbers(pd.Series(IDS * 40), 1, atoms=3),
    "unsigned ids": numbers(pd.Series([2**63 + 1, 2**64 - 1] * 40, dtype="uint64"), 1, atoms=2),
    "nullable ids": numbers(pd.Series([*IDS, None] * 40, dtype="Int64"), 1, atoms=3),
    "object ids": numbers(pd.Series([*IDS, 2**70 + 1, None] * 40, dtype=object), 1, unseen=NONNEGATIVE, atoms=4),
    "prices": numbers(gap(pd.Series(np.arange(ROWS) % 90 / 100)), 0.01, unseen=NONNEGATIVE),
    "prices in float32": numbers(pd.Series(np.arange(ROWS) % 90 / 100 - 1).astype("float32"), 0.01),
    **{dtype: reals(dtype) for dtype in ("float32", "Float32", "Float64", "double[pyarrow]")},
    "reals": reals("float64"),
    "object floats": numbers(pd.Series([*(np.arange(ROWS) / 7 + 90).tolist(), pd.NA], dtype=object), 0, atoms=0),
    "tiny floats": numbers(pd.Series((np.arange(ROWS) - 50) * 1e-19 / 7), 0, atoms=0),
    "infinite": numbers(pd.Series([math.inf, -math.inf, *np.arange(ROWS) / 7 - 5]), 0, unseen=(), atoms=2),
    "rain": numbers(
        pd.Series(np.where(RNG.random(ROWS) < 0.6, 0.0, RNG.exponential(size=ROWS))), 0, unseen=NONNEGATIVE, atoms=1
    ),
    "one number": numbers(pd.Series([0.5]), 0.1, atoms=0),
    "dates": times(gap(DAYS), 86400),
    "all dates": times(DAYS, 86400),
    "date objects": Case(
        pd.Series([*DAYS.dt.date[:-1], None], dtype=object), "datetime", 86400, (), (datetime.date(2199, 1, 1),),
        NOT_DATETIMES,
    ),
    "arrow dates": times(gap(DAYS.astype(arrow(pa.date32()))), 86400),
    "minutes": times(gap(MINUTES), 60),
    "nanosecond dtype": times(gap(MINUTES.astype("datetime64[ns]")), 60),
    "second dtype": times(gap(MINUTES.astype("datetime64[s]")), 60),
    "zone": times(gap(UTC.dt.tz_convert("Europe/Berlin")), 60, aware=True),
    "arrow zone": times(gap(UTC.astype(arrow(pa.timestamp("us", "Asia/Kolkata")))), 60, aware=True),
    "microseconds": times(DAY + pd.Series(pd.to_timedelta(np.arange(ROWS) * 1_000_001, unit="us")), 1e-6),
    "one day": times(pd.Series([DAY] * 30), 86400),
    "all durations": lapses(LAPSES, 60),
    "durations": lapses(gap(LAPSES), 60),
    "arrow durations": lapses(gap((LAPSES / 60).astype(arrow(pa.duration("ms")))), 1),
    **{f"no {dtype}": nothing(dtype) for dtype in ("float64", "Int64", "object", "str", "datetime64[us]", "boolean")},
    "no category": categories(["a"], [-1], unseen=("a", "b")),
}  # fmt: skip
"""Names of cases."""
