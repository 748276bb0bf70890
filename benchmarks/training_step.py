"""Processor time of a training step of each kind of model, beside another version of the package.

    python benchmarks/training_step.py --against OLD/src    # a checkout of another commit

Each version has a process of its own, and they take turns, a few steps at a time, on one thread. A step is the loss of
a batch, its gradients and an update by AdamW. Rows are random: nothing is learned.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from table_speed import draw

import tessflow.estimators.base as estimators
from tessflow import MixtureFlow, SetEstimator, TabularFlow

RESULTS = Path(__file__).parent / "results"
MUSHROOM = (6, 4, 10, 2, 9, 2, 2, 2, 12, 2, 4, 4, 9, 9, 4, 3, 5, 9, 6, 7, 2)


def cases() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Estimators and what they are fitted to."""
    rng = np.random.default_rng(0)

    def classes(*counts: int) -> pd.DataFrame:
        return pd.DataFrame({f"c{i}": rng.integers(0, count, 4000).astype(str) for i, count in enumerate(counts)})

    return {
        "any order, 10 mixed columns": lambda: (TabularFlow(order="any"), draw(rng, 4000, 10)),
        "any order, 42 columns of 3 classes": lambda: (TabularFlow(order="any"), classes(*[3] * 42)),
        "one order, 42 columns of 3 classes": lambda: (TabularFlow(order="fixed"), classes(*[3] * 42)),
        "coupling, columns of Mushroom's size": lambda: (TabularFlow("coupling"), classes(*MUSHROOM)),
        "MixtureFlow, 20 columns": lambda: (MixtureFlow(), rng.normal(size=(4000, 20))),
        "MixtureFlow, 20 columns, 8 cells": lambda: (MixtureFlow(n_cells=8), rng.normal(size=(4000, 20))),
        "SetEstimator, 4 of 100 items": lambda: (
            SetEstimator(),
            [[int(item) for item in rng.choice(100, 4, replace=False)] for _ in range(2000)],
        ),
    }


class _Captured(BaseException):
    """What would be trained."""


def captured(estimator: Any, data: Any) -> tuple[Any, Any, Any, Any]:
    """Return the model, rows, configuration and objective that an estimator would train."""

    def instead(model: Any, train: Any, validation: Any, config: Any, *, objective: Any = None, **_: Any) -> None:
        raise _Captured(model, train, config, objective)

    before = vars(estimators)["fit"]
    vars(estimators)["fit"] = instead
    try:
        estimator.set_params(random_state=0).fit(data)
    except _Captured as found:
        return found.args  # type: ignore[return-value]
    finally:
        vars(estimators)["fit"] = before
    raise AssertionError("nothing was trained")


def steps(case: str) -> Iterator[float]:
    """Yield the milliseconds of one step after another."""
    torch.manual_seed(0)
    model, rows, config, objective = captured(*cases()[case]())
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    while True:
        batch = rows[torch.randint(len(rows), (config.batch_size,), generator=generator)]
        start = time.process_time()
        optimizer.zero_grad()
        loss = model.elbo(batch) if objective is None else objective(model, batch)
        (-loss.mean()).backward()
        optimizer.step()
        yield 1e3 * (time.process_time() - start)


def work() -> None:
    """Answer each line, a case, with the milliseconds of some steps."""
    torch.set_num_threads(1)
    running: dict[str, Iterator[float]] = {}
    for line in sys.stdin:
        case, count = json.loads(line)
        running.setdefault(case, steps(case))
        print(json.dumps([next(running[case]) for _ in range(count)]), flush=True)


class Version:
    """A process that takes steps of one version of the package."""

    def __init__(self, sources: Path | None) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if sources is not None:
            environment["PYTHONPATH"] = str(sources.resolve())
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def milliseconds(self, case: str, count: int) -> list[float]:
        """Take some steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([case, count]) + "\n")
        self.process.stdin.flush()
        found: list[float] = json.loads(self.process.stdout.readline())
        return found


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="SRC", type=Path, help="the sources of another version")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--only", nargs="*", choices=list(cases()), default=list(cases()))
    parser.add_argument("--out", type=Path, default=RESULTS / "training_step.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return
    from provenance import provenance

    result: dict[str, Any] = {**provenance(), "threads": 1, "rows": []}
    versions = {"now": Version(None)} | ({"before": Version(arguments.against)} if arguments.against else {})
    for case in arguments.only:
        times: dict[str, list[float]] = {name: [] for name in versions}
        for turn in range(arguments.turns + 1):
            for name, version in versions.items():
                measured = version.milliseconds(case, arguments.steps)
                times[name] += measured if turn else []  # the first turn warms up
        medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
        result["rows"].append({"case": case, **medians})
        print(case, medians, flush=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
