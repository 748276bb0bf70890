"""Filling holes changes no known value, whatever the dtypes; which dtype comes out is told by what each can hold."""

import datetime
import itertools
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessflow.tables.filling import fill

UNITS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
BERLIN = "Europe/Berlin"


def arrow(kind):
    return pd.ArrowDtype(kind)


# ---- what a Python value is, and which dtypes hold it: written without `fill`


def nanoseconds(time):
    """Nanoseconds since 1970 UTC of a Timestamp, or of a Timedelta, as a Python integer."""
    code = "M" if isinstance(time, pd.Timestamp) else "m"
    return int(time.asm8.astype(f"{code}8[us]").astype(np.int64)) * 1000 + int(
        time.nanosecond if code == "M" else time.nanoseconds
    )


def exact(value):
    """What is equal for two values if nothing was changed."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return "missing"
    if isinstance(value, (bool, np.bool_)):
        return "bool", bool(value)
    if isinstance(value, str):
        return "str", str(value)
    if isinstance(value, datetime.datetime):
        time = pd.Timestamp(value)
        return "datetime", nanoseconds(time), str(time.tz)
    if isinstance(value, datetime.date):
        return "date", value.isoformat()
    if isinstance(value, datetime.timedelta):
        return "timedelta", nanoseconds(pd.Timedelta(value))
    value = value.item() if isinstance(value, np.generic) else value
    return "number", Fraction(value) if np.isfinite(float(value)) else value


def keys(values):
    return [exact(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]


def whole(low, high):
    return lambda key: key[0] == "number" and isinstance(key[1], Fraction) and key[1] % 1 == 0 and low <= key[1] <= high


def real(kind):
    def holds(key):
        if key[0] != "number" or not isinstance(key[1], Fraction):
            return key[0] == "number"  # an infinity
        with np.errstate(over="ignore"):
            near = kind(float(key[1]))
        return bool(np.isfinite(near)) and Fraction(float(near)) == key[1]

    return holds


def integers(name):
    info = np.iinfo(name)
    return whole(int(info.min), int(info.max))


def kind_of(kind):
    return lambda key: key[0] == kind


def text(key):
    return key[0] == "str"


def encodable(key):
    return key[0] == "str" and "\ud800" not in key[1]


def times(kind, unit, zone="None"):
    def holds(key):
        count = Fraction(key[1], UNITS[unit]) if key[0] == kind else Fraction(1, 2)
        return count % 1 == 0 and abs(count) < 2**63 and key[2:] in ((), (zone,))

    return holds


def among(*values):
    keys = {exact(value) for value in values}
    return lambda key: key in keys


INTEGERS = [0, -3, 255, 300, 2**53 + 1, 2**60 + 1, 2**63 - 1, 2**64 - 1]
REALS = [0.0, 0.5, 0.1, -3.0, 300.0, 2.0**60, 2.0**63, 1e300, float("inf")]
WORDS = ["", "a", "1", "é", "a\0b"]
TIMES = ["0001-01-01", "1970-01-01", "2024-02-29 12:00:00.001", "2024-01-01 00:00:00.000000001", "9999-12-31"]
LAPSES = [pd.Timedelta(0), pd.Timedelta(1, "ns"), pd.Timedelta(1001, "ms"), pd.Timedelta(-1, "D")]
DATES = [datetime.date(1, 1, 1), datetime.date(1970, 1, 1), datetime.date(9999, 12, 31)]


def stamps(zone=None):
    # In the years 1 and 9999 a zone may lead out of what Python's calendar knows.
    return [pd.Timestamp(time, tz=zone) for time in (TIMES[1:-1] if zone else TIMES)]


def families():
    """Names of dtypes: dtype, candidates for values, which of them it holds; grouped by what they hold."""
    numbers, strings, clocks, lapses, truths, days = {}, {}, {}, {}, {}, {}
    for bits, sign in itertools.product([8, 16, 32, 64], ["int", "uint"]):
        numbers[f"{sign}{bits}"] = (np.dtype(f"{sign}{bits}"), INTEGERS, integers(f"{sign}{bits}"))
    for name in ("Int8", "Int64", "UInt64"):
        numbers[name] = (pd.api.types.pandas_dtype(name), INTEGERS, integers(name.lower()))
    for name, kind in {"float32": np.float32, "float64": np.float64, "Float32": np.float32, "Float64": float}.items():
        numbers[name] = (pd.api.types.pandas_dtype(name), REALS, real(kind))
    numbers["arrow[int64]"] = (arrow(pa.int64()), INTEGERS, integers("int64"))
    numbers["arrow[double]"] = (arrow(pa.float64()), REALS, real(float))
    numbers["objects of numbers"] = (np.dtype(object), [*INTEGERS, 2**70, 0.1, np.float32(0.1)], lambda _: True)
    counted = [-3, 300, 2**60 + 1]
    numbers["category of integers"] = (pd.CategoricalDtype(counted), counted, among(*counted))

    strings["objects of strings"] = (np.dtype(object), [*WORDS, "\ud800"], lambda _: True)
    kinds = [pd.StringDtype("python"), pd.StringDtype("pyarrow"), arrow(pa.string())]
    names = ["string[python]", "string[pyarrow]", "arrow[string]"]
    if pd.api.types.pandas_dtype("str") != np.dtype("U"):  # pandas 3
        kinds, names = [*kinds, pd.api.types.pandas_dtype("str")], [*names, "str"]
    for name, kind in zip(names, kinds, strict=True):
        strings[name] = (kind, WORDS, text if name == "string[python]" else encodable)
    strings["category"] = (pd.CategoricalDtype(["b", "1", "a"]), ["1", "a"], among("b", "1", "a"))
    strings["other category"] = (pd.CategoricalDtype(["c", "a"]), ["c", "a"], among("c", "a"))
    ranks = pd.CategoricalDtype(["1", "a", ""], ordered=True)
    strings["ordered"] = (ranks, ["1", ""], among("1", "a", ""))

    for unit, zone in itertools.product(UNITS, [None, "UTC", BERLIN]):
        kind = pd.DatetimeTZDtype(unit, zone) if zone else np.dtype(f"M8[{unit}]")
        clocks[str(kind)] = (kind, stamps(zone), times("datetime", unit, str(zone)))
    for unit, zone in [("ns", None), ("us", None), ("us", "UTC")]:
        kind = arrow(pa.timestamp(unit, zone))
        clocks[str(kind)] = (kind, stamps(zone), times("datetime", unit, str(zone)))
    mixed = [datetime.datetime(1, 1, 1), pd.Timestamp(TIMES[3]), pd.Timestamp(TIMES[2], tz=BERLIN)]
    clocks["objects of datetimes"] = (np.dtype(object), mixed, lambda _: True)

    for unit in UNITS:
        lapses[f"m8[{unit}]"] = (np.dtype(f"m8[{unit}]"), LAPSES, times("timedelta", unit))
    lapses["arrow[duration]"] = (arrow(pa.duration("us")), LAPSES, times("timedelta", "us"))
    lapses["objects of timedeltas"] = (np.dtype(object), [*LAPSES, datetime.timedelta(days=999)], lambda _: True)

    for name, kind in {"bool": np.dtype(bool), "boolean": pd.BooleanDtype(), "arrow[bool]": arrow(pa.bool_())}.items():
        truths[name] = (kind, [True, False], kind_of("bool"))
    truths["objects of booleans"] = (np.dtype(object), [True, np.False_], lambda _: True)

    days["objects of dates"] = (np.dtype(object), DATES, lambda _: True)
    days["arrow[date]"] = (arrow(pa.date32()), DATES, kind_of("date"))
    return {
        "numbers": numbers, "strings": strings, "datetimes": clocks, "timedeltas": lapses, "booleans": truths,
        "dates": days,
    }  # fmt: skip


FAMILIES = families()


def possible(dtype, values, holds):
    return [value for value in values if holds(exact(value))]


def column(values, dtype):
    """A column of values, which has them exactly."""
    made = pd.Series(values, dtype=object)
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_temporal(dtype.pyarrow_dtype) and dtype != arrow(pa.date32()):
        made = pd.Series(pa.array([nanoseconds(value) // UNITS[dtype.pyarrow_dtype.unit] for value in values]))
    made = made.astype(dtype)
    assert keys(made) == keys(values)
    return made


def with_hole(values, dtype):
    """The column, with a hole as its last row; None if the dtype has no missing value."""
    made = column(values, dtype).reindex(range(len(values) + 1))
    return made if made.dtype == dtype else None


def check(own, training, known, filler):
    """Fill one hole: nothing known changes, the hole is filled, and the dtype is the first that holds them."""
    series = with_hole(known, own[0])
    if series is None:
        return
    values = column([filler] * (len(known) + 1), training[0])
    series.index, series.name = [7] * len(series), ("a", 1)
    before = keys(series)
    holes = np.array([False] * len(known) + [True])
    found = fill(series, holes, values)
    midnight = isinstance(filler, pd.Timestamp) and filler.tz is None and filler == filler.normalize()
    among_dates = {type(value) for value in known} == {datetime.date}
    among_clocks = not isinstance(own[0], np.dtype) or own[0].kind == "M"
    among_clocks = among_clocks and all(isinstance(value, pd.Timestamp) and value.tz is None for value in known)
    if type(filler) is datetime.date and among_clocks:  # which midnight is as a datetime
        filler, training = pd.Timestamp(filler).as_unit("us"), FAMILIES["datetimes"]["datetime64[us]"]
    wanted = keys([*known, filler.date() if midnight and among_dates else filler])
    about = f"{known} in {own[0]!r} with {filler!r} in {training[0]!r}: {found.dtype!r}"
    assert keys(found) == wanted, about
    assert found.index.equals(series.index), about
    assert found.name == series.name, about
    assert keys(series) == before, about
    first = next((dtype for dtype, _, holds in (training, own) if all(map(holds, wanted))), None)
    if first is not None:
        assert found.dtype == first, about
    elif isinstance(own[0], pd.CategoricalDtype) and not own[0].ordered:
        categories = [*own[0].categories.tolist(), filler]
        assert isinstance(found.dtype, pd.CategoricalDtype), about
        assert keys(found.cat.categories) == keys(categories), about
        assert not found.cat.ordered, about
    else:
        assert found.dtype == object, about


@pytest.mark.parametrize("family", FAMILIES)
def test_no_known_value_changes_for_any_two_dtypes_of_a_family(family):
    for own, training in itertools.product(FAMILIES[family].values(), repeat=2):
        known = possible(*own)
        fillers = itertools.cycle(possible(*training))
        check(own, training, known, next(fillers))
        for value in known:
            check(own, training, [value], next(fillers))


def test_no_known_value_changes_between_families():
    for ours, theirs in itertools.permutations(FAMILIES, 2):
        for own, training in itertools.product(list(FAMILIES[ours].values()), list(FAMILIES[theirs].values())[::3]):
            check(own, training, possible(*own)[:2], possible(*training)[-1])


@pytest.mark.parametrize(
    ("known", "own", "filler", "training", "dtype"),
    [
        ([1700000000000000001], "Int64", 0.5, "float64", "object"),
        ([1700000000000000001], "Int64", 2.0, "float64", "Int64"),
        ([300], "float64", 7, "int8", "float64"),
        ([-3], "float64", 7, "uint8", "float64"),
        ([-3], "object", 7, "uint8", "object"),
        ([3.0], "float64", 7, "int64", "int64"),
        ([True], "object", 7, "int64", "object"),
        ([1], "object", True, "bool", "object"),
        ([-0.0, float("inf")], "float64", 1, "float32", "float32"),
    ],
)
def test_dtype_of_what_is_filled(known, own, filler, training, dtype):
    series = pd.Series([*known, None], dtype=own)
    found = fill(series, series.isna().to_numpy(), pd.Series([filler] * len(series), dtype=training))
    assert found.dtype == dtype
    assert repr(found.astype(object).tolist()[:-1]) == repr([type(found.tolist()[0])(value) for value in known])
    assert exact(found.tolist()[-1]) == exact(filler)


def test_last_day_of_the_calendar_stays():
    series = pd.Series(np.array(["9999-12-31", "NaT"], "M8[s]"))
    found = fill(series, series.isna().to_numpy(), pd.Series(np.array(["2024-01-01"] * 2, "M8[ns]")))
    assert found.dtype == "datetime64[s]"
    assert found.astype(str).tolist() == ["9999-12-31", "2024-01-01"]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_holes_a_column_is_itself(family):
    training = pd.Series([0.5, 0.5])
    for own in FAMILIES[family].values():
        series = column(possible(*own)[:2], own[0])
        assert fill(series, np.zeros(len(series), bool), training[: len(series)]) is series
    empty = pd.Series([], dtype=object)
    assert fill(empty, np.zeros(0, bool), training[:0]) is empty


@pytest.mark.parametrize("family", FAMILIES)
def test_a_column_of_holes_gets_the_dtype_of_training(family):
    for training in FAMILIES[family].values():
        values = column(possible(*training), training[0])
        for dtype in ("float64", "object", "Int64", "M8[ns]", "str", "category", "datetime64[us, UTC]"):
            nothing = pd.Series([None] * len(values), dtype=dtype)
            found = fill(nothing, np.ones(len(values), bool), values)
            assert found.dtype == training[0]
            assert keys(found) == keys(values)


@pytest.mark.parametrize("absent", [None, np.nan, pd.NA])
def test_what_is_left_missing_stays_missing(absent):
    def filled(own, training):
        series = pd.Series([3, None, None], dtype=own)
        return fill(series, series.isna().to_numpy(), pd.Series([0, absent, 5], dtype=training))

    for own, training, dtype in [
        ("Int64", "Int64", "Int64"),
        ("float64", "Int64", "Int64"),
        ("object", "object", "object"),
        ("category", "Int64", "Int64"),
        ("float64", "int64[pyarrow]", "int64[pyarrow]"),
    ]:
        found = filled(own, training)
        assert found.dtype == dtype
        assert keys(found) == keys([3, None, 5])
    assert filled("object", "object")[1] is absent


def test_dates_are_filled_among_dates():
    known = [datetime.date(2020, 1, 2), None, datetime.date(9999, 12, 31)]
    filler = pd.Series(pd.to_datetime(["2021-03-04"] * 3))
    filled = fill(pd.Series(known, dtype=object), np.array([False, True, False]), filler)
    assert filled.tolist() == [known[0], datetime.date(2021, 3, 4), known[2]]
    assert {type(value) for value in filled} == {datetime.date}


def test_a_time_of_day_stays_among_dates():
    column = pd.Series([datetime.date(2020, 1, 2), None], dtype=object)
    filled = fill(column, np.array([False, True]), pd.Series(pd.to_datetime(["2021-03-04 05:06"] * 2)))
    assert filled.tolist() == [datetime.date(2020, 1, 2), pd.Timestamp("2021-03-04 05:06")]


def test_decimals_are_filled_among_decimals():
    column = pd.Series([Decimal("1.10"), None], dtype=object)
    filled = fill(column, np.array([False, True]), pd.Series([1.0, 0.1]))
    assert [str(value) for value in filled] == ["1.10", "0.1"]


def test_new_categories_come_last():
    series = pd.Series(["b", None, "a", None, None], dtype=pd.CategoricalDtype(["b", "a"]))
    holes = series.isna().to_numpy()
    values = pd.Series(["", "d", "", "a", "c"], dtype=pd.CategoricalDtype(["c", "d", "a", ""]))
    found = fill(series, holes, values)
    assert found.tolist() == ["b", "d", "a", "a", "c"]
    assert found.dtype.categories.tolist() == ["b", "a", "d", "c"]
    assert found.dtype.categories.dtype == series.dtype.categories.dtype
    ordered = series.cat.as_ordered()
    assert fill(ordered, holes, values).dtype == object
    assert fill(ordered, holes, values.astype(object)).dtype == object
    within = fill(ordered, holes, pd.Series(["a"] * 5, dtype=pd.CategoricalDtype(["a", "c"])))
    assert within.dtype == ordered.dtype


def test_categories_of_numbers_keep_their_kind():
    series = pd.Series([2**60 + 1, None], dtype=pd.CategoricalDtype([2**60 + 1, 1]))
    holes = np.array([False, True])
    found = fill(series, holes, pd.Series([0.5, 0.5]))
    assert keys(found.dtype.categories) == keys([2**60 + 1, 1, 0.5])
    truth = fill(series, holes, pd.Series([True, True]))
    assert truth.dtype == object
    assert keys(truth) == keys([2**60 + 1, True])


NUMBERS = {name: entry for name, entry in FAMILIES["numbers"].items() if not name.startswith("category")}


def numbers_of(name):
    dtype, _, holds = NUMBERS[name]
    kind = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    integers = st.integers(-(2**64), 2**65)
    if kind.kind in "iu":
        return st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    reals = st.floats(allow_nan=False, width=32 if kind == np.float32 else 64)
    return st.one_of(reals, integers if kind.kind == "O" else integers.map(float).filter(lambda x: holds(exact(x))))


@given(st.data())
def test_no_number_changes(data):
    own, training = (data.draw(st.sampled_from(sorted(NUMBERS))) for _ in range(2))
    known = data.draw(st.lists(numbers_of(own), min_size=1, max_size=4))
    fillers = data.draw(st.lists(numbers_of(training), min_size=1, max_size=4))
    rows = data.draw(st.permutations(range(len(known) + len(fillers))))
    series = column(known, NUMBERS[own][0]).reindex(rows)
    if series.dtype != NUMBERS[own][0]:
        return
    holes = np.array(rows) >= len(known)
    values = column([*fillers[:1] * len(known), *fillers], NUMBERS[training][0]).loc[rows]
    found = fill(series, holes, values)
    wanted = keys([*known, *fillers])
    assert keys(found) == [wanted[row] for row in rows]
    first = next((NUMBERS[n][0] for n in (training, own) if all(map(NUMBERS[n][2], wanted))), np.dtype(object))
    assert found.dtype == first
    assert found.index.tolist() == rows


def test_dates_are_midnights_among_datetimes():
    column = pd.Series(pd.to_datetime(["2020-01-02 03:04", None]))
    filler = pd.Series([datetime.date(2021, 3, 4)] * 2, dtype=object)
    filled = fill(column, np.array([False, True]), filler)
    assert filled.dtype.kind == "M"
    assert filled.tolist() == [column[0], pd.Timestamp("2021-03-04")]
