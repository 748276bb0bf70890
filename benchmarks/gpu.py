"""All that only a GPU can answer, in at most eight minutes; benchmarks/README.md says what.

benchmarks/gpu.sh                        # writes benchmarks/results/gpu/*.json, to be committed
benchmarks/gpu.sh --only steps row       # some of its parts
benchmarks/gpu.sh --device cpu --tiny    # a trial without a GPU, in runs/gpu-trial
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "gpu"
TRIAL = Path("runs") / "gpu-trial"
# Where the package, the experiments and the registries of the tests' cases are.
PATHS = (ROOT / "src", ROOT, HERE, *(ROOT / "tests" / part for part in ("", "dequantization", "models")))
PARTS = ("conformance", "cells", "steps", "row")
SECONDS = 480.0
# The most that a part may take; the row has what is left.
MOST = {"conformance": 90.0, "cells": 90.0, "steps": 180.0, "row": 480.0}
RESERVE = 20.0  # for processes to start and end


def command(part: str, device: str, out: Path, seconds: float, *, tiny: bool) -> list[str]:
    """Return the call of a part's script, which writes a file and ends, but for scoring, within some seconds."""
    small = ["--tiny"] * tiny
    cells = ["--shapes", "0", "--repeats", "1", "--no-paper"] if tiny else ["--repeats", "9"]
    script, options = {
        "conformance": ("gpu_conformance", []),
        "cells": ("cell_transform", cells),
        "steps": ("gpu_steps", [*small, "--seconds", f"{seconds:.0f}"]),
        "row": ("gpu_row", [*small, "--seconds", f"{1 if tiny else seconds:.0f}"]),
    }[part]
    path = out / {"conformance": "conformance", "cells": "cell_transform", "steps": "steps", "row": "row"}[part]
    scripts = f"benchmarks/{script}.py"
    return [sys.executable, scripts, "--device", device, *options, "--out", f"{path}.json"]


def run(part: str, device: str, out: Path, seconds: float, *, tiny: bool) -> str | None:
    """Run a part; return what went wrong, if something did."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([*map(str, PATHS), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    call = command(part, device, out, seconds, tiny=tiny)
    try:
        code = subprocess.run(call, cwd=ROOT, env=environment, timeout=seconds + RESERVE).returncode
    except subprocess.TimeoutExpired:
        return f"{part} was stopped: it took more than {seconds + RESERVE:.0f} seconds"
    return f"{part} failed with exit code {code}" if code else None


def has_gpu() -> bool:
    """Return whether torch finds a CUDA device."""
    import torch  # takes seconds, which a trial does without

    return torch.cuda.is_available()


def main() -> None:
    """Run the parts one after another, and say how each ended."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="at tiny sizes, in under a minute of one core")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, help="the directory of the files")
    options = parser.parse_args()
    if options.device == "cuda" and not has_gpu():
        parser.exit(2, "gpu.sh: torch finds no CUDA device; try all parts without one by --device cpu --tiny\n")
    if options.device == "cpu" and not options.tiny:
        parser.exit(2, "gpu.sh: --device cpu is for a trial at tiny sizes; add --tiny\n")
    figures = options.device == "cuda" and not options.tiny
    out = (options.out or (RESULTS if figures else ROOT / TRIAL)).resolve()
    if not figures and out.is_relative_to(RESULTS):
        parser.exit(2, "gpu.sh: benchmarks/results/gpu is for figures of a GPU at full size; choose another --out\n")
    out.mkdir(parents=True, exist_ok=True)
    ends, failures = time.monotonic() + SECONDS, []
    for part in PARTS:
        if part in options.only:
            print(f"== {part}", flush=True)
            seconds = min(MOST[part], ends - time.monotonic() - RESERVE)
            failures.append(run(part, options.device, out, seconds, tiny=options.tiny))
    print("\n".join(filter(None, failures)) or "all parts ended well")
    if figures:
        print("now run `python benchmarks/render.py`, and commit benchmarks/results/gpu and benchmarks/README.md")
    raise SystemExit(int(any(failures)))


if __name__ == "__main__":
    main()
