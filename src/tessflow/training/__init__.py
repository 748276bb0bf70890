"""One training loop for every model: resumable, reproducible, with averaged weights and early stopping."""

from tessflow.training.config import TrainingConfig
from tessflow.training.counters import TrainingDivergedError
from tessflow.training.evaluation import Objective, evaluate
from tessflow.training.loop import TrainingResult, fit
from tessflow.training.weights import load_weights, save_weights

__all__ = [
    "Objective",
    "TrainingConfig",
    "TrainingDivergedError",
    "TrainingResult",
    "evaluate",
    "fit",
    "load_weights",
    "save_weights",
]
