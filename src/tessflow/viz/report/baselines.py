"""Two models without dependence between columns, to measure a likelihood against."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from tessflow.models.kinds import NumberDistribution, Numbers, Values, kinds_of
from tessflow.models.kinds.smooth import Smooth
from tessflow.models.variables import Variable
from tessflow.tables import TableSchema
from tessflow.tables.scales import standard_scale
from tessflow.transforms import PiecewiseLinear

__all__ = ["score_independent"]

# Added to the count of each class (Krichevsky and Trofimov, 1981).
_SMOOTHING = 0.5

# Most components of a mixture, and rows that each needs.
_COMPONENTS, _BACKING = 8, 10


def score_independent(schema: TableSchema, train: Tensor, test: Tensor, *, mixtures: bool) -> NDArray[np.float64]:
    """Score rows by a model of independent columns, on the same events as the model itself.

    Classes, atoms, missing values and something not seen have smoothed frequencies, the last at least its reserve.
    Numbers have a smooth part with the background and the bounds of their column: a density in its unit, or on a grid
    the probability of (i - 1/2, i + 1/2), to which an atom there adds its own.

    Args:
        schema: The columns.
        train: Encoded rows to fit to.
        test: Encoded rows to score.
        mixtures: Whether the smooth part is a mixture of Gaussians, whose components are counted by the Bayesian
            information criterion; or normal on the schema's own scale.

    Returns:
        Nats, shape ``(rows, columns)``, all finite.

    Example:
        >>> import pandas as pd
        >>> schema = TableSchema.infer(pd.DataFrame({"wet": [True, False] * 50}))
        >>> train, test = torch.tensor([[1]] * 9), torch.tensor([[1], [0], [2]])  # the last was not seen
        >>> score_independent(schema, train, test, mixtures=True).round(2).tolist()
        [[-0.11], [-3.05], [-2.95]]
    """
    scores = np.zeros((len(test), len(schema.columns)))
    place = len(schema.columns)
    for n, column in enumerate(schema.columns):
        (kind,) = kinds_of((column.variable,), 1, most_logits=column.cardinality, limited=False)
        numbers = place if column.numeric else None
        seen, values = _values(train, n, numbers), _values(test, n, numbers)
        block = _frequencies(kind.start().double(), seen.codes, column.variable)
        if isinstance(kind, Numbers):
            law = _law(kind, column.variable, block, seen, mixtures=mixtures)
            found = law.log_prob(values.codes, kind.locate(values))
            place += 1
        else:
            found = kind.log_prob(block, values)
        scores[:, n] = found[:, 0].numpy()
    return scores


def _frequencies(block: Tensor, codes: Tensor, variable: Variable) -> Tensor:
    """Return a block whose classes are as frequent as codes ``(B, 1)``, smoothed, and as what was not seen may be."""
    counts = torch.bincount(codes[:, 0], minlength=variable.classes).double() + _SMOOTHING
    unseen = max(variable.reserve, dict(variable.rare)[variable.classes - 1])
    shares = counts / counts[:-1].sum() * (1 - unseen)
    shares[-1] = max(unseen, float(shares[-1]))
    block[:, : variable.classes] = (shares / shares.sum()).log()
    return block


def _values(rows: Tensor, n: int, place: int | None) -> Values:
    codes = rows[:, [n]].long()
    return Values(codes, torch.zeros_like(codes, dtype=torch.float64) if place is None else rows[:, [place]].double())


def _law(kind: Numbers, variable: Variable, block: Tensor, seen: Values, *, mixtures: bool) -> NumberDistribution:
    """Return the distribution of a block with another smooth part: of normal distributions."""
    law, number = kind.distribution(block), variable.number
    assert number is not None
    x = seen.numbers[seen.codes == 0]
    line, scale = _mixture(x, whole=number.whole) if mixtures and len(x) > 1 else (_Normals(), law.smooth.scale)
    smooth = Smooth(line, scale, law.smooth.background, law.smooth.share)  # type: ignore[arg-type]
    low, high = torch.tensor([[number.low], [number.high]], dtype=torch.float64)
    return NumberDistribution(law.log_probs, smooth, law.atoms, whole=kind.whole, low=low, high=high, cut=kind.cut)


def _mixture(x: Tensor, *, whole: bool) -> tuple[_Normals, PiecewiseLinear]:
    values, counts = np.unique(x.numpy(), return_counts=True)
    knots, scores = torch.tensor(standard_scale(values, counts, whole=whole), dtype=torch.float64)
    scale = PiecewiseLinear(knots, scores)  # squares of the numbers themselves might overflow
    train = scale(x[:, None]).numpy()
    most = max(1, min(_COMPONENTS, len(train) // _BACKING, len(values)))
    fits = [GaussianMixture(k, random_state=0, max_iter=200) for k in range(1, most + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that could still improve is a baseline, too
        best = min((fit.fit(train) for fit in fits), key=lambda fit: fit.bic(train))
    parts = (best.weights_, best.means_[:, 0], np.sqrt(best.covariances_[:, 0, 0]))
    return _Normals(*map(torch.from_numpy, parts)), scale


class _Normals:
    """A mixture of normal distributions on the line of scores; N(0, 1) by default."""

    def __init__(
        self, weights: Tensor | None = None, means: Tensor | None = None, deviations: Tensor | None = None
    ) -> None:
        one = torch.ones(1, dtype=torch.float64)
        self.weights, self.means = one if weights is None else weights, 0 * one if means is None else means
        self.deviations = one if deviations is None else deviations

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities."""
        parts = _log_normal(self._standard(z)) - self.deviations.log()
        return (self.weights.log() + parts).logsumexp(-1)

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log-probabilities of ranges."""
        return (self.weights.log() + _log_mass(self._standard(low), self._standard(high))).logsumexp(-1)

    def _standard(self, z: Tensor) -> Tensor:
        return (z[..., None] - self.means) / self.deviations


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z**2 + math.log(2 * math.pi))


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return log P(low < z < high), z of N(0, 1): a difference in the lower tail, or density times width if narrow."""
    width = high - low
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    difference = above + torch.log1p(-(below - above).exp().clamp(max=1 - 1e-15))
    return torch.where(width < 1e-3, _log_normal((low + high) / 2) + width.log(), difference)
