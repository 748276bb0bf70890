"""Schemas in YAML: what is written is read again, mistakes are one sentence, and rows complete the rest."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tessflow.tables import ClassColumn, NumberColumn, NumericColumn, TableSchema

FRAME = pd.DataFrame(
    {
        "bird": ["wren", None, "owl", "yes"] * 50,
        "price": np.where(np.arange(200) < 100, 0, np.arange(200) % 90 / 100),
        "height": [*np.arange(198) / 7, math.inf, math.nan],
        "eggs": [1, 2, 3, 4] * 50,
        "size": pd.Categorical(["S", "L"] * 100, categories=["S", "M", "L"], ordered=True),
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.maximum(0, np.arange(-40, 160)), unit="D"),
        "wait": pd.to_timedelta(np.arange(200), unit="min"),
        "id": np.arange(200) % 2 + 2**60,
        7: [True, False] * 100,
    }
)


def test_what_is_written_is_read_and_completed_to_the_same():
    schema = TableSchema.infer(FRAME)
    text = schema.to_yaml()
    declared = TableSchema.from_yaml(text)
    assert not any(column.is_fitted for column in declared.columns if isinstance(column, NumericColumn))
    assert declared.fitted(FRAME) == schema
    assert declared.fitted(iter([FRAME[:70], FRAME[70:]])) == schema
    assert all(field not in text for field in ("knots", "scores", "rows:", "once"))
    assert text.startswith("# Edit ")
    price = "- name: price\n  kind: number\n  dtype: float64\n  resolution: 0.01\n  atoms: [0]\n  minimum: 0.0\n"
    assert price + "  beyond: unseen\n- name: height\n" in text
    assert "  atoms: [1152921504606846976, 1152921504606846977]\n" in text
    assert "  minimum: P0DT0H0M0S\n" in text
    assert "  atoms: ['2024-01-01T00:00:00']\n" in text
    assert "  values: [owl, wren, 'yes']\n" in text


def test_a_file_is_read(tmp_path):
    path = tmp_path / "schema.yaml"
    schema = TableSchema.infer(FRAME)
    path.write_text(schema.to_yaml(), encoding="utf-8")
    assert TableSchema.from_yaml(path).fitted(FRAME) == TableSchema.from_yaml(str(path)).fitted(FRAME) == schema
    with pytest.raises(FileNotFoundError):
        TableSchema.from_yaml("nowhere.yaml")


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(st.text(max_size=6), st.integers()),
    st.one_of(
        st.lists(st.text(), min_size=1, unique=True),
        st.lists(st.integers(), min_size=1, unique=True),
        st.lists(st.floats(allow_nan=False), min_size=1, unique=True),
    ),
    st.lists(st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70)), unique=True),
)
def test_any_names_values_and_atoms_survive(name, values, atoms):
    columns = (
        ClassColumn(name=name, kind="ordinal", dtype="object", values=tuple(values), missing="None"),
        NumberColumn(name=f"{name}+", dtype="float64", atoms=tuple(atoms), scaling="standard"),
    )
    schema = TableSchema(columns=columns)
    assert TableSchema.from_yaml(schema.to_yaml()) == schema


def test_little_needs_to_be_declared():
    text = """
columns:
- {name: day, kind: datetime, resolution: 3600, atoms: [2024-01-01, 2024-01-02 01:00:00]}
- {name: eggs, kind: categorical}
- {name: price, kind: number, resolution: 0.05, missing: nan}
"""
    frame = pd.DataFrame(
        {
            "eggs": [3, 1, 3],
            "price": [0.05, 2.5, 1.0],
            "day": pd.to_datetime(["2024-01-01", "2024-03-01", "2024-03-04"]),
        }
    )
    schema = TableSchema.from_yaml(text).fitted(frame)
    assert schema.names == ("day", "eggs", "price")
    eggs = ClassColumn(name="eggs", kind="categorical", dtype="int64", values=(1, 3), rows=3, once=1)
    assert schema.columns[1] == eggs
    rows = schema.encode(frame)
    assert rows.tolist() == [[1, 1, 0, 0, 1], [0, 0, 0, 474792, 50], [0, 1, 0, 474864, 20]]
    assert_frame_equal(schema.decode(rows), frame[["day", "eggs", "price"]])


def test_a_declared_schema_must_be_completed_first():
    schema = TableSchema.from_yaml("columns:\n- {name: a, kind: categorical}\n- {name: x, kind: number}\n")
    for use in (lambda: schema.variables, lambda: schema.encode([[1, 2]]), lambda: schema.decode([[0, 0, 1.0]])):
        with pytest.raises(ValueError, match=r"column 'a' is declared only: complete the schema with fitted\(table\)"):
            use()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("kind: number", ["a"], "is declared as number, but holds strings"),
        ("kind: number", [1.5, None], "missing values, which the schema does not declare: add 'missing: nan'"),
        ("kind: number", [1.5, math.inf], "has the value inf, which is not among the atoms"),
        ("kind: datetime, resolution: 86400", [1.5], "is declared as datetime, but holds numbers"),
        ("kind: number", pd.Categorical([1, 2]), "is declared as number, but holds categories"),
        ("kind: timedelta, resolution: 1", pd.to_datetime(["2024-01-01"]), "as timedelta, but holds datetimes"),
        ("kind: boolean", [1, 0], "is declared as boolean, but holds numbers"),
        ("kind: categorical, values: [1, 2]", [1, 3], "has the value 3, which is not among the values of the schema"),
        ("kind: categorical, values: [1, 2]", ["1"], "declared as categorical of numbers, but holds strings"),
        ("kind: ordinal, values: [1, 2]", [1, None], "missing values, which the schema does not declare"),
    ],
)
def test_rows_that_contradict_the_declaration_are_refused(column, values, message):
    schema = TableSchema.from_yaml(f"columns:\n- {{name: x, {column}}}\n")
    with pytest.raises(ValueError, match=f"column 'x' .*{message}"):
        schema.fitted(pd.DataFrame({"x": values}))


def test_values_off_a_declared_grid_are_in_its_cells():
    schema = TableSchema.from_yaml("columns:\n- {name: x, kind: number, resolution: 0.5}\n")
    frame = pd.DataFrame({"x": [1.5, 1.3]})
    assert schema.fitted(frame).encode(frame)[:, 1].tolist() == [3, 3]


def test_columns_must_be_those_of_the_table():
    schema = TableSchema.from_yaml("columns:\n- {name: x, kind: number}\n")
    with pytest.raises(ValueError, match="1 missing: 'x'; 1 unknown: 'y'"):
        schema.fitted(pd.DataFrame({"y": [1]}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [\n", "is no YAML in line 2"),
        ("- 1\n- 2\n", "needs a list 'columns'"),
        ("columns: {}\n", "needs a list 'columns'"),
        ("columns:\n- a\n", "needs a list 'columns'"),
        ("columns:\n- {name: a, kind: number}\nrows: 3\n", "has the field 'rows'"),
        ("columns:\n- {name: a, kind: complex}\n", "column 'a': kind: must be categorical, .*, got 'complex'"),
        ("columns:\n- {name: a, kind: integer}\n", "column 'a': kind: must be categorical, .*, got 'integer'"),
        ("columns:\n- {name: a}\n", "column 'a': kind: must be .*, got None"),
        ("columns:\n- {kind: number}\n", "column 0: name: is missing"),
        (
            "columns:\n- {name: a, kind: number, resolution: fine}\n",
            "column 'a': resolution: input should be .*, got 'fine'",
        ),
        ("columns:\n- {name: a, kind: number, resolution: -1}\n", "column 'a': resolution: .*greater than .* got -1"),
        (
            "columns:\n- {name: a, kind: number, values: [1]}\n",
            "column 'a': values: is no field of a column of kind number",
        ),
        ("columns:\n- {name: a, kind: number, missing: 0}\n", "column 'a': missing: .*'None', 'nan' or 'NA', got 0"),
        ("columns:\n- {name: a, kind: number, atoms: [b]}\n", "column 'a': atoms: .*, got 'b'"),
        ("columns:\n- {name: a, kind: number, knots: [0, 1]}\n", "column 'a': knots are read off the rows"),
        ("columns:\n- {name: a, kind: number, rows: 7}\n", "column 'a': rows are read off the rows"),
        ("columns:\n- {name: a, kind: number, minimum: low}\n", "column 'a': minimum: .*, got 'low'"),
        ("columns:\n- {name: a, kind: number, minimum: 1, maximum: 0}\n", "column 'a' has no number between"),
        ("columns:\n- {name: a, kind: number, beyond: no}\n", "column 'a': beyond: .*'error' or 'unseen', got False"),
        ("columns:\n- {name: a, kind: ordinal, values: [1, 1]}\n", ": column 'a' needs distinct values"),
        (
            "columns:\n- {name: a, kind: datetime, resolution: 1, atoms: [soon]}\n",
            "column 'a': atoms: 'soon' is no datetime",
        ),
        (
            "columns:\n- {name: a, kind: datetime, resolution: 1, minimum: 13/02/2024}\n",
            "column 'a': minimum: '13/02/2024' is no datetime",
        ),
        ("columns:\n- {name: a, kind: datetime}\n", "column 'a' holds times, whose resolution is whole microseconds"),
        ("columns:\n- {name: a, kind: ordinal}\n- {name: a, kind: number}\n", "distinct names"),
        ("columns:\n- !!python/object/apply:os.system [ls]\n", "is no YAML in line 2"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        TableSchema.from_yaml(text)
    assert str(caught.value).startswith("the schema")
    assert "\n" not in str(caught.value)
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        TableSchema.from_yaml(path)
    assert str(caught.value).startswith(str(path))
