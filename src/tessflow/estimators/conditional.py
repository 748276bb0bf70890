"""One column, given what is known of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.estimators.partial import Known
from tessflow.models import MatchedFlow, Restriction
from tessflow.models.distribution import VariableDistribution
from tessflow.randomness import Generators, generator, seeded
from tessflow.tables import NumericColumn, TableSchema
from tessflow.tables.columns import Encoded

__all__ = ["Conditional", "Strategy", "impute_rows"]

Strategy = Literal["typical", "mean", "sample"]
"""How a value is filled in; :meth:`TabularFlow.impute <tessflow.TabularFlow.impute>` says what each is."""


class Conditional:
    """The distribution of one column in each of some rows, given what is known of the other columns.

    Args:
        model: The model; in one of one order, the columns before are what is known.
        schema: The columns.
        known: What is known of encoded rows; whether the column's own values are is not looked at.
        n: The column.
        chunk: How many rows a pass holds.
        index: The index of the rows.
    """

    def __init__(
        self, model: MatchedFlow, schema: TableSchema, known: Known, n: int, chunk: int, index: pd.Index | None = None
    ) -> None:
        self.column = schema.columns[n]
        self._index = pd.RangeIndex(len(known.rows)) if index is None else index
        self._model, self._parts, self._n, self._known = model, model.conditionals, n, known
        self._places = torch.arange(len(known.rows)).split(chunk)
        self._last: tuple[int, VariableDistribution] | None = None

    def __repr__(self) -> str:
        rows = f"{len(self._index):,} row{'s' * (len(self._index) != 1)}"
        return f"Conditional of {self.column.name!r} ({self.column.kind}, {self.column.measure}) in {rows}"

    def probabilities(self) -> pd.DataFrame:
        """Return the probability of each class: of values, or of "a number" and its atoms, "missing" and "unseen".

        "a number" is any that is no atom; "unseen" is something not seen in training.

        Raises:
            ValueError: If the column has too many classes for each to have a probability.
        """
        if not self._law(0).has_class_log_probs:
            raise ValueError(
                f"column {self.column.name!r} has too many classes for each to have a probability: draw instead."
            )
        chances = torch.cat([law.class_log_probs().double().exp() for _, law in self._laws()]).numpy()
        return pd.DataFrame(chances, columns=pd.Index(self.column.labels, dtype=object), index=self._index)

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """Return quantiles of the numbers of a numeric column, missing and unseen values aside; one column a level.

        Args:
            levels: Between 0 and 1.

        Raises:
            ValueError: If the column holds no numbers, or a level is not between 0 and 1.
        """
        column = self._numeric()
        if not all(0 < level < 1 for level in levels):
            raise ValueError(f"levels lie between 0 and 1, got {list(levels)}.")
        found = [[law.quantile(level) for level in levels] for _, law in self._laws()]
        whole = [map(torch.cat, zip(*parts, strict=True)) for parts in zip(*found, strict=True)]
        values = [column.decode(Encoded(codes.numpy(), numbers.numpy())) for codes, numbers in whole]
        return pd.concat(values, axis=1, keys=levels).set_axis(self._index, axis=0)

    def pit(self, *, seed: int = 0) -> NDArray[np.float64]:
        """Return the probability integral transform of each row's own value: uniform on (0, 1) under the model.

        Where a value has a probability, it is drawn between the probabilities of less, and of no more. NaN where the
        value is missing, or was not seen.

        Args:
            seed: Of these draws.

        Raises:
            ValueError: If the column holds no numbers.
        """
        self._numeric()
        codes, numbers = self._parts.split(self._known.rows)
        x = self._parts.locate(self._n, codes.to(numbers.device), numbers).cpu()
        parts = [law.below_and_up_to(x[places].nan_to_num(0)) for places, law in self._laws()]
        below, up_to = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        draws = np.random.default_rng(seed).random(len(below))
        is_number = (~x.isnan() & self._known.where[:, self._n]).numpy()
        return np.where(is_number, below + (up_to - below) * draws, np.nan)

    def _laws(self) -> Iterator[tuple[Tensor, VariableDistribution]]:
        """Yield the distributions of some rows at a time, after their places."""
        return ((places, self._law(part)) for part, places in enumerate(self._places))

    def _law(self, part: int) -> VariableDistribution:
        """Return the distributions of one part of the rows, of which only the last part is kept."""
        if self._last is None or self._last[0] != part:
            device, places = self._model.bias.device, self._places[part]
            seen = self._known.where[places].to(device) if self._model.has_every_conditional else None
            law = self._model.conditional(self._known.rows[places].to(device), self._n, seen)
            self._last = part, law.cpu()
        return self._last[1]

    def _numeric(self) -> NumericColumn:
        if not isinstance(self.column, NumericColumn):
            raise ValueError(f"column {self.column.name!r} holds classes, not numbers: ask for their probabilities.")
        return self.column


def impute_rows(
    model: MatchedFlow,
    schema: TableSchema,
    known: Known,
    *,
    strategy: Strategy,
    generators: Generators,
    chunk: int,
) -> Tensor:
    """Fill what is not known of rows.

    Args:
        model: The model, of any order.
        schema: The columns.
        known: What is known of encoded rows.
        strategy: ``"typical"``: each value for itself, the most probable class, or the median of numbers and of
            ordered classes, given what is known, and what was filled in of columns that it has an order with.
            ``"mean"``: the same, but of numbers the mean, in steps of the column.
            ``"sample"``: a joint draw, each value given what is known and the values drawn before it, each row in one
            of the orders of the model.
        generators: Of the draws.
        chunk: How many rows a pass holds.

    Returns:
        The rows; columns of which nothing but missing values were seen stay as they are.
    """
    parts, device, columns = model.conditionals, model.bias.device, schema.columns
    filled, now = known.rows.clone(), known.where.clone()
    orders = model.orders_after() if strategy == "sample" else model.orders_after(count=1)
    with seeded(generators, redirect=False):
        which = torch.randint(len(orders), (len(filled),), generator=generator())
        for k, n in ((k, n) for k, order in enumerate(orders) for n in order):
            if not columns[n].fillable:
                continue
            allowed = Restriction(columns[n].fillable)
            joint = [strategy == "sample" or parts.are_in_order(n, other) for other in range(len(columns))]
            seen = known.where | (now & torch.tensor(joint))
            rows = (which == k) & ~known.where[:, n]
            for index in rows.nonzero().flatten().split(chunk):
                law = model.conditional(filled[index].to(device), n, seen[index].to(device))
                choose = {"typical": law.typical, "mean": law.mean, "sample": law.draw}[strategy]
                code, number = choose(allowed)
                filled[index, n] = code.cpu().to(filled.dtype)
                if n in parts.numeric:
                    filled[index, len(columns) + parts.numeric.index(n)] = number.cpu()
            now[rows, n] = True
    return filled
