"""One column, given what is known of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.models import MatchedFlow, Restriction
from tessflow.tables import NumberColumn, TableSchema
from tessflow.training.evaluation import seeded

__all__ = ["Conditional", "impute_rows"]


class Conditional:
    """The distribution of one column in each of some rows, given what is known of the other columns.

    Args:
        model: The model; in one of one order, the columns before are what is known.
        schema: The columns.
        rows: Encoded rows.
        known: Which of their values are known, boolean ``(rows, N)``; the column's own is not looked at.
        n: The column.
        chunk: How many rows a pass holds.
        index: The index of the rows.
    """

    def __init__(
        self,
        model: MatchedFlow,
        schema: TableSchema,
        rows: Tensor,
        known: Tensor,
        n: int,
        chunk: int,
        index: pd.Index | None = None,
    ) -> None:
        self.column = schema.columns[n]
        self._index = pd.RangeIndex(len(rows)) if index is None else index
        self._schema, self._model, self._n, self._rows, self._known = schema, model, n, rows, known
        parts = zip(rows.split(chunk), known.split(chunk), strict=True)
        device = model.bias.device
        blocks = [model.block(part.to(device), n, seen.to(device) if model.any_order else None) for part, seen in parts]
        self._block = torch.cat(blocks).cpu()

    def probabilities(self) -> pd.DataFrame:
        """Return the probability of each class: of values, or of "a number" and the atoms beside it, and "missing".

        Raises:
            ValueError: If the column has too many classes for each to have a probability.
        """
        chances = self._model.conditionals.class_log_probs(self._n, self._block).double().exp().numpy()
        if isinstance(self.column, NumberColumn):
            names: list[Any] = ["a number", *self.column.atoms]
        else:
            names = list(self.column.values)
        names += ["missing"] * (self.column.missing is not None)
        return pd.DataFrame(chances, columns=pd.Index(names, dtype=object), index=self._index)

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """Return quantiles of the numbers of a numeric column, atoms left aside; one column a level.

        Args:
            levels: Between 0 and 1.

        Raises:
            ValueError: If the column holds no numbers, or a level is not between 0 and 1.
        """
        column = self._numeric()
        if not all(0 < level < 1 for level in levels):
            raise ValueError(f"levels lie between 0 and 1, got {list(levels)}.")
        zero = np.zeros(len(self._block), dtype=np.int64)
        values = [
            column.decode(zero, self._model.conditionals.quantile(self._n, self._block, level).numpy())
            for level in levels
        ]
        return pd.concat(values, axis=1, keys=levels).set_axis(self._index, axis=0)

    def pit(self, *, seed: int = 0) -> NDArray[np.float64]:
        """Return the probability integral transform of each row's own value: uniform on (0, 1) under the model.

        Whole numbers have theirs drawn between the probabilities of less, and of no more. NaN where the value is an
        atom or missing.

        Args:
            seed: Of these draws.

        Raises:
            ValueError: If the column holds no numbers.
        """
        column = self._numeric()
        parts = self._model.conditionals
        codes, numbers = parts.split(self._rows)
        number = numbers[:, parts.numeric.index(self._n)]
        if column.whole:
            below, above = (parts.cdf(self._n, self._block, number + half).numpy() for half in (-0.5, 0.5))
            draws = np.random.default_rng(seed).random(len(below))
            values = below + (above - below) * draws
        else:
            values = parts.cdf(self._n, self._block, number).numpy()
        is_number = ((codes[:, self._n] == 0) & self._known[:, self._n]).numpy()
        return np.where(is_number, values, np.nan)

    def _numeric(self) -> NumberColumn:
        if not isinstance(self.column, NumberColumn):
            raise ValueError(f"column {self.column.name!r} holds classes, not numbers: ask for their probabilities.")
        return self.column


def impute_rows(
    model: MatchedFlow,
    schema: TableSchema,
    rows: Tensor,
    known: Tensor,
    *,
    strategy: Literal["typical", "sample"],
    seed: int,
    chunk: int,
) -> Tensor:
    """Fill what is not known of rows.

    Args:
        model: The model, of any order.
        schema: The columns.
        rows: Encoded rows.
        known: What is known of them, boolean ``(rows, N)``.
        strategy: ``"typical"``: each value for itself, the most probable class, or the median of numbers and of
            ordered classes, given what is known. ``"sample"``: a joint draw, each value given what is known and the
            values drawn before it.
        seed: Of the draws.
        chunk: How many rows a pass holds.

    Returns:
        The rows; columns of which nothing but missing values were seen stay as they are.
    """
    parts, device = model.conditionals, model.bias.device
    rows, filled, now = rows.clone(), rows.clone(), known.clone()
    with seeded(seed, device):
        for n, column in enumerate(schema.columns):
            codes = tuple(range(column.cardinality - (column.missing is not None)))
            if not codes:
                continue
            for index in (~known[:, n]).nonzero().flatten().split(chunk):
                source = rows if strategy == "typical" else filled
                seen = known if strategy == "typical" else now
                block = model.block(source[index].to(device), n, seen[index].to(device))
                if strategy == "sample":
                    code, number = parts.draw(n, block, Restriction(codes))
                elif isinstance(column, NumberColumn):
                    code, number = parts.typical(n, block, Restriction(codes), atoms=column.encoded_atoms.tolist())
                else:
                    ordered = column.kind in ("integer", "ordinal")
                    code, number = parts.typical(n, block, Restriction(codes), ordered=ordered)
                filled[index, n] = code.cpu().to(filled.dtype)
                if n in parts.numeric:
                    filled[index, len(schema.columns) + parts.numeric.index(n)] = number.cpu()
            now[:, n] = True
    return filled
