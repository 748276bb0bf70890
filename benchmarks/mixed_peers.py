"""What the tabular flow is measured beside on mixed tables: densities, a Gaussian copula, imputers, other packages.

    pip install --no-deps pyagrum pydot arfpy miceforest lightgbm    # peers; what is absent is left out
    pip install mostlyai-engine                                      # TabularARGN, which brings much with it

Densities see a table as its schema encodes it; all others as `mixed_data.matrix` writes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from bayesian_network import fit_network
from latent_classes import fit_classes
from mixed_data import Split, matrix
from numpy.typing import NDArray
from random_forest import fit_forest
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes the next but one importable)
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler

__all__ = [
    "DENSITIES",
    "IMPUTERS",
    "argn",
    "gaussian_copula",
    "installed",
    "impute_by_regression",
    "impute_by_chained_trees",
    "impute_by_trees",
    "impute_most_frequent",
    "shuffled",
]

Rows = NDArray[np.float64]

# Each with the package that it needs. They are fitted to encoded columns of training and of validation rows.
DENSITIES: dict[str, tuple[str, Callable[..., Any]]] = {
    "Bayesian network": ("pyagrum", fit_network),
    "latent classes": ("sklearn", fit_classes),
    "adversarial random forest": ("arfpy", fit_forest),
}


def installed(method: str, package: str) -> bool:
    """Say whether a peer's package is installed, and print it if not."""
    there = find_spec(package) is not None
    if not there:
        print(f"without {method}, since {package} is not installed")
    return there


# Samples.


def shuffled(train: Rows, n: int, seed: int) -> Rows:
    """Draw each column on its own from the training rows."""
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.choice(column, n) for column in train.T])


def gaussian_copula(train: Rows, n: int, seed: int) -> Rows:
    """Sample from the training rows' own columns, coupled by a Gaussian copula.

    A value that many rows have stands for an interval of ranks, of which each row draws one; the normal scores of the
    ranks have a correlation matrix, pair by pair of the rows that have both. Whether a value is missing is a column of
    its own. A sample holds only values that occur in training rows.
    """
    generator, missing = np.random.default_rng(seed), np.isnan(train)
    gaps = np.flatnonzero(missing.any(axis=0))
    wide = np.hstack([train, missing[:, gaps]])
    ordered = [np.sort(column[~np.isnan(column)]) for column in wide.T]
    scores = np.full(wide.shape, np.nan)
    for j, values in enumerate(ordered):
        known = ~np.isnan(wide[:, j])
        low, high = (np.searchsorted(values, wide[known, j], side=side) for side in ("left", "right"))
        scores[known, j] = ndtri(generator.uniform(low, high) / len(values))
    correlation = pd.DataFrame(scores).corr().fillna(0.0).to_numpy()
    ranks = ndtr(generator.multivariate_normal(np.zeros(wide.shape[1]), correlation, n, check_valid="ignore"))
    columns = [values[(rank * len(values)).astype("int64")] for values, rank in zip(ordered, ranks.T, strict=True)]
    drawn, absent = np.column_stack(columns[: train.shape[1]]), columns[train.shape[1] :]
    for column, is_missing in zip(gaps, absent, strict=True):
        drawn[is_missing == 1, column] = np.nan
    return drawn


def argn(data: Split, n: int, seconds: float | None, seed: int) -> Any:
    """Fit TabularARGN of mostlyai-engine (Apache-2.0) and return what draws n rows, as a matrix.

    It stops by itself, or after some seconds. It gets the validation rows as well, and sets rows aside for itself. Its
    protection of rare values is off.
    """
    from mostlyai.engine import TabularARGN  # type: ignore[import-not-found, unused-ignore]

    rows = pd.concat([data.train, data.validation], ignore_index=True)
    kinds = {name: "TABULAR_CATEGORICAL" for name in rows.select_dtypes("category")}
    model = TabularARGN(
        **({} if seconds is None else {"max_training_time": seconds / 60}),
        value_protection=False,
        tgt_encoding_types=kinds,
        random_state=seed,
        device="cpu",
    ).fit(rows)
    return lambda: matrix(model.sample(n_samples=n), data.train)


# Imputation: rows of a matrix, with NaN for what is to be filled in.


def impute_most_frequent(train: Rows, rows: Rows, is_class: NDArray[np.bool_], seed: int = 0) -> Rows:
    """Fill in a class column's most frequent class, and the median of numbers."""
    filled = rows.copy()
    for strategy, columns in (("most_frequent", is_class), ("median", ~is_class)):
        if columns.any():
            filled[:, columns] = SimpleImputer(strategy=strategy).fit(train[:, columns]).transform(rows[:, columns])
    return filled


def impute_by_regression(train: Rows, rows: Rows, is_class: NDArray[np.bool_], seed: int) -> Rows:
    """Fill in by scikit-learn's IterativeImputer with its defaults: all standardised, classes by their codes."""
    scaler = StandardScaler().fit(train)
    imputer = IterativeImputer(random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        filled = scaler.inverse_transform(imputer.fit(scaler.transform(train)).transform(scaler.transform(rows)))
    whole = np.clip(np.rint(filled), np.nanmin(train, axis=0), np.nanmax(train, axis=0))
    return np.where(np.isnan(rows), np.where(is_class, whole, filled), rows)


def impute_by_trees(train: Rows, rows: Rows, is_class: NDArray[np.bool_], seed: int) -> Rows:
    """Fill in each column by scikit-learn's boosted trees, which see all others, and take missing values as such.

    For their training so many entries of the others are hidden that as large a share is missing as of the rows.
    """
    hidden = 1 - np.isfinite(rows).mean() / np.isfinite(train).mean()
    seen = np.where(np.random.default_rng(seed).random(train.shape) < hidden, np.nan, train)
    filled = rows.copy()
    for j in range(train.shape[1]):
        known, empty, others = ~np.isnan(train[:, j]), np.isnan(rows[:, j]), np.arange(train.shape[1]) != j
        trees = HistGradientBoostingClassifier if is_class[j] else HistGradientBoostingRegressor
        model = trees(categorical_features=is_class[others], random_state=seed)
        model.fit(seen[known][:, others], train[known, j])
        filled[empty, j] = model.predict(rows[empty][:, others])
    return filled


def impute_by_chained_trees(train: Rows, rows: Rows, is_class: NDArray[np.bool_], seed: int) -> Rows:
    """Fill in by miceforest (MIT): chained LightGBM models, five rounds over the training rows and these together.

    Its `impute_new_data` does not chain (6.0.5 begins each round with the first, random values). What a model predicts
    is taken itself, and not a similar row's value (mean matching), since errors are measured and not spread.
    """
    from miceforest import ImputationKernel  # type: ignore[import-not-found, import-untyped, unused-ignore]

    both = np.concatenate([train, rows])
    columns = {f"c{j}": pd.Series(column) for j, column in enumerate(both.T)}
    frame = pd.DataFrame(
        {name: column.astype("category") if is_class[int(name[1:])] else column for name, column in columns.items()}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare classes
        kernel = ImputationKernel(frame, mean_match_candidates=0, random_state=seed)
        kernel.mice(5, num_threads=1)
        filled = kernel.complete_data().to_numpy("float64")[len(train) :]
    return np.where(np.isnan(rows), filled, rows)


IMPUTERS: dict[str, tuple[str, Callable[..., Rows]]] = {
    "miceforest": ("miceforest", impute_by_chained_trees),
    "boosted trees": ("sklearn", impute_by_trees),
    "IterativeImputer": ("sklearn", impute_by_regression),
    "most frequent, median": ("sklearn", impute_most_frequent),
}
