"""The tables of the documentation that are made of `mixed_tables.py`'s results: a row a method, a column a table.

Figures are means over the splits, in words short enough for a page that compares; benchmarks/README.md has all.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from page import RESULTS, mean_and_spread, table

__all__ = ["fit_seconds", "imputations", "likelihoods", "orders"]

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
