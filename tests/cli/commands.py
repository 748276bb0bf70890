"""How tests run commands, and a small table."""

import re

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from tessflow.cli import app


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


def animals(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["cat", "dog"], rows)
    weight = np.where(kind == "dog", rng.normal(20, 4, rows), rng.normal(4, 0.5, rows))
    born = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    frame = pd.DataFrame({"kind": kind, "weight": weight, "legs": rng.choice([3, 4], rows), "born": born})
    frame["chip"] = rng.random(rows) < 0.5
    frame.loc[::7, "weight"] = np.nan
    return frame
