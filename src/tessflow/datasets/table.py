"""A discrete table in its three parts, and the value every model of it has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

__all__ = ["TableDataset", "independent_columns_nats", "split_rows"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TableDataset:
    """A discrete table split into training, validation and test rows.

    Args:
        name: Name in the catalogue.
        description: What a row is, in one sentence.
        source: Where these very rows come from: a file, a download or a generator.
        train: Training rows; strings or integers, one named column a variable.
        validation: Validation rows, the same columns.
        test: Test rows, the same columns.
        floor: Entropy of a row in nats if every row of the population is equally likely, so that no model's
            expected negative log-likelihood is lower; `None` where it is not known.
        paper: Negative log-likelihood of a row in nats as published for Voronoi dequantization, or `None`.

    Example:
        >>> from tessflow.datasets import load
        >>> nursery = load("nursery")
        >>> nursery.train.shape, nursery.validation.shape, nursery.test.shape
        ((10367, 8), (1296, 8), (1297, 8))
        >>> round(nursery.floor, 4)
        9.4696
    """

    name: str
    description: str
    source: str
    train: pd.DataFrame = field(repr=False)
    validation: pd.DataFrame = field(repr=False)
    test: pd.DataFrame = field(repr=False)
    floor: float | None = None
    paper: float | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """All rows: training, then validation, then test."""
        return pd.concat([self.train, self.validation, self.test], ignore_index=True)


def split_rows(
    frame: pd.DataFrame, *, seed: int, fractions: tuple[float, float] = (0.8, 0.1), blank_lines: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Split rows at random as the paper does: permute the lines, then cut.

    The lines 0..n-1 are permuted by `numpy.random.RandomState(seed)`; the first `floor(fractions[0] * n)` are
    for training, the next `floor(fractions[1] * n)` for validation, the rest for testing.

    Args:
        frame: The rows, in the order of their file.
        seed: Seed of the permutation.
        fractions: Shares of the training and of the validation part.
        blank_lines: Blank lines at the end of the file. They take part in the permutation, then vanish.

    Returns:
        Training, validation and test rows, each in its permuted order with a fresh index.

    Example:
        >>> parts = split_rows(pd.DataFrame({"digit": range(10)}), seed=0)
        >>> [part["digit"].tolist() for part in parts]
        [[2, 8, 4, 9, 1, 6, 7, 3], [0], [5]]
    """
    lines = len(frame) + blank_lines
    order = np.random.RandomState(seed).permutation(lines)
    first, second = (math.floor(fraction * lines) for fraction in fractions)
    train, validation, test = (
        frame.iloc[part[part < len(frame)]].reset_index(drop=True) for part in np.split(order, [first, first + second])
    )
    return train, validation, test


def independent_columns_nats(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Cross-entropy of test rows under independent columns fitted on training rows, in nats a row.

    With `n_v` training rows (of `n`) that hold value `v`, a column has `p(v) = (n_v + 1/2) / (n + K/2)`, the
    add-half estimate of Krichevsky and Trofimov; its alphabet of K values is what occurs in either part.

    Args:
        train: Rows to count.
        test: Rows to score, with the same columns.

    Returns:
        Mean over test rows of `-sum_columns log p(value)`.

    Raises:
        ValueError: If the columns differ or a part has no rows.

    Example:
        >>> train = pd.DataFrame({"coin": ["heads", "tails", "heads"]})
        >>> round(independent_columns_nats(train, pd.DataFrame({"coin": ["heads"]})), 4)  # -log (2.5 / 4)
        0.47
    """
    if list(train.columns) != list(test.columns):
        raise ValueError(f"train has columns {list(train.columns)} but test has {list(test.columns)}")
    if train.empty or test.empty:
        raise ValueError(f"both parts need rows, but train has {len(train)} and test has {len(test)}")
    total = 0.0
    for column in train.columns:
        codes, alphabet = pd.factorize(pd.concat([train[column], test[column]]), use_na_sentinel=False)
        seen, scored = (np.bincount(part, minlength=len(alphabet)) for part in np.split(codes, [len(train)]))
        log_p = np.log((seen + 0.5) / (len(train) + 0.5 * len(alphabet)))
        total -= float(scored @ log_p) / len(test)
    return total
