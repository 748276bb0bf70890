"""A monotone map of the line with many steps: the distribution function of a mixture of logistics, as log-odds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import log_softmax, logsigmoid

from tessflow.geometry import double

__all__ = ["LogisticMixtureTransform"]

# Steps of the inverse: Newton's, or half of the interval where that leaves it.
# It ends when all points are this close, relatively.
_STEPS, _CLOSE = 40, 1e-13
_FAR = 1e30  # stands for infinity


class LogisticMixtureTransform(Transform):
    r"""Map x to the log-odds of a mixture of M logistics being below it (Ho et al., 2019, Flow++).

    .. math:: z = \log \frac{F(x)}{1 - F(x)}, \qquad F(x) = \sum_m w_m \, \sigma\big((x - \mu_m) / s_m\big)

    A bijection of the line for any parameters: its tails are straight lines, and both F and 1 - F are summed, in log
    space. An infinite point is mapped as one very far away, with a log-slope of ``-inf``. The inverse is found by
    Newton's steps that are kept in an interval, and has the gradient of one. The arithmetic inside is float64.

    Args:
        logits: Unnormalised log-weights, shape ``(..., M)``.
        loc: Centres :math:`\mu`, of the same shape.
        log_scale: Logarithms of the scales :math:`s`.

    Example:
        >>> bend = LogisticMixtureTransform(torch.zeros(2), torch.tensor([-2.0, 2.0]), torch.zeros(2))
        >>> x = torch.tensor([-4.0, 0.0, 4.0])
        >>> bend(x), bend.log_abs_det_jacobian(x, bend(x)).exp()
        (tensor([-2.7368,  0.0000,  2.7368]), tensor([0.9404, 0.4200, 0.9404]))
        >>> bend.inv(bend(x)).allclose(x)
        True
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.log_weights, self.loc, self.log_scale = log_softmax(logits, -1), loc, log_scale

    def __repr__(self) -> str:
        return f"LogisticMixtureTransform(components={self.loc.shape[-1]})"

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-odds of points ``(...)``, and the logarithms of the slopes."""
        point = double(x).nan_to_num(torch.nan, _FAR, -_FAR)
        log_weights, loc, log_scale = double(self.log_weights), double(self.loc), double(self.log_scale)
        u = (point[..., None] - loc) * (-log_scale).exp()
        low, high = logsigmoid(u), logsigmoid(-u)
        below, above = (log_weights + low).logsumexp(-1), (log_weights + high).logsumexp(-1)
        log_density = (log_weights + low + high - log_scale).logsumexp(-1)
        log_slope = (log_density - below - above).masked_fill(x.isinf(), -torch.inf)
        return (below - above).to(x.dtype), log_slope.to(x.dtype)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of the slopes at ``x``."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        goal = double(y).nan_to_num(torch.nan, _FAR, -_FAR)
        with torch.no_grad():
            # At its own quantile each logistic is below by these odds: between the least and the greatest all are.
            quantiles = double(self.loc) + double(self.log_scale).exp() * goal[..., None]
            left, right = quantiles.amin(-1), quantiles.amax(-1)
            x = (left + right) / 2
            for _ in range(_STEPS):
                z, log_slope = self.call_and_ladj(x)
                if ((z - goal).abs() <= _CLOSE * (1 + goal.abs())).all():
                    break
                left, right = torch.where(z < goal, x, left), torch.where(z < goal, right, x)
                newton = x + (goal - z) * (-log_slope).exp()
                x = newton.where((newton > left) & (newton < right), (left + right) / 2)
        if torch.is_grad_enabled():
            z, log_slope = self.call_and_ladj(x)
            x = x + ((goal - z) * (-log_slope).exp()).nan_to_num()
        return x.to(y.dtype)
