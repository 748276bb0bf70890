"""The command `tessflow impute`: what it fills and says, and that known values stay, through every kind of file."""

import csv
import gzip
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import Commands
from pandas.testing import assert_frame_equal

from tessflow import TabularFlow
from tessflow.tables import TableSchema, read_table, write_table

TINY = ("--hidden-features", "8", "--steps", 1, "--quiet")
BIG = 170_000_000_000_000_001


def test_it_counts_what_it_fills_by_column(zoo, tmp_path):
    holes = read_table("test.csv", schema=TabularFlow.load("model").schema_)
    holes.loc[:4, "kind"] = None
    write_table(holes, tmp_path / "holes.csv")
    out = tmp_path / "whole.csv"
    said = zoo("impute", "model", tmp_path / "holes.csv", "--out", out).stdout
    assert said == f"23 values filled in {out}: weight 18, kind 5\n"
    whole = read_table(out)
    assert whole.notna().all(axis=None)
    np.testing.assert_array_equal(whole["weight"][holes["weight"].notna()], holes["weight"].dropna())
    assert (
        zoo("impute", "model", out, "--out", tmp_path / "again.csv").stdout
        == f"0 values filled in {tmp_path}/again.csv\n"
    )
    assert (tmp_path / "again.csv").read_text() == out.read_text()


def test_draws_have_a_seed(zoo, tmp_path):
    texts = []
    for seed in (1, 1, 2):
        zoo("impute", "model", "test.csv", "--strategy", "sample", "--seed", seed, "--out", tmp_path / "whole.csv")
        texts.append((tmp_path / "whole.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_unseen_values_stay_or_are_refused(zoo, tmp_path):
    holes = read_table("test.csv")
    holes.loc[0, "kind"] = "cow"
    write_table(holes, tmp_path / "holes.csv")
    zoo("impute", "model", tmp_path / "holes.csv", "--out", tmp_path / "whole.csv")
    assert read_table(tmp_path / "whole.csv")["kind"][0] == "cow"
    said = zoo.refused("impute", "model", tmp_path / "holes.csv", "--out", tmp_path / "whole.csv", "--unseen", "error")
    assert "column 'kind' has in row 0 (counted from 0) the value 'cow', which was not seen" in said


def test_a_column_that_was_always_missing_stays_so(run):
    write_table(pd.DataFrame({"a": ["x", "y"] * 20, "b": [None] * 40}).astype({"b": "object"}), "train.csv")
    run("fit", "train.csv", "--out", "model", *TINY)
    said = run("impute", "model", "train.csv", "--out", "whole.csv").stdout
    assert said == "0 values filled in whole.csv\n40 values still missing, of which training rows held none: b 40\n"


SCHEMA = """
columns:
- {name: id, kind: key}
- {name: code, kind: number, resolution: 1, missing: NA}
- {name: day, kind: datetime, resolution: 86400, missing: nan}
- {name: at, kind: datetime, resolution: 1, missing: nan}
- {name: price, kind: number, missing: nan}
- {name: wet, kind: boolean, missing: NA}
- {name: size, kind: categorical, missing: nan}
"""

STRANGE = {
    "id": ["007", "1.10", "", "2024-01-31T00:00"],
    "code": [str(BIG), str(-BIG - 1), "300", ""],
    "day": ["9999-12-31", "1677-01-01", "", "2024-02-29"],
    "at": ["2024-01-31 12:00:00.123457", "2262-04-12 00:00:00.000001", "", "1969-12-31 23:59:59.000000"],
    "price": ["0.30000000000000004", "1e+300", "-5.0", ""],
    "wet": ["True", "", "False", "True"],
    "size": ["1.10", "NA", "", "1E400"],
}
"""Known values that a float64, nanoseconds or a guess would change; empty words are missing."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A directory with a model of such columns."""
    place = tmp_path_factory.mktemp("strange")
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, 60), unit="D")
    frame = pd.DataFrame(
        {
            "id": [f"{n:03}" for n in range(60)],
            "code": pd.Series(rng.integers(0, 90, 60)).astype("Int64"),
            "day": days,
            "at": days + pd.to_timedelta(rng.integers(0, 86400, 60), unit="s"),
            "price": rng.normal(5, 1, 60),
            "wet": pd.Series(rng.random(60) < 0.5).astype("boolean"),
            "size": rng.choice(["1.10", "1.1", "NA"], 60),
        }
    )
    for first, name in enumerate(list(frame)[1:]):
        frame.loc[first::9, name] = None
    (place / "schema.yaml").write_text(SCHEMA)
    write_table(frame, place / "train.parquet")
    arguments = ("fit", place / "train.parquet", "--schema", place / "schema.yaml", "--out", place / "model")
    Commands()(*arguments, *TINY)
    return place


@pytest.fixture
def strange(run, model):
    """Commands beside such a model."""
    shutil.copytree(model, ".", dirs_exist_ok=True)
    return run


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz"])
def test_known_words_stay(strange, suffix):
    tab = {"delimiter": "\t" if "tsv" in suffix else ","}
    opened = gzip.open if suffix.endswith(".gz") else open
    with opened(f"holes{suffix}", "wt", newline="") as file:
        csv.writer(file, **tab).writerows([list(STRANGE), *zip(*STRANGE.values(), strict=True)])
    said = strange("impute", "model", f"holes{suffix}", "--out", f"whole{suffix}").stdout
    assert said.startswith(f"6 values filled in whole{suffix}: ")
    with opened(f"whole{suffix}", "rt", newline="") as file:
        header, *rows = csv.reader(file, **tab)
    assert header == list(STRANGE)
    for name, words in zip(header, zip(*rows, strict=True), strict=True):
        for before, after in zip(STRANGE[name], words, strict=True):
            assert before in ("", after)
            assert bool(after) == (name != "id" or before != "")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_known_values_and_the_index_stay(strange, suffix):
    frame = pd.DataFrame(
        {
            "day": pd.Series(["9999-12-31", None, "1677-01-01"], dtype="datetime64[us]"),
            "code": pd.Series([BIG, -BIG - 1, None], dtype="Int64"),
            "at": pd.Series(["2024-01-31 12:00:00.123457", None, "1969-12-31"], dtype="datetime64[us]"),
            "price": [None, 0.1 + 0.2, -0.0],
            "wet": pd.Series([True, None, False], dtype="boolean"),
            "size": ["NA", None, "new"],
        }
    )
    frame.index = pd.Index(["007", "1.10", "x"], name="id")  # the key
    frame.to_parquet("holes.parquet")
    strange("impute", "model", "holes.parquet", "--out", f"whole{suffix}")
    whole = read_table(f"whole{suffix}", schema=TableSchema.from_yaml("schema.yaml"))
    whole = whole.set_index("id") if suffix == ".csv" else whole
    assert whole.notna().all(axis=None)
    assert list(whole.columns) == list(frame.columns)
    for name in frame:
        known = frame[name].notna()
        assert_frame_equal(whole.loc[known, [name]], frame.loc[known, [name]], check_dtype=False)
        assert whole.loc[known, name].tolist() == frame.loc[known, name].tolist()


def test_a_single_row_of_an_index_of_numbers_is_found_again(strange):
    holes = read_table("train.parquet").iloc[[7, 3]].drop(columns="id")
    holes.to_parquet("holes.parquet")
    strange("impute", "model", "holes.parquet", "--out", "whole.csv")
    assert pd.read_csv("whole.csv")["index"].tolist() == [7, 3]
    strange("impute", "model", "holes.parquet", "--out", "whole.parquet")
    assert pd.read_parquet("whole.parquet").index.tolist() == [7, 3]
