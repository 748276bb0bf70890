"""An exponential moving average of a model's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["update_average"]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, *, decay: float, updates: int) -> None:
    r"""Move the weights of `average`, a copy of `model`, towards those of `model`.

    .. math:: \bar w \leftarrow d_t \bar w + (1 - d_t) w, \qquad d_t = \min\left(d, \frac{t}{t + 9}\right)

    for :math:`t` updates made before this one. The first update copies: nothing of the initial weights stays
    (a layer that initialises itself on its first batch has none worth keeping), and early on the average
    spans about the last tenth of the run. Buffers are averaged too; where that has no meaning (integers,
    booleans, entries that are infinite or not a number) they are copied.

    Args:
        average: The averaged model, changed in place.
        model: The model in training, of the same structure.
        decay: :math:`d`, the decay reached in the long run.
        updates: :math:`t`, the number of updates made before.

    Example:
        >>> average, model = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> update_average(average, model, decay=0.999, updates=0)
        >>> bool(average.weight == model.weight)
        True
    """
    decay = min(decay, updates / (updates + 9))
    mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    averaged, current = list(average.parameters()), list(model.parameters())
    mean(averaged, [parameter.detach() for parameter in current], updates)
    for target, source in zip(average.buffers(), model.buffers(), strict=True):
        target.copy_(_mean(target, source, 1.0 - decay) if source.is_floating_point() else source)


def _mean(target: Tensor, source: Tensor, weight: float) -> Tensor:
    mean = target.lerp(source, weight)
    return torch.where(mean.isnan(), source, mean)
