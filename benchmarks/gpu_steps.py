"""Time of a training step on a GPU: as it is, compiled, and as a CUDA graph.

    benchmarks/gpu.sh --only steps

Models are cases of ``training_step.py``, as their estimators make them. A step is the loss of a random batch, its
gradients and an update by AdamW; noise is drawn from torch's own state, the one that a CUDA graph knows how to advance.
Each measurement has a process of its own: one that fails or takes too long is told in its row, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from torch._dynamo.utils import counters
from training_step import captured, cases

CASES = ("coupling, columns of Mushroom's size", "MixtureFlow, 20 columns", "one order, 42 columns of 3 classes")
MODES = ("plain", "captured", "compiled", "reduce-overhead")
WARM_UP = 3  # steps; a CUDA graph needs its streams and workspaces made before it is captured
Step = Callable[[], object]


def make_step(case: str, mode: str, device: torch.device, *, tiny: bool) -> Step:
    """Return what makes a training step of a case.

    Args:
        case: One of `CASES`.
        mode: "plain"; "compiled" and "reduce-overhead", the loss and its gradients by torch.compile, in the second
            with CUDA graphs; or "captured", all of the step in one CUDA graph, without compilation.
        device: Where.
        tiny: Whether torch.compile only traces, without a compiler.
    """
    torch.manual_seed(0)
    model, rows, config, objective = captured(*cases()[case]())
    model, rows = model.to(device).train(), rows.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=device.type == "cuda")
    batch = rows[: config.batch_size].clone()

    def loss(batch: torch.Tensor) -> torch.Tensor:
        return -(model.elbo(batch) if objective is None else objective(model, batch)).mean()

    compiled: dict[str, dict[str, Any]] = {"compiled": {}, "reduce-overhead": {"mode": "reduce-overhead"}}
    if mode in compiled:
        loss = torch.compile(loss, **({"backend": "eager"} if tiny else compiled[mode]))

    def update() -> None:
        optimizer.zero_grad()
        loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    run = capture(update) if mode == "captured" else update

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        batch.copy_(rows[torch.randint(len(rows), (len(batch),), device=device)])
        run()

    return step


def capture(update: Step) -> Step:
    """Return the same update as a CUDA graph, after some steps on a side stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph.replay


def measure(case: str, mode: str, device: torch.device, *, tiny: bool) -> dict[str, Any]:
    """Return the median milliseconds of a step, and the seconds until the first ones were made."""

    def seconds(steps: int) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    started = time.perf_counter()
    step = make_step(case, mode, device, tiny=tiny)
    seconds(1)
    first = time.perf_counter() - started
    each = min(seconds(1) for _ in range(WARM_UP))
    turns, steps = (1, 1) if tiny else (7, max(1, min(200, int(0.5 / each))))
    times = [seconds(steps) / steps for _ in range(turns)]
    result = {"milliseconds": round(1e3 * statistics.median(times), 3), "seconds_to_first_step": round(first, 1)}
    if mode in ("compiled", "reduce-overhead"):
        result["graphs"] = counters["stats"]["unique_graphs"]
    if device.type == "cuda":
        result["peak_mebibytes"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return result


def work(case: str, mode: str, device: str, tiny: bool, to: Connection) -> None:  # noqa: FBT001
    """Send a measurement, or the first line of why there is none."""
    try:
        torch.set_num_threads(1)
        to.send(measure(case, mode, torch.device(device), tiny=tiny))
    except Exception as error:
        to.send({"failed": first_line(error)})


def first_line(error: BaseException) -> str:
    r"""Return the kind of an error and the first line of what it says.

    Example:
        >>> first_line(ValueError("no\nyes"))
        'ValueError: no'
    """
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def in_a_process(case: str, mode: str, device: torch.device, *, tiny: bool, seconds: float) -> dict[str, Any]:
    """Measure in a new process, for some seconds at most."""
    # What has used a GPU cannot be forked; without one it is faster, for all is imported.
    context: Any = multiprocessing.get_context("spawn" if device.type == "cuda" else "fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(case, mode, str(device), tiny, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return {"failed": f"no step within {seconds:.0f} seconds"}
        return dict(receiver.recv())
    except EOFError:
        process.join()
        return {"failed": f"the process ended with exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def main() -> None:
    """Measure all, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--tiny", action="store_true", help="a step of one model, compiled without a compiler")
    parser.add_argument("--seconds", type=float, default=180.0, help="most seconds for all")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    ends = time.monotonic() + options.seconds
    made_by = provenance(options.device)
    names = CASES[1:2] if options.tiny else CASES
    measured: list[dict[str, Any]] = []
    todo = [(mode, case) for mode in MODES for case in names]
    for place, (mode, case) in enumerate(todo):
        left = ends - time.monotonic()
        if left < 5:
            found: dict[str, Any] = {"failed": "not tried: no time was left"}
        else:  # twice its share, so that one that compiles for ever leaves time to those after it
            limit = min(left, 2 * left / (len(todo) - place))
            found = in_a_process(case, mode, options.device, tiny=options.tiny, seconds=limit)
        measured.append({"case": case, "mode": mode, **found})
        print(f"{case}; {mode}: {found.get('failed') or format(found['milliseconds'], '.2f') + ' ms'}", flush=True)
        options.out.write_text(json.dumps(made_by | {"steps": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
