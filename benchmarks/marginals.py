"""A column on its own, where the densities that are peers begin: probabilities of its codes, and of its numbers.

What a peer learns of a column in a cell (a leaf, a class, values of other columns) it mixes with this: the rows in the
cell count beside alpha rows of the marginal distribution. Nothing that a schema allows is then impossible.
"""

from __future__ import annotations

import torch
from events import Column
from independent import log_normal_mass, shares, smooth_part
from torch import Tensor
from torch.distributions import Normal

from tessflow.models.variables import stack_scales
from tessflow.transforms import PiecewiseLinear

__all__ = ["Marginal", "Numbers", "marginals"]

# The least that is left of a distribution without its atoms.
LEAST = 1e-12


def marginals(train: list[Column], validation: list[Column], *, seed: int) -> list[Marginal]:
    """Fit all columns."""
    return [Marginal(*columns, seed=seed) for columns in zip(train, validation, strict=True)]


class Marginal:
    """A column on its own.

    Attributes:
        weights: Probabilities of the codes, as `shares` gives them.
        numbers: The distribution of numbers with the code 0, if there are any.
    """

    def __init__(self, train: Column, validation: Column, *, seed: int) -> None:
        counts = torch.bincount(train.codes, minlength=train.variable.classes).double()
        self.weights = shares(train.variable, counts)
        self.numbers = Numbers(train, validation, seed=seed) if train.variable.number else None


class Numbers:
    """The numbers of a column that are no atoms: where they lie, their marginal distribution, and normal ones.

    Intervals are half-open, (low, high]. Of whole numbers the bounds are halves, all probabilities are of cells, and
    the cells of atoms are left out, so that a number is one event.
    """

    def __init__(self, train: Column, validation: Column, *, seed: int) -> None:
        number = train.variable.number
        assert number is not None
        self.whole, self.low, self.high = number.whole, number.low, number.high
        self.scale = PiecewiseLinear(*stack_scales([number]))
        self.smooth = smooth_part(train, validation, mixture=True, seed=seed)
        atoms = torch.tensor(number.atoms, dtype=torch.float64)
        self.atoms = atoms[atoms.isfinite()] if number.whole else atoms[:0]

    def scores(self, x: Tensor) -> Tensor:
        """Return where numbers lie on the schema's scale, on which they are about standard normal."""
        flat = self.scale(x.clamp(-1e300, 1e300).reshape(-1, 1)).reshape(x.shape)
        return torch.where(x.isinf(), x, flat)

    def bounds(self, scores: Tensor) -> Tensor:
        """Return the numbers at scores, as bounds."""
        x = self.scale.inv(scores.clamp(-1e6, 1e6).reshape(-1, 1)).reshape(scores.shape)
        x = torch.where(scores.isinf(), scores, x.floor() + 0.5 if self.whole else x)
        return x.clamp(self.low, self.high)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the marginal log-probability of numbers, given that they are no atoms."""
        whole = torch.tensor([[self.low], [self.high]], dtype=torch.float64)
        return self.smooth.log_prob(x) - self.log_mass(*whole, within=False)

    def log_mass(self, low: Tensor, high: Tensor, *, within: bool = True) -> Tensor:
        """Return the marginal log-probability of intervals, given that the number is no atom if `within`."""
        mass = self.smooth.log_mass(low, high).exp()
        mass = mass - self._atoms_in(low, high, self.smooth.log_prob(self.atoms).exp())
        log_mass = mass.clamp_min(LEAST).log()
        if not within:
            return log_mass
        whole = torch.tensor([[self.low], [self.high]], dtype=torch.float64)
        return (log_mass - self.log_mass(*whole, within=False)).clamp_max(0.0)

    def normal_log_prob(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return log-probabilities if the score is normal, without bounds and with atoms."""
        if self.whole:
            return log_normal_mass(*((self.scores(end) - mean) / deviation for end in (x - 0.5, x + 0.5)))
        score, log_slope = self.scale.call_and_ladj(x.reshape(-1, 1))
        return Normal(mean, deviation).log_prob(score.reshape(x.shape)) + log_slope.reshape(x.shape)

    def normal_log_mass(self, low: Tensor, high: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return what is left of a normal score within an interval, without atoms: a logarithm."""
        log_mass = log_normal_mass(*((self.scores(end) - mean) / deviation for end in (low, high))).clamp_min(-700)
        if not len(self.atoms):
            return log_mass
        at = self.normal_log_prob(self.atoms, mean[..., None], deviation[..., None]) - log_mass[..., None]
        rest = 1 - self._atoms_in(low, high, at.exp())
        return log_mass + rest.clamp_min(LEAST).log()

    def _atoms_in(self, low: Tensor, high: Tensor, mass: Tensor) -> Tensor:
        inside = (low[..., None] < self.atoms) & (self.atoms < high[..., None])
        return (inside * mass).sum(-1)
