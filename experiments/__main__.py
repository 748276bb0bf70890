"""`python -m experiments`: run the paper's experiments, render their tables, draw their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.config import Preset, read_table, table_names
from experiments.results import is_done
from experiments.runner import RUNS, Outcome, run_rows
from tessflow.cli import OneSentenceErrors


class _Errors(OneSentenceErrors):
    places = (*OneSentenceErrors.places, str(Path(__file__).parent))


app = typer.Typer(cls=_Errors, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def run(
    table: Annotated[str, typer.Argument(help="One of the files in experiments/tables.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A row, such as nursery/voronoi; nursery/ or /voronoi for several.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="By default those that the table names.")] = None,
    preset: Annotated[Preset, typer.Option(help="Which budget.")] = "small",
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each with one thread.")] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    *,
    again: Annotated[bool, typer.Option("--again", help="Run done rows too, all from the start.")] = False,
) -> None:
    """Run the rows of a table that have no result yet; an interrupted run goes on where it was."""
    rows = read_table(table).rows(preset=preset, only=only or (), seeds=seed)
    failures = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True)) as bar:
        done = 0 if again else sum(map(is_done, rows))
        task = bar.add_task(table, total=len(rows), completed=done, left="")
        for outcome in run_rows(rows, jobs=jobs, device=device, again=again):
            bar.console.print(_line(outcome), markup=False, highlight=False, soft_wrap=True)
            bar.update(task, advance=1, left=f"about {_duration(outcome.seconds_left)} left")
            failures += [outcome] if outcome.error else []
    if failures:
        names = ", ".join(f"{outcome.row.name} ({outcome.row.seed})" for outcome in failures)
        raise RuntimeError(f"{len(failures)} of {len(rows)} runs failed: {names}; the first: {failures[0].error}")


@app.command()
def render(
    *, check: Annotated[bool, typer.Option("--check", help="Only say whether the pages are current.")] = False
) -> None:
    """Write the tables of experiments/README.md and docs/results.md from the files of results."""
    from experiments.render import render_pages

    stale = render_pages(write=not check)
    if check and stale:
        raise ValueError(f"{', '.join(stale)} not current: run `python -m experiments render`")


@app.command()
def figures(
    table: Annotated[str, typer.Argument(help="A table whose task draws figures.")] = "quantized2d",
    out: Annotated[Path, typer.Option(help="Directory of the pictures.")] = Path("experiments/figures"),
) -> None:
    """Draw the figures of a table from the weights of its runs."""
    read = read_table(table)
    if not hasattr(read.module, "figures"):
        drawn = (name for name in table_names() if hasattr(read_table(name).module, "figures"))
        raise ValueError(f"{table} has no figures: choose {' or '.join(drawn)}")
    for path in read.module.figures(read, RUNS, out):
        typer.echo(path)


@app.command()
def corrections() -> None:
    """Measure what three faults do to a likelihood, for docs/results.md."""
    from experiments.corrections import write

    typer.echo(write())


@app.command("list")
def list_tables() -> None:
    """List the tables and how many runs each has."""
    for name in table_names():
        table = read_table(name)
        typer.echo(f"{name}: {table.title} ({len(table.rows())} runs)")


def _line(outcome: Outcome) -> str:
    name = f"{outcome.row.name}, seed {outcome.row.seed}"
    if outcome.result is None:
        return f"{name}: failed: {outcome.error}"
    test, seconds = outcome.result["test"], outcome.result["seconds"]
    return f"{name}: {test['nats']:.3f} ± {test['standard_error']:.3f} nats ({_duration(seconds)})"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 0:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


if __name__ == "__main__":
    app(prog_name="python -m experiments")
