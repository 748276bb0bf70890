"""The command `tessflow score`: with nothing unseen, with something unseen, and the table of scores."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_index_equal

from tessflow import TabularFlow
from tessflow.cli.score import score_table
from tessflow.tables import TableSchema, TableSource, read_table, write_table


@pytest.fixture
def rows(zoo):
    return read_table("test.csv", schema=TabularFlow.load("model").schema_)


def test_with_nothing_unseen_it_is_one_line(zoo, rows, tmp_path):
    scores = TabularFlow.load("model").score_samples(rows)
    result = zoo("score", "model", "test.csv", "--out", tmp_path / "scores.csv")
    mean, error = scores.mean(), scores.std(ddof=1) / np.sqrt(len(scores))
    assert result.stdout == (
        f"mean log-likelihood: {mean:.4f} nats a row ({mean / np.log(2):.4f} bits), standard error {error:.4f} nats, "
        "120 rows, exact\n"
    )
    assert result.stderr == ""
    np.testing.assert_allclose(pd.read_csv(tmp_path / "scores.csv")["log_likelihood"], scores)


def test_with_something_unseen_it_is_three_figures(zoo, rows, tmp_path):
    rows.loc[:2, "kind"] = "cow"
    rows["chip"] = rows["chip"].astype("boolean")
    rows.loc[2:4, "chip"] = None
    rows["legs"] = rows["legs"].astype("float64")
    rows.loc[0, "legs"] = np.inf
    write_table(rows, tmp_path / "new.csv")
    scores = TabularFlow.load("model").score_samples(rows)
    lines = zoo("score", "model", tmp_path / "new.csv").stdout.splitlines()
    assert lines[0].startswith(f"mean log-likelihood of 115 rows with nothing unseen: {scores[5:].mean():.4f} nats")
    assert lines[1].startswith(f"mean log-likelihood of all 120 rows: {scores.mean():.4f} nats a row")
    assert "standard error" in lines[0]
    assert lines[1].endswith("nats, exact")
    assert lines[2:] == ["something unseen in 5 rows (4.2%), by column: kind 3, chip 3, legs 1"]


def test_a_first_missing_value_is_unseen_and_other_columns_are_not_asked(zoo, rows, tmp_path):
    rows["kind"] = None
    write_table(rows, tmp_path / "new.parquet")
    result = zoo("score", "model", tmp_path / "new.parquet")
    assert "rows with nothing unseen" not in result.stdout
    assert result.stdout.endswith("something unseen in 120 rows (100.0%), by column: kind 120\n")
    assert result.stderr.count("are these the same data?") == 1
    one_line = zoo("score", "model", tmp_path / "new.parquet", "--columns", "legs", "--given", "chip").stdout
    assert one_line.startswith("mean log-likelihood: ")
    given = zoo("score", "model", tmp_path / "new.parquet", "--columns", "legs", "--given", "kind").stdout
    assert "by column: kind 120" in given


def test_unseen_values_may_be_refused(zoo, rows, tmp_path):
    rows.loc[3, "kind"] = "cow"
    write_table(rows, tmp_path / "new.csv")
    said = zoo.refused("score", "model", tmp_path / "new.csv", "--unseen", "error")
    assert "column 'kind' has in row 3 (counted from 0) the value 'cow', which was not seen in training" in said
    assert zoo("score", "model", "test.csv", "--unseen", "error").stdout == zoo("score", "model", "test.csv").stdout
    assert "unseen must be 'other' or 'error', got 'drop'" in zoo.refused(
        "score", "model", "test.csv", "--unseen", "drop"
    )


def test_scores_of_some_columns(zoo, tmp_path):
    for name, options in {"all": [], "a": ["--columns", "kind, legs"], "b": ["--given", "kind,legs"]}.items():
        said = zoo("score", "model", "test.csv", "--out", tmp_path / f"{name}.csv", *options).stdout
        assert "exact" in said
    total, first, rest = (read_table(tmp_path / f"{name}.csv")["log_likelihood"] for name in ("all", "a", "b"))
    assert np.isfinite(total).all()
    # Another order of the columns: close, not equal.
    assert abs((first + rest - total).mean()) < 1


def test_a_file_without_the_other_columns_suffices(zoo, rows, tmp_path):
    write_table(rows[["kind", "legs"]], tmp_path / "few.csv")
    few = zoo("score", "model", tmp_path / "few.csv", "--columns", "legs", "--given", "kind").stdout
    assert few == zoo("score", "model", "test.csv", "--columns", "legs", "--given", "kind").stdout


@pytest.mark.parametrize(("cows", "warns"), [(12, 0), (13, 1), (25, 1)])
def test_batches_are_scored_as_the_whole(zoo, rows, monkeypatch, cows, warns):
    rows.loc[[0, *range(64, 64 + cows - 1)], "kind"] = "cow"
    model = TabularFlow.load("model")
    monkeypatch.setattr(TableSource, "batches", lambda *_: (rows.iloc[start : start + 32] for start in (0, 32, 64, 96)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scored = score_table(model, TableSource("test.csv"))
        of_batches = [str(warning.message) for warning in caught]
        caught.clear()
        scores = model.score_samples(rows)
    assert of_batches == [str(warning.message) for warning in caught]
    assert len(of_batches) == warns
    if warns:  # of the whole file
        assert of_batches[0].startswith(
            f"column 'kind' holds something not seen in training in {cows / 120:.0%} of the"
        )
    np.testing.assert_allclose(scored.scores, scores, rtol=1e-5)
    assert scored.counts["kind"] == scored.strange.sum() == cows
    rows["weight"] = rows["weight"].astype(object)
    rows.loc[32:63, "weight"] = "heavy"
    rows["kind"] = "cat"
    with pytest.raises(ValueError, match=r"in the rows from number 32 on, .*column 'weight'"):
        score_table(model, TableSource("test.csv"), unseen="other")


KEYED = "columns:\n- {name: id, kind: key}\n- {name: site, kind: key}\n- {name: eggs, kind: number, resolution: 1}\n"
TINY = ("--hidden-features", "8", "--steps", 1, "--quiet")


@pytest.fixture
def keyed(run):
    """A model with keys, and the table it was fitted to."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"{n:04}" for n in range(40)], "eggs": rng.integers(0, 9, 40), "site": "north"})
    write_table(frame, "train.csv")
    Path("schema.yaml").write_text(KEYED)
    run("fit", "train.csv", "--schema", "schema.yaml", "--out", "model", *TINY)
    return frame


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"])
def test_keys_name_the_scores(run, keyed, suffix):
    write_table(keyed, f"rows{suffix}")
    said = run("score", "model", f"rows{suffix}", "--out", f"scores{suffix}").stdout
    scores = read_table(f"scores{suffix}", schema=TableSchema.from_yaml("schema.yaml"))
    assert list(scores.columns) == ["id", "site", "log_likelihood"]
    assert scores["id"].tolist() == keyed["id"].tolist()
    assert f"{scores['log_likelihood'].mean():.4f} nats" in said
    write_table(keyed[["eggs"]], f"rows{suffix}")  # keys may be absent
    assert run("score", "model", f"rows{suffix}").stdout == said


@pytest.mark.parametrize(
    ("index", "header"),
    [
        (pd.RangeIndex(40), "log_likelihood"),
        (pd.RangeIndex(5, 45), "index,log_likelihood"),
        (pd.Index(np.arange(40)[::-1]), "index,log_likelihood"),
        (pd.Index([f"nest {n}" for n in range(40)], name="nest"), "nest,log_likelihood"),
        (pd.Index([f"nest {n}" for n in range(40)]), "index,log_likelihood"),
        (pd.Index([f"{n:04}" for n in range(40)], name="id"), "id,log_likelihood"),
        (pd.MultiIndex.from_product([["a", "b"], range(20)], names=["wood", "nest"]), "wood,nest,log_likelihood"),
    ],
    ids=["none", "range", "numbers", "named", "words", "key", "levels"],
)
def test_an_index_names_the_scores(run, keyed, index, header):
    frame = keyed[["eggs"]].set_axis(index)
    frame.to_parquet("rows.parquet")
    run("score", "model", "rows.parquet", "--out", "scores.parquet")
    run("score", "model", "rows.parquet", "--out", "scores.csv")
    scores = pd.read_parquet("scores.parquet")
    assert_index_equal(scores.index, pd.read_parquet("rows.parquet").index)
    assert list(scores.columns) == ["log_likelihood"]
    assert Path("scores.csv").read_text().splitlines()[0] == header


def test_a_key_called_as_the_scores_is_refused(run):
    write_table(pd.DataFrame({"log_likelihood": range(30), "eggs": [1, 2, 3] * 10}), "train.csv")
    Path("schema.yaml").write_text("columns:\n- {name: log_likelihood, kind: key}\n- {name: eggs, kind: number}\n")
    run("fit", "train.csv", "--schema", "schema.yaml", "--out", "model", *TINY)
    assert "called 'log_likelihood'" in run.refused("score", "model", "train.csv", "--out", "scores.csv")


def test_a_bound_says_so(run):
    write_table(pd.DataFrame({"a": ["x", "y"] * 20, "b": ["u", "u", "v", "v"] * 10}), "train.csv")
    run("fit", "train.csv", "--out", "model", "--backbone", "coupling", "--layers", 1, *TINY)
    assert re.search(
        r"40 rows, a lower bound from 3 samples$", run("score", "model", "train.csv", "--samples", 3).stdout
    )
    assert "of 40 rows" not in run("score", "model", "train.csv").stdout


def test_a_model_that_refuses_unseen_values_may_be_told_otherwise(run):
    write_table(pd.DataFrame({"a": ["x", "y"] * 20}), "train.csv")
    write_table(pd.DataFrame({"a": ["z"]}), "new.csv")
    run("fit", "train.csv", "--out", "model", "--unseen", "error", *TINY)
    assert "the value 'z', which was not seen" in run.refused("score", "model", "new.csv")
    said = run("score", "model", "new.csv", "--unseen", "other").stdout
    assert said.startswith("mean log-likelihood of the one row: ")
    assert_frame_equal(pd.read_csv("new.csv"), pd.DataFrame({"a": ["z"]}))
