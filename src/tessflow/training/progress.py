"""What a training run shows while it goes: a bar, or in a notebook without widgets a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tessflow.training.config import TrainingConfig
from tessflow.training.counters import Counters

__all__ = ["progress_bar", "time_left"]

Report = Callable[[Counters], None]

EVERY = 0.5
"""Seconds between two lines."""


def progress_bar(config: TrainingConfig, *, enabled: bool) -> AbstractContextManager[Report]:
    """Show on the standard error stream how a run goes.

    Both values are mean log-likelihoods in nats, higher is better: of the training rows since the last evaluation, and
    of the validation rows. The time left is that to the last step: a run that stops early takes less.

    Args:
        config: The options of the run.
        enabled: Whether to show anything.

    Returns:
        A context, which gives a function to call after each step with the run's counters.
    """
    if not enabled:
        return nullcontext(lambda run: None)
    console = Console(stderr=True)
    widgets = not console.is_jupyter or find_spec("ipywidgets") is not None
    return _bar(config, console) if widgets else _line(config)


def time_left(run: Counters, config: TrainingConfig) -> float | None:
    """Return how many seconds a run has left at most, as fast as it was; None before there is a step."""
    if run.finished:
        return 0.0
    if run.step == 0 or run.seconds == 0:
        return None
    left = run.seconds / run.step * (config.max_steps - run.step)
    return left if config.max_seconds is None else max(0.0, min(left, config.max_seconds - run.seconds))


@contextmanager
def _bar(config: TrainingConfig, console: Console) -> Iterator[Report]:
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[values]}"),
        TextColumn("{task.fields[times]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=config.max_steps, values="", times="")

        def report(run: Counters) -> None:
            bar.update(task, completed=run.step, values=_values(run), times=_times(run, config))

        yield report


@contextmanager
def _line(config: TrainingConfig) -> Iterator[Report]:
    shown = -EVERY

    def report(run: Counters) -> None:
        nonlocal shown
        if time.monotonic() - shown >= EVERY or run.finished:
            shown = time.monotonic()
            line = f"step {run.step}/{config.max_steps}  {_values(run)}  {_times(run, config)}"
            sys.stderr.write(f"\r{line:100}")
            sys.stderr.flush()

    try:
        yield report
    finally:
        sys.stderr.write("\n")


def _values(run: Counters) -> str:
    last = run.history[-1] if run.history else {}
    return "  ".join(f"{name} {last[name]:.3f}" for name in ("training", "validation") if name in last)


def _times(run: Counters, config: TrainingConfig) -> str:
    left = time_left(run, config)
    return _clock(run.seconds) + ("" if left is None else f", at most {_clock(left)} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
