"""Commands about tables and the models of them: schema, impute, check, report.

Like the other commands, they import torch and pandas inside functions only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessflow import cli_models as models
from tessflow.cli_models import Delimiter, MissingWords, ModelDirectory, TableFile

if TYPE_CHECKING:
    from tessflow import TabularFlow

__all__ = ["check", "impute", "report", "schema"]


def schema(
    table: TableFile,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write, instead of standard output.")] = None,
    scaling: Annotated[str, typer.Option(help="How numbers are to be scaled: quantile or standard.")] = "quantile",
    max_levels: Annotated[int, typer.Option(min=1, help="Most distinct integers that are classes.")] = 64,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Say what the columns of TABLE are, as YAML to edit and give to `tessflow fit --schema`."""
    from tessflow.tables import TableSchema
    from tessflow.training.weights import write_atomically

    if scaling not in ("quantile", "standard"):
        raise ValueError(f"--scaling is quantile or standard, got {scaling!r}")
    batches = models.table_source(table, delimiter, na).batches()
    text = TableSchema.infer(batches, max_levels=max_levels, scaling=scaling).to_yaml()  # type: ignore[arg-type]
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())


def impute(
    directory: ModelDirectory,
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Table to write.")],
    strategy: Annotated[str, typer.Option(help="typical (likely values) or sample (a joint draw).")] = "typical",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the draw; by default that of the fit.")
    ] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Fill the missing values of TABLE with the model in DIR."""
    from tessflow.tables import write_table

    model = _table_model(directory)
    frame = models.table_source(table, delimiter, na).read(model.schema_)
    filled = model.impute(frame, strategy=strategy, random_state=seed)  # type: ignore[arg-type]
    write_table(filled, out, model.schema_)
    typer.echo(f"{int(frame.isna().sum().sum() - filled.isna().sum().sum())} values filled in {out}")


def check(
    directory: ModelDirectory,
    table: TableFile,
    *,
    train: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The table the model was fitted to: are its rows copied?")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows of TABLE that are looked at.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of their choice, and of rows drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON file for the figures.")] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Check the likelihoods of the model in DIR on TABLE, whose rows it should not have seen."""
    from tessflow.estimators.calibration import check as check_model
    from tessflow.training.weights import write_atomically

    model = _table_model(directory)
    frame = models.table_source(table, delimiter, na).read(model.schema_)
    seen = None if train is None else models.table_source(train, delimiter, na).read(model.schema_)
    result = check_model(model, frame, train=seen, rows=rows, seed=seed)
    typer.echo(str(result))
    if out is not None:
        write_atomically(out, result.model_dump_json(indent=1).encode())


def report(
    directory: ModelDirectory,
    *,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="Real rows to compare the model with.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path("report.html"),
    rows: Annotated[int, typer.Option(min=1, help="Most rows that are looked at, and rows drawn.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the draws.")] = 0,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Write a page about the model in DIR: what it learned, how well, and which rows surprise it."""
    from tessflow.viz.report import write_report

    model = _table_model(directory)
    frame = None
    if table is not None:
        frame = models.table_source(table, delimiter, na).read(model.schema_)
    typer.echo(f"the report is in {write_report(model, out, table=frame, rows=rows, seed=seed)}")


def _table_model(directory: Path) -> TabularFlow:
    model = models.load_model(directory)
    if models.is_mixture(model):
        raise ValueError(f"{directory} holds a mixture; this command is for models of tables")
    return model
