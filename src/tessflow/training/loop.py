"""The training loop."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from tessflow.randomness import Generators, seeded
from tessflow.training.averaging import update_average
from tessflow.training.checkpoint import RunDirectory, TrainingState, run_identity
from tessflow.training.config import TrainingConfig
from tessflow.training.counters import Counters, TrainingDivergedError
from tessflow.training.evaluation import Objective, RowwiseObjective, evaluate
from tessflow.training.progress import progress_bar
from tessflow.training.signals import held_back

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["TrainingResult", "Weights", "cut_off_mean", "fit"]

Weights: TypeAlias = tuple["Tensor | None", "Tensor | None"]
"""How many rows each row to train on counts as, and each to validate on: positive, shape (rows,); None: 1."""

CHECKPOINT_SECONDS = 30.0
"""The longest time between two checkpoints, if a step or an evaluation does not take longer."""

CUT_OFF, FEWEST = 0.005, 20
"""The quantile of the validation rows below which values do not count, and the fewest rows that have one."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run gives back.

    Args:
        steps: Steps made, skipped ones included.
        best_step: The step after which the returned weights were evaluated; 0: they are those before the first.
        best_validation: What `validation` is at `best_step`, in nats; higher is better.
        seconds: Wall time, summed over all runs of a resumed training.
        skipped_steps: Steps without an update, because the loss or its gradient was not finite.
        stopped_early: Whether `patience` or `max_seconds` ended the run before `max_steps`.
        history: A row for each evaluation: `step`; `training`, the mean objective of the training batches since the
            last row, and `validation`, that of the validation rows, cut off below at their 0.5% quantile: both in nats,
            higher is better; `learning_rate`; `gradient_norm`, the mean since the last row, before clipping; `seconds`;
            `skipped` steps so far.
    """

    steps: int
    best_step: int
    best_validation: float
    seconds: float
    skipped_steps: int
    stopped_early: bool
    history: list[dict[str, float]]

    @property
    def summary(self) -> str:
        """Say in one line how the run ended, and which weights were kept.

        Example:
            >>> TrainingResult(130, 30, -1.25, 2.0, 0, stopped_early=True, history=[]).summary
            '130 steps in 2 seconds, stopped early; kept the weights of step 30, validation -1.250 nats'
        """
        early = ", stopped early" if self.stopped_early else ""
        kept = f"kept the weights of step {self.best_step:,}, validation {self.best_validation:.3f} nats"
        return f"{self.steps:,} steps in {self.seconds:.0f} seconds{early}; {kept}"


def fit(
    model: nn.Module,
    train: Tensor,
    validation: Tensor,
    config: TrainingConfig,
    *,
    weights: Weights = (None, None),
    objective: Objective | None = None,
    directory: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    resume: bool = True,
    progress: bool = False,
) -> TrainingResult:
    r"""Maximise the mean objective over the training rows, and keep the averaged weights that validate best.

    AdamW minimises :math:`-\frac{1}{B} \sum_b \mathrm{objective}(y_b)`, in nats, with warm-up, cosine decay and
    gradient clipping. An exponential moving average of the weights is evaluated every `config.evaluate_every` steps and
    after the last, always with the same noise. The weights that are kept have the highest mean over the validation
    rows, those before the first step among them, in which the values below the 0.5% quantile (of 20 to 200 rows, the
    lowest one) count as that quantile: one odd row does not decide.

    With a `directory` the state goes to `checkpoint.safetensors` and the history to `history.csv`: every
    `config.checkpoint_every` steps, every 30 seconds, and, in the main thread, at Ctrl-C and SIGTERM. The same
    call made again after the process was killed resumes, and on the CPU ends with the same weights, bit for
    bit, as a run that was not killed; after the end it returns the result at once. The noise of a
    training comes from generators of its own: trainings in several threads end as each does alone, and torch's random
    state is left as it was.

    Args:
        model: The model, trained in place. Afterwards it holds the best averaged weights, in evaluation mode,
            on the device that `config.accelerator` names.
        train: Rows to train on, shape (rows, ...), kept on that device as one tensor.
        validation: Rows to evaluate on, of the same shape but for the first dimension.
        config: The options.
        weights: How many rows each row to train on counts as, and each row to evaluate on: positive, shape (rows,);
            `None`: each is one. A batch then holds rows drawn with replacement, with probabilities that are
            proportional to the weights, and means over validation rows are weighted.
        objective: Maps `(model, batch)` to a log-probability or a bound on it for each row, shape (B,), in
            nats; default: `model.elbo(batch)`.
        directory: Where checkpoint and history go, made if need be; `None`: nowhere.
        options: How the model was made, as JSON can hold it: a checkpoint of a model made otherwise is refused.
        resume: Whether to go on from a checkpoint that is there; otherwise the first one of this run replaces it.
        progress: Whether to draw a progress bar on the standard error stream.

    Returns:
        The result of the run.

    Raises:
        ValueError: There are no rows, the two sets of rows do not match, a parameter is not finite or none is
            trainable, CUDA is asked for and missing, or the directory holds a checkpoint that is damaged or
            belongs to another run.
        RuntimeError: Another process or thread writes into the directory.
        KeyboardInterrupt: At Ctrl-C, after the step; its sentence names the checkpoint, if there is one.
        TrainingDivergedError: Ten steps in a row had a loss or a gradient that was not finite, or no evaluation was.

    Example:
        >>> class Gaussian(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = nn.Parameter(torch.zeros(2))
        ...     def elbo(self, x):
        ...         return torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(-1)
        >>> model, x = Gaussian(), torch.tensor([[1.0, -1.0], [3.0, -3.0]])
        >>> result = fit(model, x, x, TrainingConfig(max_steps=200, learning_rate=0.1))
        >>> torch.allclose(model.mean, torch.tensor([2.0, -2.0]), atol=0.05)
        True
    """
    _check_arguments(model, train, validation)
    for rows, part in zip((train, validation), weights, strict=True):
        if part is not None and part.shape != rows.shape[:1]:
            raise ValueError(f"weights have shape {tuple(part.shape)} for {len(rows)} rows; give one a row")
    fabric = _make_fabric(config)
    files = None
    if directory is not None:
        files = RunDirectory(directory, run_identity(config, model, train, validation, options, weights))

    noise = Generators(config.seed)
    with (
        nullcontext() if files is None else files.kept(),
        seeded(noise, redirect=False),
        progress_bar(config, enabled=progress) as report,
        held_back(enabled=files is not None) as signals,
    ):
        rowwise = fabric.setup_module(RowwiseObjective(model, objective)).train()
        train, validation = train.to(fabric.device), validation.to(fabric.device)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), fused=True)
        average, best = copy.deepcopy(model), copy.deepcopy(model)
        state = TrainingState(model, average, best, optimizer, fabric.device, noise)
        if files is not None and resume:
            files.load(state)

        run = state.counters
        if run.step == 0:
            with torch.no_grad(), seeded(config.seed, redirect=False), fabric.autocast():
                # As in the first step, the first batch sets layers: what is evaluated is what training starts from.
                first = next(_batches(train, config.batch_size, seed=config.seed, start=0, weights=weights[0]))
                RowwiseObjective(best, objective).train()(first)
            run.start(_evaluate_mean(fabric, best, validation, weights[1], config, objective))
        report(run)
        saved = time.perf_counter()
        started = saved - run.seconds
        batches = _batches(train, config.batch_size, seed=config.seed, start=run.step, weights=weights[0])
        stop = False
        while not (run.finished or stop):
            run.step += 1
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(run.step)
            optimizer.zero_grad()
            loss = -rowwise(next(batches)).mean()
            fabric.backward(loss)
            norm = nn.utils.clip_grad_norm_(parameters, config.gradient_clip or math.inf)
            # A transfer from the device: its values decide whether the update is made.
            loss_value, norm_value = torch.stack([loss.detach(), norm]).tolist()
            if run.accept(loss_value, norm_value):
                optimizer.step()
                update_average(average, model, decay=config.ema_decay, updates=run.updates - 1)
            run.seconds = time.perf_counter() - started

            if run.evaluation_due(config):
                value = _evaluate_mean(fabric, average, validation, weights[1], config, objective)
                if run.record(value, config):
                    best.load_state_dict(average.state_dict())
                if files is not None:
                    files.write_history(run.history)
            now, stop = time.perf_counter(), signals.came is not None
            due = now - saved >= CHECKPOINT_SECONDS or run.step % config.checkpoint_every == 0
            if files is not None and (due or run.finished or stop):
                files.save(state)
                saved = now
                signals.sentence = f"interrupted: {files.checkpoint} holds the training up to step {run.step:,}"
            report(run)

    if not any(math.isfinite(row["validation"]) for row in run.history):
        raise TrainingDivergedError(
            "no evaluation of the validation rows was finite; try a smaller learning_rate, and look for rows to which "
            "the model gives no probability"
        )
    model.load_state_dict(best.state_dict())
    model.eval()
    result = _result(run, config)
    if progress:
        print(result.summary, file=sys.stderr)
    return result


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Trainable parameters with weight decay, and those in the units of the data, which have none."""
    free = {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters()
        if name in getattr(module, "in_data_units", ())
    }
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trainable if parameter not in free], "weight_decay": decay},
        {"params": [parameter for parameter in trainable if parameter in free], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _batches(
    data: Tensor, batch_size: int, *, seed: int, start: int, weights: Tensor | None = None
) -> Iterator[Tensor]:
    """Batches of shuffled rows, epoch after epoch, from step `start` on: a function of the seed and the step.

    The last batch of an epoch is dropped when it is incomplete, unless it is the only one. Rows with weights are drawn
    anew for each batch.
    """
    if weights is not None:
        edges = weights.double().cumsum(0)
        for step in count(start):
            yield data[_drawn(edges, batch_size, seed=seed + step).to(data.device)]
    per_epoch = max(1, len(data) // batch_size)
    order = torch.empty(0)
    for step in count(start):
        epoch, position = divmod(step, per_epoch)
        if step == start or position == 0:
            generator = torch.Generator().manual_seed(seed + epoch)
            order = torch.randperm(len(data), generator=generator).to(data.device)
        yield data[order[position * batch_size : (position + 1) * batch_size]]


def _drawn(edges: Tensor, size: int, *, seed: int) -> Tensor:
    """Draw places of rows, ``(size,)``, with replacement, from the sums of their weights up to each.

    One is drawn from each of `size` parts of equal weight, so that a row is expected as often as its share of the
    weight says, and comes within two of that often.
    """
    points = torch.arange(size) + torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.searchsorted(edges, points * (edges[-1] / size), right=True).clamp_max(len(edges) - 1)


def _evaluate_mean(
    fabric: Fabric,
    model: nn.Module,
    validation: Tensor,
    weights: Tensor | None,
    config: TrainingConfig,
    objective: Objective | None,
) -> float:
    with fabric.autocast():
        # Without gradients four times the rows fit.
        rows = 4 * config.batch_size
        values = evaluate(model, validation, objective=objective, batch_size=rows, seed=config.seed)
    return cut_off_mean(values, weights).item()


def cut_off_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of values, ``(B,)``, of which those below the 0.5% quantile count as that quantile.

    Of fewer than 20 values all count. A value of weight w counts as w values.

    Example:
        >>> cut_off_mean(torch.tensor([-1e9] + [1.0] * 19))
        tensor(1., dtype=torch.float64)
    """
    values = values.double()
    if weights is not None:
        return _weighted_mean(values, weights.to(values))
    if len(values) < FEWEST:
        return values.mean()
    lowest = values.kthvalue(math.floor(CUT_OFF * len(values)) + 2).values
    return values.clamp_min(lowest).mean()


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    total = float(weights.sum())
    if total >= FEWEST:
        ascending, order = values.sort()
        enough = weights[order].cumsum(0) >= math.floor(CUT_OFF * total) + 2
        values = values.clamp_min(ascending[int(enough.int().argmax())])
    return (weights * values).sum() / total


def _make_fabric(config: TrainingConfig) -> Fabric:
    from lightning_fabric import Fabric  # slow to import, and needed only to train
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("accelerator='cuda' was asked for, but torch finds no CUDA device; use 'auto' or 'cpu'")
    # The plugin says that this is one process by itself, where Fabric would look for a cluster manager.
    plugin = LightningEnvironment()
    return Fabric(accelerator=accelerator, devices=1, precision=config.precision, plugins=plugin)


def _check_arguments(model: nn.Module, train: Tensor, validation: Tensor) -> None:
    for name, data in (("train", train), ("validation", validation)):
        if data.ndim == 0 or len(data) == 0:
            raise ValueError(f"{name} has no rows, shape {tuple(data.shape)}; give at least one row")
    if train.shape[1:] != validation.shape[1:] or train.dtype != validation.dtype:
        raise ValueError(
            f"train rows are {train.dtype} {tuple(train.shape[1:])} and validation rows {validation.dtype} "
            f"{tuple(validation.shape[1:])}; give both the same shape and dtype"
        )
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"parameter {name!r} of the model is not finite before training; initialise it anew")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("the model has no trainable parameters; there is nothing to fit")


def _result(run: Counters, config: TrainingConfig) -> TrainingResult:
    return TrainingResult(
        steps=run.step,
        best_step=run.best_step,
        best_validation=run.best_validation,
        seconds=run.seconds,
        skipped_steps=run.skipped_steps,
        stopped_early=run.step < config.max_steps,
        history=run.history,
    )
