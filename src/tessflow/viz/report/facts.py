"""What was fitted, and to what columns, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

import tessflow
from tessflow.estimators import TabularFlow
from tessflow.models import MatchedFlow
from tessflow.tables import ClassColumn, NumericColumn, TableSchema
from tessflow.viz.report.rows import class_labels, show_number
from tessflow.viz.report.svg import shorten

__all__ = ["ColumnFacts", "ModelFacts", "describe_columns", "describe_model"]

_VALUES = 8
_UNITS = {86400: "days", 3600: "hours", 60: "minutes", 1: "seconds", 1e-3: "milliseconds", 1e-6: "microseconds"}


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
    """A column: its name, its kind, and words for its values, for those that have a class beside numbers, and gaps."""

    name: str
    kind: str
    values: str
    atoms: str
    missing: bool


def describe_model(model: TabularFlow) -> ModelFacts:
    """Say what was fitted."""
    options, history = model.options_, model.history_
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    kind = "coupling flow"
    if isinstance(model.model_, MatchedFlow):
        kind = f"autoregressive, columns in {'any order' if model.model_.any_order else 'the order of the table'}"
    numeric = sum(isinstance(column, NumericColumn) for column in model.schema_.columns)
    facts = [
        ("Columns", f"{len(model.schema_.columns)}, {numeric} of them numeric"),
        ("Model", f"{kind} ({type(model.model_).__name__})"),
        ("Parameters", f"{parameters:,}"),
        ("Cells", f"in {model.dimension_} dimensions, profile {options.profile}"),
        ("Scaling of numbers", options.scaling),
        ("Batch size", str(options.batch_size)),
        ("Seed", str(options.random_state)),
    ]
    if len(history):
        steps, best = int(history["step"].iloc[-1]), int(history["step"].iloc[int(history["validation"].argmax())])
        facts.append(("Training", f"{steps:,} steps of at most {options.max_steps:,}; weights of step {best:,}"))
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
    """Say what each column is.

    Example:
        >>> import pandas as pd
        >>> describe_columns(TableSchema.infer(pd.DataFrame({"wet": [True, False]})))
        [ColumnFacts(name='wet', kind='boolean', values='2: False, True', atoms='', missing=False)]
    """
    return [_describe(column) for column in schema.columns]


def _describe(column: ClassColumn | NumericColumn) -> ColumnFacts:
    labels = class_labels(column)
    missing = column.missing is not None
    labels = labels[: len(labels) - missing]
    if isinstance(column, ClassColumn):
        shown = ", ".join(shorten(label, 40) for label in labels[:_VALUES]) + (", …" if len(labels) > _VALUES else "")
        return ColumnFacts(str(column.name), column.kind, f"{len(labels)}: {shown}" if labels else "none", "", missing)
    return ColumnFacts(str(column.name), column.kind, _numbers(column), ", ".join(labels[1:]), missing)


def _numbers(column: NumericColumn) -> str:
    if column.kind != "number":
        size, unit = next((s, u) for s, u in _UNITS.items() if column.resolution >= s)
        count = column.resolution / size
        what = f"in steps of {count:g} {unit}" if count != 1 else f"whole {unit}"
    elif column.whole:
        what = "whole numbers" if column.resolution == 1 else f"multiples of {column.resolution:g}"
    else:
        what = "real numbers"
    if column.scaling != "quantile":
        return what
    ends = np.interp([-1.645, 1.645], column.scores, column.knots) * (column.resolution or 1.0)
    if column.whole:
        ends = np.rint(ends / column.resolution) * column.resolution
    return f"{what}, 90% between {show_number(column, ends[0])} and {show_number(column, ends[1])}"
