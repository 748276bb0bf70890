"""The rows of a table that a model finds least likely, and the values that make them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.estimators import TabularFlow
from tessflow.tables import NumericColumn
from tessflow.viz.report.rows import class_labels, show
from tessflow.viz.report.svg import shorten

__all__ = ["Surprise", "SurprisingRow", "surprising_rows"]

# Columns named for each row, if they are so many nats to blame; classes for each column, and letters for each value.
_COLUMNS, _NATS, _CLASSES, _LETTERS = 3, 0.1, 3, 60


@dataclass(frozen=True)
class Surprise:
    """A value that makes a row unlikely.

    Args:
        column: The name of its column.
        value: What it is.
        nats: How far its log-likelihood, given the columns before it, is below the mean of its column.
        expected: What is likely given all other columns; empty if the model does not say.
    """

    column: str | int
    value: str
    nats: float
    expected: str


@dataclass(frozen=True)
class SurprisingRow:
    """A row, with its log-likelihood in nats and the values that are most to blame; of none if the model is no sum."""

    index: str
    score: float
    values: list[str]
    surprises: list[Surprise]


def surprising_rows(
    model: TabularFlow,
    table: pd.DataFrame,
    scores: NDArray[np.float64],
    by_column: pd.DataFrame | None,
    *,
    rows: int = 10,
) -> list[SurprisingRow]:
    """Return the least likely rows of a table, the least likely first.

    Args:
        model: The model.
        table: The rows.
        scores: Their log-likelihoods.
        by_column: What each column adds to them; None if the model does not say.
        rows: How many to return.
    """
    chosen = np.argsort(scores, kind="stable")[:rows]
    few = table.iloc[chosen]
    values = pd.DataFrame(model.schema_.decode(model.schema_.encode(few)))
    blamed: list[list[tuple[int, float]]] = [[] for _ in chosen]
    expected: dict[int, list[str]] = {}
    if by_column is not None:
        surprise = (by_column.mean() - by_column.iloc[chosen]).to_numpy()
        for row, nats in enumerate(surprise):
            most = np.argsort(-nats, kind="stable")[:_COLUMNS]
            blamed[row] = [(int(n), float(nats[n])) for n in most if nats[n] > _NATS]
        expected = {n: _expected(model, few, n) for n in sorted({n for pairs in blamed for n, _ in pairs})}
    found = []
    for row, place in enumerate(chosen):
        words = [shorten(show(values.iat[row, n]), _LETTERS) for n in range(values.shape[1])]
        why = [Surprise(model.schema_.names[n], words[n], nats, expected[n][row]) for n, nats in blamed[row]]
        found.append(SurprisingRow(show(table.index[place]), float(scores[place]), words, why))
    return found


def _expected(model: TabularFlow, table: pd.DataFrame, n: int) -> list[str]:
    """Say for each row what a column is likely to hold, given all others; nothing if the model has one order."""
    column = model.schema_.columns[n]
    if not model.model_.any_order or n in model.model_.conditionals.uncelled:
        return [""] * len(table)
    conditional = model.conditional(table, column.name)
    chances, labels = conditional.probabilities().to_numpy(), class_labels(column)
    between = [""] * len(table)
    if isinstance(column, NumericColumn):
        quantiles = conditional.quantiles()
        between = [_between(*quantiles.iloc[row]) for row in range(len(table))]
    words = []
    for row, chance in enumerate(chances):
        likely = np.argsort(-chance, kind="stable")[:_CLASSES]
        parts = []
        for k in likely:
            what = between[row] if between[row] and k == 0 else shorten(labels[k], _LETTERS)
            if chance[k] >= 0.01 or k == likely[0]:
                parts.append(what if chance[k] > 0.995 and between[row] else f"{what} ({chance[k]:.0%})")
        words.append("; ".join(parts))
    return words


def _between(low: Any, middle: Any, high: Any) -> str:
    return f"about {show(middle)}, 90% between {show(low)} and {show(high)}"
