"""How close one table comes to another, both as `mixed_data.matrix` writes them: NaN where a value is missing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp  # type: ignore[import-untyped]
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score

__all__ = ["copies", "quality"]

Rows = NDArray[np.float64]


def quality(real: Rows, sample: Rows, is_class: NDArray[np.bool_], *, seed: int) -> dict[str, float | None]:
    """Compare two tables by their columns, by pairs of columns, by what is missing, and by whole rows.

    The first three are at most 1, the best, and are defined as the metrics of SDMetrics are.

    * shapes, a mean over columns, without missing values: 1 less the Kolmogorov-Smirnov distance of numbers, 1 less the
      total variation distance of classes.
    * trends, a mean over pairs of columns: of two numbers 1 less half the difference of Pearson's correlations; of
      others 1 less the total variation distance of the pairs, for which numbers fall into ten bins of equal width.
    * missing, a mean over columns with missing values: 1 less the difference of their shares.
    * told apart: the area under the ROC curve of boosted trees that tell real rows from sampled ones, in a
      cross-validation of five folds; 0.5 is the best.
    """
    columns, gaps = range(len(is_class)), np.isnan(real).any(axis=0)
    shares = 1 - np.abs(np.isnan(real).mean(axis=0) - np.isnan(sample).mean(axis=0))
    trends = [_trend(real[:, pair], sample[:, pair], is_class[list(pair)]) for pair in combinations(columns, 2)]
    return {
        "shapes": float(np.mean([_shape(real[:, [j]], sample[:, [j]], is_class[j]) for j in columns])),
        "trends": float(np.nanmean(trends)),  # a sample's constant number has no correlation
        "missing": float(shares[gaps].mean()) if gaps.any() else None,
        "told_apart": _told_apart(real, sample, is_class, seed),
    }


def copies(rows: Rows, train: Rows) -> float:
    """Return the share of rows that are the same in all columns as a training row."""
    seen = {row.tobytes() for row in _filled(train)}
    return float(np.mean([row.tobytes() in seen for row in _filled(rows)]))


def _told_apart(real: Rows, sample: Rows, is_class: NDArray[np.bool_], seed: int) -> float:
    rows, is_real = np.concatenate([real, sample]), np.repeat([1, 0], [len(real), len(sample)])
    trees = HistGradientBoostingClassifier(categorical_features=is_class, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(trees, rows, is_real, scoring="roc_auc", cv=folds).mean())


def _shape(real: Rows, sample: Rows, is_class: np.bool_) -> float:
    real, sample = real[~np.isnan(real)], sample[~np.isnan(sample)]
    if not len(sample):
        return 0.0
    return 1 - (_total_variation(real, sample) if is_class else float(ks_2samp(real, sample).statistic))


def _trend(real: Rows, sample: Rows, is_class: NDArray[np.bool_]) -> float:
    if not is_class.any():
        return 1 - abs(_correlation(real) - _correlation(sample)) / 2
    real, sample = real.copy(), sample.copy()
    for j in np.flatnonzero(~is_class):
        edges = np.histogram_bin_edges(real[~np.isnan(real[:, j]), j], bins=10)[1:-1]
        for rows in (real, sample):
            rows[:, j] = np.where(np.isnan(rows[:, j]), np.nan, np.digitize(rows[:, j], edges))
    return 1 - _total_variation(_filled(real), _filled(sample))


def _correlation(rows: Rows) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = rows[~np.isnan(rows).any(axis=1)].T
        return float(np.corrcoef(x, y).item(1))


def _total_variation(real: Rows, sample: Rows) -> float:
    """Return half the sum of the differences between the frequencies of values, or of rows."""
    _, places = np.unique(np.concatenate([real, sample]), axis=0, return_inverse=True)
    places = places.ravel()
    one, other = places[: len(real)], places[len(real) :]
    size = int(places.max()) + 1
    difference = np.bincount(one, minlength=size) / len(one) - np.bincount(other, minlength=size) / len(other)
    return 0.5 * float(np.abs(difference).sum())


def _filled(rows: Rows) -> Rows:
    """Return rows that are equal where they are the same: one number for what is missing, one zero."""
    return np.nan_to_num(rows, nan=-np.inf, neginf=-np.inf) + 0.0
