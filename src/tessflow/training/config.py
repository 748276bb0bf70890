"""The options of a training run, and the learning rate they imply at each step."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainingConfig"]


class TrainingConfig(BaseModel):
    r"""The options of a training run: an immutable record, checked when it is made, JSON-serialisable.

    Args:
        max_steps: Number of optimizer steps.
        batch_size: Rows in a batch; a table with fewer rows is one batch.
        learning_rate: The highest learning rate, reached when the warm-up ends.
        warmup_steps: Steps of linear warm-up (at most half of `max_steps` are used).
        weight_decay: Decoupled weight decay of AdamW, on every parameter but those in the units of the data, which a
            module lists by name as `in_data_units`.
        gradient_clip: Largest norm of the gradient over all parameters; `None` leaves it as it is.
        ema_decay: Decay of the exponential moving average of the weights; see
            :func:`tessflow.training.averaging.update_average`.
        evaluate_every: Steps between two evaluations on the validation rows.
        patience: Evaluations without improvement after which the run stops early, or `None`: never.
        checkpoint_every: Most steps between two checkpoints, which are made every 30 seconds, too.
        max_seconds: Wall time, summed over all runs of the same training, after which it stops, or `None`: no
            limit. This is the one option under which two runs with the same seed may end at different steps.
        seed: Seed of the batch order, of the noise in training and of the noise in evaluation.
        accelerator: "cpu", "cuda", or "auto": CUDA where there is a device, else CPU.
        precision: "32-true" computes in the dtype of the model's own parameters (a model made `double()`
            before trains in float64); "bf16-mixed" runs the objective under bfloat16 autocast.

    Raises:
        ValueError: An option is out of range, of the wrong type, or unknown (pydantic's `ValidationError`).

    Example:
        >>> config = TrainingConfig(max_steps=1000, learning_rate=1e-3)
        >>> config.batch_size
        256
        >>> TrainingConfig(max_steps=0)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for TrainingConfig
        max_steps
          Input should be greater than or equal to 1 ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    evaluate_every: int = Field(default=100, ge=1)
    patience: int | None = Field(default=10, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    def learning_rate_at(self, step: int) -> float:
        r"""Learning rate of step `step` (the first is 1): linear warm-up, then half a cosine to almost zero.

        .. math:: \eta_t = \eta \min(1, t / w) \quad (t \le w), \qquad
                  \eta_t = \tfrac{1}{2} \eta \left(1 + \cos \pi \tfrac{t - w}{T + 1 - w}\right) \quad (t > w)

        for :math:`T` = `max_steps` and :math:`w` warm-up steps.

        Example:
            >>> config = TrainingConfig(max_steps=1000, warmup_steps=100, learning_rate=1.0)
            >>> [round(config.learning_rate_at(step), 4) for step in (1, 50, 100, 550, 1000)]
            [0.01, 0.5, 1.0, 0.5009, 0.0]
        """
        warmup = min(self.warmup_steps, self.max_steps // 2)
        if step <= warmup:
            return self.learning_rate * step / warmup
        done = (step - warmup) / (self.max_steps + 1 - warmup)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
