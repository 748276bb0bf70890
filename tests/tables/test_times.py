"""Words for times that are given are those of ISO 8601."""

import pandas as pd
import pytest

from tessflow.tables.times import microseconds


@pytest.mark.parametrize(
    ("word", "time"),
    [
        ("2024", "2024-01-01"),
        ("2024-02", "2024-02-01"),
        ("2024-02-13", "2024-02-13"),
        ("20240213", "2024-02-13"),
        ("2024-02-13T10:30", "2024-02-13 10:30"),
        ("2024-02-13 10:30:05", "2024-02-13 10:30:05"),
        ("2024-02-13T10:30:05.000001", "2024-02-13 10:30:05.000001"),
    ],
)
def test_datetimes(word, time):
    expected = pd.Timestamp(time).value // 1000
    assert microseconds(word, "datetime") == (expected, False)
    for offset, hours in (("Z", 0), ("+05:30", 5.5), ("-0800", -8)):
        if ":" in word:
            shifted = expected - int(hours * 3600 * 10**6)
            assert microseconds(word + offset, "datetime", zone="UTC") == (shifted, False)


@pytest.mark.parametrize(
    "word",
    [
        "13/02/2024",
        "02/01/2024",
        "Feb 2 2024",
        "now",
        "today",
        "NaT",
        "",
        "2024-2-3",
        "10:30",
        "2024-13-01",
        "tomorrow",
    ],
)
def test_other_words_are_no_datetimes(word):
    with pytest.raises(ValueError, match=f"^'{word}' is no datetime: give a word such as .* write year-month-day$"):
        microseconds(word, "datetime")


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("P1DT2H", 93600),
        ("PT0.5S", 0.5),
        ("-P1D", -86400),
        ("1 day 02:30:00", 95400),
        ("02:30:00", 9000),
        ("2 days", 172800),
        ("-1 days +23:59:59.500000", -0.5),
    ],
)
def test_durations(word, seconds):
    assert microseconds(word, "timedelta") == (round(seconds * 10**6), False)


@pytest.mark.parametrize("word", ["5min", "3", "1d", "P", "P1Y", "", "a day"])
def test_other_words_are_no_durations(word):
    with pytest.raises(ValueError, match=f"^'{word}' is no timedelta: give a word such as '1 day 02:30:00'"):
        microseconds(word, "timedelta")
