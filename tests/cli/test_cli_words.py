"""Words of a CSV file in the shell: those that are named as missing values, and those of a declared format."""

from pathlib import Path

import numpy as np
import pytest

from tessflow import TabularFlow
from tessflow.cli.given import conditions
from tessflow.tables import TableSchema, TableSource, read_table

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
    for command in (["score"], ["check", "--train", "train.csv", "--rows", 5], ["impute", "--out", "filled.csv"]):
        words = [command[0], "model", "train.csv", *command[1:]]
        plain = run(*words)
        assert plain.stderr == ""
        assert plain.stdout == run(*words, "--na", "unknown").stdout
    assert "unknown" not in Path("filled.csv").read_text()
    assert "filled in filled.csv: " in plain.stdout
    assert run("report", "model", "--table", "train.csv", "--rows", 5).stderr == ""
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


FORMATS = """columns:
- {name: price, kind: number, resolution: 0.01, missing: nan, decimal: ",", thousands: ".", currency: "€"}
- {name: share, kind: number, resolution: 0.1, decimal: ",", percent: true, na_values: [none]}
- {name: day, kind: datetime, resolution: 86400, format: "%d/%m/%Y"}
- {name: hour, kind: datetime, resolution: 3600, dtype: "datetime64[us, Europe/Berlin]", format: "%d.%m.%Y %H:%M"}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("price=1.234,50", 1234.5),
        ("price=1.234", 1234),
        ("price=€12", 12),
        ("price=..1.000,5 €", (None, 1000.5)),
        ("price=-7|8,25", [-7, 8.25]),
        ("price=", None),
        ("price=NA", None),
        ("share=12,5%", 12.5),
        ("share=10..12,5%", (10, 12.5)),
        ("share=none", None),
        ("day=31/01/2024", "2024-01-31T00:00:00"),
        ("day=01/02/2024..", ("2024-02-01T00:00:00", None)),
        ("hour=05.07.2024 10:00", "2024-07-05T08:00:00+00:00"),
    ],
)
def test_what_is_given_is_read_as_the_file_is(text, value):
    schema = TableSchema.from_yaml(FORMATS)
    name, _, _ = text.partition("=")
    assert conditions(schema, [text])[name] == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [("price=1234.5", "1234.5"), ("price=1,5..2.00", "2.00"), ("share=1|x", "x"), ("day=2024-01-31", "2024-01-31")],
)
def test_what_is_given_in_another_format_is_refused(text, shown):
    name = text.partition("=")[0]
    with pytest.raises(
        ValueError, match=f"column '{name}' was given '{shown}', which does not fit its declared format"
    ):
        conditions(TableSchema.from_yaml(FORMATS), [text])


def test_rows_are_drawn_with_what_is_given_in_a_format(run):
    rng = np.random.default_rng(0)
    prices = rng.integers(1000, 9000, 60)
    rows = [f"{price // 1000}.{price % 1000:03},5;{1 + price % 28:02}/01/2024" for price in prices]
    Path("prices.csv").write_text("\n".join(["price;day", *rows]) + "\n")
    Path("schema.yaml").write_text("\n".join([*FORMATS.splitlines()[:2], FORMATS.splitlines()[3]]) + "\n")
    run("fit", "prices.csv", "--delimiter", ";", "--schema", "schema.yaml", "--out", "model", *TINY)
    given = ["--given", "price=1.234,50", "--given", "day=02/01/2024..03/01/2024"]
    drawn = run("sample", "model", "-n", 5, *given).stdout.splitlines()[1:]
    assert {line.rpartition(",")[0] for line in drawn} == {'"1.234,5 €"'}
    assert {line.rpartition(",")[2] for line in drawn} <= {"02/01/2024", "03/01/2024"}
