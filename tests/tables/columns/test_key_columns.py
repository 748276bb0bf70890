"""Keys name rows: they are carried along whatever they hold, may be absent, and are never modelled."""

import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from tessflow.tables import KeyColumn, TableSchema, read_batches, read_table, write_table

YAML = (
    "columns:\n- {name: id, kind: key}\n- {name: x, kind: number, resolution: 1}\n- {name: bird, kind: categorical}\n"
)
FRAME = pd.DataFrame({"x": [1, 2, 3], "bird": ["wren", "owl", "owl"]})
KEYS = {
    "strings": ["a", "b", "c"],
    "integers": [2**60 + 1, 2**60 + 2, 7],
    "missing": ["a", None, None],
    "a mix": ["a", 1, datetime.date(2024, 1, 1)],
    "lists": [[1], {"a": 2}, None],
    "bytes": [b"1", b"2", b"3"],
    "repeated": [1, 1, 1],
    "complex": [1j, 2j, 3j],
}


@pytest.fixture
def schema():
    return TableSchema.from_yaml(YAML).fitted(FRAME)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_a_key_may_hold_what_it_likes(schema, key):
    frame = FRAME.assign(id=pd.Series(key, dtype=object))
    assert TableSchema.from_yaml(YAML).fitted(frame) == schema
    assert TableSchema.from_yaml(YAML).fitted([FRAME[:1], frame[1:]]) == schema
    assert torch.equal(schema.encode(frame[["bird", "id", "x"]]), schema.encode(FRAME))
    assert schema.align(frame)["id"].tolist() == key


def test_a_key_is_not_modelled(schema):
    assert schema.keys == (KeyColumn(name="id"),)
    assert schema.names == ("x", "bird")
    assert len(schema.variables) == 2
    assert_frame_equal(schema.decode(schema.encode(FRAME)), FRAME)
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(FRAME) == schema
    assert "- name: id\n  kind: key\n" in schema.to_yaml()
    assert schema.summary()[-1] == "id    key          not modelled"
    with pytest.raises(ValueError, match="there is no column 'id'"):
        schema.position("id")


def test_a_key_may_be_a_level_of_the_index(schema):
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)], names=["id", "site"])
    for frame in (FRAME.set_axis(pd.Index(["a", "b", "c"], name="id")), FRAME.set_axis(index)):
        assert torch.equal(schema.encode(frame), schema.encode(FRAME))
        assert schema.align(frame)["id"].tolist() == ["a", "b", "c"]
        assert TableSchema.from_yaml(YAML).fitted(frame) == schema
        assert TableSchema.infer(frame).names == ("x", "bird")


def test_a_column_of_the_schema_may_be_a_level_of_the_index(schema):
    frame = FRAME.assign(id=[7, 8, 9]).set_index(["bird", "id"])
    assert torch.equal(schema.encode(frame), schema.encode(FRAME))
    assert schema.align(frame)["id"].tolist() == [7, 8, 9]
    assert TableSchema.from_yaml(YAML).fitted(frame) == schema


def test_a_key_survives_parquet_as_column_or_index(schema, tmp_path):
    for number, frame in enumerate(
        [FRAME.assign(id=[2**60 + 1, 8, 9]), FRAME.set_axis(pd.Index(list("abc"), name="id"))]
    ):
        path = tmp_path / f"{number}.parquet"
        write_table(frame, path)
        again = read_table(path, schema=schema)
        assert_frame_equal(again, frame)
        assert torch.equal(schema.encode(again), schema.encode(FRAME))
        assert_frame_equal(pd.concat(read_batches(path, schema=schema, rows=2)), frame)


def test_words_of_a_key_stay_as_they_are(schema, tmp_path):
    words = ["1.10", "007", "NA", "1e5", "2024-01-31", "True", *map(str, range(30)), "x"]
    text = "id,x,bird\n" + "".join(f"{word},1,owl\n" for word in words)
    (tmp_path / "t.csv").write_text(text)
    frame = read_table(tmp_path / "t.csv", schema=schema, na_values="x")
    assert frame["id"].tolist() == words
    assert_frame_equal(pd.concat(read_batches(tmp_path / "t.csv", schema=schema, rows=7, na_values="x")), frame)
    write_table(frame, tmp_path / "again.csv", schema)
    assert (tmp_path / "again.csv").read_text() == text


def test_a_key_is_found_as_a_file_writes_it():
    schema = TableSchema.from_yaml("columns:\n- {name: 7, kind: key}\n- {name: '7', kind: categorical}\n")
    frame = pd.DataFrame({"7": ["a", "b"]})
    fitted = schema.fitted(frame)
    both = pd.DataFrame([["k", "a"], ["l", "b"]], columns=pd.Index([7, "7"]))
    assert fitted == schema.fitted(both)
    assert torch.equal(fitted.encode(frame), fitted.encode(both))
    alone = TableSchema.from_yaml("columns:\n- {name: 7, kind: key}\n- {name: a, kind: categorical}\n")
    assert alone.fitted(pd.DataFrame({"7": [1], "a": ["x"]})).align(pd.DataFrame({"7": [1], "a": ["x"]}))[
        7
    ].tolist() == [1]


def test_other_columns_are_refused_beside_a_key(schema):
    with pytest.raises(ValueError, match="1 missing: 'bird'; 1 unknown: 'name'"):
        schema.encode(FRAME.rename(columns={"bird": "name"}).assign(id=1))
    with pytest.raises(ValueError, match="X has 3 features, but TableSchema is expecting 2"):
        schema.encode(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: id, kind: key}\n", "needs at least one column that is modelled"),
        ("- {name: id, kind: key}\n- {name: id, kind: number}\n", "distinct names"),
        ("- {name: id, kind: key}\n- {name: id, kind: key}\n- {name: x, kind: number}\n", "distinct names"),
        ("- {name: id, kind: key, missing: nan}\n- {name: x, kind: number}\n", "is no field of a column of kind key"),
        ("- {name: x, kind: number}\n- {kind: key}\n", "name: is missing"),
    ],
)
def test_a_key_that_is_no_key_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        TableSchema.from_yaml("columns:\n" + text)
    assert "\n" not in str(caught.value)
