"""Time of a disjoint mixture's log-likelihood against its number of components, beside an ordinary mixture's.

``python benchmarks/mixture_likelihood.py`` prints a table, writes ``benchmarks/results/mixture_likelihood.json`` and
draws ``benchmarks/results/mixture_likelihood.png``; see ``benchmarks/README.md`` for what each column means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from cell_transform import Task, interleaved
from matplotlib.figure import Figure
from provenance import provenance
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tessflow.models import DisjointMixture, coupling_mixture

FEATURES = (2, 8, 64)
CELLS = (1, 8, 64, 1024)
UNIVARIATE = ("affine", "spline")
TASKS = ("forward", "forward+backward")
LAYERS, WIDTH, BINS = 4, 64, 8
LIMIT = 8 << 30  # bytes
PATIENCE = 4.0  # seconds a call
# Rows times components in one pass of the ordinary mixture, where no gradients are kept.
CHUNK = 1 << 16


class Problem:
    """A mixture started from data, and rows of the same kind to score."""

    def __init__(self, features: int, cells: int, univariate: Any, *, batch: int) -> None:
        torch.manual_seed(0)
        self.mixture: DisjointMixture = coupling_mixture(
            features,
            cells,
            layers=LAYERS,
            univariate=univariate,
            hidden_features=(WIDTH, WIDTH),
            bins=BINS,
            learn_anchors=True,
        )
        self.mixture.initialize(torch.randn(max(4 * cells, batch), features))
        self.x = torch.randn(batch, features)
        self.parameters = list(self.mixture.parameters())

    def disjoint(self) -> Tensor:
        """Score rows by the component of the cell that each is in."""
        return self.mixture().log_prob(self.x)

    def ordinary(self) -> Tensor:
        """Score rows by all components, each the same conditional flow given another embedding, without cells."""
        h, log_det = self.mixture.before[0]().call_and_ladj(self.x)
        step = self.mixture.cells if torch.is_grad_enabled() else max(1, CHUNK // len(h))
        joint = []
        for embedding, log_weight in zip(
            self.mixture.embedding.weight.split(step), self.mixture.log_weights().split(step), strict=True
        ):
            rows = h[:, None].expand(-1, len(embedding), -1)
            told = embedding.expand(len(h), -1, -1)
            joint.append(log_weight + self.mixture.component(told).log_prob(rows))
        return log_det + torch.cat(joint, -1).logsumexp(-1)

    def task(self, method: str, task: str) -> Task:
        """Return what is timed: a call without gradients, or one with the gradients of all parameters."""
        score = getattr(self, method)

        @torch.no_grad()
        def forward() -> object:
            return score()

        def backward() -> object:
            return torch.autograd.grad(-score().mean(), self.parameters, allow_unused=True)

        return forward if task == "forward" else backward

    def too_large(self, task: str, univariate: str) -> bool:
        """Whether an ordinary mixture's activations need more memory than the limit, by a count of what is kept."""
        if task == "forward":
            return False
        numbers = (3 * BINS - 1) * 6 if univariate == "spline" else 6
        each = 6 * WIDTH + numbers * (self.mixture.features + 1) // 2
        return 4 * LAYERS * each * len(self.x) * self.mixture.cells > LIMIT


def measure(features: int, univariate: str, task: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each method and number of components, timed in turns; ``None`` for what was not run."""
    tasks: dict[str, Task] = {}
    names = [(method, cells) for method in ("disjoint", "ordinary") for cells in args.cells]
    problems = {cells: Problem(features, cells, univariate, batch=args.batch) for cells in args.cells}
    rate = 0.0  # seconds a component of the ordinary mixture, as the last one showed
    for method, cells in names:
        problem = problems[cells]
        if method == "ordinary":
            if rate * cells > PATIENCE or problem.too_large(task, univariate):
                continue
            started = time.perf_counter()
            problem.task(method, task)()
            rate = (time.perf_counter() - started) / cells
        tasks[f"{method} {cells}"] = problem.task(method, task)
    times: dict[str, list[float]] = {}
    # One method after the other: the ordinary mixture's memory, given back, would slow down whatever comes next.
    for method in ("disjoint", "ordinary"):
        turns = {name: run for name, run in tasks.items() if name.startswith(method)}
        times |= interleaved(turns, repeats=args.repeats, device=torch.device("cpu"))
    rows = []
    for method, cells in names:
        own, one = times.get(f"{method} {cells}"), times.get(f"{method} {args.cells[0]}")
        ratios = None if own is None or one is None else [t / s for t, s in zip(own, one, strict=True)]
        rows.append(
            {
                "features": features,
                "univariate": univariate,
                "task": task,
                "method": method,
                "cells": cells,
                "seconds": None if own is None else statistics.median(own),
                "ratio_to_one": None if ratios is None else statistics.median(ratios),
            }
        )
    return rows


def show(rows: list[dict[str, Any]], cells: list[int]) -> Table:
    """Lay the rows out as a table to read."""
    table = Table(title=f"milliseconds (times those of {cells[0]} components)")
    for column in ("D", "component", "task", "mixture", *(f"K = {k}" for k in cells)):
        table.add_column(column, no_wrap=True)
    lines: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        key = (str(row["features"]), row["univariate"], row["task"], row["method"])
        text = "-" if row["seconds"] is None else f"{1e3 * row['seconds']:.1f} ({row['ratio_to_one']:.2f})"
        lines.setdefault(key, []).append(text)
    for key, line in lines.items():
        table.add_row(*key, *line)
    return table


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time against the number of components: a panel a dimension, a row of panels a task, splines only."""
    rows = [row for row in rows if row["seconds"] is not None and row["univariate"] == rows[-1]["univariate"]]
    features, tasks = (list(dict.fromkeys(row[key] for row in rows)) for key in ("features", "task"))
    figure = Figure(figsize=(3.4 * len(features), 2.9 * len(tasks)), layout="constrained")
    panels = figure.subplots(len(tasks), len(features), sharex=True, sharey="row", squeeze=False)
    for i, task in enumerate(tasks):
        for j, dim in enumerate(features):
            ax = panels[i, j]
            for method, colour in (("ordinary", "#EE6677"), ("disjoint", "#4477AA")):
                line = [row for row in rows if (row["features"], row["task"], row["method"]) == (dim, task, method)]
                milliseconds = [1e3 * row["seconds"] for row in line]
                ax.plot([row["cells"] for row in line], milliseconds, "o-", color=colour, label=f"{method} mixture")
            ax.set(xscale="log", yscale="log", title=f"D = {dim}, {task}")
            ax.set_xlabel("components K" if i == len(tasks) - 1 else "")
            ax.set_ylabel("ms a batch" if j == 0 else "")
            ax.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="*", default=list(FEATURES))
    parser.add_argument("--cells", type=int, nargs="*", default=list(CELLS), help="ratios are to the first")
    parser.add_argument("--univariate", nargs="*", choices=UNIVARIATE, default=list(UNIVARIATE))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mixture_likelihood.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    made_by = provenance()
    rows = [
        row
        for univariate in args.univariate
        for features in args.features
        for task in TASKS
        for row in measure(features, univariate, task, args)
    ]
    Console(width=140).print(show(rows, args.cells))
    config = {key: value for key, value in vars(args).items() if key != "out"}
    config |= {"layers": LAYERS, "hidden_features": [WIDTH, WIDTH], "bins": BINS}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**made_by, "config": config, "rows": rows}, indent=1) + "\n")
    draw(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
