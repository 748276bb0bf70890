"""Does training end where it should: `TabularFlow` with its own number of steps, beside fixed ones.

OMP_NUM_THREADS=1 python benchmarks/training_length.py                                   # five tables, three seeds
OMP_NUM_THREADS=1 python benchmarks/training_length.py --data health --seeds 0 --out /tmp/try.json

Tables and rows are those of the first split of `mixed_tables.py`; seeds are of the fit. Left to itself, `TabularFlow`
sizes its schedule from the rows and stops early; `max_steps` sets the end of the schedule, and it may stop early, too.
Validation rows choose the step that is kept, test rows are for the measurement. Times are of the processor, so that
other work on the machine says little.

The result file is written after each fit; called again, the script goes on with what is not in it.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mixed_data import TABLES, splits
from provenance import provenance
from result_file import ResultFile

from tessflow import TabularFlow
from tessflow.tables import TableSchema

RESULT = Path(__file__).parent / "results" / "training_length.json"
STEPS = (None, 300, 1000, 3000)


def main() -> None:
    """Fit and score what is not in the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(TABLES), choices=TABLES, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the fit; rows are the same")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultFile(arguments.out, {"split": 0}, provenance(), measures=("fits",))
    for name, seed, steps in product(arguments.data, arguments.seeds, STEPS):
        if not results.has("fits", data=name, seed=seed, max_steps=steps):
            row = results.add("fits", {"data": name, "seed": seed, "max_steps": steps, **measure(name, seed, steps)})
            print(json.dumps(row), flush=True)


def measure(name: str, seed: int, steps: int | None) -> dict[str, Any]:
    """Fit one flow, and score all test rows."""
    data = splits(name, 0)
    schema = TableSchema.infer(data.train)
    started = time.process_time()
    flow = TabularFlow(max_steps=steps, random_state=seed)
    flow.fit(data.train, schema=schema, X_validation=data.validation)
    spent = time.process_time() - started
    assert flow.result_ is not None  # there is one after a fit
    nats = -flow.score_samples(data.test)
    return {
        "test_nats": float(nats.mean()),
        "test_standard_error": float(nats.std() / np.sqrt(len(nats))),
        "steps": flow.result_.steps,
        "best_step": flow.result_.best_step,
        "fit_seconds": round(spent, 3),
    }


if __name__ == "__main__":
    main()
