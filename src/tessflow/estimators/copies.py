"""Whether samples of a model copy the rows it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from tessflow.models import Variable
from tessflow.models.variables import stack_scales
from tessflow.transforms import PiecewiseLinear

__all__ = ["CopyCheck", "compare_copies", "nearest"]

LEVEL = 0.01
TRAIN_ROWS = 50_000
"""Training rows compared with, at most."""

# Pairs of rows that a pass holds.
_PAIRS = 1 << 20


class CopyCheck(BaseModel):
    """How near sampled rows, and held-out ones, come to rows of the training table.

    Args:
        rows: Rows sampled, and as many held out.
        train_rows: Rows of the training table.
        compared: Those compared with: all, or 50 000 at random.
        sample_copies: The share of sampled rows that are in the training table.
        table_copies: The share of held-out rows that are.
        train_copies: The share of training rows that are there twice or more: what to expect of held-out rows.
        sample_distance: The median distance of sampled rows to the nearest training row, between 0 and 1.
        table_distance: That of held-out rows.
        is_training: Whether the held-out rows are training rows, so that there is nothing to compare with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    train_rows: int
    compared: int
    sample_copies: float
    table_copies: float
    train_copies: float
    sample_distance: float
    table_distance: float
    is_training: bool


def compare_copies(
    sample: Tensor, table: Tensor, train: Tensor, variables: Sequence[Variable], *, train_rows: int
) -> tuple[CopyCheck, tuple[str, ...]]:
    """Compare the distances of sampled and of held-out rows to the nearest training row.

    Rows are at a distance of the mean over columns of 0 or 1 for classes, and of the difference of scores, at most 1,
    for numbers (Gower, 1971). Two shares differ if a one-sided two-proportion z-test at 1% says so.

    Args:
        sample: Encoded rows that a model drew.
        table: Encoded rows that it was not trained on.
        train: Encoded rows that it was, :data:`TRAIN_ROWS` of them at most.
        variables: What the columns are.
        train_rows: How many rows the training table has.

    Returns:
        What was measured, and warnings, a sentence each.
    """
    sample_distance, sample_copy = nearest(sample, train, variables)
    table_distance, table_copy = nearest(table, train, variables)
    twice = torch.tensor(pd.DataFrame(train.numpy()).duplicated(keep=False).to_numpy())
    copies = CopyCheck(
        rows=len(sample),
        train_rows=train_rows,
        compared=len(train),
        sample_copies=float(sample_copy.double().mean()),
        table_copies=float(table_copy.double().mean()),
        train_copies=float(twice.double().mean()),
        sample_distance=float(sample_distance.median()),
        table_distance=float(table_distance.median()),
        is_training=bool(table_copy.double().mean() > 0.5) and _more(table_copy, twice),
    )
    if copies.is_training:
        return copies, (
            f"{copies.table_copies:.0%} of the table's rows are rows of the training table, of which only "
            f"{copies.train_copies:.0%} come twice: nothing here speaks for rows that are new; give a table that "
            "the model was not fitted to.",
        )
    warnings = []
    if _more(sample_copy, table_copy):
        warnings.append(
            f"{copies.sample_copies:.1%} of sampled rows copy a training row, but only {copies.table_copies:.1%} of "
            "held-out rows are equal to one: the model has learned rows by heart."
        )
    half = copies.table_distance / 2
    if copies.sample_distance < half and _more(sample_distance < half, table_distance < half):
        warnings.append(
            f"sampled rows have a median distance of {copies.sample_distance:.3g} to the nearest training row, less "
            f"than half that of held-out rows, {copies.table_distance:.3g}: the model has learned rows by heart."
        )
    return copies, tuple(warnings)


def nearest(rows: Tensor, train: Tensor, variables: Sequence[Variable]) -> tuple[Tensor, Tensor]:
    """Find the nearest training row of each row.

    Args:
        rows: Encoded rows, ``(B, N)`` or ``(B, N + M)``.
        train: Encoded rows to search, at least one.
        variables: What the N columns are.

    Returns:
        Distances between 0 and 1, ``(B,)``; and whether the nearest row is equal, real numbers to within 1e-9 of
        themselves, boolean ``(B,)``.

    Example:
        >>> train = torch.tensor([[0, 1], [2, 1]])
        >>> nearest(torch.tensor([[0, 1], [2, 2]]), train, [Variable(3), Variable(3)])
        (tensor([0.0000, 0.5000]), tensor([ True, False]))
    """
    width = len(variables)
    numeric = [n for n, variable in enumerate(variables) if variable.number is not None]
    (codes, scores), (train_codes, train_scores) = (_by_column(part, variables) for part in (rows, train))
    distances, places = [], []
    for part in torch.arange(len(rows)).split(max(1, _PAIRS // len(train))):
        total = torch.zeros(len(part), len(train))
        for n in range(width):
            differs = codes[n, part, None] != train_codes[n]
            if n in numeric:
                m = numeric.index(n)
                gap = (scores[m, part, None] - train_scores[m]).abs_().clamp_(max=1)
                total += gap.masked_fill_(differs, 1)
            else:
                total += differs
        distance, place = total.min(1)
        distances.append(distance / width)
        places.append(place)
    found = train[torch.cat(places)]
    same = (rows[:, :width] == found[:, :width]).all(1)
    return torch.cat(distances), same & torch.isclose(rows[:, width:], found[:, width:], rtol=1e-9, atol=0).all(1)


def _by_column(rows: Tensor, variables: Sequence[Variable]) -> tuple[Tensor, Tensor]:
    """Return codes ``(N, B)`` and scores ``(M, B)``, 0 where there is no number, as single-precision numbers."""
    width = len(variables)
    codes = rows[:, :width].T.int().contiguous()
    numbers = [variable.number for variable in variables if variable.number is not None]
    if not numbers:
        return codes, torch.zeros(0, len(rows))
    scores = PiecewiseLinear(*stack_scales(numbers))(rows[:, width:])
    is_number = codes[[n for n, variable in enumerate(variables) if variable.number is not None]] == 0
    return codes, torch.where(is_number, scores.T, 0).float().contiguous()


def _more(some: Tensor, others: Tensor) -> bool:
    """Whether more of some than of others are true, beyond sampling error: a two-proportion z-test."""
    pooled = (int(some.sum()) + int(others.sum())) / (len(some) + len(others))
    error = math.sqrt(pooled * (1 - pooled) * (1 / len(some) + 1 / len(others)))
    excess = float(some.double().mean() - others.double().mean())
    return excess > NormalDist().inv_cdf(1 - LEVEL) * error
