"""The command `tessflow sample`: rows, and what is given of them."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.cli.given import conditions
from tessflow.tables import TableSchema, read_table, write_table

TINY = ("--hidden-features", "8", "--steps", 1, "--quiet")
BIG = 1_700_000_000_000_000_001


def test_the_same_seed_draws_the_same_rows(zoo, tmp_path):
    said = zoo("sample", "model", "-n", 20, "--seed", 3).stdout
    assert said == zoo("sample", "model", "-n", 20, "--seed", 3).stdout
    assert said.count("\n") == 21
    zoo("sample", "model", "-n", 20, "--seed", 3, "--out", tmp_path / "drawn.csv")
    assert (tmp_path / "drawn.csv").read_text() == said


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ("kind=cat", lambda t: t["kind"] == "cat"),
        ("kind=cat|dog", lambda t: t["kind"].isin(["cat", "dog"])),
        ("kind=cow", lambda t: t["kind"] == "cow"),
        ("kind=", lambda t: t["kind"].isna()),
        ("weight=5..9", lambda t: t["weight"].between(5, 9)),
        ("weight=..9", lambda t: t["weight"] <= 9),
        ("weight=4.25", lambda t: t["weight"] == 4.25),
        ("weight=", lambda t: t["weight"].isna()),
        ("weight=NA", lambda t: t["weight"].isna()),
        ("legs=3|4", lambda t: t["legs"].isin([3, 4])),
        ("legs=2..3", lambda t: t["legs"].between(2, 3)),
        ("legs=5|7", lambda t: t["legs"].isin([5, 7])),
        ("legs=4", lambda t: t["legs"] == 4),
        ("chip=true", lambda t: t["chip"]),
        ("chip=False", lambda t: ~t["chip"]),
        ("born=2020-02-01", lambda t: t["born"] == "2020-02-01"),
        ("born=2020-02-01|2020-02-03", lambda t: t["born"].isin(pd.to_datetime(["2020-02-01", "2020-02-03"]))),
        ("born=2020-02-01..2020-02-29", lambda t: t["born"].between("2020-02-01", "2020-02-29")),
        ("born=2020-03-01..", lambda t: t["born"] >= "2020-03-01"),
    ],
)
def test_what_is_given_is_in_every_row(zoo, tmp_path, given, holds):
    zoo("sample", "model", "-n", 20, "--given", given, "--out", tmp_path / "drawn.parquet")
    drawn = read_table(tmp_path / "drawn.parquet")
    assert len(drawn) == 20
    assert holds(drawn).all()


def test_several_conditions_go_together(zoo, tmp_path):
    zoo("sample", "model", "--given", "kind=dog", "--given", "legs=3", "--out", tmp_path / "drawn.csv")
    drawn = read_table(tmp_path / "drawn.csv")
    assert set(zip(drawn["kind"], drawn["legs"], strict=True)) == {("dog", 3)}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["kind"], "--given takes COLUMN=VALUE, got 'kind'"),
        (["kind=cat", "kind=dog"], "--given names the column 'kind' twice: write kind=a|b, or kind=low..high"),
        (["kind=cat|cow"], "column 'kind' was given the value 'cow', which was not seen in training"),
        (["size=1"], "there is no column 'size': the columns are 'kind', 'weight'"),
        (["weight=heavy"], "column 'weight' holds numbers, got 'heavy'"),
        (["weight=9..5"], "column 'weight' was given a range from 9 to 5, which is empty"),
        (["weight=NA..5"], "column 'weight' was given a range with the missing end 'NA'"),
        (["weight=1|2"], "column 'weight' holds real numbers: give one, or a range"),
        (["legs=3..four"], "column 'legs' holds numbers, got 'four'"),
        (["legs=inf|3"], "column 'legs' was given inf, which was not seen in training"),
        (["chip=maybe"], "column 'chip' holds True and False, got 'maybe'"),
        (["born=02/01/2020"], "column 'born'"),
        (["born=2020-13-01"], "column 'born'"),
    ],
)
def test_what_cannot_be_given_is_refused(zoo, given, sentence):
    words = [word for text in given for word in ("--given", text)]
    assert sentence in zoo.refused("sample", "model", *words)


def test_an_unseen_value_may_be_refused_by_the_model(run):
    write_table(pd.DataFrame({"a": ["x", "y"] * 20, "b": [1, 2] * 20}), "train.csv")
    run("fit", "train.csv", "--out", "model", "--unseen", "error", *TINY)
    assert "'z', which was not seen in training" in run.refused("sample", "model", "--given", "a=z")


def test_keys_are_not_given(run):
    write_table(pd.DataFrame({"id": range(40), "b": [1, 2] * 20}), "train.csv")
    Path("schema.yaml").write_text("columns:\n- {name: id, kind: key}\n- {name: b, kind: number, resolution: 1}\n")
    run("fit", "train.csv", "--schema", "schema.yaml", "--out", "model", *TINY)
    assert run("sample", "model", "-n", 1).stdout.splitlines()[0] == "b"
    assert "--given names the key 'id', which is not modelled" in run.refused("sample", "model", "--given", "id=1")


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ([BIG, 2], str(BIG), BIG),  # by way of a float it would be another
        ([1, 2], "1e3", 1000.0),
        ([1, 2], "-5..", (-5, None)),
        ([0.5, 1.25], "..1.25", (None, 1.25)),
        (["a..b", "a|b"], "a..b", "a..b"),
        (["a..b", "a|b"], "a|b", "a|b"),
        (["a", "b"], "NA", "NA"),
        (["a", None], "NA", None),
        (["a", None], "a|", ["a", None]),
        (["x=y", "b"], "x=y", "x=y"),
        ([True, False], "true|False", [True, False]),
        (pd.Categorical(["s", "l"], ["s", "m", "l"], ordered=True), "m..", ("m", None)),
        (pd.Categorical([1, 2], [1, 2]), "1|2", [1, 2]),
        (pd.Categorical([1.5, 2.0], [1.5, 2.0]), "3", 3),
        (pd.cut([1, 5], [0, 3, 6]), "(0, 3]", pd.Interval(0, 3)),
        (pd.cut([1, 5], [0, 3, 6]), "(0, 3]..", (pd.Interval(0, 3), None)),
        (pd.to_timedelta(["1D", "2D"]), "1 day", "1 day"),
    ],
)
def test_words_mean_values_of_their_column(values, text, expected):
    schema = TableSchema.infer(pd.DataFrame({"a": values}))
    found = conditions(schema, [f"a={text}"])["a"]
    assert (found, type(found)) == (expected, type(expected))


def test_a_number_beyond_all_floats_is_refused():
    schema = TableSchema.infer(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(ValueError, match=r"column 'a' was given 9{40}\.\.\., beyond 1.8e308: give one nearer to 0"):
        conditions(schema, [f"a={'9' * 400}"])


def test_a_number_that_no_float_holds_is_given_and_drawn_exactly(run):
    write_table(pd.DataFrame({"u": [BIG, BIG + 1] * 20, "b": ["x", "y"] * 20}), "train.csv")
    run("fit", "train.csv", "--out", "model", *TINY)
    drawn = run("sample", "model", "-n", 3, "--given", f"u={BIG}").stdout.splitlines()[1:]
    assert [row.split(",")[0] for row in drawn] == [str(BIG)] * 3


def test_a_column_that_a_number_names(run):
    TabularFlow(max_steps=1, hidden_features=(8,)).fit(np.array([["a", "x"], ["b", "y"]] * 20)).save("model")
    drawn = run("sample", "model", "-n", 3, "--given", "1=y").stdout
    assert [row.split(",")[1] for row in drawn.splitlines()[1:]] == ["y"] * 3


LONG = ["9" * 20, "-" + "9" * 20, str(2**64 + 1), "0.1e25", "1e400", "9" * 5000, str(2**53 + 1), "1e20"]


@pytest.mark.parametrize("text", LONG, ids=[text[:25] for text in LONG])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "Int64", "float64", "object"])
def test_a_whole_number_is_given_exactly_or_refused(text, dtype):
    ages = pd.Series([31, 47, 52, 60], name="age").astype(dtype)
    schema = TableSchema.infer(pd.DataFrame({"age": ages, "height": [1.625, 1.71, 1.8333, 1.9]}))
    if text in ("1e20", str(2**53 + 1)):
        assert Fraction(text) == conditions(schema, [f"age={text}"])["age"]
    else:
        with pytest.raises(ValueError, match=r"column 'age' .* give") as refusal:
            conditions(schema, [f"age={text}"])
        assert len(str(refusal.value)) < 200
    if math.isfinite(float(text)):
        assert float(conditions(schema, [f"height={text}"])["height"]) == float(text)


@pytest.mark.parametrize("name", ["drawn.csv", "drawn.csv.gz", "drawn.parquet"])
def test_many_rows_are_written_part_by_part(run, monkeypatch, name):
    TabularFlow(max_steps=1, hidden_features=(8,), random_state=0).fit(pd.DataFrame({"a": [1, 2] * 20})).save("model")
    monkeypatch.setattr(TabularFlow.sample_batches, "__defaults__", (4,))
    run("sample", "model", "-n", 10, "--out", name)
    drawn = read_table(name)
    assert drawn["a"].isin([1, 2]).all()
    assert drawn.index.equals(pd.RangeIndex(10))
    assert run("sample", "model", "-n", 10).stdout.split() == ["a", *map(str, drawn["a"])]
