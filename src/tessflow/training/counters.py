"""The numbers of a training run: what was counted, when to evaluate, when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tessflow.training.config import TrainingConfig

__all__ = ["Counters", "TrainingDivergedError"]

SKIPS_ALLOWED = 9


class TrainingDivergedError(RuntimeError):
    """The loss or its gradient was not finite for ten steps in a row, or no validation value was."""


@dataclass
class Counters:
    """The numbers of a run, JSON-serialisable: what a checkpoint keeps beside its tensors.

    `loss_sum`, `norm_sum` and `summed` run over the updates since the last row of `history`;
    `skipped_in_a_row` counts the steps since the last update, `stale` the evaluations since the best one.
    """

    step: int = 0
    updates: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    summed: int = 0
    best_step: int = 0
    best_validation: float = -math.inf
    stale: int = 0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def skipped_steps(self) -> int:
        """Steps without an update."""
        return self.step - self.updates

    def accept(self, loss: float, norm: float) -> bool:
        """Count the step that gave this loss and gradient norm; say whether to make its update.

        Raises:
            TrainingDivergedError: This is the tenth step in a row to be skipped.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self.updates += 1
            self.skipped_in_a_row = 0
            self.loss_sum += loss
            self.norm_sum += norm
            self.summed += 1
            return True
        if self.skipped_in_a_row == SKIPS_ALLOWED:
            raise TrainingDivergedError(
                f"training stopped at step {self.step}: the loss ({loss}) or the gradient norm ({norm}) was "
                f"not finite for {SKIPS_ALLOWED + 1} steps in a row; try a smaller learning_rate, a smaller "
                "gradient_clip or more warmup_steps, and look for rows of the data that are not finite or to "
                "which the model gives no probability"
            )
        self.skipped_in_a_row += 1
        return False

    def start(self, validation: float) -> None:
        """Take the weights before the first step as the best so far; a value that is not finite counts as the worst."""
        self.best_validation = _worth(validation)

    def out_of_time(self, config: TrainingConfig) -> bool:
        """Whether the run has used up `max_seconds`."""
        return config.max_seconds is not None and self.seconds >= config.max_seconds

    def evaluation_due(self, config: TrainingConfig) -> bool:
        """Whether this step ends with an evaluation."""
        last = self.step >= config.max_steps or self.out_of_time(config)
        return last or self.step % config.evaluate_every == 0

    def record(self, validation: float, config: TrainingConfig) -> bool:
        """Add a row to the history, decide whether the run is finished, say whether the value is the best.

        A value that is not finite counts as the worst. Patience is with the evaluations alone: a run that loses at
        first what it started with has time to recover.
        """
        worth = _worth(validation)
        best = worth > self.best_validation
        if best:
            self.best_step, self.best_validation = self.step, worth
        before = max((_worth(row["validation"]) for row in self.history), default=-math.inf)
        self.stale = 0 if worth > before or not self.history else self.stale + 1
        row = {
            "step": self.step,
            "training": -self.loss_sum / self.summed if self.summed else math.nan,
            "validation": validation,
            "learning_rate": config.learning_rate_at(self.step),
            "gradient_norm": self.norm_sum / self.summed if self.summed else math.nan,
            "seconds": round(self.seconds, 3),
            "skipped": self.skipped_steps,
        }
        self.history.append(row)
        self.loss_sum, self.norm_sum, self.summed = 0.0, 0.0, 0
        out_of_patience = config.patience is not None and self.stale >= config.patience
        self.finished = self.step >= config.max_steps or self.out_of_time(config) or out_of_patience
        return best


def _worth(validation: float) -> float:
    return validation if math.isfinite(validation) else -math.inf
