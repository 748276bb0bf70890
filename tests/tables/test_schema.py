"""The codec gives back what it was given, refuses what it cannot, and says why."""

import datetime
import decimal
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tessflow.tables import Column, TableSchema

INTEGER_DTYPES = ["int8", "int16", "int64", "uint8", "uint64", "Int8", "Int64", "UInt64", "int64[pyarrow]"]
STRING_DTYPES = ["str", "object", "string[python]", "string[pyarrow]", pd.ArrowDtype(pa.string())]
NULLABLE = ("Int", "UInt", "boolean", "string", "str", "object", "int64[pyarrow]")


def is_nullable(dtype):
    return str(dtype).startswith(NULLABLE)


def rows(draw, values, size):
    return draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))


@st.composite
def columns(draw, size):
    kind = draw(st.sampled_from(["integer", "float", "boolean", "string", "category"]))
    if kind == "integer":
        dtype = draw(st.sampled_from([*INTEGER_DTYPES, "object"]))
        bounds = (-(2**70), 2**70)
        if dtype != "object":
            info = np.iinfo(dtype.removesuffix("[pyarrow]").lower())
            bounds = (int(info.min), int(info.max))
        values = draw(st.lists(st.integers(*bounds), min_size=1, max_size=5))
    elif kind == "float":
        dtype = draw(st.sampled_from(["float32", "float64", "Float64"]))
        values = [*draw(st.lists(st.integers(-1000, 1000), min_size=1, max_size=5)), None]
    elif kind == "boolean":
        dtype = draw(st.sampled_from(["bool", "boolean", "object", "bool[pyarrow]"]))
        values = [True, False]
    elif kind == "string":
        dtype = draw(st.sampled_from(STRING_DTYPES))
        values = draw(st.lists(st.text(max_size=8), min_size=1, max_size=5))
    else:
        categories = draw(
            st.one_of(
                st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True),
                st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5, unique=True),
                st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=5, unique=True),
                st.just([False, True]),
                st.just(pd.cut([1, 2, 3], [-math.inf, 0.1, 1, 5, 7]).categories),
            )
        )
        categories = pd.Index(categories)
        dtype = pd.CategoricalDtype(categories, ordered=draw(st.booleans()))
        codes = rows(draw, range(-1, len(categories)), size)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
    if is_nullable(dtype):
        missing = draw(st.sampled_from([None, math.nan, pd.NA])) if dtype == "object" else None
        values = [*values, missing]
    return pd.Series(rows(draw, values, size), dtype=dtype)


@st.composite
def tables(draw):
    size = draw(st.integers(1, 12))
    names = draw(st.lists(st.one_of(st.text(max_size=5), st.integers()), min_size=1, max_size=4, unique=True))
    frame = pd.DataFrame(dict(enumerate(draw(columns(size)) for _ in names)))
    return frame.set_axis(pd.Index(names), axis=1)


@settings(deadline=None, max_examples=200)
@given(tables())
def test_a_table_comes_back_as_it_was(frame):
    schema = TableSchema.infer(frame)
    codes = schema.encode(frame)
    assert codes.dtype == torch.int64
    assert codes.shape == frame.shape
    for n, cardinality in enumerate(schema.cardinalities):  # every class was seen, none was invented
        assert codes[:, n].unique().tolist() == list(range(cardinality))
    decoded = schema.decode(codes)
    assert_frame_equal(decoded, frame, check_exact=True)
    for name in frame:  # assert_frame_equal takes None for NaN in an object column
        if frame[name].dtype == object:
            assert [type(value) for value in decoded[name]] == [type(value) for value in frame[name]]


@settings(deadline=None, max_examples=100)
@given(tables())
def test_a_schema_survives_json(frame):
    schema = TableSchema.infer(frame)
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert loaded == schema
    assert [[type(v) for v in column.values] for column in loaded.columns] == [
        [type(v) for v in column.values] for column in schema.columns
    ]
    codes = schema.encode(frame)
    assert torch.equal(loaded.encode(frame), codes)
    assert_frame_equal(loaded.decode(codes), frame, check_exact=True)


@settings(deadline=None, max_examples=50)
@given(tables(), st.randoms())
def test_columns_are_found_by_name(frame, random):
    names = list(frame.columns)
    random.shuffle(names)
    schema = TableSchema.infer(frame)
    assert torch.equal(schema.encode(frame[names]), schema.encode(frame))


def test_values_are_in_a_sensible_order():
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["low", "high", "low"], categories=["low", "middle", "high"]),
            "integer": [10, 9, -1],
            "string": ["b", "a", "c"],
            "boolean": [True, False, True],
        }
    )
    values = [column.values for column in TableSchema.infer(frame).columns]
    assert values == [("low", "high"), (-1, 9, 10), ("a", "b", "c"), (False, True)]


def test_kinds_and_missing_values():
    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["S", None], categories=["S", "L"], ordered=True),
            "colour": pd.Categorical(["red", "red"]),
            "bird": ["wren", None],
            "eggs": [6.0, None],
            "wild": pd.array([True, None], dtype="boolean"),
            "nothing": [math.nan, math.nan],
        }
    )
    schema = TableSchema.infer(frame)
    kinds = [column.kind for column in schema.columns]
    assert kinds == ["ordinal", "categorical", "categorical", "integer", "boolean", "integer"]
    assert schema.cardinalities == (2, 1, 2, 2, 2, 1)
    assert schema.encode(frame)[1].tolist() == [1, 0, 1, 1, 1, 0]
    assert_frame_equal(schema.decode(schema.encode(frame)), frame)


def test_categories_without_rows_stay_in_the_dtype_but_are_no_classes():
    frame = pd.DataFrame({"size": pd.Categorical(["L", "S"], categories=["S", "M", "L"], ordered=True)})
    schema = TableSchema.infer(frame)
    assert schema.cardinalities == (2,)
    decoded = schema.decode([[0], [1]])
    assert decoded["size"].tolist() == ["S", "L"]
    assert decoded["size"].dtype == frame["size"].dtype
    with pytest.raises(ValueError, match=r"column 'size' has in row 0 .* 'M', which was not seen"):
        schema.encode(pd.DataFrame({"size": pd.Categorical(["M"], dtype=frame["size"].dtype)}))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1, 2], [3, 2]]),
        np.array([[1, 2], [3, 2]], dtype=np.int8),
        np.array([[True], [False]]),
        np.array([["a", "bc"], ["def", "bc"]]),
        np.array([["a", 1, None], ["b", 2, True]], dtype=object),
        np.array([[1.0, np.nan], [2.0, 3.0]]),
    ],
)
def test_an_array_comes_back_as_an_array(array):
    schema = TableSchema.infer(array)
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert schema.from_array
    decoded = loaded.decode(schema.encode(array))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


def test_an_array_of_variable_width_strings_comes_back_as_objects():
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("came with NumPy 2")
    array = np.array([["a", "bc"], ["def", "bc"]], dtype="T")
    schema = TableSchema.infer(array)
    decoded = schema.decode(schema.encode(array))
    assert decoded.tolist() == array.tolist()


def test_a_list_of_rows_is_an_array():
    schema = TableSchema.infer([[1, "a"], [2, "b"]])
    assert schema.names == (0, 1)
    assert schema.decode([[1, 0]]).tolist() == [[2, "a"]]
    assert schema.encode([(2, "a")]).tolist() == [[1, 0]]


def test_types_are_compared_sensibly():
    schema = TableSchema.infer(pd.DataFrame({"n": pd.array([1, 2, None], dtype="Int8")}))
    assert schema.encode(pd.DataFrame({"n": [2.0, 1.0, math.nan]})).tolist() == [[1], [0], [2]]
    assert schema.encode(pd.DataFrame({"n": [None, None]})).tolist() == [[2], [2]]
    assert schema.encode(pd.DataFrame({"n": pd.Categorical([2])})).tolist() == [[1]]
    for alien, kind in (("1", "strings"), (True, "booleans")):
        with pytest.raises(ValueError, match=f"in row 0 .*held numbers, not {kind}; known values: 1, 2"):
            schema.encode(pd.DataFrame({"n": [alien]}))


def test_large_integers_are_told_apart():
    frame = pd.DataFrame({"n": [2**53, 2**53 + 1]})
    schema = TableSchema.model_validate_json(TableSchema.infer(frame).model_dump_json())
    assert schema.encode(frame).tolist() == [[0], [1]]


def test_an_unknown_value_is_named_with_its_row_and_the_known_ones():
    schema = TableSchema.infer(pd.DataFrame({"colour": [f"c{i:02}" for i in range(15)]}))
    with pytest.raises(ValueError, match=r"column 'colour' has in row 2 .* 'mauve'") as caught:
        schema.encode(pd.DataFrame({"colour": ["c01", "c00", "mauve", "pink"]}))
    assert "'c00', 'c01'" in str(caught.value)
    assert str(caught.value).endswith("'c09' and 5 more")


def test_a_missing_value_that_training_never_saw_is_refused():
    schema = TableSchema.infer(pd.DataFrame({"n": [1, 2]}))
    with pytest.raises(ValueError, match=r"column 'n' has in row 1 .* a missing value, but none was seen"):
        schema.encode(pd.DataFrame({"n": [1, None]}))


def test_missing_and_unknown_columns_are_named():
    schema = TableSchema.infer(pd.DataFrame({"a": [1], "b": [1]}))
    with pytest.raises(ValueError, match=r"1 missing: 'b'; 1 unknown: 'c'"):
        schema.encode(pd.DataFrame({"a": [1], "c": [1]}))
    with pytest.raises(ValueError, match=r"X has 1 features, but \w+ is expecting 2 features as input"):
        schema.encode([[1]])


def test_integer_names_are_found_as_a_file_writes_them():
    schema = TableSchema.infer(np.array([[5, 7]]))
    assert schema.encode(pd.DataFrame({"1": [7], "0": [5]})).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1j], "Complex data not supported"),
        ([b"a"], "holds bytes"),
        (pd.Categorical(pd.to_datetime(["2020-01-01"])), "holds categories of dates or times"),
        (pd.cut(pd.to_datetime(["2020-01-01", "2020-01-03"]), 2), "holds categories of dates or times"),
        (pd.period_range("2020-01", periods=2, freq="M"), "holds periods"),
        ([datetime.time(12), None], "holds times of day"),
        ([decimal.Decimal("1.5")], "holds decimals"),
        ([[1], [2, 3]], "holds nested values"),
        ([{"b": 1}, None], "holds nested values"),
        ([1, "1"], "mixes values of types int, str"),
        (pd.Series([True, 1], dtype=object), "mixes values of types bool, int"),
        (pd.arrays.SparseArray([1, 0, 0]), "is sparse"),
        (pd.arrays.IntervalArray.from_breaks([0, 1, 2]), "holds intervals"),
    ],
)
def test_other_columns_are_refused_by_name(values, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        TableSchema.infer(pd.DataFrame({"column of trouble": values}))
    assert "column 'column of trouble'" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"a": [1]}, TypeError, "got dict"),
        (None, TypeError, "got NoneType"),
        ("table.csv", TypeError, "got str"),
        (np.array([1, 2]), ValueError, "Reshape your data"),
        ([1, 2], ValueError, "Reshape your data"),
        ([[1], [1, 2]], ValueError, "row 1 has 2 values, but row 0 has 1"),
        (np.empty((0, 2), dtype=int), ValueError, r"0 sample\(s\) \(shape=\(0, 2\)\)"),
        (np.empty((2, 0), dtype=int), ValueError, r"0 feature\(s\) \(shape=\(2, 0\)\)"),
        (pd.DataFrame(), ValueError, r"0 feature\(s\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "these repeat: 'a'"),
        (pd.DataFrame([[1]], columns=[0.5]), TypeError, "column names are strings or integers, got 0.5"),
        (pd.DataFrame([[1]], columns=[True]), TypeError, "column names are strings or integers, got True"),
    ],
)
def test_what_is_no_table_is_refused(table, error, message):
    with pytest.raises(error, match=message):
        TableSchema.infer(table)


def test_encoding_no_rows_gives_no_codes():
    frame = pd.DataFrame({"a": [1], "b": ["x"]})
    assert TableSchema.infer(frame).encode(frame.iloc[:0]).shape == (0, 2)
    assert len(TableSchema.infer(frame).decode(np.empty((0, 2), dtype=int))) == 0


@pytest.mark.parametrize("codes", [[[2]], [[-1]], [[0, 0]], [0], [[0.0]]])
def test_codes_out_of_range_are_refused(codes):
    schema = TableSchema.infer(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(ValueError, match="codes"):
        schema.decode(codes)


def test_a_damaged_schema_is_refused():
    with pytest.raises(ValueError, match="distinct values of one type"):
        Column(name="a", kind="integer", dtype="int64", values=(1, 1))
    with pytest.raises(ValueError, match="at least one column"):
        TableSchema(columns=())
