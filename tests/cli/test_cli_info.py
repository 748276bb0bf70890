"""The command `tessflow info`."""

from pathlib import Path

import numpy as np
import pandas as pd

from tessflow import TabularFlow
from tessflow.tables import write_table

SCHEMA = """
columns:
- {name: id, kind: key}
- {name: share, kind: number, resolution: 0.01, minimum: 0, maximum: 1, atoms: [0, 1]}
- {name: start, kind: datetime, resolution: 86400, minimum: 2020-01-01}
- {name: end, kind: datetime, resolution: 86400}
- {name: wait, kind: timedelta, resolution: 3600, maximum: 1 day}
- {name: code, kind: categorical, missing: nan}
order: [start <= end]
"""


def test_info_describes_the_model(zoo):
    said = zoo("info", "model").stdout
    for part in ("kind", "categorical", "densities of", "'cat', 'dog'", "atoms: 3, 4", "missing", "'False', 'True'"):
        assert part.replace("'False', 'True'", "False, True") in said
    model = TabularFlow.load("model")
    assert f"held-out log-likelihood: {model.validation_score_:.4f} nats a row" in said
    assert "training: 60 steps in" in said
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    assert f"size: {parameters:,} parameters, " in said
    assert "backbone='autoregressive'" in said
    assert "unseen='other'" in said


def test_info_shows_keys_bounds_atoms_and_order(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-06-01") + pd.to_timedelta(rng.integers(0, 90, 60), unit="D")
    frame = pd.DataFrame({"id": range(60), "share": rng.random(60).round(2), "start": days, "end": days})
    frame["wait"] = pd.to_timedelta(rng.integers(0, 24, 60), unit="h")
    frame["code"] = [f"code{n % 8}" if n % 3 else None for n in range(60)]
    write_table(frame, "rows.parquet")
    Path("schema.yaml").write_text(SCHEMA)
    run("fit", "rows.parquet", "--schema", "schema.yaml", "--out", "model", "--steps", 1, "-q")
    lines = run("info", "model").stdout.splitlines()

    def cells(name):
        (line,) = (line for line in lines if line.startswith(f"│ {name} "))
        return [cell.strip() for cell in line.strip("│").split("│")]

    assert cells("share") == [
        "share", "number", "probabilities of steps of 0.01", "atoms: 0, 1; at least 0; at most 1"
    ]  # fmt: skip
    assert cells("start")[2:] == ["probabilities of days", "at least 2020-01-01T00:00:00"]
    assert cells("wait")[2:] == ["probabilities of hours", "at most P1DT0H0M0S"]
    assert cells("code")[3].endswith(", ... (8); missing")
    assert cells("id") == ["id", "key", "not modelled", ""]
    assert "order: start <= end" in lines
