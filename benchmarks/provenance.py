"""Where, when and with which code a result was made."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from typing import Any

import torch

from tessflow.provenance import made_with

__all__ = ["provenance"]

# Variables that change timings.
_TELLING = ("MALLOC_", "OMP_", "MKL_")


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Return the fields that every result file has, on a GPU with its name and the version of CUDA."""
    on_gpu = device is not None and device.type == "cuda"
    return {
        "command": " ".join(["python", *_telling_arguments(sys.argv)]),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_TELLING)},
        **made_with(),
        **({"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda} if on_gpu else {}),
        "threads": torch.get_num_threads(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _telling_arguments(arguments: list[str]) -> list[str]:
    """Return arguments without where the file is written, which changes no result."""
    return [word for before, word in zip(["", *arguments], arguments, strict=False) if "--out" not in (before, word)]
