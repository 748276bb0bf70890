"""The objective of a model, row by row: as a module for training, as a function for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tessflow.randomness import draws_by_itself, redirected, seeded

__all__ = ["Objective", "RowwiseObjective", "evaluate"]

Objective = Callable[[Any, Tensor], Tensor]


def elbo(model: Any, batch: Tensor) -> Tensor:
    """Return `model.elbo(batch)`: the default objective."""
    return model.elbo(batch)


class RowwiseObjective(nn.Module):
    """The objective as a module whose `forward` maps a batch (B, ...) to one log-probability a row, (B,).

    Precision plugins and data-parallel wrappers see a model only through `forward`. Random calls of modules and
    objectives that are not of this package are redirected to the generators of :func:`~tessflow.randomness.seeded`.

    Args:
        model: The model to train or evaluate.
        objective: Maps `(model, batch)` to a tensor of shape (B,); default: `model.elbo(batch)`.
    """

    def __init__(self, model: nn.Module, objective: Objective | None = None) -> None:
        super().__init__()
        self.model = model
        self.objective = elbo if objective is None else objective
        self.redirects = any(map(draws_by_itself, (*model.modules(), self.objective)))

    def forward(self, batch: Tensor) -> Tensor:
        """Log-probability, or a bound on it, of every row of `batch`, in nats."""
        with redirected() if self.redirects else nullcontext():
            values = self.objective(self.model, batch)
        if values.shape != batch.shape[:1]:
            raise ValueError(
                f"the objective returned shape {tuple(values.shape)} for a batch of {len(batch)} rows; "
                f"return one value per row, shape {tuple(batch.shape[:1])}"
            )
        return values


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Tensor,
    *,
    objective: Objective | None = None,
    batch_size: int = 1024,
    seed: int = 0,
) -> Tensor:
    """Objective of every row of `data`, in evaluation mode and without gradients.

    A stochastic objective draws the same noise at every call with the same `seed` and `batch_size` (common
    random numbers), so two calls compare models, not noise. Torch's random
    state is left alone, so that threads may evaluate side by side.

    Args:
        model: The model; it is put in evaluation mode and afterwards back in the mode it was in.
        data: Rows, shape (rows, ...), on any device; they are moved to the model's, chunk by chunk.
        objective: Maps `(model, batch)` to a tensor of shape (B,); default: `model.elbo(batch)`.
        batch_size: Rows in a chunk.
        seed: Seed of the noise.

    Returns:
        Log-probabilities or bounds, shape (rows,), in nats, on the model's device.

    Raises:
        ValueError: The objective does not return one value per row.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> evaluate(model, torch.ones(5, 2), objective=lambda model, x: model(x).squeeze(-1)).shape
        torch.Size([5])
    """
    rowwise = RowwiseObjective(model, objective)
    device = next((parameter.device for parameter in model.parameters()), data.device)
    was_training = model.training
    model.eval()
    try:
        with seeded(seed, redirect=False):
            return torch.cat([rowwise(chunk.to(device)) for chunk in torch.split(data, batch_size)])
    finally:
        model.train(was_training)
