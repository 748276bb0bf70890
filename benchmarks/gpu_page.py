"""The tables of `gpu.sh`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page import RESULTS, cells_table, or_dash, table

__all__ = ["gpu"]

NONE = "There are no figures of a GPU yet: nobody has run `benchmarks/gpu.sh` on one and committed what it writes.\n"


def gpu(directory: Path = RESULTS / "gpu") -> str:
    """Return a table a part of the run, or a sentence that says that there are none."""
    parts: dict[str, Callable[[dict[str, Any]], str]] = {
        "conformance": _conformance,
        "cell_transform": cells_table,
        "steps": _steps,
        "row": _row,
    }
    text = []
    for name, page in parts.items():
        path = directory / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            text.append(page(result) + _made_by(result))
    return "\n".join(text) or NONE


def _made_by(result: dict[str, Any]) -> str:
    where = f"{result['gpu']}, CUDA {result['cuda']}" if "gpu" in result else result["hardware"]
    return f"\n{where}, torch {result['torch']}, commit {str(result['commit'])[:7]}, {result['time'][:10]}.\n\n"


def _conformance(result: dict[str, Any]) -> str:
    rows = [
        (
            check["check"],
            f"{check['cases']}",
            f"{check['largest']:.1e}",
            f"{check['tolerance']:.0e}",
            "yes" if check["passed"] else f"no: {check['at']}",
        )
        for check in result["checks"]
    ]
    return table(("check", "cases", "largest difference", "tolerance", "passed"), rows, left=1)


def _steps(result: dict[str, Any]) -> str:
    rows, notes = [], []
    for step in result["steps"]:
        if "failed" in step:
            notes.append(f"- {step['case']}, {step['mode']}: {step['failed']}\n")
        found = (step.get("milliseconds"), step.get("seconds_to_first_step"))
        peak = f"{step['peak_mebibytes']:,}" if "peak_mebibytes" in step else "-"
        rows.append((step["case"], step["mode"], or_dash(found[0], 2), or_dash(found[1]), peak))
    header = ("model", "step", "ms a step", "seconds to the first", "peak MiB")
    return table(header, rows, left=2) + ("\nWithout a figure:\n\n" + "".join(notes) if notes else "")


def _row(result: dict[str, Any]) -> str:
    runs = [("GPU", run) for run in result["rows"]]
    if result["on_a_processor"]:
        runs.insert(0, ("processor", result["on_a_processor"] | {"preset": "small"}))
    rows = []
    for where, run in runs:
        done = run.get("cut_off", run) or {"steps": 0}
        test = f"{run['test']['nats']:.3f} ± {run['test']['standard_error']:.3f}" if "test" in run else "cut off"
        steps = f"{done['steps']:,}" + (f" of {run['budget_steps']:,}" if "cut_off" in run else "")
        validation = or_dash((done.get("validation") or {}).get("nats"), 3)
        times = or_dash(done.get("seconds"), 0), or_dash(done.get("milliseconds_per_step"), 2)
        rows.append((where, run["preset"], steps, *times, validation, test))
    header = ("where", "budget", "steps", "seconds", "ms a step", "validation nats", "test nats")
    return table(header, rows, left=2)
