"""The rows of a table that a model finds least likely, and the values that make them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.estimators import TabularFlow
from tessflow.tables import TableSchema
from tessflow.viz.report.rows import class_labels, show
from tessflow.viz.report.svg import shorten

__all__ = ["Surprise", "SurprisingRow", "shown_names", "surprising_rows"]

# Columns named for each row, if they are so many nats to blame; classes for each column, and letters for each value.
_COLUMNS, _NATS, _CLASSES, _LETTERS = 3, 0.1, 3, 60
# Chance from which on a class is named, a single number beside a range, and above which that of numbers is not.
_LIKELY, _OFTEN, _SURE = 0.01, 0.1, 0.995


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
    """A row.

    Args:
        index: Its name.
        score: Its log-likelihood, in nats.
        values: What it holds: keys, then all columns.
        surprises: The values that are most to blame; none if the model is no sum over columns.
    """

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
        table: The rows, with the names of the schema, perhaps with keys.
        scores: Their log-likelihoods.
        by_column: What each column adds to them; None if the model does not say.
        rows: How many to return.
    """
    schema, chosen = model.schema_, np.argsort(scores, kind="stable")[:rows]
    few = table.iloc[chosen]
    shown = shown_names(schema, few)
    unseen = model.find_unseen(few).reindex(columns=shown, fill_value=False)
    words = {
        name: [_word(value, unseen=new) for value, new in zip(few[name], unseen[name], strict=True)] for name in shown
    }
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
        why = [
            Surprise(schema.names[n], words[schema.names[n]][row], nats, expected[n][row]) for n, nats in blamed[row]
        ]
        values = [words[name][row] for name in shown]
        found.append(SurprisingRow(show(table.index[place]), float(scores[place]), values, why))
    return found


def shown_names(schema: TableSchema, table: pd.DataFrame) -> list[str | int]:
    """Return what columns of rows are shown: keys that they have, then all that are modelled."""
    return [*(key.name for key in schema.keys if key.name in table), *schema.names]


def _word(value: Any, *, unseen: bool) -> str:
    return shorten(show(value), _LETTERS) + " (not seen in training)" * unseen


def _expected(model: TabularFlow, table: pd.DataFrame, n: int) -> list[str]:
    """Say for each row what a column is likely to hold, given all others; nothing if the model has one order."""
    column = model.schema_.columns[n]
    if not model.model_.any_order or n in model.model_.conditionals.uncelled:
        return [""] * len(table)
    conditional = model.conditional(table, column.name)
    chances = conditional.probabilities().to_numpy().copy()
    labels = [[shorten(label, _LETTERS) for label in class_labels(column)] for _ in chances]
    if column.numeric:
        for row, quantiles in enumerate(conditional.quantiles().itertuples(index=False)):
            if chances[row, 0] >= _LIKELY:  # else a few single numbers are all there is
                numbers = chances[row, list(column.fillable)]
                chances[row, list(column.fillable)] = [numbers.sum(), *(numbers[1:] * (numbers[1:] >= _OFTEN))]
                labels[row][0] = _between(*quantiles)
    return [_most_likely(*row, numeric=column.numeric) for row in zip(chances, labels, strict=True)]


def _most_likely(chance: NDArray[np.float64], labels: list[str], *, numeric: bool) -> str:
    likely = [k for k in np.argsort(-chance, kind="stable")[:_CLASSES] if chance[k] >= _LIKELY or k == chance.argmax()]
    return "; ".join(labels[k] if numeric and chance[k] > _SURE else f"{labels[k]} ({chance[k]:.0%})" for k in likely)


def _between(low: Any, middle: Any, high: Any) -> str:
    return f"about {show(middle)}, 90% between {show(low)} and {show(high)}"
