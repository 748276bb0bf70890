"""Where, when and with which code a result was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import tessflow

__all__ = ["provenance"]

# Variables that change timings.
_TELLING = ("MALLOC_", "OMP_", "MKL_")


def provenance() -> dict[str, Any]:
    """Return the fields that every result file has."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_TELLING)},
        "commit": _git("rev-parse", "HEAD") + (" with local changes" if _git("status", "--porcelain", "src") else ""),
        "tessflow": tessflow.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _git(*command: str) -> str:
    where = str(Path(__file__).parent)
    return subprocess.run(["git", "-C", where, *command], capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
