"""Declared formats of words: they are read, written as they are read, and mistakes are one sentence."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from tessflow.tables import TableSchema, read_batches, read_table, write_table
from tessflow.tables.formats import WordFormat


def declare(text):
    return TableSchema.from_yaml(f"columns:\n- {{name: a, {text}}}\n")


def read(path, words, schema):
    path.write_text("a\n" + "".join(f'"{word}"\n' for word in words), encoding="utf-8")
    frame = read_table(path, schema=schema)
    assert_frame_equal(pd.concat(read_batches(path, schema=schema, rows=2)), frame)
    return frame["a"]


@pytest.mark.parametrize(
    ("text", "words", "values"),
    [
        ('decimal: ","', ["1,5", "-0,25", "3", ",5"], [1.5, -0.25, 3, 0.5]),
        ('thousands: "."', ["1.234", "1.234.567,5", "12"], [1234, 1234567.5, 12]),
        ('thousands: ","', ["1,234.5", "1234.5"], [1234.5, 1234.5]),
        ('decimal: ",", thousands: " "', ["1 234,5", "1\u00a0234", "-1\u202f234"], [1234.5, 1234, -1234]),
        ('thousands: "\'"', ["1'234.5", "1\u2019234"], [1234.5, 1234]),
        ('currency: "€"', ["€5", "5€", "€ 5.5", "-5 €", "€-5", "-€5", "5"], [5, 5, 5.5, -5, -5, -5, 5]),
        ("currency: EUR", ["EUR 5", "5 EUR"], [5, 5]),
        ("percent: true", ["12.5%", "3 %", "-1%", "7"], [12.5, 3, -1, 7]),
        ('decimal: ",", currency: kr.', ["1,5 kr.", "inf"], [1.5, math.inf]),
    ],
)
def test_numbers(tmp_path, text, words, values):
    schema = declare(f"kind: number, {text}")
    series = read(tmp_path / "t.csv", [*words, "", "NA"], schema)
    assert series.dtype == "float64"
    assert series.tolist()[:-2] == values
    assert series.isna().tolist()[-2:] == [True, True]
    write_table(series.to_frame(), tmp_path / "again.csv", schema)
    assert_series_equal(read_table(tmp_path / "again.csv", schema=schema)["a"], series)


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ('decimal: ",", thousands: "."', [1234.56, -1e6, None, 0.5], ["1.234,56", "-1.000.000,0", "", "0,5"]),
        ('thousands: "."', [1234], ["1.234"]),
        ('currency: "€", decimal: ","', [1.5, 1e-7], ["1,5 €", "1e-07 €"]),
        ("percent: true", [12.5], ["12.5%"]),
        ('thousands: "\'"', [math.inf, -12345], ["inf", "-12'345.0"]),
    ],
)
def test_words_that_are_written(tmp_path, text, values, words):
    frame = pd.DataFrame({"a": values, "b": 1})
    schema = declare(f"kind: number, {text}")
    write_table(frame, tmp_path / "t.csv", schema)
    assert pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)["a"].tolist() == words
    write_table(frame, tmp_path / "t.parquet", schema)
    assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.floats(allow_nan=False), st.integers(-(10**17), 10**17)), min_size=1))
def test_any_number_is_read_as_it_is_written(values):
    series = pd.Series(values, dtype=object).astype(float)
    for options in ({"thousands": "."}, {"decimal": ",", "thousands": " "}, {"currency": "$"}, {"percent": True}):
        words = WordFormat("a", "number", **options)
        np.testing.assert_array_equal(words.read(words.write(series)).astype(float), series)


def test_integers_stay_integers(tmp_path):
    frame = pd.DataFrame({"a": np.arange(10**17, 10**17 + 300)})
    text = TableSchema.infer(frame).to_yaml()
    schema = TableSchema.from_yaml(text + '  thousands: "."\n').fitted(frame)
    write_table(frame, tmp_path / "t.csv", schema)
    assert "100.000.000.000.000.001" in (tmp_path / "t.csv").read_text()
    assert_frame_equal(read_table(tmp_path / "t.csv", schema=schema), frame)


@pytest.mark.parametrize(
    ("format_", "words", "times"),
    [
        ("%d/%m/%Y", ["13/02/2024", "01/12/1969"], ["2024-02-13", "1969-12-01"]),
        ("%d.%m.%y %H:%M", ["13.02.24 23:59"], ["2024-02-13 23:59"]),
        ("%b %d, %Y", ["Feb 13, 2024"], ["2024-02-13"]),
        ("%Y%m%d", ["20240213"], ["2024-02-13"]),
    ],
)
def test_datetimes(tmp_path, format_, words, times):
    schema = declare(f"kind: datetime, resolution: 60, format: '{format_}'")
    series = read(tmp_path / "t.csv", [*words, "", "NaN"], schema)
    assert series.tolist()[:-2] == list(pd.to_datetime(times))
    assert series.dtype == "datetime64[us]"
    write_table(series.to_frame(), tmp_path / "t.csv", schema)
    assert pd.read_csv(tmp_path / "t.csv", dtype=str)["a"].tolist()[:-2] == words
    assert_series_equal(read_table(tmp_path / "t.csv", schema=schema)["a"], series)


def test_datetimes_with_a_zone(tmp_path):
    times = pd.to_datetime(["2024-07-31 12:00", "2024-01-01 00:30"]).tz_localize("UTC")
    schema = declare("kind: datetime, resolution: 60, format: '%d/%m/%Y %H:%M %z'")
    write_table(pd.DataFrame({"a": times.tz_convert("Asia/Kolkata")}), tmp_path / "t.csv", schema)
    assert "31/07/2024 17:30 +0530" in (tmp_path / "t.csv").read_text()
    assert read_table(tmp_path / "t.csv", schema=schema)["a"].tolist() == list(times)
    local = declare("kind: datetime, resolution: 60, format: '%d/%m/%Y %H:%M', dtype: 'datetime64[us, Europe/Berlin]'")
    write_table(pd.DataFrame({"a": times}), tmp_path / "t.csv", local)
    assert "31/07/2024 14:00" in (tmp_path / "t.csv").read_text()
    assert read_table(tmp_path / "t.csv", schema=local)["a"].tolist() == list(times)


def test_what_a_format_leaves_out_is_not_written(tmp_path):
    schema = declare("kind: datetime, resolution: 60, format: '%d/%m/%Y'")
    for time in (pd.Timestamp("2024-01-31 12:00"), pd.Timestamp("2024-01-31", tz="UTC")):
        with pytest.raises(ValueError, match=f"column 'a' has the time {time:%Y-%m-%d %H}.*leaves something out"):
            write_table(pd.DataFrame({"a": [time]}), tmp_path / "t.csv", schema)
    assert not (tmp_path / "t.csv").exists()
    write_table(pd.DataFrame({"a": [datetime.date(2024, 1, 31), None]}), tmp_path / "t.csv", schema)
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "31/01/2024"


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ('kind: number, decimal: ","', ["1,5", "1.5"], "in row 1 .counted from 0. the word '1.5', .*decimal ','"),
        ('kind: number, thousands: "."', ["1.234", "", "1.23"], "in row 2 .counted from 0. the word '1.23'"),
        ('kind: number, currency: "€"', ["5 $"], "in row 0 .* the word '5 \\$', .*currency '€'"),
        ("kind: number, percent: true", ["1", "2", "3", "% 5"], "in row 3 .* the word '% 5', .*percent True"),
        ("kind: number, percent: true", ["twelve"], "the word 'twelve'"),
        ("kind: number, percent: true", ["1e400"], "the word '1e400'"),
        ("kind: datetime, resolution: 1, format: '%d/%m/%Y'", ["2024-01-31"], "'2024-01-31', .*format '%d/%m/%Y'"),
        ("kind: datetime, resolution: 1, format: '%d/%m/%Y'", ["31/01/2024"] * 4 + ["31/02/2024"], "in row 4 "),
        ("kind: datetime, resolution: 1, format: '%d/%m/%Y'", ["now"], "'now'"),
    ],
)
def test_a_word_that_does_not_fit_is_named(tmp_path, text, words, message):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f'"{word}",1\n' for word in words), encoding="utf-8")
    for use in (
        lambda: read_table(path, schema=declare(text)),
        lambda: list(read_batches(path, schema=declare(text), rows=2)),
    ):
        with pytest.raises(ValueError, match=f"column 'a' has .*{message}") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind: number, decimal: ",", thousands: ","', "has ',' both as its decimal mark and between thousands"),
        ('kind: number, decimal: ";"', "decimal: .* got ';'"),
        ("kind: number, format: '%Y'", "column 'a': format: is no field of a column of kind number"),
        ("kind: datetime, resolution: 1, percent: true", "percent: is no field of a column of kind datetime"),
        ("kind: timedelta, resolution: 1, format: '%H'", "format: is no field of a column of kind timedelta"),
        ("kind: number, currency: '5'", "has the currency '5': give a sign or a word without digits"),
        ("kind: number, currency: ''", "has the currency ''"),
        ("kind: number, currency: €, percent: true", "both a currency and percent"),
        ("kind: datetime, resolution: 1, format: dd/mm/yyyy", "the format 'dd/mm/yyyy', by which no date is told"),
        ("kind: datetime, resolution: 1, format: ''", "the format '', by which no date is told"),
        ("kind: datetime, resolution: 1, format: '%d/%m'", "by which no date is told"),
        ("kind: categorical, decimal: ','", "decimal: is no field of a column of kind categorical"),
    ],
)
def test_contradictions_are_refused(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        declare(text)
    assert "\n" not in str(caught.value)


def test_formats_are_kept_by_a_schema():
    text = 'columns:\n- {name: a, kind: number, decimal: ",", thousands: " ", currency: "€", missing: nan}\n'
    schema = TableSchema.from_yaml(text).fitted(pd.DataFrame({"a": [1.5, None, 2.5]}))
    assert schema.columns[0].thousands == " "
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    assert "thousands: ' '" in schema.to_yaml()
    assert TableSchema.from_yaml(schema.to_yaml()).columns[0].currency == "€"


def test_strings_are_written_as_they_are(tmp_path):
    write_table(pd.DataFrame({"a": ["1,5", "x"]}), tmp_path / "t.csv", declare('kind: number, decimal: ","'))
    assert pd.read_csv(tmp_path / "t.csv")["a"].tolist() == ["1,5", "x"]
