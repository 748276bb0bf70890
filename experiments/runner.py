"""Run the rows of a table that have no result yet, several at a time, each by one thread."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.config import Row
from experiments.results import RESULTS, describe, is_done, write_result
from tessflow.files import write_atomically

__all__ = ["RUNS", "Outcome", "run_row", "run_rows"]

RUNS = Path("runs") / "experiments"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        row: Which run.
        result: What was written, or `None` if it failed.
        error: Why it failed, in one sentence.
        seconds_left: How long the remaining runs will take, by what those before took for their steps.
    """

    row: Row
    result: dict[str, Any] | None
    error: str | None
    seconds_left: float


def run_rows(
    rows: Sequence[Row],
    *,
    jobs: int = 1,
    device: str = "cpu",
    again: bool = False,
    results: Path = RESULTS,
    runs: Path = RUNS,
) -> Iterator[Outcome]:
    """Run those rows that have no result of the same configuration.

    A run that was killed goes on from its last checkpoint. A run that fails does not stop the others.

    Args:
        rows: The rows.
        jobs: Processes; with one, all is done in this process.
        device: "cpu" or "cuda".
        again: Whether to run rows that have a result, and all from the beginning.
        results: Where results go.
        runs: Where checkpoints and weights go.

    Yields:
        How each run ended, as soon as it did.
    """
    todo = [row for row in rows if again or not is_done(row, results)]
    options = {"device": device, "again": again, "results": results, "runs": runs}
    started, done = time.perf_counter(), 0.0
    total = sum(map(_cost, todo))
    for row, result in _outcomes(todo, jobs, options):
        done += _cost(row)
        left = (time.perf_counter() - started) / done * (total - done)
        if isinstance(result, str):
            yield Outcome(row, None, result, left)
        else:
            yield Outcome(row, result, None, left)


def _outcomes(rows: list[Row], jobs: int, options: dict[str, Any]) -> Iterator[tuple[Row, dict[str, Any] | str]]:
    if jobs == 1 or len(rows) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for row in rows:
                yield row, _run_or_say_why_not(row, options)
        finally:
            torch.set_num_threads(threads)
        return
    # Forked processes would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(rows)), mp_context=context, initializer=_start_worker) as pool:
        futures: dict[Future[dict[str, Any] | str], Row] = {
            pool.submit(_run_or_say_why_not, row, options): row for row in rows
        }
        try:
            for future in as_completed(futures):
                broken = future.exception()  # the worker died
                yield futures[future], future.result() if broken is None else f"its process died: {broken}"
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_or_say_why_not(row: Row, options: dict[str, Any]) -> dict[str, Any] | str:
    try:
        return run_row(row, **options)
    except Exception as error:
        path = row.path(options["runs"]) / "error.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        return " ".join(str(error).split()) or type(error).__name__


def run_row(
    row: Row, *, device: str = "cpu", again: bool = False, results: Path = RESULTS, runs: Path = RUNS
) -> dict[str, Any]:
    """Train and score one row, and write its result.

    Args:
        row: The row.
        device: "cpu" or "cuda".
        again: Whether to begin anew rather than from a checkpoint.
        results: Where the result goes.
        runs: Where checkpoints and weights go.

    Returns:
        The result, as written.
    """
    description = describe(row, device=device)
    directory = _directory(row, runs, description, again=again)
    measured = row.table.module.run(row.data, row.method, row.budget, seed=row.seed, directory=directory, device=device)
    result = description | measured
    write_result(row, result, results)
    return result


def _directory(row: Row, runs: Path, description: Mapping[str, Any], *, again: bool) -> Path:
    """Return the directory of a run, emptied if it is of another configuration, device or code."""
    directory = row.path(runs)
    stamp = directory / "config.json"
    config = json.dumps({**row.config, "commit": description["commit"], "device": description["device"]})
    if directory.exists() and (again or not (stamp.exists() and stamp.read_text() == config)):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(stamp, config.encode())
    return directory


def _cost(row: Row) -> float:
    return float(getattr(row.budget, "steps", 1))


def _start_worker() -> None:
    """Let Ctrl-C end a worker without a traceback: the main process says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
