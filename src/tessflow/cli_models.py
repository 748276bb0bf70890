"""Models as the commands see them: which kind there is, what may be overwritten, what is said of one.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file (also .tsv, .gz) or Parquet file.")]
ModelDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a fitted model.")]
Delimiter = Annotated[str | None, typer.Option(help="What separates the fields of a CSV file; tab is '\\t'.")]
MissingWords = Annotated[
    list[str] | None,
    typer.Option(
        "--na", metavar="WORD", help="A word for missing values in every column of a CSV file; may be repeated."
    ),
]

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from tessflow import MixtureFlow, TabularFlow
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import ClassColumn, NumericColumn, TableSchema, TableSource

__all__ = [
    "Delimiter", "FILES", "MODEL", "MissingWords", "ModelDirectory", "TableFile", "WEIGHTS", "columns_of", "conditions",
    "declared_schema", "describe_cells", "echo_training", "estimator_of", "exactness", "infer_schema", "is_mixture",
    "listed", "load_model", "nats", "require_own", "require_same", "score_batches", "table_source", "word_schema",
]  # fmt: skip

WEIGHTS, CHECKPOINT, HISTORY = "weights.safetensors", "checkpoint.safetensors", "history.csv"
MODEL = ("config.json", "schema.json", WEIGHTS)
FILES = (*MODEL, HISTORY, CHECKPOINT)

# Arguments that one kind of model has and the other has not, and the options that set them.
OWN = {
    "table": {"backbone": "--backbone", "dimension": "--dimension", "order": "--order"},
    "mixture": {"n_cells": "--cells"},
}


def estimator_of(kind: str, options: Mapping[str, Any]) -> Any:
    """Return the estimator of a kind of model.

    Args:
        kind: ``"table"`` or ``"mixture"``.
        options: Arguments that it will be given.

    Raises:
        ValueError: If there is no such kind, or an option belongs to the other.

    Example:
        >>> estimator_of("table", {"n_cells": 4})
        Traceback (most recent call last):
        ValueError: --cells belongs to --model mixture, not to --model table
    """
    import tessflow

    if kind not in OWN:
        raise ValueError(f"--model is {' or '.join(OWN)}, got {kind!r}")
    for owner, flags in OWN.items():
        for name, flag in flags.items():
            if owner != kind and name in options:
                raise ValueError(f"{flag} belongs to --model {owner}, not to --model {kind}")
    return tessflow.MixtureFlow if kind == "mixture" else tessflow.TabularFlow


def load_model(directory: Path) -> Any:
    """Load the model of either kind that a directory holds."""
    import tessflow
    from tessflow.estimators.storage import ModelDirectory

    mixture = ModelDirectory(directory).estimator() == "MixtureFlow"
    return (tessflow.MixtureFlow if mixture else tessflow.TabularFlow).load(directory)


def is_mixture(model: Any) -> bool:
    """Return whether a model is one of real numbers."""
    from tessflow import MixtureFlow

    return isinstance(model, MixtureFlow)


def declared_schema(path: Path | None, kind: str) -> TableSchema | None:
    """Read the schema that a file declares, if one is given."""
    from tessflow.tables import TableSchema

    if path is None:
        return None
    if kind != "table":
        raise ValueError(f"--schema belongs to --model table, not to --model {kind}")
    return TableSchema.from_yaml(path)


def infer_schema(model: Any, frame: pd.DataFrame, declared: TableSchema | None) -> NumericSchema | TableSchema:
    """Read the schema that a model will make of a table, or refuse the table."""
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import TableSchema

    if is_mixture(model):
        return NumericSchema.infer(frame)
    return TableSchema.read(frame, declared, max_levels=model.max_levels, scaling=model.scaling)


def require_own(out: Path) -> None:
    """Refuse to write into a directory that holds anything but a model or a run of ours."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another directory for the model")
    entries = (
        {entry.name.removesuffix(".tmp").removesuffix(".new") for entry in out.iterdir()} if out.exists() else set()
    )
    if entries and not entries & {WEIGHTS, CHECKPOINT} and not entries <= {HISTORY}:
        raise ValueError(f"{out} is not empty and holds no tessflow model: choose another directory")


def require_same(out: Path, model: Any, schema: Any) -> None:
    """Refuse to overwrite a finished model of another kind, other options or another table.

    Other rows of the same schema, and another schema of a table that is not read whole (``None``), are found out by
    the training itself, which compares its checkpoint.
    """
    try:
        finished = type(model).load(out)
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(error).rstrip('.')}; --force deletes what is there") from error
    there, here = finished.get_params(), model.get_params()
    differences = [name for name in here if name != "verbose" and there.get(name) != here[name]]
    if schema is not None and finished.schema_ != schema:
        differences.append("table")
    if differences or not (out / CHECKPOINT).exists():
        other = f"of another {', '.join(differences)}" if differences else "without a checkpoint"
        raise ValueError(
            f"{out} holds a finished model {other}: choose another directory, or delete it first with --force"
        )


def table_source(path: Path, delimiter: str | None, missing: list[str] | None) -> TableSource:
    """Return a table file and how it is read: what the options of every command that reads one say."""
    from tessflow.tables import TableSource

    # A shell hardly lets a tabulator through.
    return TableSource(path, "\t" if delimiter == "\\t" else delimiter, tuple(missing or ()))


def word_schema(model: Any) -> TableSchema | None:
    """Return the schema by whose formats a model's rows are written."""
    return None if is_mixture(model) else model.schema_


def listed(names: str | None) -> list[str] | None:
    """Split names at commas.

    Example:
        >>> listed("age, income")
        ['age', 'income']
    """
    return None if names is None else [name.strip() for name in names.split(",")]


def score_batches(model: TabularFlow, table: TableSource, **options: Any) -> NDArray[np.float64]:
    """Score the rows of a table file, which need not fit into memory."""
    import numpy as np

    scores: list[NDArray[np.float64]] = []
    for batch in table.batches(model.schema_):
        try:
            scores.append(model.score_samples(batch, **options))
        except (ValueError, TypeError) as error:
            if not scores:
                raise
            first = sum(map(len, scores))
            raise type(error)(f"in the rows from number {first} on, which count from 0 here: {error}") from error
    return np.concatenate(scores)


def conditions(model: Any, texts: list[str]) -> dict[str, Any]:
    """Read what is given of rows to be drawn: arguments of ``sample``.

    Args:
        model: The model.
        texts: Each ``column=value``, ``column=low..high`` with either end left out, ``column=a|b``, or ``column=`` for
            a missing value.

    Raises:
        ValueError: If a text is none of these, or there is no such column.
    """
    if not texts:
        return {}
    if is_mixture(model):
        raise ValueError("--given is for models of tables, and this one is a mixture")
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--given takes COLUMN=VALUE, got {text!r}")
        column = model.schema_.columns[model.schema_.position(name)]
        if column.name in given:
            raise ValueError(f"--given names the column {name!r} twice: write {name}=a|b, or {name}=low..high")
        given[column.name] = _condition(column, value)
    return {"given": given}


def _condition(column: ClassColumn | NumericColumn, text: str) -> Any:
    values = {str(value): value for value in getattr(column, "values", ())}
    if text in values or not text:
        return values.get(text)
    low, between, high = text.partition("..")
    if between:
        return tuple(_value(column, values, end) if end else None for end in (low, high))
    if "|" in text:
        return [_value(column, values, part) for part in text.split("|")]
    return _value(column, values, text)


def _value(column: ClassColumn | NumericColumn, values: Mapping[str, Any], text: str) -> Any:
    """Return the value that a text means in a column; the text itself, if it means none, for the column to refuse."""
    if text in values:
        return values[text]
    if column.kind == "number" or getattr(column, "value_type", None) == "numbers":
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"column {column.name!r} holds numbers, got {text!r}") from None
    return text


def columns_of(model: TabularFlow | MixtureFlow) -> Table:
    """Tabulate the columns of a model: their values, or their means and scales."""
    if is_mixture(model):
        columns = Table("column", "mean", "scale")
        for column in model.schema_.columns:
            columns.add_row(*map(Text, (str(column.name), f"{column.mean:.6g}", f"{column.scale:.6g}")))
        return columns
    columns = Table("column", "kind", "dtype", "values")
    for column in model.schema_.columns:
        columns.add_row(*map(Text, (str(column.name), column.kind, column.dtype, _listed(column))))
    return columns


def _listed(column: ClassColumn | NumericColumn) -> str:
    """List the first values of a column, or say what numbers it holds."""
    from tessflow.tables import NumericColumn
    from tessflow.tables.values import show

    missing = [] if column.missing is None else ["missing"]
    if isinstance(column, NumericColumn):
        unit = "" if column.kind == "number" else " s"
        numbers = f"multiples of {column.resolution:g}{unit}" if column.whole else "real numbers"
        return ", ".join([numbers, *(f"{atom:g}" for atom in column.atoms), *missing])
    values = [show(value) for value in column.values] + missing
    return f"{column.cardinality}: " + ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")


def describe_cells(model: MixtureFlow) -> str:
    """Say how many cells of a mixture carry mass, and how much.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> describe_cells(SimpleNamespace(cells_with_mass_=2, weights_=np.array([0.75, 0.24, 0.01])))
        'cells: 2 of 3 hold at least 3.3% of the training rows; weights are between 1.00% and 75.00%'
    """
    weights = 100 * model.weights_
    return (
        f"cells: {model.cells_with_mass_} of {len(weights)} hold at least {10 / len(weights):.2g}% of the training "
        f"rows; weights are between {weights.min():.2f}% and {weights.max():.2f}%"
    )


def nats(value: float) -> str:
    """Write a mean log-likelihood in both units."""
    return f"{value:.4f} nats a row ({value / math.log(2):.4f} bits)"


def exactness(model: TabularFlow | MixtureFlow, samples: int) -> str:
    """Say what the log-likelihoods of a model are."""
    return f"a lower bound from {samples} sample{'s' * (samples != 1)}" if model.lower_bound_ else "exact"


def echo_training(model: TabularFlow | MixtureFlow) -> None:
    """Print what training reached, and what it took."""
    typer.echo(f"held-out log-likelihood: {nats(model.validation_score_)}, {exactness(model, 1)}")
    if len(model.history_):
        last = model.history_.iloc[-1]
        typer.echo(f"training: {last['step']:.0f} steps in {last['seconds']:.0f} seconds")
