"""A row of Table 1 on a GPU, nursery/cells-voronoi: with the small budget, then with the paper's as far as time goes.

    benchmarks/gpu.sh --only row

The results of the processor have the small budget, so that the two can be compared. The paper's takes hours: it is cut
off, and the file says after which step. Called again at the same commit, it goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provenance import provenance
from safetensors import safe_open
from torch import device as Device

from experiments.config import Data, Preset, Row, read_table
from experiments.results import RESULTS, read_result
from experiments.runner import run_row

RUNS = Path("runs") / "gpu"
NAME = "nursery/cells-voronoi"
TINY = {"exact_steps": 1, "layers": 1, "hidden_features": [8], "batch_size": 16, "validation_rows": 20, "test_rows": 20,
        "samples": 10, "subset_rows": 2}  # fmt: skip
KEPT = ("steps", "best_step", "seconds", "milliseconds_per_step", "parameters", "kind", "test", "validation")


class CutOff(BaseException):
    """The time of a run is over."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Interrupt the body after some seconds, if any, as Ctrl-C does: a training saves its checkpoint first.

    Raises:
        CutOff: The time was over before the body was.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGALRM)
    over = False

    def interrupt(*_: object) -> None:
        nonlocal over
        over = True
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    except KeyboardInterrupt:
        if over:
            raise CutOff from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGINT, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def table_row(preset: Preset, *, tiny: bool) -> Row:
    """Return the row; a tiny one has two steps, and with the paper's preset more than there is time for."""
    table = read_table("table1")
    if tiny:
        small, paper = ({**TINY, "steps": steps, "evaluate_every": every} for steps, every in ((2, 2), (10**6, 10)))
        table = table.model_copy(update={"data": {"nursery": Data(small=small, paper=paper)}})
    [row] = table.rows(preset=preset, only=[NAME], seeds=[0])
    return row


def run(row: Row, device: str, seconds: float | None, runs: Path) -> dict[str, Any]:
    """Train and score a row, or train it as long as there is time.

    Args:
        row: Which.
        device: "cpu" or "cuda".
        seconds: The most that it may take, or None.
        runs: Where checkpoints, weights and results go.

    Returns:
        What its result says; of one that was cut off the steps so far, and its last validation.
    """
    try:
        with at_most(seconds):
            result = run_row(row, device=device, results=runs / "results", runs=runs)
    except CutOff:
        return {"preset": row.preset, "budget_steps": row.budget.steps, "cut_off": so_far(row, runs)}
    return {"preset": row.preset, "budget_steps": row.budget.steps, **{name: result[name] for name in KEPT}}


def so_far(row: Row, runs: Path) -> dict[str, Any] | None:
    """Return what the checkpoint of a run counted, nats being lower the better; None if there is none yet."""
    path = row.path(runs) / "checkpoint.safetensors"
    if not path.exists():
        return None
    with safe_open(path, "pt") as checkpoint:
        run = json.loads(checkpoint.metadata()["counters"])
    return {
        "steps": run["step"],
        "seconds": round(run["seconds"], 1),
        "milliseconds_per_step": round(1e3 * run["seconds"] / max(1, run["step"]), 2),
        "validation": {"nats": round(-run["history"][-1]["validation"], 4)} if run["history"] else None,
    }


def says(row: dict[str, Any]) -> str:
    """Say how a run ended, in one line."""
    name = f"{NAME}, {row['preset']} budget of {row['budget_steps']:,} steps"
    if "cut_off" not in row:
        test = row["test"]
        return f"{name}: {test['nats']:.3f} ± {test['standard_error']:.3f} nats in {row['seconds']:.0f} s"
    done = row["cut_off"]
    if done is None:
        return f"{name}: cut off before the first step"
    nats = f", last validated at {done['validation']['nats']:.3f} nats" if done["validation"] else ""
    return f"{name}: cut off after step {done['steps']:,} and {done['seconds']:.0f} s{nats}"


def main() -> None:
    """Run both budgets, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="two steps of a small network, and a second of more")
    parser.add_argument("--seconds", type=float, default=240.0, help="when the second is cut off")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    runs = RUNS / ("tiny" if options.tiny else options.device)
    ends = time.monotonic() + options.seconds
    of_processor = read_result(table_row("small", tiny=False), RESULTS)
    content = {
        **provenance(Device(options.device)),
        "row": NAME,
        "seed": 0,
        "on_a_processor": {name: of_processor[name] for name in KEPT} if of_processor else None,
    }
    rows: list[dict[str, Any]] = []
    presets: tuple[Preset, ...] = ("small", "paper")
    for preset in presets:
        seconds = None if preset == "small" else max(1.0, ends - time.monotonic())
        rows.append(run(table_row(preset, tiny=options.tiny), options.device, seconds, runs))
        print(says(rows[-1]), flush=True)
        options.out.write_text(json.dumps(content | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
