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

from tessflow.models.variables import Number, Variable
from tessflow.tables import ClassColumn, TableSchema

INTEGER_DTYPES = ["int8", "int16", "int64", "uint8", "uint64", "Int8", "Int64", "UInt64", "int64[pyarrow]"]
STRING_DTYPES = ["str", "object", "string[python]", "string[pyarrow]", pd.ArrowDtype(pa.string())]
NULLABLE = ("Int", "UInt", "boolean", "string", "str", "object", "int64[pyarrow]")
RNG = np.random.default_rng(0)
DAY = pd.Timestamp("2024-02-29")


def is_nullable(dtype):
    return str(dtype).startswith(NULLABLE)


def rows(draw, values, size):
    return draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))


@st.composite
def columns(draw, size):
    kind = draw(st.sampled_from(["integer", "float", "boolean", "string", "category"]))
    if kind == "integer":
        dtype = draw(st.sampled_from([*INTEGER_DTYPES, "object"]))
        bounds = (-(2**53), 2**53)  # beyond, atoms alone are exact
        if dtype != "object":
            info = np.iinfo(dtype.removesuffix("[pyarrow]").lower())
            bounds = (max(int(info.min), bounds[0]), min(int(info.max), bounds[1]))
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
    codes = schema.encode(frame, unseen="error")
    numeric = sum(column.numeric for column in schema.columns)
    assert codes.dtype == (torch.float64 if numeric else torch.int64)
    assert codes.shape == (len(frame), len(frame.columns) + numeric)
    for n, column in enumerate(schema.columns):  # every class was seen, none was invented, and one is left
        found = codes[:, n].long().unique().tolist()
        assert found == list(range(column.unseen)) if not column.numeric else set(found) <= set(range(column.unseen))
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
    labels = [[repr(label) for label in column.labels] for column in schema.columns]
    assert [[repr(label) for label in column.labels] for column in loaded.columns] == labels
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
    assert kinds == ["ordinal", "categorical", "categorical", "number", "boolean", "categorical"]
    assert schema.cardinalities == (3, 2, 3, 3, 3, 2)
    assert schema.encode(frame).tolist() == [[0, 0, 0, 0, 0, 0, 6], [1, 0, 1, 1, 1, 0, 0]]
    assert_frame_equal(schema.decode(schema.encode(frame)), frame)


def test_nan_in_a_nullable_column_is_a_missing_value():
    ratio = pd.Series(pd.array([1.5, 2.25, 0.0], "Float64")) / pd.Series(pd.array([1.0, 1.0, 0.0], "Float64"))
    schema = TableSchema.infer(pd.DataFrame({"x": ratio}))
    assert schema.columns[0].missing is not None
    assert schema.encode(pd.DataFrame({"x": ratio}))[:, 0].tolist() == [0, 0, 1]


def test_a_table_becomes_codes_then_numbers_in_the_order_of_the_columns():
    frame = pd.DataFrame({"x": [0.5, None, 1 / 3], "bird": ["wren", "owl", "owl"], "n": [100, 2, 30]})
    schema = TableSchema.infer(frame)
    assert schema.cardinalities == (3, 3, 2)
    assert schema.encode(frame).tolist() == [[0, 1, 0, 0.5, 100], [1, 0, 0, 0, 2], [0, 0, 0, 1 / 3, 30]]
    assert schema.encode(pd.DataFrame({"x": [math.inf], "bird": ["kite"], "n": [math.nan]})).tolist() == [
        [2, 2, 1, 0, 0]
    ]
    column = schema.columns[2]
    number = Number(column.knots, column.scores, whole=True, background=1e-3)
    bird, n = Variable(3, reserve=1 / 8, rare=((2, 1.5 / 4),)), Variable(2, number, 1 / 8, rare=((1, 0.5 / 4),))
    assert schema.variables[1:] == (bird, n)
    assert schema.variables[0].classes == 3


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1, 2], [3, 2]]),
        np.array([[1, 2], [3, 2]], dtype=np.int8),
        np.array([[True], [False]]),
        np.array([["a", "bc"], ["def", "bc"]]),
        np.array([["a", 1, None], ["b", 2, True]], dtype=object),
        np.array([[1.0, np.nan], [2.0, 3.0]]),
        np.array([[2**60, 2**60 + 1], [2**60 + 1, 5]] * 10),
        np.array([[2**64 - 1], [2**63 + 1]] * 10, dtype=np.uint64),
        *((RNG.normal(size=(100, 2)) * 1000).astype(dtype) for dtype in ("float64", "float32", "int64", "object")),
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
    assert schema.decode([[0, 0, 2]]).tolist() == [[2, "a"]]
    assert schema.encode([(2, "a")]).tolist() == [[0, 0, 2]]


def test_types_are_compared_sensibly():
    schema = TableSchema.infer(pd.DataFrame({"n": pd.array([1, 2, None], dtype="Int8")}))
    missing = schema.columns[0].labels.index("missing")
    assert schema.encode(pd.DataFrame({"n": [2.0, 1.0, math.nan]})).tolist() == [[0, 2], [0, 1], [missing, 0]]
    assert schema.encode(pd.DataFrame({"n": [None, None]})).tolist() == [[missing, 0]] * 2
    assert schema.encode(pd.DataFrame({"n": pd.Categorical([2])})).tolist() == [[0, 2]]
    for alien, kind in (("1", "strings"), (True, "booleans")):
        with pytest.raises(ValueError, match=f"column 'n' holds {kind} such as {alien!r}, but .* held numbers"):
            schema.encode(pd.DataFrame({"n": [alien]}))


def test_what_was_not_seen_counts_or_is_refused():
    schema = TableSchema.infer(pd.DataFrame({"n": [1, 2], "bird": ["owl", "wren"], "wet": [True, True]}))
    frame = pd.DataFrame({"n": [1, 2, None], "bird": ["owl", "kite", "owl"], "wet": [False, True, True]})
    assert schema.encode(frame)[:, :3].tolist() == [[0, 0, 1], [0, 2, 0], [1, 0, 0]]
    with pytest.raises(
        ValueError, match=r"column 'n' has in row 2 \(counted from 0\) a missing value, but none was seen"
    ):
        schema.encode(frame, unseen="error")
    with pytest.raises(ValueError, match=r"column 'bird' has in row 1 .* the value 'kite', which was not seen"):
        schema.encode(frame.assign(n=1), unseen="error")
    seen = frame.assign(n=1, bird="owl", wet=True)
    assert torch.equal(schema.encode(seen, unseen="error"), schema.encode(seen))


def test_missing_and_unknown_columns_are_named():
    schema = TableSchema.infer(pd.DataFrame({"a": [1], "b": [1]}))
    with pytest.raises(ValueError, match=r"1 missing: 'b'; 1 unknown: 'c'"):
        schema.encode(pd.DataFrame({"a": [1], "c": [1]}))
    with pytest.raises(ValueError, match=r"X has 1 features, but \w+ is expecting 2 features as input"):
        schema.encode([[1]])


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
        ({1, 2}, TypeError, "got set"),
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
    assert TableSchema.infer(frame).encode(frame.iloc[:0]).shape == (0, 3)
    assert len(TableSchema.infer(frame).decode(np.empty((0, 3)))) == 0


@pytest.mark.parametrize("codes", [[[2]], [[-1]], [[0, 0]], [0], [[0.0]], [["a"]]])
def test_codes_out_of_range_are_refused(codes):
    schema = TableSchema.infer(pd.DataFrame({"a": ["x", "y"]}))
    with pytest.raises(ValueError, match="codes"):
        schema.decode(codes)


@pytest.mark.parametrize("rows", [[[0, math.nan]], [[0.5, 0]], [[2, 0]], [[0]], [[math.nan, 0]], [[math.inf, 0]]])
def test_rows_that_no_table_has_are_refused(rows):
    schema = TableSchema.infer(pd.DataFrame({"x": [0.5, None, 1.25]}))
    with pytest.raises(ValueError, match="codes"):
        schema.decode(np.array(rows, float))


def test_a_damaged_schema_is_refused():
    column = ClassColumn(name="a", kind="categorical", dtype="str", values=("x",))
    for columns, message in [
        ((), "at least one column"),
        ((column, column), "distinct names"),
        (({"name": "n", "kind": "integer", "dtype": "int64", "values": (2, 5)},), "'integer' found using 'kind'"),
    ]:
        with pytest.raises(ValueError, match=message):
            TableSchema(columns=columns)


# --- tables of unusual shapes


def came_back(frame):
    schema = TableSchema.infer(frame)
    assert_frame_equal(schema.decode(schema.encode(frame)), frame, check_exact=True)
    return schema


@pytest.mark.parametrize("values", [[5], [0.5], ["a"], [None], [DAY], [math.inf], [True], [pd.NaT], [2**60 + 1024]])
def test_one_row(values):
    schema = came_back(pd.DataFrame({"x": values}))
    assert schema.cardinalities == (3 if values == [math.inf] else 2,)  # what came, and something not seen


def test_five_hundred_columns_and_integer_names():
    frame = pd.DataFrame(RNG.normal(size=(50, 500)), columns=range(3, 503))
    frame[7] = list("ab") * 25
    schema = came_back(frame)
    assert schema.encode(frame).shape == (50, 999)
    assert schema.names == tuple(range(3, 503))


def test_ten_thousand_strings_are_as_many_classes():
    frame = pd.DataFrame({"id": [f"customer {n}" for n in range(10_000)], "x": RNG.normal(size=10_000)})
    assert came_back(frame).cardinalities == (10_001, 2)


# --- what is said of a schema


def test_a_line_a_column():
    frame = pd.DataFrame(
        {
            "rooms": [2, 3, None] * 40,
            "price": RNG.exponential(size=120),
            "coat": list("abc") * 40,
            "day": [DAY, DAY + pd.Timedelta(hours=1), DAY] * 40,
            "wait": pd.to_timedelta(RNG.integers(0, 99, 120), unit="min"),
        }
    )
    text = TableSchema.infer(frame).to_yaml() + "- {name: identity, kind: key}\n- {name: 7, kind: boolean}\n"
    frame[7] = True
    assert TableSchema.from_yaml(text).fitted(frame).summary() == [
        "rooms     number       probabilities of whole numbers; 2 atoms; missing",
        "price     number       densities of real numbers; at least 0",
        "coat      categorical  probabilities of 3 classes",
        "day       datetime     probabilities of hours; 2 atoms",
        "wait      timedelta    probabilities of minutes; at least P0DT0H0M0S",
        "7         boolean      probabilities of 1 class",
        "identity  key          not modelled",
    ]
    bounded = TableSchema.from_yaml("columns:\n- {name: x, kind: number, minimum: -1, maximum: 2.5}\n")
    assert bounded.fitted([[0.0]]).summary() == ["x  number  densities of real numbers; at least -1; at most 2.5"]


def test_columns_that_look_like_keys_are_named():
    frame = pd.DataFrame(
        {
            "id": [f"p{n}" for n in range(200)],
            "row": range(1, 201),
            "hash": RNG.permutation(200) * 10**12 + 2**60,
            "x": RNG.normal(size=200),
            "coat": list("ab") * 100,
            "nearly": ["same", *(f"p{n}" for n in range(198)), "same"],
        }
    )
    warnings = TableSchema.infer(frame).warnings()
    assert [warning.split("'")[1] for warning in warnings] == ["id", "row", "hash"]
    for warning in warnings:
        assert warning.endswith("has another value in every row: if it names rows, declare it as a key (kind: key)")
    assert TableSchema.infer(frame[:99]).warnings() == []
    assert TableSchema.infer([frame[:99], frame[99:]]).warnings() == warnings
    keys = "columns:\n" + "".join(f"- {{name: {name}, kind: key}}\n" for name in ("id", "row", "hash"))
    declared = (
        keys + "- {name: x, kind: number}\n- {name: coat, kind: categorical}\n- {name: nearly, kind: categorical}\n"
    )
    assert TableSchema.from_yaml(declared).fitted(frame).warnings() == []


def test_a_declared_schema_says_nothing_before_it_is_fitted():
    schema = TableSchema.from_yaml("columns:\n- {name: x, kind: number}\n")
    with pytest.raises(ValueError, match="column 'x' is declared only"):
        schema.summary()
    assert schema.warnings() == []


def test_the_odd_word_is_one_that_files_would_not_read_as_a_number():
    schema = TableSchema.infer(pd.DataFrame({"age": [87, 41, 3] * 5}))
    with pytest.raises(ValueError, match=r"holds strings such as '007', .* it is in row 2 \(counted from 0\)"):
        schema.encode(pd.DataFrame({"age": ["87", "41", "007", "3"]}))
