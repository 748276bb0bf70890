"""Frames of other libraries are tables, no value of which changes on the way in and back."""

import datetime as dt
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema
from tessflow.tables.frame_kinds import FrameKind, collected
from tessflow.tables.frames import as_frame

BIG = 2**60 + 1
DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)

COLUMNS = {
    "big": pa.array([BIG, -BIG, 2**53 + 1], "int64"),
    "gaps": pa.array([BIG, None, 3], "int64"),
    "unsigned": pa.array([2**64 - 1, None, 1], "uint64"),
    "small": pa.array([1, None, 3], "int8"),
    "wet": pa.array([True, None, False]),
    "dry": pa.array([True, True, False]),
    "height": pa.array([0.1, None, 1e300]),
    "single": pa.array([0.1, None, 3], "float32"),
    "name": pa.array(["Ann", None, "NA"]),
    "coat": pa.array(["red", None, "blue"]).dictionary_encode(),
    "day": pa.array([DAY, None, DAY]),
    "time": pa.array([NOON, None, NOON], pa.timestamp("us")),
    "there": pa.array([NOON, None, NOON], pa.timestamp("us", "Europe/Berlin")),
    "took": pa.array([dt.timedelta(milliseconds=5), None, dt.timedelta(0)], pa.duration("ms")),
}
ARROW = pa.table(COLUMNS)


def as_polars():
    return pytest.importorskip("polars").from_arrow(ARROW)


def as_lazy():
    return as_polars().lazy()


def as_duckdb():
    return pytest.importorskip("duckdb").from_arrow(ARROW)


KINDS = {"pyarrow": lambda: ARROW, "polars": as_polars, "lazy polars": as_lazy, "duckdb": as_duckdb}


def rows_of(table):
    """The rows of a frame as Python values."""
    table = collected(table)
    table = table.to_arrow_table() if hasattr(table, "to_arrow_table") else table  # of DuckDB
    return table.to_pylist() if hasattr(table, "to_pylist") else table.rows(named=True)


def same_rows(found, expected):
    """Whether rows are the same, in time zones that may be written as another of the same offset."""
    for row, other in zip(found, expected, strict=True):
        assert row == other
        assert [type(value) for value in row.values()] == [type(value) for value in other.values()]
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_taken_exactly(kind):
    frame, array_dtype = as_frame(KINDS[kind]())
    assert array_dtype is None
    assert frame["big"].tolist() == [BIG, -BIG, 2**53 + 1]
    assert frame["gaps"].tolist() == [BIG, pd.NA, 3]
    assert frame["unsigned"].tolist() == [2**64 - 1, pd.NA, 1]
    assert frame["wet"].tolist() == [True, pd.NA, False]
    dtypes = frame.dtypes.astype(str).to_dict()
    expected = {"big": "int64", "gaps": "Int64", "unsigned": "UInt64", "small": "Int8", "wet": "boolean", "dry": "bool"}
    expected |= {"height": "float64", "single": "float32", "day": "object", "time": "datetime64[us]"}
    assert {name: dtypes[name] for name in expected} == expected
    assert frame["day"].tolist() == [DAY, None, DAY]
    assert frame["name"][2] == "NA"
    there = COLUMNS["there"].to_pylist()
    assert [frame["there"][place] == there[place] for place in (0, 2)] == [True, True]
    assert frame["time"][0] == pd.Timestamp(NOON)
    assert frame["took"][0] == pd.Timedelta("5ms")
    assert TableSchema.infer(KINDS[kind]()) == TableSchema.infer(frame)


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_exactly(kind):
    table = KINDS[kind]()
    frame_kind = FrameKind.of(table)
    back = frame_kind.frame(as_frame(table)[0])
    assert type(back) is type(collected(table)) or kind == "duckdb"
    assert same_rows(rows_of(back), rows_of(table))
    replaced = frame_kind.replaced(collected(table), pd.DataFrame({"gaps": [1, BIG, 2]}))
    assert [row.pop("gaps") for row in rows_of(replaced)] == [1, BIG, 2]
    assert [{**row, "gaps": None} for row in rows_of(replaced)] == [{**row, "gaps": None} for row in rows_of(table)]
    assert list(rows_of(replaced)[0]) == list(COLUMNS)
    assert pickle.loads(pickle.dumps(frame_kind)) == frame_kind


def test_dtypes_of_polars_come_back():
    pl = pytest.importorskip("polars")
    values = pl.Series("e", ["x", "y", None], dtype=pl.Enum(["y", "x"]))
    table = as_polars().with_columns(values, values.cast(pl.Categorical).alias("c"))
    kind = FrameKind.of(table)
    assert kind.frame(as_frame(table)[0]).equals(table)
    assert kind.frame(as_frame(table)[0]).schema == table.schema
    other = kind.frame(pd.DataFrame({"e": pd.Categorical(["x", "z"])}))  # no value of the Enum
    assert other["e"].to_list() == ["x", "z"]


def test_a_dict_of_arrays_is_a_table():
    table = {
        "big": np.array([BIG, 2**53 + 1]),
        "gaps": [BIG, None],
        "masked": np.ma.array([BIG, 7], mask=[False, True]),
        "word": np.array(["a", "b"]),
        "day": np.array(["2024-02-29", "NaT"], "M8[D]"),
        "coat": pd.Series(pd.Categorical(["red", None]), index=[7, 8]),
    }
    frame = as_frame(table)[0]
    assert frame["big"].tolist() == table["big"].tolist()
    assert frame["gaps"].tolist() == [BIG, None]
    assert frame["masked"].tolist() == [BIG, pd.NA]
    assert frame["day"][0] == pd.Timestamp("2024-02-29")
    assert frame["coat"].tolist()[0] == "red"
    assert len(TableSchema.infer(table).columns) == 6
    kind = FrameKind.of(table)
    assert kind.frame(frame)["big"].tolist() == table["big"].tolist()
    replaced = kind.replaced(table, pd.DataFrame({"gaps": [BIG, 2]}))
    assert replaced["big"] is table["big"]
    assert replaced["gaps"].tolist() == [BIG, 2]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"a": [1, 2], "b": [1]}, "the columns of a table have one length, but these have others: 'a' 2, 'b' 1"),
        ({"a": np.zeros((2, 2))}, "column 'a' has 2 dimensions: give an array or a list with one value a row"),
        ({"a": 1}, "column 'a' has 0 dimensions"),
        ({}, "0 feature"),
        (pa.table({}), "0 feature"),
    ],
)
def test_bad_dicts_are_refused(table, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_frame(table)


def test_what_is_no_table():
    for table in ("rows.csv", 3, None, {1, 2}):
        with pytest.raises(TypeError, match=r"a table is a DataFrame \(pandas, polars\), a pyarrow table, .*, got "):
            as_frame(table)
    nested = pa.table({"a": [[1], [2]]})
    with pytest.raises(TypeError, match="column 'a' holds nested values"):
        TableSchema.infer(nested)
    kind = FrameKind.of(pa.table({"a": [1]}))
    with pytest.raises(TypeError, match=r"pyarrow cannot hold the result .*: give a pandas DataFrame"):
        kind.frame(pd.DataFrame({"a": ["x", 1]}, dtype=object))


def test_pandas_stays_as_it_is():
    frame = pd.DataFrame({1: [1, 2]}, index=[5, 6])
    assert as_frame(frame)[0] is frame
    assert FrameKind.of(frame).frame(frame) is frame
    assert FrameKind.of(frame.to_numpy()).is_pandas
    noted = pa.Table.from_pandas(frame.rename(columns=str).rename_axis("id"))
    assert_frame_equal(as_frame(noted)[0], frame.rename(columns=str).rename_axis("id"))


def test_intervals_of_months_are_no_durations():
    duckdb = pytest.importorskip("duckdb")
    assert as_frame(duckdb.sql("select interval 26 hour as i"))[0]["i"][0] == pd.Timedelta("26h")
    with pytest.raises(ValueError, match="column 'i' holds intervals of months, which have no fixed length: give days"):
        as_frame(duckdb.sql("select interval 2 month as i"))
