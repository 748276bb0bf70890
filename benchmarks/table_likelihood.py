"""Held-out likelihood of the discrete tables after a given number of steps: one run, one file.

python benchmarks/table_likelihood.py --data mushroom --backbone coupling --steps 6000 --threads 1

Trains :class:`tessflow.TabularFlow` on the paper's training rows, lets the validation rows choose the weights and
scores the test rows once. Data sets that are not generated are read from TESSFLOW_DATA, the cache, or downloaded.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance

from tessflow import TabularFlow, datasets

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run one training and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, choices=datasets.names())
    parser.add_argument("--backbone", default="autoregressive", choices=("autoregressive", "coupling"))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of TabularFlow, as JSON")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--samples", type=int, default=50, help="importance samples where the likelihood is a bound")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="of the result file; by default data-backbone-seed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    made_by = provenance()

    data = datasets.load(arguments.data)
    options = {name: json.loads(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    options = {"order": "table"} | options
    flow = TabularFlow(
        arguments.backbone,
        max_steps=arguments.steps,
        random_state=arguments.seed,
        verbose=sys.stderr.isatty(),
        **options,
    )
    started = time.perf_counter()
    flow.fit(data.train, X_validation=data.validation)
    seconds = time.perf_counter() - started
    scores = -flow.score_samples(data.test, samples=arguments.samples)
    one = -flow.score_samples(data.test, samples=1)
    result: dict[str, Any] = {
        **made_by,
        "data": data.name,
        "source": data.source,
        "rows": [len(data.train), len(data.validation), len(data.test)],
        "options": {name: value for name, value in flow.get_params().items() if name != "verbose"},
        "kind": "lower bound" if flow.lower_bound_ else "exact",
        "importance_samples": arguments.samples if flow.lower_bound_ else None,
        "test_nats": float(scores.mean()),
        "test_standard_error": float(scores.std() / math.sqrt(len(scores))),
        "test_nats_one_sample": float(one.mean()) if flow.lower_bound_ else None,
        "validation_nats": -flow.validation_score_,
        "floor_nats": data.floor,
        "paper_nats": data.paper,
        "independent_columns_nats": datasets.independent_columns_nats(data.train, data.test),
        "best_step": flow.result_.best_step if flow.result_ else None,
        "steps": flow.result_.steps if flow.result_ else None,
        "training_seconds": round(seconds, 1),
        "history": {
            name: [float(np.round(value, 4)) for value in flow.history_[name]]
            for name in ("step", "seconds", "training", "validation")
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{arguments.name or f'{arguments.data}-{arguments.backbone}-{arguments.seed}'}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{data.name}, {arguments.backbone}: test {result['test_nats']:.3f} nats in {seconds:.0f} s -> {path}")


if __name__ == "__main__":
    main()
