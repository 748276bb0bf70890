"""The commands about tables of all kinds: schema, fit with one, conditions, impute, check, report."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tessflow.cli import app
from tessflow.tables import TableSchema, read_table, write_table


def animals(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["cat", "dog"], rows)
    weight = np.where(kind == "dog", rng.normal(20, 4, rows), rng.normal(4, 0.5, rows))
    born = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    frame = pd.DataFrame({"kind": kind, "weight": weight, "legs": rng.choice([3, 4], rows), "born": born})
    frame.loc[::7, "weight"] = np.nan
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("animals")
    write_table(animals(), folder / "train.csv")
    write_table(animals(seed=1), folder / "test.csv")
    arguments = ["fit", str(folder / "train.csv"), "--out", str(folder / "model"), "--steps", "60", "--quiet"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        if code == 2:
            assert re.fullmatch(r"tessflow: [^\n]+\n", result.stderr), result.stderr
        return result.stderr if code else result.stdout

    return run


def test_schema_is_printed_edited_and_checked(run, tmp_path):
    text = run("schema", "train.csv")
    assert "- name: weight\n  kind: number" in text
    run("schema", "train.csv", "--out", tmp_path / "schema.yaml")
    assert (tmp_path / "schema.yaml").read_text() == text

    edited = tmp_path / "edited.yaml"
    edited.write_text(
        text.replace("- name: legs\n  kind: integer", "- name: legs\n  kind: number\n  resolution: 1.0").replace(
            "\n  values: [3, 4]", ""
        )
    )
    run("fit", "train.csv", "--schema", edited, "--out", tmp_path / "model", "--steps", 3, "--quiet")
    assert re.search(r"legs +│ number", run("info", tmp_path / "model"))

    edited.write_text(text.replace("name: legs", "name: feet"))
    said = run("fit", "train.csv", "--schema", edited, "--out", tmp_path / "other", code=2)
    assert "1 missing: 'feet'; 1 unknown: 'legs'" in said
    edited.write_text(text.replace("kind: integer", "kind: whole"))
    assert "column 'legs': kind: must be" in run("fit", "train.csv", "--schema", edited, "--out", "other", code=2)
    assert "--schema belongs to --model table" in run(
        "fit", "train.csv", "--schema", edited, "--model", "mixture", "--out", "other", code=2
    )


def test_info_describes_numbers(run):
    said = run("info", "model")
    assert "real numbers, missing" in said
    assert "multiples of 86400 s" in said
    assert "2: 'cat', 'dog'" in said


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ("kind=cat", lambda t: t["kind"] == "cat"),
        ("weight=5..9", lambda t: t["weight"].between(5, 9)),
        ("weight=..9", lambda t: t["weight"] <= 9),
        ("weight=", lambda t: t["weight"].isna()),
        ("legs=3|4", lambda t: t["legs"].isin([3, 4])),
        ("legs=4", lambda t: t["legs"] == 4),
        ("born=2020-02-01..2020-02-29", lambda t: t["born"].between("2020-02-01", "2020-02-29")),
    ],
)
def test_sample_with_conditions(run, tmp_path, given, holds):
    run("sample", "model", "-n", 20, "--given", given, "--out", tmp_path / "drawn.parquet")
    drawn = read_table(tmp_path / "drawn.parquet")
    assert len(drawn) == 20
    assert holds(drawn).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample", "model", "--given", "kind"], "--given takes COLUMN=VALUE, got 'kind'"),
        (["sample", "model", "--given", "kind=cow"], "'kind' was given the value 'cow', which was not seen"),
        (["sample", "model", "--given", "weight=heavy"], "column 'weight' holds numbers, got 'heavy'"),
        (["sample", "model", "--given", "kind=cat", "--given", "kind=dog"], "--given names the column 'kind' twice"),
        (["sample", "model", "--given", "size=1"], "there is no column 'size'"),
        (["score", "model", "test.csv", "--columns", "size"], "there is no column 'size'"),
        (["impute", "model", "test.csv", "--out", "x.csv", "--strategy", "mean"], "strategy must be"),
        (["schema", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["schema", "train.csv", "--scaling", "log"], "--scaling is quantile or standard, got 'log'"),
        (["fit", "train.csv", "--out", "x", "--stream", "--delimiter", ";"], "--stream goes with --model table"),
        (["fit", "train.csv", "--out", "x", "--order", "random"], "order: input should be 'any' or 'fixed'"),
        (
            ["fit", "train.csv", "--out", "x", "--model", "mixture", "--order", "any"],
            "--order belongs to --model table",
        ),
        (["check", "nowhere", "test.csv"], "nowhere holds no complete model"),
        (["report", "model", "--table", "nowhere.csv"], "nowhere.csv: there is no such file"),
    ],
)
def test_refusals(run, arguments, sentence):
    assert sentence in run(*arguments, code=2)


def test_scores_of_some_columns(run, tmp_path):
    for name, options in {"all": [], "a": ["--columns", "kind, legs"], "b": ["--given", "kind,legs"]}.items():
        said = run("score", "model", "test.csv", "--out", tmp_path / f"{name}.csv", *options)
        assert "exact" in said
    total, first, rest = (read_table(tmp_path / f"{name}.csv")["log_likelihood"] for name in ("all", "a", "b"))
    assert np.isfinite(total).all()
    # Another order of the columns: close, not equal.
    assert abs((first + rest - total).mean()) < 1


def test_impute_writes_a_whole_table(run, tmp_path):
    said = run("impute", "model", "test.csv", "--out", tmp_path / "whole.csv")
    assert "18 values filled" in said
    whole, holes = read_table(tmp_path / "whole.csv"), read_table("test.csv")
    assert whole.notna().all(axis=None)
    np.testing.assert_array_equal(whole["weight"][holes["weight"].notna()], holes["weight"].dropna())


def test_stream_needs_no_table_in_memory(run, tmp_path):
    said = run("fit", "train.csv", "--stream", "--out", tmp_path / "model", "--steps", 5)
    assert "held-out log-likelihood" in said
    assert len(run("sample", tmp_path / "model", "-n", 3).splitlines()) == 4


def test_check_prints_and_writes_figures(run, tmp_path):
    said = run("check", "model", "test.csv", "--train", "train.csv", "--out", tmp_path / "check.json")
    assert "weight" in said
    assert json.loads((tmp_path / "check.json").read_text())


def test_report_is_one_page(run, tmp_path):
    page = tmp_path / "page.html"
    assert str(page) in run("report", "model", "--table", "test.csv", "--out", page, "--rows", 60)
    assert "weight" in Path(page).read_text()


def test_words_for_missing_values_are_given_to_every_command(run, tmp_path):
    text = Path("train.csv").read_text().replace("cat,,", "cat,?,")
    table = tmp_path / "marks.csv"
    table.write_text(text.replace("dog,,", "dog,?,"))
    na, model = ["--na", "?", "--na", "-"], tmp_path / "model"
    assert "- name: weight\n  kind: number" in run("schema", table, *na)
    assert "kind: categorical" in run("schema", table).split("weight")[1]
    for stream in ([], ["--stream"]):
        run("fit", table, *na, "--out", model, "--steps", 3, "--quiet", "--force", *stream)
        assert "real numbers, missing" in run("info", model)
    assert run("score", model, table, *na) == run("score", model, "train.csv")
    assert "column 'weight' holds strings such as" in run("score", model, table, code=2)
    assert "18 values filled" in run("impute", model, table, *na, "--out", tmp_path / "whole.csv")
    assert "weight" in run("check", model, table, *na, "--train", table)
    assert "page.html" in run("report", model, "--table", table, *na, "--out", tmp_path / "page.html", "--rows", 60)


def test_a_warning_is_one_line(run, tmp_path):
    table = tmp_path / "odd.csv"
    table.write_text("price\n" + "\n".join(map(str, range(30))) + "\ntwelve\n")
    result = CliRunner().invoke(app, ["schema", str(table)])
    assert result.exit_code == 0
    assert result.stderr.startswith("tessflow: warning: column 'price' is read as text, because 1 of its 31 words")
    assert result.stderr.count("\n") == 1
    assert "kind: categorical" in result.stdout


def test_declared_formats_are_read_and_written(run, tmp_path):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, 60), unit="D")
    frame = pd.DataFrame({"price": (rng.random(60) * 5000).round(2), "day": days})
    frame.loc[::7, "price"] = np.nan
    schema = tmp_path / "schema.yaml"
    schema.write_text(
        "columns:\n- {name: price, kind: number, missing: nan, decimal: ',', thousands: '.'}\n"
        "- {name: day, kind: datetime, resolution: 86400, format: '%d/%m/%Y'}\n"
    )
    write_table(frame, tmp_path / "table.csv", TableSchema.from_yaml(schema))
    run("fit", tmp_path / "table.csv", "--schema", schema, "--out", tmp_path / "model", "--steps", 3, "--quiet")
    drawn = run("sample", tmp_path / "model", "-n", 40)
    assert re.search(r'"\d\.\d{3},\d+",\d\d/\d\d/\d{4}', drawn)
    run("sample", tmp_path / "model", "-n", 40, "--out", tmp_path / "drawn.csv")
    assert (tmp_path / "drawn.csv").read_text() == drawn
    run("score", tmp_path / "model", tmp_path / "drawn.csv")
    run("impute", tmp_path / "model", tmp_path / "table.csv", "--out", tmp_path / "whole.csv")
    whole = read_table(tmp_path / "whole.csv", schema=TableSchema.from_yaml(schema))
    known = frame["price"].notna()
    np.testing.assert_array_equal(whole["price"][known], frame["price"][known])
    assert whole["day"].tolist() == frame["day"].tolist()
    (tmp_path / "wrong.csv").write_text("price,day\n1.5,01/02/2024\n")
    said = run("score", tmp_path / "model", tmp_path / "wrong.csv", code=2)
    assert "column 'price' has in row 0 (counted from 0) the word '1.5', which does not fit its declared format" in said
