"""The command `tessflow`: fit, score and sample tables from the shell.

Torch and pandas are imported inside the commands, so that `tessflow --help` does not wait for them.
"""

from __future__ import annotations

import math
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from tessflow import cli_models as models
from tessflow import cli_tables
from tessflow.cli_models import Delimiter, MissingWords, ModelDirectory, TableFile

__all__ = ["app", "main"]


class OneSentenceErrors(TyperGroup):
    """Commands whose errors are one sentence on the standard error stream and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                # Of tables always, whatever is made of other warnings; their class is imported by the commands only.
                warnings.filterwarnings("always", r"column .* is read as text", UserWarning)
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):  # typer ends quietly when a pipe is closed
            raise
        except KeyboardInterrupt as interrupt:
            typer.echo(f"tessflow: {str(interrupt) or 'interrupted'}", err=True)
            raise typer.Exit(130) from None
        except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            typer.echo(f"tessflow: {_sentence(error)}", err=True)
            raise typer.Exit(2) from None


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"tessflow: warning: {' '.join(str(message).split())}", err=True)


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}, got {first['input']!r}" if where else first["msg"]
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


app = typer.Typer(
    cls=OneSentenceErrors,
    help="Fit, score, sample and complete tables of categories, numbers and times with normalizing flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="The paper's discrete tables, and data for continuous densities.", no_args_is_help=True)
app.add_typer(data, name="data")

DataDirectory = Annotated[Path | None, typer.Option(help="Directory of official files, searched first.")]


def _version(value: bool) -> None:  # noqa: FBT001
    if value:
        from tessflow import __version__

        typer.echo(f"tessflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options of all commands; `OneSentenceErrors` reads them from the context."""


@app.command()
def fit(
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the model and its checkpoints.")],
    model: Annotated[str, typer.Option(help="table, of any columns, or mixture, of real numbers.")] = "table",
    backbone: Annotated[str | None, typer.Option(help="Of a table: autoregressive or coupling.")] = None,
    dimension: Annotated[int | None, typer.Option(min=1, help="Of a table: dimensions of a column's cells.")] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Of a mixture: number of cells.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Coupling layers.")] = None,
    profile: Annotated[str | None, typer.Option(help="truncated-gaussian or softsign; of a mixture also cube.")] = None,
    order: Annotated[str | None, typer.Option(help="Of a table: any (every conditional) or fixed (faster).")] = None,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a table: what its columns are, as `tessflow schema` writes.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Of a table: read it in batches.")] = False,
    steps: Annotated[int | None, typer.Option(help="Most training steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Share of rows held out.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything random.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
    force: Annotated[bool, typer.Option("--force", help="First delete a model that is in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Fit a model to TABLE and write it to DIR.

    Killed and started again, the same command goes on from its last checkpoint in DIR.
    """
    models.require_own(out)
    given: dict[str, Any] = {
        "backbone": backbone,
        "dimension": dimension,
        "n_cells": cells,
        "layers": layers,
        "profile": profile,
        "order": order,
        "max_steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "validation_fraction": validation_fraction,
        "accelerator": device,
    }
    options = {name: value for name, value in given.items() if value is not None}
    estimator = models.estimator_of(model, options)(random_state=seed, verbose=not quiet, **options)
    declared = models.declared_schema(schema, model)
    source: Any = models.table_source(table, delimiter, na)
    if not stream:
        source = source.read(declared)
    elif delimiter is not None or model != "table":
        raise ValueError("--stream goes with --model table, and a file whose suffix says what separates its fields")
    found = None if stream else models.infer_schema(estimator, source, declared)
    if force:
        for name in models.FILES:
            (out / name).unlink(missing_ok=True)
    elif all((out / name).exists() for name in models.MODEL):
        models.require_same(out, estimator, found)
    try:
        estimator.fit(source, directory=out, **({} if declared is None else {"schema": declared}))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: the same command (without --force) goes on from the last checkpoint in {out}"
        ) from None
    estimator.save(out)
    if not quiet:
        models.echo_training(estimator)
        typer.echo(f"the model is in {out}")


@app.command()
def score(
    directory: ModelDirectory,
    table: TableFile,
    *,
    columns: Annotated[str | None, typer.Option(help="Score these columns only: names with commas between.")] = None,
    given: Annotated[str | None, typer.Option(help="Score given these columns: names with commas between.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Importance samples a row, if it is a bound.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table for the log-likelihood of each row, in order.")
    ] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Print the mean log-likelihood of the rows of TABLE.

    With --out, the one column `log_likelihood` of that file has the value of each row, in nats.
    """
    import numpy as np
    import pandas as pd

    from tessflow.tables import write_table

    model, source = models.load_model(directory), models.table_source(table, delimiter, na)
    if models.is_mixture(model):
        if columns is not None or given is not None:
            raise ValueError("--columns and --given are for models of tables, and this one is a mixture")
        scores = model.score_samples(source.read())
    else:
        options = {"columns": models.listed(columns), "given": models.listed(given)}
        named = {name: value for name, value in options.items() if value is not None}
        scores = models.score_batches(model, source, samples=samples, **named)
    if out is not None:
        write_table(pd.DataFrame({"log_likelihood": scores}), out)
    spread = ""
    if len(scores) > 1:
        spread = f"standard error {np.std(scores, ddof=1) / math.sqrt(len(scores)):.4f} nats, "
    typer.echo(
        f"mean log-likelihood: {models.nats(float(np.mean(scores)))}, {spread}"
        f"{len(scores)} row{'s' * (len(scores) != 1)}, {models.exactness(model, samples or 100)}"
    )


@app.command()
def sample(
    directory: ModelDirectory,
    *,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table to write, instead of CSV on standard output.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="What is given: a=1, a=1..5, a=1.., a=red|blue; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the draw; by default that of the fit.")
    ] = None,
) -> None:
    """Draw rows from the model in DIR, perhaps of which something is given."""
    import pandas as pd

    from tessflow.tables import write_table
    from tessflow.tables.files import in_words

    model = models.load_model(directory)
    conditions = models.conditions(model, given or [])
    drawn = pd.DataFrame(model.sample(rows, random_state=seed, **conditions))  # of an array, if it was fitted to one
    if out is not None:
        write_table(drawn, out, models.word_schema(model))
    else:
        in_words(drawn, models.word_schema(model)).to_csv(sys.stdout, index=False)
        sys.stdout.flush()  # here a closed pipe is still noticed


@app.command()
def info(directory: ModelDirectory) -> None:
    """Describe the model in DIR."""
    model = models.load_model(directory)
    Console().print(models.columns_of(model))
    if models.is_mixture(model):
        typer.echo(models.describe_cells(model))
    models.echo_training(model)
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    megabytes = (directory / models.WEIGHTS).stat().st_size / 1e6
    typer.echo(f"size: {parameters:,} parameters, {megabytes:.1f} MB")
    typer.echo("options: " + ", ".join(f"{name}={value!r}" for name, value in model.get_params().items()))


@app.command()
def gallery(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results and pictures go.")] = Path("runs/gallery"),
    sets: Annotated[str | None, typer.Option(help="Some of the sets, with commas between them.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
    steps: Annotated[int | None, typer.Option(help="Training steps of each model.")] = None,
    layers: Annotated[int | None, typer.Option(help="Coupling layers.")] = None,
    cells: Annotated[int | None, typer.Option(help="Cells of a mixture.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
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
    for name, seed in train_gallery(names, range(seeds), config, out, jobs=jobs):
        typer.echo(f"{name}, seed {seed}: done")
    Console().print(Markdown(write_page(config, out)))
    typer.echo(f"pictures and tables: {out / 'README.md'}")


app.command()(cli_tables.schema)
app.command()(cli_tables.impute)
app.command()(cli_tables.check)
app.command()(cli_tables.report)


@data.command("list")
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


@data.command("show")
def show_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `tessflow data list`.")],
    *,
    data_dir: DataDirectory = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Table to write all rows to.")] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows, if they are drawn.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed, if they are drawn.")] = 0,
) -> None:
    """Load a data set or draw it, show its first rows, and write it to a file if asked."""
    import pandas as pd

    from tessflow import datasets
    from tessflow.tables import write_table

    if name in datasets.planar_names():
        drawn = pd.DataFrame(datasets.sample_planar(name, rows, seed=seed), columns=["x1", "x2"])
        if out is not None:
            write_table(drawn, out)
        typer.echo(f"{name}: {rows} points in the plane, drawn with seed {seed}")
        typer.echo(drawn.head(5).to_string(index=False))
        return
    known = datasets.names() + datasets.continuous_names()
    if name not in known:
        raise ValueError(f"there is no data set '{name}': choose one of {', '.join(known + datasets.planar_names())}")
    load = datasets.load if name in datasets.names() else datasets.load_continuous
    loaded = load(name, data_dir=data_dir)
    if out is not None:
        write_table(loaded.frame, out)
    typer.echo(f"{loaded.name}: {loaded.description}")
    typer.echo(f"source: {loaded.source}")
    sizes = (len(loaded.train), len(loaded.validation), len(loaded.test))
    typer.echo("rows: {} training, {} validation, {} test".format(*sizes))
    typer.echo(pd.DataFrame(loaded.train[:5]).to_string(index=False, max_cols=12))


def main() -> None:
    """Run the command `tessflow`."""
    app()


if __name__ == "__main__":
    main()
