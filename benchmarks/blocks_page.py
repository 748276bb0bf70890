"""The tables of `blocks.py`."""

from __future__ import annotations

import json
from typing import Any

from page import RESULTS, made_by, table

__all__ = ["blocks"]


def blocks() -> str:
    """Return a row a run, the tables one after another; the autoregressive model is the last of each."""
    path = RESULTS / "blocks.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    floors = {each["data"]: each["floor"] for each in result["tables"]}
    rows = []
    speeds = {(run["data"], run["blocks"], run["components"]): run for run in result["speeds"]}
    columns = {each["data"]: each["columns"] for each in result["tables"]}
    for fit in result["fits"]:
        name, key = fit["data"], (fit["data"], fit["blocks"], fit["components"])
        rows.append(_row(name, {**speeds[key], **fit}, columns[name], floors[name]))
    header = ("data (floor)", "M: passes of a sample", "C: products", "steps", "validation", "test",
              "rows scored a second", "rows drawn a second")  # fmt: skip
    return table(header, rows, left=1) + made_by(result["runs"][-1])


def _row(name: str, run: dict[str, Any], columns: int, floor: float | None) -> tuple[str, ...]:
    passes = f"{run['blocks']}" + ", autoregressive" * (run["blocks"] == columns)
    return (
        name + (f" ({floor:.3f})" if floor else ""),
        "1, latent classes" if run["blocks"] == 1 else passes,
        f"{run['components']}",
        f"{run['steps']:,}",
        f"{run['validation_nats']:.3f}",
        f"{run['test_nats']:.3f} ({run['test_standard_error']:.3f})",
        f"{run['score_rows_per_second']:,}",
        f"{run['sample_rows_per_second']:,}",
    )
