"""The progress bar of a training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tessflow.training.counters import Counters

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int, *, enabled: bool) -> Iterator[Callable[[Counters, float], None]]:
    """Draw a bar on the standard error stream: step, loss, validation value, time taken, time left.

    Args:
        total: Steps in the run.
        enabled: Whether to draw at all.

    Yields:
        A function to call after each step with the run's counters and the loss of its batch, in nats.
    """
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not enabled) as bar:
        task = bar.add_task("training", total=total, values="")

        def report(run: Counters, loss: float) -> None:
            if enabled:
                values = [] if math.isnan(loss) else [f"loss {loss:.3f}"]  # none yet when a run resumes
                values += [f"validation {row['validation']:.3f}" for row in run.history[-1:]]
                bar.update(task, completed=run.step, values="  ".join(values))

        yield report
