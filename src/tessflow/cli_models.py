"""Models as the commands see them: which kind there is, what may be overwritten, what is said of one.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from tessflow import MixtureFlow, TabularFlow
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import TableSchema

__all__ = [
    "FILES", "MODEL", "WEIGHTS", "columns_of", "describe_cells", "echo_training", "estimator_of", "exactness",
    "infer_schema", "is_mixture", "load_model", "nats", "require_own", "require_same",
]  # fmt: skip

WEIGHTS, CHECKPOINT, HISTORY = "weights.safetensors", "checkpoint.safetensors", "history.csv"
MODEL = ("config.json", "schema.json", WEIGHTS)
FILES = (*MODEL, HISTORY, CHECKPOINT)

# Arguments that one kind of model has and the other has not, and the options that set them.
OWN = {"table": {"backbone": "--backbone", "dimension": "--dimension"}, "mixture": {"n_cells": "--cells"}}


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


def infer_schema(model: Any, frame: pd.DataFrame) -> NumericSchema | TableSchema:
    """Read the schema that a model will make of a table, or refuse the table."""
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import TableSchema

    if is_mixture(model):
        return NumericSchema.infer(frame)
    return TableSchema.infer(frame, max_categories=model.max_categories)


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

    Other rows of the same schema are found out by the training itself, which compares its checkpoint.
    """
    try:
        finished = type(model).load(out)
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(error).rstrip('.')}; --force deletes what is there") from error
    there, here = finished.get_params(), model.get_params()
    differences = [name for name in here if name != "verbose" and there.get(name) != here[name]]
    if finished.schema_ != schema:
        differences.append("table")
    if differences or not (out / CHECKPOINT).exists():
        other = f"of another {', '.join(differences)}" if differences else "without a checkpoint"
        raise ValueError(
            f"{out} holds a finished model {other}: choose another directory, or delete it first with --force"
        )


def columns_of(model: TabularFlow | MixtureFlow) -> Table:
    """Tabulate the columns of a model: their values, or their means and scales."""
    from tessflow.tables.values import show

    if is_mixture(model):
        columns = Table("column", "mean", "scale")
        for column in model.schema_.columns:
            columns.add_row(*map(Text, (str(column.name), f"{column.mean:.6g}", f"{column.scale:.6g}")))
        return columns
    columns = Table("column", "kind", "dtype", "classes", "values")
    for column in model.schema_.columns:
        values = [show(value) for value in column.values]
        values += [] if column.missing is None else ["missing"]
        listed = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
        cells = (str(column.name), column.kind, column.dtype, str(column.cardinality), listed)
        columns.add_row(*map(Text, cells))
    return columns


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
