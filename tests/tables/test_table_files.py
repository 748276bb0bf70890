"""Table files are read strictly and written whole."""

import gzip
import math
import os

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema, read_table, write_table


@pytest.fixture
def write(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".CSV"])
def test_a_table_comes_back(tmp_path, suffix):
    frame = pd.DataFrame(
        {
            "bird": ["wren", None, "a, \"b\"\n;\t'é'"],
            "eggs": pd.array([2**59 + 1, None, -3], dtype="Int64"),
            "wild": [True, False, True],
            "seen": pd.array([True, None, False], dtype="boolean"),
            "code": ["007", "-0", "1e999x"],
            "note": ["NA", "nan", "null"],
            "nest": [0, 10, -1],
            "height": [0.5, math.nan, 1e-7],
        }
    )
    path = tmp_path / f"table{suffix}"
    write_table(frame, path)
    assert_frame_equal(read_table(path), frame)
    assert os.listdir(tmp_path) == [path.name]


def test_parquet_keeps_what_csv_cannot(tmp_path):
    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["S", None], categories=["S", "M"], ordered=True),
            "n": np.array([1, 2], np.int8),
            "empty": ["", None],
        }
    )
    write_table(frame, tmp_path / "t.parquet")
    assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)


def test_a_column_becomes_numbers_only_if_they_are_written_the_same(write):
    frame = read_table(write("a,b,c,d,e,f\n1,01,+1,true,123456789012345678901,\n2,2,2,false,1,\n"))
    assert frame["a"].tolist() == [1, 2]
    assert frame[["b", "c", "d", "e"]].to_numpy().tolist() == [
        ["01", "+1", "true", "123456789012345678901"],
        ["2", "2", "false", "1"],
    ]
    assert frame["f"].isna().all()


def test_empty_fields_alone_are_missing(write):
    frame = read_table(write('a,b\nNA,1\n,\n"",None\nnull,2\n'))
    assert frame["a"].isna().tolist() == [False, True, True, False]
    assert frame["b"].tolist()[2:] == ["None", "2"]


def test_a_schema_keeps_its_strings_strings(write):
    schema = TableSchema.infer(pd.DataFrame({"code": ["1", "2", "x"], "n": [1, 2, 3]}))
    path = write("n,code\n2,1\n3,2\n")
    assert schema.encode(read_table(path, schema=schema))[:, 0].tolist() == [0, 1]
    with pytest.raises(ValueError, match="held strings, not numbers"):
        schema.encode(read_table(path))


def test_other_delimiters_are_read_and_recognised(write):
    path = write("a;b\n1;2\n")
    assert read_table(path, delimiter=";").to_numpy().tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="seem to be separated by ';', not ','"):
        read_table(path)
    with pytest.raises(ValueError, match=r"seem to be separated by '\\t'"):
        read_table(write("a\tb\n1\t2,5\n", "tabs.csv"))
    with pytest.raises(ValueError, match="the delimiter is one character, got '::'"):
        read_table(path, delimiter="::")
    assert list(read_table(path, delimiter=",").columns) == ["a;b"]


def test_a_byte_order_mark_and_windows_lines_are_no_content(write):
    assert_frame_equal(
        read_table(write(b"\xef\xbb\xbfa,b\r\n1,x\r\n\r\n2,y\r\n")),
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    )


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "t.csv", "is empty"),
        ("", "t.parquet", "is empty"),
        ("a,b\n", "t.csv", "has column names but no rows"),
        ("\n\n", "t.csv", "could not be read"),
        ("a,b\n1,2\n1,2,3\n", "t.csv", "row 1 .counted from 0.: Expected 2 columns, got 3"),
        ("a,b\n1,2\n1\n", "t.csv", "row 1 .counted from 0.: Expected 2 columns, got 1"),
        (b"a,b\n1,\xff\n", "t.csv", "is not UTF-8 text"),
        (b"a,\xff\n1,2\n", "t.csv", "is not UTF-8 text"),
        ("a,b\n1,é\n".encode("utf-16"), "t.csv", "is not UTF-8 text"),
        (",a\n0,1\n", "t.csv", "column 1 has no name"),
        ("a,b,a\n0,1,2\n", "t.csv", "these repeat: a"),
        ("a,b\n1,2\n", "t.csv.gz", "could not be read"),
        (gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:-9], "t.csv.gz", "could not be read"),
        ("a,b\n1,2\n", "t.parquet", "could not be read"),
        ("a,b\n1,2\n", "t.xlsx", "its suffix must be .csv"),
        ("a,b\n1,2\n", "table", "its suffix must be .csv"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_path(write, content, name, message):
    path = write(content, name)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(pd.DataFrame({"a": range(100)}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="could not be read"):
        read_table(path)


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv: there is no such file"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder.csv is a directory"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(IsADirectoryError, match=r"folder.csv is a directory"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "folder.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(pd.DataFrame({"a": [1]}), path)
    with pytest.raises(ValueError, match="Parquet cannot hold this table"):
        write_table(pd.DataFrame({"a": pd.cut([1, 2], 2)}), path)
    assert os.listdir(tmp_path) == [path.name]
    assert read_table(path)["a"].tolist() == [1]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="could not be written: No such file or directory") as caught:
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "nowhere" / "t.csv")
    assert caught.value.filename == str(tmp_path / "nowhere" / "t.csv")
    with pytest.raises(ValueError, match="its suffix must be"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.json")
