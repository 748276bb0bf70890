"""How every model of every table is trained, and what its result says of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tessflow.training import Objective, TrainingConfig, fit, save_weights

__all__ = ["parameter_count", "train", "untrained"]


def train(
    model: nn.Module,
    rows: Tensor,
    validation: Tensor,
    *,
    directory: Path,
    device: str,
    objective: Objective | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a model for all of its steps, and leave it with the weights that validate best.

    Args:
        model: The model.
        rows: Training rows.
        validation: Rows that choose the weights.
        directory: Where the checkpoint, from which a killed run goes on, and the weights go.
        device: "cpu" or "cuda".
        objective: As `tessflow.training.fit` takes it.
        options: Of `TrainingConfig`.

    Returns:
        Steps, seconds of the clock and, since the last start, of the processor, and the history: step, nats of the
        training rows since the last, nats of the validation rows.
    """
    accelerator: Any = "cuda" if device == "cuda" else "cpu"
    config = TrainingConfig(
        patience=None, checkpoint_every=options["evaluate_every"], accelerator=accelerator, **options
    )
    started = time.process_time()
    result = fit(model, rows, validation, config, objective=objective, directory=directory)
    save_weights(model, directory / "weights.safetensors")
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "skipped_steps": result.skipped_steps,
        "seconds": round(result.seconds, 1),
        "processor_seconds": round(time.process_time() - started, 1),
        "milliseconds_per_step": round(1e3 * result.seconds / result.steps, 2),
        "history": [[row["step"], round(-row["training"], 4), round(-row["validation"], 4)] for row in result.history],
    }


def untrained() -> dict[str, Any]:
    """Return what the result of a model says that is counted rather than trained."""
    return {"steps": 0, "best_step": 0, "seconds": 0.0, "milliseconds_per_step": 0.0}


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
