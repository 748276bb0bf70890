"""What many cells cost: search by scan and by tree, and mixtures of up to 100,000 cells in the plane.

OMP_NUM_THREADS=1 python benchmarks/many_cells.py                  # both measures, about ten minutes
OMP_NUM_THREADS=1 python benchmarks/many_cells.py --measure fits --cells 1000 --rows 10000

Times are the processor's; see ``benchmarks/README.md`` for what each column means. The file is written as it grows.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance
from torch import Tensor

from tessflow import MixtureFlow
from tessflow.geometry import Tessellation
from tessflow.models import DisjointMixture

PATH = Path(__file__).parent / "results" / "many_cells.json"
CELLS, DIMENSIONS, BATCH = (1_000, 10_000, 100_000, 1_000_000), (2, 4, 8, 16), 256
MIXTURES, ROWS_A_CELL, STEPS = (1_000, 10_000, 100_000), 10, 200
MEASURES = ("searches", "fits")


def main() -> None:
    """Measure and write one result; a fit runs in a process of its own, whose memory is counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--cells", nargs="+", type=int, help="by default as many as the page has")
    parser.add_argument("--rows", type=int, help="of a fit; by default ten for each cell")
    parser.add_argument("--one", action="store_true", help="measure one fit, and print it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        print(json.dumps(fit(arguments.cells[0], arguments.rows)))
        return
    result = {**provenance(), **{measure: [] for measure in MEASURES}}
    # Fits first: what this process has held counts as held by those that it starts.
    if "fits" in arguments.measure:
        for cells in arguments.cells or MIXTURES:
            command = [sys.executable, __file__, "--one", "--cells", str(cells)]
            command += ["--rows", str(arguments.rows or ROWS_A_CELL * cells)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result["fits"].append(json.loads(printed))
            print(result["fits"][-1], flush=True)
            PATH.write_text(json.dumps(result, indent=1) + "\n")
    if "searches" in arguments.measure:
        for dim in DIMENSIONS:
            for cells in arguments.cells or CELLS:
                result["searches"].append(search(cells, dim))
                print(result["searches"][-1], flush=True)
                PATH.write_text(json.dumps(result, indent=1) + "\n")


def search(cells: int, dim: int) -> dict[str, Any]:
    """Locate points about random anchors, and find the walls of their rays, both ways."""
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(cells, dim, generator=generator)
    own = anchors[torch.randint(cells, (BATCH,), generator=generator)]
    x = own + cells ** (-1 / dim) * torch.randn(BATCH, dim, generator=generator)
    repeats = 1 if cells * dim > 1_000_000 else 5
    scan, scanned = both(Tessellation(anchors, search="scan"), x, repeats)
    tree, found = both(Tessellation(anchors, search="tree"), x, repeats)
    return {
        "cells": cells,
        "features": dim,
        "chosen": Tessellation(anchors).search,
        "scan": scan,
        "tree": tree,
        "other_walls": int((scanned != found).any(-1).sum()),
    }


def both(tessellation: Tessellation, x: Tensor, repeats: int) -> tuple[dict[str, float], Tensor]:
    """Time the first search of a point, and of all; and return the walls of the rays to the points."""
    seconds = {"first_seconds": clock(lambda: tessellation.locate(x[:1]), 1)}
    index = tessellation.locate(x)
    seconds["locate_seconds"] = clock(lambda: tessellation.locate(x), repeats)
    seconds["rays_seconds"] = clock(lambda: tessellation.rays(index, point=x), repeats)
    return seconds, tessellation.rays(index, point=x).normal


def fit(cells: int, rows: int) -> dict[str, Any]:
    """Fit a mixture to rows on a spiral in the plane, and score and draw 100,000 rows."""
    random = np.random.default_rng(0)
    angle = 3 * np.pi * (1 + random.uniform(0, 1, rows))
    table = np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) + 0.2 * random.normal(size=(rows, 2))
    before = peak_bytes()
    placing: list[float] = []
    initialize = DisjointMixture.initialize

    def timed(*given: Any, **options: Any) -> None:
        placing.append(clock(lambda: initialize(*given, **options), 1))

    DisjointMixture.initialize = timed  # type: ignore[method-assign]
    flow = MixtureFlow(cells, max_steps=STEPS, patience=None, random_state=0)
    whole = clock(lambda: flow.fit(table), 1)
    some = np.resize(table, (100_000, 2))
    return {
        "cells": cells,
        "rows": rows,
        "steps": STEPS,
        "placing_seconds": placing[0],
        "training_seconds": whole - placing[0],
        "scored_a_second": len(some) / clock(lambda: flow.score_samples(some), 1),
        "drawn_a_second": len(some) / clock(lambda: flow.sample(len(some)), 1),
        "peak_bytes": peak_bytes() - before,
        "validation_nats": flow.validation_score_,
    }


def clock(task: Callable[[], object], repeats: int) -> float:
    """Return the median of the processor's seconds of a call."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        task()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def peak_bytes() -> int:
    """Return the most memory that this process held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    main()
