"""What was fitted, and to what columns, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import tessflow
from tessflow.estimators import TabularFlow
from tessflow.models import MatchedFlow
from tessflow.tables import NumericColumn, TableSchema
from tessflow.tables.columns import AnyColumn
from tessflow.viz.report.rows import class_labels, show, value_of
from tessflow.viz.report.svg import shorten

__all__ = ["ColumnFacts", "ModelFacts", "describe_columns", "describe_model"]

# Most values that are listed.
_VALUES = 8


@dataclass(frozen=True)
class ModelFacts:
    """What was fitted.

    Args:
        rows: Names and words, for a table.
        nats: Mean log-likelihood of the held-out rows.
        meaning: What that means, in a sentence.
    """

    rows: list[tuple[str, str]]
    nats: float
    meaning: str

    @property
    def bits(self) -> float:
        """The same in bits."""
        return self.nats / math.log(2)


@dataclass(frozen=True)
class ColumnFacts:
    """A column in words; empty where there is nothing to say.

    Args:
        name: Its name.
        kind: Its kind.
        measure: What its log-likelihoods are.
        values: Its classes, or the range of its numbers.
        atoms: Numbers with a probability of their own.
        bounds: The least and the largest number that there can be.
        missing: Whether missing values were seen.
    """

    name: str
    kind: str
    measure: str
    values: str = ""
    atoms: str = ""
    bounds: str = ""
    missing: str = ""


def describe_model(model: TabularFlow) -> ModelFacts:
    """Say what was fitted."""
    options, history = model.options_, model.history_
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    kind = "coupling flow"
    if isinstance(model.model_, MatchedFlow):
        kind = f"autoregressive, columns in {'any order' if model.model_.any_order else 'the order of the table'}"
        if model.model_.blocks < len(model.schema_.columns):
            blocks, products = model.model_.blocks, f"a mixture of {model.model_.components} products"
            kind = f"latent classes, {products}" if blocks == 1 else f"{blocks} blocks of columns, each {products}"
    schema = model.schema_
    columns = f"{len(schema.columns)}, {sum(column.numeric for column in schema.columns)} of them numeric"
    scalings = sorted({column.scaling for column in schema.columns if isinstance(column, NumericColumn)})
    facts = [
        ("Columns", columns + (f"; {len(schema.keys)} more not modelled" if schema.keys else "")),
        *[("Declared order", ", ".join(f"{first} ≤ {second}" for first, second in schema.order))] * bool(schema.order),
        ("Model", f"{kind} ({type(model.model_).__name__})"),
        ("Parameters", f"{parameters:,}"),
        ("Cells", f"in {model.dimension_} dimensions, profile {options.profile}"),
        *[("Scaling of numbers", ", ".join(scalings))] * bool(scalings),
        ("Batch size", str(options.batch_size)),
        ("Seed", str(options.random_state)),
    ]
    if len(history):
        steps, best = int(history["step"].iloc[-1]), int(history["step"].iloc[int(history["validation"].argmax())])
        facts.append(("Training", f"{steps:,} steps; the weights are those of step {best:,}"))
        if "seconds" in history:
            facts.append(("Time", f"{history['seconds'].iloc[-1]:.0f} seconds"))
    facts.append(("Library", f"tessflow {tessflow.__version__}"))
    return ModelFacts(facts, model.validation_score_, _meaning(model))


def _meaning(model: TabularFlow) -> str:
    score = model.validation_score_
    real = [column for column in model.schema_.columns if isinstance(column, NumericColumn) and not column.whole]
    least = "at least " if model.lower_bound_ else ""
    if real:
        return (
            f"It sums log-probabilities of classes and whole numbers and log-densities of real numbers "
            f"({len(real)} of the columns), each in the column's own unit: a change of unit shifts it. "
            "It compares models of this table; the higher, the better."
        )
    return (
        f"A held-out row has a probability of {least}{_power(score)} on (geometric) average: it takes "
        f"{-score / math.log(2):.1f} bits to tell it from all other possible rows. The higher, the better."
    )


def _power(nats: float) -> str:
    digits = nats / math.log(10)
    return f"{math.exp(nats):.3g}" if digits > -4 else f"10^{digits:.1f}"


def describe_columns(schema: TableSchema) -> list[ColumnFacts]:
    """Say what each column is; those that are not modelled are the last.

    Example:
        >>> import pandas as pd
        >>> describe_columns(TableSchema.infer(pd.DataFrame({"wet": [True, False]})))[0]
        ColumnFacts(name='wet', kind='boolean', measure='probabilities of 2 classes', values='False, True', ...)
    """
    keys = [ColumnFacts(str(key.name), key.kind, "not modelled") for key in schema.keys]
    return [_describe(column) for column in schema.columns] + keys


def _describe(column: AnyColumn) -> ColumnFacts:
    labels = class_labels(column)
    words = {"measure": column.measure, "missing": "no" if column.missing is None else "yes"}
    if isinstance(column, NumericColumn):
        words |= {"values": _range(column), "atoms": _list([labels[k] for k in column.fillable[1:]])}
        words["bounds"] = _bounds(column)
    else:
        words["values"] = _list([labels[k] for k in column.fillable])
    return ColumnFacts(str(column.name), column.kind, **words)


def _list(labels: list[str]) -> str:
    shown = ", ".join(shorten(label, 40) for label in labels[:_VALUES])
    return f"{shown}, … ({len(labels)} in all)" if len(labels) > _VALUES else shown


def _range(column: NumericColumn) -> str:
    if column.scaling == "quantile":
        ends, what = np.interp([-1.645, 1.645], column.scores, column.knots), "90% between {} and {}"
    else:
        ends, what = np.array(column.knots), "{} to {}: the mean, and a standard deviation on either side"
    return what.format(*(show(value_of(column, end * (column.resolution or 1.0))) for end in ends))


def _bounds(column: NumericColumn) -> str:
    ends = [
        f"{words} {show(value_of(column, bound))}"
        for words, bound in (("at least", column.minimum), ("at most", column.maximum))
        if bound is not None
    ]
    beyond = "unseen" if column.beyond == "unseen" else "refused"
    return f"{' and '.join(ends)}; what is beyond is {beyond}" if ends else ""
