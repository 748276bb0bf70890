"""What one pass over the rows finds is the same however they are cut into batches, and in bounded memory."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema, tally
from tessflow.tables.tally import Tally

DAY = pd.Timestamp("2024-02-29")
BIG = 2**60
RNG = np.random.default_rng(0)

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
    schema = TableSchema.infer(batches)
    assert schema == TableSchema.infer(whole)
    assert_frame_equal(schema.decode(schema.encode(whole)), whole)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.Series([BIG, BIG + 1]), pd.Series([BIG + 2, BIG])),
        (pd.Series([BIG, BIG + 1]), pd.Series([BIG + 2, None], dtype="Int64")),
        (pd.Series([BIG, BIG + 1]), pd.Series([2**63 + 1, 2**64 - 1], dtype="uint64")),
        (pd.Series([BIG, BIG + 1]), pd.Series([2**70 + 1, None], dtype=object)),
        (pd.Series([BIG + 1, 5], dtype="int64[pyarrow]"), pd.Series([BIG, None], dtype="int64[pyarrow]")),
        (pd.Series([5, 6], dtype="int8"), pd.Series([BIG + 1, BIG], dtype="int64")),
    ],
)
def test_ids_are_exact_whatever_the_dtypes_of_batches(one, other, order):
    batches = [pd.DataFrame({"x": pd.concat([part] * 40)}) for part in (one, other)[::order]]
    column = TableSchema.infer(batches).columns[0]
    assert column.atoms == tuple(sorted({*one.dropna().tolist(), *other.dropna().tolist()}))
    for batch in batches:
        encoded = column.encode(batch["x"])
        gone = batch["x"].isna().to_numpy()
        atoms = [column.atoms[code - 1] for code in encoded.codes[~gone]]
        assert atoms == batch["x"].dropna().tolist()


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


@pytest.mark.parametrize(
    ("values", "resolution"),
    [
        ([1.0, 2, 3], 1),
        ([1.0, 2.5], 0.1),
        ([0.25, 1], 0.01),
        ([1.000001, 3], 1e-6),
        ([1e-7, 3e-7, 3], 0),
        ([1.5] * 999 + [1 / 3], 0.1),  # one in a thousand may be off
        ([1.5] * 998 + [1 / 3], 0),
        ([1.5, 1e300, 2.5], 0.1),  # of which a step is less than its precision
        ([1e300, 1e299, 2.5], 0),
        ([3e-10, -2e-19, 1e-8], 0),  # much less than a step: numbers, not rounding errors about 0
        ([0.1, 0.2, 0.3 - 0.1 - 0.2, 0.0], 0.1),  # which are these
        ([0.0] * 5, 1),
        ([math.inf], 1),
        (pd.Series([0.1, 0.7] * 9).astype("float32"), 0.1),
    ],
)
def test_the_resolution_is_that_of_the_decimals(values, resolution):
    counted = Tally("x")
    counted.add(pd.Series(values))
    assert counted.resolution(1e-3) == resolution


@pytest.fixture
def small_caps(monkeypatch):
    monkeypatch.setattr(tally, "DISTINCT", 500)
    monkeypatch.setattr(tally, "SAMPLE", 4000)


@pytest.mark.usefixtures("small_caps")
def test_beyond_the_caps_a_sample_stands_for_the_rows():
    n, rng = 40_000, np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "rain": np.sort(np.where(rng.random(n) < 0.3, 0.0, rng.exponential(size=n))),
            "price": np.sort(rng.integers(0, 2000, n)) / 100,
            "count": rng.integers(0, 10_000, n),
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


@pytest.mark.usefixtures("small_caps")
@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "object"])
def test_frequent_ids_of_a_sample_are_exact(dtype):
    ids = RNG.permutation([*([BIG + 1] * 500), *([BIG + 2] * 400), *(BIG + 10**9 * np.arange(1, 9_101))])
    batches = [pd.DataFrame({"x": pd.Series(ids[start : start + 999], dtype=dtype)}) for start in range(0, 10_000, 999)]
    assert TableSchema.infer(batches).columns[0].atoms == (BIG + 1, BIG + 2)
