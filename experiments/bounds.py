"""Importance-weighted bounds at several numbers of samples, from the same draws."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["bounds", "draw_log_ratios", "log_prob", "tightness"]

# Rows times importance samples in one pass.
_ROWS = 4096


@torch.no_grad()
def draw_log_ratios(model: Any, y: Tensor, samples: int) -> Tensor:
    """Return draws of log p(x) - log q(x | y), float64 ``(samples, rows)``, on the CPU.

    Args:
        model: A model with a bound: `elbo(y)` gives one draw a row.
        y: Rows, shape ``(rows, N)``.
        samples: The number of draws.
    """
    at_once = max(1, _ROWS // samples)
    draws = [model.elbo(rows.repeat(samples, 1)).double().cpu().reshape(samples, -1) for rows in y.split(at_once)]
    return torch.cat(draws, dim=1)


def bounds(log_ratios: Tensor, samples: int) -> Tensor:
    r"""Return the bound that averages ``samples`` ratios, :math:`\log \frac1S \sum_s p(x_s) / q(x_s | y)`, a row.

    Of more draws than that, all are used: the mean over groups has less noise and the same expectation.

    Args:
        log_ratios: Draws, shape ``(draws, rows)``; ``samples`` divides the number of draws.
        samples: The number of samples of the bound.

    Example:
        >>> bounds(torch.tensor([[0.0], [2.0]]), 1)
        tensor([1.])
    """
    groups = log_ratios.reshape(-1, samples, log_ratios.shape[-1])
    return (groups.logsumexp(1) - math.log(samples)).mean(0)


def tightness(log_ratios: Tensor) -> dict[str, float]:
    """Return the mean of the bounds, in nats below 0, at 1, 10, 100 and 1,000 samples, as far as there are draws."""
    counts = [count for count in (1, 10, 100, 1000) if len(log_ratios) % count == 0]
    return {str(count): -bounds(log_ratios, count).mean().item() for count in counts}


def log_prob(model: Any, y: Tensor) -> Tensor:
    """Return `model.log_prob(y)`: the objective of evaluating an exact model."""
    return model.log_prob(y)
