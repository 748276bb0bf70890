"""Passes against nats: `MatchedFlow` in M blocks of C products each, every run of the same seconds of one core.

OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/blocks.py                                       # all tables
OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/blocks.py --data connect4 --seconds 5 --out /tmp/try.json

M = N (as many blocks as columns) with one product is the autoregressive model, M = 1 one of latent classes. Columns are
in the order of the table, and of fewer blocks than columns dealt to these like cards. The five discrete tables are
encoded as for Table 1 of `experiments`, the mixed ones are the first split of `mixed_tables.py`.

A run takes as many steps as fit into its seconds, and its learning rate comes down over them. Validation rows choose
the step that is kept; test rows are for the measurement. All times are of the processor.
The result file is written after each run; called again, the script goes on with what is not in it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mixed_data
import torch
from provenance import provenance
from result_file import ResultFile
from torch import Tensor

from experiments.discrete import encode
from tessflow import datasets
from tessflow.estimators.hiding import Hiding
from tessflow.flows.blocks import dealt
from tessflow.models import MatchedFlow, Variable
from tessflow.models.variables import Ascent
from tessflow.randomness import seeded
from tessflow.tables import TableSchema
from tessflow.training import TrainingConfig, fit

RESULT = Path(__file__).parent / "results" / "blocks.json"
DISCRETE = ("connect4", "forests", "mushroom", "nursery", "pokerhands-simulated")
MIXED = ("diamonds", "housing", "health")
BLOCKS = (1, 3, 6, 14, None)
# C, of discrete and of mixed tables, where a component costs more; so many times as much of one block, and 1 of N.
DISCRETE_C, MIXED_C, TIMES = 16, 4, 4
# How much C matters, for some blocks of some tables.
CURVE = {("connect4", 6): (1, 4), ("diamonds", 3): (1, 16)}
SECONDS, SEED = 15.0, 0
# Latent classes need a higher rate than a network.
RATE, RATE_OF_CLASSES = 8e-3, 3e-2
VALIDATION_ROWS, TEST_ROWS = 1_000, 5_000
TIMED_ROWS, TIMED_STEPS = 1_000, 10


class Rows(NamedTuple):
    """A table, encoded."""

    variables: tuple[Variable, ...]
    ascents: tuple[Ascent, ...]
    train: Tensor
    validation: Tensor
    test: Tensor
    floor: float | None


def main() -> None:
    """Train and score what is not in the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[*DISCRETE, *MIXED], choices=[*DISCRETE, *MIXED], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training, for each run")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultFile(
        arguments.out, {"seconds": arguments.seconds}, provenance(), measures=("tables", "fits", "speeds")
    )
    for name in arguments.data:
        rows = load(name)
        if not results.has("tables", data=name):
            counts = [len(part) for part in (rows.train, rows.validation, rows.test)]
            results.add("tables", {"data": name, "columns": len(rows.variables), "rows": counts, "floor": rows.floor})
        for blocks, components in settings(name, len(rows.variables)):
            key = {"data": name, "blocks": blocks, "components": components}
            if not results.has("speeds", **key):
                print(json.dumps(results.add("speeds", {**key, **speeds(rows, blocks, components)})), flush=True)
            if not results.has("fits", **key):
                measured = measure(rows, blocks, components, arguments.seconds)
                print(json.dumps(results.add("fits", {**key, **measured})), flush=True)


def load(name: str) -> Rows:
    """Read and encode a table."""
    if name in DISCRETE:
        data = datasets.load(name)
        cardinalities, (train, validation, test) = encode(data)
        variables = tuple(Variable(count) for count in cardinalities)
        return Rows(variables, (), train, validation[:VALIDATION_ROWS], test[:TEST_ROWS], data.floor)
    split = mixed_data.splits(name, 0)
    schema = TableSchema.infer(split.train)
    train, validation, test = (schema.encode(part) for part in (split.train, split.validation, split.test))
    return Rows(schema.variables, schema.ascents, train, validation[:VALIDATION_ROWS], test[:TEST_ROWS], None)


def settings(name: str, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of blocks and of products, for a table of so many columns."""
    common = DISCRETE_C if name in DISCRETE else MIXED_C
    for blocks in BLOCKS:
        if blocks is None:
            yield columns, 1
        elif blocks < columns:
            yield from ((blocks, count) for count in CURVE.get((name, blocks), ()))
            yield blocks, TIMES * common if blocks == 1 else common


def build(rows: Rows, blocks: int, components: int) -> MatchedFlow:
    """Make a model, as `TabularFlow` does of one order."""
    columns = len(rows.variables)
    with seeded(SEED):
        model = MatchedFlow(
            rows.variables,
            dropout=0.1,
            order=dealt(range(columns), blocks),
            ascents=rows.ascents,
            blocks=blocks,
            components=components,
        )
    model.initialize(rows.train)
    return model


def measure(rows: Rows, blocks: int, components: int, seconds: float) -> dict[str, Any]:
    """Train for so many seconds, and score all test rows."""
    steps = max(int(seconds / step_seconds(rows, blocks, components)), 10)
    model = build(rows, blocks, components)
    config = TrainingConfig(
        max_steps=steps,
        learning_rate=RATE_OF_CLASSES if blocks == 1 else RATE,
        warmup_steps=min(100, steps // 10),
        evaluate_every=max(steps // 20, 1),
        ema_decay=min(0.999, 1 - 5 / steps),
        patience=None,
        seed=SEED,
    )
    started = time.process_time()
    result = fit(model, rows.train, rows.validation, config, objective=Hiding(rows.variables, rows.train))
    spent = time.process_time() - started
    nats = -torch.cat([model.log_prob(part) for part in rows.test.split(1000)]).double()
    return {
        "validation_nats": -result.best_validation,
        "test_nats": float(nats.mean()),
        "test_standard_error": float(nats.std() / len(nats) ** 0.5),
        "steps": steps,
        "best_step": result.best_step,
        "seconds": round(spent, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def speeds(rows: Rows, blocks: int, components: int) -> dict[str, int]:
    """Return how many rows a second are scored and drawn: as many before training as after."""
    model, timed = build(rows, blocks, components).eval(), rows.test[:TIMED_ROWS]
    return {
        "score_rows_per_second": per_second(lambda: model.log_prob(timed), len(timed)),
        "sample_rows_per_second": per_second(lambda: model.sample(TIMED_ROWS), TIMED_ROWS),
    }


def step_seconds(rows: Rows, blocks: int, components: int) -> float:
    """Return what a step takes, with its share of the evaluations."""
    model, spent = build(rows, blocks, components), []
    for steps in (2, 2, 2 + TIMED_STEPS):  # the first is to warm up
        config = TrainingConfig(max_steps=steps, evaluate_every=steps, patience=None, seed=SEED)
        started = time.process_time()
        fit(model, rows.train, rows.validation[:256], config, objective=Hiding(rows.variables, rows.train))
        spent.append(time.process_time() - started)
    return max(spent[2] - spent[1], 1e-2) / TIMED_STEPS


def per_second(do: Callable[[], object], rows: int) -> int:
    """Return how many rows are done in a second: the better of two."""
    best = float("inf")
    for _ in range(2):
        started = time.process_time()
        do()
        best = min(best, time.process_time() - started)
    return round(rows / best)


if __name__ == "__main__":
    main()
