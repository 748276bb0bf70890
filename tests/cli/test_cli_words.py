"""Words of a CSV file in the shell: those that are named as missing values, and those of a declared format."""

from pathlib import Path

import numpy as np
import pytest

from tessflow import TabularFlow
from tessflow.tables import TableSource, read_table

TINY = ("--hidden-features", "8", "--steps", 1, "--quiet")


def lines(rows=60):
    """Rows of a file, in which "unknown" stands for a missing value of every column."""
    rng = np.random.default_rng(0)
    for _ in range(rows):
        words = [rng.choice(["cat", "dog"]), f"{rng.normal(20, 4):.2f}", f"2020-01-{rng.integers(10, 30)}", "True"]
        yield ",".join("unknown" if rng.random() < 0.2 else str(word) for word in words)


@pytest.fixture
def run(run):
    Path("train.csv").write_text("\n".join(["kind,weight,born,chip", *lines()]) + "\n")
    return run


def fit_in_python(table):
    flow = TabularFlow(max_steps=1, hidden_features=(8,), random_state=0)
    flow.fit(table).save("model")


@pytest.mark.parametrize("way", ["fit", "stream", "schema", "frame", "source"])
def test_a_model_keeps_the_words_that_were_named(run, way):
    if way == "schema":
        run("schema", "train.csv", "--na", "unknown", "--out", "schema.yaml")
        run("fit", "train.csv", "--schema", "schema.yaml", "--out", "model", *TINY)
    elif way == "frame":
        fit_in_python(read_table("train.csv", na_values="unknown"))
    elif way == "source":
        fit_in_python(TableSource("train.csv", na_values="unknown"))
    else:
        options = ["--stream"] if way == "stream" else []
        run("fit", "train.csv", "--na", "unknown", "--out", "model", *options, *TINY)
    for command in (["score"], ["check", "--train", "train.csv"], ["impute", "--out", "filled.csv"]):
        words = [command[0], "model", "train.csv", *command[1:]]
        plain = run(*words)
        assert plain.stderr == ""
        assert plain.stdout == run(*words, "--na", "unknown").stdout
    assert "unknown" not in Path("filled.csv").read_text()
    assert "filled in filled.csv: " in plain.stdout
    assert run("report", "model", "--table", "train.csv").stderr == ""
    drawn = run("sample", "model", "-n", 3, "--given", "weight=unknown").stdout.splitlines()[1:]
    assert [row.split(",")[1] for row in drawn] == [""] * 3


def test_words_that_are_named_later_are_added(run):
    run("fit", "train.csv", "--na", "unknown", "--out", "model", *TINY)
    Path("new.csv").write_text("kind,weight,born,chip\ncat,-,unknown,True\n")
    said = run("score", "model", "new.csv", "--na", "-")
    assert "1 row, exact" in said.stdout
    assert said.stderr == ""


def test_the_same_command_goes_on_and_another_word_is_another_table(run):
    command = ["fit", "train.csv", "--out", "model", *TINY, "--na", "unknown"]
    run(*command)
    run(*command)
    assert "of another table" in run.refused(*command, "--na", "dog")


def test_odd_words_are_named_before_the_error(run):
    run("fit", "train.csv", "--na", "unknown", "--out", "model", *TINY)
    Path("new.csv").write_text("kind,weight,born,chip\n" + "cat,1.5,2020-01-10,True\n" * 2 + "cat,heavy,2020-01-10,-\n")
    warning, other, error = run("score", "model", "new.csv", code=2).stderr.splitlines()
    assert "column 'weight' is read as text, because 1 of its 3 words is no number: 'heavy' in row 2" in warning
    assert "column 'chip' is read as text, because 1 of its 3 words is no boolean: '-' in row 2" in other
    assert "column 'weight' holds strings" in error
