"""The index of a table and its integers survive a file, whole or batch by batch."""

import gc
import weakref

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import read_batches, read_table, write_table
from tessflow.tables.files import write_parts

BIG = 2**60 + 1


def frame(index):
    return pd.DataFrame({"bird": ["wren", "owl", "kite"], "eggs": [6, 4, 2]}, index=index)


INDICES = {
    "default": None,
    "named range": pd.RangeIndex(3, name="row"),
    "later range": pd.RangeIndex(5, 11, 2),
    "numbers": [7, 3, 5],
    "words": ["a", "b", "c"],
    "named": pd.Index(["a", "b", "c"], name="code"),
    "times": pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-05"], name="day").as_unit("us"),
    "levels": pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["site", None]),
    "as a column": pd.Index([1, 2, 3], name="eggs"),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_an_index_survives_parquet(tmp_path, index):
    path = tmp_path / "t.parquet"
    write_table(frame(index), path)
    assert_frame_equal(read_table(path), frame(index), check_freq=False)
    for rows in (1, 2, 5):
        assert_frame_equal(pd.concat(read_batches(path, rows=rows)), frame(index), check_freq=False)
    write_table(read_table(path), tmp_path / "again.parquet")
    assert_frame_equal(read_table(tmp_path / "again.parquet"), read_table(path))


@pytest.mark.parametrize(
    ("index", "header"),
    [
        ("default", "bird,eggs"),
        ("named range", "row,bird,eggs"),
        ("later range", "bird,eggs"),
        ("numbers", "bird,eggs"),
        ("words", "index,bird,eggs"),
        ("named", "code,bird,eggs"),
        ("levels", "site,level_1,bird,eggs"),
    ],
)
def test_an_index_is_the_first_column_of_csv_unless_it_only_counts_rows(tmp_path, index, header):
    path = tmp_path / "t.csv"
    write_table(frame(INDICES[index]), path)
    assert path.read_text().splitlines()[0] == header
    assert len(read_table(path)) == 3
    once = read_table(path)
    write_table(once, path)
    assert_frame_equal(read_table(path), once)


def test_names_that_are_one_in_a_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="are called 'eggs' in a file"):
        write_table(frame(INDICES["as a column"]), tmp_path / "t.csv")
    for suffix in (".csv", ".parquet"):
        with pytest.raises(ValueError, match="are called '1' in a file"):
            write_table(pd.DataFrame({1: [0], "1": [1]}), tmp_path / f"t{suffix}")


@pytest.mark.parametrize("width", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_with_missing_values_are_exact(tmp_path, width):
    path = tmp_path / "t.parquet"
    largest = int(np.iinfo(width).max)
    table = {"gap": pa.array([1, 2, None, largest], width), "full": pa.array([1, 2, 3, 4], width)}
    pyarrow.parquet.write_table(pa.table(table), path)
    dtype = width.replace("i", "I").replace("uI", "UI")
    expected = pd.DataFrame({"gap": pd.array([1, 2, None, largest], dtype), "full": np.array([1, 2, 3, 4], width)})
    assert_frame_equal(read_table(path), expected)
    for batch in read_batches(path, rows=2):
        assert_frame_equal(batch, expected.loc[batch.index])


def test_booleans_with_missing_values_are_nullable(tmp_path):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"wet": [True, None], "dry": [False, True]}), path)
    expected = pd.DataFrame({"wet": pd.array([True, None], "boolean"), "dry": [False, True]})
    assert_frame_equal(read_table(path), expected)
    assert_frame_equal(pd.concat(read_batches(path, rows=1)), expected)


def test_dtypes_that_pandas_noted_win(tmp_path):
    path = tmp_path / "t.parquet"
    kept = pd.DataFrame(
        {
            "size": pd.Categorical(["S", None, "L"], categories=["S", "M", "L"], ordered=True),
            "eggs": pd.array([1, None, 3], "Int8"),
            "plain": pd.Series([BIG, None, 3], dtype=object),
            "wet": pd.Series([True, None, False], dtype=object),
            "arrow": pd.array([BIG, None, 3], "int64[pyarrow]"),
            "bird": pd.array(["a", None, "b"], "string"),
            "zone": pd.to_datetime(["2024-01-01", None, "2024-01-02"]).tz_localize("Europe/Berlin").as_unit("us"),
            "height": [0.5, np.nan, 2],
        }
    )
    write_table(kept, path)
    assert_frame_equal(read_table(path), kept)
    assert_frame_equal(pd.concat(read_batches(path, rows=2)), kept)


def test_files_of_others_have_a_counted_index(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.Table.from_pandas(frame(pd.RangeIndex(5, 8)))
    pyarrow.parquet.write_table(pa.concat_tables([table, table]), path)  # whose note is of three rows
    assert read_table(path).index.equals(pd.RangeIndex(6))
    assert pd.concat(read_batches(path, rows=4)).index.equals(pd.RangeIndex(6))


def test_a_file_is_written_part_by_part(tmp_path):
    path = tmp_path / "t.parquet"
    whole = pd.DataFrame(
        {
            "bird": [None, None, None, "owl", "kite", None],
            "eggs": pd.array([6, None, 2, BIG, None, 1], "Int64"),
            "kind": pd.Categorical(list("aabbab"), categories=list("abc")),
        }
    )
    for rows in (1, 2, 3, 6):
        write_parts((whole.iloc[start : start + rows] for start in range(0, 6, rows)), path)
        assert_frame_equal(read_table(path), whole, check_dtype=False)
        assert pyarrow.parquet.ParquetFile(path).metadata.num_row_groups >= (1 if rows == 6 else 2 // rows)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_parts_are_held_in_memory_one_at_a_time(tmp_path, suffix):
    alive, most = [], []

    def parts():
        for _ in range(20):
            eggs = np.zeros(100)  # which Arrow holds without a copy, where it holds the part
            alive.append(weakref.ref(eggs))
            part = pd.DataFrame({"eggs": eggs}, copy=False)
            del eggs
            gc.collect(1)  # cycles of parts just written are young
            most.append(sum(array() is not None for array in alive))
            yield part

    write_parts(parts(), tmp_path / f"t{suffix}")
    assert len(read_table(tmp_path / f"t{suffix}")) == 2000
    assert max(most) <= 2
