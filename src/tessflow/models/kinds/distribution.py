"""The distribution of one number: atoms beside a smooth part, perhaps cut off, and what is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tessflow.models.atoms import on_atoms
from tessflow.models.kinds.base import Values, draw_class
from tessflow.models.kinds.smooth import Smooth
from tessflow.models.variables import Restriction

__all__ = ["NumberDistribution"]


class NumberDistribution:
    r"""Numbers x of probability, or density, :math:`\pi_0 f(x) + \sum_k \pi_k 1[x = a_k]`, and what is no number.

    Cut off at ``low`` and ``high``, this is divided by its mass between them; what is no number keeps its probability.
    Where there is no mass between them, nothing is cut off; but where the two are one real number, that is drawn.

    Args:
        log_probs: Log-probabilities of the classes, ``(..., V, K)``: of class 0, the smooth part; of atoms; of others.
        smooth: The smooth part f, of batch shape ``(..., V)``.
        atoms: The atoms :math:`a_k`, ``(V, K)``, NaN for classes that are no atoms.
        whole: Whether numbers are whole, and f(x) stands for the mass of ``(x - 1/2, x + 1/2)``.
        low: No number is below it; broadcasts with ``(..., V)``.
        high: No number is above it.
        cut: Whether any is cut off at all.
    """

    def __init__(
        self, log_probs: Tensor, smooth: Smooth, atoms: Tensor, *, whole: bool, low: Tensor, high: Tensor, cut: bool
    ) -> None:
        shape = torch.broadcast_shapes(log_probs.shape[:-1], low.shape)
        self.log_probs, self.smooth, self.atoms = log_probs.double().expand(*shape, -1), smooth, atoms
        self.whole, self.half = whole, 0.5 if whole else 0.0
        self.is_number = ~atoms.isnan()
        self.is_number[:, 0] = True
        self.low, self.high = low.expand(shape), high.expand(shape)
        self.factor: Tensor | None = None  # what divides by the mass within
        self.only: Tensor | None = None  # the one number that is left, NaN where there are more
        if cut:
            within = self.log_range(self.low, self.high)
            some = within > -math.inf
            if not whole:
                is_point = (self.low - self.high).abs() <= 1e-9 * self.high.abs().clamp_min(1)  # but for rounding
                self.only = self.high.where(~some & is_point & self.high.isfinite(), math.nan)
            if not some.all():  # logarithms of 0, whose gradients are NaN
                self.low, self.high = self.low.where(some, -math.inf), self.high.where(some, math.inf)
                within = self.log_range(self.low, self.high)
            everything = self.log_probs.masked_fill(~self.is_number, -math.inf).logsumexp(-1)
            self.factor = torch.where(some, everything - within, 0)

    def log_prob(self, codes: Tensor, x: Tensor) -> Tensor:
        """Return log-probabilities, or of real numbers log-densities, of codes and of numbers where there is one.

        Args:
            codes: Shape ``(..., V)``.
            x: Numbers, atoms among them, of the same shape; NaN elsewhere.
        """
        shape = torch.broadcast_shapes(codes.shape, self.log_probs.shape[:-1])
        codes, x = codes.expand(shape), x.expand(shape)
        log_prob = self.log_probs.expand(*shape, -1).gather(-1, codes[..., None]).squeeze(-1)
        is_number = ~x.isnan()
        smooth = self.log_probs[..., 0] + self.log_at(x.where(x.isfinite(), 0))
        if self.whole:
            log_prob = torch.where(x.isfinite() & (codes > 0), torch.logaddexp(log_prob, smooth), log_prob)
        log_prob = torch.where(codes == 0, smooth, log_prob)
        return log_prob if self.factor is None else log_prob + torch.where(is_number, self.factor, 0)

    def mixed(self, log_weights: Tensor) -> NumberDistribution:
        """Return the mixture of components, one of the dimensions of this: ``(..., C, V)`` to ``(..., V)``.

        Each component is cut off by itself. All have the scale and the background of their variable, so that a mixture
        of smooth parts is one again, of a mixture of lines.

        Args:
            log_weights: The log-weights, normalised, ``(..., C, V)``.
        """
        log_probs = self.log_probs + log_weights[..., None]
        if self.factor is not None:
            log_probs = log_probs + torch.where(self.is_number, self.factor[..., None], 0)
        of_all = log_probs.logsumexp(-3)
        smooth = self.smooth.mixed(log_probs[..., 0] - of_all[..., None, :, 0])
        low, high = self.low.amin(-2), self.high.amax(-2)
        law = NumberDistribution(of_all, smooth, self.atoms, whole=self.whole, low=low, high=high, cut=False)
        if self.factor is not None:
            law.factor = torch.zeros_like(low)
            law.only = None if self.only is None else self.only.amax(-2)
        return law

    def log_at(self, x: Tensor) -> Tensor:
        """Return what the smooth part gives to finite numbers."""
        return self.smooth.log_cell(x) if self.whole else self.smooth.log_prob(x)

    def log_range(self, low: Tensor, high: Tensor, *, open_end: bool = False) -> Tensor:
        """Return the log-mass of ``low <= x <= high`` before anything is cut off; without the end, if it is open."""
        inside = self._inside(low, high, open_end=open_end)
        atoms = self.log_probs.masked_fill(~inside, -math.inf)
        smooth = self.log_probs[..., :1] + self.smooth.log_mass(low, high)[..., None]
        return torch.cat([smooth, atoms], -1).logsumexp(-1)

    def log_class_probs(self) -> Tensor:
        """Return log-probabilities of classes, ``(..., V, K)``: class 0 is all numbers that are no atoms."""
        parts = self.log_parts(None)
        if not self.whole or not self.is_number[:, 1:].any():
            return parts
        cells = self._log_cells() + (0 if self.factor is None else self.factor[..., None])
        inside = self._inside(self.low, self.high) & self.atoms.isfinite()
        cells = cells.masked_fill(~inside, -math.inf)
        own = torch.logaddexp(parts, cells)
        taken = (cells.logsumexp(-1) - parts[..., 0]).clamp_max(-1e-12)
        rest = parts[..., 0] + torch.log1p(-taken.exp())
        return torch.cat([rest[..., None], own[..., 1:]], -1)

    def log_parts(self, allowed: Restriction | None, mask: Tensor | None = None) -> Tensor:
        """Return log-masses of what is allowed of each class, ``(..., V, K)``; atoms in the range count as allowed.

        Args:
            allowed: What is allowed; ``None``: all.
            mask: Which classes are, boolean ``(V, K)``.
        """
        low, high = self.range(allowed)
        mask = torch.ones_like(self.is_number) if mask is None else mask
        ranged = mask[:, :1]
        points = () if allowed is None else allowed.points
        inside = self._inside(low, high) & (not points)
        atoms = self.is_number.clone()
        atoms[:, 0] = False
        covered = inside & ranged
        uncovered = atoms & mask & ~covered & self.atoms.isfinite()
        parts = self.log_probs
        if self.whole and uncovered.any():  # atoms that no range takes in, with the smooth part of their own
            parts = torch.where(uncovered, torch.logaddexp(parts, self._log_cells()), parts)
        within = self._inside(self.low, self.high)
        takes = torch.where(atoms, (mask | covered) & within, mask)
        parts = parts.masked_fill(~takes, -math.inf)
        mass = self._log_points(points).logsumexp(0) if points else self.smooth.log_mass(low, high)
        smooth = torch.where(ranged[:, 0], self.log_probs[..., 0] + mass, -math.inf)
        parts = torch.cat([smooth[..., None], parts[..., 1:]], -1)
        return parts if self.factor is None else parts + torch.where(self.is_number, self.factor[..., None], 0)

    def range(self, allowed: Restriction | None) -> tuple[Tensor, Tensor]:
        """Return the range allowed, within what is not cut off; where that is empty, its ends are not below another."""
        if allowed is None:
            return self.low, self.high
        return self.low.clamp_min(allowed.low), self.high.clamp_max(allowed.high)

    def draw(self, allowed: Restriction | None, mask: Tensor, *, closed: Tensor) -> Values:
        """Draw what is allowed; a number drawn on an atom is that atom.

        Args:
            allowed: What is allowed; ``None``: all.
            mask: Which classes are, boolean ``(V, K)``.
            closed: Of which variables atoms alone are drawn, where any is allowed, boolean ``(V,)``.
        """
        if allowed is None and self.factor is None:
            codes = draw_class(_closed(self.log_probs.masked_fill(~mask, -math.inf), closed))
            return self._values(codes, self.smooth.sample(), self.low, self.high)
        codes = draw_class(_closed(self.log_parts(allowed, mask), closed))
        low, high = self.range(allowed)
        if allowed is not None and allowed.points:
            chosen = draw_class(self._log_points(allowed.points).movedim(0, -1))
            points = torch.tensor(allowed.points, dtype=torch.float64, device=chosen.device)
            return Values(codes, points[chosen].where(codes == 0, 0))
        some = low < high
        low, high = low.where(some, -math.inf), high.where(some, math.inf)
        return self._at_only(self._values(codes, self.smooth.sample(low, high), low, high))

    def cdf(self, x: Tensor, *, open_end: bool = False) -> Tensor:
        """Return the probability of at most ``x`` (below it, if the end is open) of a number."""
        high = torch.minimum(x, self.high)
        share = self.log_range(self.low, high, open_end=open_end) - self.log_range(self.low, self.high)
        return share.exp().where(x >= self.low, 0)

    @torch.no_grad()
    def quantile(self, level: Tensor | float) -> Values:
        """Return the least numbers that have at least the probability ``level`` of no more than them."""
        goal = torch.as_tensor(level, dtype=torch.float64, device=self.atoms.device)
        goal_of_all = self.log_range(self.low, self.high).exp()
        goal = (goal * goal_of_all).expand(self.low.shape)
        inside = self._inside(self.low, self.high)
        # How much is below each atom, and up to it: shapes (K, ..., V).
        x = self._by_atom()
        below = self.log_range(self.low, x - self.half, open_end=True).exp().movedim(0, -1)
        up_to = self.log_range(self.low, x + self.half).exp().movedim(0, -1)
        hit = inside & (below < goal[..., None]) & (goal[..., None] <= up_to)
        before = (self.log_probs.exp() * (inside & (up_to < goal[..., None]))).sum(-1)
        mass = (goal - before).clamp_min(0) / self.log_probs[..., 0].exp().clamp_min(1e-300)
        x = self._above_low(mass)
        if self.factor is not None:  # beyond all that was seen, the background says nothing of where
            far = self.smooth.beside(self.low, self.high, goal / goal_of_all)
            x = torch.where(self.smooth.has_line(self.low, self.high), x, far)
        codes = torch.where(hit.any(-1), hit.long().argmax(-1), 0)
        return self._at_only(self._values(codes, x, self.low, self.high))

    @torch.no_grad()
    def mean(self, count: int = 32) -> Values:
        """Return the mean of a number, rounded where numbers are whole, and to an atom where no other number is left.

        Args:
            count: Of how many numbers the smooth part's is taken, at the middles of intervals of equal mass.
        """
        mass, levels = self.smooth.log_mass(self.low, self.high).exp(), self._middles(count)
        has_line = self.smooth.has_line(self.low, self.high)
        x = self._above_low(levels * mass).where(has_line, self.smooth.beside(self.low, self.high, levels)).mean(0)
        probs = self.log_probs.exp() * (self._inside(self.low, self.high) & self.atoms.isfinite())
        smooth, sums = self.log_probs[..., 0].exp() * mass, (probs * self.atoms.nan_to_num(0)).sum(-1)
        mean = (smooth * x + sums) / (smooth + probs.sum(-1)).clamp_min(1e-300)
        distance = (self.atoms - mean[..., None]).abs().masked_fill(~(probs > 0), math.inf)
        codes = torch.where((smooth == 0) & (probs > 0).any(-1), distance.argmin(-1), 0)
        return self._at_only(self._values(codes, mean, self.low, self.high))

    def strata(self, count: int) -> tuple[Tensor, Tensor]:
        """Return numbers that are no atoms, to take sums over them all: numbers, and logarithms of their weights.

        They are at the middles of so many intervals in which the smooth part has as much mass, ``(count, ..., V)``; a
        weight is that mass over a number's probability, or density, and 0 where a number is an atom.
        """
        mass = self.smooth.log_mass(self.low, self.high)
        x = self._above_low(self._middles(count) * mass.exp())
        found = self._values(torch.zeros_like(x, dtype=torch.int64), x, self.low, self.high)
        log_weights = mass - math.log(count) - self.log_at(found.numbers)
        return found.numbers, log_weights.where(found.codes == 0, -math.inf)

    def _middles(self, count: int) -> Tensor:
        """Return the middles of so many equal parts of 0 to 1, ``(count, ..., 1)``."""
        levels = (torch.arange(count, dtype=torch.float64, device=self.atoms.device) + 0.5) / count
        return levels.reshape(-1, *[1] * self.low.ndim)

    def _above_low(self, mass: Tensor) -> Tensor:
        """Return numbers, ``(..., V)``, between which and the lower end the smooth part has so much mass."""
        start = self.smooth.cdf(self.low).where(self.low > -math.inf, 0)
        tiny = torch.finfo(torch.float64).eps
        x = self.smooth.icdf((start + mass).clamp(tiny, 1 - tiny))
        return torch.maximum(torch.minimum(x, self.high), self.low)

    def _inside(self, low: Tensor, high: Tensor, *, open_end: bool = False) -> Tensor:
        """Return which atoms are in ranges ``(..., V)``, boolean ``(..., V, K)``."""
        end = self.atoms < high[..., None] if open_end else self.atoms <= high[..., None]
        return (self.atoms >= low[..., None]) & end

    def _by_atom(self) -> Tensor:
        """Return the atoms, ``(K, ..., V)``, and 0 where there is none."""
        atoms = self.atoms.nan_to_num(0.0, math.inf, -math.inf).mT
        return atoms.reshape(len(atoms), *[1] * (self.low.ndim - 1), -1).expand(-1, *self.low.shape)

    def closed(self, closed: Tensor) -> NumberDistribution:
        """Leave only atoms of numbers that are closed, boolean ``(V,)``, where there are any; changes it in place."""
        self.log_probs = _closed(self.log_probs, closed, among=self._inside(self.low, self.high))
        return self

    def _log_points(self, points: Sequence[float]) -> Tensor:
        """Return the smooth part's log-probabilities of whole numbers, ``(P, ..., V)``."""
        x = torch.tensor(points, dtype=torch.float64, device=self.atoms.device)
        x = x.reshape(-1, *[1] * self.low.ndim).expand(-1, *self.low.shape)
        return self.smooth.log_cell(x).masked_fill(~((x >= self.low) & (x <= self.high)), -math.inf)

    def _log_cells(self) -> Tensor:
        """Return the smooth part's log-probabilities of the atoms, ``(..., V, K)``."""
        atoms = self._by_atom()
        return self.log_probs[..., :1] + self.smooth.log_cell(atoms.where(atoms.isfinite(), 0)).movedim(0, -1)

    def _values(self, codes: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Values:
        """Return codes and numbers: whole ones rounded, inside of their bounds, and on atoms where they meet them."""
        if self.whole:
            # Half a unit inside of bounds that are halves: where rounding would leave them.
            x = torch.maximum(torch.minimum(x.round(), high - 0.5), low + 0.5)
        return Values(*on_atoms(codes, x, self.atoms))

    def _at_only(self, values: Values) -> Values:
        """Return values, of which numbers are the one that is left, where it is one."""
        if self.only is None:
            return values
        is_number = self.is_number.expand(*values.codes.shape, -1).gather(-1, values.codes[..., None]).squeeze(-1)
        moved = is_number & ~self.only.isnan()
        return Values(values.codes.masked_fill(moved, 0), self.only.where(moved, values.numbers))


def _closed(parts: Tensor, closed: Tensor, *, among: Tensor | None = None) -> Tensor:
    """Take class 0 from log-masses ``(..., V, K)`` where it is closed, boolean ``(V,)``, and others are left.

    Args:
        parts: The log-masses.
        closed: Where class 0 is not to be drawn.
        among: Which others count, boolean ``(..., V, K)``; ``None``: all.
    """
    left = parts > -math.inf if among is None else among & (parts > -math.inf)
    out = closed & left[..., 1:].any(-1)
    return torch.cat([parts[..., :1].masked_fill(out[..., None], -math.inf), parts[..., 1:]], -1)
