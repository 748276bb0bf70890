"""The tables of the documentation that are made of result files.

Those of `mixed_tables.py` have a row a method and a column a table. Figures are means over the splits, in words short
enough for a page that compares; benchmarks/README.md has all. That of `fuzz.py` has a row a promise.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from page import RESULTS, made_by, mean_and_spread, table

__all__ = ["fit_seconds", "imputations", "likelihoods", "orders", "trust"]

Row = dict[str, Any]
Figure = Callable[[Sequence[Row]], str]

TABLES = ("health", "legislators", "housing", "diamonds", "weather", "mushroom")
DENSITIES = {
    "TabularFlow, any order": "`TabularFlow`",
    "TabularFlow, fixed order": '`TabularFlow(order="fixed")`',
    "Bayesian network": "Bayesian network",
    "latent classes": "latent classes",
    "adversarial random forest": "adversarial random forest",
    "independent, scale or mixture": "independent columns",
}
IMPUTERS = {
    "TabularFlow, any order": "`TabularFlow`",
    "TabularFlow, any order, means": '`TabularFlow`, `strategy="mean"`',
    "boosted trees": "boosted trees, one for each column",
    "miceforest": "miceforest",
    "IterativeImputer": "`IterativeImputer`",
    "most frequent, median": "most frequent value, median",
}
ORDERS = {"TabularFlow, any order": "the mean of orders", "TabularFlow, any order, orders=1": "`orders=1`"}


def likelihoods() -> str:
    """Nats a row of all test rows."""
    return _compared("likelihood", DENSITIES, _nats)


def orders() -> str:
    """Nats a row by the mean of orders, and by one."""
    return _compared("likelihood", ORDERS, _nats)


def fit_seconds() -> str:
    """Seconds of fits."""
    timed = {method: name for method, name in DENSITIES.items() if not method.startswith("independent")}
    return _compared("likelihood", timed, lambda rows: f"{_mean(rows, 'fit_seconds'):.0f}")


def imputations() -> str:
    """Give shares of right classes, and root mean square errors of numbers."""
    return _compared(
        "imputation", IMPUTERS, lambda rows: f"{_mean(rows, 'accuracy'):.2f}, {_mean(rows, 'rmse'):.2f}", TABLES[:-1]
    )


def _compared(measure: str, methods: dict[str, str], figure: Figure, names: Sequence[str] = TABLES) -> str:
    rows = {name: json.loads((RESULTS / "mixed_tables" / f"{name}.json").read_text())[measure] for name in names}

    def cell(name: str, method: str) -> str:
        found = [row for row in rows[name] if row["method"] == method]
        return figure(found) if found else "-"

    lines = [(title, *(cell(name, method) for name in names)) for method, title in methods.items()]
    return table(("", *names), lines, left=1)


def _nats(rows: Sequence[Row]) -> str:
    return mean_and_spread([row["test_nats"] for row in rows], 2)


def _mean(rows: Sequence[Row], column: str) -> float:
    return statistics.mean(row[column] for row in rows)


def trust() -> str:
    """Count what was tried to break promises, and what broke."""
    path = RESULTS / "trust.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    damage, kills, calls = result["mutations"], result["kills"], result["calls"]
    rows, cells, threads = result["extremes"], result["cells"], result["threads"]
    alike = threads["alike"].values()
    lines = [
        ("damaged models", f"{damage['tried']:,}", f"{damage['refused']:,} refused, {damage['same']:,} as before",
         damage["tried"] - damage["refused"] - damage["same"]),
        ("kills of a save", kills["tried"], f"{kills['old']} old model, {kills['new']} new model", kills["neither"]),
        ("malformed calls", calls["tried"], f"{calls['tried'] - calls['wrongly_refused']:,} refused as promised",
         calls["wrongly_refused"]),
        ("extreme rows of a table", f"{rows['table']['rows']:,}",
         f"a column costs {rows['table']['worst_column_nats']:.0f} nats at most",
         rows["table"]["not_finite"] + rows["table"]["beyond_bound"]),
        ("extreme rows of a mixture", f"{rows['mixture']['rows']:,}", "finite", rows["mixture"]["not_finite"]),
        ("draws mapped into cells", f"{cells['draws_each'] * len(cells['cases']):,}", "located in their cell",
         cells["elsewhere"]),
        ("questions from four threads", threads["of"] * len(alike), f"{sum(alike)} answers alike",
         threads["of"] * len(alike) - sum(alike)),
    ]  # fmt: skip
    rows = [tuple(map(str, line)) for line in lines]
    commands = "".join(dict.fromkeys(f"    {part['run']['command']}\n" for part in result.values()))
    return table(("what is tried", "how often", "found", "promises broken"), rows, left=1) + made_by(
        damage["run"], commands
    )
