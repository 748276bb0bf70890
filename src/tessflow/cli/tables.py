"""Commands about tables and the models of them: schema, impute, check, report.

Like the other commands, they import torch and pandas inside functions only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessflow.cli.arguments import (
    MOST_ROWS,
    MOST_SEED,
    STANDARD_OUTPUT,
    Delimiter,
    MissingWords,
    ModelDirectory,
    Seed,
    TableFile,
    UnseenValues,
    one_of,
    table_source,
    write_rows,
)
from tessflow.cli.models import table_model
from tessflow.cli.phrases import by_column, counted, say

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check", "impute", "report", "schema"]


def schema(
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write; - is standard output.")] = STANDARD_OUTPUT,
    scaling: Annotated[
        str,
        typer.Option(
            help="How numbers are to be scaled: quantile or standard.", callback=one_of("quantile", "standard")
        ),
    ] = "quantile",
    max_levels: Annotated[
        int, typer.Option(min=0, help="Most numbers of a column with a probability of their own.")
    ] = 64,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Say what the columns of TABLE are, as YAML to edit and give to `tessflow fit --schema`.

    A comment at its end suggests an order of columns of times, such as start <= end, if no row breaks it. A warning
    names columns that look like keys.
    """
    from tessflow.files import write_atomically
    from tessflow.tables import TableSchema, TableWarning
    from tessflow.tables.orders import suggested_orders
    from tessflow.tables.readings import missing_word_warnings

    source = table_source(table, delimiter, na)
    options: dict[str, Any] = {"max_levels": max_levels, "scaling": scaling}
    found = TableSchema.infer(source.batches(), **options)
    text = found.to_yaml(suggested=suggested_orders(source.batches(), found))
    write_atomically(out, text.encode())
    for warning in (*found.warnings(), *missing_word_warnings(found)):
        warnings.warn(warning, TableWarning, stacklevel=1)


def impute(
    directory: ModelDirectory,
    table: TableFile,
    *,
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Table to write.")],
    strategy: Annotated[
        str,
        typer.Option(
            help="typical (likely values), mean or sample (a joint draw).", callback=one_of("typical", "mean", "sample")
        ),
    ] = "typical",
    seed: Seed = None,
    unseen: UnseenValues = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Fill the missing values of TABLE with the model in DIR; all others, keys and the index stay as they are."""
    model = table_model(directory)
    frame = table_source(table, delimiter, na).require_columns(model.schema_).read(model.schema_)
    options: dict[str, Any] = {"strategy": strategy, "random_state": seed, "unseen": unseen}
    filled = model.impute(frame, **options)
    write_rows(filled, out, model.schema_)
    holes, left = _holes(frame), _holes(filled)
    counts = {name: count - left[name] for name, count in holes.items()}
    by = f": {by_column(counts)}" if any(counts.values()) else ""
    say(f"{counted(sum(counts.values()), 'value')} filled in {out}{by}", out)
    keys = {str(key.name) for key in model.schema_.keys}
    empty = {name: count for name, count in left.items() if count and name not in keys}
    if empty:
        say(
            f"{counted(sum(empty.values()), 'value')} still missing, of which training rows held none: "
            f"{by_column(empty)}",
            out,
        )


def check(
    directory: ModelDirectory,
    table: TableFile,
    *,
    train: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="The table the model was fitted to: are its rows copied?")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Most rows of TABLE that are looked at.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of their choice, and of rows drawn.")] = 0,
    unseen: UnseenValues = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON file for the figures.")] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Check the likelihoods of the model in DIR on TABLE, whose rows it should not have seen."""
    from tessflow.estimators.calibration import check as check_model
    from tessflow.files import write_atomically

    model = table_model(directory)
    source, training = (
        None if path is None else table_source(path, delimiter, na).require_columns(model.schema_)
        for path in (table, train)
    )
    options: dict[str, Any] = {"rows": rows, "seed": seed, "unseen": unseen}
    result = check_model(model, source, train=training, **options)
    say(str(result), out)
    if out is not None:
        write_atomically(out, result.model_dump_json(indent=1).encode())


def report(
    directory: ModelDirectory,
    *,
    table: Annotated[Path | None, typer.Option(metavar="TABLE", help="Real rows to compare the model with.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path("report.html"),
    rows: Annotated[
        int, typer.Option(min=1, max=MOST_ROWS, help="Most rows that are looked at, and rows drawn.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the draws.")] = 0,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Write a page about the model in DIR: what it learned, how well, and which rows surprise it."""
    from tessflow.viz.report import write_report

    model = table_model(directory)
    source = None if table is None else table_source(table, delimiter, na).require_columns(model.schema_)
    say(f"the report is in {write_report(model, out, table=source, rows=rows, seed=seed)}", out)


def _holes(frame: pd.DataFrame) -> dict[str, int]:
    """Count the missing values of each column."""
    return {str(name): int(count) for name, count in frame.isna().sum().items()}
