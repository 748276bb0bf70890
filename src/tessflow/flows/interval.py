"""A disjoint mixture on the line: a mixture of logistics, tilted cell by cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import log_softmax, logsigmoid

from tessflow.geometry import double
from tessflow.randomness import categorical, uniform

__all__ = ["IntervalMixture"]

_FAR = 1e30  # stands for infinity, where products with it must stay numbers


class IntervalMixture(Distribution):
    r"""A density on the line, cut into K cells: a mixture of M logistics, reweighted cell by cell.

    Walls :math:`b_1 < \dots < b_{K-1}` cut the line into cells :math:`V_k = (b_{k-1}, b_k]`. With the base density
    :math:`f(z) = \sum_m w_m f_m(z)`, where :math:`w = \mathrm{softmax}(\mathrm{logits})` and :math:`f_m` is logistic,

    .. math:: p(z) = \frac{e^{t_k} f(z)}{Z} \text{ for } z \in V_k, \qquad Z = \sum_k e^{t_k} F(V_k), \qquad
              F(V) = \int_V f.

    Its components, f truncated to each cell, are disjoint; their weights are :math:`\pi_k \propto e^{t_k} F(V_k)`.
    Without a tilt it is f; with many cells it takes any shape. Masses are computed in log space, logistic by logistic:
    :math:`\sigma(B) - \sigma(A) = \sigma(B)\, \sigma(-A)\, (1 - e^{A - B})` has no cancellation in either tail.

    Args:
        walls: The walls, ascending, shape ``(K - 1,)``; none for K = 1.
        tilt: The log-factors of the cells :math:`t`, shape ``(..., K)``.
        logits: The unnormalised log-weights of the logistics, shape ``(..., M)``.
        loc: Their centres, shape ``(..., M)``.
        log_scale: The logarithms of their scales, shape ``(..., M)``.
        validate_args: Whether to check parameters and values; torch's default if ``None``.

    Raises:
        ValueError: If ``tilt`` has not one entry more than ``walls``, or arguments are validated and walls do not
            ascend.

    Attributes:
        log_weights: The log-probabilities of the cells :math:`\log \pi_k` in nats, shape ``(..., K)``.

    Example:
        >>> walls, one = torch.tensor([-1.0, 1.0]), torch.zeros(1)
        >>> d = IntervalMixture(walls, tilt=torch.tensor([0.0, 2.0, 0.0]), logits=one, loc=one, log_scale=one)
        >>> d.log_weights.exp()
        tensor([0.0680, 0.8639, 0.0680])
        >>> d.log_mass(-1.0, 1.0).exp()
        tensor(0.8639)
        >>> d.icdf(d.cdf(torch.tensor([0.2, 3.0])))
        tensor([0.2000, 3.0000])
        >>> bool((d.sample((1000,), low=2.0, high=3.0) > 2).all())
        True
    """

    arg_constraints = {  # noqa: RUF012
        "walls": constraints.real_vector,
        "tilt": constraints.real_vector,
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "log_scale": constraints.real_vector,
    }
    support = constraints.real
    walls: Tensor
    tilt: Tensor
    logits: Tensor
    loc: Tensor
    log_scale: Tensor
    log_weights: Tensor

    def __init__(
        self,
        walls: Tensor,
        tilt: Tensor,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if walls.ndim != 1 or tilt.shape[-1] != len(walls) + 1:
            raise ValueError(
                f"tilt must have one entry more than walls, (..., K) and (K - 1,), got {tuple(tilt.shape)} and "
                f"{tuple(walls.shape)}"
            )
        self.walls, self.tilt, self.logits, self.loc, self.log_scale = walls, tilt, logits, loc, log_scale
        shapes = (parameter.shape[:-1] for parameter in (tilt, logits, loc, log_scale))
        super().__init__(torch.broadcast_shapes(*shapes), validate_args=validate_args)
        if self._validate_args and not (walls.diff() > 0).all():
            raise ValueError(f"walls must ascend, got {walls.tolist()}")
        self._log_mix = log_softmax(logits, -1)
        self._rate = (-log_scale).exp()
        end = walls.new_tensor([_FAR])
        self._edges = torch.cat([-end, walls, end])
        x = self._standardize(walls)
        below, none = logsigmoid(x), x.new_zeros((*x.shape[:-1], 1))
        above = torch.cat([none, below - x], -1)
        tilted = tilt + self._log_base_mass(torch.cat([below, none], -1), above, self._edges.diff())
        log_total = tilted.logsumexp(-1, keepdim=True)
        self.log_weights, self._offset = tilted - log_total, tilt - log_total

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> IntervalMixture:
        """Return the same distribution with a larger batch shape."""
        new = cast("IntervalMixture", self._get_checked_instance(IntervalMixture, _instance))
        new.walls, new._edges = self.walls, self._edges
        for name in ("tilt", "logits", "loc", "log_scale", "log_weights", "_log_mix", "_rate", "_offset"):
            setattr(new, name, getattr(self, name).expand((*batch_shape, -1)))
        super(IntervalMixture, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats at values that broadcast with the batch shape; ``-inf`` at infinity."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self._edges.dtype)
        x = self._standardize(value.clamp(-_FAR, _FAR)[..., None])[..., 0]
        base = (self._log_mix - self.log_scale + logsigmoid(x) + logsigmoid(-x)).logsumexp(-1)
        log_prob = base + self._offsets(self._cell(value))[..., 0]
        return log_prob.where(~value.isinf(), -math.inf)

    def log_mass(self, low: Tensor | float, high: Tensor | float) -> Tensor:
        """Return the log-probability of ``low < z <= high`` in nats.

        Args:
            low: Lower ends, ``-inf`` if there are none; they broadcast with the batch shape.
            high: Upper ends, ``inf`` if there are none.

        Returns:
            Of the broadcast shape; ``-inf`` where ``high <= low``.
        """
        start, end = (bound.clamp(-_FAR, _FAR) for bound in self._bounds(low, high))
        some = ~start.ge(end)  # NaN stays NaN
        # (0, 1] stands for empty intervals, so that their gradients are zeros.
        return self._pieces(start.where(some, 0), end.where(some, 1))[0].logsumexp(-1).where(some, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the probability of ``z <= value``."""
        return self.log_mass(-math.inf, value).exp()

    @torch.no_grad()
    def icdf(self, value: Tensor) -> Tensor:
        """Return quantiles: solved to the precision of float64, without gradients.

        Args:
            value: Probabilities in [0, 1] that broadcast with the batch shape; at 0 and 1 quantiles are infinite.

        Raises:
            ValueError: If arguments are validated and probabilities are not in [0, 1].
        """
        if self._validate_args and not ((value >= 0) & (value <= 1)).all():
            raise ValueError("quantiles need probabilities in [0, 1]")
        exact, u = self._exact(), value.to(double(self._edges).dtype)
        limits = torch.finfo(u.dtype)
        weights = exact.log_weights.exp()
        cell = (weights.cumsum(-1)[..., :-1] < u[..., None]).sum(-1, keepdim=True)
        weights = weights.expand(*cell.shape[:-1], -1)
        before = torch.where(cell > 0, weights.cumsum(-1).gather(-1, cell - (cell > 0).long()), 0)
        part = ((u[..., None] - before) / weights.gather(-1, cell)).clamp(limits.tiny, 1 - limits.eps / 2)
        start, end = exact._edges[cell], exact._edges[cell + 1]
        # A quantile of the mixture lies between those of its logistics, all truncated to the cell.
        quantiles = _quantile(part, exact._standardize(start)[..., 0], exact._standardize(end)[..., 0])
        quantiles = (exact.loc + exact.log_scale.exp() * quantiles).clamp(start, end)
        left, right = quantiles.amin(-1, keepdim=True), quantiles.amax(-1, keepdim=True)
        for _ in range(80):
            middle = (left + right) / 2
            less = exact._interval(start, middle) - exact._interval(middle, end) < part.logit()
            left, right = middle.where(less, left), right.where(less, middle)
        found = ((left + right) / 2)[..., 0].where(~(u <= 0), -math.inf).where(~(u >= 1), math.inf)
        return found.to(self._edges.dtype)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), low: Tensor | float | None = None, high: Tensor | float | None = None
    ) -> Tensor:
        """Draw exact samples, of all numbers or of those with ``low < z <= high``, however improbable they are.

        A cell, or the part of it that lies in the range, is drawn first; then a logistic; then its truncated quantile.

        Args:
            sample_shape: Shape of the sample.
            low: Lower ends of the range, which broadcast with the batch shape; none by default.
            high: Upper ends of the range.

        Returns:
            Samples ``(*sample_shape, ...)``.

        Raises:
            ValueError: If a range is empty.
        """
        exact = self._exact()
        least, most = self._bounds(-math.inf if low is None else low, math.inf if high is None else high)
        if not least.lt(most).all():
            raise ValueError("low must be below high to sample between them")
        logits, starts, ends = exact._pieces(*(double(bound).clamp(-_FAR, _FAR) for bound in (least, most)))
        piece = categorical(logits, sample_shape)[..., None]
        shape, edges = piece.shape[:-1], exact._edges
        start = torch.cat([starts.expand(*shape, -1), edges[:-1].expand(*shape, -1)], -1).gather(-1, piece)
        end = torch.cat([ends.expand(*shape, -1), edges[1:].expand(*shape, -1)], -1).gather(-1, piece)
        a, b = exact._standardize(start)[..., 0], exact._standardize(end)[..., 0]
        part = -torch.expm1((end - start).clamp_min(1 / _FAR) * -exact._rate)
        masses = exact._log_mix + logsigmoid(b) + logsigmoid(-a) + part.log()
        logistic = categorical(masses)[..., None]
        part = uniform(start.shape, start).clamp_min(torch.finfo(start.dtype).eps / 4)
        x = _quantile(part, a.gather(-1, logistic), b.gather(-1, logistic))
        loc, log_scale = (p.expand(masses.shape).gather(-1, logistic) for p in (exact.loc, exact.log_scale))
        z = (loc + log_scale.exp() * x)[..., 0].to(least.dtype)
        return z.clamp(torch.nextafter(least, most), most)

    def _exact(self) -> IntervalMixture:
        """Return the distribution in float64."""
        parameters = (self.walls, self.tilt, self.logits, self.loc, self.log_scale)
        if all(double(parameter) is parameter for parameter in parameters):
            return self
        return IntervalMixture(*map(double, parameters), validate_args=False)

    def _bounds(self, low: Tensor | float, high: Tensor | float) -> list[Tensor]:
        """Return the ends of ranges as tensors of one shape."""
        bounds = [torch.as_tensor(bound, dtype=self._edges.dtype, device=self._edges.device) for bound in (low, high)]
        if self._validate_args:
            for bound in bounds:
                self._validate_sample(bound)
        return torch.broadcast_tensors(*bounds)

    def _standardize(self, points: Tensor) -> Tensor:
        """Return points ``(..., P)`` in the units of each logistic, ``(..., M, P)``."""
        return (points[..., None, :] - self.loc[..., None]) * self._rate[..., None]

    def _log_base_mass(self, below: Tensor, above: Tensor, width: Tensor) -> Tensor:
        """Return log F of P intervals from the log-masses below their ends and above their starts, ``(..., M, P)``."""
        exponent = below + above + self._log_mix[..., None]
        top = exponent.detach().amax(-2, keepdim=True)
        part = torch.expm1(width.clamp_min(1 / _FAR)[..., None, :] * -self._rate[..., None])
        return ((exponent - top).exp() * part).sum(-2).neg().log() + top.squeeze(-2)

    def _interval(self, start: Tensor, end: Tensor) -> Tensor:
        """Return log F of intervals ``(..., P)``."""
        below, above = logsigmoid(self._standardize(end)), logsigmoid(-self._standardize(start))
        return self._log_base_mass(below, above, end - start)

    def _cell(self, value: Tensor, *, right: bool = False) -> Tensor:
        """Return the cells of values, ``(..., 1)``; with ``right``, a wall is in the cell that starts there."""
        walls = self._edges[1:-1].detach()
        return torch.bucketize(value.detach().contiguous(), walls, right=right)[..., None]

    def _offsets(self, cell: Tensor) -> Tensor:
        """Return log p - log f in cells ``(..., P)``."""
        shape = torch.broadcast_shapes(cell.shape[:-1], self.batch_shape)
        return self._offset.expand(*shape, -1).gather(-1, cell.expand(*shape, -1))

    def _pieces(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut nonempty ranges by the walls: the first piece, the last, and K cells; what is not there weighs ``-inf``.

        Returns:
            Log-masses of the pieces ``(..., 2 + K)``, and starts and ends of the first two, ``(..., 2)``.
        """
        first, last = self._cell(low, right=True), self._cell(high)
        low, high, split = low[..., None], high[..., None], first < last
        starts = torch.cat([low, self._edges[last].where(split, low)], -1)
        ends = torch.cat([self._edges[first + 1].where(split, high), high], -1)
        cut = self._interval(starts, ends) + self._offsets(torch.cat([first, last], -1))
        cell = torch.arange(self.tilt.shape[-1], device=first.device)
        whole = self.log_weights.where((first < cell) & (cell < last), -math.inf)
        second = cut[..., 1:].where(split, -math.inf)
        return torch.cat([cut[..., :1], second, whole], -1), starts, ends


def _quantile(part: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the quantiles of the standard logistic truncated to (a, b]: its log-odds, accurate in both tails."""
    log_part, log_rest = part.log(), (-part).log1p()
    below = torch.logaddexp(log_rest + logsigmoid(a), log_part + logsigmoid(b))
    return below - torch.logaddexp(log_rest + logsigmoid(-a), log_part + logsigmoid(-b))
