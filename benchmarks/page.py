"""What pages of results are made of: tables, figures, and by which command they came about."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "made_by", "mean_and_spread", "or_dash", "table"]

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
