"""Files of results: one a run, written whole, with all that is needed to make it again."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.config import Row
from tessflow.files import write_atomically
from tessflow.provenance import commit, made_with

__all__ = ["RESULTS", "describe", "is_done", "mean_and_error", "read_result", "write_result"]

RESULTS = Path(__file__).parent / "results"

_LIBRARIES = ("torch", "zuko", "lightning-fabric", "numpy")


def describe(row: Row, *, device: str) -> dict[str, Any]:
    """Say what a run is and with what it is made: read before it starts, since code may change meanwhile."""
    return {
        "command": _command(row, device),
        "table": row.table.name,
        "row": row.name,
        "seed": row.seed,
        "config": row.config,
        **made_with(),
        "commit": _commit(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


@cache
def _commit() -> str | None:
    """Return the commit, and whether the package or the experiments, results apart, were changed since."""
    found = commit()
    if found is None or " " in found:
        return found
    here = Path(__file__).parent
    call = ["git", "-C", str(here), "status", "--porcelain", "--", ".", ":!results", ":!figures", ":!README.md"]
    changed = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    return found + (" with local changes" if changed else "")


def _command(row: Row, device: str) -> str:
    options = [f"--only {row.name}", f"--seed {row.seed}"]
    options += [f"--preset {row.preset}"] * (row.preset != "small") + [f"--device {device}"] * (device != "cpu")
    return " ".join(["python -m experiments run", row.table.name, *options])


def write_result(row: Row, result: dict[str, Any], directory: Path = RESULTS) -> Path:
    """Write the result of a row.

    Raises:
        ValueError: It has a number that is not finite.
    """
    path = row.path(directory, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return path


def read_result(row: Row, directory: Path = RESULTS) -> dict[str, Any] | None:
    """Return the result of a row, or `None` if there is none or its file is damaged."""
    try:
        result = json.loads(row.path(directory, ".json").read_text())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def is_done(row: Row, directory: Path = RESULTS) -> bool:
    """Say whether there is a result of a row with the same configuration."""
    result = read_result(row, directory)
    return result is not None and row.is_of(result.get("config"))


def mean_and_error(values: Tensor) -> dict[str, float]:
    """Return the mean of negative log-likelihoods over rows and its standard error, in nats.

    Example:
        >>> mean_and_error(torch.tensor([1.0, 3.0]))
        {'nats': 2.0, 'standard_error': 1.0}
    """
    values = values.double()
    spread = values.std().item() if len(values) > 1 else 0.0
    return {"nats": values.mean().item(), "standard_error": spread / math.sqrt(len(values))}
