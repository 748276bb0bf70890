"""What pages of results are made of: tables, figures, and by which command they came about."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "cells_table", "made_by", "mean_and_spread", "or_dash", "table"]

RESULTS = Path(__file__).parent / "results"


def mean_and_spread(values: Sequence[float], digits: int = 3) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def made_by(result: dict[str, Any], commands: str | None = None) -> str:
    environment = "".join(f"{name}={value} " for name, value in result.get("environment", {}).items())
    commands = commands or f"    {environment}{result['command']}\n"
    return f"\n{result['hardware']}, {result['threads']} thread(s), torch {result['torch']}:\n\n{commands}\n"


def or_dash(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(header)} |"
        yield f"|{'|'.join(['---'] * left + ['---:'] * (len(header) - left))}|"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    return "\n".join(lines()) + "\n"


def cells_table(result: dict[str, Any]) -> str:
    tasks: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        tasks.setdefault((", ".join(map(str, row["shape"])), row["method"]), {})[row["task"]] = row
    rows = []
    for (shape, method), task in tasks.items():
        if method in ("floor", "paper"):
            continue
        forward, both, inverse = (task[name] for name in ("forward", "forward+backward", "inverse"))
        rows.append(
            (
                shape,
                method.replace("_", "-"),
                *(f"{row['ratio_to_floor']:.1f}" for row in (forward, both, inverse)),
                *(or_dash(row.get("times_faster_than_paper")) for row in (forward, both)),
                f"{forward['peak_bytes'] / 2**20:.1f} ({forward['floor_peak_bytes'] / 2**20:.1f})",
                f"{forward['floor_seconds'] * 1e3:.2f}",
            )
        )
    header = ("B, N, K, D", "profile", "forward", "forward + backward", "inverse", "paper: forward",
              "paper: forward + backward", "peak MiB (floor)", "floor, ms")  # fmt: skip
    return table(header, rows, left=2)
