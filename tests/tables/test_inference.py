"""What a column is taken for: rules, hard tables, and tables that come in batches."""

import itertools
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tessflow.tables import NumberColumn, TableSchema, tally

RNG = np.random.default_rng(0)
DAY = pd.Timestamp("2024-02-29")
SEVENTHS = [k / 7 for k in range(1, 22)]


def inferred(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).columns[0]


def came_back(frame):
    schema = TableSchema.infer(frame)
    assert_frame_equal(schema.decode(schema.encode(frame)), frame, check_exact=True)
    return schema


@pytest.mark.parametrize(
    ("values", "kind", "resolution"),
    [
        (list(range(64)), "integer", None),
        (list(range(65)), "number", 1),
        ([*map(float, range(64)), math.nan], "integer", None),
        ([*map(float, range(65)), math.nan], "number", 1),
        ([0.5, 1, 1.5] * 20, "ordinal", None),
        ([0.5, 1, 1.5] * 19, "number", 0.1),
        (SEVENTHS[:20] * 20, "ordinal", None),
        (SEVENTHS * 40, "number", 0),  # 21 values
        ([k / 100 for k in range(100)] * 2, "number", 0.01),
        ([k / 100 for k in range(100)] * 3 + [0.995], "number", 0.001),
        ([k / 100 for k in range(100)] + [0.01] * 99, "number", 0),  # more than half are distinct
        ([k / 10**6 for k in range(100)] * 2, "number", 1e-6),
        ([k / 10**7 for k in range(100)] * 2, "number", 0),
        ([1.5, None, 1.5], "ordinal", None),
        ([math.inf, math.inf], "ordinal", None),
        ([math.inf, None, 3.0], "ordinal", None),
        ([1e300, -1e300], "number", 0),
        (list(range(2**60, 2**60 + 99)), "number", 0),  # finer than float64
        (pd.Series(range(2**64 - 9, 2**64), dtype="uint64"), "integer", None),
        ([DAY] * 3, "categorical", None),
        ([pd.NaT, pd.NaT], "categorical", None),
        (pd.Series([DAY, pd.NaT]).dt.tz_localize("Europe/Berlin"), "categorical", None),
        (pd.to_timedelta([90, 90], unit="s"), "categorical", None),
        ([DAY, DAY + pd.Timedelta("1h")], "datetime", 3600),
        (pd.to_timedelta([1500, 90000], unit="ms"), "timedelta", 0.001),
        ([str(n) for n in range(200)], "categorical", None),
    ],
)
def test_rules(values, kind, resolution):
    column = inferred(values)
    assert column.kind == kind
    assert isinstance(column, NumberColumn) == (resolution is not None)
    if resolution is not None:
        assert column.resolution == resolution


def test_times_finer_than_a_microsecond_are_rounded():
    frame = pd.DataFrame({"t": pd.to_datetime([1_000_000_499, 2_000_000_501], unit="ns")})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].resolution == 1e-6
    decoded = schema.decode(schema.encode(frame))["t"]
    assert decoded.dtype == frame["t"].dtype
    assert decoded.astype("int64").tolist() == [1_000_000_000, 2_000_001_000]


def test_nan_in_a_nullable_column_is_a_missing_value():
    series = pd.Series(pd.array([1.5, 2.25, None], "Float64"))
    frame = pd.DataFrame({"x": series[:2] / pd.Series(pd.array([1.0, 1.0], "Float64"))})
    with_nan = pd.concat([frame, pd.DataFrame({"x": pd.Series(pd.array([0.0], "Float64")) / 0})], ignore_index=True)
    schema = TableSchema.infer(with_nan)
    assert schema.columns[0].missing is not None
    assert schema.encode(with_nan)[:, 0].tolist() == [0, 0, 1]


def test_max_levels_can_be_chosen():
    assert inferred(range(10), max_levels=9).kind == "number"
    assert inferred(range(100), max_levels=100).kind == "integer"


@pytest.mark.parametrize(
    ("spike", "noise", "atoms"),
    [
        (100, 1900, (0,)),  # 5% of the rows
        (99, 1901, ()),
        (9, 91, ()),  # nine times as often as the others
        (10, 90, (0,)),
    ],
)
def test_a_value_that_comes_very_often_is_an_atom(spike, noise, atoms):
    values = [*[0.0] * spike, *np.arange(1, noise + 1) / 7]
    assert inferred(values).atoms == atoms
    times = DAY + pd.to_timedelta(values, unit="min").round("s")
    assert [pd.Timestamp(atom, unit="s") for atom in inferred(times).atoms] == [DAY] * len(atoms)


@pytest.mark.parametrize("values", [[5], [0.5], ["a"], [None], [DAY], [math.inf], [True], [pd.NaT]])
def test_one_row(values):
    schema = came_back(pd.DataFrame({"x": values}))
    assert schema.cardinalities == (1,)


def test_five_hundred_columns_and_integer_names():
    frame = pd.DataFrame(RNG.normal(size=(50, 500)), columns=range(3, 503))
    frame[7] = list("ab") * 25
    schema = came_back(frame)
    assert schema.encode(frame).shape == (50, 999)
    assert schema.names == tuple(range(3, 503))


def test_ten_thousand_strings_are_as_many_classes():
    frame = pd.DataFrame({"id": [f"customer {n}" for n in range(10_000)], "x": RNG.normal(size=10_000)})
    assert came_back(frame).cardinalities == (10_000, 1)


def test_constant_and_all_missing_columns_are_classes_of_any_dtype():
    frame = pd.DataFrame(
        {
            "int": [3, 3, 3],
            "float": [0.5, 0.5, 0.5],
            "date": [DAY] * 3,
            "zone": pd.Series([DAY] * 3).dt.tz_localize("America/New_York"),
            "arrow": pd.Series([DAY, None, DAY]).astype(pd.ArrowDtype(pa.timestamp("us", "UTC"))),
            "duration": pd.Series(pd.to_timedelta([1, 1, None], unit="D")),
            "object date": pd.Series([DAY.date()] * 3, dtype=object),
            "no float": [math.nan] * 3,
            "no date": pd.Series([pd.NaT] * 3, dtype="datetime64[s]"),
            "no Int64": pd.Series([None] * 3, dtype="Int64"),
            "no object": pd.Series([None] * 3, dtype=object),
            "no arrow": pd.Series([None] * 3, dtype=pd.ArrowDtype(pa.float64())),
        }
    )
    schema = came_back(frame)
    assert schema.cardinalities == (1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1)
    assert_frame_equal(TableSchema.model_validate_json(schema.model_dump_json()).decode(schema.encode(frame)), frame)
    zone, duration = schema.columns[3], schema.columns[5]
    assert zone.encode_value("2024-02-29") == zone.encode_value(DAY.tz_localize("America/New_York")) == (0, 0)
    assert [duration.encode_value(value)[0] for value in ("1 day", None)] == [0, 1]
    late = pd.DataFrame({"date": [DAY + pd.Timedelta("1D")]})
    with pytest.raises(ValueError, match=r"'date' has in row 0 .* '2024-03-01T00:00:00', which was not seen"):
        TableSchema.infer(frame[["date"]]).encode(late)


def test_a_schema_of_before_numbers_still_loads():
    text = (
        '{"columns":[{"name":"size","kind":"ordinal","dtype":"category","values":["S"],"missing":"nan","categories":'
        '{"values":["S","L"],"dtype":"str","ordered":true}},{"name":1,"kind":"integer","dtype":"int64","values":[2,5],'
        '"missing":null,"categories":null}],"array_dtype":null}'
    )
    schema = TableSchema.model_validate_json(text)
    assert schema.cardinalities == (2, 2)
    frame = pd.DataFrame({"size": pd.Categorical(["S", None], categories=["S", "L"], ordered=True), 1: [5, 2]})
    assert schema.encode(frame).tolist() == [[0, 1], [1, 0]]
    assert schema == TableSchema.infer(frame)


# --- batches

CELLS = {
    "int64": st.integers(-(2**40), 2**40),
    "float64": st.one_of(st.floats(width=32, allow_nan=True), st.integers(-5, 5).map(float)),
    "Int64": st.one_of(st.none(), st.integers(0, 90)),
    "boolean": st.one_of(st.none(), st.booleans()),
    "str": st.one_of(st.none(), st.text(max_size=3)),
    "datetime64[us]": st.one_of(st.none(), st.datetimes()),
}


@st.composite
def cut_tables(draw):
    size = draw(st.integers(1, 30))
    dtypes = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = {
        n: pd.Series(draw(st.lists(CELLS[dtype], min_size=size, max_size=size)), dtype=dtype)
        for n, dtype in enumerate(dtypes)
    }
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
    return pd.DataFrame(columns), [0, *cuts, size]


@settings(deadline=None, max_examples=80)
@given(cut_tables(), st.integers(1, 20))
def test_batches_give_the_schema_of_the_whole(table, max_levels):
    frame, cuts = table
    batches = [frame.iloc[start:stop] for start, stop in itertools.pairwise(cuts)]
    whole = TableSchema.infer(frame, max_levels=max_levels)
    assert TableSchema.infer(iter(batches), max_levels=max_levels) == whole
    assert TableSchema.infer(batches, max_levels=max_levels) == whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.Series([1, 2]), pd.Series([3.0, None])),
        (pd.Series([None, 1.5]), pd.Series([3, 4])),
        (pd.Series([1, 2], dtype="int8"), pd.Series([300, 4], dtype="int16")),
        (pd.Series([True, False]), pd.Series([True, None], dtype=object)),
        (pd.Series([None, None], dtype=object), pd.Series([1.5, 2.5])),
        (pd.Series([DAY, pd.NaT]), pd.Series([pd.NaT, pd.NaT])),
        (pd.Series(["a", None], dtype=object), pd.Series(["b", "c"], dtype="str")),
    ],
)
def test_dtypes_of_batches_are_joined_as_pandas_joins_them(one, other):
    batches = [pd.DataFrame({"x": one}), pd.DataFrame({"x": other})]
    whole = pd.concat(batches, ignore_index=True)
    schema = TableSchema.infer(batches, max_levels=1)
    assert schema == TableSchema.infer(whole, max_levels=1)
    assert_frame_equal(schema.decode(schema.encode(whole)), whole)


def test_categories_of_batches_are_joined():
    batches = [pd.DataFrame({"x": pd.Categorical([value])}) for value in ("b", "a", "b")]
    column = TableSchema.infer(batches).columns[0]
    assert column.values == column.categories.values == ("b", "a")
    ordered = [pd.DataFrame({"x": pd.Categorical([value], ordered=True)}) for value in ("b", "a")]
    with pytest.raises(ValueError, match="column 'x' has other ordered categories in one batch"):
        TableSchema.infer(ordered)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([pd.DataFrame({"x": [1]}), pd.DataFrame({"x": ["a"]})], TypeError, "column 'x' mixes numbers, strings"),
        ([pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [True]})], TypeError, "column 'x' mixes booleans, numbers"),
        ([pd.DataFrame({"x": [1]}), pd.DataFrame({"y": [1]})], ValueError, "batches differ in their columns"),
        ([pd.DataFrame({"x": []})], ValueError, r"0 sample\(s\)"),
        ([], ValueError, r"0 sample\(s\)"),
    ],
)
def test_batches_that_make_no_table_are_refused(batches, error, message):
    with pytest.raises(error, match=message):
        TableSchema.infer(iter(batches))


@pytest.fixture
def small_caps(monkeypatch):
    monkeypatch.setattr(tally, "DISTINCT", 500)
    monkeypatch.setattr(tally, "SAMPLE", 4000)


@pytest.mark.usefixtures("small_caps")
def test_beyond_the_caps_a_sample_stands_for_the_rows():
    n = 40_000
    frame = pd.DataFrame(
        {
            "real": RNG.normal(size=n),
            "rain": np.sort(np.where(RNG.random(n) < 0.3, 0.0, RNG.exponential(size=n))),
            "price": np.sort(RNG.integers(0, 2000, n)) / 100,
            "count": RNG.integers(0, 10_000, n),
        }
    )
    frame.loc[n - 1, "real"] = math.inf
    frame.loc[n - 1, "rain"] = math.nan
    batches = [frame.iloc[start : start + 3000] for start in range(0, n, 3000)]
    schema = TableSchema.infer(iter(batches))
    assert schema == TableSchema.infer(frame)
    real, rain, price, count = schema.columns
    assert (real.atoms, real.resolution) == ((math.inf,), 0)
    assert (rain.atoms, rain.resolution, rain.missing) == ((0,), 0, "nan")
    assert (price.atoms, price.resolution) == ((), 0.01)
    assert (count.atoms, count.resolution) == ((), 1)
    assert np.array(real.knots) == pytest.approx(real.scores, abs=0.35)
    assert np.interp(5000, count.knots, count.scores) == pytest.approx(0, abs=0.1)
    assert_frame_equal(schema.decode(schema.encode(frame)), frame, check_exact=True)
