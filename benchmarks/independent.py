"""Independent columns, smoothed: how likely rows are if no column says anything of another.

They have the events and the measure of a schema, so that log-likelihoods can be compared row by row: probabilities of
classes, atoms, missing values, something not seen, and numbers on a grid; densities of others in their column's unit.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple, Protocol

import numpy as np
import torch
from events import Column, encoded
from mixed_data import Split
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from tessflow.flows import LogCauchy
from tessflow.models.variables import Number, Variable, stack_scales
from tessflow.tables import TableSchema
from tessflow.transforms import PiecewiseLinear

__all__ = ["Smooth", "factorised", "log_normal_mass", "shares", "smooth_part"]

# Rows behind each component of a mixture, and most components.
BACKING, COMPONENTS = 10, 10
# Rounds in which atoms and the smooth part share out what the rows on atoms weigh.
ROUNDS = 50


def factorised(schema: TableSchema, data: Split, *, mixture: bool, seed: int) -> NDArray[np.float64]:
    """Return log-likelihoods of the test rows, in nats, if each column is on its own.

    Numbers have the density that the schema's scale makes standard normal, which between its knots is close to a
    histogram; or this or a mixture of 1 to 10 Gaussians, as the validation rows choose. Both have the schema's
    background and bounds. A number on a grid has the mass of its cell. Classes have :func:`shares`.
    """
    total = torch.zeros(len(data.test), dtype=torch.float64)
    parts = (encoded(schema, part) for part in (data.train, data.validation, data.test))
    for train, validation, test in zip(*parts, strict=True):
        total += (
            _numbers(train, validation, test, mixture=mixture, seed=seed)
            if train.variable.number
            else _classes(train, test)
        )
    return total.numpy()


def shares(variable: Variable, counts: Tensor) -> Tensor:
    """Return probabilities of classes that came so often in the training rows.

    Of n rows, in which V classes came, n_1 of them once, each class gives up n_1 / (V + 1) rows for something not seen,
    which then has a share of about n_1 / n (Good, 1953); numbers, which are seen before they come, give up nothing. A
    class that is known and never came counts as half a row, and the schema's reserve is the least.
    """
    once, seen, last = int((counts == 1).sum()), int((counts > 0).sum()), len(counts) - 1
    discount = 0.0 if variable.number is not None else once / (seen + 1)
    rows = torch.where(counts > 0, counts - discount, 0.5)
    rows[last] = seen * discount
    keeps = torch.zeros(len(counts), dtype=torch.float64)
    keeps[[0, last] if variable.number is not None else [last]] = variable.reserve
    return keeps + (1 - keeps.sum()) * rows / rows.sum()


def _count(column: Column) -> Tensor:
    return torch.bincount(column.codes, minlength=column.variable.classes).double()


def _classes(train: Column, test: Column) -> Tensor:
    return shares(train.variable, _count(train)).log()[test.codes]


def smooth_part(train: Column, validation: Column, *, mixture: bool, seed: int) -> Smooth:
    """Return the distribution of a column's numbers that are no atoms, as the validation rows choose it."""
    number = train.variable.number
    assert number is not None
    fitted, chosen = (column.numbers[column.codes == 0] for column in (train, validation))
    lines: list[_Line] = [_Scaled(number)]
    if mixture:
        lines += _mixtures(fitted, whole=number.whole, seed=seed)
    return max((Smooth(number, line) for line in lines), key=lambda fit: float(fit.log_prob(chosen).sum()))


def _numbers(train: Column, validation: Column, test: Column, *, mixture: bool, seed: int) -> Tensor:
    number = train.variable.number
    assert number is not None
    smooth = smooth_part(train, validation, mixture=mixture, seed=seed)
    atoms = torch.tensor(number.atoms, dtype=torch.float64)
    on_atoms = torch.full((len(atoms),), -math.inf, dtype=torch.float64)
    counts = _count(train)
    weights = shares(train.variable, counts)
    if number.whole and len(atoms):  # whose probability is also the smooth part's
        on_atoms = torch.where(atoms.isfinite(), smooth.log_prob(atoms.where(atoms.isfinite(), 0)), -math.inf)
        weights = _shared_out(train.variable, counts, on_atoms.exp())
    log_prob = weights.log()
    log_prob[1 : 1 + len(atoms)] = torch.logaddexp(log_prob[1 : 1 + len(atoms)], log_prob[0] + on_atoms)
    scores = log_prob[test.codes]
    is_number = test.codes == 0
    scores[is_number] += smooth.log_prob(test.numbers[is_number])
    return scores


def _shared_out(variable: Variable, counts: Tensor, on_atoms: Tensor) -> Tensor:
    """Share out the rows on atoms between these and the smooth part, which has some mass there (EM)."""
    place = slice(1, 1 + len(on_atoms))
    rows = counts.clone()
    for _ in range(ROUNDS):
        weights = shares(variable, rows)
        smooth = counts[place] * weights[0] * on_atoms / (weights[place] + weights[0] * on_atoms)
        rows[0], rows[place] = counts[0] + smooth.sum(), (counts[place] - smooth).clamp_min(1e-9)
    return shares(variable, rows)


class _Line(Protocol):
    """A density on the line."""

    def log_prob(self, x: Tensor) -> Tensor: ...

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor: ...


class Smooth:
    """A density with the schema's background, within its bounds; of whole numbers the mass of their cells."""

    def __init__(self, number: Number, line: _Line) -> None:
        scale = PiecewiseLinear(*stack_scales([number]))
        low, middle, high = scale.inv(torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64))[:, 0]
        self.line, self.whole = line, number.whole
        self.background = LogCauchy(middle, (high / 2 - low / 2).clamp_min(1e-300))
        self.log_shares = math.log1p(-number.background), math.log(number.background or 1e-300)
        ends = torch.tensor([[number.low], [number.high]], dtype=torch.float64)
        self.within = self._mixed(line.log_mass(*ends), self.background.log_mass(*ends))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of real numbers, the log-probability of whole ones."""
        if self.whole:
            ends = x - 0.5, x + 0.5
            both = self.line.log_mass(*ends), self.background.log_mass(*ends, width=1.0)
        else:
            both = self.line.log_prob(x), self.background.log_prob(x)
        return self._mixed(*both) - self.within

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the logarithm of the mass between two bounds, which lie within the schema's."""
        return self._mixed(self.line.log_mass(low, high), self.background.log_mass(low, high)) - self.within

    def _mixed(self, line: Tensor, background: Tensor) -> Tensor:
        return torch.logaddexp(self.log_shares[0] + line, self.log_shares[1] + background)


class _Scaled:
    """The density of a number whose score is standard normal."""

    def __init__(self, number: Number) -> None:
        self.scale = PiecewiseLinear(*stack_scales([number]))

    def log_prob(self, x: Tensor) -> Tensor:
        score, log_slope = self.scale.call_and_ladj(x[:, None])
        return (_log_normal(score) + log_slope)[:, 0]

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        return log_normal_mass(self._score(low), self._score(high))

    def _score(self, x: Tensor) -> Tensor:
        return torch.where(x.isinf(), x, self.scale(x.clamp(-1e300, 1e300)[:, None])[:, 0])


class _Mixture(NamedTuple):
    """A mixture of Gaussians; the parameters have shape (components,)."""

    log_weights: Tensor
    means: Tensor
    deviations: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return (self.log_weights - self.deviations.log() + _log_normal(self._standard(x))).logsumexp(1)

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        return (self.log_weights + log_normal_mass(self._standard(low), self._standard(high))).logsumexp(1)

    def _standard(self, x: Tensor) -> Tensor:
        return (x[:, None] - self.means) / self.deviations


def _mixtures(x: Tensor, *, whole: bool, seed: int) -> list[_Mixture]:
    """Fit mixtures of 1, 2, ... components; whole numbers are spread over their cells first."""
    rows = x.numpy()
    if len(rows) < 2:
        return []
    spread = np.random.default_rng(seed).uniform(-0.5, 0.5, len(rows)) if whole else 0.0
    mean, deviation = rows.mean(), rows.std() or 1.0
    standard = ((rows + spread - mean) / deviation)[:, None]
    fits = []
    for components in range(1, max(1, min(COMPONENTS, len(rows) // BACKING)) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = GaussianMixture(components, reg_covar=1e-6, random_state=seed).fit(standard)
        means, deviations = mean + deviation * fit.means_[:, 0], deviation * np.sqrt(fit.covariances_[:, 0, 0])
        fits.append(_Mixture(*(torch.from_numpy(part) for part in (np.log(fit.weights_), means, deviations))))
    return fits


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z**2 + math.log(2 * math.pi))


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return the logarithm of a standard normal number's probability between two bounds."""
    turned = low > 0  # to the side where both are told apart
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    start, end = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return end + (-torch.expm1(start - end)).log()
