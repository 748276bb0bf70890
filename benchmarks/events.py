"""What a schema makes of rows: encoded columns, which rows hold something not seen, and figures three ways."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.models.variables import Variable
from tessflow.tables import TableSchema

__all__ = ["Column", "encoded", "three_ways", "unseen_rows"]


class Column(NamedTuple):
    """A column: its variable, the codes of its rows, and their numbers; only where the code is 0 there is one."""

    variable: Variable
    codes: Tensor
    numbers: Tensor


def encoded(schema: TableSchema, frame: pd.DataFrame) -> Iterator[Column]:
    """Yield the columns of a table as its schema encodes them."""
    rows = schema.encode(frame)
    place = len(schema.columns)
    for index, variable in enumerate(schema.variables):
        numbers = torch.zeros(len(rows), dtype=torch.float64)
        if variable.number is not None:
            numbers = rows[:, place].double()
            place += 1
        yield Column(variable, rows[:, index].long(), numbers)


def unseen_rows(schema: TableSchema, frame: pd.DataFrame) -> NDArray[Any]:
    """Say which rows hold something that the schema has not seen."""
    return (schema.encode(frame)[:, : len(schema.columns)] == torch.tensor(schema.cardinalities) - 1).any(1).numpy()


def three_ways(scores: NDArray[Any], unseen: NDArray[Any]) -> dict[str, float | None]:
    """Return nats of the rows with nothing unseen, of all rows, and the share of rows with something unseen.

    The event "something not seen" is easier to predict than any of its members: no one figure tells all. Where all rows
    hold something unseen, the first is None.

    Args:
        scores: Log-likelihoods of rows.
        unseen: Which rows hold something not seen.
    """
    return {
        "test_nats": -float(scores.mean()),
        "test_standard_error": float(scores.std() / math.sqrt(len(scores))),
        "seen_nats": None if unseen.all() else -float(scores[~unseen].mean()),
        "unseen_share": float(unseen.mean()),
        "worst_row_nats": -float(scores.min()),
    }
