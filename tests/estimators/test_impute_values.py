"""Imputing changes no value that is known, whatever the dtypes of the rows and of those in training."""

from __future__ import annotations

import datetime
import functools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tessflow import TabularFlow

FAST = {"max_steps": 1, "hidden_features": (8,), "dimension": 2, "random_state": 0}
BIG = 1_700_000_000_000_000_001
LAST, FIRST = datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1)
DAY, BERLIN = pd.Timestamp("2024-02-29"), "Europe/Berlin"


def arrow(kind):
    return pd.ArrowDtype(kind)


def times(*values, zone=None):
    """Microseconds, of any year."""
    found = pd.Series(np.array([np.datetime64(value, "us") for value in values]))
    return found if zone is None else found.dt.tz_localize("UTC").dt.tz_convert(zone)


def integers(dtype, *values):
    return pd.Series(values, dtype=dtype)


# By family: training rows, and rows with something known. Of a family any may follow any.
FAMILIES = {
    "numbers": (
        {
            **{dtype: integers(dtype, *range(100)) for dtype in ("int8", "uint8", "int64", "Int64", "float32")},
            "reals": pd.Series(np.arange(100) / 7),
            "nullable reals": pd.Series(np.arange(100) / 7, dtype="Float64"),
            "arrow": integers(arrow(pa.int64()), *range(100)),
            "objects": pd.Series([*range(99), 0.5], dtype=object),
            "big ids": pd.Series([BIG, BIG + 1] * 50),
            "nullable big ids": integers("Int64", BIG, None, BIG + 1, *[BIG] * 97),
        },
        {
            "int16": integers("int16", 300, -3, 0),
            "int64": integers("int64", BIG, 300, -3),
            "uint64": integers("uint64", 2**64 - 1, 2**63 + 1, 0),
            "Int64": integers("Int64", BIG, -3, 0),
            "Int8": integers("Int8", -3, 100),
            "arrow": integers(arrow(pa.int64()), BIG, 300),
            "float32": pd.Series([0.1, 3.0, 1e30], dtype="float32"),
            "float64": pd.Series([0.1, -3.0, 300.0, 1e300, np.inf]),
            "Float64": pd.Series([0.1, -3.0, 2.0**60], dtype="Float64"),
            "objects": pd.Series([BIG, 2**70, 0.1, np.float32(0.1), -3], dtype=object),
            "category": pd.Series(pd.Categorical([BIG, 300])),
        },
    ),
    "times": (
        {
            "days": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]")),
            "nanoseconds": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]")).astype("M8[ns]"),
            "seconds": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]")).astype("M8[s]"),
            "objects": pd.Series([DAY.to_pydatetime(), LAST] * 20, dtype=object),
            "arrow": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]")).astype(arrow(pa.timestamp("ms"))),
        },
        {
            "beyond nanoseconds": times(LAST, FIRST, DAY),
            "seconds": times(LAST, DAY).astype("M8[s]"),
            "microseconds": times(LAST, "2024-01-01T00:00:00.000001"),
            "nanoseconds": pd.Series(np.array(["2024-01-01T00:00:00.000000001", "2024-02-29"], "M8[ns]")),
            "arrow": times(LAST, DAY).astype(arrow(pa.timestamp("us"))),
            "objects": pd.Series([LAST, pd.Timestamp("2024-01-01T00:00:00.000000001")], dtype=object),
        },
    ),
    "dates": (
        {
            "objects": pd.Series([datetime.date(2024, 1, 1) + datetime.timedelta(n) for n in range(90)], dtype=object),
            "arrow": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]")).astype(arrow(pa.date32())),
        },
        {
            "objects": pd.Series([LAST.date(), FIRST.date()], dtype=object),
            "arrow": pd.Series(pd.array([LAST.date(), FIRST.date()], dtype=arrow(pa.date32()))),
        },
    ),
    "times in zones": (
        {
            "Berlin": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]"), zone=BERLIN),
            "UTC": times(*np.arange("2024-01-01", "2024-04-10", dtype="M8[D]"), zone="UTC"),
        },
        {
            "Berlin": times("2024-03-31T00:30", "9999-12-30", zone=BERLIN),
            "Tokyo": times("2024-03-31T00:30", "2262-05-01", zone="Asia/Tokyo").astype("M8[us, Asia/Tokyo]"),
        },
    ),
    "durations": (
        {unit: pd.Series(pd.to_timedelta(np.arange(90), unit="D")).astype(f"m8[{unit}]") for unit in ("s", "ns")},
        {
            "ns": pd.Series(pd.to_timedelta([1, 10**9 + 1], unit="ns")).astype("m8[ns]"),
            "s": pd.Series(np.array([10**12, -3], "m8[s]")),
            "objects": pd.Series([datetime.timedelta(days=999_999), pd.Timedelta(1, "ns")], dtype=object),
        },
    ),
    "words": (
        {
            "objects": pd.Series(["a", "1"] * 20, dtype=object),
            "strings": pd.Series(["a", "1"] * 20, dtype="string"),
            "str": pd.Series(["a", "1"] * 20, dtype="str"),
            "arrow": pd.Series(["a", "1"] * 20, dtype=arrow(pa.string())),
            "category": pd.Series(pd.Categorical(["a", "1"] * 20, categories=["b", "1", "a"])),
            "ordered": pd.Series(pd.Categorical(["a", "1"] * 20, categories=["1", "a"], ordered=True)),
        },
        {
            "objects": pd.Series(["1.10", "1", "", "1E400", "NA"], dtype=object),
            "strings": pd.Series(["1.10", "a"], dtype="string"),
            "arrow": pd.Series(["1.10", "a"], dtype=arrow(pa.string())),
            "category": pd.Series(pd.Categorical(["1.10", "a"], categories=["never", "a", "1.10"])),
            "ordered": pd.Series(pd.Categorical(["c", "a"], categories=["c", "a"], ordered=True)),
        },
    ),
    "truths": (
        {
            "bool": pd.Series([True, False] * 20),
            "nullable": pd.Series([True, None] * 20, dtype="boolean"),
            "objects": pd.Series([True, None, False] * 10, dtype=object),
            "arrow": pd.Series([True, False] * 20, dtype=arrow(pa.bool_())),
        },
        {
            "bool": pd.Series([True, False]),
            "nullable": pd.Series([True, False], dtype="boolean"),
            "objects": pd.Series([True, np.False_], dtype=object),
            "arrow": pd.Series([True, False], dtype=arrow(pa.bool_())),
        },
    ),
}
TRAINING = [(family, name) for family, (training, _) in FAMILIES.items() for name in training]


@functools.cache
def fitted(family, name):
    rows = FAMILIES[family][0][name]
    return TabularFlow(**FAST).fit(pd.DataFrame({"x": rows, "y": (["u", "v"] * len(rows))[: len(rows)]}))


def exact(value):
    """What Python finds equal only where nothing was changed: integers and reals it compares exactly."""
    if pd.isna(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime.datetime):
        return "datetime", pd.Timestamp(value)
    if isinstance(value, datetime.timedelta):
        return "timedelta", pd.Timedelta(value)
    return type(value) if not isinstance(value, int) or isinstance(value, bool) else float, value


def values_of(series):
    return [exact(value) for value in series.astype(object)]


def with_hole(series):
    """The series with one row more, which is missing; of objects, if its dtype has no missing value."""
    longer = series.reindex(range(len(series) + 1))
    return longer if longer.dtype == series.dtype else series.astype(object).reindex(longer.index)


@pytest.mark.parametrize(("family", "name"), TRAINING)
def test_a_value_that_is_known_stays(family, name):
    flow = fitted(family, name)
    for place, (about, known) in enumerate(FAMILIES[family][1].items()):
        strategy = "sample" if place else "typical"
        whole = pd.DataFrame({"x": known, "y": None})
        filled = flow.impute(whole, strategy=strategy)
        assert filled["x"].dtype == known.dtype, about  # nothing was filled here
        assert values_of(filled["x"]) == values_of(known), about
        assert filled["y"].isin(["u", "v"]).all()

        series = with_hole(known).set_axis([f"r{n}" for n in range(len(known) + 1)])
        rows = pd.DataFrame({"x": series, "y": "u"})
        before = rows.copy()
        filled = flow.impute(rows, strategy=strategy)
        found = values_of(filled["x"])
        assert found[:-1] == values_of(series)[:-1] == values_of(known), about
        assert found[-1] is not None, about
        assert filled.index.equals(rows.index)
        assert filled["y"].eq("u").all()
        pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize(("family", "name"), TRAINING)
def test_holes_alone_are_filled_in_the_dtype_of_training(family, name):
    training = FAMILIES[family][0][name]
    filled = fitted(family, name).impute(pd.DataFrame({"x": [None, None], "y": ["u", "v"]}))
    assert filled["x"].dtype == ("M8[us]" if (family, name) == ("times", "objects") else training.dtype)
    assert set(values_of(filled["x"])) <= set(values_of(training)) or family not in ("words", "truths")


@pytest.mark.parametrize(
    ("training", "known", "dtype"),
    [
        (("numbers", "int8"), [100.0, np.nan], "int8"),  # that of training holds them all
        (("numbers", "int8"), [300.0, np.nan], "float64"),  # then their own
        (("numbers", "reals"), pd.array([BIG, None], "Int64"), "object"),  # then none but objects
        (("numbers", "int64"), pd.array([BIG, None], "Int64"), "int64"),
        (("numbers", "uint8"), [-3.0, np.nan], "float64"),
        (("numbers", "big ids"), [np.nan, 0.5], "object"),
        (("numbers", "nullable big ids"), pd.array([None, 7], "Int64"), "Int64"),
        (("times", "nanoseconds"), times(LAST, "NaT"), "datetime64[us]"),
        (("times", "days"), times(LAST, "NaT").astype("M8[s]"), "datetime64[us]"),
        (("times in zones", "UTC"), times(DAY, "NaT", zone=BERLIN), "object"),
        (("words", "category"), pd.Categorical(["kite", None]), pd.CategoricalDtype(["kite", "a"])),
        (("truths", "bool"), pd.array([True, None], "boolean"), "bool"),
        (("truths", "nullable"), pd.Series([True, None], dtype=object), "boolean"),
    ],
)
def test_dtype_of_what_was_filled(training, known, dtype):
    filled = fitted(*training).impute(pd.DataFrame({"x": known, "y": "u"}))["x"]
    if isinstance(dtype, pd.CategoricalDtype):
        assert filled.cat.categories[0] == "kite"
        assert filled[1] in {"a", "1"}
    else:
        assert filled.dtype == dtype
    assert filled.notna().all()


@pytest.mark.parametrize("rows", [pd.DataFrame, list, "object"])
def test_a_row_of_everything_stays(rows):
    """In one table, also as a list of rows and as an array of objects."""
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=n) for n in range(60)]
    training = {
        "id": [BIG, BIG + 1] * 30, "size": np.arange(60, dtype="int8"), "weight": np.arange(60) / 7, "day": days,
        "word": ["a", "b"] * 30, "wet": [True, False] * 30,
    }  # fmt: skip
    flow = TabularFlow(**FAST).fit(pd.DataFrame(training))
    known = [[BIG + 1, 300, 1e300, LAST.date(), "kite", True], [7, -3, np.inf, FIRST.date(), "", False]]
    holes = [[None if place == hole else value for place, value in enumerate(known[0])] for hole in range(6)]
    table = pd.DataFrame([*known, *holes], columns=list(training), dtype=object)
    given = {pd.DataFrame: table, list: table.to_numpy().tolist(), "object": table.to_numpy()}[rows]
    filled = flow.impute(given)
    assert isinstance(filled, pd.DataFrame if rows is pd.DataFrame else np.ndarray)
    filled = filled if rows is pd.DataFrame else pd.DataFrame(filled, columns=list(training))
    for name in training:
        was, found = values_of(table[name]), values_of(filled[name])
        assert [exact(None) if old is None else new for old, new in zip(was, found, strict=True)] == was
        assert None not in found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_arrays_of_floats_stay_such(dtype):
    flow = TabularFlow(**FAST).fit(np.arange(120).reshape(60, 2))
    rows = np.array([[0.1, np.nan], [np.nan, 1e30], [-3, 300], [np.inf, 2**60]], dtype=dtype)
    before = rows.copy()
    filled = flow.impute(rows)
    assert filled.dtype == dtype
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_array_equal(filled[~np.isnan(rows)], rows[~np.isnan(rows)])
    assert not np.isnan(filled).any()


def test_masked_values_are_missing_and_others_stay():
    flow = TabularFlow(**FAST).fit(np.arange(120).reshape(60, 2))
    rows = np.ma.array([[BIG, 7], [300, -3], [5, 2**62 + 1]], mask=[[0, 1], [1, 0], [0, 0]])
    filled = flow.impute(rows)
    assert not np.ma.isMaskedArray(filled)
    assert filled[~rows.mask].tolist() == [BIG, -3, 5, 2**62 + 1]
    assert all(0 <= value < 120 for value in filled[rows.mask].tolist())
    reals = np.ma.masked_invalid([[0.1, np.nan], [np.nan, 1e300]])
    assert flow.impute(reals)[~reals.mask].tolist() == [0.1, 1e300]


def test_index_order_and_other_columns_stay():
    training = pd.DataFrame({"x": range(60), "y": ["a", "b"] * 30, "z": np.arange(60) / 7})
    flow = TabularFlow(**FAST).fit(training)
    index = pd.MultiIndex.from_tuples([("p", 1), ("p", 1), ("q", 2)], names=["who", "when"])
    rows = {"note": [BIG, None, "x"], "y": ["a", None, "kite"], "z": [0.5, np.nan, 2]}
    rows = pd.DataFrame(rows | {"x": pd.array([None, BIG, -3], "Int64")}, index=index)
    filled = flow.impute(rows)
    assert filled.index.equals(index)
    assert filled.index.names == index.names
    assert filled.columns.equals(rows.columns)
    pd.testing.assert_series_equal(filled["note"], rows["note"])
    assert filled["x"].tolist()[1:] == [BIG, -3]
    assert filled["y"].tolist()[::2] == ["a", "kite"]
    assert filled["z"].tolist()[::2] == [0.5, 2]
    assert filled[["x", "y", "z"]].notna().all(axis=None)
