"""Two models without dependence between columns, to measure a likelihood against."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from tessflow.tables import NumericColumn, TableSchema
from tessflow.transforms import PiecewiseLinear

__all__ = ["score_independent"]

# Most components of a mixture, and rows that each needs.
_COMPONENTS, _BACKING = 8, 10
# Added to the count of each class (Krichevsky and Trofimov, 1981).
_SMOOTHING = 0.5


def score_independent(schema: TableSchema, train: Tensor, test: Tensor, *, mixtures: bool) -> NDArray[np.float64]:
    """Score rows by a model of independent columns.

    Classes, atoms and missing values have smoothed frequencies. Numbers have, as the model counts them, a density in
    the unit of their column, or, if they are whole, the probability of (i - 1/2, i + 1/2).

    Args:
        schema: The columns.
        train: Encoded rows to fit to.
        test: Encoded rows to score.
        mixtures: Whether numbers have a mixture of Gaussians, whose components are counted by the Bayesian information
            criterion; or the schema's own scale, which maps those it was read from to about N(0, 1).

    Returns:
        Nats, shape ``(rows, columns)``.

    Example:
        >>> import pandas as pd
        >>> schema = TableSchema.infer(pd.DataFrame({"wet": [True, False]}))
        >>> train, test = torch.tensor([[1]] * 9), torch.tensor([[1], [0]])
        >>> score_independent(schema, train, test, mixtures=True).round(2).tolist()
        [[-0.05], [-3.0]]
    """
    scores = np.zeros((len(test), len(schema.columns)))
    place = len(schema.columns)
    for n, column in enumerate(schema.columns):
        counts = torch.bincount(train[:, n].long(), minlength=column.cardinality).double() + _SMOOTHING
        codes = test[:, n].long()
        column_scores = (counts / counts.sum()).log()[codes]
        if isinstance(column, NumericColumn):
            number = test[:, place]
            seen = train[train[:, n] == 0, place]
            density = _mixture(column, seen, number) if mixtures and len(seen) > 1 else _scaled(column, number)
            column_scores = column_scores + torch.where(codes == 0, density, 0.0)
            place += 1
        scores[:, n] = column_scores.numpy()
    return scores


def _scaled(column: NumericColumn, number: Tensor) -> Tensor:
    scale = PiecewiseLinear(torch.tensor(column.knots).double(), torch.tensor(column.scores).double())
    if column.whole:
        return _log_mass(scale(number - 0.5), scale(number + 0.5))
    score, log_slope = scale.call_and_ladj(number)
    return _log_normal(score) + log_slope


def _mixture(column: NumericColumn, seen: Tensor, number: Tensor) -> Tensor:
    size = float(seen.abs().max()) or 1.0  # squares of the numbers themselves might overflow
    centre, spread = (seen / size).mean(), float((seen / size).std(correction=0)) or 1.0
    train = ((seen / size - centre) / spread).numpy()[:, None]
    most = max(1, min(_COMPONENTS, len(train) // _BACKING, len(np.unique(train))))
    fits = [GaussianMixture(k, random_state=0, max_iter=200) for k in range(1, most + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that could still improve is a baseline, too
        best = min((fit.fit(train) for fit in fits), key=lambda fit: fit.bic(train))
    means, deviations = torch.tensor(best.means_[:, 0]), torch.tensor(best.covariances_[:, 0, 0]).sqrt()

    def standard(value: Tensor) -> Tensor:
        return ((value[:, None] / size - centre) / spread - means) / deviations

    if column.whole:
        parts = _log_mass(standard(number - 0.5), standard(number + 0.5))
    else:
        parts = _log_normal(standard(number)) - (deviations * spread).log() - np.log(size)
    return (torch.tensor(best.weights_).log() + parts).logsumexp(-1)


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z**2 + np.log(2 * np.pi))


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return log P(low < z < high), z of N(0, 1): a difference in the lower tail, or density times width if narrow."""
    width = high - low
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    difference = above + torch.log1p(-(below - above).exp().clamp(max=1 - 1e-15))
    return torch.where(width < 1e-3, _log_normal((low + high) / 2) + width.log(), difference)
