"""Columns of numbers and times: the way to encoded rows and back, and what is refused."""

import datetime
import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tessflow.models.variables import Number, Variable
from tessflow.tables import NumberColumn, TableSchema

ROWS = 200
DAYS = pd.date_range("1960-01-01", periods=ROWS, freq="D")


def arrow(type_):
    return pd.ArrowDtype(type_)


def with_gaps(series):
    series = series.copy()
    series.iloc[3] = None
    return series


INTEGERS = pd.Series(np.arange(ROWS) * 7 - 300)
REALS = pd.Series(np.random.default_rng(0).normal(size=ROWS) * 100)
MINUTES = pd.Series(pd.Timestamp("2024-03-30") + pd.to_timedelta(np.arange(ROWS) * 17, unit="min"))

COLUMNS = {
    **{
        f"{dtype}": with_gaps(INTEGERS.astype(dtype)) if dtype[0] == "I" else INTEGERS.astype(dtype)
        for dtype in ("int16", "int32", "int64", "Int32", "Int64")
    },
    "uint16": (INTEGERS + 300).astype("uint16"),
    "UInt64": with_gaps((INTEGERS + 300).astype("UInt64")),
    "arrow int": with_gaps(INTEGERS.astype(arrow(pa.int64()))),
    "object int": pd.Series([*INTEGERS[:-1].tolist(), None], dtype=object),
    "whole float": with_gaps(INTEGERS.astype(float)),
    "huge": pd.Series(np.arange(ROWS) + 2**52),
    "prices": with_gaps(pd.Series(np.arange(ROWS) % 90 / 100)),
    "prices in float32": pd.Series(np.arange(ROWS) % 90 / 100).astype("float32"),
    "float64": with_gaps(REALS),
    "float32": with_gaps(REALS.astype("float32")),
    "Float32": with_gaps(REALS.astype("Float32")),
    "Float64": with_gaps(REALS.astype("Float64")),
    "arrow float": with_gaps(REALS.astype(arrow(pa.float64()))),
    "object float": pd.Series([*REALS[:-1].tolist(), pd.NA], dtype=object),
    "infinite": pd.Series([math.inf, -math.inf, *REALS[2:]]),
    "dates": with_gaps(pd.Series(DAYS)),
    "date objects": pd.Series([*DAYS.date[:-1], None], dtype=object),
    "arrow dates": with_gaps(pd.Series(DAYS).astype(arrow(pa.date32()))),
    "minutes": with_gaps(MINUTES),
    "nanosecond dtype": with_gaps(MINUTES.astype("datetime64[ns]")),
    "second dtype": with_gaps(MINUTES.astype("datetime64[s]")),
    "zone": with_gaps(MINUTES.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")),
    "arrow zone": with_gaps(MINUTES.dt.tz_localize("UTC").astype(arrow(pa.timestamp("us", "Asia/Kolkata")))),
    "microseconds": pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(ROWS) * 1_000_001, unit="us")),
    "durations": with_gaps(pd.Series(pd.to_timedelta(np.arange(ROWS) * 90, unit="min"))),
    "arrow durations": with_gaps(
        pd.Series(pd.to_timedelta(np.arange(ROWS) * 90, unit="s")).astype(arrow(pa.duration("ms")))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_numbers_comes_back_as_it_was(name):
    frame = pd.DataFrame({name: COLUMNS[name], "letter": list("ab") * (ROWS // 2)})
    schema = TableSchema.infer(frame)
    assert isinstance(schema.columns[0], NumberColumn)
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert loaded == schema
    rows = loaded.encode(frame)
    assert rows.dtype == torch.float64
    assert rows.shape == (ROWS, 3)
    codes, numbers = rows[:, 0], rows[:, 2]
    assert (
        (codes > 0)
        == torch.tensor(frame[name].isna() | np.isinf(frame[name]) if name == "infinite" else frame[name].isna())
    ).all()
    assert (numbers[codes > 0] == 0).all()
    assert_frame_equal(loaded.decode(rows), frame, check_exact=True)
    assert [type(value) for value in loaded.decode(rows)[name]] == [type(value) for value in frame[name]]
    scores = np.interp(numbers[codes == 0], schema.columns[0].knots, schema.columns[0].scores)
    assert abs(scores.mean()) < 0.2
    assert 0.7 < scores.std() < 1.2


@pytest.mark.parametrize(
    ("name", "kind", "resolution"),
    [
        ("int16", "number", 1),
        ("whole float", "number", 1),
        ("prices", "number", 0.01),
        ("prices in float32", "number", 0.01),
        ("float64", "number", 0),
        ("dates", "datetime", 86400),
        ("date objects", "datetime", 86400),
        ("minutes", "datetime", 60),
        ("zone", "datetime", 60),
        ("microseconds", "datetime", 1e-6),
        ("durations", "timedelta", 60),
    ],
)
def test_the_resolution_is_the_coarsest_that_fits(name, kind, resolution):
    column = TableSchema.infer(pd.DataFrame({name: COLUMNS[name]})).columns[0]
    assert (column.kind, column.resolution) == (kind, resolution)
    assert column.variable.number.whole is (resolution > 0)


def test_numbers_are_counted_in_steps_since_1970_in_utc():
    times = pd.Series(pd.to_datetime(["1970-01-02 01:00", "1969-12-31 23:59"] * 3)).dt.tz_localize("+01:00")
    schema = TableSchema.infer(pd.DataFrame({"when": times}))
    assert schema.columns[0].resolution == 60
    assert schema.encode(pd.DataFrame({"when": times}))[:2].tolist() == [[0, 24 * 60], [0, -61]]
    same = pd.DataFrame({"when": times.dt.tz_convert("Asia/Tokyo")})
    assert torch.equal(schema.encode(same), schema.encode(pd.DataFrame({"when": times})))


def test_labels_of_times_are_values_of_the_column():
    times = pd.Series(pd.to_datetime(["2024-01-01 12:00", "2024-07-01 12:00"] * 10)).dt.tz_localize("Europe/Berlin")
    waits = pd.Series(pd.to_timedelta(["1h", "2h"] * 10))
    schema = TableSchema.infer(pd.DataFrame({"when": times, "wait": waits, "day": times.dt.date}))
    when, wait, day = (column.labels for column in schema.columns)
    assert when == ("a number", times[0], times[1], "unseen")
    assert [label.tz for label in when[1:3]] == [times[0].tz] * 2
    assert wait == ("a number", waits[0], waits[1], "unseen")
    assert day == ("a number", pd.Timestamp("2024-01-01"), pd.Timestamp("2024-07-01"), "unseen")


def test_a_table_becomes_codes_then_numbers_in_the_order_of_the_columns():
    frame = pd.DataFrame({"x": [0.5, None, 1.25], "bird": ["wren", "owl", "owl"], "n": [100, 2, 30]})
    schema = TableSchema.infer(frame, max_levels=2)
    assert schema.cardinalities == (2, 2, 1)
    assert schema.encode(frame).tolist() == [[0, 1, 0, 0.5, 100], [1, 0, 0, 0, 2], [0, 0, 0, 1.25, 30]]
    assert [variable.classes for variable in schema.variables] == [2, 2, 1]
    assert [variable.number is None for variable in schema.variables] == [False, True, False]
    assert schema.variables[1] == Variable(2)
    column = schema.columns[2]
    assert schema.variables[2].number == Number(column.knots, column.scores, whole=True)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "object"])
def test_an_array_of_numbers_comes_back_as_an_array(dtype):
    array = (np.random.default_rng(0).normal(size=(100, 2)) * 1000).astype(dtype)
    schema = TableSchema.infer(array)
    decoded = schema.decode(schema.encode(array))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


def decoded(dtype, numbers, **options):
    column = NumberColumn(name="x", kind="number", dtype=dtype, knots=(0, 1), scores=(0, 1), **options)
    return column.decode(np.zeros(len(numbers), int), np.array(numbers, float)).tolist()


def test_sampled_numbers_are_rounded_and_clipped_to_the_range_of_the_dtype():
    assert decoded("int8", [1.4, 1.6, 1e9, -math.inf], resolution=1) == [1, 2, 127, -128]
    assert decoded("Int16", [-1e9], resolution=1) == [-(2**15)]
    assert decoded("uint8", [-3, 300], resolution=0) == [0, 255]
    assert 2**62 < decoded("int64", [1e300], resolution=1)[0] < 2**63
    assert decoded("float64", [149.6], resolution=0.01) == [1.5]
    assert decoded("float32", [1e300], resolution=0) == [float(np.finfo(np.float32).max)]
    column = NumberColumn(name="x", kind="datetime", dtype="datetime64[ns]", resolution=1, knots=(0, 1), scores=(0, 1))
    years = column.decode(np.zeros(3, int), np.array([-1e300, 0.4, math.inf])).dt.year
    assert years.tolist() == [1677, 1970, 2262]


def test_infinities_and_spikes_are_atoms():
    rng = np.random.default_rng(0)
    rain = pd.Series(np.where(rng.random(2000) < 0.6, 0.0, rng.exponential(size=2000)))
    rain[:3] = [math.inf, -math.inf, math.nan]
    schema = TableSchema.infer(pd.DataFrame({"rain": rain}))
    assert schema.columns[0].atoms == (0, -math.inf, math.inf)
    assert schema.cardinalities == (5,)
    rows = schema.encode(pd.DataFrame({"rain": rain}))
    assert rows[:3].tolist() == [[3, 0], [2, 0], [4, 0]]
    assert set(rows[3:, 0].unique().tolist()) == {0, 1}
    pd.testing.assert_series_equal(schema.decode(rows)["rain"], rain.rename("rain"), check_exact=True)


@pytest.mark.parametrize(
    ("training", "value", "message"),
    [
        ([0.5, 1.25], math.inf, r"has in row 1 .* the value inf, but training rows held no such infinity"),
        ([0.5, 1.25], None, r"has in row 1 .* a missing value, but none was seen"),
        (range(100), 1.5, "has in row 1 .* the value 1.5, no multiple of its resolution 1: round it, or give"),
        (pd.Series(DAYS), pd.Timestamp("2020-01-01 12:00"), "2020-01-01T12:00:00, no multiple .* 86400 seconds: round"),
    ],
)
def test_values_that_the_schema_cannot_hold_are_refused_by_row(training, value, message):
    schema = TableSchema.infer(pd.DataFrame({"x": training}))
    with pytest.raises(ValueError, match=f"column 'x' {message}" if "has" in message else message):
        schema.encode(pd.DataFrame({"x": [pd.Series(training)[0], value]}))


@pytest.mark.parametrize(
    ("training", "given", "message"),
    [
        ([0.5, 1.25], ["a"], "holds strings such as 'a', but the training data held numbers"),
        ([0.5, 1.25], [True], "holds booleans such as True, but"),
        (pd.Series(DAYS), ["2020-01-01"], "held datetimes; convert it with pandas.to_datetime"),
        (pd.Series(DAYS), DAYS[:1].tz_localize("UTC"), "has a time zone, but training rows had none"),
        (pd.Series(DAYS).dt.tz_localize("UTC"), DAYS[:1], "lacks the time zone that training rows had"),
    ],
)
def test_other_types_than_in_training_are_refused(training, given, message):
    schema = TableSchema.infer(pd.DataFrame({"x": training}))
    with pytest.raises(ValueError, match=f"column 'x' .*{message}"):
        schema.encode(pd.DataFrame({"x": given}))


def test_rounding_errors_are_no_reason_to_refuse():
    schema = TableSchema.infer(pd.DataFrame({"price": [0.1, 0.2, 0.3, 0.4] * 30}), max_levels=1)
    column = NumberColumn(name="price", kind="number", dtype="float64", resolution=0.1)
    assert schema.columns[0].kind == "ordinal"
    values = pd.Series([0.1 + 0.2, np.float64(0.7) + 1e-12, 1e6 + 0.1])
    assert column.encode(values)[1].tolist() == [3, 7, 10**7 + 1]
    assert column.encode(values.astype("float32")[:2])[1].tolist() == [3, 7]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=60), st.sampled_from(["quantile", "standard"]))
def test_any_floats_make_a_scale_and_come_back(values, scaling):
    frame = pd.DataFrame({"x": values})
    schema = TableSchema.infer(frame, max_levels=1, scaling=scaling)
    for variable in schema.variables:  # Number refuses what does not ascend
        if variable.number is not None:
            numbers = np.array([*variable.number.knots, *variable.number.scores])
            assert np.isfinite(numbers).all()
    decoded = schema.decode(schema.encode(frame))
    assert_frame_equal(decoded, frame, check_exact=True)


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(100) * 1e-300 / 3,
        np.arange(100) * 1e306 / 3 + 1e300,
        1e15 + np.arange(100) / 8,
        np.exp(np.linspace(-600, 600, 100)),
        -(10.0 ** np.arange(-300, 300)),
        [0.5, 5e-324],
        [1.0, 1.0 + 2**-52],
        [1.5],
    ],
)
def test_tiny_and_huge_spreads_make_finite_scales(values, scaling):
    frame = pd.DataFrame({"x": values})
    declared = TableSchema(columns=(NumberColumn(name="x", kind="number", scaling=scaling),))
    with np.errstate(all="raise", under="ignore"):
        number = declared.fitted(frame).variables[0].number
    assert np.isfinite([*number.knots, *number.scores]).all()
    assert (np.diff(number.knots) > 0).all()


def test_quantile_scores_are_those_of_the_normal_distribution():
    values = np.random.default_rng(0).lognormal(size=20_000)
    number = TableSchema.infer(pd.DataFrame({"x": values})).variables[0].number
    scores = np.interp(np.log(values), np.log(number.knots), number.scores)
    assert np.abs(np.log(number.knots) - number.scores).max() < 0.25
    assert scores.mean() == pytest.approx(0, abs=0.01)
    assert scores.std() == pytest.approx(1, abs=0.02)
    beyond = (values > number.knots[-1]).sum(), (values < number.knots[0]).sum()
    assert all(4 <= rows <= 20 for rows in beyond)
    assert len(number.knots) < 90


def test_the_scale_gives_whole_numbers_their_share_of_the_rows():
    rng = np.random.default_rng(0)
    values = rng.binomial(60, 0.4, 50_000)
    number = TableSchema.infer(pd.DataFrame({"x": values}), max_levels=5).variables[0].number
    assert all(knot % 1 == 0.5 for knot in number.knots)
    cdf = [NormalDist().cdf(score) for score in np.interp(np.arange(10, 40) - 0.5, number.knots, number.scores)]
    shares = np.bincount(values, minlength=60)[10:39] / len(values)
    assert np.diff(cdf) == pytest.approx(shares, abs=2e-3)


def test_the_standard_scale_is_mean_and_deviation():
    frame = pd.DataFrame({"x": [1.5, 2.5, 3.25]})
    number = TableSchema.infer(frame, scaling="standard").variables[0].number
    mean, deviation = frame["x"].mean(), frame["x"].std(ddof=0)
    assert number.knots == pytest.approx((mean - deviation, mean + deviation))
    assert number.scores == (-1, 1)


def test_one_value_is_encoded_as_in_a_table():
    when = pd.Series(pd.to_datetime(["2024-01-01", "2024-02-01", None])).dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame(
        {"x": [0.5, math.inf, 2.25], "n": [100, 200, 300], "when": when, "bird": ["owl", None, "wren"]}
    )
    schema = TableSchema.infer(frame, max_levels=1)
    x, n, time, bird = schema.columns
    assert x.encode_value(0.75) == (0, 0.75)
    assert x.encode_value(math.inf) == (1, 0)
    assert n.encode_value(np.int64(7)) == (0, 7)
    hour = schema.encode(frame)[1, -1].item()
    for value in ("2024-02-01", pd.Timestamp("2024-01-31 23:00", tz="UTC"), datetime.datetime(2024, 2, 1)):
        assert time.encode_value(value) == (0, hour)
    assert time.encode_value(pd.NaT) == time.encode_value(None) == (1, 0)
    assert [bird.encode_value(value) for value in ("wren", None)] == [(1, 0), (2, 0)]
    for column, value, message in [
        (x, "a", "was given 'a', but holds numbers"),
        (x, True, "was given True, but holds numbers"),
        (x, math.nan, "was given a missing value"),
        (n, 0.5, "was given the value 0.5, no multiple"),
        (time, "soon", "'soon' is no datetime: give a word such as"),
        (time, 5, "5 is no datetime"),
        (bird, "auk", "was given the value 'auk', which was not seen"),
        (bird, 3, "held strings, not numbers"),
    ]:
        with pytest.raises(ValueError, match=f"column '{column.name}'.*{message}"):
            column.encode_value(value)


def test_ranges_cover_the_numbers_between_and_their_atoms():
    prices = NumberColumn(name="price", kind="number", dtype="float64", resolution=0.01, atoms=(0.0, 9.99, math.inf))
    assert prices.bounds(0.1, 0.3) == (9.5, 30.5)
    assert prices.bounds(0.101, 0.299) == (10.5, 29.5)
    assert prices.bounds(None, 1) == (-math.inf, 100.5)
    assert prices.codes_between(0, 1) == (0, 1)
    assert prices.codes_between(5, None) == (0, 2, 3)
    reals = NumberColumn(name="x", kind="number", dtype="float64")
    assert reals.bounds(0.1, None) == (0.1, math.inf)
    days = NumberColumn(name="day", kind="datetime", dtype="datetime64[us]", resolution=86400, atoms=(86400.0,))
    assert days.bounds("1970-01-02", "1970-01-04 12:00") == (0.5, 3.5)
    assert days.codes_between("1970-01-02", None) == (0, 1)
    for column, low, high, message in [
        (prices, 2, 1, "range from 2 to 1, which is empty"),
        (prices, 0.001, 0.002, "has no number from 0.001 to 0.002"),
        (reals, 1, 1, "has no number"),
        (reals, "a", None, "was given 'a', but holds numbers"),
        (days, "1970-01-02", 7, "7 is no datetime"),
    ]:
        with pytest.raises(ValueError, match=message):
            column.bounds(low, high)


def test_ranges_of_classes_follow_their_order():
    frame = pd.DataFrame(
        {
            "eggs": [2.0, 5, None],
            "size": pd.Categorical(["S", "L", "M"], categories=["S", "M", "L"], ordered=True),
            "colour": pd.Categorical(["red", "blue", "red"]),
        }
    )
    eggs, size, colour = TableSchema.infer(frame).columns
    assert eggs.codes_between(3, None) == (1,)
    assert eggs.codes_between(None, None) == (0, 1)
    assert size.codes_between("M", None) == (1, 2)
    for column, low, high, message in [
        (eggs, 3, 4, "has no value from 3 to 4"),
        (eggs, "a", None, "holds numbers, but was given a range"),
        (size, "XL", None, "has no category 'XL'"),
        (colour, "blue", "red", "has no order"),
    ]:
        with pytest.raises(ValueError, match=message):
            column.codes_between(low, high)


def test_a_column_is_found_by_name():
    schema = TableSchema.infer(np.array([[0.5, 1.0], [1.5, 2.0]]))
    assert schema.position(1) == schema.position("1") == 1
    with pytest.raises(ValueError, match="there is no column 2: the columns are 0, 1"):
        schema.position(2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"atoms": (math.nan,)}, "none of them NaN"),
        ({"atoms": (1, 1)}, "distinct atoms"),
        ({"resolution": -1}, "greater than or equal to 0"),
        ({"resolution": math.inf}, "finite"),
        ({"resolution": 0.5, "atoms": (0.3,)}, "atoms that are not multiples"),
        ({"kind": "datetime"}, "resolution is whole microseconds"),
        ({"kind": "datetime", "resolution": 1, "atoms": (math.inf,)}, "never infinite"),
        ({"knots": (1, 0), "scores": (0, 1)}, "strictly ascend"),
        ({"knots": (0, 1), "scores": ()}, "at least two"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        NumberColumn(**{"name": "x", "kind": "number", **fields})


@pytest.mark.parametrize("rows", [[[0, math.nan]], [[0.5, 0]], [[2, 0]], [[0]]])
def test_rows_that_no_table_has_are_refused(rows):
    schema = TableSchema.infer(pd.DataFrame({"x": [0.5, None, 1.25]}))
    with pytest.raises(ValueError, match="codes"):
        schema.decode(np.array(rows, float))
