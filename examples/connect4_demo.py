"""Fit the Connect-4 positions, compare the held-out likelihood with its floor, and sample boards.

python examples/connect4_demo.py --out runs/demo
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from matplotlib.figure import Figure
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from tessflow import TabularFlow
from tessflow.datasets import independent_columns_nats, is_legal_connect4, load, render_connect4
from tessflow.viz import plot_cells, plot_history

SAMPLES = 2000


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where model and pictures go")
    parser.add_argument("--steps", type=int, default=5000, help="training steps")
    arguments = parser.parse_args()
    console = Console()

    data = load("connect4")
    console.print(f"[bold]{data.description}[/]; {len(data.train):,} rows to train on; {data.source}")
    started = time.perf_counter()
    flow = TabularFlow(order="table", max_steps=arguments.steps, random_state=0, verbose=True)
    flow.fit(data.train, X_validation=data.validation)
    seconds = time.perf_counter() - started
    flow.save(arguments.out)

    scores = flow.score_samples(data.test)
    independent = independent_columns_nats(data.train, data.test)
    table = Table("nats a row (lower is better)", title=f"{len(data.test):,} held-out rows, fitted in {seconds:.0f} s")
    table.add_column("value", justify="right")
    table.add_row("independent columns", f"{independent:.2f}")
    table.add_row("paper, Voronoi dequantization", f"{data.paper:.2f}")
    kind = "at most" if flow.lower_bound_ else "exact"
    table.add_row(f"[bold]this model[/] ({kind})", f"[bold]{-scores.mean():.2f}[/]")
    table.add_row(f"floor, ln {round(math.exp(data.floor)):,}", f"{data.floor:.2f}")
    console.print(table)
    console.print(f"standard error of the mean: {scores.std() / math.sqrt(len(scores)):.3f}")

    boards = flow.sample(SAMPLES)
    legal = is_legal_connect4(boards)
    panels = [
        Panel(render_connect4(boards.iloc[row]), title="legal" if legal[row] else "not legal", expand=False)
        for row in range(2)
    ]
    console.print("Two sampled boards, x to move:", Columns(panels))
    console.print(f"{legal.mean():.1%} of {SAMPLES:,} sampled boards are legal positions.")

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    references = {"independent columns": independent, "paper": data.paper, "floor": data.floor}
    plot_history(flow.history_, axes, references=references)
    axes.set_title("Connect-4")
    loss = arguments.out / "loss.png"
    figure.savefig(loss, dpi=150)

    # The middle square of the lowest row: who has it tells most about a position.
    variable = data.train.columns.get_loc("d1")
    tessellation = flow.model_.conditionals.dequantizer.tessellation.variable(variable)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    labels = map(str, flow.schema_.columns[variable].labels)  # the last is something not seen
    plot_cells(tessellation, axes, labels=[{"b": "blank"}.get(label, label) for label in labels])
    axes.set_title("Square d1: learned anchors and their cells", fontsize=11)
    cells = arguments.out / "cells.png"
    figure.savefig(cells, dpi=150)
    console.print(f"Model in {arguments.out}; pictures: {loss}, {cells}.")


if __name__ == "__main__":
    main()
