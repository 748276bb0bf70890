"""A small stochastic model with buffers, and a program that trains it: tests use one and kill the other."""

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import torch
from torch import nn

from tessflow.training import TrainingConfig, fit, save_weights


class NoisyModel(nn.Module):
    """Gaussian model of uniformly dequantized rows, dropout and a running mean; NaN where a row is -1."""

    def __init__(self, variables: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(variables, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, variables))
        self.log_scale = nn.Parameter(torch.zeros(variables))
        self.register_buffer("running", torch.zeros(variables))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("bound", torch.tensor(float("inf")))

    def elbo(self, y):
        x = y + torch.rand(y.shape)
        if self.training:
            self.running.lerp_(x.mean(0).nan_to_num(), 0.1)
            self.calls += 1
        shift = self.net(torch.randn_like(x)) + self.running
        values = torch.distributions.Normal(shift, self.log_scale.exp(), validate_args=False).log_prob(x).sum(-1)
        return values.masked_fill((y == -1).any(-1), float("nan"))


def rows(count: int = 40, *, poisoned: bool = False):
    data = torch.randint(0, 4, (count, 3), generator=torch.Generator().manual_seed(1))
    if poisoned:
        data[7] = -1
    return data


CONFIG = TrainingConfig(
    max_steps=60, batch_size=16, warmup_steps=5, evaluate_every=4, checkpoint_every=3, patience=None
)


def main(directory: Path, *, sleep_at_call: int = 0, die_at_replacement: int = 0) -> None:
    """Train; print a line at every call of the objective, sleep at one of them, die before a file is renamed."""
    calls, replacements, replace = count(1), count(1), os.replace

    def deadly_replace(source, target) -> None:
        if next(replacements) == die_at_replacement:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    if die_at_replacement:
        os.replace = deadly_replace

    def objective(model, batch):
        print("call", flush=True)
        if next(calls) == sleep_at_call:
            time.sleep(60)
        return model.elbo(batch)

    torch.manual_seed(0)
    model = NoisyModel()
    result = fit(model, rows(poisoned=True), rows(20), CONFIG, objective=objective, directory=directory)
    save_weights(model, directory / "final.safetensors")
    (directory / "result.txt").write_text(f"{result.best_step} {result.best_validation!r} {result.skipped_steps}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sleep_at_call=int(sys.argv[2]), die_at_replacement=int(sys.argv[3]))
