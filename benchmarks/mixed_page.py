"""The tables of `mixed_tables.py`'s results: means over splits, with their standard deviations."""

from __future__ import annotations

import json
from typing import Any

from page import RESULTS, made_by, mean_and_spread, table

__all__ = ["mixed_tables"]

# The columns of each measure, with the digits of their figures.
MEASURES = {
    "likelihood": {
        "seen_nats": ("nats a row, nothing unseen", 3),
        "test_nats": ("nats a row, all rows", 3),
        "unseen_share": ("rows with something unseen", 4),
        "worst_row_nats": ("worst row", 1),
        "fit_seconds": ("seconds of fit", 1),
        "score_seconds": ("of scoring 1,000 rows", 2),
    },
    "samples": {
        "shapes": ("column shapes", 3),
        "trends": ("pair trends", 3),
        "missing": ("missing", 3),
        "told_apart": ("told apart", 3),
        "copies": ("copies of training rows", 3),
        "copies_among_test_rows": ("the same of test rows", 3),
        "fit_seconds": ("seconds of fit", 1),
        "sample_seconds": ("of sampling 1,000 rows", 2),
    },
    "imputation": {
        "accuracy": ("accuracy", 3),
        "rmse": ("RMSE", 3),
        "mae": ("MAE", 3),
        "seconds": ("seconds", 1),
    },
}

Result = dict[str, Any]


def mixed_tables() -> str:
    """Render what the tables are, likelihoods of all side by side, each measure in full, and the commands."""
    results = [json.loads(path.read_text()) for path in sorted((RESULTS / "mixed_tables").glob("*.json"))]
    results.sort(key=lambda result: result["table"]["rows"][0])
    if not results:
        return ""
    parts = [_data(results), _side_by_side(results), *(_in_full(results, measure) for measure in MEASURES)]
    return "\n".join(parts) + _commands(results)


def _data(results: list[Result]) -> str:
    rows = [
        (
            about["name"],
            f"{about['package']} ({about['licence']})",
            " / ".join(f"{rows:,}" for rows in about["rows"]),
            f"{about['columns']} ({about['class_columns']})",
            f"{about['missing']:.1%}",
        )
        for about in (result["table"] for result in results)
    ]
    return table(
        ("data", "package", "training / validation / test rows", "columns (of classes)", "missing"), rows, left=2
    )


def _side_by_side(results: list[Result]) -> str:
    """Render nats of all test rows: a row a method, a column a table."""
    found = [_runs(result, "likelihood") for result in results]
    names = sorted(dict.fromkeys(method for runs in found for method in runs), key=_rank)
    rows = [
        (
            name,
            *(mean_and_spread([run["test_nats"] for run in runs[name]], 2) if name in runs else "-" for runs in found),
        )
        for name in names
    ]
    return table(("nats a row, all rows", *(result["table"]["name"] for result in results)), rows, left=1)


def _in_full(results: list[Result], measure: str) -> str:
    columns = MEASURES[measure]
    rows = []
    for result in results:
        for method, runs in _runs(result, measure).items():
            figures = [
                mean_and_spread(values, digits) if (values := _known(runs, column)) else "-"
                for column, (_, digits) in columns.items()
            ]
            rows.append((result["table"]["name"], method, *figures))
    return table(("data", "method", *(title for title, _ in columns.values())), rows, left=2)


def _known(runs: list[Result], column: str) -> list[float]:
    return [run[column] for run in runs if run.get(column) is not None]


def _runs(result: Result, measure: str) -> dict[str, list[Result]]:
    """Return the rows of each method, a row a split."""
    runs: dict[str, list[Result]] = {}
    for row in sorted(result[measure], key=lambda row: _rank(row["method"])):
        runs.setdefault(row["method"], []).append(row)
    return runs


def _rank(method: str) -> bool:
    """Put the flows first; all else stays in the order of the file."""
    return not method.startswith("TabularFlow")


def _commands(results: list[Result]) -> str:
    """Name the commands, those of one machine together."""
    machines: dict[tuple[str, int, str], dict[str, Result]] = {}
    for run in (run for result in results for run in result["runs"]):
        machines.setdefault((run["hardware"], run["threads"], run["torch"]), {})[run["command"]] = run
    return "".join(
        made_by(next(iter(runs.values())), "".join(f"    {command}\n" for command in runs))
        for runs in machines.values()
    )
