"""Names that are numbers are found as a file writes them, and beside their own words."""

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema
from tessflow.tables.names import named, place_of


@pytest.mark.parametrize(
    ("name", "names", "place"),
    [
        (1, (1, "1"), 0),
        ("1", (1, "1"), 1),
        ("1", ("1", 1), 0),
        (1, ("1", 1), 1),
        ("2", (1, 2), 1),
        (2, (1, "2"), None),
        ("3", (1, 2), None),
        ("", (0, ""), 1),
        ("-5", ("5", -5), 1),
        ("05", (5,), None),
    ],
)
def test_a_name_has_its_place(name, names, place):
    assert place_of(name, names) == place


def test_columns_and_levels_get_the_names_asked_for():
    frame = pd.DataFrame([[0.5, "a"], [1.5, "b"]], columns=["7", "x"])
    assert named(frame, [7, "x"]).columns.tolist() == [7, "x"]
    assert named(frame, ["7", 7]).columns.tolist() == ["7", "x"]  # a name that is asked for stays
    assert named(frame, ["y"]) is frame
    index = frame.set_axis(pd.MultiIndex.from_tuples([(1, "p"), (2, "q")], names=["n", "m"]))
    assert named(index, ["m", "x"]).columns.tolist() == ["m", "7", "x"]
    assert named(index, ["m", "x"]).index.names == ["n"]
    both = frame.set_axis(pd.Index([3, 4], name="x"))
    assert named(both, ["x"]) is both  # the column, not the index


@pytest.fixture
def frame():
    return pd.DataFrame([[0.5, "a"], [1.5, "b"], [2.25, "a"]], columns=pd.Index([1, "1"]))


def test_1_and_its_word_are_two_columns(frame):
    schema = TableSchema.infer(frame)
    assert schema.names == (1, "1")
    assert [column.kind for column in schema.columns] == ["number", "categorical"]
    assert (schema.position(1), schema.position("1")) == (0, 1)
    rows = schema.encode(frame)
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert loaded == schema
    assert loaded.names == (1, "1")
    for again in (loaded, TableSchema.from_yaml(schema.to_yaml()).fitted(frame)):
        assert again == schema
        assert torch.equal(again.encode(frame[["1", 1]]), rows)
        assert_frame_equal(again.decode(rows), frame)
    assert TableSchema.infer([frame[:1], frame[1:]]) == schema


@pytest.mark.parametrize(("given", "missing"), [(1, "'1'"), ("1", "1")])
def test_neither_stands_for_the_other(frame, given, missing):
    with pytest.raises(ValueError, match=rf"\(1 missing: {missing}\)"):
        TableSchema.infer(frame).encode(frame[[given]])


def test_integer_names_are_found_as_a_file_writes_them():
    schema = TableSchema.infer(pd.DataFrame([[5, 7], [6, 7]]))
    assert torch.equal(schema.encode(pd.DataFrame({"1": [7], "0": [5]})), schema.encode([[5, 7]]))
    assert schema.position("1") == 1
    with pytest.raises(ValueError, match="there is no column 2: the columns are 0, 1"):
        schema.position(2)
