"""The smooth part of the distribution of numbers: a mixture on the line of scores, and a background."""

from __future__ import annotations

import torch
from torch import Tensor

from tessflow.flows import IntervalMixture, LogCauchy
from tessflow.models.kinds.line import Line, MixedLine
from tessflow.randomness import uniform
from tessflow.transforms import PiecewiseLinear

__all__ = ["Smooth"]

# Scores between which a density is as good as even, and beyond which the background has all mass there is.
_NARROW, _FAR = 1e-9, 1e6
# Stands for a share of 0, whose logarithm must be a number.
_NONE = 1e-300
# Halvings of an interval of float64.
_HALVINGS = 80


class Smooth:
    r"""A density of numbers, :math:`(1 - \epsilon) f(s(x)) s'(x) + \epsilon b(x)`.

    f is a disjoint mixture on the line of scores, s the scale, b the background. Ranges are ``low < x <= high``.

    Args:
        line: The mixture, of batch shape ``(..., V)``; or a mixture of such.
        scale: The scales, whose knots have shape ``(V, Q)``.
        background: The backgrounds, of batch shape ``(V,)``.
        share: Their shares :math:`\epsilon`, ``(V,)``.
    """

    def __init__(self, line: Line, scale: PiecewiseLinear, background: LogCauchy, share: Tensor) -> None:
        self.line, self.scale, self.background, self.share = line, scale, background, share

    def mixed(self, log_weights: Tensor) -> Smooth:
        """Return the mixture of lines ``(..., C, V)``, whose log-weights have that shape, with the same background."""
        assert isinstance(self.line, IntervalMixture)
        return Smooth(MixedLine(self.line, log_weights), self.scale, self.background, self.share)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log-densities of numbers ``(..., V)``."""
        z, log_slope = self.scale.call_and_ladj(x)
        density = self.line.log_prob(_near(z)) + log_slope
        return torch.logaddexp(*self._parts(density, self.background.log_prob(x)))

    def log_cell(self, x: Tensor) -> Tensor:
        """Return log-probabilities of ``(x - 1/2, x + 1/2]`` for whole numbers ``(..., V)`` of any size."""
        z, log_slope = self.scale.call_and_ladj(x)
        low, high = _near(self.scale(x - 0.5)), _near(self.scale(x + 0.5))
        mass = self.line.log_mass(low, high)
        # Float64 does not tell the ends of billions apart: there the density is as even as a constant.
        narrow = (high - low) < _NARROW
        mass = torch.where(narrow, self.line.log_prob(_near(z)) + log_slope, mass)
        return torch.logaddexp(*self._parts(mass, self.background.log_mass(x - 0.5, x + 0.5, width=1.0)))

    def log_mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log-probabilities of ranges, whose ends may be infinite."""
        return torch.logaddexp(*self._log_masses(low, high))

    def cdf(self, x: Tensor) -> Tensor:
        """Return the probability of at most ``x``."""
        return self.log_mass(torch.full_like(x, -torch.inf), x).exp()

    @torch.no_grad()
    def icdf(self, level: Tensor) -> Tensor:
        """Return quantiles: between those of the two parts, found by halving."""
        parts = [self.scale.inv(self.line.icdf(level)), self.background.icdf(level)]
        ends = [self.background.level(part) for part in torch.broadcast_tensors(*parts)]
        left, right = torch.minimum(*ends), torch.maximum(*ends)
        for _ in range(_HALVINGS if self.share.any() else 0):
            middle = (left + right) / 2
            less = self.cdf(self.background.at_level(middle)) < level
            left, right = middle.where(less, left), right.where(less, middle)
        found = self.background.at_level((left + right) / 2)
        return torch.where(self.share > 0, found, parts[0])

    @torch.no_grad()
    def sample(self, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        """Draw a number of each range, if any is given: of the line, or beside the range's end where that has nothing.

        The background keeps likelihoods finite, and is nothing to draw from: its numbers would be of any size.
        """
        if low is None or high is None:
            return self.scale.inv(self.line.sample())
        start, end = self._score(low), self._score(high)
        apart = start < end
        z = self.line.sample((), low=start.where(apart, -1), high=end.where(apart, 1))
        far = self.beside(low, high, uniform(low.shape, low))
        return torch.where(
            self.has_line(low, high) & apart, torch.maximum(torch.minimum(self.scale.inv(z), high), low), far
        )

    def has_line(self, low: Tensor, high: Tensor) -> Tensor:
        """Return whether the line has more of ranges than the background, boolean ``(..., V)``."""
        line, background = self._log_masses(low, high)
        return line >= background

    def beside(self, low: Tensor, high: Tensor, level: Tensor | float) -> Tensor:
        """Return quantiles of exponential distributions of the scale's width, at the ends of ranges that are nearer."""
        width, up = self.background.scale, (low >= self.background.loc) | high.isinf()
        span = ((high - low) / width).clamp_min(0)
        distance = -(-level * -torch.expm1(-span)).log1p() * width
        x = torch.where(up, low + distance, high - distance)
        return torch.maximum(torch.minimum(x, high), low)

    def _log_masses(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithms of what the line and the background give to ranges, ``(..., V)`` each."""
        return self._parts(self.line.log_mass(self._score(low), self._score(high)), self.background.log_mass(low, high))

    def _score(self, x: Tensor) -> Tensor:
        return torch.where(x.isinf(), x, self.scale(x.clamp(-1e300, 1e300)))

    def _parts(self, line: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Return logarithms of what the line and the background have, each with its share."""
        return (-self.share).log1p() + line.double(), self.share.clamp_min(_NONE).log() + background


def _near(score: Tensor) -> Tensor:
    """Keep scores where float32 holds what their densities are; beyond, the background is all that counts."""
    return score.clamp(-_FAR, _FAR)
