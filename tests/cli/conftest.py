"""Shared by the tests of the command line: how a command is run, and small tables and models."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tessflow.cli import app
from tessflow.tables import write_table


class Commands:
    """Runs commands."""

    def __call__(self, *arguments, code=0):
        """Run a command; the result has `stdout` and `stderr`."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def refused(self, *arguments):
        """Return the one sentence that a refused command says."""
        result = self(*arguments, code=2)
        assert result.stdout == ""
        assert re.fullmatch(r"tessflow: [^\n]+\n", result.stderr), result.stderr
        return result.stderr


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Commands in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Commands()


def animals(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["cat", "dog"], rows)
    weight = np.where(kind == "dog", rng.normal(20, 4, rows), rng.normal(4, 0.5, rows))
    born = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    frame = pd.DataFrame({"kind": kind, "weight": weight, "legs": rng.choice([3, 4], rows), "born": born})
    frame["chip"] = rng.random(rows) < 0.5
    frame.loc[::7, "weight"] = np.nan
    return frame


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory with train.csv, test.csv, and a model of the first; not to be written to."""
    folder = tmp_path_factory.mktemp("animals")
    write_table(animals(), folder / "train.csv")
    write_table(animals(seed=1), folder / "test.csv")
    options = ["--steps", "60", "--hidden-features", "32,32", "--quiet"]
    arguments = ["fit", str(folder / "train.csv"), "--out", str(folder / "model"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def zoo(folder, monkeypatch):
    """Commands in the directory of animals."""
    monkeypatch.chdir(folder)
    return Commands()
