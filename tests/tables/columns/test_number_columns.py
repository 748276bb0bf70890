"""Columns of numbers: their measure, atoms, bounds, choices and ranges, and numbers that the training rows lacked."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal
from sklearn.datasets import load_wine

from column_cases import COLUMNS
from tessflow.models.variables import Number
from tessflow.tables import NumberColumn, TableSchema

RNG = np.random.default_rng(0)


def column(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).columns[0]


def encode(of, *values):
    """Codes and numbers of values in a column; a ValueError for those that it refuses."""
    encoded = of.encode(pd.Series(values))
    return list(zip(encoded.codes.tolist(), encoded.numbers.tolist(), strict=True))


# --- the measure


def prices(rows):
    return RNG.uniform(0.5, 900, rows).round(2)


def off_grid(values, count):
    values = values.copy()
    values[RNG.choice(len(values), count, replace=False)] += 1e-5 / 3
    return values


def outlier(values, *others):
    values = values.copy()
    values[: len(others)] = others
    return values


MEASURES = {  # rows, resolution, rows that are drawn of them
    "penguins' bills": (RNG.normal(44, 5.5, 344).round(1), 0.1, (250, 60)),
    "penguins' masses": (RNG.normal(168, 32, 344).round() * 25, 1, (250, 60)),
    "penguins' missing values": (outlier(RNG.normal(44, 5.5, 344).round(1), math.nan, math.nan), 0.1, (250, 60)),
    "one decimal of wine": (RNG.normal(13, 0.8, 178).round(1), 0.1, (142, 60)),
    "two decimals of wine": (RNG.normal(13, 0.8, 178).round(2), 0.01, (142, 60)),
    "cents": (prices(2000), 0.01, (1600, 400, 60)),
    "ages": (RNG.integers(18, 90, 1000), 1, (800, 60)),
    "counts in floats": (RNG.poisson(300, 1000).astype(float), 1, (800, 60)),
    "six decimals": (RNG.normal(size=500).round(6), 1e-6, (400, 60)),
    "seven decimals": (RNG.normal(size=500).round(7), 0, (400, 60)),
    "real numbers": (RNG.normal(size=500), 0, (400, 60)),
    "real numbers far from zero": (1e6 + RNG.normal(size=500), 0, (400, 60)),
    "real numbers next to zero": (RNG.normal(size=500) * 1e-19, 0, (400, 60)),
    "bills in float32": (RNG.normal(44, 5.5, 344).round(1).astype("float32"), 0.1, (250, 60)),
    "real float32": (RNG.normal(size=500).astype("float32"), 0, (400, 60)),
    "rounding errors": (RNG.integers(1, 99, 500) * 1.1 - 3.3, 0.1, (400, 60)),
    "one in 2000 off the grid": (off_grid(prices(20_000), 10), 0.01, (16_000, 10_000)),
    "one far away": (outlier(prices(1000), 1e300), 0.01, (800, 60)),
    "some far away": (outlier(RNG.normal(44, 5.5, 344).round(1), 99999, -1e300, 1e18), 0.1, (250, 60)),
    "one infinite": (outlier(prices(1000), math.inf), 0.01, (800, 60)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_the_measure_does_not_change_with_the_rows_drawn(name):
    values, resolution, sizes = MEASURES[name]
    whole = column(values)
    assert whole.resolution == resolution
    for size in sizes:
        for seed in range(10):
            drawn = column(np.random.default_rng(seed).choice(values, size, replace=False))
            assert (drawn.resolution, drawn.measure) == (resolution, whole.measure)


@pytest.mark.parametrize(
    ("values", "measure"),
    [
        ([1, 2], "probabilities of whole numbers"),
        ([1.5, 2], "probabilities of steps of 0.1"),
        ([1e-6, 2], "probabilities of steps of 1e-06"),
        ([1 / 3, 2], "densities of real numbers"),
        ([2**60, 2**60 + 1], "probabilities of whole numbers, above 2^53 drawn to the nearest float64"),
    ],
)
def test_the_measure_in_words(values, measure):
    assert column(values).measure == measure


def test_whatever_few_rows_would_say_a_declared_schema_keeps_its_measure():
    frame = load_wine(as_frame=True).frame
    schema = TableSchema.infer(frame)
    assert len({column.resolution for column in schema.columns}) > 3
    for seed in range(5):
        fold = frame.sample(frac=0.8, random_state=seed)
        fitted = schema.fitted(fold)
        for kept, found in zip(schema.columns, fitted.columns, strict=True):
            assert found.model_copy(update={"knots": kept.knots, "scores": kept.scores, "rows": kept.rows}) == kept
        assert torch.equal(fitted.encode(frame), schema.encode(frame))


def test_a_value_off_the_grid_is_scored_by_its_cell():
    of = column(range(100, 300))
    assert encode(of, 150.4, 150.6, -0.4, 1e300) == [(0, 150), (0, 151), (0, 0), (0, 1e300)]
    cents = NumberColumn(name="x", dtype="float64", resolution=0.01, atoms=(9.99,))
    assert encode(cents, 9.993, 9.996, 9.99 + 1e-12) == [(1, 0), (0, 1000), (1, 0)]
    frame = pd.DataFrame({"x": off_grid(prices(5000), 3)})
    schema = TableSchema.infer(frame)
    assert_frame_equal(schema.decode(schema.encode(frame)), frame.round(2), check_exact=True)


def test_numbers_in_steps_with_and_without_rounding_errors():
    of = NumberColumn(name="price", dtype="float64", resolution=0.1)
    values = pd.Series([0.1 + 0.2, np.float64(0.7) + 1e-12, 1e6 + 0.1])
    assert of.encode(values).numbers.tolist() == [3, 7, 10**7 + 1]
    assert of.encode(values.astype("float32")[:2]).numbers.tolist() == [3, 7]


@pytest.mark.parametrize("name", [n for n, c in COLUMNS.items() if c.resolution is not None and len(c.rows) > 150])
def test_scores_of_training_rows_are_about_normal(name):
    of = column(COLUMNS[name].rows)
    encoded = of.encode(COLUMNS[name].rows)
    if of.shown_atoms:
        return
    scores = np.interp(encoded.numbers[encoded.codes == 0], of.knots, of.scores)
    assert abs(scores.mean()) < 0.2
    assert 0.7 < scores.std() < 1.2


# --- numbers come back


@given(
    st.lists(st.floats(-1e301, 1e301), min_size=1, max_size=60),  # in steps of 1e-6 finite, too
    st.sampled_from(["quantile", "standard"]),
    st.sampled_from([None, 0, 1, 2, 6]),
)
def test_any_finite_numbers_come_back(values, scaling, decimals):
    values = values if decimals is None else [round(value, decimals) for value in values]
    frame = pd.DataFrame({"x": values})
    schema = TableSchema.infer(frame, scaling=scaling)
    of = schema.columns[0]
    assert np.isfinite([*of.knots, *of.scores]).all()
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert loaded == schema
    rows = loaded.encode(frame, unseen="error")
    assert torch.isfinite(rows).all()
    for old, new in zip(values, loaded.decode(rows)["x"], strict=True):
        assert math.isfinite(new)
        assert abs(new - old) <= (of.resolution / 2 + math.ulp(old) if of.whole else 0)


@given(
    st.lists(st.integers(-(2**63), 2**64), min_size=1, max_size=40),
    st.sampled_from(["object", "int64", "Int64", "uint64", "int8"]),
)
def test_any_integers_come_back(values, dtype):
    if dtype != "object":
        info = np.iinfo(dtype.lower())
        values = [min(max(value, int(info.min)), int(info.max)) for value in values]
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    schema = TableSchema.infer(frame)
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    decoded = schema.decode(schema.encode(frame, unseen="error"))["x"]
    assert decoded.dtype == frame["x"].dtype
    for new, old in zip(decoded.tolist(), values, strict=True):
        assert isinstance(new, int)
        assert abs(new - old) <= (0 if abs(old) < 2**53 else math.ulp(float(old)))


@given(st.integers(2**53, 2**63 - 3), st.permutations(range(3)))
def test_neighbours_that_no_float_tells_apart_come_back(first, order):
    ids = [first + k for k in order]
    frame = pd.DataFrame({"x": ids * 12})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].atoms == tuple(sorted(ids))
    assert schema.decode(schema.encode(frame))["x"].tolist() == ids * 12
    assert [schema.columns[0].encode_value(i) for i in sorted(ids)] == [(1, 0), (2, 0), (3, 0)]
    others = schema.encode(pd.DataFrame({"x": [first - 1, first + 3]}), unseen="error")
    assert others[:, 0].tolist() == [0, 0]  # they are numbers, and no atom


def decoded(dtype, numbers, **options):
    of = NumberColumn(name="x", dtype=dtype, knots=(0, 1), scores=(0, 1), **options)
    frame = TableSchema(columns=(of,)).decode(np.array([[0, number] for number in numbers], float))
    return frame["x"].tolist()


def test_numbers_are_rounded_and_clipped_to_the_range_of_the_dtype():
    assert decoded("int8", [1.4, 1.6, 1e9, -math.inf], resolution=1) == [1, 2, 127, -128]
    assert decoded("Int16", [-1e9], resolution=1) == [-(2**15)]
    assert decoded("uint8", [-3, 300], resolution=0) == [0, 255]
    assert 2**62 < decoded("int64", [1e300], resolution=1)[0] < 2**63
    assert decoded("float64", [149.6], resolution=0.01) == [1.5]
    assert decoded("float32", [1e300], resolution=0) == [float(np.finfo(np.float32).max)]
    assert math.copysign(1, decoded("float64", [-0.3], resolution=1)[0]) == 1


def test_float32_takes_what_only_float64_holds():
    of = column(RNG.normal(size=200).astype("float32"))
    assert of.encode_value(1e300) == (0, 1e300)
    assert of.encode_value(0.1) == (0, float(np.float32(0.1)))
    assert encode(of, 1e300, -1e300) == [(0, 1e300), (0, -1e300)]


# --- atoms

N = 2000
SMOKERS = np.where(RNG.random(N) < 0.4, RNG.choice([10, 20], N), RNG.poisson(12, N))
ATOMS = {
    "flags": (RNG.integers(0, 2, N), (0, 1)),
    "rare flags": ((np.arange(N) % 400 == 0).astype(int), (0, 1)),
    "scores": (RNG.integers(1, 6, N), (1, 2, 3, 4, 5)),
    "half scores": (RNG.integers(2, 11, N) / 2, tuple(np.arange(1, 5.5, 0.5))),
    "two real numbers": (RNG.choice([1 / 3, 1 / 7], N), (1 / 7, 1 / 3)),
    "tens": (RNG.integers(0, 50, N) * 10, tuple(range(0, 500, 10))),
    "heaped counts": (np.where(RNG.random(N) < 0.5, 0, SMOKERS), (0, 10, 20)),
    "zeros and real numbers": (np.where(RNG.random(N) < 0.6, 0, RNG.exponential(size=N)), (0,)),
    "zeros and counts": (np.where(RNG.random(N) < 0.6, 0, RNG.poisson(50, N)), (0,)),
    "a code for missing": (np.where(RNG.random(N) < 0.1, -999, RNG.normal(100, 10, N)), (-999,)),
    "ages": (RNG.integers(18, 90, N), ()),
    "counts": (RNG.poisson(30, N), ()),
    "real numbers": (RNG.normal(size=N), ()),
    "infinities": (outlier(RNG.normal(size=N), math.inf, -math.inf), (-math.inf, math.inf)),
    "huge ids": (RNG.choice([2**60, 2**60 + 1], N), (2**60, 2**60 + 1)),
}


@pytest.mark.parametrize("name", ATOMS)
def test_what_comes_again_and_again_has_a_probability_of_its_own(name):
    values, atoms = ATOMS[name]
    of = column(values)
    assert of.atoms == atoms
    assert of.labels == ("a number", *atoms, "unseen")
    assert (*of.fillable, of.unseen) == tuple(range(len(atoms) + 2))
    encoded = of.encode(pd.Series(values))
    for code, atom in enumerate(atoms, 1):
        assert ((encoded.codes == code) == (values == atom)).all()
        assert of.encode_value(atom) == (code, 0)
    assert (encoded.numbers[encoded.codes > 0] == 0).all()
    assert_series_equal(of.decode(encoded), pd.Series(values), check_exact=True)
    number = of.variable.number
    options = {"atoms": tuple(of.encoded_atoms), "background": 1e-3, "low": of.bounds[0]}
    assert number == Number(of.knots, of.scores, whole=of.whole, closed=np.isin(values, atoms).all(), **options)


def test_max_levels_is_the_most_atoms():
    values = ATOMS["tens"][0]
    assert len(column(values, max_levels=10).atoms) == 10
    assert column(values, max_levels=0).atoms == ()
    assert column(range(10), max_levels=9).kind == "number"


def test_infinities_spikes_and_missing_values_are_codes():
    rain = pd.Series(np.where(RNG.random(N) < 0.6, 0.0, RNG.exponential(size=N)), name="x")
    rain[:3] = [math.inf, -math.inf, math.nan]
    of = column(rain)
    assert of.atoms == (0, -math.inf, math.inf)
    assert of.cardinality == 6
    encoded = of.encode(rain)
    assert encoded.codes[:3].tolist() == [3, 2, 4]
    assert set(encoded.codes[3:].tolist()) == {0, 1}
    assert_series_equal(of.decode(encoded), rain, check_exact=True, check_names=False)


# --- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a"], "holds strings such as 'a', but the training data held numbers"),
        ([True], "holds booleans such as True, but the training data held numbers"),
        (pd.to_datetime(["2024-01-01"]), "holds datetimes such as '2024-01-01 00:00:00', but"),
        (pd.Categorical(["1"]), "holds strings such as '1', but"),
    ],
)
def test_other_types_than_in_training_are_refused(values, message):
    with pytest.raises(ValueError, match=f"column 'x' {message}"):
        TableSchema.infer(pd.DataFrame({"x": [1 / 3, 1.25]})).encode(pd.DataFrame({"x": values}))


@pytest.mark.parametrize("dtype", [pd.ArrowDtype(pa.decimal128(5, 2))])
def test_decimals_are_refused_by_name(dtype):
    with pytest.raises(TypeError, match="column 'x' holds decimals"):
        TableSchema.infer(pd.DataFrame({"x": pd.Series(["1.5"], dtype="string").astype(dtype)}))
