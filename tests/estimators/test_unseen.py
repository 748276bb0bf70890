"""What was not seen in training: one event of each column, scored, conditioned on, named, and never drawn."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from column_cases import COLUMNS
from tessflow import TabularFlow
from tessflow.estimators.calibration import check
from tessflow.tables import TableWarning
from tessflow.tables.columns import Encoded

FAST = {"max_steps": 2, "hidden_features": (8,), "dimension": 2, "random_state": 0}
MODELS = {
    "any order": {},
    "one order": {"order": "table"},
    "points": {"condition_on": "point"},
    "coupling": {"backbone": "coupling", "layers": 1},
    "many categories": {"max_categories": 1},
}
# One of each kind, and of each way in which it may be odd.
SOME = (
    "strings", "strings with missing", "category", "ordered category", "one boolean", "nullable booleans", "no object",
    "int16", "flags", "ids", "prices", "reals", "rain", "all dates", "zone", "durations",
)  # fmt: skip
EVERY = [(name, model) for model in MODELS for name in (COLUMNS if model == "any order" else SOME)]
WITH_UNSEEN = [name for name in SOME if COLUMNS[name].unseen]


@functools.cache
def fitted(name, model="any order"):
    rows = COLUMNS[name].rows
    table = pd.DataFrame({"x": rows, "y": (list("ab") * len(rows))[: len(rows)]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)  # some look like keys
        return TabularFlow(**FAST | MODELS[model]).fit(table, X_validation=table)


def strange(name, value):
    """A row as they were, and one of which x was not seen."""
    return COLUMNS[name].mixed(value).assign(y=["a", "b"])


def is_same(found, value):
    return bool(pd.isna(found) and pd.isna(value)) or found == value


@pytest.mark.parametrize(("name", "model"), EVERY)
def test_a_row_with_something_unseen_has_a_likelihood(name, model):
    flow = fitted(name, model)
    scores = [flow.score_samples(strange(name, value), samples=3) for value in COLUMNS[name].unseen]
    assert np.isfinite(scores).all()
    if not flow.lower_bound_:  # it is one event, whatever the value
        assert np.ptp([score[1] for score in scores] or 0) == 0
        # At least the reserve of one row in 2 (n + 1), shared with what else the row is.
        reserve = -math.log(2 * (len(COLUMNS[name].rows) + 1))
        frame = pd.DataFrame({"x": COLUMNS[name].cells(*COLUMNS[name].unseen[:1])})
        assert (flow.score_samples(frame, columns=["x"]) >= reserve - 1e-5).all()


def all_values(flow):
    """Values of the first column that are no atoms or classes, and their weights; and all others that were seen."""
    column = flow.schema_.columns[0]
    classes = np.arange(column.numeric, column.cardinality - 1)
    seen = column.decode(Encoded(classes, np.zeros(len(classes))))
    if not column.numeric:
        return seen[:0], np.zeros(0), seen
    low, high = column.knots[0], column.knots[-1]
    if column.whole:
        low, high = max(low - 20_000, column.bounds[0]), high + 20_000
        numbers, weights = np.arange(math.ceil(low), math.floor(high)), np.array(1.0)
        numbers = numbers[~np.isin(numbers, column.encoded_atoms)]
    else:
        low, high = max(low - 20 * (high - low), column.bounds[0]), high + 20 * (high - low)
        ends = np.linspace(low, high, 40_001)
        numbers, weights = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    if column.kind == "number":
        return pd.Series(numbers * (column.resolution or 1)), weights, seen
    return column.decode(Encoded(np.zeros(len(numbers), int), numbers)), weights, seen


@pytest.mark.parametrize("model", ["any order", "one order"])
@pytest.mark.parametrize("name", [name for name in WITH_UNSEEN if name != "ids"])  # beyond 2^53 nothing can be summed
def test_all_events_of_a_column_have_a_probability_of_one(name, model):
    flow = fitted(name, model)
    values, weights, seen = all_values(flow)

    def chances(series):
        return np.exp(flow.score_samples(pd.DataFrame({"x": series}), columns=["x"]))

    unseen = chances(COLUMNS[name].cells(COLUMNS[name].unseen[0])).item()
    total = (weights * chances(values)).sum() + chances(seen).sum() + unseen
    # Numbers beyond those summed over have less than the share of the heaviest tail, 0.001.
    assert total == pytest.approx(1, abs=1e-3 if flow.schema_.columns[0].numeric else 1e-6)
    assert total < 1 + 2e-4
    assert unseen > 0


@pytest.mark.parametrize("model", ["points", "coupling", "many categories"])
@pytest.mark.parametrize("name", ["strings", "ordered category", "nullable booleans", "flags"])
def test_bounds_on_all_rows_sum_to_nearly_one(name, model):
    flow = fitted(name, model)
    values, _, seen = all_values(flow)
    x = pd.concat([values[np.abs(values) < 30].astype(seen.dtype) if len(values) else values, seen], ignore_index=True)
    x = pd.DataFrame({"x": pd.concat([x.astype(object), COLUMNS[name].cells(COLUMNS[name].unseen[0]).astype(object)])})
    rows = x.merge(pd.DataFrame({"y": ["a", "b", "?"]}), how="cross")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)  # a third of y was not seen
        total = np.exp(flow.score_samples(rows, samples=300)).sum()
    assert total < 1.1
    # With many categories the cell of what was not seen is lost to the bound: here one in three.
    assert total > (0.3 if model == "many categories" else 0.85)


@pytest.mark.parametrize("name", WITH_UNSEEN)
def test_it_is_refused_in_one_sentence_if_asked(name):
    flow = fitted(name)
    for value in COLUMNS[name].unseen:
        rows = strange(name, value)
        calls = [
            flow.score_samples,
            flow.score,
            flow.score_columns,
            lambda rows, unseen: flow.score_samples(rows, columns=["y"], given=["x"], unseen=unseen),
            lambda rows, unseen: check(flow, rows, unseen=unseen),
        ]
        if not pd.isna(value):  # else there is nothing known
            calls += [flow.impute, lambda rows, unseen: flow.conditional(rows, "y", unseen=unseen)]
        for call in calls:
            with pytest.raises(ValueError, match=r"^column 'x' has in row 1 \(counted from 0\)") as caught:
                call(rows, unseen="error")
            assert "\n" not in str(caught.value)
            call(rows, unseen="other")


def test_the_estimator_may_refuse_it_once_and_for_all():
    table = pd.DataFrame({"x": list("ab") * 20, "y": [True, False] * 20})
    flow = TabularFlow(unseen="error", **FAST).fit(table)
    rows = pd.DataFrame({"x": ["a", "c"], "y": [None, True]})
    for call in (flow.score, flow.score_samples, flow.impute, lambda rows: check(flow, rows)):
        with pytest.raises(ValueError, match=r"column 'x' has in row 1 .* the value 'c', which was not seen"):
            call(rows)
    with pytest.raises(ValueError, match="column 'x' was given the value 'c', which was not seen in training"):
        flow.sample(2, given={"x": "c"})
    assert np.isfinite(flow.score(rows, unseen="other"))
    assert flow.impute(rows, unseen="other")["x"].tolist() == ["a", "c"]
    assert np.isfinite(flow.score(table))
    with pytest.raises(ValueError, match=r"^unseen: input should be 'other' or 'error', got 'new'$"):
        TabularFlow(unseen="new", **FAST).fit(table)


@pytest.mark.parametrize(("name", "model"), EVERY)
def test_it_is_never_drawn(name, model):
    flow = fitted(name, model)
    drawn = flow.sample(100)
    assert not flow.find_unseen(drawn).to_numpy().any()
    assert drawn["x"].dtype == COLUMNS[name].rows.dtype


@pytest.mark.parametrize("model", ["any order", "many categories"])
@pytest.mark.parametrize("name", SOME)
def test_it_is_never_filled_in_and_comes_back_as_it_came(name, model):
    flow = fitted(name, model)
    holes = COLUMNS[name].rows[:5].to_frame("x").assign(x=None, y=list("abab?"))
    for strategy in ("typical", "mean", "sample"):
        filled = flow.impute(holes, strategy=strategy)
        assert not flow.find_unseen(filled)["x"].any()
        assert filled["x"].notna().all() == (COLUMNS[name].rows.notna().any())
        assert filled["y"].tolist() == list("abab?")
        for value in COLUMNS[name].unseen:
            if not pd.isna(value):
                rows = strange(name, value).assign(y=["a", None])
                filled = flow.impute(rows, strategy=strategy)
                assert is_same(filled["x"].tolist()[1], value)
                assert set(filled["y"]) <= {"a", "b"}


@pytest.mark.parametrize("name", WITH_UNSEEN)
def test_given_it_is_in_every_row_drawn(name):
    for value in COLUMNS[name].unseen:
        drawn = fitted(name).sample(3, given={"x": value})
        assert all(is_same(found, value) for found in drawn["x"].tolist())
        assert set(drawn["y"]) <= {"a", "b"}


@pytest.mark.parametrize("value", [math.inf, None])
@pytest.mark.parametrize("dtype", [int, float, object])
def test_given_it_is_in_every_row_of_an_array(dtype, value):
    flow = TabularFlow(**FAST).fit(np.array([[0, 1], [1, 0]] * 20, dtype=dtype))
    drawn = flow.sample(3, given={0: value})
    assert isinstance(drawn, np.ndarray)
    assert all(is_same(found, value) for found in drawn[:, 0].tolist())
    assert set(drawn[:, 1].tolist()) <= {0, 1}


@pytest.mark.parametrize("name", SOME)
def test_probabilities_have_a_column_for_it(name):
    flow = fitted(name)
    for value in COLUMNS[name].unseen or [None]:
        for column in ("x", "y"):
            chances = flow.conditional(strange(name, value), column).probabilities()
            assert chances.columns[-1] == "unseen"
            assert (chances.to_numpy() > 0).all()
            np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)


def pairs(rows=3000):
    """Three columns that each tell y: a word, a number, and a flag."""
    rng = np.random.default_rng(0)
    y = rng.random(rows) < 0.7
    word = np.where(y, "long", "short")
    return pd.DataFrame({"word": word, "number": rng.normal(4.0 * y), "flag": ~y, "y": y})


@pytest.mark.parametrize(
    ("column", "known", "unseen"),
    [("word", "short", "medium"), ("number", -1.0, math.inf), ("number", -1.0, None), ("flag", True, None)],
)
def test_given_it_other_columns_are_about_as_they_are_without(related, column, known, unseen):
    one = related.score_samples(pd.DataFrame({"y": [True], column: [known]}), columns=["y"], given=[column])
    assert np.exp(one).item() < 0.1
    rows = pd.DataFrame({"y": [True], column: pd.Series([unseen], dtype=object).infer_objects()})
    found = np.exp(related.score_samples(rows, columns=["y"], given=[column])).item()
    assert found == pytest.approx(0.7, abs=0.15)
    if unseen is not None:
        chances = related.conditional(rows.reindex(columns=["word", "number", "flag", "y"]), "y").probabilities()
        assert chances[True].item() == pytest.approx(found, rel=1e-4)


@pytest.fixture(scope="module")
def related():
    return TabularFlow(max_steps=400, hidden_features=(32,), random_state=0).fit(pairs())


WORDS = pd.DataFrame({"coat": ["no", "yes"] * 40, "legs": [4, 2] * 40, "wet": [True] * 80})


@pytest.fixture(scope="module")
def words():
    return TabularFlow(**FAST).fit(WORDS)


@pytest.mark.parametrize(
    ("rows", "unseen", "warns"), [(20, 3, True), (20, 2, False), (10, 2, True), (9, 9, False), (9, 1, False)]
)
def test_more_than_one_row_in_ten_is_worth_a_warning(words, rows, unseen, warns):
    table = WORDS[:rows].copy()
    table.loc[: unseen - 1, "coat"] = "perhaps"
    calls = [
        lambda: words.score(table),
        lambda: words.score_samples(table),
        lambda: words.score_columns(table),
        lambda: words.impute(table),
        lambda: words.conditional(table, "wet"),
        lambda: check(words, table),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        messages = [str(warning.message) for warning in caught if warning.category is TableWarning]
        assert len(messages) == warns
        if warns:
            share = f"column 'coat' holds something not seen in training in {unseen / rows:.0%} of the rows, and 0."
            assert messages[0].startswith(share)


def test_what_is_to_be_expected_is_worth_no_warning():
    names = [f"n{n}" for n in range(40)]
    flow = TabularFlow(**FAST).fit(pd.DataFrame({"name": names + ["often"] * 40}))
    rows = pd.DataFrame({"name": ["new"] * 20})
    assert np.isfinite(flow.score(rows))  # half of the rows had a name of their own


def test_unseen_values_are_found(words):
    rows = {"coat": ["no", "perhaps"], "legs": [3, math.inf], "wet": [None, True]}
    rows = pd.DataFrame(rows, index=["a", "b"])
    expected = pd.DataFrame({"coat": [False, True], "legs": [False, True], "wet": [True, False]}, index=["a", "b"])
    expected.columns = expected.columns.astype(object)
    assert_frame_equal(words.find_unseen(rows), expected)
    assert not words.find_unseen(WORDS).to_numpy().any()
    found = words.find_unseen(rows[["wet", "coat"]], columns=["wet", "coat"])
    assert_frame_equal(found, expected[["wet", "coat"]])
    assert words.find_unseen(rows, columns=[]).shape == (2, 0)
    with pytest.raises(ValueError, match="there is no column 'size'"):
        words.find_unseen(rows, columns=["size"])
    with pytest.raises(ValueError, match="no column 'legs'"):
        words.find_unseen(rows[["coat"]], columns=["legs"])


def once(rows=80):
    """Each word comes once; two rows have no number, and one an infinite one, among the last."""
    number = [*np.arange(rows - 3) / 7, None, None, math.inf]
    return pd.DataFrame({"word": [f"w{n}" for n in range(rows)], "number": number})


def test_validation_rows_are_not_seen():
    table = once()
    flow = TabularFlow(**FAST).fit(table[:60], X_validation=table[60:])
    assert flow.schema_.columns[0].values == tuple(sorted(table["word"][:60]))
    assert flow.find_unseen(table)["word"].tolist() == [False] * 60 + [True] * 20
    assert flow.find_unseen(table)["number"].tolist() == [False] * 77 + [True] * 3
    assert np.isfinite(flow.validation_score_)


@pytest.mark.parametrize("kind", ["frame", "array", "csv", "parquet"])
def test_nor_are_those_set_aside_at_random(kind, tmp_path):
    table = once()
    given = {"frame": table, "array": table.to_numpy(), "csv": tmp_path / "t.csv", "parquet": tmp_path / "t.parquet"}
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    flow = TabularFlow(validation_fraction=0.25, **FAST).fit(given[kind])
    column = flow.schema_.columns[0]
    unseen = flow.find_unseen(table if kind != "array" else table.to_numpy()).to_numpy()[:, 0]
    assert len(column.values) == column.rows == 80 - unseen.sum()
    assert set(column.values) == set(table["word"][~unseen])
    assert unseen.sum() == 20 if kind in ("frame", "array") else 8 < unseen.sum() < 35
    assert np.isfinite(flow.validation_score_)
