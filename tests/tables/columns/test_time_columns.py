"""Columns of times: counted in whole steps since 1970 in UTC, bounded and asked for in words, kept in their dtype."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from column_cases import DAY, DAYS, LAPSES, MINUTES
from tessflow.models.variables import Restriction
from tessflow.tables import DatetimeColumn, DurationColumn, TableSchema

RNG = np.random.default_rng(0)


def column(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).columns[0]


def declared(text, values):
    return TableSchema.from_yaml(f"columns:\n- {{name: x, {text}}}\n").fitted(pd.DataFrame({"x": values}))


@pytest.mark.parametrize(
    ("unit", "step", "measure"),
    [
        ("D", 86400, "probabilities of days"),
        ("h", 3600, "probabilities of hours"),
        ("min", 60, "probabilities of minutes"),
        ("s", 1, "probabilities of seconds"),
        ("ms", 1e-3, "probabilities of milliseconds"),
        ("us", 1e-6, "probabilities of microseconds"),
    ],
)
def test_the_resolution_is_the_coarsest_unit_whatever_rows_are_drawn(unit, step, measure):
    lapses = pd.Series(pd.to_timedelta(RNG.integers(1, 50_000, 500), unit=unit))
    for values in (lapses, DAY + lapses):
        assert (column(values).resolution, column(values).measure) == (step, measure)
        for seed in range(5):
            assert column(values.sample(60, random_state=seed)).resolution == step


def test_the_first_microseconds_of_a_day_are_off_it():
    column_of = column(pd.Timestamp("2024-01-01") + pd.Series(pd.to_timedelta(np.arange(200) * 17, unit="us")))
    assert column_of.resolution == 1e-6
    bounded = declared("kind: timedelta, resolution: 86400, minimum: P1D", [pd.Timedelta(days=1)] * 2)
    with pytest.raises(ValueError, match="below its minimum P1DT0H0M0S"):
        bounded.encode(pd.DataFrame({"x": [pd.Timedelta(days=1) - pd.Timedelta(1, "us")]}))


def test_one_in_a_thousand_may_be_off():
    days = pd.Series([DAY + pd.Timedelta(n, "D") for n in range(2000)])
    days[::1000] += pd.Timedelta(10, "h")
    of = column(days)
    assert of.resolution == 86400
    assert of.encode(days).numbers[:2].tolist() == [19782, 19783]  # each in its cell
    days[1500] += pd.Timedelta(1, "h")
    assert column(days).resolution == 3600


def test_a_step_of_several_units_can_be_declared():
    schema = declared("kind: datetime, resolution: 900", [DAY, DAY + pd.Timedelta(minutes=30)])
    assert schema.columns[0].measure == "probabilities of 15 minutes"
    assert schema.columns[0].encode_value(DAY + pd.Timedelta(minutes=15)) == (0, 19782 * 96 + 1)


def test_times_are_counted_in_steps_since_1970_in_utc():
    times = pd.Series(pd.to_datetime(["1970-01-02 01:00", "1969-12-31 23:59"] * 3)).dt.tz_localize("+01:00")
    schema = TableSchema.infer(pd.DataFrame({"when": times}))
    assert schema.columns[0].resolution == 60
    assert schema.encode(pd.DataFrame({"when": times}))[:2].tolist() == [[0, 24 * 60], [0, -61]]
    same = pd.DataFrame({"when": times.dt.tz_convert("Asia/Tokyo")})
    assert torch.equal(schema.encode(same), schema.encode(pd.DataFrame({"when": times})))


def test_times_finer_than_a_microsecond_are_rounded():
    frame = pd.DataFrame({"t": pd.to_datetime([1_000_000_499, 2_000_000_501], unit="ns")})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].resolution == 1e-6
    decoded = schema.decode(schema.encode(frame))["t"]
    assert decoded.dtype == frame["t"].dtype
    assert decoded.astype("int64").tolist() == [1_000_000_000, 2_000_001_000]


@given(
    # With a zone pandas knows no others than the years 1 to 9999.
    st.lists(st.datetimes(datetime.datetime(1, 1, 5), datetime.datetime(9999, 12, 25)), min_size=1, max_size=20),
    st.sampled_from([None, "UTC", "Asia/Tokyo"]),
    st.sampled_from([1, 1000, 10**6, 60 * 10**6, 86400 * 10**6]),
)
def test_any_datetimes_come_back(times, zone, step):
    micros = pd.Series(times, dtype="datetime64[us]").astype("int64") // step * step
    rows = micros.astype("datetime64[us]")
    frame = pd.DataFrame({"x": rows if zone is None else rows.dt.tz_localize("UTC").dt.tz_convert(zone)})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].resolution * 10**6 >= step
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(frame) == schema
    off = (schema.decode(schema.encode(frame, unseen="error"))["x"] - frame["x"]).abs()
    assert off.max() <= pd.Timedelta(16, "us")  # of the year 9999 float64 tells no more apart


def test_a_time_that_comes_again_and_again_is_an_atom():
    often = pd.Series([DAY] * 100 + [DAY + pd.Timedelta(minutes=n) for n in range(1, 900)])
    of = column(often)
    assert of.shown_atoms == (DAY,)
    assert of.atoms == (DAY.timestamp(),)
    assert of.labels == ("a number", DAY, "unseen")
    assert of.encode_value("2024-02-29") == of.encode_value(DAY) == (1, 0)
    lapses = column(often - DAY)
    assert lapses.shown_atoms == (pd.Timedelta(0),)
    assert lapses.encode_value("P0D") == (1, 0)


def test_sampled_times_are_clipped_to_the_range_of_the_dtype():
    of = DatetimeColumn(name="x", dtype="datetime64[ns]", resolution=1, knots=(0, 1), scores=(0, 1))
    frame = TableSchema(columns=(of,)).decode(np.array([[0, -1e300], [0, 0.4], [0, math.inf]]))
    assert frame["x"].dt.year.tolist() == [1677, 1970, 2262]


# --- bounds


def test_durations_have_the_minimum_0_that_numbers_have_and_datetimes_none():
    lapses = LAPSES.sample(frac=1, random_state=0)
    assert (column(lapses).minimum, column(lapses).beyond) == (0, "unseen")
    assert column(lapses[:99]).minimum is None
    assert column(lapses - pd.Timedelta(minutes=90)).minimum is None
    assert column(pd.Timestamp("1970-01-01") + lapses).minimum is None


@pytest.mark.parametrize(
    ("text", "training", "allowed", "refused"),
    [
        (
            "kind: datetime, resolution: 86400, minimum: 2024-01-01, maximum: 2024-12-31",
            [DAY, DAY + pd.Timedelta(days=1)],
            ["2024-01-01", "2024-12-31"],
            ["2023-12-31", "2025-01-01", "2023-12-31 23:59"],
        ),
        (
            "kind: datetime, resolution: 60, minimum: 2024-01-01T12:00",
            [DAY, DAY + pd.Timedelta(days=1)],
            ["2024-01-01 12:00", "2999-01-01"],
            ["2024-01-01 11:59"],
        ),
        (
            "kind: timedelta, resolution: 1, minimum: PT0S, maximum: PT1H",
            [pd.Timedelta(minutes=3), pd.Timedelta(minutes=9)],
            ["PT0S", "01:00:00"],
            ["-P1D", "01:00:01"],
        ),
    ],
)
def test_bounds_are_written_as_times(text, training, allowed, refused):
    schema = declared(text, training)
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(pd.DataFrame({"x": training})) == schema
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    read = pd.to_timedelta if schema.columns[0].kind == "timedelta" else pd.to_datetime
    for word in allowed:
        assert schema.encode(pd.DataFrame({"x": read([word])}))[0, 0] == 0
    for word in refused:
        with pytest.raises(ValueError, match=r"column 'x' has in row 0 .* the value .*, (below its min|above its max)"):
            schema.encode(pd.DataFrame({"x": read([word])}))
        with pytest.raises(ValueError, match=r"column 'x' has the value .*, (below its min|above its max)"):
            declared(text, [*training, read([word])[0]])


def test_the_message_shows_times():
    schema = declared("kind: datetime, resolution: 86400, minimum: 2024-01-01", [DAY, DAY])
    with pytest.raises(ValueError, match="the value 2023-12-31T00:00:00, below its minimum 2024-01-01T00:00:00"):
        schema.encode(pd.DataFrame({"x": pd.to_datetime(["2023-12-31"])}))


# --- one time, ranges


def test_one_time_is_encoded_as_in_a_table():
    when = pd.Series(pd.to_datetime(["2024-01-01", "2024-02-01", None])).dt.tz_localize("Europe/Berlin")
    of = column(when)
    hour = of.encode(when).numbers[1]
    for value in ("2024-02-01", pd.Timestamp("2024-01-31 23:00", tz="UTC"), datetime.datetime(2024, 2, 1)):
        assert of.encode_value(value) == (0, hour)
    assert of.encode_value(pd.NaT) == of.encode_value(None) == (1, 0)
    for value, message in [("soon", "'soon' is no datetime: give a word such as"), (5, "5 is no datetime")]:
        with pytest.raises(ValueError, match=f"column 'x': {message}"):
            of.encode_value(value)


def test_ranges_are_given_as_words_or_times():
    days = DatetimeColumn(name="day", dtype="datetime64[us]", resolution=86400, atoms=(86400.0,))
    assert days.between("1970-01-02", "1970-01-04 12:00") == Restriction((0, 1), 0.5, 3.5)
    assert days.between(datetime.date(1970, 1, 3), None) == Restriction((0,), 1.5, math.inf)
    assert days.among(["1970-01-02", pd.Timestamp("1970-01-05")]) == Restriction((0, 1), points=(4.0,))
    lapses = DurationColumn(name="wait", dtype="timedelta64[us]", resolution=60)
    assert lapses.between("PT1M", pd.Timedelta("1h")) == Restriction((0,), 0.5, 60.5)
    for of, low, high, message in [
        (days, "1970-01-02", 7, "column 'day': 7 is no datetime"),
        (days, "1970-01-02 01:00", "1970-01-02 02:00", "column 'day' has no number from"),
        (days, "1970-01-03", "1970-01-02", "column 'day' was given a range .*, which is empty"),
        (lapses, 5, None, "column 'wait': 5 is no timedelta"),
    ]:
        with pytest.raises(ValueError, match=message):
            of.between(low, high)


def test_far_times_are_the_atoms_that_float64_makes_of_them():
    """The last microsecond of the year 9999 stands for no end; float64 does not tell it from the next."""
    last = pd.Timestamp("9999-12-31T23:59:59.999999").as_unit("us")
    times = pd.Series([last, pd.Timestamp("2020-01-01T00:00:00.000002").as_unit("us")] * 30)
    column = TableSchema.infer(pd.DataFrame({"end": times})).columns[0]
    assert column.encode(times).codes.tolist() == [2, 1] * 30
    assert column.between("2021-01-01", last).codes == (0, 2)
    assert column.between(None, "2021-01-01").codes == (0, 1)


# --- what is refused


@pytest.mark.parametrize(
    ("training", "values", "message"),
    [
        (DAYS, ["2020-01-01"], "held datetimes; convert it with pandas.to_datetime"),
        (DAYS, pd.Series(DAYS[:1]).dt.tz_localize("UTC"), "has a time zone, but training rows had none"),
        (DAYS.dt.tz_localize("UTC"), DAYS[:1], "lacks the time zone that training rows had"),
        (DAYS, pd.Series([DAY, DAY.tz_localize("UTC")], dtype=object), "mixes times with and without a time zone"),
        (MINUTES - DAY, [DAY], "holds datetimes such as '2024-02-29 00:00:00', but the training data held timedeltas"),
    ],
)
def test_other_types_than_in_training_are_refused(training, values, message):
    with pytest.raises(ValueError, match=f"column 'x' .*{message}"):
        TableSchema.infer(pd.DataFrame({"x": training})).encode(pd.DataFrame({"x": values}))


def test_times_with_and_without_a_zone_make_no_column():
    with pytest.raises(ValueError, match="column 'x' mixes times with and without a time zone"):
        TableSchema.infer(pd.DataFrame({"x": pd.Series([DAY, DAY.tz_localize("UTC")], dtype=object)}))
    zones = pd.Series([DAY.tz_localize("UTC"), DAY.tz_localize("Asia/Tokyo")], dtype=object)
    assert column(zones).resolution == 3600


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (DatetimeColumn, {}, "resolution is whole microseconds"),
        (DurationColumn, {"resolution": 1.5e-6}, "resolution is whole microseconds"),
        (DatetimeColumn, {"resolution": 1, "atoms": (math.inf,)}, "never infinite"),
        (DatetimeColumn, {"resolution": 86400, "atoms": (3600,)}, "atoms that are not multiples"),
        (DurationColumn, {"resolution": 1, "minimum": 5, "maximum": 4}, "no number between its minimum 5.0"),
        (DurationColumn, {"resolution": 1, "format": "%H"}, "Extra inputs are not permitted"),
        (DatetimeColumn, {"resolution": 1, "decimal": ","}, "Extra inputs are not permitted"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"name": "x", **fields})


def test_dates_that_are_objects_stay_dates():
    frame = pd.DataFrame({"x": pd.Series([datetime.date(2024, 1, day) for day in (1, 5, 9)], dtype=object)})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].dtype == "date"
    assert_frame_equal(schema.decode(schema.encode(frame)), frame)
    assert isinstance(schema.decode(torch.tensor([[0.0, 5e7]], dtype=torch.float64))["x"][0], datetime.date)


def test_labels_of_times_are_values_of_the_column():
    times = pd.Series(pd.to_datetime(["2024-01-01 12:00", "2024-07-01 12:00"] * 10)).dt.tz_localize("Europe/Berlin")
    waits = pd.Series(pd.to_timedelta(["1h", "2h"] * 10))
    schema = TableSchema.infer(pd.DataFrame({"when": times, "wait": waits, "day": times.dt.date}))
    when, wait, day = (column.labels for column in schema.columns)
    assert when == ("a number", times[0], times[1], "unseen")
    assert [label.tz for label in when[1:3]] == [times[0].tz] * 2
    assert wait == ("a number", waits[0], waits[1], "unseen")
    assert day == ("a number", pd.Timestamp("2024-01-01"), pd.Timestamp("2024-07-01"), "unseen")


def test_far_times_that_are_one_float_of_seconds_are_one_atom():
    times = pd.Series(np.array([f"9000-01-01T00:00:00.00000{n}" for n in range(1, 9)] * 30, "M8[us]"), name="t")
    column = TableSchema.infer(pd.DataFrame({"t": times})).columns[0]
    assert len(set(column.atoms)) == len(column.atoms)
