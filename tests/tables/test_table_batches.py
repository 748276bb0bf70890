"""Times in CSV files, types that a schema wins, and files read batch by batch."""

import math

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema, TableWarning, read_batches, read_table, write_table

FRAME = pd.DataFrame(
    {
        "day": pd.Series(["2024-02-29", None, "1969-12-31"], dtype="datetime64[us]"),
        "time": pd.Series(["2024-02-29 12:00:00.000001", "2024-02-29", None], dtype="datetime64[us]"),
        "zone": pd.Series(["2024-02-29 12:00", None, "2024-02-29"], dtype="datetime64[us, UTC]"),
        "height": [0.5, math.inf, math.nan],
        "bird": ["wren", None, "2024-02-29"],
    }
)


def csv(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_times_come_back(tmp_path):
    path = tmp_path / "t.csv"
    write_table(FRAME, path)
    assert_frame_equal(read_table(path), FRAME)
    zone = FRAME["zone"].dt.tz_convert("Asia/Kolkata")
    write_table(pd.DataFrame({"zone": zone}), path)
    assert_frame_equal(read_table(path), FRAME[["zone"]])


@pytest.mark.parametrize(
    ("words", "dtype"),
    [
        (["2024-02-29"], "datetime64[us]"),
        (["2024-02-29", "2024-02-29T23:59"], "datetime64[us]"),
        (["2024-02-29T23:59:59.123456789"], "datetime64[us]"),
        (["2024-02-29T23:59:59Z", "2024-02-29 23:59:59+0530"], "datetime64[us, UTC]"),
        (["2024-02-29T23:59Z", "2024-02-29T23:59"], "str"),
        (["2023-02-29"], "str"),
        (["2024-13-01"], "str"),
        (["2024-2-1"], "str"),
        (["20240229"], "int64"),
        (["2024"], "int64"),
        (["2024-02-29", "x"], "str"),
        (["29.02.2024"], "str"),
    ],
)
def test_words_of_iso_8601_are_times(tmp_path, words, dtype):
    frame = read_table(csv(tmp_path, "\n".join(["t", *words])))
    assert str(frame["t"].dtype).replace("object", "str") == dtype
    write_table(frame, tmp_path / "again.csv")
    assert_frame_equal(read_table(tmp_path / "again.csv"), frame)


def test_the_type_of_the_schema_wins(tmp_path):
    training = pd.DataFrame(
        {
            "note": ["2024-01-01", "1", "x"],
            "price": [1.25, 3.5, 7.125],
            "when": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05"]),
            "zone": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05"]).tz_localize("Europe/Berlin"),
            "wait": pd.to_timedelta([1, 2, 400], unit="s"),
            "once": pd.to_datetime(["2024-01-01"] * 3),
            5: [True, False, True],
        }
    )
    schema = TableSchema.infer(training)
    path = tmp_path / "t.csv"
    write_table(training, path)
    assert (schema.encode(read_table(path, schema=schema)) == schema.encode(training)).all()
    text = "note,price,when,zone,wait,once,5\n1,3,2024-01-01,2024-01-01T00:00Z,0 days 00:00:07,2024-01-01,True\n"
    frame = read_table(csv(tmp_path, text), schema=schema)
    assert frame["price"].dtype == "float64"
    assert schema.encode(frame)[:, :7].tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    price, *_ = schema.encode(frame)[0, 7:].tolist()
    assert price == 3000  # steps of 0.001
    wrong = read_table(csv(tmp_path, text.replace("1,3,", "1,three,")), schema=schema)
    with pytest.raises(ValueError, match="column 'price' holds strings such as 'three'"):
        schema.encode(wrong)
    whole = TableSchema.from_yaml("columns:\n- {name: code, kind: categorical, values: ['7', '8']}\n")
    assert read_table(csv(tmp_path, "code\n7\n"), schema=whole)["code"].tolist() == ["7"]


def joined(batches, rows):
    batches = list(batches)
    assert all(1 <= len(batch) <= rows for batch in batches)
    return pd.concat(batches)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_batches_are_the_table(tmp_path, suffix, rows):
    frame = FRAME.assign(
        late_text=["1", "2", "x"], late_real=[1, 2, 3.5], gap=pd.array([1, None, 2], "Int64"), flag=[True, False, True]
    )
    path = tmp_path / f"t{suffix}"
    write_table(frame, path)
    assert_frame_equal(joined(read_batches(path, rows=rows), rows), read_table(path))
    assert_frame_equal(read_table(path), frame)
    assert TableSchema.infer(read_batches(path, rows=rows)) == TableSchema.infer(read_table(path))


def test_batches_take_the_types_of_a_schema(tmp_path):
    schema = TableSchema.infer(pd.DataFrame({"code": ["1", "2", "x"], "x": np.arange(3) / 7}))
    path = csv(tmp_path, "code,x\n1,1\n2,2\n")
    batches = list(read_batches(path, schema=schema, rows=1))
    assert [batch["code"].tolist() for batch in batches] == [["1"], ["2"]]
    assert [batch["x"].dtype for batch in batches] == ["float64"] * 2
    path = csv(tmp_path, "code,x\n1,1\n2,z\n")
    with pytest.warns(TableWarning, match="column 'x' is read as text, because 1 of its 2 words is no number: 'z'"):
        assert [batch["x"].tolist() for batch in read_batches(path, schema=schema, rows=1)] == [["1"], ["z"]]


def test_parquet_whose_batches_differ_in_dtype_is_inferred_as_a_whole(tmp_path):
    frame = pd.DataFrame(
        {
            "n": pd.array([1, 2, 3, None], "Int64").to_numpy(dtype=float, na_value=np.nan),
            "size": pd.Categorical(["L", "L", "S", None], categories=["S", "M", "L"], ordered=True),
            "flag": [True, False, None, True],
        }
    )
    write_table(frame, tmp_path / "t.parquet")
    schema = TableSchema.infer(read_batches(tmp_path / "t.parquet", rows=2), max_levels=1)
    assert schema == TableSchema.infer(frame, max_levels=1)


def test_a_long_csv_file_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("tessflow.tables.files.MOST_BLOCK", 2**12)
    frame = pd.DataFrame({"n": np.arange(3000), "note": ["a, \"b\"\n;'é'"] * 3000})
    write_table(frame, tmp_path / "t.csv")
    assert_frame_equal(joined(read_batches(tmp_path / "t.csv"), 65536), frame)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has column names but no rows"),
        ("a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        ("a;b\n1;2\n", "seem to be separated by ';'"),
        ("a,a\n1,2\n", "these repeat: a"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_batches(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_arguments_are_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_batches(tmp_path / "nowhere.parquet")
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        read_batches(tmp_path / "nowhere.parquet", rows=0)
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(ValueError, match="could not be read"):
        list(read_batches(tmp_path / "t.parquet"))
