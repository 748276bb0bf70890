"""The command `tessflow info`.

Like the other commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tessflow.cli.arguments import ModelDirectory
from tessflow.cli.models import is_mixture, load_model
from tessflow.cli.phrases import counted, echo_training

if TYPE_CHECKING:
    from tessflow import MixtureFlow
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import ClassColumn, NumericColumn, TableSchema

__all__ = ["columns_of", "describe_components", "info", "numbers_of"]

SHOWN = 5


def info(directory: ModelDirectory) -> None:
    """Describe the model in DIR."""
    model = load_model(directory)
    if is_mixture(model):
        Console().print(numbers_of(model.schema_))
        for n, estimator in enumerate(model.estimators_):
            number = f"estimator {n}, " if len(model.estimators_) > 1 else ""
            typer.echo(number + describe_components(estimator))
    else:
        Console().print(columns_of(model.schema_))
        for first, second in model.schema_.order:
            typer.echo(f"order: {first} <= {second}")
    echo_training(model)
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    megabytes = sum(tensor.nbytes for tensor in model.model_.state_dict().values()) / 1e6
    typer.echo(f"size: {counted(parameters, 'parameter')}, {megabytes:.1f} MB")
    typer.echo("options: " + ", ".join(f"{name}={value!r}" for name, value in model.get_params().items()))


def numbers_of(schema: NumericSchema) -> Table:
    """Tabulate columns of real numbers: their means and scales."""
    table = Table("column", "mean", "scale")
    for column in schema.columns:
        table.add_row(*map(Text, (str(column.name), f"{column.mean:.6g}", f"{column.scale:.6g}")))
    return table


def columns_of(schema: TableSchema) -> Table:
    """Tabulate columns: their kind, what log-likelihoods of them are, values or atoms, bounds and missing values."""
    table = Table("column", "kind", "log-likelihoods", "values")
    for column in schema.columns:
        table.add_row(*map(Text, (str(column.name), column.kind, column.measure, _values(column))))
    for key in schema.keys:
        table.add_row(*map(Text, (str(key.name), key.kind, "not modelled", "")))
    return table


def _values(column: ClassColumn | NumericColumn) -> str:
    """List the first values or atoms of a column, its bounds, and whether values may be missing."""
    from tessflow.tables import NumericColumn
    from tessflow.tables.values import show

    if isinstance(column, NumericColumn):
        atoms = [str(atom) for atom in column.shown_atoms]
        parts = [f"atoms: {_listed(atoms)}"] if atoms else []
        parts += column.shown_bounds
    else:
        parts = [_listed([show(value) for value in column.values])] if column.values else []
    if column.missing is not None:
        parts.append("missing")
    return "; ".join(parts)


def _listed(words: list[str]) -> str:
    return ", ".join(words[:SHOWN]) + (f", ... ({len(words)})" if len(words) > SHOWN else "")


def describe_components(model: MixtureFlow) -> str:
    """Say how many Gaussians a mixture has, or how many of its cells carry mass, and how much.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> options = SimpleNamespace(n_cells=3)
        >>> weights = np.array([0.75, 0.24, 0.01])
        >>> describe_components(SimpleNamespace(options_=options, cells_with_mass_=2, weights_=weights))
        'cells: 2 of 3 hold at least 3.3% of the training rows; weights are between 1.00% and 75.00%'
    """
    if model.options_.n_cells is None:
        return f"Gaussians: {model.model_.base.components}"
    weights = 100 * model.weights_
    return (
        f"cells: {model.cells_with_mass_} of {len(weights)} hold at least {10 / len(weights):.2g}% of the training "
        f"rows; weights are between {weights.min():.2f}% and {weights.max():.2f}%"
    )
