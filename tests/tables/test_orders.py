"""Orders that rows suggest."""

import numpy as np
import pandas as pd
import pytest

from tessflow.tables import TableSchema
from tessflow.tables.orders import suggested_orders

ROWS = 300
RNG = np.random.default_rng(0)
BOOKED = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 300, ROWS), unit="D"))
STAY = pd.Series(pd.to_timedelta(RNG.integers(0, 9, ROWS), unit="D"))


def suggested(frame, batch=ROWS):
    batches = [frame.iloc[start : start + batch] for start in range(0, len(frame), batch)]
    return suggested_orders(batches, TableSchema.infer(frame))


@pytest.mark.parametrize("batch", [ROWS, 70, 1])
def test_pairs_that_follow_are_left_out(batch):
    frame = pd.DataFrame({"left": BOOKED + STAY + STAY, "came": BOOKED + STAY, "booked": BOOKED, "n": range(ROWS)})
    assert sorted(suggested(frame, batch)) == [("booked", "came"), ("came", "left")]


def test_durations_are_compared_too():
    frame = pd.DataFrame({"riding": STAY, "away": STAY * 2, "booked": BOOKED})
    assert suggested(frame) == [("riding", "away")]


@pytest.mark.parametrize("end", [BOOKED, BOOKED.where(BOOKED.index != 7, BOOKED + STAY + pd.Timedelta("1D"))])
def test_times_must_differ_in_a_row(end):
    assert suggested(pd.DataFrame({"start": BOOKED, "end": end})) == ([] if end is BOOKED else [("start", "end")])


def test_one_row_that_breaks_it_is_enough():
    end = BOOKED + STAY
    end[299] = pd.Timestamp("2020-01-01")
    assert suggested(pd.DataFrame({"start": BOOKED, "end": end}), 100) == []


@pytest.mark.parametrize(("both", "found"), [(99, []), (100, [("start", "end")])])
def test_a_hundred_rows_must_hold_both(both, found):
    frame = pd.DataFrame({"start": BOOKED, "end": BOOKED + STAY})
    frame.loc[both:, "end"] = pd.NaT
    assert suggested(frame) == found


def test_only_times_of_one_kind_are_compared():
    end = BOOKED + STAY
    numbers = {"low": np.arange(ROWS), "high": np.arange(ROWS) + 1}
    assert suggested(pd.DataFrame(numbers)) == []
    assert suggested(pd.DataFrame({"start": BOOKED, "end": end.dt.tz_localize("UTC")})) == []
    aware = {"start": BOOKED.dt.tz_localize("Europe/Berlin"), "end": end.dt.tz_localize("UTC") + pd.Timedelta("1D")}
    assert suggested(pd.DataFrame(aware)) == [("start", "end")]
    dates = {"start": BOOKED.dt.date, "end": end}
    assert suggested(pd.DataFrame(dates)) == [("start", "end")]


def test_rows_are_not_read_for_nothing():
    def never():
        raise AssertionError
        yield

    assert suggested_orders(never(), TableSchema.infer(pd.DataFrame({"start": BOOKED, "n": range(ROWS)}))) == []


def test_gaps_do_not_make_a_circle():
    frame = pd.DataFrame({"a": BOOKED, "b": BOOKED + STAY, "c": BOOKED + STAY * 2})
    turned = frame.rename(columns=dict(zip("abc", "cab", strict=True)))
    third = frame.rename(columns=dict(zip("abc", "bca", strict=True)))
    parts = [frame[["a", "b"]], turned[["c", "a"]], third[["b", "c"]]]  # a <= b, c <= a and b <= c, in other rows each
    found = suggested(pd.concat(parts, ignore_index=True))
    assert len(found) == 2
    schema = TableSchema.infer(frame).model_copy(update={"order": tuple(found)})
    assert TableSchema.from_yaml(schema.to_yaml()).order == tuple(found)


def test_suggestions_are_a_comment():
    schema = TableSchema.infer(pd.DataFrame({"start": BOOKED, "end": BOOKED + STAY}))
    text = schema.to_yaml(suggested=[("start", "end")])
    assert TableSchema.from_yaml(text).order == ()
    assert TableSchema.from_yaml(text.replace("# order:\n# -", "order:\n-")).order == (("start", "end"),)
