"""A Cauchy distribution of the logarithm of a distance: the heaviest tail that a likelihood needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from tessflow.randomness import uniform

__all__ = ["LogCauchy"]


class LogCauchy(Distribution):
    r"""A density on the line whose tails fall like :math:`1 / (|x| \log^2 |x|)`.

    .. math:: y = \mathrm{sign}(x - m) \log(1 + |x - m| / s) \sim \mathrm{Cauchy}(0, 1), \qquad
              p(x) = \frac{1}{\pi (1 + y^2)(s + |x - m|)}.

    At the end of float64 its log-density is about -720 nats, where that of a Cauchy distribution is -1,400.

    Args:
        loc: The centre :math:`m`, of any shape.
        scale: The scale :math:`s > 0`, of the same shape.

    Example:
        >>> tail = LogCauchy(torch.zeros(1).double(), torch.ones(1).double())
        >>> tail.log_prob(torch.tensor([1e300], dtype=torch.float64)).round()
        tensor([-705.], dtype=torch.float64)
        >>> tail.icdf(torch.tensor([0.75], dtype=torch.float64))  # e - 1
        tensor([1.7183], dtype=torch.float64)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> LogCauchy:
        """Return the same distribution with a larger batch shape."""
        return LogCauchy(self.loc.expand(tuple(batch_shape)), self.scale.expand(tuple(batch_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats; ``-inf`` at infinity."""
        half = self._half_distance(value)
        log_prob = -math.log(2 * math.pi) - self.level(value).square().log1p() - (self.scale / 2 + half).log()
        return log_prob.where(~value.isinf(), -math.inf)

    def log_mass(self, low: Tensor, high: Tensor, *, width: Tensor | float | None = None) -> Tensor:
        """Return the log-probability of ``low < x <= high``, without cancellation however far out that is.

        Args:
            low: Lower ends, perhaps infinite.
            high: Upper ends.
            width: ``high - low``, where float64 no longer tells the two apart.

        Returns:
            Nats; ``-inf`` where ``high <= low`` and no width is given.
        """
        start, end = self.level(low), self.level(high)
        same = (low >= self.loc) == (high >= self.loc)
        gap = (high - low if width is None else torch.as_tensor(width, dtype=low.dtype)).where(same, 0)
        # On one side the difference of two logarithms, by their ratio.
        near = 2 * torch.minimum(self._half_distance(low), self._half_distance(high))
        ratio = gap.clamp_min(0) / (self.scale + near)
        narrow = same & (ratio < 1)
        difference = torch.where(narrow, ratio.where(narrow, 0).log1p(), end - start)
        angle = torch.atan2(difference.clamp_min(0), 1 + start * end)
        some = low < high if width is None else torch.ones_like(angle, dtype=torch.bool)
        return (angle / math.pi).where(some, 0).log()

    def cdf(self, value: Tensor) -> Tensor:
        """Return the probability of ``x <= value``."""
        return 0.5 + self.level(value).atan() / math.pi

    def icdf(self, value: Tensor) -> Tensor:
        """Return quantiles, none of them beyond the range of the dtype."""
        return self.at_level((math.pi * (value - 0.5)).tan())

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), low: Tensor | float = -math.inf, high: Tensor | float = math.inf
    ) -> Tensor:
        """Draw samples, of all numbers or of those with ``low < x <= high``.

        Args:
            sample_shape: Shape of the sample.
            low: Lower ends of the range.
            high: Upper ends.
        """
        low, high = (torch.as_tensor(end, dtype=self.loc.dtype, device=self.loc.device) for end in (low, high))
        shape = torch.broadcast_shapes(self._extended_shape(Size(sample_shape)), low.shape, high.shape)
        part = uniform(shape, self.loc)
        start, end = self.level(low).atan(), self.level(high).atan()
        x = self.at_level((start + part * (end - start)).tan())
        # Next to each other two ends have the same level, but for rounding.
        x = torch.where((end - start) < 1e-9, low + part * (high - low), x)
        return x.clamp(torch.nextafter(low, high), high)

    def level(self, value: Tensor) -> Tensor:
        """Return the signed logarithm of the distance, :math:`y`."""
        half = self._half_distance(value)
        ratio = 2 * half / self.scale
        large = ~(ratio < 1e6)
        far = math.log(2) + half.where(large, 1).log() - self.scale.log()
        level = torch.where(
            large, far + (self.scale / (2 * half.where(large, 1))).log1p(), ratio.where(~large, 0).log1p()
        )
        # Infinity is as far as a product of two of them stays a number.
        level = level.where(~value.isinf(), torch.finfo(level.dtype).max ** 0.4)
        return torch.where(value < self.loc, -level, level)

    def at_level(self, level: Tensor) -> Tensor:
        """Undo :meth:`level`."""
        most = torch.finfo(self.loc.dtype).max
        size = level.abs().minimum(math.log(most) - self.scale.log().clamp_min(0) - 1)
        size = size.minimum(math.log(most) - self.scale.log() - 1)
        distance = torch.where(size > 30, (size + self.scale.log()).exp(), self.scale * size.clamp_max(30).expm1())
        return (self.loc + torch.where(level < 0, -distance, distance)).clamp(-most, most)

    def _half_distance(self, value: Tensor) -> Tensor:
        """Return half the distance from the centre, which never overflows; 1 at infinity."""
        return (value.where(~value.isinf(), 2.0) / 2 - self.loc / 2).abs()
