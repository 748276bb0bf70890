"""Try to break what `docs/trust.md` promises: damaged models, kills, malformed calls, extreme rows, threads.

    OMP_NUM_THREADS=1 python benchmarks/fuzz.py                         # all of it, about three minutes on one core
    OMP_NUM_THREADS=1 python benchmarks/fuzz.py --only calls --calls 60 --out /tmp/try.json

What is tried, and how it is judged, is written beside the tests, which run a small part of it: `tests/mutations.py`,
`tests/kills.py`, `tests/cli/malformed.py`; and here, `extreme_rows.py`. The result file is renewed after each part;
parts that are not run keep their figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extreme_rows import mixture_scores, table_scores, training_table
from provenance import provenance

from tessflow import TabularFlow
from tessflow.geometry import VoronoiTessellation
from tessflow.transforms import CellTransform

TESTS = Path(__file__).parents[1] / "tests"
RESULT = Path(__file__).parent / "results" / "trust.json"
Figures = dict[str, Any]


def main() -> None:
    """Run the parts, and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--mutations", type=int, default=1000, help="of saved models")
    parser.add_argument("--calls", type=int, default=500, help="malformed ones")
    parser.add_argument("--rows", type=int, default=200_000, help="of extreme values")
    parser.add_argument("--draws", type=int, default=200_000, help="mapped into cells, by dimension and deviation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    sys.path[:0] = [str(TESTS), str(TESTS / "cli"), str(TESTS / "training")]
    torch.set_num_threads(1)
    for name in arguments.only:
        started = time.perf_counter()
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            figures = PARTS[name](arguments, Path(folder))
        figures |= {"seconds": round(time.perf_counter() - started, 1), "run": provenance()}
        print(name, json.dumps({key: value for key, value in figures.items() if key != "run"}), flush=True)
        content = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(content | {name: figures}, indent=1) + "\n")


def mutations(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Damage saved models at random."""
    from mutations import saved_models, try_many  # type: ignore[import-not-found]

    outcomes = try_many(arguments.mutations, arguments.seed, folder / "mutations")
    return {"tried": arguments.mutations, "models": len(saved_models(folder / "models")), **outcomes}


def kills(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Save models over others, and kill the process at every step."""
    from make_kept_models import DATA  # type: ignore[import-not-found]
    from mutations import saved_models

    new = {saved.name: saved.other for saved in saved_models(folder / "models")}
    found: Counter[str] = Counter()
    for old in sorted(path for path in DATA.glob("format-*/*") if path.name in new):
        command = [sys.executable, str(TESTS / "kills.py"), str(new[old.name]), str(folder / old.name), str(old)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line.split() for line in said.stdout.splitlines()]
        found.update("new" if line[1] == "1" else "old" for line in lines)
        found["neither"] += said.returncode != 0
    return {"tried": found.total(), "old": found["old"], "new": found["new"], "neither": found["neither"]}


def calls(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Make malformed calls of the command."""
    import malformed  # type: ignore[import-not-found]

    before = Path.cwd()
    os.chdir(folder)
    try:
        malformed.prepare()
        drawn = list(malformed.draw(arguments.calls, arguments.seed))
        found = [malformed.faults(call) for call in drawn]
    finally:
        os.chdir(before)
    commands = Counter(" ".join(call.arguments).split(" ")[0] for call in drawn)
    return {
        "tried": len(drawn),
        "commands": dict(sorted(commands.items())),
        "faults": len({call.fault for call in drawn}),
        "wrongly_refused": sum(map(bool, found)),
        "of_these": [faults[0] for faults in found if faults],
    }


def extremes(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Score rows of extreme values."""
    return {
        "table": table_scores(arguments.rows, arguments.seed),
        "mixture": mixture_scores(arguments.rows, arguments.seed),
    }


def cells(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Map draws into cells, and locate them there."""
    torch.manual_seed(arguments.seed)
    rows: list[Figures] = []
    for dtype in (torch.float32, torch.float64):
        for dim, deviation in ((1, 10.0), (2, 2.0), (2, 3.0), (2, 10.0), (8, 3.0)):
            for box in (None, (-3.0, 3.0)):
                case = {"dim": dim, "deviation": deviation, "box": box is not None, "dtype": str(dtype)[6:]}
                rows.append(case | {"elsewhere": _elsewhere(arguments.draws, dim, deviation, box, dtype)})
    return {"draws_each": arguments.draws, "cells": 100, "cases": rows, "elsewhere": sum(r["elsewhere"] for r in rows)}


@torch.no_grad()
def _elsewhere(draws: int, dim: int, deviation: float, box: tuple[float, float] | None, dtype: torch.dtype) -> int:
    """Count draws of a deviation whose image in a random cell is located in another."""
    tessellation = VoronoiTessellation.random((100,), dim=dim, box=box).to(dtype)()
    cell = torch.randint(100, (draws,))
    x = deviation * torch.randn(draws, dim, dtype=dtype)
    image = CellTransform(tessellation, cell)(x)
    return int((tessellation.locate(image) != cell).sum())


def threads(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Draw and score in four threads, and compare with one."""
    table = training_table(500, arguments.seed)
    flow = TabularFlow(max_steps=50, hidden_features=(32,), random_state=0).fit(table)
    holes = table.mask(np.random.default_rng(0).random(table.shape) < 0.2)
    questions: dict[str, Callable[[int], Any]] = {
        "sample": lambda seed: flow.sample(300, random_state=seed),
        "sample given": lambda seed: flow.sample(100, given={"word": "a"}, random_state=seed),
        "impute": lambda seed: flow.impute(holes, strategy="sample", random_state=seed),
        "score": lambda seed: flow.score_samples(table.iloc[seed::20]),
    }
    state, alike = torch.get_rng_state(), {}
    for name, question in questions.items():
        alone = [question(seed) for seed in range(12)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(question, range(12)))
        alike[name] = sum(map(_equal, alone, together))
    return {"of": 12, "alike": alike, "global_state_moved": not torch.equal(state, torch.get_rng_state())}


def _equal(one: Any, other: Any) -> bool:
    return one.equals(other) if hasattr(one, "equals") else bool((one == other).all())


PARTS: dict[str, Callable[[argparse.Namespace, Path], Figures]] = {
    part.__name__: part for part in (mutations, kills, calls, extremes, cells, threads)
}


if __name__ == "__main__":
    main()
