"""Commands about the data sets of the paper and densities in the plane: data list, data show, gallery.

Like the other commands, they import torch and pandas inside functions only.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tessflow.cli.arguments import MOST_ROWS, MOST_SEED
from tessflow.cli.command import Command
from tessflow.cli.phrases import say

__all__ = ["data", "gallery"]

data = typer.Typer(help="The paper's discrete tables, and data for continuous densities.", no_args_is_help=True)


def _positive(param: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{param.opts[0]} must be a positive number, got {value}")
    return value


DataDirectory = Annotated[Path | None, typer.Option(metavar="DIR", help="Directory of official files, searched first.")]


def gallery(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results and pictures go.")] = Path("runs/gallery"),
    sets: Annotated[str | None, typer.Option(help="Some of the sets, with commas between them.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each model.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Coupling layers.")] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Cells of a mixture.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(callback=_positive, help="Highest learning rate.")] = None,
) -> None:
    """Train flows and mixtures on densities in the plane, tabulate and draw them.

    Stopped and started again, the same command goes on with what is missing in DIR.
    """
    from rich.markdown import Markdown

    from tessflow.datasets import planar_names
    from tessflow.viz.gallery import GalleryConfig, train_gallery, write_page

    given = {"steps": steps, "layers": layers, "cells": cells, "batch_size": batch_size, "learning_rate": learning_rate}
    config = GalleryConfig(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    names = planar_names() if sets is None else list(dict.fromkeys(name.strip() for name in sets.split(",")))
    if unknown := [name for name in names if name not in planar_names()]:
        raise ValueError(f"--sets: there is no set '{unknown[0]}': choose some of {', '.join(planar_names())}")
    if out.exists() and any(out.iterdir()) and not (out / "results").is_dir():
        raise ValueError(f"--out {out} is not empty and holds no gallery: choose another directory")
    for name, seed in train_gallery(names, range(seeds), config, out, jobs=jobs):
        typer.echo(f"{name}, seed {seed}: done")
    Console().print(Markdown(write_page(config, out)))
    typer.echo(f"pictures and tables: {out / 'README.md'}")


@data.command("list", cls=Command)
def list_data() -> None:
    """List the data sets."""
    from tessflow import datasets

    table = Table("name", "rows", "columns", "floor (nats)", "source")
    for name in datasets.names():
        about = datasets.info(name)
        floor = "" if about.floor is None else f"{about.floor:.4f}"
        source = "generated" if about.generated else "UCI"
        table.add_row(name, f"{about.rows:,}", str(about.variables), floor, source)
    for name in datasets.continuous_names():
        continuous = datasets.continuous_info(name)
        table.add_row(name, f"{sum(continuous.rows):,}", str(continuous.features), "", "Zenodo")
    for name in datasets.planar_names():
        table.add_row(name, "any", "2", "", "drawn")
    Console().print(table)
    typer.echo(
        "UCI, Zenodo: read from --data-dir or TESSFLOW_DATA, the cache, or downloaded; Zenodo, drawn: real numbers"
    )


@data.command("show", cls=Command)
def show_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `tessflow data list`.")],
    *,
    data_dir: DataDirectory = None,
    out: Annotated[Path | None, typer.Option(metavar="TABLE", help="Table to write all rows to.")] = None,
    rows: Annotated[
        int, typer.Option("--rows", "-n", min=1, max=MOST_ROWS, help="Number of rows, if they are drawn.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed, if they are drawn.")] = 0,
) -> None:
    """Load a data set or draw it, show its first rows, and write it to a file if asked."""
    import pandas as pd

    from tessflow import datasets
    from tessflow.tables import write_table

    if name in datasets.planar_names():
        drawn = pd.DataFrame(datasets.sample_planar(name, rows, seed=seed), columns=["x1", "x2"])
        if out is not None:
            write_table(drawn, out)
        say(f"{name}: {rows} points in the plane, drawn with seed {seed}", out)
        say(drawn.head(5).to_string(index=False), out)
        return
    known = datasets.names() + datasets.continuous_names()
    if name not in known:
        raise ValueError(f"there is no data set '{name}': choose one of {', '.join(known + datasets.planar_names())}")
    load = datasets.load if name in datasets.names() else datasets.load_continuous
    loaded = load(name, data_dir=data_dir)
    if out is not None:
        write_table(loaded.frame, out)
    say(f"{loaded.name}: {loaded.description}", out)
    say(f"source: {loaded.source}", out)
    sizes = (len(loaded.train), len(loaded.validation), len(loaded.test))
    say("rows: {} training, {} validation, {} test".format(*sizes), out)
    say(pd.DataFrame(loaded.train[:5]).to_string(index=False, max_cols=12), out)
