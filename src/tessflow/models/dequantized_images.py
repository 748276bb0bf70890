"""Images of whole numbers from 0 to 255, and the density that a lower bound of their probability comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from zuko.lazy import LazyDistribution

from tessflow.configuration import Configured
from tessflow.randomness import draw, uniform

__all__ = ["DequantizedImages"]

# Logits are taken of numbers at least this far from 0 and 1. Black and white, which are most pixels of some sets, are
# then a fifth of all that logits reach; with Real NVP's 0.05 they are an eightieth, which flows are slow to magnify.
_MARGIN = 1e-4


class DequantizedImages(Configured):
    r"""Images of bytes under a density of R^(C x H x W), with uniform noise.

    .. math:: x = (y + u) / 256, \quad u \sim U[0, 1)^D, \qquad v = \mathrm{logit}(\alpha + (1 - 2 \alpha) x),
              \quad \alpha = 10^{-4},

    .. math:: \log p(y) \ge E_u \Big[ \log p(v) + \sum_d \log \frac{dv_d}{dx_d} - D \log 256 \Big]

    by Jensen's inequality (Theis, van den Oord & Bethge, 2016; the logit: Dinh et al., 2017). Noise of the density
    outside of [0, 1) is lost to the bound. Bits a dimension are nats over :math:`D \log 2`.

    Args:
        flow: A lazy density over R^(C x H x W): ``flow().log_prob(v)`` for ``v`` of shape ``(B, C, H, W)``.

    Example:
        >>> from tessflow.models import ImageMixture
        >>> model = DequantizedImages(ImageMixture((1, 4, 4), layers=2, hidden_channels=8))
        >>> y = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
        >>> model.elbo(y).shape, model.log_prob(y, samples=10).shape
        (torch.Size([5]), torch.Size([5]))
        >>> model.sample((2,)).dtype
        torch.uint8
    """

    lower_bound = True

    def __init__(self, flow: LazyDistribution) -> None:
        super().__init__()
        self.flow = flow

    def to_real(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Add noise and take logits.

        Args:
            y: Bytes, shape ``(B, C, H, W)``.

        Returns:
            Real numbers of the same shape, and ``log|dv/dy|``, shape ``(B,)``.
        """
        like = next(self.flow.parameters())
        if y.is_floating_point() and (y != y.round()).any():
            raise ValueError("images are bytes, whole numbers from 0 to 255, and some values are no whole numbers.")
        y = y.to(like.dtype)
        share = _MARGIN + (1 - 2 * _MARGIN) * (y + uniform(y.shape, y)) / 256
        v = share.logit()
        # The slope of the logit is 1 / (share (1 - share)).
        log_slope = F.softplus(v) + F.softplus(-v) + math.log((1 - 2 * _MARGIN) / 256)
        return v, log_slope.flatten(1).sum(-1)

    def elbo(self, y: Tensor) -> Tensor:
        """Return one draw of the bound on log p(y), nats: bytes ``(B, C, H, W)`` to ``(B,)``."""
        v, log_det = self.to_real(y)
        return self.flow().log_prob(v) + log_det

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 1) -> Tensor:
        """Return the importance-weighted bound on log p(y) of so many draws, nats: ``(B, C, H, W)`` to ``(B,)``.

        Raises:
            ValueError: If ``samples`` is below 1, or ``y`` has a value that is not one of 0, ..., 255.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}.")
        if y.numel() and (y.min() < 0 or y.max() > 255):
            raise ValueError(f"images have values from 0 to 255, got {y.min().item()} to {y.max().item()}.")
        total = self.elbo(y)
        for _ in range(samples - 1):
            total = torch.logaddexp(total, self.elbo(y))
        return total - math.log(samples)

    @torch.no_grad()
    def initialize(self, y: Tensor) -> None:
        """Let the density place its cells by bytes ``(B, C, H, W)``."""
        self.flow.initialize(self.to_real(y)[0])

    def to_bytes(self, v: Tensor) -> Tensor:
        """Return the bytes, uint8, nearest below real numbers of any shape."""
        share = (v.sigmoid() - _MARGIN) / (1 - 2 * _MARGIN)
        return (256 * share).floor().clamp(0, 255).to(torch.uint8)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw images of bytes, uint8 ``(*sample_shape, C, H, W)``."""
        return self.to_bytes(draw(self.flow(), sample_shape))
