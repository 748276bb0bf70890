"""Time and memory of the cell transform against the paper's algorithm and a nearest-anchor query.

``python benchmarks/cell_transform.py`` prints a table and writes ``benchmarks/results/cell_transform.json``; see
``benchmarks/README.md`` for what each column means.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tessflow.geometry import Tessellation
from tessflow.kernels import native, status
from tessflow.transforms import CellTransform, Profile, Softsign, TruncatedGaussian

SHAPES = [
    (64, 42, 3, 4),
    (256, 21, 12, 4),
    (256, 2, 91, 2),
    (64, 68, 18, 6),
    (128, 4, 765, 6),
    (1024, 1, 64, 63),
    (1024, 1, 1000, 64),
    (256, 1, 10000, 16),
]
PROFILES: dict[str, Callable[[Tensor], Profile]] = {
    "softsign": Softsign,
    "truncated_gaussian": TruncatedGaussian,
}
Task = Callable[[], object]
TASKS = ("forward", "forward+backward", "inverse")
PAPER_LIMIT = 2 << 30  # bytes


class Problem:
    """Random anchors in a box, points to map into random cells, and points of those cells to map back."""

    def __init__(self, shape: tuple[int, int, int, int], *, box: bool, device: torch.device) -> None:
        B, N, K, D = shape
        g = torch.Generator().manual_seed(0)

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=g).to(device)

        self.anchors = normal(N, K, D).tanh()
        self.lower, self.upper = -1.5 * torch.ones(N, D, device=device), 1.5 * torch.ones(N, D, device=device)
        self.box = (self.lower, self.upper) if box else (None, None)
        self.index = torch.randint(K, (B, N), generator=g).to(device)
        self.own = self.anchors[torch.arange(N, device=device), self.index]
        self.x = self.own + 0.5 * normal(B, N, D)
        self.scale = 0.5 + torch.rand(B, N, generator=g).to(device)
        self.grads = normal(B, N, D), normal(B, N)

    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return points, anchors and scales to differentiate by."""
        x, anchors, scale = (t.detach().requires_grad_() for t in (self.x, self.anchors, self.scale))
        return x, anchors, scale

    def ours(self, name: str) -> dict[str, Task]:
        """Do forward, forward with gradients, and inverse, each from anchors to results."""

        def transform(anchors: Tensor, scale: Tensor) -> CellTransform:
            return CellTransform(Tessellation(anchors, *self.box), self.index, profile=PROFILES[name](scale))

        z = transform(self.anchors, self.scale)(self.x)

        @torch.no_grad()
        def forward() -> object:
            return transform(self.anchors, self.scale).call_and_ladj(self.x)

        @torch.no_grad()
        def inverse() -> object:
            return transform(self.anchors, self.scale).inv.call_and_ladj(z)  # type: ignore[attr-defined]

        def backward() -> object:
            x, anchors, scale = self.leaves()
            outputs = transform(anchors, scale).call_and_ladj(x)
            return torch.autograd.grad(outputs, (x, anchors, scale), self.grads)

        return {"forward": forward, "forward+backward": backward, "inverse": inverse}

    def paper(self) -> dict[str, Task]:
        """Do the same three tasks by the paper's algorithm."""
        walls = (self.lower, self.upper)
        z, _ = paper_forward(self.x, self.anchors, self.index, self.scale, walls, training=False)

        @torch.no_grad()
        def forward() -> object:
            return paper_forward(self.x, self.anchors, self.index, self.scale, walls, training=False)

        def inverse() -> object:
            return paper_inverse(z, self.anchors, self.index, self.scale, walls)

        def backward() -> object:
            x, anchors, scale = self.leaves()
            outputs = paper_forward(x, anchors, self.index, scale, walls, training=True)
            return torch.autograd.grad(outputs, (x, anchors, scale), self.grads)

        return {"forward": forward, "forward+backward": backward, "inverse": inverse}

    @torch.no_grad()
    def floor(self) -> Tensor:
        """Find the nearest anchor of every point."""
        return torch.cdist(self.x.transpose(0, 1), self.anchors).argmin(-1)


def ray_wall(direction: Tensor, own: Tensor, anchors: Tensor, index: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Eq. 7 of the paper: distance along a unit ``direction`` to the first of the explicit walls ``a.x = b``."""
    a = 2 * (anchors - own.unsqueeze(-2))
    b = anchors.square().sum(-1) - own.square().sum(-1, keepdim=True)
    room = b - (a * own.unsqueeze(-2)).sum(-1)
    rate = (a * direction.unsqueeze(-2)).sum(-1)
    facing = (rate > 0) & (torch.arange(anchors.shape[-2], device=index.device) != index.unsqueeze(-1))
    distance = torch.where(facing, room / torch.where(facing, rate, 1), torch.inf)
    edge = torch.where(direction > 0, upper - own, lower - own) / direction
    return torch.minimum(distance.amin(-1), edge.amin(-1))


def wall_and_slope(
    direction: Tensor, own: Tensor, anchors: Tensor, index: Tensor, box: tuple[Tensor, Tensor], *, training: bool
) -> tuple[Tensor, Tensor]:
    """Find the wall along ``direction`` and the gradient of its distance there, by an inner call of autograd."""
    with torch.enable_grad():
        if not direction.requires_grad:
            direction = direction.detach().requires_grad_()
        wall = ray_wall(direction, own, anchors, index, *box).unsqueeze(-1)
        (slope,) = torch.autograd.grad(wall.sum(), direction, create_graph=training)
    return (wall, slope) if training else (wall.detach(), slope.detach())


def rank_two_log_det(r: Tensor, direction: Tensor, wall: Tensor, slope: Tensor, scale: Tensor) -> Tensor:
    """Prop. 3 of the paper: the Jacobian's determinant is that of a matrix of rank two beside the identity.

    The map is ``x_k + s direction`` with ``s(r, direction) = alpha(r/wall) wall``, its Jacobian
    ``(s/r)(I + U V^T)`` with ``U = [direction, direction]`` and the columns of ``V`` from the derivatives of ``s``
    in ``r`` and in ``direction``.
    """
    h = scale * r / wall
    alpha, rate = h / (1 + h), scale / (1 + h).square()
    s = alpha * wall
    tangent = slope - (slope * direction).sum(-1, keepdim=True) * direction
    V = torch.stack([(rate * r / s - 1) * direction, (alpha - rate * r / wall) / s * tangent], -1)
    U = torch.stack([direction, direction], -1)
    small = torch.eye(2, device=r.device) + V.mT @ U
    return direction.shape[-1] * (s / r).squeeze(-1).log() + torch.linalg.slogdet(small).logabsdet


def paper_forward(
    x: Tensor, anchors: Tensor, index: Tensor, scale: Tensor, box: tuple[Tensor, Tensor], *, training: bool
) -> tuple[Tensor, Tensor]:
    """Eq. 8 of the paper with its softsign, and the log-determinant."""
    own = anchors[torch.arange(anchors.shape[0], device=index.device), index]
    scale = scale.unsqueeze(-1)
    v = x - own
    r = v.norm(dim=-1, keepdim=True)
    direction = v / r
    wall, slope = wall_and_slope(direction, own, anchors, index, box, training=training)
    h = scale * r / wall
    z = own + h / (1 + h) * wall * direction
    return z, rank_two_log_det(r, direction, wall, slope, scale)


@torch.no_grad()
def paper_inverse(
    z: Tensor, anchors: Tensor, index: Tensor, scale: Tensor, box: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Eq. 8 solved for the radius on the same ray, and minus the log-determinant there."""
    own = anchors[torch.arange(anchors.shape[0], device=index.device), index]
    scale = scale.unsqueeze(-1)
    w = z - own
    length = w.norm(dim=-1, keepdim=True)
    direction = w / length
    wall, slope = wall_and_slope(direction, own, anchors, index, box, training=False)
    r = length * wall / (scale * (wall - length))
    return own + r * direction, -rank_two_log_det(r, direction, wall, slope, scale)


def paper_bytes(shape: tuple[int, int, int, int]) -> int:
    """Estimate what the paper's algorithm needs: eight float32 tensors over batch, cells and dimensions."""
    B, N, K, D = shape
    return 8 * 4 * B * N * K * D


def clock(task: Task, calls: int, device: torch.device) -> float:
    """Return seconds a call: of the processor if there is one thread, or else of the clock."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    now = time.process_time if alone else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = now()
    for _ in range(calls):
        task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (now() - start) / calls


def without_kernel(task: Task) -> Task:
    """Return the same task by torch's own operations."""

    def run() -> object:
        with native.disabled():
            return task()

    return run


def interleaved(tasks: dict[str, Task], *, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time each task in seconds a call, taken in turns so that a slow moment of the machine hits all of them."""
    calls = {name: max(1, int(0.02 / clock(task, 1, device))) for name, task in tasks.items() if task() is not None}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            times[name].append(clock(task, calls[name], device))
    return times


def peak_bytes(task: Task, device: torch.device) -> int:
    """Find the most bytes allocated at once during a call, beyond what was there before it.

    On the CPU the running sum of the allocator's own events as torch's profiler records them, which includes scratch
    space inside of kernels; on a GPU the allocator's counter.
    """
    task()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        task()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        task()
    events = recorded.profiler.kineto_results.events()  # type: ignore[union-attr]
    sizes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    now = peak = 0
    for _, size in sorted(sizes, key=lambda event: event[0]):
        now += size
        peak = max(peak, now)
    return peak


def measure(shape: tuple[int, int, int, int], args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One row for each profile, task and shape."""
    problem = Problem(shape, box=args.box, device=device)
    ours = {name: problem.ours(name) for name in args.profiles}
    if native.usable(problem.x):
        ours |= {f"{name}, torch": {task: without_kernel(run) for task, run in ours[name].items()} for name in ours}
    paper = problem.paper() if args.paper and paper_bytes(shape) <= PAPER_LIMIT else {}
    floor_memory = peak_bytes(problem.floor, device)
    rows = []
    for task in TASKS:
        tasks = {name: runs[task] for name, runs in ours.items()}
        if paper:
            tasks["paper"] = paper[task]
        times = interleaved({"floor": problem.floor, **tasks}, repeats=args.repeats, device=device)
        for name, run in tasks.items():
            ratios = [t / f for t, f in zip(times[name], times["floor"], strict=True)]
            rows.append(
                {
                    "shape": shape,
                    "method": name,
                    "task": task,
                    "seconds": statistics.median(times[name]),
                    "floor_seconds": statistics.median(times["floor"]),
                    "ratio_to_floor": statistics.median(ratios),
                    "peak_bytes": peak_bytes(run, device),
                    "floor_peak_bytes": floor_memory,
                }
            )
            if paper and name != "paper":
                against = [p / t for p, t in zip(times["paper"], times[name], strict=True)]
                rows[-1]["times_faster_than_paper"] = statistics.median(against)
    return rows


def show(rows: list[dict[str, Any]]) -> Table:
    """Lay the rows out as a table to read, one line a shape and method."""
    table = Table(title="milliseconds (times the floor; times faster than the paper's algorithm; peak MiB)")
    for column in ("B, N, K, D", "method", *TASKS):
        table.add_column(column, no_wrap=True)
    cells: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        shape = ", ".join(map(str, row["shape"]))
        floor = f"{1e3 * row['floor_seconds']:.3f} ({row['floor_peak_bytes'] / 2**20:.1f})"
        cells.setdefault((shape, "floor"), [floor])
        faster = row.get("times_faster_than_paper")
        speed = f"{1e3 * row['seconds']:.3f} ({row['ratio_to_floor']:.2f}; "
        speed += f"{'-' if faster is None else format(faster, '.1f')}; {row['peak_bytes'] / 2**20:.1f})"
        cells.setdefault((shape, row["method"]), []).append(speed)
    for (shape, method), line in cells.items():
        table.add_row(shape if method == "floor" else "", method, *line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs="*", help="numbers of the shapes to run, from 0; all by default")
    parser.add_argument("--profiles", nargs="*", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--box", action=argparse.BooleanOptionalAction, default=False, help="cut our cells by a box")
    parser.add_argument(
        "--paper", action=argparse.BooleanOptionalAction, default=True, help="run the paper's algorithm"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cell_transform.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    made_by = provenance(device)
    shapes = SHAPES if args.shapes is None else [SHAPES[i] for i in args.shapes]
    rows = [row for shape in shapes for row in measure(shape, args, device)]
    Console(width=140).print(show(rows))
    config = {key: value for key, value in vars(args).items() if key != "out"}
    config["kernels"] = status()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**made_by, "config": config, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
