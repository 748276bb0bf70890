"""With which code and on what machine a result is made."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import tessflow

__all__ = ["commit", "made_with"]


def made_with() -> dict[str, Any]:
    """Return commit, versions and hardware, as result files have them.

    Example:
        >>> sorted(made_with())
        ['commit', 'hardware', 'python', 'tessflow', 'torch']
    """
    return {
        "commit": commit(),
        "tessflow": tessflow.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
    }


@cache
def commit() -> str | None:
    """Return the commit of the package and whether it was changed since, or None outside of its repository.

    It is read once, since a process goes on with the code that it has loaded.
    """
    package = Path(tessflow.__file__).parent

    def git(*command: str) -> str:
        call = ["git", "-C", str(package), *command]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # installed, it may lie in somebody else's repository
        return git("rev-parse", "HEAD") + (" with local changes" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
