"""What the tabular flow is measured beside on mixed tables: factorised densities, a Gaussian copula, other packages.

Densities see a table as the schema encodes it, so that all have one measure: numbers of a grid have probabilities,
others densities in their column's unit. All else sees a table as `mixed_data.matrix` writes it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mixed_data import Split, matrix
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri  # type: ignore[import-untyped]
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes the next but one importable)
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from tessflow.models.variables import Number, Variable
from tessflow.tables import TableSchema

__all__ = [
    "argn",
    "factorised",
    "gaussian_copula",
    "has_argn",
    "impute_by_regression",
    "impute_by_trees",
    "impute_most_frequent",
    "shuffled",
]

Rows = NDArray[np.float64]


# Log-likelihoods of rows under independent columns.


class Encoded(NamedTuple):
    """A column: its variable, the codes of its rows, and their numbers; only where the code is 0 there is one."""

    variable: Variable
    codes: NDArray[np.int64]
    numbers: Rows


def encoded(schema: TableSchema, frame: pd.DataFrame) -> Iterator[Encoded]:
    """Yield the columns of a table as its schema encodes them."""
    rows = schema.encode(frame).numpy()
    place = len(schema.columns)
    for index, variable in enumerate(schema.variables):
        numbers = np.empty(0)
        if variable.number is not None:
            numbers = rows[:, place]
            place += 1
        yield Encoded(variable, rows[:, index].astype("int64"), numbers)


def factorised(schema: TableSchema, data: Split, *, mixture: bool, seed: int) -> Rows:
    """Return log-likelihoods of the test rows, in nats, if each column is on its own.

    Classes have add-half frequencies. Numbers have the density that the schema's scale makes standard normal (between
    its knots close to a histogram), or a mixture of 1 to 10 Gaussians, as many as the validation rows choose.
    """
    total = np.zeros(len(data.test))
    parts = (encoded(schema, part) for part in (data.train, data.validation, data.test))
    for train, validation, test in zip(*parts, strict=True):
        counts = np.bincount(train.codes, minlength=train.variable.classes) + 0.5
        total += np.log(counts / counts.sum())[test.codes]
        number = train.variable.number
        if number is None:
            continue
        fitted, chosen, scored = (column.numbers[column.codes == 0] for column in (train, validation, test))
        density = _best_mixture(fitted, chosen, whole=number.whole, seed=seed) if mixture else _Scaled(number)
        total[test.codes == 0] += density.log_prob(scored)
    return total


class _Scaled:
    """The density of a number whose score is standard normal."""

    def __init__(self, number: Number) -> None:
        self.knots, self.scores, self.whole = np.array(number.knots), np.array(number.scores), number.whole

    def score(self, x: Rows) -> tuple[Rows, Rows]:
        """Return the scores, and the logarithms of the slope."""
        piece = np.clip(np.searchsorted(self.knots, x, side="right") - 1, 0, len(self.knots) - 2)
        slope = (np.diff(self.scores) / np.diff(self.knots))[piece]
        return self.scores[piece] + slope * (x - self.knots[piece]), np.log(slope)

    def log_prob(self, x: Rows) -> Rows:
        if self.whole:
            return _log_mass(self.score(x - 0.5)[0], self.score(x + 0.5)[0])
        score, log_slope = self.score(x)
        return _log_normal(score) + log_slope


class _Mixture(NamedTuple):
    """A mixture of Gaussians; the parameters have shape (components,)."""

    log_weights: Rows
    means: Rows
    deviations: Rows
    whole: bool

    def log_prob(self, x: Rows) -> Rows:
        def standard(x: Rows) -> Rows:
            return (x[:, None] - self.means) / self.deviations

        if self.whole:
            terms = _log_mass(standard(x - 0.5), standard(x + 0.5))
        else:
            terms = _log_normal(standard(x)) - np.log(self.deviations)
        return logsumexp(self.log_weights + terms, axis=1)


def _best_mixture(train: Rows, validation: Rows, *, whole: bool, seed: int) -> _Mixture:
    """Fit mixtures of 1 to 10 components; whole numbers are spread over their cells first."""
    spread = np.random.default_rng(seed).uniform(-0.5, 0.5, len(train)) if whole else 0.0
    mean, deviation = train.mean(), train.std() or 1.0
    rows = ((train + spread - mean) / deviation)[:, None]
    fits = []
    for components in range(1, min(10, len(rows)) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = GaussianMixture(components, reg_covar=1e-6, random_state=seed).fit(rows)
        means, deviations = mean + deviation * fit.means_[:, 0], deviation * np.sqrt(fit.covariances_[:, 0, 0])
        fits.append(_Mixture(np.log(fit.weights_), means, deviations, whole))
    return max(fits, key=lambda fit: fit.log_prob(validation).sum())


def _log_normal(z: Rows) -> Rows:
    return -0.5 * (z**2 + math.log(2 * math.pi))


def _log_mass(low: Rows, high: Rows) -> Rows:
    """Return the logarithm of a standard normal number's probability between two bounds."""
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)  # to the side where both are told apart
    return log_ndtr(high) + np.log(-np.expm1(log_ndtr(low) - log_ndtr(high)))


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


def has_argn() -> bool:
    """Say whether mostlyai-engine is installed."""
    return find_spec("mostlyai") is not None


def argn(data: Split, n: int, seconds: float, seed: int) -> Any:
    """Fit TabularARGN of mostlyai-engine (Apache-2.0) for a time, and return what draws n rows, as a matrix.

    It gets the validation rows as well, and sets rows aside for itself. Its protection of rare values is off.
    """
    from mostlyai.engine import TabularARGN  # type: ignore[import-not-found, unused-ignore]

    rows = pd.concat([data.train, data.validation], ignore_index=True)
    kinds = {name: "TABULAR_CATEGORICAL" for name in rows.select_dtypes("category")}
    model = TabularARGN(
        max_training_time=seconds / 60,
        value_protection=False,
        tgt_encoding_types=kinds,
        random_state=seed,
        device="cpu",
    ).fit(rows)
    return lambda: matrix(model.sample(n_samples=n), data.train)


# Imputation: rows of a matrix, with NaN for what is to be filled in.


def impute_most_frequent(train: Rows, rows: Rows, is_class: NDArray[np.bool_]) -> Rows:
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
