"""The command `tessflow schema`, and tables whose words are declared, through all commands."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tessflow.tables import TableSchema, read_table, write_table


def spans(rows=150):
    """Rows with a start, an end, a name of their own, and a word."""
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    end = start + pd.to_timedelta(rng.integers(0, 20, rows), unit="D")
    frame = pd.DataFrame({"id": [f"{n:04}" for n in range(rows)], "end": end, "start": start})
    return frame.assign(sex=rng.choice(["f", "m", "NA"], rows))


def test_it_is_printed_or_written(zoo, tmp_path):
    result = zoo("schema", "train.csv")
    assert "- name: weight\n  kind: number" in result.stdout
    assert "- name: legs\n  kind: number\n  dtype: int64\n  resolution: 1.0\n  atoms: [3, 4]" in result.stdout
    assert "order" not in result.stdout
    assert result.stderr == ""
    assert zoo("schema", "train.csv", "--out", tmp_path / "schema.yaml").stdout == ""
    assert (tmp_path / "schema.yaml").read_text() == result.stdout


def test_options_are_followed(zoo):
    said = zoo("schema", "train.csv", "--max-levels", 0, "--scaling", "standard").stdout
    assert "atoms:" not in said
    assert "scaling: standard" in said


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_it_suggests_an_order_and_names_keys(run, suffix):
    write_table(spans(), f"spans{suffix}")
    result = run("schema", f"spans{suffix}")
    assert result.stdout.endswith("# order:\n# - start <= end\n")
    assert TableSchema.from_yaml(result.stdout).order == ()
    assert TableSchema.from_yaml(result.stdout.replace("# order:\n# -", "order:\n-")).order == (("start", "end"),)
    lines = result.stderr.splitlines()
    assert "warning: column 'id' has another value in every row" in lines[0]
    assert lines[1:] == [
        "tessflow: warning: column 'sex' has 'NA' among its words: if that is a missing value, read it with "
        "na_values='NA' (--na NA)"
    ]
    words = run("schema", f"spans{suffix}", "--na", "NA")
    assert ("values: [NA, f, m]" in words.stdout) == (suffix == ".parquet")  # which holds no words


def test_a_row_that_breaks_it_is_no_suggestion(run):
    frame = spans()
    frame.loc[149, "end"] = pd.Timestamp("2020-01-01")
    write_table(frame, "spans.csv")
    assert "order" not in run("schema", "spans.csv").stdout


def test_a_warning_is_one_line(run):
    Path("odd.csv").write_text(
        "price,end,start\n" + "".join(f"{n},2024-01-31,2024-01-30\n" for n in range(30)) + "twelve,,\n"
    )
    result = run("schema", "odd.csv")  # which reads it for the columns, and for an order
    assert result.stderr.startswith("tessflow: warning: column 'price' is read as text, because 1 of its 31 words")
    assert result.stderr.count("\n") == 1
    assert "kind: categorical" in result.stdout


def test_words_for_missing_values_are_given_to_every_command(zoo, tmp_path):
    text = Path("train.csv").read_text().replace("cat,,", "cat,?,")
    table = tmp_path / "marks.csv"
    table.write_text(text.replace("dog,,", "dog,?,"))
    na, model = ["--na", "?", "--na", "-"], tmp_path / "model"
    assert "- name: weight\n  kind: number" in zoo("schema", table, *na).stdout
    assert "kind: categorical" in zoo("schema", table).stdout.split("weight")[1]
    for stream in ([], ["--stream"]):
        zoo("fit", table, *na, "--out", model, "--steps", 3, "--quiet", "--force", *stream)
    assert zoo("score", model, table, *na).stdout == zoo("score", model, "train.csv").stdout
    assert zoo("score", "model", table, *na).stdout == zoo("score", "model", "train.csv").stdout
    said = zoo("score", "model", table, code=2).stderr  # which was fitted to other words
    assert "words are no numbers: '?' in row" in said
    assert "column 'weight' holds strings such as" in said
    assert "18 values filled" in zoo("impute", model, table, *na, "--out", tmp_path / "whole.csv").stdout
    assert "weight" in zoo("check", model, table, *na, "--train", table).stdout


def test_declared_formats_are_read_and_written(run):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, 60), unit="D")
    frame = pd.DataFrame({"price": (rng.random(60) * 5000).round(2), "day": days})
    frame.loc[::7, "price"] = np.nan
    Path("schema.yaml").write_text(
        "columns:\n- {name: price, kind: number, missing: nan, decimal: ',', thousands: '.'}\n"
        "- {name: day, kind: datetime, resolution: 86400, format: '%d/%m/%Y'}\n"
    )
    schema = TableSchema.from_yaml("schema.yaml")
    write_table(frame, "table.csv", schema)
    run("fit", "table.csv", "--schema", "schema.yaml", "--out", "model", "--steps", 3, "--quiet")
    drawn = run("sample", "model", "-n", 40).stdout
    assert re.search(r'"\d\.\d{3},\d+",\d\d/\d\d/\d{4}', drawn)
    run("sample", "model", "-n", 40, "--out", "drawn.csv")
    assert Path("drawn.csv").read_text() == drawn
    run("score", "model", "drawn.csv")
    run("impute", "model", "table.csv", "--out", "whole.csv")
    whole = read_table("whole.csv", schema=schema)
    known = frame["price"].notna()
    np.testing.assert_array_equal(whole["price"][known], frame["price"][known])
    assert whole["day"].tolist() == frame["day"].tolist()
    Path("wrong.csv").write_text("price,day\n1.5,01/02/2024\n")
    said = run.refused("score", "model", "wrong.csv")
    assert "column 'price' has in row 0 (counted from 0) the word '1.5', which does not fit its declared format" in said
